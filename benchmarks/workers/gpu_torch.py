"""The same kernels and training steps in PyTorch (cuDNN), with TF32 on and off.  [--rehearse: in small, on the CPU]"""

import sys

import torch
import torch.nn.functional as F
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
    milliseconds,
    result,
    run,
)
from torch import nn

aten = torch.ops.aten
DEVICE = "cpu" if REHEARSE else "cuda"
if not REHEARSE and not torch.cuda.is_available():
    sys.exit("PyTorch finds no GPU")
torch.backends.cudnn.benchmark = True  # let cuDNN try its algorithms while warming up, and keep the fastest


def event():
    mark = torch.cuda.Event(enable_timing=True)
    mark.record()
    return mark


def synchronize():
    if not REHEARSE:
        torch.cuda.synchronize()


def capture(run):
    """A function that replays `run`, captured in a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def timed(run):
    return milliseconds(run, event, synchronize)


def timed_kernel(run):
    return kernel_milliseconds(run, capture, event, synchronize)


def allow_tf32(allowed):
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed


def random(*shape):
    return torch.randn(*shape, device=DEVICE)


def versions():
    device = "cpu" if REHEARSE else torch.cuda.get_device_name()
    found = {"PyTorch": torch.__version__}
    if not REHEARSE:
        found["cuDNN"] = torch.backends.cudnn.version()
    result(kind="versions", by="PyTorch", device=device, **found)


def write(kind, work, calls):
    """Time each call and write it down."""
    for what, call in calls.items():
        result(kind=kind, by="PyTorch", work=work, what=what, ms=timed_kernel(call))


def all_kernels():
    for kind, cases, measure in (
        ("elementwise", ELEMENTWISE, elementwise),
        ("convolutions", CONVOLUTIONS, convolutions),
        ("heads", HEADS, head),
        ("updates", UPDATES, update),
    ):
        for title, sizes in cases.items():
            with case(kind, title):
                measure(title, *(sizes if isinstance(sizes, tuple) else (sizes,)))


def convolutions(title, N, C, H, O, k, stride):
    x, w, p = random(N, C, H, H), random(O, C, k, k), k // 2
    g = torch.randn_like(F.conv2d(x, w, None, stride, p))

    def gradient(*needs):
        sizes = [stride] * 2, [p] * 2, [1, 1], False, [0, 0], 1
        return aten.convolution_backward(g, x, w, None, *sizes, [*needs, False])

    for tf32 in (False, True):
        allow_tf32(tf32)
        write("convolutions", f"{title}{', TF32' if tf32 else ''}", {
            "forward": lambda: F.conv2d(x, w, None, stride, p),
            "input gradient": lambda: gradient(True, False),
            "weight gradient": lambda: gradient(False, True),
        })  # fmt: skip


def elementwise(title, N, C, H):
    x, out, w = random(N, C, H, H), random(N, C, H, H), torch.ones(C, device=DEVICE)
    mean, inverse = x.mean((0, 2, 3)), (x.var((0, 2, 3), correction=0) + 1e-5).rsqrt()
    saved = None, None, mean, inverse, True, 1e-5, [True] * 3
    write("elementwise", title, {
        "copy": lambda: out.copy_(x),
        "batch norm": lambda: F.batch_norm(x, None, None, w, w, training=True),
        "batch norm backward": lambda: aten.native_batch_norm_backward(x, x, w, *saved),
        "ReLU": lambda: F.relu(x),
        "ReLU backward": lambda: aten.threshold_backward(x, x, 0),
        "addition": lambda: x + out,
        "batch norm in evaluation": lambda: F.batch_norm(x, mean, w, w, w),
        "batch norm, addition and ReLU": lambda: F.relu_(F.batch_norm(x, None, None, w, w, training=True).add_(out)),
    })  # fmt: skip


def head(title, N, C, H, K, large):
    x, f, w, b, z = random(N, C, H, H), random(N, C), random(K, C), random(K), random(N, K)
    y, labels = random(N, C, 1, 1), torch.arange(N, device=DEVICE) % K
    p, one, weight = F.log_softmax(z, 1), torch.ones((), device=DEVICE), torch.full((), float(N), device=DEVICE)
    calls = {
        "average pool": lambda: F.adaptive_avg_pool2d(x, 1),
        "average pool backward": lambda: aten._adaptive_avg_pool2d_backward(y, x),
        "linear": lambda: F.linear(f, w, b),
        "linear backward": lambda: (z @ w, z.T @ f, z.sum(0)),
        "cross-entropy": lambda: F.cross_entropy(z, labels),
        "cross-entropy backward": lambda: aten._log_softmax_backward_data(
            aten.nll_loss_backward(one, p, labels, None, 1, -100, weight), p, 1, z.dtype
        ),
    }
    if large:
        image = random(large[0], large[1], large[2], large[2])
        small, index = F.max_pool2d(image, 3, 2, 1, return_indices=True)
        window = [3, 3], [2, 2], [1, 1], [1, 1], False
        calls["max pool"] = lambda: F.max_pool2d(image, 3, 2, 1, return_indices=True)
        calls["max pool backward"] = lambda: aten.max_pool2d_with_indices_backward(small, image, *window, index)
    write("heads", title, calls)


def update(title, depth):
    parameters = list(resnet(title, depth).parameters())
    for p in parameters:
        p.grad = torch.randn_like(p)
    optimizer = torch.optim.SGD(parameters, 0.1, momentum=0.9, weight_decay=1e-4)
    write("updates", title, {"SGD with momentum": optimizer.step})


class Block(nn.Module):
    """Two 3×3 convolutions and the padded identity, or with `bottleneck` three and a projection."""

    def __init__(self, inputs, width, stride, bottleneck):
        super().__init__()
        outputs = 4 * width if bottleneck else width
        kernels = ((inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1))
        if not bottleneck:
            kernels = ((inputs, width, 3, stride), (width, width, 3, 1))
        layers = []
        for a, b, k, s in kernels:
            layers += [nn.Conv2d(a, b, k, s, k // 2, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True)]
        self.branch, self.stride, self.new = nn.Sequential(*layers[:-1]), stride, outputs - inputs
        self.project = None
        if bottleneck and (stride != 1 or self.new):
            self.project = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        branch = self.branch(x)
        if self.project is not None:
            x = self.project(x)
        elif self.new:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.new // 2, self.new - self.new // 2))
        return F.relu(branch + x, inplace=True)


def resnet(title, depth):
    """The networks of minires.models.resnet_cifar and resnet50."""
    imagenet = title == "ResNet-50"
    width = 64 if imagenet else 4 if REHEARSE else 16
    stem = [nn.Conv2d(3, width, 7 if imagenet else 3, 2 if imagenet else 1, 3 if imagenet else 1, bias=False)]
    stem += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    if imagenet:
        stem.append(nn.MaxPool2d(3, 2, 1))
    blocks, inputs = [], width
    for stage, count in enumerate((3, 4, 6, 3) if imagenet else ((depth - 2) // 6,) * 3):
        for i in range(count):
            blocks.append(Block(inputs, width << stage, 2 if stage and not i else 1, imagenet))
            inputs = (width << stage) * (4 if imagenet else 1)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1000 if imagenet else 10)]
    return nn.Sequential(*stem, *blocks, *head).to(DEVICE)


def make_step(title, depth, batch, way):
    imagenet = title == "ResNet-50"
    size, classes = (224, 1000) if imagenet else (8 if REHEARSE else 32, 10)
    model, x = resnet(title, depth), random(batch, 3, size, size)
    y = torch.arange(batch, device=DEVICE) % classes
    if "channels_last" in way:
        model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)

    def step():
        optimizer.zero_grad(set_to_none=True)
        outputs = model(x)
        loss = F.cross_entropy(outputs, y)
        loss.backward()
        optimizer.step()
        return loss.detach(), (outputs.argmax(1) == y).float().mean()

    def read_back(results):  # as minires's steps do
        return [value.item() for value in results]

    if "graphed" not in way or REHEARSE:
        return lambda: read_back(step())
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = step()
    batch_x, batch_y = x.clone(), y.clone()

    def replay():
        x.copy_(batch_x)
        y.copy_(batch_y)
        graph.replay()
        return read_back(results)

    return replay


def steps(cases):
    for way in ("eager", "graphed", "eager, channels_last", "eager, TF32", "graphed, TF32"):
        allow_tf32("TF32" in way)
        for title, (depth, batch) in cases.items():
            with case("steps", f"{title}, {way}"):
                ms = timed(make_step(title, depth, batch, way))
                result(kind="steps", by="PyTorch", work=f"{title} step", what=way, ms=ms)


if __name__ == "__main__":
    run({
        "versions": versions,
        "steps": lambda: steps(STEPS),
        "kernels": all_kernels,
        "large": lambda: steps(LARGE_STEPS),
    })  # fmt: skip
