"""What is written for others to read: UTF-8 in every locale, names as they are, labels where they can be seen."""

import ast
import csv
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

import minires as mr
from minires import flow, nn
from minires.flow import plots
from minires.testing.plots import taylor

ROOT = Path(mr.__file__).parents[1]

# ── text files ──

TEXT = ("read_text", "write_text", "open", "fdopen")


def calls_without_encoding(path: Path):
    """Lines that open a text file in the encoding of the locale."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        of_module = isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name not in TEXT or (
            of_module and node.func.value.id in ("os", "tarfile", "webbrowser", "archive", "zipfile")
        ):
            continue
        words = [
            a.value for part in (*node.args, *node.keywords) for a in ast.walk(part) if isinstance(a, ast.Constant)
        ]
        binary = any(isinstance(word, str) and "b" in word and set(word) <= set("rwxab+") for word in words)
        if not binary and not any(k.arg in ("encoding", None) for k in node.keywords):
            yield f"{path.relative_to(ROOT)}:{node.lineno}"


def test_every_text_file_is_utf8_whatever_the_locale():
    files = [path for folder in ("minires", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    assert [line for path in files for line in calls_without_encoding(path)] == []


NAMES = r"""
import sys
import numpy as np
import minires as mr
from minires import flow, nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.add_module("=\u03bb", nn.Linear(2, 2))
        self.add_module("-\u00fc", nn.Linear(2, 2))
    def forward(self, x):
        for layer in self.children():
            x = layer(x)
        return x
recording = flow.record(Net(), np.ones((3, 2), np.float32), np.array([0, 1, 0]))
recording.to_csv(sys.argv[1] + "/r.csv")
recording.to_json(sys.argv[1] + "/r.json")
history = flow.FlowHistory()
history.add(0, recording)
history.save(sys.argv[1] + "/h.json")
flow.FlowHistory.load(sys.argv[1] + "/h.json")
"""


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX locale")
def test_files_are_utf8_in_a_locale_that_knows_no_letter_of_them(tmp_path):
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", NAMES, str(tmp_path)], check=True, env=environment)
    with open(tmp_path / "r.csv", encoding="utf-8", newline="") as file:
        cells = {cell for row in csv.reader(file) for cell in row}
    assert {"'=λ.weight", "'-ü.weight"} <= cells and not [c for c in cells if c.startswith(("=", "@"))]
    assert "λ" in json.dumps(json.loads((tmp_path / "r.json").read_text(encoding="utf-8")), ensure_ascii=False)


@pytest.mark.parametrize("command, word", [(["lessons", "0", "--quick"], "ok "), (["compare", "--help"], "gamma")])
def test_a_stream_that_lacks_our_letters_gets_plainer_words(command, word):
    """As in the C locale, or in a pipe on Windows."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    run = [sys.executable, "-m", "minires", *command]
    done = subprocess.run(run, check=False, env=environment, capture_output=True, encoding="ascii")
    assert done.returncode == 0, done.stderr
    assert word in done.stdout


# ── figures ──

FORMULA = r"$\frac$"  # which matplotlib cannot parse


class Net(nn.Module):
    """Stages, a fork and a stem with names that look like formulas."""

    def __init__(self):
        super().__init__()
        for stage in "ab":
            self.add_module(f"{stage}{FORMULA}", nn.Sequential(*(nn.Conv2d(2, 2, 1) for _ in range(3))))
        self.fc = nn.Linear(2, 2)

    def forward(self, x):
        first, second, fc = self.children()
        x = first(x)
        x = x + second(x)
        return fc(x.mean((2, 3)))


def recorded():
    return flow.record(
        Net(), np.ones((3, 2, 4, 4), np.float32) * np.arange(3)[:, None, None, None], np.array([0, 1, 0])
    )


def draw_recording():
    return recorded().plot() if hasattr(flow.Recording, "plot") else plots.recording(recorded())


def panel(function):
    def draw():
        figure, ax = plt.subplots(figsize=(8, 5), layout="constrained")
        function(ax)
        return figure

    return draw


def two(make):
    return {f"plain {FORMULA}": make(), f"residual {FORMULA}": make()}


STAGES = [f"{stage}{FORMULA}.{k}" for stage in "ab" for k in range(3)]
LINE = flow.Shattering(np.linspace(0, 1, 32), np.random.default_rng(0).standard_normal(32))
FIGURES = {
    "recording": draw_recording,
    "graph": panel(lambda ax: plots.graph(ax, recorded().graph(), when=FORMULA)),
    "graph of ops": panel(lambda ax: plots.graph(ax, recorded().graph(), detail="ops")),
    "profile": panel(lambda ax: plots.profile(ax, [(FORMULA, "plain", np.ones(6), "-")], STAGES, FORMULA)),
    "training": panel(lambda ax: plots.training(ax, two(lambda: [2.0, 1.0, 0.5]))),
    "responses": panel(
        lambda ax: plots.responses(ax, two(lambda: flow.Responses(STAGES, np.ones(6), np.ones(6, bool))))
    ),
    "variance": panel(
        lambda ax: plots.variance(
            ax, two(lambda: flow.VarianceProfile(["input", *STAGES], np.ones(7), None)), theory={"$2^k$": np.ones(7)}
        )
    ),
    "shattering": panel(lambda ax: plots.shattering(ax, two(lambda: LINE), FORMULA)),
    "input gradient": panel(lambda ax: plots.input_gradient(ax, two(lambda: LINE), FORMULA)),
}


@pytest.mark.parametrize("figure", FIGURES)
def test_a_dollar_in_a_name_is_a_dollar(figure, tmp_path):
    drawn = FIGURES[figure]()
    drawn.savefig(tmp_path / "figure.png")
    plt.close(drawn)


def test_a_dollar_in_the_name_of_an_input_is_a_dollar(tmp_path):
    model = nn.Sequential({FORMULA: nn.Linear(2, 2)}).double()
    taylor(model, np.ones((2, 2))).savefig(tmp_path / "taylor.png")


@pytest.mark.parametrize("layout", [None, "constrained"])
@pytest.mark.parametrize("last", [np.nan, np.inf, -np.inf])
def test_a_diverged_run_has_its_labels_in_the_figure(caplog, tmp_path, last, layout):
    figure, ax = plt.subplots(layout=layout)
    with caplog.at_level(logging.WARNING):
        plots.training(ax, {"plain": [2.0, 1.0, last], "residual": [2.0, 1.0, 0.5]})
        figure.savefig(tmp_path / "figure.png")
    plt.close(figure)
    assert caplog.records == []
    assert {text.get_text() for text in ax.texts} == {"plain", "residual"}
    assert all(0 <= text.get_position()[1] <= 1 for text in ax.texts)
