"""Layer responses: found in the graph, measured behind BN."""

import numpy as np
import pytest

import minires as mr
from minires import flow, models, nn, random
from minires.nn import functional as F


def images(n=6, channels=1):
    return np.random.default_rng(0).standard_normal((n, channels, 8, 8)).astype(np.float32)


def net(depth=8, **options):
    random.manual_seed(0)
    return models.resnet_cifar(depth, 4, in_channels=1, **options)


def test_every_3x3_convolution_in_forward_order_and_no_1x1():
    result = flow.responses(net(14, shortcut="B"), images())
    blocks = [f"layer{s}.{i}.conv{c}" for s in (1, 2, 3) for i in (0, 1) for c in (1, 2)]
    assert result.names == ["conv1", *blocks]
    assert result.after_bn.all() and len(result.std) == 13
    bottleneck = models.ResNet(models.Bottleneck, [1, 1], [4, 8], in_channels=1)
    assert flow.responses(bottleneck, images()).names == ["conv1", "layer1.0.conv2", "layer2.0.conv2"]


def test_the_numbers_are_those_of_the_batch_norm_s_output():
    model, x = net(), images()
    rng = np.random.default_rng(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.array[...] = rng.uniform(0.2, 2, module.weight.shape)
            module.bias.array[...] = rng.standard_normal(module.bias.shape)
    result = flow.responses(model, x)
    stem = model.bn1(model.conv1(mr.Tensor(x)))
    block = model.layer1[0]
    first = block.bn1(block.conv1(F.relu(stem)))
    second = block.bn2(block.conv2(F.relu(first)))
    np.testing.assert_allclose(result.std[:3], [t.numpy().std() for t in (stem, first, second)], rtol=1e-5)
    assert (np.diff(result.ranked) <= 0).all() and sorted(result.ranked) == sorted(result.std)


def test_a_convolution_without_batch_norm_behind_it_answers_for_itself():
    model, x = net(preact=True), images()
    result = flow.responses(model, x)
    assert result.names[:3] == ["conv1", "layer1.0.conv1", "layer1.0.conv2"]
    assert result.after_bn[:3].tolist() == [True, True, False]  # what the second gives goes into the addition
    assert "no BN" in result.table()
    bare = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 3))
    expected = [bare[0](mr.Tensor(x)).numpy().std(), bare(mr.Tensor(x)).numpy().std()]
    np.testing.assert_allclose(flow.responses(bare, x).std, expected, rtol=1e-5)


def test_frozen_weights_evaluation_mode_and_shared_convolutions():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 1, 3, padding=1), nn.BatchNorm2d(1)

        def forward(self, x):
            return self.norm(self.conv(self.norm(self.conv(x))))

    model = Twice().requires_grad_(False).eval()
    with mr.no_grad():
        result = flow.responses(model, images())
    assert result.names == ["conv", "conv#2"] and result.after_bn.all()


def test_a_zero_branch_answers_nothing():
    result = flow.responses(net(14, zero_init_residual=True), images())
    assert (result.std[2::2] == 0).all() and (result.std[1::2] > 0).all()


def test_the_model_comes_back_bit_for_bit_also_when_it_raises():
    model = net()
    model.layer2.eval()
    broken = nn.Sequential(model, nn.Conv2d(3, 3, 3))  # fails at the end, when the statistics have moved

    def snapshot():
        state = {name: array.tobytes() for name, array in model.state_dict().items()}
        modes = [m.training for m in model.modules()]
        return state, modes, [p.grad for p in model.parameters()], str(random.get_state())

    before = snapshot()
    flow.responses(model, images())
    assert snapshot() == before
    with pytest.raises(ValueError, match="conv2d"):
        flow.responses(broken, images())
    assert snapshot() == before


def test_wrong_use_is_named():
    with pytest.raises(ValueError, match=r"responses: found no convolution.*MLP.*variance_profile"):
        flow.responses(models.mlp(4, 8), np.ones((4, 8)) * np.arange(4)[:, None])
    with pytest.raises(ValueError, match=r"responses: got an input of shape \(0, 1, 8, 8\)"):
        flow.responses(net(), images(0))
