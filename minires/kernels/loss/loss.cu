// Softmax cross-entropy. Definitions: loss/definition.py.
//
//   count_labels             how many labels are not ignored, and how many of these are out of range: one block
//   one_hot                  class indices -> rows of zeros with a single 1 (none where ignored)
//   cross_entropy            p = softmax(z), loss = −Σ_k q_k·log p_k
//   cross_entropy_backward   dz = g·(p·Σq − q)
//
// z and q are stored as (N, K, R): K classes at each of N·R positions, with R = 1 for a classifier. In the last two
// kernels a warp works on one position, and its lanes share the classes.
#include "common.cuh"

constexpr int BLOCK = 256;

template <typename L>
struct Labels {  // size: how many numbers the result has, or, of count_labels, how many labels there are
    int size, K, R;
    L ignored;
};

template <typename L>
__global__ void __launch_bounds__(BLOCK)
count_labels(const L* __restrict__ labels, L* __restrict__ counts, Labels<L> how) {
    __shared__ int scratch[2][BLOCK / WARP];
    const int size = how.size, K = how.K;
    const L ignored = how.ignored;
    int kept = 0, wrong = 0;
    for (int i = threadIdx.x; i < size; i += BLOCK) {
        const L label = labels[i];
        kept += label != ignored;
        wrong += label != ignored && (label < 0 || label >= K);
    }
    kept = block_reduce<Sum>(kept, scratch[0]);
    wrong = block_reduce<Sum>(wrong, scratch[1]);
    if (threadIdx.x == 0) {
        counts[0] = kept;
        counts[1] = wrong;
    }
}

// A label out of range gives NaN, so that it cannot pass unnoticed: a kernel has no other way to complain.
template <typename T>
__global__ void one_hot(const long long* __restrict__ labels, T* __restrict__ q, Labels<long long> how) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;  // of q: (n·K + k)·R + r
    if (i >= how.size) return;
    const int K = how.K, R = how.R;
    const long long ignored = how.ignored;
    const int k = i / R % K;
    const long long label = labels[i / R / K * R + i % R];
    q[i] = label == ignored ? T(0) : label < 0 || label >= K ? T(nan("")) : T(label == k);
}

struct Classes {
    int positions, K, R;
};

template <typename T>
__global__ void cross_entropy(const T* __restrict__ z, const T* __restrict__ q, T* __restrict__ loss, T* __restrict__ p,
                              Classes how) {
    const int lane = threadIdx.x % WARP, at = blockIdx.x * (BLOCK / WARP) + threadIdx.x / WARP;
    const int positions = how.positions, K = how.K, R = how.R;
    if (at >= positions) return;  // the whole warp leaves together
    const int first = at / R * K * R + at % R;  // class k is k·R entries further
    T largest = z[first];
    for (int k = lane; k < K; k += WARP) {
        const T v = z[first + k * R];
        largest = v > largest || v != v ? v : largest;
    }
    largest = warp_reduce<Max>(largest);
    T sum = 0;
    for (int k = lane; k < K; k += WARP) sum += exp(z[first + k * R] - largest);
    const T log_sum = log(warp_reduce<Sum>(sum));
    T total = 0;
    for (int k = lane; k < K; k += WARP) {
        const T log_p = z[first + k * R] - largest - log_sum, weight = q[first + k * R];
        if (weight != 0) total += weight * log_p;  // 0·log 0 = 0
        p[first + k * R] = exp(log_p);
    }
    total = warp_reduce<Sum>(total);
    if (lane == 0) loss[at] = -total;
}

template <typename T>
__global__ void cross_entropy_backward(const T* __restrict__ g, const T* __restrict__ p, const T* __restrict__ q,
                                       T* __restrict__ dz, Classes how) {
    const int lane = threadIdx.x % WARP, at = blockIdx.x * (BLOCK / WARP) + threadIdx.x / WARP;
    const int positions = how.positions, K = how.K, R = how.R;
    if (at >= positions) return;
    const int first = at / R * K * R + at % R;
    T total = 0;
    for (int k = lane; k < K; k += WARP) total += q[first + k * R];
    total = warp_reduce<Sum>(total);
    for (int k = lane; k < K; k += WARP) {
        const int i = first + k * R;
        dz[i] = g[at] * (p[i] * total - q[i]);
    }
}
