"""The lesion study: what a deletion is, what is measured, and that the model comes back."""

import numpy as np
import pytest

import minires as mr
from minires import data, flow, models, nn, optim, random, train
from minires.models import blocks
from minires.nn import functional as F


def images(n=40, channels=1, size=8):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, channels, size, size)).astype(np.float32), rng.integers(0, 10, n)


def net(depth=14, **options):
    random.manual_seed(0)
    return models.resnet_cifar(depth, 4, in_channels=1, **options)


def snapshot(model):
    """Everything that `keeping` promises to restore, as bytes and identities."""
    state = {name: array.tobytes() for name, array in model.state_dict().items()}
    extra = [(m.training, set(m.__dict__), getattr(m, "momentum", None)) for m in model.modules()]
    return state, extra, [p.grad for p in model.parameters()], str(random.get_state())


def x_of(block):
    """Input for a block: what comes out of a ReLU, unless the block stands before one."""
    x = np.random.default_rng(1).standard_normal((3, 4, 6, 6)).astype(np.float32)
    return mr.Tensor(x if block.preact else np.maximum(x, 0))


@pytest.mark.parametrize("option", ["A", "B", "C"])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_residual_block_without_its_branch_is_its_shortcut(option, stride):
    block = models.ResidualBlock(4, 4 * stride, stride, option).eval()
    x = x_of(block)
    expected = F.relu(x if block.downsample is None else block.downsample(x)).numpy()
    np.testing.assert_array_equal(flow.shortcut_alone(block, x).numpy(), expected)
    pre = models.PreActBlock(4, 4 * stride, stride, option).eval()
    x = x_of(pre)
    projects = isinstance(pre.downsample, nn.Conv2d)
    shortcut = pre.downsample or nn.Identity()
    expected = shortcut(F.relu(pre.bn1(x)) if projects else x).numpy()
    np.testing.assert_array_equal(flow.shortcut_alone(pre, x).numpy(), expected)


@pytest.mark.parametrize("kind", [models.PlainBlock, models.PlainPreActBlock, models.PlainBottleneck])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_plain_block_becomes_the_identity_or_the_padded_shortcut_of_its_twin(kind, stride):
    width = 4 * stride // kind.expansion
    block = kind(4, width, stride).eval()
    x = x_of(block)
    shortcut = blocks.make_shortcut("A", 4, 4 * stride, stride) or nn.Identity()
    np.testing.assert_array_equal(flow.shortcut_alone(block, x).numpy(), shortcut(x).numpy())


class TutorialBlock(nn.Module):
    """As a user writes it, without our names; forward ends in a ReLU, or not."""

    def __init__(self, cin, cout, stride=1, last_relu=True):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(cin, cout, 3, stride, padding=1, bias=False), nn.BatchNorm2d(cout)
        self.shortcut = nn.Sequential()
        if cin != cout:
            self.shortcut = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))
        self.last_relu = last_relu

    def forward(self, x):
        out = self.bn(self.conv(x))
        out += self.shortcut(x)
        return F.relu(out) if self.last_relu else out


@pytest.mark.parametrize("last_relu", [True, False])
def test_a_user_s_block_becomes_its_shortcut_with_a_relu_where_it_ends_in_one(last_relu):
    for block in (TutorialBlock(4, 8, 2, last_relu).eval(), TutorialBlock(4, 4, 1, last_relu).eval()):
        x = mr.randn(2, 4, 6, 6)
        expected = block.shortcut(x)
        expected = F.relu(expected) if last_relu else expected
        np.testing.assert_array_equal(flow.shortcut_alone(block, x).numpy(), expected.numpy())


class TutorialPreActBlock(nn.Module):
    """Its projection takes what comes after batch norm and ReLU; it has a second input."""

    def __init__(self, cin, cout, stride=1):
        super().__init__()
        self.bn, self.conv = nn.BatchNorm2d(cin), nn.Conv2d(cin, cout, 3, stride, padding=1, bias=False)
        if cin != cout:
            self.shortcut = nn.Conv2d(cin, cout, 1, stride, bias=False)

    def forward(self, x, scale):
        out = F.relu(self.bn(x))
        shortcut = self.shortcut(out) if hasattr(self, "shortcut") else x
        return self.conv(out) * scale + shortcut


def test_a_user_s_shortcut_gets_what_the_block_gives_it():
    block, x = TutorialPreActBlock(4, 8, 2).eval(), mr.randn(2, 4, 6, 6)
    expected = block.shortcut(F.relu(block.bn(x)))
    np.testing.assert_array_equal(flow.shortcut_alone(block, x, 0.5).numpy(), expected.numpy())
    same = TutorialPreActBlock(4, 4).eval()
    np.testing.assert_array_equal(flow.shortcut_alone(same, x, scale=0.5).numpy(), x.numpy())


def test_a_user_s_model_is_lesioned_by_modules_or_names_and_the_deletion_can_be_replaced():
    random.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), TutorialBlock(4, 4), TutorialBlock(4, 8, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    )  # fmt: skip
    batch = [images()]
    by_module = flow.lesion(model, batch, progress=False, blocks=[model[1], model[2]])
    by_name = flow.lesion(model, batch, progress=False, blocks=["1", "2"])
    assert by_module.names == by_name.names == ["1", "2"]
    np.testing.assert_array_equal(by_module.loss, by_name.loss)
    assert by_module.stage_change.tolist() == [False, True]
    whole = TutorialBlock.forward
    nothing = flow.lesion(model, batch, progress=False, blocks=["1"], deleted=whole)
    assert nothing.loss[0] == nothing.intact_loss and nothing.drop[0] == 0


def test_accuracy_and_loss_are_means_over_all_examples_in_evaluation_mode():
    model, (x, y) = net(), images()
    model(mr.Tensor(x))  # running statistics worth the name
    result = flow.lesion(model, [(x[:25], y[:25]), (x[25:], y[25:])], progress=False)
    model.eval()
    output = model(mr.Tensor(x))
    assert result.intact_loss == pytest.approx(F.cross_entropy(output, mr.Tensor(y)).item(), rel=1e-5)
    assert result.intact_accuracy == pytest.approx((output.numpy().argmax(1) == y).mean())
    assert result.names == [f"layer{s}.{i}" for s in (1, 2, 3) for i in (0, 1)]
    assert result.stage_change.tolist() == [False, False, True, False, True, False]
    np.testing.assert_array_equal(result.drop, result.intact_accuracy - result.accuracy)
    assert result.classes == 10
    first = model.blocks()[0]
    first.forward = lambda x: F.relu(x)  # by hand: the identity shortcut
    by_hand = F.cross_entropy(model(mr.Tensor(x)), mr.Tensor(y)).item()
    assert result.loss[0] == pytest.approx(by_hand, rel=1e-5)
    lines = result.table().splitlines()
    assert len(lines) == 2 + 6 and "changes the shape" in lines[4] and lines[1].startswith("nothing")


def test_a_dataset_an_iterator_and_a_list_give_the_same():
    x, y = images()
    dataset = data.Dataset(x, y, tuple("0123456789"))
    results = [flow.lesion(net(8), source, progress=False) for source in (dataset, [(x, y)], iter([(x, y)]))]
    for result in results[1:]:
        np.testing.assert_array_equal(result.loss, results[0].loss)
    regression = flow.lesion(net(8, num_classes=1), [(x, x[:, 0, :1, 0])], F.mse_loss, progress=False)
    assert np.isnan(regression.accuracy).all() and np.isfinite(regression.loss).all()


def test_residual_networks_survive_and_plain_ones_do_not_after_some_training():
    """The experiment lesion in miniature, on handwritten digits."""
    digits, test = data.digits()
    random.manual_seed(0)
    drops = {}
    for name, model in zip(("plain", "residual"), models.twins(14, 8, in_channels=1)):
        optimizer = optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
        train.fit(model, digits, optimizer, epochs=5, batch_size=64, progress=False)
        result = flow.lesion(model, test, progress=False)
        assert result.intact_accuracy > 0.8
        drops[name] = np.median(result.drop)
    assert drops["residual"] < 0.25 and drops["plain"] > 0.5


@pytest.mark.parametrize("training", [True, False])
def test_the_model_comes_back_bit_for_bit(training):
    model = net().train(training)
    model.layer1.eval()  # a mode that the others do not have
    model.conv1.weight.grad = np.ones_like(model.conv1.weight.array)
    before = snapshot(model)
    flow.lesion(model, [images()], progress=False)
    assert snapshot(model) == before


def test_the_model_comes_back_when_something_raises():
    model = net()
    before = snapshot(model)

    def broken(block, x):
        model.conv1.weight.array[...] = 0
        random.generator().random()
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        flow.lesion(model, [images()], progress=False, deleted=broken)
    assert snapshot(model) == before


def test_wrong_use_is_named():
    x, y = images(4)
    with pytest.raises(ValueError, match=r"lesion: Linear has no method blocks.*blocks=\["):
        flow.lesion(nn.Linear(2, 2), [(x, y)])
    with pytest.raises(ValueError, match=r"lesion: got no blocks"):
        flow.lesion(models.mlp(2, 4), [(x, y)])
    with pytest.raises(ValueError, match=r"lesion: got a Linear as a block, which is no part of this ResNet"):
        flow.lesion(net(8), [(x, y)], blocks=[nn.Linear(2, 2)])
    with pytest.raises(ValueError, match=r"lesion: got 'layer9' as a block"):
        flow.lesion(net(8), [(x, y)], blocks=["layer9"])
    for nothing in ([], [(x[:0], y[:0])]):
        with pytest.raises(ValueError, match=r"lesion: got (no examples|an input of shape \(0)"):
            flow.lesion(net(8), nothing, progress=False)
    with pytest.raises(TypeError, match=r"expected pairs \(x, y\).*\[\(x, y\)\]"):
        flow.lesion(net(8), (x, y))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(ValueError, match=r"Linear maps \(4, 64\) to \(4, 10\).*deleted="):
        flow.lesion(model, [(x, y)], blocks=[model[1]], progress=False)
    model = net(8)
    model.unused = nn.ReLU()
    with pytest.raises(ValueError, match=r"block unused was not called"):
        flow.lesion(model, [(x, y)], blocks=["layer1.0", "unused"], progress=False)


class Segmenter(nn.Module):
    """Ten classes at every pixel, and on request what it saw on the way, from blocks that take two inputs."""

    def __init__(self, both=False):
        super().__init__()
        self.block, self.head, self.both = TutorialPreActBlock(1, 1), nn.Conv2d(1, 10, 1), both

    def blocks(self):
        return [self.block]

    def forward(self, x):
        y = self.block(x, 0.5)
        return (self.head(y), y) if self.both else self.head(y)


def test_a_class_for_every_pixel_or_several_outputs():
    x, _ = images()
    y = np.random.default_rng(0).integers(0, 10, (40, 8, 8))
    random.manual_seed(0)
    model = Segmenter()
    result = flow.lesion(model, [(x, y)], progress=False)
    output = model.eval()(mr.Tensor(x)).numpy()
    assert result.classes == 10 and result.intact_accuracy == pytest.approx((output.argmax(1) == y).mean())
    without = F.cross_entropy(model.head(mr.Tensor(x)), mr.Tensor(y)).item()
    assert result.loss[0] == pytest.approx(without, rel=1e-5)
    model.both = True
    several = flow.lesion(model, [(x, y)], lambda outputs, y: F.cross_entropy(outputs[0], y), progress=False)
    assert several.loss[0] == result.loss[0] and several.intact_loss == result.intact_loss
    assert np.isnan(several.accuracy).all() and several.classes == 0


def test_blocks_that_are_no_function_of_a_tensor_are_named():
    model = nn.Sequential(nn.LSTM(3, 3, batch_first=True))
    for probe in (
        lambda: flow.lesion(model, [(np.ones((2, 4, 3)), np.ones(2))], progress=False, blocks=["0"]),
        lambda: flow.variance_profile(model, np.ones((2, 4, 3)), blocks=["0"]),
    ):
        with pytest.raises(TypeError, match=r"(lesion|variance_profile): block 0 returns a tuple; expected a tensor"):
            probe()
