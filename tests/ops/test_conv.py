"""The convolution op: its gradient, through the public function, and the sizes of its output."""

import numpy as np
import pytest
from differences import check_gradient
from hypothesis import assume, given
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


@given(convolutions(max_out=3), seeds)
def test_the_transposed_convolution_is_the_transpose(case, seed):
    """⟨conv(x), y⟩ = ⟨x, transposed(y)⟩ for all x and y: they are each other's transposes, as matrices."""
    x, w, _, y = case.arrays(seed)
    sizes = dict(zip(("stride", "padding", "dilation", "groups"), case.geometry))
    smallest = [
        (n - 1) * s - 2 * p + d * (k - 1) + 1
        for n, k, s, p, d in zip(y.shape[2:], w.shape[2:], case.stride, case.padding, case.dilation)
    ]
    extra = tuple(n - m for n, m in zip(x.shape[2:], smallest))
    assume(min(smallest) > 0)
    back = F.conv_transpose2d(mr.tensor(y), mr.tensor(w), output_padding=extra, **sizes)
    forth = F.conv2d(mr.tensor(x), mr.tensor(w), **sizes)
    assert back.shape == x.shape
    np.testing.assert_allclose((forth.array * y).sum(), (x * back.array).sum(), rtol=1e-10, atol=1e-10)
    b = np.random.default_rng(seed).standard_normal(x.shape[1])
    check_gradient(lambda y, w, b: F.conv_transpose2d(y, w, b, output_padding=extra, **sizes), y, w, b, directions=1)


def test_an_output_padding_may_make_room_for_one_more_tap():
    """With dilation above the stride, as PyTorch allows: a convolution of that size would give one output more."""
    x, w, b = (np.random.default_rng(i).standard_normal(s) for i, s in enumerate([(2, 2, 3, 3), (2, 3, 2, 2), (3,)]))
    check_gradient(lambda *a: F.conv_transpose2d(*a, 1, 0, 1, 1, 2), x, w, b)
    assert F.conv_transpose2d(mr.tensor(x), mr.tensor(w), None, 1, 0, 1, 1, 2).shape == (2, 3, 6, 6)


@pytest.mark.parametrize("kernel, dilation", [((2, 4), 1), ((2, 3), 3), ((4, 4), (2, 1))])
def test_same_padding_of_an_even_kernel_has_one_more_at_the_end(kernel, dilation):
    x, w = (np.random.default_rng(i).standard_normal(s) for i, s in enumerate([(2, 3, 7, 6), (2, 3, *kernel)]))
    spread = dilation if isinstance(dilation, tuple) else (dilation, dilation)
    total = [d * (k - 1) for k, d in zip(kernel, spread)]
    padded = np.pad(x, [(0, 0), (0, 0), *((t // 2, t - t // 2) for t in total)])
    y = F.conv2d(mr.tensor(x), mr.tensor(w), padding="same", dilation=dilation)
    assert y.shape == (2, 2, 7, 6)
    np.testing.assert_allclose(y.array, F.conv2d(mr.tensor(padded), mr.tensor(w), dilation=dilation).array, atol=1e-12)
    check_gradient(lambda x, w: F.conv2d(x, w, padding="same", dilation=dilation), x, w, directions=1)


CALLS = {
    "conv2d": (lambda *a: F.conv2d(*a, stride=2, padding=1), (4, 3, 5, 6), (2, 3, 3, 2)),
    "conv2d, same": (lambda *a: F.conv2d(*a, padding="same"), (4, 3, 5, 6), (2, 3, 2, 2)),
    "conv1d": (lambda *a: F.conv1d(*a, stride=2, padding=1), (4, 3, 6), (2, 3, 3)),
    "conv_transpose2d": (lambda *a: F.conv_transpose2d(*a, 2, 1, 1), (4, 3, 5, 6), (3, 2, 3, 2)),
}
calls = pytest.mark.parametrize("call, shape, kernel", CALLS.values(), ids=CALLS)


@calls
def test_without_a_batch_axis_the_result_has_none(call, shape, kernel):
    x, w, b = (np.random.default_rng(i).standard_normal(s) for i, s in enumerate([shape, kernel, (2,)]))
    batch, one = call(*map(mr.tensor, (x, w, b))), call(*map(mr.tensor, (x[1], w, b)))
    np.testing.assert_allclose(batch.array[1], one.array, rtol=1e-12, atol=1e-12)
    check_gradient(call, x[1], w, b, directions=1)


@calls
def test_an_empty_batch_gives_an_empty_batch_and_gradients_of_zeros(call, shape, kernel):
    x, w, b = (mr.ones(*s, requires_grad=True) for s in ((0, *shape[1:]), kernel, (2,)))
    y = call(x, w, b)
    assert y.shape == (0, *call(mr.ones(*shape), w, b).shape[1:])
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert all(p.grad.shape == p.shape and not p.grad.array.any() for p in (w, b))


X = mr.zeros(2, 6, 8, 8)
WRONG = {
    "two axes": (X[0, 0], mr.zeros(4, 6, 3, 3), {}, r"conv2d: got an input of shape \(8, 8\).*\(C, H, W\)"),
    "weight of three axes": (X, mr.zeros(4, 6, 3), {}, r"conv2d: got a weight of shape \(4, 6, 3\)"),
    "same, of three axes": (X, mr.zeros(4, 6, 3), {"padding": "same"}, r"conv2d: got a weight of shape \(4, 6, 3\)"),
    "no channels": (X[:, :0], mr.zeros(4, 0, 3, 3), {}, r"conv2d: got .*\(2, 0, 8, 8\).* at least one channel"),
    "no taps": (X, mr.zeros(4, 6, 0, 3), {}, r"conv2d: got .*\(4, 6, 0, 3\).* one tap"),
    "no pixels": (X[..., :0], mr.zeros(4, 6, 3, 3), {"padding": 1}, r"conv2d: the kernel is larger .* along W"),
    "no groups": (X, mr.zeros(4, 6, 3, 3), {"groups": 0}, r"conv2d: got groups=0 for 6 input"),
    "same with stride": (X, mr.zeros(4, 6, 3, 3), {"padding": "same", "stride": 2}, 'conv2d: got padding="same"'),
    "three strides": (X, mr.zeros(4, 6, 3, 3), {"stride": (1, 1, 1)}, r"conv2d: got stride=\(1, 1, 1\)"),
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


WRONG_TRANSPOSED = {
    "channels": (mr.zeros(4, 6, 3, 3), {}, r"6 channels, weight \(4, 6, 3, 3\)"),
    "groups": (mr.zeros(6, 1, 3, 3), {"groups": 4}, "groups=4"),
    "bias": (mr.zeros(6, 2, 3, 3), {"bias": mr.zeros(3)}, r"bias of shape \(3,\).*expected \(2,\)"),
    "stride": (mr.zeros(6, 2, 3, 3), {"stride": 0}, r"stride \(0, 0\)"),
    "output padding": (mr.zeros(6, 2, 3, 3), {"stride": 2, "output_padding": 2}, r"output_padding \(2, 2\) for stride"),
    "all cropped": (mr.zeros(6, 2, 1, 1), {"padding": 4}, r"got padding \(4, 4\), which leaves"),
    "no taps": (mr.zeros(6, 2, 0, 1), {}, "none of them empty"),
}


@pytest.mark.parametrize("name", WRONG_TRANSPOSED)
def test_shapes_that_do_not_fit_a_transposed_convolution(name):
    w, options, message = WRONG_TRANSPOSED[name]
    with pytest.raises(ValueError, match=f"conv_transpose2d: .*{message}"):
        F.conv_transpose2d(X, w, **options)


@pytest.mark.parametrize("function", ["conv1d", "conv2d", "conv_transpose2d"])
def test_weight_and_bias_are_tensors(function):
    x, w = (
        (mr.zeros(2, 3, 4), mr.zeros(3, 3, 1)) if function == "conv1d" else (mr.zeros(2, 3, 4, 4), mr.zeros(3, 3, 1, 1))
    )
    for weight, bias in ((None, None), (w, 3), (w.numpy(), None)):
        with pytest.raises(TypeError, match=f"{function}: got an? .* as weight and an? .* as bias; expected a Tensor"):
            getattr(F, function)(x, weight, bias)


def test_images_of_whole_numbers_are_not_converted_silently():
    with pytest.raises(TypeError, match=r"conv2d: got an input of dtype uint8, expected floating point; convert"):
        F.conv2d(mr.tensor(np.zeros((1, 3, 8, 8), np.uint8)), mr.zeros(4, 3, 3, 3))


def test_types_do_not_mix():
    with pytest.raises(TypeError, match=r"Conv2d: got inputs of float32 on cpu and float64 on cpu"):
        F.conv2d(X, mr.zeros(4, 6, 3, 3, dtype=np.float64))
