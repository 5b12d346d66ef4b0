"""The probes' panels: they draw on the axes they are given, without a warning, in both styles."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from minires import flow
from minires.flow import plots
from minires.flow.plots.style import NETWORK, looks

NAMES = [f"layer{s}.{i}" for s in (1, 2, 3) for i in range(3)]
RNG = np.random.default_rng(0)


def lesions():
    change = np.array([name in ("layer2.0", "layer3.0") for name in NAMES])
    accuracy = {"plain": RNG.uniform(0, 0.3, 9), "residual": RNG.uniform(0.8, 0.95, 9)}
    return {k: flow.Lesion(NAMES, a, 1 - a, 0.95, 0.1, change, 10) for k, a in accuracy.items()}


def profiles():
    curves = {"plain": np.ones(10), "residual": 1.0 + np.arange(10), "residual, no BN": 2.0 ** np.arange(10)}
    return {k: flow.VarianceProfile(["input", *NAMES], v, 1 / v) for k, v in curves.items()}


def lines():
    t = np.linspace(-2, 2, 64)
    series = {"plain-24": RNG.standard_normal, "residual-50": lambda n: RNG.standard_normal(n).cumsum()}
    return {k: [flow.Shattering(t, draw(64)) for _ in range(3)] for k, draw in series.items()}


def answers():
    return {k: flow.Responses(NAMES, RNG.uniform(0.5, 1, 9), np.ones(9, bool)) for k in ("plain", "residual")}


PANELS = {
    "lesion": lambda ax: plots.lesion(ax, lesions(), "step 100"),
    "responses": lambda ax: plots.responses(ax, answers(), "step 100"),
    "responses, ranked": lambda ax: plots.responses(ax, answers(), "step 100", ranked=True),
    "variance": lambda ax: plots.variance(ax, profiles(), "step 100", theory={r"$2^\ell$": 2.0 ** np.arange(10)}),
    "variance of the gradient": lambda ax: plots.variance(ax, profiles(), "step 100", gradient=True),
    "shattering": lambda ax: plots.shattering(ax, lines(), "step 100"),
    "input_gradient": lambda ax: plots.input_gradient(ax, {k: v[0] for k, v in lines().items()}, "step 100"),
}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_lesions_without_accuracies_show_losses():
    regression = {
        name: flow.Lesion(NAMES, np.full(9, np.nan), loss, np.nan, 0.25, np.zeros(9, bool), 1)
        for name, loss in {"plain": np.linspace(1, 9, 9), "residual": np.full(9, 0.5)}.items()
    }
    ax = plots.lesion(plt.figure().subplots(), regression)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), np.linspace(1, 9, 9))
    assert ax.get_ylabel() == "loss" and "chance" not in [text.get_text() for text in ax.texts]
    assert plots.takeaways(ax.figure) == [
        "Deleting one block takes the loss from 0.25 to 5.0 at the median, to 9.0 at most (plain) and from 0.25 to "
        "0.50 at the median, to 0.50 at most (residual)."
    ]


@pytest.mark.parametrize("style", ["default", "dark_background"])
@pytest.mark.parametrize("name", PANELS)
def test_a_panel_draws_and_returns_its_axes(name, style):
    with plt.style.context(style):
        figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
        assert PANELS[name](ax) is ax
        figure.canvas.draw()
    assert ax.get_title().endswith("step 100") and ax.get_xlabel() and ax.get_ylabel()
    inside = figure.bbox.padded(1)
    written = [text for text in ax.texts if text.get_text()]
    assert len(written) >= 2
    for text in written:
        box = text.get_window_extent()
        assert inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1), f"{text.get_text()!r} is cut off"
    labels = [text.get_window_extent() for text in written if text.get_position()[0] > 8.5]
    assert not any(a.overlaps(b) for i, a in enumerate(labels) for b in labels[:i]), "labels overlap"


def test_plain_and_residual_keep_their_look_and_no_two_are_alike():
    found = looks(["residual, no BN", "plain-24", "mine", "residual", "yours"])
    assert found["plain-24"]["color"] == NETWORK["plain"]
    assert found["residual, no BN"]["color"] == NETWORK["residual"]  # the first that is residual
    assert len({look["color"] for look in found.values()}) == len({look["marker"] for look in found.values()}) == 5


def test_networks_of_different_depth_share_the_axes():
    short = lesions()
    short["plain"] = flow.Lesion(NAMES[:3], np.zeros(3), np.ones(3), 0.5, 1.0, np.zeros(3, bool), 10)
    _, ax = plt.subplots()
    plots.lesion(ax, short)
    assert ax.get_title() == "One block deleted" and ax.get_xticks().tolist() == list(range(1, 10))


def test_wrong_use_is_named():
    _, ax = plt.subplots()
    with pytest.raises(TypeError, match=r'plots.lesion: got Lesion.*expected a dict.*"plain"'):
        plots.lesion(ax, lesions()["plain"])
    with pytest.raises(TypeError, match=r"plots.shattering: got dict without entries"):
        plots.shattering(ax, {})
    no_gradient = {"plain": flow.VarianceProfile(["input", "a"], np.ones(2))}
    with pytest.raises(ValueError, match=r"plots.variance: got no gradient for 'plain'.*backward="):
        plots.variance(ax, no_gradient, gradient=True)
