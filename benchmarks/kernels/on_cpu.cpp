// Runs the kernels on the CPU for a test: numbers from standard input, results to standard output, all little-endian.
//
//     nt_xent       in: i32 rows, width, bf16 (0, 1), parts; f32 temperature, upstream, views[rows * width]
//                   out: f32 loss, gradient[rows * width]
//     barlow_twins  in: i32 rows (of one view), width, bf16, by columns (0, 1); f32 weight, upstream, views[2 * rows * width]
//                   out: f32 loss, on, off, gradient[2 * rows * width]
//     batch_norm    in: i32 rows, channels, bf16, flags (1 residual, 2 ReLU, 4 statistics given), parts; f32 x, slope, residual
//                   [rows * channels each], weight, bias, mean, variance [channels each]
//                   out: f32 y, by x, by residual, by weight, by bias, mean, variance
//     layer_norm    in: i32 rows, width, bf16, parts, 0; f32 x, slope [rows * width each], weight, bias [width each]
//                   out: f32 y, by x, by weight, by bias, sums of the slope's columns
//     gelu          in: as layer_norm; out: f32 y, by x
//     attention     in: i32 images, tokens, width of a head, heads, 0; f32 joined, slope of the output; numbers are bf16
//                   out: f32 output, by joined
//     max_pool      in: i32 0, 0, bf16, 0, 0; Pool; f32 images, slope of the output
//                   out: f32 maxima, by images
//     rows          in: i32 rows, width, picks, 0, 0; f32 rows, slope of the picked; i32 picks; then i32 starts[rows + 1], members
//                   out: f32 picked, by rows
//     updates       in: i32 numbers, 0, 0, 0, 0; f32 constants[9], p, first, second, g
//                   out, of all numbers and then of their last half: f32 p, velocity (momentum 0.9; of p, first, g); p, first,
//                   second (AdamW); average (0.9; of p, g); sums of g g, p p, g p
//     views, views_bf16
//                   in: i32 count, side, taps, 0; f32 mean[3], deviation[3]; i64 bytes of images, scratch of a view;
//                       View[count]; u8 images
//                   out: f32 views[count * side * side * 3]
#include <cstdio>
#include <string>

#include "on_cpu.h"
#include "warp.cuh"

namespace nt_xent {
#include "../../src/loss/contrastive/nt_xent.cu"
}
namespace barlow_twins {
#include "../../src/loss/cross_correlation/barlow_twins.cu"
}
namespace batch_norm {
#include "../../src/tensor/batch_norm/batch_norm.cu"
}
namespace gelu {
#include "../../src/tensor/gelu/gelu.cu"
}
namespace layer_norm {
#include "../../src/tensor/layer_norm/layer_norm.cu"
}
namespace linear {
#include "../../src/tensor/linear/linear.cu"
}
namespace attention {
#include "../../src/tensor/attention/attention.cu"
}
namespace pooling {
#include "../../src/tensor/pooling/pooling.cu"
}
namespace rows {
#include "../../src/tensor/rows/rows.cu"
}
namespace updates {
#include "../../src/tensor/updates/updates.cu"
}
namespace views {
#include "../../src/augment/gpu/views.cu"
}

template <typename T>
static std::vector<T> read(std::size_t count) {
    std::vector<T> values(count);
    if (std::fread(values.data(), sizeof(T), count, stdin) != count) std::exit(2);
    return values;
}
static void write(const std::vector<float> &values) { std::fwrite(values.data(), sizeof(float), values.size(), stdout); }

template <typename T>
static std::vector<T> rounded(const std::vector<float> &values) {
    std::vector<T> result(values.size());
    for (std::size_t n = 0; n < values.size(); n++) store(&result[n], values[n]);
    return result;
}

static int blocks(int count, int each) { return (count + each - 1) / each; }

// The kernels of one type of number, by name.
#define OF(T, NAME)                                                                                                               \
    static void run_nt_xent(const std::vector<T> &views, int rows, int width, int parts, float temperature, float upstream) {     \
        using namespace nt_xent;                                                                                                  \
        const int in_word = sizeof(unsigned) / sizeof(T), words = blocks(width, STEP * in_word) * STEP;                           \
        const int padded = words * in_word, each = blocks(blocks(rows, COLUMNS), parts) * COLUMNS;                                \
        const unsigned tiles = blocks(rows, ROWS), p = blocks(rows, each), bands = blocks(padded, BAND);                          \
        const std::size_t shared = std::size_t(ROWS + COLUMNS) * (words + PADDING);                                               \
        const float inverse = 1.0f / temperature;                                                                                 \
        const Index block{WARPS * LANES, 1, 1};                                                                                   \
        std::vector<T> z(std::size_t(rows) * padded);                                                                             \
        std::vector<float> length(rows), maximum(p * rows), sum(p * rows), positive(rows), lse(rows), loss(1);                    \
        std::vector<float> partial(std::size_t(p) * rows * padded), gradient(views.size());                                       \
        const T *second = views.data() + views.size() / 2;                                                                        \
        on_cpu::launch({unsigned(blocks(rows, WARPS)), 1, 1}, block, 0, [&] {                                                     \
            nt_xent_normalise_##NAME(views.data(), second, rows, width, padded, z.data(), length.data());                         \
        });                                                                                                                       \
        on_cpu::launch({tiles, p, 1}, block, shared, [&] {                                                                        \
            nt_xent_forward_##NAME(z.data(), rows, words, each, inverse, maximum.data(), sum.data(), positive.data());            \
        });                                                                                                                       \
        on_cpu::launch({1, 1, 1}, {1024, 1, 1}, 0, [&] {                                                                          \
            nt_xent_loss(maximum.data(), sum.data(), positive.data(), rows, p, lse.data(), loss.data());                          \
        });                                                                                                                       \
        on_cpu::launch({tiles, p, bands}, block, shared, [&] {                                                                    \
            nt_xent_backward_##NAME(z.data(), lse.data(), rows, words, each, inverse, partial.data());                            \
        });                                                                                                                       \
        on_cpu::launch({unsigned(blocks(rows, WARPS)), 1, 1}, block, 0, [&] {                                                     \
            nt_xent_gradient_##NAME(partial.data(), z.data(), length.data(), &upstream, rows, width, padded, p, inverse,          \
                                    gradient.data());                                                                             \
        });                                                                                                                       \
        write(loss);                                                                                                              \
        write(gradient);                                                                                                          \
    }                                                                                                                             \
    static void run_barlow_twins(const std::vector<T> &views, int rows, int width, bool by_columns, float weight,                 \
                                 float upstream) {                                                                                \
        using namespace barlow_twins;                                                                                             \
        const std::size_t size = views.size() / 2;                                                                                \
        std::vector<T> a(size), b(size), product(2 * size);                                                                       \
        std::vector<float> inverse(2 * width), diagonal(width), loss(3), gradient(2 * size);                                      \
        const unsigned tiles = blocks(width, ACROSS);                                                                             \
        const Index block{THREADS, 1, 1};                                                                                         \
        on_cpu::launch({tiles, 1, 1}, block, 0, [&] {                                                                             \
            barlow_twins_standardise_##NAME(views.data(), views.data() + size, rows, width, a.data(), b.data(), inverse.data(),   \
                                            diagonal.data());                                                                     \
        });                                                                                                                       \
        /* The products are a library's on the GPU; here they are plain. */                                                       \
        const int side = by_columns ? width : rows;                                                                               \
        std::vector<T> x(std::size_t(side) * side), y(x.size());                                                                  \
        auto at = [&](const std::vector<T> &m, int row, int column) { return number(m[std::size_t(row) * width + column]); };     \
        for (int i = 0; i < side; i++)                                                                                            \
            for (int j = 0; j < side; j++) {                                                                                      \
                double left = 0, right = 0;                                                                                       \
                for (int k = 0; k < (by_columns ? rows : width); k++) {                                                           \
                    left += by_columns ? double(at(a, k, i)) * at(b, k, j) : double(at(a, i, k)) * at(a, j, k);                   \
                    right += by_columns ? 0.0 : double(at(b, i, k)) * at(b, j, k);                                                \
                }                                                                                                                 \
                store(&x[std::size_t(i) * side + j], float(left));                                                                \
                store(&y[std::size_t(i) * side + j], float(by_columns ? left : right));                                           \
            }                                                                                                                     \
        const unsigned partials = 7;                                                                                              \
        std::vector<float> partial(partials);                                                                                     \
        on_cpu::launch({partials, 1, 1}, block, 0, [&] {                                                                          \
            barlow_twins_inner_product_##NAME(x.data(), y.data(), (long long)x.size(), partial.data());                           \
        });                                                                                                                       \
        const float scale = 1.0f / (float(rows) * rows);                                                                          \
        on_cpu::launch({1, 1, 1}, block, 0, [&] {                                                                                 \
            barlow_twins_loss(diagonal.data(), partial.data(), width, partials, scale, weight, loss.data());                      \
        });                                                                                                                       \
        for (int n = 0; n < rows; n++)                                                                                            \
            for (int d = 0; d < width; d++) {                                                                                     \
                double left = 0, right = 0;                                                                                       \
                for (int k = 0; k < side; k++) {                                                                                  \
                    const auto row = [&](int i, int j) { return double(number(x[std::size_t(i) * side + j])); };                  \
                    left += by_columns ? at(b, n, k) * row(d, k) : number(y[std::size_t(n) * side + k]) * double(at(a, k, d));    \
                    right += by_columns ? at(a, n, k) * row(k, d) : row(n, k) * at(b, k, d);                                      \
                }                                                                                                                 \
                store(&product[std::size_t(n) * width + d], float(left));                                                         \
                store(&product[size + std::size_t(n) * width + d], float(right));                                                 \
            }                                                                                                                     \
        on_cpu::launch({tiles, 2, 1}, block, 0, [&] {                                                                             \
            barlow_twins_backward_##NAME(a.data(), b.data(), product.data(), inverse.data(), diagonal.data(), &upstream, rows,    \
                                         width, 2.0f * weight * scale, weight, gradient.data());                                  \
        });                                                                                                                       \
        write(loss);                                                                                                              \
        write(gradient);                                                                                                          \
    }
OF(float, f32)
OF(Bf16, bf16)

template <typename T>
static void write_numbers(const std::vector<T> &values) {
    std::vector<float> numbers;
    for (const T &value : values) numbers.push_back(number(value));
    write(numbers);
}

// As above, of layers. Few blocks go through all numbers, so that each has several.
#define LAYERS_OF(T, NAME)                                                                                                        \
    static void run_batch_norm(const std::vector<int> &sizes, T) {                                                                \
        using namespace batch_norm;                                                                                               \
        const int rows = sizes[0], channels = sizes[1], flags = sizes[3], relu = flags & 2, own = !(flags & 4);                   \
        const int together = channels % WIDE<T> == 0 ? WIDE<T> : 1;                                                               \
        const unsigned parts = sizes[4], wide = blocks(channels / together, THREADS), all = blocks(channels, LANES);              \
        const std::size_t count = std::size_t(rows) * channels;                                                                   \
        const auto x = rounded<T>(read<float>(count)), slope = rounded<T>(read<float>(count));                                    \
        const auto residual = rounded<T>(read<float>(count));                                                                     \
        const auto weight = read<float>(channels), bias = read<float>(channels);                                                  \
        auto mean = read<float>(channels), variance = read<float>(channels);                                                      \
        std::vector<T> y(count), by_x(count), by_residual(count);                                                                 \
        std::vector<float> inverse(channels), of_bias(channels), of_weight(channels), partial((2 * parts + 1) * channels);        \
        const Index block{THREADS, 1, 1};                                                                                         \
        if (own) {                                                                                                                \
            on_cpu::launch({wide, parts, 1}, block, 0,                                                                            \
                           [&] { batch_norm_statistics_##NAME(x.data(), rows, channels, partial.data()); });                      \
            on_cpu::launch({all, 1, 1}, block, 0, [&] {                                                                           \
                batch_norm_moments(partial.data(), rows, channels, parts, mean.data(), variance.data(), inverse.data());          \
            });                                                                                                                   \
        } else {                                                                                                                  \
            for (int n = 0; n < channels; n++) inverse[n] = 1.0f / std::sqrt(variance[n] + EPSILON);                              \
        }                                                                                                                         \
        const T *added = flags & 1 ? residual.data() : nullptr;                                                                   \
        on_cpu::launch({3, 1, 1}, block, 0, [&] {                                                                                 \
            batch_norm_apply_##NAME(x.data(), added, weight.data(), bias.data(), mean.data(), inverse.data(), rows, channels,     \
                                    relu, y.data());                                                                              \
        });                                                                                                                       \
        on_cpu::launch({wide, parts, 1}, block, 0, [&] {                                                                          \
            batch_norm_slopes_##NAME(x.data(), y.data(), slope.data(), mean.data(), inverse.data(), rows, channels, relu,         \
                                     partial.data());                                                                             \
        });                                                                                                                       \
        on_cpu::launch({all, 1, 1}, block, 0,                                                                                     \
                       [&] { batch_norm_sums(partial.data(), channels, parts, of_bias.data(), of_weight.data()); });              \
        on_cpu::launch({3, 1, 1}, block, 0, [&] {                                                                                 \
            batch_norm_gradient_##NAME(x.data(), y.data(), slope.data(), weight.data(), mean.data(), inverse.data(),              \
                                       of_bias.data(), of_weight.data(), rows, channels, relu, own, by_x.data(),                  \
                                       flags & 1 ? by_residual.data() : nullptr);                                                 \
        });                                                                                                                       \
        write_numbers(y);                                                                                                         \
        write_numbers(by_x);                                                                                                      \
        write_numbers(by_residual);                                                                                               \
        for (const auto &values : {of_weight, of_bias, mean, variance}) write(values);                                            \
    }                                                                                                                             \
    static void run_layer_norm(const std::vector<int> &sizes, bool gelu, T) {                                                     \
        using namespace layer_norm;                                                                                               \
        const int rows = sizes[0], width = sizes[1];                                                                              \
        const unsigned parts = sizes[3], lines = blocks(rows, WARPS);                                                             \
        const std::size_t count = std::size_t(rows) * width;                                                                      \
        const auto x = rounded<T>(read<float>(count)), slope = rounded<T>(read<float>(count));                                    \
        const auto weight = read<float>(width), bias = read<float>(width);                                                        \
        std::vector<T> y(count), by_x(count);                                                                                     \
        std::vector<float> mean(rows), inverse(rows), partial(2 * parts * width), sums(2 * width);                                \
        const Index block{THREADS, 1, 1};                                                                                         \
        if (gelu) {                                                                                                               \
            on_cpu::launch({3, 1, 1}, block, 0, [&] { gelu::gelu_##NAME(x.data(), (long long)count, y.data()); });                \
            on_cpu::launch({3, 1, 1}, block, 0,                                                                                   \
                           [&] { gelu::gelu_gradient_##NAME(x.data(), slope.data(), (long long)count, by_x.data()); });           \
            write_numbers(y);                                                                                                     \
            return write_numbers(by_x);                                                                                           \
        }                                                                                                                         \
        on_cpu::launch({lines, 1, 1}, block, 0, [&] {                                                                             \
            layer_norm_##NAME(x.data(), weight.data(), bias.data(), 1e-6f, rows, width, y.data(), mean.data(), inverse.data());   \
        });                                                                                                                       \
        on_cpu::launch({lines, 1, 1}, block, 0, [&] {                                                                             \
            layer_norm_gradient_##NAME(x.data(), slope.data(), weight.data(), mean.data(), inverse.data(), rows, width,           \
                                       by_x.data());                                                                              \
        });                                                                                                                       \
        on_cpu::launch({unsigned(blocks(width, LANES)), parts, 1}, block, 0, [&] {                                                \
            layer_norm_sums_##NAME(x.data(), slope.data(), mean.data(), inverse.data(), rows, width, partial.data());             \
        });                                                                                                                       \
        on_cpu::launch({unsigned(blocks(width, THREADS)), 2, 1}, block, 0,                                                        \
                       [&] { layer_norm_together(partial.data(), width, parts, sums.data()); });                                  \
        std::vector<float> parts_of_columns(std::size_t(parts) * width), columns(width);                                          \
        on_cpu::launch({unsigned(blocks(width, LANES)), parts, 1}, block, 0,                                                      \
                       [&] { linear::column_sums(slope.data(), rows, width, parts_of_columns.data()); });                         \
        on_cpu::launch({unsigned(blocks(width, THREADS)), 1, 1}, block, 0,                                                        \
                       [&] { linear::sums_together(parts_of_columns.data(), width, parts, columns.data()); });                    \
        write_numbers(y);                                                                                                         \
        write_numbers(by_x);                                                                                                      \
        write(sums);                                                                                                              \
        write(columns);                                                                                                           \
    }
LAYERS_OF(float, f32)
LAYERS_OF(Bf16, bf16)

static void run_attention(const std::vector<int> &sizes) {
    using namespace attention;
    const int images = sizes[0], tokens = sizes[1], width = sizes[2], heads = sizes[3], pairs = images * heads;
    const int words = width / 2, padded = blocks(tokens, GROUP) * GROUP;
    const std::size_t count = std::size_t(images) * tokens * heads * width;
    const float scale = 1.0f / std::sqrt(float(width));
    const auto joined = rounded<Bf16>(read<float>(3 * count)), slope = rounded<Bf16>(read<float>(count));
    std::vector<Bf16> out(count), by_joined(3 * count);
    std::vector<float> lse(std::size_t(pairs) * tokens), dots(lse.size());
    const auto words_of = [](const std::vector<Bf16> &numbers) { return (unsigned *)numbers.data(); };
    const Index block{THREADS, 1, 1};
    const auto forward = width == 16   ? attention_forward_16
                         : width == 32 ? attention_forward_32
                         : width == 48 ? attention_forward_48
                                       : attention_forward_64;
    const auto backward = width == 16   ? attention_backward_16
                          : width == 32 ? attention_backward_32
                          : width == 48 ? attention_backward_48
                                        : attention_backward_64;
    on_cpu::launch({unsigned(pairs), 1, 1}, block, std::size_t(2) * padded * (words + PADDING),
                   [&] { forward(words_of(joined), tokens, heads, scale, words_of(out), lse.data()); });
    on_cpu::launch({unsigned(blocks(pairs * tokens, WARPS)), 1, 1}, block, 0, [&] {
        attention_dots(words_of(out), words_of(slope), pairs * tokens, tokens, heads, words, dots.data());
    });
    on_cpu::launch({unsigned(pairs), 2, 1}, block, std::size_t(2) * padded * (words + PADDING + 1), [&] {
        backward(words_of(joined), words_of(slope), lse.data(), dots.data(), tokens, heads, scale, words_of(by_joined));
    });
    write_numbers(out);
    write_numbers(by_joined);
}

template <typename T>
static void run_max_pool(void (*forward)(const T *, pooling::Pool, T *, unsigned char *),
                         void (*backward)(const T *, const unsigned char *, pooling::Pool, T *)) {
    const auto pool = read<pooling::Pool>(1)[0];
    const std::size_t inputs = std::size_t(pool.batch) * pool.height * pool.width * pool.channels;
    const std::size_t outputs = std::size_t(pool.batch) * pool.down * pool.across * pool.channels;
    const auto images = rounded<T>(read<float>(inputs)), slope = rounded<T>(read<float>(outputs));
    std::vector<T> out(outputs), by_images(inputs);
    std::vector<unsigned char> winners(outputs);
    const Index block{pooling::THREADS, 1, 1};
    on_cpu::launch({3, 1, 1}, block, 0, [&] { forward(images.data(), pool, out.data(), winners.data()); });
    on_cpu::launch({3, 1, 1}, block, 0, [&] { backward(slope.data(), winners.data(), pool, by_images.data()); });
    write_numbers(out);
    write_numbers(by_images);
}

static void run_rows(const std::vector<int> &sizes) {
    using namespace rows;
    const int count = sizes[0], width = sizes[1], picked = sizes[2];
    const auto from = read<float>(std::size_t(count) * width), slope = read<float>(std::size_t(picked) * width);
    const auto picks = read<unsigned>(picked), starts = read<unsigned>(count + 1), members = read<unsigned>(picked);
    std::vector<float> out(slope.size()), by_rows(from.size());
    const Index block{THREADS, 1, 1};
    on_cpu::launch({3, 1, 1}, block, 0, [&] { pick_rows(from.data(), picks.data(), picked, width, out.data()); });
    on_cpu::launch({unsigned(blocks(width, LANES)), unsigned(count), 1}, block, 0,
                   [&] { pick_rows_gradient(slope.data(), starts.data(), members.data(), width, by_rows.data()); });
    write(out);
    write(by_rows);
}

// Two variables, the numbers given and the same from the middle on, so that pieces of both are not whole.
static void run_updates(int count) {
    using namespace updates;
    const auto constants = read<float>(MOST_CONSTANTS);
    const auto start = read<float>(count), first = read<float>(count), second = read<float>(count), g = read<float>(count);
    const int sizes[2] = {count, count - count / 2};
    struct Numbers {
        std::vector<float> p, first, second, g;
    };
    const auto run = [&](void (*kernel)(const Variable *, int), const std::vector<float> &values) {
        std::vector<Numbers> numbers;
        std::vector<Variable> variables;
        int pieces = 0;
        for (const int size : sizes) {
            const auto last = [&](const std::vector<float> &all) { return std::vector<float>(all.end() - size, all.end()); };
            numbers.push_back({last(start), last(first), last(second), last(g)});
        }
        for (auto &of : numbers) {
            Variable variable = {of.p.data(), of.first.data(), of.second.data(), of.g.data(), (long long)of.p.size(), pieces, {}};
            std::copy(values.begin(), values.end(), variable.constants);
            variables.push_back(variable);
            pieces += blocks(int(of.p.size()), PIECE);
        }
        const Index block{THREADS, 1, 1};
        if (kernel) {
            on_cpu::launch({unsigned(pieces), 1, 1}, block, 0, [&] { kernel(variables.data(), 2); });
        } else {
            std::vector<double> partial(3 * pieces), products(6);
            on_cpu::launch({unsigned(pieces), 1, 1}, block, 0, [&] { inner_products(variables.data(), 2, partial.data()); });
            on_cpu::launch({1, 1, 1}, block, 0,
                           [&] { inner_products_together(variables.data(), 2, pieces, partial.data(), products.data()); });
            write(std::vector<float>(products.begin(), products.end()));
        }
        return numbers;
    };
    for (const auto &of : run(update_momentum, {constants[0], 0.01f, 0.9f, 0.1f})) {
        write(of.p);
        write(of.first);
    }
    for (const auto &of : run(update_adamw, constants)) {
        write(of.p);
        write(of.first);
        write(of.second);
    }
    for (const auto &of : run(move_averages, {0.9f, 0.1f})) write(of.p);
    run(nullptr, {});
}

template <typename T>
static void run_views(void (*kernel)(const views::Byte *, const views::View *, int, int, long long, views::Byte *, int *,
                                     views::Normalisation, T *)) {
    using namespace views;
    const auto sizes = read<int>(4);
    const auto normalisation = read<Normalisation>(1);
    const auto bytes = read<long long>(2);
    const int count = sizes[0], side = sizes[1], taps = sizes[2];
    const auto drawn = read<View>(count);
    const auto images = read<Byte>(bytes[0]);
    std::vector<Byte> scratch(std::size_t(count) * bytes[1]);
    std::vector<int> windows(std::size_t(count) * 2 * side * (taps + 2));
    std::vector<T> out(std::size_t(count) * side * side * 3);
    const std::size_t shared = (3 * side * side + 96 * side + 3) / 4;
    on_cpu::launch({unsigned(count), 1, 1}, {THREADS, 1, 1}, shared, [&] {
        kernel(images.data(), drawn.data(), side, taps, bytes[1], scratch.data(), windows.data(), normalisation[0], out.data());
    });
    write_numbers(out);
}

int main(int count, char **arguments) {
    const std::string what = count > 1 ? arguments[1] : "";
    if (what == "views") run_views(views::views_f32);
    if (what == "views_bf16") run_views(views::views_bf16);
    if (what.rfind("views", 0) == 0) return std::fflush(stdout);
    if (what == "max_pool") {
        const auto sizes = read<int>(5);
        sizes[2] ? run_max_pool<Bf16>(pooling::max_pool_bf16, pooling::max_pool_gradient_bf16)
                 : run_max_pool<float>(pooling::max_pool_f32, pooling::max_pool_gradient_f32);
        return std::fflush(stdout);
    }
    if (what == "attention") {
        run_attention(read<int>(5));
        return std::fflush(stdout);
    }
    if (what == "rows") {
        run_rows(read<int>(5));
        return std::fflush(stdout);
    }
    if (what == "updates") {
        run_updates(read<int>(5)[0]);
        return std::fflush(stdout);
    }
    if (what == "batch_norm" || what == "layer_norm" || what == "gelu") {
        const auto sizes = read<int>(5);
        const bool gelu = what == "gelu";
        if (what == "batch_norm")
            sizes[2] ? run_batch_norm(sizes, Bf16()) : run_batch_norm(sizes, float());
        else
            sizes[2] ? run_layer_norm(sizes, gelu, Bf16()) : run_layer_norm(sizes, gelu, float());
        return std::fflush(stdout);
    }
    const auto sizes = read<int>(4);
    const auto constants = read<float>(2);
    const bool contrastive = what == "nt_xent";
    const auto views = read<float>(std::size_t(sizes[0]) * sizes[1] * (contrastive ? 1 : 2));
    if (contrastive) {
        if (sizes[2])
            run_nt_xent(rounded<Bf16>(views), sizes[0], sizes[1], sizes[3], constants[0], constants[1]);
        else
            run_nt_xent(views, sizes[0], sizes[1], sizes[3], constants[0], constants[1]);
    } else {
        if (sizes[2])
            run_barlow_twins(rounded<Bf16>(views), sizes[0], sizes[1], sizes[3] != 0, constants[0], constants[1]);
        else
            run_barlow_twins(views, sizes[0], sizes[1], sizes[3] != 0, constants[0], constants[1]);
    }
    return std::fflush(stdout);
}
