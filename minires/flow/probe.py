"""probe: what cutting each skip and branch does, which paths the gradient takes, and what each block is needed for.

All three are measured at one moment, for the explorer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..nn import Module, functional as F
from ..progress import tqdm
from ..tensor import Tensor
from .edge_history import EdgeHistory
from .lesion import Lesion, lesion
from .paths import PathSpectrum, path_spectrum
from .recorder import record
from .scaled import scaled


@dataclass(frozen=True)
class Probe:
    """One network at one moment.

    cuts: what was cut in each recording of ``edges``: "" for nothing, which is the first, then a pattern of `scaled`
    such as "layer1.0.skip", or "layer1.0#1.skip" where a block has several forks. spectrum: the path spectrum; None for
    a network without forks. lesion: None if no test data were given, or the network has no blocks.
    """

    cuts: list[str]
    edges: EdgeHistory
    spectrum: PathSpectrum | None
    lesion: Lesion | None


def probe(
    model: Module,
    x: Any,
    target: Any,
    test: Any = None,
    loss: Callable[..., Tensor] = F.cross_entropy,
    progress: bool = True,
) -> Probe:
    """Cut every skip and every branch in turn, those of each stage together, and all; measure paths and lesions.

    x (N, …) and target are what ``loss(model(x), target)`` takes; test is what `lesion` takes. Every cut is recorded
    from the same random state. The model is left exactly as it was; n blocks cost 2n + 3 recordings, one more for each
    stage of several blocks, a `path_spectrum` and a `lesion`.

    >>> import minires as mr
    >>> model = mr.models.resnet_cifar(8, in_channels=1)
    >>> found = mr.flow.probe(model, mr.ones(2, 1, 8, 8), mr.tensor([3, 7]), progress=False)
    >>> found.cuts[:4], found.edges.norms.shape
    (['', 'layer1.0.skip', 'layer1.0.branch', 'layer2.0.skip'], (9, 59))
    """
    whole = record(model, x, target, loss)
    forks = [fork.name for fork in whole.forks]
    stages = list(dict.fromkeys(name.rpartition(".")[0] for name in forks if "." in name))
    stages = [stage for stage in stages if sum(name.startswith(f"{stage}.") for name in forks) > 1]
    alone = [f"{name}#1" if f"{name}#2" in forks else name for name in forks]  # without a number, it would be both
    cuts = ["", *(f"{name}.{way}" for name in alone for way in ("skip", "branch"))]
    cuts += [f"{stage}.*.skip" for stage in stages] + ["*.skip", "*.branch"] * bool(forks)
    edges = EdgeHistory()
    edges.add(0, whole.nodes)
    with tqdm(total=len(cuts) - 1, desc="cuts", disable=not progress, unit="cut", leave=False) as bar:
        for i, cut in enumerate(cuts[1:], start=1):
            with scaled(model, {cut: 0}):
                edges.add(i, record(model, x, target, loss).nodes)
            bar.update()
    blocks = list(model.blocks()) if hasattr(model, "blocks") else []
    return Probe(
        cuts,
        edges,
        path_spectrum(model, x, target, loss, progress=progress) if forks else None,
        lesion(model, test, loss, progress) if test is not None and blocks else None,
    )
