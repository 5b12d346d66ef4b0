"""The panel of the path spectrum: the numbers it draws, and labels that can be read."""

import itertools
import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.patches import StepPatch

from minires.flow import PathSpectrum, plots


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def spectrum(n=9, decay=0.5, sampled=False):
    counts = np.array([float(math.comb(n, k)) for k in range(n + 1)])
    norms = np.sqrt(counts * decay ** np.arange(n + 1))
    return PathSpectrum(norms, counts, 1e-15, sampled=counts * 0.7 ** np.arange(n + 1) if sampled else None)


def draw(results, style="default", size=(6.4, 4.8)):
    with plt.style.context(style):
        figure, ax = plt.subplots(figsize=size, layout="constrained")
        assert plots.path_spectrum(ax, results, "step 7") is ax
        figure.canvas.draw()
    return ax


def test_bars_are_the_share_of_each_length_and_the_outline_that_of_the_paths():
    result = spectrum()
    ax = draw({"residual": result})
    heights = np.array([bar.get_height() for bar in ax.containers[0]])
    np.testing.assert_allclose(heights, result.norms**2 / (result.norms**2).sum())
    outlines = [patch for patch in ax.patches if isinstance(patch, StepPatch)]
    np.testing.assert_allclose(outlines[0].get_data().values, result.counts / 2**9)
    assert ax.get_title() == "Path spectrum, step 7"


def test_the_lengths_are_marked_where_they_are():
    result = spectrum(sampled=True)
    ax = draw(result)
    marked = sorted(line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 2)
    assert marked == pytest.approx(sorted([result.effective_length, result.sampled_length, result.mean_length]))
    text = " ".join(each.get_text() for each in ax.texts)
    for length in (result.effective_length, result.sampled_length, result.mean_length):
        assert f"{length:.1f}" in text


@pytest.mark.parametrize("n", [9, 27, 54])
def test_no_line_goes_through_a_label(n):
    ax = draw(spectrum(n, decay=0.3, sampled=True))
    boxes = [label.get_window_extent() for label in ax.texts]
    lines = [line.get_window_extent() for line in ax.lines if len(line.get_xdata()) == 2]
    assert len(boxes) == len(lines) == 3
    assert not [(box, line) for box in boxes for line in lines if box.overlaps(line)]


def test_sampled_dots_are_there_if_paths_were_sampled():
    result = spectrum(sampled=True)
    (dots,) = [line for line in draw(result).lines if len(line.get_xdata()) == 10]
    np.testing.assert_allclose(dots.get_ydata(), result.sampled / result.sampled.sum())
    assert not [line for line in draw(spectrum()).lines if len(line.get_xdata()) == 10]


def test_networks_stand_side_by_side_and_differ_without_colour():
    ax = draw({"residual": spectrum(), "pre-activation": spectrum(decay=0.8)})
    first, second = ax.containers
    assert first[3].get_x() + first[3].get_width() == pytest.approx(second[3].get_x())
    assert first[3].get_hatch() != second[3].get_hatch()


def test_networks_of_different_depth_have_an_outline_each():
    ax = draw({"residual-9": spectrum(9), "residual-27": spectrum(27)})
    assert len([patch for patch in ax.patches if isinstance(patch, StepPatch)]) == 4  # filled and drawn, each
    assert ax.get_xlim() == pytest.approx((-0.6, 27.6))


@pytest.mark.parametrize("style", ["default", "dark_background", "grayscale"])
@pytest.mark.parametrize("size", [(6.4, 4.8), (4.5, 3.4)])
def test_labels_do_not_overlap_or_leave_the_axes(style, size):
    ax = draw({"residual": spectrum(sampled=True), "other": spectrum(decay=0.9, sampled=True)}, style, size)
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) == 5
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    frame = ax.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and box.y1 <= frame.y1 + 1 for box in boxes)
    assert all(text.get_bbox_patch() is not None for text in ax.texts)  # over the lines, not under
    bars = max(bar.get_window_extent().y1 for container in ax.containers for bar in container)
    assert bars < min(box.y0 for box in boxes)


def test_wrong_use_says_what_to_do():
    _, ax = plt.subplots()
    with pytest.raises(TypeError, match=r"plots.path_spectrum: got list"):
        plots.path_spectrum(ax, [spectrum()])
