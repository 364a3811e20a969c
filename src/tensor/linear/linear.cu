// The gradient by a linear map's bias: sums of columns, added up in parts of the rows, then in one order: no atomics, equal bits in
// every run. Products are cuBLAS's.
#include "warp.cuh"

constexpr int WARPS = 8;
constexpr int THREADS = WARPS * LANES;

// Blocks: ceil(width / 32) x parts. Threads: 256. Writes sums of the columns of (rows, width) over each part's rows (parts, width).
template <typename T>
__device__ void column_sums(const T *x, int rows, int width, float *partial) {
    __shared__ float share[THREADS];
    const int column = blockIdx.x * LANES + threadIdx.x % LANES, place = threadIdx.x / LANES;
    float sum = 0.0f;
    UNROLL_FOUR
    for (int row = blockIdx.y * WARPS + place; column < width && row < rows; row += gridDim.y * WARPS)
        sum += number(x[(long long)row * width + column]);
    share[threadIdx.x] = sum;
    for (int half = WARPS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (place < half) share[threadIdx.x] += share[threadIdx.x + half * LANES];
    }
    if (place == 0 && column < width) partial[(long long)blockIdx.y * width + column] = share[threadIdx.x];
}

// Blocks: ceil(width / 256). Threads: 256. Puts parts together: (width).
extern "C" __global__ void __launch_bounds__(THREADS) sums_together(const float *partial, int width, int parts, float *sums) {
    const int column = blockIdx.x * THREADS + threadIdx.x;
    if (column >= width) return;
    float sum = 0.0f;
    for (int part = 0; part < parts; part++) sum += partial[(long long)part * width + column];
    sums[column] = sum;
}

extern "C" __global__ void __launch_bounds__(THREADS) column_sums_bf16(const Bf16 *x, int rows, int width, float *partial) {
    column_sums(x, rows, width, partial);
}
