// What all convolution kernels know of their sizes. Images are stored as (C, H, W, N), see common.cuh.
#pragma once

#define SHAPE_PARAMETERS                                                                                             \
    int N, int C, int H, int W, int O, int OH, int OW, int kh, int kw, int sh, int sw, int ph, int pw, int dh, int dw
#define SHAPE {N, C, H, W, O, OH, OW, kh, kw, sh, sw, ph, pw, dh, dw}

struct Shape {  // sizes of x and y, then kernel, stride, padding and dilation, vertical and horizontal
    int N, C, H, W, O, OH, OW, kh, kw, sh, sw, ph, pw, dh, dw;
};

struct Position {  // a pixel and an image
    int h, w, n;
};

__device__ inline Position position(int p, int width, int batch) {
    const unsigned u = p, pixel = u / batch;
    return {int(pixel / width), int(pixel % width), int(u % batch)};
}

// Along one axis, pixel q·s + phase receives from output position q + (phase + p − i·d)/s through tap i, for those taps
// that make this whole: first, first + step, … (count of them). A strided convolution thus splits into s independent
// ones at stride 1, one for each phase; nothing is scattered and no inserted zero is multiplied.
struct Phase {
    int phase, first, step, count, pixels;
    __device__ Phase(int phase, int size, int k, int s, int p, int d) : phase(phase), first(0), step(1), count(0) {
        while (first < k && (phase + p - first * d) % s != 0) ++first;
        while (step < s && step * d % s != 0) ++step;
        if (first < k) count = (k - first + step - 1) / step;
        pixels = size > phase ? (size - phase + s - 1) / s : 0;
    }
    __device__ int tap(int i) const { return first + i * step; }
};
