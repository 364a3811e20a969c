//! The model that a cell trains: a method and its online probe.

use anyhow::Result;

use super::Resolved;
use crate::{method::Method, train::online_probe::OnlineProbe};

/// The trained model.
pub(super) struct Model {
    pub method: Box<dyn Method>,
    /// `None` if the method has a classifier of its own.
    pub online_probe: Option<OnlineProbe>,
}

impl Model {
    pub fn new(resolved: &Resolved) -> Result<Self> {
        let seed = resolved.seed();
        let method = resolved.build(seed.child("model"))?;
        resolved.begin_with_pretrained(&*method)?;
        let online_probe = online_probe(resolved, &*method)?;
        Ok(Self { method, online_probe })
    }
}

/// Returns the linear probe that is trained alongside the method; `None` if the method itself learns from labels.
pub(super) fn online_probe(resolved: &Resolved, method: &dyn Method) -> Result<Option<OnlineProbe>> {
    if resolved.cell.trained_by().is_supervised() {
        return Ok(None);
    }
    let probe = OnlineProbe::new(
        method.encoder().width(),
        resolved.recipe.probe_rule,
        resolved.recipe.probe_rate(&resolved.scale),
        resolved.defect_weight,
        resolved.seed().child("probe"),
        &resolved.device,
    )?;
    Ok(Some(probe))
}
