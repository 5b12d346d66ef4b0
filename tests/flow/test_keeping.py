"""Every instrument leaves a model exactly as it was, whatever the model holds and its forward does to it."""

from collections import deque

import numpy as np
import pytest

import minires as mr
from minires import flow, nn, random
from minires.nn import functional as F


class Busy(nn.Module):
    """A residual block whose forward changes everything that a module can hold."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.drop = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Dropout(0.1)
        self.scale = nn.Parameter(np.ones(1, np.float32), requires_grad=False)
        self.register_buffer("mean", mr.tensor([0.1]))  # a Tensor, assigned anew
        self.register_buffer("total", mr.tensor([0.5, 1.5]))  # a Tensor, written into
        self.register_buffer("array", np.zeros(3, np.float32))  # written into, then assigned anew
        self.register_buffer("late", None)  # not there before the first call
        self.calls, self.seen, self.known, self.plain = 0, [], {}, np.zeros(2)
        self.pair = (mr.tensor([1.0]), [1])
        self.own, self.last = np.random.default_rng(0), deque([1, 2], maxlen=2)
        self.locked = np.zeros(2)
        self.locked.flags.writeable = False

    def forward(self, x):
        self.mean = self.mean * 0.9 + x.detach().mean() * 0.1
        self.total.array += 1
        self.total.grad = np.ones(2, self.total.dtype)
        self.array[0] += 1
        self.array = self.array + 1
        self.late = x.array.copy()
        self.calls += 1
        self.seen.append(x.shape)
        self.known[self.calls] = x.shape
        self.plain += 1
        self.pair[0].array += 1
        self.pair[1].append(2)
        self.new = self.calls
        self.own.random()
        self.last.append(3)
        self.register_buffer("newer", x.array)
        self.train(not self.training)
        self.train(not self.training)
        self.drop.training = False
        return F.relu(self.bn(self.conv(self.drop(x)))) * self.scale.detach() + x + 0 * self.mean.to(x.dtype)


class Net(nn.Module):
    """Two busy blocks, and the loss as a part of the model, whose weight is a buffer."""

    def __init__(self):
        super().__init__()
        self.stem, self.first, self.second = nn.Conv2d(1, 2, 3, padding=1), Busy(), Busy()
        self.head = nn.Linear(2, 4)
        self.loss = nn.CrossEntropyLoss(weight=mr.tensor([1.0, 2.0, 3.0, 4.0]))

    def blocks(self):
        return [self.first, self.second]

    def forward(self, x):
        x = self.second(self.first(self.stem(x)))
        return self.head(x.mean((2, 3)))


def net():
    random.manual_seed(0)
    model = Net()
    x, y = batch()
    model.loss(model(mr.Tensor(x)), mr.Tensor(y)).backward()  # so that there are gradients, and late buffers
    model.second.eval()
    model.first.register_forward_hook(lambda module, inputs, output: None)
    return model


def batch():
    return np.random.default_rng(0).standard_normal((3, 1, 6, 6)).astype(np.float32), np.array([0, 1, 3])


def snapshot(thing):
    """Identity and contents, through and through."""
    if isinstance(thing, nn.Module):
        return id(thing), [(name, snapshot(value)) for name, value in vars(thing).items()]
    if isinstance(thing, mr.Tensor):
        return id(thing), snapshot(thing.array), snapshot(thing.grad), thing.requires_grad, thing.op
    if isinstance(thing, np.ndarray):
        return id(thing), thing.dtype, thing.shape, thing.tobytes()
    if isinstance(thing, np.random.Generator):
        return id(thing), thing.bit_generator.state
    if isinstance(thing, list | tuple | deque):
        return id(thing), [snapshot(value) for value in thing]
    if isinstance(thing, dict):
        return id(thing), [(key, snapshot(value)) for key, value in thing.items()]
    return thing


PROBES = {
    "record": lambda m, x, y: flow.record(m, x, y, loss=m.loss),
    "path_spectrum": lambda m, x, y: flow.path_spectrum(m, x, y, loss=m.loss, samples=2, progress=False),
    "responses": lambda m, x, y: flow.responses(m, x),
    "variance_profile": lambda m, x, y: flow.variance_profile(m, x, lambda z: m.loss(z, mr.Tensor(y))),
    "shattering": lambda m, x, y: flow.shattering(m, np.linspace(0, 1, 4), start=x[0], direction=x[1]),
    "gradient_correlation": lambda m, x, y: flow.gradient_correlation(m, x),
    "lesion": lambda m, x, y: flow.lesion(m, [(x, y)], loss=m.loss, progress=False),
    "landscape": lambda m, x, y: flow.landscape(m, [(x, y)], points=3, loss=m.loss, training=True, progress=False),
    "jacobian": lambda m, x, y: flow.jacobian(m, x, count=1, iterations=2),
    "jacobians": lambda m, x, y: flow.jacobians(m, x, count=1, iterations=2, progress=False),
}


@pytest.mark.parametrize("probe", PROBES)
def test_a_probe_leaves_the_model_exactly_as_it_was(probe):
    model, (x, y) = net(), batch()
    before, state = snapshot(model), random.get_state()
    assert PROBES[probe](model, x, y) is not None
    assert snapshot(model) == before and random.get_state() == state


@pytest.mark.parametrize("probe", PROBES)
def test_also_when_the_model_fails(probe, monkeypatch):
    model, (x, y) = net(), batch()
    before, state = snapshot(model), random.get_state()
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        PROBES[probe](model, x, y)
    assert snapshot(model) == before and random.get_state() == state


def test_a_model_in_float64_on_which_a_probe_ran_still_learns():
    model, (x, y) = net().double(), batch()
    flow.jacobians(model, x, count=1, iterations=1, progress=False)
    before = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.loss(model(mr.Tensor(x).double()), mr.Tensor(y)).backward()
    assert all((p.grad != before[name]).any() for name, p in model.named_parameters() if name in before)


@pytest.mark.parametrize("probe", sorted(PROBES.keys() - {"record"}))
def test_a_probe_works_under_no_grad_and_is_not_part_of_a_recording_around_it(probe):
    model, (x, y) = net(), batch()
    with mr.no_grad():
        PROBES[probe](model, x, y)
    with flow.recording() as recorded:
        (nn.Parameter(mr.ones(2)) ** 2).sum().backward()
        PROBES[probe](model, x, y)
    assert len(recorded.nodes) == 3 and recorded.passes == ["backward"]
