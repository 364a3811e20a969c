// Scaled dot-product attention without its matrix of probabilities, on tensor cores: for each image and head
//
//   S = scale Q K^T,  P = softmax(S),  O = P V
//   dV = P^T dO,  dS = scale P (dO V^T - D),  dQ = dS K,  dK = dS^T Q,  with D the row sums of dO O
//
// (Dao 2023, FlashAttention-2). A block has one image and head and keeps two of its matrices in shared memory; a warp takes
// sixteen rows and goes through the others' rows 32 at a time: forward with a running maximum and sum, backward with
// probabilities made again from the row's log-sum-exp. Backward is two kinds of blocks, so that no sum is shared: one has
// queries' rows and makes dQ, one has keys' rows and makes dK and dV. No atomics: equal bits in every run. Device memory: one
// number a token and head forward, one more backward.
//
// Numbers are bf16, sums and exponentials f32; P and dS are rounded to bf16 before they are multiplied. Heads are 16, 32, 48 or
// 64 wide. `joined` is (image, token, part, head, number) with parts Q, K, V, outputs (image, token, head, number). The plain twin is
// cpu.rs. It never ran on a GPU yet: benchmarks/cells/kernels runs it on the CPU and compiles it.
#include "warp.cuh"

constexpr int WARPS = 4;
constexpr int THREADS = WARPS * LANES;
constexpr int TILE = 16;     // rows of a warp
constexpr int GROUP = 32;    // rows that it meets at a time
constexpr int PADDING = 4;   // words behind a row in shared memory, so that lanes meet other banks
constexpr float LEAST = -3.0e38f;
enum Part { QUERIES, KEYS, VALUES };

// Four words, read and written together.
struct __align__(16) Four {
    unsigned words[4];
};

// Rows of one image and head, `stride` words apart.
struct Rows {
    const unsigned *first;
    int stride, count;
};

__device__ __forceinline__ unsigned pair_of(float low, float high) { return bf16_bits(low) | bf16_bits(high) << 16; }

// All rows to shared memory, and zeros up to `padded` rows.
template <int WORDS>
__device__ __forceinline__ void load(unsigned *shared, Rows rows, int padded) {
    constexpr int FOURS = WORDS / 4;
    for (int item = threadIdx.x; item < padded * FOURS; item += THREADS) {
        const int row = item / FOURS, word = item % FOURS * 4;
        const Four zeros = {{0u, 0u, 0u, 0u}};
        *(Four *)(shared + row * (WORDS + PADDING) + word) =
            row < rows.count ? *(const Four *)(rows.first + (long long)row * rows.stride + word) : zeros;
    }
}

// Sixteen rows from `top` as left factors of products, zeros beyond the last.
template <int STEPS>
__device__ __forceinline__ void own(unsigned a[STEPS][4], Rows rows, int top) {
    const int lane = threadIdx.x % LANES;
    UNROLL
    for (int step = 0; step < STEPS; step++)
        for (int n = 0; n < 4; n++) {
            const int row = top + lane / 4 + 8 * (n % 2);
            a[step][n] = row < rows.count ? rows.first[(long long)row * rows.stride + 8 * step + lane % 4 + 4 * (n / 2)] : 0u;
        }
}

// products (16 x 32): own rows against the 32 rows at `right`.
template <int STEPS>
__device__ __forceinline__ void products(float s[4][4], const unsigned a[STEPS][4], const unsigned *right) {
    const int lane = threadIdx.x % LANES;
    UNROLL
    for (int n = 0; n < 4; n++) {
        for (int c = 0; c < 4; c++) s[n][c] = 0.0f;
        UNROLL
        for (int step = 0; step < STEPS; step++) {
            const unsigned *from = right + (8 * n + lane / 4) * (8 * STEPS + PADDING) + 8 * step + lane % 4;
            const unsigned b[2] = {from[0], from[4]};
            multiply_bf16(s[n], a[step], b);
        }
    }
}

// sum (16 x 16 STEPS) += weights (16 x 32) times the 32 rows at `right`.
template <int STEPS>
__device__ __forceinline__ void accumulate(float sum[2 * STEPS][4], const float weights[4][4], const unsigned *right) {
    const int lane = threadIdx.x % LANES;
    UNROLL
    for (int k = 0; k < 2; k++) {
        unsigned a[4], b[2];
        for (int n = 0; n < 4; n++) {
            const float *pair = &weights[2 * k + n / 2][2 * (n % 2)];
            a[n] = pair_of(pair[0], pair[1]);
        }
        UNROLL
        for (int n = 0; n < 2 * STEPS; n++) {
            load_transposed(b, right + (16 * k + lane % 16) * (8 * STEPS + PADDING) + 4 * n);
            multiply_bf16(sum[n], a, b);
        }
    }
}

// Writes sixteen rows from `top`, each times its factor, `stride` words apart.
template <int STEPS>
__device__ __forceinline__ void write_rows(unsigned *first, int stride, int count, int top, const float sum[2 * STEPS][4],
                                           const float factor[2]) {
    const int lane = threadIdx.x % LANES;
    for (int half = 0; half < 2; half++) {
        const int row = top + 8 * half + lane / 4;
        UNROLL
        for (int n = 0; n < 2 * STEPS; n++)
            if (row < count)
                first[(long long)row * stride + 4 * n + lane % 4] =
                    pair_of(sum[n][2 * half] * factor[half], sum[n][2 * half + 1] * factor[half]);
    }
}

template <int WORDS>
__device__ __forceinline__ Rows part_of(const unsigned *joined, Part part, int tokens, int heads) {
    const int image = blockIdx.x / heads, head = blockIdx.x % heads, stride = 3 * heads * WORDS;
    return {joined + (long long)image * tokens * stride + (part * heads + head) * WORDS, stride, tokens};
}

template <int WORDS>
__device__ __forceinline__ Rows output_of(const unsigned *out, int tokens, int heads) {
    const int image = blockIdx.x / heads, head = blockIdx.x % heads, stride = heads * WORDS;
    return {out + (long long)image * tokens * stride + head * WORDS, stride, tokens};
}

// Blocks: images x heads. Threads: 128. Shared memory: 2 x padded x (words + 4) words, with tokens padded to 32. Writes O and
// log-sum-exp (images x heads, tokens).
template <int STEPS>
__device__ void forward(const unsigned *joined, int tokens, int heads, float scale, unsigned *out, float *lse) {
    constexpr int WORDS = 8 * STEPS, STRIDE = WORDS + PADDING;
    DYNAMIC_SHARED(shared);
    const int warp = threadIdx.x / LANES, lane = threadIdx.x % LANES, padded = (tokens + GROUP - 1) / GROUP * GROUP;
    unsigned *keys = shared, *values = shared + padded * STRIDE;
    load<WORDS>(keys, part_of<WORDS>(joined, KEYS, tokens, heads), padded);
    load<WORDS>(values, part_of<WORDS>(joined, VALUES, tokens, heads), padded);
    __syncthreads();
    for (int base = 0; base < tokens; base += WARPS * TILE) {
        const int top = base + warp * TILE;
        unsigned queries[STEPS][4];
        own<STEPS>(queries, part_of<WORDS>(joined, QUERIES, tokens, heads), top);
        float sum[2 * STEPS][4], most[2] = {LEAST, LEAST}, total[2] = {0.0f, 0.0f};
        UNROLL
        for (int n = 0; n < 2 * STEPS; n++)
            for (int c = 0; c < 4; c++) sum[n][c] = 0.0f;
        for (int start = 0; start < padded; start += GROUP) {
            float s[4][4];
            products<STEPS>(s, queries, keys + start * STRIDE);
            UNROLL
            for (int half = 0; half < 2; half++) {
                float largest = most[half];
                UNROLL
                for (int n = 0; n < 4; n++)
                    for (int c = 2 * half; c < 2 * half + 2; c++) {
                        const int column = start + 8 * n + 2 * (lane % 4) + c % 2;
                        s[n][c] = column < tokens ? s[n][c] * scale : LEAST;
                        largest = fmaxf(largest, s[n][c]);
                    }
                // Four lanes share a row.
                largest = fmaxf(largest, exchange(largest, 1));
                largest = fmaxf(largest, exchange(largest, 2));
                const float shrink = expf(most[half] - largest);
                most[half] = largest;
                total[half] *= shrink;
                UNROLL
                for (int n = 0; n < 4; n++)
                    for (int c = 2 * half; c < 2 * half + 2; c++) {
                        s[n][c] = expf(s[n][c] - largest);
                        total[half] += s[n][c];
                    }
                UNROLL
                for (int n = 0; n < 2 * STEPS; n++)
                    for (int c = 2 * half; c < 2 * half + 2; c++) sum[n][c] *= shrink;
            }
            accumulate<STEPS>(sum, s, values + start * STRIDE);
        }
        float share[2];
        for (int half = 0; half < 2; half++) {
            total[half] += exchange(total[half], 1);
            total[half] += exchange(total[half], 2);
            share[half] = 1.0f / total[half];
            const int row = top + 8 * half + lane / 4;
            if (row < tokens && lane % 4 == 0) lse[(long long)blockIdx.x * tokens + row] = most[half] + logf(total[half]);
        }
        const Rows rows = output_of<WORDS>(out, tokens, heads);
        write_rows<STEPS>((unsigned *)rows.first, rows.stride, tokens, top, sum, share);
    }
}

// Blocks: ceil(images x heads x tokens / 4). Threads: 128, a warp a token and head. Writes D (images x heads, tokens).
extern "C" __global__ void __launch_bounds__(THREADS) attention_dots(const unsigned *out, const unsigned *slope, int count, int tokens,
                                                                     int heads, int words, float *dots) {
    const int item = blockIdx.x * WARPS + threadIdx.x / LANES, lane = threadIdx.x % LANES;
    const int token = item % tokens, head = item / tokens % heads, image = item / tokens / heads;
    const bool inside = item < count && lane < words;
    const long long place = (((long long)image * tokens + token) * heads + head) * words + lane;
    const unsigned o = inside ? out[place] : 0u, s = inside ? slope[place] : 0u;
    float dot = __uint_as_float(o << 16) * __uint_as_float(s << 16);
    dot += __uint_as_float(o & 0xffff0000u) * __uint_as_float(s & 0xffff0000u);
    dot = sum_of_lanes(dot);
    if (item < count && lane == 0) dots[item] = dot;
}

// dQ from queries' rows, or dK and dV from keys' rows.
template <int STEPS, bool OF_KEYS>
__device__ void gradient(const unsigned *joined, const unsigned *slope, const float *lse, const float *dots, int tokens, int heads,
                         float scale, unsigned *by_joined) {
    constexpr int WORDS = 8 * STEPS, STRIDE = WORDS + PADDING;
    DYNAMIC_SHARED(shared);
    const int warp = threadIdx.x / LANES, lane = threadIdx.x % LANES, padded = (tokens + GROUP - 1) / GROUP * GROUP;
    // What own rows meet: keys and values, or queries and their slopes.
    unsigned *first = shared, *second = shared + padded * STRIDE;
    const Rows queries = part_of<WORDS>(joined, QUERIES, tokens, heads), keys = part_of<WORDS>(joined, KEYS, tokens, heads);
    const Rows values = part_of<WORDS>(joined, VALUES, tokens, heads), slopes = output_of<WORDS>(slope, tokens, heads);
    load<WORDS>(first, OF_KEYS ? queries : keys, padded);
    load<WORDS>(second, OF_KEYS ? slopes : values, padded);
    // Log-sum-exp and D of every query.
    float *of_query = (float *)(second + padded * STRIDE);
    for (int token = threadIdx.x; token < padded; token += THREADS) {
        const long long place = (long long)blockIdx.x * tokens + token;
        of_query[token] = token < tokens ? lse[place] : 0.0f;
        of_query[padded + token] = token < tokens ? dots[place] : 0.0f;
    }
    __syncthreads();
    for (int base = 0; base < tokens; base += WARPS * TILE) {
        const int top = base + warp * TILE;
        unsigned left[STEPS][4], against[STEPS][4];
        own<STEPS>(left, OF_KEYS ? keys : queries, top);
        own<STEPS>(against, OF_KEYS ? values : slopes, top);
        float by_left[2 * STEPS][4], by_values[2 * STEPS][4];
        UNROLL
        for (int n = 0; n < 2 * STEPS; n++)
            for (int c = 0; c < 4; c++) by_left[n][c] = by_values[n][c] = 0.0f;
        for (int start = 0; start < padded; start += GROUP) {
            float p[4][4], s[4][4];
            products<STEPS>(p, left, first + start * STRIDE);
            products<STEPS>(s, against, second + start * STRIDE);
            UNROLL
            for (int n = 0; n < 4; n++)
                for (int c = 0; c < 4; c++) {
                    const int row = top + 8 * (c / 2) + lane / 4, column = start + 8 * n + 2 * (lane % 4) + c % 2;
                    const int query = OF_KEYS ? column : row;
                    // Rows beyond the last token are not written; what they hold must only be a number.
                    const bool inside = column < tokens && row < tokens;
                    p[n][c] = inside ? expf(p[n][c] * scale - of_query[query]) : 0.0f;
                    s[n][c] = inside ? p[n][c] * (s[n][c] - of_query[padded + query]) * scale : 0.0f;
                }
            accumulate<STEPS>(by_left, s, first + start * STRIDE);
            if (OF_KEYS) accumulate<STEPS>(by_values, p, second + start * STRIDE);
        }
        const float one[2] = {1.0f, 1.0f};
        const Rows by = part_of<WORDS>(by_joined, OF_KEYS ? KEYS : QUERIES, tokens, heads);
        write_rows<STEPS>((unsigned *)by.first, by.stride, tokens, top, by_left, one);
        if (OF_KEYS) {
            const Rows by = part_of<WORDS>(by_joined, VALUES, tokens, heads);
            write_rows<STEPS>((unsigned *)by.first, by.stride, tokens, top, by_values, one);
        }
    }
}

// Names without C++ decoration. Backward: blocks images x heads x 2 (0: queries, 1: keys), 128 threads, shared memory
// 2 x padded x (words + 5) words; writes dQ, dK and dV where joined has Q, K and V.
#define ATTENTION_OF(WIDTH)                                                                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS) attention_forward_##WIDTH(                                              \
        const unsigned *joined, int tokens, int heads, float scale, unsigned *out, float *lse) {                                  \
        forward<WIDTH / 16>(joined, tokens, heads, scale, out, lse);                                                              \
    }                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS) attention_backward_##WIDTH(                                             \
        const unsigned *joined, const unsigned *slope, const float *lse, const float *dots, int tokens, int heads, float scale,   \
        unsigned *by_joined) {                                                                                                    \
        if (blockIdx.y == 0)                                                                                                      \
            gradient<WIDTH / 16, false>(joined, slope, lse, dots, tokens, heads, scale, by_joined);                               \
        else                                                                                                                      \
            gradient<WIDTH / 16, true>(joined, slope, lse, dots, tokens, heads, scale, by_joined);                                \
    }
ATTENTION_OF(16)
ATTENTION_OF(32)
ATTENTION_OF(48)
ATTENTION_OF(64)
