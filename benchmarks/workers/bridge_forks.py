"""The forks of PyTorch networks, float64: by minires from the same weights, through the bridge, and by hand."""

import json

import numpy as np
import torch
import torch_resnets as nets
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import minires as mr
from minires import flow, models
from minires.flow import torch as flow_torch

SAME = {
    "ResNet-20, option A": (lambda: models.resnet_cifar(20), lambda: nets.cifar(20), 32),
    "ResNet-20, option B": (lambda: models.resnet_cifar(20, shortcut="B"), lambda: nets.cifar(20, "B"), 32),
    "ResNet-20, option C": (lambda: models.resnet_cifar(20, shortcut="C"), lambda: nets.cifar(20, "C"), 32),
    "ResNet-20, pre-activation": (lambda: models.resnet_cifar(20, preact=True), lambda: nets.cifar(20, "A", True), 32),
    "ResNet-56": (lambda: models.resnet_cifar(56), lambda: nets.cifar(56), 32),
    "ResNet-18": (lambda: models.resnet18(num_classes=10), lambda: nets.imagenet(18), 64),
    "ResNet-50": (lambda: models.resnet50(num_classes=10), lambda: nets.imagenet(50), 64),
}


def numbers(fork):
    return fork.skip, fork.branch, fork.total, fork.cosine


def difference(one, other):
    """The largest relative difference of two lists of forks' numbers; None if there is nothing to compare."""
    if len(one) != len(other) or not one:
        return None
    one, other = np.array(one), np.array(other)
    return float((np.abs(one - other) / np.maximum(np.abs(one), [1e-300, 1e-300, 1e-300, 1])).max())


def row(case, recording, by_hand, minires=None):
    bridge, hand = [numbers(fork) for fork in recording.forks], [nets.numbers(*pair) for pair in by_hand]
    own = None if minires is None else [numbers(fork) for fork in minires.forks]
    return {
        "case": case,
        "minires": None if own is None else len(own),
        "bridge": len(bridge),
        "hand": len(hand),
        "to_minires": None if own is None else difference(own, bridge),
        "to_hand": difference(hand, bridge),
        "notes": recording.notes,
    }


def same_weights(case, ours, theirs, size):
    mr.manual_seed(0)
    ours, theirs = ours().double(), theirs().double()
    theirs.load_state_dict({name: torch.tensor(np.asarray(a)) for name, a in ours.state_dict().items()})
    x, y = torch.randn(8, 3, size, size, dtype=torch.float64), torch.arange(8)
    recordings = flow.record(ours, x.numpy(), y.numpy()), flow_torch.record(theirs, x, y)
    hand = nets.forks_by_hand(lambda: F.cross_entropy(theirs(x), y).backward())
    return row(case, recordings[1], hand, recordings[0])


class Again(nn.Module):
    """A part that is not kept but computed again on the way back."""

    def __init__(self, inner, reentrant):
        super().__init__()
        self.inner, self.reentrant = inner, reentrant

    def forward(self, x):
        return checkpoint(self.inner, x, use_reentrant=self.reentrant)


class Dense(nn.Module):
    """Concatenation in place of addition."""

    def __init__(self):
        super().__init__()
        self.first, self.layer = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        x = self.first(x)
        return torch.cat([x, self.layer(x)], 1).mean((2, 3))


def every_case():
    """A row for each of the other cases; by hand in the same setting."""
    x, y = torch.randn(8, 3, 16, 16, dtype=torch.float64), torch.arange(8)

    def measured(case, model, backward=None, x=x):
        backward = backward or (lambda: F.cross_entropy(model(x), y).backward())
        with flow_torch.recording(model) as recording:
            backward()
        for p in model.parameters():
            p.grad = None
        return row(case, recording, nets.forks_by_hand(backward))

    def net(double=True):
        torch.manual_seed(0)
        return nets.cifar(20).double() if double else nets.cifar(20)

    yield measured("`out += x`, in-place ReLU", net())
    shared = net()
    shared.layer1 = nn.Sequential(shared.layer1[0], shared.layer1[0], shared.layer1[1])
    yield measured("a block called twice", shared)
    model = net()

    def accumulate():
        for part in (slice(0, 4), slice(4, 8)):
            (F.cross_entropy(model(x[part]), y[part]) / 2).backward()

    yield measured("two backward calls, accumulated", model, accumulate)
    frozen = net()
    for part in (frozen.conv1, frozen.bn1, frozen.layer1):
        part.requires_grad_(False)
    yield measured("stem and layer1 frozen", frozen)
    yield measured("no fork", nn.Sequential(nn.Flatten(), nn.Linear(768, 10)).double())
    yield measured("concatenation", Dense().double())
    torch.manual_seed(0)
    encoder = nn.Sequential(
        nn.Flatten(2),
        nn.Linear(256, 16),
        nn.TransformerEncoder(nets.EncoderLayer(16, 2), 3, enable_nested_tensor=False),
    ).double()
    yield measured("attention: 3-layer TransformerEncoder", encoder, lambda: encoder(x).square().mean().backward())
    for reentrant in (False, True):
        model = net()
        model.layer2 = Again(model.layer2, reentrant)
        yield measured(f"layer2 checkpointed, use_reentrant={reentrant}", model)
    half = net(double=False)

    def autocast():
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(half(x.float()), y)
        loss.backward()

    yield measured("autocast, bfloat16", half, autocast)
    last = net().to(memory_format=torch.channels_last)
    yield measured("channels_last", last, x=x.to(memory_format=torch.channels_last))


torch.set_num_threads(1)  # nothing is timed here
torch.manual_seed(0)
found = [same_weights(case, *how) for case, how in SAME.items()] + list(every_case())
print(json.dumps({"rows": found, "version": f"minires {mr.__version__}, PyTorch {torch.__version__}"}))
