"""Weights to PyTorch and back, bit for bit; its tensors of every kind; torchvision's and timm's own ResNets."""

import numpy as np
import pytest

import minires as mr
from minires import models, nn
from minires.nn.weights import WeightsError

torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is needed only to compare with it")
torch.set_num_threads(1)
tnn = torch.nn

NETWORKS = {
    **{f"resnet{n}": lambda n=n: getattr(models, f"resnet{n}")(num_classes=3) for n in (18, 34, 50, 101, 152)},
    **{f"plain{n}": lambda n=n: getattr(models, f"resnet{n}")(num_classes=3, residual=False) for n in (18, 50)},
    **{f"option {name}": lambda name=name: models.resnet_cifar(14, 4, shortcut=name) for name in "ABC"},
    **{f"preact {name}": lambda name=name: models.resnet_cifar(14, 4, preact=True, shortcut=name) for name in "ABC"},
    "plain": lambda: models.plain_cifar(14, 4),
    "plain preact": lambda: models.plain_cifar(14, 4, preact=True),
    **{name: lambda variant=variant: variant.build(14, 4) for name, variant in models.VARIANTS.items()},
    "mlp": lambda: models.mlp(8, 5, residual=True, bias=True),
    "plain mlp": lambda: models.mlp(8, 5, norm=False),
    "residual rnn": lambda: models.ResidualRNN(3, 4, 2),
    "lstm": lambda: nn.LSTM(3, 4),
    "gru": lambda: nn.GRU(3, 4),
}  # fmt: skip


class Mirror(tnn.Module):
    """A PyTorch module with parameters and buffers of these names, shapes and dtypes, zero at the start."""

    def __init__(self, model):
        super().__init__()
        parameters = dict(model.named_parameters())
        for name, array in model.state_dict().items():
            *path, last = name.split(".")
            module = self
            for part in path:
                if part not in dict(module.named_children()):
                    module.add_module(part, tnn.Module())
                module = getattr(module, part)
            value = torch.zeros(array.shape, dtype=torch.from_numpy(array).dtype)
            if name in parameters:
                module.register_parameter(last, tnn.Parameter(value))
            else:
                module.register_buffer(last, value)


def frozen(state):
    return [(name, a.dtype, a.shape, a.tobytes()) for name, a in state.items()]


def randomised(model, seed):
    """The model with another random number everywhere, statistics included."""
    rng = np.random.default_rng(seed)
    drawn = {name: rng.uniform(0.5, 9, a.shape).astype(a.dtype) for name, a in model.state_dict().items()}
    model.load_state_dict(drawn)
    return model


LARGE = ("resnet34", "resnet101", "resnet152", "plain18", "plain50")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LARGE)) for n in NETWORKS])
def test_there_and_back_every_bit_is_kept(name, tmp_path):
    files = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    model, other = randomised(NETWORKS[name](), 0), randomised(NETWORKS[name](), 1)
    expected = frozen(model.state_dict())
    mr.save_weights(model, tmp_path / "ours.safetensors")
    mirror = Mirror(model)
    mirror.load_state_dict(files.load_file(tmp_path / "ours.safetensors"))
    files.save_file(mirror.state_dict(), tmp_path / "theirs.safetensors")
    for source in (tmp_path / "theirs.safetensors", mirror.state_dict()):
        randomised(other, 1)
        assert frozen(other.state_dict()) != expected
        assert mr.load_weights(other, source) == ([], [])
        assert frozen(other.state_dict()) == expected


# ── torchvision and timm ──


@pytest.fixture(scope="module")
def libraries():
    """Functions that build a ResNet by its name, of each library that is there.

    torchvision's compiled operators may not fit this PyTorch; the networks need none, only that two are declared.
    """
    found = {}
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            declaration = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{operator}", declaration)
    try:
        import torchvision

        found["torchvision"] = lambda name: getattr(torchvision.models, name)()
    except ImportError:
        pass
    try:
        import timm

        found["timm"] = timm.create_model
    except ImportError:
        pass
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize("library", ["torchvision", "timm"])
@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_their_own_networks_give_the_same_logits(libraries, library, depth):
    if library not in libraries:
        pytest.skip(f"{library} is not installed")
    name = f"resnet{depth}"
    torch.manual_seed(0)
    theirs, ours = libraries[library](name), getattr(models, name)()
    assert list(theirs.state_dict()) == list(ours.state_dict())
    mr.load_weights(ours, dict(theirs.named_parameters()) | dict(theirs.named_buffers()))
    x = np.random.default_rng(1).standard_normal((2, 3, 64, 64))
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-10)):
        images = torch.tensor(x, dtype=dtype)
        with torch.no_grad(), mr.no_grad():
            b = theirs.to(dtype).eval()(images).numpy()
            a = ours.to(b.dtype).eval()(mr.tensor(images.numpy())).numpy()
        assert np.abs(b).max() > 1e-3
        print(f"{library}, {name}, {a.dtype}: {np.abs(a - b).max() / np.abs(b).max():.1e}")
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max())


# ── the CIFAR ResNets that people share ──


class Pad(tnn.Module):
    """Option A: a layer without weights, under the name of the shortcut."""

    def forward(self, x):
        channels = x.shape[1] // 2
        return tnn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, channels, channels))


class SharedBlock(tnn.Module):
    """3×3, 3×3, and a shortcut that is an empty Sequential where it is the identity."""

    def __init__(self, channels, width, stride, option):
        super().__init__()
        self.conv1 = tnn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = tnn.BatchNorm2d(width)
        self.conv2 = tnn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = tnn.BatchNorm2d(width)
        self.shortcut = tnn.Sequential()
        if channels != width and option == "A":
            self.shortcut = Pad()
        elif channels != width:
            self.shortcut = tnn.Sequential(
                tnn.Conv2d(channels, width, 1, stride, bias=False), tnn.BatchNorm2d(width)
            )  # fmt: skip

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + self.shortcut(x)).relu()


class Shared(tnn.Module):
    """A CIFAR ResNet whose readout is called linear, for 32×32 pixels."""

    def __init__(self, counts, widths, option):
        super().__init__()
        self.conv1 = tnn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
        self.bn1 = tnn.BatchNorm2d(widths[0])
        channels, self.stages = widths[0], len(counts)
        for stage, (count, width) in enumerate(zip(counts, widths)):
            blocks = []
            for i in range(count):
                blocks.append(SharedBlock(channels, width, 2 if stage and i == 0 else 1, option))
                channels = width
            setattr(self, f"layer{stage + 1}", tnn.Sequential(*blocks))
        self.linear = tnn.Linear(channels, 10)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.linear(x.mean((2, 3)))


SHARED = {
    "three stages, option A": (Shared([3, 3, 3], [16, 32, 64], "A"), lambda: models.resnet_cifar(20)),
    "three stages, option B": (Shared([3, 3, 3], [16, 32, 64], "B"), lambda: models.resnet_cifar(20, shortcut="B")),
    "four stages": (
        Shared([2, 2, 2, 2], [64, 128, 256, 512], "B"),
        lambda: models.resnet18(stem="cifar", num_classes=10),
    ),
}


def moved(model):
    """The network with random statistics."""
    for module in model.modules():
        if isinstance(module, tnn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 2)
    return model.eval()


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("wrap", [lambda model: model, tnn.DataParallel], ids=["bare", "DataParallel"])
def test_shared_cifar_networks(name, wrap):
    theirs, build = SHARED[name]
    theirs, ours = moved(theirs.double()), build().double().eval()
    assert mr.load_weights(ours, wrap(theirs).state_dict()) == ([], [])
    x = np.random.default_rng(0).standard_normal((2, 3, 32, 32))
    with torch.no_grad(), mr.no_grad():
        a, b = ours(mr.tensor(x)).numpy(), theirs(torch.tensor(x)).numpy()
    np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10 * np.abs(b).max())


# ── tensors of every kind ──


@pytest.mark.parametrize(
    "make",
    [
        lambda t: t,
        lambda t: tnn.Parameter(t),
        lambda t: t.bfloat16(),
        lambda t: tnn.Parameter(t.bfloat16()),
        lambda t: t.half(),
        lambda t: t.double(),
        lambda t: t.to(torch.float8_e4m3fn),
        lambda t: t.T.contiguous().T,
        lambda t: torch._neg_view(-t),
        lambda t: torch.complex(t, t).conj().imag.neg(),
    ],
)
def test_tensors_of_every_kind(make):
    values = torch.tensor([[1.0, -0.5, 2.0], [0.25, 4.0, -8.0]])
    for load in (mr.load_weights, lambda model, state: model.load_state_dict(state)):
        model = nn.Linear(3, 2, bias=False)
        load(model, {"weight": make(values)})
        assert model.weight.numpy().dtype == np.float32
        np.testing.assert_array_equal(model.weight.numpy(), values.numpy())


def test_what_is_copied_stays_when_pytorch_goes_on():
    model, weight = nn.Linear(1, 1, bias=False), torch.ones(1, 1)
    mr.load_weights(model, {"weight": weight})
    weight.zero_()
    assert model.weight.item() == 1


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: torch.ones(1, 1, device="meta"), "weight is a meta tensor of PyTorch; expected a dense one"),
        (lambda: torch.ones(1, 1).to_sparse(), "weight is a sparse tensor of PyTorch"),
        (lambda: torch.ones(1, 1, dtype=torch.complex64), "weight is a complex64 tensor of PyTorch"),
        (lambda: torch.quantize_per_tensor(torch.ones(1, 1), 0.1, 0, torch.qint8), "weight is a qint8 tensor"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*quantize")
def test_tensors_without_dense_real_values_are_refused(make, match):
    model = nn.Linear(1, 1, bias=False)
    before = model.weight.item()
    with pytest.raises(WeightsError, match=match):
        mr.load_weights(model, {"weight": make()})
    with pytest.raises(ValueError, match="load_state_dict: got weight, a "):
        model.load_state_dict({"weight": make()})
    assert model.weight.item() == before


def test_the_two_lines_that_convert_a_pickle_do_it(tmp_path, monkeypatch):
    pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    monkeypatch.chdir(tmp_path)
    layer, model = tnn.Linear(2, 3), nn.Linear(2, 3)
    torch.save(layer.state_dict(), "layer.pth")
    with pytest.raises(WeightsError) as caught:
        mr.load_weights(model, "layer.pth")
    lines = [line.strip() for line in str(caught.value).splitlines() if line.startswith("    ")]
    assert len(lines) == 2
    import safetensors.torch

    exec("\n".join(lines), {"torch": torch, "safetensors": safetensors})
    mr.load_weights(model, "layer.safetensors")
    np.testing.assert_array_equal(model.weight.numpy(), layer.weight.detach().numpy())
