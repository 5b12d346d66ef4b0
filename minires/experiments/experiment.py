"""What an experiment is: a statement of the literature, how it is measured from a seed, and when it holds.

A new one is a file like this, and its name in `registry`:

    def growth(seed: int, variant: str, depth: int, lr: float = 0.1) -> Numbers:
        random.manual_seed(seed)
        ...
        return {"loss": ..., "accuracy": ...}

    GROWTH = Experiment(
        "growth",
        "Residual networks grow faster than plain ones",
        "Whoever 2030 (arXiv …), figure 1",
        growth,
        {"plain-56 − residual-56": above(0.5)},
        variants=("plain", "residual"),
        depths=(8, 56),
        derived={"plain-56 − residual-56": lambda found: found["loss, plain-56"] - found["loss, residual-56"]},
    )
"""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..blas import one_blas_thread
from ..creation import randn
from ..tensor import Tensor

Numbers = dict[str, float]
Bounds = tuple[float, float]  # a number is to lie strictly between them

BATCH = 64
WIDTH = 64  # of the fully connected networks; also their number of inputs


def below(high: float) -> Bounds:
    """An upper bound alone."""
    return -math.inf, high


def above(low: float) -> Bounds:
    """A lower bound alone."""
    return low, math.inf


def noise(n: int, width: int = WIDTH, classes: int = 10) -> tuple[Tensor, Tensor]:
    """Normal inputs (n, width) and their classes (n)."""
    return randn(n, width), Tensor(np.arange(n) % classes)


class Cell(NamedTuple):
    """What is measured on its own, for each seed: a variant at a depth, or either alone, or neither."""

    variant: str | None = None
    depth: int | None = None

    def name(self, what: str) -> str:
        """A number's name among those of all cells: ``loss, plain-56``."""
        own = "-".join(str(part) for part in self if part is not None)
        return ", ".join(filter(None, (what, own)))


class Unmeasured(KeyError):
    """A number that these cells do not have: what is derived from it is left out."""


class Found(dict[str, float]):
    """The numbers of a seed, of all cells."""

    def __missing__(self, name: str) -> float:
        raise Unmeasured(name)


@dataclass(frozen=True)
class Experiment:
    """A statement of the literature, and how it is measured.

    name: on the command line. statement: one line. source: who says so, and where.
    measure: ``measure(seed) -> {what: number}``, at the top of its module; all its randomness comes from the seed, and
    nothing from what ran before it. It also gets ``variant=``, ``depth=`` and ``data=`` if the experiment has these,
    and may have further keywords, with defaults: settings that can be changed.
    bounds: ``{name: (above, below)}`` for means over seeds. The name is that of a number among those of all cells,
    "loss, plain-56" (`Cell.name`), or of one in ``derived``.
    variants, depths: there is a cell for each variant at each depth. data: names of data sets (`training.dataset`) that
    it can be measured on; the first is the default, and the one that the bounds are for.
    derived: numbers of a seed that follow from those of several cells.
    least: the smallest whole numbers that settings may be, where that is not 1, and that ``depth`` may be.
    pilot: numbers of earlier trials. missed: those bounds that do not hold here; ``remark`` says why.
    along: what the figure has on its x-axis: "depth"; or "step", if names of numbers end with ", step 10".
    shows: what it has a panel for (default: each what). log: those of them, and of ``along``, that have a logarithmic
    scale.
    tested: a smaller setting, options of `over_seeds`, at which the tests try the bounds. slow: whether that still
    takes more than a second or so.
    second: other values of ``options`` at which the bounds are tried once more, a fifth of the learning rate or another
    width: what training shows at one rate may be gone at another. What is measured at initialisation needs none, as no
    rate was chosen for it. fails: those bounds that do not hold there.
    """

    name: str
    statement: str
    source: str
    measure: Callable[..., Numbers]
    bounds: Mapping[str, Bounds]
    variants: Sequence[str] = ()
    depths: Sequence[int] = ()
    data: Sequence[str] = ()
    derived: Mapping[str, Callable[[Found], float]] = field(default_factory=dict)
    least: Mapping[str, int] = field(default_factory=dict)
    pilot: str = ""
    remark: str = ""
    missed: Sequence[str] = ()
    along: str = "depth"
    shows: Sequence[str] = ()
    log: Sequence[str] = ()
    tested: Mapping[str, Any] = field(default_factory=dict)
    slow: bool = False
    second: Mapping[str, Any] = field(default_factory=dict)
    fails: Sequence[str] = ()

    @property
    def second_setting(self) -> str:
        """The second setting in words, "lr 0.02"; "" if there is none."""
        return ", ".join(f"{name} {value:g}" for name, value in self.second.items())

    def cells(self, variants: Sequence[str] = (), depths: Sequence[int] = ()) -> list[Cell]:
        """A cell for each variant and depth; those of the declaration by default."""
        return [
            Cell(variant, depth)
            for depth in (depths or self.depths or (None,))
            for variant in (variants or self.variants or (None,))
        ]

    @property
    def options(self) -> dict[str, Any]:
        """``{name: default}`` of the settings that ``measure`` has beside the seed, the cell and the data."""
        own = {"seed", *(("variant",) if self.variants else ()), *(("depth",) if self.depths else ()), "data"}
        parameters = inspect.signature(self.measure).parameters.values()
        return {p.name: p.default for p in parameters if p.name not in own}

    def run(self, seed: int, cell: Cell | None = None, data: str | None = None, **options: Any) -> Numbers:
        """What is measured in one cell. BLAS has one thread: the matrices are too small to share between several."""
        axes = {name: value for name, value in (cell or Cell())._asdict().items() if value is not None}
        axes |= {"data": data or self.data[0]} if self.data else {}
        numbers = one_blas_thread(lambda: self.measure(seed, **axes, **options))
        return {what: float(number) for what, number in numbers.items()}

    def found(self, cells: Mapping[Cell, Numbers]) -> Found:
        """The numbers of a seed from all its cells, and what is derived from them."""
        found = Found({cell.name(what): n for cell, numbers in cells.items() for what, n in numbers.items()})
        for name, derive in self.derived.items():
            try:
                found[name] = derive(found)
            except Unmeasured:
                continue
        return found

    def over_seeds(self, seeds: Iterable[int] = range(5), **options: Any) -> dict[str, np.ndarray]:
        """{name: its numbers, one for each seed}, measured here, cell by cell; options: of `cells` and `run`."""
        cells = self.cells(options.pop("variants", ()), options.pop("depths", ()))
        runs = [self.found({cell: self.run(seed, cell, **options) for cell in cells}) for seed in seeds]
        return {name: np.array([run[name] for run in runs]) for name in runs[0]}

    def verdicts(self, found: Mapping[str, Sequence[float]]) -> Iterator[tuple[str, Bounds, float, bool]]:
        """(name, bounds, mean over seeds, whether it lies between them) of each bound whose number was measured."""
        for name, (low, high) in self.bounds.items():
            if name in found:
                mean = float(np.mean(found[name]))
                yield name, (low, high), mean, low < mean < high
