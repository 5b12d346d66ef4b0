"""The panels of the loss landscape."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from minires.flow import Landscape, plots


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def line(sharpness=1.0):
    steps = np.linspace(-1, 1, 11)
    return Landscape(steps, 0.1 + sharpness * steps**2, np.ones(11), 0)


def plane(sharpness=1.0):
    steps = np.linspace(-1, 1, 11)
    loss = 0.1 + sharpness * (steps[:, None] ** 2 + 3 * steps**2)
    return Landscape(steps, loss, np.ones_like(loss), 0)


@pytest.mark.parametrize("style", ["default", "dark_background", "grayscale"])
def test_lines_of_two_networks(style):
    results = {"plain": line(9.0), "residual": line()}
    with plt.style.context(style):
        figure, ax = plt.subplots()
        assert plots.landscape(ax, results, "step 100") is ax
        figure.canvas.draw()
    for drawn, result in zip(ax.lines, results.values()):
        np.testing.assert_allclose(drawn.get_ydata(), result.loss)
    assert ax.get_yscale() == "log" and ax.get_title().endswith(", step 100")
    assert {text.get_text() for text in ax.texts} == {"plain", "residual"}
    assert len({drawn.get_marker() for drawn in ax.lines}) == 2


@pytest.mark.parametrize("style", ["default", "dark_background", "grayscale"])
def test_planes_of_two_networks_with_the_same_levels(style):
    results = {"plain": plane(9.0), "residual": plane()}
    levels = plots.contour_levels(results.values())
    assert levels[0] == pytest.approx(0.1) and levels == sorted(levels)
    with plt.style.context(style):
        figure, axes = plt.subplots(1, 2)
        for ax, (network, result) in zip(axes, results.items()):
            assert plots.landscape_2d(ax, result, network, "step 100", levels=levels) is ax
            assert ax.get_title() == f"{network}, loss, step 100"
        figure.canvas.draw()
    shown = [[collection.levels for collection in ax.collections if hasattr(collection, "levels")] for ax in axes]
    np.testing.assert_allclose(shown[0][0], shown[1][0])


def test_the_first_direction_goes_to_the_right():
    _, ax = plt.subplots()
    plots.landscape_2d(ax, plane())  # three times as steep along the second direction
    extents = np.ptp(np.vstack(ax.collections[1].get_paths()[2].vertices), axis=0)
    assert extents[0] > 1.5 * extents[1]


def test_a_loss_that_overflowed_leaves_a_gap_in_the_line_and_is_the_highest_in_the_plane():
    bent = line()
    bent.loss[-1] = np.inf
    figure, ax = plt.subplots()
    plots.landscape(ax, {"plain": bent})
    figure.canvas.draw()
    result = plane()
    result.loss[0, 0], result.loss[0, 1] = np.inf, np.nan
    figure, ax = plt.subplots()
    plots.landscape_2d(ax, result)
    figure.canvas.draw()


def test_wrong_use_says_what_to_do():
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match=r"plots.landscape: got a landscape of 2 dimensions, .* plots.landscape_2d"):
        plots.landscape(ax, {"plain": plane()})
    with pytest.raises(ValueError, match=r"plots.landscape_2d: got a landscape of 1 dimensions, expected 2"):
        plots.landscape_2d(ax, line())
    with pytest.raises(TypeError, match=r"plots.landscape: got Landscape"):
        plots.landscape(ax, line())
    with pytest.raises(ValueError, match="contour_levels: got no landscape"):
        plots.contour_levels([])
