"""The definitions themselves, compared with a second, independent definition: einsum over sliding windows."""

import numpy as np
from hypothesis import given
from numpy.lib.stride_tricks import sliding_window_view
from strategies import convolutions, distinct, poolings, seeds, shapes

from minires.kernels import textbook


def windows(x, kernel, stride, padding, dilation=(1, 1), fill=0.0):
    """(N, C, H, W) -> (N, C, H′, W′, kh, kw), padding included."""
    padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)), constant_values=fill)
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    view = sliding_window_view(padded, reach, (2, 3))
    return view[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


@given(convolutions(), seeds)
def test_conv2d_is_an_einsum_over_windows(case, seed):
    x, w, b, _ = case.arrays(seed)
    patches = windows(x, w.shape[2:], case.stride, case.padding, case.dilation)
    grouped = patches.reshape(len(x), case.groups, -1, *patches.shape[2:])  # (N, G, C/G, H′, W′, kh, kw)
    y = np.einsum("ngchwij,gocij->ngohw", grouped, w.reshape(case.groups, -1, *w.shape[1:])).reshape(case.y_shape)
    np.testing.assert_allclose(textbook.conv2d(x, w, b, *case.geometry), y + b[:, None, None], rtol=1e-12, atol=1e-12)


@given(convolutions(), seeds)
def test_conv2d_backward_is_the_adjoint(case, seed):
    """conv2d is linear in x and in w, so ⟨g, conv(u, w)⟩ = ⟨dx, u⟩ and ⟨g, conv(x, v)⟩ = ⟨dw, v⟩ for every u and v."""
    x, w, _, g = case.arrays(seed)
    u, v, _, _ = case.arrays(seed + 1)
    dx, dw, db = textbook.conv2d_backward(g, x, w, *case.geometry)
    np.testing.assert_allclose((g * textbook.conv2d(u, w, None, *case.geometry)).sum(), (dx * u).sum(), atol=1e-10)
    np.testing.assert_allclose((g * textbook.conv2d(x, v, None, *case.geometry)).sum(), (dw * v).sum(), atol=1e-10)
    np.testing.assert_allclose(db, np.einsum("nohw->o", g), atol=1e-12)


@given(poolings(), seeds)
def test_max_pool2d_is_the_maximum_over_windows(case, seed):
    x = distinct(case.x_shape, seed)
    flat = windows(x, case.kernel_size, case.stride, case.padding, fill=-np.inf).reshape(*case.y_shape, -1)
    y, tap = textbook.max_pool2d(x, *case.window)
    np.testing.assert_array_equal(y, flat.max(-1))
    np.testing.assert_array_equal(tap, flat.argmax(-1))


@given(poolings(), seeds)
def test_max_pool2d_backward_is_the_adjoint(case, seed):
    """Near x without ties the pool is linear: y(x + εu) = y(x) + ε·A·u, and ⟨g, A·u⟩ = ⟨dx, u⟩."""
    rng = np.random.default_rng(seed)
    x, u, g = distinct(case.x_shape, seed), rng.standard_normal(case.x_shape), rng.standard_normal(case.y_shape)
    y, tap = textbook.max_pool2d(x, *case.window)
    moved = (textbook.max_pool2d(x + 1e-3 * u, *case.window)[0] - y) / 1e-3
    dx = textbook.max_pool2d_backward(g, tap, x.shape, *case.window)
    np.testing.assert_allclose((g * moved).sum(), (dx * u).sum(), atol=1e-8)


@given(poolings(), seeds)
def test_avg_pool2d_is_the_mean_over_windows(case, seed):
    rng = np.random.default_rng(seed)
    x, u, g = rng.standard_normal(case.x_shape), rng.standard_normal(case.x_shape), rng.standard_normal(case.y_shape)
    total = windows(x, case.kernel_size, case.stride, case.padding).sum((-2, -1))
    inside = windows(np.ones_like(x), case.kernel_size, case.stride, case.padding).sum((-2, -1))
    for include, count in ((True, np.prod(case.kernel_size)), (False, inside)):
        np.testing.assert_allclose(textbook.avg_pool2d(x, *case.window, include), total / count, rtol=1e-12, atol=1e-12)
        dx = textbook.avg_pool2d_backward(g, x.shape, *case.window, include)
        y_of_u = textbook.avg_pool2d(u, *case.window, include)
        np.testing.assert_allclose((g * y_of_u).sum(), (dx * u).sum(), atol=1e-10)


def test_adaptive_regions_cover_the_image_as_in_pytorch():
    """Region i runs from ⌊i·n/k⌋ to ⌈(i+1)·n/k⌉: neighbours share an entry where n/k is not whole."""
    assert textbook.regions(5, 3) == [slice(0, 2), slice(1, 4), slice(3, 5)]
    assert textbook.regions(4, 2) == [slice(0, 2), slice(2, 4)]
    assert textbook.regions(1, 3) == [slice(0, 1)] * 3


@given(shapes(2, 4, max_side=5).filter(lambda s: np.prod(s) > s[1]), seeds)
def test_batch_norm_has_mean_beta_and_deviation_gamma(shape, seed):
    rng = np.random.default_rng(seed)
    x, gamma, beta = 3 + 2 * rng.standard_normal(shape), *rng.standard_normal((2, shape[1]))
    y, mean, var = textbook.batch_norm(x, gamma, beta, eps=0.0)
    axes = textbook.all_but_channels(x)
    np.testing.assert_allclose(y.mean(axes), beta, atol=1e-7)
    np.testing.assert_allclose(y.std(axes), np.abs(gamma), atol=1e-7)
    channels = np.moveaxis(x, 1, 0).reshape(shape[1], -1)
    np.testing.assert_allclose(mean, [sum(c) / len(c) for c in channels], atol=1e-12)
    np.testing.assert_allclose(var, [sum((c - m) ** 2) / len(c) for c, m in zip(channels, mean)], atol=1e-12)
