"""PyTorch's kernels for a list of calls that minires made: ``torch_ops.py FILE`` (JSON, as minires_ops.py reports it).

Each function has the name and the arguments of its namesake in minires/kernels/textbook.py, and calls what PyTorch's
own autograd calls, with nothing around it.
"""

import json
import statistics
import sys
import time

import torch
from common import cores, report

aten = torch.ops.aten
quick, channels_last = "--quick" in sys.argv, "--channels-last" in sys.argv
torch.set_num_threads(cores())
torch.manual_seed(0)


def conv2d(x, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    return torch.conv2d(x, weight, bias, stride, padding, dilation, groups)


def conv2d_backward(
    grad_y, x, weight, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, needs=(True, True, True)
):
    bias = [len(weight)] if needs[2] else None
    transposed, output_padding = False, [0, 0]
    return aten.convolution_backward(
        grad_y, x, weight, bias, stride, padding, dilation, transposed, output_padding, groups, needs
    )


def batch_norm(x, weight=None, bias=None, eps=1e-5):
    return aten.native_batch_norm(x, weight, bias, None, None, True, 0.1, eps)


def batch_norm_backward(grad_y, x, weight, mean, var, eps, needs=(True, True, True)):
    return aten.native_batch_norm_backward(grad_y, x, weight, None, None, mean, var, True, eps, needs)


def relu(x):
    return torch.relu(x)


def relu_backward(grad_y, y):
    return aten.threshold_backward(grad_y, y, 0)


def max_pool2d(x, kernel_size, stride, padding=(0, 0)):
    return aten.max_pool2d_with_indices(x, kernel_size, stride, padding)


def max_pool2d_backward(grad_y, tap, x_shape, kernel_size, stride, padding=(0, 0)):
    x = of_shape(x_shape)
    _, indices = aten.max_pool2d_with_indices(x, kernel_size, stride, padding)
    return lambda: aten.max_pool2d_with_indices_backward(
        grad_y, x, kernel_size, stride, padding, [1, 1], False, indices
    )


def adaptive_avg_pool2d(x, output_size):
    return aten._adaptive_avg_pool2d(x, output_size)


def adaptive_avg_pool2d_backward(grad_y, x_shape):
    x = of_shape(x_shape)
    return lambda: aten._adaptive_avg_pool2d_backward(grad_y, x)


KERNELS = {
    kernel.__name__: kernel
    for kernel in (
        conv2d,
        conv2d_backward,
        batch_norm,
        batch_norm_backward,
        relu,
        relu_backward,
        max_pool2d,
        max_pool2d_backward,
        adaptive_avg_pool2d,
        adaptive_avg_pool2d_backward,
    )
}


def of_shape(shape):
    """Random numbers, positive because a variance may be among them."""
    x = torch.rand(*shape)
    return x.contiguous(memory_format=torch.channels_last) if channels_last and x.ndim == 4 else x


def value(argument):
    return of_shape(argument["shape"]) if isinstance(argument, dict) else argument


def milliseconds(function, seconds=0.1):
    for _ in range(2):
        function()
    times = []
    while len(times) < 3 or sum(times) < seconds:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
        if quick:
            break
    return 1e3 * statistics.median(times)


measured = []
with open(sys.argv[1], encoding="utf-8") as file:
    calls = json.load(file)
for call in calls:
    kernel = KERNELS.get(call["kernel"])
    if kernel is None:  # minires has kernels that PyTorch has not, such as fused ones
        measured.append(None)
        continue
    arguments = [value(a) for a in call["arguments"]]
    keywords = {k: value(v) for k, v in call["keywords"].items()}
    prepared = kernel(*arguments, **keywords)  # some prepare what a forward pass would have left, and return the rest
    timed = prepared if callable(prepared) else lambda: kernel(*arguments, **keywords)  # noqa: B023
    measured.append(milliseconds(timed))
report(ms=measured, threads=cores(), version=f"PyTorch {torch.__version__}")
