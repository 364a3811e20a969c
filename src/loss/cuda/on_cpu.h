// Makes the text of a CUDA kernel run on a CPU: one fibre a thread, blocks one after the other, barriers that every fibre
// of a block must reach. For tests of a kernel's logic without a GPU; says nothing of races within a warp or of speed.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __restrict__
#define __launch_bounds__(...)
// Blocks take turns, so one array serves them all.
#define __shared__ static

struct Index {
    unsigned x = 0, y = 0, z = 0;
};
static Index threadIdx, blockIdx, blockDim, gridDim;

namespace on_cpu {
constexpr std::size_t STACK = 64 * 1024;

struct Fibre {
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(STACK);
    Index index;
    bool done = false;
};

static ucontext_t scheduler;
static Fibre *running = nullptr;
static const std::function<void()> *body = nullptr;

static void enter() {
    (*body)();
    running->done = true;
    swapcontext(&running->context, &scheduler);
}

// Runs `kernel` for every thread of every block. Aborts where some threads of a block end and others wait.
static void launch(Index grid, Index block, const std::function<void()> &kernel) {
    gridDim = grid;
    blockDim = block;
    body = &kernel;
    std::vector<Fibre> fibres(std::size_t(block.x) * block.y);
    for (unsigned by = 0; by < grid.y; by++) {
        for (unsigned bx = 0; bx < grid.x; bx++) {
            blockIdx = {bx, by, 0};
            for (unsigned t = 0; t < fibres.size(); t++) {
                Fibre &fibre = fibres[t];
                fibre.index = {t % block.x, t / block.x, 0};
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
}
}  // namespace on_cpu

static void __syncthreads() { swapcontext(&on_cpu::running->context, &on_cpu::scheduler); }

static float __uint_as_float(std::uint32_t bits) {
    float value;
    __builtin_memcpy(&value, &bits, 4);
    return value;
}
