"""minires on a GPU: every kernel checked against the CPU's, then timed; then training steps.  [--dry-run]"""

import functools

import numpy as np
from common import report
from gpu_common import CONVOLUTIONS, DRY, ELEMENTWISE, HEADS, STEPS, UPDATES, kernel_milliseconds, milliseconds

import minires as mr
from minires import kernels, optim
from minires.kernels import cpu
from minires.kernels.layout import out_sizes
from minires.nn import functional as F
from minires.train import train_step
from minires.train.cuda_graph import GraphedStep

DEVICE = "cuda-on-cpu" if DRY else "gpu"
if DRY:
    xp = np
else:
    import cupy as xp


def event():
    mark = xp.cuda.Event()
    mark.record()
    return mark


def synchronize():
    if not DRY:
        xp.cuda.Device().synchronize()


def capture(run):
    """A function that replays `run`, captured in a CUDA graph with memory of its own."""
    stream, pool = xp.cuda.Stream(non_blocking=True), xp.cuda.MemoryPool()
    synchronize()
    with stream, xp.cuda.using_allocator(pool.malloc):
        run()
        stream.synchronize()
        stream.begin_capture()
        run()
        graph = stream.end_capture()

    def replay(keep=(stream, pool)):
        graph.launch()

    return replay


def timed(run):
    return milliseconds(run, event, synchronize)


def timed_kernel(run):
    return kernel_milliseconds(run, capture, event, synchronize)


def send(array):
    return kernels.to_device(array, DEVICE)


def send_images(array):
    """As the ops keep image batches: the batch innermost in memory."""
    return send(np.ascontiguousarray(array.transpose(1, 2, 3, 0)).transpose(3, 0, 1, 2))


def agree(got, expected, tolerance, what):
    error = float(abs(kernels.to_device(got, "cpu") - expected).max() / abs(expected).max())
    if not error <= tolerance:
        raise SystemExit(f"{what}: off by {error:.1e} of the largest value; nothing is timed")


def random(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape, dtype=np.float32)


# ── the peer on plain CuPy: im2col by slices, products by cuBLAS ────────────────────────────────────────────────────


def plain_conv2d(x, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """`textbook.conv2d` for one group, without dilation or bias."""
    columns, (h, w) = _columns(x, weight.shape[2:], stride, padding)
    y = xp.matmul(weight.reshape(len(weight), -1), columns)
    return y.reshape(len(x), len(weight), h, w)


def plain_conv2d_backward(
    grad_y, x, weight, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, needs=(True, True, True)
):
    """`textbook.conv2d_backward`, likewise."""
    (kh, kw), (N, C, H, W) = weight.shape[2:], x.shape
    columns, (h, w) = _columns(x, (kh, kw), stride, padding)
    g = grad_y.reshape(N, len(weight), -1)
    grad_w = xp.matmul(g, columns.transpose(0, 2, 1)).sum(0).reshape(weight.shape) if needs[1] else None
    if not needs[0]:
        return None, grad_w, None
    taps = xp.matmul(weight.reshape(len(weight), -1).T, g).reshape(N, C, kh, kw, h, w)
    padded = xp.zeros_like(x, shape=(N, C, H + 2 * padding[0], W + 2 * padding[1]))
    for i in range(kh):
        for j in range(kw):
            padded[:, :, i : i + stride[0] * h : stride[0], j : j + stride[1] * w : stride[1]] += taps[:, :, i, j]
    grad_x = padded[:, :, padding[0] : padding[0] + H, padding[1] : padding[1] + W]
    return xp.ascontiguousarray(grad_x) if not DRY else grad_x.copy(), grad_w, None


def _columns(x, kernel, stride, padding):
    (kh, kw), (N, C, H, W) = kernel, x.shape
    h, w = out_sizes((H, W), kernel, stride, padding)
    padded = xp.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    taps = [
        padded[:, :, i : i + stride[0] * h : stride[0], j : j + stride[1] * w : stride[1]]
        for i in range(kh)
        for j in range(kw)
    ]
    return xp.stack(taps, 2).reshape(N, C * kh * kw, h * w), (h, w)


# ── kernels ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def convolution(title, N, C, H, O, k, stride):
    """{title: times}, without and with TF32."""
    found = {}
    x, w, options = random(N, C, H, H), random(O, C, k, k), {"stride": (stride,) * 2, "padding": (k // 2,) * 2}
    y = cpu.conv2d(x, w, **options)
    g = random(*y.shape)
    dx, dw, _ = cpu.conv2d_backward(g, x, w, **options)
    gx, gw, gg = send_images(x), send(w), send_images(g)
    ours = kernels.of(gx)
    for tf32 in (False, True):
        with kernels.allow_tf32(tf32):
            near = 1e-2 if tf32 else 1e-4
            got = ours.conv2d_backward(gg, gx, gw, **options, needs=(True, True, False))
            agree(ours.conv2d(gx, gw, **options), y, near, f"{title}, y")
            agree(got[0], dx, near, f"{title}, dx")
            agree(got[1], dw, near, f"{title}, dw")
            found[f"{title}{', TF32' if tf32 else ''}"] = {
                "forward": timed_kernel(lambda: ours.conv2d(gx, gw, **options)),
                "input gradient": timed_kernel(
                    lambda: ours.conv2d_backward(gg, gx, gw, **options, needs=(True, False, False))
                ),
                "weight gradient": timed_kernel(
                    lambda: ours.conv2d_backward(gg, gx, gw, **options, needs=(False, True, False))
                ),
            }
    agree(plain_conv2d(gx, gw, **options), y, 1e-2, f"{title}, plain CuPy")
    for got, want in zip(plain_conv2d_backward(gg, gx, gw, **options), (dx, dw)):
        agree(got, want, 1e-2, f"{title}, plain CuPy, backward")
    return found


def memory_bound(title, N, C, H):
    """Times of what is nothing but memory traffic."""
    x, w, b, g = random(N, C, H, H), random(C), random(C), random(N, C, H, H)[::-1].copy()
    gx, gw, gb, gg = send_images(x), send(w), send(b), send_images(g)
    ours = kernels.of(gx)
    y, mean, var = ours.batch_norm(gx, gw, gb, 1e-5)
    expected, *statistics = cpu.batch_norm(x, w, b, 1e-5)
    agree(y, expected, 1e-4, f"batch norm, {title}")
    gradients = cpu.batch_norm_backward(g, x, w, *statistics, 1e-5)
    for got, want in zip(ours.batch_norm_backward(gg, gx, gw, mean, var, 1e-5), gradients, strict=True):
        agree(got, want, 1e-3, f"batch norm backward, {title}")
    agree(ours.relu(gx), cpu.relu(x), 0, f"ReLU, {title}")
    agree(ours.relu_backward(gg, ours.relu(gx)), cpu.relu_backward(g, cpu.relu(x)), 0, f"ReLU backward, {title}")
    a, c, mean_, var_ = (send(np.abs(random(C))) for _ in range(4))
    agree(ours.add(gx, gg), x + g, 0, f"addition, {title}")
    flat, out = send(x.ravel()), send(np.empty(x.size, x.dtype))
    return {
        "copy": timed_kernel(lambda: out.__setitem__(..., flat)),
        "batch norm": timed_kernel(lambda: ours.batch_norm(gx, gw, gb, 1e-5)),
        "batch norm backward": timed_kernel(lambda: ours.batch_norm_backward(gg, gx, gw, mean, var, 1e-5)),
        "ReLU": timed_kernel(lambda: ours.relu(gx)),
        "ReLU backward": timed_kernel(lambda: ours.relu_backward(gg, gx)),
        "addition": timed_kernel(lambda: ours.add(gx, gg)),
        "batch norm in evaluation": timed_kernel(lambda: ours.batch_norm_eval(gx, a, c, mean_, var_, 1e-5)),
    }


def head(title, N, C, H, K, large):
    """Times of what follows the last block, of the loss, and of the max pool of the stem."""
    x, w, b, z = random(N, C, H, H), random(K, C), random(K), random(N, K)
    labels = np.arange(N) % K
    gx, (gw, gb, gz, gl) = send_images(x), (send(a) for a in (w, b, z, labels))
    ours, found = kernels.of(gx), {}
    y, gy = cpu.adaptive_avg_pool2d(x, (1, 1)), ours.adaptive_avg_pool2d(gx, (1, 1))
    agree(gy, y, 1e-5, f"average pool, {title}")
    agree(ours.adaptive_avg_pool2d_backward(gy, x.shape), cpu.adaptive_avg_pool2d_backward(y, x.shape), 1e-5, title)
    found["average pool"] = timed_kernel(lambda: ours.adaptive_avg_pool2d(gx, (1, 1)))
    found["average pool backward"] = timed_kernel(lambda: ours.adaptive_avg_pool2d_backward(gy, x.shape))
    f, gf = y.reshape(N, C), gy.reshape(N, C)
    agree(ours.linear(gf, gw, gb), cpu.linear(f, w, b), 1e-4, f"linear, {title}")
    for got, want in zip(ours.linear_backward(gz, gf, gw), cpu.linear_backward(z, f, w), strict=True):
        agree(got, want, 1e-4, f"linear backward, {title}")
    found["linear"] = timed_kernel(lambda: ours.linear(gf, gw, gb))
    found["linear backward"] = timed_kernel(lambda: ours.linear_backward(gz, gf, gw))
    q, gq = cpu.one_hot(labels, K, x.dtype), ours.one_hot(gl, K, x.dtype)
    (loss, p), (gloss, gp) = cpu.cross_entropy(z, q), ours.cross_entropy(gz, gq)
    agree(gloss, loss, 1e-5, f"cross-entropy, {title}")
    agree(ours.cross_entropy_backward(gloss, gp, gq), cpu.cross_entropy_backward(loss, p, q), 1e-5, title)
    found["cross-entropy"] = timed_kernel(lambda: ours.cross_entropy(gz, gq))
    found["cross-entropy backward"] = timed_kernel(lambda: ours.cross_entropy_backward(gloss, gp, gq))
    if large:
        window = (3, 3), (2, 2), (1, 1)
        x = random(large[0], large[1], large[2], large[2])
        gx, (y, tap) = send_images(x), cpu.max_pool2d(x, *window)
        gy, gtap = ours.max_pool2d(gx, *window)
        agree(gy, y, 0, f"max pool, {title}")
        dx = cpu.max_pool2d_backward(y, tap, x.shape, *window)
        agree(ours.max_pool2d_backward(gy, gtap, x.shape, *window), dx, 1e-5, f"max pool backward, {title}")
        found["max pool"] = timed_kernel(lambda: ours.max_pool2d(gx, *window))
        found["max pool backward"] = timed_kernel(lambda: ours.max_pool2d_backward(gy, gtap, x.shape, *window))
    return found


def network(title, depth):
    return mr.models.resnet50() if title == "ResNet-50" else mr.models.resnet_cifar(depth, 4 if DRY else 16)


def update(title, depth):
    """Number of weights and time of SGD with momentum on all of them, in one launch."""
    ends = []
    for device in ("cpu", DEVICE):
        mr.manual_seed(0)
        model = network(title, depth).to(device)
        optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
        for p in model.parameters():
            p.grad = p.array * 0.5
        for _ in range(2):
            optimizer.step()
        ends.append([p.numpy().copy() for p in model.parameters()])
    for want, got in zip(*ends, strict=True):
        agree(got + 1, want + 1, 1e-5, f"SGD, {title}")
    return {"weights": sum(a.size for a in ends[0]), "SGD with momentum": timed_kernel(optimizer.step)}


def augmentation():
    """Times of making a batch of 128 from bytes on the device; the draws come from the host, so this is no graph."""
    N, M = (2, 4) if DRY else (128, 10_000)
    rng = np.random.default_rng(0)
    pixels, index = rng.integers(0, 256, (M, 3, 32, 32), np.uint8), rng.integers(0, M, N)
    scale, x = ((125.0, 123.0, 114.0), (63.0, 62.0, 67.0)), random(N, 3, 32, 32)
    top, left, mirrored = rng.integers(0, 9, N), rng.integers(0, 9, N), rng.random(N) < 0.5
    gp, gx = send(pixels), send_images(x)
    ours = kernels.of(gx)
    agree(ours.take_images(gp, index, *scale), cpu.take_images(pixels, index, *scale), 1e-5, "bytes to images")
    agree(ours.crop_flip(gx, top, left, mirrored, 4), cpu.crop_flip(x, top, left, mirrored, 4), 0, "pad-crop-flip")
    return {
        "bytes to images": timed(lambda: ours.take_images(gp, index, *scale)),
        "pad-crop-flip": timed(lambda: ours.crop_flip(gx, top, left, mirrored, 4)),
    }


# ── training steps ──────────────────────────────────────────────────────────────────────────────────────────────────


def steps(title, depth, batch):
    """Times of a training step by each way to run it."""
    imagenet = title == "ResNet-50"
    size, classes = (224, 1000) if imagenet else (8 if DRY else 32, 10)
    x = mr.randn(batch, 3, size, size).to(DEVICE)
    y = mr.tensor(np.arange(batch) % classes).to(DEVICE)
    times, losses = {}, {}
    for way in ("eager", "graphed", "eager, TF32", "graphed, TF32", "eager, plain CuPy matmul"):
        mr.manual_seed(0)
        model = network(title, depth).to(DEVICE)
        optimizer = optim.SGD(model.parameters(), 0.001, momentum=0.9, weight_decay=1e-4)
        step = functools.partial(train_step, model, optimizer, x, y, F.cross_entropy)
        if "graphed" in way:
            step = functools.partial(GraphedStep(model, optimizer, F.cross_entropy, train_step), x, y)
        plain = {"conv2d": plain_conv2d, "conv2d_backward": plain_conv2d_backward} if "plain" in way else {}
        with kernels.allow_tf32("TF32" in way), kernels.use(**plain):
            for _ in range(4):  # two before a step is captured, and two of the graph
                losses[way] = np.array(step().loss)
            near = 0.05 if "TF32" in way else 0.01
            agree(losses[way], losses["eager"], near, f"{title}, {way}: loss of the 4th step")
            times[way] = timed(step)
    return times


def versions():
    if DRY:
        return f"minires {mr.__version__}"
    driver, runtime = (
        f"{v // 1000}.{v % 1000 // 10}"
        for v in (xp.cuda.runtime.driverGetVersion(), xp.cuda.runtime.runtimeGetVersion())
    )
    return f"minires {mr.__version__}, CuPy {xp.__version__}, CUDA runtime {runtime}, driver for CUDA {driver}"


report(
    version=versions(),
    device=DEVICE if DRY else xp.cuda.runtime.getDeviceProperties(0)["name"].decode(),
    convolutions={k: v for title, case in CONVOLUTIONS.items() for k, v in convolution(title, *case).items()},
    elementwise={title: memory_bound(title, *case) for title, case in ELEMENTWISE.items()},
    heads={title: head(title, *case) for title, case in HEADS.items()},
    updates={title: update(title, depth) for title, depth in UPDATES.items()},
    augmentation={"CIFAR-10, 128 images": augmentation()},
    steps={title: steps(title, *case) for title, case in STEPS.items()},
)
