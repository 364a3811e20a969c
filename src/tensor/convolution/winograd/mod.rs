//! 3 x 3 convolutions with stride 1 in fewer multiplications (Winograd 1980; Lavin & Gray 2016):
//!
//! Y = A^T [ sum over inputs of (G g G^T) * (B^T d B) ] A
//!
//! for tiles d of the input, with elementwise products: 36 products of matrices (tiles x inputs) and
//! (inputs x outputs) for tiles of 4 x 4 outputs, a quarter of the multiplications; 16 for tiles of 2 x 2.
//! The gradient with respect to the input is the same with mirrored filters; that with respect to the weights is
//! the adjoint in g, dg = G^T [ sum over tiles of (B^T d B) * (A dY A^T) ] G.
//!
//! Work is parallelised over tiles if there are few weights and many tiles, otherwise over output channels; the
//! choice depends only on the shape. Independent of tensors.

mod filters;
mod lanes;
mod scheme;
mod tiles;

use std::{marker::PhantomData, ops::Range};

pub use filters::Filters;
use filters::write_gradient;
use rayon::prelude::*;
use scheme::{FourOutputs, Scheme, TwoOutputs};
use tiles::{GAP, Layout, Tiles};

use crate::tensor::cpu::{
    operands::{Matrix, Output, Write},
    patches::Windows,
    storage::{Number, resize_unwritten, unwritten},
    strips::{STRIP, multiply_strips},
    vector::vectorised,
};

/// Fewest channels on either side (ours, not measured yet): with fewer, transforms cost more than they save.
const FEWEST_CHANNELS: usize = 16;
/// Tiles in a block of a single task: a multiple of the product kernel's rows, and few enough that their values fit
/// into a core's cache.
const TILES: usize = 28;
/// Largest number of filters (inputs times outputs) for which work is parallelised over tiles (ours, not measured
/// yet).
const FEW_FILTERS: usize = 128 * 128;
/// Largest number of tiles in a block that all tasks read.
const SHARED_TILES: usize = 112;
/// Numbers in the blocks that are held at a time for all tasks (ours; bounds memory).
const SHARED_NUMBERS: usize = 1 << 22;
/// Number of tasks that compute partial sums of weight gradients.
const GROUPS: usize = 8;
/// Columns of a product: two strips.
const PAIR: usize = 2 * STRIP;

/// Sums of a place for one strip of inputs and a pair of strips of outputs, and a gap.
const SUMS_OF_PLACE: usize = STRIP * PAIR + GAP;

/// Returns the number of values of a place in a strip of transformed filters, gap included.
fn place_len(steps: usize) -> usize {
    steps * STRIP + GAP
}

/// Returns whether this module supports a convolution.
pub fn supports(windows: &Windows, outputs: usize) -> bool {
    windows.kernel == (3, 3) && windows.stride == 1 && windows.channels.min(outputs) >= FEWEST_CHANNELS
}

/// Convolves `images` with `filters` to `out` (pixels, channels).
///
/// # Panics
/// If the convolution does not fit or a length is wrong.
pub fn forward<N: Number>(windows: &Windows, images: &[N], filters: Filters<N::Sum>, out: &mut [N]) {
    match prefers_small_tiles(windows) {
        true => forward_with::<TwoOutputs, N>(windows, images, filters, out),
        false => forward_with::<FourOutputs, N>(windows, images, filters, out),
    }
}

/// Returns the gradient with respect to the weights (outputs, inputs, 3, 3).
///
/// # Panics
/// As for [`forward`].
pub fn weights_gradient<N: Number>(
    windows: &Windows,
    images: &[N],
    gradient: &[N],
    outputs: usize,
) -> Vec<N::Sum> {
    match prefers_small_tiles(windows) {
        true => weights_gradient_with::<TwoOutputs, N>(windows, images, gradient, outputs),
        false => weights_gradient_with::<FourOutputs, N>(windows, images, gradient, outputs),
    }
}

/// Returns whether tiles of 2 x 2 outputs take no more multiplications than those of 4 x 4, as on maps of 2 x 2
/// pixels. They are then preferred for their smaller rounding errors.
fn prefers_small_tiles(windows: &Windows) -> bool {
    let (down, across) = windows.output_size();
    let products = |out: usize| down.div_ceil(out) * across.div_ceil(out) * (out + 2) * (out + 2);
    products(TwoOutputs::OUT) <= products(FourOutputs::OUT)
}

fn forward_with<S: Scheme, N: Number>(
    windows: &Windows,
    images: &[N],
    filters: Filters<N::Sum>,
    out: &mut [N],
) {
    let tiles = Tiles::<S>::new(*windows);
    let Filters { steps, channels, .. } = filters;
    assert!(windows.kernel == (3, 3) && windows.stride == 1, "{windows:?} is not 3 x 3 with stride 1");
    assert!(windows.channels == steps && images.len() == windows.batch * windows.image_len(), "images");
    assert_eq!(out.len(), windows.pixels() * channels, "numbers of the output");
    let products =
        Products { tiles: &tiles, images, filters, out: Shared(out.as_mut_ptr()), borrowed: PhantomData };
    match steps * channels <= FEW_FILTERS && tiles.count() > GROUPS * TILES {
        true => products.share_tiles(),
        false => products.share_channels(),
    }
}

/// Products of tiles' values and filters, and their destination.
struct Products<'a, S, N: Number> {
    tiles: &'a Tiles<S>,
    images: &'a [N],
    filters: Filters<'a, N::Sum>,
    out: Shared<N>,
    borrowed: PhantomData<&'a mut [N]>,
}

/// The start of an output of which tasks write disjoint parts.
struct Shared<T>(*mut T);

// SAFETY: tasks write disjoint tiles or channels, as `Products::write` requires.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<S: Scheme, N: Number> Products<'_, S, N> {
    /// Returns the number of values in a strip of transformed filters.
    fn strip_len(&self) -> usize {
        Tiles::<S>::PLACES * place_len(self.filters.steps)
    }

    /// Returns the number of values in a transformed block.
    fn values_len(&self, block: &Range<usize>) -> usize {
        Tiles::<S>::PLACES * Layout::rows(block.len(), self.filters.steps).place
    }

    /// Transforms a block of the images; writes every value.
    fn transform(&self, block: &Range<usize>, values: &mut [N::Sum]) {
        let steps = self.filters.steps;
        let layout = Layout::rows(block.len(), steps);
        self.tiles.transform_input(self.images, block.clone(), 0..steps.div_ceil(STRIP), layout, values);
    }

    /// Computes all products, with blocks of tiles distributed among tasks.
    fn share_tiles(&self) {
        let (strip, count) = (self.strip_len(), self.tiles.count());
        // SAFETY: `pack` writes whole strips.
        let mut packed = unsafe { unwritten(self.filters.channels.div_ceil(STRIP) * strip) };
        let strips = packed.par_chunks_mut(strip).enumerate();
        strips.for_each(|(index, packed)| self.filters.pack::<S, N>(index, packed));
        (0..count.div_ceil(TILES)).into_par_iter().for_each_init(
            || (Vec::new(), Vec::new()),
            |(values, products), index| {
                let block = index * TILES..count.min((index + 1) * TILES);
                // SAFETY: `transform` writes every value.
                unsafe { resize_unwritten(values, self.values_len(&block)) };
                self.transform(&block, values);
                for (pair, packed) in packed.chunks(2 * strip).enumerate() {
                    // SAFETY: the block belongs to this task, and each pair is processed once.
                    unsafe { self.write(&block, values, pair, packed, products) };
                }
            },
        );
    }

    /// Computes all products, with pairs of strips distributed among tasks, all of which read the same blocks.
    fn share_channels(&self) {
        let (strip, channels, count) = (self.strip_len(), self.filters.channels, self.tiles.count());
        let blocks = count.div_ceil(SHARED_TILES).max(2);
        let size = count.div_ceil(blocks);
        let blocks = count.div_ceil(size);
        let block_of = |index: usize| index * size..count.min((index + 1) * size);
        let numbers = self.values_len(&block_of(0));
        let together = (SHARED_NUMBERS / numbers).max(1);
        // SAFETY: only numbers that `transform` wrote are read.
        let mut values = unsafe { unwritten(together.min(blocks) * numbers) };
        for first in (0..blocks).step_by(together) {
            let count = together.min(blocks - first);
            values.par_chunks_mut(numbers).take(count).enumerate().for_each(|(index, values)| {
                self.transform(&block_of(first + index), values);
            });
            (0..channels.div_ceil(PAIR)).into_par_iter().for_each_init(
                || (Vec::new(), Vec::new()),
                |(packed, products), pair| {
                    let strips = (channels - pair * PAIR).div_ceil(STRIP).min(2);
                    // SAFETY: `pack` writes whole strips.
                    unsafe { resize_unwritten(packed, strips * strip) };
                    for (index, packed) in packed.chunks_mut(strip).enumerate() {
                        self.filters.pack::<S, N>(2 * pair + index, packed);
                    }
                    for (index, values) in values.chunks(numbers).take(count).enumerate() {
                        let block = block_of(first + index);
                        let values = &values[..self.values_len(&block)];
                        // SAFETY: the pair belongs to this task, and each block is processed once.
                        unsafe { self.write(&block, values, pair, packed, products) };
                    }
                },
            );
        }
    }

    /// Multiplies a block's values with one or two strips of filters and writes the output's pixels.
    ///
    /// # Safety
    /// No other code may access this block's tiles of this pair of strips during the call.
    unsafe fn write(
        &self,
        block: &Range<usize>,
        values: &[N::Sum],
        pair: usize,
        packed: &[N::Sum],
        products: &mut Vec<N::Sum>,
    ) {
        let (places, rows) = (Tiles::<S>::PLACES, block.len());
        let Filters { steps, channels, .. } = self.filters;
        let strips = packed.len() / self.strip_len();
        let (first, second) = packed.split_at(self.strip_len());
        let layout = Layout::rows(rows, strips * STRIP);
        // SAFETY: products write every number.
        unsafe { resize_unwritten(products, places * layout.place) };
        let of_values = Layout::rows(rows, steps);
        let values = values.chunks_exact(of_values.place);
        for (place, (values, products)) in values.zip(products.chunks_exact_mut(layout.place)).enumerate() {
            let start = place * place_len(steps);
            let strip = start..start + steps * STRIP;
            multiply_strips(
                Output::new(&mut products[..rows * layout.tile], rows, layout.tile),
                Matrix::part(values, rows, steps, of_values.tile),
                &first[strip.clone()],
                if strips == 2 { &second[strip] } else { &[] },
                Write::Replace,
            );
        }
        let groups = (2 * pair, strips);
        // SAFETY: the output is borrowed mutably as long as `self` exists, and no other task accesses these tiles
        // and channels.
        unsafe { self.tiles.transform_output(products, layout, block.clone(), groups, channels, self.out.0) };
    }
}

fn weights_gradient_with<S: Scheme, N: Number>(
    windows: &Windows,
    images: &[N],
    gradient: &[N],
    outputs: usize,
) -> Vec<N::Sum> {
    let tiles = Tiles::<S>::new(*windows);
    let inputs = windows.channels;
    assert!(windows.kernel == (3, 3) && windows.stride == 1, "{windows:?} is not 3 x 3 with stride 1");
    assert_eq!(images.len(), windows.batch * windows.image_len(), "numbers of the images");
    assert_eq!(gradient.len(), windows.pixels() * outputs, "numbers of the gradient");
    let correlation = Correlation { tiles: &tiles, images, gradient, inputs, outputs };
    match inputs * outputs <= FEW_FILTERS && tiles.count() > GROUPS * TILES {
        true => correlation.share_tiles(),
        false => correlation.share_channels(),
    }
}

/// The factors of a gradient with respect to weights.
struct Correlation<'a, S, N> {
    tiles: &'a Tiles<S>,
    images: &'a [N],
    gradient: &'a [N],
    inputs: usize,
    outputs: usize,
}

impl<S: Scheme, N: Number> Correlation<'_, S, N> {
    const PLACES: usize = Tiles::<S>::PLACES;
    /// Number of sums for one strip of inputs and a pair of strips of outputs, gaps included.
    const SUMS: usize = Self::PLACES * SUMS_OF_PLACE;

    /// Returns the numbers of strips of inputs and of outputs.
    fn strip_counts(&self) -> [usize; 2] {
        [self.inputs, self.outputs].map(|channels| channels.div_ceil(STRIP))
    }

    /// Returns the number of weights of a pair of strips of outputs.
    fn pair_len(&self) -> usize {
        PAIR * self.inputs * 9
    }

    /// Transforms a block of the images, by strips of inputs; writes every value.
    fn transform_images(&self, block: &Range<usize>, groups: Range<usize>, values: &mut [N::Sum]) {
        let layout = Layout::strips(block.len(), Self::PLACES);
        self.tiles.transform_input(self.images, block.clone(), groups, layout, values);
    }

    /// Transforms a block of the gradient, by strips of outputs; writes every value.
    fn transform_gradient(&self, block: &Range<usize>, groups: Range<usize>, values: &mut [N::Sum]) {
        let layout = Layout::strips(block.len(), Self::PLACES);
        self.tiles.transform_gradient(self.gradient, self.outputs, block.clone(), groups, layout, values);
    }

    /// Writes a block's products of a strip of inputs and one or two strips of outputs to `sums`, or adds them.
    fn multiply(count: usize, values: &[N::Sum], gradients: &[N::Sum], sums: &mut [N::Sum], add: bool) {
        let (strip, apart) = (count * STRIP, Layout::strips(count, Self::PLACES).place);
        let (first, second) = gradients.split_at(Self::PLACES * apart);
        let columns = if second.is_empty() { STRIP } else { PAIR };
        let places = values.chunks_exact(apart).zip(first.chunks_exact(apart));
        for (place, ((values, first), sums)) in places.zip(sums.chunks_exact_mut(SUMS_OF_PLACE)).enumerate() {
            let first = &first[..strip];
            let second = second.get(place * apart..place * apart + strip).unwrap_or(&[]);
            let left = Matrix::new(&values[..strip], count, STRIP).transposed();
            let out = Output::part(&mut sums[..STRIP * PAIR], STRIP, columns, PAIR);
            let write = if add { Write::Add } else { Write::Replace };
            multiply_strips(out, left, first, second, write);
        }
    }

    /// Computes the gradient with respect to weights, with blocks of tiles distributed among tasks. Each task has
    /// its own partial sums, which are added up at the end.
    fn share_tiles(&self) -> Vec<N::Sum> {
        let [groups, strips] = self.strip_counts();
        let pairs = self.outputs.div_ceil(PAIR);
        let (count, blocks) = (self.tiles.count(), self.tiles.count().div_ceil(TILES));
        // SAFETY: every task writes its own part: it has at least one block, as there are more than `GROUPS`.
        let mut parts = unsafe { unwritten(GROUPS * pairs * groups * Self::SUMS) };
        parts.par_chunks_mut(pairs * groups * Self::SUMS).enumerate().for_each(|(part, all)| {
            let (mut values, mut gradients) = (Vec::new(), Vec::new());
            let first = part * blocks / GROUPS;
            for index in first..(part + 1) * blocks / GROUPS {
                let block = index * TILES..count.min((index + 1) * TILES);
                let strip = Layout::strips(block.len(), Self::PLACES).group;
                // SAFETY: the transforms write every value.
                unsafe {
                    resize_unwritten(&mut values, groups * strip);
                    resize_unwritten(&mut gradients, strips * strip);
                }
                self.transform_images(&block, 0..groups, &mut values);
                self.transform_gradient(&block, 0..strips, &mut gradients);
                let pairs = gradients.chunks(2 * strip);
                for (gradients, all) in pairs.zip(all.chunks_exact_mut(groups * Self::SUMS)) {
                    for (values, sums) in values.chunks_exact(strip).zip(all.chunks_exact_mut(Self::SUMS)) {
                        Self::multiply(block.len(), values, gradients, sums, index > first);
                    }
                }
            }
        });
        // SAFETY: every task first writes its own weights.
        let mut by_weights = unsafe { unwritten(self.outputs * self.inputs * 9) };
        by_weights.par_chunks_mut(self.pair_len()).enumerate().for_each(|(pair, by_weights)| {
            let mut total = vec![N::Sum::ZERO; Self::SUMS];
            for group in 0..groups {
                total.fill(N::Sum::ZERO);
                for part in parts.chunks_exact(pairs * groups * Self::SUMS) {
                    let part = &part[(pair * groups + group) * Self::SUMS..][..Self::SUMS];
                    vectorised(
                        #[inline(always)]
                        || total.iter_mut().zip(part).for_each(|(total, &part)| *total += part),
                    );
                }
                write_gradient::<S, N::Sum>(&total, group * STRIP, self.inputs, by_weights, false);
            }
        });
        by_weights
    }

    /// Computes the gradient with respect to weights, with pairs of strips distributed among tasks, all of which
    /// read the same blocks.
    fn share_channels(&self) -> Vec<N::Sum> {
        let [groups, strips] = self.strip_counts();
        // SAFETY: every task first writes its own weights.
        let mut by_weights = unsafe { unwritten(self.outputs * self.inputs * 9) };
        if self.tiles.count() == 0 {
            by_weights.fill(N::Sum::ZERO);
        }
        let together = (SHARED_NUMBERS / (Self::PLACES * STRIP * (groups + strips))).max(1);
        let (mut values, mut gradients) = (Vec::new(), Vec::new());
        for start in (0..self.tiles.count()).step_by(together) {
            let block = start..self.tiles.count().min(start + together);
            let strip = Layout::strips(block.len(), Self::PLACES).group;
            // SAFETY: the transforms write every value.
            unsafe {
                resize_unwritten(&mut values, groups * strip);
                resize_unwritten(&mut gradients, strips * strip);
            }
            let parts = values.par_chunks_mut(strip).enumerate();
            parts.for_each(|(group, values)| self.transform_images(&block, group..group + 1, values));
            let parts = gradients.par_chunks_mut(strip).enumerate();
            parts.for_each(|(group, values)| self.transform_gradient(&block, group..group + 1, values));
            by_weights.par_chunks_mut(self.pair_len()).zip(gradients.par_chunks(2 * strip)).for_each_init(
                || vec![N::Sum::ZERO; Self::SUMS],
                |sums, (by_weights, gradients)| {
                    for (group, values) in values.chunks_exact(strip).enumerate() {
                        Self::multiply(block.len(), values, gradients, sums, false);
                        let add = start > 0;
                        write_gradient::<S, N::Sum>(sums, group * STRIP, self.inputs, by_weights, add);
                    }
                },
            );
        }
        by_weights
    }
}
