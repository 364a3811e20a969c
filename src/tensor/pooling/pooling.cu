// Maximum over windows of images (batch, height, width, channels), and its gradient: as cpu.rs, where the first of
// equal maxima in reading order wins, and not-a-number always.
//
// A thread has one pixel's channels, sixteen bytes of them where they divide so: of the output forward, of the images backward,
// where it adds what the windows that it won in were given, in one order and without atomics. Numbers are f32 or bf16. Images have
// fewer than 2^31 pixels.
#include "warp.cuh"

constexpr int THREADS = 256;

struct Pool {
    int batch, height, width, channels, down, across;  // of the images and of the output
    int kernel, stride, padding;
};

// Blocks: any. Threads: 256. Writes maxima and the winner's place in its window.
template <typename T, int V>
__device__ void max_pool(const T *images, Pool pool, T *out, unsigned char *winners) {
    const int per_pixel = pool.channels / V;
    const long long count = (long long)pool.batch * pool.down * pool.across * per_pixel;
    for (long long n = (long long)blockIdx.x * THREADS + threadIdx.x; n < count; n += (long long)gridDim.x * THREADS) {
        const int pixel = (int)(n / per_pixel), channel = (int)(n - (long long)pixel * per_pixel);
        const int line = pixel / pool.across, column = pixel - line * pool.across;
        const int image = line / pool.down, row = line - image * pool.down;
        float best[V];
        Numbers<unsigned char, V> winner;
        bool any = false;
        for (int v = 0; v < V; v++) {
            best[v] = 0.0f;
            winner.n[v] = 0;
        }
        for (int place = 0, down = 0; down < pool.kernel; down++)
            for (int across = 0; across < pool.kernel; across++, place++) {
                const int y = row * pool.stride + down - pool.padding, x = column * pool.stride + across - pool.padding;
                if (y < 0 || x < 0 || y >= pool.height || x >= pool.width) continue;
                const long long from = ((long long)image * pool.height + y) * pool.width + x;
                const Numbers<T, V> values = read_wide<V>(images, from * per_pixel + channel);
                UNROLL
                for (int v = 0; v < V; v++) {
                    const float value = number(values.n[v]);
                    if (!any || value > best[v] || value != value) {
                        best[v] = value;
                        winner.n[v] = (unsigned char)place;
                    }
                }
                any = true;
            }
        Numbers<T, V> maxima;
        for (int v = 0; v < V; v++) store(&maxima.n[v], best[v]);
        write_wide<V>(out, n, maxima);
        write_wide<V>(winners, n, winner);
    }
}

// Blocks: any. Threads: 256.
template <typename T, int V>
__device__ void max_pool_gradient(const T *slope, const unsigned char *winners, Pool pool, T *by_images) {
    const int per_pixel = pool.channels / V;
    const long long count = (long long)pool.batch * pool.height * pool.width * per_pixel;
    for (long long n = (long long)blockIdx.x * THREADS + threadIdx.x; n < count; n += (long long)gridDim.x * THREADS) {
        const int pixel = (int)(n / per_pixel), channel = (int)(n - (long long)pixel * per_pixel);
        const int line = pixel / pool.width, image = line / pool.height;
        const int x = pixel - line * pool.width + pool.padding, y = line - image * pool.height + pool.padding;
        float sum[V];
        for (int v = 0; v < V; v++) sum[v] = 0.0f;
        // Windows that hold the pixel: the first begins at most a kernel before it.
        const int top = max(0, (y - pool.kernel + pool.stride) / pool.stride), left = max(0, (x - pool.kernel + pool.stride) / pool.stride);
        for (int row = top; row < pool.down && row * pool.stride <= y; row++)
            for (int column = left; column < pool.across && column * pool.stride <= x; column++) {
                const int place = (y - row * pool.stride) * pool.kernel + x - column * pool.stride;
                const long long from = (((long long)image * pool.down + row) * pool.across + column) * per_pixel + channel;
                const Numbers<unsigned char, V> winner = read_wide<V>(winners, from);
                const Numbers<T, V> slopes = read_wide<V>(slope, from);
                UNROLL
                for (int v = 0; v < V; v++)
                    if (winner.n[v] == place) sum[v] += number(slopes.n[v]);
            }
        Numbers<T, V> by;
        for (int v = 0; v < V; v++) store(&by.n[v], sum[v]);
        write_wide<V>(by_images, n, by);
    }
}

#define POOLING_OF(T, NAME)                                                                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS) max_pool_##NAME(const T *images, Pool pool, T *out,                     \
                                                                          unsigned char *winners) {                               \
        pool.channels % WIDE<T> == 0 ? max_pool<T, WIDE<T>>(images, pool, out, winners)                                           \
                                     : max_pool<T, 1>(images, pool, out, winners);                                                \
    }                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS) max_pool_gradient_##NAME(                                               \
        const T *slope, const unsigned char *winners, Pool pool, T *by_images) {                                                  \
        pool.channels % WIDE<T> == 0 ? max_pool_gradient<T, WIDE<T>>(slope, winners, pool, by_images)                             \
                                     : max_pool_gradient<T, 1>(slope, winners, pool, by_images);                                  \
    }
POOLING_OF(float, f32)
POOLING_OF(Bf16, bf16)
