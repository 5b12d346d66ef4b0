// Batch normalisation. Definitions: batchnorm/definition.py.
//
//   batch_norm_statistics      mean and Σ(x − mean)² of each run of a channel
//   batch_norm_combine         the runs' numbers -> mean and biased variance of the channel
//   batch_norm_apply           y = γ·(x − μ)/√(σ² + ε) + β
//   batch_norm_sums            Σ g and Σ g·(x − μ) of each run
//   batch_norm_combine_sums    the runs' sums -> dγ = Σ g·x̂ and dβ = Σ g
//   batch_norm_input_gradient  dx = γ/√(σ² + ε) · (g − dβ/M − x̂·dγ/M); in evaluation only the first term
//   running_update             the running statistics move towards the batch's
//
// With the batch innermost, a channel is one row of M = N·H·W numbers. blockIdx.y is the channel. For sums, a block
// takes a run of `length` numbers, and small kernels combine the runs in order: no atomics, the same bits every time.
#include "common.cuh"

constexpr int BLOCK = 256, ITEMS = 4;

template <typename T>
__global__ void __launch_bounds__(BLOCK)
batch_norm_statistics(const T* __restrict__ x, T* __restrict__ means, T* __restrict__ squares, int M, int length) {
    __shared__ T scratch[2][BLOCK / WARP];
    const int first = blockIdx.x * length, last = min(first + length, M), run = blockIdx.y * gridDim.x + blockIdx.x;
    const T* row = x + blockIdx.y * M;
    const T sum = join_in_runs<Sum>(T(0), first + threadIdx.x, last, BLOCK, [&](int i) { return row[i]; });
    const T mean = block_reduce<Sum>(sum, scratch[0]) / T(last - first);
    T square = join_in_runs<Sum>(T(0), first + threadIdx.x, last, BLOCK,
                                 [&](int i) { return (row[i] - mean) * (row[i] - mean); });  // from cache
    square = block_reduce<Sum>(square, scratch[1]);
    if (threadIdx.x == 0) {
        means[run] = mean;
        squares[run] = square;
    }
}

// Chan, Golub, LeVeque 1979: Σ(x − μ)² = Σ_runs [Σ(x − mean_run)² + n_run·(mean_run − μ)²]. One warp per channel.
template <typename T>
__global__ void batch_norm_combine(const T* __restrict__ means, const T* __restrict__ squares, T* __restrict__ mean,
                                   T* __restrict__ var, int M, int length, int runs) {
    const int c = blockIdx.x;
    T sum = 0, square = 0;
    for (int r = threadIdx.x; r < runs; r += WARP) sum += means[c * runs + r] * T(min(length, M - r * length));
    const T mu = warp_reduce<Sum>(sum) / T(M);
    for (int r = threadIdx.x; r < runs; r += WARP) {
        const T off = means[c * runs + r] - mu;
        square += squares[c * runs + r] + off * off * T(min(length, M - r * length));
    }
    square = warp_reduce<Sum>(square);
    if (threadIdx.x == 0) {
        mean[c] = mu;
        var[c] = square / T(M);
    }
}

template <typename T>
__global__ void __launch_bounds__(BLOCK)
batch_norm_apply(const T* __restrict__ x, const T* __restrict__ weight, const T* __restrict__ bias,
                 const T* __restrict__ mean, const T* __restrict__ var, T* __restrict__ y, int M, T eps,
                 int has_weight, int has_bias) {
    const int c = blockIdx.y;
    const T inv_std = T(1) / sqrt(var[c] + eps), scale = has_weight ? inv_std * weight[c] : inv_std;
    const T mu = mean[c], shift = has_bias ? bias[c] : T(0);
#pragma unroll
    for (int item = 0; item < ITEMS; ++item) {
        const int column = (blockIdx.x * ITEMS + item) * BLOCK + threadIdx.x, i = c * M + column;
        if (column < M) y[i] = (x[i] - mu) * scale + shift;
    }
}

template <typename T>
__global__ void __launch_bounds__(BLOCK)
batch_norm_sums(const T* __restrict__ g, const T* __restrict__ x, const T* __restrict__ mean, T* __restrict__ sums_g,
                T* __restrict__ sums_gx, int M, int length) {
    __shared__ T scratch[2][BLOCK / WARP];
    const int first = blockIdx.x * length, last = min(first + length, M), run = blockIdx.y * gridDim.x + blockIdx.x;
    const T* g_row = g + blockIdx.y * M;
    const T* x_row = x + blockIdx.y * M;
    const T mu = mean[blockIdx.y];
    T sum_g = 0, sum_gx = 0;
    for (int i = first + threadIdx.x; i < last;) {  // `join_in_runs`, of both sums
        T run_g = 0, run_gx = 0;
        for (int k = 0; k < RUN && i < last; ++k, i += BLOCK) {
            run_g += g_row[i];
            run_gx += g_row[i] * (x_row[i] - mu);
        }
        sum_g += run_g;
        sum_gx += run_gx;
    }
    sum_g = block_reduce<Sum>(sum_g, scratch[0]);
    sum_gx = block_reduce<Sum>(sum_gx, scratch[1]);
    if (threadIdx.x == 0) {
        sums_g[run] = sum_g;
        sums_gx[run] = sum_gx;
    }
}

template <typename T>
__global__ void batch_norm_combine_sums(const T* __restrict__ sums_g, const T* __restrict__ sums_gx,
                                        const T* __restrict__ var, T* __restrict__ grad_weight,
                                        T* __restrict__ grad_bias, int runs, T eps) {
    const int c = blockIdx.x;
    T sum_g = 0, sum_gx = 0;
    for (int r = threadIdx.x; r < runs; r += WARP) {
        sum_g += sums_g[c * runs + r];
        sum_gx += sums_gx[c * runs + r];
    }
    sum_g = warp_reduce<Sum>(sum_g);
    sum_gx = warp_reduce<Sum>(sum_gx);
    if (threadIdx.x == 0) {
        grad_bias[c] = sum_g;
        grad_weight[c] = sum_gx / sqrt(var[c] + eps);
    }
}

template <typename T, bool TRAINING>
__global__ void __launch_bounds__(BLOCK)
batch_norm_input_gradient(const T* __restrict__ g, const T* __restrict__ x, const T* __restrict__ weight,
                          const T* __restrict__ mean, const T* __restrict__ var, const T* __restrict__ grad_weight,
                          const T* __restrict__ grad_bias, T* __restrict__ dx, int M, T eps, int has_weight) {
    const int c = blockIdx.y;
    const T inv_std = T(1) / sqrt(var[c] + eps), scale = has_weight ? inv_std * weight[c] : inv_std;
    const T mu = TRAINING ? mean[c] : T(0);
    const T through_mean = TRAINING ? grad_bias[c] / T(M) : T(0);             // because μ depends on x
    const T through_var = TRAINING ? inv_std * grad_weight[c] / T(M) : T(0);  // because σ² does
#pragma unroll
    for (int item = 0; item < ITEMS; ++item) {
        const int column = (blockIdx.x * ITEMS + item) * BLOCK + threadIdx.x, i = c * M + column;
        if (column < M)
            dx[i] = TRAINING ? scale * (g[i] - through_mean - (x[i] - mu) * through_var) : scale * g[i];
    }
}

// running ← running + momentum·(batch − running), with the variance made unbiased: σ²·M/(M − 1).
template <typename T>
__global__ void running_update(T* __restrict__ running_mean, T* __restrict__ running_var, const T* __restrict__ mean,
                               const T* __restrict__ var, int channels, T momentum, T unbias) {
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= channels) return;
    const T old_mean = running_mean[c], old_var = running_var[c];
    running_mean[c] = old_mean + momentum * (mean[c] - old_mean);
    running_var[c] = old_var + momentum * (var[c] * unbias - old_var);
}
