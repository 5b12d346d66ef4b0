"""Training against PyTorch: optimisers, schedules, and fifty steps of a whole residual network, in float64."""

import warnings

import numpy as np
import pytest

import minires as mr
from minires import models, nn, optim
from minires.nn import functional as F

torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is needed only to compare with it")
torch.set_num_threads(1)


# ── optimisers ──

OPTIMISERS = [
    ("SGD", dict(lr=0.1)),
    ("SGD", dict(lr=0.1, weight_decay=0.01)),
    ("SGD", dict(lr=0.1, momentum=0.9)),
    ("SGD", dict(lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.01)),
    ("SGD", dict(lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True)),
    ("Adam", {}),
    ("Adam", dict(lr=0.1, betas=(0.8, 0.95), eps=1e-4, weight_decay=0.1)),
    ("AdamW", {}),
    ("AdamW", dict(lr=0.1, betas=(0.8, 0.95), eps=1e-4, weight_decay=0.1)),
]


def both_parameters(*shapes):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape) for shape in shapes]
    return [nn.Parameter(a.copy()) for a in arrays], [torch.nn.Parameter(torch.tensor(a)) for a in arrays]


def set_gradients(ours, theirs, step):
    for i, (p, q) in enumerate(zip(ours, theirs)):
        g = np.random.default_rng([step, i]).standard_normal(p.shape)
        p.grad, q.grad = g, torch.tensor(g)


@pytest.mark.parametrize("name, options", OPTIMISERS)
def test_optimisers(name, options):
    ours, theirs = both_parameters((3, 4), (5,), ())
    left, right = getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    for step in range(20):
        left.zero_grad()
        right.zero_grad()
        set_gradients(ours, theirs, step)
        if step == 3:  # a parameter without gradient is left alone
            ours[1].grad, theirs[1].grad = None, None
        left.step()
        right.step()
        for p, q in zip(ours, theirs):
            np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-11, atol=1e-12)


def test_parameter_groups_have_their_own_settings():
    ours, theirs = both_parameters((3,), (4,))
    left, right = (
        module.SGD([{"params": p[:1]}, {"params": p[1:], "lr": 0.01, "weight_decay": 0.5}], lr=0.1, momentum=0.9)
        for module, p in ((optim, ours), (torch.optim, theirs))
    )
    for step in range(5):
        set_gradients(ours, theirs, step)
        left.step()
        right.step()
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-12)


# ── schedules ──

SCHEDULES = [
    ("StepLR", dict(step_size=3)),
    ("StepLR", dict(step_size=4, gamma=0.5)),
    ("MultiStepLR", dict(milestones=[2, 5, 9])),
    ("MultiStepLR", dict(milestones=[3, 3, 7], gamma=0.3)),
    ("CosineAnnealingLR", dict(T_max=20)),
    ("CosineAnnealingLR", dict(T_max=20, eta_min=0.01)),
    ("OneCycleLR", dict(max_lr=1.0, total_steps=21)),
    ("OneCycleLR", dict(max_lr=1.0, epochs=3, steps_per_epoch=7, pct_start=0.4, anneal_strategy="linear")),
    ("OneCycleLR", dict(max_lr=1.0, total_steps=21, div_factor=10, final_div_factor=100, three_phase=True)),
    ("OneCycleLR", dict(max_lr=1.0, total_steps=21, cycle_momentum=False)),
    ("LambdaLR", dict(lr_lambda=lambda t: 0.9**t)),
    ("LinearLR", dict(start_factor=0.1, total_iters=5)),
    ("LinearLR", dict(start_factor=1.0, end_factor=0.0, total_iters=20)),
]


def schedules(module):
    """PyTorch keeps its schedules in a separate module."""
    return torch.optim.lr_scheduler if module is torch.optim else module


def learning_rates(module, parameters, name, options, optimiser="SGD"):
    settings = dict(lr=0.1, momentum=0.9) if optimiser == "SGD" else dict(lr=0.1)
    groups = [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.2}]
    optimizer = getattr(module, optimiser)(groups, **settings)
    schedule = getattr(schedules(module), name)(optimizer, **options)
    found = []
    for _ in range(20):
        groups = optimizer.param_groups
        found.append([g["lr"] for g in groups] + [g.get("momentum", g.get("betas", [0])) for g in groups])
        optimizer.step()
        schedule.step()
    assert schedule.get_last_lr() == [g["lr"] for g in optimizer.param_groups]
    return [np.hstack(row) for row in found]


@pytest.mark.parametrize("name, options", SCHEDULES)
def test_schedules(name, options):
    ours, theirs = both_parameters((2,), (3,))
    left = learning_rates(optim, ours, name, options)
    right = learning_rates(torch.optim, theirs, name, options)
    np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-12)


def test_one_cycle_drives_the_first_beta_of_adam():
    ours, theirs = both_parameters((2,), (3,))
    options = dict(max_lr=1.0, total_steps=21)
    left = learning_rates(optim, ours, "OneCycleLR", options, "Adam")
    right = learning_rates(torch.optim, theirs, "OneCycleLR", options, "Adam")
    np.testing.assert_allclose(left, right, rtol=1e-9)


def test_warm_up_followed_by_another_schedule():
    found = []
    for module, parameters in zip((optim, torch.optim), both_parameters((2,))):
        optimizer, found_in = module.SGD(parameters, lr=0.1), schedules(module)
        warm_up = found_in.LinearLR(optimizer, 0.1, total_iters=4)
        schedule = found_in.SequentialLR(optimizer, [warm_up, found_in.MultiStepLR(optimizer, [3, 6])], [4])
        rates = []
        for _ in range(15):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            with warnings.catch_warnings():  # PyTorch's SequentialLR calls its own deprecated step(epoch)
                warnings.filterwarnings("ignore", "The epoch parameter in", UserWarning)
                schedule.step()
        found.append(rates)
    np.testing.assert_allclose(*found, rtol=1e-12)


# ── a trajectory ──


class Pad(torch.nn.Module):
    """Option A in PyTorch: every second pixel, new channels of zeros around the old."""

    def __init__(self, new, stride):
        super().__init__()
        self.new, self.stride = new, stride

    def forward(self, x):
        x = x[:, :, :: self.stride, :: self.stride]
        return torch.nn.functional.pad(x, (0, 0, 0, 0, self.new // 2, self.new - self.new // 2))


class Block(torch.nn.Module):
    """conv–BN–ReLU–conv–BN, plus the shortcut (or none, for a plain network)."""

    def __init__(self, channels, width, stride, shortcut):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(width)
        self.conv2 = torch.nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(width)
        self.plain = shortcut is None
        self.downsample = None
        if not self.plain and (stride != 1 or channels != width):
            if shortcut == "A":
                self.downsample = Pad(width - channels, stride)
            else:
                projection = torch.nn.Conv2d(channels, width, 1, stride, bias=False)
                self.downsample = torch.nn.Sequential(projection, torch.nn.BatchNorm2d(width))

    def forward(self, x):
        out = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if not self.plain:
            out = out + (x if self.downsample is None else self.downsample(x))
        return torch.relu(out)


class CifarNet(torch.nn.Module):
    """The CIFAR network of 6n+2 layers in PyTorch, with our names."""

    def __init__(self, depth, width, shortcut):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(width)
        channels = width
        for stage in range(3):
            blocks = []
            for i in range((depth - 2) // 6):
                blocks.append(Block(channels, width << stage, 2 if stage and i == 0 else 1, shortcut))
                channels = width << stage
            setattr(self, f"layer{stage + 1}", torch.nn.Sequential(*blocks))
        self.fc = torch.nn.Linear(channels, 10)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


SGD = dict(lr=0.05, momentum=0.9, weight_decay=1e-3)


@pytest.mark.parametrize(
    "shortcut, optimiser, options",
    [
        ("A", "SGD", SGD),
        ("A", "SGD", dict(SGD, nesterov=True)),
        ("B", "SGD", SGD),
        (None, "SGD", SGD),
        ("A", "AdamW", dict(lr=1e-3, weight_decay=0.05)),
    ],
    ids=["momentum", "Nesterov", "projections", "plain", "AdamW"],
)
def test_fifty_steps_follow_the_same_trajectory(shortcut, optimiser, options):
    mr.manual_seed(0)
    ours = models.resnet_cifar(14, 4, shortcut=shortcut or "A", residual=shortcut is not None).double()
    theirs = CifarNet(14, 4, shortcut).double()
    theirs.load_state_dict({name: torch.tensor(array) for name, array in ours.state_dict().items()})
    left = getattr(optim, optimiser)(ours.parameters(), **options)
    right = getattr(torch.optim, optimiser)(theirs.parameters(), **options)
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(50):
        x, y = rng.standard_normal((16, 3, 8, 8)), rng.integers(0, 10, 16)
        x += y[:, None, None, None] / 5  # something to learn
        a = F.cross_entropy(ours(mr.tensor(x)), mr.tensor(y))
        left.zero_grad()
        a.backward()
        left.step()
        b = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(y))
        right.zero_grad()
        b.backward()
        right.step()
        losses.append((a.item(), b.item()))
    a, b = np.transpose(losses)
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-9)
    assert a[-10:].mean() < a[:10].mean() - 0.2  # it did learn
    for name, array in ours.state_dict().items():
        np.testing.assert_allclose(array, theirs.state_dict()[name].numpy(), rtol=1e-6, atol=1e-8)
