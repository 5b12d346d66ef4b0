// The updates of SGD and Adam, of all parameters in one launch. Definitions: `update` in optim/sgd.py and optim/adam.py.
//
//   sgd    v ← μ·v + (1 − dampening)·d,  θ ← θ − η·v  (or Nesterov's d + μ·v),   d = ±g + λ·θ
//   adam   m ← β₁·m + (1 − β₁)·g,  v ← β₂·v + (1 − β₂)·g²,  θ ← θ − η_t · m / (√v / root_t + ε)
//          with amsgrad, the largest v so far in place of v
//
// A network has hundreds of small parameters, and a launch costs more than updating one. The parameters are therefore
// listed in a table of addresses, one row each; block b works on CHUNK entries of one: blocks[b] = (row, first entry).
// The settings, too, are in the device's memory, one row for each parameter group, so that a launch captured in a CUDA
// graph still follows a learning-rate schedule.
#include "common.cuh"

constexpr int CHUNK = 1024;

// columns of the table
constexpr int WEIGHT = 0, GRADIENT = 1, STATE = 2, SECOND_STATE = 3, THIRD_STATE = 4;
constexpr int SIZE = 5, GROUP = 6, FIRST_STEP = 7, COLUMNS = 8;

template <typename T>
__device__ inline T* address(const long long* row, int column) {
    return reinterpret_cast<T*>(row[column]);
}

// settings of a group: lr, momentum, 1 − dampening, weight decay, Nesterov (0 or 1), sign of the gradient (−1 to maximise)
template <typename T>
__global__ void sgd(const long long* __restrict__ table, const int* __restrict__ blocks, const T* __restrict__ settings) {
    const long long* row = table + blocks[2 * blockIdx.x] * COLUMNS;
    const T* group = settings + row[GROUP] * 6;
    T* w = address<T>(row, WEIGHT);
    const T* g = address<T>(row, GRADIENT);
    T* v = address<T>(row, STATE);
    const T lr = group[0], momentum = group[1], fresh = group[2], decay = group[3];
    const int first = blocks[2 * blockIdx.x + 1], last = min(first + CHUNK, int(row[SIZE]));
    for (int i = first + threadIdx.x; i < last; i += blockDim.x) {
        T d = group[5] * g[i];
        if (decay != 0) d += decay * w[i];
        if (momentum != 0) {
            const T velocity = row[FIRST_STEP] ? d : momentum * v[i] + fresh * d;
            v[i] = velocity;
            d = group[4] != 0 ? d + momentum * velocity : velocity;
        }
        w[i] = w[i] - lr * d;  // no other thread touches entry i
    }
}

// settings of a group: η_t = η/(1 − β₁ᵗ), root_t = √(1 − β₂ᵗ), 1 − β₁, β₂, 1 − β₂, ε, λ in the gradient, 1 − η·λ, sign of
// the gradient (−1 to maximise). The third state is the largest v, or null.
template <typename T>
__global__ void adam(const long long* __restrict__ table, const int* __restrict__ blocks,
                     const T* __restrict__ settings) {
    const long long* row = table + blocks[2 * blockIdx.x] * COLUMNS;
    const T* group = settings + row[GROUP] * 9;
    T* w = address<T>(row, WEIGHT);
    const T* g = address<T>(row, GRADIENT);
    T* m = address<T>(row, STATE);
    T* v = address<T>(row, SECOND_STATE);
    T* largest = address<T>(row, THIRD_STATE);
    const int first = blocks[2 * blockIdx.x + 1], last = min(first + CHUNK, int(row[SIZE]));
    for (int i = first + threadIdx.x; i < last; i += blockDim.x) {
        const T decayed = w[i] * group[7], d = group[8] * g[i] + group[6] * w[i];
        const T mean = m[i] + group[2] * (d - m[i]);
        T square = v[i] * group[3] + group[4] * d * d;
        m[i] = mean;
        v[i] = square;
        if (largest != nullptr) largest[i] = square = largest[i] > square ? largest[i] : square;  // NaN stays NaN
        w[i] = decayed - group[0] * mean / (sqrt(square) / group[1] + group[5]);
    }
}
