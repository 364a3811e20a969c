//! A synthetic sewer: unlimited labelled pictures from a seed, at any resolution.
//!
//! Labels follow the statistics of Sewer-ML (`frequencies`). A scene (`scene`) is drawn from the seed
//! (`sample`, `habits`, `defects`), traced from a robot's camera (`render`), and recorded with the artefacts
//! of a recorder (`finish`). Pictures are bit-identical on every machine: only IEEE-exact operations and `libm` are
//! used. No pictures of Sewer-ML were used to make it.

mod camera;
mod defects;
mod draws;
mod finish;
mod floor;
mod frequencies;
mod habits;
mod light;
mod material;
mod noise;
mod opening;
mod patch;
mod pipe;
mod render;
mod sample;
mod scene;
mod solid;
mod span;
mod stroke;
mod wall;

use anyhow::Result;
pub use scene::Scene;

use super::{ClassSet, Dataset, Image, Labels, Mask, Source};
use crate::seed::Seed;
use draws::Draws;
use frequencies::Frequencies;

/// Must change whenever any picture or label changes.
const VERSION: &str = "synthetic 2";

/// Share of images with a defect in Sewer-ML's splits (Table 2: 487,309 of 1,040,129; 61,365 of 130,046).
const TRAIN_DEFECT_SHARE: f64 = 0.4685;
const VALIDATION_DEFECT_SHARE: f64 = 0.4719;

/// Difference (of 255) above which a pixel counts as showing a defect; larger than the effects of recording.
const CHANGED: u8 = 12;

/// Returns the drawn data: `side` x `side` pixels, reproducible from `seed`.
///
/// A longer split begins with the images of a shorter one.
pub fn source(seed: Seed, train_images: usize, validation_images: usize, side: usize) -> Source {
    let train = Synthetic::new("train", seed, train_images, side, TRAIN_DEFECT_SHARE);
    let validation = Synthetic::new("validation", seed, validation_images, side, VALIDATION_DEFECT_SHARE);
    Source {
        name: "synthetic".into(),
        train: Box::new(train),
        validation: Box::new(validation),
        interpretation: Vec::new(),
        left_out: Vec::new(),
        leaks: Vec::new(),
        has_classes: true,
        limits: vec![
            "pictures are drawn by a program, not filmed: no Sewer-ML image is in them, and scores on them \
             say nothing about scores on Sewer-ML"
                .into(),
            "class frequencies are those of Sewer-ML's training split, but classes occur independently of each \
             other and every image is its own pipe: there are no videos"
                .into(),
        ],
    }
}

/// Draws `scene` on `side` x `side` pixels.
pub fn draw(scene: &Scene, side: usize) -> Image {
    let light = render::trace(scene, side);
    Image::new(side, side, scene.finish.develop(light, side))
}

struct Synthetic {
    split: &'static str,
    seed: Seed,
    side: usize,
    labels: Vec<Labels>,
    digest: String,
}

impl Synthetic {
    fn new(split: &'static str, seed: Seed, images: usize, side: usize, defect_share: f64) -> Self {
        let seed = seed.child("synthetic").child(split);
        let frequencies = Frequencies::published();
        let labels = (0..images)
            .map(|index| {
                let mut draws = Draws::new(seed.index(index).child("labels"));
                let defect = draws.coin(defect_share);
                let classes = if defect { frequencies.draw(&mut draws) } else { ClassSet::EMPTY };
                Labels { defect, classes, stratum: classes.bits() }
            })
            .collect();
        // The seed is private to its module, so a number drawn from it represents it.
        let fingerprint = seed.child("digest").stream().unit().to_bits();
        let identity = format!("{VERSION}/{split}/{fingerprint:016x}/{images}/{side}");
        Self { split, seed, side, labels, digest: blake3::hash(identity.as_bytes()).to_hex().to_string() }
    }
}

impl Dataset for Synthetic {
    fn labels(&self) -> &[Labels] {
        &self.labels
    }

    fn open(&self, index: usize) -> Result<Image> {
        let labels = self.labels.get(index).ok_or_else(|| {
            let n = self.labels.len();
            anyhow::anyhow!("synthetic {}: no image {index}: there are {n}; ask for more images", self.split)
        })?;
        let scene = Scene::sample(self.seed.index(index), labels.classes);
        Ok(draw(&scene, self.side))
    }

    /// Returns the pixels that its defects change: the same pipe is also drawn without them.
    fn mask(&self, index: usize) -> Result<Option<Mask>> {
        let (seed, side) = (self.seed.index(index), self.side);
        let with = self.open(index)?;
        let without = draw(&Scene::without_defects(seed, self.labels[index].classes), side);
        let pixels = with.pixels.chunks_exact(3).zip(without.pixels.chunks_exact(3));
        let changed = |(a, b): (&[u8], &[u8])| a.iter().zip(b).any(|(a, b)| a.abs_diff(*b) > CHANGED);
        Ok(Some(Mask { width: side, height: side, pixels: pixels.map(changed).collect() }))
    }

    fn location(&self, index: usize) -> String {
        let codes: Vec<_> = self.labels[index].classes.iter().map(|class| class.code()).collect();
        let shows = if codes.is_empty() { "normal".to_string() } else { codes.join("+") };
        format!("synthetic {} image {index} ({shows})", self.split)
    }

    fn digest(&self) -> String {
        self.digest.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::DefectClass;

    fn small() -> Source {
        source(Seed::root(0), 24, 6, 64)
    }

    #[test]
    fn pictures_are_pinned_to_the_bit() {
        // Computed by this code on x86-64 Linux. These digests must be the same on every machine; if a picture is
        // changed on purpose, VERSION must change, too.
        let pinned = [(0, "89cbdb96d7816c46"), (1, "80878e2d88f061d6"), (2, "f94c58954e2fd379")];
        let mut found = Vec::new();
        for (index, _) in pinned {
            let image = small().train.open(index).expect("in range");
            found.push((index, blake3::hash(&image.pixels).to_hex()[..16].to_string()));
        }
        let found: Vec<_> = found.iter().map(|(index, digest)| (*index, digest.as_str())).collect();
        assert_eq!(found, pinned);
    }

    #[test]
    fn places_name_what_is_drawn() {
        let train = small().train;
        let of = |defect| train.labels().iter().position(|label| label.defect == defect).unwrap();
        let (normal, defect) = (of(false), of(true));
        assert_eq!(train.location(normal), format!("synthetic train image {normal} (normal)"));
        let codes: Vec<&str> = train.labels()[defect].classes.iter().map(DefectClass::code).collect();
        assert!(!codes.is_empty());
        assert_eq!(train.location(defect), format!("synthetic train image {defect} ({})", codes.join("+")));
    }

    /// A pixel belongs to the mask if at least one channel changes by more than [`CHANGED`].
    #[test]
    fn masks_are_where_a_channel_changes() {
        let mut alone = 0;
        let dataset = Synthetic::new("train", Seed::root(5), 10, 64, 1.0);
        for index in 0..10 {
            let mask = dataset.mask(index).unwrap().unwrap();
            let scene = Scene::without_defects(dataset.seed.index(index), dataset.labels[index].classes);
            let (with, without) = (dataset.open(index).unwrap(), draw(&scene, 64));
            for (place, masked) in mask.pixels.iter().enumerate() {
                let channel = |c: usize| {
                    i32::from(with.pixels[3 * place + c]) - i32::from(without.pixels[3 * place + c])
                };
                let changed = (0..3).filter(|&c| channel(c).abs() >= 13).count();
                assert_eq!(*masked, changed > 0, "image {index}, pixel {place}");
                alone += usize::from(changed == 1);
            }
        }
        assert!(alone > 0, "some differ in one channel alone");
    }

    #[test]
    fn every_class_shows_in_most_of_its_pictures() {
        for class in DefectClass::ALL {
            let classes = ClassSet::EMPTY.with(class);
            let mut shares: Vec<f64> = (0..9)
                .map(|index| {
                    let seed = Seed::root(4).child(class.code()).index(index);
                    let with = draw(&Scene::sample(seed, classes), 64).pixels;
                    let without = draw(&Scene::without_defects(seed, classes), 64).pixels;
                    let changed =
                        with.iter().zip(&without).filter(|(a, b)| a.abs_diff(**b) > CHANGED).count();
                    changed as f64 / with.len() as f64
                })
                .collect();
            shares.sort_by(f64::total_cmp);
            assert!(
                shares[4] > 0.005,
                "{}: half of the pictures change less than {}",
                class.code(),
                shares[4]
            );
        }
    }

    #[test]
    fn masks_lie_where_defects_are_and_nowhere_else() {
        let source = source(Seed::root(0), 60, 6, 64);
        let part = |index: usize| {
            let mask = source.train.mask(index).unwrap().expect("drawn");
            assert_eq!((mask.width, mask.height, mask.pixels.len()), (64, 64, 64 * 64));
            mask.pixels.iter().filter(|&&defect| defect).count() as f64 / 4096.0
        };
        let (mut shown, mut defects) = (0, 0);
        for (index, labels) in source.train.labels().iter().enumerate() {
            match labels.defect {
                false => assert_eq!(part(index), 0.0, "image {index} is normal"),
                true => (shown, defects) = (shown + usize::from(part(index) > 0.0), defects + 1),
            }
        }
        assert!(shown as f64 > 0.9 * f64::from(defects), "{shown} of {defects} defects are seen");
        assert!(source.train.mask(60).is_err());
    }

    #[test]
    fn a_scene_is_the_same_scene_at_any_size() {
        let scene = Scene::sample(Seed::root(4), ClassSet::EMPTY.with(DefectClass::GR).with(DefectClass::AF));
        let mean = |side: usize, top: usize| {
            let image = draw(&scene, side);
            assert_eq!((image.width, image.height), (side, side));
            let half = &image.pixels[top * side / 2 * side * 3..][..side / 2 * side * 3];
            half.iter().map(|&byte| f64::from(byte)).sum::<f64>() / half.len() as f64
        };
        for half in [0, 1] {
            let fine = mean(256, half);
            for side in [32, 61, 128] {
                assert!((mean(side, half) - fine).abs() < 4.0, "{side}, half {half}: {fine}");
            }
        }
    }

    #[test]
    fn labels_agree_with_themselves_and_with_the_published_share() {
        let source = source(Seed::root(1), 20_000, 20_000, 64);
        for (data, share) in [(&source.train, 0.4685), (&source.validation, 0.4719)] {
            for labels in data.labels() {
                assert_eq!(labels.defect, !labels.classes.is_empty());
                assert_eq!(labels.stratum, labels.classes.bits());
            }
            let found = data.labels().iter().filter(|labels| labels.defect).count() as f64 / 20_000.0;
            // 4.5 standard errors.
            assert!((found - share).abs() < 0.016, "{found} for {share}");
        }
    }

    #[test]
    fn a_longer_split_begins_with_the_shorter_and_splits_share_nothing() {
        let (short, long) = (small(), source(Seed::root(0), 30, 6, 64));
        assert_eq!(short.train.labels(), &long.train.labels()[..24]);
        assert_eq!(short.train.open(3).expect("in range"), long.train.open(3).expect("in range"));
        assert_ne!(short.train.digest(), long.train.digest());
        assert_ne!(short.train.digest(), short.validation.digest());
        assert_ne!(short.train.digest(), source(Seed::root(9), 24, 6, 64).train.digest());
        assert_ne!(
            short.train.open(0).expect("in range").pixels,
            short.validation.open(0).expect("in range").pixels
        );
        let error = short.train.open(24).expect_err("one past the end").to_string();
        assert!(error.contains("no image 24: there are 24"), "{error}");
    }

    fn short(hasher: &blake3::Hasher) -> String {
        hasher.finalize().to_hex()[..8].to_owned()
    }

    /// Digests of the scenes that twelve seeds draw with these classes, of their linear light, and of the recorded
    /// pictures. The side is odd, so it is not a multiple of the block size.
    fn drawn(code: &str, classes: ClassSet) -> [String; 3] {
        let side = 45;
        let mut hashers = [(); 3].map(|()| blake3::Hasher::new());
        for index in 0..12 {
            let scene = Scene::sample(Seed::root(11).child(code).index(index), classes);
            hashers[0].update(format!("{scene:?}").as_bytes());
            for value in render::trace(&scene, side).iter().flatten() {
                hashers[1].update(&value.to_le_bytes());
            }
            hashers[2].update(&draw(&scene, side).pixels);
        }
        hashers.each_ref().map(short)
    }

    /// Computed by this code on x86-64 Linux, like `pictures_are_pinned_to_the_bit`: every class by itself, several in
    /// one picture, and none. If any is changed on purpose, VERSION must change, too.
    #[test]
    fn scenes_and_pictures_of_every_class_are_pinned() {
        let several =
            ClassSet::from_iter([DefectClass::FS, DefectClass::AF, DefectClass::GR, DefectClass::BE]);
        let mut found =
            vec![("none", drawn("none", ClassSet::EMPTY)), ("several", drawn("several", several))];
        found.extend(
            DefectClass::ALL.map(|class| (class.code(), drawn(class.code(), ClassSet::EMPTY.with(class)))),
        );
        let found: Vec<String> =
            found.into_iter().map(|(code, of)| format!("{code} {}", of.join(" "))).collect();
        insta::assert_snapshot!(found.join("\n"), @r"
        none 5ac876a1 33b6e9b9 1449d6c4
        several 10fb5894 5a84e579 3260d1b0
        RB e9c857d4 626ec632 64110b72
        OB 34f15b71 89919534 5a2122a0
        PF 7c19f99d 2bd4b332 463804c6
        DE 5cb298dc cdfc44d4 72a0b9c9
        FS 8a27cc50 6a2dde4c 500630dc
        IS 308c4516 e427daa0 360af258
        RO 8635c488 49f7ff09 33bcf847
        IN 1d6ad82f 175784d1 e232a246
        AF 34f9834d 4ac3c232 483149b7
        BE ee90d11a 361807fd b8450291
        FO f77343b9 1c9570aa 163007a2
        GR a7f07784 39a54c5d a7289da2
        PH 9ff30fb6 6427f931 fffcd138
        PB f6dac840 93c5172a 4ce3a132
        OS 0091d8a3 b5f25e1a a6433b24
        OP cb0d085c d8e2790e dd39032c
        OK 667a82c4 33200fc0 d5529b2a
        ");
    }

    /// Computed by this code, like the pins above: labels, pictures and masks of a source, in which classes occur
    /// together as often as in Sewer-ML, at every severity.
    #[test]
    fn pictures_and_masks_of_classes_that_occur_together_are_pinned() {
        let dataset = Synthetic::new("train", Seed::root(14), 72, 23, 0.8);
        let found = [0, 24, 48].map(|first| {
            let mut hashers = [(); 3].map(|()| blake3::Hasher::new());
            for index in first..first + 24 {
                hashers[0].update(dataset.location(index).as_bytes());
                hashers[1].update(&dataset.open(index).unwrap().pixels);
                let mask = dataset.mask(index).unwrap().map_or(Vec::new(), |mask| mask.pixels);
                hashers[2].update(&mask.into_iter().map(u8::from).collect::<Vec<_>>());
            }
            hashers.each_ref().map(short).join(" ")
        });
        let expected =
            ["fa9dbb9d 63d22512 4eff5ed5", "eb690775 7f36cd0b e5a48248", "02e20710 c2737e54 5fc97795"];
        assert_eq!(found, expected);
    }

    /// Computed in Python from the published counts, with `blake3` and ChaCha8 written out.
    #[test]
    fn labels_are_pinned_and_belong_to_seed_and_split() {
        let labels = |seed, train| {
            let source = source(Seed::root(seed), 12, 12, 32);
            let dataset = if train { source.train } else { source.validation };
            let places: Vec<String> = (0..12).map(|index| dataset.location(index)).collect();
            places
                .iter()
                .map(|place| place.split('(').nth(1).unwrap_or("").trim_end_matches(')').to_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        insta::assert_snapshot!([labels(6, true), labels(6, false), labels(7, true)].join("\n"), @r"
        normal OB+FS OB+FS OB+GR OB+FS OB+PF+FS FS+IS+OK FS+GR+OK normal normal normal normal
        FS FS FS+BE+PH+OK FS+BE IN normal FS+PH FS OB normal normal normal
        normal RB+OB normal normal OB+DE+IN+GR normal normal AF+OK normal normal normal normal
        ");
    }

    #[test]
    fn a_digest_belongs_to_all_that_defines_the_pictures() {
        let all: std::collections::BTreeSet<String> = [
            Synthetic::new("train", Seed::root(2), 5, 32, 0.5),
            Synthetic::new("validation", Seed::root(2), 5, 32, 0.5),
            Synthetic::new("train", Seed::root(3), 5, 32, 0.5),
            Synthetic::new("train", Seed::root(2), 6, 32, 0.5),
            Synthetic::new("train", Seed::root(2), 5, 48, 0.5),
        ]
        .map(|dataset| dataset.digest())
        .into();
        assert_eq!(all.len(), 5);
        let again = Synthetic::new("train", Seed::root(2), 5, 32, 0.5).digest();
        assert!(all.contains(&again) && again.len() == 64);
    }

    #[test]
    fn a_source_is_as_large_as_asked_and_says_what_it_is() {
        let source = source(Seed::root(8), 7, 4, 40);
        assert_eq!((source.name.as_str(), source.has_classes), ("synthetic", true));
        assert_eq!((source.train.labels().len(), source.validation.labels().len()), (7, 4));
        assert!(source.train.location(6).starts_with("synthetic train image 6 ("));
        assert!(source.validation.location(3).starts_with("synthetic validation image 3 ("));
        let image = source.validation.open(3).unwrap();
        let head = source.validation.header(3).unwrap();
        assert_eq!((image.width, image.height, head.width, head.height), (40, 40, 40, 40));
        assert!(!head.turned && !head.sixteen);
        let [pictures, frequencies] = &source.limits[..] else { panic!("{:?}", source.limits) };
        assert!(pictures.starts_with("pictures are drawn by a program, not filmed"), "{pictures}");
        assert!(
            frequencies.starts_with("class frequencies are those of Sewer-ML's training split"),
            "{frequencies}"
        );
        assert!(source.interpretation.is_empty() && source.left_out.is_empty() && source.leaks.is_empty());
        assert!(
            source.train.files().is_none()
                && source.train.group(0).is_none()
                && source.train.class_name(0).is_none()
        );
        assert_eq!(source.train.name(2), source.train.location(2), "what is drawn has no file");
    }

    /// The published counts, rounded to four decimals. So many labels tell the two shares apart.
    #[test]
    fn each_split_has_its_own_share_of_defects() {
        let (seed, images) = (Seed::root(21), 3_000);
        let source = source(seed, images, images, 32);
        let published: [(&dyn Dataset, &'static str, f64, f64); 2] = [
            (&*source.train, "train", 487_309.0, 1_040_129.0),
            (&*source.validation, "validation", 61_365.0, 130_046.0),
        ];
        for (dataset, split, defects, all) in published {
            let of = |share| Synthetic::new(split, seed, images, 32, share).labels;
            let share = (10_000.0 * defects / all).round() / 10_000.0;
            assert_eq!(dataset.labels(), of(share), "{split}");
            for other in [0.4685, 0.4719].into_iter().filter(|&other| other != share) {
                assert_ne!(dataset.labels(), of(other), "{split}");
            }
        }
    }

    /// A block inside a heap of sediment is not seen, and a block before it is.
    #[test]
    fn what_is_nearer_hides_what_lies_behind() {
        let mut plain = Scene::sample(Seed::root(31), ClassSet::EMPTY);
        plain.water.level = -1.0;
        let heap = floor::Mound {
            z: 3.0,
            half_length: 1.5,
            x: 0.0,
            height: 0.8,
            colour: [0.5, 0.4, 0.3],
            coarseness: 0.4,
            seed: 5,
        };
        let block = |z: f32| solid::Solid {
            centre: [0.0, -0.9, z],
            axes: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            half: [0.12, 0.15, 0.1],
            colour: [0.9, 0.1, 0.1],
            roundness: 0.1,
            seed: 6,
        };
        let traced = |mounds: &[floor::Mound], blocks: &[solid::Solid]| {
            let scene = Scene { mounds: mounds.to_vec(), blocks: blocks.to_vec(), ..plain.clone() };
            render::trace(&scene, 48)
        };
        let (nothing, heaped) = (traced(&[], &[]), traced(&[heap], &[]));
        assert!(nothing != heaped && traced(&[], &[block(3.0)]) != nothing);
        assert!(traced(&[heap], &[block(3.0)]) == heaped, "it is buried");
        assert!(traced(&[heap], &[block(1.3)]) != heaped, "it lies before the heap");
        // Of two blocks in a row the first one is seen, whichever is drawn first.
        let small = solid::Solid { half: [0.05; 3], centre: [0.0, -0.95, 1.6], ..block(1.6) };
        let first = traced(&[], &[block(1.3)]);
        assert!(traced(&[], &[small]) != nothing);
        assert!(traced(&[], &[block(1.3), small]) == first && traced(&[], &[small, block(1.3)]) == first);
    }

    /// Computed by this code, like the pins above. At this side the finest grain of every material is seen, spans of
    /// pixels end inside a row, and the last blocks of the compression are cut.
    #[test]
    fn large_pictures_are_pinned() {
        let scenes = (0..9).map(|index| {
            let pair = [index, (index + 8) % 17].map(|place| DefectClass::ALL[place]);
            Scene::sample(Seed::root(17).index(index), ClassSet::from_iter(pair))
        });
        let found: Vec<String> = scenes
            .map(|scene| {
                let mut light = blake3::Hasher::new();
                for value in render::trace(&scene, 141).iter().flatten() {
                    light.update(&value.to_le_bytes());
                }
                let mut bytes = blake3::Hasher::new();
                bytes.update(&draw(&scene, 141).pixels);
                format!("{} {}", short(&light), short(&bytes))
            })
            .collect();
        insta::assert_snapshot!(found.join("\n"), @r"
        6ecd1b00 011a8b4d
        26af63c5 18879111
        ff5b0c16 0dc0f81f
        fbe2df71 1a39bcdf
        b0c95109 a7644768
        17589746 e7951784
        80685ed8 7c1f5c9f
        32576741 bd4ef2de
        23dd9b64 91f24796
        ");
    }
}
