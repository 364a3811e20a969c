//! Tests of all operations: rejected shapes and types, transposed arguments, NaN.

mod many;

use candle_core::{DType, Device, Result, Tensor, Var};

use super::{batch_norm::Epilogue, pooling::Pool, *};

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()
}

fn refused<T>(found: Result<T>, expected: &str) {
    let error = found.err().unwrap_or_else(|| panic!("not refused: {expected}")).to_string();
    assert!(error.starts_with(expected), "found: {error}\nexpected: {expected}");
}

#[test]
fn sums_and_averages_are_of_one_shape() {
    refused(add(&zeros(&[2, 3]), &zeros(&[3, 2])), "add: expected equal shapes, found [2, 3] and [3, 2]");
    let (average, other) = (Var::from_tensor(&zeros(&[2])).unwrap(), Var::from_tensor(&zeros(&[3])).unwrap());
    let (fits, longer) = (zeros(&[2]), zeros(&[4]));
    let moves = [
        AverageUpdate { average: &average, value: &fits, keep: 0.5, take: 0.5 },
        AverageUpdate { average: &other, value: &longer, keep: 0.5, take: 0.5 },
    ];
    refused(move_averages(&moves), "moving average: of shape [3], towards [4]");
}

#[test]
fn normalisation_is_of_as_many_channels() {
    let rows = zeros(&[4, 3]);
    let norm = |weight: usize, bias: usize, residual: &[usize], given: Option<[usize; 2]>| {
        let given =
            given.map(|[mean, variance]| Statistics { mean: zeros(&[mean]), variance: zeros(&[variance]) });
        let residual = zeros(residual);
        let then = Epilogue { residual: Some(&residual), relu: false };
        batch_norm(&rows, &zeros(&[weight]), &zeros(&[bias]), given, then)
    };
    assert!(norm(3, 3, &[4, 3], None).is_ok() && norm(3, 3, &[4, 3], Some([3, 3])).is_ok());
    let unfit = "batch norm: weight, bias or residual do not fit an input of [4, 3]";
    refused(norm(2, 2, &[4, 3], None), unfit);
    refused(norm(3, 3, &[3, 4], None), unfit);
    refused(norm(3, 2, &[4, 3], None), unfit);
    refused(norm(2, 3, &[4, 3], None), unfit);
    for given in [[2, 3], [3, 2]] {
        refused(norm(3, 3, &[4, 3], Some(given)), "batch norm: statistics given are not of 3 channels");
    }
    let unfit = "layer norm: weight [2] and bias [3] do not fit an input of [4, 3]";
    refused(layer_norm(&rows, &zeros(&[2]), &zeros(&[3]), 1e-6), unfit);
    let unfit = "linear: weight [5, 3] and its bias do not fit an input of [4, 3]";
    refused(linear(&rows, &zeros(&[5, 3]), Some(&zeros(&[4]))), unfit);
    refused(linear_of_gelu(&rows, &zeros(&[5, 3]), Some(&zeros(&[4]))), unfit);
}

#[test]
fn windows_fit_the_images() {
    let images = zeros(&[1, 4, 6, 3]);
    let convolved = |rows, columns, padding| {
        convolution(&images, &zeros(&[2, 3, rows, columns]), Geometry { stride: 1, padding })
    };
    assert_eq!(convolved(4, 6, 0).unwrap().dims(), [1, 1, 1, 2]);
    for (rows, columns, padding) in [(3, 3, 3), (3, 1, 1), (1, 3, 1), (5, 3, 0), (3, 7, 0), (7, 3, 1)] {
        let kernel = format!(
            "convolution: kernel {rows} x {columns} with padding {padding} does not fit [1, 4, 6, 3]"
        );
        refused(convolved(rows, columns, padding), &kernel);
    }
    let each = |kernels, ones, rows, columns, stride| {
        depthwise(&images, &zeros(&[kernels, ones, rows, columns]), Geometry { stride, padding: 0 })
    };
    assert_eq!(each(3, 1, 4, 6, 1).unwrap().dims(), [1, 1, 1, 3]);
    for (kernels, ones, rows, columns, stride) in
        [(2, 1, 3, 3, 1), (3, 2, 3, 3, 1), (3, 1, 5, 3, 1), (3, 1, 3, 7, 1), (3, 1, 3, 3, 0)]
    {
        let kernel =
            format!("depthwise convolution: kernels [{kernels}, {ones}, {rows}, {columns}] do not fit");
        refused(each(kernels, ones, rows, columns, stride), &kernel);
    }
    let pooled = |kernel, stride, padding| max_pool(&images, Pool { kernel, stride, padding });
    assert_eq!(pooled(4, 1, 0).unwrap().dims(), [1, 1, 3, 3]);
    assert_eq!(pooled(8, 1, 4).unwrap().dims(), [1, 5, 7, 3]);
    for (kernel, stride, padding) in [(0, 1, 0), (2, 0, 0), (16, 1, 8), (3, 1, 2)] {
        refused(pooled(kernel, stride, padding), "max pool: Pool");
        assert!(pooled(kernel, stride, padding).unwrap_err().to_string().contains("needs kernel 1..=15"));
    }
    assert!(pooled(5, 1, 0).unwrap_err().to_string().contains("does not fit a 4 x 6 map"));
    let tall = max_pool(&zeros(&[1, 6, 4, 3]), Pool { kernel: 5, stride: 1, padding: 0 });
    assert!(tall.unwrap_err().to_string().contains("does not fit a 6 x 4 map"));
}

#[test]
fn heads_share_the_width() {
    for (width, heads) in [(8, 2), (12, 5), (12, 0), (0, 1)] {
        let expected =
            format!("attention: expected three times a multiple of {heads} heads, found [2, 5, {width}]");
        refused(attention(&zeros(&[2, 5, width]), heads), &expected);
    }
    assert_eq!(attention(&zeros(&[2, 5, 12]), 2).unwrap().dims(), [2, 5, 4]);
}

#[test]
fn bytes_are_not_computed_with() {
    let bytes = |shape: &[usize]| Tensor::zeros(shape, DType::U8, &Device::Cpu).unwrap();
    let (rows, images) = (bytes(&[4, 3]), bytes(&[1, 4, 4, 3]));
    let (weight, bias) = (zeros(&[3]), zeros(&[3]));
    let geometry = Geometry { stride: 1, padding: 0 };
    let unknown = |name: &str| format!("{name}: expected bf16, f32 or f64, found U8");
    refused(gelu(&rows), &unknown("gelu"));
    refused(unit_rows(&rows), &unknown("unit rows"));
    refused(layer_norm(&rows, &weight, &bias, 1e-6), &unknown("layer norm"));
    refused(linear(&rows, &zeros(&[2, 3]), None), &unknown("linear"));
    refused(attention(&bytes(&[1, 2, 6]), 1), &unknown("attention"));
    refused(batch_norm(&rows, &weight, &bias, None, Epilogue::default()), &unknown("batch norm"));
    refused(convolution(&images, &zeros(&[2, 3, 1, 1]), geometry), &unknown("convolution"));
    refused(max_pool(&images, Pool { kernel: 2, stride: 2, padding: 0 }), &unknown("max pool"));
    // These two do not compute in bf16 either.
    for dtype in [DType::U8, DType::BF16] {
        let [rows, images] = [&rows, &images].map(|tensor| tensor.to_dtype(dtype).unwrap());
        let unknown = |name: &str| format!("{name}: expected f32 or f64, found {dtype:?}");
        refused(relu6(&rows), &unknown("ReLU6"));
        refused(depthwise(&images, &zeros(&[3, 1, 1, 1]), geometry), &unknown("depthwise convolution"));
    }
}

#[test]
fn only_sixteen_bits_are_widened() {
    let numbers = Tensor::new(&[1.5_f32, -2.0], &Device::Cpu).unwrap();
    for (from, to) in [(DType::BF16, DType::F32), (DType::F32, DType::F32), (DType::F64, DType::F64)] {
        let widened = widen(&numbers.to_dtype(from).unwrap()).unwrap();
        assert_eq!(widened.dtype(), to);
        assert_eq!(widened.to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap(), [1.5, -2.0]);
    }
}

/// Every operation accepts transposed (non-contiguous) tensors, forwards and backwards.
#[test]
fn turned_arguments_are_read_in_order() -> Result<()> {
    type Of = fn(&Tensor) -> Result<Tensor>;
    let numbers = |shape: &[usize]| {
        let count: usize = shape.iter().product();
        let values: Vec<f64> =
            (0..count).map(|n| libm::sin(0.37 * n as f64 + 0.001 * (n * n) as f64)).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    };
    let operations: [(&str, &[usize], Of); 10] = [
        ("gelu", &[4, 6], gelu),
        ("unit rows", &[4, 6], unit_rows),
        ("layer norm", &[4, 6], |x| {
            layer_norm(x, &x.narrow(0, 0, 1)?.squeeze(0)?, &x.narrow(0, 1, 1)?.squeeze(0)?, 1e-6)
        }),
        ("linear", &[4, 6], |x| {
            linear(x, &x.narrow(0, 1, 3)?, Some(&x.narrow(1, 2, 1)?.squeeze(1)?.narrow(0, 0, 3)?))
        }),
        ("linear of gelu", &[4, 6], |x| linear_of_gelu(x, &x.narrow(0, 1, 3)?, None)),
        ("batch norm", &[4, 6], |x| {
            let (weight, bias) = (x.narrow(0, 0, 1)?.squeeze(0)?, x.narrow(0, 2, 1)?.squeeze(0)?);
            Ok(batch_norm(x, &weight, &bias, None, Epilogue { residual: Some(x), relu: true })?.0)
        }),
        ("add", &[4, 6], |x| add(x, &x.affine(2.0, 1.0)?)),
        ("attention", &[5, 12], |x| attention(&x.unsqueeze(0)?, 2)),
        ("max pool", &[5, 6], |x| {
            max_pool(&x.reshape((1, 5, 6, 1))?, Pool { kernel: 2, stride: 1, padding: 0 })
        }),
        ("convolution", &[6, 6], |x| {
            let images = x.unsqueeze(0)?.unsqueeze(3)?;
            let weights = x.narrow(0, 0, 3)?.narrow(1, 1, 2)?.unsqueeze(0)?.unsqueeze(0)?;
            convolution(&images, &weights, Geometry { stride: 1, padding: 0 })
        }),
    ];
    for (name, shape, of) in operations {
        let straight = Var::from_tensor(&numbers(shape))?;
        let turned = Var::from_tensor(&numbers(shape).t()?.contiguous()?)?;
        let outputs = [of(&straight)?, of(&turned.t()?)?];
        let apart = (&outputs[0] - &outputs[1])?.abs()?.max_all()?.to_scalar::<f64>()?;
        assert!(apart < 1e-12, "{name}: values are {apart} apart");
        // The gradient with respect to the output is transposed too.
        let slopes = |output: &Tensor| -> Result<Tensor> {
            let flat = output.reshape((output.dim(0)?, ()))?;
            let (rows, columns) = flat.dims2()?;
            (flat.t()? * numbers(&[columns, rows]))?.sum_all()
        };
        let by_straight = slopes(&outputs[0])?.backward()?.remove(&straight).expect("a gradient");
        let by_turned = slopes(&outputs[1])?.backward()?.remove(&turned).expect("a gradient").t()?;
        let apart = (by_straight - by_turned)?.abs()?.max_all()?.to_scalar::<f64>()?;
        assert!(apart < 1e-12, "{name}: gradients are {apart} apart");
    }
    Ok(())
}

/// NaN is not hidden: it passes through a maximum, a clamp and a ReLU.
#[test]
fn nan_stays_nan() -> Result<()> {
    for place in 0..4 {
        let mut pixels = [0.5_f32, -1.0, 2.0, 7.0];
        pixels[place] = f32::NAN;
        let images = Tensor::new(&pixels, &Device::Cpu)?.reshape((1, 2, 2, 1))?;
        let pooled = max_pool(&images, Pool { kernel: 2, stride: 1, padding: 0 })?;
        assert!(pooled.flatten_all()?.to_vec1::<f32>()?[0].is_nan(), "{place}");
        let bounded = relu6(&images)?.flatten_all()?.to_vec1::<f32>()?;
        assert!(bounded.iter().enumerate().all(|(at, x)| x.is_nan() == (at == place)), "{bounded:?}");
        let (one, zero) = (Tensor::new(&[1_f32], &Device::Cpu)?, zeros(&[1]));
        let given = Statistics { mean: zeros(&[1]), variance: one.clone() };
        let then = Epilogue { residual: None, relu: true };
        let normal =
            batch_norm(&images, &one, &zero, Some(given), then)?.0.flatten_all()?.to_vec1::<f32>()?;
        assert!(normal.iter().enumerate().all(|(at, x)| x.is_nan() == (at == place)), "{normal:?}");
    }
    Ok(())
}
