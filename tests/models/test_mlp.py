"""Fully connected networks, plain and residual."""

import numpy as np
import pytest

import minires as mr
from minires import flow, models, nn, random
from minires.nn import functional as F


def linears(model):
    return [m for m in model.modules() if isinstance(m, nn.Linear)]


@pytest.mark.parametrize(("depth", "layers", "blocks"), [(2, 2, 0), (20, 2, 9), (56, 2, 27), (5, 1, 3), (8, 3, 2)])
def test_depth_counts_weight_layers(depth, layers, blocks):
    model = models.mlp(depth, 4, layers=layers)
    assert len(linears(model)) == depth and len(model.blocks()) == blocks
    assert model(mr.randn(3, 4)).shape == (3, 10)


def test_names_shapes_bias_and_batch_norm():
    model = models.mlp(4, 6, in_features=3, out_features=2, bias=True)
    shapes = {name: p.shape for name, p in model.named_parameters()}
    assert shapes["stem.weight"] == (6, 3) and shapes["fc.weight"] == (2, 6)
    assert shapes["hidden.0.fc1.weight"] == (6, 6) and "hidden.0.fc2.bias" in shapes and "hidden.0.bn1.weight" in shapes
    bare = {name for name, _ in models.mlp(4, 6, norm=False).named_parameters()}
    assert bare == {"stem.weight", "hidden.0.fc1.weight", "hidden.0.fc2.weight", "fc.weight"}


def test_read_along_the_relus_the_plain_network_is_the_usual_stack():
    random.manual_seed(0)
    model = models.mlp(5, 8, layers=1)
    x = h = mr.randn(6, 8)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d)]
    *hidden, last = linears(model)
    for linear, norm in zip(hidden, norms):
        h = F.relu(norm(linear(h)))
    np.testing.assert_allclose(model(x).numpy(), last(h).numpy(), rtol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_a_residual_block_adds_its_scaled_branch(scale):
    random.manual_seed(0)
    block = models.mlp(4, 8, residual=True, scale=scale).blocks()[0]
    x = mr.randn(6, 8)
    np.testing.assert_allclose(block(x).numpy(), (x + scale * block.branch(x)).numpy(), rtol=1e-6)
    assert [fork.name for fork in flow.record(models.mlp(6, 8, residual=True), x, np.arange(6)).forks] == [
        "hidden.0",
        "hidden.1",
    ]


def test_twins_share_every_weight():
    random.manual_seed(0)
    plain, residual = models.mlp_twins(8, 6, bias=True, in_features=3)
    ours, theirs = plain.state_dict(), residual.state_dict()
    assert list(ours) == list(theirs)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])
    x = mr.randn(4, 3)
    assert not np.allclose(plain(x).numpy(), residual(x).numpy())
    plain.fc.weight.array[...] = 0
    assert residual.fc.weight.numpy().all()


def test_initial_weights():
    random.manual_seed(0)
    model = models.mlp(4, 400, in_features=300, out_features=200)
    assert model.stem.weight.numpy().var() == pytest.approx(1 / 300, rel=0.02)
    assert model.hidden[0].fc1.weight.numpy().var() == pytest.approx(2 / 400, rel=0.02)
    assert model.fc.weight.numpy().var() == pytest.approx(2 / 400, rel=0.02)
    xavier = models.mlp(4, 400, init=nn.init.xavier_normal_)
    assert xavier.hidden[0].fc2.weight.numpy().var() == pytest.approx(1 / 400, rel=0.02)


def test_it_is_the_network_of_the_theory_effective_length():
    """The experiment effective-length at 9 blocks: Σ r²/(1 + r²) against the exact spectrum, within 5 %."""
    random.manual_seed(0)
    model = models.mlp(20, 64, residual=True).double()
    x, y = np.random.default_rng(0).standard_normal((128, 64)), np.arange(128) % 10
    spectrum = flow.path_spectrum(model, x, y, progress=False)
    ratios = np.array([fork.ratio for fork in flow.record(model, x, y).forks])
    assert (ratios**2 / (1 + ratios**2)).sum() == pytest.approx(spectrum.effective_length, rel=0.05)
    assert spectrum.effective_length == pytest.approx(3, abs=0.4) and spectrum.sum_error < 1e-10


def test_it_is_the_network_of_the_theory_explosion():
    """The experiment explosion: batch norm makes a plain network's gradient explode, 1.211 per layer."""
    random.manual_seed(0)
    x, y = np.random.default_rng(0).standard_normal((128, 64)), np.arange(128) % 10
    record = flow.record(models.mlp(56, 64).double(), x, y)
    norms = [layer.output_gradient for layer in record.layers if layer.op == "Linear"]
    assert 1.17 < (norms[1] / norms[-2]) ** (1 / (len(norms) - 3)) < 1.24


def test_bad_sizes_are_named():
    with pytest.raises(ValueError, match=r"mlp: got depth 5; with 2 layers in a block.*2n\+2"):
        models.mlp(5, 8)
    with pytest.raises(ValueError, match=r"mlp: got depth 1"):
        models.mlp(1, 8)
    with pytest.raises(ValueError, match=r"mlp: got width=0"):
        models.mlp(4, 0)
    with pytest.raises(ValueError, match=r"mlp: got out_features=2.5"):
        models.mlp(4, 8, out_features=2.5)
