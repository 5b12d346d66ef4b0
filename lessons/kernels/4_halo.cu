// 4, halo tile and registers: a block takes an 8 × 8 piece of one image and 16 channels of output. The piece and its
// border, 10 × 10, is loaded once per input channel and serves all nine taps; a thread keeps 4 channels in registers,
// so each number read from shared memory is used four times.
extern "C" __global__ void conv(const float* x, const float* w, float* y, float* columns,
                                int N, int C, int O, int H, int W) {
    __shared__ float tile[10][10], sw[16][9];
    const int t = threadIdx.x, across = (W + 7) / 8, down = (H + 7) / 8;
    const int n = blockIdx.x / (across * down), h0 = blockIdx.x / across % down * 8, v0 = blockIdx.x % across * 8;
    const int o0 = blockIdx.y * 16, h = t % 64 / 8, v = t % 8, first = t / 64 * 4;  // 4 groups of 64 threads
    float sum[4] = {};
    for (int c = 0; c < C; ++c) {
        if (t < 100) {
            const int row = h0 + t / 10 - 1, column = v0 + t % 10 - 1;
            const bool inside = row >= 0 && row < H && column >= 0 && column < W;
            tile[t / 10][t % 10] = inside ? x[((n * C + c) * H + row) * W + column] : 0.0f;
        } else if (t < 244) {
            const int o = (t - 100) / 9, k = (t - 100) % 9;
            sw[o][k] = o0 + o < O ? w[((o0 + o) * C + c) * 9 + k] : 0.0f;
        }
        __syncthreads();
        for (int k = 0; k < 9; ++k) {
            const float pixel = tile[h + k / 3][v + k % 3];
            for (int i = 0; i < 4; ++i) sum[i] += sw[first + i][k] * pixel;
        }
        __syncthreads();
    }
    for (int i = 0; i < 4; ++i)
        if (h0 + h < H && v0 + v < W && o0 + first + i < O)
            y[((n * O + o0 + first + i) * H + h0 + h) * W + v0 + v] = sum[i];
}
