"""Pooling: a function of each kind, and the module that calls it. Names, arguments and defaults are PyTorch's.

Inputs are images (N, C, H, W), or one of them, (C, H, W). Those of the functions in one dimension are sequences
(N, C, L) or (C, L): images of height 1. A batch may be empty.
"""

from typing import Any

import numpy as np

from .. import kernels
from ..creation import stack
from ..ops import pool
from ..tensor import Tensor, apply
from .arguments import Size, check_input, check_tensor, pair, single
from .module import Module


def max_pool2d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Largest value of each window: (N, C, H, W) -> (N, C, H′, W′). Stride defaults to the window; padding is −∞.

    ``dilation`` spreads the entries of a window; with ``ceil_mode``, the last one may overhang the end. Whole numbers
    are pooled, too. With ``return_indices``, returns (values, indices), where an index is h·W + w of the entry.
    """
    check_tensor("max_pool2d", input)
    images = input.unsqueeze(0) if input.ndim == 3 else input
    kernel, step = _window("max_pool2d", kernel_size, stride)
    around, gap = pair(padding, "padding", "max_pool2d"), pair(dilation, "dilation", "max_pool2d")
    options = dict(kernel_size=kernel, stride=step, padding=around, dilation=gap, ceil_mode=bool(ceil_mode))
    y = apply(pool.MaxPool2d, images, **options)
    if not return_indices:
        return y.squeeze(0) if input.ndim == 3 else y
    tap = kernels.of(images.array).max_pool2d(images.array, **options)[1]
    indices = Tensor(pool.indices_of(tap, images.shape[3], kernel, step, around, gap))
    return (y.squeeze(0), indices.squeeze(0)) if input.ndim == 3 else (y, indices)


def avg_pool2d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Mean of each window: (N, C, H, W) -> (N, C, H′, W′). Stride defaults to the window.

    Padding counts as zeros; without ``count_include_pad`` it does not count at all. With ``ceil_mode``, the last window
    may overhang the end, which never counts. ``divisor_override`` is what the sums are divided by instead.
    """
    check_input("avg_pool2d", input)
    if not (divisor_override is None or (isinstance(divisor_override, int | np.integer) and divisor_override)):
        raise ValueError(
            f"avg_pool2d: got divisor_override={divisor_override!r}; expected a whole number but 0, or None"
        )
    images = input.unsqueeze(0) if input.ndim == 3 else input
    kernel, step = _window("avg_pool2d", kernel_size, stride)
    y = apply(
        pool.AvgPool2d,
        images,
        kernel_size=kernel,
        stride=step,
        padding=pair(padding, "padding", "avg_pool2d"),
        count_include_pad=count_include_pad,
        ceil_mode=bool(ceil_mode),
        divisor_override=divisor_override,
    )
    return y.squeeze(0) if input.ndim == 3 else y


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Mean over output_size regions that cover the image: (N, C, H, W) -> (N, C, *output_size); 1 is global.

    None in the size leaves that side as it is.
    """
    check_input("adaptive_avg_pool2d", input)
    images = input.unsqueeze(0) if input.ndim == 3 else input
    y = apply(pool.AdaptiveAvgPool2d, images, output_size=_output_size("adaptive_avg_pool2d", output_size, images))
    return y.squeeze(0) if input.ndim == 3 else y


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Largest value of each of output_size regions that cover the image: (N, C, H, W) -> (N, C, *output_size).

    Row i of the regions runs from ⌊i·H/H′⌋ to ⌈(i+1)·H/H′⌉; the gradient goes to the first entry that is the largest.
    None in the size leaves that side as it is. With ``return_indices``, returns (values, indices h·W + w).
    """
    check_input("adaptive_max_pool2d", input)
    size = _output_size("adaptive_max_pool2d", output_size, input)
    pool.check_regions("adaptive_max_pool2d", input.unsqueeze(0).array if input.ndim == 3 else input.array, size)
    width, values, indices = input.shape[-1], [], []
    for rows in pool.regions(input.shape[-2], size[0]):
        for columns in pool.regions(width, size[1]):
            largest = input[..., rows, columns].flatten(-2).max(-1)
            values.append(largest.values)
            if return_indices:
                across = columns.stop - columns.start
                h, w = largest.indices.array // across, largest.indices.array % across
                indices.append(Tensor((h + rows.start) * width + (w + columns.start)))
    y, shape = stack(values, -1), (*input.shape[:-2], *size)
    return (y.reshape(*shape), stack(indices, -1).reshape(*shape)) if return_indices else y.reshape(*shape)


def max_pool1d(
    input: Tensor,
    kernel_size: int | tuple[int],
    stride: int | tuple[int] | None = None,
    padding: int | tuple[int] = 0,
    dilation: int | tuple[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Largest value of each window: (N, C, L) -> (N, C, L′), see `max_pool2d`."""
    images, (kernel, step, around) = _one_row("max_pool1d", input, kernel_size, stride, padding)
    gap = (1, single(dilation, "dilation", "max_pool1d"))
    y = max_pool2d(images, kernel, step, around, gap, ceil_mode, return_indices)
    return (y[0].squeeze(-2), y[1].squeeze(-2)) if return_indices else y.squeeze(-2)


def avg_pool1d(
    input: Tensor,
    kernel_size: int | tuple[int],
    stride: int | tuple[int] | None = None,
    padding: int | tuple[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Mean of each window: (N, C, L) -> (N, C, L′), see `avg_pool2d`."""
    images, (kernel, step, around) = _one_row("avg_pool1d", input, kernel_size, stride, padding)
    return avg_pool2d(images, kernel, step, around, ceil_mode, count_include_pad).squeeze(-2)


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Mean over output_size regions that cover the sequence: (N, C, L) -> (N, C, output_size)."""
    images, size = _one_row("adaptive_avg_pool1d", input), single(output_size, "output_size", "adaptive_avg_pool1d")
    return adaptive_avg_pool2d(images, (1, size)).squeeze(-2)


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Largest value of each of output_size regions that cover the sequence, see `adaptive_max_pool2d`."""
    images, size = _one_row("adaptive_max_pool1d", input), single(output_size, "output_size", "adaptive_max_pool1d")
    y = adaptive_max_pool2d(images, (1, size), return_indices)
    return (y[0].squeeze(-2), y[1].squeeze(-2)) if return_indices else y.squeeze(-2)


def _window(function: str, kernel_size: Any, stride: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    kernel = pair(kernel_size, "kernel_size", function)
    return kernel, kernel if _not_given(stride) else pair(stride, "stride", function)


def _not_given(stride: Any) -> bool:
    return stride is None or (isinstance(stride, tuple | list) and not stride)  # () is PyTorch's old word for it


def _output_size(function: str, output_size: Any, input: Tensor) -> tuple[int, int]:
    """The size, with that of the input (…, H, W) for None."""
    each = tuple(output_size) if isinstance(output_size, tuple | list) else (output_size,) * 2
    if len(each) == 2:
        each = tuple(n if size is None else size for n, size in zip(input.shape[-2:], each, strict=False))
    return pair(each, "output_size", function)


def _one_row(function: str, input: Tensor, *window: Any) -> Any:
    """Sequences (N, C, L) or (C, L) as images of height 1; and kernel size, stride and padding, if given, as pairs."""
    check_tensor(function, input)
    if input.ndim not in (2, 3):
        raise ValueError(f"{function}: got an input of shape {input.shape}; expected (N, C, L) or (C, L)")
    if not window:
        return input.unsqueeze(-2)
    kernel, step, around = window
    kernel = single(kernel, "kernel_size", function)
    step = kernel if _not_given(step) else single(step, "stride", function)
    return input.unsqueeze(-2), ((1, kernel), (1, step), (0, single(around, "padding", function)))


class _MaxPool(Module):
    """Base of MaxPool1d and MaxPool2d."""

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ):
        super().__init__()
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    @property
    def _arguments(self) -> tuple:
        window = self.kernel_size, self.stride, self.padding, self.dilation
        return *window, self.ceil_mode, self.return_indices

    def extra_repr(self) -> str:
        stride = self.kernel_size if self.stride is None else self.stride
        window = f"kernel_size={self.kernel_size}, stride={stride}, padding={self.padding}"
        return f"{window}, dilation={self.dilation}, ceil_mode={self.ceil_mode}"


class MaxPool1d(_MaxPool):
    """Largest value of each window of sequences (N, C, L), see `functional.max_pool1d`."""

    def forward(self, x: Tensor) -> Any:
        return max_pool1d(x, *self._arguments)


class MaxPool2d(_MaxPool):
    """Largest value of each window of images (N, C, H, W), see `functional.max_pool2d`."""

    def forward(self, x: Tensor) -> Any:
        return max_pool2d(x, *self._arguments)


class AvgPool1d(Module):
    """Mean of each window of sequences (N, C, L), see `functional.avg_pool1d`."""

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ):
        super().__init__()
        self.kernel_size = (single(kernel_size, "kernel_size", "AvgPool1d"),)
        self.stride = self.kernel_size if stride is None else (single(stride, "stride", "AvgPool1d"),)
        self.padding = (single(padding, "padding", "AvgPool1d"),)
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        return avg_pool1d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(Module):
    """Mean of each window of images (N, C, H, W), see `functional.avg_pool2d`."""

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ):
        super().__init__()
        self.kernel_size, self.padding = kernel_size, padding
        self.stride = kernel_size if stride is None else stride
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad
        self.divisor_override = divisor_override

    def forward(self, x: Tensor) -> Tensor:
        window = self.kernel_size, self.stride, self.padding
        return avg_pool2d(x, *window, self.ceil_mode, self.count_include_pad, self.divisor_override)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _AdaptivePool(Module):
    def __init__(self, output_size: Any):
        super().__init__()
        self.output_size = output_size

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptivePool):
    """Mean over ``output_size`` regions of sequences (N, C, L)."""

    def forward(self, x: Tensor) -> Tensor:
        return adaptive_avg_pool1d(x, self.output_size)


class AdaptiveAvgPool2d(_AdaptivePool):
    """Mean over ``output_size`` regions; AdaptiveAvgPool2d(1) is global average pooling."""

    def forward(self, x: Tensor) -> Tensor:
        return adaptive_avg_pool2d(x, self.output_size)


class AdaptiveMaxPool1d(_AdaptivePool):
    """Largest value of each of ``output_size`` regions of sequences (N, C, L)."""

    def __init__(self, output_size: Any, return_indices: bool = False):
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, x: Tensor) -> Any:
        return adaptive_max_pool1d(x, self.output_size, self.return_indices)


class AdaptiveMaxPool2d(_AdaptivePool):
    """Largest value of each of ``output_size`` regions, see `functional.adaptive_max_pool2d`."""

    def __init__(self, output_size: Any, return_indices: bool = False):
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, x: Tensor) -> Any:
        return adaptive_max_pool2d(x, self.output_size, self.return_indices)
