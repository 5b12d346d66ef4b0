// What all convolution kernels know of their sizes. Images are stored as (C, H, W, N), see common.cuh.
#pragma once

struct Shape {  // sizes of x and y, then kernel, stride, padding and dilation, vertical and horizontal
    int N, C, H, W, O, OH, OW, kh, kw, sh, sw, ph, pw, dh, dw;
};

// Its sizes under their own names, for a kernel's body.
#define SIZES_OF(s)                                                                                                  \
    const int N = s.N, C = s.C, H = s.H, W = s.W, O = s.O, OH = s.OH, OW = s.OW, kh = s.kh, kw = s.kw, sh = s.sh,     \
              sw = s.sw, ph = s.ph, pw = s.pw, dh = s.dh, dw = s.dw

struct Parts {  // of a weight gradient's sum over positions: how many, and how long
    int parts, length;
    Shape shape;
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
