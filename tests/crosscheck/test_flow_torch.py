"""minires's instrument on PyTorch networks: minires's numbers from the same weights, and PyTorch's own, by hand."""

import copy
import importlib
import pickle
import random
import re
import subprocess
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

import minires as mr
from minires import models
from minires.flow import plots
from minires.flow.summands import measure_summands

torch = pytest.importorskip("torch", reason="PyTorch is not installed; the bridge to it needs it")
torch_resnets = importlib.import_module("benchmarks.workers.torch_resnets")  # like the bridge, these need PyTorch
flow_torch = importlib.import_module("minires.flow.torch")
measure = importlib.import_module("minires.flow.torch.measure")
checkpoint = importlib.import_module("torch.utils.checkpoint").checkpoint
nn, F = torch.nn, torch.nn.functional

torch.set_num_threads(1)
RELATIVE = 1e-9


def batch(n=4, size=8, channels=3, dtype=torch.float64):
    draw = torch.Generator().manual_seed(0)
    return torch.randn(n, channels, size, size, generator=draw, dtype=dtype), torch.arange(n) % 10


def net(dtype=torch.float64, **options):
    torch.manual_seed(0)
    return torch_resnets.cifar(8, width=4, **options).to(dtype)


class Residual(nn.Module):
    """x + branch(x), whatever the branch."""

    def __init__(self, *branch):
        super().__init__()
        self.branch = nn.Sequential(*branch)

    def forward(self, x):
        return x + self.branch(x)


def line(*modules):
    """Modules behind a layer, so that all that follows requires grad."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), *modules).double()


def rows(n=3):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64), torch.arange(n) % 4


# ── the same numbers ────────────────────────────────────────────────────────────────────────────────────────────────

PAIRS = {
    "resnet8-A": (lambda: models.resnet_cifar(8, 4), lambda: torch_resnets.cifar(8, width=4), 8),
    "resnet8-B": (lambda: models.resnet_cifar(8, 4, shortcut="B"), lambda: torch_resnets.cifar(8, "B", width=4), 8),
    "resnet8-C": (lambda: models.resnet_cifar(8, 4, shortcut="C"), lambda: torch_resnets.cifar(8, "C", width=4), 8),
    "preact8-A": (lambda: models.resnet_cifar(8, 4, preact=True), lambda: torch_resnets.cifar(8, "A", True, 4), 8),
    "preact8-B": (
        lambda: models.resnet_cifar(8, 4, preact=True, shortcut="B"),
        lambda: torch_resnets.cifar(8, "B", True, 4),
        8,
    ),
    "preact8-C": (
        lambda: models.resnet_cifar(8, 4, preact=True, shortcut="C"),
        lambda: torch_resnets.cifar(8, "C", True, 4),
        8,
    ),
    "resnet20": (lambda: models.resnet_cifar(20), lambda: torch_resnets.cifar(20), 16),
}
BIG = {
    "resnet56": (lambda: models.resnet_cifar(56), lambda: torch_resnets.cifar(56), 16),
    "preact56": (lambda: models.resnet_cifar(56, preact=True), lambda: torch_resnets.cifar(56, preact=True), 16),
    "resnet18": (lambda: models.resnet18(num_classes=10), lambda: torch_resnets.imagenet(18), 64),
    "resnet50": (lambda: models.resnet50(num_classes=10), lambda: torch_resnets.imagenet(50), 64),
}


@pytest.mark.parametrize(
    ("ours", "theirs", "size"),
    [*PAIRS.values(), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in BIG.values())],
    ids=[*PAIRS, *BIG],
)
def test_the_numbers_are_minires_own_and_those_found_by_hand(ours, theirs, size):
    mr.manual_seed(0)
    ours, theirs = ours().double(), theirs().double()
    theirs.load_state_dict({name: torch.tensor(np.asarray(a)) for name, a in ours.state_dict().items()})
    x, y = batch(size=size)
    one, other = mr.flow.record(ours, x.numpy(), y.numpy()), flow_torch.record(theirs, x, y)
    assert other.loss == pytest.approx(one.loss, rel=RELATIVE)
    assert [f.name for f in other.forks] == [f.name for f in one.forks] and len(one.forks) == len(theirs.blocks())
    by_hand = torch_resnets.forks_by_hand(lambda: F.cross_entropy(theirs(x), y).backward())
    for mine, fork, hand in zip(one.forks, other.forks, by_hand):
        numbers = fork.skip, fork.branch, fork.total, fork.cosine
        assert numbers == pytest.approx((mine.skip, mine.branch, mine.total, mine.cosine), rel=RELATIVE, abs=1e-9 / 100)
        assert numbers == pytest.approx(torch_resnets.numbers(*hand), rel=RELATIVE, abs=1e-9 / 100)
        assert fork.sum_error < 1e-15 and fork.shape == mine.shape
    assert [layer.name for layer in other.weight_layers] == [layer.name for layer in one.weight_layers]
    for layer, mine in zip(other.weight_layers, one.weight_layers):
        for key in ("mean", "std", "zeros", "output_gradient", "weight_gradient"):
            assert getattr(layer, key) == pytest.approx(getattr(mine, key), rel=RELATIVE, abs=1e-12), (layer.name, key)
        assert layer.weight_shape == mine.weight_shape and layer.op == mine.op


def test_edges_are_the_gradients_and_add_up_to_what_pytorch_returns():
    model, (x, y) = net(option="B"), batch()
    with flow_torch.recording(model, arrays=True) as recording:
        F.cross_entropy(model(x), y).backward()
    for name, p in model.named_parameters():
        np.testing.assert_allclose(sum(s.grad for s in recording.edges(p)), p.grad.numpy(), rtol=1e-12, err_msg=name)
        assert recording.edges(name)[0].norm == pytest.approx(float(p.grad.norm()))
    by_hand = torch_resnets.forks_by_hand(lambda: F.cross_entropy(model(x), y).backward())
    for (skip, branch), fork in zip(by_hand, recording.forks):
        np.testing.assert_allclose(fork.skip_grad, skip.numpy(), rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(fork.branch_grad, branch.numpy(), rtol=1e-9, atol=1e-15)


def test_table_figures_json_and_graph_are_those_of_any_recording(tmp_path):
    recording = flow_torch.record(net(), *batch())
    assert "layer2.0" in recording.table() and "conv1" in recording.table()
    recording.to_json(tmp_path / "r.json")
    recording.to_csv(tmp_path / "r.csv")
    assert "layer1.0.bn2: BatchNorm" in (tmp_path / "r.csv").read_text(encoding="utf-8")
    edges = recording.graph()["edges"]
    assert sum(edge["role"] == "skip" for edge in edges) == 3
    figure = recording.plot()
    assert len(figure.axes) >= 2
    plots.graph(plt.figure().add_subplot(), recording.graph())
    plt.close("all")


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda recording: pickle.loads(pickle.dumps(recording))])
def test_a_recording_can_be_sent_to_another_process(copied):
    recording = flow_torch.record(net(), *batch(), arrays=True)
    again = copied(recording)
    assert again.table() == recording.table() and again.notes == recording.notes and again.loss == recording.loss
    edges = [r.edges("layer1.0.relu: ReLU#2") for r in (recording, again)]
    for one, other in zip(*edges):
        assert one[:2] == other[:2] and np.array_equal(one.grad, other.grad)


# ── left as it was ──────────────────────────────────────────────────────────────────────────────────────────────────


def everything(model):
    """All that a model and the random generators hold, to be compared."""
    hooks = [len(v) for m in model.modules() for k, v in vars(m).items() if "hooks" in k and v is not None]
    return {
        "state": {name: value.clone() for name, value in model.state_dict().items()},
        "versions": [p._version for p in model.parameters()],
        "grads": [(id(p.grad), None if p.grad is None else p.grad.clone()) for p in model.parameters()],
        "hooks": hooks,
        "mode": [m.training for m in model.modules()],
        "random": (torch.get_rng_state().clone(), random.getstate(), str(np.random.get_state())),  # noqa: NPY002
        "requires": [p.requires_grad for p in model.parameters()],
    }


def assert_same(one, other):
    """The same contents, tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict | list | tuple):
        assert len(one) == len(other)
        if isinstance(one, dict):
            one, other = list(one.items()), list(other.items())
        for a, b in zip(one, other):
            assert_same(a, b)
    else:
        assert one == other


class Restless(nn.Module):
    """Draws random numbers everywhere, counts its calls and changes its mode."""

    def __init__(self):
        super().__init__()
        self.calls, self.seen = 0, []
        self.register_buffer("last", torch.zeros(2))

    def forward(self, x):
        self.calls += 1
        self.seen.append(random.random() + np.random.random())  # noqa: NPY002
        self.last = torch.full((2,), 7.0)
        self.training = not self.training
        return F.dropout(x, 0.1)


@pytest.mark.parametrize("backward_before", [False, True])
def test_record_leaves_the_model_exactly_as_it_was(backward_before):
    model, (x, y) = nn.Sequential(Restless(), net()), batch()
    model[1].layer1.eval()
    for p in model[1].fc.parameters():
        p.requires_grad_(False)
    user = model[1].conv1.register_forward_hook(lambda *call: None)
    if backward_before:
        F.cross_entropy(model(x), y).backward()
        model[0].calls = 0
    pending = F.cross_entropy(model[1](x), y)  # a graph of the user's own, made before
    before, last, seen = everything(model), model[0].last, list(model[0].seen)
    flow_torch.record(model, x, y)
    assert_same(before, everything(model))
    assert model[0].calls == 0 and model[0].seen == seen and model[0].last is last
    pending.backward()
    user.remove()
    assert not model[1].conv1._forward_hooks
    assert x.grad is None and not x.requires_grad


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
@pytest.mark.filterwarnings("ignore:Sparse")  # PyTorch says that these are in beta
def test_record_leaves_sparse_buffers_as_they_were(layout):
    class Graph(Residual):
        def __init__(self):
            super().__init__(nn.Linear(4, 4))
            self.register_buffer("neighbours", (torch.eye(3) + 0.5).to_sparse(layout=layout))

        def forward(self, x):
            self.neighbours.values().mul_(2) if layout == torch.sparse_csr else self.neighbours.mul_(2)
            self.neighbours = 2 * self.neighbours
            return x + self.branch(torch.sparse.mm(self.neighbours.double(), x))

    model = line(Graph())
    before = model[1].neighbours
    assert len(flow_torch.record(model, *rows()).forks) == 1
    assert model[1].neighbours is before and before.layout == layout
    assert torch.equal(before.to_dense().float(), torch.eye(3) + 0.5)


def test_recording_leaves_no_hook_and_changes_no_bit():
    x, y = batch(dtype=torch.float32)
    found = []
    for arrays in (None, False, True):
        model = net(torch.float32)
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        before = everything(model)["hooks"]
        for _ in range(2):
            optimizer.zero_grad()
            if arrays is None:
                F.cross_entropy(model(x), y).backward()
            else:
                with flow_torch.recording(model, arrays):
                    F.cross_entropy(model(x), y).backward()
            optimizer.step()
        assert everything(model)["hooks"] == before
        grads = [p.grad for p in model.parameters()]
        found.append([t.numpy().tobytes() for t in (*model.state_dict().values(), *grads)])
    assert found[0] == found[1] == found[2]


def test_hooks_go_when_the_model_fails():
    class Fails(nn.Module):
        def forward(self, x):
            raise ArithmeticError("on purpose")

    model = line(Residual(nn.Linear(4, 4)), Fails())
    before = everything(model)
    with pytest.raises(ArithmeticError, match="on purpose"):
        flow_torch.record(model, *rows())
    assert_same(before, everything(model))
    assert torch.overrides._get_current_function_mode_stack() == []


def test_importing_minires_and_its_instrument_does_not_import_torch():
    code = "import sys, minires.flow, minires.flow.recorder; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


# ── every kind of network ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_shared_module_and_a_shared_weight():
    shared = nn.Linear(4, 4)
    model = line(Residual(shared), nn.Tanh(), Residual(shared))
    recording = flow_torch.record(model, *rows(), arrays=True)
    assert [fork.name for fork in recording.forks] == ["1", "3"]
    assert any(note.startswith("1.branch.0.weight: used 2 times") for note in recording.notes)
    F.cross_entropy(model(rows()[0]), rows()[1]).backward()
    edges = recording.edges("1.branch.0.weight")
    assert [edge.consumer for edge in edges] == ["1.branch.0: Linear", "1.branch.0: Linear#2"]
    np.testing.assert_allclose(edges[0].grad + edges[1].grad, shared.weight.grad.numpy(), rtol=1e-12)


def test_an_embedding_tied_to_the_last_layer():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.out = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
            self.out.weight = self.embedding.weight
            self.block = Residual(nn.Linear(4, 4), nn.Tanh())

        def forward(self, x):
            return self.out(self.block(self.embedding(x)))

    torch.manual_seed(0)
    model, x = Tied().double(), torch.tensor([1, 4, 1])
    with flow_torch.recording(model, arrays=True) as recording:
        F.cross_entropy(model(x), x).backward()
    assert [fork.name for fork in recording.forks] == ["block"]
    one, two = recording.edges(model.out.weight)
    np.testing.assert_allclose(one.grad + two.grad, model.out.weight.grad.numpy(), rtol=1e-12)
    assert recording.forks[0].sum_error < 1e-15


def test_several_backward_calls_and_accumulation():
    model = net()
    with flow_torch.recording(model, arrays=True) as recording:
        for part in (slice(0, 2), slice(2, 4)):
            x, y = (t[part] for t in batch())
            (F.cross_entropy(model(x), y) / 2).backward()
            count = len(recording.forks)
    assert count == 6 and recording.passes == ["backward"] * 2
    for name, p in model.named_parameters():
        np.testing.assert_allclose(sum(s.grad for s in recording.edges(name)), p.grad.numpy(), rtol=1e-11, atol=1e-16)
    assert [fork.name for fork in recording.forks][3:] == [f"layer{i}.0 (backward 2)" for i in (1, 2, 3)]
    assert any(note.startswith("2 passes, kept apart") for note in recording.notes)


def test_two_walks_over_one_graph_and_torch_autograd_grad():
    model, (x, y) = line(Residual(nn.Linear(4, 4))), rows()
    x.requires_grad_()
    with flow_torch.recording(model, arrays=True) as recording:
        h = model(x)
        loss = F.cross_entropy(h, y)
        (g,) = torch.autograd.grad(loss, x, retain_graph=True)
        wanted = {"h": h, "w": model[0].weight}
        gh, gw = torch.autograd.grad(loss, wanted, retain_graph=True).values()
        torch.autograd.backward([loss, h], [None, torch.ones_like(h)])
    assert recording.passes == ["grad", "grad", "backward"]
    first, last = recording.edges(x)
    np.testing.assert_allclose(first.grad, g.numpy(), rtol=1e-12)
    np.testing.assert_allclose(last.grad, x.grad.numpy(), rtol=1e-12)
    at_h = recording.edges(h)
    assert [s.consumer for s in at_h[2:]] == ["LogSoftmax (backward 3)", "the start of backward (backward 3)"]
    np.testing.assert_allclose(at_h[1].grad, gh.numpy(), rtol=1e-12)
    of_weight = recording.edges(model[0].weight)
    assert len(of_weight) == 2  # the first call asked for x alone
    np.testing.assert_allclose(of_weight[0].grad, gw.numpy(), rtol=1e-12)
    assert all(node.sum_error < 1e-14 for node in recording.nodes)
    assert [fork.name for fork in recording.forks] == ["1 (grad 1)", "1 (grad 2)", "1 (backward 3)"]


def test_a_gradient_of_a_gradient():
    model, (x, y) = line(Residual(nn.Linear(4, 4), nn.Tanh())), rows()
    with flow_torch.recording(model) as recording:
        loss = F.cross_entropy(model(x), y)
        grads = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
        sum(g.square().sum() for g in grads).backward()
    assert recording.passes == ["grad", "backward"] and recording.forks[0].name == "1 (grad 1)"
    assert all(node.sum_error < 1e-12 for node in recording.nodes)


def test_frozen_layers():
    model, (x, y) = net(), batch()
    for p in (*model.conv1.parameters(), *model.bn1.parameters(), *model.layer1.parameters()):
        p.requires_grad_(False)
    recording = flow_torch.record(model, x, y)
    assert [fork.name for fork in recording.forks] == ["layer3.0"]  # what is frozen has no gradient to look at
    assert any(note.startswith("layer2.0: Add: one summand carries no gradient") for note in recording.notes)
    assert recording.weight_layers[0].name == "layer2.0.conv1"
    for p in model.parameters():
        p.requires_grad_(False)
    with pytest.raises(RuntimeError, match="record: the loss does not require grad: every parameter is frozen"):
        flow_torch.record(model, x, y)


def test_no_fork_at_all():
    recording = flow_torch.record(line(nn.ReLU(), nn.Linear(4, 4)), *rows())
    assert recording.forks == [] and "no fork" in recording.table() and recording.sum_error == 0
    assert [layer.name for layer in recording.weight_layers] == ["0", "2"]


def test_concatenation_has_edges_and_no_fork():
    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4 * (i + 1), 4) for i in range(2))

        def forward(self, x):
            for layer in self.layers:
                x = torch.cat([x, layer(x).tanh()], 1)
            return x

    model, (x, y) = line(Dense()), rows()
    recording = flow_torch.record(model, x, y, arrays=True)
    assert recording.forks == []
    edges = recording.edges("0: Linear")
    assert [edge.consumer for edge in edges] == ["1.layers.0: Linear", "1: Cat"]
    h = model[0](x).detach().requires_grad_()
    F.cross_entropy(model[1](h), y).backward()
    np.testing.assert_allclose(edges[0].grad + edges[1].grad, h.grad.numpy(), rtol=1e-12)


def test_split_outputs_are_one_tensor_with_zeros_where_the_others_are():
    class Halves(nn.Module):
        def forward(self, x):
            a, b = x.chunk(2, 1)
            return torch.cat([a + b.tanh(), b], 1)

    recording = flow_torch.record(line(Halves()), *rows(), arrays=True)
    node = next(node for node in recording.nodes if node.op == "Split")
    assert len(node.consumers) == 3 and node.sum_error < 1e-15 and node.shape == (12,)
    assert abs(node.cosines[0, 1]) < 1e-15  # what goes into different halves is orthogonal


def test_attention():
    torch.manual_seed(0)
    layer = torch_resnets.EncoderLayer(8, 2)
    model = nn.Sequential(nn.Linear(4, 8), nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)).double()
    x, target = (torch.randn(2, 5, width, dtype=torch.float64) for width in (4, 8))
    recording = flow_torch.record(model, x, target, loss=F.mse_loss)
    names = [f"1.layers.{i}{again}" for i in range(3) for again in ("", "#2")]
    assert [fork.name for fork in recording.forks] == names and recording.sum_error < 1e-14
    by_hand = torch_resnets.forks_by_hand(lambda: F.mse_loss(model(x), target).backward())
    for fork, hand in zip(recording.forks, by_hand):
        expected = torch_resnets.numbers(*hand)
        assert (fork.skip, fork.branch, fork.total, fork.cosine) == pytest.approx(expected, rel=1e-9)
    rows = {row.name: row for row in recording.weight_layers}
    assert (
        "1.layers.0.self_attn: MatMul" in rows
        and "1.layers.0.self_attn: Linear" in rows
        and np.isfinite(rows["1.layers.2.linear2"].std)
    )


def test_a_residual_in_functional_style_scaled_gated_and_with_a_custom_function():
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, g):
            return 2 * g

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.gate = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            x = torch.add(Double.apply(self.a(x)), x, alpha=0.5)
            g = self.gate(x).sigmoid()
            return g * x.tanh() + (1 - g) * x

    recording = flow_torch.record(line(Own()), *rows(), arrays=True)
    assert [fork.name for fork in recording.forks] == ["1", "1#2"]
    assert any(node.name == "1: Double" for node in recording.nodes)
    fork = recording.forks[0]
    np.testing.assert_allclose(np.linalg.norm(fork.skip_grad), fork.skip)


def test_a_block_that_ends_in_a_custom_function_has_its_scope():
    class Same(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            return g

    class Ends(nn.Module):
        def forward(self, x):
            return Same.apply(x.tanh())

    class GoesOn(Residual):
        def forward(self, x):
            return x + self.branch(Same.apply(x))

    recording = flow_torch.record(line(Ends(), GoesOn(nn.Linear(4, 4))), *rows())
    assert [node.name for node in recording.nodes if node.op == "Same"] == ["1: Same", "2: Same"]


# ── which layers have weights ──


class Standardised(nn.Linear):
    def forward(self, x):
        return F.linear(x, self.weight - self.weight.mean(1, keepdim=True), self.bias)


class StandardisedConv(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True), self.bias)


def test_a_layer_whose_weight_is_computed_is_listed_with_that_weight():
    parametrizations = nn.utils.parametrizations
    model = line(Standardised(4, 4), Residual(parametrizations.weight_norm(nn.Linear(4, 4))), nn.Linear(4, 4))
    parametrizations.spectral_norm(model[3])
    recording = flow_torch.record(model, *rows())
    assert [(row.name, row.op) for row in recording.weight_layers] == [
        (name, "Linear") for name in ("0", "1", "2.branch.0", "3")
    ]

    model = nn.Sequential(StandardisedConv(3, 2, 3), nn.Flatten()).double()
    (row,) = flow_torch.record(model, *batch(size=4)).weight_layers
    weight = (model[0].weight - model[0].weight.mean((1, 2, 3), keepdim=True)).detach().requires_grad_()
    F.cross_entropy(F.conv2d(batch(size=4)[0], weight, model[0].bias).flatten(1), batch()[1] % 8).backward()
    assert (row.name, row.op, row.weight_shape) == ("0", "Conv2d", (2, 3, 3, 3))
    assert row.weight_gradient == pytest.approx(float(weight.grad.norm()), rel=1e-12)


def test_a_parameter_that_is_added_multiplied_or_appended_is_no_layers_weight():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.positions, self.scale = (nn.Parameter(torch.ones(n, 4)) for n in (1, 4, 4))

        def forward(self, x):
            x = torch.cat([x, self.token]) + self.positions
            return torch.addcmul(x * self.scale, self.scale, x)[:3]

    assert [row.name for row in flow_torch.record(line(Positions(), nn.Linear(4, 4)), *rows()).weight_layers] == [
        "0",
        "2",
    ]


# ── what PyTorch does, and what is said of it ───────────────────────────────────────────────────────────────────────


class Checkpointed(nn.Module):
    def __init__(self, inner, reentrant):
        super().__init__()
        self.inner, self.reentrant = inner, reentrant

    def forward(self, x):
        return checkpoint(self.inner, x, use_reentrant=self.reentrant)


def test_checkpointing_without_reentry_has_the_same_forks_and_is_noted():
    plain, (x, y) = net(), batch()
    model = copy.deepcopy(plain)
    model.layer2 = Checkpointed(model.layer2, False)
    one, other = flow_torch.record(plain, x, y), flow_torch.record(model, x, y)
    for a, b in zip(one.forks, other.forks):
        assert b.name == a.name.replace("layer2.0", "layer2.inner.0")
        assert (b.skip, b.branch, b.cosine) == pytest.approx((a.skip, a.branch, a.cosine), rel=1e-9)
    notes = "\n".join(other.notes)
    assert "saved_tensors_hooks were in force" in notes and "running statistics move twice" in notes
    assert "layer2.inner.0: add_ wrote in place" in notes
    assert one.notes == []


def test_a_reentrant_checkpoint_hides_its_inside_and_says_so():
    model, (x, y) = net(), batch()
    model.layer2 = Checkpointed(model.layer2, True)
    with flow_torch.recording(model) as recording:
        F.cross_entropy(model(x), y).backward()
    assert [fork.name for fork in recording.forks] == ["layer1.0", "layer3.0"] and recording.passes == ["backward"]
    assert any("use_reentrant=True hides what is inside it" in note for note in recording.notes)


def test_save_on_cpu_is_noted():
    model, (x, y) = net(), batch()
    with flow_torch.recording(model) as recording:
        with torch.autograd.graph.save_on_cpu():
            loss = F.cross_entropy(model(x), y)
        loss.backward()
    assert sum("saved_tensors_hooks were in force" in note for note in recording.notes) == 3 + 1  # one for each add_
    assert not any("checkpoint computes its part again" in note for note in recording.notes)


def test_adding_in_place_to_a_view_is_noted():
    class View(nn.Module):
        def forward(self, x):
            out = (2 * x).view(-1, 2)
            out += x.view(-1, 2)
            return out.view(-1, 4)

    recording = flow_torch.record(line(View()), *rows())
    assert any(note.startswith("1: an in-place operation wrote into a view") for note in recording.notes)


ADDITIONS = {
    "x + y": lambda x, y: x + y,
    "x += y": lambda x, y: y.clone().add_(x),
    "torch.add(x, y, alpha=0.5)": lambda x, y: torch.add(x, y, alpha=0.5),
    "sum([x, y])": lambda x, y: sum([x, y]),
}
OTHERS = {
    "x - y": lambda x, y: x - y,
    "torch.stack([x, y]).sum(0)": lambda x, y: torch.stack([x, y]).sum(0),
    "torch.einsum": lambda x, y: torch.einsum("kij->ij", torch.stack([x, y])),
    "x.index_add(…)": lambda x, y: x.index_add(0, torch.arange(3), y),
}
NOTED = {
    "torch.lerp": lambda x, y: torch.lerp(x, y, 0.5),
    "addcmul": lambda x, y: torch.addcmul(x, y, torch.ones_like(y)),
    "addcdiv": lambda x, y: torch.addcdiv(x, y, torch.ones_like(y)),
    "baddbmm": lambda x, y: torch.baddbmm(x[None], y[None], torch.eye(4).double()[None])[0],
    "addbmm": lambda x, y: torch.addbmm(x, y[None], torch.eye(4).double()[None]),
}


@pytest.mark.parametrize("how", [*ADDITIONS, *OTHERS, *NOTED])
def test_which_additions_are_forks_is_as_the_page_says(how):
    class Own(Residual):
        def forward(self, x):
            return (ADDITIONS | OTHERS | NOTED)[how](x, self.branch(x))

    page = (Path(mr.__file__).parents[1] / "lessons" / "your_network.md").read_text(encoding="utf-8")
    recording = flow_torch.record(line(Own(nn.Linear(4, 4), nn.Tanh())), *rows())
    assert f"`{how}`" in page and [fork.name for fork in recording.forks] == ["1"] * (how in ADDITIONS)
    assert ["an addition inside it is no fork" in note for note in recording.notes] == [True] * (how in NOTED)


def test_a_sum_of_parameters_is_not_noted():
    class Affine(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.ones(4)), nn.Parameter(torch.zeros(4))

        def forward(self, x):
            return torch.addcmul(self.bias, self.weight, x)

    assert flow_torch.record(line(Affine()), *rows()).notes == []


@pytest.mark.parametrize("as_method", [True, False])
def test_a_compiled_model_is_refused(as_method):
    def compiled(model):
        return model.compile(backend="eager") or model if as_method else torch.compile(model, backend="eager")

    with pytest.raises(TypeError, match=r"record: .* was compiled by torch.compile, which fuses ops"):
        flow_torch.record(compiled(net()), *batch())
    with pytest.raises(TypeError, match="recording: its module '0' was compiled"):
        flow_torch.recording(nn.Sequential(compiled(net()))).__enter__()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_other_models_that_cannot_be_recorded_are_refused():
    with pytest.raises(TypeError, match=r"made by torch.jit"):
        flow_torch.record(torch.jit.script(nn.Linear(4, 4)), *rows())
    with pytest.raises(TypeError, match=r"0\.weight has no shape yet"):
        flow_torch.record(nn.Sequential(nn.LazyLinear(4)), *rows())
    with pytest.raises(TypeError, match=r"0\.weight is on the device \"meta\", where there are no numbers"):
        flow_torch.record(line().to("meta"), *rows())
    with pytest.raises(RuntimeError, match=r"under no_grad\(\) or inference_mode\(\)"), torch.inference_mode():
        flow_torch.record(line(), *rows())
    with pytest.raises(TypeError, match=r"record: got a ResNet as the model; expected a torch.nn.Module"):
        flow_torch.record(models.resnet_cifar(8), *batch())
    with pytest.raises(TypeError, match=r"from minires.flow import torch"):
        mr.flow.record(net(), *batch())
    with pytest.raises(ValueError, match=r"record: got a loss of shape \(3,\)"):
        flow_torch.record(line(), *rows(), loss=lambda z, y: F.cross_entropy(z, y, reduction="none"))


@pytest.mark.filterwarnings("ignore")  # PyTorch warns of itself when it compiles
def test_a_compiled_part_runs_op_by_op_and_a_compiled_graph_is_refused():
    part = torch.compile(lambda x: x + x.tanh(), backend="aot_eager")

    class Partly(nn.Module):
        def forward(self, x):
            return part(x)

    model, (x, y) = line(Partly()), rows()
    loss = F.cross_entropy(model(x), y)
    recording = flow_torch.record(model, x, y)
    assert [fork.name for fork in recording.forks] == ["1"]
    with pytest.raises(RuntimeError, match=r"made by torch.compile, which fuses ops"), flow_torch.recording(model):
        loss.backward()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_function_that_torch_jit_has_fused_is_refused():
    def plus_tanh(x):
        return x + x.tanh()

    scripted = torch.jit.script(plus_tanh)

    class Partly(nn.Module):
        def forward(self, x):
            return scripted(x)

    model, (x, y) = line(Partly()), rows()
    for _ in range(2):  # it takes notes, then it fuses
        F.cross_entropy(model(x), y).backward()
    with pytest.raises(RuntimeError, match=r"made by torch.jit, which fuses ops.*PYTORCH_JIT=0"):
        flow_torch.record(model, x, y)


def test_what_torch_func_does_is_not_recorded_and_said():
    def loss(x):
        return x.sin().sum()

    with flow_torch.recording() as recording:
        torch.func.grad(loss)(torch.ones(3))
        x = torch.ones(3, requires_grad=True)
        (x.sin() + x).sum().backward()
    assert len(recording.forks) == 1 and any("torch.func" in note for note in recording.notes)


def test_autocast():
    model, (x, y) = net(torch.float32), batch(dtype=torch.float32)
    plain = flow_torch.record(model, x, y)
    with torch.autocast("cpu", torch.bfloat16), flow_torch.recording(model, arrays=True) as recording:
        F.cross_entropy(model(x), y).backward()
    assert [fork.name for fork in recording.forks] == [fork.name for fork in plain.forks]
    assert [row.name for row in recording.weight_layers] == [row.name for row in plain.weight_layers]
    for a, b in zip(plain.forks, recording.forks):
        assert (b.skip, b.branch) == pytest.approx((a.skip, a.branch), rel=0.1) and b.sum_error < 0.01
    (edge,) = recording.edges("conv1.weight")
    np.testing.assert_allclose(edge.grad, model.conv1.weight.grad.numpy())


def test_channels_last():
    model, (x, y) = net(), batch()
    plain = flow_torch.record(model, x, y)
    model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    for a, b in zip(plain.forks, flow_torch.record(model, x, y).forks):
        assert (a.skip, a.branch, a.cosine) == pytest.approx((b.skip, b.branch, b.cosine), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_types(dtype):
    recording = flow_torch.record(net(dtype, option="B"), *batch())
    assert len(recording.forks) == 3 and recording.sum_error < 3 * torch.finfo(dtype).eps
    assert all(np.isfinite(row.std) for row in recording.weight_layers)


def test_complex_numbers_are_measured_as_pairs():
    x = torch.tensor([3 + 4j, 1j], requires_grad=True)
    with flow_torch.recording() as recording:
        y = x + x.exp() * 0
        y.abs().sum().backward()
    assert recording.forks[0].total == pytest.approx(float(x.grad.abs().square().sum().sqrt()))


# ── what is written for readers ──


def test_the_page_about_a_network_of_your_own_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = (Path(mr.__file__).parents[1] / "lessons" / "your_network.md").read_text(encoding="utf-8")
    names = {}
    for code in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        exec(code, names)
    plt.close("all")
    assert [fork.name for fork in names["recording"].forks] == ["1", "2", "3"] and names["recording"].sum_error < 1e-6
    assert [fork.name for fork in names["by_hand"].forks] == ["Add"]
    printed = capsys.readouterr().out
    assert "2.conv1: Conv2d" in printed and "2: Add" in printed
    assert (tmp_path / "my-network.png").exists() and (tmp_path / "my-network.json").exists()


# ── on a GPU ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("scale", [1, 1e-30, 1e30, 0, np.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_measured_on_a_device_is_what_is_measured_in_memory(count, scale, dtype):
    draw = torch.Generator().manual_seed(count)
    grads = [torch.randn(5, 7, generator=draw, dtype=dtype) * scale for _ in range(count)]
    total = sum(grads)
    with np.errstate(all="ignore"):
        expected = measure_summands([g.numpy() for g in grads], total.numpy())
    got = measure.on_device(grads, total).get()
    assert got.norms == pytest.approx(expected.norms, rel=1e-5, nan_ok=True)
    if np.isfinite(scale):
        assert got.norm == pytest.approx(expected.norm, rel=1e-5)
        np.testing.assert_allclose(got.cosines, expected.cosines, atol=1e-5)
        for a, b in zip(got.others, expected.others):
            assert a == pytest.approx(b, rel=1e-5)
        assert got.error == pytest.approx(expected.error, abs=1e-7)
    else:
        assert not np.isfinite(got.norm) and np.isnan(got.error)


def test_a_recording_whose_numbers_stay_on_the_device_is_the_same(monkeypatch):
    """The path that a GPU takes, taken on the CPU."""
    model, (x, y) = net(option="B"), batch()
    expected = flow_torch.record(model, x, y)
    monkeypatch.setattr(measure, "in_memory", lambda tensor: False)
    found = flow_torch.record(model, x, y)
    for a, b in zip(expected.forks, found.forks):
        assert (b.skip, b.branch, b.cosine) == pytest.approx((a.skip, a.branch, a.cosine), rel=1e-9)
    for a, b in zip(expected.weight_layers, found.weight_layers):
        for key in ("mean", "std", "zeros", "output_gradient", "weight_gradient"):
            assert getattr(b, key) == pytest.approx(getattr(a, key), rel=1e-9, abs=1e-12)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, and a PyTorch that can use it")
def test_on_a_real_gpu():
    model, (x, y) = net(option="B"), batch()
    expected = flow_torch.record(model, x, y)
    before = torch.cuda.get_rng_state()
    found = flow_torch.record(model.cuda(), x, y, arrays=True)
    assert torch.equal(before, torch.cuda.get_rng_state())
    for a, b in zip(expected.forks, found.forks):
        assert (b.skip, b.branch, b.cosine) == pytest.approx((a.skip, a.branch, a.cosine), rel=1e-9)
        assert b.skip_grad.is_cuda
