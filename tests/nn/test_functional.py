"""nn.functional: losses, dropout, padding, one-hot and pooling against their formulas."""

import math

import numpy as np
import pytest
from differences import check_gradient
from hypothesis import given, strategies as st
from strategies import distinct, seeds, shapes

import minires as mr
from minires.nn import functional as F


def randn(*shape):
    return mr.randn(*shape, dtype=np.float64)


def log_probabilities(z):
    """log softmax over axis 1, by the formula."""
    return z - np.log(np.exp(z).sum(1, keepdims=True))


def gradient(loss, x):
    return mr.grad(loss, x)[0]


# ── cross entropy ──


def test_cross_entropy_is_the_mean_negative_log_probability():
    z, y = randn(5, 4), mr.tensor([0, 3, 1, 1, 2])
    expected = -log_probabilities(z.numpy())[np.arange(5), y.numpy()]
    np.testing.assert_allclose(F.cross_entropy(z, y).item(), expected.mean())
    np.testing.assert_allclose(F.cross_entropy(z, y, reduction="sum").item(), expected.sum())
    np.testing.assert_allclose(F.cross_entropy(z, y, reduction="none").numpy(), expected)


def test_cross_entropy_gradient_is_softmax_minus_one_hot():
    z, y = randn(3, 4).requires_grad_(), mr.tensor([2, 0, 3])
    expected = (F.softmax(z, 1).numpy() - np.eye(4)[y.numpy()]) / 3
    np.testing.assert_allclose(gradient(F.cross_entropy(z, y), z), expected)


def test_cross_entropy_weights_the_classes_and_the_mean():
    z, y, w = randn(4, 3), mr.tensor([0, 1, 1, 2]), mr.tensor(np.array([1.0, 2.0, 5.0]))
    each = -log_probabilities(z.numpy())[np.arange(4), y.numpy()] * w.numpy()[y.numpy()]
    np.testing.assert_allclose(F.cross_entropy(z, y, w, reduction="none").numpy(), each)
    np.testing.assert_allclose(F.cross_entropy(z, y, w).item(), each.sum() / (1 + 2 + 2 + 5))


def test_cross_entropy_skips_the_ignored_index_in_value_mean_and_gradient():
    z = randn(4, 3).requires_grad_()
    loss = F.cross_entropy(z, mr.tensor([0, -100, 2, -100]))
    kept = mr.tensor(z.numpy()[[0, 2]])
    np.testing.assert_allclose(loss.item(), F.cross_entropy(kept, mr.tensor([0, 2])).item())
    np.testing.assert_array_equal(gradient(loss, z)[[1, 3]], 0)
    each = F.cross_entropy(z, mr.tensor([0, 1, 2, 1]), ignore_index=1, reduction="none")
    np.testing.assert_array_equal(each.numpy()[[1, 3]], 0)


def test_label_smoothing_mixes_in_all_classes():
    z, y = randn(3, 4), mr.tensor([1, 0, 3])
    q = 0.9 * np.eye(4)[y.numpy()] + 0.1 / 4
    expected = -(q * log_probabilities(z.numpy())).sum(1).mean()
    np.testing.assert_allclose(F.cross_entropy(z, y, label_smoothing=0.1).item(), expected)
    ignored = F.cross_entropy(z, mr.tensor([1, -100, 3]), label_smoothing=0.1, reduction="none")
    assert ignored.numpy()[1] == 0


def test_cross_entropy_takes_probabilities():
    z, q = randn(3, 4), F.softmax(randn(3, 4), 1)
    expected = -(q.numpy() * log_probabilities(z.numpy())).sum(1).mean()
    np.testing.assert_allclose(F.cross_entropy(z, q).item(), expected)
    one_hot = F.one_hot(mr.tensor([1, 0, 3]), 4).double()
    np.testing.assert_allclose(F.cross_entropy(z, one_hot).item(), F.cross_entropy(z, mr.tensor([1, 0, 3])).item())


def test_cross_entropy_of_images_has_one_loss_for_each_pixel():
    z, y = randn(2, 3, 4, 5), mr.tensor(np.random.default_rng(0).integers(0, 3, (2, 4, 5)))
    each = F.cross_entropy(z, y, reduction="none")
    assert each.shape == (2, 4, 5)
    rows = mr.tensor(z.numpy().transpose(0, 2, 3, 1).reshape(-1, 3))
    np.testing.assert_allclose(each.numpy().ravel(), F.cross_entropy(rows, y.flatten(), reduction="none").numpy())


def test_cross_entropy_does_not_overflow():
    z = mr.tensor([[1000.0, -1000.0]], requires_grad=True)
    loss = F.cross_entropy(z, mr.tensor([1]))
    assert loss.item() == 2000
    np.testing.assert_array_equal(gradient(loss, z), [[1, -1]])


def test_labels_may_be_arrays_of_any_integer_type():
    z = randn(2, 3)
    expected = F.cross_entropy(z, mr.tensor([2, 0])).item()
    for dtype in (np.uint8, np.int32):
        assert F.cross_entropy(z, np.array([2, 0], dtype)).item() == expected


def test_cross_entropy_is_log_softmax_and_nll_loss():
    z, y, w = randn(4, 3, 2), mr.tensor([[0, 1], [2, 2], [-100, 0], [1, 1]]), mr.tensor(np.array([1.0, 2.0, 0.5]))
    for reduction in ("mean", "sum", "none"):
        both = F.cross_entropy(z, y, w, reduction=reduction), F.nll_loss(F.log_softmax(z, 1), y, w, reduction=reduction)
        np.testing.assert_allclose(both[0].numpy(), both[1].numpy(), rtol=1e-12)


def test_nll_loss_looks_at_the_target_alone():
    log_p = mr.tensor(np.array([[-1.0, -np.inf]]), requires_grad=True)
    loss = F.nll_loss(log_p, mr.tensor([0]))
    assert loss.item() == 1
    np.testing.assert_array_equal(gradient(loss, log_p), [[-1, 0]])


def test_mse_loss_and_its_reductions():
    x, y = mr.tensor([1.0, 2.0], requires_grad=True), mr.tensor([0.0, 4.0])
    assert F.mse_loss(x, y).item() == 2.5
    assert F.mse_loss(x, y, reduction="sum").item() == 5
    assert F.mse_loss(x, y, reduction="none").numpy().tolist() == [1, 4]
    np.testing.assert_array_equal(gradient(F.mse_loss(x, y), x), [1, -2])


# ── dropout ──


def test_dropout_keeps_the_mean_and_drops_the_share_p():
    mr.manual_seed(1)
    y = F.dropout(mr.ones(100_000), 0.3).numpy()
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.7)}
    assert abs((y == 0).mean() - 0.3) < 0.01  # 7 standard deviations
    assert abs(y.mean() - 1) < 0.01


def test_dropout_passes_the_gradient_where_it_passed_the_value():
    x = mr.randn(50).requires_grad_()
    y = F.dropout(x, 0.5)
    np.testing.assert_array_equal(gradient(y.sum(), x), np.where(y.numpy() == 0, 0, 2))


def test_dropout_is_the_identity_in_evaluation_and_zero_at_one():
    x = mr.randn(10)
    assert F.dropout(x, 0.5, training=False) is x
    assert F.dropout(x, 0) is x
    np.testing.assert_array_equal(F.dropout(x, 1).numpy(), np.zeros(10))
    assert F.dropout(x.double(), 0.5).dtype == np.float64


def test_dropout_repeats_with_the_seed():
    x = mr.ones(100)
    mr.manual_seed(3)
    first = F.dropout(x).numpy()
    assert not np.array_equal(first, F.dropout(x).numpy())
    mr.manual_seed(3)
    np.testing.assert_array_equal(first, F.dropout(x).numpy())


# ── pad, one-hot, pooling, activations ──


def test_pad_starts_from_the_last_axis():
    x = randn(1, 2, 3, 4)
    y = F.pad(x, (1, 2, 0, 3), value=7.0).numpy()
    np.testing.assert_array_equal(y, np.pad(x.numpy(), [(0, 0), (0, 0), (0, 3), (1, 2)], constant_values=7))


def test_negative_pad_crops_and_its_gradient_pads():
    x = randn(3, 4).requires_grad_()
    y = F.pad(x, (-1, 2, 1, -2))
    np.testing.assert_array_equal(y.numpy(), np.pad(x.numpy()[:1, 1:], [(1, 0), (0, 2)]))
    expected = np.zeros((3, 4))
    expected[:1, 1:] = 1
    np.testing.assert_array_equal(gradient(y.sum(), x), expected)


@given(shapes(1, 4, max_side=4), st.data())
def test_pad_from_the_inside_is_numpys(shape, data):
    mode, name = data.draw(st.sampled_from([("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")]))
    most = {"reflect": lambda n: n - 1, "replicate": lambda n: 5, "circular": lambda n: n}[mode]
    widths = [tuple(data.draw(st.integers(0, most(n))) for _ in range(2)) for n in shape]
    x, flat = distinct(shape, 0), [n for pair in reversed(widths) for n in pair]
    np.testing.assert_array_equal(F.pad(mr.tensor(x), flat, mode).numpy(), np.pad(x, widths, name))
    check_gradient(lambda x: F.pad(x, flat, mode), x, directions=1)


def test_a_crop_comes_before_a_circle_is_closed_but_after_a_reflection():
    x = mr.tensor([0.0, 1, 2, 3])
    assert F.pad(x, (-1, 2), "circular").tolist() == [1, 2, 3, 1, 2]
    assert F.pad(x, (-1, 2), "reflect").tolist() == [1, 2, 3, 2, 1]
    assert F.pad(x, (3, -3), "reflect").tolist() == [3, 2, 1, 0]
    assert F.pad(x, (2, -3), "replicate").tolist() == [0, 0, 0]


def test_one_hot():
    assert F.one_hot(mr.tensor([2, 0])).numpy().tolist() == [[0, 0, 1], [1, 0, 0]]
    y = F.one_hot(mr.tensor([[1], [0]]), 4)
    assert y.shape == (2, 1, 4)
    assert y.dtype == np.int64


def test_adaptive_average_pool_regions_cover_the_image():
    x = randn(2, 3, 5, 7)
    np.testing.assert_allclose(F.adaptive_avg_pool2d(x, 1).numpy()[..., 0, 0], x.numpy().mean((2, 3)))
    y = F.adaptive_avg_pool2d(x, (2, 3)).numpy()
    # rows 0–2 and 2–4; columns 0–2, 2–4 and 4–6
    np.testing.assert_allclose(y[:, :, 1, 1], x.numpy()[:, :, 2:5, 2:5].mean((2, 3)))
    np.testing.assert_allclose(F.adaptive_avg_pool2d(x, (5, 7)).numpy(), x.numpy())
    assert F.adaptive_avg_pool2d(x, 10).shape == (2, 3, 10, 10)


def test_average_pool_with_and_without_its_padding():
    x = mr.ones(1, 1, 2, 2)
    assert F.avg_pool2d(x, 2, padding=1).numpy().ravel().tolist() == [0.25] * 4
    assert F.avg_pool2d(x, 2, padding=1, count_include_pad=False).numpy().ravel().tolist() == [1] * 4


def test_pool_stride_defaults_to_the_window_and_sizes_are_floored():
    x = randn(1, 1, 7, 5)
    assert F.max_pool2d(x, 2).shape == F.avg_pool2d(x, 2).shape == (1, 1, 3, 2)
    assert F.max_pool2d(x, (3, 2), stride=(2, 1), padding=1).shape == (1, 1, 4, 6)


def test_max_pool_pads_with_minus_infinity():
    assert F.max_pool2d(-mr.ones(1, 1, 2, 2), 3, 1, 1).numpy().max() == -1


def test_conv2d_same_and_valid_padding():
    x, w = randn(1, 1, 6, 5), randn(1, 1, 3, 5)
    same = F.conv2d(x, w, padding="same")
    assert same.shape == (1, 1, 6, 5)
    np.testing.assert_array_equal(same.numpy(), F.conv2d(x, w, padding=(1, 2)).numpy())
    np.testing.assert_array_equal(F.conv2d(x, w, padding="valid").numpy(), F.conv2d(x, w).numpy())


def test_batch_norm_takes_running_statistics_as_tensors_too():
    x, mean, var = randn(4, 3), mr.zeros(3), mr.ones(3)
    F.batch_norm(x, mean, var, training=True, momentum=1.0)
    np.testing.assert_allclose(mean.numpy(), x.numpy().mean(0), rtol=1e-6)
    np.testing.assert_allclose(var.numpy(), x.numpy().var(0, ddof=1), rtol=1e-6)


def test_softmax_sums_to_one_along_its_axis_and_does_not_overflow():
    x = randn(3, 4) * 1000
    np.testing.assert_allclose(F.softmax(x, 0).numpy().sum(0), 1)
    np.testing.assert_allclose(F.softmax(x, -1).numpy().sum(1), 1)
    assert np.isfinite(F.log_softmax(x, 1).numpy()).all()


def test_relu_and_leaky_relu_at_zero():
    x = mr.tensor([-2.0, 0.0, 3.0], requires_grad=True)
    assert gradient(F.relu(x).sum(), x).tolist() == [0, 0, 1]
    assert F.leaky_relu(x, 0.5).numpy().tolist() == [-1, 0, 3]
    assert gradient(F.leaky_relu(x, 0.5).sum(), x).tolist() == [0.5, 0.5, 1]


@pytest.mark.parametrize("function", [F.relu, F.leaky_relu])
def test_inplace_is_accepted_and_leaves_the_input_alone(function):
    x = mr.tensor([-1.0, 1.0])
    function(x, inplace=True)
    assert x.numpy().tolist() == [-1, 1]


# ── resizing ──


@given(size=st.tuples(*[st.integers(1, 6)] * 2), target=st.tuples(*[st.integers(1, 9)] * 2))
def test_interpolate_takes_the_nearest_pixel_before(size, target):
    x = randn(2, 1, *size)
    rows, columns = ([i * n // m for i in range(m)] for n, m in zip(size, target))
    expected = x.numpy()[:, :, rows][..., columns]
    np.testing.assert_array_equal(F.interpolate(x, target).numpy(), expected)
    check_gradient(lambda x: F.interpolate(x, target), x.numpy())


def test_interpolate_by_a_factor():
    x = mr.arange(3.0).reshape(1, 1, 3)
    assert F.interpolate(x, scale_factor=2).array.tolist() == [[[0, 0, 1, 1, 2, 2]]]
    assert F.interpolate(x, 4).array.tolist() == [[[0, 0, 1, 2]]]
    wide = mr.arange(10.0).reshape(1, 1, 10)  # 10 · 0.55 = 5.5: steps of 1/0.55 = 1.82, or of 10/5 with the size's
    assert F.interpolate(wide, scale_factor=0.55).array.tolist() == [[[0, 1, 3, 5, 7]]]
    assert F.interpolate(wide, scale_factor=0.55, recompute_scale_factor=True).array.tolist() == [[[0, 2, 4, 6, 8]]]
    assert F.interpolate(x, scale_factor=1.3).array.tolist() == x.array.tolist()  # of a size that stays or doubles,
    assert F.interpolate(x, scale_factor=2.1).array.tolist() == [[[0, 0, 1, 1, 2, 2]]]  # PyTorch forgets the factor


@given(size=st.tuples(*[st.integers(1, 6)] * 2), target=st.tuples(*[st.integers(1, 6)] * 2), seed=seeds)
def test_adaptive_max_pool_is_the_largest_of_each_region(size, target, seed):
    x = distinct((2, 1, *size), seed)
    rows, columns = (
        [slice(math.floor(i * n / m), math.ceil((i + 1) * n / m)) for i in range(m)] for n, m in zip(size, target)
    )
    expected = np.array([[[[plane[r, c].max() for c in columns] for r in rows] for plane in image] for image in x])
    np.testing.assert_array_equal(F.adaptive_max_pool2d(mr.tensor(x), target).numpy(), expected)
    check_gradient(lambda x: F.adaptive_max_pool2d(x, target), x)


def test_adaptive_max_pool_gives_the_gradient_to_the_first_of_equals():
    x = mr.ones(1, 1, 2, 2, requires_grad=True)
    F.adaptive_max_pool2d(x, 1).backward(np.ones((1, 1, 1, 1), np.float32))
    assert x.grad.tolist() == [[[[1, 0], [0, 0]]]]
