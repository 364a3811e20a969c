//! The definition of each operation: arguments of its shapes, the operation, and its twin from Candle's own
//! operations.

use serde_json::{Map, Value, json};
use skewbench::{
    candle_core::{D, DType, Result, Tensor},
    loss::{contrastive, cross_correlation},
    tensor::{
        self, Geometry, Statistics,
        attention::attention_plain,
        batch_norm::{Epilogue, batch_norm_plain},
        convolution::convolution_plain,
        gelu::gelu_plain,
        layer_norm::layer_norm_plain,
        linear::linear_plain,
        pooling::{Pool, max_pool_plain},
        unit_rows::unit_rows_plain,
        widen,
    },
};

use super::{Case, Function};
use crate::inputs::{Argument, Numbers};

/// Added to variances of tokens, as in timm.
const EPSILON: f64 = 1e-6;

/// Builds a case with one output tensor.
fn case(
    operation: &'static str,
    constants: Value,
    arguments: Vec<Argument>,
    run: impl Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
    twin: impl Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
) -> Case {
    Case {
        operation,
        constants: map(constants),
        arguments,
        outputs: &["value"],
        rounding: 1e-11,
        run: Box::new(move |x| Ok(vec![run(x)?])),
        twin: Box::new(move |x| Ok(vec![twin(x)?])),
    }
}

fn map(constants: Value) -> Map<String, Value> {
    match constants {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn last(shape: &[usize]) -> [usize; 1] {
    [shape[shape.len() - 1]]
}

/// Convolution of images (batch, height, width, channels) with weights (outputs, channels, height, width).
pub fn convolution(images: [usize; 4], weights: [usize; 4], stride: usize, padding: usize) -> Case {
    let geometry = Geometry { stride, padding };
    case(
        "convolution",
        json!({ "stride": stride, "padding": padding }),
        vec![Argument::activation("images", &images), Argument::weight("weights", &weights)],
        move |x| tensor::convolution(&x[0], &x[1], geometry),
        move |x| convolution_plain(&x[0], &x[1], geometry),
    )
}

/// Batch normalisation; the switches: a residual is added, a ReLU follows, statistics are given.
pub fn batch_norm(shape: &[usize], [residual, relu, given]: [bool; 3]) -> Case {
    let channels = last(shape);
    // A mean that is large relative to the deviation, for which a sum of squares would fail. With few rows,
    // gradients would cancel to rounding errors.
    let few = shape.iter().product::<usize>() / channels[0] < 30;
    let numbers = if given || few { Numbers::Normal } else { Numbers::About(30.0) };
    let mut arguments = vec![
        Argument::activation("input", shape).with_numbers(numbers),
        Argument::weight("weight", &channels),
        Argument::weight("bias", &channels),
    ];
    if residual {
        arguments.push(Argument::activation("residual", shape));
    }
    if given {
        arguments.push(Argument::constant("mean", &channels, Numbers::Normal));
        arguments.push(Argument::constant("variance", &channels, Numbers::Positive));
    }
    let statistics = move |x: &[Tensor]| {
        let from = 3 + usize::from(residual);
        given.then(|| Statistics { mean: x[from].clone(), variance: x[from + 1].clone() })
    };
    let answer = |(output, used): (Tensor, Statistics)| vec![output, used.mean, used.variance];
    let run: Function = Box::new(move |x| {
        let then = Epilogue { residual: residual.then(|| &x[3]), relu };
        tensor::batch_norm(&x[0], &x[1], &x[2], statistics(x), then).map(answer)
    });
    let twin: Function = Box::new(move |x| {
        let then = Epilogue { residual: residual.then(|| &x[3]), relu };
        batch_norm_plain(&x[0], &x[1], &x[2], statistics(x), then).map(answer)
    });
    Case {
        operation: "batch norm",
        constants: map(json!({ "residual": residual, "relu": relu, "given": given })),
        arguments,
        outputs: &["value", "mean", "variance"],
        rounding: 1e-10,
        run,
        twin,
    }
}

pub fn layer_norm(shape: &[usize]) -> Case {
    let width = last(shape);
    case(
        "layer norm",
        json!({}),
        vec![
            Argument::activation("input", shape),
            Argument::weight("weight", &width),
            Argument::weight("bias", &width),
        ],
        |x| tensor::layer_norm(&x[0], &x[1], &x[2], EPSILON),
        |x| layer_norm_plain(&x[0], &x[1], &x[2], EPSILON),
    )
}

pub fn linear(shape: &[usize], outputs: usize, bias: bool) -> Case {
    let mut arguments = vec![
        Argument::activation("input", shape),
        Argument::weight("weight", &[outputs, shape[shape.len() - 1]]),
    ];
    if bias {
        arguments.push(Argument::weight("bias", &[outputs]));
    }
    case(
        "linear",
        json!({ "outputs": outputs, "bias": bias }),
        arguments,
        |x| tensor::linear(&x[0], &x[1], x.get(2)),
        |x| linear_plain(&x[0], &x[1], x.get(2)),
    )
}

/// Linear map of GELU of the input.
pub fn linear_of_gelu(shape: &[usize], outputs: usize) -> Case {
    let arguments = vec![
        Argument::activation("input", shape),
        Argument::weight("weight", &[outputs, shape[shape.len() - 1]]),
        Argument::weight("bias", &[outputs]),
    ];
    case(
        "linear of gelu",
        json!({}),
        arguments,
        |x| tensor::linear_of_gelu(&x[0], &x[1], x.get(2)),
        |x| linear_plain(&gelu_plain(&x[0])?, &x[1], x.get(2)),
    )
}

/// Rows of more than one number: with a single one, the gradient is pure rounding error.
pub fn unit_rows(shape: &[usize]) -> Case {
    let rows = vec![Argument::activation("rows", shape)];
    case("unit rows", json!({}), rows, |x| tensor::unit_rows(&x[0]), |x| unit_rows_plain(&x[0]))
}

/// Attention; queries, keys and values side by side: (images, tokens, 3 x width).
pub fn attention(joined: [usize; 3], heads: usize) -> Case {
    case(
        "attention",
        json!({ "heads": heads }),
        // Large scores, so that a few of many tokens have most of the weight.
        vec![Argument::activation("joined", &joined).with_numbers(Numbers::Scaled(2.0))],
        move |x| tensor::attention(&x[0], heads),
        move |x| attention_plain(&x[0], heads),
    )
}

pub fn gelu(shape: &[usize]) -> Case {
    let input = Argument::activation("input", shape);
    case("gelu", json!({}), vec![input], |x| tensor::gelu(&x[0]), |x| gelu_plain(&x[0]))
}

/// Maximum over windows of images (batch, height, width, channels).
pub fn max_pool(images: [usize; 4], [kernel, stride, padding]: [usize; 3], numbers: Numbers) -> Case {
    let pool = Pool { kernel, stride, padding };
    let constants = json!({ "kernel": kernel, "stride": stride, "padding": padding });
    let images = Argument::activation("images", &images).with_numbers(numbers);
    let (run, twin) =
        (move |x: &[Tensor]| tensor::max_pool(&x[0], pool), move |x: &[Tensor]| max_pool_plain(&x[0], pool));
    case(
        if numbers == Numbers::Whole { "max pool with ties" } else { "max pool" },
        constants,
        vec![images],
        run,
        twin,
    )
}

/// Mean over images (batch, height, width, channels).
pub fn global_mean(images: [usize; 4]) -> Case {
    let places = (images[1] * images[2]) as f64;
    case(
        "global mean",
        json!({}),
        vec![Argument::activation("images", &images)],
        |x| tensor::global_mean(&x[0]),
        move |x| x[0].sum((1, 2))? / places,
    )
}

/// Selection of rows (count, width), each as often as it is named.
pub fn pick_rows(rows: [usize; 2], picks: &'static [u32]) -> Case {
    case(
        "pick rows",
        json!({ "picks": picks }),
        vec![Argument::activation("rows", &rows)],
        move |x| tensor::pick_rows(&widen(&x[0])?, picks)?.to_dtype(x[0].dtype()),
        move |x| {
            // A one-hot row for each pick.
            let mut ones = vec![0.0; picks.len() * rows[0]];
            picks.iter().enumerate().for_each(|(place, &pick)| ones[place * rows[0] + pick as usize] = 1.0);
            Tensor::from_vec(ones, (picks.len(), rows[0]), x[0].device())?.matmul(&x[0])
        },
    )
}

/// NT-Xent of the rows of both views, one view after the other: (2 x rows, width).
pub fn nt_xent([rows, width]: [usize; 2], temperature: f64) -> Case {
    let views = Argument::activation("views", &[2 * rows, width]);
    let run = move |x: &[Tensor]| {
        let views = x[0].chunk(2, 0)?;
        contrastive::nt_xent(&views[0], &views[1], temperature)?.to_dtype(x[0].dtype())
    };
    // Similarities of all rows; those with themselves are masked by a factor, not by infinity.
    let twin = move |x: &[Tensor]| {
        let z = x[0].broadcast_div(&x[0].sqr()?.sum_keepdim(1)?.sqrt()?)?;
        let scores = (z.matmul(&z.t()?)? / temperature)?;
        let others = (Tensor::ones_like(&scores)? - eye(&scores)?)?;
        let positive = ((z.narrow(0, 0, rows)? * z.narrow(0, rows, rows)?)?.sum(D::Minus1)? / temperature)?;
        (scores.exp()? * others)?.sum(1)?.log()?.mean_all()? - positive.mean_all()?
    };
    case("nt-xent", json!({ "temperature": temperature }), vec![views], run, twin)
}

/// Barlow Twins' loss of the rows of both views, one view after the other: (2 x rows, width).
pub fn barlow_twins([rows, width]: [usize; 2], weight: f64) -> Case {
    let run: Function = Box::new(move |x| {
        let views = x[0].chunk(2, 0)?;
        let loss = cross_correlation::barlow_twins(&views[0], &views[1], weight)?;
        let parts = loss.parts.into_iter().map(|(_, part)| part);
        Ok(std::iter::once(loss.total.to_dtype(x[0].dtype())?).chain(parts).collect())
    });
    // The full correlation matrix.
    let twin: Function = Box::new(move |x| {
        let standardised = |view: &Tensor| -> Result<Tensor> {
            let centred = view.broadcast_sub(&view.mean_keepdim(0)?)?;
            centred.broadcast_div(&(centred.sqr()?.mean_keepdim(0)? + tensor::batch_norm::EPSILON)?.sqrt()?)
        };
        let (a, b) = (standardised(&x[0].narrow(0, 0, rows)?)?, standardised(&x[0].narrow(0, rows, rows)?)?);
        let from_identity = ((a.t()?.matmul(&b)? / rows as f64)? - eye_of(width, &a)?)?.sqr()?;
        let on = (&from_identity * eye(&from_identity)?)?.sum_all()?;
        let off = ((from_identity.sum_all()? - &on)? * weight)?;
        Ok(vec![(&on + &off)?, on.detach(), off.detach()])
    });
    Case {
        operation: "barlow twins",
        constants: map(json!({ "weight": weight })),
        arguments: vec![Argument::activation("views", &[2 * rows, width])],
        outputs: &["value", "on the diagonal", "off the diagonal"],
        rounding: 1e-10,
        run,
        twin,
    }
}

/// Returns the identity matrix of a square matrix's size.
fn eye(of: &Tensor) -> Result<Tensor> {
    eye_of(of.dim(0)?, of)
}

fn eye_of(size: usize, like: &Tensor) -> Result<Tensor> {
    Tensor::eye(size, DType::F64, like.device())
}
