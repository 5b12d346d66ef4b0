"""What the experiments measure, against definitions: maps, starts, singular values, cosines, counts."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import minires as mr
from minires import data, flow, models, nn
from minires.experiments import agreement, chaos, depth_scaling, efficiency, isometry, plain_starts, relative_error
from minires.nn import functional as F
from minires.tensor import Tensor


@given(st.floats(-1, 1))
@settings(max_examples=20, deadline=None)
def test_the_map_of_cosines_is_what_relu_does_to_correlated_normals(c):
    rng = np.random.default_rng(0)
    u, other = rng.standard_normal((2, 50_000))
    v = c * u + math.sqrt(1 - c * c) * other
    found = np.corrcoef(np.maximum(u, 0), np.maximum(v, 0))[0, 1]
    assert chaos.relu_map(c) == pytest.approx(found, abs=0.02)


def test_chi_is_the_slope_of_the_map_at_one():
    assert (1 - chaos.relu_map(1 - 1e-9)) / 1e-9 == pytest.approx(math.pi / (math.pi - 1), rel=1e-3)
    plain, residual = (chaos.theory(residual, 6) for residual in (False, True))
    assert plain["χ"][1:] == pytest.approx(math.pi / (math.pi - 1)) and residual["χ"][0] == 2
    assert plain["gradient"][0] ** 2 == pytest.approx(np.prod(plain["χ"]))
    assert plain["correlation"][0] == pytest.approx(0.5**6)


def test_mean_cosine_is_that_of_the_gradients_and_leaves_the_model_alone():
    mr.random.manual_seed(0)
    model = models.resnet_cifar(8, 2, in_channels=1)
    before = {name: value.copy() for name, value in model.state_dict().items()}
    digits, _ = data.digits()
    some = [digits[:16], digits[16:32]]
    gradients = []
    for x, y in some:
        model.zero_grad()
        F.cross_entropy(model(Tensor(x)), Tensor(y)).backward()
        gradients.append(np.concatenate([p.grad.numpy().ravel() for p in model.parameters()]))
    expected = gradients[0] @ gradients[1] / np.prod([np.linalg.norm(g) for g in gradients])
    model.load_state_dict(before)
    assert agreement.mean_cosine(model, some) == pytest.approx(expected, rel=1e-5)
    assert all(np.array_equal(before[name], value) for name, value in model.state_dict().items())


def test_efficiency_counts_steps_and_operations():
    found = efficiency.efficiency(0, "residual", 8, "digits", goal=1.5, steps=60)
    macs = nn.summary(models.resnet_cifar(8, 8, in_channels=1), (1, 8, 8)).macs
    assert found["arrived"] and efficiency.WINDOW <= found["steps"] < 60 and found["seconds"] > 0
    assert found["GFLOPs"] * 1e9 == pytest.approx(6 * 64 * macs * found["steps"])
    never = efficiency.efficiency(0, "residual", 8, "digits", goal=0.01, steps=7)
    assert not never["arrived"] and never["steps"] == 7


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3, 3), (4, 4, 5, 5)])
def test_delta_orthogonal_kernels_keep_lengths(shape):
    mr.random.manual_seed(0)
    weight = plain_starts.delta_orthogonal_(Tensor(np.ones(shape, np.float32))).numpy()
    centre = weight[(..., *(k // 2 for k in shape[2:]))]
    np.testing.assert_allclose(centre.T @ centre, np.eye(shape[1]), atol=1e-6)
    assert np.count_nonzero(weight) == np.count_nonzero(centre)


@pytest.mark.parametrize(("start", "linear"), [("looks-linear", True), ("He", False)])
def test_a_looks_linear_network_starts_as_a_linear_map(start, linear):
    mr.random.manual_seed(0)
    model = plain_starts.plain(start, 20).double()
    a, b = (mr.randn(2, 1, 8, 8).double() for _ in range(2))

    def body(x):
        x = model.conv1(x)
        for block in model.blocks():
            x = block(x)
        return x.numpy()

    with mr.no_grad():
        off = np.abs(body(3 * a - 2 * b) - 3 * body(a) + 2 * body(b)).max() / np.abs(body(a)).max()
    assert (off < 1e-12) == linear


def test_unknown_starts_are_refused():
    with pytest.raises(ValueError, match="got start='hopeful'; expected one of He, LSUV"):
        plain_starts.plain("hopeful", 8)


def test_all_singular_values_are_those_of_the_jacobian():
    mr.random.manual_seed(0)
    stack = isometry.stack("residual, 1/√L", 4, width=8).double()
    x = mr.randn(8).numpy().astype(np.float64)
    expected = flow.jacobian(stack, x[None], count=8).values
    np.testing.assert_allclose(isometry.singular_values(stack, x), expected, rtol=1e-6)


@pytest.mark.parametrize("block", ["plain, from x", "residual, from x"])
def test_blocks_from_x_start_as_the_identity(block):
    x = mr.randn(5, 4)
    np.testing.assert_allclose(relative_error.Block(4, **relative_error.BLOCKS[block])(x).numpy(), x.numpy(), atol=1e-6)


@given(st.floats(-1.9, 1.9), st.floats(0.1, 10))
def test_the_lowest_point_of_a_parabola_is_found_between_its_samples(at, steep):
    x = np.arange(-3.0, 4.0)
    assert depth_scaling._lowest(x, steep * (x - at) ** 2 + 1) == pytest.approx(at, abs=1e-6)
    assert depth_scaling._lowest(x, x) == -3 and depth_scaling._lowest(x, -x) == 3
