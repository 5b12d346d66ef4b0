// Convolution in two dimensions. Definitions: conv/definition.py.
//
//   conv2d_forward          y[o,p]     = b[o] + Σ_k w[o,k] · x[k seen from p]        k = (c, i, j), p = (h′, w′, n)
//   conv2d_input_gradient   dx[c,q]    = Σ_k w[k,c] · g[k seen from q]               k = (o, i, j), q = (h, w, n)
//   conv2d_weight_gradient  dw[o,k]    = Σ_p g[o,p] · x[k seen from p]               k = (c, i, j), p = (h′, w′, n)
//   sum_parts               the weight gradient's parts, added in order
//
// The first three are all the product of product.cuh; they differ in what is multiplied. Arrays are stored as
// (C, H, W, N). Taps and positions are numbered with the last index fastest: k = (c·kh + i)·kw + j,
// p = (h′·OW + w′)·N + n. blockIdx.z counts the groups of channels, and more (see each kernel); C and O are the numbers
// of channels in one group. K is the size of the kernel if it is square and known at compile time (1 or 3), since
// dividing by a constant is cheap; otherwise it is 0.
#include "conv/shape.cuh"
#include "product/product.cuh"

struct Tap {  // a channel and a place in the kernel
    int c, i, j;
};

template <int K>
__device__ inline Tap tap(int k, int kh, int kw) {
    const unsigned u = k, width = K ? K : kw, area = K ? K * K : kh * kw;
    return {int(u / area), int(u % area / width), int(u % width)};
}

// Entry (c, h, w, n) of an image batch, 0 outside the image: the padding.
template <typename T>
__device__ inline T pixel(const T* x, int c, int h, int w, int n, int H, int W, int N) {
    return h >= 0 && h < H && w >= 0 && w < W ? x[((c * H + h) * W + w) * N + n] : T(0);
}

// A row-major matrix of K columns.
template <typename T>
struct Rows {
    const T* data;
    int K;
    __device__ T at(int m, int k) const { return data[m * K + k]; }
};

// ── forward ─────────────────────────────────────────────────────────────────────────────────────────────────────────

// b(k, p) = x[c, h′·s + i·d − p, w′·s + j·d − p, n]; a thread keeps one position p.
template <typename T, int K>
struct Patches {
    static constexpr bool ALONG_K = false;
    using Fixed = Position;  // the top left corner of the window in x
    const T* x;
    Shape s;
    __device__ Fixed fix(int p) const {
        const Position out = position(p, s.OW, s.N);
        return {out.h * s.sh - s.ph, out.w * s.sw - s.pw, out.n};
    }
    __device__ T at(Fixed corner, int k) const {
        const Tap t = tap<K>(k, s.kh, s.kw);
        return pixel(x, t.c, corner.h + t.i * s.dh, corner.w + t.j * s.dw, corner.n, s.H, s.W, s.N);
    }
};

template <typename T>
struct StoreRows {  // y[m, p] = value (+ bias[m])
    using Fixed = int;
    T* y;
    const T* bias;
    int P, has_bias;
    __device__ Fixed fix(int p) const { return p; }
    __device__ void at(Fixed p, int m, T value) const { y[m * P + p] = has_bias ? value + bias[m] : value; }
};

template <typename T, int BM, int BP, int TM, int TP, int K, bool TF32>
__global__ void __launch_bounds__(threads_of<BM, BP, TM, TP>, blocks_of<T, BM, TF32>)
conv2d_forward(const T* __restrict__ x, const T* __restrict__ w, const T* __restrict__ bias, T* __restrict__ y,
               Shape s) {
    SIZES_OF(s);
    const int has_bias = bias != nullptr;
    const int group = blockIdx.z, P = OH * OW * N, taps = C * kh * kw;
    const Rows<T> a{w + group * O * taps, taps};
    const Patches<T, K> b{x + group * C * H * W * N, s};
    const StoreRows<T> store{y + group * O * P, bias + (has_bias ? group * O : 0), P, has_bias};
    product<T, BM, BP, TM, TP, TF32, false>(a, b, store, O, P, taps);
}

// ── input gradient ──────────────────────────────────────────────────────────────────────────────────────────────────

// a(c, k) = w[o, c, i, j], k = (o, i, j): the weights with the two channel axes exchanged.
template <typename T, int K>
struct TransposedWeights {
    const T* w;
    Shape s;
    Phase v, h;
    __device__ T at(int c, int k) const {
        const Tap t = tap<K>(k, v.count, h.count);
        return w[((t.c * s.C + c) * s.kh + v.tap(t.i)) * s.kw + h.tap(t.j)];
    }
};

// b(k, q) = g[o, q_h + (phase + p − i·d)/s, q_w + …, n]; a thread keeps one position q of the phase.
template <typename T, int K>
struct GradientPatches {
    static constexpr bool ALONG_K = false;
    using Fixed = Position;
    const T* g;
    Shape s;
    Phase v, h;
    __device__ Fixed fix(int q) const { return position(q, h.pixels, s.N); }
    __device__ T at(Fixed q, int k) const {
        const Tap t = tap<K>(k, v.count, h.count);
        const int row = q.h + (v.phase + s.ph - v.tap(t.i) * s.dh) / s.sh;
        const int column = q.w + (h.phase + s.pw - h.tap(t.j) * s.dw) / s.sw;
        return pixel(g, t.c, row, column, q.n, s.OH, s.OW, s.N);
    }
};

template <typename T>
struct StorePhase {  // dx[c, q_h·s + phase, q_w·s + phase, n]
    using Fixed = int;
    T* dx;
    Shape s;
    Phase v, h;
    __device__ Fixed fix(int q) const {
        const Position at = position(q, h.pixels, s.N);
        return ((at.h * s.sh + v.phase) * s.W + at.w * s.sw + h.phase) * s.N + at.n;
    }
    __device__ void at(Fixed offset, int c, T value) const { dx[c * s.H * s.W * s.N + offset] = value; }
};

// blockIdx.z = (group · phases down + phase down) · phases across + phase across. K may be 1 or 3 only at stride 1.
template <typename T, int BM, int BP, int TM, int TP, int K, bool TF32>
__global__ void __launch_bounds__(threads_of<BM, BP, TM, TP>, blocks_of<T, BM, TF32>)
conv2d_input_gradient(const T* __restrict__ g, const T* __restrict__ w, T* __restrict__ dx, Shape shape) {
    SIZES_OF(shape);
    Shape s = shape;
    if (K) s.kh = s.kw = K, s.sh = s.sw = 1;  // then the divisions below are by constants, or gone
    const int group = blockIdx.z / (s.sh * s.sw);
    const Phase v(blockIdx.z / s.sw % s.sh, H, s.kh, s.sh, ph, dh), h(blockIdx.z % s.sw, W, s.kw, s.sw, pw, dw);
    const int P = v.pixels * h.pixels * N;
    if (int(blockIdx.x * BP) >= P) return;  // the grid is sized for the largest phase; the whole block leaves
    const TransposedWeights<T, K> a{w + group * O * C * kh * kw, s, v, h};
    const GradientPatches<T, K> b{g + group * O * OH * OW * N, s, v, h};
    const StorePhase<T> store{dx + group * C * H * W * N, s, v, h};
    product<T, BM, BP, TM, TP, TF32, false>(a, b, store, C, P, O * v.count * h.count);
}

// ── weight gradient ─────────────────────────────────────────────────────────────────────────────────────────────────

template <typename T>
struct GradientRows {  // a(o, p) = g[o, p]
    const T* g;
    int P, first;
    __device__ T at(int o, int p) const { return g[o * P + first + p]; }
};

// b(p, k): the same entries as `Patches`, but threads run along the positions p, where x is contiguous.
template <typename T, int K>
struct PatchRows {
    static constexpr bool ALONG_K = true;
    using Fixed = Position;
    const T* x;
    Shape s;
    int first;
    __device__ Fixed fix(int p) const {
        const Position out = position(first + p, s.OW, s.N);
        return {out.h * s.sh - s.ph, out.w * s.sw - s.pw, out.n};
    }
    __device__ T at(Fixed corner, int k) const {
        const Tap t = tap<K>(k, s.kh, s.kw);
        return pixel(x, t.c, corner.h + t.i * s.dh, corner.w + t.j * s.dw, corner.n, s.H, s.W, s.N);
    }
};

// The result is small and the sum over positions long, so it is cut into `parts` runs of `length` positions. Each run
// has blocks and a copy of the result to itself; `sum_parts` adds the copies in order: the same bits every time.
// blockIdx.z = group · parts + part; dw (groups, parts, O, taps).
template <typename T, int BM, int BP, int TM, int TP, int K, bool TF32>
__global__ void __launch_bounds__(threads_of<BM, BP, TM, TP>, blocks_of<T, BM, TF32>)
conv2d_weight_gradient(const T* __restrict__ g, const T* __restrict__ x, T* __restrict__ dw_parts,
                       Parts how) {
    const Shape s = how.shape;
    SIZES_OF(s);
    const int parts = how.parts, length = how.length;
    const int group = blockIdx.z / parts, first = blockIdx.z % parts * length;
    const int P = OH * OW * N, taps = C * kh * kw, left = P - first;
    const GradientRows<T> a{g + group * O * P, P, first};
    const PatchRows<T, K> b{x + group * C * H * W * N, s, first};
    const StoreRows<T> store{dw_parts + blockIdx.z * O * taps, dw_parts, taps, 0};
    product<T, BM, BP, TM, TP, TF32, false>(a, b, store, O, taps, left < length ? left : length);
}

struct Copies {  // of `size` results each
    int parts, size;
};

// out[i] = Σ_part in[part, i]; blockIdx.y counts the groups. There are many parts and few results, so a result has a
// thread in each of the block's warps, and that thread asks for eight parts before it adds the first.
template <typename T>
__global__ void sum_parts(const T* __restrict__ in, T* __restrict__ out, Copies how) {
    constexpr int LINES = 16, AHEAD = 8;
    const int parts = how.parts, size = how.size;
    __shared__ T sums[LINES][WARP];
    const int lane = threadIdx.x % WARP, line = threadIdx.x / WARP, i = blockIdx.x * WARP + lane;
    const T* column = in + blockIdx.y * parts * size + i;
    T sum = 0;
    for (int part = line; part < parts; part += LINES * AHEAD) {
        T next[AHEAD], run = 0;
#pragma unroll
        for (int l = 0; l < AHEAD; ++l)
            next[l] = i < size && part + l * LINES < parts ? column[(part + l * LINES) * size] : T(0);
#pragma unroll
        for (int l = 0; l < AHEAD; ++l) run += next[l];
        sum += run;
    }
    sums[line][lane] = sum;
    __syncthreads();
    if (line > 0 || i >= size) return;
    sum = 0;
    for (int l = 0; l < LINES; ++l) sum += sums[l][lane];
    out[blockIdx.y * size + i] = sum;
}
