"""Leading singular values, held to the whole Jacobian where it is small enough to write down."""

import copy

import numpy as np
import pytest

from minires import autograd, flow, models, nn, random
from minires.nn import functional as F
from minires.tensor import Tensor


def whole(function, x):
    """The Jacobian, row by row."""
    start = Tensor(x, requires_grad=True)
    y = function(start)
    rows = (autograd.grad(y, start, e.reshape(y.shape), retain_graph=True)[0] for e in np.eye(y.array.size))
    return np.stack([row.ravel() for row in rows])


def images(channels=3, size=4, n=2, dtype=np.float64):
    return np.random.default_rng(0).standard_normal((n, channels, size, size)).astype(dtype)


BLOCKS = {
    "plain": lambda: models.PlainBlock(3, 3),
    "residual": lambda: models.ResidualBlock(3, 3),
    "strided, padded": lambda: models.ResidualBlock(3, 6, 2, "A"),
    "strided, projected": lambda: models.ResidualBlock(3, 6, 2, "B"),
    "pre-activation": lambda: models.PreActBlock(3, 3),
    "bottleneck": lambda: models.Bottleneck(3, 2),
}


def block_of(kind, training):
    random.manual_seed(1)
    block = BLOCKS[kind]()
    for _ in range(3):
        block(Tensor(images(n=8, dtype=np.float32)))  # to have running statistics
    return block.train(training)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", BLOCKS)
def test_values_and_vectors_are_those_of_the_whole_jacobian(kind, training):
    block, x = block_of(kind, training), images()
    found = flow.jacobian(block, x, count=4, vectors=True)
    matrix = whole(copy.deepcopy(block).double(), x)
    expected = np.linalg.svd(matrix, compute_uv=False)
    assert found.shape == matrix.shape
    np.testing.assert_allclose(found.values, expected[:4], rtol=1e-9)
    assert (found.values <= expected[:4] * (1 + 1e-12)).all()
    assert found.residuals.max() < 1e-6 and found.adjoint_error < 1e-6
    assert found.right.shape == (4, *x.shape)
    for value, u, v in zip(found.values, found.left.reshape(4, -1), found.right.reshape(4, -1)):
        assert np.linalg.norm(u) == pytest.approx(1) and np.linalg.norm(v) == pytest.approx(1)
        np.testing.assert_allclose(matrix.T @ u, value * v, atol=1e-10)
        np.testing.assert_allclose(matrix @ v, value * u, atol=1e-5)


def test_of_a_linear_map_whose_values_are_known():
    matrix = np.linalg.qr(np.random.default_rng(0).standard_normal((8, 8)))[0] * np.arange(8, 0, -1)  # U·diag(8 … 1)
    found = flow.jacobian(lambda x: x @ Tensor(matrix.T), np.ones((1, 8)), count=3)
    np.testing.assert_allclose(found.values, [8, 7, 6], rtol=1e-12)


def test_a_value_that_occurs_several_times_is_found_as_often():
    """The identity: one power iteration with a single vector would see 1 only once."""
    found = flow.jacobian(lambda x: 2.0 * x, images(), count=6)
    np.testing.assert_allclose(found.values, 2, rtol=1e-12)
    zero_gamma = models.ResidualBlock(3, 3)
    zero_gamma.zero_branch()
    found = flow.jacobian(zero_gamma, np.abs(images()) + 0.1, count=6)
    np.testing.assert_allclose(found.values, 1, rtol=1e-12)


def test_a_rank_below_the_count_gives_zeros():
    left, right = np.random.default_rng(0).standard_normal((2, 6))
    found = flow.jacobian(lambda x: x @ Tensor(np.outer(left, right)), np.ones((1, 6)), count=3)
    np.testing.assert_allclose(found.values, [np.linalg.norm(left) * np.linalg.norm(right), 0, 0], atol=1e-12)
    assert (flow.jacobian(lambda x: x * 0.0, np.ones((2, 3)), count=2).values == 0).all()


def test_all_values_of_a_small_map():
    matrix = np.random.default_rng(0).standard_normal((5, 3))
    found = flow.jacobian(lambda x: x @ Tensor(matrix), np.ones((1, 5)), count=3)
    np.testing.assert_allclose(found.values, np.linalg.svd(matrix, compute_uv=False), rtol=1e-12)
    assert found.shape == (3, 5)


def test_few_iterations_give_a_lower_bound_and_say_how_far_they_are():
    block, x = block_of("residual", True), images()
    expected = np.linalg.svd(whole(copy.deepcopy(block).double(), x), compute_uv=False)[:3]
    found = flow.jacobian(block, x, count=3, iterations=2)
    assert found.iterations == 2
    assert (found.values < expected).all()
    assert found.residuals.max() > 1e-4
    assert (np.abs(found.values - expected) <= found.residuals * found.values[0] + 1e-12).all()


def test_the_adjoint_error_sees_a_wrong_backward():
    class Wrong(nn.Module):
        def forward(self, x):
            return 2.0 * x.detach() + x  # backward says 1, the function is 3x

    assert flow.jacobian(Wrong(), images(), count=2, iterations=3).adjoint_error > 1


def test_float32_functions_are_good_to_the_square_of_their_residuals():
    block = block_of("residual", False)
    x = images(dtype=np.float32)
    precise, rough = flow.jacobian(block, x, count=3), flow.jacobian(lambda t: block(t), x, count=3)
    np.testing.assert_allclose(rough.values, precise.values, rtol=1e-5)
    assert rough.residuals.max() > 1e-6


def test_dropout_draws_one_mask():
    class Dropping(nn.Module):
        def forward(self, x):
            return F.dropout(x, 0.5, training=True)

    random.manual_seed(3)
    state = random.get_state()
    for block in (Dropping(), Dropping().forward):
        found = flow.jacobian(block, images(), count=3)
        np.testing.assert_allclose(found.values, 2)
        assert found.adjoint_error < 1e-7
        assert random.get_state() == state


# ── through depth ───────────────────────────────────────────────────────────────────────────────────────────────────


def small(**options):
    random.manual_seed(0)
    return models.resnet_cifar(14, 2, in_channels=1, **options)


@pytest.mark.parametrize("options", [{}, {"preact": True}, {"residual": False}])
@pytest.mark.parametrize("training", [True, False])
def test_the_product_is_that_of_the_blocks(options, training):
    model, x = small(**options).train(training), images(1, 4)
    single = flow.jacobians(model, x, count=2, progress=False)
    product = flow.jacobians(model, x, count=2, product=True, progress=False)
    assert len(single) == len(product) == 6
    precise = copy.deepcopy(model).double()
    start = precise.conv1(Tensor(x)) if options.get("preact") else precise.relu(precise.bn1(precise.conv1(Tensor(x))))
    together = None
    for block, alone, so_far in zip(precise.blocks(), single, product):
        matrix = whole(block, start.array)
        together = matrix if together is None else matrix @ together
        for found, expected in ((alone, matrix), (so_far, together)):
            values = np.linalg.svd(expected, compute_uv=False)[:2]
            np.testing.assert_allclose(found.values, values, rtol=1e-6, atol=1e-9 * values[0])
        start = block(start)


@pytest.mark.parametrize("seed", range(5))
def test_plain_products_grow_and_residual_ones_hardly(seed):
    """∏J against ∏(I + J): with batch norm plain stacks explode (Yang et al. 2019). Measured over 8 seeds: 91–200."""
    random.manual_seed(seed)
    twins = models.twins(44, 4, in_channels=1)
    x = np.abs(images(4, 8, n=4))  # such as a ReLU leaves them
    plain, residual = (
        flow.jacobian(nn.Sequential(*model.blocks()), x, count=1, iterations=4).values[0] for model in twins
    )
    assert plain > 20 * residual


def test_blocks_are_named_where_the_model_does_not_list_them():
    random.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 6))
    found = flow.jacobians(model, np.ones((2, 4)), ["0", "1"], count=1, progress=False)
    assert [each.shape for each in found] == [(10, 8), (10, 10)]
    with pytest.raises(ValueError, match=r"jacobians: Sequential has no method blocks\(\)"):
        flow.jacobians(model, np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"block 2 does not get the output of 0; expected a chain"):
        flow.jacobians(model, np.ones((2, 4)), [model[0], model[2]], count=1)


def test_a_block_that_is_called_twice_is_no_link_of_a_chain():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(4, 4)

        def forward(self, x):
            return self.a(self.a(x))

    with pytest.raises(ValueError, match="jacobians: block a is called more than once"):
        flow.jacobians(Twice(), np.ones((2, 4)), ["a"], count=1)


# ── manners ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("probe", ["jacobian", "jacobians", "failing"])
def test_the_model_is_left_as_it_was(probe, dtype):
    model, x = small().to(dtype), images(1, 4, dtype=dtype)
    F.cross_entropy(model(Tensor(x)), Tensor(np.array([1, 2]))).backward()
    model.layer2.eval()
    model.fc.requires_grad_(False)
    arrays = [p.array for p in model.parameters()] + list(model.buffers())
    before = [a.tobytes() for a in arrays]
    grads, state = [p.grad.numpy().tobytes() for p in model.parameters()], random.get_state()
    modes = [module.training for module in model.modules()]
    if probe == "jacobian":
        flow.jacobian(model, x, count=2)
    elif probe == "jacobians":
        flow.jacobians(model, x, count=2, progress=False)
    else:
        with pytest.raises(ValueError, match="does not get the output"):
            flow.jacobians(model, x, ["layer1.0", "layer2.0"], count=2)
    now = [p.array for p in model.parameters()] + list(model.buffers())
    assert all(a is b for a, b in zip(arrays, now)), "the same arrays, not copies"
    assert before == [a.tobytes() for a in now]
    assert grads == [p.grad.numpy().tobytes() for p in model.parameters()]
    assert modes == [module.training for module in model.modules()]
    assert [p.requires_grad for p in model.parameters()] == [True] * (len(grads) - 2) + [False] * 2
    assert random.get_state() == state


def test_it_works_under_no_grad_and_leaves_a_running_recording_alone():
    block, x = block_of("residual", True), images()
    with autograd.no_grad(), flow.recording() as recording:
        inside = flow.jacobian(block, x, count=2)
    assert (inside.values == flow.jacobian(block, x, count=2).values).all()
    with pytest.raises(RuntimeError, match="nothing was recorded"):
        _ = recording.nodes


def test_wrong_use_says_what_to_do():
    block, x = block_of("residual", True), images()
    with pytest.raises(ValueError, match=r"got count=97 for a Jacobian of shape \(96, 96\); expected 1 to 96"):
        flow.jacobian(block, x, count=97)
    with pytest.raises(ValueError, match="jacobian: got iterations=0"):
        flow.jacobian(block, x, iterations=0)
    with pytest.raises(TypeError, match="jacobian: got x of dtype int64"):
        flow.jacobian(lambda t: t, np.arange(3))
    with pytest.raises(TypeError, match="jacobian: the block returned a tuple; expected one tensor"):
        flow.jacobian(lambda t: (t, t), x)
    with pytest.raises(ValueError, match="output does not depend on x; was it detached"):
        flow.jacobian(lambda t: t.detach(), x)


def test_a_progress_bar_is_shown_on_request(capsys):
    flow.jacobians(small(), images(1, 4), count=1, iterations=1)
    assert "Jacobians" in capsys.readouterr().err
