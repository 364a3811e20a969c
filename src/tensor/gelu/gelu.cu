// GELU, forward and backward.
//
//   gelu(x) = x / 2 (1 + erf(x / sqrt(2)))
//
// Numbers are f32 or bf16. The CPU's twin is cpu.rs.
#include "warp.cuh"

constexpr int THREADS = 256;

// Blocks: any. Threads: 256. `count` is in units of V.
template <typename T, int V>
__device__ void gelu(const T *x, long long count, T *y) {
    for (long long n = (long long)blockIdx.x * THREADS + threadIdx.x; n < count; n += (long long)gridDim.x * THREADS) {
        const Numbers<T, V> values = read_wide<V>(x, n);
        Numbers<T, V> out;
        UNROLL
        for (int v = 0; v < V; v++) {
            const float value = number(values.n[v]);
            store(&out.n[v], 0.5f * value * (1.0f + erff(value * 0.70710678f)));
        }
        write_wide<V>(y, n, out);
    }
}

// The slope of gelu is Phi(x) + x phi(x).
template <typename T, int V>
__device__ void gelu_gradient(const T *x, const T *slope, long long count, T *by_x) {
    for (long long n = (long long)blockIdx.x * THREADS + threadIdx.x; n < count; n += (long long)gridDim.x * THREADS) {
        const Numbers<T, V> values = read_wide<V>(x, n), slopes = read_wide<V>(slope, n);
        Numbers<T, V> by;
        UNROLL
        for (int v = 0; v < V; v++) {
            const float value = number(values.n[v]);
            const float share = 0.5f * (1.0f + erff(value * 0.70710678f)), density = 0.39894228f * expf(-0.5f * value * value);
            store(&by.n[v], number(slopes.n[v]) * (share + value * density));
        }
        write_wide<V>(by_x, n, by);
    }
}

#define GELU_OF(T, NAME)                                                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS) gelu_##NAME(const T *x, long long count, T *y) {                        \
        count % WIDE<T> == 0 ? gelu<T, WIDE<T>>(x, count / WIDE<T>, y) : gelu<T, 1>(x, count, y);                                 \
    }                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS) gelu_gradient_##NAME(const T *x, const T *slope, long long count,       \
                                                                               T *by_x) {                                         \
        count % WIDE<T> == 0 ? gelu_gradient<T, WIDE<T>>(x, slope, count / WIDE<T>, by_x)                                         \
                             : gelu_gradient<T, 1>(x, slope, count, by_x);                                                        \
    }
GELU_OF(float, f32)
GELU_OF(Bf16, bf16)
