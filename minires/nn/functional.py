"""Functions of tensors, with PyTorch's names, arguments and defaults. Each adds one or a few ops to the graph.

Activations, normalisations, convolutions, pooling and padding are defined in files of their own, beside their modules,
and can be imported from here.
"""

import math
from typing import Any

import numpy as np

from .. import kernels
from ..creation import tensor
from ..ops import elementwise, linear as linear_op, loss
from ..random import generator
from ..tensor import Tensor, apply
from .activations import (  # noqa: F401
    elu,
    gelu,
    hardswish,
    leaky_relu,
    log_softmax,
    prelu,
    relu,
    relu6,
    sigmoid,
    silu,
    softmax,
    tanh,
)
from .arguments import check_input
from .convolution import conv1d, conv2d, conv_transpose2d  # noqa: F401
from .normalisation import batch_norm, group_norm, instance_norm, layer_norm  # noqa: F401
from .padding import pad  # noqa: F401
from .pooling import (  # noqa: F401
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    avg_pool1d,
    avg_pool2d,
    max_pool1d,
    max_pool2d,
)


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
) -> Tensor:
    """Resize the axes after (N, C) to ``size``, or by ``scale_factor``: y[i] = x[⌊i·n/n′⌋] along each of them.

    A given scale_factor takes the place of n′/n, unless ``recompute_scale_factor``. Raises ValueError for a mode other
    than "nearest".
    """
    check_input("interpolate", input)
    if mode != "nearest" or align_corners is not None:
        raise ValueError(
            f'interpolate: got mode={mode!r}, align_corners={align_corners}; only mode="nearest" is offered, without '
            "align_corners. A convolution after it smooths the steps"
        )
    sizes, count = input.shape[2:], input.ndim - 2
    given = scale_factor if size is None else size
    each = tuple(given) if isinstance(given, tuple | list) else (given,) * count
    whole = size is None or all(isinstance(n, int | np.integer) for n in each)
    if (size is None) == (scale_factor is None) or count < 1 or len(each) != count or not (whole and min(each) > 0):
        raise ValueError(
            f"interpolate: got size={size}, scale_factor={scale_factor} for input {input.shape}; expected one of the "
            "two, a positive number or one for each axis after (N, C)"
        )
    targets = each if size is not None else [math.floor(n * factor) for n, factor in zip(sizes, each)]
    if not min(*sizes, *targets) > 0:
        raise ValueError(f"interpolate: got {sizes} to resize to {tuple(targets)}; expected sizes of at least 1")
    for axis, (n, m, factor) in enumerate(zip(sizes, targets, each), start=2):
        step = n / m if size is not None or recompute_scale_factor else 1 / factor
        index = np.floor(np.arange(m, dtype=np.float32) * step).astype(int)  # in float32, as in PyTorch
        input = input[(slice(None),) * axis + (index.tolist(),)]  # a list: it goes to the device of the input
    return input


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x·Wᵀ + b: input (…, in), weight (out, in), bias (out) -> (…, out)."""
    check_input("linear", input)
    return apply(linear_op.Linear, input, weight, bias)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each value with probability p and scale the rest by 1/(1 − p); the identity in evaluation.

    ``inplace`` is accepted and has no effect.
    """
    check_input("dropout", input)
    return _dropped("dropout", input, p, training, input.shape)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Dropout of whole channels of (N, C, H, W) or, as in PyTorch, (N, C, L); Tompson et al. 2015 (arXiv 1411.4280).

    ``inplace`` is accepted and has no effect. Raises ValueError for another number of axes.
    """
    check_input("dropout2d", input)
    if input.ndim not in (3, 4):
        raise ValueError(f"dropout2d: got an input of shape {input.shape}; expected (N, C, H, W), or use dropout")
    return _dropped("dropout2d", input, p, training, (*input.shape[:2], *(1,) * (input.ndim - 2)))


def _dropped(function: str, input: Tensor, p: float, training: bool, shape: tuple[int, ...]) -> Tensor:
    """The input times a mask of this shape, of zeros and 1/(1 − p)."""
    if not 0 <= p <= 1:
        raise ValueError(f"{function}: got p={p}; expected a probability between 0 and 1")
    if not training or p == 0:
        return input
    keep = generator().random(shape) >= p
    return input * Tensor(keep * input.dtype.type(0 if p == 1 else 1 / (1 - p))).to(input.device)


def one_hot(target: Tensor, num_classes: int = -1) -> Tensor:
    """Class indices (…) -> int64 (…, K) with a single 1; K defaults to the largest index + 1."""
    indices = target.array
    if indices.dtype.kind not in "iu":
        raise TypeError(f"one_hot: got class indices of dtype {indices.dtype}; expected whole numbers: target.long()")
    if num_classes == 0 or num_classes < -1 or (num_classes == -1 and not indices.size):
        raise ValueError(
            f"one_hot: got num_classes={num_classes} for indices of shape {indices.shape}; expected at least 1 class, "
            "or -1 to count them from the indices"
        )
    classes = int(indices.max()) + 1 if num_classes == -1 else num_classes
    if indices.size and not 0 <= indices.min() <= indices.max() < classes:
        raise ValueError(
            f"one_hot: got indices from {indices.min()} to {indices.max()} for {classes} classes; expected 0 to "
            f"{classes - 1}"
        )
    return Tensor((indices[..., None] == kernels.to_device(np.arange(classes), target.device)).astype(np.int64))


# ── losses ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """−log softmax(input)[target]: input (N, K, …) logits; target (N, …) class indices or (N, K, …) probabilities.

    ``weight`` (K) scales the classes (the mean is then weighted), ``label_smoothing`` mixes in 1/K of every class.
    Positions whose target is ``ignore_index`` do not count.
    Raises ValueError or TypeError for targets out of range or of the wrong dtype or shape.
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: got label_smoothing={label_smoothing}; expected a number between 0 and 1")
    z = _checked_logits("cross_entropy", input, weight)
    target = target if isinstance(target, Tensor) else tensor(target)
    classes = z.shape[1]
    if target.dtype.kind == "f":
        if target.shape != z.shape:
            raise ValueError(
                f"cross_entropy: got floating-point targets of shape {target.shape} for logits {z.shape}; "
                "probabilities need the same shape. Class indices are whole numbers: target.long()"
            )
        if target.requires_grad:
            raise ValueError("cross_entropy: got a target that requires grad; the target is a constant: use detach()")
        q = target.array.astype(z.dtype)
        normaliser = z.size / classes
    else:
        q, weights = _one_hot_targets("cross_entropy", input, target, weight, ignore_index)
        normaliser = weights.sum()
    if label_smoothing:
        kept = True if target.dtype.kind == "f" else np.expand_dims(target.array != ignore_index, 1)
        q = (1 - label_smoothing) * q + label_smoothing / classes * kept
    if weight is not None:
        q = q * _class_shape(weight.array, z.ndim)
    losses = apply(loss.CrossEntropy, input, Tensor(q.astype(z.dtype, copy=False)))
    return _reduce("cross_entropy", losses, reduction, normaliser)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """−input[target]: input (N, K, …) log-probabilities, target (N, …) class indices."""
    log_p = _checked_logits("nll_loss", input, weight)
    target = target if isinstance(target, Tensor) else tensor(target)
    q, weights = _one_hot_targets("nll_loss", input, target, weight, ignore_index)
    chosen = apply(elementwise.Where, Tensor(q != 0), input, 0.0).sum(1)  # not q · input: 0 · −∞ is NaN
    losses = -chosen * Tensor(weights.astype(log_p.dtype))
    return _reduce("nll_loss", losses, reduction, weights.sum())


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """(input − target)². Raises ValueError unless the shapes are equal."""
    check_input("mse_loss", input)
    target = target if isinstance(target, Tensor) else tensor(target)
    if input.shape != target.shape:
        raise ValueError(f"mse_loss: got shapes {input.shape} and {target.shape}; they must be equal (use reshape)")
    difference = input - target
    return _reduce("mse_loss", difference * difference, reduction, input.numel())


def _checked_logits(function: str, input: Tensor, weight: Tensor | None) -> np.ndarray:
    """The array (N, K, …) of the logits, if they and the class weights have a legal shape."""
    check_input(function, input)
    z = input.array
    if z.ndim < 2 or z.size == 0:
        raise ValueError(f"{function}: got an input of shape {z.shape}; expected a non-empty (N, K, …), K classes")
    if weight is not None and (not isinstance(weight, Tensor) or weight.shape != (z.shape[1],)):
        raise ValueError(
            f"{function}: got {type(weight).__name__} weight of shape {np.shape(weight)} for {z.shape[1]} classes; "
            f"expected a Tensor of shape ({z.shape[1]},), one weight per class"
        )
    return z


def _one_hot_targets(
    function: str, input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int
) -> tuple[Any, Any]:
    """Class indices (N, …) -> one-hot (N, K, …), all zero where ignored, and the weight of each position (N, …)."""
    z, indices, classes = input.array, target.array, input.shape[1]
    if target.device != input.device:
        raise TypeError(
            f"{function}: got an input of shape {z.shape} on {input.device} and targets of shape {indices.shape} on "
            f"{target.device}; move one of them: target.to(input.device)"
        )
    if indices.dtype.kind not in "iu":
        raise TypeError(f"{function}: got targets of dtype {indices.dtype}; class indices are integers: target.long()")
    if indices.shape != (z.shape[0], *z.shape[2:]):
        raise ValueError(
            f"{function}: got targets of shape {indices.shape} for input {z.shape}; expected "
            f"{(z.shape[0], *z.shape[2:])}, one class index per position"
        )
    kept = indices != ignore_index
    # In a CUDA graph nothing can be read back; a label out of range then makes the loss NaN, see `one_hot`.
    if not kernels.device_of(indices).capturing and ((indices < 0) | (indices >= classes))[kept].any():
        wrong = indices[kept & ((indices < 0) | (indices >= classes))].reshape(-1)[0]
        raise ValueError(
            f"{function}: got target {wrong} with {classes} classes; indices run from 0 to {classes - 1}. "
            "Labels that start at 1 need target - 1"
        )
    weights = kept if weight is None else kept * weight.array[np.where(kept, indices, 0)]
    return kernels.of(indices).one_hot(indices, classes, z.dtype, ignore_index), weights


def _class_shape(values: Any, ndim: int) -> Any:
    """(K,) -> (1, K, 1, …)."""
    return values.reshape(1, -1, *(1,) * (ndim - 2))


def _reduce(function: str, losses: Tensor, reduction: str, normaliser: Any) -> Tensor:
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    if reduction == "mean":
        on = kernels.device_of(losses.array)
        if not on.capturing and normaliser == 0:
            raise ValueError(
                f"{function}: got no target that counts (all are ignored or of weight 0, or there is none), so no mean"
            )
        if not on.is_cpu and hasattr(normaliser, "dtype"):  # it stays there: a captured step runs the same kernels
            return losses.sum() / Tensor(normaliser.astype(losses.dtype))
        return losses.sum() / float(normaliser)
    raise ValueError(f'{function}: got reduction={reduction!r}; expected "mean", "sum" or "none"')
