"""Layers against PyTorch: the same constructor call, the same names, weights exchanged, equal behaviour over time."""

import inspect

import numpy as np
import pytest

import minires as mr
from minires import nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is needed only to compare with it")

CALLS = [
    ("Conv1d", (3, 6, 3), {}, (2, 3, 7)),
    ("Conv1d", (4, 6, (2,)), dict(stride=2, padding=(1,), dilation=3, groups=2, bias=False), (2, 4, 9)),
    ("Conv1d", (3, 6, 3, 1, "same", 2), {}, (2, 3, 7)),
    ("Conv2d", (3, 6, 3), {}, (2, 3, 7, 6)),
    ("Conv2d", (4, 6, (3, 2)), dict(stride=2, padding=(1, 0), dilation=(1, 2), groups=2, bias=False), (2, 4, 7, 6)),
    ("Conv2d", (3, 6, 3, 1, "same"), {}, (2, 3, 7, 6)),
    ("Conv2d", (3, 6, (2, 4), 1, "same"), {}, (2, 3, 7, 6)),
    ("Conv2d", (3, 6, (2, 4), 1, "same"), dict(padding_mode="reflect"), (2, 3, 7, 6)),
    ("Conv2d", (3, 6, 3, 2, (2, 1)), dict(padding_mode="replicate"), (2, 3, 7, 6)),
    ("Conv2d", (3, 6, 3, 1, 1), dict(padding_mode="circular"), (3, 7, 6)),
    ("Conv1d", (3, 6, 3, 1, 1), dict(padding_mode="circular"), (2, 3, 7)),
    ("Conv1d", (3, 6, 4, 1, "same"), dict(padding_mode="reflect"), (3, 7)),
    ("ConvTranspose2d", (4, 6, 3), {}, (2, 4, 5, 6)),
    ("ConvTranspose2d", (4, 6, (3, 2), 2, (1, 0), 1, 2, False, (1, 2)), {}, (2, 4, 5, 6)),
    ("ConvTranspose2d", (4, 6, 3, 2), {}, (4, 5, 6)),
    ("Linear", (5, 4), {}, (3, 2, 5)),
    ("Linear", (5, 4, False), {}, (3, 5)),
    ("BatchNorm1d", (3,), {}, (6, 3)),
    ("BatchNorm1d", (3, 1e-3, 0.3), {}, (6, 3, 4)),
    ("BatchNorm2d", (3,), {}, (4, 3, 2, 3)),
    ("BatchNorm2d", (3,), dict(momentum=None), (4, 3, 2, 3)),
    ("BatchNorm2d", (3,), dict(affine=False), (4, 3, 2, 3)),
    ("BatchNorm2d", (3,), dict(track_running_stats=False), (4, 3, 2, 3)),
    ("ReLU", (), {}, (3, 4)),
    ("LeakyReLU", (0.2,), {}, (3, 4)),
    ("Sigmoid", (), {}, (3, 4)),
    ("Tanh", (), {}, (3, 4)),
    ("Identity", (), {}, (3, 4)),
    ("Flatten", (), {}, (2, 3, 4, 5)),
    ("Flatten", (2, 3), {}, (2, 3, 4, 5)),
    ("MaxPool2d", (3, 2, 1), {}, (2, 3, 7, 6)),
    ("MaxPool2d", (3, 2, 1, 2, False, True), {}, (2, 3, 7, 6)),
    ("MaxPool2d", ((2, 3),), {}, (3, 7, 6)),
    ("MaxPool1d", (3, 2, 1, 2, False, True), {}, (2, 3, 7)),
    ("MaxPool1d", (2,), {}, (3, 7)),
    ("AvgPool1d", (3, 2, 1, True, False), {}, (2, 3, 7)),
    ("AvgPool1d", (3,), {}, (3, 7)),
    ("AvgPool2d", (3, 2, 1), {}, (2, 3, 7, 6)),
    ("AvgPool2d", (3, 2, 1, True, True, 5), {}, (3, 7, 6)),
    ("AvgPool2d", (2,), dict(padding=1, count_include_pad=False), (2, 3, 7, 6)),
    ("AdaptiveAvgPool2d", ((2, 3),), {}, (2, 3, 7, 6)),
    ("AdaptiveAvgPool2d", ((None, 3),), {}, (3, 7, 6)),
    ("AdaptiveAvgPool1d", (3,), {}, (2, 3, 7)),
    ("AdaptiveMaxPool1d", (3,), {}, (2, 3, 7)),
    ("ZeroPad2d", ((1, 2, 0, 1),), {}, (2, 3, 7, 6)),
    ("ReflectionPad2d", (2,), {}, (2, 3, 7, 6)),
    ("ReplicationPad2d", ((1, 2, 0, 7),), {}, (3, 7, 6)),
    ("CircularPad2d", ((1, 2, 0, 7),), {}, (2, 3, 7, 6)),
    ("Dropout", (0.0,), {}, (3, 4)),
    ("Dropout2d", (0.0,), {}, (2, 3, 4, 5)),
    ("BatchNorm2d", (3,), dict(bias=False), (4, 3, 2, 3)),
    ("InstanceNorm2d", (3,), {}, (4, 3, 2, 3)),
    ("InstanceNorm2d", (3, 1e-3, 0.3, True, True), {}, (4, 3, 2, 3)),
    ("InstanceNorm2d", (3, 1e-3, None, True, True), dict(bias=False), (4, 3, 2, 3)),
    ("InstanceNorm2d", (3,), dict(affine=True), (3, 4, 5)),
    ("GroupNorm", (2, 6), {}, (4, 6, 2, 3)),
    ("GroupNorm", (2, 6, 1e-3), dict(bias=False), (4, 6)),
    ("GroupNorm", (2, 6), dict(affine=False), (4, 6, 2)),
    ("LayerNorm", (5,), {}, (2, 3, 5)),
    ("LayerNorm", ((3, 5), 1e-3), dict(bias=False), (2, 3, 5)),
    ("LayerNorm", ((5,),), dict(elementwise_affine=False), (2, 3, 5)),
    ("Softmax", (1,), {}, (3, 4)),
    ("LogSoftmax", (-1,), {}, (3, 4)),
    ("ReLU6", (), {}, (9, 4)),
    ("GELU", (), {}, (9, 4)),
    ("GELU", ("tanh",), {}, (9, 4)),
    ("SiLU", (), {}, (9, 4)),
    ("ELU", (0.3,), {}, (9, 4)),
    ("PReLU", (), {}, (9, 4)),
    ("PReLU", (3, 0.1), {}, (9, 3, 4)),
    ("Hardswish", (), {}, (9, 4)),
    ("ZeroPad2d", (1,), {}, (2, 3, 4, 5)),
    ("ZeroPad2d", ((1, 2, -1, 0),), {}, (2, 3, 4, 5)),
    ("Unflatten", (1, (2, -1)), {}, (3, 4, 2)),
    ("Upsample", ((5, 3),), {}, (2, 3, 4, 6)),
    ("Upsample", ((22, 46),), {}, (1, 1, 26, 14)),  # where ⌊i·n/n′⌋ depends on the type that it is computed in
    ("Upsample", (), dict(scale_factor=2), (2, 3, 4, 6)),
    ("Upsample", (), dict(scale_factor=(1.7, 0.6)), (2, 3, 4, 6)),
    ("Upsample", (), dict(scale_factor=1.7, recompute_scale_factor=True), (2, 3, 4)),
    ("AdaptiveMaxPool2d", ((2, 3),), {}, (2, 3, 7, 6)),
    ("AdaptiveMaxPool2d", (1,), {}, (2, 3, 7, 6)),
]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name, args, options, shape", CALLS, ids=[f"{c[0]}{c[1]}{c[2] or ''}" for c in CALLS])
def test_a_layer_trains_and_evaluates_alike(agree, randn, name, args, options, shape):
    ours = getattr(nn, name)(*args, **options).double()
    theirs = getattr(torch.nn, name)(*args, **options).double()
    names_and_shapes = [(n, tuple(a.shape)) for n, a in theirs.state_dict().items()]
    assert [(n, a.shape) for n, a in ours.state_dict().items()] == names_and_shapes
    ours.load_state_dict({n: randn(*a.shape) if a.ndim else a for n, a in theirs.state_dict().items()})
    for n, a in ours.state_dict().items():
        a[...] = abs(a) if n == "running_var" else a
        theirs.state_dict()[n].copy_(torch.tensor(a))
        ours.load_state_dict({n: a}, strict=False)
    for mode in (True, True, False):
        ours.train(mode)
        theirs.train(mode)
        agree(ours, theirs, randn(*shape))
        for a, b in zip(ours.parameters(), theirs.parameters()):
            np.testing.assert_allclose(a.grad, b.grad.numpy(), rtol=1e-9, atol=1e-10)
        for n, a in ours.state_dict().items():
            np.testing.assert_allclose(a, theirs.state_dict()[n].numpy(), rtol=1e-12, atol=1e-12)


IN_PLACE = [(name, (), dict(inplace=True)) for name in ("ReLU", "ReLU6", "LeakyReLU", "ELU", "SiLU", "Hardswish")]


@pytest.mark.parametrize("name, args, options", [c[:3] for c in CALLS] + IN_PLACE + [("Dropout", (0.1, True), {})])
def test_a_layer_is_shown_alike(name, args, options):
    theirs = repr(getattr(torch.nn, name)(*args, **options))
    assert repr(getattr(nn, name)(*args, **options)) == theirs


def test_containers_are_shown_alike():
    def shown(nn, zeros):
        layers = nn.Sequential(nn.Linear(1, 2), nn.ModuleList([nn.ReLU()]), nn.ModuleDict({"a": nn.Tanh()}))
        one, two = nn.ParameterList([zeros(2, 3)]), nn.ParameterList([zeros(2, 3), zeros(1)])
        alike = nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Tanh(), layers, layers])
        empty = nn.ModuleDict(), nn.ModuleList(), nn.ParameterList(), nn.Sequential()
        return [repr(m) for m in (layers, alike, one, two, nn.Sequential(two), *empty)]

    assert shown(nn, mr.zeros) == [text.replace("torch.", "") for text in shown(torch.nn, torch.zeros)]


@pytest.mark.parametrize(
    "name, options",
    [
        ("CrossEntropyLoss", dict(ignore_index=1, reduction="sum", label_smoothing=0.1)),
        ("CrossEntropyLoss", {}),
        ("NLLLoss", dict(ignore_index=1)),
        ("NLLLoss", dict(reduction="none")),
    ],
)
def test_a_loss_with_class_weights(agree, randn, name, options):
    weight, target = np.array([1.0, 2.0, 0.5]), np.array([0, 2, 1, 2])
    ours = getattr(nn, name)(weight=mr.tensor(weight), **options)
    theirs = getattr(torch.nn, name)(weight=torch.tensor(weight), **options)
    agree(lambda z: ours(z, mr.tensor(target)), lambda z: theirs(z, torch.tensor(target)), randn(4, 3))


@pytest.mark.parametrize("name", sorted({call[0] for call in CALLS} | {"CrossEntropyLoss", "NLLLoss", "MSELoss"}))
def test_arguments_have_the_names_order_and_defaults_of_pytorch(name):
    def positional(cls):
        found = inspect.signature(cls).parameters.values()
        return [(p.name, p.default) for p in found if p.kind is p.POSITIONAL_OR_KEYWORD]

    theirs = positional(getattr(torch.nn, name))
    ours = positional(getattr(nn, name))
    assert ours == theirs[: len(ours)]


@pytest.mark.parametrize(
    "name, args",
    [
        ("calculate_gain", ("relu",)),
        ("calculate_gain", ("leaky_relu",)),
        ("calculate_gain", ("leaky_relu", 0.3)),
        ("calculate_gain", ("tanh",)),
        ("calculate_gain", ("conv2d",)),
    ],
)
def test_gains(name, args):
    assert getattr(nn.init, name)(*args) == pytest.approx(getattr(torch.nn.init, name)(*args))


@pytest.mark.parametrize(
    "name, options",
    [
        ("kaiming_uniform_", dict(a=5**0.5)),
        ("kaiming_uniform_", dict(mode="fan_out", nonlinearity="relu")),
        ("kaiming_normal_", {}),
        ("kaiming_normal_", dict(mode="fan_out", nonlinearity="relu")),
        ("xavier_uniform_", dict(gain=1.5)),
        ("xavier_normal_", {}),
    ],
)
def test_initial_weights_have_the_same_bounds_and_spread(name, options):
    mr.manual_seed(0)
    torch.manual_seed(0)
    ours = getattr(nn.init, name)(mr.zeros(64, 32, 3, 3), **options).numpy()
    theirs = getattr(torch.nn.init, name)(torch.zeros(64, 32, 3, 3), **options).numpy()
    np.testing.assert_allclose(ours.std(), theirs.std(), rtol=0.02)
    if "uniform" in name:
        np.testing.assert_allclose(np.abs(ours).max(), np.abs(theirs).max(), rtol=1e-3)


@pytest.mark.parametrize("name, args", [("Conv2d", (16, 64, 3)), ("Linear", (144, 500))])
def test_new_layers_start_within_the_same_bounds(name, args):
    ours, theirs = getattr(nn, name)(*args), getattr(torch.nn, name)(*args)
    for a, b in zip(ours.parameters(), theirs.parameters()):
        np.testing.assert_allclose(np.abs(a.numpy()).max(), b.detach().abs().max().item(), rtol=0.1)
        np.testing.assert_allclose(a.numpy().std(), b.detach().std().item(), rtol=0.25 if a.ndim == 1 else 0.03)
