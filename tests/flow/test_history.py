"""The log schedule and the collected norms."""

import numpy as np
import pytest

import minires as mr
from minires import flow, models, nn, random
from minires.nn import functional as F


def test_the_schedule_is_dense_then_thins_out_and_keeps_round_numbers():
    due = [step for step in range(2001) if flow.is_due(step, last=2000)]
    assert due[:10] == list(range(10))
    assert {10, 100, 1000, 2000} <= set(due)
    gaps = np.diff(due[10:-1])
    assert (gaps[1:] >= gaps[:-1] - 1).all() and len(due) < 40


def test_history_collects_norms_and_ratios():
    random.manual_seed(0)
    model = models.resnet_cifar(8, 4, in_channels=1)
    x, y = np.random.default_rng(0).standard_normal((4, 1, 8, 8)).astype(np.float32), np.arange(4)
    history = flow.FlowHistory()
    for step in (0, 5):
        history.add(step, flow.record(model, x, y))
    assert history.steps == [0, 5] and history.norms.shape == (2, 8) and history.convolution_norms.shape == (2, 7)
    assert history.convolutions[0] == "conv1" and "fc" not in history.convolutions
    np.testing.assert_allclose(history.first_over_last(), history.norms[:, 0] / history.norms[:, -2])
    with pytest.raises(ValueError, match=r"one history holds one network"):
        history.add(6, flow.record(models.resnet_cifar(14, 4, in_channels=1), x, y))


def test_turning_measures_the_weights_and_by_how_much_a_step_turns_them(tmp_path):
    random.manual_seed(0)
    model, history = models.resnet_cifar(8, 4, in_channels=1), flow.FlowHistory()
    x, y = np.random.default_rng(0).standard_normal((4, 1, 8, 8)).astype(np.float32), np.arange(4)
    with pytest.raises(ValueError, match=r"turning: got no recorded step; call add"), history.turning(model):
        pass
    history.add(0, flow.record(model, x, y))
    with pytest.raises(TypeError, match="turning: got a list; expected a model of minires"), history.turning([model]):
        pass
    assert np.isnan(history.turns).all() and np.isnan(history.first_over_last(free_of_scale=True)).all()
    first, second = model.conv1.weight, model.layer1[0].conv1.weight
    first.data[...] = 0
    first.data[0, 0, 0, 0] = 3
    with history.turning(model):
        first.data[0, 0, 0, 0], first.data[0, 0, 0, 1] = 3 * np.cos(0.01), 3 * np.sin(0.01)
        second.data *= 7  # longer, and not turned
    turned = dict(zip(history.layers, history.turns[0]))
    assert turned["conv1"] == pytest.approx(np.degrees(0.01), rel=1e-5)
    assert turned["layer1.0.conv1"] < 1e-5 and turned["fc"] == 0 and history.weight_norms[0, 0] == 3
    size = history.weight_norms[0, history.layers.index(history.convolutions[-1])]
    assert history.first_over_last(free_of_scale=True)[0] == pytest.approx(history.first_over_last()[0] * 3 / size)
    history.save(tmp_path / "h.json")
    loaded = flow.FlowHistory.load(tmp_path / "h.json").until(0)
    np.testing.assert_array_equal(loaded.turns, history.turns)
    np.testing.assert_array_equal(loaded.weight_norms, history.weight_norms)


def test_turning_finds_weights_of_any_name(tmp_path):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.table = nn.LSTM(3, 4, batch_first=True), nn.Parameter(mr.randn(4, 2))

        def forward(self, x):
            return self.lstm(x)[0][:, -1] @ self.table

    model, history = Named(), flow.FlowHistory()
    history.add(0, flow.record(model, mr.randn(2, 5, 3), [0, 1]))
    assert history.parameters == ["lstm.weight_ih_l0", "lstm.weight_hh_l0", "table"]
    with history.turning(model):
        model.table.data *= -1
    np.testing.assert_allclose(history.turns[0], [0, 0, 180], atol=1e-5)
    weights = [dict(model.named_parameters())[name].numpy() for name in history.parameters]
    np.testing.assert_allclose(history.weight_norms[0], [np.linalg.norm(weight) for weight in weights], rtol=1e-6)
    history.save(tmp_path / "h.json")
    assert flow.FlowHistory.load(tmp_path / "h.json").parameters == history.parameters


def test_behind_batch_norm_the_size_of_a_weight_changes_its_raw_gradient_only():
    """Arora et al. 2019 (arXiv 1812.03981), lemma 2.4."""
    x, y = np.random.default_rng(0).standard_normal((16, 1, 8, 8)).astype(np.float32), np.arange(16) % 4
    random.manual_seed(0)
    model, history = models.plain_cifar(8, 4, in_channels=1), flow.FlowHistory()
    for step, factor in enumerate((1, 50)):
        model.conv1.weight.data *= factor
        history.add(step, flow.record(model, x, y))
        with history.turning(model):
            pass
    raw, free = history.first_over_last(), history.first_over_last(free_of_scale=True)
    assert raw[0] / raw[1] == pytest.approx(50, rel=0.05) and free[0] / free[1] == pytest.approx(1, rel=0.05)


def test_a_saved_history_is_the_same_when_loaded(tmp_path):
    random.manual_seed(0)
    model = models.resnet_cifar(8, 4, in_channels=1)
    x, y = np.random.default_rng(0).standard_normal((4, 1, 8, 8)).astype(np.float32), np.arange(4)
    history = flow.FlowHistory()
    history.add(0, flow.record(model, x, y))
    history.save(tmp_path / "h.json")
    loaded = flow.FlowHistory.load(tmp_path / "h.json")
    assert loaded.forks == history.forks and loaded.steps == history.steps and loaded.sum_error == history.sum_error
    assert loaded.convolutions == history.convolutions
    np.testing.assert_array_equal(loaded.norms, history.norms)


@pytest.mark.parametrize("text", ["", "{}", '{"version": 99}', "not json", "[1, 2]"])
def test_a_foreign_file_is_told(tmp_path, text):
    (tmp_path / "h.json").write_text(text)
    with pytest.raises(ValueError, match=r"h\.json is not a history"):
        flow.FlowHistory.load(tmp_path / "h.json")


def test_a_history_until_a_step_is_one_of_its_own():
    random.manual_seed(0)
    model = models.resnet_cifar(8, 4, in_channels=1)
    x, y = np.random.default_rng(0).standard_normal((4, 1, 8, 8)).astype(np.float32), np.arange(4)
    history = flow.FlowHistory()
    for step in (np.int64(0), 5, 2):  # also a step that came out of an array
        history.add(step, flow.record(model, 10.0**step * x, y))
    until = history.until(3)
    assert until.steps == until.edge_history.steps == [0, 2] and len(history.steps) == 3
    np.testing.assert_array_equal(until.norms, history.norms[[0, 2]])
    np.testing.assert_array_equal(until.edge_history.norms, history.edge_history.norms[[0, 2]])
    assert until.sum_error == max(fork.sum_error for i in (0, 2) for fork in history.forks[i])
    edges = len(history.edge_history.names())
    until.add(4, flow.record(model, x, y, loss=lambda output, target: F.cross_entropy(output, target) + output.mean()))
    assert len(until.edge_history.names()) > edges == len(history.edge_history.names()) and len(history.steps) == 3


def test_recordings_that_contradict_each_other_in_their_order_are_refused():
    random.manual_seed(0)
    history = flow.FlowHistory()
    recordings = []
    for f in (lambda a, w: (a * w) + a, lambda a, w: (a + w) * a):
        with flow.recording() as recorded:
            f(*(nn.Parameter(mr.randn(3)) for _ in range(2))).sum().backward()
        recordings.append(recorded)
    history.add(0, recordings[0])
    with pytest.raises(
        ValueError, match=r"EdgeHistory: got recordings that compute Mul, Add, .* contradict each other"
    ):
        history.add(1, recordings[1])
    assert history.steps == history.edge_history.steps == [0] and len(history.edge_history.graph()["nodes"]) == 5
