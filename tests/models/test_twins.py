"""Twins: the same weights at the start, one flag apart."""

import numpy as np
import pytest

import minires as mr
from minires import models


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("preact", [False, True])
def test_twins_share_every_weight_and_differ_by_one_flag(preact):
    plain, residual = models.twins(14, 4, preact=preact)
    assert (plain.residual, residual.residual) == (False, True)
    assert count(plain) == count(residual)
    ours, theirs = plain.state_dict(), residual.state_dict()
    assert list(ours) == list(theirs)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_twins_hold_copies_not_the_same_arrays():
    plain, residual = models.twins(8, 4)
    plain.conv1.weight.array[...] = 0
    assert residual.conv1.weight.numpy().all()


def test_twins_compute_different_things():
    plain, residual = models.twins(8, 4, in_channels=1)
    x = mr.randn(2, 1, 8, 8)
    assert not np.allclose(plain(x).numpy(), residual(x).numpy())


@pytest.mark.parametrize("shortcut", "BC")
def test_projections_belong_to_the_residual_twin_alone(shortcut):
    plain, residual = models.twins(8, 4, shortcut=shortcut)
    ours, theirs = plain.state_dict(), residual.state_dict()
    assert {name for name in theirs if name not in ours} == {name for name in theirs if "downsample" in name}
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_zero_init_concerns_the_residual_twin_alone():
    plain, residual = models.twins(8, 4, zero_init_residual=True)
    different = [n for n, array in plain.state_dict().items() if not np.array_equal(array, residual.state_dict()[n])]
    assert different == [f"layer{stage}.0.bn2.weight" for stage in (1, 2, 3)]


def test_the_seed_fixes_the_twins():
    mr.manual_seed(5)
    first = models.twins(8, 4)[1].state_dict()
    mr.manual_seed(5)
    second = models.twins(8, 4)[1].state_dict()
    assert all(np.array_equal(first[name], second[name]) for name in first)
