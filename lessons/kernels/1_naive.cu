// 1, naive: one thread computes one output and reads all it needs from global memory.
// x (N, C, H, W), w (O, C, 3, 3) -> y (N, O, H, W); stride 1, padding 1. All five versions have this signature.
extern "C" __global__ void conv(const float* x, const float* w, float* y, float* columns,
                                int N, int C, int O, int H, int W) {
    const int p = blockIdx.x * blockDim.x + threadIdx.x, o = blockIdx.y;
    if (p >= N * H * W) return;
    const int n = p / (H * W), h = p / W % H, v = p % W;
    float sum = 0;
    for (int c = 0; c < C; ++c)
        for (int i = 0; i < 3; ++i)
            for (int j = 0; j < 3; ++j) {
                const int row = h + i - 1, column = v + j - 1;
                if (row >= 0 && row < H && column >= 0 && column < W)
                    sum += w[((o * C + c) * 3 + i) * 3 + j] * x[((n * C + c) * H + row) * W + column];
            }
    y[((n * O + o) * H + h) * W + v] = sum;
}
