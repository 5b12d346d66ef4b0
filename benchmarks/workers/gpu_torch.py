"""The same kernels and training steps in PyTorch (cuDNN), with TF32 on and off.  [--dry-run: on the CPU, in small]"""

import sys

import torch
import torch.nn.functional as F
from common import report
from gpu_common import CONVOLUTIONS, DRY, ELEMENTWISE, HEADS, STEPS, UPDATES, kernel_milliseconds, milliseconds
from torch import nn

aten = torch.ops.aten
DEVICE = "cpu" if DRY else "cuda"
if not DRY and not torch.cuda.is_available():
    sys.exit("PyTorch finds no GPU")  # the harness notes the peer as absent
torch.backends.cudnn.benchmark = True  # let cuDNN try its algorithms while warming up, and keep the fastest


def event():
    mark = torch.cuda.Event(enable_timing=True)
    mark.record()
    return mark


def synchronize():
    if not DRY:
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


def convolutions():
    found = {}
    for title, (N, C, H, O, k, stride) in CONVOLUTIONS.items():
        x, w, p = random(N, C, H, H), random(O, C, k, k), k // 2
        g = torch.randn_like(F.conv2d(x, w, None, stride, p))
        for tf32 in (False, True):
            allow_tf32(tf32)

            def gradient(*needs, x=x, w=w, g=g, p=p, stride=stride):
                return torch.ops.aten.convolution_backward(
                    g, x, w, None, [stride] * 2, [p] * 2, [1, 1], False, [0, 0], 1, [*needs, False]
                )

            found[f"{title}{', TF32' if tf32 else ''}"] = {
                "forward": timed_kernel(lambda x=x, w=w, p=p, stride=stride: F.conv2d(x, w, None, stride, p)),
                "input gradient": timed_kernel(lambda gradient=gradient: gradient(True, False)),
                "weight gradient": timed_kernel(lambda gradient=gradient: gradient(False, True)),
            }
    return found


def elementwise():
    found = {}
    for title, (N, C, H) in ELEMENTWISE.items():
        x, out = random(N, C, H, H), random(N, C, H, H)
        w = torch.ones(C, device=DEVICE)
        mean, inverse = x.mean((0, 2, 3)), (x.var((0, 2, 3), correction=0) + 1e-5).rsqrt()
        found[title] = {
            "copy": timed_kernel(lambda x=x, out=out: out.copy_(x)),
            "batch norm": timed_kernel(lambda x=x, w=w: F.batch_norm(x, None, None, w, w, training=True)),
            "batch norm backward": timed_kernel(
                lambda x=x, w=w, m=mean, i=inverse: aten.native_batch_norm_backward(
                    x, x, w, None, None, m, i, True, 1e-5, [True] * 3
                )
            ),
            "ReLU": timed_kernel(lambda x=x: F.relu(x)),
            "ReLU backward": timed_kernel(lambda x=x: aten.threshold_backward(x, x, 0)),
            "addition": timed_kernel(lambda x=x, out=out: x + out),
            "batch norm in evaluation": timed_kernel(lambda x=x, w=w, m=mean: F.batch_norm(x, m, w, w, w)),
            "batch norm, addition and ReLU in one": timed_kernel(
                lambda x=x, out=out, w=w, m=mean: F.relu_(F.batch_norm(x, m, w, w, w).add_(out))
            ),
        }
    return found


def heads():
    found = {}
    for title, (N, C, H, K, large) in HEADS.items():
        x, f, w, b, z = random(N, C, H, H), random(N, C), random(K, C), random(K), random(N, K)
        y, labels = random(N, C, 1, 1), torch.arange(N, device=DEVICE) % K
        p, one = F.log_softmax(z, 1), torch.ones((), device=DEVICE)
        weight = torch.full((), float(N), device=DEVICE)
        calls = {
            "average pool": lambda x=x: F.adaptive_avg_pool2d(x, 1),
            "average pool backward": lambda x=x, y=y: aten._adaptive_avg_pool2d_backward(y, x),
            "linear": lambda f=f, w=w, b=b: F.linear(f, w, b),
            "linear backward": lambda f=f, w=w, z=z: (z @ w, z.T @ f, z.sum(0)),
            "cross-entropy": lambda z=z, labels=labels: F.cross_entropy(z, labels),
            "cross-entropy backward": lambda p=p, z=z, labels=labels, one=one, weight=weight: (
                aten._log_softmax_backward_data(
                    aten.nll_loss_backward(one, p, labels, None, 1, -100, weight), p, 1, z.dtype
                )
            ),
        }
        if large:
            image = random(large[0], large[1], large[2], large[2])
            small, index = F.max_pool2d(image, 3, 2, 1, return_indices=True)
            calls["max pool"] = lambda image=image: F.max_pool2d(image, 3, 2, 1, return_indices=True)
            calls["max pool backward"] = lambda i=image, s=small, index=index: aten.max_pool2d_with_indices_backward(
                s, i, [3, 3], [2, 2], [1, 1], [1, 1], False, index
            )
        found[title] = {what: timed_kernel(call) for what, call in calls.items()}
    return found


def updates():
    found = {}
    for title, depth in UPDATES.items():
        parameters = list(resnet(title, depth).parameters())
        for p in parameters:
            p.grad = torch.randn_like(p)
        optimizer = torch.optim.SGD(parameters, 0.1, momentum=0.9, weight_decay=1e-4)
        found[title] = {"SGD with momentum": timed_kernel(optimizer.step)}
    return found


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
    width = 64 if imagenet else 4 if DRY else 16
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
    size, classes = (224, 1000) if imagenet else (8 if DRY else 32, 10)
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

    if "graphed" not in way or DRY:
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


def steps():
    found = {}
    for title, (depth, batch) in STEPS.items():
        found[title] = {}
        for way in ("eager", "eager, channels_last", "graphed", "eager, TF32", "graphed, TF32"):
            allow_tf32("TF32" in way)
            found[title][way] = timed(make_step(title, depth, batch, way))
    return found


report(
    version=f"PyTorch {torch.__version__}" + ("" if DRY else f", cuDNN {torch.backends.cudnn.version()}"),
    device="cpu" if DRY else torch.cuda.get_device_name(),
    convolutions=convolutions(),
    elementwise=elementwise(),
    heads=heads(),
    updates=updates(),
    steps=steps(),
)
