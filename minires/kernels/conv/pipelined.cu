// Convolution for batches of a multiple of four images: the sums of conv.cu, with copies that run ahead (pipeline.cuh).
// Definitions: conv/definition.py.
//
//   conv2d_forward_pipelined          y[o,p]    = b[o] + Σ_k w[o,k] · x[k seen from p]     k = (c, tap), p = (h′, w′, n)
//   conv2d_input_gradient_pipelined   dx[c,q]   = Σ_k w[k,c] · g[k seen from q]            k = (o, tap), q = (h, w, n)
//   conv2d_weight_gradient_pipelined  dw[o,k]   = Σ_p g[o,p] · x[k seen from p]            k = (c, tap), p = (h′, w′, n)
//
// What is copied at a time is 16 bytes: four neighbouring images of one pixel, inside the image or outside it together.
// The first two take BK channels of one tap in each step: whether a thread is inside is one question a step, and where it
// reads is one sum; nothing is divided. They need channels in multiples of BK; the third in multiples of its BC.
#include "conv/shape.cuh"
#include "product/pipeline.cuh"

constexpr int STAGES = 2;

// ── forward and input gradient ──────────────────────────────────────────────────────────────────────────────────────

// A warp computes 16 × 64 or 32 × 32 results, a thread 8 rows of 4.
template <int BM, int BP, int BK, int SPLIT>
struct Block {
    static constexpr int ROWS = BM < 32 ? BM : 32, COLUMNS = 1024 / ROWS, ACROSS = COLUMNS / 4;  // of a warp
    static constexpr int GROUP = BM * BP / 32, THREADS = SPLIT * GROUP;

    union Shared {
        struct { float w[STAGES][BK][BM + 4], x[STAGES][BK][BP]; } tiles;
        float results[SPLIT][BM][BP + 4];
    };

    int group, row, column;  // the thread's group, and its first result
    float acc[8][4] = {};

    __device__ Block() {
        const int t = threadIdx.x, lane = t % WARP, warp = t % GROUP / WARP;
        group = t / GROUP;
        row = warp / (BP / COLUMNS) * ROWS + lane / ACROSS * 8;
        column = warp % (BP / COLUMNS) * COLUMNS + lane % ACROSS * 4;
    }
    __device__ void multiply(const float (&w)[BK][BM + 4], const float (&x)[BK][BP]) {
#pragma unroll
        for (int l = 0; l < BK / SPLIT; ++l) {
            const int k = group * (BK / SPLIT) + l;
            float a[8], b[4];
#pragma unroll
            for (int i = 0; i < 8; ++i) a[i] = w[k][row + i];
#pragma unroll
            for (int j = 0; j < 4; ++j) b[j] = x[k][column + j];
#pragma unroll
            for (int i = 0; i < 8; ++i)
#pragma unroll
                for (int j = 0; j < 4; ++j) acc[i][j] += a[i] * b[j];
        }
    }
    __device__ void put(float (&results)[SPLIT][BM][BP + 4]) const {
#pragma unroll
        for (int i = 0; i < 8; ++i)
#pragma unroll
            for (int j = 0; j < 4; ++j) results[group][row + i][column + j] = acc[i][j];
    }
};

// What every position meets: tap (i, j) is the pixel (i·down, j·across) from its first one, and the weight
// first + i·next_row + j·next.
struct Taps {
    int rows, columns, down, across, first, next_row, next;
};

// Σ over C channels and all taps. The weight of (m, channel, tap) is w[m·w_row + channel·w_channel + tap]; position p
// begins at pixel first_pixel(p) of x (C, H, W, N). A thread copies four images of one position.
template <int BM, int BP, int BK, int SPLIT, class FirstPixel, class Store>
__device__ inline void sum_over_taps(const float* w, int w_row, int w_channel, int M, const float* x, int P, int C,
                                     int H, int W, int N, Taps taps, FirstPixel first_pixel, Store store) {
    using Block = Block<BM, BP, BK, SPLIT>;
    constexpr int ACROSS = BP / 4, LINES = Block::THREADS / ACROSS, W_LINES = Block::THREADS / BK;
    __shared__ alignas(16) typename Block::Shared shared;
    const int t = threadIdx.x, m0 = blockIdx.y * BM, p0 = blockIdx.x * BP;
    const int line = t / ACROSS, column = t % ACROSS * 4, w_line = t / BK, k = t % BK;

    const bool any = p0 + column < P;
    const Position at = first_pixel(any ? p0 + column : 0);
    const int plane = H * W * N, own = ((line * H + at.h) * W + at.w) * N + at.n;
    const float* own_w = w + (m0 + w_line) * w_row + k * w_channel + taps.first;
    int c = 0, i = 0, j = 0;  // the next step's first channel, and its tap

    const auto fetch = [&](int stage) {
        const int h = at.h + i * taps.down, v = at.w + j * taps.across;
        const bool inside = any && unsigned(h) < unsigned(H) && unsigned(v) < unsigned(W);
        const int pixel = inside ? own + c * plane + (i * taps.down * W + j * taps.across) * N : 0;
#pragma unroll
        for (int l = 0; l < BK; l += LINES)
            copy_async<16>(&shared.tiles.x[stage][line + l][column], x + pixel + (inside ? l * plane : 0), inside);
        const int weight = c * w_channel + i * taps.next_row + j * taps.next;
#pragma unroll
        for (int l = 0; l < BM; l += W_LINES)
            copy_async<4>(&shared.tiles.w[stage][k][w_line + l], own_w + weight + l * w_row, m0 + w_line + l < M);
        if (++j == taps.columns) {
            j = 0;
            if (++i == taps.rows) {
                i = 0;
                c += BK;
            }
        }
    };
    Block block;
    pipeline<STAGES>(taps.rows * taps.columns * (C / BK), fetch,
                     [&](int stage) { block.multiply(shared.tiles.w[stage], shared.tiles.x[stage]); });
    block.put(shared.results);
    add_groups<Block::THREADS>(shared.results, BP, [&](int m, int p, float4 v) {
        if (m0 + m < M && p0 + p < P) store(m0 + m, p0 + p, v);
    });
}

// blockIdx.z counts the groups of channels.
template <int BM, int BP, int BK, int SPLIT>
__global__ void __launch_bounds__(Block<BM, BP, BK, SPLIT>::THREADS, 4)
conv2d_forward_pipelined(const float* __restrict__ x, const float* __restrict__ w, const float* __restrict__ bias,
                         float* __restrict__ y, int has_bias, SHAPE_PARAMETERS) {
    const int group = blockIdx.z, P = OH * OW * N, area = kh * kw;
    const Taps taps{kh, kw, dh, dw, 0, kw, 1};
    const auto first_pixel = [&](int p) {
        const Position out = position(p, OW, N);
        return Position{out.h * sh - ph, out.w * sw - pw, out.n};
    };
    const auto store = [&](int o, int p, float4 v) {
        const float b = has_bias ? bias[group * O + o] : 0.0f;
        reinterpret_cast<float4*>(y)[((group * O + o) * P + p) / 4] = make_float4(v.x + b, v.y + b, v.z + b, v.w + b);
    };
    sum_over_taps<BM, BP, BK, SPLIT>(w + group * O * C * area, C * area, area, O, x + group * C * H * W * N, P, C, H, W,
                                     N, taps, first_pixel, store);
}

// blockIdx.z = (group · phases down + phase down) · phases across + phase across.
template <int BM, int BP, int BK, int SPLIT>
__global__ void __launch_bounds__(Block<BM, BP, BK, SPLIT>::THREADS, 4)
conv2d_input_gradient_pipelined(const float* __restrict__ g, const float* __restrict__ w, float* __restrict__ dx,
                                SHAPE_PARAMETERS) {
    const int group = blockIdx.z / (sh * sw), area = kh * kw;
    const Phase v(blockIdx.z / sw % sh, H, kh, sh, ph, dh), h(blockIdx.z % sw, W, kw, sw, pw, dw);
    const int P = v.pixels * h.pixels * N;
    if (int(blockIdx.x * BP) >= P) return;  // the grid is sized for the largest phase; the whole block leaves
    const Taps taps{v.count, h.count, -v.step * dh / sh, -h.step * dw / sw, v.first * kw + h.first, v.step * kw, h.step};
    const auto first_pixel = [&](int q) {
        const Position at = position(q, h.pixels, N);
        return Position{at.h + (v.phase + ph - v.first * dh) / sh, at.w + (h.phase + pw - h.first * dw) / sw, at.n};
    };
    const auto store = [&](int c, int q, float4 value) {
        const Position at = position(q, h.pixels, N);
        const int pixel = (at.h * sh + v.phase) * W + at.w * sw + h.phase;
        reinterpret_cast<float4*>(dx)[(((group * C + c) * H * W + pixel) * N + at.n) / 4] = value;
    };
    sum_over_taps<BM, BP, BK, SPLIT>(w + group * O * C * area, area, C * area, C, g + group * O * OH * OW * N, P, O, OH,
                                     OW, N, taps, first_pixel, store);
}

// ── weight gradient ─────────────────────────────────────────────────────────────────────────────────────────────────

// A block computes BM rows of BC channels with all their K·K taps: for K = 3 as many columns as 16 channels have, 144.
// The sum runs along positions, which are what is contiguous in both g and x, so rows of the tiles lie along k here, and
// a thread reads four of them at a time. It computes 4 rows of the taps of one channel, or of eight if K = 1.
template <int BM, int BK, int SPLIT, int K>
struct WeightBlock {
    static constexpr int TAPS = K * K, CHANNELS = K == 1 ? 8 : 1, BC = K == 1 ? 64 : 16, ACROSS = BC / CHANNELS;
    static constexpr int COLUMNS = BC * TAPS, GROUP = BM / 4 * ACROSS, THREADS = SPLIT * GROUP;

    union Shared {
        struct { float g[STAGES][BM][BK + 4], x[STAGES][TAPS][BC][BK + 4]; } tiles;
        float results[SPLIT][BM][COLUMNS + 4];
    };

    int group, row, channel;
    float acc[4][CHANNELS][TAPS] = {};

    __device__ WeightBlock() {
        group = threadIdx.x / GROUP;
        row = threadIdx.x % GROUP / ACROSS * 4;
        channel = threadIdx.x % ACROSS;
    }
    __device__ void multiply(const float (&g)[BM][BK + 4], const float (&x)[TAPS][BC][BK + 4]) {
#pragma unroll
        for (int l = 0; l < BK / SPLIT; l += 4) {
            const int k = group * (BK / SPLIT) + l;
            float a[4][4];
#pragma unroll
            for (int i = 0; i < 4; ++i)
#pragma unroll
                for (int e = 0; e < 4; ++e) a[i][e] = g[row + i][k + e];
#pragma unroll
            for (int c = 0; c < CHANNELS; ++c)
#pragma unroll
                for (int tap = 0; tap < TAPS; ++tap) {
                    float b[4];
#pragma unroll
                    for (int e = 0; e < 4; ++e) b[e] = x[tap][channel + c * ACROSS][k + e];
#pragma unroll
                    for (int e = 0; e < 4; ++e)
#pragma unroll
                        for (int i = 0; i < 4; ++i) acc[i][c][tap] += a[i][e] * b[e];
                }
        }
    }
    __device__ void put(float (&results)[SPLIT][BM][COLUMNS + 4]) const {
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int c = 0; c < CHANNELS; ++c)
#pragma unroll
                for (int tap = 0; tap < TAPS; ++tap)
                    results[group][row + i][(channel + c * ACROSS) * TAPS + tap] = acc[i][c][tap];
    }
};

// The sum over positions is cut into `parts` runs of `length` positions, a multiple of BK. Each has blocks and a copy of
// the result to itself, which sum_parts (conv.cu) adds: the same bits every time. blockIdx.z = group · parts + part;
// dw_parts (groups, parts, O, taps).
template <int BM, int BK, int SPLIT, int K>
__global__ void __launch_bounds__(WeightBlock<BM, BK, SPLIT, K>::THREADS, 4)
conv2d_weight_gradient_pipelined(const float* __restrict__ g, const float* __restrict__ x,
                                 float* __restrict__ dw_parts, int parts, int length, SHAPE_PARAMETERS) {
    using Block = WeightBlock<BM, BK, SPLIT, K>;
    constexpr int QUADS = BK / 4, BC = Block::BC, TAPS = Block::TAPS, LINES = Block::THREADS / QUADS;
    __shared__ alignas(16) typename Block::Shared shared;
    const int group = blockIdx.z / parts, first = blockIdx.z % parts * length, P = OH * OW * N, plane = H * W * N;
    const int last = min(first + length, P), m0 = blockIdx.y * BM, c0 = blockIdx.x * BC;
    const int line = threadIdx.x / QUADS, quad = threadIdx.x % QUADS * 4;

    int p = first + quad;  // of the next step: this thread's position
    Position out = position(p, OW, N);
    const float* rows = g + (group * O + m0 + line) * P;
    const float* channels = x + (group * C + c0 + line) * plane;

    const auto fetch = [&](int stage) {
        const int h = out.h * sh - ph, v = out.w * sw - pw, corner = (h * W + v) * N + out.n;
#pragma unroll
        for (int l = 0; l < BM; l += LINES) {
            if (BM % LINES && line + l >= BM) break;
            const bool inside = p < last && m0 + line + l < O;
            copy_async<16>(&shared.tiles.g[stage][line + l][quad], rows + (inside ? l * P + p : 0), inside);
        }
#pragma unroll
        for (int l = 0; l < BC; l += LINES) {
            if (BC % LINES && line + l >= BC) break;
#pragma unroll
            for (int i = 0; i < K; ++i)
#pragma unroll
                for (int j = 0; j < K; ++j) {
                    const bool inside = p < last && unsigned(h + i * dh) < unsigned(H) && unsigned(v + j * dw) < unsigned(W);
                    const int pixel = inside ? l * plane + corner + (i * dh * W + j * dw) * N : 0;
                    copy_async<16>(&shared.tiles.x[stage][i * K + j][line + l][quad], channels + pixel, inside);
                }
        }
        p += BK;
        out.n += BK;
        while (out.n >= N) {
            out.n -= N;
            if (++out.w == OW) {
                out.w = 0;
                ++out.h;
            }
        }
    };
    Block block;
    pipeline<STAGES>((last - first + BK - 1) / BK, fetch,
                     [&](int stage) { block.multiply(shared.tiles.g[stage], shared.tiles.x[stage]); });
    block.put(shared.results);
    add_groups<Block::THREADS>(shared.results, Block::COLUMNS, [&](int m, int k, float4 v) {
        if (m0 + m < O) reinterpret_cast<float4*>(dw_parts)[((blockIdx.z * O + m0 + m) * C * TAPS + c0 * TAPS + k) / 4] = v;
    });
}
