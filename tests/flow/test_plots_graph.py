"""The drawing of the computation graph: what is drawn, and that nothing hides anything."""

import itertools
import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import FancyBboxPatch, PathPatch

import minires as mr
from minires import flow, models, nn, random
from minires.flow import plots
from minires.flow.explorer.structure import structure
from minires.flow.plots.boxes import BOX
from minires.flow.plots.layout import layout
from minires.flow.plots.style import BRANCH, SKIP
from minires.nn import functional as F


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


class Branches(nn.Module):
    """Two branches and a scaled shortcut."""

    def __init__(self):
        super().__init__()
        self.a, self.b1, self.b2 = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        return self.a(x) + self.b2(F.relu(self.b1(x))) + 0.5 * x


class Dense(nn.Module):
    """Every layer sees all the layers before it."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(16, 8)

    def forward(self, x):
        first = self.a(x)
        second = self.b(first).relu()
        third = self.c(mr.cat([first, second], 1)).relu()
        return mr.cat([first, second, third], 1)


class Unrolled(nn.Module):
    """A recurrent network of twelve steps."""

    def __init__(self):
        super().__init__()
        self.into, self.again = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        h = self.into(x).tanh()
        for _ in range(12):
            h = (self.into(x) + self.again(h)).tanh()
        return h


class Attention(nn.Module):
    """Queries, keys and values side by side, in a residual block that begins with a layer norm."""

    def __init__(self):
        super().__init__()
        self.norm, self.q, self.k, self.v, self.out = nn.LayerNorm(8), *(nn.Linear(8, 8) for _ in range(4))

    def forward(self, x):
        h = self.norm(x)
        q, k, v = (layer(h).view(-1, 2, 4) for layer in (self.q, self.k, self.v))
        weights = (q @ k.transpose(1, 2)).softmax(-1)
        return x + self.out((weights @ v).flatten(1))


class Inception(nn.Module):
    """Ways of several lengths side by side, which are concatenated."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Linear(8, 2) for _ in range(4))
        self.before = nn.Linear(8, 8)

    def forward(self, x):
        return mr.cat([self.a(x), self.b(self.before(x).relu()).relu(), self.c(x.relu()), self.d(x)], 1)


class OfSequence(nn.Module):
    """An LSTM, whose four gates stand side by side at every step."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(2, 8, batch_first=True)

    def forward(self, x):
        return self.lstm(x)[0][:, -1]


class InOneForward(nn.Module):
    """Residual blocks that are not modules."""

    def __init__(self):
        super().__init__()
        self.first, self.layers = nn.Linear(8, 8), nn.ModuleList([nn.Linear(8, 8) for _ in range(6)])

    def forward(self, x):
        x = self.first(x)
        for layer in self.layers:
            x = x + layer(x).tanh()
        return x


def resnet(depth, **options):
    return lambda: models.resnet_cifar(depth, 2, in_channels=1, **options)


NETS = {
    "ResNet-8": resnet(8),
    "ResNet-8, projected": resnet(8, shortcut="C"),
    "pre-activation": resnet(14, preact=True, shortcut="B"),
    "plain": resnet(8, residual=False),
    "ResNet-56": resnet(56),
    "bottleneck": lambda: models.ResNet(models.Bottleneck, [2, 2], [2, 4], in_channels=1),
    "several branches": lambda: nn.Sequential(nn.Linear(8, 8), Branches(), Branches()),
    "dense": Dense,
    "recurrent": Unrolled,
    "in one forward": InOneForward,
    "attention": lambda: nn.Sequential(nn.Linear(8, 8), Attention(), Attention()),
    "inception": lambda: nn.Sequential(nn.Linear(8, 8), Inception(), Inception()),
    "LSTM": lambda: nn.Sequential(nn.Unflatten(1, (4, 2)), OfSequence()),
    "functions": lambda: nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.LeakyReLU(), nn.GELU()),
    "one within another": lambda: nn.Sequential(nn.Linear(8, 8), Within(), Within()),
    "two layers": lambda: nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)),
}
CASES = [pytest.param(name, detail, id=f"{name}, {detail}") for name in NETS for detail in ("ops", "blocks")]


def recording_of(name):
    random.manual_seed(0)
    model, rng = NETS[name](), np.random.default_rng(0)
    images = isinstance(model, models.ResNet)
    x = rng.standard_normal((4, 1, 8, 8) if images else (4, 8)).astype(np.float32)
    return flow.record(model, x, np.arange(4))


def graph_of(name):
    return recording_of(name).graph()


def crosses(start, end, box):
    """Whether an upright or level stretch goes through a box (not just along its edge)."""
    margin = 1e-6
    left, right = sorted((start[0], end[0]))
    low, high = sorted((start[1], end[1]))
    return (
        right > box.x - box.width / 2 + margin
        and left < box.x + box.width / 2 - margin
        and high > box.y - box.height / 2 + margin
        and low < box.y + box.height / 2 - margin
    )


@pytest.mark.parametrize(("name", "detail"), CASES)
def test_no_box_covers_a_wire_or_another_box(name, detail):
    for columns in (6, 14):
        drawing = layout(graph_of(name), detail, columns)
        for one, other in itertools.combinations(drawing.boxes, 2):
            apart = abs(one.x - other.x) >= (one.width + other.width) / 2
            assert apart or abs(one.y - other.y) >= (one.height + other.height) / 2, (one, other)
        for wire in drawing.wires:
            for start, end in itertools.pairwise(wire.points):
                covering = [box for box in drawing.boxes if box.kind != "dot" and crosses(start, end, box)]
                assert not covering, (wire, covering)


@pytest.mark.parametrize("name", ["attention", "inception", "LSTM", "several branches"])
def test_no_box_of_the_explorer_lies_on_another(name):
    history = recording_of(name).edge_history
    for level, boxes in structure(history.graph())["boxes"].items():
        places = [tuple(box[2:5]) for box in boxes]  # slot, column, lane
        assert len(set(places)) == len(places), level


@pytest.mark.parametrize(("name", "detail"), CASES)
def test_everything_is_inside_and_every_wire_is_there(name, detail):
    graph = graph_of(name)
    drawing = layout(graph, detail, 10)
    for x, y in [point for wire in drawing.wires for point in wire.points]:
        assert 0 <= x <= drawing.width and 0 <= y <= drawing.height
    parameters = {node["id"] for node in graph["nodes"] if node["parameter"]}
    inside = {key: box.key for box in drawing.boxes for key in box.members}  # the loss is one box
    edges = [edge for edge in graph["edges"] if edge["source"] not in parameters]
    if detail == "ops":
        edges = [edge for edge in edges if inside[edge["source"]] != inside[edge["consumer"]]]
    assert len(drawing.wires) >= len(edges) if detail == "ops" else len(drawing.wires) <= 2 * len(edges)
    members = [key for box in drawing.boxes for key in box.members]
    assert sorted(members) == sorted(node["id"] for node in graph["nodes"] if not node["parameter"])


@pytest.mark.parametrize("name", [name for name in NETS if name not in ("plain", "dense", "recurrent", "two layers")])
def test_a_skip_runs_above_its_branch_with_the_norms_of_the_recording(name):
    graph = graph_of(name)
    drawing = layout(graph, "ops", 10)
    for role in ("skip", "branch"):
        expected = sorted(edge["norm"] for edge in graph["edges"] if edge["role"] == role)
        assert sorted(wire.norm for wire in drawing.wires if wire.label and wire.role == role) == expected
    for wire in drawing.wires:
        if wire.label and wire.role == "skip":
            assert max(y for _, y in wire.points) > wire.points[0][1]


class Within(nn.Module):
    """A residual block whose branch begins with another, so that one tensor goes three ways."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        return x + self.b(F.relu(x + self.a(x)))


def test_the_label_of_a_branch_that_enters_a_sum_hangs_below_the_boxes_beside_it():
    drawing = layout(graph_of("one within another"), "ops", 10)
    sums = {(box.x, box.y) for box in drawing.boxes if box.kind == "sum"}
    entering = [(wire, at) for wire in drawing.wires for at in sums if wire.label and wire.role == "branch"
                and abs(wire.points[-1][0] - at[0]) + abs(wire.points[-1][1] - at[1]) < 0.2]  # fmt: skip
    assert len(entering) == 2
    for wire, (x, y) in entering:
        assert wire.label[0] > x and wire.label[1] <= y - BOX / 2


def test_plain_and_dense_networks_have_no_skip():
    for name in ("plain", "dense", "two layers"):
        assert all(wire.role is None for wire in layout(graph_of(name), "ops").wires)


def test_concatenation_is_not_called_one_way():
    for name, start in (("plain", "One way, and no skip: along it"), ("dense", "No skip that ends in an addition;")):
        figure = plots.graphs({name: graph_of(name)})
        assert plots.takeaways(figure)[0].startswith(f"{start} ‖gradient‖ is between ")


def test_a_row_for_every_block_or_for_every_stage():
    names = [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(2)]
    random.manual_seed(0)
    model, x = models.resnet_cifar(14, 2, in_channels=1), np.ones((2, 1, 8, 8), np.float32)
    graph = flow.record(model, x, np.arange(2)).graph()
    assert [label for label, _, _ in layout(graph, "ops", 20).rows] == ["input", *names, "loss"]
    stages = layout(graph, "blocks", 20)
    assert [label for label, _, _ in stages.rows] == ["layer1", "layer2", "layer3"]
    assert [box.label for box in stages.boxes if box.label in names] == names
    assert sum(box.kind == "sum" for box in stages.boxes) == 6


def test_boxes_bear_the_names_of_ops_where_layers_have_none():
    labels = [box.label for box in layout(graph_of("functions"), "ops").boxes]
    assert labels == ["linear", "relu", "batch norm", "leaky relu", "gelu", "loss"]


def test_boxes_bear_the_layers_names():
    labels = [box.label for box in layout(graph_of("ResNet-8"), "ops").boxes]
    assert labels[:3] == ["conv1", "bn1", "relu"]
    assert {"slice", "pad", "+", "fc", "loss"} <= set(labels)
    assert not {"Sum", "sum", "Div", "÷"} & set(labels)  # they are the loss's mean over the examples


@pytest.mark.parametrize("style", ["default", "dark_background", "grayscale"])
def test_it_draws_skips_blue_and_branches_orange_in_every_style(style):
    with plt.style.context(style):
        figure, ax = plt.subplots(figsize=(9, 6))
        assert plots.graph(ax, graph_of("ResNet-8"), "step 0") is ax
        figure.canvas.draw()
    wires = [patch for patch in ax.patches if isinstance(patch, PathPatch) and not isinstance(patch, FancyBboxPatch)]
    colours = {to_hex(wire.get_edgecolor()).upper() for wire in wires}
    assert {SKIP, BRANCH} <= colours
    texts = [text.get_text() for text in ax.texts]
    assert sum(text.startswith("skip ") for text in texts) == sum(text.startswith("branch ") for text in texts) == 3
    assert ax.get_title() == "Gradient along the graph, step 0"


def test_deep_networks_are_drawn_by_block_unless_asked():
    graph = graph_of("ResNet-56")
    _, (auto, ops) = plt.subplots(1, 2, figsize=(16, 6))
    plots.graph(auto, graph)
    plots.graph(ops, graph, detail="ops")
    boxes = [sum(isinstance(patch, FancyBboxPatch) for patch in ax.patches) for ax in (auto, ops)]
    assert boxes[0] < 40 < 150 < boxes[1]


def test_wider_wires_for_larger_gradients_on_a_scale_that_can_be_shared():
    graphs = [graph_of(name) for name in ("ResNet-8", "plain")]
    limits = plots.graph_limits(graphs)
    values = [e["norm"] for g in graphs for e in g["edges"] if e["source"] >= 0]
    assert limits == (min(values), max(values))
    _, ax = plt.subplots()
    edge = {"slot": 0, "role": None}
    node = {"op": "Tanh", "scope": "", "shape": [2], "parameter": False, "norm": 1.0, "name": ": Tanh"}
    chain = {
        "version": 1,
        "nodes": [{**node, "id": i} for i in range(4)],
        "edges": [{**edge, "source": i, "consumer": i + 1, "norm": 10.0**-i} for i in range(3)],
    }
    plots.graph(ax, chain, limits=(1e-2, 1.0))
    widths = [p.get_linewidth() for p in ax.patches if isinstance(p, PathPatch) and not isinstance(p, FancyBboxPatch)]
    assert widths[0] - widths[1] == pytest.approx(widths[1] - widths[2])


def place(figure, ax, text):
    """Where the drawing writes this, in inches: (left, bottom, width, height)."""
    box = next(each for each in ax.texts if each.get_text() == text).get_window_extent()
    return np.array(box.bounds) / figure.dpi


def test_two_networks_can_be_drawn_alike_in_size():
    graphs = {name: graph_of(name) for name in ("ResNet-8", "plain")}
    figure, axes = plt.subplots(2, 1, figsize=(9, 8))
    scales = [plots.graph_scale(ax, graph, "ops") for ax, graph in zip(axes, graphs.values())]
    assert scales[0] < scales[1]
    for ax, graph in zip(axes, graphs.values()):
        plots.graph(ax, graph, detail="ops", scale=min(scales))
    sizes = [{text.get_size() for text in ax.texts if text.get_text() == "conv1"} for ax in axes]
    assert sizes[0] == sizes[1]
    inches = [ax.get_window_extent().height / (ax.get_ylim()[1] - ax.get_ylim()[0]) for ax in axes]
    assert inches[0] == pytest.approx(inches[1], rel=0.01)
    axes[1].set_position((0.1, 0.1, 0.8, 0.2))  # as a layout engine may
    figure.canvas.draw()
    assert place(figure, axes[1], "input")[0] == pytest.approx(0.9, abs=0.02)  # still at the left edge


@pytest.mark.parametrize("depth", [8, 20, 56])
def test_networks_one_above_another_have_one_scale_and_one_left_edge(depth):
    nets = {"plain": models.resnet_cifar(depth, 2, in_channels=1, residual=False), "residual": resnet(depth)()}
    x = np.random.default_rng(0).standard_normal((2, 1, 8, 8)).astype(np.float32)
    figure = plots.graphs({name: flow.record(net, x, np.arange(2)).graph() for name, net in nets.items()}, "step 0")
    figure.canvas.draw()
    upper, lower = figure.axes
    assert {text.get_size() for ax in figure.axes for text in ax.texts} == {8.0, 8.0 * 0.9}  # points, at any depth
    for ax in figure.axes:
        units = np.ptp(ax.transData.transform([(0, 0), (1, 1)]), axis=0) / figure.dpi
        assert units == pytest.approx([1, 1], rel=1e-3)  # data are inches
    first = "conv1" if depth == 8 else "conv1 … relu"
    assert place(figure, upper, first)[0] == pytest.approx(place(figure, lower, first)[0], abs=0.01)
    drawn = [ax.get_window_extent().height / figure.dpi for ax in figure.axes]
    assert sum(drawn) > figure.get_figheight() - 1.3  # the rest is two headings
    key = "width: ‖gradient‖ that came back, as arrows point"
    for ax in figure.axes:  # the drawing reaches from its heading to its key
        bottom = place(figure, ax, key)[1] - ax.get_window_extent().y0 / figure.dpi
        assert 0 <= bottom < 0.3
    assert figure.get_figwidth() <= 13.3
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["plain, step 0", "residual, step 0"]


def test_arrows_point_where_the_gradient_goes():
    _, ax = plt.subplots(figsize=(9, 7))
    graph = graph_of("ResNet-8")
    plots.graph(ax, graph, detail="ops")
    arrows = [line for line in ax.lines if isinstance(line.get_marker(), tuple)]
    drawing = layout(graph, "ops")
    assert len(arrows) == sum(wire.norm > 0 for wire in drawing.wires)
    angles = [line.get_marker()[2] % 360 for line in arrows]  # of a triangle that points up
    assert angles.count(90) >= sum(len(wire.points) == 2 for wire in drawing.wires) > 20  # to the left, against forward
    assert angles.count(270) == len({box.row for box in drawing.boxes}) - 1  # from a row's start to the row before


def test_a_gradient_of_zero_is_a_dotted_wire():
    random.manual_seed(0)
    model = models.resnet_cifar(8, 2, in_channels=1, zero_init_residual=True)
    graph = flow.record(model, np.ones((2, 1, 8, 8), np.float32), np.arange(2)).graph()
    assert any(edge["norm"] == 0 for edge in graph["edges"])
    figure, ax = plt.subplots()
    plots.graph(ax, graph)
    figure.canvas.draw()
    assert any(patch.get_linestyle() not in ("-", "solid") for patch in ax.patches if isinstance(patch, PathPatch))


def test_it_draws_what_was_read_back_from_json(tmp_path):
    random.manual_seed(0)
    recording = flow.record(models.resnet_cifar(8, 2, in_channels=1), np.ones((2, 1, 8, 8), np.float32), np.arange(2))
    recording.to_json(tmp_path / "recording.json")
    stored = json.loads((tmp_path / "recording.json").read_text())["graph"]
    assert layout(stored, "ops") == layout(recording.graph(), "ops")
    stored["edges"][-1]["norm"] = None  # NaN and Inf are null in JSON
    _, ax = plt.subplots()
    plots.graph(ax, stored)


def test_wrong_use_says_what_to_do():
    _, ax = plt.subplots()
    graph = graph_of("two layers")
    with pytest.raises(ValueError, match=r"plots.graph: got detail='layers'; expected \"auto\""):
        plots.graph(ax, graph, detail="layers")
    with pytest.raises(ValueError, match=r"plots.graph: got a list; expected what Recording.graph\(\) returns"):
        plots.graph(ax, [])
    with pytest.raises(ValueError, match=r"plots.graph: got a graph of version 2; this draws version 1"):
        plots.graph(ax, {**graph, "version": 2})
    with pytest.raises(ValueError, match=r"plots.graph: got a graph without ops"):
        plots.graph(ax, {"version": 1, "nodes": [], "edges": []})
