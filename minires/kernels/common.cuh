// What every kernel file shares. An image batch has the shape (N, C, H, W) and is stored as (C, H, W, N), the batch
// innermost, as in kernels/layout.py: neighbouring threads take neighbouring images, so that every load of a warp is
// one run of memory, and all its threads agree on whether a pixel is inside the image.
#pragma once

constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

// How a reduction joins two values, and what it starts from (`start` is given any one of the values).
struct Sum {
    template <typename T>
    __device__ static T start(T) { return T(0); }
    template <typename T>
    __device__ static T join(T a, T b) { return a + b; }
};

struct Max {  // NaN counts as larger than any number
    template <typename T>
    __device__ static T start(T any) { return any; }
    template <typename T>
    __device__ static T join(T a, T b) { return b > a || b != b ? b : a; }
};

struct Min {  // and as smaller
    template <typename T>
    __device__ static T start(T any) { return any; }
    template <typename T>
    __device__ static T join(T a, T b) { return b < a || b != b ? b : a; }
};

// Joins f(i) for i = first, first + step, … < last: in runs of RUN values, and then the runs' results. In one long sum,
// taken one by one, float32 would lose digits. (`any` is any one of the values, for How::start.)
constexpr int RUN = 16;
template <class How, typename T, class F>
__device__ inline T join_in_runs(T any, int first, int last, int step, F f) {
    T all = How::start(any);
    for (int i = first; i < last;) {
        T run = How::start(any);
        for (int k = 0; k < RUN && i < last; ++k, i += step) run = How::join(run, f(i));
        all = How::join(all, run);
    }
    return all;
}

// Joins the values of a warp's 32 lanes; every lane gets the result. They exchange at distances 16, 8, 4, 2, 1.
template <class How, typename T>
__device__ inline T warp_reduce(T v) {
    for (int distance = WARP / 2; distance > 0; distance /= 2)
        v = How::join(v, __shfl_xor_sync(ALL_LANES, v, distance));
    return v;
}

// Joins the values of a block of whole warps; every thread gets the result. `scratch` is shared memory, one T per warp,
// for this call alone: it is still read after the only barrier, so a second call on it would need another barrier.
template <class How, typename T>
__device__ inline T block_reduce(T v, T* scratch) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    v = warp_reduce<How>(v);
    if (lane == 0) scratch[warp] = v;
    __syncthreads();
    return warp_reduce<How>(lane < warps ? scratch[lane] : How::start(scratch[0]));
}

// 16 bytes, which a thread moves at once: half as many instructions for the same bytes as 8, a quarter of those for 4.
template <typename T>
struct alignas(16) Pack {
    static constexpr int SIZE = 16 / sizeof(T);
    T at[SIZE];
};

template <typename T>
__device__ inline bool is_whole(const T* at, int rest) {
    return rest >= Pack<T>::SIZE && reinterpret_cast<unsigned long long>(at) % sizeof(Pack<T>) == 0;
}

// The next entries of a row, of which `rest` are left; 0 after these. One by one where 16 bytes cannot be moved at once.
template <typename T>
__device__ inline Pack<T> load_pack(const T* at, int rest) {
    if (is_whole(at, rest)) return *reinterpret_cast<const Pack<T>*>(at);
    Pack<T> pack;
#pragma unroll
    for (int k = 0; k < Pack<T>::SIZE; ++k) pack.at[k] = k < rest ? at[k] : T(0);
    return pack;
}

template <typename T>
__device__ inline void store_pack(T* at, int rest, Pack<T> pack) {
    if (is_whole(at, rest)) {
        *reinterpret_cast<Pack<T>*>(at) = pack;
        return;
    }
#pragma unroll
    for (int k = 0; k < Pack<T>::SIZE; ++k)
        if (k < rest) at[k] = pack.at[k];
}
