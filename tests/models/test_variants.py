"""The other residual blocks: each against its formula, its start, and what the recording sees of it."""

from functools import partial

import numpy as np
import pytest
from differences import check_gradient

import minires as mr
from minires import data, flow, models, nn, optim
from minires.models import VARIANTS
from minires.models.normfree import Bias, ScalarBias
from minires.nn import functional as F

BLOCKS = {
    "scaled": models.ScaledBlock,
    "scaled both": partial(models.ScaledBlock, scale=0.3, branch_scale=0.7),
    "scaled preact": models.ScaledPreActBlock,
    "shortcut gate": models.ShortcutGateBlock,
    "exclusive gate": models.ExclusiveGateBlock,
    "dropout": models.DropoutShortcutBlock,
    "bn after": models.BNAfterAdditionBlock,
    "relu before": models.ReLUBeforeAdditionBlock,
    "relu only": models.ReLUOnlyPreActBlock,
    "rezero": models.ReZeroBlock,
    "skipinit": models.SkipInitBlock,
    "fixup": models.FixupBlock,
    "stochastic depth": partial(models.StochasticDepthBlock, last=1.0),
}


def randn(*shape, seed=0):
    return mr.tensor(np.random.default_rng(seed).standard_normal(shape))


def randomized(block):
    """In float64, every parameter random: what starts at 0 or 1 hides nothing."""
    block.double()
    for i, p in enumerate(block.parameters()):
        p.array[...] = np.random.default_rng(100 + i).standard_normal(p.shape) * 0.5 + 0.1
    return block


# ── forward, written out ──


def conv(layer, x):
    return F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding)


def bn(layer, x):
    return F.batch_norm(x, None, None, layer.weight, layer.bias, training=True)


def shift(layer, x):
    return x + layer.bias.reshape(1, -1, 1, 1)


def usual(b, x):
    return bn(b.bn2, conv(b.conv2, bn(b.bn1, conv(b.conv1, x)).relu()))


def carried(b, x, projected=None):
    """x where the shape stays; padded by hand (option A) or by 1×1 convolution (option B) where it changes."""
    if b.downsample is None:
        return x
    if isinstance(b.downsample, models.PadShortcut):
        new = b.downsample.out_channels - x.shape[1]
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, new // 2, new - new // 2))
    if isinstance(b.downsample, nn.Conv2d):
        return conv(b.downsample, x if projected is None else projected)
    return bn(b.downsample[1], conv(b.downsample[0], x))


def gate(b, x):
    z = F.conv2d(x, b.gate_conv.weight, b.gate_conv.bias, b.gate_conv.stride)
    return 1 / (1 + (-z).exp())


def dropped(x):
    mr.manual_seed(7)
    return x * mr.tensor((mr.random.generator().random(x.shape) >= 0.5) * 2.0)


def scaled_preact(b, x):
    a = bn(b.bn1, x).relu()
    return conv(b.conv2, bn(b.bn2, conv(b.conv1, a)).relu()) + 0.5 * carried(b, x, a)


def skipinit(b, x):
    a = shift(b.bn1, x).relu()
    return b.alpha * conv(b.conv2, shift(b.bn2, conv(b.conv1, a)).relu()) + carried(b, x, a)


def relu_only(b, x):
    return bn(b.bn2, conv(b.conv2, bn(b.bn1, conv(b.conv1, x.relu())).relu())) + carried(b, x)


def fixup(b, x):  # as in the authors' code, which shifts the input of a downsampling shortcut too
    out = conv(b.conv2, (conv(b.conv1, x + b.bias1a) + b.bias1b).relu() + b.bias2a) * b.scale + b.bias2b
    return (out + (x if b.downsample is None else carried(b, x + b.bias1a))).relu()


FORMULAS = {
    "scaled": lambda b, x: (usual(b, x) + 0.5 * carried(b, x)).relu(),
    "scaled both": lambda b, x: (0.7 * usual(b, x) + 0.3 * carried(b, x)).relu(),
    "scaled preact": scaled_preact,
    "shortcut gate": lambda b, x: (usual(b, x) + (1 - gate(b, x)) * carried(b, x)).relu(),
    "exclusive gate": lambda b, x: (gate(b, x) * usual(b, x) + (1 - gate(b, x)) * carried(b, x)).relu(),
    "dropout": lambda b, x: (usual(b, x) + dropped(carried(b, x))).relu(),
    "bn after": lambda b, x: bn(b.bn2, conv(b.conv2, bn(b.bn1, conv(b.conv1, x)).relu()) + carried(b, x)).relu(),
    "relu before": lambda b, x: usual(b, x).relu() + carried(b, x),
    "relu only": relu_only,
    "rezero": lambda b, x: (b.alpha * usual(b, x) + carried(b, x)).relu(),
    "skipinit": skipinit,
    "fixup": fixup,
    "stochastic depth": lambda b, x: (usual(b, x) + carried(b, x)).relu(),
}


@pytest.mark.parametrize("change", [None, "A", "B"])
@pytest.mark.parametrize("name", BLOCKS)
def test_forward_is_the_formula(name, change):
    block = randomized(BLOCKS[name](3, 3) if change is None else BLOCKS[name](3, 6, 2, change))
    x = randn(2, 3, 6, 6)
    mr.manual_seed(7)
    y = block(x)
    assert y.shape == ((2, 3, 6, 6) if change is None else (2, 6, 3, 3))
    np.testing.assert_allclose(y.numpy(), FORMULAS[name](block, x).numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", BLOCKS)
def test_the_gradients_of_input_and_parameters_are_central_differences(name):
    block = randomized(BLOCKS[name](2, 2))
    places = [(m, key) for m in block.modules() for key, _ in m.named_parameters(recurse=False)]

    def run(x, *weights):
        for (module, key), weight in zip(places, weights):
            vars(module)[key] = weight
        mr.manual_seed(7)
        return block(x)

    weights = [vars(module)[key].numpy() for module, key in places]
    check_gradient(run, randn(2, 2, 3, 3, seed=3).numpy(), *weights, directions=1)


# ── how they start ──


def shortcut_of(block, x):
    return x if block.downsample is None else block.downsample(x)


@pytest.mark.parametrize("name", ["zero-gamma", "rezero", "skipinit", "fixup"])
def test_a_branch_that_starts_at_zero_leaves_the_shortcut(name):
    model = VARIANTS[name].build(14, 4)
    x = mr.randn(2, 4, 8, 8)
    for block in model.blocks():
        shortcut = shortcut_of(block, x)
        x = block(x)
        np.testing.assert_array_equal(x.numpy(), (shortcut if block.preact else shortcut.relu()).numpy())


@pytest.mark.parametrize("name", sorted(BLOCKS.keys() - {"relu before"}))
def test_zero_branch_leaves_the_shortcut_and_a_way_to_learn(name):
    block = randomized(BLOCKS[name](3, 3))
    block.zero_branch()
    x = randn(2, 3, 5, 5)
    for key, p in block.named_parameters():
        if key in ("bn2.bias", "bias2b"):  # the shift after what is zeroed starts at 0 itself
            p.array[...] = 0
    mr.manual_seed(7)
    y = block(x)
    if name in ("rezero", "skipinit", "relu only"):
        np.testing.assert_array_equal(y.numpy(), (x if block.preact else x.relu()).numpy())
    y.backward(randn(2, 3, 5, 5, seed=1))
    last = {"rezero": "alpha", "skipinit": "alpha"}.get(name)
    learns = [
        p for key, p in block.named_parameters() if key == last or (not last and key.partition(".")[0][-1] == "2")
    ]
    assert any(np.abs(p.grad).max() > 1e-3 for p in learns)


def test_relu_before_addition_cannot_start_at_zero():
    with pytest.raises(ValueError, match="ReLUBeforeAdditionBlock: its branch ends in a ReLU"):
        VARIANTS["relu-before-addition"].build(8, 4, zero_init_residual=True)


def test_in_rezero_and_skipinit_the_scalar_learns_first():
    for name in ("rezero", "skipinit"):
        model = VARIANTS[name].build(8, 4)
        F.cross_entropy(model(mr.randn(4, 3, 8, 8)), mr.tensor([0, 1, 2, 3])).backward()
        for block in model.blocks():
            assert block.alpha.shape == (1,) and block.alpha.grad.all()
            assert not block.conv1.weight.grad.any() and not block.conv2.weight.grad.any()


def test_the_gate_starts_where_its_bias_says():
    for bias in (-6.0, 0.0):
        block = models.ShortcutGateBlock(4, 8, 2, gate_bias=bias)
        assert (block.gate_conv.bias.numpy() == bias).all()
        nn.init.zeros_(block.gate_conv.weight)
        np.testing.assert_allclose(block.gate(mr.randn(2, 4, 6, 6)).numpy(), 1 / (1 + np.exp(-bias)), rtol=1e-6)
    model = VARIANTS["exclusive-gate"].build(8, 4)  # drawing the network's weights leaves the bias alone
    assert all((block.gate_conv.bias.numpy() == -6).all() for block in model.blocks())


# ── without batch norm ──


def test_fixup_starts_as_its_three_rules_say():
    mr.manual_seed(3)
    model = VARIANTS["fixup"].build(20, 4)
    mr.manual_seed(3)
    usual_start = models.resnet_cifar(20, 4)
    for block, other in zip(model.blocks(), usual_start.blocks()):
        np.testing.assert_allclose(block.conv1.weight.numpy(), other.conv1.weight.numpy() * 9**-0.5, rtol=1e-6)
        assert not block.conv2.weight.numpy().any()
        assert [getattr(block, name).item() for name in ("bias1a", "bias1b", "bias2a", "bias2b")] == [0] * 4
        assert block.scale.item() == 1
    np.testing.assert_array_equal(model.conv1.weight.numpy(), usual_start.conv1.weight.numpy())
    assert not model.fc.weight.numpy().any() and not model.fc.bias.numpy().any()
    # its weights, five scalars in each block, one behind the stem and one before the classifier
    assert sum(p.numel() for p in VARIANTS["fixup"].build(20).parameters()) == 269_722 - 2 * 688 + 9 * 5 + 2


@pytest.mark.parametrize("name, bias", [("skipinit", Bias), ("fixup", ScalarBias)])
def test_networks_without_batch_norm_have_none_and_keep_its_shift(name, bias):
    model = VARIANTS[name].build(8, 4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert isinstance(model.bn if model.preact else model.bn1, bias)
    x = mr.randn(2, 3, 8, 8)
    for p in model.parameters():
        nn.init.normal_(p)
    stem = model.conv1(x)
    if name == "fixup":  # relu(conv(x) + b) in front, and a bias before the classifier
        h = model.layer3(model.layer2(model.layer1((stem + model.bn1.bias).relu())))
        pooled = h.mean(dim=(2, 3)) + model.avgpool[1].bias
    else:
        h = model.layer3(model.layer2(model.layer1(stem)))
        pooled = (h + model.bn.bias.reshape(1, -1, 1, 1)).relu().mean(dim=(2, 3))
    np.testing.assert_allclose(model(x).numpy(), model.fc(pooled).numpy(), rtol=1e-4)


@pytest.mark.parametrize("name", ["skipinit", "fixup"])
def test_twenty_layers_without_batch_norm_have_sane_gradients(name):
    mr.manual_seed(0)
    model = VARIANTS[name].build(20, 8, in_channels=1)
    train, _ = data.digits()
    x, y = next(iter(data.batches(train, 64, seed=0)))
    for p in (p for key, p in model.named_parameters() if name == "fixup" and key.startswith("fc")):
        nn.init.normal_(p, std=0.1)  # it starts at 0, and lets nothing through before the first step
    recording = flow.record(model, x, y)
    skips = np.array([fork.skip for fork in recording.forks])
    assert len(skips) == 9
    assert 1e-3 < skips.min() and skips.max() < 10 * skips.min()
    assert recording.loss < 4


def test_without_batch_norm_and_without_skipinit_the_variance_doubles():
    mr.manual_seed(0)
    x = mr.randn(16, 3, 8, 8)
    growth = {}
    for alpha in (0.0, 1.0):
        model = models.ResNet(partial(models.SkipInitBlock, alpha=alpha), [8], [32])
        stem = model.conv1(x)
        growth[alpha] = float(np.log2(model.layer1(stem).numpy().var() / stem.numpy().var())) / 8
    assert growth[0.0] == pytest.approx(0, abs=1e-6)
    assert growth[1.0] == pytest.approx(1, abs=0.4)


# ── stochastic depth ──


def test_survival_decays_linearly_to_the_last_block():
    model = VARIANTS["stochastic-depth"].build(26, 4)
    np.testing.assert_allclose([b.survival for b in model.blocks()], 1 - np.arange(1, 13) / 12 * 0.5)
    block = partial(models.StochasticDepthBlock, last=0.8)
    assert models.resnet_cifar(8, 4, block=block).blocks()[-1].survival == pytest.approx(0.8)


def test_a_branch_survives_as_often_as_it_says_and_is_scaled_in_evaluation():
    mr.manual_seed(1)
    block = models.StochasticDepthBlock(2, 2, last=0.7).double()
    x = mr.tensor(np.abs(randn(2, 2, 3, 3).numpy()))
    branch = usual(block, x).numpy()
    whole, alone = np.maximum(branch + x.numpy(), 0), x.numpy()
    outputs = [block(x).numpy() for _ in range(600)]
    ran = [not np.array_equal(y, alone) for y in outputs]
    assert all(np.allclose(y, whole) for y, b in zip(outputs, ran) if b)
    assert np.mean(ran) == pytest.approx(0.7, abs=4 * np.sqrt(0.21 / 600))
    assert block.bn1.num_batches_tracked == sum(ran)  # a dropped branch does not run
    block.eval()
    evaluated = branch_in_evaluation(block, x)
    np.testing.assert_allclose(block(x).numpy(), np.maximum(0.7 * evaluated + x.numpy(), 0))


def branch_in_evaluation(block, x):
    """The branch with running statistics."""
    return block.bn2(block.conv2(block.bn1(block.conv1(x)).relu())).numpy()


def test_the_seed_fixes_which_branches_are_dropped():
    model = VARIANTS["stochastic-depth"].build(26, 4)
    x = mr.randn(4, 3, 8, 8)
    runs = []
    for seed in (5, 5, 6):
        mr.manual_seed(seed)
        runs.append([fork.name for fork in flow.record(model, x, np.arange(4)).forks])
    assert runs[0] == runs[1] != runs[2]
    mr.manual_seed(5)
    F.cross_entropy(model(x), mr.tensor([0, 1, 2, 3])).backward()
    dropped = {".".join(name.split(".")[:2]) for name, p in model.named_parameters() if p.grad is None}
    assert dropped and dropped == {f"layer{s}.{b}" for s in (1, 2, 3) for b in range(4)} - set(runs[0])


def test_a_survival_that_is_no_probability():
    with pytest.raises(ValueError, match=r"StochasticDepthBlock: got last=1.5; expected a probability"):
        models.StochasticDepthBlock(4, 4, last=1.5)


# ── what the instrument sees ──


def batch():
    return randn(6, 1, 8, 8).numpy(), np.arange(6)


def variant(name):
    """Fourteen layers in float64, past their start: nothing is 0 any more."""
    mr.manual_seed(2)
    model = VARIANTS[name].build(14, 4, in_channels=1).double()
    for p in model.parameters():
        p.array += np.random.default_rng(0).standard_normal(p.shape) * 0.1
    return model.eval() if name == "stochastic-depth" else model


@pytest.mark.parametrize("name", VARIANTS)
def test_every_block_is_one_fork_and_one_step_of_the_path_spectrum(name):
    model = variant(name)
    recording = flow.record(model, *batch())
    assert [fork.name for fork in recording.forks] == [f"layer{s}.{b}" for s in (1, 2, 3) for b in (0, 1)]
    assert recording.sum_error < 1e-12
    spectrum = flow.path_spectrum(model, *batch(), progress=False)
    assert spectrum.blocks == 6
    assert spectrum.sum_error < 1e-10
    assert (spectrum.norms[1:] > 0).all()


def held(tensor):
    return tensor.detach()


SKIPS = {  # the block with everything held fixed but the shortcut's x
    "scaled": lambda b, x: (held(usual(b, x)) + 0.5 * x).relu(),
    "scaled both": lambda b, x: (held(0.7 * usual(b, x)) + 0.3 * x).relu(),
    "scaled preact": lambda b, x: 0.5 * x,
    "shortcut gate": lambda b, x: (held(usual(b, x)) + held(1 - gate(b, x)) * x).relu(),
    "exclusive gate": lambda b, x: (held(gate(b, x) * usual(b, x)) + held(1 - gate(b, x)) * x).relu(),
    "dropout": lambda b, x: (held(usual(b, x)) + dropped(x)).relu(),
    "rezero": lambda b, x: (held(b.alpha * usual(b, x)) + x).relu(),
    "skipinit": lambda b, x: x,
    "relu before": lambda b, x: x,
    "relu only": lambda b, x: x,
}


@pytest.mark.parametrize("name", SKIPS)
def test_the_edge_called_skip_is_the_shortcut(name):
    block = randomized(BLOCKS[name](3, 3))
    x, cotangent = randn(2, 3, 5, 5), randn(2, 3, 5, 5, seed=1)
    mr.manual_seed(7)
    recording = flow.record(
        nn.Sequential(nn.Tanh(), block), x.requires_grad_(), cotangent, lambda y, c: (y * c).sum(), arrays=True
    )
    (fork,) = recording.forks
    h = mr.tensor(np.tanh(x.numpy())).requires_grad_()
    (expected,) = mr.grad(SKIPS[name](block, h), h, cotangent)
    np.testing.assert_allclose(fork.skip_grad, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("scale", [0.5, 0.9, 1.0, 1.2])
def test_scaled_shortcuts_multiply_what_crosses_no_branch_by_scale_to_the_n(scale):
    mr.manual_seed(0)
    n = 10
    model = models.ResNet(partial(models.ScaledPreActBlock, scale=scale), [n], [4], in_channels=1).double()
    x, y = batch()
    spectrum = flow.path_spectrum(model, x, y, arrays=True, progress=False)
    last = model.layer1(model.conv1(mr.tensor(x)))
    out = model.fc(model.avgpool(model.bn(last).relu()).flatten(1))
    (g,) = mr.grad(F.cross_entropy(out, mr.tensor(y)), last)
    np.testing.assert_allclose(spectrum.arrays[0], scale**n * g, rtol=1e-10, atol=1e-10 * scale**n * np.abs(g).max())
    assert spectrum.norms[0] == pytest.approx(scale**n * np.linalg.norm(g), rel=1e-10)


def test_a_deleted_block_leaves_the_shortcut():
    x, y = batch()
    for name in VARIANTS:
        lesion = flow.lesion(variant(name), [(x, y)], progress=False)
        assert np.isfinite(lesion.loss).all() and len(set(lesion.loss)) == 6, name


# ── in networks ──


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_learns_digits(name):
    mr.manual_seed(0)
    model = VARIANTS[name].build(8, 8, in_channels=1)
    train, _ = data.digits()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for x, y in [*data.batches(train, 64, seed=0, drop_last=True)] * 3:
        loss = F.cross_entropy(model(mr.tensor(x)), mr.tensor(y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[:5]) > 2 and np.mean(losses[-5:]) < 1.5


def test_variants_tell_what_they_are():
    for name, variant in VARIANTS.items():
        assert name == name.lower() and variant.description and "arXiv" in variant.source
        assert "\n" not in variant.description and len(variant.description) < 100
        assert variant.build(8, 4, num_classes=3)(mr.randn(2, 3, 8, 8)).shape == (2, 3)


def test_the_plain_twin_of_skipinit_has_no_batch_norm_either():
    plain, residual = models.twins(14, 4, block=models.SkipInitBlock)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in plain.modules())
    ours, theirs = plain.state_dict(), residual.state_dict()
    assert {name.rpartition(".")[2] for name in theirs if name not in ours} == {"alpha"}
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_blocks_that_do_not_fit_are_explained():
    with pytest.raises(ValueError, match="resnet_cifar: got preact=True and a block"):
        models.resnet_cifar(8, 4, preact=True, block=models.ScaledBlock)
    with pytest.raises(ValueError, match="ResNet: got residual=False for ScaledBlock; plain twins are known of"):
        models.resnet_cifar(8, 4, residual=False, block=partial(models.ScaledBlock, scale=0.3))
