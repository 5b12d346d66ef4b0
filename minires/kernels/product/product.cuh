// The tiled matrix product under all convolutions and the linear layer:  store(m, p, Σ_k a(m, k) · b(k, p)).
//
// The operands are never stored as matrices. A and B are small objects that compute where an entry is, so the matrix of
// a convolution's patches ("im2col") exists only as the tile that is now in shared memory: an *implicit* product.
//
//                    ┌── BP ──┐             A block computes BM × BP results, walking along k in steps of BK:
//                 BK │   sb   │               1. each thread fetches its entries of the next tiles into registers,
//           BK       └────────┘               2. and multiplies the tiles in shared memory meanwhile;
//        ┌──────┐    ┌────────┐               3. then the fetched entries become the other pair of tiles.
//     BM │  sa  │    │  acc   │             Two pairs of tiles take turns, so one barrier a step is enough.
//        └──────┘    └────────┘             A thread computes TM × TP results, read from shared memory four at a time.
//
// A has  T at(m, k).   B has  Fixed fix(i)  and  T at(fixed, other): a thread's loads share one column p (ALONG_K false)
// or one row k (ALONG_K true), whichever is contiguous in memory across threads, and `fix` does the divisions for it once.
// Store has  Fixed fix(p)  and  void at(fixed, m, value).
// If LONG, k may run so far that float32 would lose digits: it is summed in runs of STEPS steps, and then their sums. That
// takes registers for another TM × TP numbers.
#pragma once
#include "common.cuh"
#include "product/tensor_core.cuh"

constexpr int BK = 16, STEPS = 16;
template <int BM, int BP, int TM, int TP>
constexpr int threads_of = (BM / TM) * (BP / TP);

// How many blocks of 128 threads must fit on a multiprocessor, whose 65,536 registers they share: with four, a thread
// has 128 registers. For float64, TF32 and the tile of 32 rows it is three, and 168: 128 would spill some to memory.
template <typename T, int BM, bool TF32>
constexpr int blocks_of = sizeof(T) == 8 || TF32 || BM == 32 ? 3 : 4;

// Where a thread's results are in the block's tile.
// Plain: TM rows in a run; columns in runs of 4, spread over the tile so that a warp reads shared memory in one go.
// TF32: each of the 4 warps owns 32 rows and 32 columns, in the order of the mma instruction's results.
template <int BM, int BP, int TM, int TP, bool TF32>
struct Place {
    int row0, column0;
    __device__ Place() {
        const int t = threadIdx.x, lane = t % WARP, warp = t / WARP;
        if (TF32) {
            row0 = warp / (BP / 32) * 32 + lane / 4;
            column0 = warp % (BP / 32) * 32 + lane % 4 * 2;
        } else {
            row0 = t / (BP / TP) * TM;
            column0 = t % (BP / TP) * 4;
        }
    }
    // result r = i·TP + j of a thread
    __device__ int row(int r) const { return TF32 ? row0 + r / 16 * 16 + r / 2 % 2 * 8 : row0 + r / TP; }
    __device__ int column(int r) const {
        return TF32 ? column0 + r / 4 % 4 * 8 + r % 2 : column0 + r % TP / 4 * (4 * BP / TP) + r % 4;
    }
};

template <typename T, int BM, int BP, int TM, int TP, bool TF32, bool LONG, class A, class B, class Store>
__device__ inline void product(const A& a, const B& b, const Store& store, int M, int P, int K) {
    constexpr int THREADS = threads_of<BM, BP, TM, TP>;
    constexpr int LOADS_A = BM * BK / THREADS, LOADS_B = BP * BK / THREADS;
    constexpr int PAD = TF32 ? 8 : 4;  // keeps rows aligned, and a warp's threads in different banks
    static_assert(TM % 4 == 0 && TP % 4 == 0 && THREADS % BP == 0 && THREADS % BK == 0, "threads must share out loads");
    static_assert(BM % (THREADS / BK) == 0 && BP % (THREADS / BK) == 0, "and every load must be whole");
    __shared__ alignas(16) T sa[2][BK][BM + PAD], sb[2][BK][BP + PAD];
    const int t = threadIdx.x, m0 = blockIdx.y * BM, p0 = blockIdx.x * BP;
    const Place<BM, BP, TM, TP, TF32> place;
    T acc[TM * TP] = {}, sum[TM * TP] = {};  // sum only if LONG
    T next_a[LOADS_A], next_b[LOADS_B];

    const int own_column = p0 + t % BP;
    typename B::Fixed column{};
    if (!B::ALONG_K && own_column < P) column = b.fix(own_column);

    auto fetch = [&](int k0) {
#pragma unroll
        for (int i = 0; i < LOADS_A; ++i) {
            const int k = k0 + t % BK, m = m0 + t / BK + i * (THREADS / BK);
            next_a[i] = k < K && m < M ? a.at(m, k) : T(0);
        }
        if (B::ALONG_K) {
            const int k = k0 + t % BK;
            typename B::Fixed row{};
            if (k < K) row = b.fix(k);
#pragma unroll
            for (int i = 0; i < LOADS_B; ++i) {
                const int p = p0 + t / BK + i * (THREADS / BK);
                next_b[i] = k < K && p < P ? b.at(row, p) : T(0);
            }
        } else {
#pragma unroll
            for (int i = 0; i < LOADS_B; ++i) {
                const int k = k0 + t / BP + i * (THREADS / BP);
                next_b[i] = k < K && own_column < P ? b.at(column, k) : T(0);
            }
        }
    };
    auto put = [&](int buffer) {
#pragma unroll
        for (int i = 0; i < LOADS_A; ++i)
            sa[buffer][t % BK][t / BK + i * (THREADS / BK)] = TF32 ? T(for_tf32(next_a[i])) : next_a[i];
#pragma unroll
        for (int i = 0; i < LOADS_B; ++i) {
            const T v = TF32 ? T(for_tf32(next_b[i])) : next_b[i];
            if (B::ALONG_K) sb[buffer][t % BK][t / BK + i * (THREADS / BK)] = v;
            else sb[buffer][t / BP + i * (THREADS / BP)][t % BP] = v;
        }
    };

    fetch(0);
    put(0);
    __syncthreads();
    int now = 0;
    for (int k0 = 0; k0 < K; k0 += BK) {
        const bool more = k0 + BK < K;
        if (more) fetch(k0 + BK);
        if constexpr (TF32) {
#pragma unroll
            for (int k = 0; k < BK; k += 8) {
                const int lane = t % WARP, group = lane / 4, quad = lane % 4;
                const int row = place.row0 - group, column = place.column0 - 2 * quad;  // of the warp's tile
                float fa[TM * TP / 16][4], fb[4][2];
#pragma unroll
                for (int i = 0; i < TM * TP / 16; ++i)
#pragma unroll
                    for (int e = 0; e < 4; ++e)
                        fa[i][e] = sa[now][k + quad + e / 2 * 4][row + 16 * i + group + e % 2 * 8];
#pragma unroll
                for (int j = 0; j < 4; ++j)
#pragma unroll
                    for (int e = 0; e < 2; ++e) fb[j][e] = sb[now][k + quad + e * 4][column + 8 * j + group];
#pragma unroll
                for (int i = 0; i < TM * TP / 16; ++i)
#pragma unroll
                    for (int j = 0; j < 4; ++j) mma_m16n8k8(acc + 16 * i + 4 * j, fa[i], fb[j]);
            }
        } else {
#pragma unroll
            for (int k = 0; k < BK; ++k) {
                T va[TM], vb[TP];
#pragma unroll
                for (int i = 0; i < TM; ++i) va[i] = sa[now][k][place.row(i * TP)];
#pragma unroll
                for (int j = 0; j < TP; ++j) vb[j] = sb[now][k][place.column(j)];
#pragma unroll
                for (int i = 0; i < TM; ++i)
#pragma unroll
                    for (int j = 0; j < TP; ++j) acc[i * TP + j] += va[i] * vb[j];
            }
        }
        now ^= 1;
        if (more) put(now);
        __syncthreads();
        if (LONG && (k0 / BK % STEPS == STEPS - 1 || !more)) {
#pragma unroll
            for (int r = 0; r < TM * TP; ++r) {
                sum[r] += acc[r];
                acc[r] = 0;
            }
        }
    }
#pragma unroll
    for (int r = 0; r < TM * TP; ++r) {
        const int m = m0 + place.row(r), p = p0 + place.column(r);
        if (m < M && p < P) store.at(store.fix(p), m, LONG ? sum[r] : acc[r]);
    }
}
