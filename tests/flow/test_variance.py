"""Growth of the variance from block to block."""

import numpy as np
import pytest

import minires as mr
from minires import autograd, flow, models, nn, random
from minires.nn import functional as F


def test_variance_at_the_first_input_and_every_output():
    random.manual_seed(0)
    model, x = models.resnet_cifar(8, 4, in_channels=1), mr.randn(5, 1, 8, 8)
    result = flow.variance_profile(model, x)
    h = F.relu(model.bn1(model.conv1(x)))
    expected = [h.numpy().var()]
    for block in model.blocks():
        h = block(h)
        expected.append(h.numpy().var())
    np.testing.assert_allclose(result.activation, expected, rtol=1e-5)
    assert result.names == ["input", "layer1.0", "layer2.0", "layer3.0"] and result.gradient is None
    assert len(result.table().splitlines()) == 5


@pytest.mark.parametrize("residual", [True, False])
def test_the_gradient_is_that_of_the_engine(residual):
    random.manual_seed(0)
    model = models.mlp(6, 8, residual=residual).double()
    x, y = mr.randn(5, 8).double(), mr.tensor(np.arange(5))
    result = flow.variance_profile(model, x, lambda output: F.cross_entropy(output, y))
    h = [model.stem(x)]
    for block in model.blocks():
        h.append(block(h[-1]))
    loss = F.cross_entropy(model.fc(model.relu(model.bn(h[-1]))), y)
    np.testing.assert_allclose(result.gradient, [g.numpy().var() for g in autograd.grad(loss, h)], rtol=1e-10)


def test_without_batch_norm_the_variance_doubles_and_with_it_grows_by_a_constant():
    """The experiment variance-growth: De & Smith 2020."""
    doublings, growth = [], []
    for seed in range(5):
        random.manual_seed(seed)
        x = mr.randn(128, 256)
        doublings.append(flow.variance_profile(models.mlp(22, 256, residual=True, norm=False), x).log2_slope)
        growth.append(flow.variance_profile(models.mlp(22, 256, residual=True), x).slope)
    assert 0.9 < np.mean(doublings) < 1.1 and 0.9 < np.mean(growth) < 1.1


def test_slopes_of_known_curves():
    result = flow.VarianceProfile(["input", *"abc"], np.array([1.0, 4, 16, 64]), np.array([8.0, 4, 2, 1]))
    assert result.log2_slope == pytest.approx(2) and result.gradient_log2_slope == pytest.approx(-1)
    assert flow.VarianceProfile(["input", "a", "b"], np.array([1.0, 3, 5])).slope == pytest.approx(2)
    assert np.isnan(flow.VarianceProfile(["input", "a"], np.zeros(2)).log2_slope)
    with pytest.raises(ValueError, match="no gradient was recorded"):
        _ = flow.VarianceProfile(["input", "a"], np.ones(2)).gradient_log2_slope


def test_blocks_by_module_or_name_and_blocks_called_again():
    random.manual_seed(0)
    layer = nn.Linear(4, 4)
    model = nn.Sequential(nn.Linear(3, 4), layer, nn.ReLU(), layer)
    x = mr.randn(6, 3)
    assert flow.variance_profile(model, x, blocks=[layer]).names == ["input", "1", "1#2"]
    layer.forward = lambda x: x  # its own forward, which the probe replaces and then restores
    own = layer.forward
    assert flow.variance_profile(model, x, blocks=["0", "1"]).names == ["input", "0", "1", "1#2"]
    assert layer.forward is own


def test_the_model_comes_back_bit_for_bit_also_when_it_raises():
    model = models.mlp(4, 8, layers=1)
    model.hidden[0].eval()

    def snapshot():
        state = {name: array.tobytes() for name, array in model.state_dict().items()}
        inside = [(m.training, set(m.__dict__)) for m in model.modules()]
        return state, inside, [p.grad for p in model.parameters()], str(random.get_state())

    x = np.random.default_rng(0).standard_normal((5, 8))
    before = snapshot()
    flow.variance_profile(model, x, lambda output: output.sum())
    assert snapshot() == before

    def broken(output):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        flow.variance_profile(model, x, broken)
    assert snapshot() == before


def test_wrong_use_is_named():
    x = np.ones((4, 8))
    with pytest.raises(ValueError, match=r"variance_profile: Linear has no method blocks.*blocks=\["):
        flow.variance_profile(nn.Linear(8, 2), x)
    with pytest.raises(ValueError, match=r"variance_profile: got no blocks"):
        flow.variance_profile(models.mlp(2, 8), x)
    with pytest.raises(ValueError, match=r"variance_profile: got an input of shape \(0, 8\)"):
        flow.variance_profile(models.mlp(4, 8), x[:0])
