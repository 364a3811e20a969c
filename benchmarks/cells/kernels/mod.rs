//! Our CUDA kernels without a GPU: their source runs on the CPU, one fibre per thread, in two orders of threads,
//! and is compared with the twin of every case of `checks::operations` that has kernels.
//!
//! Needs a C++ compiler (`c++`); without it, or without `nvcc`, the summary says so.

mod compiled;
mod launches;

use std::collections::BTreeMap;

use checks::{
    compare::{Named, compare, numbers},
    inputs::{Precision, stream},
    operations::{self, Case, Computed},
    views::{NORMALISATION, SIDES, Views},
};
use rstest::rstest;
use skewbench::{
    augment::packed,
    candle_core::{DType, Device, Result, Tensor},
};

use self::compiled::{exchange, program, told_by_ptxas};

/// Largest allowed difference, relative to the largest number of a tensor. For bf16: eight bits of each similarity,
/// weight and correlation, in sums of many.
fn bound(precision: Precision) -> f64 {
    if precision == Precision::Mixed { 1e-2 } else { 3e-6 }
}

/// Operations without kernels of ours: products by cuDNN and cuBLAS, Candle's means and divisions.
const WITHOUT_KERNELS: [&str; 5] = ["convolution", "global mean", "linear", "linear of gelu", "unit rows"];

/// A request to the program (see `benchmarks/kernels/on_cpu.cpp`), and the tensors of its answer, in order.
struct Request {
    what: &'static str,
    input: Vec<u8>,
    answers: Vec<&'static str>,
}

/// Serialises sizes, then numbers.
fn bytes<'a>(sizes: &[usize], tensors: impl IntoIterator<Item = &'a Tensor>) -> Vec<u8> {
    let mut input: Vec<u8> = sizes.iter().flat_map(|&n| (n as i32).to_ne_bytes()).collect();
    for tensor in tensors {
        for x in numbers(tensor).unwrap() {
            input.extend((x as f32).to_ne_bytes());
        }
    }
    input
}

/// Returns how many blocks share the rows of a case: one, or so many that each has a few rows.
fn parts(rows: usize) -> Vec<usize> {
    let several = rows.div_ceil(32).min(4);
    if several > 1 { vec![1, several] } else { vec![1] }
}

/// Returns all requests of a case; empty if no kernel supports it.
fn requests(case: &Case, precision: Precision, given: &Computed) -> Vec<Request> {
    let shape = &case.arguments[0].shape;
    let width = shape[shape.len() - 1];
    let rows = shape.iter().product::<usize>() / width;
    let bf16 = usize::from(precision == Precision::Mixed);
    let (x, slope) = (&given.arguments[0], &given.slope);
    match case.operation {
        "batch norm" => batch_norm(case, [rows, width, bf16], given),
        "layer norm" => {
            let tensors = [x, slope, &given.arguments[1], &given.arguments[2]];
            let answers = ["value", "by input", "by weight", "by bias", "sums of the slope's columns"];
            let request = |parts| {
                let input = bytes(&[rows, width, bf16, parts, 0], tensors);
                Request { what: "layer_norm", input, answers: answers.to_vec() }
            };
            parts(rows).into_iter().map(request).collect()
        }
        "gelu" => {
            let unused = Tensor::zeros(width, DType::F64, &Device::Cpu).unwrap();
            let input = bytes(&[rows, width, bf16, 1, 0], [x, slope, &unused, &unused]);
            vec![Request { what: "gelu", input, answers: vec!["value", "by input"] }]
        }
        "attention" => attention(case, precision, given),
        "max pool" | "max pool with ties" => {
            let [kernel, stride, padding] = ["kernel", "stride", "padding"].map(|name| case.constant(name));
            let out = slope.dims();
            let sizes = [shape[0], shape[1], shape[2], shape[3], out[1], out[2], kernel, stride, padding];
            let input = bytes(&[&[0, 0, bf16, 0, 0][..], &sizes].concat(), [x, slope]);
            vec![Request { what: "max_pool", input, answers: vec!["value", "by images"] }]
        }
        "pick rows" => pick_rows(case, precision, given),
        "nt-xent" => {
            let request = |parts| Request {
                what: "nt_xent",
                input: loss(&[rows, width, bf16, parts], case, "temperature", given),
                answers: vec!["value", "by views"],
            };
            parts(rows).into_iter().map(request).collect()
        }
        "barlow twins" => {
            let answers = ["value", "on the diagonal", "off the diagonal", "by views"];
            let request = |by_columns| Request {
                what: "barlow_twins",
                input: loss(&[rows / 2, width, bf16, by_columns], case, "weight", given),
                answers: answers.to_vec(),
            };
            [0, 1].map(request).into()
        }
        _ => Vec::new(),
    }
}

fn batch_norm(case: &Case, [rows, channels, bf16]: [usize; 3], given: &Computed) -> Vec<Request> {
    let named = |name: &str| {
        let place = case.arguments.iter().position(|argument| argument.name == name);
        place.map(|place| given.arguments[place].clone())
    };
    // Missing arguments are zeros, and are not read.
    let or_zeros = |name: &str, like: &Tensor| named(name).unwrap_or_else(|| like.zeros_like().unwrap());
    let [x, weight, bias] = ["input", "weight", "bias"].map(|name| named(name).unwrap());
    let residual = or_zeros("residual", &x);
    let [mean, variance] = ["mean", "variance"].map(|name| or_zeros(name, &weight));
    let tensors = [x, given.slope.clone(), residual, weight, bias, mean, variance];
    let flag = |name: &str, bit: usize| if case.switch(name) { bit } else { 0 };
    let flags = flag("residual", 1) + flag("relu", 2) + flag("given", 4);
    let request = |parts| Request {
        what: "batch_norm",
        input: bytes(&[rows, channels, bf16, flags, parts], &tensors),
        answers: vec!["value", "by input", "by residual", "by weight", "by bias", "mean", "variance"],
    };
    parts(rows).into_iter().map(request).collect()
}

/// Kernels support bf16 numbers, and heads of these widths.
fn attention(case: &Case, precision: Precision, given: &Computed) -> Vec<Request> {
    let (shape, heads) = (&case.arguments[0].shape, case.constant("heads"));
    let width = shape[2] / 3 / heads;
    if precision != Precision::Mixed || ![16, 32, 48, 64].contains(&width) {
        return Vec::new();
    }
    let input = bytes(&[shape[0], shape[1], width, heads, 0], [&given.arguments[0], &given.slope]);
    vec![Request { what: "attention", input, answers: vec!["value", "by joined"] }]
}

/// The kernel supports single precision, and takes for each row where its picks begin in a list of positions.
fn pick_rows(case: &Case, precision: Precision, given: &Computed) -> Vec<Request> {
    if precision != Precision::Single {
        return Vec::new();
    }
    let picks = case.constants["picks"].as_array().unwrap().iter().map(|pick| pick.as_u64().unwrap() as u32);
    let picks: Vec<u32> = picks.collect();
    let (count, width) = (case.arguments[0].shape[0], case.arguments[0].shape[1]);
    let places =
        |row: u32| (0_u32..).zip(picks.clone()).filter(move |(_, pick)| *pick == row).map(|(place, _)| place);
    let members = (0..count as u32).flat_map(places);
    let starts = (0..=count as u32).map(|row| picks.iter().filter(|&&pick| pick < row).count() as u32);
    let mut input = bytes(&[count, width, picks.len(), 0, 0], [&given.arguments[0], &given.slope]);
    picks.iter().copied().chain(starts).chain(members).for_each(|n| input.extend(n.to_ne_bytes()));
    vec![Request { what: "rows", input, answers: vec!["value", "by rows"] }]
}

/// Sizes, a constant, the slope of the loss, and the views.
fn loss(sizes: &[usize; 4], case: &Case, constant: &str, given: &Computed) -> Vec<u8> {
    let constant = Tensor::new(&[case.constants[constant].as_f64().unwrap()], &Device::Cpu).unwrap();
    bytes(sizes, [&constant, &given.slope, &given.arguments[0]])
}

/// Splits the program's output into tensors of the expected names and shapes.
fn cut(written: &[f64], answers: &[&str], expected: &[Named]) -> Vec<Named> {
    let mut left = written;
    let mut found: Vec<Named> = Vec::new();
    for answer in answers {
        let (_, like) = expected.iter().find(|(name, _)| name == answer).unwrap();
        let (mine, rest) = left.split_at(like.elem_count());
        left = rest;
        found.push(((*answer).to_owned(), Tensor::from_slice(mine, like.shape(), &Device::Cpu).unwrap()));
    }
    assert!(left.is_empty(), "{} numbers too many", left.len());
    found
}

/// Returns the results of the twin, and what kernels write in addition.
fn expected(case: &Case, precision: Precision, answers: &[&str]) -> anyhow::Result<Vec<Named>> {
    let twin = case.expected(precision)?;
    let mut results = twin.results;
    let (x, slope) = (&twin.arguments[0], &twin.slope);
    let width = slope.dims().last().copied().unwrap_or(1);
    let beside = [
        ("by residual", x.zeros_like()?),
        ("sums of the slope's columns", slope.reshape(((), width))?.sum(0)?),
    ];
    for (name, tensor) in beside {
        if !results.iter().any(|(known, _)| known == name) {
            results.push((name.to_owned(), tensor));
        }
    }
    let by_name = |answer: &&str| results.iter().find(|(name, _)| name == answer).unwrap().clone();
    Ok(answers.iter().map(by_name).collect())
}

#[test]
fn kernels_are_their_twins() -> anyhow::Result<()> {
    let Some(program) = program() else { return Ok(()) };
    let mut runs = BTreeMap::<&str, usize>::new();
    for case in operations::cases() {
        for precision in Precision::ON_A_GPU {
            let given = case.expected(precision)?;
            for request in requests(&case, precision, &given) {
                let expected = expected(&case, precision, &request.answers)?;
                let written = exchange(program, request.what, &request.input);
                let found = cut(&written, &request.answers, &expected);
                let compared = compare(&found, &expected, bound(precision))?;
                if let Some(first) = compared.first {
                    panic!("{} {}: {first}", case.name(), precision.id());
                }
                *runs.entry(case.operation).or_default() += 1;
            }
        }
    }
    println!("runs of kernels: {runs:?}");
    let idle: Vec<&str> = operations::counts().into_keys().filter(|name| !runs.contains_key(name)).collect();
    assert_eq!(idle, WITHOUT_KERNELS);
    Ok(())
}

/// Returns the numbers of a name, for updates.
fn normal(name: &str, count: usize) -> Result<Tensor> {
    stream("kernels", name, &[count])?.to_dtype(DType::F32)?.to_dtype(DType::F64)
}

#[rstest]
fn updates_are_their_formulas(
    // Counts: less than a piece, whole pieces, one more.
    #[values(2_000, 8_192, 12_289)] count: usize,
) -> anyhow::Result<()> {
    let Some(program) = program() else { return Ok(()) };
    let [p, first, g] = ["p", "first", "g"].map(|name| normal(name, count));
    let (p, first, g) = (p?, first?, g?);
    let second = normal("second", count)?.sqr()?;
    // Scale of gradients; beta1 and 1 - beta1; beta2 and 1 - beta2; part kept by decay; rate; root of the
    // correction; epsilon.
    let constants = [0.5, 0.9, 0.1, 0.99, 0.01, 0.999, 0.02, 0.3, 1e-8];
    let tensors = [&Tensor::new(&constants, &Device::Cpu)?, &p, &first, &second, &g];
    let written = exchange(program, "updates", &bytes(&[count, 0, 0, 0, 0], tensors));

    // The program's two variables: all numbers, and their second half.
    let variables = [0, count / 2].map(|from| -> Result<[Tensor; 4]> {
        let last = |of: &Tensor| of.narrow(0, from, count - from);
        Ok([last(&p)?, last(&first)?, last(&second)?, last(&g)?])
    });
    let variables = variables.into_iter().collect::<Result<Vec<_>>>()?;
    let expected = updated(&variables, constants)?;
    let names: Vec<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
    let compared = compare(&cut(&written, &names, &expected), &expected, 3e-6)?;
    assert!(compared.is_equal(), "{}", compared.first.unwrap());
    Ok(())
}

/// Returns the results of momentum, AdamW and a moving average on variables (weights, first and second moments,
/// gradients), and inner products.
fn updated(variables: &[[Tensor; 4]], constants: [f64; 9]) -> Result<Vec<Named>> {
    let [scale, beta1, rest1, beta2, rest2, keep, size, root, epsilon] = constants;
    let mut expected = Vec::new();
    let mut add =
        |name: &str, place: usize, tensor: Tensor| expected.push((format!("{name} {place}"), tensor));
    for (place, [p, first, _, g]) in variables.iter().enumerate() {
        let velocity = ((first * 0.9)? + ((g * scale)? + (p * 0.01)?)?)?;
        add("momentum", place, (p - (&velocity * 0.1)?)?);
        add("velocity", place, velocity);
    }
    for (place, [p, first, second, g]) in variables.iter().enumerate() {
        let slope = (g * scale)?;
        let m = ((first * beta1)? + (&slope * rest1)?)?;
        let v = ((second * beta2)? + (slope.sqr()? * rest2)?)?;
        add("adamw", place, ((p * keep)? - ((&m / ((v.sqrt()? / root)? + epsilon)?)? * size)?)?);
        add("first", place, m);
        add("second", place, v);
    }
    for (place, [p, _, _, g]) in variables.iter().enumerate() {
        add("average", place, ((p * 0.9)? + (g * 0.1)?)?);
    }
    for (place, [p, _, _, g]) in variables.iter().enumerate() {
        for (name, a, b) in [("gg", g, g), ("pp", p, p), ("gp", g, p)] {
            add(name, place, (a * b)?.sum_all()?);
        }
    }
    Ok(expected)
}

#[rstest]
fn views_are_the_cpus(#[values(false, true)] bf16: bool) -> Result<()> {
    let Some(program) = program() else { return Ok(()) };
    for side in SIDES {
        let Views { images, drawn, .. } = &Views::draw(side);
        let (mut starts, mut source) = (Vec::new(), 0);
        for image in images {
            starts.push(source);
            source += image.pixels.len();
        }
        let placed: Vec<_> =
            drawn.iter().map(|(place, view)| (view.clone(), starts[*place], images[*place].width)).collect();
        let batch = packed::Batch::new(&placed);
        let mut input = bytes(&[placed.len(), side, batch.taps, 0], []);
        NORMALISATION.mean.iter().chain(&NORMALISATION.std).for_each(|x| input.extend(x.to_ne_bytes()));
        [source, batch.scratch].iter().for_each(|&n| input.extend((n as i64).to_ne_bytes()));
        batch.views.iter().for_each(|view| input.extend(view.bytes()));
        images.iter().for_each(|image| input.extend(&image.pixels));
        let found = exchange(program, if bf16 { "views_bf16" } else { "views" }, &input);

        let expected = Tensor::new(Views::draw(side).expected(), &Device::Cpu)?;
        let expected = if bf16 { expected.to_dtype(DType::BF16)?.to_dtype(DType::F32)? } else { expected };
        let expected = expected.to_vec1::<f32>()?;
        let different = expected.iter().zip(&found).filter(|(a, b)| f64::from(**a) != **b).count();
        assert_eq!((found.len(), different), (expected.len(), 0), "{side} px: numbers, and how many differ");
    }
    Ok(())
}

/// Bytes of local memory that a thread may use: more means that registers do not suffice, or that an array has an
/// index unknown to the compiler. `batch_norm_slopes_bf16` keeps one number there.
const MOST_STACK: usize = 8;

#[test]
fn every_kernel_compiles_for_an_h100_and_keeps_its_numbers_in_registers() {
    let Some(told) = told_by_ptxas() else { return };
    let mut kernels = 0;
    for (path, told) in &told {
        for line in told.lines().filter(|line| line.contains("bytes stack frame")) {
            let stack: usize = line.split_whitespace().next().unwrap().parse().unwrap();
            assert!(stack <= MOST_STACK, "{}: a kernel keeps {line}", path.display());
            kernels += 1;
        }
    }
    assert_eq!(told.len(), 11, "files of kernels");
    assert!(kernels > 60, "the compiler tells of {kernels} kernels");
}
