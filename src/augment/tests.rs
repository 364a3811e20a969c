//! Compares bytes with Pillow's.

use rstest::rstest;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{
    blur::gaussian_blur,
    color::{brightness, contrast, greyscale, hsv_to_rgb, hue, rgb_to_hsv, saturation, solarise},
    flip,
    resize::{CropBox, Filter, resize, resize_shorter_side},
};
use crate::data::Image;

/// v(x, y, c) = (37 x + 91 y + 53 c + 7 ((x y) mod 101)) mod 256.
fn pattern(width: usize, height: usize) -> Image {
    let mut pixels = Vec::with_capacity(3 * width * height);
    for y in 0..height {
        for x in 0..width {
            pixels.extend((0..3).map(|c| (37 * x + 91 * y + 53 * c + 7 * (x * y % 101)) as u8));
        }
    }
    Image::new(width, height, pixels)
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

const CROP: CropBox = CropBox { left: 9, top: 5, width: 41, height: 30 };

/// Pillow 13.0.0's output for the 64 x 48 pattern: the sum of all bytes, the pixels at (11, 7) and in the first and
/// last place, and the first 16 hexadecimal digits of the SHA-256.
#[rstest]
#[case::input(|_: &mut Image| (), 1177830, [[0, 53, 106], [47, 100, 153], [176, 229, 26]], "10b3026348643802")]
#[case::darker(|i: &mut Image| brightness(i, 0.725), 849402, [[0, 38, 76], [34, 72, 110], [127, 166, 18]], "44fd113af2c65bc4")]
#[case::brighter(|i: &mut Image| brightness(i, 1.275), 1428564, [[0, 67, 135], [59, 127, 195], [224, 255, 33]], "bff74cd009ca8e78")]
#[case::less_contrast(|i: &mut Image| contrast(i, 0.725), 1173840, [[35, 73, 112], [69, 107, 146], [162, 201, 54]], "06f29029febc0cc3")]
#[case::more_contrast(|i: &mut Image| contrast(i, 1.275), 1174569, [[0, 32, 99], [24, 92, 159], [189, 255, 0]], "c50db9eda41b87f5")]
#[case::less_saturation(|i: &mut Image| saturation(i, 0.725), 1173873, [[11, 50, 88], [58, 97, 135], [179, 218, 71]], "49613b225ed4380a")]
#[case::more_saturation(|i: &mut Image| saturation(i, 1.275), 1178982, [[0, 55, 123], [35, 102, 170], [172, 239, 0]], "8fd2fd7258223171")]
#[case::hue_back(|i: &mut Image| hue(i, -0.1375), 1243459, [[0, 106, 70], [47, 153, 117], [229, 112, 26]], "55aa4d2e258797aa")]
#[case::hue_forth(|i: &mut Image| hue(i, 0.1375), 1083270, [[32, 0, 106], [80, 47, 153], [26, 229, 40]], "cd99735d7535623d")]
#[case::grey(greyscale, 1182003, [[43, 43, 43], [90, 90, 90], [190, 190, 190]], "8a4a56d55d999140")]
#[case::blur_tenth(|i: &mut Image| gaussian_blur(i, 0.1), 1177934, [[0, 53, 106], [47, 100, 153], [176, 229, 26]], "3d00c2f9758d285d")]
#[case::blur_half(|i: &mut Image| gaussian_blur(i, 0.5), 1177857, [[16, 68, 120], [93, 100, 153], [151, 201, 53]], "88495f4683b8a57a")]
#[case::blur_one(|i: &mut Image| gaussian_blur(i, 1.0), 1173644, [[53, 100, 140], [129, 99, 147], [127, 157, 89]], "3a61c93c92e8abc1")]
#[case::blur_two(|i: &mut Image| gaussian_blur(i, 2.0), 1177839, [[90, 123, 137], [129, 116, 134], [135, 144, 99]], "f10e1d8d40d2c3f6")]
#[case::solarise(solarise, 587837, [[0, 53, 106], [47, 100, 102], [79, 26, 26]], "deb3e5f10e043ed8")]
#[case::flip(flip, 1177830, [[27, 80, 133], [172, 225, 22], [181, 234, 31]], "2845a2dc68ca5e27")]
#[case::crop_to_32_bilinear(|i: &mut Image| *i = resize(i, CROP, 32, 32, Filter::Bilinear), 394272, [[98, 151, 135], [111, 164, 51], [132, 185, 238]], "94baab1c5af05772")]
#[case::crop_to_224_bilinear(|i: &mut Image| *i = resize(i, CROP, 224, 224, Filter::Bilinear), 19320447, [[79, 132, 185], [149, 125, 128], [137, 190, 243]], "d4c830767a70e1c5")]
#[case::crop_to_224_bicubic(|i: &mut Image| *i = resize(i, CROP, 224, 224, Filter::Bicubic), 19319138, [[49, 136, 222], [154, 136, 132], [129, 215, 255]], "3c1d41511c182245")]
#[case::shorter_side_20(|i: &mut Image| *i = resize_shorter_side(i, 20, Filter::Bilinear), 199346, [[106, 132, 142], [117, 119, 145], [132, 132, 109]], "1c9a8045b6187573")]
#[case::whole_to_16_bilinear(|i: &mut Image| *i = resize(i, CropBox::full_frame(64, 48), 16, 16, Filter::Bilinear), 98244, [[117, 133, 141], [123, 133, 135], [140, 129, 110]], "de2f5d0dab68bf69")]
#[case::whole_to_16_bicubic(|i: &mut Image| *i = resize(i, CropBox::full_frame(64, 48), 16, 16, Filter::Bicubic), 98158, [[116, 132, 142], [127, 134, 130], [140, 132, 106]], "0ba955a63bd3adc2")]
fn steps_equal_pillow(
    #[case] step: impl Fn(&mut Image),
    #[case] sum: u64,
    #[case] pixels: [[u8; 3]; 3],
    #[case] digest: &str,
) {
    let mut image = pattern(64, 48);
    step(&mut image);
    let rgb = image.pixels.as_chunks::<3>().0;
    assert_eq!([rgb[0], rgb[7 * image.width + 11], rgb[rgb.len() - 1]], pixels);
    assert_eq!(image.pixels.iter().map(|&byte| u64::from(byte)).sum::<u64>(), sum);
    assert_eq!(&sha256(&image.pixels)[..16], digest);
}

/// One line of `fixtures/pillow/cases.json`; the script next to it explains the fields.
#[derive(Deserialize)]
struct Case {
    width: usize,
    height: usize,
    seed: u64,
    #[serde(flatten)]
    step: Step,
    sha256: String,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "step", content = "value", rename_all = "lowercase")]
enum Step {
    Resize { crop: [usize; 4], to: [usize; 2], filter: String },
    Brightness(f64),
    Contrast(f64),
    Saturation(f64),
    Hue(f64),
    Blur(f64),
    Greyscale,
    Solarise,
    Flip,
}

#[derive(Deserialize)]
struct Fixture {
    hsv: String,
    rgb: String,
    cases: Vec<Case>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../../fixtures/pillow/cases.json")).expect("fixture")
}

impl Case {
    fn image(&self) -> Image {
        let count = (3 * self.width * self.height) as u64;
        let bytes = (self.seed..self.seed + count).map(|n| {
            let byte = ((n * 2_654_435_761 % (1 << 32)) >> 24) as u8;
            if self.seed % 2 == 1 { byte / 4 + 96 } else { byte }
        });
        Image::new(self.width, self.height, bytes.collect())
    }
}

impl Step {
    fn apply(&self, image: &mut Image) {
        match self {
            Self::Resize { crop: [left, top, width, height], to, filter } => {
                let crop = CropBox { left: *left, top: *top, width: *width, height: *height };
                let filter = if filter == "Bicubic" { Filter::Bicubic } else { Filter::Bilinear };
                *image = resize(image, crop, to[0], to[1], filter);
            }
            Self::Brightness(factor) => brightness(image, *factor),
            Self::Contrast(factor) => contrast(image, *factor),
            Self::Saturation(factor) => saturation(image, *factor),
            Self::Hue(turn) => hue(image, *turn),
            Self::Blur(sigma) => gaussian_blur(image, *sigma),
            Self::Greyscale => greyscale(image),
            Self::Solarise => solarise(image),
            Self::Flip => flip(image),
        }
    }
}

#[test]
fn odd_sizes_equal_pillow() {
    for case in fixture().cases {
        let mut image = case.image();
        case.step.apply(&mut image);
        assert_eq!(
            sha256(&image.pixels),
            case.sha256,
            "{} x {}, seed {}: {:?}",
            case.width,
            case.height,
            case.seed,
            case.step
        );
    }
}

#[test]
fn every_colour_equals_pillow() {
    let digest = |map: fn([u8; 3]) -> [u8; 3]| {
        let mut hasher = Sha256::new();
        for high in 0..=255 {
            let block: Vec<[u8; 3]> =
                (0..=u16::MAX).map(|low| map([high, (low >> 8) as u8, low as u8])).collect();
            hasher.update(block.as_flattened());
        }
        hex(&hasher.finalize())
    };
    let fixture = fixture();
    assert_eq!(digest(rgb_to_hsv), fixture.hsv);
    assert_eq!(digest(hsv_to_rgb), fixture.rgb);
}

/// Because flips commute, a recipe need not state where its source flips.
#[rstest]
#[case::brightness(Step::Brightness(1.2))]
#[case::contrast(Step::Contrast(0.7))]
#[case::saturation(Step::Saturation(1.3))]
#[case::hue(Step::Hue(-0.1))]
#[case::blur(Step::Blur(1.7))]
#[case::greyscale(Step::Greyscale)]
#[case::solarise(Step::Solarise)]
fn flip_commutes(#[case] step: Step) {
    let (mut before, mut after) = (pattern(61, 40), pattern(61, 40));
    flip(&mut before);
    step.apply(&mut before);
    step.apply(&mut after);
    flip(&mut after);
    assert_eq!(before, after);
}

/// Colours whose luma lies close to a half, so that another weight or rounding would show. Expected values: Pillow
/// 13.0.0's `convert("L")`.
#[test]
fn grey_is_pillows_to_the_last_weight() {
    for (rgb, expected) in [
        ([195, 110, 216], 147),
        ([244, 8, 218], 103),
        ([111, 130, 0], 109),
        ([147, 54, 25], 79),
        ([231, 131, 31], 149),
        ([92, 95, 195], 106),
        ([77, 78, 199], 91),
        ([95, 188, 103], 151),
    ] {
        let mut image = Image::new(1, 1, rgb.to_vec());
        greyscale(&mut image);
        assert_eq!(image.pixels, [expected; 3], "{rgb:?}");
    }
}
