//! Cross-entropy to a centred, sharpened teacher, the loss of DINO.
//!
//! For logits g of K prototypes, centre c and temperatures tau, over the pairs of a teacher's view t and
//! a student's view s other than t, averaged over pairs and images:
//!
//! L = mean_(t, s != t) [ - sum_k softmax((g_t - c) / tau_t)_k log softmax(g_s / tau_s)_k ]
//! c <- m c + (1 - m) mean over views and images of g_t,   after the loss has used the old c
//!
//! Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021, equations 1, 3
//! and 4. Implementations differ in the first centre: in the authors' code, lightly and solo-learn the average
//! starts at zero; in stable-pretraining the first batch sets it. This follows the authors: the caller starts with
//! zeros. solo-learn pairs only the two large views; here all views are paired.

use candle_core::{D, DType, Error, Result, Tensor};

use super::{Loss, contrastive::log_sum_exp};
use crate::tensor::widen;

/// DINO's cross-entropy over all pairs of different views.
///
/// `student` and `teacher` hold (batch, prototypes) logits, one tensor per view; view t of the teacher
/// and view t of the student are the same pixels. `centre` is (1, prototypes). No gradient reaches
/// `teacher` or `centre`. The total is ln(prototypes) when the student is uniform. Its parts, in nats, are the
/// `teacher_entropy`, which the student cannot change, and the `divergence` (Kullback-Leibler) of the student from
/// the teacher: the loss may rise while a student learns, because the teacher's entropy grows.
///
/// # Errors
/// If the student has fewer than two views, the teacher has none or more than the student, shapes differ, the batch
/// is empty, or a temperature is not positive.
pub fn dino(
    student: &[Tensor],
    teacher: &[Tensor],
    centre: &Tensor,
    student_temperature: f64,
    teacher_temperature: f64,
) -> Result<Loss> {
    if student.len() < 2 || teacher.is_empty() || teacher.len() > student.len() {
        return Err(Error::Msg(format!(
            "dino: {} student views and {} teacher views, expected at least two of the student and one of \
             the teacher, each of which the student has too",
            student.len(),
            teacher.len()
        )));
    }
    for temperature in [student_temperature, teacher_temperature] {
        if !(temperature > 0.0 && temperature.is_finite()) {
            return Err(Error::Msg(format!("dino: temperature {temperature}, expected a positive number")));
        }
    }
    expect_shapes("dino", student.iter().chain(teacher), centre)?;

    let centre = centre.detach();
    let (mut targets, mut entropies) = (Vec::new(), Vec::new());
    for logits in teacher {
        let log_target = log_softmax(&widen(logits)?.detach().broadcast_sub(&centre)?, teacher_temperature)?;
        let target = log_target.exp()?;
        entropies.push((&target * log_target)?.sum(D::Minus1)?.mean_all()?.neg()?);
        targets.push(target);
    }
    let mut costs = Vec::new();
    for (view, logits) in student.iter().enumerate() {
        let log_probabilities = log_softmax(&widen(logits)?, student_temperature)?;
        for (_, target) in targets.iter().enumerate().filter(|(other, _)| *other != view) {
            costs.push((target * &log_probabilities)?.sum(D::Minus1)?.mean_all()?);
        }
    }
    let total = Tensor::stack(&costs, 0)?.mean_all()?.neg()?;
    // Every view of the teacher is in equally many pairs, so the mean entropy over views is that over pairs.
    let entropy = Tensor::stack(&entropies, 0)?.mean_all()?.to_dtype(DType::F64)?;
    let divergence = (total.detach().to_dtype(DType::F64)? - &entropy)?;
    Ok(Loss { total, parts: vec![("teacher_entropy", entropy), ("divergence", divergence)] })
}

/// The centre for the next step: an exponential average of the teacher's mean logits, (1, prototypes).
///
/// `teacher` holds (batch, prototypes) logits, one tensor per view; `centre` is the one the loss of this
/// step used. The result carries no gradient.
///
/// # Errors
/// If there is no view, shapes differ, the batch is empty, or `momentum` is outside 0..=1.
pub fn next_centre(centre: &Tensor, teacher: &[Tensor], momentum: f64) -> Result<Tensor> {
    if !(0.0..=1.0).contains(&momentum) {
        return Err(Error::Msg(format!("next_centre: momentum {momentum}, expected 0 to 1")));
    }
    expect_shapes("next_centre", teacher.iter(), centre)?;
    let means =
        teacher.iter().map(|logits| widen(logits)?.detach().mean_keepdim(0)).collect::<Result<Vec<_>>>()?;
    let mean = Tensor::cat(&means, 0)?.mean_keepdim(0)?;
    (centre.detach() * momentum)? + (mean * (1.0 - momentum))?
}

/// log softmax(logits / temperature) over the last dimension, from operations that have a gradient.
fn log_softmax(logits: &Tensor, temperature: f64) -> Result<Tensor> {
    let logits = (logits / temperature)?;
    logits.broadcast_sub(&log_sum_exp(&logits)?.unsqueeze(D::Minus1)?)
}

/// Returns an error unless all views have the same (batch, prototypes) shape, not empty, and `centre` fits them.
fn expect_shapes<'a>(
    caller: &str,
    mut views: impl Iterator<Item = &'a Tensor>,
    centre: &Tensor,
) -> Result<()> {
    let Some(first) = views.next() else {
        return Err(Error::Msg(format!("{caller}: no views, expected at least one")));
    };
    let (batch, prototypes) = first.dims2()?;
    if batch == 0 || centre.dims() != [1, prototypes] {
        return Err(Error::Msg(format!(
            "{caller}: logits {:?} and centre {:?}, expected (batch, prototypes), not empty, and (1, prototypes)",
            first.dims(),
            centre.dims()
        )));
    }
    match views.find(|view| view.dims() != first.dims()) {
        Some(other) => Err(Error::Msg(format!(
            "{caller}: views have shapes {:?} and {:?}, expected equal shapes",
            first.dims(),
            other.dims()
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};
    use checks::{
        assert_differences, normal,
        reference::{
            assert_begins, assert_close, assert_constant, assert_finite, gradient, matrix, numbers, scalar,
            single, views,
        },
    };
    use rstest::rstest;

    use super::*;

    /// Student view v = cos(0.5 v + 0.2 i + 0.35 j + 0.05 i j), 4 rows i and 6 columns j.
    fn student(count: usize) -> Vec<Tensor> {
        (0..count)
            .map(|v| matrix(4, 6, |i, j| libm::cos(0.5 * v as f64 + 0.2 * i + 0.35 * j + 0.05 * i * j)))
            .map(|view| view.as_detached_tensor())
            .collect()
    }

    fn teacher() -> Vec<Tensor> {
        let (a, b) = views();
        vec![(a.as_tensor() * 2.0).unwrap(), (b.as_tensor() * 2.0).unwrap()]
    }

    fn zeros(prototypes: usize) -> Tensor {
        Tensor::zeros((1, prototypes), DType::F64, &Device::Cpu).unwrap()
    }

    fn row(values: &[f64]) -> Var {
        Var::from_slice(values, (1, values.len()), &Device::Cpu).unwrap()
    }

    // lightly 1.6.0 and dino's main_dino.py in float64 with torch 2.15.0: two calls, the centre moved
    // by momentum 0.9 between them, and the centre after the first.
    #[rstest]
    #[case(0.04, [6.220665387385246, 7.726527543511863])]
    #[case(0.07, [6.162258562577168, 7.274626352902324])]
    fn agrees_with_dino(#[case] teacher_temperature: f64, #[case] expected: [f64; 2]) {
        let (student, teacher) = (student(4), teacher());
        let first = dino(&student, &teacher, &zeros(6), 0.1, teacher_temperature).unwrap().total;
        assert_close(scalar(&first), expected[0], 1e-13);
        let centre = next_centre(&zeros(6), &teacher, 0.9).unwrap();
        let after = [0.120877487, 0.113615136, 0.038354741, -0.075599218, 0.023381067, -0.004478533];
        assert_begins(&numbers(&centre), &after, 1e-9);
        let second = dino(&student, &teacher, &centre, 0.1, teacher_temperature).unwrap().total;
        assert_close(scalar(&second), expected[1], 1e-13);
    }

    #[test]
    fn agrees_with_dino_on_two_views() {
        // From the same sources.
        let loss = dino(&student(2), &teacher(), &zeros(6), 0.1, 0.04).unwrap().total;
        assert_close(scalar(&loss), 7.332662985978574, 1e-13);
    }

    #[test]
    fn two_prototypes_by_hand() {
        // Minus its centre the teacher is (3/4, 1/4) in view 0 and (1/2, 1/2) in view 1; the student is (3/4, 1/4)
        // in view 0 and (1/2, 1/2) in view 1. Slopes: the student minus the teacher of the other view, divided by
        // the temperature 0.2 and by two pairs.
        let ln3 = 3_f64.ln();
        let teacher = [row(&[0.5 * ln3 + 1.0, -1.0]), row(&[1.0, -1.0])].map(|x| x.as_tensor().clone());
        let (centre, first, second) = (row(&[1.0, -1.0]), row(&[0.2 * ln3, 0.0]), row(&[7.0, 7.0]));
        let student = [first.as_tensor().clone(), second.as_tensor().clone()];
        let Loss { total: loss, parts } = dino(&student, &teacher, &centre, 0.2, 0.5).unwrap();
        let first_pair = ((4.0_f64 / 3.0).ln() + 4_f64.ln()) / 2.0;
        assert_close(scalar(&loss), (first_pair + 2_f64.ln()) / 2.0, 1e-14);
        assert_begins(&gradient(&loss, &first), &[0.625, -0.625], 1e-14);
        assert_begins(&gradient(&loss, &second), &[-0.625, 0.625], 1e-14);
        // Entropy of (3/4, 1/4): ln 4 - 3/4 ln 3; of (1/2, 1/2): ln 2.
        let entropy = (4_f64.ln() - 0.75 * ln3 + 2_f64.ln()) / 2.0;
        assert_eq!(
            parts.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            ["teacher_entropy", "divergence"]
        );
        assert_close(scalar(&parts[0].1), entropy, 1e-14);
        assert_close(scalar(&parts[1].1), (first_pair + 2_f64.ln()) / 2.0 - entropy, 1e-14);
    }

    #[rstest]
    fn a_uniform_student_costs_the_log_of_the_prototypes(#[values(1, 2, 6, 100)] prototypes: usize) {
        // Closed form: -sum_k P_k log(1 / K) = log K for every P.
        let student = [1.5, -4.0, 0.0].map(|x| matrix(3, prototypes, |_, _| x).as_detached_tensor());
        let teacher = [matrix(3, prototypes, |i, j| libm::sin(i + 2.0 * j)).as_detached_tensor()];
        let loss = dino(&student, &teacher, &zeros(prototypes), 0.1, 0.04).unwrap().total;
        assert_close(scalar(&loss), (prototypes as f64).ln(), 1e-13);
    }

    /// The definition, number by number, without any shift of exponents.
    fn definition(student: &[Tensor], teacher: &[Tensor], centre: &[f64], temperatures: [f64; 2]) -> f64 {
        let softmax = |logits: Vec<f64>| {
            let sum: f64 = logits.iter().map(|x| x.exp()).sum();
            logits.into_iter().map(move |x| x.exp() / sum).collect::<Vec<_>>()
        };
        let logits = |view: &Tensor, i: usize| numbers(&view.get(i).unwrap());
        let (mut sum, mut count) = (0.0, 0.0);
        for (t, teacher) in teacher.iter().enumerate() {
            for (_, student) in student.iter().enumerate().filter(|(s, _)| *s != t) {
                for i in 0..student.dim(0).unwrap() {
                    let (p, q) = (logits(teacher, i), logits(student, i));
                    let p = p.iter().zip(centre).map(|(x, c)| (x - c) / temperatures[1]);
                    let (p, q) =
                        (softmax(p.collect()), softmax(q.iter().map(|x| x / temperatures[0]).collect()));
                    sum -= p.iter().zip(&q).map(|(p, q)| p * q.ln()).sum::<f64>();
                    count += 1.0;
                }
            }
        }
        sum / count
    }

    // The grid of lightly's tests/loss/test_dino_loss.py, without its optimiser step.
    #[rstest]
    fn every_count_of_views_follows_the_definition(
        #[values(1, 2, 3)] batch: usize,
        #[values(0, 1, 2, 3)] locals: usize,
        #[values(1, 2, 3)] prototypes: usize,
        #[values([0.1, 0.02], [0.2, 0.04])] temperatures: [f64; 2],
    ) {
        let draw = |name: &str, index: usize| {
            let name = format!("{name}{index}");
            (normal(&name, &[batch, prototypes], DType::F64).unwrap().as_tensor() * 0.3).unwrap()
        };
        let student: Vec<Tensor> = (0..2 + locals).map(|view| draw("student", view)).collect();
        let teacher: Vec<Tensor> = (0..2).map(|view| draw("teacher", view)).collect();
        let centre = normal("centre", &[1, prototypes], DType::F64).unwrap();
        let loss = dino(&student, &teacher, &centre, temperatures[0], temperatures[1]).unwrap().total;
        let expected = definition(&student, &teacher, &numbers(&centre), temperatures);
        assert_close(scalar(&loss), expected, 1e-12 * (1.0 + expected));
    }

    #[test]
    fn gradients_are_finite_differences() {
        let student = [0, 1, 2].map(|v| normal(&format!("student{v}"), &[3, 5], DType::F64).unwrap());
        let teacher = [0, 1].map(|v| normal(&format!("teacher{v}"), &[3, 5], DType::F64).unwrap());
        let teacher = teacher.map(|view| view.as_detached_tensor());
        let centre = normal("centre", &[1, 5], DType::F64).unwrap();
        assert_differences(&|x| dino(x, &teacher, &centre, 0.3, 0.2).map(|loss| loss.total), &student)
            .unwrap();
    }

    #[test]
    fn teacher_and_centre_are_constants() {
        let (t, c, s) = (row(&[1.0, 2.0]), row(&[0.1, 0.2]), row(&[0.3, 0.1]));
        let teacher = [t.as_tensor().clone()];
        let loss =
            dino(&[s.as_tensor().clone(), s.as_tensor().clone()], &teacher, &c, 0.1, 0.04).unwrap().total;
        assert_constant(&loss, &t);
        assert_constant(&loss, &c);
        let next = next_centre(&c, &teacher, 0.5).unwrap();
        assert_begins(&numbers(&next), &[0.55, 1.1], 1e-15);
        assert_constant(&next.sum_all().unwrap(), &t);
        assert_constant(&next.sum_all().unwrap(), &c);
    }

    #[test]
    fn a_centre_is_the_mean_over_views_and_images() {
        // By hand: the mean of 1, 2, 3, 6 is 3; 0.75 * 4 + 0.25 * 3.
        let view = |values: [f64; 2]| Tensor::new(&values, &Device::Cpu).unwrap().reshape((2, 1)).unwrap();
        let views = [view([1.0, 2.0]), view([3.0, 6.0])];
        let centre = Tensor::new(&[[4.0]], &Device::Cpu).unwrap();
        assert_eq!(numbers(&next_centre(&centre, &views, 0.75).unwrap()), [3.75]);
        assert_eq!(numbers(&next_centre(&centre, &views, 0.0).unwrap()), [3.0]);
        assert_eq!(numbers(&next_centre(&centre, &views, 1.0).unwrap()), [4.0]);
    }

    #[rstest]
    fn single_precision_stays_finite(#[values(0.0, 1e-38, 1e3, 1e30)] size: f32) {
        let first = single(&[size, -size, 0.0, 0.0, size, size], &[2, 3]);
        let second = single(&[-size, 0.0, size, size, -size, -size], &[2, 3]);
        let student = [first.as_tensor().clone(), second.as_tensor().clone()];
        let teacher = student.clone().map(|view| view.detach());
        let centre = zeros(3).to_dtype(DType::F32).unwrap();
        assert_finite(&dino(&student, &teacher, &centre, 0.1, 0.04).unwrap().total, &[&first, &second]);
    }

    #[test]
    fn unusable_input_is_an_error() {
        let (four, two) = (student(4), teacher());
        let message = |student: &[Tensor], teacher: &[Tensor], centre: &Tensor, temperature: f64| {
            dino(student, teacher, centre, temperature, 0.04).unwrap_err().to_string()
        };
        assert!(message(&four[..1], &two[..1], &zeros(6), 0.1).contains("1 student"));
        assert!(message(&[], &[], &zeros(6), 0.1).contains("0 student"));
        assert!(message(&four, &[], &zeros(6), 0.1).contains("0 teacher"));
        assert!(message(&two, &four[..3], &zeros(6), 0.1).contains("3 teacher"));
        assert!(message(&four, &two, &zeros(5), 0.1).contains("[1, 5]"));
        for temperature in [0.0, -0.1, f64::NAN, f64::INFINITY] {
            assert!(message(&four, &two, &zeros(6), temperature).contains("temperature"));
        }
        let short = [four[0].clone(), four[1].narrow(0, 0, 3).unwrap()];
        assert!(message(&short, &two, &zeros(6), 0.1).contains("[3, 6]"));
        let none = [0, 1].map(|_| Tensor::zeros((0, 6), DType::F64, &Device::Cpu).unwrap());
        assert!(message(&none, &none[..1], &zeros(6), 0.1).contains("not empty"));
        let centre = |teacher: &[Tensor], centre: &Tensor, momentum: f64| {
            next_centre(centre, teacher, momentum).unwrap_err().to_string()
        };
        assert!(centre(&[], &zeros(6), 0.9).contains("no views"));
        assert!(centre(&two, &zeros(5), 0.9).contains("[1, 5]"));
        assert!(centre(&none, &zeros(6), 0.9).contains("not empty"));
        assert!(centre(&two, &zeros(6), 1.1).contains("momentum 1.1"));
        assert!(centre(&two, &zeros(6), f64::NAN).contains("momentum NaN"));
    }
}
