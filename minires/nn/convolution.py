"""Convolution: a function of each kind, and the module that calls it. Names, arguments and defaults are PyTorch's.

Inputs are images (N, C, H, W), or one of them, (C, H, W); those of `conv1d` are sequences (N, C, L) or (C, L). A batch
may be empty.
"""

import math
from typing import Any

import numpy as np

from ..arguments import described, one_of
from ..ops import conv
from ..tensor import Tensor, apply
from . import init
from .arguments import Size, check_counts, check_input, pair, single
from .module import Module, Parameter
from .padding import MODES, pad


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution: input (N, C, H, W), weight (O, C/groups, kh, kw), bias (O) -> (N, O, H′, W′).

    ``padding="same"`` keeps the size, for stride 1; if it is uneven, there is more of it at the end. "valid" is 0.
    In float32 on the CPU, a 3×3 convolution of many channels is computed in tiles of four rows, which blurs the
    receptive field; `minires.exact` makes it sharp.
    Raises ValueError or TypeError if shapes or dtypes do not fit.

    >>> import minires as mr
    >>> from minires.nn import functional as F
    >>> image = mr.arange(9.0).reshape(1, 1, 3, 3)
    >>> difference = mr.tensor([-1.0, 1.0]).reshape(1, 1, 1, 2)  # to the right neighbour
    >>> F.conv2d(image, difference)[0, 0].tolist()
    [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
    >>> F.conv2d(mr.zeros(8, 3, 32, 32), mr.zeros(16, 3, 3, 3), stride=2, padding=1).shape
    (8, 16, 16, 16)
    """
    _check_operands("conv2d", input, weight, bias)
    if input.ndim == 3:
        return conv2d(input.unsqueeze(0), weight, bias, stride, padding, dilation, groups).squeeze(0)
    stride, dilation = pair(stride, "stride", "conv2d"), pair(dilation, "dilation", "conv2d")
    if isinstance(padding, str) and padding in ("same", "valid"):
        input, padding = _named_padding(input, weight, padding, stride, dilation)
    padding = pair(padding, "padding", "conv2d")
    return apply(conv.Conv2d, input, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int] = 1,
    padding: int | tuple[int] | str = 0,
    dilation: int | tuple[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution along one axis: input (N, C, L), weight (O, C/groups, k), bias (O) -> (N, O, L′).

    It is `conv2d` of images of height 1, and its errors about kernel and channels are worded for these.
    """
    _check_operands("conv1d", input, weight, bias)
    if input.ndim not in (2, 3) or weight.ndim != 3:
        raise ValueError(
            f"conv1d: got an input of shape {input.shape} and a weight of shape {weight.shape}; expected (N, C, L) or "
            "(C, L), and (out, in/groups, k)"
        )
    step, gap = (1, single(stride, "stride", "conv1d")), (1, single(dilation, "dilation", "conv1d"))
    around = padding if isinstance(padding, str) else (0, single(padding, "padding", "conv1d"))
    return conv2d(input.unsqueeze(-2), weight.unsqueeze(2), bias, step, around, gap, groups).squeeze(-2)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """Transposed convolution: input (N, C, H, W), weight (C, O/groups, kh, kw), bias (O) -> (N, O, H′, W′).

    H′ = (H − 1)·s − 2p + d·(kh − 1) + 1 + output_padding: the sizes that `conv2d` takes to H. It is what carries the
    gradient back through a convolution, and it enlarges images where the stride is above 1.
    """
    _check_operands("conv_transpose2d", input, weight, bias)
    if input.ndim == 3:
        images = input.unsqueeze(0)
        return conv_transpose2d(images, weight, bias, stride, padding, output_padding, groups, dilation).squeeze(0)
    sizes = dict(stride=stride, padding=padding, dilation=dilation, output_padding=output_padding)
    pairs = {name: pair(value, name, "conv_transpose2d") for name, value in sizes.items()}
    return apply(conv.ConvTranspose2d, input, weight, bias, **pairs, groups=groups)


def _check_operands(function: str, input: Any, weight: Any, bias: Any) -> None:
    check_input(function, input)
    if not isinstance(weight, Tensor) or not (bias is None or isinstance(bias, Tensor)):
        raise TypeError(
            f"{function}: got {described(weight)} as weight and {described(bias)} as bias; expected a "
            "Tensor, and a Tensor or None"
        )


def _named_padding(
    x: Tensor, weight: Tensor, name: str, stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[Tensor, tuple[int, int]]:
    """x, padded at the end where that takes one more than at the start, and the padding that is left to do."""
    if name == "valid" or weight.ndim != 4:
        return x, (0, 0)
    if stride != (1, 1):
        raise ValueError(f'conv2d: got padding="same" with stride {stride}; it needs stride 1')
    high, wide = (d * (k - 1) for k, d in zip(weight.shape[2:], dilation))
    if high % 2 or wide % 2:
        x = pad(x, (0, wide % 2, 0, high % 2))
    return x, (high // 2, wide // 2)


class _Conv(Module):
    """Base of the convolutions: weight (out, in/groups, *kernel_size) and bias (out).

    Weights start as PyTorch's do, uniform within ±1/√fan_in. Residual networks draw them again with
    `init.kaiming_normal_`. A ``padding_mode`` other than "zeros" is one of `functional.pad`.
    """

    axes = 2
    transposed = False
    output_padding: Any = ()

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
    ):
        super().__init__()
        name = type(self).__name__
        check_counts(name, in_channels=in_channels, out_channels=out_channels, groups=groups)
        self.kernel_size = self._sizes(kernel_size, "kernel_size")
        self.stride, self.dilation = self._sizes(stride, "stride"), self._sizes(dilation, "dilation")
        named = isinstance(padding, str) and padding in ("same", "valid")
        self.padding = padding if named else self._sizes(padding, "padding")
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name}: got groups={groups} for {in_channels} input and {out_channels} output channels; groups must "
                "divide both"
            )
        least_padding = 0 if isinstance(self.padding, str) else min(self.padding)
        if min(*self.kernel_size, *self.stride, *self.dilation) < 1 or least_padding < 0:
            raise ValueError(
                f"{name}: got kernel_size {self.kernel_size}, stride {self.stride}, dilation {self.dilation}, padding "
                f"{self.padding}; padding must be at least 0, the others at least 1"
            )
        if self.padding == "same" and max(self.stride) > 1:
            raise ValueError(f'{name}: got padding="same" with stride {self.stride}; it needs stride 1')
        if padding_mode not in ("zeros", *MODES):
            raise ValueError(f"{name}: got padding_mode={padding_mode!r}; {one_of(padding_mode, ('zeros', *MODES))}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.padding_mode = padding_mode
        outer, inner = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        self.weight = Parameter(np.empty((outer, inner // groups, *self.kernel_size), np.float32))
        self.bias = Parameter(np.empty(out_channels, np.float32)) if bias else None
        bound = 1 / math.sqrt(init.fans(self.weight.shape)[0])
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def _sizes(self, value: Any, name: str) -> Any:
        function = type(self).__name__
        return pair(value, name, function) if self.axes == 2 else (single(value, name, function),)

    def _padded(self, x: Tensor) -> tuple[Tensor, Any]:
        """x, padded unless the padding is zeros, and the padding that is left to do."""
        if self.padding_mode == "zeros" or self.padding == "valid":
            return x, self.padding
        widths = []
        for i in reversed(range(self.axes)):
            total = self.dilation[i] * (self.kernel_size[i] - 1) if self.padding == "same" else 2 * self.padding[i]
            widths += [total // 2, total - total // 2]
        return pad(x, widths, self.padding_mode), 0

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        text += f", padding={self.padding}" if self.padding != (0,) * self.axes else ""
        text += f", dilation={self.dilation}" if self.dilation != (1,) * self.axes else ""
        text += f", output_padding={self.output_padding}" if any(self.output_padding) else ""
        text += f", groups={self.groups}" if self.groups != 1 else ""
        text += "" if self.bias is not None else ", bias=False"
        return text + (f", padding_mode={self.padding_mode}" if self.padding_mode != "zeros" else "")


class Conv1d(_Conv):
    """Convolution of sequences (N, C, L), see `functional.conv1d`."""

    axes = 1

    def forward(self, x: Tensor) -> Tensor:
        x, padding = self._padded(x)
        return conv1d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class Conv2d(_Conv):
    """Convolution of images (N, C, H, W), see `functional.conv2d`."""

    def forward(self, x: Tensor) -> Tensor:
        x, padding = self._padded(x)
        return conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class ConvTranspose2d(_Conv):
    """Transposed convolution of images (N, C, H, W), see `functional.conv_transpose2d`: weight (in, out/groups, …)."""

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
    ):
        if padding_mode != "zeros" or isinstance(padding, str):
            raise ValueError(
                f"ConvTranspose2d: got padding={padding!r}, padding_mode={padding_mode!r}; expected numbers and "
                '"zeros", as in PyTorch'
            )
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        self.output_padding = self._sizes(output_padding, "output_padding")

    def forward(self, x: Tensor, output_size: Any = None) -> Tensor:
        """``output_size``, (H′, W′), takes the place of output_padding."""
        extra = self.output_padding if output_size is None else self._extra(x, output_size)
        geometry = self.stride, self.padding, extra, self.groups, self.dilation
        return conv_transpose2d(x, self.weight, self.bias, *geometry)

    def _extra(self, x: Tensor, output_size: Any) -> Any:
        """The output_padding that gives this size."""
        wanted = pair(tuple(output_size)[-2:], "output_size", "ConvTranspose2d")
        sizes = zip(wanted, x.shape[-2:], self.kernel_size, self.stride, self.padding, self.dilation)
        return tuple(m - ((n - 1) * s - 2 * p + d * (k - 1) + 1) for m, n, k, s, p, d in sizes)
