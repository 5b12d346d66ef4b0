"""The pooling ops: gradients off ties, and windows that do not fit."""

import numpy as np
import pytest
from differences import apart, check_gradient
from hypothesis import given, strategies as st
from strategies import pairs, poolings, seeds, shapes

import minires as mr
from minires import kernels
from minires.kernels import textbook
from minires.nn import functional as F


@given(poolings(max_dilation=3, ceil_modes=(False, True)), seeds)
def test_max_pool2d_gradient(case, seed):
    x, window = apart(case.x_shape, seed), (*case.window, case.dilation, case.ceil_mode)
    assert F.max_pool2d(mr.tensor(x), *window).shape == case.y_shape
    check_gradient(lambda x: F.max_pool2d(x, *window), x)


@given(poolings(max_dilation=3, ceil_modes=(False, True)), seeds)
def test_max_pool2d_indices_are_where_the_values_are(case, seed):
    x, window = mr.tensor(apart(case.x_shape, seed)), (*case.window, case.dilation, case.ceil_mode)
    y, indices = F.max_pool2d(x, *window, return_indices=True)
    assert indices.dtype == np.int64 and indices.shape == y.shape
    np.testing.assert_array_equal(x.flatten(2).gather(2, indices.flatten(2)).numpy(), y.flatten(2).numpy())
    np.testing.assert_array_equal(y.numpy(), F.max_pool2d(x, *window).numpy())


@given(poolings(ceil_modes=(False, True)), seeds, st.booleans(), st.sampled_from([None, 5]))
def test_avg_pool2d_gradient(case, seed, include, divisor):
    x = np.random.default_rng(seed).standard_normal(case.x_shape)
    check_gradient(lambda x: F.avg_pool2d(x, *case.window, case.ceil_mode, include, divisor), x)


@given(shapes(4, 4, max_side=5), pairs(1, 6), seeds)
def test_adaptive_avg_pool2d_gradient(shape, size, seed):
    x = np.random.default_rng(seed).standard_normal(shape)
    check_gradient(lambda x: F.adaptive_avg_pool2d(x, size), x)
    np.testing.assert_allclose(F.adaptive_avg_pool2d(mr.tensor(x), 1).array, x.mean((2, 3), keepdims=True), atol=1e-12)


def test_a_tie_goes_to_the_first():
    x = mr.ones(1, 1, 2, 2, requires_grad=True)
    F.max_pool2d(x, 2).sum().backward()
    assert x.grad.tolist() == [[[[1, 0], [0, 0]]]]


def test_the_stride_is_the_window_unless_given():
    assert F.max_pool2d(mr.zeros(1, 1, 7, 6), (3, 2)).shape == (1, 1, 2, 3)
    assert F.avg_pool2d(mr.zeros(1, 1, 7, 6), 3, stride=1).shape == (1, 1, 5, 4)


@given(shapes(4, 4, max_side=5), pairs(1, 6), seeds)
def test_adaptive_max_pool2d_indices_and_gradient(shape, size, seed):
    x = apart(shape, seed)
    y, indices = F.adaptive_max_pool2d(mr.tensor(x), size, return_indices=True)
    found = np.take_along_axis(x.reshape(*shape[:2], -1), indices.array.reshape(*shape[:2], -1), 2)
    np.testing.assert_array_equal(found.reshape(y.shape), y.array)
    assert indices.dtype == np.int64 and y.shape == (*shape[:2], *size)
    check_gradient(lambda x: F.adaptive_max_pool2d(x, size), x)


def test_none_leaves_a_side_as_it_is():
    x = mr.randn(2, 3, 4, 5)
    for pool in (F.adaptive_avg_pool2d, F.adaptive_max_pool2d):
        assert pool(x, (None, 2)).shape == (2, 3, 4, 2) and pool(x, (2, None)).shape == (2, 3, 2, 5)
        np.testing.assert_array_equal(pool(x, (None, None)).array, x.array)


ONE_OF_TWO = {
    "max": lambda x: F.max_pool2d(x, 2, 1, 1),
    "max with indices": lambda x: F.max_pool2d(x, 2, 1, 1, 2, True, True),
    "average": lambda x: F.avg_pool2d(x, 2, ceil_mode=True),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, (2, 3)),
    "adaptive max": lambda x: F.adaptive_max_pool2d(x, 2, True),
}
SEQUENCES = {
    "max": lambda x: F.max_pool1d(x, 2, 1, 1),
    "max with indices": lambda x: F.max_pool1d(x, 2, 1, 1, 2, True, True),
    "average": lambda x: F.avg_pool1d(x, 2, ceil_mode=True),
    "adaptive": lambda x: F.adaptive_avg_pool1d(x, 3),
    "adaptive max": lambda x: F.adaptive_max_pool1d(x, 2, True),
}
CALLS = [(call, (4, 3, 5, 6)) for call in ONE_OF_TWO.values()] + [(call, (4, 3, 7)) for call in SEQUENCES.values()]
calls = pytest.mark.parametrize("call, shape", CALLS, ids=[*ONE_OF_TWO, *(f"1-d {name}" for name in SEQUENCES)])


@calls
def test_without_a_batch_axis_the_result_has_none(call, shape):
    x = mr.randn(*shape)
    for a, b in zip(results(call(x)), results(call(x[1])), strict=True):
        np.testing.assert_array_equal(a.array[1], b.array)
    check_gradient(lambda x: results(call(x))[0], apart(shape[1:]))


@calls
def test_an_empty_batch_gives_an_empty_batch_and_gradient(call, shape):
    x = mr.zeros(0, *shape[1:], requires_grad=True)
    for y, full in zip(results(call(x)), results(call(mr.zeros(*shape))), strict=True):
        assert y.shape == (0, *full.shape[1:]) and y.dtype == full.dtype
    results(call(x))[0].sum().backward()
    assert x.grad.shape == x.shape


def results(y):
    return y if isinstance(y, tuple) else (y,)


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences_are_images_of_one_row(name):
    images = {
        "max": lambda x: F.max_pool2d(x, (1, 2), (1, 1), (0, 1)),
        "max with indices": lambda x: F.max_pool2d(x, (1, 2), 1, (0, 1), (1, 2), True, True),
        "average": lambda x: F.avg_pool2d(x, (1, 2), ceil_mode=True),
        "adaptive": lambda x: F.adaptive_avg_pool2d(x, (1, 3)),
        "adaptive max": lambda x: F.adaptive_max_pool2d(x, (1, 2), True),
    }
    x = mr.randn(2, 3, 7)
    for a, b in zip(results(SEQUENCES[name](x)), results(images[name](x.unsqueeze(2))), strict=True):
        np.testing.assert_array_equal(a.array, b.array[:, :, 0])


def test_kernels_of_four_arguments_will_do():
    """A learner's kernels know neither dilation nor ceil mode; they are told only when it is asked for."""

    def mine(x, kernel_size, stride, padding):
        return textbook.max_pool2d(x, kernel_size, stride, padding)

    x = mr.randn(1, 2, 4, 4)
    with kernels.use(max_pool2d=mine):
        np.testing.assert_array_equal(
            F.max_pool2d(x, 2, padding=1).array, textbook.max_pool2d(x.array, (2, 2), (2, 2), (1, 1))[0]
        )
        with pytest.raises(TypeError, match=r"mine.*6 were given"):
            F.max_pool2d(x, 2, ceil_mode=True)


X = mr.zeros(2, 3, 4, 4)
WRONG = {
    "window": (X, dict(kernel_size=5), ValueError, r": the window 5 is larger than the padded input 4 \+ 2·0 along H"),
    "padding": (X, dict(kernel_size=2, padding=(0, 2)), ValueError, r": got padding 2 for a window of 2 along W.*half"),
    "stride": (X, dict(kernel_size=2, stride=0), ValueError, r": got kernel_size \(2, 2\), stride \(0, 0\)"),
    "no channels": (X[:, :0], dict(kernel_size=2), ValueError, r": got an input of shape \(2, 0, 4, 4\); expected"),
    "no pixels": (X[..., :0], dict(kernel_size=2), ValueError, r": got an input of shape \(2, 3, 4, 0\); expected"),
    "two axes": (X[0, 0], dict(kernel_size=2), ValueError, r": got an input of shape \(4, 4\).*\(C, H, W\)"),
    "truth values": (X > 0, dict(kernel_size=2), TypeError, r": got an input of dtype bool"),
    "three sizes": (X, dict(kernel_size=(2, 2, 2)), ValueError, r": got kernel_size=\(2, 2, 2\)"),
    "no Tensor": (X.numpy(), dict(kernel_size=2), TypeError, r": got an ndarray; expected a Tensor"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("function", ["max_pool2d", "avg_pool2d"])
def test_windows_that_do_not_fit(function, name):
    x, options, error, message = WRONG[name]
    with pytest.raises(error, match=function + message):
        getattr(F, function)(x, **options)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(kernel_size=2, dilation=0), r"dilation \(0, 0\)"),
        (dict(kernel_size=2, dilation=(1, 4)), "window 2 is larger .* along W, at dilation 4"),
        (dict(kernel_size=2, padding=1, dilation=5), "got dilation 5 .* nothing but padding"),
        (dict(kernel_size=2, stride=3, padding=1, dilation=6, ceil_mode=True), "got dilation 6 .* nothing but padding"),
    ],
)
def test_dilations_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=f"max_pool2d: .*{message}"):
        F.max_pool2d(X, **options)


@pytest.mark.parametrize("divisor", [0, 1.5])
def test_a_divisor_is_a_whole_number_but_0(divisor):
    with pytest.raises(ValueError, match=f"avg_pool2d: got divisor_override={divisor}"):
        F.avg_pool2d(X, 2, divisor_override=divisor)


@pytest.mark.parametrize("x, size", [(X[0, 0], 1), (X[:, :0], 1), (X, 0)], ids=["two axes", "empty", "size 0"])
@pytest.mark.parametrize("pool", [F.adaptive_avg_pool2d, F.adaptive_max_pool2d])
def test_adaptive_pooling_that_does_not_fit(pool, x, size):
    with pytest.raises(ValueError, match=rf"{pool.__name__}: got an input of shape"):
        pool(x, size)


@pytest.mark.parametrize("shape", [(5,), (1, 2, 3, 4)])
def test_sequences_have_two_or_three_axes(shape):
    with pytest.raises(ValueError, match=r"max_pool1d: got an input of shape .*\(N, C, L\) or \(C, L\)"):
        F.max_pool1d(mr.zeros(*shape), 2)
