// Updates of all variables in one launch: stochastic gradient descent with momentum, AdamW, moving averages, and the inner
// products that clipping and LARS need. The formulas and their constants are those of src/train/optimiser and
// src/tensor/updates/mod.rs; a variable's own constants lie beside its addresses.
//
// A block has one piece of one variable, so that large and small variables fill a card alike. All numbers are f32; inner
// products are added in f64, in one order.
#include "warp.cuh"

constexpr int THREADS = 256;
constexpr int PIECE = 4096;  // numbers of a block
constexpr int MOST_CONSTANTS = 9;

struct Variable {
    float *p, *first, *second;  // what moves, and what is kept of its gradients
    const float *g;             // its gradient, or what it follows
    long long count;
    int piece;                  // the first of its pieces
    float constants[MOST_CONSTANTS];
};

// Which variable a block works on, and from which of its numbers to which.
struct Part {
    const Variable *variable;
    long long from, to;
};

__device__ __forceinline__ Part part_of(const Variable *variables, int count) {
    // The last variable whose first piece is not after this block.
    int low = 0, high = count - 1, block = (int)blockIdx.x;
    while (low < high) {
        const int middle = (low + high + 1) / 2;
        if (variables[middle].piece <= block)
            low = middle;
        else
            high = middle - 1;
    }
    const Variable *mine = variables + low;
    const long long from = (long long)(block - mine->piece) * PIECE;
    return {mine, from, from + PIECE < mine->count ? from + PIECE : mine->count};
}

#define EVERY(n, part) for (long long n = part.from + threadIdx.x; n < part.to; n += THREADS)

// Blocks: all pieces. Threads: 256. Constants: scale of the gradient, of the weight; momentum; learning rate.
extern "C" __global__ void __launch_bounds__(THREADS) update_momentum(const Variable *variables, int count) {
    const Part part = part_of(variables, count);
    const Variable of = *part.variable;
    const float gradient_scale = of.constants[0], weight_scale = of.constants[1], momentum = of.constants[2], rate = of.constants[3];
    EVERY(n, part) {
        const float v = momentum * of.first[n] + (gradient_scale * of.g[n] + weight_scale * of.p[n]);
        of.first[n] = v;
        of.p[n] -= rate * v;
    }
}

// Blocks: all pieces. Threads: 256. Constants: scale of the gradient; beta1 and its rest; beta2 and its rest; what decay keeps;
// size of the step; root of the second correction; epsilon.
extern "C" __global__ void __launch_bounds__(THREADS) update_adamw(const Variable *variables, int count) {
    const Part part = part_of(variables, count);
    const Variable of = *part.variable;
    const float scale = of.constants[0], beta1 = of.constants[1], rest1 = of.constants[2], beta2 = of.constants[3];
    const float rest2 = of.constants[4], keep = of.constants[5], size = of.constants[6], root = of.constants[7];
    const float epsilon = of.constants[8];
    EVERY(n, part) {
        const float slope = scale * of.g[n];
        const float m = beta1 * of.first[n] + rest1 * slope, v = beta2 * of.second[n] + rest2 * (slope * slope);
        of.first[n] = m;
        of.second[n] = v;
        of.p[n] = keep * of.p[n] - size * (m / (sqrtf(v) / root + epsilon));
    }
}

// Blocks: all pieces. Threads: 256. Constants: what the average keeps of itself, and the rest.
extern "C" __global__ void __launch_bounds__(THREADS) move_averages(const Variable *variables, int count) {
    const Part part = part_of(variables, count);
    const Variable of = *part.variable;
    const float momentum = of.constants[0], rest = of.constants[1];
    EVERY(n, part) of.p[n] = momentum * of.p[n] + rest * of.g[n];
}

// Blocks: all pieces. Threads: 256. Writes for each piece the sums of g g, p p and g p.
extern "C" __global__ void __launch_bounds__(THREADS) inner_products(const Variable *variables, int count, double *partial) {
    __shared__ double share[3][THREADS];
    const Part part = part_of(variables, count);
    const Variable of = *part.variable;
    double sums[3] = {0.0, 0.0, 0.0};
    EVERY(n, part) {
        const double g = of.g[n], p = of.p[n];
        sums[0] += g * g;
        sums[1] += p * p;
        sums[2] += g * p;
    }
    for (int k = 0; k < 3; k++) share[k][threadIdx.x] = sums[k];
    for (unsigned half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half)
            for (int k = 0; k < 3; k++) share[k][threadIdx.x] += share[k][threadIdx.x + half];
    }
    if (threadIdx.x == 0)
        for (int k = 0; k < 3; k++) partial[3LL * blockIdx.x + k] = share[k][0];
}

// Blocks: ceil(variables / 256). Threads: 256, one a variable. Puts pieces together: (variables, 3).
extern "C" __global__ void __launch_bounds__(THREADS) inner_products_together(const Variable *variables, int count, int pieces,
                                                                              const double *partial, double *products) {
    const int variable = blockIdx.x * THREADS + threadIdx.x;
    if (variable >= count) return;
    const int end = variable + 1 < count ? variables[variable + 1].piece : pieces;
    for (int k = 0; k < 3; k++) {
        double sum = 0.0;
        for (int piece = variables[variable].piece; piece < end; piece++) sum += partial[3LL * piece + k];
        products[3LL * variable + k] = sum;
    }
}
