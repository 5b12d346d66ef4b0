"""Layer responses: how strongly each convolution changes what passes it.

He et al. 2015 (arXiv 1512.03385, section 4.2 and fig. 7) measure the standard deviation of the outputs of every 3×3
layer, after BN and before the nonlinearity or the addition. In a residual network it is generally smaller than in its
plain twin, and it is smaller the deeper the network is: blocks are closer to the identity than to zero.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import autograd, html
from ..nn import Module
from ..norms import moments
from ..ops import Op
from ..ops.batchnorm import BatchNorm, BatchNormEval
from ..ops.conv import Conv2d
from .export import short
from .inside import as_input
from .keeping import keeping
from .summands import on_cpu


@dataclass(frozen=True)
class Responses:
    """Standard deviation of the response of every convolution whose kernel is larger than 1×1, in forward order.

    names: of the convolutions. std (layers,): over examples, channels and positions. after_bn (layers,): whether a
    batch norm takes the convolution's output; where none does (pre-activation blocks, networks without BN), the
    response is the convolution's own output.
    """

    names: list[str]
    std: np.ndarray
    after_bn: np.ndarray

    @property
    def ranked(self) -> np.ndarray:
        """std from the largest to the smallest, as in the lower half of the paper's figure."""
        return np.sort(self.std)[::-1]

    def __repr__(self) -> str:
        return f"Responses({len(self.names)} convolutions, std {self.std.min():.3g} to {self.std.max():.3g})"

    def _repr_html_(self) -> str:
        drawn = html.profile({"std": self.std.tolist()}, "convolution, from input to output")
        return html.block(html.line(repr(self)), drawn)

    def table(self) -> html.Text:
        """The numbers as text."""
        rows = [f"{'convolution':<24}{'std':>9}"]
        for name, std, after_bn in zip(self.names, self.std, self.after_bn):
            rows.append(f"{name:<24}{short(std):>9}{'' if after_bn else '  no BN'}")
        return html.Text("\n".join(rows))


def responses(model: Module, x: Any) -> Responses:
    """Standard deviation of the response of every k×k convolution, k > 1, to the images x (N, C, H, W).

    The batch norm behind a convolution is found in the graph, whatever the modules are called. The model's mode is used
    as it is (in training mode, batch norm has the statistics of x), and the model is left exactly as it was.
    Raises ValueError if there is no such convolution, or x is empty.
    """
    listener = _Listener()
    x = as_input("responses", model, x, requires_grad=True)
    with keeping(model), autograd.switch(grad_enabled=True, recorder=listener):
        model(x)
    if not listener.std:
        raise ValueError(
            f"responses: found no convolution with a kernel larger than 1×1 in {type(model).__name__}; the responses "
            "of He et al. are those of 3×3 layers. For fully connected networks see variance_profile"
        )
    return Responses(
        names=[listener.names[op] for op in listener.std],
        std=np.array(list(listener.std.values())),
        after_bn=np.array([op in listener.after_bn for op in listener.std]),
    )


class _Listener(autograd.Recorder):
    """Keeps the standard deviation of each convolution's output, or of the batch norm behind it."""

    def __init__(self) -> None:
        self.names: dict[Op, str] = {}
        self.std: dict[Op, float] = {}  # convolution -> response
        self.after_bn: set[Op] = set()
        self.calls: Counter[str] = Counter()

    def forward(self, op: Op, inputs: Sequence[Any], output: Any) -> None:
        """Note a convolution, or a batch norm that takes its output."""
        if isinstance(op, Conv2d) and max(inputs[1].shape[2:]) > 1:
            self.calls[op.scope] += 1
            again = f"#{self.calls[op.scope]}" if self.calls[op.scope] > 1 else ""
            self.names[op], self.std[op] = op.scope + again, _std(output)
        elif isinstance(op, BatchNorm | BatchNormEval) and op.inputs[0] in self.std:
            self.std[op.inputs[0]] = _std(output)
            self.after_bn.add(op.inputs[0])


def _std(array: Any) -> float:
    return moments(on_cpu(array).astype(np.float64)).std
