// Matrix products with any strides. Definitions: product/definition.py.
//
//   matmul     c[m,p] = Σ_k a[m,k] · b[k,p] (+ bias[p]), c stored row by row
//
// One matrix for each value of blockIdx.z, counted from `first`.
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

template <typename T, int BM, int BP, int TM, int TP, bool TF32>
__global__ void __launch_bounds__(threads_of<BM, BP, TM, TP>, blocks_of<T, BM, TF32>)
matmul(const T* __restrict__ a, const T* __restrict__ b, const T* __restrict__ bias, T* __restrict__ c, int has_bias,
       int first, int M, int P, int K, int a_down, int a_across, int a_next, int b_down, int b_across, int b_next) {
    const int z = first + blockIdx.z;
    const Strided<T> left{a + z * a_next, a_down, a_across};
    const StridedColumns<T> right{{b + z * b_next, b_down, b_across}};
    const StoreWithBias<T> store{c + z * M * P, bias, P, has_bias};
    product<T, BM, BP, TM, TP, TF32, true>(left, right, store, M, P, K);
}
