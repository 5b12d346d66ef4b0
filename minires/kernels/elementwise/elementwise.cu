// Elementwise kernels. Definitions: elementwise/definition.py.
//
//   relu            y = max(x, 0)
//   relu_backward   dx = 0 where y <= 0, else g
//   add             z = x + y: the + of a skip connection
//
// There is next to no arithmetic, so reading and writing memory takes all the time. A thread takes ITEMS entries, each
// a block's width after the last: a warp's accesses stay contiguous, and each thread has several under way at once.
#include "common.cuh"

constexpr int ITEMS = 4;

// Call f(i) for the entries of this thread.
template <class F>
__device__ inline void for_entries(int size, F f) {
    const int first = blockIdx.x * blockDim.x * ITEMS + threadIdx.x;
#pragma unroll
    for (int item = 0; item < ITEMS; ++item) {
        const int i = first + item * blockDim.x;
        if (i < size) f(i);
    }
}

template <typename T>
__global__ void relu(const T* __restrict__ x, T* __restrict__ y, int size) {
    for_entries(size, [&](int i) { y[i] = x[i] <= 0 ? T(0) : x[i]; });  // NaN stays NaN
}

template <typename T>
__global__ void relu_backward(const T* __restrict__ g, const T* __restrict__ y, T* __restrict__ dx, int size) {
    for_entries(size, [&](int i) { dx[i] = y[i] <= 0 ? T(0) : g[i]; });
}

template <typename T>
__global__ void add(const T* __restrict__ x, const T* __restrict__ y, T* __restrict__ z, int size) {
    for_entries(size, [&](int i) { z[i] = x[i] + y[i]; });
}
