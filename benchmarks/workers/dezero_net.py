"""The same in DeZero on NumPy. It has no padding of channels: option A is a constant 1×1 convolution."""

from common import arguments, blocks, measure, padded_identity, report

options = arguments()
case = options.case

import dezero  # noqa: E402
import dezero.functions as F  # noqa: E402
import dezero.layers as L  # noqa: E402
import numpy as np  # noqa: E402


def conv(outputs, kernel, stride=1):
    return L.Conv2d(outputs, kernel, stride, kernel // 2, nobias=True)


class Block(dezero.Model):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(outputs, 3, stride), L.BatchNorm()
        self.conv2, self.bn2 = conv(outputs, 3), L.BatchNorm()
        self.changes, self.stride = inputs != outputs, stride
        if self.changes and case.stem == "imagenet":
            self.projection, self.bn3 = conv(outputs, 1, stride), L.BatchNorm()
        elif self.changes:
            self.padded = np.array(padded_identity(inputs, outputs), np.float32)

    def shortcut(self, x):
        if not self.changes:
            return x
        if case.stem == "imagenet":
            return self.bn3(self.projection(x))
        return F.conv2d(x, self.padded, stride=self.stride)

    def forward(self, x):
        branch = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(branch + self.shortcut(x))


class ResNet(dezero.Model):
    def __init__(self):
        super().__init__()
        width = case.widths[0]
        self.conv, self.bn = conv(width, 3) if case.stem == "cifar" else conv(width, 7, 2), L.BatchNorm()
        self.blocks = dezero.models.Sequential(*[Block(*block) for block in blocks(case)])
        self.fc = L.Linear(case.classes)

    def forward(self, x):
        x = F.relu(self.bn(self.conv(x)))
        if case.stem == "imagenet":
            x = F.pooling(x, 3, 2, 1)
        x = self.blocks(x)
        n, c, h, w = x.shape
        return self.fc(F.sum(F.reshape(x, (n, c, h * w)), axis=2) / (h * w))  # it sums over one axis at a time


model = ResNet()
optimizer = dezero.optimizers.MomentumSGD(0.01, 0.9).setup(model)
optimizer.add_hook(dezero.optimizers.WeightDecay(1e-4))
rng = np.random.RandomState(0)
x = rng.randn(case.batch, case.channels, case.size, case.size).astype(np.float32)
y = np.arange(case.batch) % 10


def step():
    loss = F.softmax_cross_entropy(model(x), y)
    model.cleargrads()
    loss.backward()
    optimizer.update()
    return float(loss.data)


def inference():
    with dezero.test_mode(), dezero.no_grad():
        return model(x)


report(
    **measure(step if options.mode == "step" else inference, options),
    version="DeZero {}, NumPy {}".format(getattr(dezero, "__version__", "?"), np.__version__),
)
