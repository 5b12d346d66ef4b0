"""Layers: what they hold, what they compute, how they print."""

import numpy as np
import pytest

import minires as mr
from minires import nn
from minires.nn import functional as F
from minires.testing import gradcheck


def test_conv2d_holds_weight_and_bias_and_calls_the_function():
    conv = nn.Conv2d(4, 6, (3, 1), stride=(2, 1), padding=(1, 0), dilation=1, groups=2)
    assert [(name, p.shape) for name, p in conv.named_parameters()] == [("weight", (6, 2, 3, 1)), ("bias", (6,))]
    x = mr.randn(2, 4, 7, 5)
    expected = F.conv2d(x, conv.weight, conv.bias, (2, 1), (1, 0), 1, 2)
    np.testing.assert_array_equal(conv(x).numpy(), expected.numpy())
    assert nn.Conv2d(1, 1, 1, bias=False).bias is None


def test_conv1d_is_a_sum_over_the_kernel():
    conv, x = nn.Conv1d(2, 3, 3, padding=1).double(), mr.randn(4, 2, 5, dtype=mr.float64)
    padded, weight = np.pad(x.array, ((0, 0), (0, 0), (1, 1))), conv.weight.array
    expected = sum(np.einsum("ncl,oc->nol", padded[:, :, k : k + 5], weight[:, :, k]) for k in range(3))
    np.testing.assert_allclose(conv(x).array, expected + conv.bias.array[:, None])
    gradcheck(conv, x)


@pytest.mark.parametrize("mode, name", [("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")])
@pytest.mark.parametrize("padding", [(2, 1), "same"])
def test_a_convolution_may_pad_from_the_inside(mode, name, padding):
    conv, x = (
        nn.Conv2d(2, 3, (2, 4), padding=padding, padding_mode=mode).double(),
        mr.randn(2, 2, 5, 6, dtype=mr.float64),
    )
    widths = [(0, 0), (0, 0), *([(0, 1), (1, 2)] if padding == "same" else [(2, 2), (1, 1)])]
    expected = F.conv2d(mr.tensor(np.pad(x.array, widths, name)), conv.weight, conv.bias)
    np.testing.assert_allclose(conv(x).array, expected.array, rtol=1e-12, atol=1e-12)
    gradcheck(conv, x)


def test_a_transposed_convolution_takes_the_size_it_shall_reach():
    conv, x = nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1), mr.randn(1, 3, 4, 4)
    assert conv(x).shape == (1, 2, 7, 7)
    assert conv(x, (8, 7)).shape == conv(x, (1, 2, 8, 7)).shape == (1, 2, 8, 7)
    assert nn.summary(conv, (3, 4, 4)).macs == 3 * 4 * 4 * 2 * 9


@pytest.mark.parametrize("layer", [nn.Conv2d(8, 50, 3), nn.Linear(72, 50), nn.Conv1d(24, 50, 3)])
def test_weights_start_uniform_within_one_over_root_fan_in(layer):
    bound = 1 / np.sqrt(72)
    for p in layer.parameters():
        assert np.abs(p.numpy()).max() <= bound
    weight = layer.weight.numpy()
    assert np.abs(weight).max() > 0.95 * bound
    np.testing.assert_allclose(weight.std(), bound / np.sqrt(3), rtol=0.05)


def test_linear_maps_the_last_axis():
    layer = nn.Linear(3, 2)
    x = mr.randn(4, 5, 3)
    expected = x.numpy() @ layer.weight.numpy().T + layer.bias.numpy()
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-5)


def test_batch_norm_normalises_with_the_biased_and_remembers_the_unbiased_variance():
    norm = nn.BatchNorm2d(3).double()
    x = mr.randn(4, 3, 2, 2, dtype=mr.float64)
    a = x.numpy()
    y = norm(x).numpy()
    mean, var = a.mean((0, 2, 3)), a.var((0, 2, 3))
    np.testing.assert_allclose(y, (a - mean[:, None, None]) / np.sqrt(var + 1e-5)[:, None, None])
    np.testing.assert_allclose(norm.running_mean, 0.1 * mean)
    np.testing.assert_allclose(norm.running_var, 0.9 + 0.1 * var * 16 / 15)
    assert norm.num_batches_tracked == 1


def test_batch_norm_in_evaluation_uses_and_keeps_the_running_statistics():
    norm = nn.BatchNorm1d(2).eval()
    norm.load_state_dict({**norm.state_dict(), "running_mean": np.array([1, 2]), "running_var": np.array([4, 9])})
    before = norm.state_dict()
    y = norm(mr.tensor([[3.0, 5.0]]))
    np.testing.assert_allclose(y.numpy(), [[1, 1]], rtol=1e-5)
    assert all(np.array_equal(before[name], array) for name, array in norm.state_dict().items())


def test_batch_norm_without_momentum_averages_over_all_batches():
    norm = nn.BatchNorm1d(2, momentum=None).double()
    batches = [mr.randn(5, 2, dtype=mr.float64) for _ in range(3)]
    for x in batches:
        norm(x)
    np.testing.assert_allclose(norm.running_mean, np.mean([x.numpy().mean(0) for x in batches], 0))
    np.testing.assert_allclose(norm.running_var, np.mean([x.numpy().var(0, ddof=1) for x in batches], 0))


def test_batch_norm_without_running_statistics_always_uses_the_batch():
    norm = nn.BatchNorm1d(2, affine=False, track_running_stats=False).eval()
    assert norm.state_dict() == {}
    np.testing.assert_allclose(norm(mr.randn(50, 2)).numpy().mean(0), 0, atol=1e-6)


def test_one_row_in_evaluation_without_running_statistics_is_named_as_what_it_is():
    for norm, shape in ((nn.BatchNorm1d(2, track_running_stats=False), (1, 2)),
                        (nn.BatchNorm2d(2, track_running_stats=False), (1, 2, 1, 1))):  # fmt: skip
        with pytest.raises(ValueError, match=r"one value per channel.*in evaluation without running statistics"):
            norm.eval()(mr.ones(*shape))
        with pytest.raises(ValueError, match="one value per channel in training"):
            norm.train()(mr.ones(*shape))


def test_tracking_that_is_switched_off_later_leaves_the_statistics_as_they_are():
    """As in PyTorch: training uses the batch's and remembers nothing, evaluation uses what was remembered before."""
    norm, x = nn.BatchNorm1d(2).double(), mr.randn(5, 2, dtype=mr.float64)
    norm(x)
    before = norm.state_dict()
    norm.track_running_stats = False
    y = norm(mr.tensor(3 * x.array + 1)).numpy()
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-12)
    assert before["num_batches_tracked"] == 1
    assert all(np.array_equal(before[name], array) for name, array in norm.state_dict().items())
    mean, var = before["running_mean"], before["running_var"]
    np.testing.assert_allclose(norm.eval()(x).numpy(), (x.array - mean) / np.sqrt(var + 1e-5))
    norm.train().track_running_stats = True
    norm(x)
    assert norm.num_batches_tracked == 2


def test_batch_norm_1d_takes_sequences():
    y = nn.BatchNorm1d(3)(mr.randn(4, 3, 5)).numpy()
    np.testing.assert_allclose(y.mean((0, 2)), 0, atol=1e-6)


@pytest.mark.parametrize(
    "layer, function",
    [
        (nn.Identity(), lambda x: x),
        (nn.ReLU(inplace=True), F.relu),
        (nn.LeakyReLU(0.2), lambda x: F.leaky_relu(x, 0.2)),
        (nn.Sigmoid(), F.sigmoid),
        (nn.Tanh(), F.tanh),
        (nn.Flatten(), lambda x: x.reshape(2, -1)),
        (nn.Flatten(2), lambda x: x.reshape(2, 3, -1)),
        (nn.MaxPool2d(3, 2, 1), lambda x: F.max_pool2d(x, 3, 2, 1)),
        (nn.MaxPool2d(2), lambda x: F.max_pool2d(x, 2, 2)),
        (nn.AvgPool2d(3, 2, 1), lambda x: F.avg_pool2d(x, 3, 2, 1)),
        (nn.AvgPool2d(3, 1, 1, count_include_pad=False), lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)),
        (nn.AdaptiveAvgPool2d((1, 2)), lambda x: F.adaptive_avg_pool2d(x, (1, 2))),
        (nn.AdaptiveMaxPool2d((4, 5)), lambda x: F.adaptive_max_pool2d(x, (4, 5))),
        (nn.Dropout(0.5).eval(), lambda x: x),
        (nn.Dropout2d(0.5).eval(), lambda x: x),
        (nn.ZeroPad2d(2), lambda x: F.pad(x, (2, 2, 2, 2))),
        (nn.ZeroPad2d((1, 0, -2, 3)), lambda x: F.pad(x, (1, 0, -2, 3))),
        (nn.Unflatten(-1, (2, -1)), lambda x: x.reshape(2, 3, 6, 2, 3)),
        (nn.Unflatten(1, [3, 1]), lambda x: x.reshape(2, 3, 1, 6, 6)),
        (nn.Upsample((5, 8)), lambda x: F.interpolate(x, (5, 8))),
        (nn.Upsample(scale_factor=2), lambda x: F.interpolate(x, scale_factor=2)),
        (nn.Upsample(None, (1.5, 2), "nearest"), lambda x: F.interpolate(x, scale_factor=(1.5, 2))),
    ],
    ids=lambda value: repr(value) if isinstance(value, nn.Module) else "",
)
def test_layers_without_parameters_call_their_function(layer, function):
    x = mr.randn(2, 3, 6, 6)
    np.testing.assert_array_equal(layer(x).numpy(), function(x).numpy())
    assert layer.state_dict() == {}


def test_dropout_drops_in_training_alone():
    drop = nn.Dropout(0.5)
    assert (drop(mr.ones(100)).numpy() == 0).any()
    drop.eval()
    np.testing.assert_array_equal(drop(mr.ones(100)).numpy(), 1)


def test_dropout_2d_drops_whole_channels():
    mr.manual_seed(0)
    drop = nn.Dropout2d(0.25)
    y = drop(mr.ones(40, 50, 3, 2)).numpy()
    assert (y == y[:, :, :1, :1]).all()
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((y[:, :, 0, 0] == 0).mean() - 0.25) < 0.05  # 5 standard deviations


def test_losses_call_their_functions():
    z, y, w = mr.randn(4, 3), mr.tensor([0, 2, 1, 1]), mr.tensor([1.0, 2.0, 3.0])
    assert nn.CrossEntropyLoss()(z, y).item() == F.cross_entropy(z, y).item()
    loss = nn.CrossEntropyLoss(w, ignore_index=1, reduction="sum", label_smoothing=0.1)
    assert loss(z, y).item() == F.cross_entropy(z, y, w, None, 1, None, "sum", 0.1).item()
    assert nn.NLLLoss(w, None, 1, None, "sum")(z, y).item() == F.nll_loss(z, y, w, None, 1, None, "sum").item()
    assert (
        nn.MSELoss(size_average=False)(z, z + 1).item()
        == nn.MSELoss(reduction="sum")(z, z + 1).item()
        == pytest.approx(12)
    )


def test_class_weights_move_with_the_loss():
    assert nn.CrossEntropyLoss(mr.ones(3)).double().weight.dtype == np.float64
    assert list(nn.CrossEntropyLoss().parameters()) == []


@pytest.mark.parametrize(
    "layer, text",
    [
        (nn.Conv2d(3, 8, 3), "Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))"),
        (
            nn.Conv2d(4, 8, 3, 2, "valid", 2, 4, bias=False),
            "Conv2d(4, 8, kernel_size=(3, 3), stride=(2, 2), padding=valid, dilation=(2, 2), groups=4, bias=False)",
        ),
        (
            nn.BatchNorm2d(8),
            "BatchNorm2d(8, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)",
        ),
        (
            nn.BatchNorm1d(8, affine=False, track_running_stats=False),
            "BatchNorm1d(8, eps=1e-05, momentum=0.1, affine=False, bias=False, track_running_stats=False)",
        ),
        (nn.Linear(3, 2, bias=False), "Linear(in_features=3, out_features=2, bias=False)"),
        (nn.MaxPool2d(3, 2, 1), "MaxPool2d(kernel_size=3, stride=2, padding=1, dilation=1, ceil_mode=False)"),
        (nn.AvgPool2d(2), "AvgPool2d(kernel_size=2, stride=2, padding=0)"),
        (nn.AdaptiveAvgPool2d(1), "AdaptiveAvgPool2d(output_size=1)"),
        (nn.LeakyReLU(0.2), "LeakyReLU(negative_slope=0.2)"),
        (nn.Dropout(0.1), "Dropout(p=0.1, inplace=False)"),
        (nn.ReLU(), "ReLU()"),
    ],
)
def test_repr_gives_the_arguments(layer, text):
    assert repr(layer) == text
