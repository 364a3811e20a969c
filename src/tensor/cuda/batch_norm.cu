// Batch normalisation of (rows, channels) with what follows it (an addition, a ReLU), in two passes forward and two backward.
//
//   y = relu((x - m) / sqrt(v + epsilon) w + b + residual)
//
// Statistics are means and sums of squared differences (Welford), taken by each thread of its own rows and put together in one
// order (Chan, Golub and LeVeque), so a large mean costs no digits. `parts` blocks share the rows of 32 channels. No atomics: equal
// bits in every run. Numbers are f32 or bf16, statistics and weights f32. The CPU's twin is src/tensor/batch_norm.
#include "warp.cuh"

constexpr int ROWS = 16;  // threads that share a channel within a block
constexpr int THREADS = LANES * ROWS;
constexpr float EPSILON = 1e-5f;

// Count, mean and sum of squared differences of some numbers.
struct Moments {
    float count, mean, squares;
};

__device__ __forceinline__ Moments together(Moments a, Moments b) {
    const float count = a.count + b.count;
    if (count == 0.0f) return a;
    const float apart = b.mean - a.mean, share = b.count / count;
    return {count, a.mean + apart * share, a.squares + b.squares + apart * apart * a.count * share};
}

// Blocks: ceil(channels / 32) x parts. Threads: 512. Writes moments (parts, channels).
template <typename T>
__device__ void statistics(const T *x, int rows, int channels, Moments *partial) {
    __shared__ Moments share[THREADS];
    const int channel = blockIdx.x * LANES + threadIdx.x % LANES, place = threadIdx.x / LANES;
    Moments mine = {0.0f, 0.0f, 0.0f};
    for (int row = blockIdx.y * ROWS + place; channel < channels && row < rows; row += gridDim.y * ROWS) {
        const float value = number(x[(long long)row * channels + channel]), apart = value - mine.mean;
        mine.count += 1.0f;
        mine.mean += apart / mine.count;
        mine.squares += apart * (value - mine.mean);
    }
    share[threadIdx.x] = mine;
    for (int half = ROWS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (place < half) share[threadIdx.x] = together(share[threadIdx.x], share[threadIdx.x + half * LANES]);
    }
    if (place == 0 && channel < channels) partial[(long long)blockIdx.y * channels + channel] = share[threadIdx.x];
}

// Blocks: ceil(channels / 512). Threads: 512, one a channel. Writes mean, (biased) variance and one over the deviation.
extern "C" __global__ void __launch_bounds__(THREADS) batch_norm_moments(const Moments *partial, int channels, int parts, float *mean,
                                                                         float *variance, float *inverse) {
    const int channel = blockIdx.x * THREADS + threadIdx.x;
    if (channel >= channels) return;
    Moments all = {0.0f, 0.0f, 0.0f};
    for (int part = 0; part < parts; part++) all = together(all, partial[(long long)part * channels + channel]);
    mean[channel] = all.mean;
    variance[channel] = all.squares / all.count;
    inverse[channel] = 1.0f / sqrtf(variance[channel] + EPSILON);
}

// Blocks: any. Threads: 512. `residual` may be null.
template <typename T>
__device__ void apply(const T *x, const T *residual, const float *weight, const float *bias, const float *mean, const float *inverse,
                      int rows, int channels, int relu, T *y) {
    const long long count = (long long)rows * channels;
    for (long long n = (long long)blockIdx.x * THREADS + threadIdx.x; n < count; n += (long long)gridDim.x * THREADS) {
        const int channel = (int)(n % channels);
        float value = (number(x[n]) - mean[channel]) * inverse[channel] * weight[channel] + bias[channel];
        if (residual) value += number(residual[n]);
        store(&y[n], relu && value < 0.0f ? 0.0f : value);
    }
}

// The slope that reaches the sum in front of the ReLU, whose slope at 0 is 0.
template <typename T>
__device__ __forceinline__ float behind_relu(const T *slope, const T *y, int relu, long long n) {
    return relu && !(number(y[n]) > 0.0f) ? 0.0f : number(slope[n]);
}

// Blocks and threads as `statistics`. Writes sums (parts, 2, channels): of slopes, and of slopes times normalised numbers.
template <typename T>
__device__ void slopes(const T *x, const T *y, const T *slope, const float *mean, const float *inverse, int rows, int channels, int relu,
                       float *partial) {
    __shared__ float share[2][THREADS];
    const int channel = blockIdx.x * LANES + threadIdx.x % LANES, place = threadIdx.x / LANES;
    float sum = 0.0f, along = 0.0f;
    for (int row = blockIdx.y * ROWS + place; channel < channels && row < rows; row += gridDim.y * ROWS) {
        const long long n = (long long)row * channels + channel;
        const float mine = behind_relu(slope, y, relu, n);
        sum += mine;
        along += mine * (number(x[n]) - mean[channel]) * inverse[channel];
    }
    share[0][threadIdx.x] = sum;
    share[1][threadIdx.x] = along;
    for (int half = ROWS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (place < half)
            for (int n = 0; n < 2; n++) share[n][threadIdx.x] += share[n][threadIdx.x + half * LANES];
    }
    if (place == 0 && channel < channels)
        for (int n = 0; n < 2; n++) partial[((long long)blockIdx.y * 2 + n) * channels + channel] = share[n][threadIdx.x];
}

// Blocks: ceil(channels / 512). Threads: 512, one a channel. Writes the gradients by bias and weight, which are those sums.
extern "C" __global__ void __launch_bounds__(THREADS) batch_norm_sums(const float *partial, int channels, int parts, float *of_bias,
                                                                      float *of_weight) {
    const int channel = blockIdx.x * THREADS + threadIdx.x;
    if (channel >= channels) return;
    float sum = 0.0f, along = 0.0f;
    for (int part = 0; part < parts; part++) {
        sum += partial[(2LL * part) * channels + channel];
        along += partial[(2LL * part + 1) * channels + channel];
    }
    of_bias[channel] = sum;
    of_weight[channel] = along;
}

// Blocks: any. Threads: 512. Writes the gradients by x and, where not null, by the residual. Of fixed statistics (`own` = 0) x has no
// part in them.
template <typename T>
__device__ void gradient(const T *x, const T *y, const T *slope, const float *weight, const float *mean, const float *inverse,
                         const float *of_bias, const float *of_weight, int rows, int channels, int relu, int own, T *by_x,
                         T *by_residual) {
    const long long count = (long long)rows * channels;
    for (long long n = (long long)blockIdx.x * THREADS + threadIdx.x; n < count; n += (long long)gridDim.x * THREADS) {
        const int channel = (int)(n % channels);
        const float mine = behind_relu(slope, y, relu, n);
        float by = mine;
        if (own) by -= (of_bias[channel] + (number(x[n]) - mean[channel]) * inverse[channel] * of_weight[channel]) / rows;
        store(&by_x[n], by * weight[channel] * inverse[channel]);
        if (by_residual) store(&by_residual[n], mine);
    }
}

#define BATCH_NORM_OF(T, NAME)                                                                                                    \
    extern "C" __global__ void __launch_bounds__(THREADS) batch_norm_statistics_##NAME(const T *x, int rows, int channels,        \
                                                                                       Moments *partial) {                        \
        statistics(x, rows, channels, partial);                                                                                   \
    }                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS) batch_norm_apply_##NAME(                                                \
        const T *x, const T *residual, const float *weight, const float *bias, const float *mean, const float *inverse, int rows, \
        int channels, int relu, T *y) {                                                                                           \
        apply(x, residual, weight, bias, mean, inverse, rows, channels, relu, y);                                                 \
    }                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS) batch_norm_slopes_##NAME(                                               \
        const T *x, const T *y, const T *slope, const float *mean, const float *inverse, int rows, int channels, int relu,        \
        float *partial) {                                                                                                         \
        slopes(x, y, slope, mean, inverse, rows, channels, relu, partial);                                                        \
    }                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS) batch_norm_gradient_##NAME(                                             \
        const T *x, const T *y, const T *slope, const float *weight, const float *mean, const float *inverse,                     \
        const float *of_bias, const float *of_weight, int rows, int channels, int relu, int own, T *by_x, T *by_residual) {       \
        gradient(x, y, slope, weight, mean, inverse, of_bias, of_weight, rows, channels, relu, own, by_x, by_residual);           \
    }
BATCH_NORM_OF(float, f32)
BATCH_NORM_OF(Bf16, bf16)
