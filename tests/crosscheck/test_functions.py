"""nn.functional against PyTorch: values and gradients in float64."""

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st

import minires as mr
from minires.nn import functional as F

torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is needed only to compare with it")
T = torch.nn.functional
some = settings(max_examples=60, deadline=None)
few = st.integers(1, 3)


# ── convolution and pooling ──


@some
@given(
    batch=few, group_size=st.tuples(few, few), groups=few, size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.tuples(few, few), stride=st.tuples(few, few), padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=st.tuples(few, few), bias=st.booleans(),
)  # fmt: skip
def test_conv2d(agree, randn, batch, group_size, groups, size, kernel, stride, padding, dilation, bias):
    assume(all(n + 2 * p >= d * (k - 1) + 1 for n, k, p, d in zip(size, kernel, padding, dilation)))
    (channels, out), options = group_size, (stride, padding, dilation, groups)
    arrays = [randn(batch, channels * groups, *size), randn(out * groups, channels, *kernel)]
    arrays += [randn(out * groups)] if bias else []
    if bias:
        agree(lambda x, w, b: F.conv2d(x, w, b, *options), lambda x, w, b: T.conv2d(x, w, b, *options), *arrays)
    else:
        agree(lambda x, w: F.conv2d(x, w, None, *options), lambda x, w: T.conv2d(x, w, None, *options), *arrays)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("dilation", [1, 2])
def test_conv2d_named_padding(agree, randn, padding, dilation):
    arrays = randn(2, 3, 7, 8), randn(4, 3, 3, 3)
    options = dict(padding=padding, dilation=dilation)
    agree(lambda x, w: F.conv2d(x, w, **options), lambda x, w: T.conv2d(x, w, **options), *arrays)


@some
@given(
    size=st.tuples(st.integers(2, 9), st.integers(2, 9)), kernel=st.integers(1, 4),
    stride=st.one_of(st.none(), st.integers(1, 4)), padding=st.integers(0, 2),
    include=st.booleans(), ties=st.booleans(),
)  # fmt: skip
def test_pooling(agree, randn, size, kernel, stride, padding, include, ties):
    assume(2 * padding <= kernel <= min(size) + 2 * padding)
    x = randn(2, 3, *size)
    x = np.round(x) if ties else x
    args = kernel, stride, padding
    agree(lambda x: F.max_pool2d(x, *args), lambda x: T.max_pool2d(x, *args), x)
    agree(
        lambda x: F.avg_pool2d(x, *args, count_include_pad=include),
        lambda x: T.avg_pool2d(x, *args, count_include_pad=include),
        x,
    )


@some
@given(size=st.tuples(st.integers(1, 9), st.integers(1, 9)), target=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_adaptive_avg_pool2d(agree, randn, size, target):
    x = randn(2, 3, *size)
    agree(lambda x: F.adaptive_avg_pool2d(x, target), lambda x: T.adaptive_avg_pool2d(x, target), x)


# ── batch norm ──


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 6), (2, 3, 4, 5), (2, 3, 1, 1)])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm(agree, randn, shape, training, affine):
    ours = [randn(3), np.abs(randn(3)) + 0.5]  # running mean and variance
    theirs = [torch.tensor(a) for a in ours]
    options = dict(training=training, momentum=0.3, eps=1e-3)
    arrays = [randn(*shape), *([randn(3), randn(3)] if affine else [])]
    agree(
        lambda x, *wb: F.batch_norm(x, *ours, *wb, **options),
        lambda x, *wb: T.batch_norm(x, *theirs, *wb, **options),
        *arrays,
    )
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-12)


# ── activations, linear, pad ──


@pytest.mark.parametrize(
    "ours, theirs",
    [
        (F.relu, T.relu),
        (F.leaky_relu, T.leaky_relu),
        (lambda x: F.leaky_relu(x, 0.3), lambda x: T.leaky_relu(x, 0.3)),
        (F.sigmoid, T.sigmoid),
        (F.tanh, T.tanh),
        *((lambda x, d=d: F.softmax(x, d), lambda x, d=d: T.softmax(x, d)) for d in (0, 1, -1)),
        *((lambda x, d=d: F.log_softmax(x, d), lambda x, d=d: T.log_softmax(x, d)) for d in (0, 1, -1)),
        (lambda x: F.dropout(x, 0.5, training=False), lambda x: T.dropout(x, 0.5, training=False)),
    ],
)
def test_activations(agree, randn, ours, theirs):
    x = 3 * randn(4, 5, 3)
    x[0, 0] = [0, -0.0, 50]
    agree(ours, theirs, x)


@pytest.mark.parametrize("shape", [(6,), (4, 6), (2, 3, 6)])
def test_linear(agree, randn, shape):
    agree(F.linear, T.linear, randn(*shape), randn(5, 6), randn(5))
    agree(F.linear, T.linear, randn(*shape), randn(5, 6))


@pytest.mark.parametrize("widths", [(1, 2), (0, 0, 2, 1), (-1, 3), (-1, -1, 2, -2), (1, 1, 1, 1, 0, 2)])
def test_pad(agree, randn, widths):
    agree(lambda x: F.pad(x, widths, value=1.5), lambda x: T.pad(x, widths, value=1.5), randn(2, 3, 4, 5))


@pytest.mark.parametrize("classes", [-1, 5])
def test_one_hot(classes):
    index = np.array([[0, 2], [1, 1]])
    ours, theirs = F.one_hot(mr.tensor(index), classes), T.one_hot(torch.tensor(index), classes)
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert str(theirs.dtype).endswith(str(ours.dtype))


# ── losses ──


@pytest.mark.parametrize("shape", [(6, 4), (3, 4, 5), (2, 4, 3, 2)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy(agree, randn, shape, reduction, weighted, smoothing):
    rng = np.random.default_rng(1)
    weight = np.abs(randn(shape[1])) if weighted else None

    def both(target):
        w = (None, None) if weight is None else (mr.tensor(weight), torch.tensor(weight))
        options = dict(reduction=reduction, label_smoothing=smoothing)
        agree(
            lambda z: F.cross_entropy(z, mr.tensor(target), w[0], **options),
            lambda z: T.cross_entropy(z, torch.tensor(target), w[1], **options),
            2 * randn(*shape),
        )

    index = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    both(index)
    index[0] = -100
    both(index)
    probabilities = rng.random(shape)
    both(probabilities / probabilities.sum(1, keepdims=True))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("ignore_index", [-100, 2])
def test_cross_entropy_and_nll_loss_with_an_ignored_class(agree, randn, reduction, ignore_index):
    target, weight = np.array([2, 0, 1, 2, 3]), np.abs(randn(4))
    options = dict(ignore_index=ignore_index, reduction=reduction)
    for ours, theirs in ((F.cross_entropy, T.cross_entropy), (F.nll_loss, T.nll_loss)):
        agree(
            lambda z, f=ours: f(z, mr.tensor(target), mr.tensor(weight), **options),
            lambda z, f=theirs: f(z, torch.tensor(target), torch.tensor(weight), **options),
            randn(5, 4),
        )


@pytest.mark.parametrize("shape", [(6, 4), (3, 4, 5)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_nll_loss(agree, randn, shape, reduction):
    target = np.random.default_rng(1).integers(0, shape[1], (shape[0], *shape[2:]))
    agree(
        lambda z: F.nll_loss(z, mr.tensor(target), reduction=reduction),
        lambda z: T.nll_loss(z, torch.tensor(target), reduction=reduction),
        randn(*shape),
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_mse_loss(agree, randn, reduction):
    agree(
        lambda x, y: F.mse_loss(x, y, reduction=reduction),
        lambda x, y: T.mse_loss(x, y, reduction=reduction),
        randn(3, 4),
        randn(3, 4),
    )
