"""The residual block of any PyTorch tutorial runs unchanged: only the two imports differ."""

import numpy as np
import pytest

import minires as torch
import minires.nn as nn
import minires.nn.functional as F
from minires.models import ResidualBlock


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, in_planes, planes, stride=1, downsample=None):
        super(BasicBlock, self).__init__()  # noqa: UP008 (as tutorials write it)
        self.conv1 = nn.Conv2d(in_planes, planes, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, kernel_size=3, stride=1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x):
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class FunctionalBlock(nn.Module):
    """The other common way to write it: an empty Sequential as identity, functions instead of modules."""

    def __init__(self, in_planes, planes, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = nn.Sequential()
        if stride != 1 or in_planes != planes:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_planes, planes, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(planes)
            )

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.downsample(x)
        return torch.relu(out)


class SmallResNet(nn.Module):
    def __init__(self, block, num_classes=10):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.layers = self._make_layer(block, 4, 8, 2, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(8, num_classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(m, nn.BatchNorm2d):
                nn.init.constant_(m.weight, 1)
                nn.init.constant_(m.bias, 0)

    def _make_layer(self, block, inplanes, planes, blocks, stride):
        downsample = nn.Sequential(nn.Conv2d(inplanes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))
        layers = [block(inplanes, planes, stride, downsample)]
        for _ in range(1, blocks):
            layers.append(block(planes, planes))
        return nn.Sequential(*layers)

    def forward(self, x):
        x = self.layers(self.stem(x))
        x = torch.flatten(self.avgpool(x), 1)
        return self.fc(x)


def projection(stride):
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1, stride, bias=False), torch.nn.BatchNorm2d(4))


@pytest.mark.parametrize(
    "tutorial, library",
    [
        (lambda: BasicBlock(3, 3), lambda: ResidualBlock(3, 3)),
        (lambda: BasicBlock(3, 4, 2, projection(2)), lambda: ResidualBlock(3, 4, 2)),
        (lambda: FunctionalBlock(3, 3), lambda: ResidualBlock(3, 3)),
        (lambda: FunctionalBlock(3, 4, 2), lambda: ResidualBlock(3, 4, 2)),
    ],
    ids=["identity", "projection", "identity, functions", "projection, functions"],
)
def test_it_computes_what_the_library_block_computes(tutorial, library):
    theirs, ours = tutorial().double(), library().double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    results = []
    for block in (theirs, ours):
        held = torch.tensor(x, requires_grad=True)
        out = block(held)
        cotangent = np.random.default_rng(0).standard_normal(out.shape)
        out.backward(cotangent)
        results.append([out.numpy(), held.grad, *(p.grad for p in block.parameters()), *block.state_dict().values()])
    assert len(results[0]) == len(results[1])
    for a, b in zip(*results):
        np.testing.assert_array_equal(a, b)


def test_the_augmented_addition_leaves_the_shortcut_alone():
    x = torch.randn(1, 3, 4, 4)
    before = x.numpy().copy()
    BasicBlock(3, 3)(x)
    np.testing.assert_array_equal(x.numpy(), before)


def test_a_tutorial_network_takes_a_training_step():
    torch.manual_seed(0)
    model = SmallResNet(BasicBlock)
    criterion = nn.CrossEntropyLoss()
    images, labels = torch.randn(8, 3, 8, 8), torch.arange(8)
    model.train()
    loss = criterion(model(images), labels)
    model.zero_grad()
    loss.backward()
    for parameter in model.parameters():
        assert parameter.grad.shape == parameter.shape
        parameter.data -= 0.1 * parameter.grad
    with torch.no_grad():
        outputs = model(images)
    assert outputs.shape == (8, 10)
    assert not outputs.requires_grad
    assert criterion(outputs, labels).item() < loss.item()
    predicted = outputs.argmax(1)
    assert 0 <= (predicted == labels).sum().item() <= 8
