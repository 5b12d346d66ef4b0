"""The same in HIPS autograd. It has no convolution for networks (its ``convolve`` runs without BLAS), so it is written
as a learner would: the kernel's taps are slices of the padded image, side by side, and one matrix product.
"""

from importlib.metadata import version

from common import arguments, blocks, measure, padded_identity, report

options = arguments()
case = options.case

import autograd.numpy as np  # noqa: E402
import numpy  # noqa: E402
from autograd import value_and_grad  # noqa: E402

rng = numpy.random.default_rng(0)
parameters = []


def parameter(array):
    parameters.append(array.astype(numpy.float32))
    return len(parameters) - 1


def convolve(x, weight, stride=1):
    """x (C, N, H, W), weight (O, C, k, k) -> (O, N, H′, W′)."""
    outputs, channels, k, _ = weight.shape
    _, batch, height, width = x.shape
    pad = k // 2
    if pad:
        x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), "constant")
    taps = [x[:, :, i : i + height : stride, j : j + width : stride] for i in range(k) for j in range(k)]
    columns = np.concatenate(taps) if k > 1 else taps[0]  # (k·k·C, N, H′, W′)
    matrix = np.reshape(np.transpose(weight, (0, 2, 3, 1)), (outputs, -1))
    y = np.dot(matrix, np.reshape(columns, (k * k * channels, -1)))
    return np.reshape(y, (outputs, batch, *columns.shape[2:]))


def conv(inputs, outputs, kernel, stride=1):
    i = parameter(rng.normal(0, (2 / (outputs * kernel**2)) ** 0.5, (outputs, inputs, kernel, kernel)))
    return lambda p, x: convolve(x, p[i], stride)


def norm(channels):
    """The batch's own statistics."""
    gamma, beta = parameter(numpy.ones((channels, 1, 1, 1))), parameter(numpy.zeros((channels, 1, 1, 1)))

    def run(p, x):
        centred = x - np.mean(x, axis=(1, 2, 3), keepdims=True)
        var = np.mean(centred**2, axis=(1, 2, 3), keepdims=True)
        return centred * (p[gamma] * (var + 1e-5) ** -0.5) + p[beta]

    return run


def relu(p, x):
    return np.maximum(x, 0)


def block(inputs, outputs, stride):
    branch = [conv(inputs, outputs, 3, stride), norm(outputs), relu, conv(outputs, outputs, 3), norm(outputs)]
    padded = numpy.array(padded_identity(inputs, outputs), numpy.float32)

    def run(p, x):
        y = x
        for layer in branch:
            y = layer(p, y)
        return relu(p, y + (x if inputs == outputs else convolve(x, padded, stride)))

    return run


if case.stem != "cifar":
    raise SystemExit("autograd_net: only the CIFAR networks: autograd has no pooling")
layers = [conv(case.channels, case.widths[0], 3), norm(case.widths[0]), relu]
layers += [block(*shape) for shape in blocks(case)]
weight = parameter(rng.uniform(-1, 1, (case.widths[-1], case.classes)) * case.widths[-1] ** -0.5)
bias = parameter(numpy.zeros(case.classes))
velocities = [numpy.zeros_like(p) for p in parameters]
x = rng.normal(size=(case.channels, case.batch, case.size, case.size)).astype(numpy.float32)  # channels first
labels = numpy.eye(case.classes, dtype=numpy.float32)[numpy.arange(case.batch) % 10]


def forward(p):
    y = x
    for layer in layers:
        y = layer(p, y)
    return np.dot(np.transpose(np.mean(y, axis=(2, 3))), p[weight]) + p[bias]


def loss(p):
    z = forward(p)
    z = z - np.max(z, axis=1, keepdims=True)
    return -np.mean(np.sum(labels * (z - np.log(np.sum(np.exp(z), axis=1, keepdims=True))), axis=1))


gradient = value_and_grad(loss)


def step():
    value, grads = gradient(parameters)
    for p, v, g in zip(parameters, velocities, grads):
        v *= 0.9
        v += g + 1e-4 * p
        p -= 0.01 * v
    return float(value)


report(
    **measure(step if options.mode == "step" else lambda: forward(parameters), options),
    version=f"autograd {version('autograd')}, NumPy {numpy.__version__}",
)
