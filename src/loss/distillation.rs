//! Cross-entropy to a centred, sharpened teacher, the loss of DINO. Knows nothing of crops or heads.
//!
//! For logits g of K prototypes, centre c and temperatures tau, over the pairs of a teacher's view t and
//! a student's view s other than t, averaged over pairs and images:
//!
//! L = mean_(t, s != t) [ - sum_k softmax((g_t - c) / tau_t)_k log softmax(g_s / tau_s)_k ]
//! c <- m c + (1 - m) mean over views and images of g_t,   after the loss has used the old c
//!
//! Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021,
//! equations 1, 3 and 4. References disagree on the first centre: in the authors' code, lightly and
//! solo-learn the average starts at zero; in stable-pretraining the first batch sets it. This is the
//! authors': the caller starts with zeros. solo-learn pairs the two large views only; we pair all.

use candle_core::{D, Error, Result, Tensor};

use super::contrastive::log_sum_exp;

/// DINO's cross-entropy over all pairs of different views.
///
/// `student` and `teacher` hold (batch, prototypes) logits, one tensor per view; view t of the teacher
/// and view t of the student are the same pixels. `centre` is (1, prototypes). No gradient reaches
/// `teacher` or `centre`. The result is a scalar, ln(prototypes) when the student is uniform.
///
/// # Errors
/// If the student has fewer than two views, the teacher none or more than the student, shapes differ,
/// the batch is empty, or a temperature is not positive.
pub fn dino(
    student: &[Tensor],
    teacher: &[Tensor],
    centre: &Tensor,
    student_temperature: f64,
    teacher_temperature: f64,
) -> Result<Tensor> {
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
    let targets = teacher
        .iter()
        .map(|logits| log_softmax(&logits.detach().broadcast_sub(&centre)?, teacher_temperature)?.exp())
        .collect::<Result<Vec<_>>>()?;
    let mut costs = Vec::new();
    for (view, logits) in student.iter().enumerate() {
        let log_probabilities = log_softmax(logits, student_temperature)?;
        for (_, target) in targets.iter().enumerate().filter(|(other, _)| *other != view) {
            costs.push((target * &log_probabilities)?.sum(D::Minus1)?.mean_all()?);
        }
    }
    Tensor::stack(&costs, 0)?.mean_all()?.neg()
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
    let means = teacher.iter().map(|logits| logits.detach().mean_keepdim(0)).collect::<Result<Vec<_>>>()?;
    let mean = Tensor::cat(&means, 0)?.mean_keepdim(0)?;
    (centre.detach() * momentum)? + (mean * (1.0 - momentum))?
}

/// log softmax(logits / temperature) over the last dimension, from operations that have a gradient.
fn log_softmax(logits: &Tensor, temperature: f64) -> Result<Tensor> {
    let logits = (logits / temperature)?;
    logits.broadcast_sub(&log_sum_exp(&logits)?.unsqueeze(D::Minus1)?)
}

/// An error unless all views are of one (batch, prototypes) shape, not empty, and `centre` fits them.
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
