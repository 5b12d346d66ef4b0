"""Lesion study: delete one block after another, and see what the network can still do.

A residual network is a collection of paths, and deleting a block leaves half of them intact. A plain network is a
single path, which any deletion cuts (Veit et al. 2016, arXiv 1605.06431, section 4.1 and fig. 3). What is deleted:

- of a residual block, its branch: the block becomes its shortcut alone, projected or padded as it is, and what follows
  the addition (a ReLU, in post-activation blocks) stays;
- of a plain block, all of it: the identity, so that both networks lose the same layers. Where the block changes the
  shape, the parameter-free shortcut that its residual twin would have (option A: strided, new channels zero).
"""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import autograd, html
from ..models import PadShortcut
from ..nn import Module, functional as F
from ..ops.activation import ReLU
from ..progress import tqdm
from ..tensor import Tensor
from .export import short
from .inside import check_all_ran, find_blocks, first_of, passages
from .keeping import keeping
from .measure import measure, pairs_of


@dataclass(frozen=True)
class Lesion:
    """What is left of a network when each of its blocks is deleted in turn.

    names: of the blocks. accuracy, loss (blocks,): without that block. intact_accuracy, intact_loss: of the whole
    network. stage_change (blocks,): whether the block changes the shape. classes: of the network's outputs (N, classes,
    …); 0 if they are something else. Accuracies are shares between 0 and 1, NaN if the targets are not class indices.
    """

    names: list[str]
    accuracy: np.ndarray
    loss: np.ndarray
    intact_accuracy: float
    intact_loss: float
    stage_change: np.ndarray
    classes: int

    @property
    def drop(self) -> np.ndarray:
        """Accuracy lost with each block, (blocks,)."""
        return self.intact_accuracy - self.accuracy

    def __repr__(self) -> str:
        what, intact, without = self._measured()
        rest = f"without one, {without.min():.3g} to {without.max():.3g}"
        return f"Lesion({len(self.names)} blocks, {what} {intact:.3g}; {rest})"

    def _repr_html_(self) -> str:
        what, intact, without = self._measured()
        lines: dict[str, Any] = {f"{what} without the block": without, "intact": [intact] * len(self.names)}
        rows = [[name, f"{a:.3f}", short(loss)] for name, a, loss in zip(self.names, self.accuracy, self.loss)]
        return html.block(
            html.line(repr(self)),
            html.profile(lines, "deleted block", high=1 if what == "accuracy" else None),
            html.table(["deleted", "accuracy", "loss"], rows, "table() has all"),
        )

    def _measured(self) -> tuple[str, float, np.ndarray]:
        """The accuracy, or the loss where there is none: its name, of the whole network, and without each block."""
        if np.isnan(self.intact_accuracy):
            return "loss", self.intact_loss, self.loss
        return "accuracy", self.intact_accuracy, self.accuracy

    def table(self) -> html.Text:
        """The numbers as text."""
        rows = [f"{'deleted':<24}{'accuracy':>10}{'drop':>9}{'loss':>10}"]
        rows.append(f"{'nothing':<24}{self.intact_accuracy:>10.3f}{'–':>9}{short(self.intact_loss):>10}")
        for name, accuracy, drop, loss, change in zip(
            self.names, self.accuracy, self.drop, self.loss, self.stage_change
        ):
            note = "  changes the shape" if change else ""
            rows.append(f"{name:<24}{accuracy:>10.3f}{drop:>9.3f}{short(loss):>10}{note}")
        return html.Text("\n".join(rows))


def shortcut_alone(block: Module, x: Tensor, *others: Any, **options: Any) -> Tensor:
    """What the block returns for x (and others, such as a mask) when its layers are deleted and its shortcut stays.

    A block with a method ``branch`` and an attribute ``downsample``, as in `minires.models`, runs as it is with a
    branch of 0. The shortcut of any other block is what its module ``downsample`` or ``shortcut`` returns in it, or, if
    it calls none, the identity, or where shapes change a `PadShortcut`; a ReLU follows if the block ends in one.
    Raises ValueError if that does not give the shape.
    """
    if hasattr(block, "branch") and hasattr(block, "downsample"):
        without = copy.copy(block)  # the same layers, but its own branch
        vars(without)["branch"] = lambda *inputs: 0.0
        return type(block).forward(without, x, *others, **options)
    shortcuts = {name: getattr(block, name, None) for name in ("downsample", "shortcut")}
    modules = {name: module for name, module in shortcuts.items() if isinstance(module, Module)}
    with autograd.switch(grad_enabled=True), passages(modules) as seen:  # the graph shows whether it ends in a ReLU
        whole = type(block).forward(block, Tensor(x.array, requires_grad=True), *others, **options)
    if seen:
        y = seen[0][2].detach()  # as the block calls it: with x, or with what comes after a batch norm and a ReLU
    elif x.shape != whole.shape and x.ndim == whole.ndim == 4 and x.shape[1] <= whole.shape[1]:
        y = PadShortcut(x.shape[1], whole.shape[1], -(-x.shape[2] // whole.shape[2]))(x)
    else:
        y = x
    if y.shape != whole.shape:
        raise ValueError(
            f"lesion: {type(block).__name__} maps {x.shape} to {whole.shape}, and no shortcut around it is known; say "
            "what stays when it is deleted: deleted=lambda block, x: …"
        )
    return F.relu(y) if isinstance(whole.op, ReLU) else y


def lesion(
    model: Module,
    batches: Any,
    loss: Callable[..., Tensor] = F.cross_entropy,
    progress: bool = True,
    *,
    blocks: Iterable[Module | str] | None = None,
    deleted: Callable[[Any, Tensor], Tensor] = shortcut_alone,
) -> Lesion:
    """Delete each block in turn, and measure accuracy and loss in evaluation mode.

    batches: a `data.Dataset`, or pairs (x, y) of images (N, …) and class indices (N). loss: the mean over a batch.
    blocks: modules of the model or their names, if it has no ``blocks()``. deleted: ``deleted(block, x)`` is what the
    block returns when it is deleted. A block that is called several times is deleted everywhere.
    The model is left exactly as it was; n blocks cost n + 1 passes over the data.
    Raises ValueError for a model without blocks, a block that is not run, or no data; TypeError for items that are not
    (x, y).
    """
    found = find_blocks("lesion", model, blocks)
    pairs = pairs_of("lesion", batches, model)

    def instead(block: Module, inputs: tuple, options: dict[str, Any], output: Tensor) -> Tensor:
        if deleted is shortcut_alone and inputs:
            return shortcut_alone(block, *inputs, **options)
        return deleted(block, first_of(inputs, options))

    with keeping(model), autograd.no_grad():
        model.eval()
        with passages(found) as seen:
            output = model(Tensor(pairs[0][0].array[:1]))
        check_all_ran("lesion", found, seen)
        changed = {name for name, before, after in seen if before.shape != after.shape}
        with tqdm(total=len(found) + 1, desc="lesion", unit="block", disable=not progress, leave=False) as bar:
            results = [measure(model, pairs, loss)]
            bar.update()
            for block in found.values():
                with block.register_forward_hook(instead, with_kwargs=True):
                    results.append(measure(model, pairs, loss))
                bar.update()
    losses, accuracy = np.array(results).T
    return Lesion(
        names=list(found),
        accuracy=accuracy[1:],
        loss=losses[1:],
        intact_accuracy=float(accuracy[0]),
        intact_loss=float(losses[0]),
        stage_change=np.array([name in changed for name in found]),
        classes=output.shape[1] if isinstance(output, Tensor) and output.ndim > 1 else 0,
    )
