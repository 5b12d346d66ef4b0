"""What tensors, layers and forks are called: never nothing, and never the same twice in a pass."""

import csv
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest

import minires as mr
from minires import flow, models, nn, random
from minires.flow import plots
from minires.nn import functional as F


def leaf(*shape):
    return mr.Tensor(np.random.default_rng(len(shape)).standard_normal(shape), requires_grad=True)


def names(recording):
    return [node.name for node in recording.nodes if not node.op]


def test_without_a_model_leaves_are_named_by_what_they_are_used_for():
    x, w, v, b = leaf(2, 3, 5, 5), leaf(4, 3, 3, 3), leaf(4, 4, 3, 3), leaf(4)
    with flow.recording() as recording:
        y = F.conv2d(F.conv2d(x, w).relu(), v, b)
        (y * y).mean().backward()
    assert names(recording) == ["input of Conv2d", "weight of Conv2d", "weight of Conv2d#2", "bias of Conv2d#2"]
    assert recording.edges("weight of Conv2d#2") == recording.edges(v)
    assert [edge.consumer for edge in recording.edges(v)] == ["Conv2d#2"]


def test_a_model_that_was_not_given_names_its_parameters_and_layers():
    random.manual_seed(0)
    model = models.resnet_cifar(8, 4, in_channels=1)
    with flow.recording() as recording:
        F.cross_entropy(model(mr.ones(2, 1, 8, 8)), mr.tensor([3, 7])).backward()
    assert sorted(names(recording)) == sorted(name for name, _ in model.named_parameters())
    assert [layer.name for layer in recording.weight_layers][:2] == ["conv1", "layer1.0.conv1"]
    assert [edge.consumer for edge in recording.edges(model.fc.weight)] == ["fc: Linear"]


def test_a_layer_alone_and_a_second_network_have_names_of_their_own():
    random.manual_seed(0)
    first, second = (nn.Sequential(nn.Linear(3, 3, bias=False), nn.Tanh()) for _ in range(2))
    alone = nn.Linear(3, 1, bias=False)
    with flow.recording() as recording:
        alone(second(first(mr.ones(2, 3)))).sum().backward()
    assert names(recording) == ["0.weight", "0.weight#2", "weight of Linear"]
    with flow.recording(nn.ModuleDict({"head": alone, "body": second})) as recording:
        alone(second(first(mr.ones(2, 3)))).sum().backward()
    assert names(recording) == ["0.weight", "body.0.weight", "head.weight"]


def test_parameters_of_a_network_that_is_gone_lend_their_names_to_no_other():
    x = leaf(2, 3)
    with flow.recording() as recording:
        for _ in range(50):
            nn.Sequential(nn.Linear(3, 3)).double()(x.detach())
            x.relu().sum().backward()
            w = nn.Parameter(np.ones((3, 3)))
            (x @ w).sum().backward()
    assert not any(re.search(r"^0\.", name) for name in names(recording))


class Third(mr.Op):
    """c: the sum of three arrays."""

    def forward(self, u, v, *others):
        return u + v + others[0]

    def backward(self, grad_output):
        return grad_output, grad_output, grad_output


def test_arguments_that_have_no_word_are_counted():
    a, b, c, p = leaf(3), leaf(3), leaf(3), nn.Parameter(np.ones(3))
    with flow.recording() as recording:
        mr.cat([a * p, b**2.0, mr.apply(Third, a, b, c)]).sum().backward()
    assert set(names(recording)) == {"input 1 of Mul", "parameter 2 of Mul", "input of Pow", "input 3 of Third"}


def test_a_name_stays_with_its_tensor_from_pass_to_pass():
    x, y = leaf(3), leaf(3)
    with flow.recording() as recording:
        x.exp().sum().backward()
        (y.exp() + x.exp()).sum().backward()
    assert names(recording) == ["input of Exp", "input of Exp#2 (backward 2)", "input of Exp (backward 2)"]
    assert len(recording.edges("input of Exp")) == 2 and recording.edges("input of Exp") == recording.edges(x)
    assert recording.edges("input of Exp#2 (backward 2)") == recording.edges(y)


class InOneForward(nn.Module):
    """Residual blocks that are not modules, and a constant summand."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])

    def forward(self, x):
        for layer in self.layers:
            x = x + layer(x).tanh()
        return x + x.tanh().detach()


def unnamed():
    """A recording of a root module's own forks, one of functions alone, and one of two passes of those."""
    random.manual_seed(0)
    model, x = InOneForward(), np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    x = mr.Tensor(x, requires_grad=True)
    recordings = [flow.record(model, x, x, loss=F.mse_loss)]
    for passes in (1, 2):
        w = [leaf(4, 4) for _ in range(2)]
        with flow.recording() as recording:
            for _ in range(passes):
                h = leaf(2, 4)
                for weight in w:
                    h = h + F.relu(h @ weight)
                (h * h).mean().backward()
        recordings.append(recording)
    return recordings


@pytest.mark.parametrize("number", range(3))
def test_no_cell_is_blank(number, tmp_path):
    recording = unnamed()[number]
    assert [fork.name for fork in recording.forks][:2] == ["Add", "Add#2"]
    every = [*recording.nodes, *recording.layers, *recording.forks]
    assert all(re.fullmatch(r"\w[^:]*(: \w.*)?", thing.name) for thing in every)
    for things in (recording.nodes, recording.layers, recording.forks):
        assert len({(thing.name, getattr(thing, "op", "")) for thing in things}) == len(things)
    recording.to_csv(tmp_path / "r.csv")
    with open(tmp_path / "r.csv", newline="") as file:
        assert all(cell.strip(": ") for row in csv.reader(file) for cell in row)
    recording.to_json(tmp_path / "r.json")
    document = json.loads((tmp_path / "r.json").read_text())
    assert all(row["name"] for kind in ("forks", "layers") for row in document[kind])
    assert all(node["name"].strip(": ") for node in document["graph"]["nodes"])
    assert all(re.match(r"\w", note) for note in recording.notes)
    lines = [line for line in recording.table().splitlines() if line]
    assert all(re.match(r"\w", line) for line in lines) and not any(re.match("note: ?:", line) for line in lines)


@pytest.mark.parametrize("number", range(3))
def test_no_box_is_blank(number):
    recording = unnamed()[number]
    for detail in ("ops", "blocks"):
        _, ax = plt.subplots(figsize=(13, 8))
        plots.graph(ax, recording.graph(), detail=detail)
        assert all(text.get_text() for text in ax.texts if text.get_ha() == "center")
    recording.plot()
    plt.close("all")


def test_the_note_of_a_constant_summand_names_the_addition():
    assert [note.split(": one")[0] for note in unnamed()[0].notes] == ["Add#4"]


def test_a_block_called_twice_has_two_forks():
    random.manual_seed(0)
    block = models.ResidualBlock(2, 2).double()
    x = np.random.default_rng(0).standard_normal((2, 2, 4, 4))
    recording = flow.record(nn.Sequential(nn.ReLU(), block, block), mr.Tensor(x, requires_grad=True), x, F.mse_loss)
    assert [fork.name for fork in recording.forks] == ["1", "1#2"]


def test_a_recording_without_layers_and_forks_can_be_drawn_and_written():
    x = leaf(3)
    with flow.recording() as recording:
        x.exp().sum().backward()
    assert "no fork" in recording.table()
    figure = recording.plot()
    assert "nothing to draw" in figure.texts[0].get_text()
    plt.close(figure)
