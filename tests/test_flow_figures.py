"""``python -m minires flow``, small: once in a real process, the variants and mistakes within this one."""

import json
import re
import subprocess
import sys

import pytest

from minires.commands import cli
from minires.commands.flow import figures as figures_module, index
from minires.commands.flow.figures import Drawn
from minires.commands.flow.settings import Settings

SMALL = ["--depth", "8", "--width", "2", "--quiet"]
ALWAYS = {"profile", "variance", "shattering", "jacobian", "graph"}
RESIDUAL = {"fork-strip", "path-spectrum"}
TRAINED = {"responses", "lesion", "landscape"}


@pytest.fixture
def flow(capfd):
    """Run the command here; returns its exit code and what it printed to stdout and stderr."""

    def run(*arguments):
        code = cli.main(["flow", *map(str, arguments)])
        return code, *capfd.readouterr()

    return run


def process(*arguments):
    command = [sys.executable, "-m", "minires", "flow", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)


def slow(*models):
    """Parameters for the slow tests."""
    return [pytest.param(model, marks=pytest.mark.slow) for model in models]


def figures(folder):
    return {path.stem for path in folder.glob("*.png")}


@pytest.mark.slow
def test_twins_before_and_after_training(tmp_path):
    done = process(*SMALL, "--epochs", 1, "--out", tmp_path)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert figures(tmp_path / "step-0") == ALWAYS | RESIDUAL
    assert figures(tmp_path / "step-22") == ALWAYS | RESIDUAL | TRAINED
    assert figures(tmp_path) == {"heatmap", "training"}
    recording = json.loads((tmp_path / "step-22" / "recording-residual.json").read_text())
    assert len(recording["forks"]) == 3
    assert (tmp_path / "step-0" / "recording-plain.csv").read_text().startswith("source,consumer,slot,role")
    *paths, _, last = done.stdout.splitlines()
    assert sorted(paths) == sorted(str(path) for path in tmp_path.rglob("*.png"))
    assert last == f"Open {tmp_path / 'index.html'}: all {len(paths)} figures, each with what it says."
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    pictures = re.findall(r'<p>(.+)</p>\n<a href="(.+)"><img src="(.+)" alt="(.+)" ', page)
    assert sorted(tmp_path / path for _, path, _, _ in pictures) == sorted(tmp_path.rglob("*.png"))
    assert all(path == shown and sentence == alt and sentence.endswith(".") for sentence, path, shown, alt in pictures)


def test_the_page_escapes_what_it_is_told(tmp_path):
    drawn = Drawn(tmp_path / "step-0" / "a b.png", ["1 < 2 & <script>", 'say "x".'])
    index.write(tmp_path / "index.html", "<b>", [drawn])
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<script" not in page and "<b>" not in page and 'src="step-0/a%20b.png"' in page
    assert "1 &lt; 2 &amp; &lt;script&gt; say &quot;x&quot;." in page


def test_the_default_depth_shows_the_effect():
    assert Settings().depth == 56


@pytest.mark.slow
def test_other_training_on_another_device(tmp_path, flow):
    options = ["--batch-size", 500, "--lr", 0.01, "--epochs", 1, "--plain", "--device", "cuda-on-cpu"]
    code, _, err = flow(*SMALL, *options, "--out", tmp_path)
    assert code == 0 and err == ""
    assert figures(tmp_path / "step-2") == ALWAYS | TRAINED


def test_a_plain_network_at_initialisation(tmp_path, flow):
    code, _, err = flow(*SMALL, "--init-only", "--plain", "--out", tmp_path)
    assert code == 0 and err == ""
    assert figures(tmp_path / "step-0") == ALWAYS and not figures(tmp_path)


@pytest.mark.parametrize("model", ["stochastic-depth", *slow("preact", "skipinit", "exclusive-gate")])
def test_variants_at_initialisation(tmp_path, flow, model):
    code, _, err = flow(*SMALL, "--init-only", "--model", model, "--out", tmp_path)
    assert code == 0 and err == ""
    assert figures(tmp_path / "step-0") >= ALWAYS | RESIDUAL


@pytest.mark.slow
def test_a_variant_is_trained_and_drawn(tmp_path, flow):
    code, _, err = flow(*SMALL, "--epochs", 1, "--model", "zero-gamma", "--out", tmp_path)
    assert code == 0 and err == ""
    assert figures(tmp_path / "step-22") == ALWAYS | RESIDUAL | TRAINED and figures(tmp_path) == {"heatmap", "training"}


def test_a_network_whose_gradient_starts_at_zero_is_said_to(tmp_path, flow):
    code, out, err = flow(*SMALL, "--init-only", "--model", "fixup", "--out", tmp_path)
    assert code == 0 and err == ""
    assert "fixup: at step 0 the gradient of every convolution is 0" in out
    assert figures(tmp_path / "step-0") == ALWAYS - {"profile"}


@pytest.mark.slow
def test_cut_and_scaled_gradients(tmp_path, flow):
    options = ["--cut", "layer1.*.skip", "--scale", "layer3.0.branch=-0.5"]
    code, _, err = flow(*SMALL, "--epochs", 1, *options, "--out", tmp_path)
    assert code == 0 and err == ""
    for step in (0, 22):
        forks = json.loads((tmp_path / f"step-{step}" / "recording-residual.json").read_text())["forks"]
        assert [(fork["skip_factor"], fork["branch_factor"]) for fork in forks] == [(0, 1), (1, 1), (1, -0.5)]
        assert forks[0]["skip"] == 0 < forks[0]["skip_came"] and forks[0]["total"] == forks[0]["branch"]
    plain = json.loads((tmp_path / "step-0" / "recording-plain.json").read_text())
    assert {edge["factor"] for edge in plain["graph"]["edges"]} == {1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cut", "layer9.*.skip"], "'layer9.*.skip' matches no skip and no branch of this ResNet; the nearest of"),
        (["--plain", "--scale", "*.skip=0.5"], "it has no fork"),
        (["--scale", "*.skip=nan"], "got nan for '*.skip'; expected a finite number"),
        (["--model", "nothing"], "got model 'nothing'; expected twins or one of residual"),
        (["--model", "plain"], "got model 'plain' (--plain draws the plain twin alone); expected twins or one of"),
        (["--batch-size", "1438"], "got batch_size = 1438 with drop_last, which leaves no batch of 1437 images"),
        (["--model", "skipinit", "--plain"], "got model 'skipinit' with --plain"),
        (["--depth", "9"], "legal depths are 6n+2"),
        (["--epochs", "0"], "epochs=0"),
        (["--batch-size", "1"], "batch_size=1"),
        (["--lr", "0"], "lr=0.0"),
        (["--out", "/proc/nowhere"], "cannot write to the folder /proc/nowhere"),
    ],
)
def test_bad_settings_are_reported_in_one_line(tmp_path, flow, options, message):
    code, out, err = flow("--out", tmp_path, *options)
    assert code == 1 and message in err and err.count("\n") == 1 and out == "", err
    assert not list(tmp_path.iterdir()), "nothing is drawn before that"


@pytest.mark.parametrize("count", [0, 2])
def test_ctrl_c_says_what_there_is(count, tmp_path, flow, monkeypatch):
    drawn = []

    def save(figure, path, plt, keep=figures_module._save):
        if len(drawn) == count:
            raise KeyboardInterrupt
        drawn.append(path)
        return keep(figure, path, plt)

    monkeypatch.setattr(figures_module, "_save", save)
    code, out, err = flow(*SMALL, "--init-only", "--plain", "--out", tmp_path)
    page = tmp_path / "index.html"
    said = f"the figures drawn until then are in {page}" if count else "no figure was drawn"
    assert (code, out, err) == (130, "", f"minires: interrupted; {said}\n")
    assert [p.name in page.read_text("utf-8") for p in drawn] == [True] * count if count else not page.exists()


def test_a_scale_without_a_number_is_a_mistake_in_the_command_line(capfd):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["flow", "--scale", "layer1.*.skip"])
    assert "expected a pattern and a number, such as" in capfd.readouterr().err


def test_help_has_examples_and_lists_the_models():
    text = process("--help").stdout
    assert "examples:" in text and "--init-only" in text and "stochastic-depth" in text
