// Maximum over windows of images (batch, height, width, channels), and its gradient: as src/tensor/pooling.rs, where the first of
// equal maxima in reading order wins, and not-a-number always.
//
// A thread has one number: of the output forward, of the images backward, where it adds what the windows that it won in were given,
// in one order and without atomics. Numbers are f32 or bf16.
#include "warp.cuh"

constexpr int THREADS = 256;

struct Pool {
    int batch, height, width, channels, down, across;  // of the images and of the output
    int kernel, stride, padding;
};

// Blocks: any. Threads: 256. Writes maxima and the winner's place in its window.
template <typename T>
__device__ void max_pool(const T *images, Pool pool, T *out, unsigned char *winners) {
    const long long count = (long long)pool.batch * pool.down * pool.across * pool.channels;
    for (long long n = (long long)blockIdx.x * THREADS + threadIdx.x; n < count; n += (long long)gridDim.x * THREADS) {
        const int channel = (int)(n % pool.channels);
        const long long pixel = n / pool.channels;
        const int column = (int)(pixel % pool.across), row = (int)(pixel / pool.across % pool.down);
        const T *image = images + pixel / pool.across / pool.down * pool.height * pool.width * pool.channels + channel;
        float best = 0.0f;
        int winner = -1;
        for (int place = 0; place < pool.kernel * pool.kernel; place++) {
            const int y = row * pool.stride + place / pool.kernel - pool.padding;
            const int x = column * pool.stride + place % pool.kernel - pool.padding;
            if (y < 0 || x < 0 || y >= pool.height || x >= pool.width) continue;
            const float value = number(image[((long long)y * pool.width + x) * pool.channels]);
            if (winner < 0 || value > best || value != value) {
                best = value;
                winner = place;
            }
        }
        store(&out[n], best);
        winners[n] = (unsigned char)winner;
    }
}

// Blocks: any. Threads: 256.
template <typename T>
__device__ void max_pool_gradient(const T *slope, const unsigned char *winners, Pool pool, T *by_images) {
    const long long count = (long long)pool.batch * pool.height * pool.width * pool.channels;
    for (long long n = (long long)blockIdx.x * THREADS + threadIdx.x; n < count; n += (long long)gridDim.x * THREADS) {
        const int channel = (int)(n % pool.channels);
        const long long pixel = n / pool.channels;
        const int x = (int)(pixel % pool.width) + pool.padding, y = (int)(pixel / pool.width % pool.height) + pool.padding;
        const long long first = pixel / pool.width / pool.height * pool.down * pool.across;
        float sum = 0.0f;
        // Windows that hold the pixel: the first begins at most a kernel before it.
        const int top = max(0, (y - pool.kernel + pool.stride) / pool.stride), left = max(0, (x - pool.kernel + pool.stride) / pool.stride);
        for (int row = top; row < pool.down && row * pool.stride <= y; row++)
            for (int column = left; column < pool.across && column * pool.stride <= x; column++) {
                const int place = (y - row * pool.stride) * pool.kernel + x - column * pool.stride;
                const long long from = (first + (long long)row * pool.across + column) * pool.channels + channel;
                if (winners[from] == place) sum += number(slope[from]);
            }
        store(&by_images[n], sum);
    }
}

#define POOLING_OF(T, NAME)                                                                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS) max_pool_##NAME(const T *images, Pool pool, T *out,                     \
                                                                          unsigned char *winners) {                               \
        max_pool(images, pool, out, winners);                                                                                     \
    }                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS) max_pool_gradient_##NAME(                                               \
        const T *slope, const unsigned char *winners, Pool pool, T *by_images) {                                                  \
        max_pool_gradient(slope, winners, pool, by_images);                                                                       \
    }
POOLING_OF(float, f32)
POOLING_OF(Bf16, bf16)
