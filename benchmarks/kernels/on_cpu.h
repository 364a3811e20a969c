// Makes the text of a CUDA kernel run on a CPU: one fibre a thread, blocks one after the other, a warp's exchanges and a block's
// barriers that every fibre of it must reach. Threads and blocks go forwards or, with ON_CPU_BACKWARDS in the environment,
// backwards, and a warp as far as it can before the next one: where a barrier is missing, something is read too early or too late.
// Says nothing of speed.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>
#ifndef __x86_64__
#include <ucontext.h>
#endif

#undef __global__
#undef __device__
#undef __forceinline__
#undef __align__
#undef __restrict__
#undef __launch_bounds__
#undef __shared__
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
constexpr unsigned LARGEST_BLOCK = 1024, WARP = 32;

// A place in the program with a stack of its own: swap(mine, other) keeps this place in `mine` and goes on at `other`.
#ifdef __x86_64__
using Place = void *;
// What a call must not change goes onto the stack; nothing else is kept, and no system call made, as there are millions of swaps.
__attribute__((naked, noinline, unused)) static void swap_stacks(Place *, Place) {
    asm("push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
        "mov %rsp, (%rdi)\n mov %rsi, %rsp\n"
        "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n ret");
}
static void swap(Place &mine, Place &other) {
    // Others write to memory meanwhile, which no compiler sees.
    asm volatile("" ::: "memory");
    swap_stacks(&mine, other);
    asm volatile("" ::: "memory");
}
static void begin(Place &place, std::vector<char> &stack, void (*entry)()) {
    auto top = (std::uintptr_t(stack.data() + stack.size()) & ~std::uintptr_t(15)) - 8;
    auto *words = (std::uintptr_t *)top;
    *--words = std::uintptr_t(entry);
    for (int kept = 0; kept < 6; kept++) *--words = 0;
    place = words;
}
#else
using Place = ucontext_t;
static void swap(Place &mine, Place &other) { swapcontext(&mine, &other); }
static void begin(Place &place, std::vector<char> &stack, void (*entry)()) {
    getcontext(&place);
    place.uc_stack.ss_sp = stack.data();
    place.uc_stack.ss_size = stack.size();
    place.uc_link = nullptr;
    makecontext(&place, entry, 0);
}
#endif

enum class State { Done, AtWarp, AtBlock };

struct Fibre {
    Place place;
    std::vector<char> stack = std::vector<char>(STACK);
    Index index;
    unsigned number = 0, exchanges = 0;
    State state = State::Done;
    bool waited = false;
};

static Place scheduler;
static Fibre *running = nullptr;
// What a thread does, and how many of the block's threads have begun.
static void (*body)(const void *) = nullptr;
static const void *kernel = nullptr;
static unsigned begun = 0, threads = 0;
static const bool backwards = std::getenv("ON_CPU_BACKWARDS") != nullptr;
static std::vector<unsigned> dynamic_shared;

// A fibre serves one thread after the other for as long as none waits.
static void enter() {
    for (;;) {
        for (running->waited = false; begun < threads && !running->waited;) {
            const unsigned t = backwards ? threads - 1 - begun : begun;
            begun++;
            running->number = t;
            running->exchanges = 0;
            running->index = threadIdx = {t % blockDim.x, t / blockDim.x % blockDim.y, t / (blockDim.x * blockDim.y)};
            body(kernel);
        }
        running->state = State::Done;
        swap(running->place, scheduler);
    }
}

static void go_on(Fibre &fibre) {
    running = &fibre;
    threadIdx = fibre.index;
    swap(scheduler, fibre.place);
}

static void wait(State state) {
    running->state = state;
    running->waited = true;
    swap(running->place, scheduler);
}

// The threads of one block, to their ends. Aborts where some wait for others that cannot come.
static void run_block() {
    static std::vector<std::unique_ptr<Fibre>> spare;
    std::vector<std::unique_ptr<Fibre>> waiting;
    for (begun = 0; begun < threads;) {
        if (spare.empty()) {
            spare.push_back(std::make_unique<Fibre>());
            begin(spare.back()->place, spare.back()->stack, enter);
        }
        auto fibre = std::move(spare.back());
        spare.pop_back();
        go_on(*fibre);
        (fibre->state == State::Done ? spare : waiting).push_back(std::move(fibre));
    }
    while (!waiting.empty()) {
        const auto at_block = [](auto &fibre) { return fibre->state == State::AtBlock; };
        const bool barrier = waiting.size() == threads && std::all_of(waiting.begin(), waiting.end(), at_block);
        bool moved = barrier;
        for (std::size_t first = 0, end; first < waiting.size(); first = end) {
            const unsigned warp = waiting[first]->number / WARP, lanes = std::min(WARP, threads - warp * WARP);
            for (end = first; end < waiting.size() && waiting[end]->number / WARP == warp;) end++;
            const auto all_on = [&] { for (std::size_t n = first; n < end; n++) go_on(*waiting[n]); };
            const auto together = [&] {
                const auto at_warp = [](auto &fibre) { return fibre->state == State::AtWarp; };
                return end - first == lanes && std::all_of(&waiting[first], &waiting[first] + lanes, at_warp);
            };
            if (barrier) all_on();
            // As far as it comes before others do anything: they may still read what it overwrites.
            for (; together(); moved = true) all_on();
        }
        if (!moved) {
            std::fprintf(stderr, "a block's threads wait for one another: %zu of %u left\n", waiting.size(), threads);
            std::abort();
        }
        const auto left = [](auto &fibre) { return fibre->state != State::Done; };
        const auto ended = std::stable_partition(waiting.begin(), waiting.end(), left);
        std::move(ended, waiting.end(), std::back_inserter(spare));
        waiting.erase(ended, waiting.end());
    }
}

// Runs `run` for every thread of every block.
template <typename Run>
static void launch(Index grid, Index block, std::size_t shared_words, const Run &run) {
    gridDim = grid;
    blockDim = block;
    threads = block.x * block.y * block.z;
    kernel = &run;
    body = [](const void *run) { (*(const Run *)run)(); };
    // What another block left is no zero on a GPU either.
    dynamic_shared.assign(shared_words, 0x7fc00000u);
    const unsigned blocks = grid.x * grid.y * grid.z;
    for (unsigned n = 0; n < blocks; n++) {
        const unsigned b = backwards ? blocks - 1 - n : n;
        blockIdx = {b % grid.x, b / grid.x % grid.y, b / (grid.x * grid.y)};
        run_block();
    }
}

// What every lane of the warp gives, in their order. Two boards take turns, so that one exchange does not wait for the next.
template <typename T>
static const T *board(const T &mine) {
    static T boards[2][LARGEST_BLOCK];
    T *board = boards[running->exchanges++ % 2];
    board[running->number] = mine;
    wait(State::AtWarp);
    return board + running->number / WARP * WARP;
}
static unsigned lane() { return running->number % WARP; }

struct Fragments {
    unsigned a[4], b[2];
};
}  // namespace on_cpu

static void __syncthreads() { on_cpu::wait(on_cpu::State::AtBlock); }

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

static float exchange(float value, int mask) { return on_cpu::board(value)[on_cpu::lane() ^ mask]; }

// d += a b, `each` numbers of a word at a time; `factor` reads the n-th of them. Layouts by the PTX ISA.
template <typename Factor>
static void multiply_words(float d[4], const unsigned a[4], const unsigned b[2], int each, Factor factor) {
    on_cpu::Fragments mine;
    std::copy(a, a + 4, mine.a);
    std::copy(b, b + 2, mine.b);
    const on_cpu::Fragments *lanes = on_cpu::board(mine);
    const int lane = on_cpu::lane();
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
    const int lane = on_cpu::lane(), column = lane / 4;
    for (int block = 0; block < 2; block++) {
        unsigned halves[2];
        for (int n = 0; n < 2; n++) {
            const unsigned word = rows[8 * block + 2 * (lane % 4) + n][column / 2];
            halves[n] = column % 2 ? word >> 16 : word & 0xffffu;
        }
        b[block] = halves[0] | halves[1] << 16;
    }
}
