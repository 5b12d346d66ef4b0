// The loop of a tiled product that copies from global to shared memory without passing through registers (cp.async).
// As in product.cuh, a block computes BM × BP results and walks along k in steps of BK. Here STAGES pairs of tiles take
// turns: while one pair is multiplied, the copies into the next ones are under way, and no thread waits for a load.
// What a copy brings may be read once the thread that began it has waited for it, and the others have met at a barrier.
//
// If there are too few results to keep the card busy, SPLIT groups of warps compute the same ones, each from its share of
// every step; at the end they are added.
#pragma once
#include "common.cuh"

#ifdef __CUDACC__  // the CPU runner has its own versions of these
// Copy 4 or 16 bytes to shared memory, or zeros if not `inside`; both addresses are multiples of that size.
template <int BYTES>
__device__ inline void copy_async(float* to, const float* from, bool inside) {
    const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(address), "l"(from), "n"(BYTES),
                 "r"(inside ? BYTES : 0) : "memory");
}
// The copies that this thread has begun since the last call are one group.
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Wait until all of this thread's groups but the newest NEWEST have arrived.
template <int NEWEST>
__device__ inline void wait_for_copies() { asm volatile("cp.async.wait_group %0;" ::"n"(NEWEST) : "memory"); }
#endif

// Runs `fetch(stage)`, which begins the copies of the next step, and `multiply(stage)` for each step, in turn.
template <int STAGES, class Fetch, class Multiply>
__device__ inline void pipeline(int steps, Fetch fetch, Multiply multiply) {
    for (int s = 0; s < STAGES - 1; ++s) {
        if (s < steps) fetch(s);
        commit_copies();
    }
    int now = 0;
    for (int s = 0; s < steps; ++s) {
        wait_for_copies<STAGES - 2>();
        __syncthreads();  // the tiles are here; and all have multiplied those that are overwritten next
        if (s + STAGES - 1 < steps) fetch(now == 0 ? STAGES - 1 : now - 1);
        commit_copies();
        multiply(now);
        if (++now == STAGES) now = 0;
    }
    __syncthreads();  // the results may take the tiles' place
}

// Adds the groups' results, once they are all in shared memory, and stores them four at a time: store(m, p, four).
template <int THREADS, int SPLIT, int BM, int WIDTH, class Store>
__device__ inline void add_groups(const float (&results)[SPLIT][BM][WIDTH], int columns, Store store) {
    __syncthreads();
    for (int e = threadIdx.x; e < BM * columns / 4; e += THREADS) {
        const int m = e / (columns / 4), p = e % (columns / 4) * 4;
        float sum[4] = {};
#pragma unroll
        for (int group = 0; group < SPLIT; ++group)
#pragma unroll
            for (int j = 0; j < 4; ++j) sum[j] += results[group][m][p + j];
        store(m, p, make_float4(sum[0], sum[1], sum[2], sum[3]));
    }
}

// Mean and Σ(v − mean)² of each row of the groups' sums, a warp to a row: store(m, mean, square). `size` columns count.
template <int THREADS, int SPLIT, int BM, int WIDTH, class Store>
__device__ inline void row_statistics(const float (&results)[SPLIT][BM][WIDTH], int size, Store store) {
    constexpr int EACH = WIDTH / WARP;  // columns of a lane; the padding of a row is less than a warp wide
    for (int m = threadIdx.x / WARP; m < BM; m += THREADS / WARP) {
        float v[EACH] = {}, sum = 0, square = 0;
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            const int p = threadIdx.x % WARP + i * WARP;
#pragma unroll
            for (int group = 0; group < SPLIT; ++group) v[i] += results[group][m][p];
            sum += v[i];  // 0 beyond `size`
        }
        const float mean = warp_reduce<Sum>(sum) / size;
#pragma unroll
        for (int i = 0; i < EACH; ++i)
            if (threadIdx.x % WARP + i * WARP < size) square += (v[i] - mean) * (v[i] - mean);
        square = warp_reduce<Sum>(square);
        if (threadIdx.x % WARP == 0) store(m, mean, square);
    }
}
