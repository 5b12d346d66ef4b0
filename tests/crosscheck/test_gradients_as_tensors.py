"""What people do with ``p.grad`` and ``p.data``, line for line: the same numbers as PyTorch's, or our words."""

import ast
import copy
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from crosscheck.idioms import setting
from crosscheck.run_idioms import difference, plain

import minires as mr

torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is needed only to compare with it")


def after_backward(lib):
    """A model with gradients, and what else the lines below need."""
    names = setting(lib)
    names["criterion"](names["model"](names["x"]), names["y"]).backward()
    return names | {"p": names["model"][5].weight, "b": names["model"][5].bias, "np": np, "copy": copy}


EXPRESSIONS = """
type(p.grad).__name__
p.grad
p.grad.requires_grad
p.grad.is_leaf
p.grad.grad
p.grad.shape
p.grad.dtype == p.dtype
p.grad.norm()
p.grad.norm(2)
p.grad.norm(p=1)
p.grad.norm(float("inf"))
p.grad.norm(2, dim=1)
p.grad.abs().mean()
p.grad.abs().mean().item()
p.grad.abs().max()
p.grad.max().item()
p.grad.min().item()
p.grad.std()
p.grad.var(0)
p.grad.sum(dim=0)
p.grad.clone()
p.grad.detach()
p.grad.data
p.grad.data.norm(2).item()
p.grad.cpu().numpy()
p.grad.numpy().copy()
p.grad.detach().cpu().numpy().flatten()
p.grad.view(-1)
p.grad.flatten()[:3].tolist()
p.grad.t()
p.grad[0]
p.grad[0, 1].item()
p.grad.numel()
p.grad.size()
p.grad.eq(0).sum().item()
(p.grad == 0).float().mean()
(p.grad ** 2).sum()
(p.grad * p).sum().item()
(p.grad * p.data).sum()
p.grad / (p.grad.norm() + 1e-8)
-p.grad
2 * p.grad + 1
p.grad.double().sum()
p.grad is p.grad
p.grad is None
float(p.grad.norm())
bool((p.grad.abs() < 1).all())
f"{p.grad.norm().item():.4f}"
"%.4f" % p.grad.norm()
f"{p.grad.norm():.4f}"
len(p.grad)
[row.norm().item() for row in p.grad]
torch.norm(p.grad)
torch.max(p.grad).item()
torch.cat([q.grad.view(-1) for q in model.parameters()])
torch.stack([q.grad.norm() for q in model.parameters()])
sum(q.grad.norm() ** 2 for q in model.parameters()) ** 0.5
max(q.grad.abs().max().item() for q in model.parameters())
{name: q.grad.norm().item() for name, q in model.named_parameters()}
p.data
p.data.requires_grad
p.data.norm().item()
p.data is p
p.data.abs().mean()
(p.grad.norm() / p.data.norm()).item()
p.data.numpy().shape
b.grad.tolist()
""".strip().splitlines()

STATEMENTS = """
p.grad.zero_()
p.grad.fill_(2.0)
p.grad *= 0.5
p.grad += 1
p.grad -= p.grad.mean()
p.grad /= p.grad.norm()
p.grad.mul_(0.5).add_(1.0)
p.grad.data.mul_(0.5)
p.grad.data.zero_()
p.grad.detach_(); p.grad.zero_()
p.grad = None
p.grad = torch.ones_like(p)
p.grad = p.grad.clone() * 3
p.grad.copy_(torch.ones(5, 4))
p.grad[0] = 0
p.grad[p.grad < 0] = 0
p.grad.data = p.grad.data * 2
p.grad.add_(p.data, alpha=0.1)
p.grad.clamp(-0.1, 0.1); p.grad = p.grad.clamp(-0.1, 0.1)
g = p.grad; g.mul_(2)
g = p.grad; p.grad = None; g.mul_(2); p.grad = g
p.data.zero_()
p.data.fill_(0.5)
p.data.add_(-0.1 * p.grad)
p.data.add_(p.grad, alpha=-0.1)
p.data.sub_(0.1 * p.grad.data)
p.data -= 0.1 * p.grad
p.data = p.data - 0.1 * p.grad
p.data.copy_(torch.ones(5, 4))
p.data.mul_(0.9).add_(p.grad, alpha=0.1)
p.data.clamp(-0.1, 0.1); p.data = p.data.clamp(-0.1, 0.1)
p.data[0] = 7
p.data[:, 1] *= 2
p.data.div_(p.data.norm())
with torch.no_grad(): p -= 0.1 * p.grad
with torch.no_grad(): p.add_(p.grad, alpha=-0.1)
with torch.no_grad(): p.copy_(p - 0.1 * p.grad)
with torch.no_grad(): p.mul_(1 - 0.1 * 5e-4).sub_(p.grad * 0.1)
optimizer.zero_grad(set_to_none=False)
optimizer.zero_grad()
model.zero_grad(set_to_none=False)
model.zero_grad()
optimizer.step(); optimizer.zero_grad(set_to_none=False); criterion(model(x), y).backward()
criterion(model(x), y).backward(); criterion(model(x), y).backward()
for q in model.parameters(): q.grad.data.clamp(-0.01, 0.01); q.grad = q.grad.clamp(-0.01, 0.01)
for q in model.parameters(): q.grad.mul_(min(1.0, 0.1 / (q.grad.norm().item() + 1e-6)))
for q in model.parameters(): q.grad.div_(3)
for q in model.parameters(): q.data.add_(q.grad.data, alpha=-0.1)
for q in model.parameters(): q.grad = q.grad + 1e-2 * q.detach()
kept = [q.grad.clone() for q in model.parameters()]; optimizer.step(); p.grad = kept[4]
saved = p.grad; criterion(model(x), y).backward(); b.grad = saved.sum(1)
ema = copy.deepcopy(model); e = ema[5].weight; optimizer.step(); e.data.mul_(0.9).add_(p.data, alpha=1 - 0.9)
""".strip().splitlines()

NUMPY = """
np.asarray(p.grad)
np.array(p.grad)
np.array(p.grad, dtype=np.float64)
np.linalg.norm(p.grad)
np.abs(p.grad).mean()
np.mean(p.grad)
np.max(p.grad)
np.std(p.grad)
np.sum(p.grad, axis=0)
np.concatenate([p.grad, p.grad])
np.stack([p.grad, p.grad])
np.log10(np.abs(p.grad) + 1e-9)
np.histogram(p.grad, bins=4)[0]
np.percentile(p.grad, 50)
np.isnan(p.grad).any()
np.isfinite(p.grad).all()
np.allclose(p.grad, p.grad)
np.array_equal(p.grad, p.grad)
np.dot(p.grad, np.ones(4, np.float32))
np.maximum(p.grad, 0)
np.where(p.grad > 0, 1, 0)
np.sort(p.grad)
np.median(p.grad)
np.array([np.abs(q.grad).mean() for q in model.parameters()])
np.prod(p.grad.shape)
np.ravel(p.grad)
np.square(p.grad).sum()
np.argmax(p.grad)
np.clip(p.grad, -1, 1)
""".strip().splitlines()


def every_parameter(names):
    """All gradients, all values, and what else may have been changed."""
    return [(plain(q.grad), plain(q)) for q in names["model"].parameters()]


@pytest.mark.parametrize("line", EXPRESSIONS)
def test_an_expression_gives_the_same(line):
    ours, theirs = (plain(eval(line, after_backward(lib))) for lib in (mr, torch))
    assert difference(ours, theirs) is None


@pytest.mark.parametrize("line", NUMPY)
def test_numpys_functions_take_a_gradient(line):
    names = after_backward(mr)
    found = eval(line, names)
    assert not isinstance(found, mr.Tensor)
    for q in names["model"].parameters():
        q._grad = q.grad.numpy()  # so that the same line is about arrays
    expected = eval(line, names)
    assert difference(found, expected) is None and type(found) is type(expected)


@pytest.mark.parametrize("line", STATEMENTS)
def test_a_statement_leaves_the_same(line):
    found = []
    for lib in (mr, torch):
        names = after_backward(lib)
        exec(line, names)
        found.append(every_parameter(names) + [plain(q) for q in names.get("ema", names["model"]).parameters()])
    assert difference(*found) is None


def test_a_gradient_is_the_same_tensor_as_it_grows():
    for lib in (mr, torch):
        names = after_backward(lib)
        held, before = names["p"].grad, names["p"].grad.clone()
        names["criterion"](names["model"](names["x"]), names["y"]).backward()
        assert names["p"].grad is held
        np.testing.assert_allclose(held.numpy(), 2 * before.numpy(), rtol=1e-4)


def test_data_is_the_same_memory_and_not_the_same_tensor():
    for lib in (mr, torch):
        names = after_backward(lib)
        p = names["p"]
        view = p.data
        view[0, 0] = 42.0
        assert p[0, 0].item() == 42.0 and view is not p and not view.requires_grad and p.requires_grad


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # of PyTorch's tensors
def test_the_forums_picture_has_the_same_bars():
    """The function of lesson 8, in both libraries."""
    lesson = Path(__file__).parents[2] / "lessons" / "08_traditional_networks.py"
    functions = [
        node for node in ast.parse(lesson.read_text("utf-8")).body if getattr(node, "name", "").startswith("plot_")
    ]
    heights = []
    for lib in (mr, torch):
        names = {"np": np, "plt": plt}
        exec(compile(ast.Module(functions, []), str(lesson), "exec"), names)
        figure = plt.figure()
        names["plot_grad_flow"](after_backward(lib)["model"].named_parameters())
        heights.append([bar.get_height() for bar in figure.gca().patches])
        plt.close(figure)
    assert len(heights[0]) == 3
    np.testing.assert_allclose(*heights, rtol=1e-4)


def test_random_numbers_on_data():
    for lib in (mr, torch):
        lib.manual_seed(0)
        p = lib.nn.Parameter(lib.zeros(50, 40))
        p.data.normal_()
        assert abs(p.std().item() - 1) < 0.1
        p.data.normal_(0, 0.02)
        assert abs(p.std().item() - 0.02) < 0.002
        p.data.normal_(mean=3.0, std=0.5)
        assert abs(p.mean().item() - 3) < 0.1
        p.data.uniform_(-0.1, 0.1)
        assert 0.05 < p.max().item() <= 0.1


@pytest.mark.parametrize(
    "line, error, words",
    [
        ("p.data.add_(-0.1, p.grad)", TypeError, r"add_: got 2 values; .* x\.add_\(y, alpha=-lr\)"),
        ("p.data.sub_(0.1, p.grad)", TypeError, r"sub_: got 2 values; .* x\.sub_\(y, alpha=-lr\)"),
        ("p.grad = 3", TypeError, "grad: got an int, expected a Tensor, an array or None"),
        ("p.grad = torch.ones(3)", ValueError, r"grad: got a float32 tensor of shape \(3,\)"),
        ("p -= 0.1 * p.grad", RuntimeError, "in-place: got a leaf .* write under no_grad"),
        ("criterion(model(x), y).backward(create_graph=True)", NotImplementedError, "backward: got create_graph=True"),
        ("criterion(model(x), y).backward(inputs=[])", ValueError, r"backward: got inputs=\[\]"),
        ("torch.autograd.grad(criterion(model(x), y), p, create_graph=True)", NotImplementedError, "first-order"),
        ("torch.autograd.grad(criterion(model(x), y), p, only_inputs=False)", ValueError, "only_inputs=False"),
        ("p.grad.lerp_(p, 0.1)", NotImplementedError, r"Tensor.lerp_: .* x\.mul_\(1 - weight\)"),
        ("p.grad.backward()", RuntimeError, "does not require grad"),
    ],
)
def test_what_does_not_run_says_so(line, error, words):
    with pytest.raises(error, match=words):
        exec(line, after_backward(mr))
