// Matrix products with any strides. Definitions: product/definition.py.
//
//   matmul     c[m,p] = Σ_k a[m,k] · b[k,p] (+ bias[p]), c stored row by row
//
// One matrix for each value of blockIdx.z, counted from `first`; its rows are counted from `top`.
//
// A stride is the distance in memory from one index to the next, so a transposed matrix can be read in place.
#include "product/product.cuh"

template <typename T>
struct Strided {
    static constexpr bool ALONG_K = false;
    using Fixed = int;
    const T* data;
    int down, across;
    __device__ Fixed fix(int p) const { return p * across; }
    __device__ T at(int row, int column) const { return data[row * down + column * across]; }
};

template <typename T>
struct StridedColumns : Strided<T> {  // b: a thread keeps one column p
    __device__ T at(int offset, int k) const { return this->data[offset + k * this->down]; }
};

template <typename T>
struct StoreWithBias {
    using Fixed = int;
    T* c;
    const T* bias;
    int P, has_bias;
    __device__ Fixed fix(int p) const { return p; }
    __device__ void at(Fixed p, int m, T value) const { c[m * P + p] = has_bias ? value + bias[p] : value; }
};

struct Steps {  // from one entry of a matrix to the one below it, to its right, and to the same of the next matrix
    int down, across, next;
};

struct Sizes {
    int has_bias, first, top, M, P, K;
    Steps a, b;
};

template <typename T, int BM, int BP, int TM, int TP, bool TF32>
__global__ void __launch_bounds__(threads_of<BM, BP, TM, TP>, blocks_of<T, BM, TF32>)
matmul(const T* __restrict__ a, const T* __restrict__ b, const T* __restrict__ bias, T* __restrict__ c, Sizes n) {
    const int z = n.first + blockIdx.z;
    const Strided<T> left{a + z * n.a.next + n.top * n.a.down, n.a.down, n.a.across};
    const StridedColumns<T> right{{b + z * n.b.next, n.b.down, n.b.across}};
    const StoreWithBias<T> store{c + (z * n.M + n.top) * n.P, bias, n.P, n.has_bias};
    product<T, BM, BP, TM, TP, TF32, true>(left, right, store, n.M - n.top, n.P, n.K);
}
