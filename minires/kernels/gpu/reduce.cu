// Sums. Twin: NumPy's x.sum(axis).
//
//   sum_rows      y[run] = Σ of a run of `length` entries of each row: one block a run
//   sum_columns   y[o, i] = Σ_l x[o, l, i]: one thread a result
//
// A long row is summed in two launches: runs first, then the runs' sums, always in the same order.
#include "common.cuh"

constexpr int BLOCK = 256;

template <typename T>
__global__ void __launch_bounds__(BLOCK) sum_rows(const T* __restrict__ x, T* __restrict__ y, int M, int length) {
    __shared__ T scratch[BLOCK / WARP];
    const int first = blockIdx.x * length, last = min(first + length, M);
    const T* row = x + blockIdx.y * M;
    T sum = 0;
    for (int i = first + threadIdx.x; i < last; i += BLOCK) sum += row[i];
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) y[blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

template <typename T>
__global__ void sum_columns(const T* __restrict__ x, T* __restrict__ y, int size, int length, int inner) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= size) return;
    const T* column = x + i / inner * length * inner + i % inner;
    T sum = 0;
    for (int l = 0; l < length; ++l) sum += column[l * inner];
    y[i] = sum;
}
