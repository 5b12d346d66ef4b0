"""Loss landscapes: filter normalisation, the grid, and the model's return."""

import numpy as np
import pytest

from minires import data, flow, models, nn, random, train
from minires.flow.landscape import filter_normalised
from minires.nn import functional as F
from minires.tensor import Tensor


def batch(n=12, dtype=np.float32):
    rng = np.random.default_rng(1)
    return rng.standard_normal((n, 1, 6, 6)).astype(dtype), np.arange(n) % 10


def net(**options):
    random.manual_seed(0)
    model = models.resnet_cifar(8, 2, in_channels=1, **options)
    for _ in range(2):
        model(Tensor(batch()[0]))  # to have running statistics
    return model


def landscape(model, batches, **options):
    return flow.landscape(model, batches, progress=False, **options)


@pytest.mark.parametrize("shape", [(4, 3, 3, 3), (5, 7)])
def test_every_filter_of_a_direction_has_the_norm_of_the_weights_filter(shape):
    rng = np.random.default_rng(0)
    weight = rng.standard_normal(shape) * np.arange(shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    direction = filter_normalised(weight, rng)
    for w, d in zip(weight, direction):
        assert np.linalg.norm(d) == pytest.approx(np.linalg.norm(w))
    assert (direction[0] == 0).all()  # a filter of zeros stays where it is
    cosine = (weight * direction).sum() / np.linalg.norm(weight) / np.linalg.norm(direction)
    assert abs(cosine) < 0.5


def test_biases_and_batch_norms_do_not_move():
    assert (filter_normalised(np.ones(5), np.random.default_rng(0)) == 0).all()
    seen = []

    def loss(y, target):
        seen.append([p.array.copy() for p in model.parameters()])
        return F.cross_entropy(y, target)

    model = net()
    weights = [p.array.copy() for p in model.parameters()]
    landscape(model, [batch()], points=3, loss=loss)
    for i, weight in enumerate(weights):
        steps = [np.abs(at[i] - weight).max() for at in seen]
        assert steps[1] == 0
        assert (steps[0] > 0) == (steps[2] > 0) == (weight.ndim > 1)


def test_the_line_is_the_loss_at_the_moved_weights():
    model, (x, y) = net(), batch()
    found = landscape(model, [(x, y)], points=5, span=0.5, seed=3)
    assert found.dimensions == 1 and found.seed == 3
    np.testing.assert_allclose(found.steps, [-0.5, -0.25, 0, 0.25, 0.5])
    rng = np.random.default_rng(3)
    weights = [(p, p.array.copy()) for p in model.parameters()]
    directions = [filter_normalised(w, rng) for _, w in weights]
    model.eval()
    for step, loss, accuracy in zip(found.steps, found.loss, found.accuracy):
        for (p, w), d in zip(weights, directions):
            p.array[...] = w + step * d
        output = model(Tensor(x))
        assert loss == F.cross_entropy(output, Tensor(y)).item()
        assert accuracy == pytest.approx((output.array.argmax(1) == y).mean())


def test_the_plane_meets_the_lines_on_its_axes():
    model, pairs = net(), [batch()]
    plane = landscape(model, pairs, points=5, dimensions=2, seed=4)
    line = landscape(model, pairs, points=5, seed=4)
    assert plane.dimensions == 2 and plane.loss.shape == plane.accuracy.shape == (5, 5)
    np.testing.assert_allclose(plane.loss[:, 2], line.loss)
    assert plane.loss[2, 2] == line.loss[2]
    assert not np.allclose(plane.loss[2, :], line.loss)  # the second direction is another one


def test_the_middle_is_the_model_itself_in_evaluation_mode():
    model = net().train()
    digits = data.digits()[1].subset(300)
    exact = train.evaluate(model, digits)
    found = landscape(model, digits, points=3)
    assert found.loss[1] == pytest.approx(exact.loss) and found.accuracy[1] == pytest.approx(exact.accuracy)


def test_training_uses_the_statistics_of_each_batch():
    model, (x, y) = net(), batch()
    found = landscape(model, [(x, y)], points=3, training=True)
    assert found.loss[1] == F.cross_entropy(model.train()(Tensor(x)), Tensor(y)).item()
    assert found.loss[1] != landscape(model, [(x, y)], points=3).loss[1]


def test_batches_count_by_their_size():
    model, (x, y) = net(), batch()
    whole, parts = (landscape(model, pairs, points=3) for pairs in ([(x, y)], [(x[:9], y[:9]), (x[9:], y[9:])]))
    np.testing.assert_allclose(whole.loss, parts.loss, rtol=1e-5)
    np.testing.assert_allclose(whole.accuracy, parts.accuracy)


def test_a_generator_of_batches_is_read_once():
    assert landscape(net(), (batch() for _ in range(2)), points=3).loss.shape == (3,)


def test_the_seed_and_nothing_else_decides():
    first, again, other = (landscape(net(), [batch()], points=3, seed=seed) for seed in (0, 0, 1))
    assert (first.loss == again.loss).all() and (first.loss != other.loss)[[0, 2]].all()


def test_regression_has_no_accuracy():
    random.manual_seed(0)
    model, x = nn.Linear(3, 2), np.ones((4, 3), np.float32)
    found = landscape(model, [(x, x[:, :2])], points=3, loss=F.mse_loss)
    assert np.isnan(found.accuracy).all() and np.isfinite(found.loss).all()


def test_an_overflowing_loss_is_no_accident():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    for p in model.parameters():
        p.array[...] = 1e30
    x = np.ones((4, 3), np.float32)
    assert not np.isfinite(landscape(model, [(x, x)], points=3, loss=F.mse_loss).loss).all()


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_the_model_is_left_as_it_was(fails, training):
    calls = []

    def loss(y, target):
        calls.append(1)
        if fails and len(calls) > 2:
            raise RuntimeError("stop")
        return F.cross_entropy(y, target)

    model, (x, y) = nn.Sequential(net(), nn.Dropout(0.5)), batch()
    F.cross_entropy(model(Tensor(x)), Tensor(y)).backward()
    model[0].layer3.eval()
    arrays = [p.array for p in model.parameters()] + list(model.buffers())
    before, state = [a.tobytes() for a in arrays], random.get_state()
    grads, modes = [p.grad.numpy().tobytes() for p in model.parameters()], [m.training for m in model.modules()]
    if fails:
        with pytest.raises(RuntimeError, match="stop"):
            landscape(model, [(x, y)], loss=loss, training=training)
    else:
        landscape(model, [(x, y)], loss=loss, points=3, training=training)
    now = [p.array for p in model.parameters()] + list(model.buffers())
    assert all(a is b for a, b in zip(arrays, now)) and before == [a.tobytes() for a in now]
    assert grads == [p.grad.numpy().tobytes() for p in model.parameters()]
    assert modes == [m.training for m in model.modules()]
    assert random.get_state() == state


def test_wrong_use_says_what_to_do():
    model, pair = net(), batch()
    for options, message in (
        ({"dimensions": 3}, "landscape: got dimensions=3; expected 1"),
        ({"points": 4}, "landscape: got points=4; expected an odd number"),
        ({"points": 1}, "landscape: got points=1"),
        ({"span": 0}, "landscape: got span=0; expected a positive number"),
    ):
        with pytest.raises(ValueError, match=message):
            landscape(model, [pair], **options)
    with pytest.raises(ValueError, match="landscape: got no examples; pass a Dataset"):
        landscape(model, [])
    with pytest.raises(TypeError, match=r"landscape: got an item of type ndarray .* \[\(x, y\)\]"):
        landscape(model, pair)


def test_a_progress_bar_is_shown_on_request(capsys):
    flow.landscape(net(), [batch()], points=3)
    assert "landscape" in capsys.readouterr().err
