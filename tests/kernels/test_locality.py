"""What is outside its receptive field does not count for an output: in float64, inside `exact`, else beyond a tile."""

import warnings

import numpy as np
import pytest

import minires as mr
from minires.kernels import cpu
from minires.kernels.conv import winograd
from minires.nn import functional as F

GEOMETRY = (1, 1), (1, 1), (1, 1), 1
AT = 0, 9, 11  # image, row, column
FIELD = (slice(8, 11), slice(10, 13))  # the 3×3 pixels around it
TILES = (slice(8 - 3, 11 + 3), slice(10, 13))  # and three rows more


@pytest.fixture
def arrays(rng):
    """x (8, 64, 20, 20) with the batch last, weights (64, 64, 3, 3): large enough for Winograd's tiles."""
    x = rng.standard_normal((64, 20, 20, 8)).transpose(3, 0, 1, 2)
    return x, rng.standard_normal((64, 64, 3, 3)) / 24


def convolve(x, w):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of inf − inf
        return cpu.conv2d(x, w, None, *GEOMETRY)


def pixel(shape, value, dtype):
    g = np.zeros(shape, dtype)
    g[AT[0], 3, AT[1], AT[2]] = value
    return g


def outside(array, field):
    """(N, C, H, W) with one image's ``field`` blanked out."""
    array = array.copy()
    array[AT[0], :, *field] = 0
    return array


@pytest.mark.parametrize(("dtype", "inside"), [(np.float64, False), (np.float64, True), (np.float32, True)])
def test_the_gradient_is_zero_outside_the_receptive_field(arrays, dtype, inside):
    x, w = (a.astype(dtype) for a in arrays)
    g = pixel(x.shape, 1, dtype)
    with mr.exact() if inside else warnings.catch_warnings():
        dx = cpu.conv2d_backward(g, x, w, *GEOMETRY)[0]
    assert (dx[AT[0], :, *FIELD] != 0).all()
    np.testing.assert_array_equal(outside(dx, FIELD), 0)


def test_a_gradient_in_float32_strays_by_a_tile_at_most(arrays):
    x, w = (a.astype(np.float32) for a in arrays)
    g = pixel(x.shape, 1, np.float32)
    dx = cpu.conv2d_backward(g, x, w, *GEOMETRY)[0]
    np.testing.assert_array_equal(outside(dx, TILES), 0)
    assert np.abs(outside(dx, FIELD)).max() < 1e-6 * np.abs(dx).max()


@pytest.mark.parametrize("bad", [np.inf, np.nan])
@pytest.mark.parametrize(("dtype", "inside"), [(np.float64, False), (np.float32, True)])
def test_what_is_not_finite_spoils_the_receptive_field_alone(arrays, dtype, inside, bad):
    x, w = (a.astype(dtype) for a in arrays)
    x[AT[0], 3, AT[1], AT[2]] = bad
    with mr.exact() if inside else warnings.catch_warnings():
        y = convolve(x, w)
    assert not np.isfinite(y[AT[0], :, *FIELD]).any()
    assert np.isfinite(outside(y, FIELD)).all()


def test_a_nan_in_float32_spoils_its_tiles_and_an_infinity_its_field(arrays):
    x, w = (a.astype(np.float32) for a in arrays)
    for bad, field in ((np.nan, TILES), (np.inf, FIELD)):
        x[AT[0], 3, AT[1], AT[2]] = bad
        assert np.isfinite(outside(convolve(x, w), field)).all()


@pytest.mark.parametrize("threads_used", [1, 2])
@pytest.mark.parametrize("scale", [1e37, 1e38, 3e38])
def test_numbers_near_the_largest_do_not_overflow_before_the_result_does(arrays, scale, threads_used, threads):
    """Winograd's sums are larger than the result; where they overflow, it is computed directly."""
    threads(threads_used)
    x, w = (a.astype(np.float32) for a in arrays)
    x *= np.float32(scale) / np.abs(x).max()
    w /= np.abs(w).sum((1, 2, 3), keepdims=True)  # so no output is larger than the largest input
    exact = cpu.conv2d(x.astype(np.float64), w.astype(np.float64), None, *GEOMETRY)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = cpu.conv2d(x, w, None, *GEOMETRY)
    np.testing.assert_allclose(y, exact, rtol=0, atol=2e-6 * np.abs(exact).max())


def test_where_nothing_overflows_tiles_are_used(arrays, monkeypatch):
    """The tests above would all pass without them."""
    used, gather = [], winograd.Tiles.gather
    monkeypatch.setattr(winograd.Tiles, "gather", lambda *arguments: used.append(1) or gather(*arguments))
    x, w = (a.astype(np.float32) for a in arrays)
    cpu.conv2d(x, w, None, *GEOMETRY)
    assert used


def test_exact_can_be_nested_reused_and_decorate(arrays):
    x, w = (a.astype(np.float32) for a in arrays)
    tiled = cpu.conv2d(x, w, None, *GEOMETRY)
    switch = mr.exact()
    with switch, switch, mr.exact():
        direct = cpu.conv2d(x, w, None, *GEOMETRY)
    assert (tiled != direct).any()
    with switch:
        np.testing.assert_array_equal(cpu.conv2d(x, w, None, *GEOMETRY), direct)
    np.testing.assert_array_equal(mr.exact()(cpu.conv2d)(x, w, None, *GEOMETRY), direct)
    with pytest.raises(ZeroDivisionError), mr.exact():
        _ = 1 / 0
    np.testing.assert_array_equal(cpu.conv2d(x, w, None, *GEOMETRY), tiled)


def test_a_picture_of_a_network_s_receptive_field():
    """Three layers of 3×3: the gradient of one output reaches 7×7 pixels, and is exactly 0 elsewhere."""
    mr.manual_seed(0)
    x = mr.randn(4, 16, 24, 24, requires_grad=True)
    with mr.exact():
        y = x
        for _ in range(3):
            y = F.conv2d(y, mr.randn(16, 16, 3, 3) / 12, padding=1)
        y[0, 0, 12, 12].backward()
    rows, columns = np.nonzero(np.abs(x.grad[0]).sum(0))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (9, 15, 9, 15)
    assert not x.grad[1:].any()
