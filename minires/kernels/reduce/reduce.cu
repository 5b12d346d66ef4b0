// Reductions. Definitions: reduce/definition.py.
//
//   reduce_rows      y[row, run] = the entries of a run of each row joined: one block a run
//   reduce_columns   y[i] = x[l, i] joined over l: one thread a result
//   first_in_rows    y[row] = the first place in each row that holds the row's given value: one block a row
//
// Entries are joined by `How`: Sum, Max or Min of common.cuh. A long row is reduced in two launches: runs first, then the
// runs' results, always in the same order. An argmax is a maximum and then the first place that holds it.
#include "common.cuh"

constexpr int BLOCK = 256;

template <typename T, class How>
__global__ void __launch_bounds__(BLOCK) reduce_rows(const T* __restrict__ x, T* __restrict__ y, int M, int length) {
    __shared__ T scratch[BLOCK / WARP];
    const int first = blockIdx.y * length, last = min(first + length, M);
    const T* row = x + blockIdx.x * M;
    T v = How::start(row[first]);
    for (int i = first + threadIdx.x; i < last; i += BLOCK) v = How::join(v, row[i]);
    v = block_reduce<How>(v, scratch);
    if (threadIdx.x == 0) y[blockIdx.x * gridDim.y + blockIdx.y] = v;
}

template <typename T, class How>
__global__ void reduce_columns(const T* __restrict__ x, T* __restrict__ y, int size, int length) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= size) return;
    T v = How::start(x[i]);
    for (int l = 0; l < length; ++l) v = How::join(v, x[l * size + i]);
    y[i] = v;
}

template <typename T>
__global__ void __launch_bounds__(BLOCK)
first_in_rows(const T* __restrict__ x, const T* __restrict__ values, long long* __restrict__ y, int M) {
    __shared__ int scratch[BLOCK / WARP];
    const T* row = x + blockIdx.x * M;
    const T value = values[blockIdx.x];
    int found = M;
    for (int i = threadIdx.x; i < M && found == M; i += BLOCK)
        if (row[i] == value || (row[i] != row[i] && value != value)) found = i;
    found = block_reduce<Min>(found, scratch);
    if (threadIdx.x == 0) y[blockIdx.x] = found;
}
