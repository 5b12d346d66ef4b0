// Batch normalisation. Definitions: batchnorm/definition.py.
//
//   batch_norm_statistics      mean and Σ(x − mean)² of each run of a channel
//   batch_norm_combine         the runs' numbers -> mean and biased variance of the channel
//   batch_norm_apply           y = γ·(x − μ)/√(σ² + ε) + β, with μ and σ² combined from the runs' numbers on the way;
//                              moves the running statistics, too; on request, y = max(y + addend, 0) in the same pass
//   batch_norm_sums            Σ g and Σ g·(x − μ) of each run
//   batch_norm_relu_sums       the same, where g first goes back through a ReLU; writes that, too
//   batch_norm_combine_sums    the runs' sums -> dγ = Σ g·x̂ and dβ = Σ g
//   batch_norm_input_gradient  dx = γ/√(σ² + ε) · (g − dβ/M − x̂·dγ/M), with dγ and dβ combined from the runs' sums on
//                              the way; in evaluation only the first term
//   running_update             the running statistics move towards the batch's
//
// With the batch innermost, a channel is one row of M = N·H·W numbers. blockIdx.y is the channel. For sums, a block
// takes a run of `length` numbers, and the runs are combined in order: no atomics, the same bits every time. All blocks
// of a channel combine its few runs again, each for itself, which takes less time than one more launch.
#include "common.cuh"

constexpr int BLOCK = 256, PACKS = 2;  // packs of a thread

template <typename T>
constexpr int TILE = BLOCK * PACKS * Pack<T>::SIZE;  // entries that a block reads at a time

// Where a thread's k-th pack of a tile begins.
template <typename T>
__device__ inline int column(int tile, int k) {
    return tile + (k * BLOCK + threadIdx.x) * Pack<T>::SIZE;
}

struct Runs {  // of a row of M numbers: `count` of them, of `length` each but the last
    int M, length, count;
    __device__ int size(int run) const { return min(length, M - run * length); }
};

// The run's numbers stay in registers between the two sums, so that they are read once. A run of several tiles joins
// their numbers as `combine` does those of the runs.
template <typename T>
__global__ void __launch_bounds__(BLOCK)
batch_norm_statistics(const T* __restrict__ x, T* __restrict__ means, T* __restrict__ squares, Runs runs) {
    __shared__ T scratch[2][BLOCK / WARP];
    const int first = blockIdx.x * runs.length, last = first + runs.size(blockIdx.x);
    const T* row = x + blockIdx.y * runs.M;
    T mean = 0, square = 0;
    for (int tile = first; tile < last; tile += TILE<T>) {
        Pack<T> packs[PACKS];
        T sum = 0, off = 0;
#pragma unroll
        for (int k = 0; k < PACKS; ++k) {
            packs[k] = load_pack(row + column<T>(tile, k), last - column<T>(tile, k));
#pragma unroll
            for (int j = 0; j < Pack<T>::SIZE; ++j) sum += packs[k].at[j];
        }
        const T size = min(last - tile, TILE<T>), before = tile - first;
        const T tile_mean = block_reduce<Sum>(sum, scratch[0]) / size;
#pragma unroll
        for (int k = 0; k < PACKS; ++k)
#pragma unroll
            for (int j = 0; j < Pack<T>::SIZE; ++j)
                if (column<T>(tile, k) + j < last) off += (packs[k].at[j] - tile_mean) * (packs[k].at[j] - tile_mean);
        off = block_reduce<Sum>(off, scratch[1]);
        const T step = tile_mean - mean, share = size / (before + size);
        mean += step * share;
        square += off + step * step * before * share;
    }
    if (threadIdx.x == 0) {
        means[blockIdx.y * gridDim.x + blockIdx.x] = mean;
        squares[blockIdx.y * gridDim.x + blockIdx.x] = square;
    }
}

// Chan, Golub, LeVeque 1979: Σ(x − μ)² = Σ_runs [Σ(x − mean_run)² + n_run·(mean_run − μ)²]. Every warp does it all.
template <typename T>
__device__ inline void combine(const T* means, const T* squares, Runs runs, T& mean, T& var) {
    const int lane = threadIdx.x % WARP;
    T sum = 0, square = 0;
    for (int r = lane; r < runs.count; r += WARP) sum += means[r] * T(runs.size(r));
    mean = warp_reduce<Sum>(sum) / T(runs.M);
    for (int r = lane; r < runs.count; r += WARP) {
        const T off = means[r] - mean;
        square += squares[r] + off * off * T(runs.size(r));
    }
    var = warp_reduce<Sum>(square) / T(runs.M);
}

template <typename T>
__global__ void batch_norm_combine(const T* __restrict__ means, const T* __restrict__ squares, T* __restrict__ mean,
                                   T* __restrict__ var, Runs runs) {
    const int c = blockIdx.x;
    T mu, sigma2;
    combine(means + c * runs.count, squares + c * runs.count, runs, mu, sigma2);
    if (threadIdx.x == 0) {
        mean[c] = mu;
        var[c] = sigma2;
    }
}

template <typename T>
struct Apply {
    int M;      // numbers of a row
    Runs runs;  // where μ and σ² come from; given ones are those of one run of one number
    T eps, momentum, unbias;
    int has_weight, has_bias, keeps, moves, relu;
};

// running ← running + momentum·(batch − running), with the variance made unbiased: σ²·M/(M − 1).
template <typename T>
__global__ void __launch_bounds__(BLOCK)
batch_norm_apply(const T* __restrict__ x, const T* __restrict__ weight, const T* __restrict__ bias,
                 const T* __restrict__ means, const T* __restrict__ squares, const T* __restrict__ addend,
                 T* __restrict__ y, T* __restrict__ mean, T* __restrict__ var, T* __restrict__ running_mean,
                 T* __restrict__ running_var, long long* __restrict__ batches, Apply<T> how) {
    const int c = blockIdx.y, M = how.M;
    T mu, sigma2;
    combine(means + c * how.runs.count, squares + c * how.runs.count, how.runs, mu, sigma2);
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        if (how.keeps) mean[c] = mu, var[c] = sigma2;
        if (how.moves) running_mean[c] = running_mean[c] + how.momentum * (mu - running_mean[c]);
        if (how.moves) running_var[c] = running_var[c] + how.momentum * (sigma2 * how.unbias - running_var[c]);
        if (c == 0 && batches != nullptr) batches[c] = batches[c] + 1;
    }
    const T inv_std = T(1) / sqrt(sigma2 + how.eps), scale = how.has_weight ? inv_std * weight[c] : inv_std;
    const T shift = how.has_bias ? bias[c] : T(0);
#pragma unroll
    for (int k = 0; k < PACKS; ++k) {
        const int at = column<T>(blockIdx.x * TILE<T>, k);
        if (at >= M) break;
        Pack<T> pack = load_pack(x + c * M + at, M - at);
#pragma unroll
        for (int j = 0; j < Pack<T>::SIZE; ++j) pack.at[j] = (pack.at[j] - mu) * scale + shift;
        if (addend != nullptr) {
            const Pack<T> more = load_pack(addend + c * M + at, M - at);
#pragma unroll
            for (int j = 0; j < Pack<T>::SIZE; ++j) pack.at[j] += more.at[j];
        }
        if (how.relu) {
#pragma unroll
            for (int j = 0; j < Pack<T>::SIZE; ++j) pack.at[j] = pack.at[j] <= 0 ? T(0) : pack.at[j];  // NaN stays NaN
        }
        store_pack(y + c * M + at, M - at, pack);
    }
}

// Both sums of a run, over the packs of g that `gradient(at, rest)` gives: at is the place in x, rest as in load_pack.
template <typename T, class F>
__device__ inline void sum_run(const T* x, const T* mean, T* sums_g, T* sums_gx, Runs runs, F gradient) {
    __shared__ T scratch[2][BLOCK / WARP];
    const int first = blockIdx.x * runs.length, last = first + runs.size(blockIdx.x), row = blockIdx.y * runs.M;
    const T mu = mean[blockIdx.y];
    T sum_g = 0, sum_gx = 0;
    for (int tile = first; tile < last; tile += TILE<T>) {
        T tile_g = 0, tile_gx = 0;
#pragma unroll
        for (int k = 0; k < PACKS; ++k) {
            const int at = column<T>(tile, k);
            const Pack<T> g_pack = gradient(row + at, last - at), x_pack = load_pack(x + row + at, last - at);
#pragma unroll
            for (int j = 0; j < Pack<T>::SIZE; ++j) {  // beyond the row, g is 0
                tile_g += g_pack.at[j];
                tile_gx += g_pack.at[j] * (x_pack.at[j] - mu);
            }
        }
        sum_g += tile_g;
        sum_gx += tile_gx;
    }
    sum_g = block_reduce<Sum>(sum_g, scratch[0]);
    sum_gx = block_reduce<Sum>(sum_gx, scratch[1]);
    if (threadIdx.x == 0) {
        sums_g[blockIdx.y * gridDim.x + blockIdx.x] = sum_g;
        sums_gx[blockIdx.y * gridDim.x + blockIdx.x] = sum_gx;
    }
}

template <typename T>
__global__ void __launch_bounds__(BLOCK)
batch_norm_sums(const T* __restrict__ g, const T* __restrict__ x, const T* __restrict__ mean, T* __restrict__ sums_g,
                T* __restrict__ sums_gx, Runs runs) {
    sum_run(x, mean, sums_g, sums_gx, runs, [&](int at, int rest) { return load_pack(g + at, rest); });
}

// g is the gradient of the ReLU's output y; its gradient before the ReLU is what is summed, and written to `masked`.
template <typename T>
__global__ void __launch_bounds__(BLOCK)
batch_norm_relu_sums(const T* __restrict__ g, const T* __restrict__ y, const T* __restrict__ x,
                     const T* __restrict__ mean, T* __restrict__ masked, T* __restrict__ sums_g,
                     T* __restrict__ sums_gx, Runs runs) {
    sum_run(x, mean, sums_g, sums_gx, runs, [&](int at, int rest) {
        const Pack<T> y_pack = load_pack(y + at, rest);
        Pack<T> pack = load_pack(g + at, rest);
#pragma unroll
        for (int j = 0; j < Pack<T>::SIZE; ++j) pack.at[j] = y_pack.at[j] <= 0 ? T(0) : pack.at[j];
        store_pack(masked + at, rest, pack);
        return pack;
    });
}

// One run's sum after the other is joined by the lanes of a warp; every warp does it all.
template <typename T>
__device__ inline T total(const T* sums, int runs) {
    T sum = 0;
    for (int r = threadIdx.x % WARP; r < runs; r += WARP) sum += sums[r];
    return warp_reduce<Sum>(sum);
}

template <typename T>
struct Combine {
    int runs;
    T eps;
};

template <typename T>
__global__ void batch_norm_combine_sums(const T* __restrict__ sums_g, const T* __restrict__ sums_gx,
                                        const T* __restrict__ var, T* __restrict__ grad_weight,
                                        T* __restrict__ grad_bias, Combine<T> how) {
    const int c = blockIdx.x;
    const T sum_g = total(sums_g + c * how.runs, how.runs), sum_gx = total(sums_gx + c * how.runs, how.runs);
    if (threadIdx.x == 0) {
        grad_bias[c] = sum_g;
        grad_weight[c] = sum_gx / sqrt(var[c] + how.eps);
    }
}

template <typename T>
struct Gradient {
    int M, runs, count;  // numbers of a row here, runs that were summed, numbers of a row in the whole batch
    T eps;
    int has_weight, keeps;
};

template <typename T, bool TRAINING>
__global__ void __launch_bounds__(BLOCK)
batch_norm_input_gradient(const T* __restrict__ g, const T* __restrict__ x, const T* __restrict__ weight,
                          const T* __restrict__ mean, const T* __restrict__ var, const T* __restrict__ sums_g,
                          const T* __restrict__ sums_gx, T* __restrict__ grad_weight, T* __restrict__ grad_bias,
                          T* __restrict__ dx, Gradient<T> how) {
    const int c = blockIdx.y, M = how.M;
    const T inv_std = T(1) / sqrt(var[c] + how.eps), scale = how.has_weight ? inv_std * weight[c] : inv_std;
    T mu = 0, through_mean = 0, through_var = 0;
    if (TRAINING || how.keeps) {
        const T sum_g = total(sums_g + c * how.runs, how.runs);
        const T sum_gxhat = total(sums_gx + c * how.runs, how.runs) / sqrt(var[c] + how.eps);
        if (how.keeps && blockIdx.x == 0 && threadIdx.x == 0) grad_bias[c] = sum_g, grad_weight[c] = sum_gxhat;
        if (TRAINING) {
            mu = mean[c];
            through_mean = sum_g / T(how.count);               // because μ depends on x
            through_var = inv_std * sum_gxhat / T(how.count);  // because σ² does
        }
    }
#pragma unroll
    for (int k = 0; k < PACKS; ++k) {
        const int at = column<T>(blockIdx.x * TILE<T>, k);
        if (at >= M) break;
        Pack<T> pack = load_pack(g + c * M + at, M - at);
        if (TRAINING) {
            const Pack<T> x_pack = load_pack(x + c * M + at, M - at);
#pragma unroll
            for (int j = 0; j < Pack<T>::SIZE; ++j)
                pack.at[j] = pack.at[j] - through_mean - (x_pack.at[j] - mu) * through_var;
        }
#pragma unroll
        for (int j = 0; j < Pack<T>::SIZE; ++j) pack.at[j] *= scale;
        store_pack(dx + c * M + at, M - at, pack);
    }
}

template <typename T>
struct Move {
    int channels;
    T momentum, unbias;
};

template <typename T>
__global__ void running_update(T* __restrict__ running_mean, T* __restrict__ running_var, const T* __restrict__ mean,
                               const T* __restrict__ var, Move<T> how) {
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= how.channels) return;
    const T old_mean = running_mean[c], old_var = running_var[c];
    running_mean[c] = old_mean + how.momentum * (mean[c] - old_mean);
    running_var[c] = old_var + how.momentum * (var[c] * how.unbias - old_var);
}
