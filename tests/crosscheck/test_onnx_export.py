"""Exported networks in ONNX Runtime: the original's numbers for every batch size, or an error that says why not."""

import sys

import numpy as np
import pytest
from crosscheck.onnx_networks import NETWORKS, batch, lively
from hypothesis import given, settings, strategies as st

import minires as mr
from minires import cuda_on_cpu, nn
from minires.commands.cli import main
from minires.export import FORMS, difference, export_onnx, graph, onnx_model, writer
from minires.nn import functional as F

onnx = pytest.importorskip("onnx", reason="onnx is not installed; it is needed only to export")
runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed; it is needed only to judge")

BATCHES = 1, 5  # of another size than the example's


class Of(nn.Module):
    """A module that calls a function, with a parameter for it."""

    def __init__(self, function, *shape):
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(randn(*shape, seed=9))

    def forward(self, *inputs):
        return self.function(*inputs, self.weight) if self.weight.ndim else self.function(*inputs)


def randn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def apart(model, proto, *inputs):
    """How far ONNX Runtime is from the model, in units of the larger of 1 and the largest output."""
    difference_, largest = difference(model, proto, *inputs)
    return difference_ / max(1, largest)


# ── whole networks ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * network.large) for name, network in NETWORKS.items()]
)
def test_a_network_computes_the_same_in_onnx_runtime(name):
    mr.manual_seed(0)
    network = NETWORKS[name]
    network = network._replace(sample=(3, 64, 64)) if network.large else network
    model = lively(network.build(), batch(network, 4 if network.large else 64))
    proto = onnx_model(model, batch(network, 2), batch_dim=network.dim)
    for size in BATCHES:
        assert apart(model, proto, batch(network, size, seed=size)) <= 1e-5
    state = model.state_dict()
    named = {i.name: onnx.numpy_helper.to_array(i) for i in proto.graph.initializer if i.name in state}
    assert named.keys() == {key for key in state if "num_batches" not in key}
    assert all(np.array_equal(array, state[key]) for key, array in named.items())


def test_every_network_of_the_models_is_exported():
    built = {network.build.__name__ for network in NETWORKS.values() if hasattr(network.build, "__name__")}
    built |= {network.build.func.__name__ for network in NETWORKS.values() if hasattr(network.build, "func")}
    functions = {name for name in mr.models.__all__ if name[0].islower() and not name.endswith("twins")} - {"trained"}
    assert functions | {"ResNet", "ResidualRNN"} <= built and mr.models.VARIANTS.keys() <= NETWORKS.keys()


def test_the_file_says_what_it_is(tmp_path):
    model = mr.models.resnet_cifar(8, 4)
    export_onnx(model, mr.zeros(7, 3, 8, 8), tmp_path / "network.onnx")
    proto = onnx.load(tmp_path / "network.onnx")
    onnx.checker.check_model(proto, full_check=True)
    assert (proto.producer_name, proto.producer_version, proto.graph.name) == ("minires", mr.__version__, "ResNet")
    assert {p.key: p.value for p in proto.metadata_props} == {
        "model": "ResNet",
        "parameters": str(sum(p.numel() for p in model.parameters())),
    }
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", writer.OPSET)]
    (given,), (returned,) = proto.graph.input, proto.graph.output
    assert (given.name, sizes(given)) == ("input", ["N", 3, 8, 8])
    assert (returned.name, sizes(returned)) == ("output", ["N", 10])
    names = [node.name for node in proto.graph.node]
    assert len(set(names)) == len(names)
    assert names[:4] == ["conv1/Conv", "bn1/BatchNormalization", "relu/Relu", "layer1.0.conv1/Conv"]
    assert {"layer1.0/Add", "layer2.0.downsample/Pad", "avgpool/GlobalAveragePool", "fc/Gemm"} <= set(names)
    shapes = {v.name: sizes(v) for v in proto.graph.value_info}
    assert shapes["layer2.0/Add"] == ["N", 8, 4, 4] and len(shapes) == len(names) - 1


def sizes(value):
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def test_nodes_that_lead_to_no_output_are_left_out():
    model = Of(lambda x: (x.exp(), F.cross_entropy(x, mr.zeros(len(x)).long()))[0])
    assert [node.op_type for node in onnx_model(model, randn(2, 3)).graph.node] == ["Exp"]


# ── one op at a time ────────────────────────────────────────────────────────────────────────────────────────────────

# what is computed from x (and a weight, of the shape given); the shape of a sample
OPS = {
    "conv2d": (lambda x, w: F.conv2d(x, w, None, (2, 1), (1, 0), (1, 2), 2), (6, 2, 3, 2), (4, 7, 8)),
    "conv1d": (lambda x, w: F.conv1d(x, w, padding=1), (6, 4, 3), (4, 7)),
    "linear of a matrix": (lambda x, w: F.linear(x, w), (5, 7), (7,)),
    "linear of more": (lambda x, w: F.linear(x, w), (5, 7), (4, 7)),
    "linear with bias": (lambda x, w: F.linear(x, w, w[:, 0]), (5, 7), (4, 7)),
    "batch_norm": (lambda x, w: F.batch_norm(x, w.array[0], w.array[1] ** 2, w[2], w[3], eps=0.1), (4, 3), (3, 4, 5)),
    "batch_norm bare": (lambda x, w: F.batch_norm(x, w.array[0], w.array[1] ** 2), (4, 3), (3,)),
    "max_pool2d": (lambda x: F.max_pool2d(x, (3, 2), (2, 1), (1, 0)), (), (2, 7, 8)),
    "conv2d, same": (lambda x, w: F.conv2d(x, w, padding="same"), (6, 4, 2, 4), (4, 7, 8)),
    "conv2d, circular": (lambda x, w: F.conv2d(F.pad(x, (1, 2), "circular"), w), (6, 4, 2, 4), (4, 7, 8)),
    "conv_transpose2d": (
        lambda x, w: F.conv_transpose2d(x, w, None, (2, 3), (1, 0), (1, 2), 2, (2, 1)),
        (4, 3, 3, 2),
        (4, 5, 6),
    ),
    "max_pool2d, dilated, in ceil mode": (lambda x: F.max_pool2d(x, (3, 2), 2, 1, (2, 3), True), (), (2, 9, 8)),
    "avg_pool2d, in ceil mode": (lambda x: F.avg_pool2d(x, 3, 2, 1, True), (), (2, 7, 8)),
    "avg_pool2d, in ceil mode, padding left out": (lambda x: F.avg_pool2d(x, 3, 2, 1, True, False), (), (2, 7, 8)),
    "max_pool1d": (lambda x: F.max_pool1d(x, 3, 2, 1), (), (2, 8)),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, 3, 2, 1), (), (2, 7, 8)),
    "avg_pool2d, padding left out": (lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), (), (2, 7, 8)),
    "adaptive_avg_pool2d, global": (lambda x: F.adaptive_avg_pool2d(x, 1), (), (2, 7, 8)),
    "adaptive_avg_pool2d, even": (lambda x: F.adaptive_avg_pool2d(x, (2, 4)), (), (2, 6, 8)),
    "adaptive_avg_pool2d, uneven": (lambda x: F.adaptive_avg_pool2d(x, (3, 5)), (), (2, 7, 8)),
    "adaptive_max_pool2d": (lambda x: F.adaptive_max_pool2d(x, (3, 2)), (), (2, 7, 8)),
    "relu": (lambda x: x.relu(), (), (9,)),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.2), (), (9,)),
    "hardswish": (lambda x: F.hardswish(3 * x), (), (9,)),
    "sign, floor and ceil": (lambda x: x.sign() + x.floor() * 3 + x.ceil() * 7, (), (9,)),
    "round": (lambda x: (x * 4).round() / 2 + (x * 2).round(), (), (9,)),
    "sigmoid": (lambda x: x.sigmoid(), (), (9,)),
    "tanh": (lambda x: x.tanh(), (), (9,)),
    "elu": (lambda x: F.elu(x, 0.7), (), (9,)),
    "gelu": (lambda x: F.gelu(x), (), (9,)),
    "gelu by tanh": (lambda x: F.gelu(x, "tanh"), (), (9,)),
    "silu": (lambda x: F.silu(x), (), (9,)),
    "softmax": (lambda x: F.softmax(x, 1), (), (4, 3)),
    "log_softmax": (lambda x: F.log_softmax(x, -1), (), (4, 3)),
    "arithmetic": (lambda x, w: (2 - x * w) / (3 + w * w) + (-x) / 2 - x, (3,), (4, 3)),
    "pow": (lambda x, w: x**3 + (x * x + 1) ** w + 2.0**x, (3,), (4, 3)),
    "matmul": (lambda x, w: x @ w, (3, 5), (4, 3)),
    "matmul of vectors": (lambda x, w: x @ w, (3,), (4, 3)),
    "matmul of stacks": (lambda x: x @ x.transpose(1, 2), (), (4, 3)),
    "einsum with an ellipsis": (lambda x, w: mr.einsum("...j,jk->...k", x, w), (3, 5), (5, 3)),
    "einsum": (lambda x, w: mr.einsum("nij,jk->nki", x, w), (3, 5), (4, 3)),
    "exp, log, sqrt, abs": (lambda x: (x.exp() + 1).log().sqrt() * x.abs(), (), (9,)),
    "clamp": (lambda x: x.clamp(-0.5, 0.5) + x.clamp(min=0.1) + x.clamp(max=0.1), (), (9,)),
    "clamp between tensors": (lambda x, w: x.clamp(w.abs() * -0.3, w.abs()), (9,), (9,)),
    "maximum, minimum": (lambda x, w: mr.maximum(x, w) - mr.minimum(x, 0.3), (9,), (9,)),
    "where": (lambda x, w: mr.where(mr.tensor(np.arange(9) % 2 == 0), x, w), (9,), (9,)),
    "sum": (lambda x: x.sum((1, 3)) + x.sum() + x.sum(-1, keepdim=True).sum(1)[..., 0], (), (2, 3, 4)),
    "mean": (lambda x: x.mean((1, 3)) + x.mean(), (), (2, 3, 4)),
    "over the batch": (lambda x: x - x.mean(0) + x.amax(0) * x.var(0, unbiased=False), (), (3, 4)),
    "var, std": (lambda x: x.var(1) + x.std((1, 2))[:, None] + x.var(2, unbiased=False).sum(1)[:, None], (), (3, 4)),
    "amax, amin": (lambda x: x.amax((1, 2)) - x.amin(2).sum(1), (), (3, 4)),
    "max, min": (lambda x: x.max(1).values - x.min(2, keepdim=True).values.sum(1), (), (3, 3)),
    "norm": (lambda x: x / x.norm(), (), (3, 4)),
    "norms of other orders": (lambda x: x.norm(1, 1) + x.norm(3, (1, 2))[:, None] - x.norm(0.5, 1), (), (3, 4)),
    "prod": (lambda x: x.prod(1), (), (3, 4)),
    "cumsum": (lambda x: x.cumsum(1), (), (3, 4)),
    "flatten": (lambda x: x.flatten(1), (), (3, 4)),
    "flatten of the batch": (lambda x: x.flatten(0, 1), (), (3, 4)),
    "reshape with two sizes of the batch": (lambda x: x.reshape(len(x), 2, 3 * len(x) // len(x)), (), (6,)),
    "an outer product of the batch": (lambda x: (x[:, None] * x[None]).reshape(len(x), 3, len(x)), (), (3,)),
    "permute": (lambda x: x.permute(2, 0, 1) * 2, (), (3, 4)),
    "expand": (lambda x: x.unsqueeze(1).expand(-1, 3, -1), (), (4,)),
    "expand to the batch": (lambda x, w: w.expand(2 * len(x), 4).reshape(len(x), 2, 4) + x[:, None], (4,), (4,)),
    "expand a parameter to the batch": (lambda x, w: mr.cat([w.expand(len(x), 1, 4), x], 1), (1, 1, 4), (3, 4)),
    "a constant of the batch": (lambda x: mr.cat([mr.zeros(len(x), 1) + 2, x], 1), (), (4,)),
    "cat, stack": (lambda x, w: mr.stack([mr.cat([x, x + 1], 1), mr.cat([x - 1, x], 1)], -1), (4,), (3, 4)),
    "slices": (lambda x: x[:, 1:, ::2, -3:-1] + x[:, :-1, 1::2, 1:3], (), (4, 6, 5)),
    "slices backwards": (lambda x: x[:, [3, 2, 1, 0]] - x[..., [1]], (), (4, 3)),
    "index": (lambda x: x[:, 1, None, ..., -1] + x[..., 0][:, 2:, :], (), (3, 4, 5)),
    "index of the batch": (lambda x: x[0] * x[-1:] + x[::2].sum(0), (), (3,)),
    "interpolate": (lambda x: F.interpolate(x, scale_factor=2), (), (2, 3, 4)),
    "pad": (lambda x: F.pad(x, (1, 2, 0, 3), value=0.7), (), (3, 4, 5)),
    "crop": (lambda x: F.pad(x, (-1, 2, -1, -1)), (), (3, 4, 5)),
    "crop alone": (lambda x: F.pad(x, (-1, -1)), (), (3, 4, 5)),
    "contiguous": (lambda x: x.transpose(1, 2).contiguous() + 1, (), (3, 4)),
    "cast": (lambda x: (x.double() * 2).float(), (), (3, 4)),
    "group_norm": (lambda x: F.group_norm(x, 2), (), (4, 3, 3)),
    "layer_norm": (lambda x, w: F.layer_norm(x, (4,), w, w), (4,), (3, 4)),
    "instance_norm": (lambda x: F.instance_norm(x), (), (3, 4, 4)),
    "the input": (lambda x: (x, x), (), (3,)),
    "an output twice": (lambda x: (x.exp(), [x.exp(), x]), (), (3,)),
}


@pytest.mark.parametrize("name", OPS)
def test_an_op_computes_the_same_in_onnx_runtime(name):
    function, shape, sample = OPS[name]
    model = Of(function, *shape)
    proto = onnx_model(model, randn(2, *sample))
    for size in BATCHES:
        assert apart(model, proto, randn(size, *sample, seed=size)) <= 1e-5


def keys(size):
    """Parts of a key for an axis of this size; a number never leaves it."""
    ends = st.none() | st.integers(-size - 2, size + 2)
    steps = st.sampled_from([None, 1, 2, 3, -1, -2])
    return st.builds(slice, ends, ends, steps) | st.integers(-size, size - 1)


@given(key=st.tuples(keys(3), keys(4), keys(5)), new=st.lists(st.integers(0, 3), max_size=2))
@settings(max_examples=60, deadline=None)
def test_any_key_of_numbers_slices_and_new_axes(key, new):
    for place in new:
        key = (*key[:place], None, *key[place:])
    model = Of(lambda x: x[(slice(None), *key)] * 2)
    proto = onnx_model(model, randn(2, 3, 4, 5))
    for size in BATCHES:
        assert difference(model, proto, randn(size, 3, 4, 5, seed=size))[0] == 0


@given(
    size=st.tuples(st.integers(5, 9), st.integers(5, 9)),
    window=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    share=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    counted=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_any_window(size, window, stride, share, counted):
    padding = tuple(min(p, w // 2) for p, w in zip(share, window))

    def pools_and_conv(x, w):
        y = F.avg_pool2d(x, window, stride, padding, count_include_pad=counted)
        return F.max_pool2d(x, window, stride, padding), y, F.conv2d(x, w, None, stride, share, groups=2)

    model = Of(pools_and_conv, 4, 1, *window)
    proto = onnx_model(model, randn(2, 2, *size))
    for n in BATCHES:
        assert apart(model, proto, randn(n, 2, *size, seed=n)) <= 1e-5


def test_every_form_has_a_test(monkeypatch):
    used = set()

    class Noting(dict):
        def __getitem__(self, op):
            used.add(op)
            return super().__getitem__(op)

    monkeypatch.setattr("minires.export.model.FORMS", Noting(FORMS))
    for function, shape, sample in OPS.values():
        onnx_model(Of(function, *shape), randn(2, *sample))
    refused = {"BatchNorm", "CrossEntropy"}
    assert {op.__name__ for op in FORMS.keys() - used} == refused | {"Move"}  # which needs a second device


def test_a_form_of_ones_own(monkeypatch):
    class Cube(mr.Op):
        def forward(self, x):
            return x**3

    model = Of(lambda x: mr.apply(Cube, x))
    with pytest.raises(ValueError, match=r"Cube \(it has no form in minires.export.FORMS\)"):
        onnx_model(model, randn(2, 3))
    monkeypatch.setitem(FORMS, Cube, lambda trace, op, x: trace.node("Pow", x, trace.number(3.0)))
    assert apart(model, onnx_model(model, randn(2, 3)), randn(5, 3)) <= 1e-5


# ── inputs ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_several_inputs_each_with_its_own_axis_of_the_batch():
    model = nn.LSTM(4, 6, batch_first=True)
    example = randn(3, 7, 4), randn(1, 3, 6), randn(1, 3, 6)

    class Started(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = model

        def forward(self, x, h, c):
            return self.lstm(x, (h, c))

    proto = onnx_model(Started(), example, batch_dim=(0, 1, -2))
    assert [i.name for i in proto.graph.input] == ["input_0", "input_1", "input_2"]
    assert [sizes(o) for o in proto.graph.output] == [["N", 7, 6], [1, "N", 6], [1, "N", 6]]
    for n in BATCHES:
        assert apart(Started(), proto, randn(n, 7, 4), randn(1, n, 6, seed=1), randn(1, n, 6, seed=2)) <= 1e-5


def test_a_fixed_shape():
    model = nn.RNN(4, 6)
    proto = onnx_model(model, randn(7, 4), batch_dim=None)  # a sequence without a batch
    assert sizes(proto.graph.input[0]) == [7, 4]
    assert apart(model, proto, randn(7, 4)) <= 1e-5


def test_float64_is_written_as_it_is():
    model = nn.Linear(4, 3).double()
    proto = onnx_model(model, np.zeros((2, 4)))
    x = np.random.default_rng(0).standard_normal((5, 4))
    assert proto.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.DOUBLE
    assert apart(model, proto, x) <= 1e-14


@pytest.mark.skipif(not cuda_on_cpu.available(), reason=f"cuda-on-cpu: {cuda_on_cpu.why_not()}")
def test_a_model_on_another_device_gives_the_same_file():
    class There(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(F.adaptive_avg_pool2d(self.bn(self.conv(x)), 1)[:, :, 0, 0]).to("cpu")

    model, x = There(), randn(2, 3, 5, 5)
    here = onnx_model(model, x).SerializeToString()
    model.to("cuda-on-cpu")
    assert onnx_model(model, mr.tensor(x).to("cuda-on-cpu")).SerializeToString() == here
    assert model.fc.weight.device == "cuda-on-cpu"


# ── what cannot go ──────────────────────────────────────────────────────────────────────────────────────────────────

REFUSED = {
    "a comparison": (lambda x: F.relu6(x), "Where: a constant .* computed from the input"),
    "slopes": (lambda x: F.prelu(x, mr.ones(1)), "Where: a constant"),
    "a mask that is the same in both runs": (lambda x: mr.where(x != x, 0.0, x), "Where: a constant"),
    "a mask of a high threshold": (lambda x: x * (x < 6), "Mul: a constant"),
    "a mask as numbers": (lambda x: x * (x > -6).float(), "Mul: a constant"),
    "detach": (lambda x: x + x.detach().exp(), "Add: a constant"),
    "a number": (lambda x: x * float(x.array.max()), "Mul: a constant"),
    "an exponent": (lambda x: x.abs() ** float(x.array.max()), "Pow: a constant"),
    "the batch size as a number": (lambda x: x.sum(0) / len(x), "Div: a constant"),
    "a size that grows otherwise": (lambda x: mr.cat([mr.zeros(len(x) ** 2 * 3), x.flatten()]), "Cat: a constant"),
    "a shape that grows otherwise": (
        lambda x: (x[:1].expand(len(x) + 1, 3)).sum(0),
        r"Expand: got shape \(2, 3\) for 1 sample and \(3, 3\) for 2",
    ),
    "an option": (lambda x: F.leaky_relu(x, float(abs(x.array.max()))), "LeakyReLU: its options depend"),
    "a mask": (lambda x: x[:, np.array([True, False, True])], r"Index \(a mask"),
    "positions side by side": (lambda x: x[[0, 0], [1, 2]], r"Index \(it has several arrays"),
    "other ops for one sample": (lambda x: x.exp() if len(x) > 1 else x.tanh(), "one runs Exp, the other Tanh"),
    "more ops for one sample": (lambda x: x.exp().exp() if len(x) > 1 else x.exp(), "one has 2 nodes, the other 1"),
    "other inputs": (lambda x: (x.exp(), x + 1)[len(x) > 1] * 2, "Mul has other inputs|other ops"),
    "a divisor": (lambda x: F.avg_pool2d(x[:, None, None], 1, divisor_override=2), r"AvgPool2d \(it divides by"),
    "decimals": (lambda x: x.round(decimals=1), r"Round \(decimals=1, ONNX rounds"),
    "a loss": (lambda x: F.cross_entropy(x, mr.zeros(len(x)).long()), r"CrossEntropy \(export the network without"),
    "no graph": (lambda x: x.argmax(1), "no graph leads to"),
    "no tensor": (lambda x: {"y": x}, "returns a dict"),
    "nothing": (lambda x: (), "returns nothing"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_go_is_named_and_nothing_is_written(name, tmp_path):
    function, message = REFUSED[name]
    with pytest.raises(ValueError, match=f"^export_onnx: .*({message})"):
        export_onnx(Of(function), randn(4, 3), tmp_path / "network.onnx")
    assert not list(tmp_path.iterdir())


def test_all_that_cannot_go_is_named_with_its_module():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = nn.BatchNorm1d(3, track_running_stats=False)

        def forward(self, x):
            return F.cross_entropy(self.bn(mr.cat([x, x + 1])), mr.zeros(2 * len(x)).long())

    with pytest.raises(ValueError, match=r"BatchNorm in bn \(.*track_running_stats.*\); CrossEntropy \("):
        onnx_model(Model(), randn(4, 3))


@pytest.mark.parametrize(
    "example, options, error, message",
    [
        (randn(2, 4).astype(int), {}, TypeError, "an array of int64"),
        ([1.0, 2.0], {}, TypeError, "a list|got list"),
        (randn(0, 4), {}, ValueError, r"shape \(0, 4\)"),
        (randn(2, 4), {"batch_dim": 2}, ValueError, "batch_dim=2"),
        ((randn(2, 4), randn(2, 4)), {"batch_dim": (0,)}, ValueError, "2 examples and 1 batch_dims"),
        (randn(2, 5), {}, ValueError, "linear: got x"),
    ],
)
def test_an_example_that_does_not_fit(example, options, error, message):
    with pytest.raises(error, match=message):
        onnx_model(nn.Linear(4, 3), example, **options)


def test_a_model_that_is_no_module():
    with pytest.raises(TypeError, match="got a function as model"):
        onnx_model(lambda x: x, randn(2, 4))


def test_names_that_are_taken():
    model = Of(lambda x: x + 1, 3)
    model.output = nn.Parameter(np.ones(3, np.float32))
    model.function = lambda x, weight: x * model.output
    with pytest.raises(ValueError, match="output names a parameter, and an input or output"):
        onnx_model(model, randn(2, 3))


def test_weights_that_are_too_large_for_a_file(monkeypatch):
    monkeypatch.setattr(writer, "LIMIT", 100)
    with pytest.raises(ValueError, match="take 420 bytes; an ONNX file holds 100 at most"):
        onnx_model(nn.Linear(20, 5), randn(2, 20))


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(missing, monkeypatch, tmp_path):
    model, proto = nn.Linear(3, 3), onnx_model(nn.Linear(3, 3), randn(2, 3))
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match="python -m pip install"):
        if missing == "onnx":
            export_onnx(model, randn(2, 3), tmp_path / "network.onnx")
        else:
            difference(model, proto, randn(2, 3))
    assert not list(tmp_path.iterdir())


def test_an_onnx_that_is_too_old(monkeypatch):
    monkeypatch.setattr(onnx.defs, "onnx_opset_version", lambda: writer.OPSET - 1)
    with pytest.raises(ImportError, match="too old for opset"):
        onnx_model(nn.Linear(3, 3), randn(2, 3))


# ── nothing is changed ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_model_is_left_as_it_was():
    model = lively(mr.models.VARIANTS["dropout-shortcut"].build(8, 4), randn(4, 3, 8, 8))
    F.cross_entropy(model(mr.tensor(randn(4, 3, 8, 8))), mr.zeros(4).long()).backward()
    model.layer1.eval()
    model.conv1.requires_grad_(False)

    def everything():
        parameters = {n: (id(p), p.requires_grad, id(p.grad), None if p.grad is None else p.grad.numpy().copy())
                      for n, p in model.named_parameters()}  # fmt: skip
        return model.state_dict(), parameters, [m.training for m in model.modules()], mr.random.get_state()

    before = everything()
    example = mr.tensor(randn(2, 3, 8, 8))
    proto = onnx_model(model, example)
    np.testing.assert_equal(everything(), before)
    assert not example.requires_grad and example.grad is None
    assert {"conv1.weight"} <= {i.name for i in proto.graph.initializer}  # under its name although frozen


def test_the_state_is_restored_after_an_error_too():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.ReLU6()).train()
    with pytest.raises(ValueError, match=r"Where in 1: a constant .* relu6"):
        onnx_model(model, randn(4, 3))
    assert all(m.training for m in model.modules()) and all(p.requires_grad for p in model.parameters())


def test_in_place_code_is_exported_as_it_runs():
    def block(x, w):
        out = F.conv2d(x, w, padding=1)
        out += x
        x *= 2  # of the input, too: the caller's example keeps its values
        return out.relu() + x

    model, example = Of(block, 3, 3, 3, 3), randn(2, 3, 5, 5)
    before = example.copy()
    proto = onnx_model(model, example)
    assert np.array_equal(example, before)
    for n in BATCHES:
        assert apart(model, proto, randn(n, 3, 5, 5)) <= 1e-5


@pytest.mark.parametrize("around", [mr.no_grad(), mr.flow.recording()])
def test_settings_around_the_call_do_not_reach_it(around):
    with around:
        proto = onnx_model(mr.models.mlp(4, 6), randn(2, 6))
    assert len(proto.graph.node) == 10


def test_the_same_network_gives_the_same_bytes():
    mr.manual_seed(0)
    model = mr.models.resnet_cifar(8, 4)
    first, second = (onnx_model(model, x).SerializeToString() for x in (randn(1, 3, 8, 8), randn(6, 3, 8, 8, seed=1)))
    assert first == second


def test_a_file_is_whole_or_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "network.onnx"
    path.write_bytes(b"earlier")
    with pytest.raises(ValueError, match="Where"):
        export_onnx(nn.ReLU6(), randn(2, 3), path)
    monkeypatch.setattr("pathlib.Path.write_bytes", lambda self, data: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="not written, and what was there before is unchanged"):
        export_onnx(nn.ReLU(), randn(2, 3), path)
    assert path.read_bytes() == b"earlier" and len(list(tmp_path.iterdir())) == 1


# ── the judge, and the command ──────────────────────────────────────────────────────────────────────────────────────


def test_the_judge_sees_a_wrong_weight_a_nan_and_a_wrong_shape():
    model = nn.Linear(3, 2)
    proto = onnx_model(model, randn(2, 3))
    wrong = nn.Linear(3, 2)
    wrong.load_state_dict(model.state_dict() | {"bias": model.bias.array + np.float32(1e-3)})
    assert difference(model, proto, randn(5, 3))[0] < 1e-6
    assert 0.9e-3 < difference(wrong, proto, randn(5, 3))[0] < 1.1e-3
    wrong.bias.array[0] = np.nan
    assert difference(wrong, proto, randn(5, 3))[0] == np.inf
    with pytest.raises(ValueError, match="returns"):
        difference(nn.Linear(3, 4), proto, randn(5, 3))


def test_max_pooling_at_a_nan_differs_by_its_position():
    model = nn.MaxPool2d(2)
    proto = onnx_model(model, randn(1, 1, 2, 2))
    session = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    kept = []
    for place in range(4):
        x = np.array([4, 3, 2, 1], np.float32).reshape(1, 1, 2, 2)
        x.flat[place] = np.nan
        assert np.isnan(model(mr.tensor(x)).item())
        kept.append(bool(np.isnan(session.run(None, {"input": x})[0])))
    assert not all(kept)  # which the docstring of export_onnx says


def test_the_command(tmp_path, capsys):
    path, weights = tmp_path / "network.onnx", tmp_path / "run.npz"
    model = mr.models.resnet_cifar(8, 4, in_channels=1)
    mr.train.Checkpoint.take(model).save(weights)
    options = ["--depth", "8", "--width", "4", "--in-channels", "1", "--size", "8", "--out", str(path)]
    assert main(["export", "residual", *options, "--checkpoint", str(weights), "--compare"]) == 0
    said = capsys.readouterr().out
    assert f"{sum(p.numel() for p in model.parameters()):,} parameters, weights of {weights}" in said
    assert "ONNX Runtime, batch 1: at most" in said and "batch 5: at most" in said
    assert apart(model, onnx.load(path), randn(5, 1, 8, 8)) <= 1e-5
    assert main(["export", "plain", *options]) == 0 and "random weights, seed 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["resnet-18"], "expected one of resnet18, resnet34"),
        (["resnet18", "--depth", "20"], "--depth or --width for resnet18"),
        (["residual", "--depth", "9"], "legal depths"),
        (["residual", "--size", "0"], "--size 0"),
        (["residual", "--in-channels", "0"], "in_channels"),
        (["residual", "--checkpoint", "no-such-file.npz"], "no-such-file.npz"),
    ],
)
def test_the_command_says_what_is_wrong(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", *arguments]) == 1
    assert said in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_the_command_names_what_is_not_installed(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["export", "residual", "--compare"]) == 1
    assert "python -m pip install onnxruntime" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_two_runs_are_of_sizes_whose_multiples_differ():
    assert graph.sizes_of((1, 3, 4, 2), (2, 3, 8, 3)) == (graph.Batch(1), 3, graph.Batch(4), None)
