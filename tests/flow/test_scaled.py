"""Gradients cut and scaled at forks, against graphs built by hand with ``detach()``."""

import csv
import json
import math
import types

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import minires as mr
from minires import data, flow, models, nn, optim, random, train
from minires.flow import plots
from minires.nn import functional as F
from minires.state import current

FACTORS = st.sampled_from([0.0, 1.0, 0.5, -1.0, 3.0]) | st.floats(-4, 4)


def along(x, factor):
    """x, through which the gradient comes back multiplied."""
    return x.detach() if factor == 0 else x if factor == 1 else factor * x + (1 - factor) * x.detach()


def net(**options):
    random.manual_seed(0)
    return models.resnet_cifar(8, 4, in_channels=1, **options).double()


def batch():
    x = np.random.default_rng(1).standard_normal((6, 1, 8, 8))
    return mr.Tensor(x, requires_grad=True), mr.Tensor(np.arange(6))


def gradients(model, factors=None, by_hand=lambda model: None):
    """Loss and gradients of the input and all parameters, scaled by the library or by a model changed by hand."""
    by_hand(model)
    (x, y), loss = batch(), None
    if factors is None:
        loss = F.cross_entropy(model(x), y)
        loss.backward()
    else:
        with flow.scaled(model, factors):
            loss = F.cross_entropy(model(x), y)
            loss.backward()
    return [loss.item(), *(t.grad.numpy() for t in (x, *model.parameters()))]


def assert_close(found, expected, rtol=1e-9):
    scale = max(np.abs(e).max() for e in expected[1:])
    for f, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(f, e, rtol=rtol, atol=1e-12 * scale)


def scale_by_hand(block, skip, branch):
    """Let a block of ours read its input through `along`, once for each way."""
    shortcut, inner = block.shortcut, block.branch
    block.shortcut = types.MethodType(lambda self, *inputs: shortcut(*(along(x, skip) for x in inputs)), block)
    block.branch = types.MethodType(lambda self, x: inner(along(x, branch)), block)
    if hasattr(block, "gate"):
        gate = block.gate
        block.gate = types.MethodType(lambda self, x: gate(along(x, branch)), block)


@pytest.mark.parametrize("shortcut", ["A", "B", "C"])
@pytest.mark.parametrize("preact", [False, True])
@pytest.mark.parametrize("factor", [0, 0.5, -2])
def test_a_scaled_skip_is_a_detached_part_of_x(shortcut, preact, factor):
    def by_hand(model):
        for block in model.blocks():
            scale_by_hand(block, factor, 1)

    options = {"shortcut": shortcut, "preact": preact}
    assert_close(gradients(net(**options), {"*.skip": factor}), gradients(net(**options), None, by_hand))


KINDS = {
    "residual": models.ResidualBlock,
    "bottleneck": models.Bottleneck,
    "scaled": models.ScaledBlock,
    "shortcut gate": models.ShortcutGateBlock,  # the gate is one more branch
    "exclusive gate": models.ExclusiveGateBlock,
}


@pytest.mark.parametrize("kind", KINDS)
def test_both_ways_of_every_kind_of_block(kind):
    def build():
        random.manual_seed(0)
        option = (
            "A" if "gate" in kind else "B"
        )  # a recording takes the gate of option B for the skip: its way is shorter
        return models.ResNet(KINDS[kind], [1, 2], [4, 8], in_channels=1, shortcut=option).double()

    def by_hand(model):
        scale_by_hand(model.layer2[0], 0.25, -3)
        scale_by_hand(model.layer1[0], 2, 2)

    factors = {"layer2.0.skip": 0.25, "layer2.0.branch": -3, "layer1.*": 2}
    found = gradients(build(), factors)
    assert_close(found, gradients(build(), None, by_hand))
    ordinary = gradients(build())
    assert found[0] == ordinary[0] and not np.allclose(found[1], ordinary[1])


class Blocks(nn.Module):
    """Small blocks of five kinds, in which every fork has its own factors (1, 1: as they are)."""

    KINDS = "identity", "projected", "two branches", "nested", "relu"

    def __init__(self, kinds, factors=None):
        super().__init__()
        self.blocks_ = nn.ModuleList([Block(k, *(factors or {}).get(i, (1, 1))) for i, k in enumerate(kinds)])

    def forward(self, x):
        for block in self.blocks_:
            x = block(x)
        return x


class Block(nn.Module):
    def __init__(self, kind, skip=1, branch=1):
        super().__init__()
        self.kind, self.factors = kind, (skip, branch)
        self.a, self.b, self.c = (nn.Linear(3, 3) for _ in range(3))

    def forward(self, x):
        x = x.tanh()  # a tensor of its own, so that the fork is this block's
        s, b = (x if factor == 1 else factor * x + (1 - factor) * x.detach() for factor in self.factors)
        if self.kind == "identity":
            return self.b(self.a(b).tanh()) + s
        if self.kind == "projected":
            return self.b(self.a(b).tanh()) + self.c(s)
        if self.kind == "two branches":
            return self.b(self.a(b).tanh()) + self.c(b).exp() + s
        if self.kind == "nested":
            inner = self.a(b)
            return self.c(self.b(inner).tanh()).tanh() + s
        return b.relu() * b.relu() + s


@settings(max_examples=60)
@given(st.data())
def test_random_nets_and_factors(data):
    kinds = data.draw(st.lists(st.sampled_from(Blocks.KINDS), min_size=1, max_size=4))
    chosen = {i: (data.draw(FACTORS), data.draw(FACTORS)) for i in range(len(kinds)) if data.draw(st.booleans())}
    found = []
    for factors, scaling in ((None, chosen), (chosen, {})):
        random.manual_seed(0)
        model = Blocks(kinds, factors).double()
        x = mr.Tensor(np.random.default_rng(2).standard_normal((4, 3)), requires_grad=True)
        patterns = {f"blocks_.{i}.{way}": f for i, pair in scaling.items() for way, f in zip(("skip", "branch"), pair)}
        with flow.scaled(model, patterns):
            (model(x) ** 2).sum().backward()
        grads = [t.grad for t in (x, *model.parameters())]  # a block need not use all of its layers
        found.append([0.0, *(np.zeros(1) if grad is None else grad.numpy() for grad in grads)])
    assert_close(*found)


def test_a_cut_is_a_detach_bit_for_bit():
    def by_hand(model):
        for block in model.blocks():
            scale_by_hand(block, 0, 1)

    for found, expected in zip(gradients(net(), {"*.skip": 0}), gradients(net(), None, by_hand), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_forward_is_not_touched_and_factors_of_1_change_nothing():
    one, two, three = net(), net(), net()
    x, y = batch()
    expected = gradients(one)
    for found in (gradients(two, {"*": 1}), gradients(three, {})):
        assert all(np.array_equal(f, e) for f, e in zip(found, expected, strict=True))
    with flow.scaled(two, {"*": -7}):
        assert np.array_equal(two(x).numpy(), one(x).numpy())
        F.cross_entropy(two(x), y).backward()
    one(x)
    for name, value in one.state_dict().items():
        assert np.array_equal(value, two.state_dict()[name])


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("arrays", [False, True])
def test_a_recording_shows_what_came_and_what_was_passed_on(inside, arrays):
    """Only the last fork is scaled, so that what comes to it is what comes in an ordinary pass."""
    ordinary = flow.record(net(), *batch(), arrays=True).forks[-1]
    model, (x, y) = net(), batch()
    outer, inner = flow.scaled(model, {"layer3.0.skip": -0.5, "layer3.0.branch": 0}), flow.recording(model, arrays)
    with outer if inside else inner as first, inner if inside else outer as second:
        F.cross_entropy(model(x), y).backward()
    recording = second if inside else first
    fork = recording.forks[-1]
    assert (fork.skip_factor, fork.branch_factor) == (-0.5, 0)
    assert fork.skip_came == pytest.approx(ordinary.skip) and fork.branch_came == pytest.approx(ordinary.branch)
    assert fork.skip == pytest.approx(0.5 * ordinary.skip) == pytest.approx(fork.total) and fork.branch == 0
    assert fork.sum_error == 0 and recording.sum_error < 1e-12 and fork.share == 0 and fork.cosine == 0
    assert [way for f in recording.forks for way, _ in f.scaled_ways()] == ["skip", "branch"]
    node = next(node for node in recording.nodes if node.scaling)
    summands = recording.edges(node.name)
    by_factor = {f: (s.norm, norm) for f, s, norm in zip(node.scaling.factors, summands, node.scaling.norms)}
    assert by_factor[0.0] == (0, pytest.approx(ordinary.branch))
    assert by_factor[-0.5] == (pytest.approx(0.5 * ordinary.skip), pytest.approx(ordinary.skip))
    if arrays:
        np.testing.assert_allclose(fork.skip_grad, -0.5 * ordinary.skip_grad)
        np.testing.assert_allclose(sum(node.scaling.grads), ordinary.skip_grad + ordinary.branch_grad)


def test_several_branches_have_one_factor():
    random.manual_seed(0)
    model = Blocks(["two branches"]).double()
    call = model, mr.Tensor(np.random.default_rng(2).standard_normal((4, 3))), np.ones((4, 3)), F.mse_loss
    call[1].requires_grad_()
    (ordinary,) = flow.record(*call).forks
    with flow.scaled(model, {"blocks_.0.branch": 2}):
        (fork,) = flow.record(*call).forks
    assert (fork.branch_factor, fork.skip_came) == (2, None) and fork.branch_came == pytest.approx(ordinary.branch)
    assert fork.branch == pytest.approx(2 * ordinary.branch) and fork.sum_error < 1e-15


def test_every_form_of_a_recording_says_so(tmp_path):
    model = net()
    with flow.scaled(model, {"layer1.*.skip": 0, "layer2.*.branch": 0.5}):
        recording = flow.record(model, *batch())
    assert "came back: skip" in recording.table() and "× 0.5" in recording.table()
    assert any("skip × 0 at 1 of 3 forks" in note for note in recording.notes)
    recording.to_json(tmp_path / "r.json")
    document = json.loads((tmp_path / "r.json").read_text())
    assert [fork["skip_factor"] for fork in document["forks"]] == [0, 1, 1]
    assert [fork["branch_came"] for fork in document["forks"]] == [None, recording.forks[1].branch_came, None]
    edges = [e for e in document["graph"]["edges"] if e["factor"] != 1]
    assert [(e["role"], e["factor"], e["norm"] == e["came"] * e["factor"]) for e in edges] == [
        ("skip", 0, True),
        ("branch", 0.5, True),
    ]
    recording.to_csv(tmp_path / "r.csv")
    with open(tmp_path / "r.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if float(row["factor"]) != 1]
    assert [(row["role"], float(row["came"]) > 0, float(row["gradient_norm"]) > 0) for row in rows] == [
        ("skip", True, False),
        ("branch", True, True),
    ]
    history = flow.FlowHistory()
    history.add(0, recording)
    history.save(tmp_path / "h.json")
    assert flow.FlowHistory.load(tmp_path / "h.json").forks == [recording.forks]
    written = [text.get_text() for ax in recording.plot().axes for text in ax.texts]
    assert any("×0" in text for text in written) and any("×0.5" in text for text in written)
    _, ax = plt.subplots()
    written = [text.get_text() for text in plots.graph(ax, recording.graph()).texts]
    assert sum("×0" in text for text in written) == 2
    plt.close("all")


@pytest.mark.parametrize("every", [1, 2])
def test_with_recomputing_and_checkpoint(every):
    plain = gradients(net(), {"*.skip": 0.3})
    again = gradients(net(recompute_every=every), {"*.skip": 0.3})
    assert all(np.array_equal(a, b) for a, b in zip(again, plain, strict=True))
    model, (x, y) = net(), batch()
    with flow.scaled(model, {"*.skip": 0.3}), flow.recording(model) as recording:
        F.cross_entropy(mr.checkpoint(model, x), y).backward()
    assert np.array_equal(x.grad.numpy(), plain[1]) and len(recording.forks) == 3 and recording.sum_error < 1e-12


def test_several_passes_accumulation_and_grad():
    model, (x, y) = net(), batch()
    expected = gradients(net(), {"*.skip": 0})
    with flow.scaled(model, {"*.skip": 0}), flow.recording(model) as recording:
        loss = F.cross_entropy(model(x), y)
        (found,) = mr.grad(loss, x, retain_graph=True)
        (weight,) = mr.grad(loss, model.layer3[0].conv1.weight, retain_graph=True)
        loss.backward(retain_graph=True)
        loss.backward()
    assert np.array_equal(found.numpy(), expected[1]) and np.array_equal(x.grad.numpy(), 2 * expected[1])
    by_name = dict(zip([name for name, _ in model.named_parameters()], expected[2:]))
    assert np.array_equal(weight.numpy(), by_name["layer3.0.conv1.weight"])
    assert len(recording.passes) == 4 and all(fork.skip == 0 < fork.skip_came for fork in recording.forks)
    x.grad = None
    F.cross_entropy(model(x), y).backward()
    np.testing.assert_array_equal(x.grad.numpy(), gradients(net())[1])  # outside, nothing is scaled


def test_blocks_nest_and_the_last_pattern_counts():
    both = gradients(net(), {"*.skip": 0.5, "layer2.0.skip": 1.5})
    model, (x, y) = net(), batch()
    with flow.scaled(model, {"*.skip": 0.25}), flow.scaled(model, {"*.skip": 2, "layer2.*.skip": 6}):
        F.cross_entropy(model(x), y).backward()
    np.testing.assert_array_equal(x.grad.numpy(), both[1])


def test_a_block_that_runs_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = Block("identity")

        def forward(self, x):
            return self.block(self.block(x))

    def x_grad(pattern):
        random.manual_seed(0)
        model, x = Twice().double(), mr.Tensor(np.ones((1, 3)), requires_grad=True)
        with flow.scaled(model, {pattern: 0}), flow.recording(model) as recording:
            (model(x) ** 2).sum().backward()
        return [(fork.name, fork.skip_factor) for fork in recording.forks]

    assert x_grad("block.skip") == [("block", 0), ("block#2", 0)]
    assert x_grad("block#1.skip") == [("block", 0), ("block#2", 1)]
    assert x_grad("block#2.skip") == [("block", 1), ("block#2", 0)]


def test_other_models_are_left_alone():
    model, other = net(), net()
    x, y = batch()
    with flow.scaled(model, {"*.skip": 0}):
        F.cross_entropy(other(x), y).backward()
        np.testing.assert_array_equal(x.grad.numpy(), gradients(net())[1])
        x.grad = None
        (F.cross_entropy(model(x), y) + F.cross_entropy(other(x), y)).backward()
    both = gradients(net(), {"*.skip": 0})[1] + gradients(net())[1]
    np.testing.assert_allclose(x.grad.numpy(), both, rtol=1e-12)


def test_a_frozen_network_and_the_gradient_of_its_input():
    frozen = net().requires_grad_(False)
    (x, y), expected = batch(), gradients(net(), {"*.skip": 0})[1]
    with flow.scaled(frozen, {"*.skip": 0}):
        F.cross_entropy(frozen(x), y).backward()
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-12)


def test_0_cuts_infinities_too():
    model = Blocks(["relu"]).double()
    x = mr.Tensor(np.ones((1, 3)), requires_grad=True)
    with flow.scaled(model, {"*": 0}):
        (model(x) * mr.tensor([math.inf, math.nan, 1.0]).double()).backward(np.ones((1, 3)))
    assert np.array_equal(x.grad.numpy(), np.zeros((1, 3)))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_type_stays(dtype):
    model = Blocks(["identity", "projected"]).to(dtype)
    x = mr.ones(2, 3).to(dtype).requires_grad_()
    with flow.scaled(model, {"*.skip": np.float64(0.1), "*.branch": 0}):
        model(x).sum().backward()
    assert {t.grad.dtype for t in (x, *model.parameters()) if t.grad is not None} == {np.dtype(dtype)}


def test_on_the_cuda_kernels():
    model, (x, y) = net().float(), batch()
    there = net().float().to("cuda-on-cpu")
    for m, device in ((model, "cpu"), (there, "cuda-on-cpu")):
        inputs = x.detach().float().to(device), y.to(device)
        with flow.scaled(m, {"layer1.0.skip": 0, "layer2.*": 0.5}):
            recording = flow.record(m, *inputs)
            F.cross_entropy(m(inputs[0]), inputs[1]).backward()
        assert recording.forks[0].skip == 0 < recording.forks[0].skip_came
    for p, q in zip(model.parameters(), there.parameters()):
        np.testing.assert_allclose(q.grad.numpy(), p.grad.numpy(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("fuse", [False, True])
def test_in_a_captured_training_step(fuse):
    digits = data.digits()[0].subset(32)

    def run(graph):
        model = net().float().to("cuda-on-cpu")
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        with flow.scaled(model, {"*.skip": 0}):
            train.fit(model, digits, optimizer, epochs=4, batch_size=32, progress=False, graph=graph, fuse=fuse)
        return model.state_dict()

    captured, eager = run(True), run(False)
    rounding = {"rtol": 1e-4, "atol": 1e-5} if fuse else {"rtol": 0}  # convolutions add batch norm's sums otherwise
    for name in eager:
        np.testing.assert_allclose(captured[name], eager[name], err_msg=name, **rounding)


def test_training_and_what_a_checkpoint_knows(tmp_path):
    digits = data.digits()[0].subset(128)

    def run(epochs, factors, path=None):
        model = net().float()
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        with flow.scaled(model, factors):
            train.fit(model, digits, optimizer, epochs=epochs, batch_size=64, progress=False, checkpoint=path)
        return model.state_dict()

    whole = run(2, {"*.skip": 0})
    run(1, {"*.skip": 0}, tmp_path / "run.npz")
    resumed = run(2, {"*.skip": 0}, tmp_path / "run.npz")
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)
    assert not np.array_equal(whole["conv1.weight"], run(2, {})["conv1.weight"])
    run(1, {"*.skip": 0}, tmp_path / "other.npz")
    with pytest.raises(train.CheckpointError, match="gradients scaled"):
        run(2, {}, tmp_path / "other.npz")


def test_the_only_path_that_is_left_of_a_spectrum():
    model, (x, y) = net(), batch()
    with flow.scaled(model, {"*.skip": 0}):
        spectrum = flow.path_spectrum(model, x, y, progress=False)
    assert (spectrum.norms[:-1] == 0).all() and spectrum.norms[-1] > 0 and spectrum.sum_error < 1e-12


def test_the_jacobian_is_that_of_the_forward_pass():
    model, (x, y) = net(), batch()
    ordinary = flow.jacobians(model, x, count=1, progress=False)
    with flow.scaled(model, {"*.skip": 0}):
        F.cross_entropy(model(x), y).backward()
        inside = flow.jacobians(model, x, count=1, progress=False)
    assert [j.values.tolist() for j in inside] == [j.values.tolist() for j in ordinary]


def test_a_block_that_is_dropped_now_and_then():
    random.manual_seed(0)
    model = models.VARIANTS["stochastic-depth"].build(20, 2, in_channels=1).double()
    x, y = batch()
    dropped = 0
    with flow.scaled(model, {f"{name}.{i}.skip": 0 for name in ("layer1", "layer2", "layer3") for i in range(3)}):
        for _ in range(12):
            with flow.recording(model) as recording:
                F.cross_entropy(model(x), y).backward()
            assert all(fork.skip_factor == 0 for fork in recording.forks)
            dropped += 9 - len(recording.forks)
    assert dropped > 0


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({"layer9.*.skip": 0}, r"'layer9.\*.skip' matches no skip .*nearest of its 6 names: layer\d.0.skip"),
        ({"layer1.0": 0}, "'layer1.0' matches no skip.*nearest of its 6 names: layer1.0.skip"),
        ({"layer1.0.conv1.skip": 0}, "'layer1.0.conv1.skip' matches no"),
        ({"*.skip": math.nan}, "got nan for '.*.skip'; expected a finite number"),
        ({"*.skip": math.inf}, "got inf"),
        ({"*.skip": "half"}, "expected a fork's name and a number"),
        ({0: 0}, "expected a fork's name and a number"),
        ("*.skip", "expected a model of minires and a dict"),
    ],
)
def test_mistakes_are_said(factors, message):
    model, (x, y) = net(), batch()
    loss = F.cross_entropy(model(x), y)
    with pytest.raises((ValueError, TypeError), match=message), flow.scaled(model, factors):
        loss.backward()
    assert current().scaling is None
    assert all(p.grad is None for p in model.parameters())
    loss.backward()  # the graph is as it was


def test_nothing_to_scale_is_said():
    model, (x, y) = net(), batch()
    plain = net(residual=False)
    with pytest.raises(ValueError, match="it has no fork"), flow.scaled(plain, {"*.skip": 0}):
        F.cross_entropy(plain(x), y).backward()
    with pytest.raises(RuntimeError, match="no gradient came back through this ResNet"):
        with flow.scaled(model, {"*.skip": 0}):
            loss = F.cross_entropy(model(x), y)
    loss.backward()
    with pytest.raises(ValueError, match="matches no"), flow.scaled(model, {"layer1.0.skip": 0, "layer2.*.skp": 0}):
        F.cross_entropy(model(x), y).backward()
    with pytest.raises(KeyError), flow.scaled(model, {"*.skip": 0}):
        raise KeyError("what went wrong inside is what is seen")
