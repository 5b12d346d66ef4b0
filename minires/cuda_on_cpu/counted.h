// counted.h -- a float32 that counts the arithmetic done with it. It stands in for `float` in the kernels' text.
#pragma once
#include <cmath>
#include <cstdint>
#include <type_traits>

namespace cuda_on_cpu {

extern __attribute__((visibility("default"))) uint64_t operations;

struct counted {
    float v;
    counted() = default;
    template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>> constexpr counted(T x) : v(static_cast<float>(x)) {}
    template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>> constexpr explicit operator T() const { return T(v); }
    counted operator-() const { return -v; }
    counted operator+() const { return v; }
    counted& operator+=(counted b) { ++operations; v += b.v; return *this; }
    counted& operator-=(counted b) { ++operations; v -= b.v; return *this; }
    counted& operator*=(counted b) { ++operations; v *= b.v; return *this; }
    counted& operator/=(counted b) { ++operations; v /= b.v; return *this; }
    friend counted operator+(counted a, counted b) { return a += b; }
    friend counted operator-(counted a, counted b) { return a -= b; }
    friend counted operator*(counted a, counted b) { return a *= b; }
    friend counted operator/(counted a, counted b) { return a /= b; }
    friend bool operator<(counted a, counted b) { return a.v < b.v; }
    friend bool operator>(counted a, counted b) { return a.v > b.v; }
    friend bool operator<=(counted a, counted b) { return a.v <= b.v; }
    friend bool operator>=(counted a, counted b) { return a.v >= b.v; }
    friend bool operator==(counted a, counted b) { return a.v == b.v; }
    friend bool operator!=(counted a, counted b) { return a.v != b.v; }
};

}  // namespace cuda_on_cpu

#define COUNTED_FUNCTION(name, expression)                                                                             \
    inline cuda_on_cpu::counted name(cuda_on_cpu::counted x) { ++cuda_on_cpu::operations; return expression; }
COUNTED_FUNCTION(sqrtf, std::sqrt(x.v)) COUNTED_FUNCTION(sqrt, std::sqrt(x.v)) COUNTED_FUNCTION(expf, std::exp(x.v))
COUNTED_FUNCTION(exp, std::exp(x.v)) COUNTED_FUNCTION(logf, std::log(x.v)) COUNTED_FUNCTION(log, std::log(x.v))
COUNTED_FUNCTION(rsqrtf, 1.0f / std::sqrt(x.v)) COUNTED_FUNCTION(rsqrt, 1.0f / std::sqrt(x.v))
COUNTED_FUNCTION(fabsf, std::fabs(x.v)) COUNTED_FUNCTION(fabs, std::fabs(x.v))
#undef COUNTED_FUNCTION
inline cuda_on_cpu::counted fmaf(cuda_on_cpu::counted a, cuda_on_cpu::counted b, cuda_on_cpu::counted c) {
    cuda_on_cpu::operations += 2;
    return std::fma(a.v, b.v, c.v);
}
inline cuda_on_cpu::counted fmaxf(cuda_on_cpu::counted a, cuda_on_cpu::counted b) { return std::fmax(a.v, b.v); }
inline cuda_on_cpu::counted fminf(cuda_on_cpu::counted a, cuda_on_cpu::counted b) { return std::fmin(a.v, b.v); }

#define float cuda_on_cpu::counted
