"""Figures do not mislead: what rounding is stays small, zeros are seen, sentences say what the numbers say."""

import itertools
import math
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from matplotlib.colors import to_rgb

from minires import flow, models, random
from minires.flow import plots
from minires.flow.plots import axes, sentences, style

LAYERS = ["conv1", *(f"layer{s}.{b}.conv{c}" for s in (1, 2, 3) for b in range(3) for c in (1, 2))]  # of 20 layers
BLOCKS = [f"layer{s}.{b}" for s in (1, 2, 3) for b in range(3)]
RNG = np.random.default_rng(0)
START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def the_same_numbers():
    """Whatever tests ran before in this process."""
    RNG.bit_generator.state = START


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def luminance(colour):
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b  # WCAG 2


@pytest.mark.parametrize("paper", ["white", "black"])
def test_every_colour_can_be_read_as_text(paper):
    colours = [style.SKIP, style.BRANCH, style.TOTAL, *style.NETWORK.values(), *(look[0] for look in style.OTHER)]
    for colour in colours:
        low, high = sorted((luminance(colour), luminance(paper)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, colour


def jacobians(values):
    return [flow.Jacobian(np.array([v, v, v]), np.zeros(3), 0.0, 5, (4, 4)) for v in values]


def series(values):
    return flow.Shattering(np.linspace(0, 1, len(values)), np.asarray(values, float))


def spectrum(norms):
    return flow.PathSpectrum(np.asarray(norms, float), np.array([math.comb(9, k) for k in range(10)], float), 0.0)


def lesion(accuracy, intact):
    change = np.array([name in ("layer2.0", "layer3.0") for name in BLOCKS])
    return flow.Lesion(BLOCKS, np.asarray(accuracy), 1 - np.asarray(accuracy), intact, 0.1, change, 10)


def landscape(loss):
    steps = np.linspace(-1, 1, np.shape(loss)[0])
    return flow.Landscape(steps, np.asarray(loss, float), np.ones_like(loss), 0)


def fork(skip, branch):
    return flow.Fork("a", skip, branch, math.hypot(skip, branch), 0.1, 0.0, (1,))


ROUNDING = 1 + 1e-7 * RNG.standard_normal(9)
LEVEL = {
    "jacobian": lambda ax: plots.jacobian(ax, {"skipinit": jacobians(ROUNDING)}),
    "profile": lambda ax: plots.profile(ax, [("skipinit", "skipinit", ROUNDING, "-")], BLOCKS),
    "variance": lambda ax: plots.variance(ax, {"a": flow.VarianceProfile(["input", *BLOCKS], np.r_[1, ROUNDING])}),
    "landscape": lambda ax: plots.landscape(ax, {"plain": landscape(ROUNDING)}),
    "runs": lambda ax: plots.runs(ax, range(9), {"plain": ROUNDING}),
}


@pytest.mark.parametrize("panel", LEVEL)
def test_rounding_does_not_fill_a_logarithmic_axis(panel):
    _, ax = plt.subplots()
    if panel == "runs":
        ax.set_yscale("log")
    LEVEL[panel](ax)
    low, high = ax.get_ylim()
    assert ax.get_yscale() == "log" and high / low > 9.9
    drawn = np.concatenate([line.get_ydata() for line in ax.lines if len(line.get_ydata()) >= 9])
    heights = ax.transAxes.inverted().transform(ax.transData.transform([(1, y) for y in drawn]))[:, 1]
    assert np.ptp(heights) < 1e-3


def test_rounding_does_not_fill_a_colour_scale():
    scale = plots.colour_scale(ROUNDING[None])
    assert scale.vmax / scale.vmin == pytest.approx(10) and scale(1.0) == pytest.approx(0.5, abs=0.01)


@settings(deadline=None, max_examples=25)
@given(st.floats(1e-12, 1e9), st.floats(1.0, 1e9))
def test_a_logarithmic_axis_has_ticks_that_read_like_numbers(low, span):
    figure, ax = plt.subplots(figsize=(3, 3))
    ax.plot([low, low * span])
    plots.log_scale(ax)
    bottom, top = ax.get_ylim()
    written = {v: axes.readable(v) for v in ax.get_yticks() if bottom <= v <= top}
    plt.close(figure)
    assert 2 <= len(written) <= 12 and not any(ax.yaxis.get_minor_formatter().format_ticks(ax.get_yticks(minor=True)))
    for value, text in written.items():
        assert "{0}" not in text and len(re.sub(r"\\times|[${}^]", "", text)) <= 7, text
        number = text.strip("$").replace(r"\times10^", "e").replace("10^", "1e").strip("{}").replace("{", "")
        assert float(number) == pytest.approx(value)


def test_exact_zeros_are_seen_and_counted():
    norms = [0.05, *[0.0] * 18]  # zero-γ at step 0
    _, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
    plots.profile(ax, [("zero-gamma", "zero-gamma", norms, "-")], LAYERS, "step 0")
    marks = [line for line in ax.lines if line.get_marker() == "v"]
    assert [x for line in marks for x in line.get_xdata()] == list(range(2, 20))
    (heights,) = {tuple(set(line.get_ydata())) for line in marks}
    assert 0 < heights[0] < 0.1 and "exactly 0" in [text.get_text() for text in ax.texts]
    assert plots.takeaways(ax.figure)[0].endswith("the gradient is exactly 0 (▼) at 18 of 19 (zero-gamma).")


def test_a_panel_without_anything_to_show_says_why():
    _, (shattered, spectral) = plt.subplots(1, 2)
    plots.shattering(shattered, {"fixup": series(np.ones(32))})
    plots.path_spectrum(spectral, {"fixup": spectrum(np.zeros(10))})
    assert "same all along the line" in shattered.texts[0].get_text() and not len(shattered.get_yticks())
    assert "No gradient" in spectral.texts[0].get_text() and not len(spectral.get_yticks())
    _, strip = plots.fork_strip(*plots.strip_axes(plt.figure()), [fork(1.0, 0.0), fork(2.0, 0.0)])
    assert [text.get_text() for text in strip.texts] == ["not defined: one way returned 0"]


def test_a_constant_network_does_not_empty_the_others_panel():
    _, ax = plt.subplots()
    plots.shattering(ax, {"fixup": series(np.ones(32)), "plain": series(RNG.standard_normal(32))})
    assert {text.get_text() for text in ax.texts} == {"plain", "white noise"}
    assert plots.takeaways(ax.figure)[0].endswith("; it is constant along the line (fixup).")


def test_a_spectrum_without_a_name_gets_none():
    _, axs = plt.subplots(1, 2)
    plots.path_spectrum(axs[0], spectrum(range(10)))
    plots.path_spectrum(axs[1], {"skipinit": spectrum(range(10))})
    texts = ["".join(text.get_text() for text in ax.texts) for ax in axs]
    assert "residual" not in texts[0] and "skipinit (bars)" in texts[1]


def test_plot_keeps_the_fully_connected_layer_apart():
    random.manual_seed(0)
    model = models.resnet_cifar(8, 2, in_channels=1)
    figure = flow.record(model, RNG.standard_normal((4, 1, 8, 8)).astype(np.float32), np.arange(4)).plot()
    ax = figure.axes[0]
    line, star = ax.lines[:2]
    assert len(line.get_xdata()) == 7 and star.get_marker() == "*" and star.get_xdata().tolist() == [8]
    assert "fc" in [text.get_text() for text in ax.texts]
    assert all(each.get_title() for each in (ax, figure.axes[1])) and len(plots.takeaways(figure)) == 2


def test_a_network_without_convolutions_has_none_in_its_figure():
    model = models.mlp(6, 8, residual=True)
    figure = flow.record(model, RNG.standard_normal((4, 8)).astype(np.float32), np.arange(4)).plot()
    assert figure.axes[0].get_xlabel() == "layer, from input to output"
    assert plots.takeaways(figure)[0].startswith("From the last layer back to the first the gradient")


POSITIVE = st.floats(1e-6, 1e6)


@given(st.lists(POSITIVE, min_size=2, max_size=20))
def test_a_profiles_sentence_is_true(norms):
    said, ratio = sentences.profile({"": norms}), norms[0] / norms[-1]
    found = re.fullmatch(
        r"From .* the gradient (?:(keeps its size)|(grows|shrinks) ([\d,.e+]+)-fold)( but spans.*)?\.", said
    )
    assert found, said
    if found[1]:
        assert 1 / 1.1 <= ratio <= 1.1
    else:
        factor = float(found[3].replace(",", ""))
        true = ratio if found[2] == "grows" else 1 / ratio
        assert factor == pytest.approx(true, rel=0.06 if true < 1e6 else 0.6)
    assert bool(found[4]) == (max(norms) / min(norms) >= 10 * max(ratio, 1 / ratio))


@given(st.lists(st.tuples(POSITIVE, POSITIVE), min_size=1, max_size=9))
def test_a_graphs_sentence_counts_the_forks(pairs):
    edges = [
        {"source": i, "role": role, "norm": norm}
        for i, pair in enumerate(pairs)
        for role, norm in zip(("skip", "branch"), pair)
    ]
    said = sentences.graph(edges)
    skip, branch = (sum(one > other for one, other in some) for some in (pairs, [pair[::-1] for pair in pairs]))
    if not skip and not branch:
        assert said == "At no fork does more gradient come back along one way than along the other."
        return
    way, other, more = ("skip", "branch", skip) if skip >= branch else ("branch", "skip", branch)
    assert said.endswith(f", more gradient comes back along the {way} than along the {other}.")
    numbers = [int(number) for number in re.findall(r"\d+", said)]
    assert numbers == [more, len(pairs)] if more < len(pairs) else numbers in ([], [len(pairs)])


def test_sentences_say_what_the_numbers_say():
    std = {"plain": flow.Responses(BLOCKS, np.full(9, 2.0), np.ones(9, bool))}
    growth = {"plain": flow.VarianceProfile(["input", *BLOCKS], 2.0 ** np.arange(10), 3.0 ** -np.arange(10))}
    hills = {"plain": landscape([8.0, 2.0, 4.0]), "residual": landscape([0.5, 0.25, np.inf])}
    said = {
        sentences.heatmap(
            [0, 9], np.array([[6.0, 2.0], [1.0, 4.0]])
        ): "over the last one's: 3.0 at step 0, 0.25 at step 9.",
        sentences.forks(
            [fork(3, 1), fork(1, 1), fork(1, 3)]
        ): "returned 50% of ‖skip‖² + ‖branch‖² at the median fork, from 10% to 90%.",
        sentences.forks(
            [fork(3, 0), fork(0, 0)]
        ): "along the skip, none along the branch; at 1 of 2 forks nothing came",
        sentences.path_spectrum(
            {"a": spectrum([0, 0, 0, 1, *[0] * 6])}
        ): "cross 3.0 (a) branches on average; all paths together 4.5.",
        sentences.responses(std): "is 2.0 at the median convolution, from 2.0 to 2.0 (plain).",
        sentences.variance(growth): "through all blocks the variance grows 510-fold (plain).",
        sentences.variance(growth, gradient=True): "back through all blocks the gradient's variance grows 20,000-fold",
        sentences.input_gradient(
            {"plain": series([1, -1, 1, -1])}
        ): "Over 4 points the gradient crosses its mean 3 times",
        sentences.shattering(
            {"a": np.array([1, 0.9, 0.4]), "b": np.ones(16)}
        ): "after 2 grid points (a) and more than 15",
        sentences.jacobian({"plain": jacobians([3, 5, 4])}, False): "value is from 3.0 to 5.0 (plain).",
        sentences.jacobian({"plain": jacobians([3, 5, 4])}, True): "After all blocks the largest singular value is 4.0",
        sentences.jacobian({"fixup": jacobians(ROUNDING)}, False): "is 1, the identity's (fixup).",
        sentences.lesion({"plain": lesion([0.9] * 8 + [0.4], 0.95)}): "costs 5.0 at the median, 55.0 at most (plain).",
        sentences.lesion(
            {"plain": lesion([0.1] * 9, 0.1)}
        ): "0.0 at the median, 0.0 at most (plain, which guesses even when whole).",
        sentences.landscape(
            hills
        ): "rises from 2.0 to 8.0 (plain) and from 0.25 to more than float32 holds (residual).",
        sentences.landscape(
            {"plain": landscape([0.4, 1.0, 2.3, 1.2, 0.5]), "residual": landscape([1.0, 2.0, 8.0])}
        ): "falls from 2.3 to 0.40 (plain) and falls from 2.0 to 1.0 and rises to 8.0 (residual).",
        sentences.training(
            {"plain": 0.5, "residual": 0.0125}, 20
        ): "0.50 (plain) and 0.013 (residual) (mean of the last 20",
    }
    for sentence, expected in said.items():
        assert expected in sentence and sentence.endswith(".") and sentence[0].isupper()


def histories(at_the_end):
    found = {}
    for name, end in at_the_end.items():
        found[name] = flow.FlowHistory()
        found[name].steps, found[name].layers = [0, 9], LAYERS
        found[name]._norms, found[name]._kernels = [list(np.geomspace(4, 1, 19)), [end] * 19], [True] * 19
        found[name]._turns = [[float("nan")] * 19, [float("nan")] * 19]
        found[name].forks = [[fork(1.0, 0.5)] * 9 * (name == "residual")] * 2
    return found


def test_a_smaller_gradient_at_the_end_is_said_with_its_loss():
    losses = {"plain": [2.0] * 9 + [1.0], "residual": [2.0] * 9 + [0.002]}
    said = sentences.compared(histories({"plain": 1.0, "residual": 0.02}), losses)
    assert "grows 4.0-fold (plain) and 4.0-fold (residual) at step 0; at step 9" in said
    assert (
        "residual network's is 50 times smaller than the plain one's" in said and "loss of 0.0020 against 1.0" in said
    )
    assert "3.0 times larger than" in sentences.compared(histories({"plain": 1.0, "residual": 3.0}), losses)
    assert sentences.compared(histories({"plain": 0.0, "residual": 0.0}), losses).endswith("at step 0.")


def lines(count):
    curves = {"plain": np.geomspace(700, 0.3, count), "residual": np.geomspace(4, 0.5, count)}
    return [(name, name, curve, "-") for name, curve in curves.items()]


def two(make):
    return {name: make() for name in ("plain", "residual, without batch norm")}


BOWL = 0.1 + np.add.outer(np.linspace(-1, 1, 9) ** 2, np.linspace(-2, 2, 9) ** 2)
PANELS = {
    "profile": lambda ax: plots.profile(ax, lines(19), LAYERS, "step 0"),
    "training": lambda ax: plots.training(ax, two(lambda: list(RNG.uniform(1, 2, 90)))),
    "jacobian": lambda ax: plots.jacobian(ax, two(lambda: jacobians(RNG.uniform(1, 9, 9))), "step 0", product=True),
    "lesion": lambda ax: plots.lesion(ax, two(lambda: lesion(RNG.uniform(0, 1, 9), 0.95)), "step 9"),
    "landscape": lambda ax: plots.landscape(ax, two(lambda: landscape(RNG.uniform(1, 900, 21))), "step 9"),
    "landscape_2d": lambda ax: plots.landscape_2d(ax, landscape(BOWL), "plain", "step 9"),
    "responses": lambda ax: plots.responses(
        ax, two(lambda: flow.Responses(LAYERS, RNG.uniform(0, 1, 19), np.ones(19, bool))), "step 9"
    ),
    "variance": lambda ax: plots.variance(
        ax, two(lambda: flow.VarianceProfile(["input", *BLOCKS], RNG.uniform(1, 99, 10))), "step 0"
    ),
    "shattering": lambda ax: plots.shattering(ax, two(lambda: series(RNG.standard_normal(64))), "step 0"),
    "input_gradient": lambda ax: plots.input_gradient(ax, two(lambda: series(RNG.standard_normal(64))), "step 0"),
    "path_spectrum": lambda ax: plots.path_spectrum(ax, two(lambda: spectrum(RNG.uniform(0, 1, 10))), "step 0"),
}


@pytest.mark.parametrize("layout", [None, "constrained"])
@pytest.mark.parametrize("panel", PANELS)
def test_all_text_is_inside_the_figure_and_apart(panel, layout):
    figure, ax = plt.subplots(layout=layout)  # the size that a reader gets who asks for none
    PANELS[panel](ax)
    figure.canvas.draw()
    assert len(plots.takeaways(figure)) == 1
    (top,) = ax.child_axes
    parts = [ax.title, top.xaxis.label, ax.xaxis.label, ax.yaxis.label, *ax.texts]
    for axis in (ax.xaxis, ax.yaxis):  # ticks beyond the limits are not drawn
        low, high = sorted(axis.get_view_interval())
        parts += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    parts += top.get_xticklabels()
    boxes = {part: part.get_window_extent() for part in parts if part.get_text() and part.get_visible()}
    frame, spare = figure.bbox, 1
    for part, box in boxes.items():
        assert box.x0 > frame.x0 - spare and box.x1 < frame.x1 + spare, part
        assert box.y0 > frame.y0 - spare and box.y1 < frame.y1 + spare, part
    for (one, a), (other, b) in itertools.combinations(boxes.items(), 2):
        assert not a.padded(-1).overlaps(b.padded(-1)), (one, other)
    left, right = ax.get_xlim()  # no empty gutter: what is drawn reaches through the axes
    seen = [line for line in ax.lines if len(line.get_xdata()) > 2]
    if seen:
        ends = [f(np.concatenate([line.get_xdata() for line in seen])) for f in (min, max)]
        assert (ends[1] - ends[0]) / (right - left) > 0.85


@pytest.mark.parametrize("forks", [1, 9, 27])
def test_the_fork_strips_text_is_inside_the_figure(forks):
    figure = plt.figure(layout="constrained")
    drawn = [fork(*RNG.uniform(0.5, 1, 2)) for _ in range(forks)]
    ax, _ = plots.fork_strip(*plots.strip_axes(figure), drawn, "step 0")
    figure.canvas.draw()
    for part in (ax.title, ax.child_axes[0].xaxis.label, *ax.texts):
        box = part.get_window_extent()
        assert box.x0 > -1 and box.x1 < figure.bbox.x1 + 1 and box.y1 < figure.bbox.y1 + 1, part
    assert len(plots.takeaways(figure)) == 1


def test_the_comparison_has_a_sentence_for_each_panel():
    losses = {name: list(np.linspace(2, 1, 10)) for name in ("plain", "residual")}
    figure = plots.comparison(histories({"plain": 1.0, "residual": 0.02}), losses, {"plain": 0.5}, "twins")
    figure.canvas.draw()
    assert len(plots.takeaways(figure)) == 5  # a heatmap for each twin


def test_the_comparison_names_the_steps_it_averages():
    losses = {name: list(np.linspace(2, 1, 300)) for name in ("plain", "residual")}
    figure = plots.comparison(histories({"plain": 1.0, "residual": 0.02}), losses, {}, "twins", smooth=50)
    assert any("(mean of the last 50 steps)" in sentence for sentence in plots.takeaways(figure))
