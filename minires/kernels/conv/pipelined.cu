// Convolution for batches of a multiple of four images: the sums of conv.cu, with copies that run ahead (pipeline.cuh).
// Definitions: conv/definition.py.
//
//   conv2d_forward_pipelined          y[o,p]  = b[o] + Σ_k w[o,k] · x[k seen from p]    k = (c, tap), p = (h′, w′, n)
//   conv2d_input_gradient_pipelined   dx[c,q] = Σ_k w[k,c] · g[k seen from q]           k = (o, tap), q = (h, w, n)
//   conv2d_weight_gradient_pipelined  dw[o,k] = Σ_p g[o,p] · x[k seen from p]           k = (c, tap), p = (h′, w′, n)
//
// What is copied at a time is 16 bytes: four neighbouring images of one pixel, inside the image or outside it together.
// The first two take BK channels of one tap in each step: whether a thread is inside is one question a step, and where it
// reads is one sum; nothing is divided. The numbers of channels are multiples of BM and BK, in the third of BM and BC.
#include "conv/shape.cuh"
#include "product/pipeline.cuh"
#include "product/tensor_core.cuh"

constexpr int STAGES = 2;

// ── forward and input gradient ──────────────────────────────────────────────────────────────────────────────────────

// A warp computes 16 × 64 or 32 × 32 results, a thread 32 of them. Plainly they are 8 rows of 4. On tensor cores, (i, j, e)
// is entry e of what the mma instruction (i, j) gives the thread. Which rows and columns of the tile an instruction takes
// is ours to choose: here, such that a thread finds what it needs of them in runs of two and four.
template <int BM, int BP, int BK, int SPLIT, bool TF32>
struct Block {
    static constexpr int ROWS = BM < 32 ? BM : 32, COLUMNS = 1024 / ROWS, ACROSS = COLUMNS / 4;  // of a warp
    static constexpr int GROUP = BM * BP / 32, THREADS = SPLIT * GROUP;
    static constexpr int DOWN_MMA = ROWS / 16, ACROSS_MMA = COLUMNS / 8;

    union Shared {  // the rows are so long that a warp's threads read from different banks
        struct { float w[STAGES][BK][BM + (TF32 ? 8 : 4)], x[STAGES][BK][BP + (TF32 ? 8 : 0)]; } tiles;
        float results[SPLIT][BM][BP + 4];
    };

    int group, row, column, quad;  // the thread's group, and where it begins to read
    float acc[32] = {};

    __device__ Block() {
        const int t = threadIdx.x, lane = t % WARP, warp = t % GROUP / WARP;
        group = t / GROUP;
        quad = lane % 4;
        row = warp / (BP / COLUMNS) * ROWS + (TF32 ? lane / 4 * (2 * DOWN_MMA) : lane / ACROSS * 8);
        column = warp % (BP / COLUMNS) * COLUMNS + (TF32 ? lane / 4 : lane % ACROSS) * 4;
    }
    __device__ void multiply(const Shared& shared, int stage) {
        const auto& w = shared.tiles.w[stage];
        const auto& x = shared.tiles.x[stage];
        const int first = group * (BK / SPLIT);
        if constexpr (TF32) {
#pragma unroll
            for (int l = 0; l < BK / SPLIT; l += 8) {
                float a[2][2 * DOWN_MMA], b[2][ACROSS_MMA];  // of k and k + 4
#pragma unroll
                for (int e = 0; e < 2; ++e) {
                    const int k = first + l + quad + 4 * e;
#pragma unroll
                    for (int i = 0; i < 2 * DOWN_MMA; ++i) a[e][i] = for_tf32(w[k][row + i]);
#pragma unroll
                    for (int j = 0; j < ACROSS_MMA; ++j) b[e][j] = for_tf32(x[k][column + j / 4 * 32 + j % 4]);
                }
#pragma unroll
                for (int i = 0; i < DOWN_MMA; ++i) {
                    const float rows[4] = {a[0][2 * i], a[0][2 * i + 1], a[1][2 * i], a[1][2 * i + 1]};
#pragma unroll
                    for (int j = 0; j < ACROSS_MMA; ++j) {
                        const float columns[2] = {b[0][j], b[1][j]};
                        mma_m16n8k8(acc + 4 * (i * ACROSS_MMA + j), rows, columns);
                    }
                }
            }
        } else {
#pragma unroll
            for (int k = first; k < first + BK / SPLIT; ++k) {
                float a[8], b[4];
#pragma unroll
                for (int i = 0; i < 8; ++i) a[i] = w[k][row + i];
#pragma unroll
                for (int j = 0; j < 4; ++j) b[j] = x[k][column + j];
#pragma unroll
                for (int i = 0; i < 8; ++i)
#pragma unroll
                    for (int j = 0; j < 4; ++j) acc[4 * i + j] += a[i] * b[j];
            }
        }
    }
    __device__ void put(float (&results)[SPLIT][BM][BP + 4]) const {
#pragma unroll
        for (int r = 0; r < 32; ++r) {
            const int i = r / 4 / ACROSS_MMA, j = r / 4 % ACROSS_MMA, e = r % 4;
            const int down = TF32 ? 2 * i + e / 2 : r / 4;
            const int across = TF32 ? j / 4 * 32 + (2 * quad + e % 2 - threadIdx.x % WARP / 4) * 4 + j % 4 : r % 4;
            results[group][row + down][column + across] = acc[r];
        }
    }
};

// What every position meets: tap (i, j) is the pixel (i·down, j·across) from its first one, and the weight
// first + i·next_row + j·next.
struct Taps {
    int rows, columns, down, across, first, next_row, next;
};

// Σ over C channels and all taps. The weight of (m, channel, tap) is w[m·w_row + channel·w_channel + tap]; position p
// begins at pixel first_pixel(p) of x (C, H, W, N). A thread copies four images of one position, and where it reads moves
// from tap to tap, and then to the next channels. Outside the image it points to what is not there, and reads nothing.
//
// All taps read the same pixels again, from the caches. A tile with its halo would be read once, but would gain little, on
// paper: for 16 channels of 32 × 32 pixels and 128 images, the second-level cache brings the tiles of 3 × 3 taps in 14.6 µs
// (80 MB at an H100's 5.5 TB/s), while the arithmetic takes 13.2 µs as the loop issues it. With TF32 it takes 3.2 µs, and
// how much the first-level cache brings would have to be measured first.
template <int BM, int BP, int BK, int SPLIT, bool TF32, class FirstPixel, class Store, class Then>
__device__ inline void sum_over_taps(const float* w, int w_row, int w_channel, const float* x, int P, int C, int H,
                                     int W, int N, Taps taps, FirstPixel first_pixel, Store store, Then then) {
    using Block = Block<BM, BP, BK, SPLIT, TF32>;
    constexpr int ACROSS = BP / 4, LINES = Block::THREADS / ACROSS, W_LINES = Block::THREADS / BK;
    __shared__ alignas(16) typename Block::Shared shared;
    const int t = threadIdx.x, m0 = blockIdx.y * BM, p0 = blockIdx.x * BP;
    const int line = t / ACROSS, column = t % ACROSS * 4, w_line = t / BK, k = t % BK;

    const bool any = p0 + column < P;
    Position at = first_pixel(any ? p0 + column : 0);
    const int plane = H * W * N;
    const unsigned row = taps.down * W * N, pixel = taps.across * N;
    unsigned from = line * plane + (at.h * W + at.w) * N + at.n;  // where it reads in x and w, counted from their start
    unsigned from_w = (m0 + w_line) * w_row + k * w_channel + taps.first;
    int i = 0, j = 0;  // the next step's tap

    const auto fetch = [&](int stage) {
        const bool inside = any && unsigned(at.h) < unsigned(H) && unsigned(at.w) < unsigned(W);
        const float *next = x + from, *next_w = w + from_w;
#pragma unroll
        for (int l = 0; l < BK; l += LINES, next += LINES * plane)
            copy_async<16>(&shared.tiles.x[stage][line + l][column], next, inside);
#pragma unroll
        for (int l = 0; l < BM; l += W_LINES, next_w += W_LINES * w_row)
            copy_async<4>(&shared.tiles.w[stage][k][w_line + l], next_w, true);
        at.w += taps.across, from += pixel, from_w += taps.next;
        if (++j < taps.columns) return;
        j = 0, at.w -= taps.columns * taps.across, from -= taps.columns * pixel, from_w -= taps.columns * taps.next;
        at.h += taps.down, from += row, from_w += taps.next_row;
        if (++i < taps.rows) return;
        i = 0, at.h -= taps.rows * taps.down, from -= taps.rows * row, from_w -= taps.rows * taps.next_row;
        from += BK * plane, from_w += BK * w_channel;
    };
    Block block;
    pipeline<STAGES>(taps.rows * taps.columns * (C / BK), fetch, [&](int stage) { block.multiply(shared, stage); });
    block.put(shared.results);
    add_groups<Block::THREADS>(shared.results, BP, [&](int m, int p, float4 v) {
        if (p0 + p < P) store(m0 + m, p0 + p, v);
    });
    then(shared.results);
}

// blockIdx.z counts the groups of channels. On request, each block's mean and Σ(y − mean)² of its rows go to `means` and
// `squares` (channels, blocks), as of a run in batchnorm.cu; there is no bias then.
template <int BM, int BP, int BK, int SPLIT, bool TF32>
__global__ void __launch_bounds__(Block<BM, BP, BK, SPLIT, TF32>::THREADS, 4)
conv2d_forward_pipelined(const float* __restrict__ x, const float* __restrict__ w, const float* __restrict__ bias,
                         float* __restrict__ y, float* __restrict__ means, float* __restrict__ squares, Shape s) {
    SIZES_OF(s);
    using Block = Block<BM, BP, BK, SPLIT, TF32>;
    const int group = blockIdx.z, P = OH * OW * N, area = kh * kw;
    const Taps taps{kh, kw, dh, dw, 0, kw, 1};
    const auto first_pixel = [&](int p) {
        const Position out = position(p, OW, N);
        return Position{out.h * sh - ph, out.w * sw - pw, out.n};
    };
    const auto store = [&](int o, int p, float4 v) {
        const float b = bias != nullptr ? bias[group * O + o] : 0.0f;
        reinterpret_cast<float4*>(y)[((group * O + o) * P + p) / 4] = make_float4(v.x + b, v.y + b, v.z + b, v.w + b);
    };
    const auto statistics = [&](const auto& results) {
        if (means == nullptr) return;
        row_statistics<Block::THREADS>(results, min(BP, P - int(blockIdx.x * BP)), [&](int m, float mean, float square) {
            const int run = (group * O + blockIdx.y * BM + m) * gridDim.x + blockIdx.x;
            means[run] = mean;
            squares[run] = square;
        });
    };
    sum_over_taps<BM, BP, BK, SPLIT, TF32>(w + group * O * C * area, C * area, area, x + group * C * H * W * N, P, C, H,
                                           W, N, taps, first_pixel, store, statistics);
}

// blockIdx.z = (group · phases down + phase down) · phases across + phase across.
template <int BM, int BP, int BK, int SPLIT, bool TF32>
__global__ void __launch_bounds__(Block<BM, BP, BK, SPLIT, TF32>::THREADS, 4)
conv2d_input_gradient_pipelined(const float* __restrict__ g, const float* __restrict__ w, float* __restrict__ dx,
                                Shape s) {
    SIZES_OF(s);
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
    sum_over_taps<BM, BP, BK, SPLIT, TF32>(w + group * O * C * area, area, C * area, g + group * O * OH * OW * N, P, O,
                                           OH, OW, N, taps, first_pixel, store, [](const auto&) {});
}

// ── weight gradient ─────────────────────────────────────────────────────────────────────────────────────────────────

// A block computes BM rows of BC channels with all their K·K taps: for K = 3 as many columns as 16 channels have, 144.
// The sum runs along positions, which are what is contiguous in both g and x, so rows of the tiles lie along k here.
// Plainly a thread reads four k at a time and computes 4 rows of all taps of one channel, or of eight if K = 1. On tensor
// cores a warp computes 16 rows of all columns, and a thread reads the two k that it needs for an instruction.
template <int BM, int BK, int SPLIT, int K, bool TF32>
struct WeightBlock {
    static constexpr int TAPS = K * K, CHANNELS = K == 1 ? 8 : 1, BC = K == 1 ? 64 : 16, ACROSS = BC / CHANNELS;
    static constexpr int COLUMNS = BC * TAPS, GROUP = TF32 ? BM / 16 * WARP : BM / 4 * ACROSS, THREADS = SPLIT * GROUP;
    static constexpr int ACROSS_MMA = BC / 8;  // instructions for the channels of a tap

    union Shared {
        struct { float g[STAGES][BM][BK + 4], x[STAGES][TAPS][BC][BK + 4]; } tiles;
        float results[SPLIT][BM][COLUMNS + 4];
    };

    int group, row, channel, quad;  // the thread's group, and where it begins to read
    float acc[TF32 ? COLUMNS / 2 : 4 * CHANNELS * TAPS] = {};

    __device__ WeightBlock() {
        const int t = threadIdx.x % GROUP, lane = t % WARP;
        group = threadIdx.x / GROUP;
        quad = lane % 4;
        row = TF32 ? t / WARP * 16 + lane / 4 : t / ACROSS * 4;
        channel = TF32 ? lane / 4 : t % ACROSS;
    }
    __device__ void multiply(const Shared& shared, int stage) {
        const auto& g = shared.tiles.g[stage];
        const auto& x = shared.tiles.x[stage];
        const int first = group * (BK / SPLIT);
        if constexpr (TF32) {
#pragma unroll
            for (int l = 0; l < BK / SPLIT; l += 8) {
                const int k = first + l + 2 * quad;
                float a[4];
#pragma unroll
                for (int e = 0; e < 4; ++e) a[e] = for_tf32(g[row + e % 2 * 8][k + e / 2]);
#pragma unroll
                for (int n = 0; n < COLUMNS / 8; ++n) {
                    const float* columns = &x[n / ACROSS_MMA][channel + n % ACROSS_MMA * 8][k];
                    const float b[2] = {for_tf32(columns[0]), for_tf32(columns[1])};
                    mma_m16n8k8(acc + 4 * n, a, b);
                }
            }
        } else {
#pragma unroll
            for (int k = first; k < first + BK / SPLIT; k += 4) {
                float a[4][4];
#pragma unroll
                for (int i = 0; i < 4; ++i)
#pragma unroll
                    for (int e = 0; e < 4; ++e) a[i][e] = g[row + i][k + e];
#pragma unroll
                for (int n = 0; n < CHANNELS * TAPS; ++n) {
                    float b[4];
#pragma unroll
                    for (int e = 0; e < 4; ++e) b[e] = x[n % TAPS][channel + n / TAPS * ACROSS][k + e];
#pragma unroll
                    for (int e = 0; e < 4; ++e)
#pragma unroll
                        for (int i = 0; i < 4; ++i) acc[4 * n + i] += a[i][e] * b[e];
                }
            }
        }
    }
    __device__ void put(float (&results)[SPLIT][BM][COLUMNS + 4]) const {
#pragma unroll
        for (int r = 0; r < (TF32 ? COLUMNS / 2 : 4 * CHANNELS * TAPS); ++r) {
            const int n = r / 4, e = r % 4;
            const int down = TF32 ? e / 2 * 8 : e, tap = TF32 ? n / ACROSS_MMA : n % TAPS;
            const int c = TF32 ? n % ACROSS_MMA * 8 + 2 * quad + e % 2 : channel + n / TAPS * ACROSS;
            results[group][row + down][c * TAPS + tap] = acc[r];
        }
    }
};

// The sum over positions is cut into `parts` runs of `length` positions, a multiple of BK. Each has blocks and a copy of
// the result to itself, which sum_parts (conv.cu) adds: the same bits every time. blockIdx.z = group · parts + part;
// dw_parts (groups, parts, O, taps).
template <int BM, int BK, int SPLIT, int K, bool TF32>
__global__ void __launch_bounds__(WeightBlock<BM, BK, SPLIT, K, TF32>::THREADS, 4)
conv2d_weight_gradient_pipelined(const float* __restrict__ g, const float* __restrict__ x,
                                 float* __restrict__ dw_parts, Parts how) {
    SIZES_OF(how.shape);
    const int parts = how.parts, length = how.length;
    using Block = WeightBlock<BM, BK, SPLIT, K, TF32>;
    constexpr int QUADS = BK / 4, BC = Block::BC, TAPS = Block::TAPS, LINES = Block::THREADS / QUADS;
    __shared__ alignas(16) typename Block::Shared shared;
    const int group = blockIdx.z / parts, first = blockIdx.z % parts * length, P = OH * OW * N;
    const int last = min(first + length, P), m0 = blockIdx.y * BM, c0 = blockIdx.x * BC;
    const int line = threadIdx.x / QUADS, quad = threadIdx.x % QUADS * 4;

    int p = first + quad;  // of the next step: this thread's position
    Position out = position(p, OW, N);
    const long long positions = P, plane = H * W * N, row = dh * W * N, pixel = dw * N;
    const float* from_g = g + (group * O + m0 + line) * positions + p;
    const float* channel = x + (group * C + c0 + line) * plane;

    const auto fetch = [&](int stage) {
#pragma unroll
        for (int l = 0; l < BM; l += LINES)
            if (BM % LINES == 0 || line + l < BM)
                copy_async<16>(&shared.tiles.g[stage][line + l][quad], from_g + l * positions, p < last);
        const int top = out.h * sh - ph, left = out.w * sw - pw;
        const float* corner = channel + (top * W + left) * N + out.n;
#pragma unroll
        for (int l = 0; l < BC; l += LINES)
            if (BC % LINES == 0 || line + l < BC)
#pragma unroll
                for (int i = 0; i < K; ++i)
#pragma unroll
                    for (int j = 0; j < K; ++j)
                        copy_async<16>(&shared.tiles.x[stage][i * K + j][line + l][quad],
                                       corner + l * plane + i * row + j * pixel,
                                       p < last && unsigned(top + i * dh) < unsigned(H) &&
                                           unsigned(left + j * dw) < unsigned(W));
        p += BK, from_g += BK;
        for (out.n += BK; out.n >= N; out.n -= N)
            if (++out.w == OW) out.w = 0, ++out.h;
    };
    Block block;
    pipeline<STAGES>((last - first + BK - 1) / BK, fetch,
                     [&](int stage) { block.multiply(shared, stage); });
    block.put(shared.results);
    add_groups<Block::THREADS>(shared.results, Block::COLUMNS, [&](int m, int k, float4 v) {
        const int at = (blockIdx.z * O + m0 + m) * C * TAPS + c0 * TAPS + k;
        reinterpret_cast<float4*>(dw_parts)[at / 4] = v;
    });
}
