"""What the papers say about plain and residual networks at initialisation, each on five seeds.

The experiments are in `minires.experiments`; ``python -m benchmarks science`` prints their numbers.
"""

import numpy as np
import pytest

from minires.experiments import initialisation, paths, shattering
from minires.experiments.seeds import over_seeds


def test_the_gradient_at_a_fork_is_skip_plus_branch_and_the_sum_over_path_lengths():
    """He et al. 2016 (arXiv 1603.05027), equation 5; Veit et al. 2016 (arXiv 1605.06431), section 3."""
    found = over_seeds(paths.conservation)
    assert found["fork, float64"].max() < 1e-10 and found["paths, float64"].max() < 1e-10
    assert found["fork, float32"].max() < 1e-4 and found["paths, float32"].max() < 1e-4


def test_few_paths_are_short():
    """Veit et al. 2016, section 5: of 2⁵⁴ paths 0.45 % cross 5–17 blocks, and most 19–35."""
    found = over_seeds(paths.path_count)
    assert np.abs(found["5–17, %"] - 0.45).max() < 0.01 and np.abs(found["19–35, %"] - 98).max() < 0.1
    assert found["off the binomial"].max() == 0


@pytest.mark.slow
def test_every_branch_multiplies_a_path_s_gradient_by_the_same_small_factor():
    """Veit et al. 2016, section 5 and figure 6: it falls exponentially with the length of the path."""
    found = over_seeds(paths.branch_cost, samples=8)  # 40 paths of each length in all
    assert (found["factor"] < 0.7).all() and (found["R²"] > 0.98).all()


@pytest.mark.slow
def test_the_effective_length_follows_from_the_ratios_at_the_forks_and_is_short():
    """Veit et al. 2016, section 5: the paths that carry gradient are relatively shallow."""
    found = over_seeds(paths.effective_length)
    for blocks in (9, 18, 27, 54):
        assert abs(found[f"Σ/exact, {blocks}"].mean() - 1) < 0.05
    assert (found["share of depth, 54"] < 0.15).all()


def test_without_batch_norm_paths_have_binomial_lengths_unless_branches_are_scaled():
    """De & Smith 2020 (arXiv 2002.10444): branches as large as their shortcut, or 1/√n of it."""
    found = over_seeds(paths.length_without_batch_norm)
    assert 12 < found["unscaled"].mean() < 15 and 0.8 < found["1/√n"].mean() < 1.2


def test_batch_norm_makes_the_gradient_of_plain_networks_explode():
    """Yang et al. 2019 (arXiv 1902.08129): by √(π/(π − 1)) = 1.211 per layer; without batch norm it does not."""
    found = over_seeds(initialisation.explosion)
    for growth in (found["with BN"], found["with BN, width 256"]):
        assert ((1.17 < growth) & (growth < 1.24)).all()
    assert ((0.9 < found["without"]) & (found["without"] < 1.1)).all()


@pytest.mark.slow
def test_without_batch_norm_the_gradient_of_plain_networks_is_log_normal():
    """Hanin & Nica 2018 (arXiv 1812.05994): ln‖Jᵀu‖² ~ N(−β/2, β), β = 5L/n; L = 56, n = 64, 80 networks a seed."""
    found = over_seeds(initialisation.log_normal_gradient, networks=80)  # in all as many as `benchmarks science` a seed
    beta = 5 * 56 / 64
    std = np.sqrt((found["std"] ** 2).mean() + found["mean"].var())  # of all 400
    assert abs(found["mean"].mean() + beta / 2) < 0.4 and abs(std - beta**0.5) < 0.4


def test_residual_variance_doubles_without_batch_norm_and_grows_linearly_with_it():
    """De & Smith 2020: 2^ℓ against ℓ + 1."""
    found = over_seeds(initialisation.variance_growth)
    assert 0.9 < found["log₂ slope without BN"].mean() < 1.1 and 0.9 < found["slope with BN"].mean() < 1.1


def test_gradients_at_two_inputs_correlate_as_two_to_the_minus_depth_but_not_in_residual_networks():
    """Balduzzi et al. 2017 (arXiv 1702.08591), section 3: 1/2^L against about 1/√L."""
    found = over_seeds(shattering.correlation_between_inputs)
    for layers in (1, 2, 3, 4):
        assert abs(np.log2(found[f"plain, L = {layers}"].mean()) + layers) < 0.3
    assert (found["residual, L = 10"] > 0.2).all() and np.abs(found["plain, L = 10"]).max() < 0.02


def test_the_slope_of_a_deep_plain_network_is_white_noise_and_of_a_residual_one_is_not():
    """Balduzzi et al. 2017, figures 1 and 2."""
    found = over_seeds(shattering.correlation_along_a_line)
    assert abs(found["plain-24"].mean()) < 0.2 and (found["residual-50"] > 0.5).all()


def test_scaled_shortcuts_multiply_what_crosses_no_branch():
    """He et al. 2016 (arXiv 1603.05027), section 3, equation 8: by λⁿ."""
    for errors in over_seeds(paths.scaled_shortcut).values():
        assert errors.max() < 1e-10
