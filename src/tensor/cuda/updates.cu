// Updates of one variable in one pass: stochastic gradient descent with momentum, AdamW, moving averages. The formulas and their
// constants are those of src/train/optimiser/update.rs and src/tensor/average.rs. Blocks: any. Threads: 256. All f32.
#include "warp.cuh"

constexpr int THREADS = 256;

#define EVERY(n, count)                                                                                                           \
    for (long long n = (long long)blockIdx.x * THREADS + threadIdx.x; n < count; n += (long long)gridDim.x * THREADS)

extern "C" __global__ void __launch_bounds__(THREADS) update_momentum(float *p, float *velocity, const float *g, long long count,
                                                                      float gradient_scale, float weight_scale, float momentum,
                                                                      float rate) {
    EVERY(n, count) {
        const float v = momentum * velocity[n] + (gradient_scale * g[n] + weight_scale * p[n]);
        velocity[n] = v;
        p[n] -= rate * v;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) update_adamw(float *p, float *first, float *second, const float *g,
                                                                   long long count, float gradient_scale, float beta1, float rest1,
                                                                   float beta2, float rest2, float keep, float size, float root,
                                                                   float epsilon) {
    EVERY(n, count) {
        const float slope = gradient_scale * g[n];
        const float m = beta1 * first[n] + rest1 * slope, v = beta2 * second[n] + rest2 * (slope * slope);
        first[n] = m;
        second[n] = v;
        p[n] = keep * p[n] - size * (m / (sqrtf(v) / root + epsilon));
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) move_average(float *average, const float *value, long long count, float momentum,
                                                                   float rest) {
    EVERY(n, count) average[n] = momentum * average[n] + rest * value[n];
}
