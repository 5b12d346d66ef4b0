"""The procedure: what is checked before differences are taken, kinks, precision, and what the messages say."""

import numpy as np
import pytest
from testing import subjects as s

import minires as mr
from minires import kernels, models, nn
from minires.nn import functional as F
from minires.ops.activation import ReLU
from minires.testing import GradCheckError, VacuousCheckWarning, gradcheck
from minires.testing.subject import _Decisions


def _identity(backward):
    """The function x, with this backward."""
    return (lambda x: x.copy()), backward


def _kind(f, *inputs, **options):
    report = gradcheck(f, *inputs, raise_on_failure=False, **options)
    assert not report
    return report.failures[0].kind


X = np.random.default_rng(5).standard_normal((3, 4))


# ── the message ─────────────────────────────────────────────────────────────────────────────────────────────────────


class HalfBatchNorm(mr.Op):
    """x̂, whose backward forgets that the mean depends on x."""

    def forward(self, x):
        self.x_hat, self.inv_std = s.x_hat(x)
        return self.x_hat

    def backward(self, g):
        return self.inv_std * (g - self.x_hat * s.mean(g * self.x_hat))


def test_message_names_place_values_cause_and_repro():
    def bn_block(x):
        return mr.apply(HalfBatchNorm, x)

    x = np.random.default_rng(0).standard_normal((2, 2, 5, 5))
    with pytest.raises(GradCheckError) as caught:
        gradcheck(bn_block, x)
    head, worst, likely, repro = str(caught.value).splitlines()
    assert head == "bn_block, dL/dx of shape (2, 2, 5, 5)   seed 0"
    assert worst.startswith("  worst x[") and "backward " in worst and "numeric " in worst
    assert worst.endswith("100 of 100 wrong")
    assert "the error is constant over axes (0, 2, 3)" in likely and "mean(dxhat)" in likely
    assert repro == "  repro: gradcheck(bn_block, x, seed=0, only='x')"
    failure = caught.value.report.failures[0]
    assert (failure.input, failure.kind) == (0, "missing_mean_term")
    difference = failure.grad - failure.numeric_grad
    assert failure.worst_index == np.unravel_index(np.abs(difference).argmax(), x.shape)
    assert failure.backward - failure.numeric == pytest.approx(difference[failure.worst_index])


def test_report_of_a_right_gradient_is_true_and_says_how_well():
    report = gradcheck(F.tanh, X)
    assert report and not report.failures
    assert "right" in str(report) and "noise floor" in str(report) and "seed 0" in str(report)
    assert all(1.9 < m.order < 2.1 for m in report.measurements if m.order is not None)


def test_same_seed_same_numbers_and_only_keeps_them():
    def f(a, b):
        return a * b

    whole = gradcheck(f, X, X + 1, seed=3)
    part = gradcheck(f, X, X + 1, seed=3, only="b")
    assert part.measurements == [m for m in whole.measurements if m.input == 1]
    assert gradcheck(f, X, X + 1, seed=4).measurements != whole.measurements


def test_its_random_numbers_are_not_those_of_the_inputs():
    """With the input itself for grad_output, a batch norm's true gradient is 0."""
    x = np.random.default_rng(0).standard_normal((4, 3, 3, 3))
    report = gradcheck((s.bn.forward, s.bn.backward), x, np.ones(3), np.zeros(3), only=0)
    assert max(abs(m.numeric) for m in report.measurements) > 0.1


# ── free checks ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_forward_that_is_random():
    rng = np.random.default_rng(0)
    assert _kind((lambda x: x * rng.random(), lambda g, x: (g,)), X) == "not_deterministic"


def test_backward_that_writes_into_its_input_and_the_caller_keeps_its_array():
    def backward(g, x):
        x *= 2
        return (g,)

    kept = X.copy()
    assert _kind(_identity(backward), X) == "input_changed"
    np.testing.assert_array_equal(X, kept)


def test_backward_that_writes_into_grad_output():
    def backward(g, x):
        g *= 1.0 + 1e-9
        return (g,)

    assert _kind(_identity(backward), X) == "input_changed"


@pytest.mark.parametrize(
    ("backward", "kind"),
    [
        (lambda g, x: (None,), "no_gradient"),
        (lambda g, x: (g.astype(np.float32),), "wrong_dtype"),
        (lambda g, x: (g[0],), "wrong_shape"),
        (lambda g, x: (g.T,), "transposed"),
        (lambda g, x: (g, g), "raises"),
        (lambda g, x: 1 / 0, "raises"),
        (lambda g, x: (g + 1,), "not_linear"),
        (lambda g, x: (g * np.nan,), "partly_wrong"),
    ],
)
def test_kind(backward, kind):
    assert _kind(_identity(backward), X) == kind


def test_none_is_right_where_the_output_does_not_depend_on_the_input():
    assert gradcheck((lambda a, b: a * 2, lambda g, a, b: (2 * g, None)), X, X)


def test_whole_numbers_are_not_differentiated():
    report = gradcheck((lambda x, k: x[k], lambda g, x, k: (_put(g, x, k), None)), X, np.array([0, 2]))
    assert {m.input for m in report.measurements} == {0}


def _put(g, x, k):
    grad = np.zeros_like(x)
    grad[k] = g
    return grad


class NotSummed(mr.Op):
    """x + b, whose backward returns b's gradient with one axis too many."""

    def forward(self, x, b):
        return x + b[:, None, None]

    def backward(self, g):
        return g, g.sum((2, 3))


def test_error_of_the_engine_is_told_as_a_failure_of_that_input():
    x, b = np.ones((2, 3, 4, 4)), np.ones(3)
    report = gradcheck(lambda x, b: mr.apply(NotSummed, x, b), x, b, raise_on_failure=False)
    assert [(f.input, f.kind) for f in report.failures] == [(1, "missing_broadcast_sum")]
    assert "sum over axes (0,)" in report.failures[0].likely
    report = gradcheck(NotSummed, x, b, raise_on_failure=False)
    assert [(f.input, f.kind) for f in report.failures] == [(1, "missing_broadcast_sum")]


def test_kernel_swapped_in_is_what_is_checked():
    def wrong(g, x, w, *geometry, needs):
        dx, dw, db = kernels.textbook.conv2d_backward(g, x, w, *geometry, needs=needs)
        return dx, dw.swapaxes(2, 3), db

    layer, x = nn.Conv2d(2, 3, 3), np.random.default_rng(0).standard_normal((2, 2, 4, 4))
    assert gradcheck(layer, x)
    with kernels.use(conv2d_backward=wrong):
        report = gradcheck(layer, x, raise_on_failure=False)
    assert [(f.input, f.kind) for f in report.failures] == [("weight", "transposed")]


def test_gradient_added_in_place_to_a_kept_array():
    kept = np.zeros_like(X)

    def backward(g, x):
        kept[...] += g
        return (kept,)

    assert _kind(_identity(backward), X) == "accumulates"


def test_forward_that_writes_into_its_input():
    def forward(x):
        x += 1
        return x.copy()

    assert _kind((forward, lambda g, x: (g,)), X) == "input_changed"


def test_walk_that_raises():
    def engine(outputs, grads):
        raise KeyError("lost")

    assert _kind(F.tanh, X, engine=engine) == "raises"


@pytest.mark.parametrize("shape", [(), (1,), (0, 3), (1, 1, 1)])
def test_small_shapes(shape):
    x = np.full(shape, 0.7)
    report = gradcheck(lambda x: x * x, x)
    assert report
    assert gradcheck((lambda x: x * x, lambda g, x: (2 * g * x,)), x)
    if x.size:
        assert _kind((lambda x: x * x, lambda g, x: (g * x,)), x) == "constant_factor"


def test_inside_no_grad_and_with_numbered_inputs():
    with mr.no_grad():
        report = gradcheck(lambda *t: t[0] * t[1], X, X + 1, only="input1")
    assert {m.input for m in report.measurements} == {1}


# ── modules ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_module_is_left_exactly_as_it_was():
    mr.manual_seed(0)
    block = models.ResidualBlock(2, 3)
    block.conv1.weight.grad = np.ones_like(block.conv1.weight.array)
    block.conv2.weight.requires_grad_(False)
    arrays = {name: p.array for name, p in block.named_parameters()}
    buffers = {name: (b, np.array(b)) for name, b in block.named_buffers()}
    state, grad = block.state_dict(), block.conv1.weight.grad
    random = mr.random.get_state()
    report = gradcheck(block, np.random.default_rng(0).standard_normal((3, 2, 4, 4)))
    assert {m.input for m in report.measurements} == {0, *arrays}
    assert all(p.array is arrays[name] for name, p in block.named_parameters())
    for name, b in block.named_buffers():
        assert b is buffers[name][0]
        np.testing.assert_array_equal(b, buffers[name][1])
    for name, array in block.state_dict().items():
        np.testing.assert_array_equal(array, state[name])
    assert block.conv1.weight.grad is grad and not block.conv2.weight.requires_grad
    assert mr.random.get_state() == random


def test_wrong_parameter_is_named():
    class Doubled(mr.Op):
        def forward(self, w):
            return w * 1.0

        def backward(self, g):
            return 2 * g

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(4, 2)

        def forward(self, x):
            return F.linear(x, mr.apply(Doubled, self.inner.weight), self.inner.bias)

    report = gradcheck(Layer(), X, raise_on_failure=False)
    assert [(f.input, f.kind) for f in report.failures] == [("inner.weight", "constant_factor")]


def test_params_of_a_function():
    layer = nn.Linear(4, 2)
    report = gradcheck(lambda x: F.tanh(layer(x)), X, params=layer)
    assert {m.input for m in report.measurements} == {0, "weight", "bias"}
    w = mr.tensor(X.T.copy(), requires_grad=True)
    assert gradcheck(lambda x: x @ w, X, params={"w": w})
    assert gradcheck(lambda x: x @ w, X, params=[w], only="params[0]").measurements[0].input == "params[0]"


# ── kinks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_entries_at_a_kink_are_skipped_and_reported():
    x = X.copy()
    x[0, 0] = 0
    report = gradcheck(F.relu, x)
    assert report and report.skipped and "1 of 12 entries skipped" in str(report)
    assert gradcheck((s.relu.forward, s.relu.backward), x).skipped
    assert _kind((s.relu.forward, lambda g, x: (2 * g * (x > 0),)), x) == "constant_factor"


def test_where_all_sit_at_a_kink_the_gradient_is_checked_beside_it():
    x = np.zeros((3, 4))
    assert "12 of 12 entries skipped" in str(gradcheck(F.relu, x))
    assert _kind((s.relu.forward, lambda g, x: (2 * g * (x > 0),)), x) == "constant_factor"


def test_kinks_everywhere_fail():
    """A triangle wave that is finer than most steps."""
    assert _kind((lambda x: np.abs(x * 1e9 % 2 - 1), lambda g, x: (1e9 * g * np.sign(x * 1e9 % 2 - 1),)), X)


def test_a_kink_very_near_shrinks_the_step():
    x = X.copy()
    x[0, 0] = 1e-6
    steps = [m.step for m in gradcheck(ReLU, x).measurements] + [m.step for m in gradcheck(F.relu, x).measurements]
    assert min(steps) < 1e-5


def test_conventions_at_the_kink_are_exact():
    """ReLU′(0) = 0; a tie in a pooling window gives the gradient to the first maximum."""
    x = mr.tensor(np.zeros((2, 2)), requires_grad=True)
    F.relu(x).backward(np.ones((2, 2)))
    np.testing.assert_array_equal(x.grad, np.zeros((2, 2)))
    x = mr.tensor(np.ones((1, 1, 2, 2)), requires_grad=True)
    F.max_pool2d(x, 2).backward(np.ones((1, 1, 1, 1)))
    np.testing.assert_array_equal(x.grad, [[[[1, 0], [0, 0]]]])


# ── precision, size, vacuity ────────────────────────────────────────────────────────────────────────────────────────


class Coarse(mr.Op):
    """x, whose backward is right in float64 and loses digits in float32."""

    def forward(self, x):
        return x.copy()

    def backward(self, g):
        return g if g.dtype == np.float64 else np.round(g, 2).astype(g.dtype)


def test_float32_is_judged_against_float64():
    x = X.astype(np.float32)
    assert gradcheck(F.tanh, x)
    assert gradcheck(lambda x: mr.apply(Coarse, x), X)
    assert _kind(lambda x: mr.apply(Coarse, x), x) == "float32"


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1e6])
def test_scale_of_the_input_does_not_matter(scale):
    assert gradcheck((lambda x: x**3, lambda g, x: (3 * x**2 * g,)), scale * X)
    assert not gradcheck((lambda x: x**3, lambda g, x: (3.0001 * x**2 * g,)), scale * X, raise_on_failure=False)


def test_wrong_entries_of_a_large_array_are_found_by_halving():
    x = np.random.default_rng(0).standard_normal(6000)

    def backward(g, x):
        grad = 2 * x * g
        grad[4321] += 1
        return (grad * (g != 0),)

    def linear_backward(g, x):
        grad = 2 * x * g
        grad[4321] *= 3
        return (grad,)

    report = gradcheck((lambda x: x**2, linear_backward), x, raise_on_failure=False)
    assert report.failures[0].kind == "partly_wrong" and "(4321,)" in report.failures[0].likely
    assert not gradcheck((lambda x: x**2, backward), x, raise_on_failure=False)
    assert _kind((lambda x: x**2, lambda g, x: (-2 * x * g,)), x) == "sign"


def test_check_that_proves_nothing_warns():
    bn = nn.BatchNorm1d(4)
    with pytest.warns(VacuousCheckWarning, match="x: the expected gradient is 0"):
        gradcheck(lambda x: F.batch_norm(x, None, None, training=True).sum(), X)
    with pytest.warns(VacuousCheckWarning, match="bias"):
        gradcheck(nn.Sequential(nn.Linear(3, 4), bn), np.random.default_rng(0).standard_normal((6, 3)))


# ── bad arguments ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: gradcheck(3, X), TypeError, "expected a function of Tensors"),
        (lambda: gradcheck(F.relu, X, only="y"), ValueError, "only='y'; there are 'input'"),
        (lambda: gradcheck(F.relu, np.arange(3)), ValueError, "no floating-point input"),
        (lambda: gradcheck(F.relu, (np.ones(3),)), ValueError, "but tuple; pass arrays or tensors .* one by one"),
        (lambda: gradcheck(F.relu, X * np.nan), ValueError, "NaN or Inf in input"),
        (lambda: gradcheck(lambda x: x.array, X), TypeError, "returned a ndarray"),
        (lambda: gradcheck(lambda x: x * np.inf, X), ValueError, "NaN or Inf among them"),
        (lambda: gradcheck(F.relu, X, directions=0), ValueError, "directions=0"),
    ],
)
def test_bad_arguments(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_batch_norm_is_spoken_of_only_where_something_is_normalised():
    def centred(x):
        return x - x.mean(0)

    def normalise(x):
        return centred(x) / np.sqrt(x.var(0) + 1e-5)

    def normalise_backward(g, x):
        y = normalise(x)
        return ((g - y * (g * y).mean(0)) / np.sqrt(x.var(0) + 1e-5),)

    wrong = {
        "sum": (np.sum, lambda g, x: (g * (np.arange(len(x)) == 0)[:, None] * np.ones_like(x),)),
        "var": (lambda x: x.var(0), lambda g, x: (g * (2 * centred(x) / len(x) + 0.3),)),
        "batch norm": (normalise, normalise_backward),
    }
    x = np.random.default_rng(0).standard_normal((4, 5))
    for name, pair in wrong.items():
        (failure,) = gradcheck(pair, x, raise_on_failure=False).failures
        assert failure.kind == "missing_mean_term"
        assert ("batch norm" in failure.likely) == (name == "batch norm"), failure.likely


# ── what no tolerance may hide ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_one_wrong_entry_of_2500_is_found_whatever_sits_at_a_kink(share):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((50, 50)) * (rng.random((50, 50)) >= share)
        x[7, 7] = 1.0

        def backward(g, x):
            grad = g * (x > 0)
            grad[7, 7] *= 1.5
            return (grad,)

        assert _kind((s.relu.forward, backward), x, seed=seed) in ("partly_wrong", "wrong_at_kink")


def test_a_factor_of_almost_1_is_found_on_every_seed_and_told():
    for seed in range(50):
        assert _kind((np.tanh, lambda g, x: ((1 + 5e-6) * g * (1 - np.tanh(x) ** 2),)), X, seed=seed)
    report = gradcheck((np.tanh, lambda g, x: ((1 - 5e-6) * g * (1 - np.tanh(x) ** 2),)), X, raise_on_failure=False)
    assert report.failures[0].likely == "the gradient is 1 − 5e-06 times the right one"


@pytest.mark.parametrize("factor", [-1.0, 0.5, 0.99, 1.01, 2.0])
def test_saturated_loss_is_measured_not_excused(factor):
    """The gradient is 4e−9, the loss is computed to 1e−16, so 1 % of the gradient is known."""

    def loss(z):
        shifted = z - z.max(1, keepdims=True)
        return (np.log(np.exp(shifted).sum(1)) - shifted[:, 0]).mean()

    z = np.array([[20.0, 0, 0]])
    assert gradcheck((loss, lambda g, z: (g * (s.softmax(z) - np.eye(3)[[0]]),)), z)
    assert _kind((loss, lambda g, z: (factor * g * (s.softmax(z) - np.eye(3)[[0]]),)), z)


def test_forward_in_float32_cannot_be_checked_and_is_told():
    report = gradcheck(
        (lambda x: np.tanh(x.astype(np.float32)).astype(np.float64), lambda g, x: (g * (1 - np.tanh(x) ** 2),)),
        X,
        raise_on_failure=False,
    )
    assert report.failures[0].kind == "wrong_dtype" and "forward rounds" in report.failures[0].likely


# ── grad_output: clipped, or laid out otherwise ─────────────────────────────────────────────────────────────────────


def test_backward_that_cannot_take_a_strided_grad_output():
    def backward(g, x):
        if not g.flags.c_contiguous:
            raise BufferError("not contiguous")
        return (g,)

    assert _kind(_identity(backward), X) == "memory_layout"


@pytest.mark.parametrize("limit", [5.0, 20.0, 500.0])
def test_clipping_is_found_far_above_the_usual_sizes(limit):
    assert _kind(_identity(lambda g, x: (np.clip(g, -limit, limit),)), X) == "not_linear"


# ── layers that a function finds around it ──────────────────────────────────────────────────────────────────────────


def test_float32_layer_around_a_function_is_checked_in_float64_and_left_as_it_was():
    layer, x = nn.Linear(4, 2), mr.tensor(X.astype(np.float32))
    weight = layer.weight.array

    class Holder:
        inner = None

        def __init__(self, layer):
            self.inner = layer

        def run(self, a):
            return self.inner(a)

    holder, layers = Holder(layer), [layer]
    for f in (lambda a: layer(a), lambda a: layers[0](a).tanh(), holder.run, lambda a: a @ layer.weight.permute(1, 0)):
        for given in (X, x):
            assert gradcheck(f, given)
            assert layer.weight.array is weight and weight.dtype == np.float32


def test_float32_that_cannot_be_found_is_told_with_what_to_do():
    with pytest.raises(TypeError, match=r"check runs in float64.*pass the layer itself.*layer\.double\(\)"):
        gradcheck(lambda a: a @ mr.tensor(np.ones((4, 2), np.float32)), X)


def test_broken_op_behind_a_layer_around_the_function_is_found():
    layer = nn.Linear(4, 2)
    assert _kind(lambda a: mr.apply(Coarse, layer(a)) * 1.0, X.astype(np.float32)) == "float32"


def test_lstm_cell_with_states_turned_weights_and_other_gates_is_recognised():
    """One step, weights (I, 4H), gates o, f, i, g."""

    def gates(x, h, w, u, b):
        o, f, i, g = np.split(x @ w + h @ u + b, 4, axis=1)
        o, f, i = (1 / (1 + np.exp(-a)) for a in (o, f, i))
        return o, f, i, np.tanh(g)

    def forward(x, h, c, w, u, b):
        o, f, i, g = gates(x, h, w, u, b)
        return o * np.tanh(f * c + i * g)

    def backward(grad, x, h, c, w, u, b):
        o, f, i, g = gates(x, h, w, u, b)
        after = f * c + i * g
        dc = grad * o * (1 - np.tanh(after) ** 2)
        da = np.concatenate(
            [grad * np.tanh(after) * o * (1 - o), dc * c * f * (1 - f), dc * g * i, dc * i * (1 - g**2)], 1
        )
        return da @ w.T, da @ u.T, dc * f, x.T @ da, h.T @ da, da.sum(0)

    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape) for shape in ((5, 2), (5, 3), (5, 3), (2, 12), (3, 12), (12,))]
    report = gradcheck((forward, backward), *arrays, raise_on_failure=False)
    assert {f.input: f.kind for f in report.failures} == dict.fromkeys((0, 1, 3, 4, 5), "lstm")
    assert "the factor 1 − i in the derivative of the input gate is missing" in report.failures[0].likely


@pytest.mark.parametrize(
    "kinked",
    [
        lambda x: x.relu(),
        lambda x: F.leaky_relu(x),
        lambda x: x.abs(),
        lambda x: x.clamp(-1, 1),
        lambda x: mr.maximum(x, 0.5),
        lambda x: mr.where(x > 0, x, 0.1 * x),
        lambda x: F.relu6(x),
        lambda x: F.hardswish(x),
        lambda x: F.elu(x, 2.0),
        lambda x: x.max(1)[0],
        lambda x: x.amin(0),
        lambda x: F.max_pool2d(x[None, None], 2),
    ],
)
def test_on_the_other_side_of_a_kink_the_decisions_differ(kinked):
    def decisions(array):
        seen = _Decisions()
        with mr.autograd.switch(recorder=seen):
            kinked(mr.tensor(array, requires_grad=True))
        return seen.found

    x = np.linspace(-4.1, 4.3, 24).reshape(4, 6)
    here, same, there = (decisions(array) for array in (x, x + 1e-9, -x - 0.7))
    assert here and all(map(np.array_equal, here, same)) and not all(map(np.array_equal, here, there))


@pytest.mark.parametrize("smallest", [1e-11, 1e-12, 1e-13])
def test_a_step_that_leaves_the_domain_of_a_function_is_no_evidence(smallest):
    gradcheck(lambda x: -x.log(), np.array([smallest, 0.5, 0.5]))


def test_a_gradient_that_rounding_hides_is_not_said_to_be_0():
    with pytest.warns(VacuousCheckWarning, match="f's rounding hides the gradient"):
        gradcheck((lambda x: x + 1e10, lambda g, x: g), np.array([1.0, 2.0]))
