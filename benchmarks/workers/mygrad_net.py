"""The same in MyGrad on NumPy. Its convolution wants windows that fill the image, so stride 2 pads on one side only."""

from common import arguments, blocks, measure, padded_identity, report

options = arguments()
case = options.case

import mygrad as mg  # noqa: E402
import numpy as np  # noqa: E402
from mygrad.nnet.activations import relu  # noqa: E402
from mygrad.nnet.layers import batchnorm, conv_nd  # noqa: E402
from mygrad.nnet.losses import softmax_crossentropy  # noqa: E402

rng = np.random.default_rng(0)
parameters = []


def parameter(array):
    parameters.append(mg.tensor(array.astype(np.float32)))
    return parameters[-1]


def pad_left(x, n):
    """n zeros above and to the left."""
    for axis in (2, 3):
        shape = (*x.shape[:axis], n, *x.shape[axis + 1 :])
        x = mg.concatenate([np.zeros(shape, np.float32), x], axis=axis)
    return x


def conv(inputs, outputs, kernel, stride=1):
    weight = parameter(rng.normal(0, (2 / (outputs * kernel**2)) ** 0.5, (outputs, inputs, kernel, kernel)))
    if stride == 1:
        return lambda x: conv_nd(x, weight, stride=1, padding=kernel // 2)

    def strided(x):  # the last window ends at the edge of an image of even size that is padded above and left
        return conv_nd(pad_left(x, kernel // 2), weight, stride=stride)

    return strided


def norm(channels):
    """Training: the batch's statistics (MyGrad keeps no running ones)."""
    gamma, beta = parameter(np.ones(channels)), parameter(np.zeros(channels))
    return lambda x: batchnorm(x, gamma=gamma, beta=beta, eps=1e-5)


def block(inputs, outputs, stride):
    conv1, bn1, conv2, bn2 = conv(inputs, outputs, 3, stride), norm(outputs), conv(outputs, outputs, 3), norm(outputs)
    padded = np.array(padded_identity(inputs, outputs), np.float32)

    def run(x):
        branch = bn2(conv2(relu(bn1(conv1(x)))))
        if inputs != outputs:
            x = conv_nd(x[:, :, ::stride, ::stride], padded, stride=1)
        return relu(branch + x)

    return run


if case.stem != "cifar":
    raise SystemExit("mygrad_net: only the CIFAR networks; MyGrad's pooling does not pad")
layers = [conv(case.channels, case.widths[0], 3), norm(case.widths[0]), relu]
layers += [block(*shape) for shape in blocks(case)]
weight = parameter(rng.uniform(-1, 1, (case.widths[-1], case.classes)) * case.widths[-1] ** -0.5)
bias = parameter(np.zeros(case.classes))
velocities = [np.zeros_like(p.data) for p in parameters]
x = rng.normal(size=(case.batch, case.channels, case.size, case.size)).astype(np.float32)
y = np.arange(case.batch) % 10


def forward(x):
    for layer in layers:
        x = layer(x)
    return mg.mean(x, axis=(2, 3)) @ weight + bias


def step():
    loss = softmax_crossentropy(forward(x), y)
    loss.backward()
    for p, v in zip(parameters, velocities):
        v *= 0.9
        v += p.grad + 1e-4 * p.data
        p.data -= 0.01 * v
    return loss.item()


def inference():
    with mg.no_autodiff:
        return forward(x)


report(
    **measure(step if options.mode == "step" else inference, options),
    version=f"MyGrad {mg.__version__}, NumPy {np.__version__}",
)
