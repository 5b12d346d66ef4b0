// 2, im2col: `gather` writes the patches as a matrix (C·9, N·H·W) to global memory; `conv` is a plain matrix product.
// The nine copies of every pixel go out to memory and come back O times.
extern "C" __global__ void gather(const float* x, const float* w, float* y, float* columns,
                                  int N, int C, int O, int H, int W) {
    const int p = blockIdx.x * blockDim.x + threadIdx.x, k = blockIdx.y, P = N * H * W;
    if (p >= P) return;
    const int n = p / (H * W), row = p / W % H + k / 3 % 3 - 1, column = p % W + k % 3 - 1;
    const bool inside = row >= 0 && row < H && column >= 0 && column < W;
    columns[k * P + p] = inside ? x[((n * C + k / 9) * H + row) * W + column] : 0.0f;
}

extern "C" __global__ void conv(const float* x, const float* w, float* y, float* columns,
                                int N, int C, int O, int H, int W) {
    const int p = blockIdx.x * blockDim.x + threadIdx.x, o = blockIdx.y, P = N * H * W, K = C * 9;
    if (p >= P) return;
    float sum = 0;
    for (int k = 0; k < K; ++k) sum += w[o * K + k] * columns[k * P + p];
    y[(p / (H * W) * O + o) * H * W + p % (H * W)] = sum;
}
