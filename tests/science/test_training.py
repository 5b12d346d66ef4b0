"""What the papers say about plain and residual networks in training: small ones, CIFAR-10 at 8×8, a single seed.

The thresholds were measured on five seeds, see ``benchmarks/results/science.md``.
"""

import pytest

from minires.experiments import trained
from minires.experiments.seeds import over_seeds

pytestmark = pytest.mark.slow


def test_the_gradient_of_a_deep_plain_network_explodes_at_initialisation(c8):
    """Yang et al. 2019 (arXiv 1902.08129): larger in the first convolution than in the last; with shortcuts, hardly."""
    found = over_seeds(trained.gradient_profile, c8, steps=(0,))
    assert (found["plain, step 0"] > 100).all() and (found["residual, step 0"] < 20).all()


def test_plain_networks_get_worse_with_depth_and_residual_ones_far_less(c8):
    """He et al. 2015 (arXiv 1512.03385), figures 1 and 6: it shows in the *training* loss, so it is not overfitting."""
    found = over_seeds(trained.degradation, c8, depths=(8, 56), zero_only=True, seeds=[0])
    assert found["plain-56 − plain-8"][0] > 0.5 and found["plain-56 − zero-γ-56"][0] > 0.4


def test_deleting_a_block_breaks_a_plain_network_and_hardly_hurts_a_residual_one(c8):
    """Veit et al. 2016 (arXiv 1605.06431), section 4.1 and figure 3."""
    found = over_seeds(trained.lesion, c8, seeds=[0])
    assert found["residual, median"][0] < 0.08 and found["plain, median"][0] > 0.18


def test_the_last_layers_of_residual_blocks_respond_more_weakly_than_those_of_plain_ones(c8):
    """He et al. 2015, section 4.2 and figure 7, who find it in all layers, after a training fifty times as long."""
    found = over_seeds(trained.layer_responses, c8, seeds=[0])
    assert found["residual / plain, last"][0] < 0.9 and found["residual / plain, all"][0] < 1


def test_branches_that_start_small_train_a_deep_network_without_batch_norm(c8):
    """De & Smith 2020 (arXiv 2002.10444), SkipInit: α = 0, or any α up to about 1/√n for n blocks."""
    found = over_seeds(trained.skip_init, c8, alphas=("0", "1/√n"), seeds=[0])
    assert found["plain − α = 0"][0] > 0.4 and found["plain − α = 1/√n"][0] > 0.4
    assert found["plain, unit variance"][0] > 2.1
