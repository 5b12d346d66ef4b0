"""Several walks back in one recording: each is kept apart and named, and together they make ``.grad``."""

import csv
import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, strategies as st

import minires as mr
from minires import autograd, flow, models, random
from minires.flow import plots
from minires.nn import functional as F


def net(**options):
    random.manual_seed(0)
    return models.resnet_cifar(8, 4, in_channels=1, **options).double()


def batch(seed=1):
    return mr.Tensor(np.random.default_rng(seed).standard_normal((6, 1, 8, 8))), mr.Tensor(np.arange(6))


def leaf(seed):
    return mr.Tensor(np.random.default_rng(seed).standard_normal(3), requires_grad=True)


def sent_by_backward(recording, tensor):
    """The sum of what all calls of backward sent to a leaf tensor."""
    if recording.passes in ([], ["grad"]):
        return None
    try:
        found = [summand.grad for summand in recording.edges(tensor) if "(grad " not in summand.consumer]
    except KeyError:
        return None
    return sum(found) if found else None


OPS = {
    "add": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "skip": lambda a, b: (a * 0.5).tanh() + a,
    "exp": lambda a, b: (b * 0.1).exp(),
    "twice": lambda a, b: a * a,
}


@given(st.data())
def test_the_summands_of_all_passes_add_up_to_grad(data):
    """Random graphs over three leaves, walked back by random calls: retained, separate, of several outputs, by grad."""
    leaves = [leaf(i) for i in range(3)]
    with flow.recording(arrays=True) as recording:
        for _ in range(data.draw(st.integers(1, 4))):
            tensors = list(leaves)
            for _ in range(data.draw(st.integers(1, 5))):
                op = OPS[data.draw(st.sampled_from(list(OPS)))]
                tensors.append(op(*(data.draw(st.sampled_from(tensors)) for _ in range(2))))
            outputs = [data.draw(st.sampled_from(tensors)), tensors[-1]][: data.draw(st.integers(1, 2))]
            seeds = [np.full(3, float(k + 1)) for k in range(len(outputs))]
            for keep in (True, False)[data.draw(st.integers(0, 1)) :]:
                if data.draw(st.booleans()):
                    autograd.backward(outputs, seeds, keep)
                else:
                    wanted = data.draw(st.sampled_from(tensors))
                    autograd.grad(outputs, wanted, seeds, retain_graph=keep, allow_unused=True)
    for tensor in leaves:
        sent = sent_by_backward(recording, tensor)
        if tensor.grad is None:
            assert sent is None
        else:
            np.testing.assert_allclose(sent, tensor.grad, rtol=1e-12)
    names = [(node.pass_, node.name) for node in (recording.nodes if recording.passes else [])]
    assert len(set(names)) == len(names) and all(name.strip(": ") for _, name in names)
    assert len({node.key for node in (recording.nodes if recording.passes else [])}) == len(names)
    assert [number for number, _ in names] == sorted(number for number, _ in names)


def test_accumulation_over_two_batches():
    model = net()
    with flow.recording(model, arrays=True) as recording:
        for seed in (1, 2):
            x, y = batch(seed)
            F.cross_entropy(model(x), y).backward()
    assert recording.passes == ["backward", "backward"]
    summands = recording.edges("conv1.weight")
    assert [s.consumer for s in summands] == ["conv1: Conv2d", "conv1: Conv2d (backward 2)"]
    for name, p in model.named_parameters():
        np.testing.assert_allclose(sum(s.grad for s in recording.edges(p)), p.grad, rtol=1e-12, err_msg=name)
        assert len(recording.edges(name)) == 2
    (second,) = recording.edges("conv1.weight (backward 2)")
    assert second.norm == summands[1].norm
    assert any(note.startswith("2 passes, kept apart") for note in recording.notes)
    one = [flow.record(model, *batch(seed)) for seed in (1, 2)]
    for number, alone in enumerate(one, start=1):  # each pass is what it would be alone
        own = [fork for fork in recording.forks if fork.pass_ == number]
        assert [(f.skip, f.branch, f.cosine) for f in own] == [(f.skip, f.branch, f.cosine) for f in alone.forks]
        rows = [row for row in recording.layers if row.pass_ == number]
        assert [(r.mean, r.output_gradient) for r in rows] == [(r.mean, r.output_gradient) for r in alone.layers]
    assert [fork.name for fork in recording.forks][3:] == [f"layer{i}.0 (backward 2)" for i in (1, 2, 3)]
    assert recording.layers[-1].name == "Div (backward 2)"  # the mean over the batch


def test_two_losses_on_one_retained_graph():
    model, (x, y) = net(), batch()
    with flow.recording(model, arrays=True) as recording:
        output = model(x)
        F.cross_entropy(output, y).backward(retain_graph=True)
        (output * output).mean().backward()
    np.testing.assert_allclose(sum(s.grad for s in recording.edges("fc.weight")), model.fc.weight.grad, rtol=1e-12)
    for tensor in (output, "fc: Linear"):
        assert [s.consumer for s in recording.edges(tensor)] == [
            "CrossEntropy", "Mul (backward 2)", "Mul (backward 2)",
        ]  # fmt: skip
    assert len(recording.edges("fc: Linear (backward 2)")) == 2
    assert len(recording.forks) == 6 and recording.sum_error < 1e-12


def test_a_call_of_grad_is_a_pass_that_adds_nothing_to_grad():
    model, (x, y) = net(), batch()
    x.requires_grad_()
    with flow.recording(model, arrays=True) as recording:
        loss = F.cross_entropy(model(x), y)
        (g,) = mr.grad(loss, x, retain_graph=True)
        loss.backward()
    assert recording.passes == ["grad", "backward"]
    first, second = recording.edges(x)
    assert first.consumer == "conv1: Conv2d (grad 1)" and second.consumer == "conv1: Conv2d (backward 2)"
    np.testing.assert_array_equal(first.grad, g)
    np.testing.assert_array_equal(second.grad, x.grad)
    assert len(recording.edges("conv1.weight")) == 1  # grad asked for x alone
    assert "what grad returned does not" in recording.notes[-1]


def test_a_call_that_fails_is_no_pass():
    x = leaf(0)
    with flow.recording() as recording:
        loss = x.exp().sum()
        loss.backward()
        with pytest.raises(RuntimeError, match="already freed"):
            loss.backward()
        with pytest.raises(RuntimeError, match="does not require grad"):
            mr.ones(3).backward()
        x.exp().sum().backward()
    assert recording.passes == ["backward"] * 2 and len(recording.edges(x)) == 2


def test_what_backward_is_started_with_is_a_summand_too():
    x = leaf(0)
    with flow.recording(arrays=True) as recording:
        h = x.exp()
        loss = (h.tanh() + h).sum()
        autograd.backward([loss, h, x], [None, np.full(3, 2.0), np.full(3, 5.0)])
    assert [s.consumer for s in recording.edges(h)] == ["Tanh", "Add", "the start of backward"]
    assert [s.consumer for s in recording.edges(x)] == ["Exp", "the start of backward"]
    np.testing.assert_allclose(sum(s.grad for s in recording.edges(x)), x.grad)
    assert recording.forks == []  # skip and branch would not be all of it
    assert all(node.sum_error < 1e-15 for node in recording.nodes)


def test_a_single_pass_is_named_as_ever():
    recording = flow.record(net(), *batch())
    assert recording.passes == ["backward"] and not any("backward" in node.name for node in recording.nodes)
    assert {node.pass_ for node in recording.nodes} == {1} and recording.notes == []


def test_every_form_tells_the_passes_apart(tmp_path):
    model = net()
    with flow.recording(model) as recording:
        for seed in (1, 2):
            x, y = batch(seed)
            F.cross_entropy(model(x), y).backward()
    recording.to_json(tmp_path / "r.json")
    document = json.loads((tmp_path / "r.json").read_text())
    assert [fork["pass"] for fork in document["forks"]] == [1] * 3 + [2] * 3
    assert {layer["pass"] for layer in document["layers"]} == {1, 2}
    passes = {node["id"]: node["pass"] for node in document["graph"]["nodes"]}
    assert len(passes) == len(document["graph"]["nodes"])
    assert all(passes[e["source"]] == passes[e["consumer"]] for e in document["graph"]["edges"])
    recording.to_csv(tmp_path / "r.csv")
    with open(tmp_path / "r.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["pass"] for row in rows] == sorted(row["pass"] for row in rows)
    assert all(cell for row in rows for cell in row.values())
    assert sum(row["pass"] == "1" for row in rows) == sum(row["pass"] == "2" for row in rows)
    table = recording.table()
    assert "layer1.0 (backward 2) " in table and "conv1 (backward 2) " in table
    assert len({len(line) for line in table.splitlines()[:7]}) == 1


def test_figures_of_several_passes():
    model = net()
    with flow.recording(model) as recording:
        for seed in (1, 2):
            x, y = batch(seed)
            (F.cross_entropy(model(x), y) * float(seed)).backward()
    figure = recording.plot()
    profile, strip = figure.axes[:2]
    assert [line.get_linestyle() for line in profile.lines if line.get_marker() != "*"] == ["-", ":"]
    assert {"pass 1", "pass 2"} <= {text.get_text() for text in profile.texts}
    assert {"pass 1", "pass 2"} <= {text.get_text() for text in strip.texts}
    lines = [line.get_ydata() for line in profile.lines]
    expected = [layer.weight_gradient for layer in recording.weight_layers]
    np.testing.assert_allclose(np.concatenate(lines), expected)
    plt.close(figure)
    figure, axes = plt.subplots(2, figsize=(13, 12))
    for number, ax in enumerate(axes, start=1):
        plots.graph(ax, recording.graph(), "step 0", pass_=number)
        assert ax.get_title() == f"Gradient along the graph, step 0, pass {number}"
        norms = [text.get_text() for text in ax.texts if text.get_text().startswith("skip")]
        assert norms == [f"skip {fork.skip:.2g}" for fork in recording.forks if fork.pass_ == number]
    with pytest.raises(ValueError, match="got pass_=3; this recording has 1, 2"):
        plots.graph(axes[0], recording.graph(), pass_=3)
    plt.close(figure)


def test_a_history_of_accumulated_steps():
    model, history = net(), flow.FlowHistory()
    for step in range(2):
        with flow.recording(model) as recording:
            for seed in (1, 2):
                x, y = batch(seed)
                F.cross_entropy(model(x), y).backward()
        history.add(step, recording)
    assert history.norms.shape == (2, 16) and history.convolutions[7] == "conv1 (backward 2)"
