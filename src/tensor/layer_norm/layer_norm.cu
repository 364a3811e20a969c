// Layer normalisation, forward and backward.
//
//   y = (x - m) / sqrt(v + epsilon) w + b, of each row
//
// A warp has a row and keeps nothing: means and sums are taken twice from what lies in the nearest memory. Gradients by weight and
// bias are added up in parts of the rows, then in one order: no atomics, equal bits in every run. Numbers are f32 or bf16,
// statistics and weights f32. The CPU's twin is cpu.rs.
#include "warp.cuh"

constexpr int WARPS = 8;
constexpr int THREADS = WARPS * LANES;

// Blocks: ceil(rows / 8). Threads: 256, a warp a row. Writes y, and mean and one over the deviation (rows).
template <typename T>
__device__ void layer_norm(const T *x, const float *weight, const float *bias, float epsilon, int rows, int width, T *y, float *mean,
                           float *inverse) {
    const int row = blockIdx.x * WARPS + threadIdx.x / LANES, lane = threadIdx.x % LANES;
    const bool inside = row < rows;
    const T *from = x + (long long)row * width;
    float sum = 0.0f, squares = 0.0f;
    for (int n = lane; inside && n < width; n += LANES) sum += number(from[n]);
    const float middle = sum_of_lanes(sum) / width;
    for (int n = lane; inside && n < width; n += LANES) squares += (number(from[n]) - middle) * (number(from[n]) - middle);
    const float over = 1.0f / sqrtf(sum_of_lanes(squares) / width + epsilon);
    for (int n = lane; inside && n < width; n += LANES)
        store(&y[(long long)row * width + n], (number(from[n]) - middle) * over * weight[n] + bias[n]);
    if (inside && lane == 0) {
        mean[row] = middle;
        inverse[row] = over;
    }
}

// Blocks and threads as above. Writes the gradient by x.
template <typename T>
__device__ void layer_norm_gradient(const T *x, const T *slope, const float *weight, const float *mean, const float *inverse, int rows,
                                    int width, T *by_x) {
    const int row = blockIdx.x * WARPS + threadIdx.x / LANES, lane = threadIdx.x % LANES;
    const bool inside = row < rows;
    const long long first = (long long)row * width;
    const float middle = inside ? mean[row] : 0.0f, over = inside ? inverse[row] : 0.0f;
    float sum = 0.0f, along = 0.0f;
    for (int n = lane; inside && n < width; n += LANES) {
        const float mine = number(slope[first + n]) * weight[n];
        sum += mine;
        along += mine * (number(x[first + n]) - middle) * over;
    }
    sum = sum_of_lanes(sum) / width;
    along = sum_of_lanes(along) / width;
    for (int n = lane; inside && n < width; n += LANES) {
        const float normal = (number(x[first + n]) - middle) * over;
        store(&by_x[first + n], over * (number(slope[first + n]) * weight[n] - sum - normal * along));
    }
}

// Blocks: ceil(width / 32) x parts. Threads: 256. Writes sums over rows (parts, 2, width): of slopes times normalised numbers, which
// is the gradient by weight, and of slopes, by bias.
template <typename T>
__device__ void layer_norm_sums(const T *x, const T *slope, const float *mean, const float *inverse, int rows, int width,
                                float *partial) {
    __shared__ float share[2][THREADS];
    const int column = blockIdx.x * LANES + threadIdx.x % LANES, place = threadIdx.x / LANES;
    float along = 0.0f, sum = 0.0f;
    UNROLL_FOUR
    for (int row = blockIdx.y * WARPS + place; column < width && row < rows; row += gridDim.y * WARPS) {
        const long long n = (long long)row * width + column;
        sum += number(slope[n]);
        along += number(slope[n]) * (number(x[n]) - mean[row]) * inverse[row];
    }
    share[0][threadIdx.x] = along;
    share[1][threadIdx.x] = sum;
    for (int half = WARPS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (place < half)
            for (int n = 0; n < 2; n++) share[n][threadIdx.x] += share[n][threadIdx.x + half * LANES];
    }
    if (place == 0 && column < width)
        for (int n = 0; n < 2; n++) partial[(2LL * blockIdx.y + n) * width + column] = share[n][threadIdx.x];
}

// Blocks: ceil(width / 256) x 2. Threads: 256. Puts parts together: (2, width).
extern "C" __global__ void __launch_bounds__(THREADS) layer_norm_together(const float *partial, int width, int parts, float *sums) {
    const int column = blockIdx.x * THREADS + threadIdx.x;
    if (column >= width) return;
    float sum = 0.0f;
    for (int part = 0; part < parts; part++) sum += partial[(2LL * part + blockIdx.y) * width + column];
    sums[blockIdx.y * width + column] = sum;
}

#define LAYER_NORM_OF(T, NAME)                                                                                                    \
    extern "C" __global__ void __launch_bounds__(THREADS) layer_norm_##NAME(const T *x, const float *weight, const float *bias,   \
                                                                            float epsilon, int rows, int width, T *y,             \
                                                                            float *mean, float *inverse) {                        \
        layer_norm(x, weight, bias, epsilon, rows, width, y, mean, inverse);                                                      \
    }                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS) layer_norm_gradient_##NAME(                                             \
        const T *x, const T *slope, const float *weight, const float *mean, const float *inverse, int rows, int width, T *by_x) { \
        layer_norm_gradient(x, slope, weight, mean, inverse, rows, width, by_x);                                                  \
    }                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS) layer_norm_sums_##NAME(                                                 \
        const T *x, const T *slope, const float *mean, const float *inverse, int rows, int width, float *partial) {               \
        layer_norm_sums(x, slope, mean, inverse, rows, width, partial);                                                           \
    }
LAYER_NORM_OF(float, f32)
LAYER_NORM_OF(Bf16, bf16)
