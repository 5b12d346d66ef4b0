"""What a notebook shows: of a result, of a figure, of bars, and while a network learns."""

import os
import re
import struct
import termios
import textwrap
import xml.etree.ElementTree as ET
from fcntl import ioctl
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, strategies as st
from processes import in_a_terminal

import minires as mr
from minires import data, flow, html, models, nn, train
from minires.train.live import BARS, sparkline

ROOT = Path(__file__).parents[1]
NAME = "<b>&'\"\\"  # of a layer, which no notebook may take for HTML
KINDS = "Recording Fork FlowHistory History Summary PathSpectrum Lesion Responses Module Tensor".split()


class Net(nn.Module):
    """A stem, a residual block and a head, all of them with such names."""

    def __init__(self):
        super().__init__()
        self.add_module(NAME, nn.Conv2d(1, 4, 3, padding=1))
        self.block = models.ResidualBlock(4, 4)
        self.fc = nn.Linear(4, 10)

    def blocks(self):
        return [("block " + NAME, self.block)]

    def forward(self, x):
        stem, block, fc = self.children()
        return fc(block(stem(x)).mean((2, 3)))


def results():
    """One of everything that a notebook shows."""
    mr.manual_seed(0)
    images, _ = data.digits()
    few, net = images.subset(64), Net()
    x, y = next(iter(data.batches(few, 32, shuffle=False)))
    recording, history = flow.record(net, x, y), flow.FlowHistory()
    for step in (0, 5):
        history.add(step, recording)
    sgd = mr.optim.SGD(net.parameters(), lr=0.1)
    return {
        "Recording": recording,
        "Fork": recording.forks[0],
        "FlowHistory": history,
        "History": train.fit(net, few, sgd, epochs=2, batch_size=32, test_data=few, progress=False),
        "Summary": nn.summary(net, (1, 8, 8)),
        "PathSpectrum": flow.path_spectrum(net, x, y, samples=1, progress=False),
        "Lesion": flow.lesion(net, [(x, y)], blocks=["block"], progress=False),
        "Responses": flow.responses(net, x),
        "Module": net,
        "Tensor": mr.ones(200, 300),
    }


@pytest.fixture(scope="module")
def shown():
    return results()


def parsed(text):
    """The HTML as a tree; it happens to be XML, too."""
    return ET.fromstring(f"<body>{text}</body>")


@pytest.mark.parametrize("kind", KINDS)
def test_results_are_small_escaped_and_without_colours(kind, shown):
    result, page = shown[kind], shown[kind]._repr_html_()
    tree = parsed(page)
    assert all(element.tag.rpartition("}")[2] not in ("b", "script") for element in tree.iter())
    assert len(page) < 6000 and len("".join(tree.itertext())) > 20
    assert set(re.findall(r'(?:stroke|fill)="(.*?)"', page)) <= {"currentColor", "none"}
    assert not re.search(r"(?<![-\w])(color|background)", page) and not re.search(r"#[0-9a-fA-F]{3}", page)
    if kind not in ("Module", "Tensor"):  # which print as PyTorch's do
        assert "\n" not in repr(result) and len(repr(result)) < 120 and repr(result).startswith(f"{kind}(")


def test_a_recording_shows_its_forks_and_a_profile(shown):
    recording = shown["Recording"]
    words = "".join(parsed(recording._repr_html_()).itertext())
    fork = recording.forks[0]
    assert fork.name in words and f"{fork.skip:.3e}{fork.branch:.3e}{fork.total:.3e}" in words
    assert recording._repr_html_().count("<circle") == len(recording.weight_layers) == 4
    assert NAME in "".join(parsed(shown["Module"]._repr_html_()).itertext())
    assert NAME in "".join(parsed(shown["Summary"]._repr_html_()).itertext())


def test_before_anything_is_recorded_there_is_nothing_to_show():
    for result in (flow.Recording(), flow.FlowHistory()):
        assert repr(result).endswith("(nothing yet)") and result._repr_html_() is None
    assert "0 epochs" in repr(train.History()) and parsed(train.History()._repr_html_()) is not None


def test_tables_show_themselves(shown):
    for kind in ("Recording", "Lesion", "Responses"):
        table = shown[kind].table()
        assert repr(table) == table and isinstance(table, str) and table.count("\n") > 0


def test_of_a_long_table_both_ends_are_shown():
    rows = [[str(i), str(i**2)] for i in range(100)]
    cells = [row for row in parsed(html.table(["i", "i²"], rows, "print it")).iter("tr")]
    assert len(cells) == 1 + 12 + 1
    assert "".join(cells[7].itertext()) == "… 88 more; print it …" and "".join(cells[-1].itertext()) == "999801"


@given(st.lists(st.lists(st.floats(), max_size=8), min_size=1, max_size=4), st.booleans(), st.text("<&>\"'ab‖"))
def test_a_profile_draws_every_value_it_can_and_marks_the_others(values, log, name):
    lines = {f"{name}{i}": line for i, line in enumerate(values)}
    tree = parsed(html.profile(lines, name, log))
    at = {tag: [e for e in tree.iter() if e.tag.endswith(tag)] for tag in ("polyline", "text")}
    drawn = [point.split(",") for line in at["polyline"] for point in line.get("points").split()]
    assert all(0 <= float(x) <= html.WIDTH and html.TOP <= float(y) <= html.FOOT for x, y in drawn)
    every = [v for line in values for v in line]
    assert len(drawn) == sum(np.isfinite(v) and (v > 0 or not log) for v in every)
    assert sum(text.text in ("0", "×") and text.get("text-anchor") == "middle" for text in at["text"]) == (
        len(every) - len(drawn)
    )


def heights(values, log):
    tree = parsed(html.profile({"": values}, "", log))
    (line,) = (e for e in tree.iter() if e.tag.endswith("polyline"))
    return [float(point.split(",")[1]) for point in line.get("points").split()]


def test_a_profile_does_not_blow_rounding_up():
    assert max(heights([1.0, 1.0000001], True)) - min(heights([1.0, 1.0000001], True)) < 0.2
    assert max(heights([1.0, 0.99], False)) - min(heights([1.0, 0.99], False)) < 1
    steps = [a - b for a, b in pairwise(heights([1e-8, 1e-6, 1e-4, 1e-2], True))]  # equal factors, equal steps
    assert max(steps) - min(steps) <= 0.2 and min(steps) > 20


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20), st.integers(1, 30))
def test_sparklines_are_means_from_0_to_the_largest(values, width):
    line = sparkline(values, width)
    assert len(line) == min(width, len(values)) and set(line) <= set(BARS)
    if len(values) <= width and max(values) > 1e-300:
        assert line == "".join(BARS[min(int(v / max(values) * 8), 7)] for v in values)
    assert sparkline([*values, np.nan], len(values) + 1)[-1] == "×"


# ── notebooks, run ──

CELLS = {
    "start": """
        import sys
        sys.modules["ipywidgets"] = None  # as where it is not installed
        import numpy as np, matplotlib, minires as mr
        from minires import flow, models, data, train
        from minires.lesson import claim, progress, show
        assert "matplotlib.pyplot" not in sys.modules
        mr.manual_seed(0)
        model = models.resnet_cifar(8, 4, in_channels=1)
        few, _ = data.digits()
        few = few.subset(256)
        x, y = next(iter(data.batches(few, 32, shuffle=False)))
        recording = flow.record(model, x, y)""",
    "recording": "recording",
    "table": "recording.table()",
    "plot": "recording.plot()",
    "two figures": """
        import matplotlib.pyplot as plt
        figure, ax = plt.subplots()
        show(figure, "open")
        show(recording.plot(), "not open")""",
    "claim": 'claim("one is one", True, 1)',
    "bar": 'for _ in progress(range(3), "counting"): pass',
    "fit": """
        sgd = mr.optim.SGD(model.parameters(), lr=0.1)
        wait = lambda step: __import__("time").sleep(0.3)
        history = train.fit(model, few, sgd, epochs=2, batch_size=64, live=True, on_step=wait)""",
    "history": "history",
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """For each cell, what stands below it: (kind of output, text or {type: data})."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    cells = [nbformat.v4.new_code_cell(textwrap.dedent(source).strip()) for source in CELLS.values()]
    notebook = nbformat.v4.new_notebook(cells=cells)
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "MINIRES_LESSON_OUTPUT": str(tmp_path_factory.mktemp("figures")),
    }
    nbclient.NotebookClient(notebook, timeout=240, startup_timeout=240, kernel_name="python3").execute(env=environment)
    return {
        name: [(out.output_type, out.get("data", out.get("text"))) for out in cell.outputs]
        for name, cell in zip(CELLS, notebook.cells)
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from Jupyter's own packages
class TestNotebook:
    def test_results_show_themselves(self, outputs):
        assert outputs["start"] == []  # no warning either
        for name, words in {"recording": "layer1.0", "history": "training loss"}.items():
            ((kind, shown),) = outputs[name]
            assert kind == "execute_result" and words in shown["text/html"] and "<svg" in shown["text/html"]
        ((_, shown),) = outputs["table"]
        assert shown["text/plain"].startswith("fork      ") and shown["text/plain"].count("\n") > 10

    def test_a_figure_is_shown_once(self, outputs):
        assert [kind for kind, shown in outputs["plot"] if "image/png" in shown] == ["execute_result"]
        assert [kind for kind, shown in outputs["two figures"] if "image/png" in shown] == ["display_data"] * 2

    def test_a_claim_leaves_its_line_alone(self, outputs):
        assert outputs["claim"] == [("stream", "✓ one is one (measured: 1)\n")]

    def test_bars_are_shown_and_no_warning(self, outputs):
        assert {kind for kind, _ in outputs["bar"]} == {"stream"}
        text = "".join(text for _, text in outputs["bar"])
        assert "counting:   0%" in text and "arn" not in text and "ipywidgets" not in text

    def test_training_is_drawn_while_it_runs_in_one_place(self, outputs):
        (kind, shown), *bar = outputs["fit"]
        assert kind == "display_data" and {kind for kind, _ in bar} == {"stream"}
        assert shown["text/html"].count("<svg") == 2 and shown["text/html"].count("<circle") == 8 + 2
        assert "accuracy" in shown["text/plain"]


# ── elsewhere ──

TRAINING = """
import minires as mr, time
from minires import data, models, train
few, _ = data.digits()
model = models.resnet_cifar(8, 4, in_channels=1)
sgd = mr.optim.SGD(model.parameters(), lr=0.1)
wait = lambda step: time.sleep(0.15)
train.fit(model, few.subset(256), sgd, epochs=2, batch_size=64, live=True, progress=False, on_step=wait)
"""


@pytest.mark.slow
def test_a_terminal_draws_sparklines_twice_a_second_at_most():
    """8 steps of 0.15 s: drawn at the first, then every half a second, and once more at the end."""
    process, terminal = in_a_terminal("-c", TRAINING)
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    printed = b""
    try:
        while piece := os.read(terminal, 65536):
            printed += piece
    except OSError:  # the other end is closed
        pass
    os.close(terminal)
    assert process.wait() == 0
    lines = [line for line in re.split(r"[\r\n]+", printed.decode()) if "loss" in line]
    assert all(re.match(rf"loss [{BARS}×]+ \d", line) and len(line) < 80 for line in lines)
    assert 3 <= len(set(lines)) <= 5 and "accuracy" in lines[-1]


def test_where_nobody_looks_nothing_is_drawn(capfd):
    exec(TRAINING.replace("0.15", "0"), {})
    assert capfd.readouterr() == ("", "")


def test_in_scripts_figures_stay_open_for_pyplot(shown):
    figure = shown["Recording"].plot()
    assert plt.fignum_exists(figure.number)
    plt.close(figure)
