"""Shattered gradients, along a line of inputs and between inputs."""

import numpy as np
import pytest

import minires as mr
from minires import flow, models, nn, random
from minires.flow.shattering import freeze_statistics


def test_the_slope_along_the_line_is_the_one_that_differences_measure():
    random.manual_seed(0)
    model = models.mlp(4, 16, in_features=3, out_features=2, bias=True, norm=False).double()
    start, direction, points = np.array([0.1, -0.2, 0.3]), np.array([1.0, 0.5, -2.0]), np.linspace(-1, 1, 41)
    result = flow.shattering(model, points, start=start, direction=direction, output=1)
    h = 1e-6

    def f(t):
        return model(mr.Tensor(start + t[:, None] * direction)).numpy()[:, 1]

    np.testing.assert_allclose(result.gradient, (f(points + h) - f(points - h)) / (2 * h), rtol=1e-5, atol=1e-7)


def test_batch_norm_is_frozen_at_the_statistics_of_all_points():
    """Then the gradient at a point is its own: the same whether its neighbours are there or not."""
    random.manual_seed(0)
    model = models.mlp(4, 16, in_features=1, out_features=1).double()
    result = flow.shattering(model)
    assert result.points.shape == result.gradient.shape == (256,)
    freeze_statistics(model, mr.Tensor(result.points[:, None]))
    h = 1e-6
    high, low = (model(mr.Tensor(result.points[7:8, None] + step)).item() for step in (h, -h))
    assert result.gradient[7] == pytest.approx((high - low) / (2 * h), rel=1e-5)


def test_frozen_statistics_are_those_of_the_batch():
    random.manual_seed(0)
    model, x = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5)), mr.randn(4, 3, 2) * 5 + 2
    trained = model[0](x).numpy()
    freeze_statistics(model, x)
    y = model(x).numpy()
    np.testing.assert_allclose(y.mean((0, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std((0, 2)), 1, rtol=1e-5)  # as in training, and not by the unbiased variance
    np.testing.assert_allclose(y, trained, rtol=1e-5, atol=1e-6)
    assert not model[0].training and model[0].momentum == 0.1


def test_autocorrelation_of_known_series():
    t = np.arange(200.0)
    wave = flow.Shattering(t, np.sin(2 * np.pi * t / 20)).autocorrelation
    assert wave[0] == pytest.approx(1) and wave[10] == pytest.approx(-0.95, abs=0.01)
    assert wave[20] == pytest.approx(0.9, abs=0.01)
    noise = flow.Shattering(t, np.random.default_rng(0).standard_normal(200)).autocorrelation
    assert np.abs(noise[1:50]).max() < 0.25
    g = np.array([1.0, 2.0, 4.0])
    c = g - g.mean()
    np.testing.assert_allclose(flow.Shattering(g, g).autocorrelation, [1, (c[0] * c[1] + c[1] * c[2]) / (c @ c),
                                                                      c[0] * c[2] / (c @ c)])  # fmt: skip
    assert np.isnan(flow.Shattering(t, np.full(200, 3.0)).autocorrelation).all()


def test_a_deep_plain_network_shatters_and_a_residual_one_does_not():
    """The experiment shattering-on-a-line, two seeds: Balduzzi et al. 2017, fig. 2."""
    lag_1 = {"plain": [], "residual": []}
    for seed in range(2):
        random.manual_seed(seed)
        options = dict(in_features=1, out_features=1, layers=1, bias=True)
        for name, depth in (("plain", 24), ("residual", 50)):
            model = models.mlp(depth, 200, residual=name == "residual", **options)
            lag_1[name].append(flow.shattering(model).autocorrelation[1])
    assert np.abs(np.mean(lag_1["plain"])) < 0.2 and np.mean(lag_1["residual"]) > 0.5


def test_correlation_between_inputs_halves_with_every_plain_layer():
    """The experiment shattering: 2^−L in plain networks, far more in residual ones."""
    for depth in (1, 2, 3, 4):
        found = []
        for seed in range(5):
            random.manual_seed(seed)
            found.append(flow.gradient_correlation(models.mlp(depth + 2, 200, layers=1).hidden, mr.randn(64, 200)))
        assert abs(np.log2(np.mean(found)) + depth) < 0.3
    random.manual_seed(0)
    residual = models.mlp(12, 200, layers=1, residual=True).hidden
    assert flow.gradient_correlation(residual, mr.randn(64, 200)) > 0.2


def test_correlation_of_a_linear_map_is_one_and_of_dead_inputs_none():
    random.manual_seed(0)
    assert flow.gradient_correlation(nn.Linear(5, 3), mr.randn(8, 5), output=2) == pytest.approx(1)
    dead = nn.Sequential(nn.ReLU(), nn.Linear(5, 3))
    assert flow.gradient_correlation(dead, -np.ones((4, 5))) == 0


def test_the_model_comes_back_bit_for_bit_also_when_it_raises():
    model = nn.Sequential(models.mlp(4, 8, in_features=1, out_features=3, layers=1), nn.Dropout(0.5))
    model[0].hidden.eval()
    broken = nn.Sequential(model, nn.Linear(4, 1))

    def snapshot():
        state = {name: array.tobytes() for name, array in model.state_dict().items()}
        inside = [(m.training, getattr(m, "momentum", None), set(m.__dict__)) for m in model.modules()]
        return state, inside, [p.grad for p in model.parameters()], str(random.get_state())

    before = snapshot()
    flow.shattering(model, output=-1)
    flow.gradient_correlation(model, np.linspace(-1, 1, 5)[:, None])
    assert snapshot() == before
    with pytest.raises(ValueError, match=r"shattering: got output=3"):
        flow.shattering(model, output=3)
    with pytest.raises(ValueError, match="linear"):
        flow.shattering(broken)
    assert snapshot() == before


class Returning(nn.Module):
    """A network that is a function."""

    def __init__(self, function):
        super().__init__()
        self.forward = function


def test_wrong_use_is_named():
    model = models.mlp(2, 4, in_features=1)
    for points in ([0, 1, 3], [1, 1, 1], [0, 1], np.zeros((3, 2))):
        with pytest.raises(ValueError, match=r"shattering: got points.*equally spaced"):
            flow.shattering(model, points)
    with pytest.raises(ValueError, match=r"gradient_correlation: got an input of shape \(1, 1\).*two"):
        flow.gradient_correlation(model, np.ones((1, 1)))
    with pytest.raises(ValueError, match=r"track_running_stats=False"):
        flow.shattering(nn.Sequential(nn.Linear(1, 2), nn.BatchNorm1d(2, track_running_stats=False)))
    with pytest.raises(ValueError, match=r"returns shape \(3, 1, 1\)"):
        flow.gradient_correlation(nn.ReLU(), np.ones((3, 1, 1)))
    both = Returning(lambda x: (x, x))
    for probe in (flow.shattering, lambda model: flow.gradient_correlation(model, np.ones((3, 1)))):
        with pytest.raises(TypeError, match=r"(shattering|gradient_correlation): got a model that returns a tuple"):
            probe(both)


@pytest.mark.parametrize("start", [0.0, np.zeros((1, 1, 8, 8))])  # nothing, or a batch of one image
def test_a_network_of_images_asks_for_images(start):
    model = models.resnet_cifar(8, 4, in_channels=1)
    with pytest.raises(
        ValueError, match=r"shattering: got a line.*ResNet does not take \(conv2d.*without the batch axis"
    ):
        flow.shattering(model, start=start)
    image = np.ones((1, 8, 8))
    assert flow.shattering(model, np.linspace(0, 1, 4), start=0 * image, direction=image).gradient.shape == (4,)
