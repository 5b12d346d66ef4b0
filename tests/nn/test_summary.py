"""summary: parameters and multiply-adds, layer by layer, and a model left as it was."""

import numpy as np
import pytest

import minires as mr
from minires import nn


class Shared(nn.Module):
    """One convolution that runs twice, and a parameter beside it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1, bias=False)
        self.alpha = nn.Parameter(mr.zeros(1))

    def forward(self, x):
        return x + self.alpha * self.conv(self.conv(x))


def test_counts_of_a_small_network():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 16, (3, 1), groups=4),
        nn.Flatten(),
        nn.Linear(16 * 2 * 4, 10),
    )
    s = nn.summary(model, (3, 8, 8))
    assert [row.output_shape for row in s.rows] == [(8, 4, 4), (8, 4, 4), (16, 2, 4), (128,), (10,)]
    assert [row.parameters for row in s.rows] == [216, 16, 16 * 2 * 3 + 16, 0, 1290]
    assert [row.macs for row in s.rows] == [8 * 16 * 27, 0, 16 * 8 * 6, 0, 1280]
    assert s.parameters == sum(row.parameters for row in s.rows)
    assert s.macs == 8 * 16 * 27 + 16 * 8 * 6 + 1280


def test_a_layer_that_runs_twice_works_twice_but_is_counted_once():
    s = nn.summary(Shared(), (2, 4, 4))
    assert [(row.name, row.parameters, row.macs) for row in s.rows] == [
        ("conv", 36, 16 * 36),
        ("conv", 0, 16 * 36),
        ("", 1, 0),
    ]
    assert s.parameters == 37


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout())
    model[1].eval()
    before, drawn = model.state_dict(), mr.random.get_state()
    nn.summary(model, (1, 8, 8))
    assert [m.training for m in model.modules()] == [True, True, False, True]
    assert all(np.array_equal(before[name], array) for name, array in model.state_dict().items())
    assert "forward" not in vars(model[0])
    assert mr.random.get_state() == drawn
    assert all(p.grad is None for p in model.parameters())


def test_the_model_is_left_as_it_was_after_an_error():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(3, 2, 3))
    with pytest.raises(ValueError, match="conv2d"):
        nn.summary(model, (1, 8, 8))
    assert model.training
    assert "forward" not in vars(model[0])


def test_it_runs_in_the_type_of_the_model():
    assert nn.summary(nn.Sequential(nn.Linear(3, 2)).double(), (3,)).macs == 6


def test_it_prints_as_a_table():
    lines = str(nn.summary(nn.Sequential(nn.Linear(30, 50)), (30,))).splitlines()
    assert lines[0].split() == ["layer", "kind", "output", "parameters", "MACs"]
    assert lines[2].split() == ["0", "Linear", "(50,)", "1,550", "1,500"]
    assert lines[-1].split() == ["total", "1,550", "1,500"]
