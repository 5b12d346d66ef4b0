"""minires on a GPU: every kernel checked against the CPU's, then timed; then training steps.  [--dry-run]"""

import functools

import numpy as np
from common import report
from gpu_common import CONVOLUTIONS, DRY, ELEMENTWISE, STEPS, milliseconds

import minires as mr
from minires import kernels, optim
from minires.graph import GraphedStep
from minires.kernels import cpu
from minires.nn import functional as F
from minires.train import train_step

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


def timed(run):
    return milliseconds(run, event, synchronize)


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
    h, w = ((n + 2 * p - k) // s + 1 for n, k, s, p in zip((H, W), kernel, stride, padding))
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
                "forward": timed(lambda: ours.conv2d(gx, gw, **options)),
                "input gradient": timed(
                    lambda: ours.conv2d_backward(gg, gx, gw, **options, needs=(True, False, False))
                ),
                "weight gradient": timed(
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
    agree(ours.relu_backward(gg, gx), cpu.relu_backward(g, x), 0, f"ReLU backward, {title}")
    out = send_images(np.empty_like(x))
    return {
        "copy": timed(lambda: out.__setitem__(..., gx)),
        "batch norm": timed(lambda: ours.batch_norm(gx, gw, gb, 1e-5)),
        "batch norm backward": timed(lambda: ours.batch_norm_backward(gg, gx, gw, mean, var, 1e-5)),
        "ReLU": timed(lambda: ours.relu(gx)),
        "ReLU backward": timed(lambda: ours.relu_backward(gg, gx)),
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
        model = mr.models.resnet50() if imagenet else mr.models.resnet_cifar(depth, 4 if DRY else 16)
        model = model.to(DEVICE)
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


report(
    version=f"minires {mr.__version__}",
    device=DEVICE if DRY else xp.cuda.runtime.getDeviceProperties(0)["name"].decode(),
    convolutions={k: v for title, case in CONVOLUTIONS.items() for k, v in convolution(title, *case).items()},
    others={title: memory_bound(title, *case) for title, case in ELEMENTWISE.items()},
    steps={title: steps(title, *case) for title, case in STEPS.items()},
)
