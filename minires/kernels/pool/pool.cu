// Pooling. Definitions: pool/definition.py.
//
//   max_pool2d, max_pool2d_backward                     largest entry of each window, and the tap it came from
//   avg_pool2d, avg_pool2d_backward                     mean of each window
//   adaptive_avg_pool2d, adaptive_avg_pool2d_backward   mean of each of OH × OW regions that cover the image
//
// One thread for each entry of the result. Backward, too, is written from the side of its result: an input pixel looks
// at all windows that cover it and sums what comes back, so no two threads write to the same place.
// Arrays are stored as (C, H, W, N): i = ((c·H + h)·W + w)·N + n.
#include "common.cuh"

struct Entry {
    int c, h, w, n;
};

__device__ inline Entry entry(int i, int H, int W, int N) {
    const int pixel = i / N;
    return {pixel / W / H, pixel / W % H, pixel % W, i % N};
}

__device__ inline int offset(int c, int h, int w, int n, int H, int W, int N) { return ((c * H + h) * W + w) * N + n; }

// The outputs first ≤ o < last whose windows, o·s − p … o·s − p + k − 1, cover pixel x. Where the taps of a window are d
// apart, k is its length, d·(taps − 1) + 1.
struct Covering {
    int first, last;
    __device__ Covering(int x, int k, int s, int p, int outputs)
        : first(x + p < k ? 0 : (x + p - k) / s + 1), last(min((x + p) / s + 1, outputs)) {}
};

// The tap that lies this far behind the start of its window, −1 if the pixel is between two of them.
__device__ inline int tap_at(int distance, int d) {
    if (d == 1) return distance;
    return distance % d ? -1 : distance / d;
}

// What a kernel is given: entries of the result, sizes of the images, and the window, vertical and horizontal.
struct MaxPool {
    int size, N, H, W, OH, OW, kh, kw, sh, sw, ph, pw, dh, dw;
};

struct AvgPool {
    int size, N, H, W, OH, OW, kh, kw, sh, sw, ph, pw, padded, divisor;
};

struct AdaptivePool {
    int size, N, H, W, OH, OW;
};

template <typename T, typename TAP>
__global__ void max_pool2d(const T* __restrict__ x, T* __restrict__ y, TAP* __restrict__ taps, MaxPool how) {
    const auto [size, N, H, W, OH, OW, kh, kw, sh, sw, ph, pw, dh, dw] = how;
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= size) return;
    const Entry out = entry(i, OH, OW, N);
    T best = 0;
    int best_tap = -1;
    for (int a = 0; a < kh; ++a)
        for (int b = 0; b < kw; ++b) {
            const int h = out.h * sh - ph + a * dh, w = out.w * sw - pw + b * dw;
            if (h < 0 || h >= H || w < 0 || w >= W) continue;
            const T v = x[offset(out.c, h, w, out.n, H, W, N)];
            if (best_tap < 0 || v > best || (v != v && best == best)) {  // the first NaN beats any number
                best = v;
                best_tap = a * kw + b;
            }
        }
    y[i] = best;
    taps[i] = TAP(best_tap);
}

template <typename T, typename TAP>
__global__ void max_pool2d_backward(const T* __restrict__ g, const TAP* __restrict__ taps, T* __restrict__ dx,
                                    MaxPool how) {
    const auto [size, N, H, W, OH, OW, kh, kw, sh, sw, ph, pw, dh, dw] = how;
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= size) return;
    const Entry in = entry(i, H, W, N);
    const Covering rows(in.h, dh * (kh - 1) + 1, sh, ph, OH), columns(in.w, dw * (kw - 1) + 1, sw, pw, OW);
    T sum = 0;
    for (int h = rows.first; h < rows.last; ++h) {
        const int a = tap_at(in.h + ph - h * sh, dh);
        if (a < 0) continue;
        for (int w = columns.first; w < columns.last; ++w) {
            const int o = offset(in.c, h, w, in.n, OH, OW, N), b = tap_at(in.w + pw - w * sw, dw);
            if (b >= 0 && int(taps[o]) == a * kw + b) sum += g[o];
        }
    }
    dx[i] = sum;
}

// What the sum of window (h, w) is divided by: `divisor`, or if it is 0, the window's entries in the image, or (padded)
// in the padded image, which the last window may overhang.
__device__ inline int entries(int h, int w, int H, int W, int kh, int kw, int sh, int sw, int ph, int pw, int padded,
                              int divisor) {
    if (divisor) return divisor;
    const int top = h * sh - ph, left = w * sw - pw;
    if (padded) return (min(top + kh, H + ph) - top) * (min(left + kw, W + pw) - left);
    return (min(top + kh, H) - max(top, 0)) * (min(left + kw, W) - max(left, 0));
}

template <typename T>
__global__ void avg_pool2d(const T* __restrict__ x, T* __restrict__ y, AvgPool how) {
    const auto [size, N, H, W, OH, OW, kh, kw, sh, sw, ph, pw, padded, divisor] = how;
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= size) return;
    const Entry out = entry(i, OH, OW, N);
    const int top = out.h * sh - ph, left = out.w * sw - pw;
    T sum = 0;
    for (int h = max(top, 0); h < min(top + kh, H); ++h)
        for (int w = max(left, 0); w < min(left + kw, W); ++w) sum += x[offset(out.c, h, w, out.n, H, W, N)];
    y[i] = sum / T(entries(out.h, out.w, H, W, kh, kw, sh, sw, ph, pw, padded, divisor));
}

template <typename T>
__global__ void avg_pool2d_backward(const T* __restrict__ g, T* __restrict__ dx, AvgPool how) {
    const auto [size, N, H, W, OH, OW, kh, kw, sh, sw, ph, pw, padded, divisor] = how;
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= size) return;
    const Entry in = entry(i, H, W, N);
    const Covering rows(in.h, kh, sh, ph, OH), columns(in.w, kw, sw, pw, OW);
    T sum = 0;
    for (int h = rows.first; h < rows.last; ++h)
        for (int w = columns.first; w < columns.last; ++w)
            sum += g[offset(in.c, h, w, in.n, OH, OW, N)] /
                   T(entries(h, w, H, W, kh, kw, sh, sw, ph, pw, padded, divisor));
    dx[i] = sum;
}

// Region i of `parts` in a line of `size` pixels: from ⌊i·size/parts⌋ up to ⌈(i + 1)·size/parts⌉.
__device__ inline int region_first(int i, int size, int parts) { return i * size / parts; }
__device__ inline int region_last(int i, int size, int parts) { return ((i + 1) * size + parts - 1) / parts; }

template <typename T>
__global__ void adaptive_avg_pool2d(const T* __restrict__ x, T* __restrict__ y, AdaptivePool how) {
    const int size = how.size, N = how.N, H = how.H, W = how.W, OH = how.OH, OW = how.OW;
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= size) return;
    const Entry out = entry(i, OH, OW, N);
    const int top = region_first(out.h, H, OH), bottom = region_last(out.h, H, OH);
    const int left = region_first(out.w, W, OW), right = region_last(out.w, W, OW);
    const T sum = join_in_runs<Sum>(T(0), top, bottom, 1, [&](int h) {
        return join_in_runs<Sum>(T(0), left, right, 1, [&](int w) { return x[offset(out.c, h, w, out.n, H, W, N)]; });
    });
    y[i] = sum / T((bottom - top) * (right - left));
}

template <typename T>
__global__ void adaptive_avg_pool2d_backward(const T* __restrict__ g, T* __restrict__ dx, AdaptivePool how) {
    const auto [size, N, H, W, OH, OW] = how;
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= size) return;
    const Entry in = entry(i, H, W, N);
    T sum = 0;
    // neighbouring regions share one pixel at most, but if there are more regions than pixels, many cover the same one
    for (int h = in.h * OH / H; h < OH && region_first(h, H, OH) <= in.h; ++h)
        for (int w = in.w * OW / W; w < OW && region_first(w, W, OW) <= in.w; ++w) {
            const int top = region_first(h, H, OH), bottom = region_last(h, H, OH);
            const int left = region_first(w, W, OW), right = region_last(w, W, OW);
            sum += g[offset(in.c, h, w, in.n, OH, OW, N)] / T((bottom - top) * (right - left));
        }
    dx[i] = sum;
}
