"""The same in tinygrad 0.7 on its CPU backend, which computes with NumPy."""

import os
from importlib.metadata import version

from common import arguments, blocks, measure, report

options = arguments()
case = options.case
os.environ["CPU"] = "1"

import numpy as np  # noqa: E402
from tinygrad.nn import BatchNorm2d, Conv2d, Linear  # noqa: E402
from tinygrad.nn.optim import SGD  # noqa: E402
from tinygrad.nn.state import get_parameters  # noqa: E402
from tinygrad.tensor import Device, Tensor  # noqa: E402

if Device.DEFAULT != "CPU":
    raise SystemExit(f"tinygrad_net: computes on {Device.DEFAULT}; tinygrad 0.7 has the NumPy backend, called CPU")


class Block:
    def __init__(self, inputs, outputs, stride):
        self.conv1, self.bn1 = Conv2d(inputs, outputs, 3, stride, 1, bias=False), BatchNorm2d(outputs)
        self.conv2, self.bn2 = Conv2d(outputs, outputs, 3, 1, 1, bias=False), BatchNorm2d(outputs)
        self.new, self.stride = outputs - inputs, stride
        if self.new and case.stem == "imagenet":
            self.projection, self.bn3 = Conv2d(inputs, outputs, 1, stride, bias=False), BatchNorm2d(outputs)

    def shortcut(self, x):
        if not self.new:
            return x
        if case.stem == "imagenet":
            return self.bn3(self.projection(x))
        x = x[:, :, :: self.stride, :: self.stride]
        return x.pad(((0, 0), (self.new // 2, self.new - self.new // 2), (0, 0), (0, 0)))

    def __call__(self, x):
        branch = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (branch + self.shortcut(x)).relu()


class ResNet:
    def __init__(self):
        width = case.widths[0]
        if case.stem == "cifar":
            self.conv = Conv2d(case.channels, width, 3, 1, 1, bias=False)
        else:
            self.conv = Conv2d(case.channels, width, 7, 2, 3, bias=False)
        self.bn = BatchNorm2d(width)
        self.blocks = [Block(*block) for block in blocks(case)]
        self.fc = Linear(case.widths[-1], case.classes)

    def __call__(self, x):
        x = self.bn(self.conv(x)).relu()
        if case.stem == "imagenet":  # after a ReLU, zeros are as good as −∞
            x = x.pad2d((1, 1, 1, 1)).max_pool2d((3, 3), 2)
        for block in self.blocks:
            x = block(x)
        return self.fc(x.mean((2, 3)))


model = ResNet()
optimizer = SGD(get_parameters(model), 0.01, momentum=0.9, weight_decay=1e-4)
rng = np.random.default_rng(0)
x = Tensor(rng.normal(size=(case.batch, case.channels, case.size, case.size)).astype(np.float32))
y = Tensor((np.arange(case.batch) % 10).astype(np.float32))
Tensor.training = options.mode == "step"


def step():
    optimizer.zero_grad()
    loss = model(x).sparse_categorical_crossentropy(y)
    loss.backward()
    optimizer.step()
    return float(loss.numpy())


def inference():
    return model(x).numpy()


report(
    **measure(step if options.mode == "step" else inference, options),
    version=f"tinygrad {version('tinygrad')}, NumPy {np.__version__}",
)
