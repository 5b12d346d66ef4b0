// cuda.h -- the words of CUDA C, for g++. Every word here means what it means on a GPU. What is missing was left out on
// purpose or has not been needed yet; the compiler will say so.
#pragma once
#include <assert.h>
#include <float.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <cmath>
#include "block.h"
#ifdef CUDA_ON_CPU_COUNT
#include "counted.h"
#endif

#define CUDA_ON_CPU 1

// -- where things live -------------------------------------------------------------------------------------------------
#define __global__ __attribute__((noinline))
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define alignas(n) __attribute__((aligned(n)))     // g++ takes the keyword in fewer places
#define __shared__ static __thread   // begins undefined; block.cpp fills it with NaN.
                                     // module.py turns  extern __shared__ T s[];  into a pointer to dynamic memory.

// -- vector types ------------------------------------------------------------------------------------------------------
#define VECTOR_TYPES(T, name, align2, align4)                                                                          \
    struct alignas(align2) name##2 { T x, y; };                                                                        \
    struct name##3 { T x, y, z; };                                                                                     \
    struct alignas(align4) name##4 { T x, y, z, w; };                                                                  \
    inline name##2 make_##name##2(T x, T y) { return {x, y}; }                                                         \
    inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }                                                 \
    inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
VECTOR_TYPES(float, float, 8, 16)
VECTOR_TYPES(double, double, 16, 16)
VECTOR_TYPES(int, int, 8, 16)
VECTOR_TYPES(unsigned, uint, 8, 16)
VECTOR_TYPES(signed char, char, 2, 4)
VECTOR_TYPES(unsigned char, uchar, 2, 4)
#undef VECTOR_TYPES

// -- who am I ----------------------------------------------------------------------------------------------------------
#define threadIdx (cuda_on_cpu::self->index)
#define blockIdx (cuda_on_cpu::block_index)
#define blockDim (cuda_on_cpu::block_size)
#define gridDim (cuda_on_cpu::grid_size)
constexpr int warpSize = 32;

// -- waiting for others ------------------------------------------------------------------------------------------------
// Each call knows its own line in the source, so that a report of diverging threads can name it.
#define SITE cuda_on_cpu::Site site = {__builtin_FILE(), __builtin_LINE()}

inline void __syncthreads(SITE) { cuda_on_cpu::wait(cuda_on_cpu::AT_BLOCK_BARRIER, site); }
inline void __syncwarp(unsigned mask = ~0u, SITE) { cuda_on_cpu::meet_warp(mask, site); }

template <class T> T __shfl_sync(unsigned mask, T value, int source, int width = 32, SITE) {
    cuda_on_cpu::offer(value, mask, site);
    return cuda_on_cpu::held<T>((cuda_on_cpu::self->lane & ~(width - 1)) | (source & (width - 1)), site);
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int distance, int width = 32, SITE) {
    cuda_on_cpu::offer(value, mask, site);
    int lane = cuda_on_cpu::self->lane, source = lane ^ distance;
    return cuda_on_cpu::held<T>(source / width <= lane / width ? source : lane, site);
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32, SITE) {
    cuda_on_cpu::offer(value, mask, site);
    int lane = cuda_on_cpu::self->lane, source = lane + int(distance);
    return cuda_on_cpu::held<T>(source / width == lane / width ? source : lane, site);
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32, SITE) {
    cuda_on_cpu::offer(value, mask, site);
    int lane = cuda_on_cpu::self->lane, source = lane - int(distance);
    return cuda_on_cpu::held<T>(source >= (lane & ~(width - 1)) ? source : lane, site);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, SITE) {
    cuda_on_cpu::offer(predicate, mask, site);
    unsigned votes = 0, partners = cuda_on_cpu::self->partners;
    for (int lane = 0; lane < 32; ++lane)
        if (partners >> lane & 1 && cuda_on_cpu::held<int>(lane, site)) votes |= 1u << lane;
    return votes;
}
inline int __any_sync(unsigned mask, int predicate, SITE) { return __ballot_sync(mask, predicate, site) != 0; }
inline int __all_sync(unsigned mask, int predicate, SITE) { return __ballot_sync(mask, !predicate, site) == 0; }

// Float atomics add in an order that differs from run to run; our kernels add parts in a second kernel, so that results
// repeat bit for bit. And the runner, whose blocks take turns, could not see a race that an atomic is there to prevent.
#define NO_ATOMIC(name)                                                                                                \
    template <class T, class... A> T name(T*, A...) {                                                                  \
        static_assert(sizeof...(A) > 99, #name ": atomics are left out on purpose; "                                   \
                      "write the parts to a workspace and add them in a second kernel");                               \
        return T();                                                                                                    \
    }
NO_ATOMIC(atomicAdd) NO_ATOMIC(atomicSub) NO_ATOMIC(atomicExch) NO_ATOMIC(atomicMin) NO_ATOMIC(atomicMax)
NO_ATOMIC(atomicCAS) NO_ATOMIC(atomicInc) NO_ATOMIC(atomicDec) NO_ATOMIC(atomicAnd) NO_ATOMIC(atomicOr)
#undef NO_ATOMIC

// -- arithmetic --------------------------------------------------------------------------------------------------------
using std::max; using std::min; using std::isnan; using std::isinf; using std::isfinite; using std::signbit;
inline double max(double a, float b) { return max(a, double(b)); }
inline double max(float a, double b) { return max(double(a), b); }
inline double min(double a, float b) { return min(a, double(b)); }
inline double min(float a, double b) { return min(double(a), b); }
inline unsigned max(unsigned a, int b) { return max(a, unsigned(b)); }
inline unsigned max(int a, unsigned b) { return max(unsigned(a), b); }
inline unsigned min(unsigned a, int b) { return min(a, unsigned(b)); }
inline unsigned min(int a, unsigned b) { return min(unsigned(a), b); }

template <class T> T __ldg(const T* p) { return *p; }      // caching hints change only the speed
template <class T> T __ldcg(const T* p) { return *p; }
template <class T> T __ldcs(const T* p) { return *p; }
template <class T> void __stcs(T* p, T v) { *p = v; }

#ifndef CUDA_ON_CPU_COUNT
using std::abs; using std::exp; using std::fabs; using std::floor; using std::fma; using std::log; using std::pow;
using std::sqrt; using std::tanh;
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float rsqrt(float x) { return 1.0f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __saturatef(float a) { return a < 0 ? 0.0f : a > 1 ? 1.0f : a == a ? a : 0.0f; }
#endif

template <class To, class From> To bits_as(From from) {
    static_assert(sizeof(To) == sizeof(From), "");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
inline unsigned __float_as_uint(float x) { return bits_as<unsigned>(x); }
inline int __float_as_int(float x) { return bits_as<int>(x); }
inline float __uint_as_float(unsigned x) { return bits_as<float>(x); }
inline float __int_as_float(int x) { return bits_as<float>(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __brev(unsigned x) { unsigned r = 0; for (int i = 0; i < 32; ++i) r |= (x >> i & 1) << (31 - i); return r; }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t(a) * b >> 32); }

// -- copies to shared memory ---------------------------------------------------------------------------------------------
// PTX: cp.async.ca.shared.global with zero fill, cp.async.commit_group, cp.async.wait_group.
template <int BYTES, class T> void copy_async(T* to, const T* from, bool inside, SITE) {
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async copies 4, 8 or 16 bytes");
    cuda_on_cpu::begin_copy(to, from, BYTES, inside, site);
}
inline void commit_copies() { cuda_on_cpu::commit_copies(); }
template <int NEWEST> void wait_for_copies() { cuda_on_cpu::wait_for_copies(NEWEST); }

// -- tensor cores ------------------------------------------------------------------------------------------------------
// TF32 keeps 10 bits of the mantissa. `to_tf32` rounds to nearest (PTX: cvt.rna.tf32.f32).
inline float to_tf32(float x) { return bits_as<float>((bits_as<unsigned>(x) + 0x1000u) & 0xffffe000u); }

// D += A·B of a warp, A 16×8 and B 8×8 in TF32, D in float32 (PTX: mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32).
// As on the GPU, the low 13 bits of an operand that was not rounded are ignored. Entry (row, k) of A is in lane
// row%8·4 + k%4, (k, column) of B in lane column·4 + k%4, (row, column) of D in lane row%8·4 + column/2.
inline void mma_m16n8k8(float d[4], const float a[4], const float b[2], SITE) {
    struct { unsigned a[4], b[2]; } mine;
    for (int i = 0; i < 4; ++i) mine.a[i] = __float_as_uint(a[i]) & 0xffffe000u;
    for (int i = 0; i < 2; ++i) mine.b[i] = __float_as_uint(b[i]) & 0xffffe000u;
    cuda_on_cpu::offer(mine, ~0u, site);
    const int group = cuda_on_cpu::self->lane / 4, quad = cuda_on_cpu::self->lane % 4;
    for (int k = 0; k < 8; ++k) {
        auto left = cuda_on_cpu::held<decltype(mine)>(group * 4 + k % 4, site);
        for (int j = 0; j < 2; ++j) {
            auto right = cuda_on_cpu::held<decltype(mine)>((quad * 2 + j) * 4 + k % 4, site);
            for (int half = 0; half < 2; ++half)
                d[half * 2 + j] += __uint_as_float(left.a[half + k / 4 * 2]) * __uint_as_float(right.b[k / 4]);
        }
    }
}
#undef SITE
