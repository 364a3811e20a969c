use super::*;
use crate::seed::Seed;

/// Maps that NumPy computes identically: images of `rows` x `columns` places and `channels` numbers.
fn maps(images: usize, rows: usize, columns: usize, channels: usize, offset: f64) -> Tensor {
    let value = |n: usize| {
        let n = n as f64;
        ((0.7 * n + offset).sin() + 0.5 * (0.013 * n * n).cos()) as f32
    };
    let values: Vec<f32> = (0..images * rows * columns * channels).map(value).collect();
    Tensor::from_vec(values, (images, rows, columns, channels), &Device::Cpu).unwrap()
}

fn patches(images: usize, offset: f64) -> Vec<Patches> {
    describe_patches(&maps(images, 4, 4, 3, offset), &maps(images, 2, 2, 5, offset + 1.0)).unwrap()
}

#[track_caller]
fn close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 2e-6 * expected.abs().max(1.0), "{found} is not {expected}");
    }
}

/// Independent of PyTorch: `fixtures/patches/make.py` computes the expected values from the papers' formulas in
/// NumPy and SciPy.
#[test]
fn descriptions_banks_and_distances_are_the_papers() {
    let expected: serde_json::Value =
        serde_json::from_str(include_str!("../../../fixtures/patches/expected.json")).unwrap();
    let numbers = |name: &str| -> Vec<f64> {
        expected[name].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    };
    let (normals, others) = (patches(12, 0.0), patches(3, 2.0));
    let first: Vec<f64> = normals[0].values.iter().map(|value| f64::from(*value)).collect();
    close(&first, &numbers("described"));
    let all: Vec<&[f32]> = normals.iter().flat_map(Patches::places).collect();
    let bank = farthest(&all);
    let core = PatchCore::from_bank(&bank);
    close(&bank.iter().map(|row| f64::from(row[0])).collect::<Vec<_>>(), &numbers("bank_first_numbers"));
    close(&others.iter().map(|image| core.distance(image)).collect::<Vec<_>>(), &numbers("patchcore"));
    let padim = Padim::fit(&normals, &Seed::root(0)).unwrap();
    close(&others.iter().map(|image| padim.distance(image)).collect::<Vec<_>>(), &numbers("padim"));
}

fn farthest<'a>(all: &[&'a [f32]]) -> Vec<&'a [f32]> {
    patchcore::farthest_first(all, 20)
}

#[test]
fn a_strange_place_is_found_and_equal_images_are_no_trouble() {
    let mut normals = patches(30, 0.0);
    let seed = Seed::root(1);
    let (core, padim) = (PatchCore::fit(&normals, &seed).unwrap(), Padim::fit(&normals, &seed).unwrap());
    let usual = [core.distance(&normals[3]), padim.distance(&normals[3])];
    let width = normals[3].width;
    normals[3].values[5 * width..6 * width].iter_mut().for_each(|value| *value += 8.0);
    let strange = [core.distance(&normals[3]), padim.distance(&normals[3])];
    assert!(strange[0] > 3.0 * usual[0].max(0.1) && strange[1] > 3.0 * usual[1], "{usual:?} {strange:?}");
    let same: Vec<Patches> = (0..4).map(|_| Patches { values: vec![1.0; 2 * width], width }).collect();
    assert_eq!(PatchCore::fit(&same, &seed).unwrap().distance(&same[0]), 0.0);
    assert_eq!(Padim::fit(&same, &seed).unwrap().distance(&same[0]), 0.0);
    assert!(PatchCore::fit(&[], &seed).is_err() && Padim::fit(&same[..1], &seed).is_err());
}

/// Of 600 different patches the bank keeps 500. A map holds each place's own distance from the bank.
#[test]
fn a_bank_is_bounded_and_maps_every_place() {
    let values: Vec<f32> = (0..600).flat_map(|place| [place as f32, (place * place % 7) as f32]).collect();
    let image = Patches { values, width: 2 };
    let core = PatchCore::fit(&[image], &Seed::root(0)).unwrap();
    assert_eq!((core.width(), core.rows().len()), (2, 2 * BANK));
    let bank = PatchCore::from_bank(&[&[0.0, 0.0], &[10.0, 0.0]]);
    let found = bank.map(&Patches { values: vec![3.0, 4.0, 10.0, 2.0, 0.0, 0.0, 14.0, -3.0], width: 2 });
    assert_eq!(found, [5.0, 2.0, 0.0, 5.0]);
}

/// By hand: the farthest patch, 6, is 6 away from its nearest patch in the bank, 0, and 6 and 10 away from the
/// neighbours of that one, 0 and -4. The distance is therefore 6 times 1 - exp(6) / (exp(6) + exp(10)). In a bank of
/// one patch the factor is 0.
#[test]
fn a_distance_counts_less_where_its_neighbour_is_usual() {
    let bank = PatchCore::from_bank(&[&[0.0], &[-4.0]]);
    let image = Patches { values: vec![1.0, 6.0, -5.0], width: 1 };
    let (near, far) = (6.0_f64, 10.0_f64);
    let expected = (1.0 - near.exp() / (near.exp() + far.exp())) * 6.0;
    assert!((bank.distance(&image) - expected).abs() < 1e-6, "{}", bank.distance(&image));
    assert_eq!(PatchCore::from_bank(&[&[0.0]]).distance(&image), 0.0);
    // At a distance of 1000 the exponentials are beyond every number, but not their ratio, exp(-4) to 1.
    let far = Patches { values: vec![1.0, 1000.0], width: 1 };
    let expected = (1.0 - 1.0 / (1.0 + 4.0_f64.exp())) * 1000.0;
    assert!((bank.distance(&far) - expected).abs() < 1e-6, "{}", bank.distance(&far));
}

/// Only a hundred features of a place are used.
#[test]
fn gaussians_are_of_a_hundred_features() {
    let mut stream = Seed::root(4).stream();
    let width = 120;
    let mut image = || Patches { values: (0..width).map(|_| stream.normal() as f32).collect(), width };
    let normals: Vec<Patches> = (0..6).map(|_| image()).collect();
    let padim = Padim::fit(&normals, &Seed::root(3)).unwrap();
    let plain = padim.distance(&normals[0]);
    let counts = (0..width).filter(|&feature| {
        let mut values = normals[0].values.clone();
        values[feature] += 1.0;
        padim.distance(&Patches { values, width }) != plain
    });
    let used: Vec<usize> = counts.collect();
    assert_eq!(used.len(), DIMENSIONS);
    // Which ones is drawn by the seed.
    let drawn = |seed: u64| {
        let mut order: Vec<usize> = (0..width).collect();
        Seed::root(seed).child("dimensions").stream().shuffle(&mut order);
        order.truncate(DIMENSIONS);
        order.sort_unstable();
        order
    };
    assert_eq!(used, drawn(3));
    assert_ne!(used, drawn(4));
    // They are fitted as if there were no others.
    let kept = |image: &Patches| Patches {
        values: used.iter().map(|&feature| image.values[feature]).collect(),
        width: DIMENSIONS,
    };
    let alone = Padim::fit(&normals.iter().map(kept).collect::<Vec<_>>(), &Seed::root(5)).unwrap();
    let other = image();
    let (found, expected) = (padim.distance(&other), alone.distance(&kept(&other)));
    assert!((found - expected).abs() < 1e-9 * expected, "{found} is not {expected}");
}

/// Of 20,002 patches the bank is chosen from 20,000 that are drawn from all of them: a strange patch is in the bank if
/// it is the last one drawn, and is not if it comes after.
#[test]
fn a_bank_is_chosen_from_patches_drawn_from_all() {
    let (seed, count) = (Seed::root(8), CANDIDATES + 2);
    let mut order: Vec<usize> = (0..count).collect();
    seed.child("patches").stream().shuffle(&mut order);
    let bank = |strange: usize| {
        let value = |place: usize| if place == strange { 9.0 } else { 1.0 };
        let image =
            |places: std::ops::Range<usize>| Patches { values: places.map(value).collect(), width: 1 };
        let core = PatchCore::fit(&[image(0..7), image(7..count)], &seed).unwrap();
        core.rows().to_vec()
    };
    assert_eq!(bank(order[CANDIDATES - 1]), [1.0, 9.0]);
    assert_eq!(bank(order[CANDIDATES]), [1.0]);
}

#[test]
fn maps_that_do_not_fit_are_refused() {
    let error = |fine: &Tensor, coarse: &Tensor| describe_patches(fine, coarse).err().unwrap().to_string();
    let (fine, coarse) = (maps(2, 4, 4, 3, 0.0), maps(2, 2, 2, 5, 1.0));
    assert_eq!(error(&fine, &maps(3, 2, 2, 5, 1.0)), "maps of 2 and of 3 images");
    let mut values = coarse.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    *values.last_mut().unwrap() = f32::INFINITY;
    let infinite = Tensor::from_vec(values, (2, 2, 2, 5), &Device::Cpu).unwrap();
    assert_eq!(error(&fine, &infinite), "a middle feature is not finite");
}

/// By hand, as torch's `interpolate` has it: a place beyond the last centre takes the edge's own value.
#[test]
fn resampling_does_not_extrapolate_at_the_edges() {
    let line = [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]];
    assert_eq!(bilinear((1, 2), (1, 4)), line.concat());
    assert_eq!(bilinear((2, 1), (4, 1)), line.concat());
    // Two rows of one column each become four rows of two equal columns.
    let twice: Vec<f32> = line.iter().flat_map(|row| [*row, *row].concat()).collect();
    assert_eq!(bilinear((2, 1), (4, 2)), twice);
}
