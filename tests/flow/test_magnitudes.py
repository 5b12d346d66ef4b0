"""The instrument's numbers at every magnitude: held to the arrays themselves, in exact arithmetic."""

import csv
import json
import math
from fractions import Fraction

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, strategies as st

import minires as mr
from minires import flow, nn, random
from minires.flow import plots
from minires.flow.landscape import filter_normalised
from minires.flow.summands import measure_summands
from minires.nn import functional as F

RANGE = {np.float16: (-7, 4), np.float32: (-44, 37), np.float64: (-200, 80)}  # powers of ten of the entries
ROUNDING = {np.float16: 1e-5, np.float32: 1e-5, np.float64: 1e-12}


@st.composite
def summands(draw):
    """One to four arrays, each of its own magnitude; some equal and opposite to another."""
    dtype = draw(st.sampled_from(list(RANGE)))
    low, high = RANGE[dtype]
    found = []
    for _ in range(draw(st.integers(1, 4))):
        if found and draw(st.booleans()):
            found.append(-draw(st.sampled_from(found)))
            continue
        power = draw(st.integers(low, high))
        values = draw(st.lists(st.one_of(st.floats(-3, 3), st.just(0.0)), min_size=3, max_size=3))
        exact = [float(Fraction(v) * Fraction(10) ** power) for v in values]
        found.append(np.array(exact, np.float64).astype(dtype))
    return found


def exact(array):
    return [Fraction(float(v)) for v in array]


def plus(*arrays):
    return [sum(entries, start=Fraction(0)) for entries in zip(*arrays)] if arrays else [Fraction(0)] * 3


def norm(values):
    """In exact arithmetic up to the root."""
    largest = max(map(abs, values)) or Fraction(1)
    return math.sqrt(sum((v / largest) ** 2 for v in values)) * float(largest)


def cosine(a, b):
    a, b = ([v / (max(map(abs, x)) or 1) for v in x] for x in (a, b))
    square = sum(v * v for v in a) * sum(v * v for v in b)
    return float(sum(v * w for v, w in zip(a, b))) / math.sqrt(square) if square else 0.0


@given(summands(), st.booleans())
def test_every_norm_cosine_and_error_is_that_of_exact_arithmetic(arrays, right):
    dtype, entries = arrays[0].dtype.type, [exact(a) for a in arrays]
    with np.errstate(over="ignore"):
        total = sum(arrays[1:], start=arrays[0]) * dtype(1 if right else 0.5)
    if not np.isfinite(total).all():
        return
    got, rel = measure_summands(arrays, total), ROUNDING[dtype]
    assert got.norm == pytest.approx(norm(exact(total)), rel=rel, abs=0)
    if len(arrays) == 1:
        return
    assert got.norms == pytest.approx([norm(e) for e in entries], rel=rel, abs=0)
    for i, a in enumerate(entries):
        assert got.cosines[i] == pytest.approx([cosine(a, b) for b in entries], abs=rel)
        others = plus(*(e for j, e in enumerate(entries) if j != i))
        largest = max(norm(e) for j, e in enumerate(entries) if j != i)
        assert got.others[i][0] == pytest.approx(norm(others), rel=10 * rel, abs=1e-30 * largest)
        if norm(others) > 1e-15 * largest:
            assert got.others[i][1] == pytest.approx(cosine(a, others), abs=10 * rel)
    error = norm(plus(exact(total), *([-v for v in e] for e in entries)))
    if got.norm:
        at = 1e-14 * max([got.norm, *got.norms]) / got.norm
        assert got.error == pytest.approx(error / norm(exact(total)), rel=1e-6, abs=at)
    else:
        assert got.error == (math.inf if error else 0)


def edges_of(grads, total):
    """A node of a recording with these gradients on its edges."""
    from minires.autograd import Edge
    from minires.flow.recorder import FlowRecorder
    from minires.ops.arithmetic import Add

    source, consumer = Add(), Add()
    source.serial, consumer.serial, source.shape = 1, 2, total.shape
    recorder = FlowRecorder()
    recorder.backward(source, [Edge(source, consumer, i, g) for i, g in enumerate(grads)], total)
    return recorder.recording.nodes[0]


def test_large_edges_that_cancel_stay_finite():
    a, b = np.array([6e19, 4], np.float32), np.array([-6e19, 0], np.float32)
    node = edges_of([a, b], a + b)
    assert node.edge_norms == pytest.approx((6e19, 6e19)) and node.norm == 4 and node.sum_error == 0
    assert node.gram == pytest.approx(np.array([[1, -1], [-1, 1]]) * 3.6e39, rel=1e-6)


def test_a_gradient_that_was_lost_is_no_exact_sum():
    a = np.array([1.0, 2.0])
    assert edges_of([a, a], 0 * a).sum_error == math.inf
    assert edges_of([a, -a], 0 * a).sum_error == 0


class Skip(nn.Module):
    """x + layers of sigmoids(x)."""

    def __init__(self, layers):
        super().__init__()
        self.layers = nn.Sequential(*(m for _ in range(layers) for m in (nn.Linear(8, 8), nn.Sigmoid())))

    def forward(self, x):
        return x + self.layers(x)


def vanishing(layers, seed=0, dtype=np.float32):
    """A recording of one skip around so many sigmoid layers, with its arrays."""
    random.manual_seed(seed)
    x = np.random.default_rng(seed).standard_normal((4, 8)).astype(dtype)
    model = nn.Sequential(nn.Linear(8, 8), Skip(layers)).to(dtype)
    return flow.record(model, x, x, loss=F.mse_loss, arrays=True)


@pytest.mark.parametrize(("layers", "dtype"), [(25, np.float32), (30, np.float32), (45, np.float32), (200, np.float64)])
def test_a_vanishing_branch_has_its_own_size_in_every_form(layers, dtype, tmp_path):
    recording = vanishing(layers, dtype=dtype)
    (fork,) = recording.forks
    branch = fork.branch_grad.astype(np.float64).ravel()
    unit = branch / abs(branch).max()
    expected = np.linalg.norm(unit) * abs(branch).max()
    assert 0 < expected < 1e-20
    assert fork.branch == pytest.approx(expected, rel=1e-6, abs=0)
    skip = fork.skip_grad.astype(np.float64).ravel()
    assert fork.cosine == pytest.approx(unit @ skip / np.linalg.norm(unit) / np.linalg.norm(skip), abs=1e-6)
    assert fork.cosine != 0
    assert fork.ratio == pytest.approx(expected / np.linalg.norm(skip), rel=1e-6, abs=0)
    if fork.ratio > 1e-150:
        assert fork.share == pytest.approx(fork.ratio**2, rel=1e-6, abs=0)
    recording.to_json(tmp_path / "r.json")
    document = json.loads((tmp_path / "r.json").read_text())
    assert document["forks"][0]["branch"] == fork.branch and document["forks"][0]["share"] == fork.share
    recording.to_csv(tmp_path / "r.csv")
    with open(tmp_path / "r.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["role"] == "branch"]
    assert float(rows[0]["gradient_norm"]) == fork.branch
    row = next(line for line in recording.table().splitlines() if line.startswith("1 "))
    assert f"{fork.branch:.3e}" in row and f"{fork.ratio:.1e}" in row and " 0.000 " not in row


def test_the_figures_show_what_vanishes():
    recording = vanishing(25)
    figure = recording.plot()
    texts = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert f"branch\n{recording.forks[0].share:.0e}" in texts
    line = figure.axes[0].lines[0].get_ydata()
    assert line == pytest.approx([layer.weight_gradient for layer in recording.weight_layers], rel=1e-12, abs=0)
    low, high = figure.axes[0].get_ylim()
    assert low < min(line) and max(line) < high
    plt.close(figure)
    figure, ax = plt.subplots(figsize=(10, 4))
    plots.graph(ax, recording.graph())
    assert any(text.get_text() == f"branch {recording.forks[0].branch:.2g}" for text in ax.texts)
    plt.close(figure)


def test_zeros_in_a_profile_and_a_heatmap_are_told_from_tiny_numbers():
    figure, ax = plt.subplots()
    plots.profile(ax, [("net", "residual", [0.0, 1e-30, 1.0], "-")], ["a", "b", "c"])
    assert ax.lines[0].get_ydata()[1] == 1e-30 and ax.get_ylim()[0] < 1e-30
    assert [text.get_text() for text in ax.texts] == ["exactly 0", "net"]
    norms = np.array([[0.0, 1e-30], [1.0, np.nan]])
    plots.heatmap(ax, [0, 1], norms, plots.colour_scale(norms))
    assert ax.collections[-1].get_array().mask.tolist() == [[True, False], [False, True]]
    plots.colour_scale(np.zeros(3))  # nothing to scale by
    plt.close(figure)


def test_forks_without_a_gradient_say_so():
    kinds = [(1.0, 1e-23), (0.0, 0.0), (math.nan, 1.0), (1e-30, 1.0), (1.0, 0.0)]
    forks = [flow.Fork(str(i), *pair, total=1, cosine=0, sum_error=0, shape=(1,)) for i, pair in enumerate(kinds)]
    figure = plt.figure()
    ax, _ = plots.fork_strip(*plots.strip_axes(figure), forks)
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["branch\n1e-46", "skip", "no gradient", "not finite", "1e-60", "0"]
    plt.close(figure)


@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1e18, 1e30])
def test_statistics_of_activations_survive_where_squares_do_not(scale):
    x = mr.tensor(np.array([1.0, 2.0, 3.0, 6.0], np.float32), requires_grad=True)
    with flow.recording() as recording:
        (x * scale).sum().backward()
    layer = recording.layers[0]
    assert layer.mean == pytest.approx(3 * scale, rel=1e-6, abs=0)
    assert layer.std == pytest.approx(scale * 3.5**0.5, rel=1e-6, abs=0)


def test_statistics_of_float16_do_not_overflow():
    x = mr.tensor(np.array([-60000.0, 60000.0] * 2000, np.float16), requires_grad=True)
    with flow.recording() as recording:
        (x * 1).mean().backward()
    assert recording.layers[0].std == pytest.approx(60000) and recording.layers[0].mean == 0


def test_a_branch_whose_ways_cancel_has_the_norm_of_what_is_left():
    x = mr.tensor(np.linspace(1, 2, 50).astype(np.float32), requires_grad=True)
    weight = mr.tensor(np.random.default_rng(0).standard_normal(50).astype(np.float32))
    with flow.recording(arrays=True) as recording:
        ((x * 1e6 + x * -999999.5 + x) * weight).sum().backward()
    (fork,) = recording.forks
    branch = sum(edge.grad.astype(np.float64) for edge in recording.edges(x)[:2])  # the third is the skip
    assert fork.branch == pytest.approx(np.linalg.norm(branch), rel=1e-9)
    assert fork.branch == pytest.approx(0.5 * np.linalg.norm(weight.array), rel=0.1)


def test_share_and_ratio_of_any_size():
    fork = flow.Fork("a", skip=1e37, branch=1e-44, total=1e37, cosine=0.0, sum_error=0.0, shape=(1,))
    assert (fork.ratio, fork.share) == pytest.approx((1e-81, 1e-162), rel=1e-12, abs=0)
    fork = flow.Fork("a", skip=1e-200, branch=2e-200, total=3e-200, cosine=1.0, sum_error=0.0, shape=(1,))
    assert fork.share == pytest.approx(0.8) and fork.skip_share == pytest.approx(0.2)


def test_probes_of_a_float64_model_at_1e_minus_200():
    random.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((4, 8))
    model = nn.Sequential(nn.Linear(8, 8), Skip(1), Skip(1)).double()
    plain = flow.path_spectrum(model, x, x, F.mse_loss, progress=False)
    tiny = flow.path_spectrum(model, x, x, lambda y, t: F.mse_loss(y, t) * 1e-200, progress=False)
    assert tiny.norms / 1e-200 == pytest.approx(plain.norms)
    assert tiny.effective_length == pytest.approx(plain.effective_length) and tiny.sum_error < 1e-14
    figure, ax = plt.subplots()
    plots.path_spectrum(ax, tiny)
    shares = [bar.get_height() for bar in ax.containers[0]]
    assert shares == pytest.approx(plain.norms**2 / (plain.norms**2).sum())
    plt.close(figure)
    layer = nn.Linear(8, 3).double()
    scaled = nn.Sequential(layer, Scale(1e-200))
    assert flow.gradient_correlation(scaled, x) == pytest.approx(flow.gradient_correlation(layer, x))
    (linear,) = flow.jacobians(nn.Sequential(nn.Linear(4, 4), Scale(1e-200)), x[:2, :4], ["1"], progress=False)
    assert linear.values == pytest.approx([1e-200] * 5, rel=1e-6, abs=0)


class Scale(nn.Module):
    """x ↦ factor·x."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


def test_responses_of_any_size_and_their_table():
    random.manual_seed(0)
    conv = nn.Conv2d(1, 2, 3, bias=False)
    x = np.random.default_rng(0).standard_normal((2, 1, 6, 6)).astype(np.float32)
    plain = flow.responses(nn.Sequential(conv), x).std[0]
    conv.weight.array *= np.float32(1e-25)
    result = flow.responses(nn.Sequential(conv), x)
    assert result.std[0] == pytest.approx(1e-25 * plain, rel=1e-5, abs=0) and f"{result.std[0]:.1e}" in result.table()


@pytest.mark.parametrize("layers", [30, 60])
def test_the_jacobian_of_a_vanishing_chain_is_not_0(layers):
    random.manual_seed(0)
    model = Skip(layers).layers.double()
    x = np.random.default_rng(0).standard_normal((2, 8))
    t = mr.Tensor(x, requires_grad=True)
    y, units = model(t), np.eye(16).reshape(16, 2, 8)
    rows = [mr.autograd.grad(y, t, unit, retain_graph=True)[0].ravel() for unit in units]
    expected = np.linalg.svd(np.array(rows), compute_uv=False)[:3]
    found = flow.jacobian(model, x, count=3)
    assert found.values == pytest.approx(expected, rel=1e-8, abs=0) and (found.residuals == 0).all()
    short = flow.jacobian(model, x, count=3, iterations=2)
    assert (0 < short.values).all() and (short.values <= expected * (1 + 1e-9)).all()
    assert short.residuals[0] > 0.5  # and says that it has not seen all


def test_a_filter_of_any_size_gets_a_direction_of_that_size():
    weight = np.random.default_rng(0).standard_normal((3, 4)) * np.array([[1e-200], [1.0], [1e200]])
    direction = filter_normalised(weight, np.random.default_rng(1))
    for filter_, move in zip(weight, direction):
        scale = abs(filter_).max()
        assert np.linalg.norm(move / scale) == pytest.approx(np.linalg.norm(filter_ / scale))
