"""minires on a GPU, one part at a time: see PARTS at the end.  [--rehearse: in small, on cuda-on-cpu]

Every kernel is checked against the CPU's before it is timed.
"""

import concurrent.futures
import functools
import importlib
import multiprocessing
import platform
import subprocess
import sys
import time

import numpy as np
from gpu_common import (
    CONVOLUTIONS,
    ELEMENTWISE,
    HEADS,
    LARGE_STEPS,
    REHEARSE,
    STEPS,
    UPDATES,
    case,
    kernel_milliseconds,
    least_values,
    least_work,
    milliseconds,
    result,
    run,
)

import minires as mr
from minires import flow, kernels, optim
from minires.commands import doctor
from minires.kernels import cpu
from minires.kernels.batchnorm.gpu import DeferredBatchNorm
from minires.kernels.devices import why_no_gpu
from minires.kernels.layout import out_sizes
from minires.kernels.load import Source
from minires.nn import functional as F
from minires.train import train_step
from minires.train.cuda_graph import GraphedStep

DEVICE = "cuda-on-cpu" if REHEARSE else "gpu"
if REHEARSE:
    xp = np
else:
    import cupy as xp


def event():
    mark = xp.cuda.Event()
    mark.record()
    return mark


def synchronize():
    if not REHEARSE:
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
        raise ArithmeticError(f"{what}: off by {error:.1e} of the largest value; not timed")


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
    return xp.ascontiguousarray(grad_x) if not REHEARSE else grad_x.copy(), grad_w, None


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


# ── the first look ──────────────────────────────────────────────────────────────────────────────────────────────────


def versions():
    """What is measured with what; `doctor` says the rest. Without a usable GPU, the run ends here."""
    if not REHEARSE and (reason := why_no_gpu()) is not None:
        sys.exit(f"device gpu: {reason}; --rehearse runs everything in small without a GPU")
    found = {"minires": mr.__version__, "Python": platform.python_version(), "NumPy": np.__version__}
    if REHEARSE:
        found["device"] = DEVICE
    else:
        runtime = xp.cuda.runtime
        numbers = {"CUDA runtime": runtime.runtimeGetVersion(), "CUDA driver": runtime.driverGetVersion()}
        found |= {what: f"{number // 1000}.{number % 1000 // 10}" for what, number in numbers.items()}
        found |= {"CuPy": xp.__version__, "NVRTC": ".".join(map(str, xp.cuda.nvrtc.getVersion()))}
        found["device"] = runtime.getDeviceProperties(0)["name"].decode()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    result(kind="versions", by="minires", **found, commit=commit.stdout.strip())
    for line in doctor.report().splitlines():
        result(kind="doctor", says=line)


PROCESSES = 2 if REHEARSE else 8
AUGMENTATION = "CIFAR-10, 128 images"
FAMILIES = "conv product batchnorm pool reduce measure update loss elementwise augment".split()  # the longest first


def instances():
    """(source, name) of every kernel that there is."""
    modules = (importlib.import_module(f"minires.kernels.{family}.gpu") for family in FAMILIES)
    found = dict.fromkeys(value for module in modules for value in vars(module).values() if isinstance(value, Source))
    return [(source, name) for source in found for name in source.instances]


def compile_instance(source, name):
    """Milliseconds to compile one instance, or to find it in the cache."""
    start = time.perf_counter()
    kernel = kernels.device(DEVICE).load(source, name)
    if REHEARSE:
        kernel.module.library("plain")  # which the runner compiles only when it runs
    return 1e3 * (time.perf_counter() - start)


def compile_all():
    """Compile every instance of every kernel in several processes; CuPy's cache keeps them."""
    found = [key for key in instances() if not REHEARSE or key[1] in ("relu<float>", "one_hot<float>")]
    spawned = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(PROCESSES, spawned) as processes:
        futures = {processes.submit(compile_instance, *key): key for key in found}
        for future in concurrent.futures.as_completed(futures):
            source, name = futures[future]
            with case("compile", f"{source.file}, {name}"):
                result(kind="compile", by="minires", work=source.file, what=name, ms=future.result())


def compare():
    """Three training steps on the device beside the CPU's, eager and graphed: the third is the graph's first."""
    depth, batch = next(iter(STEPS.values()))
    images, labels = random(batch, 3, 8, 8) if REHEARSE else random(batch, 3, 32, 32), np.arange(batch) % 10
    ends = {}
    for way in ("CPU", "eager", "graphed"):
        with case("compare", f"ResNet-{depth}, {way}"), kernels.exact():
            model, optimizer = training("ResNet", depth, "cpu" if way == "CPU" else DEVICE)
            step = functools.partial(train_step, model, optimizer)
            if way == "graphed":
                step = GraphedStep(model, optimizer, F.cross_entropy, train_step)
            x, y = (mr.tensor(a).to("cpu" if way == "CPU" else DEVICE) for a in (images, labels))
            losses = [step(x, y).loss for _ in range(3)]
            arrays = ([p.grad.numpy() for p in model.parameters()], [*model.state_dict().values()])
            ends[way] = losses, *(np.concatenate([np.ravel(a) for a in found]).astype(float) for found in arrays)
            for what, want, got in zip(("loss", "gradients", "state"), ends["CPU"], ends[way]):
                off = float(np.linalg.norm(np.subtract(got, want)) / np.linalg.norm(want))
                result(kind="compare", by="minires", work=f"ResNet-{depth}, {way}", what=what, off=off)
                if not off < 1e-2:  # ReLUs of rounded numbers flip
                    raise ArithmeticError(f"{what} of the third step off by {off:.1e}, in the 2-norm")


# ── kernels ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def all_kernels():
    """Check and time every kernel by itself."""
    for title, sizes in ELEMENTWISE.items():
        with case("elementwise", title):
            memory_bound(title, *sizes)
    for title, sizes in CONVOLUTIONS.items():
        with case("convolutions", title):
            convolution(title, *sizes)
    for title, sizes in HEADS.items():
        with case("heads", title):
            head(title, *sizes)
    for title, depth in UPDATES.items():
        with case("updates", title):
            update(title, depth)
    with case("augmentation", AUGMENTATION):
        augmentation(AUGMENTATION)


def write(kind, work, sizes, timing, calls):
    """Time each call and write it down, with the least that it must move."""
    for what, call in calls.items():
        values = least_values(what, sizes)
        result(kind=kind, by="minires", work=work, what=what, ms=timing(call), values=values)


def convolution(title, *sizes):
    """Without and with TF32."""
    N, C, H, O, k, stride = sizes
    operations, values = least_work(sizes)
    x, w, options = random(N, C, H, H), random(O, C, k, k), {"stride": (stride,) * 2, "padding": (k // 2,) * 2}
    y = cpu.conv2d(x, w, **options)
    g = random(*y.shape)
    dx, dw, _ = cpu.conv2d_backward(g, x, w, **options)
    gx, gw, gg = send_images(x), send(w), send_images(g)
    ours = kernels.of(gx)

    def gradient(*needs):
        return ours.conv2d_backward(gg, gx, gw, **options, needs=(*needs, False))

    for tf32 in (False, True):
        with kernels.allow_tf32(tf32):
            near, work = 1e-2 if tf32 else 1e-4, f"{title}{', TF32' if tf32 else ''}"
            got = gradient(True, True)
            agree(ours.conv2d(gx, gw, **options), y, near, f"{title}, y")
            agree(got[0], dx, near, f"{title}, dx")
            agree(got[1], dw, near, f"{title}, dw")
            for what, call in (
                ("forward", lambda: ours.conv2d(gx, gw, **options)),
                ("input gradient", lambda: gradient(True, False)),
                ("weight gradient", lambda: gradient(False, True)),
            ):
                least = dict(operations=operations, tf32=tf32, values=values)
                result(kind="convolutions", by="minires", work=work, what=what, ms=timed_kernel(call), **least)
    agree(plain_conv2d(gx, gw, **options), y, 1e-2, f"{title}, plain CuPy")
    for got, want in zip(plain_conv2d_backward(gg, gx, gw, **options), (dx, dw)):
        agree(got, want, 1e-2, f"{title}, plain CuPy, backward")


def memory_bound(title, N, C, H):
    """What is nothing but memory traffic."""
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

    def in_one():
        return DeferredBatchNorm(kernels.device_of(gx), gx, gw, gb, 1e-5)(gg, relu=True)

    agree(in_one(), cpu.relu(expected + g), 1e-4, f"batch norm, addition and ReLU, {title}")
    a, c, mean_, var_ = (send(np.abs(random(C))) for _ in range(4))
    agree(ours.add(gx, gg), x + g, 0, f"addition, {title}")
    flat, out = send(x.ravel()), send(np.empty(x.size, x.dtype))
    write("elementwise", title, (N, C, H), timed_kernel, {
        "copy": lambda: out.__setitem__(..., flat),
        "batch norm": lambda: ours.batch_norm(gx, gw, gb, 1e-5),
        "batch norm backward": lambda: ours.batch_norm_backward(gg, gx, gw, mean, var, 1e-5),
        "ReLU": lambda: ours.relu(gx),
        "ReLU backward": lambda: ours.relu_backward(gg, gx),
        "addition": lambda: ours.add(gx, gg),
        "batch norm, addition and ReLU": in_one,
        "batch norm in evaluation": lambda: ours.batch_norm_eval(gx, a, c, mean_, var_, 1e-5),
    })  # fmt: skip


def head(title, *sizes):
    """What follows the last block, the loss, and the max pool of the stem."""
    N, C, H, K, large = sizes
    x, w, b, z = random(N, C, H, H), random(K, C), random(K), random(N, K)
    labels = np.arange(N) % K
    gx, (gw, gb, gz, gl) = send_images(x), (send(a) for a in (w, b, z, labels))
    ours = kernels.of(gx)
    y, gy = cpu.adaptive_avg_pool2d(x, (1, 1)), ours.adaptive_avg_pool2d(gx, (1, 1))
    agree(gy, y, 1e-5, f"average pool, {title}")
    agree(ours.adaptive_avg_pool2d_backward(gy, x.shape), cpu.adaptive_avg_pool2d_backward(y, x.shape), 1e-5, title)
    f, gf = y.reshape(N, C), gy.reshape(N, C)
    agree(ours.linear(gf, gw, gb), cpu.linear(f, w, b), 1e-4, f"linear, {title}")
    for got, want in zip(ours.linear_backward(gz, gf, gw), cpu.linear_backward(z, f, w), strict=True):
        agree(got, want, 1e-4, f"linear backward, {title}")
    q, gq = cpu.one_hot(labels, K, x.dtype), ours.one_hot(gl, K, x.dtype)
    (value, p), (gvalue, gp) = cpu.cross_entropy(z, q), ours.cross_entropy(gz, gq)
    agree(gvalue, value, 1e-5, f"cross-entropy, {title}")
    agree(ours.cross_entropy_backward(gvalue, gp, gq), cpu.cross_entropy_backward(value, p, q), 1e-5, title)
    write("heads", title, sizes, timed_kernel, {
        "average pool": lambda: ours.adaptive_avg_pool2d(gx, (1, 1)),
        "average pool backward": lambda: ours.adaptive_avg_pool2d_backward(gy, x.shape),
        "linear": lambda: ours.linear(gf, gw, gb),
        "linear backward": lambda: ours.linear_backward(gz, gf, gw),
        "cross-entropy": lambda: ours.cross_entropy(gz, gq),
        "cross-entropy backward": lambda: ours.cross_entropy_backward(gvalue, gp, gq),
    })  # fmt: skip
    if not large:
        return
    window = (3, 3), (2, 2), (1, 1)
    x = random(large[0], large[1], large[2], large[2])
    gx, (y, tap) = send_images(x), cpu.max_pool2d(x, *window)
    gy, gtap = ours.max_pool2d(gx, *window)
    agree(gy, y, 0, f"max pool, {title}")
    dx = cpu.max_pool2d_backward(y, tap, x.shape, *window)
    agree(ours.max_pool2d_backward(gy, gtap, x.shape, *window), dx, 1e-5, f"max pool backward, {title}")
    write("heads", title, sizes, timed_kernel, {
        "max pool": lambda: ours.max_pool2d(gx, *window),
        "max pool backward": lambda: ours.max_pool2d_backward(gy, gtap, x.shape, *window),
    })  # fmt: skip


def update(title, depth):
    """SGD with momentum on all weights, in one launch."""
    ends = []
    for device in ("cpu", DEVICE):
        model, optimizer = training(title, depth, device)
        for p in model.parameters():
            p.grad = p.array * 0.5
        for _ in range(2):
            optimizer.step()
        ends.append([p.numpy().copy() for p in model.parameters()])
    for want, got in zip(*ends, strict=True):
        agree(got + 1, want + 1, 1e-5, f"SGD, {title}")
    weights = sum(a.size for a in ends[0])
    write("updates", title, (weights,), timed_kernel, {"SGD with momentum": optimizer.step})


def augmentation(title):
    """Making a batch of 128 from bytes on the device; the draws come from the host, so this is no graph."""
    N, M = (2, 4) if REHEARSE else (128, 10_000)
    rng = np.random.default_rng(0)
    pixels, index = rng.integers(0, 256, (M, 3, 32, 32), np.uint8), rng.integers(0, M, N)
    scale, x = ((125.0, 123.0, 114.0), (63.0, 62.0, 67.0)), random(N, 3, 32, 32)
    top, left, mirrored = rng.integers(0, 9, N), rng.integers(0, 9, N), rng.random(N) < 0.5
    gp, gx = send(pixels), send_images(x)
    ours = kernels.of(gx)
    agree(ours.take_images(gp, index, *scale), cpu.take_images(pixels, index, *scale), 1e-5, "bytes to images")
    agree(ours.crop_flip(gx, top, left, mirrored, 4), cpu.crop_flip(x, top, left, mirrored, 4), 0, "pad-crop-flip")
    write("augmentation", title, (N,), timed, {
        "bytes to images": lambda: ours.take_images(gp, index, *scale),
        "pad-crop-flip": lambda: ours.crop_flip(gx, top, left, mirrored, 4),
    })  # fmt: skip


# ── training steps ──────────────────────────────────────────────────────────────────────────────────────────────────


def training(title, depth, device):
    """A network and its optimiser, the same in every call."""
    mr.manual_seed(0)
    model = mr.models.resnet50() if title == "ResNet-50" else mr.models.resnet_cifar(depth, 4 if REHEARSE else 16)
    model.to(device)
    return model, optim.SGD(model.parameters(), 0.001, momentum=0.9, weight_decay=1e-4)


def steps(cases, ways):
    """Time a training step by each way to run it."""
    for (title, (depth, batch)), way in ((item, way) for way in ways for item in cases.items()):
        with case("steps", f"{title}, {way}"):
            x, y = step_batch(title, batch)
            model, optimizer = training(title, depth, DEVICE)
            step = functools.partial(train_step, model, optimizer, x, y)
            if "graphed" in way:
                step = functools.partial(GraphedStep(model, optimizer, F.cross_entropy, train_step), x, y)
            plain = {"conv2d": plain_conv2d, "conv2d_backward": plain_conv2d_backward} if "plain" in way else {}
            with kernels.allow_tf32("TF32" in way), kernels.use(**plain):
                if way == "recorded":
                    step = functools.partial(recorded, model, step)
                for _ in range(4):  # two before a step is captured, and two of the graph
                    losses = np.array(step().loss)
                expected = _losses.setdefault(title, losses)
                agree(losses, expected, 0.05 if "TF32" in way else 0.01, f"{title}, {way}: loss of the 4th step")
                result(kind="steps", by="minires", work=f"{title} step", what=way, ms=timed(step))


_losses: dict[str, np.ndarray] = {}  # of the 4th step, by the first way that was timed


def recorded(model, step):
    """The step while every edge's gradient is measured."""
    with flow.recording(model):
        return step()


def step_batch(title, batch):
    size, classes = (224, 1000) if title == "ResNet-50" else (8 if REHEARSE else 32, 10)
    mr.manual_seed(1)
    return mr.randn(batch, 3, size, size).to(DEVICE), mr.tensor(np.arange(batch) % classes).to(DEVICE)


PARTS = {
    "versions": versions,
    "compile": compile_all,
    "compare": compare,
    "steps": lambda: steps(
        STEPS, ("eager", "graphed", "recorded", "eager, TF32", "graphed, TF32", "eager, plain CuPy matmul")
    ),
    "kernels": all_kernels,
    "large": lambda: steps(LARGE_STEPS, ("eager", "graphed", "eager, TF32", "graphed, TF32")),
}
if __name__ == "__main__":
    run(PARTS)
