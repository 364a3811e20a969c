//! Every operation at every shape that is checked: on the CPU, in the kernels' harness, on a GPU and by
//! PyTorch.

use super::{
    Case,
    define::{
        attention, barlow_twins, batch_norm, convolution, gelu, global_mean, layer_norm, linear,
        linear_of_gelu, max_pool, nt_xent, pick_rows, unit_rows,
    },
};
use crate::{
    inputs::Numbers::{Normal, Whole},
    losses::{TEMPERATURE, WEIGHT},
};

/// Returns all cases, by operation.
pub fn cases() -> Vec<Case> {
    let lists = [convolutions, batch_norms, layer_norms, linear_maps, attentions, gelus, pools, rows, losses];
    lists.into_iter().flat_map(|list| list()).collect()
}

// With stride 2, height and width are both even or both odd: Candle's backward pass fails otherwise.
fn convolutions() -> Vec<Case> {
    vec![
        convolution([2, 7, 5, 3], [5, 3, 3, 3], 1, 1),
        convolution([1, 6, 9, 4], [2, 4, 3, 3], 1, 1),
        convolution([3, 7, 9, 5], [7, 5, 3, 3], 2, 1),
        convolution([3, 8, 6, 5], [7, 5, 3, 3], 2, 1),
        convolution([2, 5, 5, 6], [9, 6, 1, 1], 2, 0),
        convolution([2, 3, 4, 6], [5, 6, 1, 1], 1, 0),
        convolution([9, 13, 11, 3], [8, 3, 7, 7], 2, 3),
        convolution([2, 6, 6, 2], [3, 2, 3, 3], 1, 0),
        convolution([2, 4, 5, 2], [3, 2, 3, 3], 1, 2),
        convolution([2, 6, 7, 2], [3, 2, 2, 4], 1, 1),
        convolution([2, 8, 8, 2], [3, 2, 3, 3], 3, 1),
        // Many weights.
        convolution([3, 3, 2, 170], [180, 170, 3, 3], 1, 1),
        convolution([3, 3, 5, 170], [180, 170, 3, 3], 2, 1),
        // Winograd: tiles of 4 x 4 and of 2 x 2 outputs; incomplete tiles at the edges; odd channels; few weights
        // and many tiles.
        convolution([2, 7, 5, 17], [33, 17, 3, 3], 1, 1),
        convolution([1, 9, 6, 32], [16, 32, 3, 3], 1, 0),
        convolution([1, 6, 5, 19], [40, 19, 3, 3], 1, 2),
        convolution([3, 2, 2, 24], [21, 24, 3, 3], 1, 1),
        convolution([1, 63, 61, 16], [48, 16, 3, 3], 1, 1),
        convolution([1, 8, 7, 150], [130, 150, 3, 3], 1, 1),
        convolution([1, 64, 60, 8], [4, 8, 3, 3], 1, 1),
        // 900 tiles: two rounds of the product, three of the gradient with respect to the weights.
        convolution([1, 120, 118, 136], [128, 136, 3, 3], 1, 1),
        // Shapes of ResNet-18.
        convolution([4, 14, 13, 64], [128, 64, 3, 3], 1, 1),
        convolution([4, 14, 14, 64], [128, 64, 3, 3], 2, 1),
        convolution([4, 14, 14, 64], [128, 64, 1, 1], 2, 0),
        convolution([4, 64, 64, 3], [64, 3, 7, 7], 2, 3),
    ]
}

// At least five rows: two always normalise to 1 and -1, and the gradient is only rounding error.
fn batch_norms() -> Vec<Case> {
    const SHAPES: [&[usize]; 10] = [
        &[3, 4, 5, 7],
        &[5, 1, 1, 3],
        &[5, 6],
        &[1, 40, 30, 17],
        &[37, 64],
        &[200, 33],
        &[70, 40],
        &[9, 600],
        &[8, 9, 7, 64],
        &[50, 37],
    ];
    let flags = |n: usize| [n & 1 != 0, n & 2 != 0, n & 4 != 0];
    let mut cases: Vec<Case> =
        SHAPES.iter().flat_map(|shape| (0..8).map(move |n| batch_norm(shape, flags(n)))).collect();
    // Without ReLU: some of three million numbers are so close to zero that rounding decides their gradient.
    cases.push(batch_norm(&[16, 56, 56, 64], [true, false, false]));
    cases
}

fn layer_norms() -> Vec<Case> {
    const SHAPES: [&[usize]; 8] = [
        &[5],
        &[1, 3],
        &[1, 7, 16],
        &[3, 35, 33],
        &[2, 5, 192],
        &[37, 64],
        &[100, 192],
        // Shape of ViT-Tiny at 224 pixels.
        &[3, 197, 192],
    ];
    SHAPES.into_iter().map(layer_norm).collect()
}

fn linear_maps() -> Vec<Case> {
    const SHAPES: [&[usize]; 5] = [&[1, 1], &[1, 7], &[5, 3], &[2, 9, 17], &[3, 171, 20]];
    let mut cases =
        vec![linear(&[3, 197, 192], 576, true), linear(&[70, 256], 512, false), linear(&[32, 512], 1, true)];
    for shape in SHAPES {
        for outputs in [1, 5, 300] {
            cases.extend([true, false].map(|bias| linear(shape, outputs, bias)));
        }
        cases.push(linear_of_gelu(shape, 5));
    }
    cases.extend(SHAPES[1..].iter().map(|shape| unit_rows(shape)));
    cases.push(linear_of_gelu(&[3, 197, 768], 192));
    cases
}

fn attentions() -> Vec<Case> {
    vec![
        attention([1, 1, 6], 1),
        attention([1, 5, 18], 2),
        attention([2, 16, 24], 4),
        attention([3, 37, 45], 3),
        attention([2, 19, 12], 4),
        // Widths that kernels support, 16 to 64; token counts below a warp's rows, below a block's, and one more.
        attention([2, 5, 144], 3),
        attention([1, 33, 192], 2),
        attention([1, 64, 144], 1),
        attention([2, 65, 384], 2),
        attention([2, 50, 576], 12),
        attention([2, 50, 576], 6),
        attention([2, 50, 576], 4),
        // Shape of ViT-Tiny at 224 pixels.
        attention([1, 197, 576], 3),
    ]
}

fn gelus() -> Vec<Case> {
    const SHAPES: [&[usize]; 6] = [&[1], &[3, 5, 7], &[37, 64], &[100, 192], &[2, 100, 200], &[3, 197, 768]];
    SHAPES.into_iter().map(gelu).collect()
}

fn pools() -> Vec<Case> {
    let mut cases = vec![
        max_pool([3, 8, 8, 5], [3, 2, 1], Normal),
        max_pool([1, 7, 5, 9], [3, 2, 1], Normal),
        max_pool([2, 6, 4, 3], [2, 2, 0], Normal),
        max_pool([2, 5, 6, 2], [3, 1, 1], Normal),
        max_pool([4, 15, 14, 64], [3, 2, 1], Normal),
        global_mean([4, 7, 7, 512]),
        global_mean([2, 3, 5, 7]),
    ];
    // The first of equal maxima gets the gradient; the last image does not fill its windows.
    for images in [[2, 8, 8, 3], [1, 5, 7, 32], [3, 9, 4, 2]] {
        cases.extend([[3, 2, 1], [2, 2, 0]].map(|window| max_pool(images, window, Whole)));
    }
    cases
}

// Rows that are never picked, picked once, and picked many times, as in MAE.
fn rows() -> Vec<Case> {
    vec![
        pick_rows([7, 192], &[5, 0, 6, 6, 3, 6, 0, 6, 6]),
        pick_rows([7, 40], &[5, 0, 6, 6, 3, 6, 0, 6, 6, 6, 6, 6, 6, 6]),
    ]
}

// Rows of one view: less than a tile, more than one, odd, two bands; fewer rows than columns, and more.
fn losses() -> Vec<Case> {
    let contrastive = [[1, 5], [33, 64], [65, 128], [75, 200], [96, 128], [150, 17]];
    let correlations = [[3, 4], [5, 19], [33, 70], [70, 33], [64, 64], [96, 256], [300, 256]];
    let contrastive = contrastive.map(|size| nt_xent(size, TEMPERATURE));
    // A weight that makes off-diagonal terms visible, and the published one.
    let correlations =
        correlations.into_iter().flat_map(|size| [0.05, WEIGHT].map(|weight| barlow_twins(size, weight)));
    contrastive.into_iter().chain(correlations).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let cases = cases();
        let names: BTreeSet<String> = cases.iter().map(Case::name).collect();
        assert_eq!(names.len(), cases.len());
        assert!(
            names.contains("convolution of 2 x 7 x 5 x 3 by 5 x 3 x 3 x 3, padding 1, stride 1"),
            "{names:?}"
        );
        assert!(names.contains("batch norm of 5 x 6, relu"), "{names:?}");
    }
}
