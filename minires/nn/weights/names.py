"""Which weight of a file is which of a model: prefixes, other people's names for the same layers."""

from __future__ import annotations

from collections.abc import Container

PREFIXES = ("module.", "_orig_mod.")  # of nn.DataParallel and DistributedDataParallel, and of torch.compile
# Names that the CIFAR ResNets people share have where torchvision, timm and minires have the others.
SYNONYMS = {"linear": "fc", "shortcut": "downsample"}


def own_name(name: str, own: Container[str]) -> str | None:
    """The model's name for a weight that is called ``name`` in the file; None if it has no such weight.

    >>> own_name("module.layer2.0.shortcut.0.weight", ["layer2.0.downsample.0.weight"])
    'layer2.0.downsample.0.weight'
    """
    if name in own:
        return name
    while prefix := next((prefix for prefix in PREFIXES if name.startswith(prefix)), None):
        name = name.removeprefix(prefix)
        if name in own:
            return name
    name = ".".join(SYNONYMS.get(part, part) for part in name.split("."))
    return name if name in own else None
