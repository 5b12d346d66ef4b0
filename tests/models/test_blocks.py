"""Blocks: out = branch + shortcut, and the three shortcuts."""

import numpy as np
import pytest

import minires as mr
from minires import models, nn
from minires.models.blocks import make_shortcut

PAIRS = [
    (models.ResidualBlock, models.PlainBlock),
    (models.PreActBlock, models.PlainPreActBlock),
    (models.Bottleneck, models.PlainBottleneck),
]


def randn(*shape):
    return mr.randn(*shape, dtype=mr.float64)


def shapes(module):
    return {name: array.shape for name, array in module.state_dict().items()}


# ── shortcuts ──


def test_option_a_takes_every_second_pixel_and_pads_channels_with_zeros():
    x = randn(2, 3, 5, 7)
    y = models.PadShortcut(3, 8, 2)(x).numpy()
    assert y.shape == (2, 8, 3, 4)
    np.testing.assert_array_equal(y[:, 2:5], x.numpy()[:, :, ::2, ::2])  # five new channels: two below, three above
    assert not y[:, :2].any()
    assert not y[:, 5:].any()


def test_option_a_cannot_remove_channels():
    with pytest.raises(ValueError, match=r"PadShortcut: got 8 -> 4 channels; .*shortcut=\"B\""):
        models.PadShortcut(8, 4)


@pytest.mark.parametrize(
    "option, changes, kind",
    [
        ("A", False, type(None)),
        ("A", True, models.PadShortcut),
        ("B", False, type(None)),
        ("B", True, nn.Sequential),
        ("C", False, nn.Sequential),
        ("C", True, nn.Sequential),
    ],
)
def test_which_option_projects_where(option, changes, kind):
    assert type(make_shortcut(option, 4, 8 if changes else 4, 2 if changes else 1)) is kind


def test_a_change_of_stride_or_of_channels_alone_needs_a_shortcut_too():
    assert isinstance(make_shortcut("A", 4, 4, 2), models.PadShortcut)
    assert isinstance(make_shortcut("B", 4, 8, 1), nn.Sequential)


def test_a_projection_is_a_1x1_convolution_with_batch_norm():
    projection = make_shortcut("B", 4, 8, 2)
    assert shapes(projection)["0.weight"] == (8, 4, 1, 1)
    assert projection(mr.randn(2, 4, 5, 5)).shape == (2, 8, 3, 3)
    assert isinstance(make_shortcut("B", 4, 8, 2, norm=False), nn.Conv2d)


# ── blocks ──


@pytest.mark.parametrize("shortcut", "ABC")
@pytest.mark.parametrize("block", [models.ResidualBlock, models.Bottleneck])
def test_the_output_is_branch_plus_shortcut(block, shortcut):
    b = block(4, 4, 2, shortcut).double().eval()
    x = randn(2, 4, 7, 6)
    expected = (b.branch(x) + b.downsample(x)).relu()
    assert expected.shape == (2, 4 * block.expansion, 4, 3)
    np.testing.assert_array_equal(b(x).numpy(), expected.numpy())


def test_an_identity_block_adds_its_input():
    block = models.ResidualBlock(4, 4).double().eval()
    x = randn(2, 4, 5, 5)
    np.testing.assert_array_equal(block(x).numpy(), (block.branch(x) + x).relu().numpy())


def test_the_gradient_of_the_input_is_branch_plus_shortcut():
    block = models.PreActBlock(4, 4).double()
    x = randn(2, 4, 5, 5).requires_grad_()
    out = block(x)
    g = np.random.default_rng(0).standard_normal(out.shape)
    (total,) = mr.grad(out, x, g)
    block.zero_branch()
    (skip,) = mr.grad(block(x), x, g)
    np.testing.assert_array_equal(skip, g)  # the identity returns it unchanged
    assert np.abs(total - skip).max() > 0.1


def test_a_preactivation_projection_starts_from_the_activated_input():
    block = models.PreActBlock(4, 8, 2, "B").double().eval()
    assert isinstance(block.downsample, nn.Conv2d)  # no norm behind it
    x = randn(2, 4, 6, 6)
    active = block.bn1(x).relu()
    np.testing.assert_array_equal(block(x).numpy(), (block.branch(active) + block.downsample(active)).numpy())
    padded = models.PreActBlock(4, 8, 2, "A").double().eval()
    active = padded.bn1(x).relu()
    np.testing.assert_array_equal(padded(x).numpy(), (padded.branch(active) + padded.downsample(x)).numpy())


@pytest.mark.parametrize("residual, plain", PAIRS)
@pytest.mark.parametrize("stride", [1, 2])
def test_a_plain_block_has_the_names_and_shapes_of_its_twin(residual, plain, stride):
    assert shapes(plain(4, 8, stride)) == shapes(residual(4, 8, stride, "A"))
    assert plain.expansion == residual.expansion
    assert plain.preact == residual.preact


@pytest.mark.parametrize("residual, plain", PAIRS)
def test_a_plain_block_is_the_branch_alone(residual, plain):
    p, r = plain(4, 8, 2).double().eval(), residual(4, 8, 2, "A").double().eval()
    p.load_state_dict(r.state_dict())
    x = randn(2, 4, 6, 6)
    out = p(x)
    assert out.shape == r(x).shape
    branch = r.branch(r.bn1(x).relu()) if r.preact else r.branch(x).relu()
    np.testing.assert_array_equal(out.numpy(), branch.numpy())


@pytest.mark.parametrize("residual, plain", PAIRS)
def test_a_zeroed_branch_leaves_the_shortcut(residual, plain):
    block = residual(4, 8, 2, "A")
    block.zero_branch()
    x = mr.randn(2, 4, 6, 6)
    shortcut = block.downsample(x)
    np.testing.assert_array_equal(block(x).numpy(), (shortcut if block.preact else shortcut.relu()).numpy())


def test_the_stride_of_a_bottleneck_is_in_its_3x3_convolution():
    block = models.Bottleneck(4, 4, 2)
    assert [conv.stride for conv in (block.conv1, block.conv2, block.conv3)] == [(1, 1), (2, 2), (1, 1)]
