// What every kernel file shares. An image batch has the shape (N, C, H, W) and lies in memory as (C, H, W, N), the batch
// innermost, as in `kernels/cpu/layout.py`: neighbouring threads take neighbouring images, so that every load of a warp
// is one run of memory, and whether a pixel lies inside the image is one question for all of them.
#pragma once

constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

// Σ v over the 32 lanes of a warp; every lane gets it. The lanes exchange at distance 16, 8, 4, 2, 1.
template <typename T>
__device__ inline T warp_sum(T v) {
    for (int distance = WARP / 2; distance > 0; distance /= 2) v += __shfl_xor_sync(ALL_LANES, v, distance);
    return v;
}

template <typename T>
__device__ inline T warp_max(T v) {
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        const T other = __shfl_xor_sync(ALL_LANES, v, distance);
        v = other > v || other != other ? other : v;
    }
    return v;
}

// Σ v over a block of whole warps; every thread gets it. `scratch` is shared memory of one T per warp, used by this call
// alone: it is read last after the only barrier, so a second sum in the same scratch would need another.
template <typename T>
__device__ inline T block_sum(T v, T* scratch) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    v = warp_sum(v);
    if (lane == 0) scratch[warp] = v;
    __syncthreads();
    return warp_sum(lane < warps ? scratch[lane] : T(0));
}
