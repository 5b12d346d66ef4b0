"""The recording: every edge's gradient, and the forks found in the graph."""

import csv
import json

import numpy as np
import pytest

import minires as mr
from minires import flow, models, nn, random
from minires.models.blocks import PadShortcut
from minires.nn import functional as F
from minires.tensor import Tensor


def batch(channels=1, size=8, n=6, dtype=np.float64):
    rng = np.random.default_rng(1)
    return rng.standard_normal((n, channels, size, size)).astype(dtype), np.arange(n) % 10


def net(**options):
    random.manual_seed(0)
    return models.resnet_cifar(8, 4, in_channels=1, **options).double()


@pytest.mark.parametrize("shortcut", ["A", "B", "C"])
@pytest.mark.parametrize("preact", [False, True])
def test_a_fork_for_every_residual_block_and_none_in_a_plain_net(shortcut, preact):
    recording = flow.record(net(shortcut=shortcut, preact=preact), *batch())
    assert [fork.name for fork in recording.forks] == ["layer1.0", "layer2.0", "layer3.0"]
    assert flow.record(net(residual=False, preact=preact), *batch()).forks == []


def test_bottlenecks_have_forks():
    random.manual_seed(0)
    model = models.ResNet(models.Bottleneck, [1, 2], [4, 8], in_channels=1).double()
    assert [fork.name for fork in flow.record(model, *batch()).forks] == ["layer1.0", "layer2.0", "layer2.1"]


def test_skip_and_branch_sum_to_the_gradient_that_finite_differences_measure():
    """The three arrays of a fork against an independent measurement: central differences through each way alone."""
    random.manual_seed(3)
    block = models.ResidualBlock(3, 3).double().eval()
    rng = np.random.default_rng(0)
    x, cotangent = rng.standard_normal((2, 3, 4, 4)), rng.standard_normal((2, 3, 4, 4))
    model = nn.Sequential(nn.ReLU(), block)  # x is positive where it counts: the fork is the first ReLU's output
    start = Tensor(np.abs(x) + 0.1, requires_grad=True)
    recording = flow.record(model, start, cotangent, loss=weighted_sum, arrays=True)
    (fork,) = recording.forks

    def value(through_branch, through_skip):
        with_branch = F.relu(block.bn1(block.conv1(Tensor(through_branch))))
        out = block.bn2(block.conv2(with_branch)) + Tensor(through_skip)
        return weighted_sum(F.relu(out), Tensor(cotangent)).item()

    start, h = np.abs(x) + 0.1, 1e-6
    direction = rng.standard_normal(x.shape)
    by_branch = (value(start + h * direction, start) - value(start - h * direction, start)) / (2 * h)
    by_skip = (value(start, start + h * direction) - value(start, start - h * direction)) / (2 * h)
    assert (fork.branch_grad * direction).sum() == pytest.approx(by_branch, rel=1e-6)
    assert (fork.skip_grad * direction).sum() == pytest.approx(by_skip, rel=1e-6)
    assert fork.sum_error < 1e-15


def weighted_sum(y, cotangent):
    return (y * cotangent).sum()


def test_norms_ratio_cosine_and_share_are_those_of_the_arrays():
    for fork in flow.record(net(), *batch(), arrays=True).forks:
        skip, branch = fork.skip_grad.ravel(), fork.branch_grad.ravel()
        assert fork.skip == pytest.approx(np.linalg.norm(skip))
        assert fork.branch == pytest.approx(np.linalg.norm(branch))
        assert fork.total == pytest.approx(np.linalg.norm(skip + branch))
        assert fork.ratio == pytest.approx(fork.branch / fork.skip)
        assert fork.cosine == pytest.approx(skip @ branch / fork.skip / fork.branch)
        assert fork.share == pytest.approx(fork.branch**2 / (fork.skip**2 + fork.branch**2))


@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 1e-4), (np.float64, 1e-10)])
def test_fork_sums_are_exact_to_rounding(dtype, bound):
    model = models.resnet_cifar(20, 4, in_channels=1).to(dtype)
    assert 0 < flow.record(model, *batch(dtype=dtype)).sum_error < bound


def test_a_wrong_sum_would_show():
    """The error is measured against the edges, not defined to be zero."""
    from minires.autograd import Edge
    from minires.flow.recorder import FlowRecorder
    from minires.ops.arithmetic import Add

    source, consumer = Add(), Add()
    source.serial, consumer.serial, source.shape = 1, 2, (2,)
    edges = [Edge(source, consumer, i, np.array([1.0, 2.0])) for i in range(2)]
    recorder = FlowRecorder()
    recorder.backward(source, edges, np.array([2.0, 3.0]))
    assert recorder.recording.nodes[0].sum_error == pytest.approx(1 / np.sqrt(13))


def test_user_written_blocks_scaled_and_with_several_branches():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.c(x) + self.b(self.a(x).tanh()) + 0.5 * x

    random.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), Block()).double()
    x = np.random.default_rng(0).standard_normal((3, 4))
    recording = flow.record(model, x, x, loss=F.mse_loss, arrays=True)
    (fork,) = recording.forks
    loss_gradient = 2 * (model(Tensor(x)).array - x) / x.size
    np.testing.assert_allclose(fork.skip_grad, 0.5 * loss_gradient)
    assert fork.sum_error < 1e-15


def test_a_shared_weight_is_no_fork():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(4, 4)

        def forward(self, x):
            return self.a(x) + self.a(x.tanh())

    x = np.random.default_rng(0).standard_normal((3, 4))
    assert flow.record(Twice().double(), x, x, loss=F.mse_loss).forks == []


def test_a_square_or_a_product_is_no_fork():
    class Gate(nn.Module):
        def forward(self, x):
            return x * x.sigmoid()

    x = np.random.default_rng(0).standard_normal((3, 4))
    model = nn.Sequential(nn.Linear(4, 4).double(), Gate())
    assert flow.record(model, x, x, loss=F.mse_loss).forks == []


def test_a_gate_is_no_fork_but_what_it_gates_is():
    class Highway(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate, self.layer = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            g = self.gate(x).sigmoid()
            return g * self.layer(x).tanh() + (1 - g) * x

    random.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), Highway(), Highway()).double()
    x = np.random.default_rng(0).standard_normal((3, 4))
    forks = flow.record(model, x, x, loss=F.mse_loss).forks
    assert [fork.name for fork in forks] == ["1", "2"]


def test_edges_name_every_consumer():
    recording = flow.record(net(), *batch())
    conv, add = (edge.consumer for edge in recording.edges("relu: ReLU"))
    assert (conv, add) == ("layer1.0.conv1: Conv2d", "layer1.0: Add")
    with pytest.raises(KeyError, match=r"edges: got 'nothing'"):
        recording.edges("nothing")
    with pytest.raises(TypeError, match="edges: got an int; expected a tensor, or the name of one"):
        recording.edges(3)


def test_layers_come_in_forward_order_with_the_parameters_gradients():
    model = net()
    x, y = batch()
    recording = flow.record(model, x, y)
    expected = [name.removesuffix(".weight") for name, p in model.named_parameters() if p.ndim > 1]
    assert [layer.name for layer in recording.weight_layers] == expected
    F.cross_entropy(model(Tensor(x)), Tensor(y)).backward()
    for layer in recording.weight_layers:
        grad = dict(model.named_parameters())[f"{layer.name}.weight"].grad
        assert layer.weight_gradient == pytest.approx(np.linalg.norm(grad))


class Standardised(nn.Conv2d):
    """A convolution that subtracts the mean from its weight, behind an image to which a learned one is added."""

    def __init__(self):
        super().__init__(1, 3, 3)
        self.offset = nn.Parameter(np.zeros((1, 1, 8, 8)))

    def forward(self, x):
        self.centred = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        self.centred.retain_grad()
        return F.conv2d(x + self.offset, self.centred, self.bias)


def test_weight_layers_are_those_that_multiply_by_a_weight_computed_or_not():
    conv = Standardised()
    model = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(108, 10)).double()
    x, y = batch()
    with flow.recording(model) as recording:
        F.cross_entropy(model(Tensor(x)), Tensor(y)).backward()
    assert [(layer.name, layer.op) for layer in recording.weight_layers] == [("0", "Conv2d"), ("3", "Linear")]
    first = recording.weight_layers[0]
    assert first.weight_shape == (3, 1, 3, 3)
    assert first.weight_gradient == pytest.approx(np.linalg.norm(conv.centred.grad))
    (note,) = [note for note in recording.notes if note.startswith("0.weight: used 2 times")]
    assert "stands with the first" not in note


def test_weight_layers_of_several_kinds_in_one_module_have_names_of_their_own():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Parameter(np.ones((4, 4))), nn.Parameter(np.ones((4, 4)))
            self.scale = nn.Parameter(np.ones(4))

        def forward(self, x):
            return F.linear(F.layer_norm(x @ self.first, (4,), self.scale), self.second)

    model = nn.Sequential(Two(), Two(), nn.Linear(4, 4)).double()
    recording = flow.record(model, np.ones((3, 4)), np.arange(3))
    names = [f"{module}: {op}" for module in (0, 1) for op in ("MatMul", "Linear")]
    assert [layer.name for layer in recording.weight_layers] == [*names, "2"]
    history = flow.FlowHistory()
    history.add(0, recording)
    assert history.layers == [*names, "2"] and history.norms.shape == (1, 5)


def test_record_leaves_the_model_as_it_was():
    model = net().train()
    x, y = batch()
    F.cross_entropy(model(Tensor(x)), Tensor(y)).backward()
    before = {name: np.array(value) for name, value in model.state_dict().items()}
    grads = [np.array(p.grad) for p in model.parameters()]
    flow.record(model, x, y)
    assert all((value == before[name]).all() for name, value in model.state_dict().items())
    assert all((p.grad == grad).all() for p, grad in zip(model.parameters(), grads))
    assert model.training


def test_recording_changes_no_bit_of_the_gradients():
    x, y = batch(dtype=np.float32)
    gradients = []
    for recorder in (None, flow.recording, lambda: flow.recording(arrays=True)):
        random.manual_seed(0)
        model = models.resnet_cifar(8, 4, in_channels=1)
        if recorder is None:
            F.cross_entropy(model(Tensor(x)), Tensor(y)).backward()
        else:
            with recorder():
                F.cross_entropy(model(Tensor(x)), Tensor(y)).backward()
        gradients.append([p.grad.numpy().tobytes() for p in model.parameters()])
    assert gradients[0] == gradients[1] == gradients[2]


def test_arrays_are_kept_only_on_request():
    assert all(node.grads == () for node in flow.record(net(), *batch()).nodes)
    assert all(fork.skip_grad is None for fork in flow.record(net(), *batch()).forks)


def test_an_empty_recording_says_so():
    with flow.recording() as recorder:
        pass
    with pytest.raises(RuntimeError, match="nothing was recorded yet"):
        _ = recorder.forks


def test_the_table_names_forks_and_layers():
    text = flow.record(net(), *batch()).table()
    assert "layer2.0" in text and "cosine" in text and "fc" in text
    assert "no fork" in flow.record(net(residual=False), *batch()).table()


def test_pad_shortcut_is_the_skip_not_the_branch():
    """The padded shortcut is the shorter way also where it crops and pads."""
    model = net(shortcut="A")
    assert isinstance(model.layer2[0].downsample, PadShortcut)
    fork = flow.record(model, *batch(), arrays=True).forks[1]
    assert (fork.skip_grad[:, :, 1::2, :] == 0).all()  # only every second pixel went through the shortcut
    assert (fork.branch_grad != 0).mean() > 0.5


def test_layers_carry_the_statistics_of_their_outputs():
    model, (x, y) = net(), batch()
    recording = flow.record(model, x, y)
    rows = {(layer.name, layer.op): layer for layer in recording.layers}
    output = F.relu(model.bn1(model.conv1(Tensor(x)))).array
    row = rows["relu", "ReLU"]
    assert row.mean == pytest.approx(output.mean()) and row.std == pytest.approx(output.std())
    assert row.zeros == pytest.approx((output == 0).mean()) and 0.2 < row.zeros < 0.8
    assert row.weight_gradient is None and rows["conv1", "Conv2d"].weight_gradient > 0
    assert rows["layer1.0.relu#2", "ReLU"].shape == row.shape  # the block's one ReLU runs twice


def test_edges_of_a_tensor_itself_leaf_or_not():
    x = Tensor(np.ones(3), requires_grad=True)
    with flow.recording() as recorder:
        h = x.exp()
        (h * h + x).sum().backward()
    assert [edge.consumer for edge in recorder.edges(h)] == ["Mul", "Mul"]
    assert [edge.consumer for edge in recorder.edges(x)] == ["Exp", "Add"]
    with pytest.raises(KeyError, match="no gradient reached"):
        recorder.edges(Tensor(np.ones(3)))


def test_a_detached_branch_is_noted():
    class Detached(nn.Module):
        def forward(self, x):
            return x + x.tanh().detach()

    x = np.random.default_rng(0).standard_normal((3, 4))
    recording = flow.record(nn.Sequential(nn.Linear(4, 4).double(), Detached()), x, x, loss=F.mse_loss)
    assert recording.forks == []
    assert "1: Add: one summand carries no gradient" in recording.notes[0] and recording.notes[0] in recording.table()


def test_a_module_called_twice_is_noted_and_its_rows_are_numbered():
    layer = nn.Linear(4, 4).double()
    x = np.random.default_rng(0).standard_normal((3, 4))
    recording = flow.record(nn.Sequential(layer, layer), x, x, loss=F.mse_loss)
    assert [row.name for row in recording.layers[:2]] == ["0", "0#2"]
    assert any("0.weight: used 2 times" in note for note in recording.notes)


def test_constants_are_not_noted():
    class Shift(nn.Module):
        def forward(self, x):
            return x + 1

    x = np.ones((3, 4))
    assert flow.record(nn.Sequential(nn.Linear(4, 4).double(), Shift()), x, x, loss=F.mse_loss).notes == []


def test_the_graph_is_plain_data_with_skips_and_branches_marked():
    recording = flow.record(net(), *batch())
    graph = json.loads(json.dumps(recording.graph()))
    assert graph["version"] == 1
    ids = [node["id"] for node in graph["nodes"]]
    assert len(set(ids)) == len(ids) and set(graph["nodes"][0]) == {
        "id", "name", "op", "scope", "shape", "parameter", "norm", "pass",
    }  # fmt: skip
    assert {e["source"] for e in graph["edges"]} | {e["consumer"] for e in graph["edges"]} == set(ids)
    roles = [edge["role"] for edge in graph["edges"]]
    assert roles.count("skip") == roles.count("branch") == 3
    by_id = {node["id"]: node for node in graph["nodes"]}
    skips = [by_id[e["consumer"]]["op"] for e in graph["edges"] if e["role"] == "skip"]
    assert skips == ["Add", "Index", "Index"]


def test_json_and_csv(tmp_path):
    recording = flow.record(net(), *batch())
    recording.to_json(tmp_path / "r.json")
    document = json.loads((tmp_path / "r.json").read_text())
    assert document["graph"] == recording.graph() and document["loss"] == recording.loss
    assert document["forks"][0]["ratio"] == recording.forks[0].ratio
    recording.to_csv(tmp_path / "r.csv")
    with open(tmp_path / "r.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(recording.graph()["edges"])
    assert next(row["source"] for row in rows if row["role"] == "skip") == "relu: ReLU"


def test_backward_alone_can_be_recorded():
    x = Tensor(np.ones(3), requires_grad=True)
    loss = (x.exp() + x).sum()
    with flow.recording() as recorder:
        loss.backward()
    assert len(recorder.forks) == 1 and np.isnan(recorder.layers[0].mean)


def test_two_backward_passes_in_one_recording():
    with flow.recording() as recorder:
        for _ in range(2):
            x = Tensor(np.ones(3), requires_grad=True)
            (x.exp() + x).sum().backward()
            count = len(recorder.forks)
    assert count == 2


@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1e22])
def test_norms_survive_where_float32_would_under_or_overflow(scale):
    model = models.resnet_cifar(8, 4, in_channels=1)
    x, y = batch(dtype=np.float32)
    plain = flow.record(model, x, y)
    scaled = flow.record(model, x, y, loss=lambda z, t: F.cross_entropy(z, t) * scale)
    for one, other in zip(plain.forks, scaled.forks):
        assert other.skip / scale == pytest.approx(one.skip, rel=1e-3)
        assert other.branch / scale == pytest.approx(one.branch, rel=1e-3)
        assert other.cosine == pytest.approx(one.cosine, abs=1e-3) and other.sum_error < 1e-6
    for one, other in zip(plain.weight_layers, scaled.weight_layers):
        assert other.weight_gradient / scale == pytest.approx(one.weight_gradient, rel=1e-3)


@pytest.mark.filterwarnings("ignore:.*invalid value:RuntimeWarning", "ignore:.*overflow:RuntimeWarning")
def test_what_is_not_finite_is_not_called_exact():
    model = net()
    recording = flow.record(model, *batch(), loss=lambda z, t: F.cross_entropy(z, t) * float("inf"))
    assert np.isnan(recording.sum_error) and all(np.isnan(fork.sum_error) for fork in recording.forks)
    history = flow.FlowHistory()
    history.add(0, recording)
    history.add(1, flow.record(model, *batch()))
    assert np.isnan(history.sum_error)


def test_a_fork_through_which_nothing_came_has_no_ratio():
    fork = flow.Fork("a", skip=0.0, branch=0.0, total=0.0, cosine=0.0, sum_error=0.0, shape=(1,))
    assert np.isnan(fork.ratio) and np.isnan(fork.share)


def test_a_block_fed_by_the_data_itself_is_a_fork_too():
    random.manual_seed(0)
    model = nn.Sequential(models.ResidualBlock(3, 3), models.ResidualBlock(3, 3)).double()
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype(np.float32)  # converted to the model's type
    recording = flow.record(model, Tensor(x, requires_grad=True), x, loss=F.mse_loss)
    assert [fork.name for fork in recording.forks] == ["0", "1"] and recording.notes == []
    without = flow.record(model, x, x, loss=F.mse_loss)
    assert [fork.name for fork in without.forks] == ["1"] and "input without requires_grad" in without.notes[0]


def test_two_passes_over_one_graph_are_noted():
    x = Tensor(np.ones(3), requires_grad=True)
    with flow.recording() as recorder:
        loss = (x.exp() + x).sum()
        loss.backward(retain_graph=True)
        loss.backward()
    assert any("2 passes, kept apart" in note for note in recorder.notes)


def test_what_is_no_module_is_named():
    with pytest.raises(TypeError, match=r"record: got a function; expected an nn\.Module.*flow\.recording"):
        flow.record(lambda x: x, np.zeros((2, 3)), np.zeros(2, np.int64))


def test_several_inputs_are_not_stacked_into_one():
    model, two = nn.Linear(3, 2), (mr.ones(2, 3), mr.ones(2, 3))
    for probe in (
        lambda: flow.record(model, two, [0, 1]),
        lambda: flow.path_spectrum(model, list(two), [0, 1]),
        lambda: flow.jacobian(model, two),
        lambda: flow.landscape(model, [(two, [0, 1])]),
    ):
        with pytest.raises(
            TypeError, match=r"(record|path_spectrum|jacobian|landscape): got a (tuple|list) of tensors"
        ):
            probe()


def test_a_position_embedding_and_a_scale_per_channel_are_no_layers():
    class Embedded(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last, self.norm = nn.Linear(3, 4), nn.Linear(4, 2), nn.LayerNorm((5, 4))
            self.position, self.scale = nn.Parameter(mr.randn(1, 5, 4)), nn.Parameter(mr.ones(1, 1, 4))

        def forward(self, x):
            return self.last(self.norm((self.first(x) + self.position) * self.scale)).mean(1)

    recording = flow.record(Embedded(), mr.randn(2, 5, 3), [0, 1])
    assert [layer.name for layer in recording.weight_layers] == ["first", "last"]


def test_a_loss_that_is_none_is_named():
    model, x, y = mr.models.resnet_cifar(8, 4, in_channels=1), mr.ones(2, 1, 8, 8), mr.tensor([3, 7])
    with pytest.raises(TypeError, match="record: got loss='mse'; expected a function"):
        flow.record(model, x, y, loss="mse")
    with pytest.raises(TypeError, match="record: the loss returned a float; expected a Tensor"):
        flow.record(model, x, y, loss=lambda output, target: 3.0)
    for nothing in (None, (image for image in x)):
        with pytest.raises(TypeError, match=r"record: got .* data of dtype object; expected real numbers"):
            flow.record(model, nothing, y)


def test_tables_can_be_printed_where_the_code_page_has_few_letters():
    model, x, y = mr.models.resnet_cifar(8, 4, in_channels=1), mr.ones(2, 1, 8, 8), mr.tensor([3, 7])
    with flow.scaled(model, {"layer1.0.skip": 0.5}):
        recorded = flow.record(model, x, y)
    results = recorded, flow.responses(model, x), flow.variance_profile(model, x), flow.lesion(model, [(x, y)])
    for result in results:
        assert result.table().encode("cp1252")
