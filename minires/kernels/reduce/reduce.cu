// Reductions. Definitions: reduce/definition.py.
//
//   reduce_rows      y[row, run] = the entries of one run of a row, joined: one block per run
//   reduce_columns   y[run, i] = x[l, i] joined over one run of l: one thread per result
//   first_in_rows    y[row] = the first index in the row that holds the value given for it: one block per row
//
// `How` joins the entries: Sum, Max or Min of common.cuh. What is long is reduced in two launches or more: first its
// runs, then the runs' results, always in the same order. An argmax is a maximum, and then the first index that holds it.
#include "common.cuh"

constexpr int BLOCK = 256;

struct Rows {  // of M entries, cut into runs of `length`
    int M, length;
};

template <typename T, class How>
__global__ void __launch_bounds__(BLOCK) reduce_rows(const T* __restrict__ x, T* __restrict__ y, Rows rows) {
    __shared__ T scratch[BLOCK / WARP];
    const int M = rows.M, length = rows.length;
    const int first = blockIdx.y * length, last = min(first + length, M);
    const T* row = x + blockIdx.x * M;
    T v = join_in_runs<How>(row[first], first + threadIdx.x, last, BLOCK, [&](int i) { return row[i]; });
    v = block_reduce<How>(v, scratch);
    if (threadIdx.x == 0) y[blockIdx.x * gridDim.y + blockIdx.y] = v;
}

struct Columns {  // `size` of them, of L entries each, cut into runs of `length`
    int size, L, length;
};

template <typename T, class How>
__global__ void reduce_columns(const T* __restrict__ x, T* __restrict__ y, Columns columns) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    const int size = columns.size, L = columns.L, length = columns.length;
    if (i >= size) return;
    const int first = blockIdx.y * length, last = min(first + length, L);
    const T* column = x + i;
    y[blockIdx.y * size + i] =
        join_in_runs<How>(column[first * size], first, last, 1, [&](int l) { return column[l * size]; });
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
