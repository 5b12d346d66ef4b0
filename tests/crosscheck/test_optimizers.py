"""Optimisers against PyTorch's: every case of its own test suite gives the same parameters, or is refused in words."""

import importlib.util
import sys
import types
import unittest

import numpy as np
import pytest

from minires import nn, optim

torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is needed only to compare with it")
if importlib.util.find_spec("expecttest") is None:  # the suite's module wants it, its table of optimisers does not
    sys.modules["expecttest"] = types.ModuleType("expecttest")
    sys.modules["expecttest"].TestCase = unittest.TestCase
suite = pytest.importorskip("torch.testing._internal.common_optimizers")

SHAPES = (3, 4), (5,), (), (0, 2)
CASES = {
    f"{info.optim_cls.__name__} {case.desc}": (info.optim_cls.__name__, case.kwargs)
    for info in suite.optim_db
    for case in info.optim_inputs_func(device="cpu")
}
CASES |= {
    "Adam decoupled": ("Adam", dict(weight_decay=0.1, decoupled_weight_decay=True)),
    "AdamW amsgrad, maximize": ("AdamW", dict(amsgrad=True, maximize=True, lr=0.1)),
    "RAdam plain momentum only": ("RAdam", dict(betas=(0.9, 0.5))),
    "NAdam eps": ("NAdam", dict(eps=1e-2, betas=(0.5, 0.7))),
    "RMSprop alpha": ("RMSprop", dict(alpha=0.5, eps=1e-3, momentum=0.9)),
    "SGD all": ("SGD", dict(lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.1, maximize=True, foreach=True)),
    "Adam ways": ("Adam", dict(fused=False, capturable=False, foreach=True)),
}
REFUSED = [
    name
    for name, (optimizer, options) in CASES.items()
    if optimizer in optim.NOT_OFFERED or any(map(torch.is_tensor, options.values()))
]
AGREED = {name: case for name, case in CASES.items() if name not in REFUSED}


@pytest.fixture(autouse=True)
def counts_in_float64():
    """NAdam of PyTorch keeps the product of its momenta in the default type; in float32 it is exact to 1e-9 only."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def parameters(dtype=np.float64):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in SHAPES]
    return [nn.Parameter(a.copy()) for a in arrays], [torch.nn.Parameter(torch.tensor(a)) for a in arrays]


def steps(left, right, numbers):
    """Steps of both optimisers, with the same gradients; one parameter is left out at times."""
    for step in numbers:
        for i, (p, q) in enumerate(zip(_all(left), _all(right), strict=True)):
            g = np.random.default_rng([step, i]).standard_normal(p.shape).astype(p.dtype)
            p.grad, q.grad = (None, None) if (i, step % 4) == (1, 2) else (np.asarray(g), torch.tensor(g))
        left.step()
        right.step()


def _all(optimizer):
    return [p for group in optimizer.param_groups for p in group["params"]]


def agree(left, right, rtol=1e-12, atol=1e-12):
    for p, q in zip(_all(left), _all(right), strict=True):
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol, atol)


def both(name, options, *params):
    return getattr(optim, name)(params[0], **options), getattr(torch.optim, name)(params[1], **options)


@pytest.mark.parametrize("name, options", AGREED.values(), ids=AGREED)
def test_the_cases_of_pytorchs_suite(name, options):
    left, right = both(name, options, *parameters())
    for first in range(0, 60, 20):
        steps(left, right, range(first, first + 20))
        agree(left, right)
    left, right = both(name, options, *parameters(np.float32))
    steps(left, right, range(20))
    agree(left, right, 1e-4, 2e-6)


@pytest.mark.parametrize("name, options", [CASES[name] for name in REFUSED], ids=REFUSED)
def test_what_is_refused(name, options):
    with pytest.raises((TypeError, NotImplementedError), match=r"pass its item\(\)|is not offered: "):
        getattr(optim, name)(parameters()[0], **options)


@pytest.mark.parametrize(
    "info", [i for i in suite.optim_db if hasattr(optim, i.optim_cls.__name__)], ids=lambda i: i.name
)
def test_bad_values_are_refused_where_pytorch_refuses_them(info):
    cls, found = getattr(optim, info.optim_cls.__name__), 0

    def ours(params):
        if isinstance(params, torch.Tensor):
            return nn.Parameter(params.detach().numpy())
        if isinstance(params, dict):
            return {key: ours(value) for key, value in params.items()}
        return type(params)(map(ours, params)) if isinstance(params, list | tuple) else params

    for case in info.optim_error_inputs_func("cpu", torch.float32):
        options = case.optimizer_error_input.kwargs
        if options.get("foreach") and options.get("fused"):
            continue  # two ways to carry out a step; here there is one, and both are without effect
        given = case.optimizer_error_input.params
        with pytest.raises((ValueError, TypeError, NotImplementedError)):
            cls(parameters()[0] if given is None else _shared(ours, given), **options)
        found += 1
    assert found >= 6


def _shared(convert, params):
    """A parameter that is given twice is the same one after the conversion, too."""
    made = {}

    def once(value):
        return made.setdefault(id(value), convert(value)) if isinstance(value, torch.Tensor) else value

    if isinstance(params, list) and all(isinstance(p, torch.Tensor) for p in params):
        return [once(p) for p in params]
    if isinstance(params, list) and all(isinstance(g, dict) and isinstance(g["params"], torch.Tensor) for g in params):
        return [{**group, "params": once(group["params"])} for group in params]
    return convert(params)


def to_torch(state):
    """Our state, its arrays and step counts as PyTorch's tensors."""
    as_tensor = {i: {n: torch.as_tensor(v).clone() for n, v in entry.items()} for i, entry in state["state"].items()}
    for entry in as_tensor.values():
        entry |= {n: entry[n].to(torch.get_default_dtype()) for n in ("step", "mu_product") if n in entry}
    return {**state, "state": as_tensor}


@pytest.mark.parametrize("name, options", AGREED.values(), ids=AGREED)
def test_states_are_read_by_either(name, options):
    left, right = both(name, options, *parameters())
    assert repr(left) == repr(right)
    steps(left, right, range(5))
    ours, theirs = left.state_dict(), right.state_dict()
    assert [g.keys() for g in ours["param_groups"]] == [g.keys() for g in theirs["param_groups"]]
    assert {i: set(e) for i, e in ours["state"].items()} == {i: set(e) for i, e in theirs["state"].items() if e}
    other, another = both(name, options, *parameters())
    for to, source in ((other, left), (another, right)):
        for p, q in zip(_all(to), _all(source)):
            p.data[...] = q.data
    other.load_state_dict(theirs)
    another.load_state_dict(to_torch(ours))
    steps(other, another, range(5, 20))
    agree(other, another)
    steps(left, right, range(5, 20))
    agree(other, right)


def test_groups_closures_and_zeros():
    """Other people's code: keys of one's own, a group of one parameter and one of none, a late group, a closure."""
    ends = []
    for module, params in zip((optim, torch.optim), parameters()):
        optimizer = module.SGD([{"params": params[:1], "layer": 3, "lr": 0.5}, {"params": []}], lr=0.1, momentum=0.9)
        optimizer.add_param_group({"params": params[1], "weight_decay": 0.1, "lr": 1e-3, "layer": 4})

        def closure(params=params, optimizer=optimizer):
            optimizer.zero_grad(set_to_none=False)
            loss = (params[0] * params[0]).sum() + (params[1] ** 3).sum()
            loss.backward()
            return loss

        losses = [float(optimizer.step(closure).item()) for _ in range(10)]
        assert optimizer.step() is None
        optimizer.zero_grad(set_to_none=False)
        assert float(abs(params[0].grad).sum()) == 0
        assert params[2].grad is None
        groups = [{key: v for key, v in group.items() if key != "params"} for group in optimizer.param_groups]
        ends.append((losses, groups, [np.asarray(p.data) for p in params]))
    (losses, groups, ours), (their_losses, their_groups, theirs) = ends
    np.testing.assert_allclose(losses, their_losses, rtol=1e-12)
    assert groups == their_groups
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(p, q, rtol=1e-12)


def test_an_optimiser_in_pytorchs_way():
    """Other people's code: a subclass that defines step and keeps its own state."""
    ends = []
    for module, params in zip((optim, torch.optim), parameters()):

        class Signs(module.Optimizer):
            def __init__(self, params, lr=0.1, beta=0.9):
                super().__init__(params, dict(lr=lr, beta=beta))

            def step(self, closure=None):
                for group in self.param_groups:
                    for p in group["params"]:
                        state = self.state[p]
                        if len(state) == 0:
                            state["mean"] = 0 * p.data
                        state["mean"] = group["beta"] * state["mean"] + (1 - group["beta"]) * p.grad
                        p.data -= group["lr"] * state["mean"] / (abs(state["mean"]) + 1e-3)

        optimizer = Signs([{"params": params[:1], "beta": 0.5}, {"params": params[1:2]}])
        for _ in range(10):
            optimizer.zero_grad()
            ((params[0] * params[0]).sum() + (params[1] * params[1]).sum()).backward()
            optimizer.step()
        optimizer.load_state_dict(optimizer.state_dict())
        means = [optimizer.state[p]["mean"].mul_(1) for p in params[:2]]  # tensors again
        ends.append([np.asarray(a) for a in (params[0].data, params[1].data, *means)])
    for a, b in zip(*ends, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_every_optimiser_is_compared_or_refused():
    theirs = {name for name in torch.optim.__all__ if isinstance(getattr(torch.optim, name), type)} - {"Optimizer"}
    assert theirs == {name for name, _ in CASES.values()}
    assert {name for name, _ in AGREED.values()} == theirs - optim.NOT_OFFERED.keys()
