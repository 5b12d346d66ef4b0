"""Bad arguments: each an error that names the function, what it got and what it wanted."""

import inspect
import re

import numpy as np
import pytest

import minires as mr
from minires import nn
from minires.nn import functional as F

x = mr.ones(2, 3, 8, 8)
logits = mr.zeros(2, 3)
labels = mr.tensor([0, 1])


def raises(error, *fragments):
    """Expect an error whose message contains all fragments in this order."""
    return pytest.raises(error, match="(?s)" + ".*".join(map(re_escape, fragments)))


def re_escape(text):
    return "".join(f"\\{c}" if c in r"\.^$*+?{}[]|()" else c for c in text)


BAD = {
    # convolution of sequences
    "no channels of sequences": (
        lambda: nn.Conv1d(8, 2, 3)(mr.zeros(3)),
        ValueError,
        "conv1d: got an input of shape (3,)",
        "(N, C, L) or (C, L)",
    ),
    "weight of images": (lambda: F.conv1d(x[0], mr.ones(2, 8, 1, 1)), ValueError, "conv1d: got", "shape (2, 8, 1, 1)"),
    "strides of two axes": (
        lambda: nn.Conv1d(3, 2, 3, (1, 1)),
        ValueError,
        "Conv1d: got stride=(1, 1)",
        "whole number",
    ),
    "channels of sequences": (lambda: nn.Conv1d(3, 2, 3)(x[0]), ValueError, "conv2d: got input (3, 8, 1, 8)"),
    # resizing
    "mode": (lambda: F.interpolate(x, 4, mode="bilinear"), ValueError, "interpolate: got mode='bilinear'", "nearest"),
    "corners": (lambda: nn.Upsample(4, align_corners=True)(x), ValueError, "interpolate: got", "align_corners=True"),
    "size and factor": (lambda: F.interpolate(x, 4, 2), ValueError, "interpolate: got size=4, scale_factor=2"),
    "no size": (lambda: F.interpolate(x), ValueError, "interpolate: got size=None, scale_factor=None"),
    "a size too many": (lambda: F.interpolate(x, (4, 4, 4)), ValueError, "interpolate: got size=(4, 4, 4)"),
    "size of 0": (lambda: F.interpolate(x, 0), ValueError, "interpolate: got size=0"),
    "fractional size": (lambda: F.interpolate(x, 4.5), ValueError, "interpolate: got size=4.5"),
    "resized to nothing": (lambda: F.interpolate(x, scale_factor=0.1), ValueError, "interpolate: got (8, 8)", "(0, 0)"),
    "nothing to resize": (lambda: F.interpolate(logits, 4), ValueError, "interpolate: got size=4"),
    "regions of nothing": (lambda: F.adaptive_max_pool2d(x, 0), ValueError, "adaptive_max_pool2d: got", "(0, 0)"),
    "channels of a row": (lambda: F.dropout2d(logits), ValueError, "dropout2d: got an input of shape (2, 3)"),
    "dropout2d's probability": (lambda: F.dropout2d(x, 2), ValueError, "dropout2d: got p=2"),
    "three paddings": (lambda: nn.ZeroPad2d((1, 2, 3)), ValueError, "ZeroPad2d: got padding=(1, 2, 3)"),
    "unflatten": (lambda: nn.Unflatten(1, (2, 2))(logits), ValueError, "reshape: got shape (2, 2, 2)"),
    "unflatten where": (lambda: nn.Unflatten(2, (2, 2))(logits), IndexError, "unflatten: got dim=2"),
    # convolution
    "channels": (
        lambda: nn.Conv2d(4, 8, 3)(x),
        ValueError,
        "conv2d: got input (2, 3, 8, 8) with 3 channels",
        "expects 4",
    ),
    "no channel axis": (
        lambda: nn.Conv2d(3, 8, 3)(x[0, 0]),
        ValueError,
        "conv2d: got an input of shape (8, 8)",
        "(N, C, H, W) or (C, H, W)",
    ),
    "no weight": (lambda: F.conv2d(x, None), TypeError, "conv2d: got a NoneType as weight", "expected a Tensor"),
    "a number as bias": (
        lambda: F.conv2d(x, mr.ones(1, 3, 1, 1), 2.0),
        TypeError,
        "conv2d: got a Tensor as weight",
        "a float as bias",
    ),
    "padding mode": (
        lambda: nn.Conv2d(3, 8, 3, padding_mode="mirror"),
        ValueError,
        "Conv2d: got padding_mode='mirror'",
        "reflect",
    ),
    "transposed padding": (
        lambda: nn.ConvTranspose2d(3, 8, 3, padding="same"),
        ValueError,
        "ConvTranspose2d: got padding='same'",
    ),
    "output size": (
        lambda: nn.ConvTranspose2d(3, 8, 3, 2)(x, (30, 30)),
        ValueError,
        "conv_transpose2d: got output_padding (13, 13)",
    ),
    "kernel too large": (
        lambda: nn.Conv2d(3, 8, 11, padding=1)(x),
        ValueError,
        "conv2d: the kernel is larger than the padded input along H",
        "8 + 2·1 has 10",
        "smaller kernel",
    ),
    "zero stride": (lambda: nn.Conv2d(3, 8, 3, stride=0), ValueError, "Conv2d: got", "stride (0, 0)", "at least 1"),
    "negative stride": (lambda: F.conv2d(x, mr.ones(1, 3, 1, 1), stride=-1), ValueError, "conv2d: got stride (-1, -1)"),
    "negative padding": (lambda: nn.Conv2d(3, 8, 3, padding=-1), ValueError, "Conv2d: got", "padding (-1, -1)"),
    "unknown padding": (lambda: nn.Conv2d(3, 8, 3, padding="full"), ValueError, "Conv2d: got padding='full'"),
    "same with stride": (
        lambda: nn.Conv2d(3, 8, 3, 2, padding="same"),
        ValueError,
        'Conv2d: got padding="same" with stride (2, 2)',
        "needs stride 1",
    ),
    "groups": (
        lambda: nn.Conv2d(3, 8, 3, groups=2),
        ValueError,
        "Conv2d: got groups=2 for 3 input",
        "must divide both",
    ),
    "groups, function": (
        lambda: F.conv2d(x, mr.ones(4, 1, 1, 1), groups=2),
        ValueError,
        "conv2d: got groups=2 for 3 input",
        "must divide both",
    ),
    "fractional channels": (
        lambda: nn.Conv2d(3, 16 / 2, 3),
        ValueError,
        "Conv2d: got out_channels=8.0",
        "whole number",
    ),
    "kernel of three": (lambda: nn.Conv2d(3, 8, (3, 3, 3)), ValueError, "Conv2d: got kernel_size=(3, 3, 3)", "a pair"),
    "fractional stride": (lambda: F.max_pool2d(x, 2, 1.5), ValueError, "max_pool2d: got stride=1.5", "whole number"),
    "integer images": (
        lambda: nn.Conv2d(3, 8, 3)(mr.tensor(np.zeros((1, 3, 8, 8), np.uint8))),
        TypeError,
        "conv2d: got an input of dtype uint8, expected floating point",
        "images.float() / 255",
    ),
    "integer rows": (lambda: nn.Linear(2, 2)(mr.tensor([[1, 2]])), TypeError, "linear: got an input of dtype int64"),
    "an array": (
        lambda: nn.Conv2d(3, 8, 3)(x.numpy()),
        TypeError,
        "conv2d: got an ndarray; expected a Tensor",
        "tensor(x)",
    ),
    "mixed types": (lambda: nn.Conv2d(3, 8, 3)(x.double()), TypeError, "Conv2d: got inputs of float64", "float32"),
    # linear
    "features": (lambda: nn.Linear(64, 10)(x), ValueError, "linear: got x (2, 3, 8, 8) and weight (10, 64)", "Flatten"),
    # batch norm
    "one value per channel": (
        lambda: nn.BatchNorm1d(3)(mr.ones(1, 3)),
        ValueError,
        "batch_norm: got one value per channel in training, input shape (1, 3)",
        "eval()",
    ),
    "norm channels": (
        lambda: nn.BatchNorm2d(4)(x),
        ValueError,
        "batch_norm: got weight of shape (4,) for input (2, 3, 8, 8); expected (3,)",
        "num_features",
    ),
    "norm channels, no weight": (
        lambda: nn.BatchNorm2d(4, affine=False)(x),
        ValueError,
        "batch_norm: got running_mean of shape (4,)",
        "expected (3,)",
    ),
    "norm channels, one": (
        lambda: nn.BatchNorm2d(4, affine=False)(x[:, :1]),
        ValueError,
        "batch_norm: got running_mean of shape (4,)",
        "expected (1,)",
    ),
    "norm axes": (lambda: nn.BatchNorm2d(3)(x[0]), ValueError, "BatchNorm2d: got an input of shape (3, 8, 8)", "4"),
    "norm axes, 1d": (
        lambda: nn.BatchNorm1d(3)(x),
        ValueError,
        "BatchNorm1d: got an input of shape (2, 3, 8, 8)",
        "2 or 3",
    ),
    "norm without statistics": (
        lambda: F.batch_norm(x, None, None),
        ValueError,
        "batch_norm: got no running statistics in evaluation",
        "training=True",
    ),
    "norm features": (lambda: nn.BatchNorm2d(0), ValueError, "BatchNorm2d: got num_features=0", "at least 1"),
    # pooling
    "window too large": (
        lambda: nn.MaxPool2d(9)(x),
        ValueError,
        "max_pool2d: the window 9 is larger",
        "8 + 2·0 along H",
    ),
    "pool stride": (lambda: nn.AvgPool2d(2, 0)(x), ValueError, "avg_pool2d: got", "stride (0, 0)", "at least 1"),
    "pool padding": (lambda: nn.MaxPool2d(2, padding=2)(x), ValueError, "max_pool2d: got padding 2 for a window of 2"),
    "pool size": (lambda: F.adaptive_avg_pool2d(x, 0), ValueError, "adaptive_avg_pool2d: got", "(0, 0)", "at least 1"),
    "mean of integers": (lambda: F.avg_pool2d(x.long(), 2), TypeError, "avg_pool2d: got an input of dtype int64"),
    "pool of nothing": (
        lambda: F.avg_pool2d(x[:, :0], 2),
        ValueError,
        "avg_pool2d: got an input of shape (2, 0, 8, 8)",
    ),
    # cross entropy
    "label too large": (
        lambda: F.cross_entropy(logits, mr.tensor([0, 3])),
        ValueError,
        "cross_entropy: got target 3 with 3 classes; indices run from 0 to 2",
        "target - 1",
    ),
    "label negative": (lambda: F.cross_entropy(logits, mr.tensor([-1, 0])), ValueError, "cross_entropy: got target -1"),
    "labels boolean": (
        lambda: F.cross_entropy(logits, labels == 1),
        TypeError,
        "cross_entropy: got targets of dtype bool",
        "target.long()",
    ),
    "labels floating": (
        lambda: F.cross_entropy(logits, labels.float()),
        ValueError,
        "cross_entropy: got floating-point targets of shape (2,) for logits (2, 3)",
        "target.long()",
    ),
    "labels in a column": (
        lambda: F.cross_entropy(logits, labels[:, None]),
        ValueError,
        "cross_entropy: got targets of shape (2, 1) for input (2, 3); expected (2,)",
    ),
    "too few labels": (
        lambda: F.cross_entropy(logits, labels[:1]),
        ValueError,
        "targets of shape (1,)",
        "expected (2,)",
    ),
    "an old name's value": (lambda: nn.MSELoss("sum"), TypeError, "MSELoss: got size_average='sum'", 'reduction="sum"'),
    "ignored probabilities": (
        lambda: F.cross_entropy(logits, mr.zeros(2, 3), ignore_index=1),
        ValueError,
        "cross_entropy: got ignore_index=1 with probabilities",
    ),
    "one running statistic": (
        lambda: F.batch_norm(logits, mr.zeros(3), None, training=True),
        ValueError,
        "batch_norm: got only one of running_mean and running_var",
    ),
    "integer logits": (
        lambda: F.cross_entropy(logits.long(), labels),
        TypeError,
        "cross_entropy: got an input of dtype int64",
    ),
    "class weights": (
        lambda: F.cross_entropy(logits, labels, mr.ones(2)),
        ValueError,
        "cross_entropy: got Tensor weight of shape (2,) for 3 classes; expected a Tensor of shape (3,)",
    ),
    "class weights to learn": (
        lambda: F.cross_entropy(logits, labels, mr.ones(3, requires_grad=True)),
        ValueError,
        "cross_entropy: got a weight that requires grad",
        "weight.detach()",
    ),
    "class weights in a list": (lambda: F.nll_loss(logits, labels, [1, 1, 1]), ValueError, "nll_loss: got list weight"),
    "smoothing": (
        lambda: F.cross_entropy(logits, labels, label_smoothing=2),
        ValueError,
        "label_smoothing=2",
        "0 and 1",
    ),
    "reduction": (
        lambda: F.cross_entropy(logits, labels, reduction="avg"),
        ValueError,
        "got reduction='avg'",
        '"mean"',
    ),
    "nll label": (lambda: F.nll_loss(logits, mr.tensor([0, 5])), ValueError, "nll_loss: got target 5 with 3 classes"),
    "mse shapes": (
        lambda: F.mse_loss(mr.ones(2, 1), mr.ones(2)),
        ValueError,
        "mse_loss: got shapes (2, 1) and (2,)",
        "equal",
    ),
    # the rest
    "dropout": (lambda: nn.Dropout(1.5), ValueError, "Dropout: got p=1.5", "between 0 and 1"),
    "dropout, function": (lambda: F.dropout(x, -0.1), ValueError, "dropout: got p=-0.1", "between 0 and 1"),
    "pad mode": (lambda: F.pad(x, (1, 1), mode="edge"), ValueError, "pad: got mode='edge'", "replicate"),
    "pad value": (lambda: F.pad(x, (1, 1), "reflect", 1.0), ValueError, "pad: got mode='reflect', value=1.0"),
    "pad odd": (lambda: F.pad(x, (1, 1, 1)), ValueError, "pad: got pad=(1, 1, 1)", "two whole numbers for each axis"),
    "pad a number": (lambda: F.pad(x, 1), ValueError, "pad: got pad=1 for shape (2, 3, 8, 8)", "two whole numbers"),
    "pad fractions": (lambda: F.pad(x, (0.5, 1)), ValueError, "pad: got pad=(0.5, 1)", "two whole numbers"),
    "pad an array": (lambda: F.pad(x.numpy(), (1, 1)), TypeError, "pad: got an ndarray; expected a Tensor"),
    "pad too many axes": (lambda: F.pad(logits, (1,) * 6), ValueError, "pad: got pad=(1, 1, 1, 1, 1, 1)"),
    "pad crops all": (lambda: F.pad(x, (-5, -5)), ValueError, "pad: got", "crop away more than there is"),
    "reflection too wide": (lambda: F.pad(x, (8, 0), "reflect"), ValueError, "pad: got 8 and 0", "for 8 entries"),
    "more than once round": (lambda: F.pad(x, (0, 9), "circular"), ValueError, "pad: got 0 and 9", "for 8 entries"),
    "edge of nothing": (
        lambda: F.pad(x[:, :, :0], (0, 0, 1, 0), "replicate"),
        ValueError,
        "pad: got 1 and 0",
        "0 entries",
    ),
    "reflection crops all": (lambda: F.pad(x, (-9, 0), "reflect"), ValueError, "pad: got -9 and 0"),
    "one_hot range": (
        lambda: F.one_hot(mr.tensor([3]), 3),
        ValueError,
        "one_hot: got indices from 3 to 3 for 3",
        "0 to 2",
    ),
    "one_hot negative": (
        lambda: F.one_hot(mr.tensor([-1, 1])),
        ValueError,
        "one_hot: got indices from -1 to 1",
        "0 to 1",
    ),
    "one_hot floats": (lambda: F.one_hot(logits), TypeError, "one_hot: got class indices of dtype float32", "long()"),
    "one_hot of nothing": (lambda: F.one_hot(labels[:0]), ValueError, "one_hot: got num_classes=-1", "shape (0,)"),
    "softmax of integers": (lambda: F.softmax(labels, 0), TypeError, "softmax: got an input of dtype int64"),
    "fan mode": (
        lambda: nn.init.kaiming_normal_(logits, mode="in"),
        ValueError,
        "kaiming_normal_: got mode='in'",
        "fan_in",
    ),
    "fan of a vector": (lambda: nn.init.xavier_normal_(mr.ones(3)), ValueError, "fans: got a weight of shape (3,)"),
    "gain": (lambda: nn.init.calculate_gain("gelu"), ValueError, "calculate_gain: got 'gelu'", "relu"),
}


@pytest.mark.parametrize("call, error, fragments", [(c, e, f) for c, e, *f in BAD.values()], ids=list(BAD))
def test_bad_input_is_explained(call, error, fragments):
    with raises(error, *fragments):
        call()


def test_a_batch_norm_that_fails_keeps_its_statistics():
    norm = nn.BatchNorm2d(3)
    with pytest.raises(ValueError, match="one value per channel"):
        norm(mr.ones(1, 3, 1, 1))
    assert norm.num_batches_tracked == 0
    np.testing.assert_array_equal(norm.running_mean, 0)


@pytest.mark.parametrize(("x", "w"), [((2, 0, 5, 5), (3, 0, 3, 3)), ((2, 3, 5, 5), (0, 3, 3, 3))])
def test_a_convolution_without_channels_is_named(x, w):
    with pytest.raises(ValueError, match=r"conv2d: .* at least one channel"):
        F.conv2d(mr.zeros(*x), mr.zeros(*w))


SIZES = [None, "2", 1.5, (), (2, 2, 2), -1, 0, mr.zeros(2)]


@pytest.mark.parametrize("size", SIZES, ids=repr)
@pytest.mark.parametrize(
    "name", ["kernel_size", "stride", "padding", "dilation", "output_size", "groups", "output_padding"]
)
def test_whatever_is_given_for_a_size_either_works_or_is_explained(name, size):
    """No raw error of Python or NumPy: every message begins with the name of a function."""
    weight = mr.ones(3, 3, 2, 2)
    calls = {
        "max_pool2d": lambda **given: F.max_pool2d(x, **{"kernel_size": 2} | given),
        "avg_pool2d": lambda **given: F.avg_pool2d(x, **{"kernel_size": 2} | given),
        "max_pool1d": lambda **given: F.max_pool1d(x[0], **{"kernel_size": 2} | given),
        "avg_pool1d": lambda **given: F.avg_pool1d(x[0], **{"kernel_size": 2} | given),
        "adaptive_avg_pool2d": lambda **given: F.adaptive_avg_pool2d(x, **given),
        "adaptive_max_pool2d": lambda **given: F.adaptive_max_pool2d(x, **given),
        "adaptive_avg_pool1d": lambda **given: F.adaptive_avg_pool1d(x[0], **given),
        "conv2d": lambda **given: F.conv2d(x, weight, **given),
        "conv1d": lambda **given: F.conv1d(x[0], weight[:, :, 0], **given),
        "conv_transpose2d": lambda **given: F.conv_transpose2d(x, weight, **given),
    }
    tried = 0
    for function, call in calls.items():
        if name in inspect.signature(getattr(F, function)).parameters:
            tried += 1
            try:
                call(**{name: size})
            except (ValueError, TypeError) as error:
                assert re.match(rf"{function[:-2]}[12]d: (got|the) ", str(error)), f"{function}: {error!r}"
    assert tried
