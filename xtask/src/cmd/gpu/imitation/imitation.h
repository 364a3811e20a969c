// What the parts of the imitated driver and libraries know of one another.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace imitation {

#define EXPORTED __attribute__((visibility("default")))

struct Size {
    unsigned x, y, z;
};

// A kernel's text, compiled for the CPU.
struct Kernel {
    // Bytes of each parameter.
    std::vector<std::size_t> parameters;
    // Runs all threads; the parameters' values lie one after the other, each at a multiple of PLACE bytes.
    std::function<void(Size grid, Size block, std::size_t shared_bytes, const char *values)> run;
};
using Kernels = std::map<std::string, Kernel>;
constexpr std::size_t PLACE = 256;

// Makes a file's kernels known, under the file's name.
EXPORTED void add(const char *file, Kernels kernels);

// Does `work` when the stream comes to it: as late as a GPU may, when somebody waits for it.
EXPORTED void enqueue(CUstream stream, const char *name, std::function<void()> work);

// Tells what was expected and found, and ends the program: a GPU might go on, with wrong numbers.
template <typename... Values>
[[noreturn]] void fail(const char *format, Values... values) {
    std::fprintf(stderr, "imitated GPU: ");
    std::fprintf(stderr, format, values...);
    std::fprintf(stderr, "\n");
    std::abort();
}

}  // namespace imitation
