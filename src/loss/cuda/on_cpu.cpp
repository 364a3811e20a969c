// Runs the kernels on the CPU for a test: NT-Xent of rows from standard input, its value and gradient to standard output.
//
// In: i32 rows, width, bf16 (0 or 1); f32 temperature, upstream; f32 z[rows * width]. Out: f32 loss, gradient[rows * width].
#include "nt_xent.cu"

#include <cstdio>
#include <cstring>

template <typename T>
static std::vector<T> read(std::size_t count) {
    std::vector<T> values(count);
    if (std::fread(values.data(), sizeof(T), count, stdin) != count) std::exit(2);
    return values;
}

int main() {
    const auto sizes = read<int>(3);
    const int rows = sizes[0], width = sizes[1];
    const auto constants = read<float>(2);
    const float inverse = 1.0f / constants[0], upstream = constants[1];
    const auto z = read<float>(std::size_t(rows) * width);
    std::vector<Bf16> halves(z.size());
    for (std::size_t n = 0; n < z.size(); n++) {
        std::uint32_t bits;
        std::memcpy(&bits, &z[n], 4);
        halves[n].bits = bits >> 16;  // the test sends numbers that are bf16 already
    }
    std::vector<float> lse(rows), positive(rows), gradient(z.size());
    float loss = 0.0f;
    const unsigned tiles = (rows + TILE - 1) / TILE, bands = (width + WIDTH - 1) / WIDTH;
    const Index block{SIDE, SIDE, 1};
    on_cpu::launch({tiles, 1, 1}, block, [&] {
        if (sizes[2])
            nt_xent_forward_bf16(halves.data(), rows, width, inverse, lse.data(), positive.data());
        else
            nt_xent_forward_f32(z.data(), rows, width, inverse, lse.data(), positive.data());
    });
    on_cpu::launch({1, 1, 1}, {SIDE * SIDE, 1, 1}, [&] { nt_xent_mean(lse.data(), positive.data(), rows, &loss); });
    on_cpu::launch({tiles, bands, 1}, block, [&] {
        if (sizes[2])
            nt_xent_backward_bf16(halves.data(), lse.data(), rows, width, inverse, upstream, gradient.data());
        else
            nt_xent_backward_f32(z.data(), lse.data(), rows, width, inverse, upstream, gradient.data());
    });
    std::fwrite(&loss, sizeof(float), 1, stdout);
    std::fwrite(gradient.data(), sizeof(float), gradient.size(), stdout);
    return std::fflush(stdout);
}
