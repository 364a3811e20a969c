//! 3 x 3 convolutions with stride 1 in fewer multiplications (Winograd 1980; Lavin & Gray 2016):
//!
//! Y = A^T [ sum over inputs of (G g G^T) * (B^T d B) ] A
//!
//! for tiles d of the input, with elementwise products: 36 products of matrices (tiles x inputs) and
//! (inputs x outputs) for tiles of 4 x 4 outputs, a quarter of the multiplications; 16 for tiles of 2 x 2. The
//! gradient by the input is the same with mirrored filters; that by the weights is the adjoint in g,
//! dg = G^T [ sum over tiles of (B^T d B) * (A dY A^T) ] G.
//!
//! Tasks share tiles where weights are few, and output channels where weights are many or tiles few; both cut
//! by shape only. Knows nothing of tensors.

mod filters;
mod lanes;
mod scheme;
mod tiles;

use std::ops::Range;

pub use filters::Filters;
use filters::collect;
use rayon::prelude::*;
use scheme::{Four, Scheme, Two};
use tiles::{Layout, Tiles};

use crate::tensor::cpu::{
    matrix::{Matrix, Output},
    patches::Windows,
    storage::{Real, make_room, unwritten},
    strips::{STRIP, multiply_strips},
};

/// Fewest channels on either side (ours, not measured yet): with fewer, transforms cost more than they save.
const FEWEST_CHANNELS: usize = 16;
/// Tiles of a task that has its own: a multiple of the kernel's rows, whose values a core's cache holds.
const TILES: usize = 28;
/// Products of channels up to which tasks share tiles (ours, not measured yet).
const FEW_FILTERS: usize = 128 * 128;
/// Most tiles of a block that all tasks read.
const SHARED_TILES: usize = 112;
/// Numbers in blocks that all tasks read (ours; bounds memory).
const SHARED_NUMBERS: usize = 1 << 22;
/// Private sums of gradients by weights.
const GROUPS: usize = 8;
/// Columns of a task's products.
const PAIR: usize = 2 * STRIP;

/// Whether a convolution is one of those this module is for.
pub fn fits(windows: &Windows, outputs: usize) -> bool {
    windows.kernel == (3, 3) && windows.stride == 1 && windows.channels.min(outputs) >= FEWEST_CHANNELS
}

/// Convolves `images` with `filters` to `out` (pixels, channels).
///
/// # Panics
/// If the convolution does not fit or a length is wrong.
pub fn forward<T: Real>(windows: &Windows, images: &[T], filters: Filters<T>, out: &mut [T]) {
    match prefers_two(windows) {
        true => forward_with::<Two, T>(windows, images, filters, out),
        false => forward_with::<Four, T>(windows, images, filters, out),
    }
}

/// Gradient by the weights (outputs, inputs, 3, 3).
///
/// # Panics
/// As [`forward`].
pub fn weights_gradient<T: Real>(windows: &Windows, images: &[T], gradient: &[T], outputs: usize) -> Vec<T> {
    match prefers_two(windows) {
        true => weights_gradient_with::<Two, T>(windows, images, gradient, outputs),
        false => weights_gradient_with::<Four, T>(windows, images, gradient, outputs),
    }
}

/// Whether small tiles take no more multiplications, as on maps of 2 x 2 pixels; they round less.
fn prefers_two(windows: &Windows) -> bool {
    let (down, across) = windows.output();
    let products = |out: usize| down.div_ceil(out) * across.div_ceil(out) * (out + 2) * (out + 2);
    products(Two::OUT) <= products(Four::OUT)
}

fn forward_with<S: Scheme, T: Real>(windows: &Windows, images: &[T], filters: Filters<T>, out: &mut [T]) {
    let tiles = Tiles::<S>::new(*windows);
    let Filters { steps, channels, .. } = filters;
    assert!(windows.kernel == (3, 3) && windows.stride == 1, "{windows:?} is not 3 x 3 with stride 1");
    assert!(windows.channels == steps && images.len() == windows.batch * windows.image(), "images");
    assert_eq!(out.len(), windows.pixels() * channels, "numbers of the output");
    let products = Products { tiles: &tiles, steps, channels, out: Shared(out.as_mut_ptr()) };
    let strip = Tiles::<S>::PLACES * steps * STRIP;
    if steps * channels <= FEW_FILTERS && tiles.count() > GROUPS * TILES {
        let mut packed = unwritten(channels.div_ceil(STRIP) * strip);
        packed.par_chunks_mut(strip).enumerate().for_each(|(index, packed)| filters.pack::<S>(index, packed));
        (0..tiles.count().div_ceil(TILES)).into_par_iter().for_each_init(
            || (Vec::new(), Vec::new()),
            |(values, products_of_pair), index| {
                let block = index * TILES..tiles.count().min((index + 1) * TILES);
                make_room(values, products.values(&block));
                let layout = Layout::rows(block.len(), steps);
                tiles.input(images, block.clone(), 0..steps.div_ceil(STRIP), layout, values);
                for (pair, packed) in packed.chunks(2 * strip).enumerate() {
                    products.write(&block, values, pair, packed, products_of_pair);
                }
            },
        );
        return;
    }
    let blocks = tiles.count().div_ceil(SHARED_TILES).max(2);
    let size = tiles.count().div_ceil(blocks);
    let blocks = tiles.count().div_ceil(size);
    let block_of = |index: usize| index * size..tiles.count().min((index + 1) * size);
    let numbers = products.values(&block_of(0));
    let together = (SHARED_NUMBERS / numbers).max(1);
    let mut values = unwritten(together.min(blocks) * numbers);
    for first in (0..blocks).step_by(together) {
        let count = together.min(blocks - first);
        values.par_chunks_mut(numbers).take(count).enumerate().for_each(|(index, values)| {
            let block = block_of(first + index);
            let layout = Layout::rows(block.len(), steps);
            tiles.input(images, block.clone(), 0..steps.div_ceil(STRIP), layout, values);
        });
        (0..channels.div_ceil(PAIR)).into_par_iter().for_each_init(
            || (Vec::new(), Vec::new()),
            |(packed, products_of_pair), pair| {
                let strips = (channels - pair * PAIR).div_ceil(STRIP).min(2);
                make_room(packed, strips * strip);
                for (index, packed) in packed.chunks_mut(strip).enumerate() {
                    filters.pack::<S>(2 * pair + index, packed);
                }
                for (index, values) in values.chunks(numbers).take(count).enumerate() {
                    let block = block_of(first + index);
                    let values = &values[..products.values(&block)];
                    products.write(&block, values, pair, packed, products_of_pair);
                }
            },
        );
    }
}

/// Products of tiles' values and filters, and where they go.
struct Products<'a, S, T> {
    tiles: &'a Tiles<S>,
    steps: usize,
    channels: usize,
    out: Shared<T>,
}

/// The start of an output that tasks write disjoint parts of.
struct Shared<T>(*mut T);

// SAFETY: tasks write disjoint tiles or channels, as `Products::write` demands.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<S: Scheme, T: Real> Products<'_, S, T> {
    /// Numbers of a block's values.
    fn values(&self, block: &Range<usize>) -> usize {
        Tiles::<S>::PLACES * block.len() * self.steps.next_multiple_of(STRIP)
    }

    /// Multiplies a block's values with one or two strips of filters and writes the output's pixels. Of each
    /// pair of a block and a pair of strips there must be one call only while the output is shared.
    fn write(&self, block: &Range<usize>, values: &[T], pair: usize, packed: &[T], products: &mut Vec<T>) {
        let (places, steps, rows) = (Tiles::<S>::PLACES, self.steps, block.len());
        let strips = packed.len() / (places * steps * STRIP);
        let (first, second) = packed.split_at(places * steps * STRIP);
        let layout = Layout::rows(rows, strips * STRIP);
        make_room(products, places * layout.place);
        let padded = steps.next_multiple_of(STRIP);
        let values = values.chunks_exact(rows * padded);
        for (place, (values, products)) in values.zip(products.chunks_exact_mut(layout.place)).enumerate() {
            let strip = place * steps * STRIP..(place + 1) * steps * STRIP;
            multiply_strips(
                Output::new(products, rows, strips * STRIP),
                Matrix::part(values, rows, steps, padded),
                &first[strip.clone()],
                if strips == 2 { &second[strip] } else { &[] },
                false,
            );
        }
        let groups = (2 * pair, strips);
        // SAFETY: the output is borrowed mutably by whoever made `self`, and nobody else has this block's tiles
        // and this pair's channels.
        unsafe { self.tiles.output(products, layout, block.clone(), groups, self.channels, self.out.0) };
    }
}

fn weights_gradient_with<S: Scheme, T: Real>(
    windows: &Windows,
    images: &[T],
    gradient: &[T],
    outputs: usize,
) -> Vec<T> {
    let tiles = Tiles::<S>::new(*windows);
    let (places, inputs) = (Tiles::<S>::PLACES, windows.channels);
    assert!(windows.kernel == (3, 3) && windows.stride == 1, "{windows:?} is not 3 x 3 with stride 1");
    assert_eq!(images.len(), windows.batch * windows.image(), "numbers of the images");
    assert_eq!(gradient.len(), windows.pixels() * outputs, "numbers of the gradient");
    let mut by_weights = vec![T::zero(); outputs * inputs * 9];
    // Numbers of a pair of strips of outputs: gradients, and sums for one strip of inputs.
    let (of_pair, sums) = (PAIR * inputs * 9, places * STRIP * PAIR);
    let (pairs, groups) = (outputs.div_ceil(PAIR), inputs.div_ceil(STRIP));
    // Transforms a block, by strips of inputs and of outputs.
    let input = |block: &Range<usize>, groups: Range<usize>, values: &mut [T]| {
        tiles.input(images, block.clone(), groups, Layout::strips(block.len(), places), values);
    };
    let spread = |block: &Range<usize>, groups: Range<usize>, values: &mut [T]| {
        let layout = Layout::strips(block.len(), places);
        tiles.gradient(gradient, outputs, block.clone(), groups, layout, values);
    };
    // Adds a block's products of a strip of inputs and one or two strips of outputs to `sums`.
    let add = |count: usize, values: &[T], gradients: &[T], sums: &mut [T]| {
        let strip = count * STRIP;
        let (first, second) = gradients.split_at(places * strip);
        let columns = if second.is_empty() { STRIP } else { PAIR };
        let places = values.chunks_exact(strip).zip(first.chunks_exact(strip));
        for (place, ((values, first), sums)) in places.zip(sums.chunks_exact_mut(STRIP * PAIR)).enumerate() {
            let second = second.get(place * strip..(place + 1) * strip).unwrap_or(&[]);
            let left = Matrix::new(values, count, STRIP).transposed();
            multiply_strips(Output::part(sums, STRIP, columns, PAIR), left, first, second, true);
        }
    };
    let strips = outputs.div_ceil(STRIP);
    if inputs * outputs <= FEW_FILTERS && tiles.count() > GROUPS * TILES {
        let blocks = tiles.count().div_ceil(TILES);
        let mut parts = vec![T::zero(); GROUPS * pairs * groups * sums];
        parts.par_chunks_mut(pairs * groups * sums).enumerate().for_each(|(part, all)| {
            let (mut values, mut gradients) = (Vec::new(), Vec::new());
            for index in part * blocks / GROUPS..(part + 1) * blocks / GROUPS {
                let block = index * TILES..tiles.count().min((index + 1) * TILES);
                let strip = places * block.len() * STRIP;
                make_room(&mut values, groups * strip);
                make_room(&mut gradients, strips * strip);
                input(&block, 0..groups, &mut values);
                spread(&block, 0..strips, &mut gradients);
                let pairs = gradients.chunks(2 * strip);
                for (gradients, all) in pairs.zip(all.chunks_exact_mut(groups * sums)) {
                    for (values, sums) in values.chunks_exact(strip).zip(all.chunks_exact_mut(sums)) {
                        add(block.len(), values, gradients, sums);
                    }
                }
            }
        });
        by_weights.par_chunks_mut(of_pair).enumerate().for_each(|(pair, by_weights)| {
            let mut total = vec![T::zero(); sums];
            for group in 0..groups {
                total.fill(T::zero());
                for part in parts.chunks_exact(pairs * groups * sums) {
                    let part = &part[(pair * groups + group) * sums..][..sums];
                    total.iter_mut().zip(part).for_each(|(total, &part)| *total += part);
                }
                collect::<S, T>(&total, group * STRIP, inputs, by_weights);
            }
        });
        return by_weights;
    }
    let together = (SHARED_NUMBERS / (places * STRIP * (groups + strips))).max(1);
    let (mut values, mut gradients) = (Vec::new(), Vec::new());
    for start in (0..tiles.count()).step_by(together) {
        let block = start..tiles.count().min(start + together);
        let strip = places * block.len() * STRIP;
        make_room(&mut values, groups * strip);
        make_room(&mut gradients, strips * strip);
        let parts = values.par_chunks_mut(strip).enumerate();
        parts.for_each(|(group, values)| input(&block, group..group + 1, values));
        let parts = gradients.par_chunks_mut(strip).enumerate();
        parts.for_each(|(group, values)| spread(&block, group..group + 1, values));
        by_weights.par_chunks_mut(of_pair).zip(gradients.par_chunks(2 * strip)).for_each_init(
            || vec![T::zero(); sums],
            |sums, (by_weights, gradients)| {
                for (group, values) in values.chunks_exact(strip).enumerate() {
                    sums.fill(T::zero());
                    add(block.len(), values, gradients, sums);
                    collect::<S, T>(sums, group * STRIP, inputs, by_weights);
                }
            },
        );
    }
    by_weights
}
