// 3, implicit product: the matrix of patches exists only as a 16 × 16 tile in shared memory, where 16 threads share
// each number. A block of 256 threads computes 16 channels at 16 positions.
extern "C" __global__ void conv(const float* x, const float* w, float* y, float* columns,
                                int N, int C, int O, int H, int W) {
    __shared__ float sw[16][17], sx[16][16];
    const int tp = threadIdx.x % 16, to = threadIdx.x / 16, P = N * H * W, K = C * 9;
    const int p = blockIdx.x * 16 + tp, o = blockIdx.y * 16 + to;
    const int n = p / (H * W), h = p / W % H, v = p % W;
    float sum = 0;
    for (int k0 = 0; k0 < K; k0 += 16) {
        sw[to][tp] = o < O && k0 + tp < K ? w[o * K + k0 + tp] : 0.0f;
        const int k = k0 + to, row = h + k / 3 % 3 - 1, column = v + k % 3 - 1;
        const bool inside = p < P && k < K && row >= 0 && row < H && column >= 0 && column < W;
        sx[to][tp] = inside ? x[((n * C + k / 9) * H + row) * W + column] : 0.0f;
        __syncthreads();
        for (int i = 0; i < 16; ++i) sum += sw[to][i] * sx[i][tp];
        __syncthreads();
    }
    if (p < P && o < O) y[((n * O + o) * H + h) * W + v] = sum;
}
