"""torchvision's own ResNet runs from its source, with only the import lines changed: same weights, same numbers."""

import importlib.util
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import minires as mr

torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is needed only to compare with it")
if importlib.util.find_spec("torchvision") is None:
    pytest.skip("torchvision is not installed; its source is read", allow_module_level=True)

NAMES = (
    "resnet18 resnet34 resnet50 resnet101 resnet152 resnext50_32x4d resnext101_32x8d resnext101_64x4d "
    "wide_resnet50_2 wide_resnet101_2"
).split()


def helpers():
    """What resnet.py imports from the rest of torchvision: how weights are found, what is logged. No layer is here."""

    class WeightsEnum:
        @classmethod
        def verify(cls, weights):
            return weights

    module = types.ModuleType("torchvision_helpers")
    module.__dict__.update(
        ImageClassification=dict, _log_api_usage_once=lambda network: None, register_model=lambda: lambda f: f,
        Weights=dict, WeightsEnum=WeightsEnum, _IMAGENET_CATEGORIES=[], _ovewrite_named_param=dict.__setitem__,
        handle_legacy_interface=lambda **weights: lambda f: f,
    )  # fmt: skip
    return module


def from_source(library):
    """torchvision/models/resnet.py with ``library`` in PyTorch's place: only the import lines are changed.

    It is read and not imported: torchvision's compiled part wants the very build of PyTorch it was made for.
    """
    path = Path(importlib.util.find_spec("torchvision").origin).parent / "models" / "resnet.py"
    source = re.sub(r"^import torch$", f"import {library} as torch", path.read_text("utf-8"), flags=re.M)
    source = re.sub(r"^(import|from) torch\b", rf"\1 {library}", source, flags=re.M)
    source = re.sub(r"^from \.+[\w.]* import", "from torchvision_helpers import", source, flags=re.M)
    module = types.ModuleType(f"resnet_of_{library}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torchvision_helpers", helpers())
        exec(compile(source, str(path), "exec"), vars(module))
    return module


@pytest.fixture(scope="module")
def resnets():
    torch.set_num_threads(1)
    return from_source("minires"), from_source("torch")


def twins(ours, theirs):
    """Their network with random running statistics too, and ours with the same state."""
    with torch.no_grad():
        for i, buffer in enumerate(theirs.buffers()):
            if buffer.is_floating_point():
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=torch.Generator().manual_seed(i)))
    ours.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    return ours, theirs


def images(size, dtype):
    return np.random.default_rng(0).standard_normal((2, 3, size, size)).astype(dtype)


@pytest.mark.parametrize(
    "block, options",
    [
        ("BasicBlock", {}),
        ("Bottleneck", {"groups": 4, "width_per_group": 8}),
        pytest.param("BasicBlock", {"zero_init_residual": True}, marks=pytest.mark.slow),
        pytest.param("Bottleneck", {}, marks=pytest.mark.slow),
        pytest.param("Bottleneck", {"width_per_group": 128}, marks=pytest.mark.slow),
        pytest.param("Bottleneck", {"replace_stride_with_dilation": [False, True, True]}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_its_blocks_give_the_same_logits_and_gradients(resnets, block, options):
    ours, theirs = (lib.ResNet(getattr(lib, block), [1, 1, 2, 1], num_classes=7, **options) for lib in resnets)
    ours, theirs = twins(ours.double(), theirs.double())
    x = images(33, "float64")
    for mode in (False, True):
        y, z = ours.train(mode)(mr.tensor(x)), theirs.train(mode)(torch.tensor(x))
        np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-8, atol=1e-8)
    cotangent = np.random.default_rng(1).standard_normal(y.shape)
    y.backward(cotangent)
    z.backward(torch.tensor(cotangent))
    gradients = {name: p.grad.numpy() for name, p in theirs.named_parameters()}
    assert gradients.keys() == dict(ours.named_parameters()).keys()
    for name, p in ours.named_parameters():
        largest = np.abs(gradients[name]).max()
        np.testing.assert_allclose(p.grad.numpy(), gradients[name], rtol=1e-6, atol=1e-7 * largest, err_msg=name)
    for name, buffer in theirs.named_buffers():
        np.testing.assert_allclose(ours.state_dict()[name], buffer.numpy(), rtol=1e-9, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_network_of_its_page_gives_the_same_logits(resnets, name):
    ours, theirs = twins(*(getattr(lib, name)() for lib in resnets))
    x = images(64, "float32")
    with mr.no_grad(), torch.no_grad():
        y, z = ours.eval()(mr.tensor(x)).numpy(), theirs.eval()(torch.tensor(x)).numpy()
    assert y.shape == (2, 1000)
    np.testing.assert_allclose(y, z, rtol=1e-3, atol=1e-4 * np.abs(z).max())
