"""The pictures: what is drawn, and that matplotlib's state is left alone."""

import numpy as np
import pytest
from testing import subjects as s
from testing.mutants import MAIN

from minires.testing import gradcheck, plots

MUTANTS = {m.name: m for m in MAIN}


def _failure(name):
    mutant = MUTANTS[name]
    report = gradcheck(mutant.f, *mutant.arrays(np.random.default_rng(0)), raise_on_failure=False, **mutant.options)
    return report.failures[0]


def _lines(figure):
    return {line.get_label().partition(":")[0]: line for line in figure.axes[0].get_lines()}


def test_remainder_falls_with_slope_2_if_right_and_1_if_wrong():
    arrays = s.bn.arrays(np.random.default_rng(0))
    right = plots.taylor((s.bn.forward, s.bn.backward), *arrays)
    wrong = plots.taylor(MUTANTS["batch norm: dx without the mean term"].f, *arrays)
    labels = [[t.get_text() for t in figure.axes[0].get_legend().get_texts()] for figure in (right, wrong)]
    assert labels[0] == ["x: slope 2.00", "gamma: no curvature", "beta: no curvature"]
    assert labels[1][0] == "x: slope 1.00, wrong"
    texts = [t.get_text() for t in right.axes[0].texts]
    assert {"slope 1", "slope 2", "noise floor ε·|f|"} <= set(texts)
    x, y = _lines(right)["x"].get_data()
    near = (x > 1e-5) & (x < 1e-2)
    assert np.polyfit(np.log(x[near]), np.log(y[near]), 1)[0] == pytest.approx(2, abs=0.02)
    right.canvas.draw()


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("batch norm: dx without the mean term", "108 of 108"),
        ("conv2d, stride 2: dx, the rows between strides lost", "72 of 144"),
        ("linear: dW turned", "12 of 16"),
        ("conv2d: db is a mean", "3 of 3"),
        ("relu: no mask", "of 60"),
    ],
)
def test_map_counts_what_is_wrong(name, count):
    failure = _failure(name)
    figure = plots.error_map(failure)
    assert count in figure.axes[2].get_title()
    assert failure.kind.replace("_", " ") in figure.get_suptitle()
    figure.canvas.draw()


def test_map_needs_both_gradients():
    with pytest.raises(ValueError, match="no two gradients"):
        plots.error_map(_failure("conv2d: db not summed"))


def test_images_are_laid_side_by_side():
    array = np.arange(2 * 3 * 2 * 2.0).reshape(2, 3, 2, 2)
    image = plots.tiled(array)
    assert image.shape == (5, 8)
    np.testing.assert_array_equal(image[3:5, 6:8], array[1, 2])
    assert np.isnan(image[2]).all()
    assert plots.tiled(np.zeros((5, 2, 3))).shape == (2, 19)
    assert plots.tiled(np.zeros(4)).shape == (1, 4)
