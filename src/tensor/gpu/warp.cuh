// What a warp does together: products on tensor cores, exchanges. Where there is no GPU, whoever includes this has defined
// functions of the same names before: benchmarks/kernels/on_cpu.h. Layouts of fragments: PTX ISA, "Matrix Fragments for
// mma.m16n8k16" and "m16n8k8"; in words of 32 bits they are the same for bf16 (two numbers a word, 16 deep) and tf32 (one,
// 8 deep).
#pragma once

#ifdef __CUDACC__

#define DYNAMIC_SHARED(NAME) extern __shared__ __align__(16) unsigned NAME[]
// Where an array must stay in registers, so that every place in it is known to the compiler.
#define UNROLL _Pragma("unroll")
// Where several reads shall be under way at once.
#define UNROLL_FOUR _Pragma("unroll 4")

// d (16 x 8) += a (16 x 16) b (16 x 8), bf16 factors, f32 sums.
__device__ __forceinline__ void multiply_bf16(float d[4], const unsigned a[4], const unsigned b[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// d (16 x 8) += a (16 x 8) b (8 x 8); of factors the upper 19 bits.
__device__ __forceinline__ void multiply_tf32(float d[4], const unsigned a[4], const unsigned b[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Two blocks of 8 x 8 numbers of 16 bits, transposed: lane n < 16 names row n % 8 of block n / 8 in shared memory.
__device__ __forceinline__ void load_transposed(unsigned b[2], const unsigned *row) {
    const unsigned address = (unsigned)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];" : "=r"(b[0]), "=r"(b[1]) : "r"(address) : "memory");
}

// The value of the lane whose number differs in the bits of `mask`.
__device__ __forceinline__ float exchange(float value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }

#endif

constexpr int LANES = 32;

// Numbers of sixteen bits: the upper half of an f32, rounded to even.
struct Bf16 {
    unsigned short bits;
};

__device__ __forceinline__ float number(float value) { return value; }
__device__ __forceinline__ float number(Bf16 value) { return __uint_as_float((unsigned)value.bits << 16); }

__device__ __forceinline__ unsigned bf16_bits(float value) {
    const unsigned bits = __float_as_uint(value);
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}
__device__ __forceinline__ void store(float *place, float value) { *place = value; }
__device__ __forceinline__ void store(Bf16 *place, float value) { place->bits = (unsigned short)bf16_bits(value); }

// The sum over all lanes, the same bits in each.
__device__ __forceinline__ float sum_of_lanes(float value) {
    for (int mask = LANES / 2; mask > 0; mask /= 2) value += exchange(value, mask);
    return value;
}

// Numbers that are read and written together: `V` of them, at place n of all such.
template <typename T, int V>
struct __align__(sizeof(T) * V) Numbers {
    T n[V];
};
// How many are sixteen bytes.
template <typename T>
constexpr int WIDE = 16 / sizeof(T);

template <int V, typename T>
__device__ __forceinline__ Numbers<T, V> read_wide(const T *from, long long n) {
    return *(const Numbers<T, V> *)(from + n * V);
}
template <int V, typename T>
__device__ __forceinline__ void write_wide(T *to, long long n, const Numbers<T, V> &values) {
    *(Numbers<T, V> *)(to + n * V) = values;
}
