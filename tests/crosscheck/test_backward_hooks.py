"""Hooks on gradients, of modules and of tensors, against PyTorch: the same log of numbers, the same gradients."""

import inspect
import warnings

import numpy as np
import pytest

import minires as mr
from minires import nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is needed only to compare with it")


def numbers(value):
    """Tensors as lists of numbers, tuples as they are."""
    if isinstance(value, tuple | list):
        return tuple(numbers(v) for v in value)
    return np.round(value.tolist(), 5).tolist() if hasattr(value, "tolist") else value


class Log(list):
    """Hooks that write down what they were given, and return what the test chose."""

    def hook(self, name, returns=None):
        def function(*given):
            self.append((name, *(numbers(g) for g in given if not callable(g))))
            return returns(*given) if callable(returns) else returns

        return function


def layer(lib, start=0.5):
    """A linear layer from two numbers to two, with weights that are no accident."""
    made = lib.nn.Linear(2, 2)
    with lib.no_grad():
        made.weight.copy_(lib.tensor([[start, -1.0], [2.0, 0.25]]))
        made.bias.copy_(lib.tensor([0.1, -0.2]))
    return made


def module(lib, forward):
    """A module with one layer and this ``forward(layer, *inputs)``."""

    class Made(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer(lib)

        def forward(self, *inputs, **options):
            return forward(self.layer, *inputs, **options)

    return Made()


def point(lib, *values):
    return lib.tensor([list(values or (1.0, -2.0))], requires_grad=True)


# ── modules: (lib, log) -> tensors whose gradients count ──


def one_layer(lib, log):
    m, x = layer(lib), point(lib)
    m.register_full_backward_hook(log.hook("a"))
    m.register_full_backward_pre_hook(log.hook("pre"))
    (m(x) ** 2).sum().backward()
    return [x, *m.parameters()]


def residual_block(lib, log):
    """The input also goes to the skip; the hook sees only the branch's share."""
    m, x = layer(lib), point(lib)
    m.register_full_backward_hook(log.hook("branch"))
    block = module(lib, lambda inner, x: x + m(x).relu())
    block.register_full_backward_hook(log.hook("block"))
    (block(x * 1.0) ** 2).sum().backward()
    return [x, *m.parameters()]


def replaced(lib, log):
    m, x = layer(lib), point(lib)
    m.register_full_backward_hook(log.hook("ten times", lambda m, gi, go: (gi[0] * 10,)))
    m.register_full_backward_hook(log.hook("plus one", lambda m, gi, go: (gi[0] + 1,)))
    m.register_full_backward_pre_hook(log.hook("half", lambda m, go: (go[0] / 2,)))
    m.register_full_backward_pre_hook(log.hook("looks"))
    (m(x) ** 2).sum().backward()
    return [x, *m.parameters()]


def several_inputs(lib, log):
    m = module(lib, lambda inner, a, k, b, c: inner(a) * b * k + c.detach())
    m.register_full_backward_hook(log.hook("m"))
    a, b, c = point(lib), point(lib, 3.0, 0.5), lib.tensor([[1.0, 1.0]])
    (m(a, 3.0, b, c) ** 2).sum().backward()
    return [a, b]


def several_inputs_replaced(lib, log):
    m = module(lib, lambda inner, a, b: inner(a) * b)
    m.register_full_backward_hook(log.hook("swap", lambda m, gi, go: (gi[1], gi[0] * 2)))
    a, b = point(lib), point(lib, 3.0, 0.5)
    ((m(a, b) + a) ** 2).sum().backward()
    return [a, b]


def an_input_not_used(lib, log):
    m = module(lib, lambda inner, a, b: inner(a))
    m.register_full_backward_hook(log.hook("m"))
    a, b = point(lib), point(lib, 3.0, 0.5)
    (m(a, b) ** 2).sum().backward()
    return [a]


def the_same_tensor_twice(lib, log):
    m, x = module(lib, lambda inner, a, b: inner(a) * b), point(lib)
    m.register_full_backward_hook(log.hook("m"))
    m(x, x).sum().backward()
    return [x]


def several_outputs(lib, log):
    m, x = module(lib, lambda inner, a: (inner(a), a * 2, "word")), point(lib)
    m.register_full_backward_hook(log.hook("m"))
    m.register_full_backward_pre_hook(log.hook("pre", lambda m, go: (go[0] * 2, go[1], None)))
    y, z, _ = m(x)
    ((y * z) ** 2).sum().backward()
    return [x]


def an_output_not_used(lib, log):
    m, x = module(lib, lambda inner, a: (inner(a), a * 2)), point(lib)
    m.register_full_backward_hook(log.hook("m"))
    m(x)[1].sum().backward()
    return [x]


def no_input_needs_a_gradient(lib, log):
    m, x = layer(lib), lib.tensor([[1.0, 2.0]])
    m.register_full_backward_hook(log.hook("m"))
    m.register_full_backward_pre_hook(log.hook("pre", lambda m, go: (go[0] * 3,)))
    (m(x) ** 2).sum().backward()
    return [*m.parameters()]


def in_eval(lib, log):
    m, x = lib.nn.Sequential(layer(lib), lib.nn.BatchNorm1d(2), lib.nn.ReLU()).eval(), point(lib)
    for i, part in enumerate(m):
        part.register_full_backward_hook(log.hook(f"part {i}"))
    (m(x) ** 2).sum().backward()
    return [x, *m.parameters()]


def without_a_graph(lib, log):
    m, x = layer(lib), point(lib)
    m.register_full_backward_hook(log.hook("never"))
    with lib.no_grad():
        log.append(numbers(m(x)))
    (m.weight * 2).sum().backward()
    return [m.weight]


def removed(lib, log):
    m, x = layer(lib), point(lib)
    first = m.register_full_backward_hook(log.hook("removed after forward"))
    with m.register_full_backward_pre_hook(log.hook("inside")):
        y = m(x)
    first.remove()
    first.remove()
    y.sum().backward()
    m(x).sum().backward()
    return [x]


def prepended(lib, log):
    m, x = layer(lib), point(lib)
    m.register_full_backward_hook(log.hook("second"))
    m.register_full_backward_hook(log.hook("first"), prepend=True)
    m.register_full_backward_pre_hook(log.hook("pre second"))
    m.register_full_backward_pre_hook(log.hook("pre first"), prepend=True)
    m(x).sum().backward()
    return [x]


def called_twice(lib, log):
    m, x = layer(lib), point(lib)
    m.register_full_backward_hook(log.hook("m"))
    (m(m(x)) ** 2).sum().backward()
    return [x, m.weight]


def walked_twice(lib, log):
    m = module(lib, lambda inner, a, b: (inner(a) * b, a))
    m.register_full_backward_hook(log.hook("m"))
    a, b = point(lib), point(lib, 3.0, 0.5)
    y = (m(a, b)[0] ** 2).sum()
    y.backward(retain_graph=True)
    y.backward()
    return [a, b]


def a_gradient_of_something_inside(lib, log):
    kept = []
    m, x = module(lib, lambda inner, a: kept.append(inner(a)) or kept[0] * 2), point(lib)
    m.register_full_backward_hook(log.hook("never"))
    m(x)
    kept[0].sum().backward()
    log.append("nothing came by the output")
    return [x]


def grad_of_the_input(lib, log):
    m, x = layer(lib), point(lib)
    m.register_full_backward_hook(log.hook("m", lambda m, gi, go: (gi[0] * 10,)))
    grad = lib.autograd.grad((m(x) ** 2).sum(), x)
    log.append(numbers(grad))
    return []


def with_forward_hooks(lib, log):
    """The gate at the output comes after them, the one at the input between the pre-hooks and forward."""
    m, x = layer(lib), point(lib)
    m.register_forward_pre_hook(lambda m, args: (args[0] * 2,))
    m.register_forward_hook(lambda m, args, y: y * 3)
    m.register_full_backward_hook(log.hook("m"))
    m(x).sum().backward()
    return [x]


def keyword_inputs(lib, log):
    m = module(lib, lambda inner, a, scale: inner(a) * scale)
    m.register_full_backward_hook(log.hook("m"))
    a, b = point(lib), point(lib, 3.0, 0.5)
    m(a, scale=b).sum().backward()
    return [a, b]


def checkpointed(lib, log):
    m, x = layer(lib), point(lib)
    m.register_full_backward_hook(log.hook("m", lambda m, gi, go: (gi[0] * 10,)))
    if lib is mr:
        y = mr.checkpoint(m, x)
    else:
        y = torch.utils.checkpoint.checkpoint(m, x, use_reentrant=False)
    (y**2).sum().backward()
    return [x, *m.parameters()]


def too_many_back(lib, log):
    m, x = layer(lib), point(lib)
    m.register_full_backward_hook(log.hook("m", lambda m, gi, go: (gi[0], gi[0])))
    m(x).sum().backward()
    return [x]


def too_few_back_at_the_output(lib, log):
    m, x = layer(lib), point(lib)
    m.register_full_backward_pre_hook(log.hook("m", lambda m, go: ()))
    m(x).sum().backward()
    return [x]


def a_gradient_for_no_input(lib, log):
    m, x = layer(lib), lib.tensor([[1.0, 2.0]])
    m.register_full_backward_hook(log.hook("m", lambda m, gi, go: go))
    m(x).sum().backward()
    return []


MODULES = [
    one_layer, residual_block, replaced, several_inputs, several_inputs_replaced, an_input_not_used,
    the_same_tensor_twice, several_outputs, an_output_not_used, no_input_needs_a_gradient, in_eval, without_a_graph,
    removed, prepended, called_twice, walked_twice, a_gradient_of_something_inside, grad_of_the_input,
    with_forward_hooks, keyword_inputs, checkpointed, too_many_back, too_few_back_at_the_output,
    a_gradient_for_no_input,
]  # fmt: skip


# ── tensors ──


def leaf(lib, log):
    x = point(lib)
    x.register_hook(log.hook("x"))
    ((x * 3) ** 2).sum().backward()
    return [x]


def intermediate(lib, log):
    x = point(lib)
    y = x * 3
    y.register_hook(log.hook("y"))
    (y**2).sum().backward()
    return [x]


def replaced_by_hooks(lib, log):
    x = point(lib)
    x.register_hook(log.hook("twice", lambda g: g * 2))
    x.register_hook(log.hook("plus one", lambda g: g + 1))
    y = x * 3
    y.register_hook(log.hook("minus", lambda g: -g))
    (y**2 + y).sum().backward()
    return [x]


def retained(lib, log):
    """retain_grad keeps what the hooks left, also those registered later."""
    x = point(lib)
    y = x * 3
    y.register_hook(log.hook("before", lambda g: g * 2))
    y.retain_grad()
    y.register_hook(log.hook("after", lambda g: g + 1))
    (y**2).sum().backward()
    return [x, y]


def several_consumers(lib, log):
    """One call, with the sum of all."""
    x = point(lib)
    y = x * 3
    y.register_hook(log.hook("y"))
    x.register_hook(log.hook("x"))
    (y.relu() + y + x).sum().backward()
    return [x]


def removed_from_tensors(lib, log):
    x = point(lib)
    y = x * 3
    handle, other = y.register_hook(log.hook("removed")), x.register_hook(log.hook("stays"))
    handle.remove()
    handle.remove()
    with x.register_hook(log.hook("inside")):
        (y**2).sum().backward()
    ((x * 2) ** 2).sum().backward()
    other.remove()
    (x * 2).sum().backward()
    return [x]


def with_grad(lib, log):
    x = point(lib)
    x.register_hook(log.hook("x", lambda g: g * 2))
    y = x * 3
    y.register_hook(log.hook("y", lambda g: g + 1))
    z = (y**2).sum()
    log.append(numbers(lib.autograd.grad(z, x, retain_graph=True)))
    log.append(numbers(lib.autograd.grad(z, y)))
    return []


def accumulated(lib, log):
    x = point(lib)
    x.register_hook(log.hook("x", lambda g: g * 2))
    for _ in range(3):
        (x**2).sum().backward()
    return [x]


def clipped_by_a_hook(lib, log):
    m, x = layer(lib), point(lib)
    for p in m.parameters():
        p.register_hook(lambda g: g.clamp(-0.5, 0.5))
    (m(x) ** 2).sum().backward()
    log.append("clipped")
    return [x, *m.parameters()]


def written_by_a_hook(lib, log):
    """A hook that writes to what it is given, as some do."""
    x = point(lib)
    y = x * 3
    y.register_hook(log.hook("y", lambda g: g.mul_(2)))
    (y**2).sum().backward()
    return [x]


def in_a_checkpoint(lib, log):
    x = point(lib)
    x.register_hook(log.hook("x"))

    def inside(x):
        y = x * 3
        y.register_hook(lambda g: g * 2)
        return y**2

    if lib is mr:
        y = mr.checkpoint(inside, x)
    else:
        y = torch.utils.checkpoint.checkpoint(inside, x, use_reentrant=False)
    y.sum().backward()
    return [x]


def no_gradient_comes_by(lib, log):
    log.append("a constant")
    lib.tensor([1.0]).register_hook(lambda g: g)
    return []


def not_a_tensor_back(lib, log):
    x = point(lib)
    x.register_hook(log.hook("x", lambda g: 3))
    x.sum().backward()
    return [x]


def another_shape_back(lib, log):
    x = point(lib)
    x.register_hook(log.hook("x", lambda g: g[0]))
    x.sum().backward()
    return [x]


TENSORS = [
    leaf, intermediate, replaced_by_hooks, retained, several_consumers, removed_from_tensors, with_grad, accumulated,
    clipped_by_a_hook, written_by_a_hook, in_a_checkpoint, no_gradient_comes_by, not_a_tensor_back, another_shape_back,
]  # fmt: skip


def came_out(scenario, lib):
    """The log, and the gradients or the kind of the end."""
    log = Log()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook is firing")  # PyTorch says so for constant inputs
        try:
            tensors = scenario(lib, log)
        except (RuntimeError, TypeError, ValueError):
            return list(log), "refused"
    return list(log), [numbers(t.grad) for t in tensors]


@pytest.mark.parametrize("scenario", MODULES + TENSORS, ids=lambda f: f.__name__)
def test_it_does_what_pytorchs_does(scenario):
    ours, theirs = came_out(scenario, mr), came_out(scenario, torch)
    assert ours == theirs and ours[0]


@pytest.mark.parametrize("scenario", [s for s in MODULES + TENSORS if s is not no_gradient_comes_by])
def test_a_recorder_changes_nothing(scenario):
    plain = came_out(scenario, mr)
    with mr.flow.recording():
        assert came_out(scenario, mr) == plain


@pytest.mark.parametrize("name", ["register_full_backward_hook", "register_full_backward_pre_hook"])
def test_signatures(name):
    ours, theirs = (inspect.signature(getattr(lib.nn.Module, name)).parameters for lib in (mr, torch))
    assert {n: (p.kind, p.default) for n, p in ours.items()} == {n: (p.kind, p.default) for n, p in theirs.items()}


@pytest.mark.parametrize(
    "back, words",
    [
        (lambda m, gi, go: gi[0], "full backward hook: got a Tensor back; expected None or a tuple"),
        (lambda m, gi, go: (*gi, None), "full backward hook: got 2 gradients back, expected 1"),
        (lambda m, gi, go: (gi[0][0],), "full backward hook: got a float32 tensor of shape .* back"),
        (lambda m, gi, go: (1.0,), "full backward hook: got a float back"),
    ],
)
def test_what_a_hook_may_not_return(back, words):
    m = layer(mr)
    m.register_full_backward_hook(back)
    with pytest.raises((TypeError, ValueError), match=words):
        m(point(mr)).sum().backward()


def test_hooks_change_no_bit_and_a_recording_still_finds_the_forks():
    mr.manual_seed(0)
    model = mr.models.resnet_cifar(8, width=4, in_channels=1)
    x, y = mr.data.digits()[0][:8]
    plain = mr.flow.record(model, x, y)
    bits = [p.grad.numpy().copy() for p in model.parameters()] if model.conv1.weight.grad is not None else None
    for m in model.modules():
        m.register_full_backward_hook(lambda m, gi, go: gi)
    hooked = mr.flow.record(model, x, y)
    assert [f.name for f in hooked.forks] == [f.name for f in plain.forks]
    for a, b in zip(hooked.forks, plain.forks):
        assert (a.skip, a.branch, a.cosine) == (b.skip, b.branch, b.cosine)
    assert bits is None or all((a == p.grad.numpy()).all() for a, p in zip(bits, model.parameters()))


def test_a_module_whose_hooks_are_gone_knows_nothing_of_them():
    m = nn.Linear(2, 2)
    before = set(vars(m))
    with m.register_full_backward_hook(lambda m, gi, go: None):
        assert "_hooks" in vars(m)
    assert set(vars(m)) - before <= {"_hooks"} and not m._hooks
    assert m(point(mr)).op.name == "Linear"


def test_a_hook_counts_whatever_else_is_asked_for():
    """Also where PyTorch returns the gradient from before it: see findings/pytorch-grad-of-hooked-tensor.sh."""
    x = mr.tensor(1.0, requires_grad=True)
    y = 3 * x
    y.register_hook(lambda gradient: gradient + 1)
    z = y**2
    assert numbers(mr.grad(z, y, retain_graph=True)) == (7.0,)
    assert numbers(mr.grad(z, (x, y))) == (21.0, 7.0)
