// Batch normalisation of (rows, channels) with what follows it (an addition, a ReLU), in two passes forward and two backward.
//
//   y = relu((x - m) / sqrt(v + epsilon) w + b + residual)
//
// A thread reads sixteen bytes at a time where channels allow it, always of the same channels. Statistics are sums of differences,
// and of their squares, from the mean of the first rows, so a large mean costs few digits; `parts` blocks share the rows, and what
// they find is put together in one order. No atomics: equal bits in every run. Numbers are f32 or bf16, statistics and
// weights f32. The CPU's twin is cpu.rs.
#include "warp.cuh"

constexpr int THREADS = 512;
constexpr int FIRST_ROWS = 8;  // whose mean differences are taken from
constexpr float EPSILON = 1e-5f;

// How a block of sums over rows is laid out: `across` threads beside each other in a row, `down` rows at a time.
struct Place {
    int across, down, row, column;  // column in units of V channels
    bool inside;
};

template <int V>
__device__ __forceinline__ Place place_of(int channels) {
    const int per_row = channels / V, across = per_row < THREADS ? per_row : THREADS, down = THREADS / across;
    const int row = threadIdx.x / across, column = blockIdx.x * THREADS + threadIdx.x % across;
    return {across, down, row, column, row < down && column < per_row};
}

// Adds up two sums a channel over the block's rows, and writes them to partial (part, 2, channels).
template <int V>
__device__ __forceinline__ void put_together(float share[2 * V][THREADS], const float sums[2][V], Place place, int channels,
                                             float *partial) {
    for (int v = 0; v < V; v++)
        for (int k = 0; k < 2; k++) share[k * V + v][threadIdx.x] = sums[k][v];
    int half = 1;
    while (half < place.down) half *= 2;
    for (half /= 2; half > 0; half /= 2) {
        __syncthreads();
        if (place.row < half && place.row + half < place.down)
            for (int k = 0; k < 2 * V; k++) share[k][threadIdx.x] += share[k][threadIdx.x + half * place.across];
    }
    if (place.row == 0 && place.inside)
        for (int k = 0; k < 2; k++)
            for (int v = 0; v < V; v++)
                partial[(2LL * blockIdx.y + k) * channels + place.column * V + v] = share[k * V + v][threadIdx.x];
}

// Blocks: ceil(channels / V / 512) x parts. Threads: 512. Writes sums of differences and of their squares (parts, 2, channels), then
// what they differ from (channels).
template <typename T, int V>
__device__ void statistics(const T *x, int rows, int channels, float *partial) {
    __shared__ float share[2 * V][THREADS];
    const Place place = place_of<V>(channels);
    const int per_row = channels / V, first_rows = rows < FIRST_ROWS ? rows : FIRST_ROWS;
    float sums[2][V], from[V];
    UNROLL
    for (int v = 0; v < V; v++) sums[0][v] = sums[1][v] = from[v] = 0.0f;
    if (place.inside) {
        for (int row = 0; row < first_rows; row++) {
            const Numbers<T, V> values = read_wide<V>(x, (long long)row * per_row + place.column);
            UNROLL
            for (int v = 0; v < V; v++) from[v] += number(values.n[v]) / first_rows;
        }
        UNROLL_FOUR
        for (int row = blockIdx.y * place.down + place.row; row < rows; row += gridDim.y * place.down) {
            const Numbers<T, V> values = read_wide<V>(x, (long long)row * per_row + place.column);
            UNROLL
            for (int v = 0; v < V; v++) {
                const float apart = number(values.n[v]) - from[v];
                sums[0][v] += apart;
                sums[1][v] += apart * apart;
            }
        }
        if (blockIdx.y == 0 && place.row == 0)
            for (int v = 0; v < V; v++) partial[2LL * gridDim.y * channels + place.column * V + v] = from[v];
    }
    put_together<V>(share, sums, place, channels, partial);
}

// Two sums of a channel over all parts. Blocks: ceil(channels / 32). Threads: 512, sixteen a channel, of which the first has them.
struct Sums {
    float first, second;
};
__device__ __forceinline__ Sums over_parts(const float *partial, int channels, int parts) {
    __shared__ float share[2][THREADS];
    const int channel = blockIdx.x * LANES + threadIdx.x % LANES, place = threadIdx.x / LANES;
    float sums[2] = {0.0f, 0.0f};
    for (int part = place; channel < channels && part < parts; part += THREADS / LANES)
        for (int k = 0; k < 2; k++) sums[k] += partial[(2LL * part + k) * channels + channel];
    for (int k = 0; k < 2; k++) share[k][threadIdx.x] = sums[k];
    for (int half = THREADS / LANES / 2; half > 0; half /= 2) {
        __syncthreads();
        if (place < half)
            for (int k = 0; k < 2; k++) share[k][threadIdx.x] += share[k][threadIdx.x + half * LANES];
    }
    return {share[0][threadIdx.x], share[1][threadIdx.x]};
}

// As `over_parts`. Writes mean, (biased) variance and one over the deviation.
extern "C" __global__ void __launch_bounds__(THREADS) batch_norm_moments(const float *partial, int rows, int channels, int parts,
                                                                         float *mean, float *variance, float *inverse) {
    const Sums sums = over_parts(partial, channels, parts);
    const int channel = blockIdx.x * LANES + threadIdx.x;
    if (threadIdx.x >= LANES || channel >= channels) return;
    const float apart = sums.first / rows;
    mean[channel] = partial[2LL * parts * channels + channel] + apart;
    variance[channel] = fmaxf(sums.second / rows - apart * apart, 0.0f);
    inverse[channel] = 1.0f / sqrtf(variance[channel] + EPSILON);
}

// As `over_parts`. Writes the gradients by bias and weight, which are those sums.
extern "C" __global__ void __launch_bounds__(THREADS) batch_norm_sums(const float *partial, int channels, int parts, float *of_bias,
                                                                      float *of_weight) {
    const Sums sums = over_parts(partial, channels, parts);
    const int channel = blockIdx.x * LANES + threadIdx.x;
    if (threadIdx.x >= LANES || channel >= channels) return;
    of_bias[channel] = sums.first;
    of_weight[channel] = sums.second;
}

// Threads that go through all numbers, each in steps of whole rows, so that its channels stay the same: how many there are.
__device__ __forceinline__ int threads_of(int per_row) { return gridDim.x * THREADS / per_row * per_row; }

// Blocks: any that have a thread for each V channels. Threads: 512. `residual` may be null.
template <typename T, int V>
__device__ void apply(const T *x, const T *residual, const float *weight, const float *bias, const float *mean, const float *inverse,
                      int rows, int channels, int relu, T *y) {
    const int per_row = channels / V, threads = threads_of(per_row), mine = blockIdx.x * THREADS + threadIdx.x;
    if (mine >= threads) return;
    float m[V], scale[V], w[V], b[V];
    UNROLL
    for (int v = 0; v < V; v++) {
        const int channel = mine % per_row * V + v;
        m[v] = mean[channel];
        scale[v] = inverse[channel];
        w[v] = weight[channel];
        b[v] = bias[channel];
    }
    const long long count = (long long)rows * per_row;
    for (long long n = mine; n < count; n += threads) {
        const Numbers<T, V> values = read_wide<V>(x, n);
        Numbers<T, V> added = {}, out;
        if (residual) added = read_wide<V>(residual, n);
        UNROLL
        for (int v = 0; v < V; v++) {
            float value = (number(values.n[v]) - m[v]) * scale[v] * w[v] + b[v];
            if (residual) value += number(added.n[v]);
            store(&out.n[v], relu && value < 0.0f ? 0.0f : value);
        }
        write_wide<V>(y, n, out);
    }
}

// The slope that reaches the sum in front of the ReLU, whose slope at 0 is 0.
template <typename T>
__device__ __forceinline__ float behind_relu(T slope, T y, int relu) {
    return relu && !(number(y) > 0.0f) ? 0.0f : number(slope);
}

// Blocks and threads as `statistics`. Writes sums (parts, 2, channels): of slopes, and of slopes times normalised numbers.
template <typename T, int V>
__device__ void slopes(const T *x, const T *y, const T *slope, const float *mean, const float *inverse, int rows, int channels, int relu,
                       float *partial) {
    __shared__ float share[2 * V][THREADS];
    const Place place = place_of<V>(channels);
    const int per_row = channels / V;
    float sums[2][V], m[V], scale[V];
    UNROLL
    for (int v = 0; v < V; v++) {
        sums[0][v] = sums[1][v] = 0.0f;
        m[v] = place.inside ? mean[place.column * V + v] : 0.0f;
        scale[v] = place.inside ? inverse[place.column * V + v] : 0.0f;
    }
    UNROLL_FOUR
    for (int row = blockIdx.y * place.down + place.row; place.inside && row < rows; row += gridDim.y * place.down) {
        const long long n = (long long)row * per_row + place.column;
        const Numbers<T, V> values = read_wide<V>(x, n), outs = read_wide<V>(y, n), by = read_wide<V>(slope, n);
        UNROLL
        for (int v = 0; v < V; v++) {
            const float mine = behind_relu(by.n[v], outs.n[v], relu);
            sums[0][v] += mine;
            sums[1][v] += mine * (number(values.n[v]) - m[v]) * scale[v];
        }
    }
    put_together<V>(share, sums, place, channels, partial);
}

// Blocks and threads as `apply`. Writes the gradients by x and, where not null, by the residual. Of fixed statistics (`own` = 0) x has
// no part in them.
template <typename T, int V>
__device__ void gradient(const T *x, const T *y, const T *slope, const float *weight, const float *mean, const float *inverse,
                         const float *of_bias, const float *of_weight, int rows, int channels, int relu, int own, T *by_x,
                         T *by_residual) {
    const int per_row = channels / V, threads = threads_of(per_row), mine = blockIdx.x * THREADS + threadIdx.x;
    if (mine >= threads) return;
    float m[V], scale[V], w[V], bias_share[V], weight_share[V];
    UNROLL
    for (int v = 0; v < V; v++) {
        const int channel = mine % per_row * V + v;
        m[v] = mean[channel];
        scale[v] = inverse[channel];
        w[v] = weight[channel] * scale[v];
        bias_share[v] = own ? of_bias[channel] / rows : 0.0f;
        weight_share[v] = own ? of_weight[channel] / rows : 0.0f;
    }
    const long long count = (long long)rows * per_row;
    for (long long n = mine; n < count; n += threads) {
        const Numbers<T, V> values = read_wide<V>(x, n), outs = read_wide<V>(y, n), slopes = read_wide<V>(slope, n);
        Numbers<T, V> by, passed;
        UNROLL
        for (int v = 0; v < V; v++) {
            const float reached = behind_relu(slopes.n[v], outs.n[v], relu);
            const float normalised = (number(values.n[v]) - m[v]) * scale[v];
            store(&by.n[v], (reached - (bias_share[v] + normalised * weight_share[v])) * w[v]);
            store(&passed.n[v], reached);
        }
        write_wide<V>(by_x, n, by);
        if (by_residual) write_wide<V>(by_residual, n, passed);
    }
}

#define WIDEST(T, FUNCTION, ...) channels % WIDE<T> == 0 ? FUNCTION<T, WIDE<T>>(__VA_ARGS__) : FUNCTION<T, 1>(__VA_ARGS__)
#define BATCH_NORM_OF(T, NAME)                                                                                                    \
    extern "C" __global__ void __launch_bounds__(THREADS) batch_norm_statistics_##NAME(const T *x, int rows, int channels,        \
                                                                                       float *partial) {                          \
        WIDEST(T, statistics, x, rows, channels, partial);                                                                        \
    }                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS) batch_norm_apply_##NAME(                                                \
        const T *x, const T *residual, const float *weight, const float *bias, const float *mean, const float *inverse, int rows, \
        int channels, int relu, T *y) {                                                                                           \
        WIDEST(T, apply, x, residual, weight, bias, mean, inverse, rows, channels, relu, y);                                      \
    }                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS) batch_norm_slopes_##NAME(                                               \
        const T *x, const T *y, const T *slope, const float *mean, const float *inverse, int rows, int channels, int relu,        \
        float *partial) {                                                                                                         \
        WIDEST(T, slopes, x, y, slope, mean, inverse, rows, channels, relu, partial);                                             \
    }                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS) batch_norm_gradient_##NAME(                                             \
        const T *x, const T *y, const T *slope, const float *weight, const float *mean, const float *inverse,                     \
        const float *of_bias, const float *of_weight, int rows, int channels, int relu, int own, T *by_x, T *by_residual) {       \
        WIDEST(T, gradient, x, y, slope, weight, mean, inverse, of_bias, of_weight, rows, channels, relu, own, by_x,              \
               by_residual);                                                                                                      \
    }
BATCH_NORM_OF(float, f32)
BATCH_NORM_OF(Bf16, bf16)
