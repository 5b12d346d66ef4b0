// 5, tensor core: the implicit product again, but a warp multiplies 16 × 8 by 8 × 8 in one instruction, in TF32: 8 bits
// of exponent and 10 of mantissa. One warp a block computes 16 channels at 32 positions.
#ifndef CUDA_ON_CPU  // the CPU runner brings its own of these two
__device__ float to_tf32(float x) {
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return __uint_as_float(bits);
}
__device__ void mma_m16n8k8(float d[4], const float a[4], const float b[2]) {  // D += A·B, by the whole warp
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])),
          "r"(__float_as_uint(a[3])), "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
}
#endif

extern "C" __global__ void conv(const float* x, const float* w, float* y, float* columns,
                                int N, int C, int O, int H, int W) {
    __shared__ float sw[16][9], sx[8][33];  // one column more than needed: no two rows begin in the same bank
    const int t = threadIdx.x, group = t / 4, quad = t % 4, P = N * H * W, K = C * 9;
    const int p0 = blockIdx.x * 32, o0 = blockIdx.y * 16, p = p0 + t;
    const int n = p / (H * W), h = p / W % H, v = p % W;
    float d[4][4] = {};  // 4 results of each of 4 instructions
    for (int k0 = 0; k0 < K; k0 += 8) {
        for (int i = t; i < 128; i += 32) {
            const int o = o0 + i / 8, k = k0 + i % 8;
            sw[i / 8][i % 8] = to_tf32(o < O && k < K ? w[o * K + k] : 0.0f);
        }
        for (int i = 0; i < 8; ++i) {
            const int k = k0 + i, row = h + k / 3 % 3 - 1, column = v + k % 3 - 1;
            const bool inside = p < P && k < K && row >= 0 && row < H && column >= 0 && column < W;
            sx[i][t] = to_tf32(inside ? x[((n * C + k / 9) * H + row) * W + column] : 0.0f);
        }
        __syncthreads();
        const float a[4] = {sw[group][quad], sw[group + 8][quad], sw[group][quad + 4], sw[group + 8][quad + 4]};
        for (int j = 0; j < 4; ++j) {
            const float b[2] = {sx[quad][8 * j + group], sx[quad + 4][8 * j + group]};
            mma_m16n8k8(d[j], a, b);
        }
        __syncthreads();
    }
    for (int j = 0; j < 4; ++j)
        for (int e = 0; e < 4; ++e) {
            const int o = o0 + group + e / 2 * 8, q = p0 + 8 * j + quad * 2 + e % 2;
            if (o < O && q < P) y[(q / (H * W) * O + o) * H * W + q % (H * W)] = d[j][e];
        }
}
