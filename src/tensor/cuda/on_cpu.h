// Makes the text of a CUDA kernel run on a CPU: one fibre a thread, blocks one after the other, barriers that every fibre
// of a block must reach. For tests of a kernel's logic without a GPU; says nothing of races within a warp or of speed.
// What a warp does together must be done by all warps of a block at the same place.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __align__(BYTES) alignas(BYTES)
#define __restrict__
#define __launch_bounds__(...)
// Blocks take turns, so one array serves them all.
#define __shared__ static
#define UNROLL
#define UNROLL_FOUR
#define DYNAMIC_SHARED(NAME) unsigned *NAME = on_cpu::dynamic_shared.data()

struct Index {
    unsigned x = 0, y = 0, z = 0;
};
static Index threadIdx, blockIdx, blockDim, gridDim;
using std::max;
using std::min;

namespace on_cpu {
constexpr std::size_t STACK = 64 * 1024;
constexpr unsigned LARGEST_BLOCK = 1024;

struct Fibre {
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(STACK);
    Index index;
    unsigned exchanges = 0;
    bool done = false;
};

static ucontext_t scheduler;
static Fibre *running = nullptr;
static const std::function<void()> *body = nullptr;
static std::vector<unsigned> dynamic_shared;

static void enter() {
    (*body)();
    running->done = true;
    swapcontext(&running->context, &scheduler);
}

// Runs `kernel` for every thread of every block. Aborts where some threads of a block end and others wait.
static void launch(Index grid, Index block, std::size_t shared_words, const std::function<void()> &kernel) {
    gridDim = grid;
    blockDim = block;
    body = &kernel;
    // What another block left is no zero on a GPU either.
    dynamic_shared.assign(shared_words, 0x7fc00000u);
    std::vector<Fibre> fibres(std::size_t(block.x) * block.y);
    for (unsigned b = 0; b < grid.x * grid.y * grid.z; b++) {
        blockIdx = {b % grid.x, b / grid.x % grid.y, b / (grid.x * grid.y)};
        for (unsigned t = 0; t < fibres.size(); t++) {
            Fibre &fibre = fibres[t];
            fibre.index = {t % block.x, t / block.x, 0};
            fibre.exchanges = 0;
            fibre.done = false;
            getcontext(&fibre.context);
            fibre.context.uc_stack.ss_sp = fibre.stack.data();
            fibre.context.uc_stack.ss_size = STACK;
            fibre.context.uc_link = &scheduler;
            makecontext(&fibre.context, enter, 0);
        }
        for (std::size_t left = fibres.size(); left > 0;) {
            std::size_t waiting = 0;
            for (Fibre &fibre : fibres) {
                if (fibre.done) continue;
                running = &fibre;
                threadIdx = fibre.index;
                swapcontext(&scheduler, &fibre.context);
                fibre.done ? left-- : waiting++;
            }
            if (waiting != left || (left != 0 && left != fibres.size())) std::abort();
        }
    }
}

// What every lane of the warp gives, in their order. Two boards take turns, so that one barrier is enough.
template <typename T>
static const T *board(const T &mine) {
    static T boards[2][LARGEST_BLOCK];
    T *board = boards[running->exchanges++ % 2];
    board[threadIdx.x] = mine;
    swapcontext(&running->context, &scheduler);
    return board + threadIdx.x / 32 * 32;
}

struct Fragments {
    unsigned a[4], b[2];
};
}  // namespace on_cpu

static void __syncthreads() { swapcontext(&on_cpu::running->context, &on_cpu::scheduler); }

static float __uint_as_float(std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
static std::uint32_t __float_as_uint(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}

// Threads of a block take turns.
static void atomicAdd(unsigned *place, unsigned value) { *place += value; }

static float exchange(float value, int mask) { return on_cpu::board(value)[(threadIdx.x % 32) ^ mask]; }

// d += a b, `each` numbers of a word at a time; `factor` reads the n-th of them. Layouts by the PTX ISA.
template <typename Factor>
static void multiply_words(float d[4], const unsigned a[4], const unsigned b[2], int each, Factor factor) {
    on_cpu::Fragments mine;
    std::copy(a, a + 4, mine.a);
    std::copy(b, b + 2, mine.b);
    const on_cpu::Fragments *lanes = on_cpu::board(mine);
    const int lane = threadIdx.x % 32;
    for (int c = 0; c < 4; c++) {
        const int row = lane / 4 + 8 * (c / 2), column = 2 * (lane % 4) + c % 2;
        double sum = d[c];
        for (int word = 0; word < 8; word++)
            for (int n = 0; n < each; n++) {
                const unsigned left = lanes[4 * (row % 8) + word % 4].a[row / 8 + 2 * (word / 4)];
                const unsigned right = lanes[4 * column + word % 4].b[word / 4];
                sum += double(factor(left, n)) * factor(right, n);
            }
        d[c] = float(sum);
    }
}
static void multiply_bf16(float d[4], const unsigned a[4], const unsigned b[2]) {
    multiply_words(d, a, b, 2, [](unsigned word, int n) { return __uint_as_float(n ? word & 0xffff0000u : word << 16); });
}
static void multiply_tf32(float d[4], const unsigned a[4], const unsigned b[2]) {
    multiply_words(d, a, b, 1, [](unsigned word, int) { return __uint_as_float(word & 0xffffe000u); });
}

static void load_transposed(unsigned b[2], const unsigned *row) {
    const unsigned *const *rows = on_cpu::board(row);
    const int lane = threadIdx.x % 32, column = lane / 4;
    for (int block = 0; block < 2; block++) {
        unsigned halves[2];
        for (int n = 0; n < 2; n++) {
            const unsigned word = rows[8 * block + 2 * (lane % 4) + n][column / 2];
            halves[n] = column % 2 ? word >> 16 : word & 0xffffu;
        }
        b[block] = halves[0] | halves[1] << 16;
    }
}
