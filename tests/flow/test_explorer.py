"""The explorer's data and page: numbers arrive as they were, names stay text, the same run gives the same bytes."""

import base64
import json
import math
import re
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

import minires as mr
from minires import flow, models, nn
from minires.commands import explore
from minires.flow import EdgeHistory, FlowHistory, Run
from minires.flow.explorer.packing import Arrays, pack
from minires.flow.explorer.structure import structure
from minires.nn import functional as F

STEPS = (0, 3, 5)


def unpacked(text):
    """A packed run as the page reads it: the document, and a function that gives codes of 16 bits."""
    data = zlib.decompress(base64.b64decode(text))
    end = 4 + int.from_bytes(data[:4], "little")

    def codes(where):
        offset, rows, columns, from_first = where
        size = rows * columns
        low, high = (np.frombuffer(data, np.uint8, size, end + offset + part * size) for part in (0, 1))
        found = (low.astype(np.uint16) + 256 * high.astype(np.uint16)).reshape(rows, columns)
        if not from_first:
            return np.cumsum(found, axis=0, dtype=np.uint16)
        return np.vstack([found[:1], found[1:] + found[:1]]) if rows else found

    return json.loads(data[4:end]), codes


def norms_of(document, codes):
    logs = document["low"] + (codes.astype(float) - 1) * document["step"]
    return np.select([codes == 0, codes == 65534, codes == 65535], [0.0, np.inf, np.nan], 10.0**logs)


@pytest.fixture(scope="module")
def twins():
    mr.random.manual_seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((8, 1, 8, 8)).astype(np.float32), rng.integers(0, 10, 8)
    histories = {"plain": FlowHistory(), "residual": FlowHistory()}
    probes = {name: {} for name in histories}
    for name, model in zip(histories, models.twins(8, 4, in_channels=1)):
        for step in STEPS:
            histories[name].add(step, flow.record(model, x, y))
            for parameter in model.parameters():
                parameter.array[...] *= 1.1
        probes[name][5] = flow.probe(model, x, y, [(x, y)], progress=False)
    return Run(histories, {"depth": 8}, {"plain": [2.5, 2, 2, 1, 1, 0.5]}, {"residual": {0: 0.1, 5: 0.5}}, probes)


@given(hnp.arrays(float, st.tuples(st.integers(1, 4), st.integers(1, 5)), elements=st.floats(0, 1e300)), st.booleans())
@settings(max_examples=60)
def test_norms_come_back_to_within_a_sixteenth_of_a_percent(norms, reference):
    norms = np.where(norms < 1e-300, 0.0, norms)
    arrays = Arrays()
    arrays.set_scale([norms])
    where = arrays.norms(norms, reference)
    document, codes = unpacked(arrays.finish({"low": arrays.low, "step": arrays.step}))
    read = norms_of(document, codes(where))
    assert ((norms == 0) == (read == 0)).all()
    half = 10 ** (max(1 / 2000, arrays.step) / 2) - 1  # of a step of the scale
    np.testing.assert_allclose(read, norms, rtol=half * 1.001)
    if np.log10(norms.max() or 1) - np.log10(norms[norms > 0].min(initial=1)) < 30:
        assert half < 0.0006


def test_what_is_not_finite_stays_so():
    norms = np.array([[np.nan, np.inf, 0.0, 1.0], [1.0, np.nan, np.inf, 0.0]])
    arrays = Arrays()
    arrays.set_scale([norms])
    where = arrays.norms(norms)
    document, codes = unpacked(arrays.finish({"low": arrays.low, "step": arrays.step}))
    np.testing.assert_allclose(norms_of(document, codes(where)), norms, rtol=1e-3)


def test_every_edge_is_in_the_page_with_its_numbers(twins):
    document, codes = unpacked(pack(twins))
    for network, (name, history) in zip(document["networks"], twins.networks.items()):
        kept = history.edge_history
        assert network["name"] == name and network["steps"] == list(STEPS)
        np.testing.assert_allclose(norms_of(document, codes(network["norms"])), kept.norms, rtol=6e-4)
        cosines = codes(network["cosines"]) / 10_000 - 1
        np.testing.assert_allclose(cosines, kept.cosines[:, network["angled"]], atol=1e-4)
        totals = norms_of(document, codes(network["totals"]))
        np.testing.assert_allclose(totals, kept.totals[:, network["several"]], rtol=6e-4)
        by_name = [(network["tensors"][a][0], network["tensors"][b][0], slot) for a, b, slot, _ in network["edges"]]
        assert by_name == kept.names()
    plain, residual = document["networks"]
    assert plain["losses"] == [2.5, 1.6667, 0.75]  # means since the recorded step before
    assert residual["accuracies"] == [[0, 0.1], [5, 0.5]] and residual["losses"] == []
    (probe,) = residual["probes"]
    measured = twins.probes["residual"][5]
    drawn, angled, several = residual["drawn"], residual["angled"], residual["several"]
    np.testing.assert_allclose(norms_of(document, codes(probe["norms"])), measured.edges.norms[:, drawn], rtol=6e-4)
    np.testing.assert_allclose(norms_of(document, codes(probe["totals"])), measured.edges.totals[:, several], rtol=6e-4)
    np.testing.assert_allclose(codes(probe["cosines"]) / 10_000 - 1, measured.edges.cosines[:, angled], atol=1e-4)
    undrawn = {residual["tensors"][residual["edges"][i][0]][0] for i in range(len(residual["edges"]))} - {
        residual["tensors"][residual["edges"][i][0]][0] for i in drawn
    }
    assert all(name.endswith((".bias", ".weight")) for name in undrawn) and "conv1.weight" not in undrawn
    assert probe["cuts"] == measured.cuts and probe["intact"] == pytest.approx(measured.lesion.intact_accuracy)
    np.testing.assert_allclose(probe["paths"], measured.spectrum.norms, rtol=1e-4)


def test_the_history_keeps_what_the_recording_shows(twins):
    model = models.resnet_cifar(8, 4, in_channels=1)
    recording = flow.record(model, mr.ones(2, 1, 8, 8), mr.tensor([3, 7]))
    history, graph = recording.edge_history, recording.graph()
    assert history.norms[0].tolist() == [edge["norm"] for edge in graph["edges"]]
    assert history.totals[0].tolist() == [node["norm"] for node in graph["nodes"]]
    kept = history.graph()
    assert [edge["role"] for edge in kept["edges"]] == [edge["role"] for edge in graph["edges"]]
    for fork in recording.forks:
        place = next(i for i, n in enumerate(graph["nodes"]) if n["norm"] == fork.total and n["op"])
        skip = next(
            i
            for i, e in enumerate(graph["edges"])
            if e["source"] == graph["nodes"][place]["id"] and e["role"] == "skip"
        )
        assert history.cosines[0, skip] == fork.cosine


def test_a_saved_history_keeps_every_edge_and_an_older_one_still_loads(twins, tmp_path):
    history = twins.networks["residual"]
    history.save(tmp_path / "h.json")
    loaded = FlowHistory.load(tmp_path / "h.json").edge_history
    assert loaded.steps == list(STEPS) and loaded.names() == history.edge_history.names()
    for name in ("norms", "cosines", "totals"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(history.edge_history, name))
    assert loaded.graph() == history.edge_history.graph()
    document = json.loads((tmp_path / "h.json").read_text("utf-8"))
    del document["edges"]
    (tmp_path / "old.json").write_text(json.dumps({**document, "version": 1}), "utf-8")
    old = FlowHistory.load(tmp_path / "old.json")
    np.testing.assert_array_equal(old.norms, history.norms)
    with pytest.raises(ValueError, match=r"a history without edges as 'network'.*record it again"):
        old.to_html(tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
    damaged = {**document, "edges": {**history.edge_history.to_document(), "norms": "AAAA"}}
    (tmp_path / "h.json").write_text(json.dumps(damaged), "utf-8")
    with pytest.raises(ValueError, match=r"h\.json is not a history .*its norms are damaged"):
        FlowHistory.load(tmp_path / "h.json")


def test_branches_left_out_are_missing_and_the_rest_is_kept(tmp_path):
    mr.random.manual_seed(1)
    model = models.VARIANTS["stochastic-depth"].build(14, 4, in_channels=1)
    x, y = mr.ones(4, 1, 8, 8), mr.tensor([3, 7, 1, 0])
    kept = EdgeHistory()
    recordings = []
    for step in range(8):
        with flow.recording(model) as recording:
            nn.functional.cross_entropy(model(x), y).backward()
        recordings.append(recording)
        kept.add(step, recording.nodes)
    assert np.isnan(kept.norms).any()
    graph = kept.graph()
    assert all(edge["consumer"] > edge["source"] for edge in graph["edges"])
    for row, recording in zip(kept.norms, recordings):
        seen = recording.graph()["edges"]
        assert sorted(row[~np.isnan(row)]) == sorted(edge["norm"] for edge in seen)
    flow.explore({"short": SimpleNamespace(edge_history=kept)}, tmp_path / "page.html")


def test_twins_stand_block_below_block(twins):
    shown = {name: structure(history.edge_history.graph()) for name, history in twins.networks.items()}
    names = [slot["name"] for slot in shown["plain"]["slots"]]
    assert names == [slot["name"] for slot in shown["residual"]["slots"]]
    assert names == ["stem", "layer1.0", "layer2.0", "layer3.0", "head"]
    labels = {name: [box[0] for box in one["boxes"]["folded"]] for name, one in shown.items()}
    assert labels["plain"].count("+") == 0 and labels["residual"].count("+") == 3
    graph = twins.networks["residual"].edge_history.graph()
    for level in ("folded", "ops"):  # every op's output is in one box, and parameters in none
        members = sorted(place for box in shown["residual"]["boxes"][level] for place in box[5])
        assert members == [i for i, node in enumerate(graph["nodes"]) if not node["parameter"]]


def test_a_network_without_blocks_has_a_slot_for_each_module():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    recording = flow.record(model, mr.ones(2, 3), mr.tensor([0, 1]))
    slots = structure(recording.edge_history.graph())["slots"]
    assert [slot["name"] for slot in slots[:3]] == ["0", "1", "2"] and not any(slot["block"] for slot in slots)


def test_every_cut_is_that_of_scaled(twins):
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((4, 1, 8, 8)).astype(np.float32), np.arange(4)
    model = models.resnet_cifar(8, 4, in_channels=1)
    found = flow.probe(model, x, y, progress=False)
    assert found.lesion is None and found.cuts[0] == "" and {"*.skip", "layer2.0.branch"} <= set(found.cuts)
    np.testing.assert_array_equal(found.edges.norms[0], flow.record(model, x, y).edge_history.norms[0])
    with flow.scaled(model, {"layer2.0.skip": 0}):
        cut = flow.record(model, x, y)
    row = found.edges.norms[found.cuts.index("layer2.0.skip")]
    np.testing.assert_array_equal(row, cut.edge_history.norms[0])
    assert (row != found.edges.norms[0]).any()
    without = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    without.blocks = list
    assert flow.probe(without, x, y, [(x, y)], progress=False).lesion is None


class TwoForks(nn.Module):
    """A block with two additions, as in transformers."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        x = x + self.first(x).tanh()
        return x + self.second(x).tanh()


def test_of_two_forks_of_a_block_each_is_cut_alone():
    model, x, y = nn.Sequential(nn.Linear(8, 8), TwoForks()), np.ones((4, 8), np.float32), np.arange(4)
    found = flow.probe(model, x, y, progress=False)
    assert found.cuts[1:5] == ["1#1.skip", "1#1.branch", "1#2.skip", "1#2.branch"]
    names = found.edges.names()
    skips = [names.index(edge) for edge in names if edge[1] in ("1: Add", "1: Add#2") and edge[2] == 0]
    for cut in ("1#1.skip", "1#2.skip"):
        assert (found.edges.norms[found.cuts.index(cut)][skips] == 0).sum() == 1


def test_a_regression_s_lesions_have_no_card_of_accuracies():
    model, x, y = models.resnet_cifar(8, 4, num_classes=1, in_channels=1), np.ones((4, 1, 8, 8)), np.ones((4, 1))
    found = flow.probe(model, x, y, [(x, y)], F.mse_loss, progress=False)
    run = flow.Run({"one": flow.record(model, x, y, F.mse_loss)}, probes={"one": {0: found}})
    assert np.isnan(found.lesion.intact_accuracy)
    document, _ = unpacked(pack(run))
    assert "paths" in document["networks"][0]["probes"][0] and "lesion" not in document["networks"][0]["probes"][0]


def test_the_same_run_gives_the_same_bytes_and_needs_no_other_file(twins, tmp_path):
    for name in ("a.html", "b.html"):
        flow.explore_runs([twins], tmp_path / name)
    page = (tmp_path / "a.html").read_bytes()
    assert page == (tmp_path / "b.html").read_bytes() and len(page) < 120_000
    text = page.decode()
    assert text.count("http") == text.count("http://www.w3.org/2000/svg") == 1  # a namespace, which nobody fetches
    assert not re.search(r"\bimport\b[^\n]*from|@import|url\(|src=|eval\(|innerHTML", text)
    assert not re.search(r"\{\{[A-Z]+\}\}", text) and {path.name for path in tmp_path.iterdir()} == {"a.html", "b.html"}


def test_names_and_titles_cannot_end_the_script_or_open_a_comment(tmp_path):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            setattr(self, "</script><img src=x onerror=alert(1)>", nn.Linear(3, 2))

        def forward(self, x):
            return next(self.children())(x)

    recording = flow.record(Odd(), mr.ones(2, 3), mr.tensor([0, 1]))
    title = "<!--<script>\u2028</title>&amp;"
    flow.explore({"a</script>": recording}, tmp_path / "p.html", title=title, settings={"<!--": "</script>"})
    text = (tmp_path / "p.html").read_text("utf-8")
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1]
    assert not set("<>&") & set(data) and json.loads(data)["title"] == title
    assert json.loads(data)["runs"][0]["settings"] == {"<!--": "</script>"}
    assert text.count("</script>") == text.count("<script") == 2 and "<!--" not in text and "<img" not in text
    assert "<title>&lt;!--&lt;script&gt;\u2028&lt;/title&gt;&amp;amp;</title>" in text


def test_a_recording_writes_a_page_of_its_own(tmp_path):
    model = models.resnet_cifar(8, 4, in_channels=1)
    recording = flow.record(model, mr.ones(2, 1, 8, 8), mr.tensor([3, 7]))
    recording.to_html(tmp_path / "p.html")
    assert (tmp_path / "p.html").stat().st_size < 100_000
    with flow.recording(model) as both:
        for _ in range(2):
            nn.functional.cross_entropy(model(mr.ones(2, 1, 8, 8)), mr.tensor([3, 7])).backward()
    document, _ = unpacked(pack(Run({"twice": both})))
    assert [network["name"] for network in document["networks"]] == ["twice", "twice (pass 2)"]
    assert len({len(network["edges"]) for network in document["networks"]}) == 1


def test_what_cannot_be_shown_is_refused(twins, tmp_path):
    page = tmp_path / "p.html"
    for arguments, message in (
        (({},), "got no networks"),
        (({"a": 3},), "got an int as 'a'; expected a FlowHistory or a Recording"),
        ((twins.networks, {"depth": 8}, {"plane": [1.0]}), r"got losses of 'plane'; the networks are plain, residual"),
        ((twins.networks, {}, {}, {}, {"b": {}}), "got probes of 'b'"),
    ):
        with pytest.raises(ValueError, match=message):
            flow.explore_runs([Run(*arguments)], page)
    with pytest.raises(ValueError, match="got no runs"):
        flow.explore_runs([], page)
    other = EdgeHistory()
    recording = flow.record(models.resnet_cifar(8, 4, in_channels=1), mr.ones(2, 1, 8, 8), mr.tensor([3, 7]))
    other.add(99, recording.nodes)
    later = FlowHistory()
    later.add(99, recording)
    with pytest.raises(ValueError, match="networks without a common step"):
        flow.explore({**twins.networks, "later": later}, page)
    assert not page.exists()


def test_losses_that_diverged_are_no_numbers_in_json(twins):
    run = Run(twins.networks, losses={"plain": [1.0, math.nan, math.inf, math.inf, 1, 1]})
    document, _ = unpacked(pack(run))
    assert document["networks"][0]["losses"] == [1.0, None, 1.0]


def test_the_widget_is_the_same_page(twins):
    pytest.importorskip("anywidget")
    recording = flow.record(models.resnet_cifar(8, 4, in_channels=1), mr.ones(2, 1, 8, 8), mr.tensor([3, 7]))
    shown = recording.explore()
    assert json.loads(shown.document)["runs"] and "export default { render };" in shown._esm


@pytest.mark.slow
def test_the_command_writes_a_page_with_a_switch(tmp_path, capsys):
    from minires.commands.cli import main

    page = tmp_path / "out" / "page.html"
    assert main(f"explore --depth 8 14 --epochs 1 --quiet --out {page}".split()) == 0
    assert str(page) in capsys.readouterr().out
    data = re.search(r'id="data">(.*?)</script>', page.read_text("utf-8"))[1]
    settings = [run["settings"] for run in json.loads(data)["runs"]]
    assert [one["depth"] for one in settings] == ["8", "14"] and {one["data"] for one in settings} == {"digits"}
    assert main(["explore", "--depth", "9", "--out", str(page)]) == 1
    assert main(["explore", "--epochs", "0", "--out", str(page)]) == 1
    assert [path.name for path in Path(page.parent).iterdir()] == ["page.html"]


@pytest.mark.parametrize("calls, depths", [(0, []), (3, ["8"]), (4, ["8"]), (7, ["8", "14"])])
def test_ctrl_c_ends_all_runs_and_the_page_shows_what_was_recorded(calls, depths, tmp_path, monkeypatch, capsys):
    from minires.commands.cli import main

    begun, page = [], tmp_path / "page.html"

    def step(runner, *batch, take=explore.Runner.step, **options):
        if len(begun) == calls:
            raise KeyboardInterrupt
        begun.append(runner)
        take(runner, *batch, **options)

    monkeypatch.setattr(explore.Runner, "step", step)
    flags = ["--width", "2", "--epochs", "1", "--batch-size", "718", "--quiet", "--out", str(page)]
    assert main(["explore", "--depth", "8", "14", "20", *flags]) == 130
    assert "interrupted" in capsys.readouterr().err and page.exists() == bool(depths)
    if depths:
        data = re.search(r'id="data">(.*?)</script>', page.read_text("utf-8"))[1]
        assert [run["settings"]["depth"] for run in json.loads(data)["runs"]] == depths


def test_what_would_fail_after_the_training_fails_before_it(tmp_path, monkeypatch, capsys):
    from minires.commands.cli import main

    monkeypatch.setenv("MINIRES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(explore, "trained", pytest.fail)
    for flags, said in (
        (["--data", "digits", "cifar10"], "cifar10: no folder"),
        (["--batch-size", "1438"], "got batch_size = 1438 with drop_last, which leaves no batch of 1437 images"),
        (["--out", str(tmp_path)], f"cannot write to {tmp_path}, which is a folder; name a file in it"),
    ):
        assert main(["explore", "--depth", "8", "--quiet", "--out", str(tmp_path / "page.html"), *flags]) == 1
        assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_twins_start_alike_however_they_start(shortcut):
    kernels = {}
    for init in ("he", "xavier", "orthogonal"):
        settings = {"preact": False, "zero_init_residual": True, "init": init, "seed": 0}
        twins = explore.build(depth=8, width=4, name="digits", shortcut=shortcut, **settings)
        plain, residual = (dict(twins[name].named_parameters()) for name in ("plain", "residual"))
        for name in plain:
            if plain[name].ndim == 4:
                np.testing.assert_array_equal(plain[name].numpy(), residual[name].numpy())
        kernels[init] = plain["layer1.0.conv1.weight"].numpy().reshape(4, -1)
    assert not np.allclose(kernels["he"], kernels["xavier"])
    np.testing.assert_allclose(kernels["orthogonal"] @ kernels["orthogonal"].T, np.eye(4), atol=1e-5)


def test_how_far_weights_turned_is_in_the_page_where_it_was_measured(twins):
    assert not any("turns" in network for network in unpacked(pack(twins))[0]["networks"])
    mr.random.manual_seed(0)
    model, history = models.resnet_cifar(8, 4, in_channels=1), FlowHistory()
    x, y = np.ones((2, 1, 8, 8), np.float32), np.array([3, 7])
    history.add(0, flow.record(model, x, y))  # not measured at this step
    for step in (1, 2):
        history.add(step, flow.record(model, x, y))
        with history.turning(model):
            for parameter in model.parameters():
                parameter.array[...] += 0.01 * step * np.cos(np.arange(parameter.numel())).reshape(parameter.shape)
    document, codes = unpacked(pack(Run({"residual": history})))
    (network,) = document["networks"]
    names = [network["tensors"][place][0].removesuffix(".weight") for place in network["weights"]]
    columns = [history.layers.index(name) for name in names]
    assert len(names) > 5 and history.turns[2, columns].min() > 0
    for what, expected in (("turns", history.turns), ("sizes", history.weight_norms)):
        np.testing.assert_allclose(norms_of(document, codes(network[what])), expected[:, columns], rtol=6e-4)
