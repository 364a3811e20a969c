//! Turns rows into strips and back: sixteen rows of numbers become sixteen columns. Independent of what numbers are.
//!
//! One number at a time this takes longer than the arithmetic on weights, so blocks of numbers of 32 bits are turned
//! in registers: 16 x 16 numbers on machines with AVX-512, 8 x 8 on those with AVX2. The plain loops are the twin, for
//! all other machines and numbers.

use super::{storage::Plain, strips::STRIP};

/// Writes `strip[column][row]` for at most sixteen rows of `strip.len()` numbers, which start `stride` numbers apart.
/// Lanes without a row keep their numbers or get arbitrary ones.
///
/// # Panics
/// If there are fewer numbers, or more rows.
pub fn into_strip<T: Plain>(numbers: &[T], rows: usize, stride: usize, strip: &mut [[T; STRIP]]) {
    let columns = strip.len();
    check(numbers.len(), rows, stride, columns);
    #[cfg(target_arch = "x86_64")]
    if suits::<T>(rows, columns) && is_x86_feature_detected!("avx512f") {
        // SAFETY: the machine has AVX-512, numbers have 32 bits, and all rows exist.
        return unsafe {
            avx512::into_strip(numbers.as_ptr().cast(), stride, strip.as_mut_ptr().cast(), columns)
        };
    }
    #[cfg(target_arch = "x86_64")]
    if suits::<T>(rows, columns) && is_x86_feature_detected!("avx2") {
        // SAFETY: the machine has AVX2, numbers have 32 bits, and all rows exist.
        let done =
            unsafe { avx2::into_strip(numbers.as_ptr().cast(), stride, strip.as_mut_ptr().cast(), columns) };
        return into_strip_plain(&numbers[done..], rows, stride, &mut strip[done..]);
    }
    into_strip_plain(numbers, rows, stride, strip);
}

fn into_strip_plain<T: Plain>(numbers: &[T], rows: usize, stride: usize, strip: &mut [[T; STRIP]]) {
    for row in 0..rows {
        let numbers = &numbers[row * stride..][..strip.len()];
        strip.iter_mut().zip(numbers).for_each(|(lanes, &x)| lanes[row] = x);
    }
}

/// The reverse of [`into_strip`]: writes `strip[column][row]` to column `column` of row `row`.
///
/// # Panics
/// As for [`into_strip`].
pub fn from_strip<T: Plain>(strip: &[[T; STRIP]], rows: usize, stride: usize, numbers: &mut [T]) {
    let columns = strip.len();
    check(numbers.len(), rows, stride, columns);
    #[cfg(target_arch = "x86_64")]
    if suits::<T>(rows, columns) && is_x86_feature_detected!("avx512f") {
        // SAFETY: as above.
        return unsafe {
            avx512::from_strip(strip.as_ptr().cast(), columns, numbers.as_mut_ptr().cast(), stride)
        };
    }
    #[cfg(target_arch = "x86_64")]
    if suits::<T>(rows, columns) && is_x86_feature_detected!("avx2") {
        // SAFETY: as above.
        let done =
            unsafe { avx2::from_strip(strip.as_ptr().cast(), columns, numbers.as_mut_ptr().cast(), stride) };
        return from_strip_plain(&strip[done..], rows, stride, &mut numbers[done..]);
    }
    from_strip_plain(strip, rows, stride, numbers);
}

fn from_strip_plain<T: Plain>(strip: &[[T; STRIP]], rows: usize, stride: usize, numbers: &mut [T]) {
    for row in 0..rows {
        let numbers = &mut numbers[row * stride..][..strip.len()];
        numbers.iter_mut().zip(strip).for_each(|(x, lanes)| *x = lanes[row]);
    }
}

/// Returns whether registers are worth it: for a few columns they take longer than plain loops.
#[cfg(target_arch = "x86_64")]
fn suits<T>(rows: usize, columns: usize) -> bool {
    rows == STRIP && columns >= 4 && size_of::<T>() == size_of::<u32>()
}

fn check(count: usize, rows: usize, stride: usize, columns: usize) {
    assert!(rows <= STRIP, "{rows} rows in a strip");
    assert!(
        rows == 0 || (rows - 1) * stride + columns <= count,
        "rows of {columns}, {stride} apart, in {count}"
    );
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::STRIP;

    /// # Safety
    /// `numbers` points to sixteen rows of `columns` words, `stride` apart, and `strip` to as many words; the machine
    /// has AVX-512.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn into_strip(numbers: *const i32, stride: usize, strip: *mut i32, columns: usize) {
        for first in (0..columns).step_by(STRIP) {
            let count = STRIP.min(columns - first);
            let mask = first_lanes(count);
            let mut block = [_mm512_setzero_si512(); STRIP];
            for (row, words) in block.iter_mut().enumerate() {
                // SAFETY: guaranteed by the caller; masked lanes are not accessed.
                *words = unsafe { _mm512_maskz_loadu_epi32(mask, numbers.add(row * stride + first)) };
            }
            for (column, words) in turned(block).into_iter().enumerate().take(count) {
                // SAFETY: guaranteed by the caller.
                unsafe { _mm512_storeu_epi32(strip.add((first + column) * STRIP), words) };
            }
        }
    }

    /// # Safety
    /// As for [`into_strip`], which this reverses.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn from_strip(strip: *const i32, columns: usize, numbers: *mut i32, stride: usize) {
        for first in (0..columns).step_by(STRIP) {
            let count = STRIP.min(columns - first);
            let mask = first_lanes(count);
            let mut block = [_mm512_setzero_si512(); STRIP];
            for (column, words) in block.iter_mut().enumerate().take(count) {
                // SAFETY: guaranteed by the caller.
                *words = unsafe { _mm512_loadu_epi32(strip.add((first + column) * STRIP)) };
            }
            for (row, words) in turned(block).into_iter().enumerate() {
                // SAFETY: guaranteed by the caller; masked lanes are not accessed.
                unsafe { _mm512_mask_storeu_epi32(numbers.add(row * stride + first), mask, words) };
            }
        }
    }

    fn first_lanes(count: usize) -> u16 {
        ((1_u32 << count) - 1) as u16
    }

    /// Returns the transpose of a block, in four rounds: pairs of words, pairs of pairs, then quarters of registers.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn turned(block: [__m512i; STRIP]) -> [__m512i; STRIP] {
        let zero = _mm512_setzero_si512();
        let (mut pairs, mut fours, mut eights, mut turned) =
            ([zero; STRIP], [zero; STRIP], [zero; STRIP], [zero; STRIP]);
        for row in (0..STRIP).step_by(2) {
            pairs[row] = _mm512_unpacklo_epi32(block[row], block[row + 1]);
            pairs[row + 1] = _mm512_unpackhi_epi32(block[row], block[row + 1]);
        }
        for row in (0..STRIP).step_by(4) {
            fours[row] = _mm512_unpacklo_epi64(pairs[row], pairs[row + 2]);
            fours[row + 1] = _mm512_unpackhi_epi64(pairs[row], pairs[row + 2]);
            fours[row + 2] = _mm512_unpacklo_epi64(pairs[row + 1], pairs[row + 3]);
            fours[row + 3] = _mm512_unpackhi_epi64(pairs[row + 1], pairs[row + 3]);
        }
        // Quarter q of `fours[4 i + c]` holds rows 4 i to 4 i + 3 of column 4 q + c. 0x88 takes quarters 0 and 2 of
        // both registers, 0xdd quarters 1 and 3.
        for column in 0..4 {
            for half in [0, 8] {
                let (upper, lower) = (fours[half + column], fours[half + 4 + column]);
                eights[half + column] = _mm512_shuffle_i32x4::<0x88>(upper, lower);
                eights[half + 4 + column] = _mm512_shuffle_i32x4::<0xdd>(upper, lower);
            }
        }
        for column in 0..8 {
            let (upper, lower) = (eights[column], eights[8 + column]);
            turned[column] = _mm512_shuffle_i32x4::<0x88>(upper, lower);
            turned[8 + column] = _mm512_shuffle_i32x4::<0xdd>(upper, lower);
        }
        turned
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::STRIP;

    /// Rows and columns of a block.
    const SIDE: usize = 8;

    /// Turns whole blocks of columns, and returns how many columns these are.
    ///
    /// # Safety
    /// `numbers` points to sixteen rows of `columns` words, `stride` apart, and `strip` to as many words; the machine
    /// has AVX2.
    #[target_feature(enable = "avx2")]
    pub unsafe fn into_strip(numbers: *const i32, stride: usize, strip: *mut i32, columns: usize) -> usize {
        let whole = columns / SIDE * SIDE;
        for first in (0..whole).step_by(SIDE) {
            for upper in (0..STRIP).step_by(SIDE) {
                // SAFETY: guaranteed by the caller.
                unsafe {
                    turn(
                        (numbers.add(upper * stride + first), stride),
                        (strip.add(first * STRIP + upper), STRIP),
                    );
                }
            }
        }
        whole
    }

    /// # Safety
    /// As for [`into_strip`], which this reverses.
    #[target_feature(enable = "avx2")]
    pub unsafe fn from_strip(strip: *const i32, columns: usize, numbers: *mut i32, stride: usize) -> usize {
        let whole = columns / SIDE * SIDE;
        for first in (0..whole).step_by(SIDE) {
            for upper in (0..STRIP).step_by(SIDE) {
                // SAFETY: guaranteed by the caller.
                unsafe {
                    turn(
                        (strip.add(first * STRIP + upper), STRIP),
                        (numbers.add(upper * stride + first), stride),
                    );
                }
            }
        }
        whole
    }

    /// Writes the transpose of a block, in three rounds: pairs of words, pairs of pairs, then halves of registers.
    /// Both blocks are given by their start and by how many words apart their rows begin.
    ///
    /// # Safety
    /// Both blocks exist, and the machine has AVX2.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn turn((from, from_apart): (*const i32, usize), (to, to_apart): (*mut i32, usize)) {
        let zero = _mm256_setzero_si256();
        let (mut block, mut pairs, mut fours) = ([zero; SIDE], [zero; SIDE], [zero; SIDE]);
        for (row, words) in block.iter_mut().enumerate() {
            // SAFETY: guaranteed by the caller.
            *words = unsafe { _mm256_loadu_si256(from.add(row * from_apart).cast()) };
        }
        for row in (0..SIDE).step_by(2) {
            pairs[row] = _mm256_unpacklo_epi32(block[row], block[row + 1]);
            pairs[row + 1] = _mm256_unpackhi_epi32(block[row], block[row + 1]);
        }
        for row in (0..SIDE).step_by(4) {
            fours[row] = _mm256_unpacklo_epi64(pairs[row], pairs[row + 2]);
            fours[row + 1] = _mm256_unpackhi_epi64(pairs[row], pairs[row + 2]);
            fours[row + 2] = _mm256_unpacklo_epi64(pairs[row + 1], pairs[row + 3]);
            fours[row + 3] = _mm256_unpackhi_epi64(pairs[row + 1], pairs[row + 3]);
        }
        // Half h of `fours[4 i + c]` holds rows 4 i to 4 i + 3 of column 4 h + c.
        for column in 0..SIDE / 2 {
            let (upper, lower) = (fours[column], fours[4 + column]);
            let halves = [
                _mm256_permute2x128_si256::<0x20>(upper, lower),
                _mm256_permute2x128_si256::<0x31>(upper, lower),
            ];
            for (half, words) in halves.into_iter().enumerate() {
                // SAFETY: guaranteed by the caller.
                unsafe { _mm256_storeu_si256(to.add((4 * half + column) * to_apart).cast(), words) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// All numbers differ, and those beyond a row are seen if they are touched.
    #[rstest]
    fn rows_become_columns_and_rows_again(
        #[values(1, 15, 16)] rows: usize,
        #[values(0, 1, 9, 16, 17, 144)] columns: usize,
        #[values(0, 5)] apart: usize,
    ) {
        let stride = columns + apart;
        let numbers: Vec<f32> = (0..rows * stride).map(|place| place as f32).collect();
        let mut strip = vec![[-1.0_f32; STRIP]; columns];
        into_strip(&numbers, rows, stride, &mut strip);
        for (column, lanes) in strip.iter().enumerate() {
            for (row, &found) in lanes.iter().enumerate().take(rows) {
                assert_eq!(found, (row * stride + column) as f32, "{row}, {column}");
            }
        }
        let mut back = vec![-1.0_f32; rows * stride];
        from_strip(&strip, rows, stride, &mut back);
        for (place, &found) in back.iter().enumerate() {
            let expected = if place % stride < columns { place as f32 } else { -1.0 };
            assert_eq!(found, expected, "{place}");
        }
    }

    #[test]
    fn plain_loops_give_the_same() {
        let numbers: Vec<u32> = (0..16 * 40).collect();
        let [mut plain, mut fast] = [[[0_u32; STRIP]; 37]; 2];
        into_strip_plain(&numbers, 16, 40, &mut plain);
        into_strip(&numbers, 16, 40, &mut fast);
        assert_eq!(plain, fast);
        let [mut plain_back, mut fast_back] = [[0_u32; 16 * 40]; 2];
        from_strip_plain(&plain, 16, 40, &mut plain_back);
        from_strip(&plain, 16, 40, &mut fast_back);
        assert_eq!(plain_back, fast_back);
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            let [mut strip, mut back] = [vec![0; 37 * STRIP], vec![0; 16 * 40]];
            // SAFETY: rows exist, and the machine has AVX2.
            unsafe {
                assert_eq!(avx2::into_strip(numbers.as_ptr().cast(), 40, strip.as_mut_ptr(), 37), 32);
                assert_eq!(avx2::from_strip(strip.as_ptr(), 37, back.as_mut_ptr(), 40), 32);
            }
            for (place, &found) in strip[..32 * STRIP].iter().enumerate() {
                assert_eq!(found as u32, plain[place / STRIP][place % STRIP], "{place}");
            }
            for (place, &found) in back.iter().enumerate() {
                let expected = if place % 40 < 32 { numbers[place] } else { 0 };
                assert_eq!(found as u32, expected, "{place}");
            }
        }
        // Numbers of another size have only the plain loops.
        let wide: Vec<f64> = numbers.iter().map(|&x| f64::from(x)).collect();
        let mut strip = [[0.0_f64; STRIP]; 37];
        into_strip(&wide, 16, 40, &mut strip);
        assert!(strip.as_flattened().iter().zip(fast.as_flattened()).all(|(&x, &y)| x == f64::from(y)));
    }

    #[test]
    #[should_panic(expected = "rows of 3, 4 apart, in 6")]
    fn rows_that_do_not_exist_are_refused() {
        into_strip(&[0.0_f32; 6], 2, 4, &mut [[0.0; STRIP]; 3]);
    }
}
