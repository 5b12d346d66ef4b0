"""The panel of singular values through depth."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from minires.flow import Jacobian, plots


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def jacobians(growth, blocks=6):
    return [
        Jacobian(growth**i * np.array([3.0, 2.0, 1.5]), np.zeros(3), 0.0, 5, (10, 10)) for i in range(1, blocks + 1)
    ]


@pytest.mark.parametrize("product", [False, True])
@pytest.mark.parametrize("style", ["default", "dark_background", "grayscale"])
def test_plain_and_residual_share_one_logarithmic_axis(style, product):
    results = {"plain": jacobians(3.0), "residual": jacobians(1.1)}
    with plt.style.context(style):
        figure, ax = plt.subplots()
        assert plots.jacobian(ax, results, "step 0", product=product) is ax
        figure.canvas.draw()
    lines = [line for line in ax.lines if line.get_marker() not in ("None", None, "")]
    for line, values in zip(lines, results.values()):
        np.testing.assert_allclose(line.get_ydata(), [each.values[0] for each in values])
    assert len({line.get_marker() for line in lines}) == len({line.get_linestyle() for line in lines}) == 2
    assert ax.get_yscale() == "log" and "step 0" in ax.get_title()
    assert ("∏" in ax.get_title()) == product
    texts = " ".join(text.get_text() for text in ax.texts)
    assert "plain\nσ₁ = 2,200" in texts and "residual\nσ₁ = 5.3" in texts and "identity" in texts
    assert "σ₃" in ax.get_ylabel()


def test_networks_of_different_depth_and_a_single_value():
    short = [Jacobian(np.array([2.0]), np.zeros(1), 0.0, 5, (10, 10))] * 2
    _, ax = plt.subplots()
    plots.jacobian(ax, {"plain": short, "residual": short * 3})
    assert ax.get_ylabel() == "largest singular value σ₁"


def test_wrong_use_says_what_to_do():
    _, ax = plt.subplots()
    with pytest.raises(TypeError, match=r"plots.jacobian: got list"):
        plots.jacobian(ax, jacobians(1.0))
    with pytest.raises(ValueError, match=r"plots.jacobian: got no Jacobians"):
        plots.jacobian(ax, {"plain": []})
