"""The same in Chainer on NumPy (version 7, its last; it needs a Python and a NumPy of its time)."""

from common import arguments, blocks, measure, padded_identity, report

options = arguments()
case = options.case

import chainer  # noqa: E402
import chainer.functions as F  # noqa: E402
import chainer.links as L  # noqa: E402
import numpy as np  # noqa: E402


def conv(inputs, outputs, kernel, stride=1):
    return L.Convolution2D(inputs, outputs, kernel, stride, kernel // 2, nobias=True)


def norm(channels):
    return L.BatchNormalization(channels, eps=1e-5)


class Block(chainer.Chain):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.padded = None
        with self.init_scope():
            self.conv1, self.bn1 = conv(inputs, outputs, 3, stride), norm(outputs)
            self.conv2, self.bn2 = conv(outputs, outputs, 3), norm(outputs)
            if inputs != outputs and case.stem == "imagenet":
                self.projection, self.bn3 = conv(inputs, outputs, 1, stride), norm(outputs)
        if inputs != outputs and case.stem == "cifar":
            self.padded = np.array(padded_identity(inputs, outputs), np.float32)
        self.changes, self.stride = inputs != outputs, stride

    def shortcut(self, x):
        if not self.changes:
            return x
        if self.padded is None:
            return self.bn3(self.projection(x))
        return F.convolution_2d(x, self.padded, stride=self.stride)

    def forward(self, x):
        branch = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(branch + self.shortcut(x))


class ResNet(chainer.Chain):
    def __init__(self):
        super().__init__()
        width = case.widths[0]
        with self.init_scope():
            self.conv = conv(case.channels, width, 3) if case.stem == "cifar" else conv(case.channels, width, 7, 2)
            self.bn = norm(width)
            self.blocks = chainer.ChainList(*[Block(*block) for block in blocks(case)])
            self.fc = L.Linear(case.widths[-1], case.classes)

    def forward(self, x):
        x = F.relu(self.bn(self.conv(x)))
        if case.stem == "imagenet":
            x = F.max_pooling_2d(x, 3, 2, 1, cover_all=False)
        for block in self.blocks:
            x = block(x)
        return self.fc(F.mean(x, axis=(2, 3)))


model = ResNet()
optimizer = chainer.optimizers.MomentumSGD(0.01, 0.9).setup(model)
optimizer.add_hook(chainer.optimizer_hooks.WeightDecay(1e-4))
rng = np.random.RandomState(0)
x = rng.randn(case.batch, case.channels, case.size, case.size).astype(np.float32)
y = (np.arange(case.batch) % 10).astype(np.int32)


def step():
    loss = F.softmax_cross_entropy(model(x), y)
    model.cleargrads()
    loss.backward()
    optimizer.update()
    return float(loss.array)


def inference():
    with chainer.using_config("train", False), chainer.no_backprop_mode():
        return model(x)


report(
    **measure(step if options.mode == "step" else inference, options),
    version=f"Chainer {chainer.__version__}, NumPy {np.__version__}",
)
