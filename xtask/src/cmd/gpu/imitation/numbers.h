// Numbers of the types that libraries multiply, at an address.
#pragma once

#include <cstdint>
#include <cstring>
#include <library_types.h>

namespace {

float read(const void *numbers, cudaDataType_t type, long long n) {
    if (type == CUDA_R_32F) return ((const float *)numbers)[n];
    if (type != CUDA_R_16BF) imitation::fail("numbers of type %d", int(type));
    const std::uint32_t bits = std::uint32_t(((const std::uint16_t *)numbers)[n]) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

// Rounded to even.
void write(void *numbers, cudaDataType_t type, long long n, float value) {
    if (type == CUDA_R_32F) {
        ((float *)numbers)[n] = value;
        return;
    }
    if (type != CUDA_R_16BF) imitation::fail("numbers of type %d", int(type));
    std::uint32_t bits;
    std::memcpy(&bits, &value, 4);
    ((std::uint16_t *)numbers)[n] = std::uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace
