//! The state of training, as one safetensors file: everything that the next step depends on, and the curve so
//! far.
//!
//! Numbers of the curve and of running sums are tensors too (f64, bit by bit): text would round them. A file states
//! its format and a digest of its tensors, so that training never resumes from a torn one, even if its length is
//! right. Independent of clocks, of when a state is saved, and of the cell it belongs to.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use safetensors::View;

use super::{Epoch, monitor::Monitor, online_probe::OnlineProbe, optimiser::Optimiser};
use crate::{
    backbone::safe::serialised,
    data::regular::{self, Most},
    method::Method,
};

/// Version of the file format; raised whenever its content changes.
const FORMAT: &str = "1";

/// Name of the format version in a file's header.
const FORMAT_NOTE: &str = "checkpoint_format";
const DIGEST_NOTE: &str = "checkpoint_digest";

/// A copy of the training state between two steps.
pub struct State {
    tensors: BTreeMap<String, Tensor>,
}

/// The position of training within its epoch, and what has been reported so far.
#[derive(Default)]
pub(super) struct Tally {
    /// Completed epochs.
    pub curve: Vec<Epoch>,
    /// Positions of images that could not be read.
    pub skipped: BTreeSet<usize>,
    /// Steps completed in the current epoch.
    pub step: usize,
    /// Images seen in the current epoch.
    pub images: usize,
    /// Sum of the method's losses in the current epoch.
    pub loss: f64,
    /// Sum of the online probe's losses in the current epoch.
    pub probe_loss: f64,
    /// Sums of monitored values in the current epoch.
    pub monitor: Monitor,
}

impl Tally {
    /// Ends the current epoch.
    pub fn close(&mut self, epoch: Epoch) {
        let (mut curve, skipped) = (std::mem::take(&mut self.curve), std::mem::take(&mut self.skipped));
        curve.push(epoch);
        *self = Self { curve, skipped, ..Self::default() };
    }
}

impl State {
    /// Copies the training state.
    pub(super) fn of(
        method: &dyn Method,
        probe: Option<&OnlineProbe>,
        optimiser: &Optimiser,
        tally: &Tally,
    ) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        let parameters = [
            ("model", Some(method.parameters())),
            ("teacher", method.teacher()),
            ("probe", probe.map(OnlineProbe::parameters)),
        ];
        for (part, parameters) in parameters {
            for parameter in parameters.iter().flat_map(|parameters| parameters.all()) {
                tensors.insert(format!("{part}/{}", parameter.name), parameter.variable.copy()?);
            }
        }
        let optimisers =
            [("optimiser", Some(optimiser)), ("probe_optimiser", probe.map(OnlineProbe::optimiser))];
        for (part, optimiser) in optimisers {
            for (name, tensor) in optimiser.map(Optimiser::state).transpose()?.into_iter().flatten() {
                tensors.insert(format!("{part}/{name}"), tensor);
            }
        }
        let mut state = Self { tensors };
        state.set_tally(tally)?;
        Ok(state)
    }

    /// Restores the state: variables and optimisers. Returns the tally.
    ///
    /// # Errors
    /// If the state belongs to another model or another optimiser.
    pub(super) fn restore(
        &self,
        method: &dyn Method,
        probe: Option<&mut OnlineProbe>,
        optimiser: &mut Optimiser,
    ) -> Result<Tally> {
        let part = |part: &'static str| move |name: &str| self.tensors.get(&format!("{part}/{name}"));
        method.parameters().set(part("model"))?;
        if let Some(teacher) = method.teacher() {
            teacher.set(part("teacher"))?;
        }
        optimiser.restore(&self.part("optimiser"))?;
        if let Some(probe) = probe {
            probe.parameters().set(part("probe"))?;
            probe.optimiser_mut().restore(&self.part("probe_optimiser"))?;
        }
        self.tally()
    }

    fn part(&self, part: &str) -> HashMap<String, Tensor> {
        let under = |(name, tensor): (&String, &Tensor)| {
            let name = name.strip_prefix(part)?.strip_prefix('/')?;
            Some((name.to_owned(), tensor.clone()))
        };
        self.tensors.iter().filter_map(under).collect()
    }

    fn set_tally(&mut self, tally: &Tally) -> Result<()> {
        self.set_whole("tally/step", &[tally.step])?;
        self.set_whole("tally/images", &[tally.images])?;
        self.set_numbers("tally/loss", &[tally.loss])?;
        self.set_numbers("tally/probe_loss", &[tally.probe_loss])?;
        self.set_whole("tally/skipped", &tally.skipped.iter().copied().collect::<Vec<_>>())?;
        for (name, (sum, count)) in tally.monitor.sums()? {
            self.set_numbers(&format!("monitor_sum/{name}"), &[sum])?;
            self.set_whole(&format!("monitor_count/{name}"), &[count])?;
        }

        let curve = &tally.curve;
        let column = |of: &dyn Fn(&Epoch) -> f64| curve.iter().map(of).collect::<Vec<f64>>();
        self.set_whole("curve/images", &curve.iter().map(|epoch| epoch.images).collect::<Vec<_>>())?;
        self.set_numbers("curve/loss", &column(&|epoch| epoch.loss))?;
        self.set_numbers("curve/learning_rate", &column(&|epoch| epoch.learning_rate))?;
        // NaN represents `None`: means are finite.
        self.set_numbers("curve/probe_loss", &column(&|epoch| epoch.probe_loss.unwrap_or(f64::NAN)))?;
        let monitors: BTreeSet<&String> = curve.iter().flat_map(|epoch| epoch.monitors.keys()).collect();
        for name in monitors {
            let means = column(&|epoch| epoch.monitors.get(name).copied().unwrap_or(f64::NAN));
            self.set_numbers(&format!("curve_monitor/{name}"), &means)?;
        }
        Ok(())
    }

    fn tally(&self) -> Result<Tally> {
        let one = |name: &str| self.numbers(name)?.first().copied().context("an empty tensor");
        let one_whole = |name: &str| self.whole(name)?.first().copied().context("an empty tensor");
        let sums = self.part("monitor_sum").into_keys().map(|name| {
            let sum = one(&format!("monitor_sum/{name}"))?;
            let count = one_whole(&format!("monitor_count/{name}"))?;
            Ok((name, (sum, count)))
        });
        let monitors = self.part("curve_monitor").into_keys().map(|name| {
            let means = self.numbers(&format!("curve_monitor/{name}"))?;
            Ok((name, means))
        });
        let monitors = monitors.collect::<Result<BTreeMap<_, _>>>()?;
        let (losses, rates) = (self.numbers("curve/loss")?, self.numbers("curve/learning_rate")?);
        let (probe_losses, images) = (self.numbers("curve/probe_loss")?, self.whole("curve/images")?);
        let columns = [rates.len(), probe_losses.len(), images.len()];
        ensure!(
            columns.into_iter().chain(monitors.values().map(Vec::len)).all(|length| length == losses.len()),
            "columns of the curve differ in length"
        );
        let defined = |value: f64| (!value.is_nan()).then_some(value);
        let epoch = |epoch: usize| Epoch {
            epoch,
            loss: losses[epoch],
            probe_loss: defined(probe_losses[epoch]),
            learning_rate: rates[epoch],
            images: images[epoch],
            monitors: monitors
                .iter()
                .filter_map(|(name, means)| Some((name.clone(), defined(means[epoch])?)))
                .collect(),
        };
        Ok(Tally {
            curve: (0..losses.len()).map(epoch).collect(),
            skipped: self.whole("tally/skipped")?.into_iter().collect(),
            step: one_whole("tally/step")?,
            images: one_whole("tally/images")?,
            loss: one("tally/loss")?,
            probe_loss: one("tally/probe_loss")?,
            monitor: Monitor::from_sums(sums.collect::<Result<_>>()?),
        })
    }

    /// Returns the numbers of completed epochs, and of completed steps of the next.
    ///
    /// # Errors
    /// If the state does not contain them.
    pub fn position(&self) -> Result<(usize, usize)> {
        let tally = self.tally()?;
        Ok((tally.curve.len(), tally.step))
    }

    /// Returns the number of images seen so far, over all epochs.
    ///
    /// # Errors
    /// If the state does not contain it.
    pub fn images(&self) -> Result<usize> {
        let tally = self.tally()?;
        Ok(tally.images + tally.curve.iter().map(|epoch| epoch.images).sum::<usize>())
    }

    /// Adds numbers of the caller, stored bit by bit. An empty list is the same as none.
    pub fn set_numbers(&mut self, name: &str, values: &[f64]) -> Result<()> {
        if !values.is_empty() {
            self.tensors.insert(name.to_owned(), Tensor::new(values, &Device::Cpu)?);
        }
        Ok(())
    }

    /// Returns the numbers stored under a name; empty if there are none.
    pub fn numbers(&self, name: &str) -> Result<Vec<f64>> {
        self.tensors.get(name).map_or(Ok(Vec::new()), |found| Ok(found.to_vec1()?))
    }

    /// Returns all numbers under names that begin with `prefix` and a slash, by the rest of their names.
    pub fn under(&self, prefix: &str) -> Result<BTreeMap<String, Vec<f64>>> {
        let found = self.part(prefix).into_iter().map(|(name, tensor)| Ok((name, tensor.to_vec1()?)));
        found.collect()
    }

    /// Adds bytes of the caller. An empty list is the same as none.
    pub fn set_bytes(&mut self, name: &str, values: Vec<u8>) -> Result<()> {
        if !values.is_empty() {
            let count = values.len();
            self.tensors.insert(name.to_owned(), Tensor::from_vec(values, count, &Device::Cpu)?);
        }
        Ok(())
    }

    /// Returns the bytes stored under a name; empty if there are none.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        self.tensors.get(name).map_or(Ok(Vec::new()), |found| Ok(found.to_vec1()?))
    }

    fn set_whole(&mut self, name: &str, values: &[usize]) -> Result<()> {
        let values = values.iter().map(|&value| i64::try_from(value)).collect::<Result<Vec<_>, _>>()?;
        if !values.is_empty() {
            self.tensors.insert(name.to_owned(), Tensor::new(values, &Device::Cpu)?);
        }
        Ok(())
    }

    fn whole(&self, name: &str) -> Result<Vec<usize>> {
        let values: Vec<i64> = self.tensors.get(name).map_or(Ok(Vec::new()), Tensor::to_vec1)?;
        values.into_iter().map(|value| Ok(usize::try_from(value)?)).collect()
    }

    /// Serialises the state as safetensors with `notes` in the header.
    ///
    /// # Errors
    /// None known: the length of each tensor matches its shape.
    pub fn serialised(&self, notes: &BTreeMap<String, String>) -> Result<Vec<u8>> {
        let own = [(FORMAT_NOTE, FORMAT.to_owned()), (DIGEST_NOTE, digest(&self.tensors))];
        let notes = own.map(|(name, value)| (name.to_owned(), value)).into_iter().chain(notes.clone());
        Ok(serialised(&self.tensors, &notes.collect())?)
    }

    /// Reads a state and its notes.
    ///
    /// # Errors
    /// If the file is torn, or of another format.
    pub fn read(path: &Path) -> Result<(Self, BTreeMap<String, String>)> {
        let bytes = regular::read(path, Most::CHECKPOINT)
            .with_context(|| format!("{}: cannot be read", path.display()))?;
        parse(&bytes).with_context(|| path.display().to_string())
    }
}

fn parse(bytes: &[u8]) -> Result<(State, BTreeMap<String, String>)> {
    let (_, header) =
        safetensors::SafeTensors::read_metadata(bytes).context("truncated or not safetensors")?;
    let notes: BTreeMap<_, _> = header.metadata().clone().unwrap_or_default().into_iter().collect();
    match notes.get(FORMAT_NOTE).map(String::as_str) {
        Some(FORMAT) => {}
        Some(found) => bail!("checkpoint format {found}, this build reads {FORMAT}"),
        None => bail!("not a checkpoint"),
    }
    let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu).context("damaged")?;
    let tensors: BTreeMap<String, Tensor> = tensors.into_iter().collect();
    ensure!(
        notes.get(DIGEST_NOTE) == Some(&digest(&tensors)),
        "damaged: its numbers do not match its digest"
    );
    Ok((State { tensors }, notes))
}

/// Returns BLAKE3 of names, types, shapes and numbers.
fn digest(tensors: &BTreeMap<String, Tensor>) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, tensor) in tensors {
        hasher.update(format!("{name} {:?} {:?}\n", tensor.dtype(), tensor.dims()).as_bytes());
        hasher.update(&View::data(tensor));
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let monitors = BTreeMap::from([("rankme".to_owned(), 0.1 + 0.2)]);
        let epoch = |epoch, monitors| Epoch {
            epoch,
            loss: 1.0 / 3.0,
            probe_loss: None,
            learning_rate: 1e-300,
            images: 64,
            monitors,
        };
        let tally = Tally {
            curve: vec![epoch(0, BTreeMap::new()), epoch(1, monitors)],
            skipped: BTreeSet::from([3, 70_000]),
            step: 2,
            images: 17,
            loss: 0.7,
            probe_loss: -0.0,
            monitor: Monitor::from_sums(BTreeMap::from([("a/b".to_owned(), (f64::MIN_POSITIVE, 5))])),
        };
        let mut state = State { tensors: BTreeMap::new() };
        state.set_tally(&tally).unwrap();
        state
    }

    #[test]
    fn a_state_reads_back_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let (path, state) = (folder.path().join("state"), state());
        let notes = BTreeMap::from([("cell".to_owned(), "x".to_owned())]);
        std::fs::write(&path, state.serialised(&notes).unwrap()).unwrap();
        let (read, found) = State::read(&path).unwrap();
        assert_eq!(found["cell"], "x");
        let (tally, before) = (read.tally().unwrap(), state.tally().unwrap());
        assert_eq!(tally.curve, before.curve);
        assert_eq!(tally.curve[1].monitors["rankme"].to_bits(), (0.1_f64 + 0.2).to_bits());
        assert_eq!((tally.curve[0].monitors.len(), tally.curve[0].probe_loss), (0, None));
        assert_eq!((tally.step, tally.images, tally.loss), (2, 17, 0.7));
        assert_eq!(tally.skipped, BTreeSet::from([3, 70_000]));
        assert!(tally.probe_loss.is_sign_negative());
        assert_eq!(tally.monitor.sums().unwrap()["a/b"], (f64::MIN_POSITIVE, 5));
    }

    #[test]
    fn a_torn_state_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let whole = state().serialised(&BTreeMap::new()).unwrap();
        let refused = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            format!("{:#}", State::read(&path).err().expect("a torn state was read"))
        };
        for length in [0, 4, whole.len() / 2, whole.len() - 1] {
            let error = refused(&whole[..length]);
            assert!(error.contains("truncated") && error.contains("state"), "{error}");
        }
        // What a power failure can leave: the right length, zeros at the end.
        let mut zeroed = whole.clone();
        let length = whole.len();
        zeroed[length - 40..].fill(0);
        assert!(refused(&zeroed).contains("digest"));
        // A file of weights is not a state.
        let mut other = whole;
        let at = other.windows(FORMAT_NOTE.len()).position(|part| part == FORMAT_NOTE.as_bytes()).unwrap();
        other[at] = b'X';
        assert!(refused(&other).contains("not a checkpoint"));
    }
}
