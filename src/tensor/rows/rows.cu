// Rows of a matrix picked by their numbers, and the gradient: a row's is the sum of what its picks were given, in one order and
// without atomics. Numbers are f32. The CPU's twin is src/tensor/rows/mod.rs.
#include "warp.cuh"

constexpr int WARPS = 8;
constexpr int THREADS = WARPS * LANES;

// Blocks: any. Threads: 256. Writes (count, width).
extern "C" __global__ void __launch_bounds__(THREADS) pick_rows(const float *rows, const unsigned *picks, long long count, int width,
                                                                float *out) {
    for (long long n = (long long)blockIdx.x * THREADS + threadIdx.x; n < count * width; n += (long long)gridDim.x * THREADS) {
        const long long pick = n / width;
        out[n] = rows[(long long)picks[pick] * width + (n - pick * width)];
    }
}

// Blocks: ceil(width / 32) x rows. Threads: 256; the warps share a row's picks, which are members starts[row] to starts[row + 1].
extern "C" __global__ void __launch_bounds__(THREADS) pick_rows_gradient(const float *slope, const unsigned *starts,
                                                                         const unsigned *members, int width, float *by_rows) {
    __shared__ float share[THREADS];
    const int column = blockIdx.x * LANES + threadIdx.x % LANES, warp = threadIdx.x / LANES;
    const unsigned from = starts[blockIdx.y], to = starts[blockIdx.y + 1];
    float sum = 0.0f;
    UNROLL_FOUR
    for (unsigned member = from + warp; column < width && member < to; member += WARPS)
        sum += slope[(long long)members[member] * width + column];
    share[threadIdx.x] = sum;
    for (int half = WARPS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (warp < half) share[threadIdx.x] += share[threadIdx.x + half * LANES];
    }
    if (warp == 0 && column < width) by_rows[(long long)blockIdx.y * width + column] = share[threadIdx.x];
}
