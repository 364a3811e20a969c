// Barlow Twins' loss around two matrix products: everything but the products themselves, in one pass each.
//
// For views a, b (N, D) with columns standardised over the batch, c_d = sum_n a_nd b_nd / N and S the sum of all squared
// correlations (from a^T b, or from a a^T and b b^T, whichever is smaller):
//
//   L = sum_d (c_d - 1)^2 + lambda (S - sum_d c_d^2)
//   dL/da = 2 lambda / N^2 P_a + (2 (c_d - 1) - 2 lambda c_d) / N b, and back through the standardisation
//
// with P_a = b (a^T b)^T or (b b^T) a, which are equal. No pass over a matrix of correlations but the one that adds up its
// squares. A block owns 16 columns of both views. No atomics: equal bits in every run. Source: Zbontar et al. 2021, equations
// 1 and 2; the plain twin is `barlow_twins` of src/loss/cross_correlation.rs. It never ran on a GPU yet.
#include "warp.cuh"

constexpr int ACROSS = 16;   // columns of a block
constexpr int DOWN = 32;     // threads that share a column's rows
constexpr int THREADS = ACROSS * DOWN;
constexpr float EPSILON = 1e-5f;

// Sums over the threads of a column, the same bits in each of them. All threads of the block take part.
__device__ __forceinline__ void sum_of_column(float (*share)[THREADS], float *values, int count) {
    const int column = threadIdx.x % ACROSS, row = threadIdx.x / ACROSS;
    for (int n = 0; n < count; n++) share[n][threadIdx.x] = values[n];
    for (int half = DOWN / 2; half > 0; half /= 2) {
        __syncthreads();
        if (row < half)
            for (int n = 0; n < count; n++) share[n][threadIdx.x] += share[n][threadIdx.x + half * ACROSS];
    }
    __syncthreads();
    for (int n = 0; n < count; n++) values[n] = share[n][column];
    __syncthreads();
}

// Blocks: ceil(width / 16). Threads: 512. Writes both views standardised (rows, width), one over the root of variance plus
// epsilon (2, width), and the diagonal (width).
template <typename T>
__device__ void standardise(const T *first, const T *second, int rows, int width, T *a, T *b, float *inverse, float *diagonal) {
    __shared__ float share[2][THREADS];
    const int column = blockIdx.x * ACROSS + threadIdx.x % ACROSS, start = threadIdx.x / ACROSS;
    const bool inside = column < width;
    float mean[2] = {0.0f, 0.0f};
    for (int row = start; inside && row < rows; row += DOWN) {
        const long long place = (long long)row * width + column;
        mean[0] += number(first[place]);
        mean[1] += number(second[place]);
    }
    sum_of_column(share, mean, 2);
    for (int view = 0; view < 2; view++) mean[view] /= rows;
    float variance[2] = {0.0f, 0.0f};
    for (int row = start; inside && row < rows; row += DOWN) {
        const long long place = (long long)row * width + column;
        const float x = number(first[place]) - mean[0], y = number(second[place]) - mean[1];
        variance[0] += x * x;
        variance[1] += y * y;
    }
    sum_of_column(share, variance, 2);
    float scale[2];
    for (int view = 0; view < 2; view++) scale[view] = 1.0f / sqrtf(variance[view] / rows + EPSILON);
    float product[1] = {0.0f};
    for (int row = start; inside && row < rows; row += DOWN) {
        const long long place = (long long)row * width + column;
        store(&a[place], (number(first[place]) - mean[0]) * scale[0]);
        store(&b[place], (number(second[place]) - mean[1]) * scale[1]);
        // As they were stored: the diagonal and the matrix product see the same numbers.
        product[0] += number(a[place]) * number(b[place]);
    }
    sum_of_column(share, product, 1);
    if (inside && start == 0) {
        inverse[column] = scale[0];
        inverse[width + column] = scale[1];
        diagonal[column] = product[0] / rows;
    }
}

// Blocks: as many as there are partial sums. Threads: 512. The sum of x_i y_i, block by block.
template <typename T>
__device__ void inner_product(const T *x, const T *y, long long count, float *partial) {
    __shared__ float share[THREADS];
    float mine = 0.0f;
    for (long long n = (long long)blockIdx.x * THREADS + threadIdx.x; n < count; n += (long long)gridDim.x * THREADS)
        mine += number(x[n]) * number(y[n]);
    share[threadIdx.x] = mine;
    for (unsigned half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) share[threadIdx.x] += share[threadIdx.x + half];
    }
    if (threadIdx.x == 0) partial[blockIdx.x] = share[0];
}

// One block of 512 threads. Writes the loss, its part on the diagonal and its part beside it (3).
extern "C" __global__ void __launch_bounds__(THREADS) barlow_twins_loss(const float *diagonal, const float *partial, int width,
                                                                        int partials, float scale, float weight, float *loss) {
    __shared__ float share[3][THREADS];
    float on = 0.0f, squares = 0.0f, all = 0.0f;
    for (int n = threadIdx.x; n < width; n += THREADS) {
        on += (diagonal[n] - 1.0f) * (diagonal[n] - 1.0f);
        squares += diagonal[n] * diagonal[n];
    }
    for (int n = threadIdx.x; n < partials; n += THREADS) all += partial[n];
    share[0][threadIdx.x] = on;
    share[1][threadIdx.x] = squares;
    share[2][threadIdx.x] = all;
    for (unsigned half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half)
            for (int n = 0; n < 3; n++) share[n][threadIdx.x] += share[n][threadIdx.x + half];
    }
    if (threadIdx.x == 0) {
        const float off = weight * (share[2][0] * scale - share[1][0]);
        loss[0] = share[0][0] + off;
        loss[1] = share[0][0];
        loss[2] = off;
    }
}

// Blocks: ceil(width / 16) x 2 views. Threads: 512. `product` (2, rows, width) is P_a and P_b; writes the gradients of both
// views before their standardisation (2, rows, width).
template <typename T>
__device__ void backward(const T *a, const T *b, const T *product, const float *inverse, const float *diagonal,
                         const float *upstream, int rows, int width, float factor, float weight, float *out) {
    __shared__ float share[2][THREADS];
    const int column = blockIdx.x * ACROSS + threadIdx.x % ACROSS, start = threadIdx.x / ACROSS, view = blockIdx.y;
    const bool inside = column < width;
    const T *own = view == 0 ? a : b, *other = view == 0 ? b : a;
    const long long before = (long long)view * rows * width;
    const float c = inside ? diagonal[column] : 0.0f;
    const float along = (2.0f * (c - 1.0f) - 2.0f * weight * c) / rows;
    float mean[2] = {0.0f, 0.0f};
    for (int row = start; inside && row < rows; row += DOWN) {
        const long long place = (long long)row * width + column;
        const float slope = factor * number(product[before + place]) + along * number(other[place]);
        mean[0] += slope;
        mean[1] += slope * number(own[place]);
    }
    sum_of_column(share, mean, 2);
    const float scale = inside ? *upstream * inverse[view * width + column] : 0.0f;
    for (int row = start; inside && row < rows; row += DOWN) {
        const long long place = (long long)row * width + column;
        const float slope = factor * number(product[before + place]) + along * number(other[place]);
        out[before + place] = scale * (slope - mean[0] / rows - number(own[place]) * (mean[1] / rows));
    }
}

#define BARLOW_TWINS_OF(T, NAME)                                                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS) barlow_twins_standardise_##NAME(                                        \
        const T *first, const T *second, int rows, int width, T *a, T *b, float *inverse, float *diagonal) {                      \
        standardise(first, second, rows, width, a, b, inverse, diagonal);                                                         \
    }                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS) barlow_twins_inner_product_##NAME(                                      \
        const T *x, const T *y, long long count, float *partial) {                                                                \
        inner_product(x, y, count, partial);                                                                                      \
    }                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS) barlow_twins_backward_##NAME(                                           \
        const T *a, const T *b, const T *product, const float *inverse, const float *diagonal, const float *upstream, int rows,   \
        int width, float factor, float weight, float *out) {                                                                      \
        backward(a, b, product, inverse, diagonal, upstream, rows, width, factor, weight, out);                                   \
    }
BARLOW_TWINS_OF(float, f32)
BARLOW_TWINS_OF(Bf16, bf16)
