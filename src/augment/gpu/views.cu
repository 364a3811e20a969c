// Views of images, a block a view: crop and antialiased resize, jitter, grey, blur, solarise, flip, normalise, in one launch.
//
// The same integer and single-precision steps as src/augment in the same order, so bytes are equal to its (and Pillow's);
// compiled without fused multiply-add, which rounds otherwise. The view lies in shared memory as bytes; only the first of the
// two passes of the resize goes through scratch memory. What is random was drawn before: a `View` is a `Drawn`.
// It never ran on a GPU yet: benchmarks/cells/kernels runs it on the CPU and compiles it.
#include "warp.cuh"

constexpr int THREADS = 1024;
constexpr int WARPS = THREADS / LANES;
constexpr int FRACTION = 22;               // bits of a resize weight
constexpr int HALF = 1 << (FRACTION - 1);
constexpr int BLURS = 3;                   // box blurs along each axis
enum Adjustment { BRIGHTNESS, CONTRAST, SATURATION, HUE };

typedef unsigned char Byte;

// One view, as the host drew it.
struct View {
    unsigned long long source;  // of the image's first byte
    int width;                  // of the image, pixels
    int left, top, crop_width, crop_height;
    int bicubic, flip, grey, solarise;
    int adjustments;
    int kinds[4];
    float factors[4];           // of hue: steps of 1/255 of a circle
    int blur;                   // 0 for none
    int radius;                 // pixels on either side that weigh fully
    unsigned full, edge;        // weights with 24 fractional bits
};

// Mean and deviation of red, green, blue, for values in [0, 1].
struct Normalisation {
    float mean[3], deviation[3];
};

// The resize kernel: a triangle, or Keys' cubic with a = -1/2.
__device__ __forceinline__ double kernel_at(double t, int bicubic) {
    const double a = -0.5;
    t = t < 0.0 ? -t : t;
    if (!bicubic) return t < 1.0 ? 1.0 - t : 0.0;
    if (t < 1.0) return ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0;
    return t < 2.0 ? (((t - 5.0) * t + 8.0) * t - 4.0) * a : 0.0;
}

// Writes first input pixel, count and weights of one output pixel.
__device__ void window(int input, int output, int bicubic, int x, int *place) {
    const double scale = (double)input / output, widening = scale > 1.0 ? scale : 1.0;
    const double support = (bicubic ? 2.0 : 1.0) * widening, step = 1.0 / widening, centre = (x + 0.5) * scale;
    const double begin = centre - support + 0.5;
    const int first = begin > 0.0 ? (int)begin : 0, end = min((int)(centre + support + 0.5), input);
    double sum = 0.0;
    for (int k = first; k < end; k++) sum += kernel_at((k - centre + 0.5) * step, bicubic);
    place[0] = first;
    place[1] = end - first;
    for (int k = first; k < end; k++) {
        const double weight = kernel_at((k - centre + 0.5) * step, bicubic) / sum * (1 << FRACTION);
        place[2 + k - first] = (int)(weight < 0.0 ? weight - 0.5 : weight + 0.5);
    }
}

// The pixel that a window makes of pixels `stride` bytes apart.
__device__ __forceinline__ void weigh(const Byte *from, long long stride, const int *window, Byte *to) {
    from += window[0] * stride;
    int sum[3] = {HALF, HALF, HALF};
    for (int k = 0; k < window[1]; k++)
        for (int c = 0; c < 3; c++) sum[c] += window[2 + k] * from[k * stride + c];
    for (int c = 0; c < 3; c++) to[c] = (Byte)min(max(sum[c] >> FRACTION, 0), 255);
}

__device__ __forceinline__ Byte grey_of(const Byte *rgb) {
    return (Byte)((19595u * rgb[0] + 38470u * rgb[1] + 7471u * rgb[2] + (1u << 15)) >> 16);
}

__device__ __forceinline__ Byte blend(Byte degenerate, Byte x, float factor) {
    const float value = degenerate + factor * ((float)x - degenerate);
    return (Byte)(int)fminf(fmaxf(value, 0.0f), 255.0f);
}

// A channel of a hue, saturation and value: V (1 - S k).
__device__ __forceinline__ Byte channel(int place, double saturation, int value) {
    const double k = (double)((float)min(max(place, 0), 255) / 255.0f);
    return (Byte)(int)(value * (1.0 - saturation * k) + 0.5);
}

// Turns hue through 8-bit HSV. Precision is mixed as in the reference.
__device__ void turn_hue(Byte *rgb, int steps) {
    const int r = rgb[0], g = rgb[1], b = rgb[2], most = max(r, max(g, b)), least = min(r, min(g, b));
    int h = 0, s = 0;
    if (most > least) {
        const float range = (float)(most - least);
        const bool red = r == most, green = g == most;
        const double sector = red ? 0.0 : green ? 2.0 : 4.0;
        const double plus = (double)((float)(most - (red ? b : green ? r : g)) / range);
        const double minus = (double)((float)(most - (red ? g : green ? b : r)) / range);
        const float sixths = (float)(sector + plus - minus);
        const double turns = (double)sixths / 6.0 + 1.0;
        h = (int)((double)(float)(turns >= 1.0 ? turns - 1.0 : turns) * 255.0);
        s = (int)((double)(range / (float)most) * 255.0);
    }
    const int place = 6 * ((h + steps) & 255);
    const double saturation = (double)((float)s / 255.0f);
    rgb[0] = channel(510 - abs(place - 765), saturation, most);
    rgb[1] = channel(abs(place - 510) - 255, saturation, most);
    rgb[2] = channel(abs(place - 1020) - 255, saturation, most);
}

// Box blurs of lines of `side` pixels, `along` bytes apart in a line and `across` bytes from line to line; a warp a line.
__device__ void blur_lines(Byte *image, Byte *lines, int side, int along, int across, const View &view) {
    const int warp = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    Byte *copy = lines + warp * 3 * side;
    for (int first = 0; first < side; first += WARPS) {
        const bool inside = first + warp < side;
        Byte *line = image + (first + warp) * across;
        for (int pass = 0; pass < BLURS; pass++) {
            for (int n = lane; inside && n < 3 * side; n += LANES) copy[n] = line[n / 3 * along + n % 3];
            __syncthreads();
            for (int n = lane; inside && n < 3 * side; n += LANES) {
                const int x = n / 3, c = n % 3;
                unsigned sum = 0;
                for (int k = x - view.radius; k <= x + view.radius; k++) sum += copy[3 * min(max(k, 0), side - 1) + c];
                const unsigned before = copy[3 * max(x - view.radius - 1, 0) + c];
                const unsigned after = copy[3 * min(x + view.radius + 1, side - 1) + c];
                line[x * along + c] = (Byte)((view.full * sum + view.edge * (before + after) + (1u << 23)) >> 24);
            }
            __syncthreads();
        }
    }
}

// Blocks: views. Threads: 1,024. Shared memory: 3 side^2 + 96 side bytes. `windows` has 2 side (taps + 2) numbers a view,
// `scratch` `scratch_each` bytes a view. Writes (views, side, side, 3).
template <typename T>
__device__ void make_views(const Byte *images, const View *views, int side, int taps, long long scratch_each, Byte *scratch,
                           int *windows, Normalisation normalisation, T *out) {
    DYNAMIC_SHARED(shared);
    __shared__ unsigned total;
    Byte *image = (Byte *)shared, *lines = image + 3 * side * side;
    const View &view = views[blockIdx.x];
    const int thread = threadIdx.x, pixels = side * side, room = taps + 2;
    int *horizontal = windows + 2LL * side * room * blockIdx.x, *vertical = horizontal + side * room;
    for (int n = thread; n < 2 * side; n += THREADS) {
        if (n < side)
            window(view.crop_width, side, view.bicubic, n, horizontal + n * room);
        else
            window(view.crop_height, side, view.bicubic, n - side, vertical + (n - side) * room);
    }
    __syncthreads();

    // Pillow's order of passes: columns first where the height shrinks, and by more than twice as many pixels as the width.
    const bool columns_first = view.crop_height > side && view.crop_width != side &&
                               view.crop_height + 2 * side > side + 2 * view.crop_width;
    const Byte *source = images + view.source + 3LL * ((long long)view.top * view.width + view.left);
    Byte *between = scratch + scratch_each * blockIdx.x;
    if (columns_first) {
        for (int n = thread; n < side * view.crop_width; n += THREADS) {
            const int y = n / view.crop_width, x = n % view.crop_width;
            weigh(source + 3 * x, 3LL * view.width, vertical + y * room, between + 3LL * n);
        }
        __syncthreads();
        for (int n = thread; n < pixels; n += THREADS)
            weigh(between + 3LL * (n / side) * view.crop_width, 3, horizontal + n % side * room, image + 3 * n);
    } else {
        for (int n = thread; n < view.crop_height * side; n += THREADS)
            weigh(source + 3LL * (n / side) * view.width, 3, horizontal + n % side * room, between + 3LL * n);
        __syncthreads();
        for (int n = thread; n < pixels; n += THREADS)
            weigh(between + 3 * (n % side), 3LL * side, vertical + n / side * room, image + 3 * n);
    }

    // From here on a thread has the same pixels in every step that looks at one pixel at a time.
    for (int step = 0; step < view.adjustments; step++) {
        const int kind = view.kinds[step];
        const float factor = view.factors[step];
        Byte mean = 0;
        if (kind == CONTRAST) {
            __syncthreads();
            if (thread == 0) total = 0;
            __syncthreads();
            unsigned mine = 0;
            for (int n = thread; n < pixels; n += THREADS) mine += grey_of(image + 3 * n);
            atomicAdd(&total, mine);  // of integers: the order does not matter
            __syncthreads();
            mean = (Byte)(unsigned)((double)total / pixels + 0.5);
        }
        for (int n = thread; n < pixels; n += THREADS) {
            Byte *rgb = image + 3 * n;
            if (kind == HUE) {
                turn_hue(rgb, (int)factor);
            } else {
                const Byte degenerate = kind == SATURATION ? grey_of(rgb) : mean;
                for (int c = 0; c < 3; c++) rgb[c] = blend(degenerate, rgb[c], factor);
            }
        }
    }
    if (view.grey)
        for (int n = thread; n < pixels; n += THREADS) {
            const Byte grey = grey_of(image + 3 * n);
            for (int c = 0; c < 3; c++) image[3 * n + c] = grey;
        }
    if (view.blur) {
        __syncthreads();
        blur_lines(image, lines, side, 3, 3 * side, view);
        blur_lines(image, lines, side, 3 * side, 3, view);
    }
    for (int n = thread; n < pixels; n += THREADS) {
        const int y = n / side, x = view.flip ? side - 1 - n % side : n % side;
        T *to = out + 3LL * ((long long)blockIdx.x * pixels + y * side + x);
        for (int c = 0; c < 3; c++) {
            Byte value = image[3 * n + c];
            if (view.solarise && value >= 128) value = 255 - value;
            store(&to[c], (value / 255.0f - normalisation.mean[c]) / normalisation.deviation[c]);
        }
    }
}

#define VIEWS_OF(T, NAME)                                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS) views_##NAME(                                                          \
        const Byte *images, const View *views, int side, int taps, long long scratch_each, Byte *scratch, int *windows,          \
        Normalisation normalisation, T *out) {                                                                                   \
        make_views(images, views, side, taps, scratch_each, scratch, windows, normalisation, out);                               \
    }
VIEWS_OF(float, f32)
VIEWS_OF(Bf16, bf16)
