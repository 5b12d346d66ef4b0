"""The networks of He et al. 2015: exact counts, names, and options."""

import sys

import numpy as np
import pytest

import minires as mr
from minires import models, nn
from minires.nn import functional as F

CIFAR = {  # depth: (parameters, multiply-adds in millions), option A
    20: (269_722, 40.55),
    32: (464_154, 68.86),
    44: (658_586, 97.17),
    56: (853_018, 125.49),
    110: (1_727_962, 252.89),
}
IMAGENET = {
    "resnet18": (models.resnet18, 11_689_512, [2, 2, 2, 2], 2),
    "resnet34": (models.resnet34, 21_797_672, [3, 4, 6, 3], 2),
    "resnet50": (models.resnet50, 25_557_032, [3, 4, 6, 3], 3),
    "resnet101": (models.resnet101, 44_549_160, [3, 4, 23, 3], 3),
    "resnet152": (models.resnet152, 60_192_808, [3, 8, 36, 3], 3),
}


def parameter_count(model):
    return sum(p.numel() for p in model.parameters())


# ── exact counts ──


@pytest.mark.parametrize("depth", CIFAR)
def test_cifar_counts(depth):
    parameters, mega_macs = CIFAR[depth]
    residual = nn.summary(models.resnet_cifar(depth), (3, 32, 32))
    assert residual.parameters == parameters
    assert round(residual.macs / 1e6, 2) == mega_macs
    layers = [row for row in residual.rows if row.kind in ("Conv2d", "Linear")]
    assert len(layers) == depth
    plain = models.plain_cifar(depth)
    assert parameter_count(plain) == parameters


def test_resnet_1202_has_its_19_million_parameters():
    model = models.resnet_cifar(1202)
    assert parameter_count(model) == 19_421_274
    # one block of stage s works on (32/2^s)² pixels: the sum over the layers, without running them
    macs = sum(p.numel() * (32 >> stage) ** 2 for stage in range(3) for p in convolutions(model, stage + 1))
    assert round((macs + 1024 * 432 + 640) / 1e9, 2) == 2.83


def convolutions(model, stage):
    return [p for name, p in getattr(model, f"layer{stage}").named_parameters() if "conv" in name]


def test_option_b_costs_two_projections():
    assert parameter_count(models.resnet_cifar(20, shortcut="B")) == 272_474


def test_option_c_projects_in_every_block():
    model = models.resnet_cifar(20, shortcut="C")
    assert all(isinstance(block.downsample, nn.Sequential) for block in model.blocks())
    extra = 3 * (16 * 16) + (16 * 32 + 2 * 32 * 32) + (32 * 64 + 2 * 64 * 64) + 3 * 2 * (16 + 32 + 64)
    assert parameter_count(model) == 269_722 + extra


@pytest.mark.parametrize("name", IMAGENET)
def test_imagenet_parameter_counts(name):
    build, parameters, _, _ = IMAGENET[name]
    assert parameter_count(build()) == parameters


def test_imagenet_multiply_adds():
    # 1.8 and 3.8 G in the paper's table 1; torchvision's resnet50 strides in the 3×3 convolution, which makes it 4.1
    assert nn.summary(models.resnet18(), (3, 224, 224)).macs == 1_814_073_344
    assert nn.summary(models.resnet50(), (3, 224, 224)).macs == 4_089_184_256


# ── names ──


def torchvision_names(blocks, convolutions_per_block, widths=(64, 128, 256, 512)):
    """{name: shape} of torchvision's ResNet: conv1, bn1, layerS.B.convI, layerS.B.bnI, layerS.B.downsample.0/1, fc."""
    wide = 4 if convolutions_per_block == 3 else 1

    def norm(name, channels):
        vectors = {f"{name}.{key}": (channels,) for key in ("weight", "bias", "running_mean", "running_var")}
        return {**vectors, f"{name}.num_batches_tracked": ()}

    names = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64)}
    channels = 64
    for stage, (count, width) in enumerate(zip(blocks, widths), start=1):
        for b in range(count):
            at, out = f"layer{stage}.{b}", width * wide
            if convolutions_per_block == 2:
                shapes = [(width, channels, 3, 3), (width, width, 3, 3)]
            else:
                shapes = [(width, channels, 1, 1), (width, width, 3, 3), (out, width, 1, 1)]
            for i, shape in enumerate(shapes, start=1):
                names[f"{at}.conv{i}.weight"] = shape
                names |= norm(f"{at}.bn{i}", shape[0])
            if channels != out or (b == 0 and stage > 1):
                names[f"{at}.downsample.0.weight"] = (out, channels, 1, 1)
                names |= norm(f"{at}.downsample.1", out)
            channels = out
    return {**names, "fc.weight": (1000, channels), "fc.bias": (1000,)}


@pytest.mark.parametrize("name", IMAGENET)
def test_state_dict_has_torchvision_names_shapes_and_order(name):
    build, _, blocks, convolutions_per_block = IMAGENET[name]
    state = build().state_dict()
    assert [(n, a.shape) for n, a in state.items()] == list(torchvision_names(blocks, convolutions_per_block).items())


def test_blocks_are_listed_in_order():
    model = models.resnet18(num_classes=2)
    names = {module: name for name, module in model.named_modules()}
    assert [names[block] for block in model.blocks()] == [f"layer{s}.{b}" for s in (1, 2, 3, 4) for b in (0, 1)]


# ── initialisation ──


def test_convolutions_start_with_he_initialisation_by_fan_out():
    mr.manual_seed(0)
    weight = models.resnet_cifar(8, 32).layer3[0].conv1.weight.numpy()  # 64 -> 128 channels
    np.testing.assert_allclose(weight.std(), np.sqrt(2 / (128 * 9)), rtol=0.02)


@pytest.mark.parametrize("preact", [False, True])
def test_zero_init_residual_starts_every_block_as_its_shortcut(preact):
    model = models.resnet_cifar(14, 4, preact=preact, zero_init_residual=True)
    x = mr.randn(2, 4, 8, 8)
    for block in model.blocks():
        shortcut = x if block.downsample is None else block.downsample(x)
        expected = shortcut if preact else shortcut.relu()
        x = block(x)
        np.testing.assert_array_equal(x.numpy(), expected.numpy())


def test_zero_init_residual_of_a_bottleneck_is_in_its_third_norm():
    model = models.ResNet(models.Bottleneck, [1], [4], zero_init_residual=True)
    (block,) = model.blocks()
    assert not block.bn3.weight.numpy().any()
    assert block.bn2.weight.numpy().all()


def test_zero_init_residual_leaves_a_plain_network_alone():
    assert models.plain_cifar(8, 4, zero_init_residual=True).layer1[0].bn2.weight.numpy().all()


# ── running them ──


@pytest.mark.parametrize("options", [{}, {"residual": False}, {"preact": True}, {"preact": True, "shortcut": "B"}])
def test_every_parameter_receives_a_gradient(options):
    model = models.resnet_cifar(8, 4, in_channels=1, num_classes=5, **options)
    out = model(mr.randn(3, 1, 9, 8))
    assert out.shape == (3, 5)
    F.cross_entropy(out, mr.tensor([0, 4, 2])).backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_preactivation_has_no_norm_behind_the_stem_and_one_at_the_end():
    model = models.resnet_cifar(8, 4, preact=True)
    assert not hasattr(model, "bn1")
    assert model.bn.num_features == 16
    names = [name for name, _ in model.layer2[0].named_parameters()]
    assert names == ["bn1.weight", "bn1.bias", "conv1.weight", "bn2.weight", "bn2.bias", "conv2.weight"]


def test_plain_imagenet_networks_have_no_shortcut():
    model = models.resnet18(residual=False, num_classes=10)
    assert not any("downsample" in name for name in model.state_dict())
    assert model.eval()(mr.randn(1, 3, 32, 32)).shape == (1, 10)


def test_a_block_of_your_own():
    class Halved(models.ResidualBlock):
        def forward(self, x):
            shortcut = x if self.downsample is None else self.downsample(x)
            return 0.5 * (self.branch(x) + shortcut)

    model = models.ResNet(Halved, [1, 1], [4, 8])
    assert model(mr.randn(2, 3, 8, 8)).shape == (2, 10)


@pytest.fixture
def default_recursion_limit():
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield
    assert sys.getrecursionlimit() == 1000
    sys.setrecursionlimit(limit)


@pytest.mark.usefixtures("default_recursion_limit")
def test_1202_layers_run_forward_and_backward_within_the_recursion_limit():
    model = models.resnet_cifar(1202, 4)
    loss = F.cross_entropy(model(mr.randn(4, 3, 8, 8)), mr.tensor([0, 1, 2, 3]))
    loss.backward()
    gradient = model.conv1.weight.grad
    assert np.isfinite(gradient).all()
    assert gradient.any()


# ── bad input ──


@pytest.mark.parametrize(
    "depth, nearest",
    [(21, "20 and 26"), (19, "14 and 20"), (7, "the nearest: 8"), (-3, "the nearest: 8"), (20.0, "for example 20")],
)
def test_an_illegal_depth_names_the_nearest_legal_ones(depth, nearest):
    with pytest.raises(ValueError, match=rf"resnet_cifar: got depth {depth}; legal depths are 6n\+2.*{nearest}"):
        models.resnet_cifar(depth)
    with pytest.raises(ValueError, match=nearest):
        models.twins(depth)


def test_other_illegal_options():
    with pytest.raises(ValueError, match="resnet_cifar: got width 0; expected a whole number of at least 1"):
        models.resnet_cifar(8, 0)
    with pytest.raises(ValueError, match=r"make_shortcut: got shortcut='D'; expected \"A\""):
        models.resnet_cifar(8, 4, shortcut="D")
    with pytest.raises(ValueError, match="ResNet: got stem='small'; expected"):
        models.ResNet(models.ResidualBlock, [1], [4], stem="small")
    with pytest.raises(ValueError, match=r"ResNet: got 2 stages of blocks \[1, 1\] and 1 widths \[4\]"):
        models.ResNet(models.ResidualBlock, [1, 1], [4])

    class Own(models.ResidualBlock):
        pass

    with pytest.raises(ValueError, match="ResNet: got residual=False for Own; plain twins are known of ResidualBlock"):
        models.ResNet(Own, [1], [4], residual=False)


def test_a_wrong_number_of_image_channels_is_explained():
    with pytest.raises(ValueError, match=r"conv2d: got input \(2, 1, 8, 8\) with 1 channels.*expects 3"):
        models.resnet_cifar(8, 4)(mr.randn(2, 1, 8, 8))


def test_weights_are_not_downloaded_and_asking_for_none_is_fine():
    models.resnet18(weights=None, num_classes=2)
    for asked in ({"pretrained": True}, {"weights": "DEFAULT"}):
        with pytest.raises(ValueError, match=r"ResNet: got .*nothing is downloaded; minires\.load_weights"):
            models.resnet18(**asked)
