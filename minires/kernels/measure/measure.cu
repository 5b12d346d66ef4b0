// What a recording keeps of arrays on a device; see measure/gpu.py.
//
//   largest          the largest |x| of each run
//   moments          mean, Σ(x − mean)² and the number of zeros of each run
//   combine_moments  the runs' numbers -> mean, standard deviation and fraction of zeros of all
//   inner            Σ a·b of each run
//   pair             Σ a·a, Σ a·b, Σ b·b, Σ t·t and Σ (t − a − b)² of each run
//
// Everything is added up in float64. Numbers of float64 itself may have squares beyond its range, so they come in units
// of their largest (`unit`, one number; for float32 there is no need, and it is null). A block takes a run of
// `length` numbers, and the runs are joined in order: no atomics, the same bits every time.
#include "common.cuh"

constexpr int BLOCK = 256, SUMS = 5;

// The unit, or 1 where it is none to divide by.
__device__ inline double unit_of(const double* unit) {
    return unit != nullptr && unit[0] > 0 && !isinf(unit[0]) ? unit[0] : 1.0;
}

struct Runs {  // of `size` numbers in all: `count` of them, of `length` each but the last
    int size, length, count;
};

template <typename T>
__global__ void __launch_bounds__(BLOCK) largest(const T* __restrict__ x, double* __restrict__ y, Runs runs) {
    const int size = runs.size, length = runs.length;
    __shared__ double scratch[BLOCK / WARP];
    const int first = blockIdx.x * length, last = min(first + length, size);
    double v = join_in_runs<Max>(0.0, first + threadIdx.x, last, BLOCK, [&](int i) { return fabs(double(x[i])); });
    v = block_reduce<Max>(v, scratch);
    if (threadIdx.x == 0) y[blockIdx.x] = v;
}

template <typename T>
__global__ void __launch_bounds__(BLOCK)
moments(const T* __restrict__ x, const double* __restrict__ unit, double* __restrict__ y, Runs runs) {
    const int size = runs.size, length = runs.length;
    __shared__ double scratch[3][BLOCK / WARP];
    const int first = blockIdx.x * length, last = min(first + length, size), start = first + threadIdx.x;
    const double u = unit_of(unit);
    const double sum = join_in_runs<Sum>(0.0, start, last, BLOCK, [&](int i) { return x[i] / u; });
    const double mean = block_reduce<Sum>(sum, scratch[0]) / (last - first);
    double square = 0, zeros = 0;
    for (int i = start; i < last; i += BLOCK) {
        square += (x[i] / u - mean) * (x[i] / u - mean);
        zeros += x[i] == 0;
    }
    square = block_reduce<Sum>(square, scratch[1]);
    zeros = block_reduce<Sum>(zeros, scratch[2]);
    if (threadIdx.x == 0) {
        y[3 * blockIdx.x] = mean;
        y[3 * blockIdx.x + 1] = square;
        y[3 * blockIdx.x + 2] = zeros;
    }
}

// Chan, Golub, LeVeque 1979: Σ(x − μ)² = Σ_runs [Σ(x − mean_run)² + n_run·(mean_run − μ)²]. One warp.
template <typename T>
__global__ void combine_moments(const T* __restrict__ parts, const T* __restrict__ unit, T* __restrict__ y,
                                Runs how) {
    const int size = how.size, length = how.length, runs = how.count;
    T sum = 0, square = 0, zeros = 0;
    for (int r = threadIdx.x; r < runs; r += WARP) {
        sum += parts[3 * r] * min(length, size - r * length);
        zeros += parts[3 * r + 2];
    }
    const T mean = warp_reduce<Sum>(sum) / size;
    for (int r = threadIdx.x; r < runs; r += WARP) {
        const T off = parts[3 * r] - mean;
        square += parts[3 * r + 1] + off * off * min(length, size - r * length);
    }
    square = warp_reduce<Sum>(square);
    zeros = warp_reduce<Sum>(zeros);
    if (threadIdx.x == 0) {
        const T u = unit_of(unit);
        y[0] = mean * u;
        y[1] = sqrt(square / size) * u;
        y[2] = zeros / size;
    }
}

template <typename T>
__global__ void __launch_bounds__(BLOCK)
inner(const T* __restrict__ a, const T* __restrict__ b, const double* __restrict__ unit, double* __restrict__ y,
      Runs runs) {
    const int size = runs.size, length = runs.length;
    __shared__ double scratch[BLOCK / WARP];
    const int first = blockIdx.x * length, last = min(first + length, size);
    const double u = unit_of(unit);
    double v = join_in_runs<Sum>(0.0, first + threadIdx.x, last, BLOCK, [&](int i) { return a[i] / u * (b[i] / u); });
    v = block_reduce<Sum>(v, scratch);
    if (threadIdx.x == 0) y[blockIdx.x] = v;
}

template <typename T>
__global__ void __launch_bounds__(BLOCK)
pair(const T* __restrict__ a, const T* __restrict__ b, const T* __restrict__ t, const double* __restrict__ unit,
     double* __restrict__ y, Runs runs) {
    const int size = runs.size, length = runs.length;
    __shared__ double scratch[SUMS][BLOCK / WARP];
    const int first = blockIdx.x * length, last = min(first + length, size);
    const double u = unit_of(unit);
    double sums[SUMS] = {};
    for (int i = first + threadIdx.x; i < last; i += BLOCK) {
        const double p = a[i] / u, q = b[i] / u, whole = t[i] / u, rest = whole - p - q;
        sums[0] += p * p;
        sums[1] += p * q;
        sums[2] += q * q;
        sums[3] += whole * whole;
        sums[4] += rest * rest;
    }
    for (int k = 0; k < SUMS; ++k) {
        const double v = block_reduce<Sum>(sums[k], scratch[k]);
        if (threadIdx.x == 0) y[SUMS * blockIdx.x + k] = v;
    }
}
