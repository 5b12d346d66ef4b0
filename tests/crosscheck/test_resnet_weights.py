"""ResNets with torchvision's names: weights go both ways, and both libraries compute the same logits from them."""

import numpy as np
import pytest

import minires as mr
from minires import models
from minires.nn import functional as F

torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is needed only to compare with it")
torch.set_num_threads(1)
tnn = torch.nn


def projection(channels, out, stride):
    return tnn.Sequential(tnn.Conv2d(channels, out, 1, stride, bias=False), tnn.BatchNorm2d(out))


class Basic(tnn.Module):
    """3×3, 3×3; named as torchvision names it."""

    expansion = 1

    def __init__(self, channels, width, stride, downsample):
        super().__init__()
        self.conv1 = tnn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = tnn.BatchNorm2d(width)
        self.conv2 = tnn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = tnn.BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + (self.downsample(x) if self.downsample else x)).relu()


class Narrow(tnn.Module):
    """1×1, 3×3 (with the stride), 1×1 to four times the width."""

    expansion = 4

    def __init__(self, channels, width, stride, downsample):
        super().__init__()
        self.conv1 = tnn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = tnn.BatchNorm2d(width)
        self.conv2 = tnn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = tnn.BatchNorm2d(width)
        self.conv3 = tnn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = tnn.BatchNorm2d(4 * width)
        self.downsample = downsample

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()
        y = self.bn3(self.conv3(y))
        return (y + (self.downsample(x) if self.downsample else x)).relu()


class TorchResNet(tnn.Module):
    """Table 1 of He et al. 2015 with torchvision's module names."""

    def __init__(self, block, counts, classes=1000):
        super().__init__()
        self.conv1 = tnn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = tnn.BatchNorm2d(64)
        self.maxpool = tnn.MaxPool2d(3, 2, 1)
        channels = 64
        for stage, count in enumerate(counts):
            width, blocks = 64 << stage, []
            for i in range(count):
                stride, out = 2 if stage and i == 0 else 1, width * block.expansion
                changes = stride != 1 or channels != out
                blocks.append(block(channels, width, stride, projection(channels, out, stride) if changes else None))
                channels = out
            setattr(self, f"layer{stage + 1}", tnn.Sequential(*blocks))
        self.avgpool = tnn.AdaptiveAvgPool2d((1, 1))
        self.fc = tnn.Linear(channels, classes)

    def forward(self, x):
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def random_state(shapes):
    """Random values for every name: weights of He's size, norms near 1, variances positive."""
    rng = np.random.default_rng(0)
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = np.array(17)
        elif len(shape) > 1:
            state[name] = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith("running_var"):
            state[name] = rng.uniform(0.5, 2, shape)
        else:
            state[name] = rng.uniform(-0.3, 0.3, shape) + (0.7 if name.endswith("weight") else 0)
    return state


NETWORKS = {
    "resnet18": (models.resnet18, Basic, [2, 2, 2, 2]),
    "resnet34": (models.resnet34, Basic, [3, 4, 6, 3]),
    "resnet50": (models.resnet50, Narrow, [3, 4, 6, 3]),
    "resnet101": (models.resnet101, Narrow, [3, 4, 23, 3]),
    "resnet152": (models.resnet152, Narrow, [3, 8, 36, 3]),
}


LARGE = ("resnet101", "resnet152")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LARGE)) for n in NETWORKS])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-10)])
def test_logits_from_pytorch_weights(name, dtype, tolerance):
    build, block, counts = NETWORKS[name]
    theirs = TorchResNet(block, counts).double().eval()
    state = random_state({n: tuple(a.shape) for n, a in theirs.state_dict().items()})
    theirs.load_state_dict({n: torch.tensor(a) for n, a in state.items()})
    theirs.to(getattr(torch, dtype))
    ours = build().to(np.dtype(dtype)).eval()
    mr.load_weights(ours, theirs.state_dict())  # PyTorch's tensors, as torch.load gives them
    x = np.random.default_rng(1).standard_normal((2, 3, 64, 64)).astype(dtype)
    with torch.no_grad(), mr.no_grad():
        a, b = ours(mr.tensor(x)).numpy(), theirs(torch.tensor(x)).numpy()
    assert a.shape == (2, 1000) and a.dtype == dtype
    assert a.std() > 0.1
    print(f"{name}, {dtype}: largest difference {np.abs(a - b).max() / np.abs(b).max():.1e} of the largest logit")
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max())


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_pytorch_takes_our_weights(name):
    build, block, counts = NETWORKS[name]
    mr.manual_seed(0)
    ours = build(num_classes=10).double()
    x = np.random.default_rng(1).standard_normal((2, 3, 32, 32))
    with mr.no_grad():
        ours(mr.tensor(x))  # moves the running statistics
        a = ours.eval()(mr.tensor(x)).numpy()
    theirs = TorchResNet(block, counts, 10).double().eval()
    theirs.load_state_dict({n: torch.from_numpy(v) for n, v in ours.state_dict().items()})
    with torch.no_grad():
        b = theirs(torch.tensor(x)).numpy()
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * np.abs(b).max())


def test_gradients_of_a_small_resnet_in_training_mode():
    theirs = TorchResNet(Narrow, [1, 1, 1, 1], 10).double()
    ours = models.ResNet(models.Bottleneck, [1, 1, 1, 1], [64, 128, 256, 512], stem="imagenet").double()
    state = random_state({n: tuple(a.shape) for n, a in theirs.state_dict().items()})
    ours.load_state_dict(state)
    theirs.load_state_dict({n: torch.tensor(a) for n, a in state.items()})
    rng = np.random.default_rng(1)
    x, g = rng.standard_normal((4, 3, 32, 32)), rng.standard_normal((4, 10))
    ours(mr.tensor(x)).backward(g)
    theirs(torch.tensor(x)).backward(torch.tensor(g))
    expected = {n: p.grad.numpy() for n, p in theirs.named_parameters()}
    for name, p in ours.named_parameters():
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(p.grad, expected[name], rtol=1e-7, atol=1e-9 * scale, err_msg=name)
    for name, a in ours.state_dict().items():
        np.testing.assert_allclose(a, theirs.state_dict()[name].numpy(), rtol=1e-9, atol=1e-10, err_msg=name)


class Detached(Basic):
    """Basic, with the gradient of its skip and of its branch multiplied."""

    skip, branch = 0.0, 1.0

    def forward(self, x):
        s, b = (x.detach() if f == 0 else f * x + (1 - f) * x.detach() for f in (self.skip, self.branch))
        y = self.bn2(self.conv2(self.bn1(self.conv1(b)).relu()))
        return (y + (self.downsample(s) if self.downsample else s)).relu()


def test_scaled_gradients_of_a_resnet_18_are_those_of_a_detach_in_pytorch():
    theirs = TorchResNet(Detached, [2, 2, 2, 2], 10).double()
    theirs.layer2[1].skip, theirs.layer3[0].skip, theirs.layer4[1].branch = 1.0, 0.5, -2.0
    state = random_state({n: tuple(a.shape) for n, a in theirs.state_dict().items()})
    theirs.load_state_dict({n: torch.tensor(a) for n, a in state.items()})
    ours = models.resnet18(num_classes=10).double()
    ours.load_state_dict(state)
    x, labels = np.random.default_rng(1).standard_normal((3, 3, 64, 64)), np.arange(3)
    torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(labels)).backward()
    factors = {"*.skip": 0, "layer2.1.skip": 1, "layer3.0.skip": 0.5, "layer4.1.branch": -2}
    with mr.flow.scaled(ours, factors):
        F.cross_entropy(ours(mr.tensor(x)), mr.tensor(labels)).backward()
    expected = {name: p.grad.numpy() for name, p in theirs.named_parameters()}
    for name, p in ours.named_parameters():
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(p.grad.numpy(), expected[name], rtol=1e-9, atol=1e-10 * scale, err_msg=name)
