// What every kernel file shares. An image batch has the shape (N, C, H, W) and lies in memory as (C, H, W, N), the batch
// innermost, as in `kernels/cpu/layout.py`: neighbouring threads take neighbouring images, so that every load of a warp
// is one run of memory, and whether a pixel lies inside the image is one question for all of them.
#pragma once

constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

// What a reduction joins its values by, and what it starts from, given any one of them.
struct Sum {
    template <typename T>
    __device__ static T start(T) { return T(0); }
    template <typename T>
    __device__ static T join(T a, T b) { return a + b; }
};

struct Max {  // NaN is larger than any number
    template <typename T>
    __device__ static T start(T any) { return any; }
    template <typename T>
    __device__ static T join(T a, T b) { return b > a || b != b ? b : a; }
};

struct Min {  // and smaller
    template <typename T>
    __device__ static T start(T any) { return any; }
    template <typename T>
    __device__ static T join(T a, T b) { return b < a || b != b ? b : a; }
};

// The values of the 32 lanes of a warp joined; every lane gets it. The lanes exchange at distance 16, 8, 4, 2, 1.
template <class How, typename T>
__device__ inline T warp_reduce(T v) {
    for (int distance = WARP / 2; distance > 0; distance /= 2)
        v = How::join(v, __shfl_xor_sync(ALL_LANES, v, distance));
    return v;
}

// The values of a block of whole warps joined; every thread gets it. `scratch` is shared memory of one T per warp, used
// by this call alone: it is read last after the only barrier, so a second call on the same scratch would need another.
template <class How, typename T>
__device__ inline T block_reduce(T v, T* scratch) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    v = warp_reduce<How>(v);
    if (lane == 0) scratch[warp] = v;
    __syncthreads();
    return warp_reduce<How>(lane < warps ? scratch[lane] : How::start(scratch[0]));
}
