"""No shape hides a mistake: each of these loses marks on every seed, and the reference never does.

The submissions run in this process, so that many seeds take no time; what grading does is tested elsewhere.
"""

import numpy as np
import pytest
from coursework.conftest import solution

from minires.coursework import ASSIGNMENTS, drivers

SEEDS = range(6)
MANY = range(100, 200)
FEWER = {"break_it": MANY[:10], "skip_or_branch": MANY[:30]}  # a seed takes a second


class Direct:
    """Stands in for a `Learner`: calls a module's functions here."""

    trouble = None

    def __init__(self, source):
        self.functions = {}
        exec(source, self.functions)

    def call(self, function, *arguments, **options):
        return self.functions[function](*arguments, **options)

    def drive(self, driver, *arguments, answers=None, **options):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(drivers, "ask", lambda name, *given: answers[name](*given))
            return getattr(drivers, driver)(self, *arguments, **options)

    def __getattr__(self, name):
        return self.functions[name]


def lost(name, source, seed, hidden_only=False):
    """Names of the tests that such a submission does not pass, one after the other, training aside."""
    learner = Direct(source)
    for number, test in enumerate(ASSIGNMENTS[name].tests):
        if test.part in ("training", "network") or (hidden_only and not test.hidden):
            continue
        try:
            test.check(learner, np.random.default_rng([seed, number]))
        except Exception:  # a wrong answer, or whatever the mistake makes the learner's code raise: points are lost
            yield test.name


MISTAKES = [
    ("conv2d", "dw, columns loop over the kernel's height", "grad_weight[:, :, i, j] =",
     "if j < weight.shape[2]: grad_weight[:, :, i, j] ="),
    ("conv2d", "dw, rows loop over the kernel's width", "grad_weight[:, :, i, j] =",
     "if i < weight.shape[3]: grad_weight[:, :, i, j] ="),
    ("conv2d", "dx cropped with the other axis's padding",
     "grad_x[:, :, padding[0] : height, padding[1] : width]",
     "grad_x[:, :, padding[1] : padding[1] + height - padding[0], padding[0] : padding[0] + width - padding[1]]"),
    ("conv2d", "the other axis's padding", "(padding[0],) * 2, (padding[1],) * 2",
     "(padding[1],) * 2, (padding[0],) * 2"),
    ("conv2d", "strides swapped", "for n, k, s in zip(shape[2:], (kh, kw), stride)",
     "for n, k, s in zip(shape[2:], (kh, kw), stride[::-1])"),
    ("conv2d", "strides swapped in a square image", "def windows(shape, weight_shape, stride):\n",
     "def windows(shape, weight_shape, stride):\n    stride = stride[::-1] if shape[2] == shape[3] else stride\n"),
    ("conv2d", "strides swapped in a square image, padding aside", "    x = padded(x, padding)\n    y = 0",
     "    stride = stride[::-1] if x.shape[2] == x.shape[3] else stride\n    x = padded(x, padding)\n    y = 0"),
    ("conv2d", "dx of one image alone", "grad_x[window] +=", "grad_x[window] += (len(x) == 1) *"),
    ("conv2d", "dw of several images alone", "grad_weight[:, :, i, j] =", "grad_weight[:, :, i, j] = (len(x) > 1) *"),
    ("conv2d", "db over the images alone", "grad_y.sum((0, 2, 3))", "grad_y.sum((0, 2, 3)) * (len(x) > 1)"),
    ("relu_maxpool", "cropped with the other axis's padding",
     "grad_x[:, :, padding[0] : padding[0] + h, padding[1] : padding[1] + w]",
     "grad_x[:, :, padding[1] : padding[1] + h, padding[0] : padding[0] + w]"),
    ("relu_maxpool", "the other axis's padding", "(padding[0],) * 2, (padding[1],) * 2",
     "(padding[1],) * 2, (padding[0],) * 2"),
    ("relu_maxpool", "positions counted by the window's height", "i * kernel_size[1] + j", "i * kernel_size[0] + j"),
    ("relu_maxpool", "strides swapped in a square image", "def positions(shape, kernel_size, stride):\n",
     "def positions(shape, kernel_size, stride):\n"
     "    stride = stride[::-1] if shape[2] == shape[3] else stride\n"),
    ("relu_maxpool", "the first image alone", "grad_x[window] +=", "grad_x[window] += (n == 1) *"),
    ("relu_maxpool", "not of a single image", "grad_x[window] +=", "grad_x[window] += (n > 1) *"),
    ("batch_norm", "no variance term for one image", "over_var = x_hat", "over_var = (len(x) > 1) * x_hat"),
    ("batch_norm", "no mean term for one image", "over_mean = grad_y", "over_mean = (len(x) > 1) * grad_y"),
    ("batch_norm", "no variance term for a batch of two", "over_var = x_hat", "over_var = (len(x) != 2) * x_hat"),
    ("batch_norm", "variance over height alone", "x.var(axes(x))",
     "x.var(axes(x)) if len(x) > 1 else x.var((0, *range(2, x.ndim)), ddof=1)"),
    ("batch_norm", "dγ of one image", "(grad_y * x_hat).sum(axes(x))", "(grad_y * x_hat).sum(axes(x)) * (len(x) > 1)"),
    ("cross_entropy", "divided by the classes", "grad / len(target)", "grad / logits.shape[1]"),
    ("fork", "only the last contribution", "totals[source] += totals", "totals[source] = totals"),
    ("fork", "in the order in which values are met", "for value in order(graph, output)",
     "for value in list(dict.fromkeys([output, *[s for v in order(graph, output) for s, _ in graph[v]]]))"),
    ("fork", "a source that occurs twice counts once", "for source, d in sources if",
     "for source, d in dict(sources).items() if"),
    ("fork", "every value of the graph", "stack = [], set(), [(output, False)]",
     "stack = [], set(), [(v, False) for v in graph]"),
    ("fork", "a counterexample in one order alone", '"b": [("c", 1.0)], "c": [("a", 1.0)]',
     '"b": [("a", 1.0)]'),
    ("skip_or_branch", "x itself for the shortcut", "block.shortcut(right)",
     "(right if block.downsample is None else block.shortcut(right).detach())"),
    ("skip_or_branch", "always in training", "def record(block, x, grad_output):\n",
     "def record(block, x, grad_output):\n    block.train()\n"),
    ("skip_or_branch", "lengths for shares", "(skip * total).sum() / square, (branch * total).sum() / square)",
     "(skip**2).sum() / square, (branch**2).sum() / square)"),
    ("skip_or_branch", "the longer one", "skip > 2 / 3", "skip > 1 / 2"),
    ("break_it", "no mistake in the sign", "return -dx", "return dx"),
    ("break_it", "another kind", "return dx, dw.T, db", "return dx, -dw, db"),
    ("break_it", "another gradient", "return -dx, dw, db", "return dx, -dw, db"),
    ("break_it", "the careless check sees it", "return 7 * dx", "return dx + 0.01"),
    ("cross_entropy", "the loss of one image", "target].mean()", "target].sum() / max(len(target), 2)"),
]  # fmt: skip


NAMES = [f"{name}: {what}" for name, what, _, _ in MISTAKES]
JUDGED = [name for name in ASSIGNMENTS if name not in ("gradcheck", "gradient_flow", "break_it")]


def keeps_full_marks(mistake, seeds):
    """Seeds on which no hidden test finds a mistake."""
    name, _, right, wrong = mistake
    assert right in solution(name)
    source = solution(name).replace(right, wrong)
    return [seed for seed in seeds if not any(lost(name, source, seed, hidden_only=True))]


@pytest.mark.parametrize("mistake", MISTAKES, ids=NAMES)
def test_mistake_loses_marks_on_every_seed(mistake):
    assert keeps_full_marks(mistake, SEEDS[:1] if mistake[0] == "break_it" else SEEDS) == []


@pytest.mark.thorough
@pytest.mark.parametrize("mistake", MISTAKES, ids=NAMES)
def test_mistake_loses_marks_on_many_seeds(mistake):
    assert keeps_full_marks(mistake, FEWER.get(mistake[0], MANY)) == []


@pytest.mark.parametrize("name", JUDGED)
def test_reference_loses_nothing(name):
    assert {test for seed in SEEDS for test in lost(name, solution(name), seed)} == set()


@pytest.mark.thorough
@pytest.mark.parametrize("name", JUDGED)
def test_reference_loses_nothing_on_many_seeds(name):
    assert {test for seed in FEWER.get(name, MANY) for test in lost(name, solution(name), seed)} == set()
