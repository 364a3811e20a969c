//! The state of training, as one safetensors file: everything that the next step depends on, and the curve so
//! far.
//!
//! The curve and the running sums are tensors too (f64, counts i64), because text would round them. A file states its
//! format and a digest of its tensors, so that training never resumes from a damaged one, even if its length is right.
//! Independent of clocks, of when a state is saved, and of the cell it belongs to.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use safetensors::View;

use super::{Epoch, monitor::Monitor, online_probe::OnlineProbe, optimiser::Optimiser};
use crate::{
    backbone::safe::serialise,
    data::regular::{self, SizeLimit},
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

/// The position of training within its epoch, and its results so far.
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
    pub(super) fn capture(
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
        self.set_integers("tally/step", &[tally.step])?;
        self.set_integers("tally/images", &[tally.images])?;
        self.set_numbers("tally/loss", &[tally.loss])?;
        self.set_numbers("tally/probe_loss", &[tally.probe_loss])?;
        self.set_integers("tally/skipped", &tally.skipped.iter().copied().collect::<Vec<_>>())?;
        for (name, (sum, count)) in tally.monitor.sums()? {
            self.set_numbers(&format!("monitor_sum/{name}"), &[sum])?;
            self.set_integers(&format!("monitor_count/{name}"), &[count])?;
        }

        let curve = &tally.curve;
        let column = |of: &dyn Fn(&Epoch) -> f64| curve.iter().map(of).collect::<Vec<f64>>();
        self.set_integers("curve/images", &curve.iter().map(|epoch| epoch.images).collect::<Vec<_>>())?;
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
        let one_whole = |name: &str| self.integers(name)?.first().copied().context("an empty tensor");
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
        let (probe_losses, images) = (self.numbers("curve/probe_loss")?, self.integers("curve/images")?);
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
            skipped: self.integers("tally/skipped")?.into_iter().collect(),
            step: one_whole("tally/step")?,
            images: one_whole("tally/images")?,
            loss: one("tally/loss")?,
            probe_loss: one("tally/probe_loss")?,
            monitor: Monitor::from_sums(sums.collect::<Result<_>>()?),
        })
    }

    /// Returns how many epochs are complete, and how many steps of the next one.
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

    /// Stores numbers of the caller under a name, bit for bit. Without numbers, nothing is stored.
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
    pub fn numbers_under(&self, prefix: &str) -> Result<BTreeMap<String, Vec<f64>>> {
        let found = self.part(prefix).into_iter().map(|(name, tensor)| Ok((name, tensor.to_vec1()?)));
        found.collect()
    }

    /// Stores bytes of the caller under a name. Without bytes, nothing is stored.
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

    fn set_integers(&mut self, name: &str, values: &[usize]) -> Result<()> {
        let values = values.iter().map(|&value| i64::try_from(value)).collect::<Result<Vec<_>, _>>()?;
        if !values.is_empty() {
            self.tensors.insert(name.to_owned(), Tensor::new(values, &Device::Cpu)?);
        }
        Ok(())
    }

    fn integers(&self, name: &str) -> Result<Vec<usize>> {
        let values: Vec<i64> = self.tensors.get(name).map_or(Ok(Vec::new()), Tensor::to_vec1)?;
        values.into_iter().map(|value| Ok(usize::try_from(value)?)).collect()
    }

    /// Serialises the state as safetensors with `notes` in the header.
    ///
    /// # Errors
    /// None known: the length of each tensor matches its shape.
    pub fn to_safetensors(&self, notes: &BTreeMap<String, String>) -> Result<Vec<u8>> {
        let own = [(FORMAT_NOTE, FORMAT.to_owned()), (DIGEST_NOTE, digest(&self.tensors))];
        let notes = own.map(|(name, value)| (name.to_owned(), value)).into_iter().chain(notes.clone());
        Ok(serialise(&self.tensors, &notes.collect())?)
    }

    /// Reads a state and its notes.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or has another format.
    pub fn read(path: &Path) -> Result<(Self, BTreeMap<String, String>)> {
        let bytes = regular::read(path, SizeLimit::CHECKPOINT)
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
    use candle_core::DType;

    use super::*;
    use crate::{
        backbone::{
            Architecture, Name, Parameters, Stem, VitSize,
            heads::{DecoderSize, Heads},
        },
        loader::Batch,
        method::{Foundation, Objective, Position, byol::Bootstrap, teacher::Momentum},
        seed::Seed,
        train::optimiser::{Group, Rule},
    };

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
        std::fs::write(&path, state.to_safetensors(&notes).unwrap()).unwrap();
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
        let whole = state().to_safetensors(&BTreeMap::new()).unwrap();
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
    /// Completed epochs and an epoch in progress, in which no two numbers are equal.
    fn tally() -> Tally {
        let epoch = |epoch: usize| {
            let more = epoch as f64;
            let monitors = [("rankme", 50.0 + more), ("invariance", 60.0 + more)];
            Epoch {
                epoch,
                loss: 10.0 + more,
                probe_loss: Some(20.0 + more),
                learning_rate: 30.0 + more,
                images: 40 + epoch,
                monitors: monitors.map(|(name, value)| (name.to_owned(), value)).into(),
            }
        };
        let sums = [("rankme", (71.0, 8)), ("invariance", (72.0, 9))];
        Tally {
            curve: (0..3).map(epoch).collect(),
            skipped: BTreeSet::from([4, 6]),
            step: 5,
            images: 17,
            loss: 0.7,
            probe_loss: 0.9,
            monitor: Monitor::from_sums(sums.map(|(name, sum)| (name.to_owned(), sum)).into()),
        }
    }

    #[test]
    fn every_number_comes_back_in_its_place() {
        let mut state = State { tensors: BTreeMap::new() };
        state.set_tally(&tally()).unwrap();
        let (found, expected) = (state.tally().unwrap(), tally());
        assert_eq!(found.curve, expected.curve);
        assert_eq!((found.step, found.images), (5, 17));
        assert_eq!((found.loss, found.probe_loss), (0.7, 0.9));
        assert_eq!(found.skipped, expected.skipped);
        assert_eq!(found.monitor.sums().unwrap(), expected.monitor.sums().unwrap());
        // Three whole epochs and five steps of the next; images of all four.
        assert_eq!(state.position().unwrap(), (3, 5));
        assert_eq!(state.images().unwrap(), 40 + 41 + 42 + 17);
        state.set_numbers("curve/probe_loss", &[1.0, 2.0]).unwrap();
        let error = state.position().unwrap_err().to_string();
        assert_eq!(error, "columns of the curve differ in length");
    }

    #[test]
    fn a_closed_epoch_leaves_the_curve_and_what_was_skipped() {
        let mut tally = tally();
        let (before, last) = (tally.curve.clone(), Epoch { epoch: 3, ..tally.curve[0].clone() });
        tally.close(last.clone());
        assert_eq!(tally.curve, [before, vec![last]].concat());
        assert_eq!(tally.skipped, BTreeSet::from([4, 6]));
        assert_eq!((tally.step, tally.images, tally.loss, tally.probe_loss), (0, 0, 0.0, 0.0));
        assert!(tally.monitor.sums().unwrap().is_empty());
    }

    #[test]
    fn what_a_caller_adds_is_found_under_its_name() {
        let mut state = state();
        for (name, numbers) in [
            ("parts/data", &[1.5, 2.5][..]),
            ("parts/update", &[3.5]),
            ("partsbeside/x", &[9.0]),
            ("parts/none", &[]),
        ] {
            state.set_numbers(name, numbers).unwrap();
        }
        state.set_bytes("curve file", vec![7, 255]).unwrap();
        state.set_bytes("nothing", Vec::new()).unwrap();
        let parts = [("data".to_owned(), vec![1.5, 2.5]), ("update".to_owned(), vec![3.5])];
        assert_eq!(state.numbers_under("parts").unwrap(), BTreeMap::from(parts));
        assert_eq!(
            (state.numbers("parts/update").unwrap(), state.numbers("absent").unwrap()),
            (vec![3.5], vec![])
        );
        assert_eq!(
            (state.bytes("curve file").unwrap(), state.bytes("absent").unwrap()),
            (vec![7, 255], vec![])
        );
        let bytes = state.to_safetensors(&BTreeMap::new()).unwrap();
        let (read, _) = parse(&bytes).unwrap();
        assert_eq!(read.numbers_under("parts").unwrap(), state.numbers_under("parts").unwrap());
        assert_eq!(read.bytes("curve file").unwrap(), [7, 255]);
    }

    #[test]
    fn another_format_is_named() {
        let text = |bytes: &[u8], from: &[u8], to: &[u8]| {
            let at = bytes.windows(from.len()).position(|part| part == from).unwrap();
            [&bytes[..at], to, &bytes[at + from.len()..]].concat()
        };
        let whole = state().to_safetensors(&BTreeMap::new()).unwrap();
        let newer = text(&whole, b"\"checkpoint_format\":\"1\"", b"\"checkpoint_format\":\"2\"");
        let error = parse(&newer).err().unwrap().to_string();
        assert_eq!(error, "checkpoint format 2, this build reads 1");
    }

    /// A state without its digest, or with another's, is not resumed.
    #[test]
    fn a_state_has_its_own_digest() {
        let (state, other) = (state(), digest(&BTreeMap::new()));
        let with = |notes: &[(&str, &str)]| {
            let notes = notes.iter().map(|&(name, note)| (name.to_owned(), note.to_owned()));
            let bytes = serialise(&state.tensors, &notes.collect()).unwrap();
            parse(&bytes).map(|_| ()).map_err(|error| error.to_string())
        };
        let own = digest(&state.tensors);
        assert_eq!(with(&[(FORMAT_NOTE, FORMAT), (DIGEST_NOTE, own.as_str())]), Ok(()));
        let damaged = "damaged: its numbers do not match its digest";
        assert_eq!(with(&[(FORMAT_NOTE, FORMAT)]), Err(damaged.to_owned()));
        for digest in ["", other.as_str(), &own[1..]] {
            assert_eq!(with(&[(FORMAT_NOTE, FORMAT), (DIGEST_NOTE, digest)]), Err(damaged.to_owned()));
        }
        assert_eq!(with(&[(DIGEST_NOTE, own.as_str())]), Err("not a checkpoint".to_owned()));
    }

    /// The digest must reveal any change of a state: of a name, a type, a shape or a number.
    #[test]
    fn a_digest_is_of_names_types_shapes_and_numbers() {
        let of = |name: &str, tensor: Tensor| digest(&BTreeMap::from([(name.to_owned(), tensor)]));
        let floats = |numbers: [f32; 2]| Tensor::new(&numbers, &Device::Cpu).unwrap();
        let integers = Tensor::new(&[1.5_f32.to_bits(), 2.5_f32.to_bits()], &Device::Cpu).unwrap();
        let all = BTreeSet::from([
            of("a", floats([1.5, 2.5])),
            of("b", floats([1.5, 2.5])),
            of("a", floats([2.5, 1.5])),
            of("a", floats([1.5, 2.5]).reshape((2, 1)).unwrap()),
            of("a", integers),
        ]);
        assert_eq!(all.len(), 5, "{all:?}");
        assert_eq!(of("a", floats([1.5, 2.5])), of("a", floats([1.5, 2.5])));
    }
    /// BYOL (with a teacher) on a small ResNet (with running statistics), its optimiser and a probe.
    fn training(seed: u64, width: usize) -> (Box<dyn Method>, Optimiser, OnlineProbe) {
        let decoder = DecoderSize { width: 8, depth: 1, heads: 2 };
        let on = Foundation {
            architecture: Architecture {
                name: Name::ResNet18,
                side: 16,
                resnet_width: width,
                resnet_stem: Stem::Small,
                vit: VitSize { patch: 8, width: 12, depth: 1, heads: 3 },
            },
            heads: Heads { hidden: 8, output: 4, prototypes: 6, decoder },
            defect_weight: 3.0,
            seed: Some(Seed::root(seed)),
            dtype: DType::F32,
            device: &Device::Cpu,
        };
        let method = Bootstrap { momentum: Momentum { start: 0.5, end: 1.0 } }.build(&on).unwrap();
        let group = Group::uniform(method.parameters().trainable(), 0.1, 0.01);
        let optimiser = Optimiser::new(Rule::ADAMW, vec![group]).unwrap();
        let probe =
            OnlineProbe::new(8 * width, Rule::ADAMW, 0.1, 3.0, Seed::root(seed), &Device::Cpu).unwrap();
        (method, optimiser, probe)
    }

    fn values<'a>(tensors: impl IntoIterator<Item = (String, &'a Tensor)>) -> BTreeMap<String, Vec<f32>> {
        let flat = |tensor: &Tensor| tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1();
        tensors.into_iter().map(|(name, tensor)| (name, flat(tensor).unwrap())).collect()
    }

    fn all_of(
        (method, optimiser, probe): &(Box<dyn Method>, Optimiser, OnlineProbe),
    ) -> Vec<BTreeMap<String, Vec<f32>>> {
        let named = |parameters: &Parameters| {
            let pairs = parameters
                .all()
                .iter()
                .map(|parameter| (parameter.name.clone(), parameter.variable.as_tensor()));
            values(pairs)
        };
        let state = |optimiser: &Optimiser| {
            let state = optimiser.state().unwrap();
            values(state.iter().map(|(name, tensor)| (name.clone(), tensor)))
        };
        vec![
            named(method.parameters()),
            named(method.teacher().unwrap()),
            named(probe.parameters()),
            state(optimiser),
            state(probe.optimiser()),
        ]
    }

    #[test]
    fn everything_that_is_trained_is_restored() {
        let mut trained = training(1, 4);
        let pixels: Vec<f32> =
            (0..6 * 16 * 16 * 3).map(|n: usize| libm::sinf(0.7 * (n % 1009) as f32)).collect();
        let batch = Batch {
            images: Tensor::from_vec(pixels, (6, 16, 16, 3), &Device::Cpu).unwrap(),
            labels: Tensor::new(&[0_f32, 1.0, 0.0], &Device::Cpu).unwrap(),
            views: 2,
            indices: (0..3).collect(),
            skipped: Vec::new(),
        };
        let at = Position { step: 0, steps: 2, epoch: 0, epochs: 1 };
        let (method, optimiser, probe) = &mut trained;
        let step = method.step(&batch, at).unwrap();
        optimiser.step(&crate::tensor::backward(&step.loss).unwrap(), |base| base).unwrap();
        method.after_step(at).unwrap();
        probe.step(&step.features, &batch.labels.repeat(2).unwrap(), |base| base).unwrap();
        let state = State::capture(&**method, Some(probe), optimiser, &tally()).unwrap();

        let mut other = training(2, 4);
        assert!(all_of(&other).iter().zip(all_of(&trained)).all(|(other, trained)| *other != trained));
        let found = state.restore(&*other.0, Some(&mut other.2), &mut other.1).unwrap();
        assert_eq!((all_of(&other), found.curve, found.step), (all_of(&trained), tally().curve, 5));

        // A model of another size is refused, and so is a state without the probe.
        let mut wider = training(2, 8);
        let error = state.restore(&*wider.0, Some(&mut wider.2), &mut wider.1).err().unwrap().to_string();
        assert!(error.contains("'conv1.weight' has shape [4, 3, 3, 3], expected [8, 3, 3, 3]"), "{error}");
        let without = State::capture(&*trained.0, None, &trained.1, &tally()).unwrap();
        let error = without.restore(&*other.0, Some(&mut other.2), &mut other.1).err().unwrap().to_string();
        assert!(error.contains("no tensor named 'online_probe.weight'"), "{error}");
    }

    #[test]
    fn a_state_without_its_tally_is_refused() {
        let whole = state();
        for name in ["tally/step", "tally/images", "tally/loss", "tally/probe_loss", "monitor_count/a/b"] {
            let mut state = State { tensors: whole.tensors.clone() };
            assert!(state.tensors.remove(name).is_some(), "{name}");
            for error in [state.position().unwrap_err(), state.images().unwrap_err()] {
                assert_eq!(error.to_string(), "an empty tensor", "{name}");
            }
        }
        for name in ["curve/loss", "curve/images", "curve_monitor/rankme"] {
            let mut state = State { tensors: whole.tensors.clone() };
            state.tensors.insert(name.to_owned(), state.tensors[name].narrow(0, 0, 1).unwrap());
            let error = state.position().unwrap_err().to_string();
            assert_eq!(error, "columns of the curve differ in length", "{name}");
        }
        let mut state = whole;
        state.tensors.insert("tally/step".to_owned(), Tensor::new(&[-1_i64], &Device::Cpu).unwrap());
        assert!(state.position().is_err(), "steps below zero");
    }
}
