"""The convolution op: its gradient, through the public function, and the sizes of its output."""

import numpy as np
import pytest
from differences import check_gradient
from hypothesis import given
from strategies import convolutions, seeds

import minires as mr
from minires.kernels import textbook
from minires.nn import functional as F


@given(convolutions(max_out=3), seeds)
def test_gradient(case, seed):
    x, w, b, _ = case.arrays(seed)
    options = dict(zip(("stride", "padding", "dilation", "groups"), case.geometry))
    y = F.conv2d(mr.tensor(x), mr.tensor(w), mr.tensor(b), **options)
    assert y.shape == case.y_shape
    np.testing.assert_allclose(y.array, textbook.conv2d(x, w, b, *case.geometry), rtol=1e-12, atol=1e-12)
    check_gradient(lambda x, w, b: F.conv2d(x, w, b, **options), x, w, b, directions=1)
    check_gradient(lambda x, w: F.conv2d(x, w, **options), x, w, directions=1)


@pytest.mark.parametrize("size, expected", [(7, 4), (8, 4), (9, 5)])
def test_output_sizes_are_floored(size, expected):
    x, w = mr.zeros(1, 1, size, 8), mr.zeros(1, 1, 3, 3)
    assert F.conv2d(x, w, stride=2, padding=1).shape == (1, 1, expected, 4)


def test_the_kernel_is_not_flipped():
    x = mr.tensor(np.arange(9.0).reshape(1, 1, 3, 3))
    w = mr.tensor(np.eye(1, 9, 1).reshape(1, 1, 3, 3))  # 1 at (0, 1): the pixel above
    assert F.conv2d(x, w, padding=1).array[0, 0].tolist() == [[0, 0, 0], [0, 1, 2], [3, 4, 5]]


def test_the_graph_is_in_float32_too(rng):
    x = mr.tensor(rng.standard_normal((2, 3, 5, 5)).astype(np.float32), requires_grad=True)
    w = mr.tensor(rng.standard_normal((4, 3, 3, 3)).astype(np.float32), requires_grad=True)
    y = F.conv2d(x, w)
    y.backward(np.ones_like(y.array))
    assert y.dtype == x.grad.dtype == w.grad.dtype == np.float32


X = mr.zeros(2, 6, 8, 8)
WRONG = {
    "image without a batch": (X[0], mr.zeros(4, 6, 3, 3), {}, r"conv2d: got an input of shape \(6, 8, 8\).*x\[None\]"),
    "weight of three axes": (X, mr.zeros(4, 6, 3), {}, r"conv2d: got a weight of shape \(4, 6, 3\)"),
    "empty batch": (X[:0], mr.zeros(4, 6, 3, 3), {}, r"conv2d: got an empty batch, shape \(0, 6, 8, 8\)"),
    "stride 0": (X, mr.zeros(4, 6, 3, 3), {"stride": 0}, r"conv2d: got stride \(0, 0\).*at least 1"),
    "dilation 0": (X, mr.zeros(4, 6, 3, 3), {"dilation": (1, 0)}, r"conv2d: .*dilation \(1, 0\)"),
    "padding -1": (X, mr.zeros(4, 6, 3, 3), {"padding": -1}, r"conv2d: .*padding \(-1, -1\)"),
    "channels": (X, mr.zeros(4, 3, 3, 3), {}, r"conv2d: got input \(2, 6, 8, 8\) with 6 channels.*expects 3"),
    "groups": (X, mr.zeros(4, 3, 3, 3), {"groups": 4}, r"conv2d: got groups=4 for 6 input and 4 output channels"),
    "bias": (X, mr.zeros(4, 6, 3, 3), {"bias": mr.zeros(3)}, r"conv2d: got bias of shape \(3,\).*expected \(4,\)"),
    "kernel": (X, mr.zeros(4, 6, 3, 11), {"padding": (0, 1)}, r"conv2d: the kernel is larger .*W: kernel 11 .*has 10"),
    "spread kernel": (X, mr.zeros(4, 6, 3, 3), {"dilation": 4}, r"along H: kernel 3 with dilation 4 covers 9"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_shapes_that_do_not_fit(name):
    x, w, options, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        F.conv2d(x, w, **options)


def test_images_of_whole_numbers_are_not_converted_silently():
    with pytest.raises(TypeError, match=r"conv2d: got an input of dtype uint8, expected floating point; convert"):
        F.conv2d(mr.tensor(np.zeros((1, 3, 8, 8), np.uint8)), mr.zeros(4, 3, 3, 3))


def test_types_do_not_mix():
    with pytest.raises(TypeError, match=r"Conv2d: got inputs of float32 on cpu and float64 on cpu"):
        F.conv2d(X, mr.zeros(4, 6, 3, 3, dtype=np.float64))
