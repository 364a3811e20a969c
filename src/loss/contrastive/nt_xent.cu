// NT-Xent without its matrix of similarities, on tensor cores.
//
// For R rows z of length 1, s_ij = z_i . z_j / tau and p(i) the other view of i:
//
//   forward   lse_i = log sum_{j != i} exp(s_ij),  L = mean_i (lse_i - s_i,p(i))
//   backward  dL/dz_i = 1 / (R tau) sum_{j != i} (exp(s_ij - lse_i) + exp(s_ij - lse_j) - 2 [j = p(i)]) z_j
//
// A block keeps 128 rows in shared memory and goes through tiles of 64 columns: forward with a running maximum and sum a row
// (Milakov and Gimelshein 2018), backward with similarities made again and multiplied by their columns while they are in
// registers. Where there are few rows, the columns are shared out among blocks (parts), whose results are put together in
// order. Device memory: rows, gradients, 2 numbers a row and part, and at most 264 x 128 rows of partial gradients. No
// atomics: equal bits in every run. Operations: 2 R^2 D forward, 4 R^2 D backward (6 above 128 columns).
//
// Rows are f32, multiplied as three products of tf32 (error 2^-21), or bf16; sums are f32. Up to 256 columns. Source: Chen et al.
// 2020, equation 1; the plain twin is `nt_xent` of src/loss/contrastive.rs. It never ran on a GPU yet: benchmarks/cells/kernels
// runs it on the CPU and compiles it.
#include "warp.cuh"

constexpr int WARPS = 4;
constexpr int GROUP = 32;              // rows of a warp; columns whose similarities it holds at a time
constexpr int ROWS = GROUP * WARPS;    // of a block
constexpr int COLUMNS = 64;            // in shared memory at a time
constexpr int BAND = 128;              // columns of the gradient that a block makes
constexpr int STEP = 8;                // words multiplied at a time
constexpr int PADDING = 4;             // words behind a row in shared memory, so that lanes meet other banks
constexpr float LEAST = -3.0e38f;

// The other view of a row: views lie one after the other.
__device__ __forceinline__ int partner(int row, int rows) { return row < rows / 2 ? row + rows / 2 : row - rows / 2; }

// d += a b for fragments of words. In f32 each factor is the sum of two tf32: what the first leaves is exact.
__device__ __forceinline__ void multiply(float d[4], const unsigned a[4], const unsigned b[2], Bf16) { multiply_bf16(d, a, b); }
__device__ __forceinline__ void multiply(float d[4], const unsigned a[4], const unsigned b[2], float) {
    unsigned a_high[4], a_low[4], b_high[2], b_low[2];
    for (int n = 0; n < 4; n++) {
        a_high[n] = a[n] & 0xffffe000u;
        a_low[n] = __float_as_uint(__uint_as_float(a[n]) - __uint_as_float(a_high[n]));
    }
    for (int n = 0; n < 2; n++) {
        b_high[n] = b[n] & 0xffffe000u;
        b_low[n] = __float_as_uint(__uint_as_float(b[n]) - __uint_as_float(b_high[n]));
    }
    multiply_tf32(d, a_low, b_high);
    multiply_tf32(d, a_high, b_low);
    multiply_tf32(d, a_high, b_high);
}

// Rows first, first + 1, ... of z, each of `words` words, to shared memory; zeros beyond the last.
__device__ __forceinline__ void load(unsigned *shared, const unsigned *z, int first, int count, int rows, int words) {
    for (int item = threadIdx.x; item < count * words; item += WARPS * LANES) {
        const int row = item / words, word = item % words;
        shared[row * (words + PADDING) + word] = first + row < rows ? z[(long long)(first + row) * words + word] : 0u;
    }
}

// products[m][n]: 16 rows from left + 16 m against 8 rows from right + 8 n, without the temperature.
template <typename T>
__device__ __forceinline__ void similarities(const unsigned *left, const unsigned *right, int words, float products[2][4][4]) {
    const int lane = threadIdx.x % LANES, row = lane / 4, word = lane % 4, stride = words + PADDING;
    for (int m = 0; m < 2; m++)
        for (int n = 0; n < 4; n++)
            for (int c = 0; c < 4; c++) products[m][n][c] = 0.0f;
    for (int start = 0; start < words; start += STEP) {
        unsigned a[2][4], b[2];
        for (int m = 0; m < 2; m++) {
            const unsigned *from = left + (16 * m + row) * stride + start + word;
            a[m][0] = from[0];
            a[m][1] = from[8 * stride];
            a[m][2] = from[4];
            a[m][3] = from[8 * stride + 4];
        }
        for (int n = 0; n < 4; n++) {
            const unsigned *from = right + (8 * n + row) * stride + start + word;
            b[0] = from[0];
            b[1] = from[4];
            for (int m = 0; m < 2; m++) multiply(products[m][n], a[m], b, T());
        }
    }
}

// sum[m][n] += weights (32 x 32, as `similarities` leaves them) times 8 columns of the 32 rows at `right`, from `band` + 8 n.
__device__ __forceinline__ void accumulate(float sum[2][BAND / 8][4], const float weights[2][4][4], const unsigned *right,
                                           int words, int band, Bf16) {
    const int lane = threadIdx.x % LANES, stride = words + PADDING;
    UNROLL
    for (int k = 0; k < 2; k++) {
        unsigned a[2][4], b[2];
        for (int m = 0; m < 2; m++)
            for (int n = 0; n < 2; n++)
                for (int half = 0; half < 2; half++) {
                    const float *pair = &weights[m][2 * k + n][2 * half];
                    a[m][2 * n + half] = bf16_bits(pair[0]) | bf16_bits(pair[1]) << 16;
                }
        UNROLL
        for (int n = 0; n < BAND / 8; n++)
            if (band + 8 * n < 2 * words) {
                load_transposed(b, right + (16 * k + lane % 16) * stride + (band + 8 * n) / 2);
                for (int m = 0; m < 2; m++) multiply(sum[m][n], a[m], b, Bf16());
            }
    }
}
// The order in which products are added up does not matter, so rows 2 t and 2 t + 1 are called t and t + 4.
__device__ __forceinline__ void accumulate(float sum[2][BAND / 8][4], const float weights[2][4][4], const unsigned *right,
                                           int words, int band, float) {
    const int lane = threadIdx.x % LANES, stride = words + PADDING;
    UNROLL
    for (int k = 0; k < 4; k++) {
        unsigned a[2][4], b[2];
        for (int m = 0; m < 2; m++) {
            a[m][0] = __float_as_uint(weights[m][k][0]);
            a[m][1] = __float_as_uint(weights[m][k][2]);
            a[m][2] = __float_as_uint(weights[m][k][1]);
            a[m][3] = __float_as_uint(weights[m][k][3]);
        }
        UNROLL
        for (int n = 0; n < BAND / 8; n++)
            if (band + 8 * n < words) {
                const unsigned *from = right + (8 * k + 2 * (lane % 4)) * stride + band + 8 * n + lane / 4;
                b[0] = from[0];
                b[1] = from[stride];
                for (int m = 0; m < 2; m++) multiply(sum[m][n], a[m], b, float());
            }
    }
}

// Blocks: ceil(rows / 4). Threads: 128, a warp a row. Writes rows of length 1, padded with zeros to `padded` numbers, and one
// over their length. `first` and `second` are (rows / 2, width).
template <typename T>
__device__ void normalise(const T *first, const T *second, int rows, int width, int padded, T *z, float *inverse_length) {
    const int row = blockIdx.x * WARPS + threadIdx.x / LANES, lane = threadIdx.x % LANES;
    const bool inside = row < rows;
    const T *from = row < rows / 2 ? first + (long long)row * width : second + (long long)(row - rows / 2) * width;
    float squares = 0.0f;
    for (int n = lane; inside && n < width; n += LANES) squares += number(from[n]) * number(from[n]);
    squares = sum_of_lanes(squares);
    const float inverse = 1.0f / sqrtf(fmaxf(squares, 1e-24f));
    for (int n = lane; inside && n < padded; n += LANES)
        store(&z[(long long)row * padded + n], n < width ? number(from[n]) * inverse : 0.0f);
    if (inside && lane == 0) inverse_length[row] = inverse;
}

// Blocks: ceil(rows / 128) x parts; part y has columns y * each and on. Threads: 128. Shared memory: 192 x (words + 4) words.
// Writes the maximum and the sum (parts, rows), and the similarity to the partner (rows).
template <typename T>
__device__ void forward(const unsigned *z, int rows, int words, int each, float inverse_temperature, float *maximum, float *sum,
                        float *positive) {
    DYNAMIC_SHARED(shared);
    unsigned *left = shared, *right = shared + ROWS * (words + PADDING);
    const int warp = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    const int first = blockIdx.x * ROWS, from = blockIdx.y * each, to = min(from + each, rows);
    load(left, z, first, ROWS, rows, words);
    float most[2][2], total[2][2];
    for (int m = 0; m < 2; m++)
        for (int half = 0; half < 2; half++) {
            most[m][half] = LEAST;
            total[m][half] = 0.0f;
        }
    for (int other = from; other < to; other += COLUMNS) {
        __syncthreads();
        load(right, z, other, COLUMNS, rows, words);
        __syncthreads();
        for (int start = 0; start < COLUMNS; start += GROUP) {
            float s[2][4][4];
            similarities<T>(left + warp * GROUP * (words + PADDING), right + start * (words + PADDING), words, s);
            for (int m = 0; m < 2; m++)
                for (int half = 0; half < 2; half++) {
                    const int row = first + warp * GROUP + 16 * m + 8 * half + lane / 4;
                    float largest = most[m][half];
                    for (int n = 0; n < 4; n++)
                        for (int c = 2 * half; c < 2 * half + 2; c++) {
                            const int column = other + start + 8 * n + 2 * (lane % 4) + c % 2;
                            float value = s[m][n][c] * inverse_temperature;
                            if (row < rows && column == partner(row, rows)) positive[row] = value;
                            if (column >= to || column == row) value = LEAST;
                            s[m][n][c] = value;
                            largest = fmaxf(largest, value);
                        }
                    float terms = total[m][half] * expf(most[m][half] - largest);
                    for (int n = 0; n < 4; n++)
                        for (int c = 2 * half; c < 2 * half + 2; c++)
                            terms += s[m][n][c] == LEAST ? 0.0f : expf(s[m][n][c] - largest);
                    most[m][half] = largest;
                    total[m][half] = terms;
                }
        }
    }
    for (int m = 0; m < 2; m++)
        for (int half = 0; half < 2; half++) {
            float largest = most[m][half], terms = total[m][half];
            for (int mask = 1; mask < 4; mask *= 2) {
                const float theirs = exchange(largest, mask), theirs_terms = exchange(terms, mask);
                const float both = fmaxf(largest, theirs);
                terms = terms * expf(largest - both) + theirs_terms * expf(theirs - both);
                largest = both;
            }
            const int row = first + warp * GROUP + 16 * m + 8 * half + lane / 4;
            if (row < rows && lane % 4 == 0) {
                maximum[(long long)blockIdx.y * rows + row] = largest;
                sum[(long long)blockIdx.y * rows + row] = terms;
            }
        }
}

// One block of 1,024 threads: parts put together to lse (rows), and the loss, always added in one order.
extern "C" __global__ void __launch_bounds__(1024) nt_xent_loss(const float *maximum, const float *sum, const float *positive,
                                                                int rows, int parts, float *lse, float *loss) {
    __shared__ float share[1024];
    float mine = 0.0f;
    for (int row = threadIdx.x; row < rows; row += 1024) {
        float largest = LEAST, terms = 0.0f;
        for (int part = 0; part < parts; part++) largest = fmaxf(largest, maximum[(long long)part * rows + row]);
        for (int part = 0; part < parts; part++) {
            const long long place = (long long)part * rows + row;
            terms += sum[place] * expf(maximum[place] - largest);
        }
        lse[row] = largest + logf(terms);
        mine += lse[row] - positive[row];
    }
    share[threadIdx.x] = mine;
    for (unsigned half = 512; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) share[threadIdx.x] += share[threadIdx.x + half];
    }
    if (threadIdx.x == 0) *loss = share[0] / rows;
}

// Blocks: ceil(rows / 128) x parts x ceil(padded / 128). Threads and shared memory as forward. Writes sums of weighted columns
// (parts, rows, padded), without the factor in front.
template <typename T>
__device__ void backward(const unsigned *z, const float *lse, int rows, int words, int each, float inverse_temperature,
                         float *partial) {
    DYNAMIC_SHARED(shared);
    unsigned *left = shared, *right = shared + ROWS * (words + PADDING);
    const int warp = threadIdx.x / LANES, lane = threadIdx.x % LANES, band = blockIdx.z * BAND;
    const int first = blockIdx.x * ROWS, from = blockIdx.y * each, to = min(from + each, rows);
    load(left, z, first, ROWS, rows, words);
    float sum[2][BAND / 8][4];
    UNROLL
    for (int m = 0; m < 2; m++)
        UNROLL
        for (int n = 0; n < BAND / 8; n++)
            UNROLL
            for (int c = 0; c < 4; c++) sum[m][n][c] = 0.0f;
    for (int other = from; other < to; other += COLUMNS) {
        __syncthreads();
        load(right, z, other, COLUMNS, rows, words);
        __syncthreads();
        for (int start = 0; start < COLUMNS; start += GROUP) {
            float s[2][4][4];
            similarities<T>(left + warp * GROUP * (words + PADDING), right + start * (words + PADDING), words, s);
            UNROLL
            for (int m = 0; m < 2; m++)
                UNROLL
                for (int half = 0; half < 2; half++) {
                    const int row = first + warp * GROUP + 16 * m + 8 * half + lane / 4;
                    const float own = row < rows ? lse[row] : 0.0f;
                    UNROLL
                    for (int n = 0; n < 4; n++)
                        UNROLL
                        for (int c = 2 * half; c < 2 * half + 2; c++) {
                            const int column = other + start + 8 * n + 2 * (lane % 4) + c % 2;
                            float weight = 0.0f;
                            if (row < rows && column < to && row != column) {
                                const float value = s[m][n][c] * inverse_temperature;
                                weight = expf(value - own) + expf(value - lse[column]);
                                if (column == partner(row, rows)) weight -= 2.0f;
                            }
                            s[m][n][c] = weight;
                        }
                }
            accumulate(sum, s, right + start * (words + PADDING), words, band, T());
        }
    }
    const int padded = words * (int)(sizeof(unsigned) / sizeof(T));
    UNROLL
    for (int m = 0; m < 2; m++)
        UNROLL
        for (int n = 0; n < BAND / 8; n++)
            UNROLL
            for (int c = 0; c < 4; c++) {
                const int row = first + warp * GROUP + 16 * m + 8 * (c / 2) + lane / 4;
                const int column = band + 8 * n + 2 * (lane % 4) + c % 2;
                if (row < rows && column < padded)
                    partial[((long long)blockIdx.y * rows + row) * padded + column] = sum[m][n][c];
            }
}

// Blocks: ceil(rows / 4). Threads: 128, a warp a row. Puts parts together, and goes back through the length: writes
// dL/d(first, second) (rows, width).
template <typename T>
__device__ void gradient(const float *partial, const T *z, const float *inverse_length, const float *upstream, int rows, int width,
                         int padded, int parts, float inverse_temperature, float *out) {
    const int row = blockIdx.x * WARPS + threadIdx.x / LANES, lane = threadIdx.x % LANES;
    const bool inside = row < rows;
    const float scale = *upstream * inverse_temperature / rows;
    float along = 0.0f;
    for (int n = lane; inside && n < width; n += LANES) {
        float value = 0.0f;
        for (int part = 0; part < parts; part++) value += partial[((long long)part * rows + row) * padded + n];
        value *= scale;
        out[(long long)row * width + n] = value;
        along += value * number(z[(long long)row * padded + n]);
    }
    along = sum_of_lanes(along);
    for (int n = lane; inside && n < width; n += LANES) {
        float *place = &out[(long long)row * width + n];
        *place = (*place - along * number(z[(long long)row * padded + n])) * inverse_length[row];
    }
}

// Names without C++ decoration, for whoever loads the module.
#define NT_XENT_OF(T, NAME)                                                                                                       \
    extern "C" __global__ void __launch_bounds__(WARPS *LANES) nt_xent_normalise_##NAME(                                          \
        const T *first, const T *second, int rows, int width, int padded, T *z, float *inverse_length) {                          \
        normalise(first, second, rows, width, padded, z, inverse_length);                                                         \
    }                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(WARPS *LANES) nt_xent_forward_##NAME(                                            \
        const T *z, int rows, int words, int each, float inverse_temperature, float *maximum, float *sum, float *positive) {      \
        forward<T>((const unsigned *)z, rows, words, each, inverse_temperature, maximum, sum, positive);                          \
    }                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(WARPS *LANES) nt_xent_backward_##NAME(                                           \
        const T *z, const float *lse, int rows, int words, int each, float inverse_temperature, float *partial) {                 \
        backward<T>((const unsigned *)z, lse, rows, words, each, inverse_temperature, partial);                                   \
    }                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(WARPS *LANES) nt_xent_gradient_##NAME(                                           \
        const float *partial, const T *z, const float *inverse_length, const float *upstream, int rows, int width, int padded,    \
        int parts, float inverse_temperature, float *out) {                                                                       \
        gradient(partial, z, inverse_length, upstream, rows, width, padded, parts, inverse_temperature, out);                     \
    }
NT_XENT_OF(float, f32)
NT_XENT_OF(Bf16, bf16)
