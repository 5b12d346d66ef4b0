"""The panel for several runs: the middle, the range, and where the names stand."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from minires.flow import plots


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_middle_range_and_names(ax):
    values = np.array([[1.0, 2, 3], [3, 4, 11], [2, 9, 4]])
    plots.runs(ax, [0, 5, 10], {"plain": values, "residual": values[0]}, middle=np.median)
    plain, residual = ax.lines
    assert plain.get_ydata().tolist() == [2, 4, 4] and residual.get_ydata().tolist() == [1, 2, 3]
    (band,) = ax.collections  # one run has no range
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.min() == 1 and heights.max() == 11
    assert [text.get_text() for text in ax.texts] == ["residual", "plain"]  # from the lower end up
    assert [text.get_color() for text in ax.texts] == [residual.get_color(), plain.get_color()]
    assert all(0 <= tick <= 10 for tick in ax.get_xticks())


def test_a_logarithmic_x_keeps_all_of_its_decades(ax):
    ax.set_xscale("log")
    plots.runs(ax, [0.01, 0.1, 1], {"mine": [1, 2, 3]})
    low, high = ax.get_xlim()
    assert 0.009 < low < 0.01 and 1 < high < 1.2


@pytest.mark.parametrize(
    ("x", "ticks"), [(range(21), [0, 5, 10, 15, 20]), (range(3), [0, 1, 2]), ([0, 0.5, 1], [0, 0.2, 0.4, 0.6, 0.8, 1])]
)
def test_ticks_are_whole_where_x_is_and_reach_the_ends(x, ticks, ax):
    ax.figure.set_size_inches(4, 4)
    plots.runs(ax, x, {"mine": np.arange(len(x))})
    assert ax.get_xticks().tolist() == pytest.approx(ticks)


@pytest.mark.parametrize("steps", [1, 2, 4, 22])
def test_there_is_no_half_a_training_step(steps, ax):
    plots.training(ax, {"mine": np.linspace(2, 1, steps)})
    assert all(float(tick).is_integer() for tick in ax.get_xticks())


def test_looks_of_ones_own(ax):
    plots.runs(ax, [1, 2], {"mine": [1, 2]}, {"mine": {"color": "#123456", "ls": ":"}})
    plots.runs(ax, [1, 2], {"other": [1, 2]}, {"other": "#654321"}, marker="s")
    assert (ax.lines[0].get_color(), ax.lines[0].get_linestyle()) == ("#123456", ":")
    assert (ax.lines[1].get_color(), ax.lines[1].get_marker()) == ("#654321", "s")


def test_bad_input_is_named(ax):
    with pytest.raises(ValueError, match=r"plots.runs: got 3 values for 'plain', expected one for each of 2 x"):
        plots.runs(ax, [1, 2], {"plain": [1, 2, 3]})
    with pytest.raises(TypeError, match=r"plots.runs: got list"):
        plots.runs(ax, [1, 2], [[1, 2]])
