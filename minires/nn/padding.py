"""Padding: `pad`, and the modules that call it. Names, arguments and defaults are PyTorch's."""

from collections.abc import Sequence

import numpy as np

from ..creation import cat
from ..ops import shape
from ..tensor import Tensor, apply
from .arguments import check_tensor
from .module import Module

MODES = {  # where the entry at each position, which may lie before 0 or from n on, is taken from
    "reflect": lambda i, n: n - 1 - np.abs(n - 1 - np.abs(i)),
    "replicate": lambda i, n: i.clip(0, n - 1),
    "circular": lambda i, n: i % n,
}


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Surround an input: pad = (left, right[, top, bottom, …]), from the last axis on; negative numbers crop.

    With ``value``, 0 if not given; or, by the mode "reflect", "replicate" or "circular", with what is inside: of
    [1, 2, 3] two entries on the right are [2, 1], [3, 3] or [1, 2].
    Raises ValueError or TypeError for numbers that do not fit.
    """
    check_tensor("pad", input)
    whole = isinstance(pad, Sequence) and all(isinstance(n, int | np.integer) for n in pad)
    if not whole or len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ValueError(
            f"pad: got pad={pad!r} for shape {input.shape}; expected two whole numbers for each axis, from the last on"
        )
    if mode == "constant":
        widths = [(0, 0)] * input.ndim
        for k in range(len(pad) // 2):
            widths[input.ndim - 1 - k] = (pad[2 * k], pad[2 * k + 1])
        return apply(shape.Pad, input, widths=tuple(widths), value=0.0 if value is None else value)
    if mode not in MODES or value is not None:
        raise ValueError(
            f'pad: got mode={mode!r}, value={value}; expected "constant" with a value, or "reflect", "replicate" or '
            '"circular" without'
        )
    for k in range(len(pad) // 2):
        input = _extended(input, input.ndim - 1 - k, pad[2 * k], pad[2 * k + 1], mode)
    return input


def _extended(x: Tensor, axis: int, before: int, after: int, mode: str) -> Tensor:
    """x with entries of its own put before and after it along an axis, or cropped where a number is negative."""

    def part(positions):
        return x[(slice(None),) * axis + (positions,)]

    if mode == "circular":  # a crop comes before the circle is closed
        x = part(slice(max(-before, 0), max(x.shape[axis] + min(after, 0), 0)))
    n, longest = x.shape[axis], max(before, after, 0)
    if longest > {"reflect": n - 1, "replicate": n * longest, "circular": n}[mode] or n + min(before, after) < 0:
        raise ValueError(
            f"pad: got {before} and {after} with mode={mode!r} for {n} entries along axis {axis}; reflected padding is "
            'smaller than the axis, circular padding at most as large. To repeat the edge, use "replicate"'
        )
    left, right = (MODES[mode](np.arange(*ends), n).tolist() for ends in ((-before, 0), (n, n + after)))
    pieces = [part(left)] * bool(left) + [x] + [part(right)] * bool(right)
    x = cat(pieces, axis) if len(pieces) > 1 else x
    if mode != "circular" and min(before, after) < 0:
        x = part(slice(max(-before, 0), x.shape[axis] + min(after, 0)))
    return x


class _Pad2d(Module):
    """Base of the modules that pad (…, H, W): one width, or (left, right, top, bottom); negative numbers crop."""

    mode = "constant"

    def __init__(self, padding: int | tuple[int, int, int, int]):
        super().__init__()
        widths = (padding,) * 4 if isinstance(padding, int | np.integer) else tuple(padding)
        if len(widths) != 4 or not all(isinstance(n, int | np.integer) for n in widths):
            raise ValueError(f"{type(self).__name__}: got padding={padding!r}; expected a whole number or four of them")
        self.padding = widths

    def forward(self, x: Tensor) -> Tensor:
        return pad(x, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad2d(_Pad2d):
    """Surround (…, H, W) with zeros, see `pad`: one width, or (left, right, top, bottom); negative numbers crop."""


class ReflectionPad2d(_Pad2d):
    """Continue (…, H, W) as in a mirror, see `pad`."""

    mode = "reflect"


class ReplicationPad2d(_Pad2d):
    """Repeat the edges of (…, H, W), see `pad`."""

    mode = "replicate"


class CircularPad2d(_Pad2d):
    """Continue (…, H, W) from the other side, see `pad`."""

    mode = "circular"
