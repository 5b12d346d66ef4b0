// From the data set on the device to a batch. Definitions: augment/definition.py.
//
//   take_images   (pixels[index] − mean)/std: from images stored as (M, C, H, W) to a batch stored as (C, H, W, N)
//   crop_flip     each image shifted by a random amount of its own, with zeros moving in, and mirrored if so drawn
//
// One thread for each entry of the result. Draws are made on the host: the same draws give the same batch on the CPU.
#include "common.cuh"

struct Images {
    int size, N, C, HW, standardise;
};

template <typename P, typename T>
__global__ void take_images(const P* __restrict__ pixels, const long long* __restrict__ index,
                            const T* __restrict__ mean, const T* __restrict__ std, T* __restrict__ out, Images how) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;  // (c·HW + hw)·N + n
    if (i >= how.size) return;
    const int N = how.N, C = how.C, HW = how.HW, standardise = how.standardise;
    const int n = i % N, hw = i / N % HW, c = i / N / HW;
    const T value = T(pixels[(index[n] * C + c) * HW + hw]);
    out[i] = standardise ? (value - mean[c]) / std[c] : value;
}

// out[c, h, w, n] = x[c, h + top[n] − padding, w′ + left[n] − padding, n], with w′ = W − 1 − w if mirrored[n].
struct Crop {
    int size, N, H, W, padding;
};

template <typename T>
__global__ void crop_flip(const T* __restrict__ x, const int* __restrict__ top, const int* __restrict__ left,
                          const int* __restrict__ mirrored, T* __restrict__ out, Crop how) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;  // ((c·H + h)·W + w)·N + n
    if (i >= how.size) return;
    const int N = how.N, H = how.H, W = how.W, padding = how.padding;
    const int n = i % N, w = i / N % W, h = i / N / W % H, c = i / N / W / H;
    const int from_h = h + top[n] - padding, from_w = (mirrored[n] ? W - 1 - w : w) + left[n] - padding;
    const bool inside = from_h >= 0 && from_h < H && from_w >= 0 && from_w < W;
    out[i] = inside ? x[((c * H + from_h) * W + from_w) * N + n] : T(0);
}
