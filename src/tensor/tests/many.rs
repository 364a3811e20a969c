//! Many images or rows, which are computed in several blocks and rounds: each has the result that it has among a few.

use checks::{distance, normal};

use super::*;

type Of = fn(&[Tensor]) -> Result<Tensor>;

const WITHIN: Geometry = Geometry { stride: 1, padding: 1 };

/// Returns the output, its gradients by the first argument and by the others, for a sum that these `slopes` weigh.
fn results(of: Of, arguments: &[Tensor], slopes: Option<&Tensor>) -> Result<(Tensor, Vec<Tensor>)> {
    let variables = arguments.iter().map(Var::from_tensor).collect::<Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
    let output = of(&tensors)?;
    let drawn = normal("slopes", output.dims(), DType::F64)?.as_detached_tensor().to_dtype(output.dtype())?;
    let gradients = backward(&(&output * slopes.unwrap_or(&drawn))?.sum_all()?)?;
    let by = |variable: &Var| gradients.get(variable).expect("a gradient").detach();
    Ok((output.detach(), variables.iter().map(by).collect()))
}

/// Batch normalisation by given statistics, as in evaluation.
fn normalised(x: &[Tensor]) -> Result<Tensor> {
    let numbers = |first: f64| {
        let numbers: Vec<f64> = (0..17).map(|channel| first + 0.1 * f64::from(channel)).collect();
        Tensor::new(numbers, &Device::Cpu)
    };
    let given = Statistics { mean: numbers(-0.7)?, variance: numbers(0.3)? };
    Ok(batch_norm(&x[0], &x[1], &x[2], Some(given), Epilogue { residual: None, relu: true })?.0)
}

/// Name, shape of the first argument, shapes of the others, the first dimension of a piece, and the operation.
type Case = (&'static str, &'static [usize], &'static [&'static [usize]], usize, Of);

const CASES: [Case; 16] = [
    ("attention", &[150, 5, 24], &[], 10, |x| attention(&x[0], 4)),
    ("gelu", &[70, 1000], &[], 7, |x| gelu(&x[0])),
    ("layer norm", &[3000, 17], &[&[17], &[17]], 300, |x| layer_norm(&x[0], &x[1], &x[2], 1e-6)),
    ("linear", &[3000, 17], &[&[23, 17], &[23]], 300, |x| linear(&x[0], &x[1], Some(&x[2]))),
    ("linear of gelu", &[3000, 17], &[&[23, 17], &[23]], 300, |x| linear_of_gelu(&x[0], &x[1], Some(&x[2]))),
    ("wide linear", &[1400, 70], &[&[300, 70], &[300]], 50, |x| linear(&x[0], &x[1], Some(&x[2]))),
    ("given statistics", &[3000, 17], &[&[17], &[17]], 300, normalised),
    ("unit rows", &[3000, 17], &[], 300, |x| unit_rows(&x[0])),
    ("max pool", &[70, 9, 8, 5], &[], 7, |x| max_pool(&x[0], Pool { kernel: 3, stride: 2, padding: 1 })),
    ("global mean", &[70, 9, 8, 5], &[], 7, |x| global_mean(&x[0])),
    ("pixels", &[70, 9, 8, 5], &[&[7, 5, 1, 1]], 7, |x| {
        convolution(&x[0], &x[1], Geometry { stride: 1, padding: 0 })
    }),
    ("windows", &[70, 24, 23, 5], &[&[7, 5, 5, 5]], 7, |x| {
        convolution(&x[0], &x[1], Geometry { stride: 1, padding: 2 })
    }),
    ("strided", &[70, 24, 23, 5], &[&[7, 5, 5, 5]], 7, |x| {
        convolution(&x[0], &x[1], Geometry { stride: 2, padding: 2 })
    }),
    ("tiles of four", &[30, 31, 30, 16], &[&[49, 16, 3, 3]], 3, |x| convolution(&x[0], &x[1], WITHIN)),
    ("tiles of two", &[2000, 2, 2, 16], &[&[17, 16, 3, 3]], 40, |x| convolution(&x[0], &x[1], WITHIN)),
    ("tiles for all", &[300, 2, 2, 19], &[&[1040, 19, 3, 3]], 60, |x| convolution(&x[0], &x[1], WITHIN)),
];

/// Compares with the results of pieces of the first argument, in order; gradients by the others are their sums.
fn compare((name, shape, others, piece, of): Case, dtype: DType) -> Result<()> {
    let drawn =
        |name: &str, shape: &[usize]| normal(name, shape, DType::F64)?.as_detached_tensor().to_dtype(dtype);
    let mut arguments = vec![drawn("rows", shape)?];
    for (place, shape) in others.iter().enumerate() {
        // Weights are never in bf16.
        let of_weights = if dtype == DType::F64 { dtype } else { DType::F32 };
        arguments.push(drawn(&place.to_string(), shape)?.to_dtype(of_weights)?);
    }
    let (output, gradients) = results(of, &arguments, None)?;
    let slopes = normal("slopes", output.dims(), DType::F64)?.as_detached_tensor().to_dtype(dtype)?;
    let near = |found: &Tensor, expected: &Tensor, what: &str| -> Result<()> {
        let [found, expected] = [found.to_dtype(DType::F64)?, expected.to_dtype(DType::F64)?];
        let (largest, apart) = (expected.abs()?.max_all()?.to_scalar::<f64>()?, distance(&found, &expected)?);
        let bound = match dtype {
            DType::BF16 => 2e-2,
            DType::F32 => 1e-4,
            _ => 1e-12,
        };
        assert!(apart <= bound * largest, "{name} in {dtype:?}, {what}: {apart} apart of {largest}");
        Ok(())
    };
    let rows = arguments[0].clone();
    let mut sums: Vec<Tensor> = Vec::new();
    for first in (0..shape[0]).step_by(piece) {
        arguments[0] = rows.narrow(0, first, piece)?;
        let slopes = slopes.narrow(0, first, piece)?;
        let (few, by) = results(of, &arguments, Some(&slopes))?;
        near(&output.narrow(0, first, piece)?, &few, &format!("results from {first}"))?;
        near(&gradients[0].narrow(0, first, piece)?, &by[0], &format!("gradients from {first}"))?;
        sums = match sums.is_empty() {
            true => by[1..].to_vec(),
            false => sums.iter().zip(&by[1..]).map(|(sum, by)| sum + by).collect::<Result<_>>()?,
        };
    }
    for (place, sum) in sums.iter().enumerate() {
        near(&gradients[1 + place], sum, &format!("the sum of gradients by argument {}", 1 + place))?;
    }
    Ok(())
}

#[test]
fn many_have_the_results_of_a_few() -> Result<()> {
    let dtypes = [DType::BF16, DType::F32, DType::F64];
    CASES.into_iter().try_for_each(|case| dtypes.into_iter().try_for_each(|dtype| compare(case, dtype)))
}

/// These two have no gradients.
#[test]
fn frozen_operations_treat_many_images_alike() -> Result<()> {
    let images = normal("images", &[70, 9, 8, 60], DType::F32)?;
    let weights = normal("weights", &[60, 1, 3, 3], DType::F32)?;
    let of = |images: &Tensor| -> Result<[Tensor; 3]> {
        let strided = Geometry { stride: 2, padding: 1 };
        Ok([relu6(images)?, depthwise(images, &weights, WITHIN)?, depthwise(images, &weights, strided)?])
    };
    let all = of(&images)?;
    for first in (0..70).step_by(7) {
        for (place, (all, few)) in all.iter().zip(of(&images.narrow(0, first, 7)?)?).enumerate() {
            assert!(distance(&all.narrow(0, first, 7)?, &few)? < 1e-5, "{place}: images from {first}");
        }
    }
    Ok(())
}

/// More tokens than a small image has.
#[test]
fn many_tokens_have_the_gradients_of_the_formula() -> Result<()> {
    let joined = normal("joined", &[2, 150, 12], DType::F64)?;
    let plain = |x: &[Tensor]| attention::attention_plain(&x[0], 2);
    checks::assert_twins(&|x| attention(&x[0], 2), &plain, &[joined], 1e-11)
}
