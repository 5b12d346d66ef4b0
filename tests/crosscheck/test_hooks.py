"""Forward hooks against PyTorch: each scenario runs in both libraries and must leave the same log."""

import inspect
import warnings

import numpy as np
import pytest

import minires as mr
from minires import nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is needed only to compare with it")


def scaled(lib):
    """A module with an optional keyword argument, ``y = factor · x``."""

    class Scaled(lib.nn.Module):
        def forward(self, x, factor=2.0):
            if factor == 0:
                raise ZeroDivisionError("factor")
            return x * factor

    return Scaled()


def number(x):
    return x.item() if hasattr(x, "item") else x


class Log(list):
    """Hooks that write down what they were given, as plain numbers, and return what the test chose."""

    def hook(self, name, returns=None):
        def function(module, *given):
            self.append((name, type(module).__name__, *(_plain(x) for x in given)))
            if isinstance(returns, Exception):
                raise returns
            return returns(*given) if callable(returns) else returns

        return function


def _plain(x):
    if isinstance(x, tuple):
        return tuple(number(i) for i in x)
    return {k: number(v) for k, v in x.items()} if isinstance(x, dict) else number(x)


def order(lib, m, x, log):
    m.register_forward_hook(log.hook("b"))
    m.register_forward_hook(log.hook("c"))
    m.register_forward_hook(log.hook("a"), prepend=True)
    m.register_forward_pre_hook(log.hook("2"))
    m.register_forward_pre_hook(log.hook("1"), prepend=True)
    return m(x)


def replaced_output(lib, m, x, log):
    m.register_forward_hook(log.hook("a", lambda args, y: y + args[0]))
    m.register_forward_hook(log.hook("b"))
    m.register_forward_hook(log.hook("c", lambda args, y: y * 10))
    return m(x)


def replaced_input(lib, m, x, log):
    m.register_forward_pre_hook(log.hook("single", lambda args: args[0] + 1))
    m.register_forward_pre_hook(log.hook("tuple", lambda args: (args[0] * 2, 5.0)))
    m.register_forward_hook(log.hook("after"))
    return m(x)


def keywords(lib, m, x, log):
    m.register_forward_pre_hook(log.hook("plain"))
    m.register_forward_pre_hook(log.hook("both", lambda args, kwargs: (args, {"factor": 7.0})), with_kwargs=True)
    m.register_forward_pre_hook(log.hook("looks"), with_kwargs=True)
    m.register_forward_hook(log.hook("kwargs"), with_kwargs=True)
    m.register_forward_hook(log.hook("without"))
    return m(x, factor=3.0)


def wrong_pair(lib, m, x, log):
    m.register_forward_pre_hook(log.hook("one", lambda args, kwargs: args), with_kwargs=True)
    return m(x)


def removed(lib, m, x, log):
    handle = m.register_forward_hook(log.hook("first"))
    with m.register_forward_hook(log.hook("inside")), m.register_forward_pre_hook(log.hook("before")) as pre:
        m(x)
        pre.remove()
        m(x)
    handle.remove()
    handle.remove()
    return m(x)


def removes_itself(lib, m, x, log):
    handles = []
    hook = log.hook("once")
    handles.append(m.register_forward_hook(lambda *given: (hook(*given), handles[0].remove())[1]))
    m.register_forward_hook(log.hook("stays"))
    m(x)
    return m(x)


def same_function_twice(lib, m, x, log):
    hook = log.hook("same")
    first = m.register_forward_hook(hook)
    m.register_forward_hook(hook)
    m(x)
    first.remove()
    return m(x)


def always(lib, m, x, log):
    m.register_forward_hook(log.hook("never"))
    m.register_forward_hook(log.hook("always"), always_call=True)
    m.register_forward_hook(log.hook("with kwargs"), always_call=True, with_kwargs=True)
    return m(x, factor=0)


def always_after_a_failing_hook(lib, m, x, log):
    m.register_forward_hook(log.hook("called", lambda args, y: y + 1), always_call=True)
    m.register_forward_hook(log.hook("fails", KeyError("hook")))
    m.register_forward_hook(log.hook("late", lambda args, y: y * 2), always_call=True)
    m.register_forward_hook(log.hook("later"), always_call=True)
    return m(x)


def always_that_fails_too(lib, m, x, log):
    m.register_forward_hook(log.hook("fails", KeyError("hook")), always_call=True)
    m.register_forward_hook(log.hook("last"), always_call=True)
    return m(x, factor=0)


def without_a_graph(lib, m, x, log):
    m.register_forward_hook(log.hook("a", lambda args, y: y + 1))
    with lib.no_grad():
        return m(x)


def inside_another(lib, m, x, log):
    outer = lib.nn.Sequential(m, lib.nn.ReLU())
    outer.register_forward_pre_hook(log.hook("outer"))
    outer.register_forward_hook(log.hook("outer"))
    m.register_forward_hook(log.hook("inner", lambda args, y: -y))
    outer[1].register_forward_hook(log.hook("relu"))
    return outer(x)


SCENARIOS = [
    order, replaced_output, replaced_input, keywords, wrong_pair, removed, removes_itself, same_function_twice,
    always, always_after_a_failing_hook, always_that_fails_too, without_a_graph, inside_another,
]  # fmt: skip


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda f: f.__name__)
def test_hooks_do_what_pytorchs_do(scenario):
    found = []
    for lib in (mr, torch):
        log, x = Log(), lib.tensor(3.0, requires_grad=True)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                y = scenario(lib, scaled(lib), x, log)
                if y.requires_grad:
                    y.backward()
                end = number(y), None if x.grad is None else number(x.grad)
            except Exception as error:
                end = type(error), "pre-hook" in str(error)
        found.append((list(log), end, len(warned)))
    assert found[0] == found[1] and found[0][0]


def test_signatures_and_the_handle():
    for name in ("register_forward_hook", "register_forward_pre_hook"):
        ours, theirs = (set(_parameters(getattr(lib.nn.Module, name))) for lib in (mr, torch))
        assert ours == theirs
    layer = nn.Linear(2, 2)
    before = {**vars(layer), "_hooks": ()}
    handle = layer.register_forward_hook(lambda module, args, y: None)
    assert layer.state_dict().keys() == {"weight", "bias"} and vars(layer) != before
    handle.remove()
    assert vars(layer) == before


def _parameters(function):
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


def test_a_replaced_output_carries_gradient_and_the_scope_is_the_modules():
    model, seen = nn.Sequential(nn.Linear(2, 2), nn.ReLU()), []
    model[0].register_forward_hook(lambda module, args, y: seen.append((y * 3.0).op.scope) or y * 3.0)
    x = mr.tensor(np.ones((1, 2), np.float32), requires_grad=True)
    model(x).sum().backward()
    alive = (x.array @ model[0].weight.array.T + model[0].bias.array) > 0
    np.testing.assert_allclose(x.grad, 3 * alive @ model[0].weight.array, rtol=1e-6)
    assert seen == ["0"]
