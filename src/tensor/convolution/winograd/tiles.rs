//! A batch of maps split into square tiles, and the transforms between maps and tiles' values.
//!
//! Tiles of all images are numbered in reading order and processed in blocks. Values are stored by place (the index
//! of a product within its tile), then in the layout of the caller's matrices. Independent of products.

use std::{marker::PhantomData, ops::Range};

use super::{
    lanes::Lanes,
    scheme::{Axis, Scheme, along_both},
};
use crate::tensor::cpu::{
    patches::Windows,
    storage::Number,
    strips::STRIP,
    vector::{prefetch, vectorised},
};

/// Columns that neighbouring tiles of an input share.
const OVERLAP: usize = 2;

/// The positions of the tiles of a 3 x 3 convolution with stride 1.
pub struct Tiles<S> {
    windows: Windows,
    /// Rows and columns of output pixels.
    output: (usize, usize),
    /// Rows and columns of tiles in an image.
    grid: (usize, usize),
    scheme: PhantomData<S>,
}

/// The size of a map, whose pixels have channels.
#[derive(Clone, Copy)]
struct Map {
    height: usize,
    width: usize,
    channels: usize,
}

/// The part of a map under a tile: its first pixel, which may lie outside the map, and pixels per side.
#[derive(Clone, Copy)]
struct Place {
    image: usize,
    top: isize,
    left: isize,
    side: usize,
}

/// Memory layout of a block's values: distances between places, between groups of channels and between tiles.
#[derive(Clone, Copy)]
pub struct Layout {
    pub place: usize,
    pub group: usize,
    pub tile: usize,
}

/// Numbers between the values of one place and the next, which are not used: a tile's values are written to all places
/// in turn, and at distances of whole powers of two they would drive each other out of the caches.
pub const GAP: usize = STRIP;

impl Layout {
    /// A matrix (tiles x channels) for each place.
    pub fn rows(tiles: usize, channels: usize) -> Self {
        let padded = channels.next_multiple_of(STRIP);
        Self { place: tiles * padded + GAP, group: STRIP, tile: padded }
    }

    /// For each group of sixteen channels and each place, a strip (tiles x 16).
    pub fn strips(tiles: usize, places: usize) -> Self {
        let place = tiles * STRIP + GAP;
        Self { place, group: places * place, tile: STRIP }
    }
}

impl<S: Scheme> Tiles<S> {
    /// Number of products of a tile.
    pub const PLACES: usize = S::IN * S::IN;

    pub fn new(windows: Windows) -> Self {
        let output = windows.output_size();
        let grid = (output.0.div_ceil(S::OUT), output.1.div_ceil(S::OUT));
        Self { windows, output, grid, scheme: PhantomData }
    }

    /// Returns the number of tiles of the whole batch.
    pub fn count(&self) -> usize {
        self.windows.batch * self.grid.0 * self.grid.1
    }

    /// Computes B^T d B of the input under each tile of a block, for some groups of channels.
    pub fn transform_input<N: Number>(
        &self,
        images: &[N],
        block: Range<usize>,
        groups: Range<usize>,
        layout: Layout,
        values: &mut [N::Sum],
    ) {
        let Windows { height, width, channels, padding, .. } = self.windows;
        let map = Map { height, width, channels };
        vectorised(
            #[inline(always)]
            || {
                for (index, tile) in block.clone().enumerate() {
                    let place = self.place(tile, padding, S::IN);
                    map.prefetch(images, self.place(tile + 1, padding, S::IN), OVERLAP, groups.clone());
                    for group in groups.clone() {
                        let start = (group - groups.start) * layout.group + index * layout.tile;
                        map.read(
                            images,
                            place,
                            group * STRIP,
                            #[inline(always)]
                            |axis| S::input(axis),
                            (S::IN, layout.place, &mut values[start..]),
                        );
                    }
                }
            },
        );
    }

    /// Computes A y A^T of the output's gradient under each tile of a block, for some groups of its `channels`.
    pub fn transform_gradient<N: Number>(
        &self,
        gradient: &[N],
        channels: usize,
        block: Range<usize>,
        groups: Range<usize>,
        layout: Layout,
        values: &mut [N::Sum],
    ) {
        let map = Map { height: self.output.0, width: self.output.1, channels };
        vectorised(
            #[inline(always)]
            || {
                for (index, tile) in block.clone().enumerate() {
                    let place = self.place(tile, (0, 0), S::OUT);
                    map.prefetch(gradient, self.place(tile + 1, (0, 0), S::OUT), 0, groups.clone());
                    for group in groups.clone() {
                        let start = (group - groups.start) * layout.group + index * layout.tile;
                        map.read(
                            gradient,
                            place,
                            group * STRIP,
                            #[inline(always)]
                            |axis| S::gradient(axis),
                            (S::IN, layout.place, &mut values[start..]),
                        );
                    }
                }
            },
        );
    }

    /// Writes A^T v A of each tile of a block to the output, whose pixels have `channels`; values are those of
    /// `groups` groups of channels beginning with `first`.
    ///
    /// # Safety
    /// `out` points to all output pixels; no other code may access these groups' channels of these tiles during the
    /// call.
    pub unsafe fn transform_output<N: Number>(
        &self,
        values: &[N::Sum],
        layout: Layout,
        block: Range<usize>,
        (first, groups): (usize, usize),
        channels: usize,
        out: *mut N,
    ) {
        let map = Map { height: self.output.0, width: self.output.1, channels };
        vectorised(
            #[inline(always)]
            || {
                for (index, tile) in block.clone().enumerate() {
                    let place = self.place(tile, (0, 0), S::OUT);
                    for group in 0..groups {
                        let values = &values[group * layout.group + index * layout.tile..];
                        // SAFETY: guaranteed by the caller.
                        unsafe {
                            map.write(
                                (S::IN, layout.place, values),
                                place,
                                (first + group) * STRIP,
                                #[inline(always)]
                                |axis| S::output(axis),
                                out,
                            );
                        }
                    }
                }
            },
        );
    }

    /// Returns the part of a map under a tile, `padding` pixels above and to the left of its outputs.
    #[inline(always)]
    fn place(&self, tile: usize, padding: (usize, usize), side: usize) -> Place {
        let (row, column) = (tile / self.grid.1 % self.grid.0, tile % self.grid.1);
        Place {
            image: tile / (self.grid.0 * self.grid.1),
            top: (row * S::OUT) as isize - padding.0 as isize,
            left: (column * S::OUT) as isize - padding.1 as isize,
            side,
        }
    }
}

impl Map {
    /// Asks for some groups of channels of the pixels at a place, except its first columns, which the place before
    /// shares.
    #[inline(always)]
    fn prefetch<N>(&self, images: &[N], place: Place, shared: usize, groups: Range<usize>) {
        let pixel = (place.image * self.height) as isize;
        for row in 0..place.side as isize {
            for column in shared..place.side {
                let pixel = (pixel + place.top + row) * self.width as isize + place.left + column as isize;
                let start = pixel * self.channels as isize + (groups.start * STRIP) as isize;
                prefetch(images.as_ptr().wrapping_offset(start), groups.len() * STRIP);
            }
        }
    }

    /// Transforms sixteen channels of the pixels at a place, with zeros outside, to `side` x `side` values that are
    /// `distance` apart.
    #[inline(always)]
    fn read<N: Number>(
        &self,
        images: &[N],
        place: Place,
        channel: usize,
        transform: impl Fn(Axis<N::Sum>) -> Axis<N::Sum>,
        (side, distance, values): (usize, usize, &mut [N::Sum]),
    ) {
        let Self { height, width, channels } = *self;
        let image = &images[place.image * height * width * channels..][..height * width * channels];
        let (values, distance) = (values.as_chunks_mut::<STRIP>().0, distance / STRIP);
        let (top, left) = (place.top, place.left);
        let within = |start: isize, length: usize| start >= 0 && start as usize + place.side <= length;
        if within(top, height) && within(left, width) && channel + STRIP <= channels {
            let image = &image[(top as usize * width + left as usize) * channels + channel..];
            along_both(
                place.side,
                side,
                #[inline(always)]
                |row, column| Lanes::load(&image[(row * width + column) * channels..]),
                transform,
                #[inline(always)]
                |row, column, lanes| values[(row * side + column) * distance] = lanes.into_array(),
            );
            return;
        }
        along_both(
            place.side,
            side,
            #[inline(always)]
            |row, column| {
                // Negative numbers wrap around to large ones.
                let (row, column) = ((top + row as isize) as usize, (left + column as isize) as usize);
                if row >= height || column >= width {
                    return Lanes::zero();
                }
                Lanes::load_some(&image[(row * width + column) * channels + channel..], channels - channel)
            },
            transform,
            #[inline(always)]
            |row, column, lanes| values[(row * side + column) * distance] = lanes.into_array(),
        );
    }

    /// Transforms `side` x `side` values that are `distance` apart to sixteen channels of those pixels at a place
    /// that are inside.
    ///
    /// # Safety
    /// `images` points to all pixels; no other code may access these during the call.
    #[inline(always)]
    unsafe fn write<N: Number>(
        &self,
        (side, distance, values): (usize, usize, &[N::Sum]),
        place: Place,
        channel: usize,
        transform: impl Fn(Axis<N::Sum>) -> Axis<N::Sum>,
        images: *mut N,
    ) {
        let Self { height, width, channels } = *self;
        let (top, left) = (place.top as usize, place.left as usize);
        let count = STRIP.min(channels - channel);
        let (values, distance) = (values.as_chunks::<STRIP>().0, distance / STRIP);
        along_both(
            side,
            place.side,
            #[inline(always)]
            |row, column| Lanes::load(&values[(row * side + column) * distance]),
            transform,
            #[inline(always)]
            |row, column, lanes| {
                if top + row < height && left + column < width {
                    let pixel = (place.image * height + top + row) * width + left + column;
                    // SAFETY: the pixel and the channels exist; the rest is guaranteed by the caller.
                    let pixel = unsafe {
                        std::slice::from_raw_parts_mut(images.add(pixel * channels + channel), count)
                    };
                    lanes.store_some(pixel);
                }
            },
        );
    }
}
