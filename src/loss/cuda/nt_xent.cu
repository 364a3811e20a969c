// NT-Xent without its matrix of similarities.
//
// For R rows z of length 1, s_ij = z_i . z_j / tau and p(i) the other view of i:
//
//   forward   lse_i = log sum_{j != i} exp(s_ij),  L = mean_i (lse_i - s_i,p(i))
//   backward  dL/dz_i = 1 / (R tau) sum_{j != i} (exp(s_ij - lse_i) + exp(s_ij - lse_j) - 2 [j = p(i)]) z_j
//
// A block owns 64 rows and goes through all columns in tiles of 64 x 64, keeping a running maximum and sum (Milakov and
// Gimelshein 2018); the backward pass computes similarities again. Device memory beside rows and gradients: two numbers a
// row. Operations: 2 R^2 D forward, and backward 2 R^2 D again for every 128 columns of the gradient, and 2 R^2 D.
// No atomics: equal bits in every run. Source: Chen et al. 2020, equation 1; the plain twin is `nt_xent` of
// src/loss/contrastive.rs. Products run on the ordinary units; inputs are f32 or bf16, sums f32.
//
// Nothing loads it yet, and it never ran on a GPU: benchmarks/cells/kernels.rs runs it on the CPU and compiles it.
#ifndef __CUDACC__
#include "on_cpu.h"
#endif

constexpr int TILE = 64;     // rows and columns of similarities that a block holds
constexpr int DEPTH = 16;    // of the width, multiplied at a time
constexpr int SIDE = 16;     // threads of a block, each way
constexpr int EACH = TILE / SIDE;
constexpr int WIDTH = 128;   // columns of the gradient that a block makes
constexpr int WIDE = WIDTH / SIDE;
constexpr float LEAST = -3.0e38f;

// Numbers of sixteen bits: the upper half of an f32.
struct Bf16 {
    unsigned short bits;
};

__device__ __forceinline__ float number(float value) { return value; }
__device__ __forceinline__ float number(Bf16 value) { return __uint_as_float((unsigned int)value.bits << 16); }

// The other view of a row: views lie one after the other.
__device__ __forceinline__ int partner(int row, int rows) { return row < rows / 2 ? row + rows / 2 : row - rows / 2; }

// similarity[i][j]: rows first + SIDE i + threadIdx.y against columns other + SIDE j + threadIdx.x; 0 beyond the last.
template <typename T>
__device__ void similarities(const T *z, int rows, int width, float inverse_temperature, int first, int other,
                             float similarity[EACH][EACH]) {
    __shared__ float left[TILE][DEPTH + 1];
    __shared__ float right[TILE][DEPTH + 1];
    for (int i = 0; i < EACH; i++)
        for (int j = 0; j < EACH; j++) similarity[i][j] = 0.0f;
    const int thread = threadIdx.y * SIDE + threadIdx.x;
    for (int start = 0; start < width; start += DEPTH) {
        for (int item = thread; item < TILE * DEPTH; item += SIDE * SIDE) {
            const int row = item / DEPTH, k = item % DEPTH;
            const bool inside = start + k < width;
            left[row][k] = inside && first + row < rows ? number(z[(long long)(first + row) * width + start + k]) : 0.0f;
            right[row][k] = inside && other + row < rows ? number(z[(long long)(other + row) * width + start + k]) : 0.0f;
        }
        __syncthreads();
        for (int k = 0; k < DEPTH; k++)
            for (int i = 0; i < EACH; i++)
                for (int j = 0; j < EACH; j++)
                    similarity[i][j] += left[SIDE * i + threadIdx.y][k] * right[SIDE * j + threadIdx.x][k];
        __syncthreads();
    }
    for (int i = 0; i < EACH; i++)
        for (int j = 0; j < EACH; j++) similarity[i][j] *= inverse_temperature;
}

// Blocks: ceil(rows / 64). Threads: 16 x 16. Rows are of length 1. Writes lse (rows) and the similarity to the partner (rows).
template <typename T>
__device__ void forward(const T *z, int rows, int width, float inverse_temperature, float *lse, float *positive) {
    __shared__ float part[TILE][SIDE + 1];
    __shared__ float largest[TILE];
    __shared__ float sum[TILE];
    const int first = blockIdx.x * TILE, thread = threadIdx.y * SIDE + threadIdx.x;
    if (thread < TILE) {
        largest[thread] = LEAST;
        sum[thread] = 0.0f;
    }
    __syncthreads();
    for (int other = 0; other < rows; other += TILE) {
        float similarity[EACH][EACH];
        similarities(z, rows, width, inverse_temperature, first, other, similarity);
        for (int i = 0; i < EACH; i++) {
            const int row = first + SIDE * i + threadIdx.y;
            float most = LEAST;
            for (int j = 0; j < EACH; j++) {
                const int column = other + SIDE * j + threadIdx.x;
                if (row < rows && column == partner(row, rows)) positive[row] = similarity[i][j];
                if (column >= rows || column == row) similarity[i][j] = LEAST;
                most = fmaxf(most, similarity[i][j]);
            }
            part[SIDE * i + threadIdx.y][threadIdx.x] = most;
        }
        __syncthreads();
        if (thread < TILE) {
            float most = largest[thread];
            for (int n = 0; n < SIDE; n++) most = fmaxf(most, part[thread][n]);
            sum[thread] *= expf(largest[thread] - most);
            largest[thread] = most;
        }
        __syncthreads();
        for (int i = 0; i < EACH; i++) {
            const int local = SIDE * i + threadIdx.y;
            float terms = 0.0f;
            for (int j = 0; j < EACH; j++)
                terms += similarity[i][j] == LEAST ? 0.0f : expf(similarity[i][j] - largest[local]);
            part[local][threadIdx.x] = terms;
        }
        __syncthreads();
        if (thread < TILE)
            for (int n = 0; n < SIDE; n++) sum[thread] += part[thread][n];
        __syncthreads();
    }
    if (thread < TILE && first + thread < rows) lse[first + thread] = largest[thread] + logf(sum[thread]);
}

// One block of 256 threads: the mean of lse - positive, always added in one order.
extern "C" __global__ void nt_xent_mean(const float *lse, const float *positive, int rows, float *loss) {
    __shared__ float part[SIDE * SIDE];
    const int thread = threadIdx.x;
    float sum = 0.0f;
    for (int row = thread; row < rows; row += SIDE * SIDE) sum += lse[row] - positive[row];
    part[thread] = sum;
    for (int half = SIDE * SIDE / 2; half > 0; half /= 2) {
        __syncthreads();
        if (thread < half) part[thread] += part[thread + half];
    }
    if (thread == 0) *loss = part[0] / rows;
}

// Blocks: ceil(rows / 64) x ceil(width / 128). Threads: 16 x 16. Writes upstream * dL/dz (rows, width).
template <typename T>
__device__ void backward(const T *z, const float *lse, int rows, int width, float inverse_temperature, float upstream,
                         float *gradient) {
    __shared__ float weight[TILE][TILE + 1];
    __shared__ float values[DEPTH][WIDTH];
    const int first = blockIdx.x * TILE, start = blockIdx.y * WIDTH, thread = threadIdx.y * SIDE + threadIdx.x;
    float sum[EACH][WIDE];
    for (int i = 0; i < EACH; i++)
        for (int j = 0; j < WIDE; j++) sum[i][j] = 0.0f;
    for (int other = 0; other < rows; other += TILE) {
        float similarity[EACH][EACH];
        similarities(z, rows, width, inverse_temperature, first, other, similarity);
        for (int i = 0; i < EACH; i++) {
            const int row = first + SIDE * i + threadIdx.y;
            for (int j = 0; j < EACH; j++) {
                const int column = other + SIDE * j + threadIdx.x;
                float w = 0.0f;
                if (row < rows && column < rows && row != column) {
                    w = expf(similarity[i][j] - lse[row]) + expf(similarity[i][j] - lse[column]);
                    if (column == partner(row, rows)) w -= 2.0f;
                }
                weight[SIDE * i + threadIdx.y][SIDE * j + threadIdx.x] = w;
            }
        }
        __syncthreads();
        for (int from = 0; from < TILE; from += DEPTH) {
            for (int item = thread; item < DEPTH * WIDTH; item += SIDE * SIDE) {
                const int row = other + from + item / WIDTH, column = start + item % WIDTH;
                values[item / WIDTH][item % WIDTH] =
                    row < rows && column < width ? number(z[(long long)row * width + column]) : 0.0f;
            }
            __syncthreads();
            for (int k = 0; k < DEPTH; k++)
                for (int i = 0; i < EACH; i++)
                    for (int j = 0; j < WIDE; j++)
                        sum[i][j] += weight[SIDE * i + threadIdx.y][from + k] * values[k][SIDE * j + threadIdx.x];
            __syncthreads();
        }
    }
    const float scale = upstream * inverse_temperature / rows;
    for (int i = 0; i < EACH; i++) {
        const int row = first + SIDE * i + threadIdx.y;
        for (int j = 0; j < WIDE; j++) {
            const int column = start + SIDE * j + threadIdx.x;
            if (row < rows && column < width) gradient[(long long)row * width + column] = scale * sum[i][j];
        }
    }
}

// Names without C++ decoration, for whoever loads the module.
#define NT_XENT_OF(T, NAME)                                                                                          \
    extern "C" __global__ void __launch_bounds__(SIDE *SIDE) nt_xent_forward_##NAME(                                 \
        const T *z, int rows, int width, float inverse_temperature, float *lse, float *positive) {                   \
        forward(z, rows, width, inverse_temperature, lse, positive);                                                 \
    }                                                                                                                \
    extern "C" __global__ void __launch_bounds__(SIDE *SIDE) nt_xent_backward_##NAME(                                \
        const T *z, const float *lse, int rows, int width, float inverse_temperature, float upstream,                \
        float *gradient) {                                                                                           \
        backward(z, lse, rows, width, inverse_temperature, upstream, gradient);                                      \
    }
NT_XENT_OF(float, f32)
NT_XENT_OF(Bf16, bf16)
