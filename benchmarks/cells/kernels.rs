//! Our CUDA kernels without a GPU: their text runs on the CPU, fibre by thread, in two orders of threads, and is held to the plain-Candle twin.
//!
//! Needs a C++ compiler (`c++`); where there is none, or no `nvcc`, a test says that it was skipped.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use rstest::rstest;
use skewbench::{
    augment::{Normalisation, Recipe, packed, to_normalised},
    candle_core::{DType, Device, Result, Tensor, Var},
    data::Image,
    loss::{contrastive::nt_xent, cross_correlation::barlow_twins},
    seed::Seed,
    tensor::{
        attention,
        batch_norm::{Statistics, Then, batch_norm},
        gelu, layer_norm, max_pool, pick_rows,
        pooling::Pool,
    },
};

/// What runs kernels on the CPU, and what their text shares, from the root.
const HARNESS: &str = "benchmarks/kernels";
const SHARED: &str = "src/tensor/gpu";

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// All files under `src` of an extension.
fn sources(extension: &str) -> Vec<PathBuf> {
    let (mut folders, mut found) = (vec![folder("src")], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// The kernels compiled for the CPU, once for all tests; none without a compiler.
fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<(tempfile::TempDir, PathBuf)>> = OnceLock::new();
    let compile = || {
        if !is_there("c++") {
            eprintln!("SKIPPED: no c++ on the PATH, so no kernel ran");
            return None;
        }
        let place = tempfile::tempdir().unwrap();
        let program = place.path().join("kernels");
        let made = Command::new("c++")
            .args(["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function"])
            // As the views' kernel is compiled for a GPU.
            .args(["-ffp-contract=off", "-o"])
            .args([&program, &folder(HARNESS).join("on_cpu.cpp")])
            .arg("-I")
            .arg(folder(SHARED))
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Some((place, program))
    };
    PROGRAM.get_or_init(compile).as_ref().map(|(_, program)| program.as_path())
}

/// Runs one of the program's losses: what it writes, as numbers. See `on_cpu.cpp`.
fn run(
    program: &Path,
    loss: &str,
    sizes: [usize; 4],
    constants: [f64; 2],
    views: &Tensor,
) -> Result<Vec<f64>> {
    let mut input = Vec::new();
    sizes.iter().for_each(|&n| input.extend((n as i32).to_ne_bytes()));
    let values: Vec<f32> = views.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    constants.iter().for_each(|&x| input.extend((x as f32).to_ne_bytes()));
    values.iter().for_each(|x| input.extend(x.to_ne_bytes()));
    Ok(exchange(program, loss, &input))
}

/// What the program writes for an input, as numbers; the same bytes whether a kernel's threads and blocks go forwards or backwards.
fn exchange(program: &Path, what: &str, input: &[u8]) -> Vec<f64> {
    let begin = |backwards: bool| {
        let mut command = Command::new(program);
        command.arg(what).stdin(Stdio::piped()).stdout(Stdio::piped());
        if backwards {
            command.env("ON_CPU_BACKWARDS", "1");
        }
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child
    };
    let [forwards, backwards] = [begin(false), begin(true)].map(|child| {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", output.status);
        output.stdout
    });
    assert!(forwards == backwards, "{what}: the order of threads matters; is a barrier missing?");
    forwards.chunks_exact(4).map(|x| f32::from_ne_bytes(x.try_into().unwrap()).into()).collect()
}

/// Views of normal numbers; in sixteen bits the twin gets what the kernel gets.
fn views(rows: usize, width: usize, bf16: bool) -> Result<Var> {
    let mut stream = Seed::root(0).child("kernels").index(rows).index(width).stream();
    let values: Vec<f32> = (0..rows * width).map(|_| stream.normal() as f32).collect();
    let values = Tensor::from_vec(values, (rows, width), &Device::Cpu)?;
    let values = if bf16 { values.to_dtype(DType::BF16)? } else { values };
    Var::from_tensor(&values.to_dtype(DType::F64)?)
}

/// Holds value and gradient to the twin's, the gradient relative to its largest number.
fn assert_close(found: &[f64], loss: &Tensor, views: &Var, upstream: f64, bf16: bool) -> Result<()> {
    // Of bf16: eight bits of each similarity, weight and correlation, in sums of many.
    let (value_bound, gradient_bound) = if bf16 { (5e-3, 1e-2) } else { (2e-6, 3e-6) };
    let expected: f64 = loss.to_scalar()?;
    let value = found[0];
    assert!(
        (value - expected).abs() < value_bound * expected.abs().max(1.0),
        "loss {value}, expected {expected}"
    );
    let expected = (loss.backward()?.get(views).expect("a gradient") * upstream)?;
    let gradient =
        Tensor::from_slice(&found[found.len() - views.elem_count()..], views.shape(), &Device::Cpu)?;
    let apart = (gradient - &expected)?.abs()?.max_all()?.to_scalar::<f64>()?;
    // Two rows point along themselves or not at all: nothing but rounding is left of their gradient.
    let largest = expected.abs()?.max_all()?.to_scalar::<f64>()?.max(1e-3);
    assert!(apart < gradient_bound * largest, "gradients {apart:e} apart, of {largest:e} at most");
    Ok(())
}

#[rstest]
fn nt_xent_is_its_twin(
    // Rows of both views, width, blocks that share a row's columns: less than a tile, more than one, odd, two bands.
    #[values((2, 5, 1), (66, 64, 2), (130, 128, 1), (150, 200, 3), (300, 17, 2))] shape: (
        usize,
        usize,
        usize,
    ),
    #[values(false, true)] bf16: bool,
) -> Result<()> {
    const TEMPERATURE: f64 = 0.2;
    const UPSTREAM: f64 = 1.7;
    let Some(program) = program() else { return Ok(()) };
    let (rows, width, parts) = shape;
    let z = views(rows, width, bf16)?;
    let sizes = [rows, width, usize::from(bf16), parts];
    let found = run(program, "nt_xent", sizes, [TEMPERATURE, UPSTREAM], &z)?;
    assert_eq!(found.len(), 1 + rows * width);
    let loss = nt_xent(&z.narrow(0, 0, rows / 2)?, &z.narrow(0, rows / 2, rows / 2)?, TEMPERATURE)?;
    assert_close(&found, &loss, &z, UPSTREAM, bf16)
}

#[rstest]
fn barlow_twins_is_its_twin(
    // Images, width.
    #[values((3, 4), (5, 19), (33, 70), (70, 33), (64, 64))] shape: (usize, usize),
    #[values(false, true)] by_columns: bool,
    #[values(false, true)] bf16: bool,
) -> Result<()> {
    const WEIGHT: f64 = 0.05;
    const UPSTREAM: f64 = 1.7;
    let Some(program) = program() else { return Ok(()) };
    let (images, width) = shape;
    let z = views(2 * images, width, bf16)?;
    let sizes = [images, width, usize::from(bf16), usize::from(by_columns)];
    let found = run(program, "barlow_twins", sizes, [WEIGHT, UPSTREAM], &z)?;
    assert_eq!(found.len(), 3 + 2 * images * width);
    let loss = barlow_twins(&z.narrow(0, 0, images)?, &z.narrow(0, images, images)?, WEIGHT)?;
    for (found, (name, expected)) in found[1..3].iter().zip(&loss.parts) {
        let expected = expected.to_scalar::<f64>()?;
        let bound = if bf16 { 1e-2 } else { 3e-6 } * expected.abs().max(1.0);
        assert!((found - expected).abs() < bound, "{name} {found}, expected {expected}");
    }
    assert_close(&found, &loss.total, &z, UPSTREAM, bf16)
}

/// Numbers for a kernel, and for its twin in double precision: what bf16 leaves of them.
fn numbers(name: &str, shape: &[usize], bf16: bool) -> Result<Tensor> {
    let mut stream = Seed::root(0).child("layers").child(name).stream();
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| stream.normal() as f32).collect();
    let values = Tensor::from_vec(values, shape, &Device::Cpu)?;
    (if bf16 { values.to_dtype(DType::BF16)? } else { values }).to_dtype(DType::F64)
}

/// Runs a layer's kernels: sizes, then tensors one after the other.
fn layer(program: &Path, what: &str, sizes: [usize; 5], tensors: &[&Tensor]) -> Result<Vec<f64>> {
    let mut input: Vec<u8> = sizes.iter().flat_map(|&n| (n as i32).to_ne_bytes()).collect();
    for tensor in tensors {
        let values: Vec<f32> = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        values.iter().for_each(|x| input.extend(x.to_ne_bytes()));
    }
    Ok(exchange(program, what, &input))
}

/// Takes as many numbers as `expected` has from the front of `found`, and holds them to it.
fn assert_next(name: &str, found: &mut &[f64], expected: &Tensor, bf16: bool) -> Result<()> {
    let expected: Vec<f64> = expected.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    let (mine, rest) = found.split_at(expected.len());
    *found = rest;
    let largest = expected.iter().fold(1e-3_f64, |largest, x| largest.max(x.abs()));
    let bound = if bf16 { 1e-2 } else { 3e-6 } * largest;
    for (place, (mine, expected)) in mine.iter().zip(&expected).enumerate() {
        assert!((mine - expected).abs() < bound, "{name} {place}: {mine}, expected {expected}");
    }
    Ok(())
}

#[rstest]
fn batch_norm_is_its_twin(
    // Rows, channels, blocks that share the rows.
    #[values((5, 3, 1), (37, 64, 3), (200, 33, 4), (70, 40, 2), (9, 600, 2))] shape: (usize, usize, usize),
    #[values(false, true)] residual: bool,
    #[values(false, true)] relu: bool,
    #[values(false, true)] given: bool,
    #[values(false, true)] bf16: bool,
) -> Result<()> {
    let Some(program) = program() else { return Ok(()) };
    let (rows, channels, parts) = shape;
    // A mean that is large beside the deviation: what a sum of squares would lose.
    let x = Var::from_tensor(&(numbers("x", &[rows, channels], bf16)? + if bf16 { 0.0 } else { 30.0 })?)?;
    let added = Var::from_tensor(&numbers("residual", &[rows, channels], bf16)?)?;
    let slope = numbers("slope", &[rows, channels], bf16)?;
    let [weight, bias, mean] = ["weight", "bias", "mean"].map(|name| numbers(name, &[channels], false));
    let (weight, bias, mean) = (Var::from_tensor(&weight?)?, Var::from_tensor(&bias?)?, mean?);
    let variance = (mean.sqr()? + 0.5)?;
    let flags = usize::from(residual) + 2 * usize::from(relu) + 4 * usize::from(given);
    let tensors: [&Tensor; 7] = [&x, &slope, &added, &weight, &bias, &mean, &variance];
    let found = layer(program, "batch_norm", [rows, channels, usize::from(bf16), flags, parts], &tensors)?;

    let statistics = Statistics { mean: mean.clone(), variance: variance.clone() };
    let then = Then { residual: residual.then_some(&added), relu };
    let (y, used) = batch_norm(&x, &weight, &bias, given.then_some(statistics), then)?;
    let gradients = (&y * &slope)?.sum_all()?.backward()?;
    let none = Tensor::zeros((rows, channels), DType::F64, &Device::Cpu)?;
    let mut left = found.as_slice();
    assert_next("y", &mut left, &y, bf16)?;
    assert_next("by x", &mut left, gradients.get(&x).unwrap(), bf16)?;
    assert_next(
        "by residual",
        &mut left,
        if residual { gradients.get(&added).unwrap() } else { &none },
        bf16,
    )?;
    assert_next("by weight", &mut left, gradients.get(&weight).unwrap(), bf16)?;
    assert_next("by bias", &mut left, gradients.get(&bias).unwrap(), bf16)?;
    assert_next("mean", &mut left, &used.mean, bf16)?;
    assert_next("variance", &mut left, &used.variance, bf16)?;
    assert!(left.is_empty());
    Ok(())
}

#[rstest]
fn layer_norm_and_gelu_are_their_twins(
    // Rows, width, blocks that share the rows.
    #[values((1, 5, 1), (37, 64, 3), (100, 192, 2))] shape: (usize, usize, usize),
    #[values(false, true)] bf16: bool,
) -> Result<()> {
    let Some(program) = program() else { return Ok(()) };
    let (rows, width, parts) = shape;
    let x = Var::from_tensor(&numbers("x", &[rows, width], bf16)?)?;
    let slope = numbers("slope", &[rows, width], bf16)?;
    let [weight, bias] = ["weight", "bias"].map(|name| numbers(name, &[width], false));
    let (weight, bias) = (Var::from_tensor(&weight?)?, Var::from_tensor(&bias?)?);
    let sizes = [rows, width, usize::from(bf16), parts, 0];
    let tensors: [&Tensor; 4] = [&x, &slope, &weight, &bias];

    let found = layer(program, "layer_norm", sizes, &tensors)?;
    let y = layer_norm(&x, &weight, &bias, 1e-6)?;
    let gradients = (&y * &slope)?.sum_all()?.backward()?;
    let mut left = found.as_slice();
    assert_next("y", &mut left, &y, bf16)?;
    for (name, variable) in [("by x", &x), ("by weight", &weight), ("by bias", &bias)] {
        assert_next(name, &mut left, gradients.get(variable).unwrap(), bf16)?;
    }
    assert_next("sums of columns", &mut left, &slope.sum(0)?, bf16)?;
    assert!(left.is_empty());

    let found = layer(program, "gelu", sizes, &tensors)?;
    let y = gelu(&x)?;
    let gradients = (&y * &slope)?.sum_all()?.backward()?;
    let mut left = found.as_slice();
    assert_next("gelu", &mut left, &y, bf16)?;
    assert_next("gelu by x", &mut left, gradients.get(&x).unwrap(), bf16)?;
    assert!(left.is_empty());
    Ok(())
}

#[rstest]
fn attention_is_its_twin(
    // Images, tokens, width of a head, heads: fewer tokens than a warp's rows, than a block's, one more; ViT-Tiny's at 224 px.
    #[values((2, 5, 16, 3), (1, 33, 32, 2), (1, 64, 48, 1), (2, 65, 64, 2), (1, 197, 64, 3))] shape: (
        usize,
        usize,
        usize,
        usize,
    ),
) -> Result<()> {
    let Some(program) = program() else { return Ok(()) };
    let (images, tokens, width, heads) = shape;
    // Wide scores, so that a few tokens of many have most of the weight.
    let joined = (numbers("joined", &[images, tokens, 3 * width * heads], true)? * 2.0)?;
    let joined = Var::from_tensor(&joined)?;
    let slope = numbers("slope", &[images, tokens, width * heads], true)?;
    let found = layer(program, "attention", [images, tokens, width, heads, 0], &[&joined, &slope])?;
    let out = attention(&joined, heads)?;
    let gradients = (&out * &slope)?.sum_all()?.backward()?;
    let mut left = found.as_slice();
    assert_next("output", &mut left, &out, true)?;
    assert_next("by joined", &mut left, gradients.get(&joined).unwrap(), true)?;
    assert!(left.is_empty());
    Ok(())
}

#[rstest]
fn max_pool_is_its_twin(
    // Images, height, width, channels; the last does not fill its windows.
    #[values((2, 8, 8, 3), (1, 5, 7, 32), (3, 9, 4, 2))] shape: (usize, usize, usize, usize),
    #[values((3, 2, 1), (2, 2, 0))] window: (usize, usize, usize),
    #[values(false, true)] bf16: bool,
) -> Result<()> {
    let Some(program) = program() else { return Ok(()) };
    let (batch, height, width, channels) = shape;
    let (kernel, stride, padding) = window;
    let (down, across) =
        ((height + 2 * padding - kernel) / stride + 1, (width + 2 * padding - kernel) / stride + 1);
    // Whole numbers, so that maxima tie: the first of them has the gradient.
    let images = Var::from_tensor(&numbers("images", &[batch, height, width, channels], bf16)?.round()?)?;
    let slope = numbers("slope", &[batch, down, across, channels], bf16)?;
    let mut input: Vec<u8> =
        [0, 0, usize::from(bf16), 0, 0].iter().flat_map(|&n| (n as i32).to_ne_bytes()).collect();
    for size in [batch, height, width, channels, down, across, kernel, stride, padding] {
        input.extend((size as i32).to_ne_bytes());
    }
    for tensor in [images.as_tensor(), &slope] {
        let values: Vec<f32> = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        values.iter().for_each(|x| input.extend(x.to_ne_bytes()));
    }
    let found = exchange(program, "max_pool", &input);
    let out = max_pool(&images, Pool { kernel, stride, padding })?;
    let gradients = (&out * &slope)?.sum_all()?.backward()?;
    let mut left = found.as_slice();
    assert_next("maxima", &mut left, &out, bf16)?;
    assert_next("by images", &mut left, gradients.get(&images).unwrap(), bf16)?;
    assert!(left.is_empty());
    Ok(())
}

#[test]
fn picked_rows_are_their_twin() -> Result<()> {
    let Some(program) = program() else { return Ok(()) };
    // Rows that nobody picks, that one does, and that many do.
    let (count, width, picks) = (7, 40, [5_u32, 0, 6, 6, 3, 6, 0, 6, 6, 6, 6, 6, 6, 6]);
    let rows = Var::from_tensor(&numbers("rows", &[count, width], false)?)?;
    let slope = numbers("slope", &[picks.len(), width], false)?;
    let places =
        |row: u32| (0_u32..).zip(picks).filter(move |(_, pick)| *pick == row).map(|(place, _)| place);
    let members: Vec<u32> = (0..count as u32).flat_map(places).collect();
    let starts = (0..=count as u32).map(|row| picks.iter().filter(|&&pick| pick < row).count() as u32);

    let sizes = [count, width, picks.len(), 0, 0];
    let mut input: Vec<u8> = sizes.iter().flat_map(|&n| (n as i32).to_ne_bytes()).collect();
    for tensor in [rows.as_tensor(), &slope] {
        let values: Vec<f32> = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        values.iter().for_each(|x| input.extend(x.to_ne_bytes()));
    }
    picks.into_iter().chain(starts).chain(members).for_each(|n| input.extend(n.to_ne_bytes()));
    let found = exchange(program, "rows", &input);

    let picked = pick_rows(&rows, &picks)?;
    let gradients = (&picked * &slope)?.sum_all()?.backward()?;
    let mut left = found.as_slice();
    assert_next("picked", &mut left, &picked, false)?;
    assert_next("by rows", &mut left, gradients.get(&rows).unwrap(), false)?;
    assert!(left.is_empty());
    Ok(())
}

#[rstest]
fn updates_are_their_formulas(
    // Numbers: less than a piece, whole pieces, one more.
    #[values(2_000, 8_192, 12_289)] count: usize,
) -> Result<()> {
    let Some(program) = program() else { return Ok(()) };
    let [p, first, g] = ["p", "first", "g"].map(|name| numbers(name, &[count], false));
    let (p, first, g) = (p?, first?, g?);
    let second = numbers("second", &[count], false)?.sqr()?;
    // Scale of gradients; beta1 and its rest; beta2 and its rest; what decay keeps; rate; root of the correction; epsilon.
    let constants = [0.5, 0.9, 0.1, 0.99, 0.01, 0.999, 0.02, 0.3, 1e-8];
    let [scale, beta1, rest1, beta2, rest2, keep, size, root, epsilon] = constants;
    let constants = Tensor::new(&constants, &Device::Cpu)?;
    let found = layer(program, "updates", [count, 0, 0, 0, 0], &[&constants, &p, &first, &second, &g])?;

    let mut left = found.as_slice();
    // The program's two variables: all numbers, and their last half.
    let variables = [0, count / 2].map(|from| -> Result<[Tensor; 4]> {
        let last = |of: &Tensor| of.narrow(0, from, count - from);
        Ok([last(&p)?, last(&first)?, last(&second)?, last(&g)?])
    });
    let variables = variables.into_iter().collect::<Result<Vec<_>>>()?;
    for [p, first, _, g] in &variables {
        let velocity = ((first * 0.9)? + ((g * scale)? + (p * 0.01)?)?)?;
        assert_next("momentum", &mut left, &(p - (&velocity * 0.1)?)?, false)?;
        assert_next("velocity", &mut left, &velocity, false)?;
    }
    for [p, first, second, g] in &variables {
        let slope = (g * scale)?;
        let m = ((first * beta1)? + (&slope * rest1)?)?;
        let v = ((second * beta2)? + (slope.sqr()? * rest2)?)?;
        let moved = ((p * keep)? - ((&m / ((v.sqrt()? / root)? + epsilon)?)? * size)?)?;
        for (name, expected) in [("adamw", &moved), ("first", &m), ("second", &v)] {
            assert_next(name, &mut left, expected, false)?;
        }
    }
    for [p, _, _, g] in &variables {
        assert_next("average", &mut left, &((p * 0.9)? + (g * 0.1)?)?, false)?;
    }
    for [p, _, _, g] in &variables {
        for (a, b) in [(g, g), (p, p), (g, p)] {
            assert_next("inner product", &mut left, &(a * b)?.sum_all()?, false)?;
        }
    }
    assert!(left.is_empty());
    Ok(())
}

#[rstest]
fn views_are_the_cpus(
    // Larger and smaller than the images, odd.
    #[values(16, 37, 64)] side: usize,
    #[values(false, true)] bf16: bool,
) -> Result<()> {
    let Some(program) = program() else { return Ok(()) };
    let normalisation = Normalisation::SEWER_ML;
    let seed = Seed::root(0).child("views").index(side);
    let sizes = [(72, 58), (40, 90), (64, 64), (30, 25)];
    let images: Vec<Image> = sizes
        .iter()
        .enumerate()
        .map(|(place, &(width, height))| {
            let mut stream = seed.child("image").index(place).stream();
            // Smooth with noise: every adjustment, and clipping at both ends, has something to do.
            let pixels = (0..3 * width * height).map(|n| {
                let x =
                    127.0 + 90.0 * ((n / 3) as f64 * 0.05 + (n % 3) as f64).sin() + 40.0 * stream.normal();
                x.clamp(0.0, 255.0) as u8
            });
            Image::new(width, height, pixels.collect())
        })
        .collect();
    let recipes = [
        Recipe::simclr(side, 1.0),
        Recipe::byol(side),
        Recipe::paper(side),
        Recipe::mae(side),
        Recipe::evaluation(side),
    ];
    let (mut drawn, mut source) = (Vec::new(), 0);
    for (place, image) in images.iter().enumerate() {
        for recipe in &recipes {
            let views =
                recipe.draw(image.width, image.height, &mut seed.index(place).child(recipe.name).stream());
            drawn.extend(views.into_iter().map(|view| (view, source, image.width)));
        }
        source += image.pixels.len();
    }
    let batch = packed::Batch::new(&drawn);
    let mut input = Vec::new();
    [drawn.len(), side, batch.taps, 0].iter().for_each(|&n| input.extend((n as i32).to_ne_bytes()));
    normalisation.mean.iter().chain(&normalisation.std).for_each(|x| input.extend(x.to_ne_bytes()));
    [source, batch.scratch].iter().for_each(|&n| input.extend((n as i64).to_ne_bytes()));
    batch.views.iter().for_each(|view| input.extend(view.bytes()));
    images.iter().for_each(|image| input.extend(&image.pixels));
    let found = exchange(program, if bf16 { "views_bf16" } else { "views" }, &input);

    let mut expected = Vec::new();
    for (place, (view, ..)) in drawn.iter().enumerate() {
        let view = view.apply(&images[place / (drawn.len() / images.len())]);
        let mut numbers = vec![0.0; view.pixels.len()];
        to_normalised(&view, &normalisation, &mut numbers);
        expected.extend(numbers);
    }
    let expected = Tensor::new(expected, &Device::Cpu)?;
    let expected = if bf16 { expected.to_dtype(DType::BF16)?.to_dtype(DType::F32)? } else { expected };
    let different =
        expected.to_vec1::<f32>()?.iter().zip(&found).filter(|(a, b)| f64::from(**a) != **b).count();
    assert_eq!((found.len(), different), (expected.elem_count(), 0), "numbers, and how many differ");
    Ok(())
}

/// Bytes of its own memory that a thread may use: more means that registers do not do, or that an array is indexed by what the
/// compiler does not know. `batch_norm_slopes_bf16` keeps one number there.
const MOST_STACK: usize = 8;

#[test]
fn every_kernel_compiles_for_an_h100_and_keeps_its_numbers_in_registers() {
    if !is_there("nvcc") {
        eprintln!("SKIPPED: no nvcc on the PATH, so no kernel was compiled for a GPU");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let (mut files, mut kernels) = (0, 0);
    for path in sources("cu") {
        let made = Command::new("nvcc")
            .args(["-arch=sm_90", "-cubin", "-Xptxas", "-v", "-Werror", "all-warnings", "-I"])
            .arg(folder(SHARED))
            .arg("-o")
            .args([&place.path().join("kernel.cubin"), &path])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "{}: {told}", path.display());
        for line in told.lines().filter(|line| line.contains("bytes stack frame")) {
            let stack: usize = line.split_whitespace().next().unwrap().parse().unwrap();
            assert!(stack <= MOST_STACK, "{}: a kernel keeps {line}", path.display());
            kernels += 1;
        }
        files += 1;
    }
    assert_eq!(files, 11, "files of kernels");
    assert!(kernels > 60, "the compiler tells of {kernels} kernels");
}

/// Splits at commas that stand in no bracket.
fn split(text: &str) -> Vec<String> {
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for letter in text.chars() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(letter);
    }
    parts.into_iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// What stands between the bracket at the start of `text` and its partner.
fn in_brackets(text: &str) -> &str {
    let mut depth = 0;
    for (place, letter) in text.char_indices() {
        match letter {
            '(' | '{' => depth += 1,
            ')' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[1..place];
        }
    }
    panic!("a bracket without its partner: {}", &text[..text.len().min(80)])
}

/// A launch with one argument too few reads what lies behind the others: no compiler says so, and without a GPU nothing else would.
#[test]
fn every_launch_gives_its_kernel_as_many_arguments_as_it_takes() {
    let mut kernels = std::collections::BTreeMap::new();
    let mut launches = Vec::new();
    for path in sources("cu") {
        // Of macros, lines end in backslashes.
        let text = fs::read_to_string(&path).unwrap().replace('\\', " ");
        for found in text.split("extern \"C\" __global__ void").skip(1) {
            let found = found.split_once(')').unwrap().1.trim_start();
            let (name, rest) = found.split_once('(').unwrap();
            // Named after a type or a width in a macro.
            let stem = name.split("##").next().unwrap().trim().to_owned();
            kernels.insert(stem, split(in_brackets(&format!("({rest}"))).len());
        }
    }
    for path in sources("rs") {
        let text = fs::read_to_string(&path).unwrap();
        for (place, _) in text.match_indices("launch!(") {
            let mut parts = split(in_brackets(&text[place + "launch!".len()..]));
            if parts.get(1).is_some_and(|name| name == "name") {
                // A name that two launches share was made just before.
                let made = text[..place].rfind("let name = ").expect("a name");
                parts[1] = text[made..].split(';').next().unwrap().to_owned();
            }
            launches.push((path.clone(), parts));
        }
    }
    assert!(
        kernels.len() > 25 && launches.len() > 25,
        "{} kernels, {} launches",
        kernels.len(),
        launches.len()
    );
    let mut nameless = 0;
    for (path, parts) in launches {
        let [_, name, _, arguments @ ..] = &parts[..] else { panic!("{}: {parts:?}", path.display()) };
        let Some(literal) = name.split('"').nth(1) else {
            // A name in a variable.
            nameless += 1;
            continue;
        };
        let stem = match (literal.split_once('{'), name.contains("Self::kernel")) {
            (Some((stem, _)), _) => stem.to_owned(),
            (None, true) => format!("barlow_twins_{literal}_"),
            (None, false) => literal.to_owned(),
        };
        let taken = kernels.get(&stem).unwrap_or_else(|| panic!("{}: no kernel {stem}", path.display()));
        assert_eq!(arguments.len(), *taken, "{}: arguments of {stem}", path.display());
    }
    // The updates of optimisers, which are three kernels of the same arguments.
    assert_eq!(nameless, 1, "launches that are not checked");
}
