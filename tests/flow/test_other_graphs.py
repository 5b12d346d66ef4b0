"""Networks that are not ResNets: dense concatenation, recurrence in time, and neither of the two."""

import numpy as np

import minires as mr
from minires import flow, nn, random
from minires.nn import functional as F


class Dense(nn.Module):
    """Every layer sees all earlier outputs, joined: Huang et al. 2017, arXiv 1608.06993."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4 * (i + 1), 4) for i in range(3))

    def forward(self, x):
        seen = [x]
        for layer in self.layers:
            seen.append(layer(mr.cat(seen, 1)).tanh())
        return mr.cat(seen, 1)


class Recurrent(nn.Module):
    """h ← tanh(W x_t + U h), unrolled over the time steps of x (N, T, 4)."""

    def __init__(self):
        super().__init__()
        self.W, self.U = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        h = x[:, 0].tanh()
        for t in range(1, x.shape[1]):
            h = (self.W(x[:, t]) + self.U(h)).tanh()
        return h


def data(*shape):
    return np.random.default_rng(0).standard_normal(shape)


def test_dense_concatenation_has_edges_and_no_forks():
    random.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), Dense()).double()
    recording = flow.record(model, data(3, 4), data(3, 16), loss=F.mse_loss, arrays=True)
    assert recording.forks == []
    edges = recording.edges("0: Linear")  # the input of the dense block goes to all four concatenations
    assert [edge.consumer.split("#")[0] for edge in edges] == ["1: Cat"] * 4
    node = next(node for node in recording.nodes if node.name == "0: Linear")
    total = np.linalg.norm(sum(edge.grad for edge in edges))
    np.testing.assert_allclose(total, node.norm)
    assert node.sum_error < 1e-15


def test_a_recurrent_network_shares_its_weights_over_time_and_has_no_forks():
    random.manual_seed(0)
    model = Recurrent().double()
    recording = flow.record(model, data(3, 6, 4), data(3, 4), loss=F.mse_loss)
    assert recording.forks == []
    assert len(recording.edges("U.weight")) == len(recording.edges("W.weight")) == 5
    assert any(note.startswith("U.weight: used 5 times") for note in recording.notes)
    uses = [layer.name for layer in recording.layers if layer.name.startswith("U")]
    assert uses == ["U", "U#2", "U#3", "U#4", "U#5"]


def test_a_net_without_any_fork_has_layers_and_a_graph():
    random.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).double()
    recording = flow.record(model, data(3, 4), data(3, 2), loss=F.mse_loss)
    assert recording.forks == [] and recording.sum_error == 0
    assert [layer.name for layer in recording.weight_layers] == ["0", "2"]
    assert all(edge["role"] is None for edge in recording.graph()["edges"])
