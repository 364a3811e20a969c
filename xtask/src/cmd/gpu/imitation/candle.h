// Comes before the text of Candle's kernels: what it finds on a GPU beyond on_cpu.h.
#pragma once

// Of CUDA's own headers, before their words mean something else here.
#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda/std/limits>

#include "kernels.h"

#define __CUDA_ARCH__ 800

template <typename T>
static T __shfl_xor_sync(unsigned, T value, int mask, int = 32) {
    return on_cpu::board(value)[on_cpu::lane() ^ mask];
}
// Threads take turns.
template <typename T>
static T atomicAdd(T *place, T value) {
    const T before = *place;
    *place = before + value;
    return before;
}
// Named by what nothing here calls.
template <typename T, typename V>
T atomicMin(T *place, V value);
template <typename T, typename V>
T atomicMax(T *place, V value);
template <typename T>
T atomicCAS(T *place, T expected, T value);
int __float_as_int(float);
float __int_as_float(int);
long long __double_as_longlong(double);
double __longlong_as_double(long long);
using std::isinf;
using std::isnan;
using std::signbit;
[[maybe_unused]] static float rsqrtf(float x) { return 1 / std::sqrt(x); }
[[maybe_unused]] static float normcdff(float x) { return std::erfc(-x / std::sqrt(2.0f)) / 2; }
[[maybe_unused]] static double normcdf(double x) { return std::erfc(-x / std::sqrt(2.0)) / 2; }
// Of sixteen bits by way of f32.
#define HALVED(NAME, OF)                                                            \
    [[maybe_unused]] static __half NAME(__half x) { return __half(OF(float(x))); } \
    [[maybe_unused]] static __nv_bfloat16 NAME(__nv_bfloat16 x) { return __nv_bfloat16(OF(float(x))); }
HALVED(hceil, std::ceil)
HALVED(hcos, std::cos)
HALVED(hexp, std::exp)
HALVED(hfloor, std::floor)
HALVED(hlog, std::log)
HALVED(hrcp, 1.0f /)
HALVED(hsin, std::sin)
HALVED(hsqrt, std::sqrt)
