"""Functions of tensors, with PyTorch's names, arguments and defaults. Each adds one or a few ops to the graph.

Activations, normalisations, convolutions, pooling and padding are defined in files of their own, beside their modules,
and can be imported from here.
"""

import math
from typing import Any

import numpy as np

from .. import kernels
from ..arguments import check_tensor, described, flag, number, whole
from ..creation import tensor
from ..kernels.layout import lying_like
from ..missing import not_offered
from ..ops import elementwise, linear as linear_op, loss
from ..ops.op import wide
from ..random import generator
from ..state import current
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

    A given scale_factor takes the place of n′/n, unless ``recompute_scale_factor``, or n′ is n or 2n, as in PyTorch.
    Raises ValueError for a mode other than "nearest".
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
        step = n / m if size is not None or recompute_scale_factor or m in (n, 2 * n) else 1 / factor
        index = np.floor(np.arange(m, dtype=np.float32) * step).astype(int)  # in float32, as in PyTorch
        input = input[(slice(None),) * axis + (index.tolist(),)]  # a list: it goes to the device of the input
    return input


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x·Wᵀ + b: input (…, in), weight (out, in), bias (out) -> (…, out)."""
    check_input("linear", input, whole=getattr(weight, "dtype", None) == getattr(input, "dtype", None))
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
    p, training = number(function, "p", p), flag(function, "training", training)
    if not 0 <= p <= 1:
        raise ValueError(f"{function}: got p={p}; expected a probability between 0 and 1")
    if not training or p == 0:
        return input
    mask = (generator().random(shape) >= p) * input.dtype.type(0 if p == 1 else 1 / (1 - p))
    if shape == input.shape and type(input.array) is not np.ndarray:  # NumPy reads any two orders
        mask = lying_like(input.array, mask)
    return input * Tensor(mask).to(input.device)


def one_hot(target: Tensor, num_classes: int = -1) -> Tensor:
    """Class indices (…) -> int64 (…, K) with a single 1; K defaults to the largest index + 1."""
    check_tensor("one_hot", target)
    indices, num_classes = target.array, whole("one_hot", num_classes)
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
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """−log softmax(input)[target]: input (N, K, …) or (K) logits; target (N, …) class indices, or probabilities.

    Probabilities have the shape of the input, and may require a gradient.
    ``weight`` (K) scales the classes (for class indices, the mean is then weighted), ``label_smoothing`` mixes in 1/K
    of every class. Positions whose target is ``ignore_index`` do not count; the mean of no position is NaN.
    ``size_average`` and ``reduce`` are old names for the reductions. Raises ValueError or TypeError for targets out of
    range or of the wrong dtype or shape.
    """
    smoothing = number("cross_entropy", "label_smoothing", label_smoothing)
    if not 0 <= smoothing <= 1:
        raise ValueError(f"cross_entropy: got label_smoothing={smoothing}; expected a number between 0 and 1")
    reduction = _reduction("cross_entropy", reduction, size_average, reduce)
    single = getattr(input, "ndim", 0) == 1
    input, target = _batched("cross_entropy", input, target, weight, probabilities=True)
    classes, given = input.shape[1], target.dtype.kind == "f"
    if given:
        if type(ignore_index) is int and ignore_index >= 0:
            raise ValueError(f"cross_entropy: got ignore_index={ignore_index} with probabilities; it is for indices")
        q, normaliser = target.to(input.dtype), math.prod(input.shape[:1] + input.shape[2:])
    else:
        hot, _, normaliser = _one_hot_targets("cross_entropy", input, target, weight, ignore_index)
        q = Tensor(hot)
    if smoothing:
        kept = 1 if given else Tensor(np.expand_dims(target.array != ignore_index, 1).astype(input.dtype))
        q = q * (1 - smoothing) + kept * (smoothing / classes)
    if weight is not None:
        q = q * weight.to(input.dtype).reshape(1, -1, *(1,) * (input.ndim - 2))
    if q.requires_grad:
        losses = -(log_softmax(input, 1) * q).sum(1)
    else:
        losses = apply(loss.CrossEntropy, input, q)
    return _reduced(losses.squeeze(0) if single else losses, reduction, normaliser)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """−input[target]: input (N, K, …) or (K) log-probabilities, target (N, …) class indices. As `cross_entropy`."""
    reduction = _reduction("nll_loss", reduction, size_average, reduce)
    single = getattr(input, "ndim", 0) == 1
    input, target = _batched("nll_loss", input, target, weight)
    q, weights, normaliser = _one_hot_targets("nll_loss", input, target, weight, ignore_index, each=True)
    chosen = apply(elementwise.Where, Tensor(q != 0), input, 0.0).sum(1)  # not q · input: 0 · −∞ is NaN
    losses = -chosen * Tensor(weights.astype(input.dtype))
    return _reduced(losses.squeeze(0) if single else losses, reduction, normaliser)


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """weight · (input − target)²; the mean is then weighted. Raises ValueError unless the shapes are equal."""
    check_input("mse_loss", input)
    reduction = _reduction("mse_loss", reduction, size_average, reduce)
    target = _as_tensor("mse_loss", "target", target)
    if input.shape != target.shape or (weight is not None and np.shape(weight) != input.shape):
        shapes = " and ".join(str(np.shape(x)) for x in (input, target, weight) if x is not None)
        raise ValueError(f"mse_loss: got shapes {shapes}; they must be equal (use reshape)")
    if target.dtype.kind == "b":
        raise TypeError("mse_loss: got targets of dtype bool; convert them first: target.float()")
    difference = input - target
    squares = difference * difference
    if weight is None:
        return squares.mean() if reduction == "mean" else _reduced(squares, reduction, 1)
    weight = _as_tensor("mse_loss", "weight", weight)
    squares = squares * weight
    return squares.sum() / weight.sum() if reduction == "mean" else _reduced(squares, reduction, 1)


def _reduction(function: str, reduction: Any, size_average: bool | None, reduce: bool | None) -> str:
    """The reduction, which PyTorch's older arguments, if given, say in two truth values."""
    if size_average is not None or reduce is not None:
        if not all(isinstance(x, bool | None) for x in (size_average, reduce)):
            raise TypeError(
                f"{function}: got size_average={size_average!r:.60}, reduce={reduce!r:.60}, old truth values; by name: "
                'reduction="sum"'
            )
        return "none" if reduce is False else "sum" if size_average is False else "mean"
    if not isinstance(reduction, str) or reduction not in ("mean", "sum", "none"):
        raise ValueError(f'{function}: got reduction={reduction!r:.60}; expected "mean", "sum" or "none"')
    return reduction


def _reduced(losses: Tensor, reduction: str, normaliser: Any) -> Tensor:
    """The losses, their sum, or their mean: the sum divided by ``normaliser``, a number or array.

    Without a normaliser, or if it is 0, the mean is NaN; without one, its gradient is that of the sum, as in PyTorch.
    """
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    total = losses.sum(dtype=np.float32) if losses.dtype.char == "e" else losses.sum()
    if normaliser is None:
        mean = total + math.nan
    elif not kernels.device_of(losses.array).is_cpu and hasattr(normaliser, "dtype"):
        mean = total / Tensor(normaliser.astype(total.dtype))  # it stays there: a captured step runs the same kernels
    else:
        mean = total / (float(normaliser) or math.nan)
    return mean if mean.dtype == losses.dtype else mean.to(losses.dtype)


def _as_tensor(function: str, name: str, x: Any) -> Tensor:
    """A tensor of a target or weight, which may be an array or a list. Raises TypeError for anything else."""
    if isinstance(x, Tensor):
        return x
    if not isinstance(x, np.ndarray | list | tuple | int | float):
        raise TypeError(f"{function}: got {described(x)} as {name}; expected a Tensor, made with tensor(x)")
    try:
        return tensor(x)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{function}: got a {name} that is no tensor and makes none: {error}") from None


def _batched(
    function: str, input: Tensor, target: Any, weight: Any, probabilities: bool = False
) -> tuple[Tensor, Tensor]:
    """The logits (N, K, …), and the targets: class indices (N, …), or ``probabilities``, if allowed, of their shape.

    A single sample (K) and its target, which lack N, become a batch of one. Raises ValueError or TypeError for shapes,
    dtypes or devices that do not fit.
    """
    check_input(function, input)
    target, single = _as_tensor(function, "target", target), input.ndim == 1
    if single and target.ndim < 2:
        alone = target.shape == (1,) and target.dtype.kind != "f"  # the index of a class, in a batch already
        input, target = input.unsqueeze(0), target if alone else target.unsqueeze(0)
    if input.ndim < 2:
        raise ValueError(f"{function}: got an input of shape {input.shape}; expected (N, K, …) or (K), for K classes")
    classes, positions = input.shape[1], (input.shape[0], *input.shape[2:])
    if weight is not None and (not isinstance(weight, Tensor) or weight.shape != (classes,)):
        raise ValueError(
            f"{function}: got {type(weight).__name__} weight of shape {np.shape(weight)} for {classes} classes; "
            f"expected a Tensor of shape ({classes},), one weight per class"
        )
    if weight is not None and weight.requires_grad and current().grad_enabled:
        raise ValueError(f"{function}: got a weight that requires grad, and would get none; pass weight.detach()")
    if target.device != input.device:
        raise TypeError(
            f"{function}: got an input of shape {input.shape} on {input.device} and targets of shape {target.shape} on "
            f"{target.device}; move one of them: target.to(input.device)"
        )
    if target.dtype.kind == "f" and probabilities:
        if target.shape != input.shape:
            raise ValueError(
                f"{function}: got floating-point targets of shape {target.shape} for logits {input.shape}; "
                "probabilities need the same shape. Class indices are whole numbers: target.long()"
            )
    elif target.dtype.kind not in "iu":
        raise TypeError(f"{function}: got targets of dtype {target.dtype}; class indices are integers: target.long()")
    elif target.shape != positions:
        raise ValueError(
            f"{function}: got targets of shape {target.shape} for input {input.shape}; expected {positions}, one class "
            "index per position"
        )
    return input, target


def _one_hot_targets(
    function: str, input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, each: bool = False
) -> tuple[Any, Any, Any]:
    """Class indices (N, …) -> one-hot (N, K, …), all zero where ignored; the weight of each position (N, …); their sum.

    The sum is None if all are ignored. The weights are there if wanted, for ``each`` position, or to be summed.
    """
    indices, classes, ignore_index = target.array, input.shape[1], whole(function, ignore_index)
    own, weights = kernels.of(indices), indices != ignore_index if each or weight is not None else None
    counts = own.count_labels(indices, classes, ignore_index)  # (2): kept, and wrong
    total = counts[0]
    if weight is not None:
        assert weights is not None
        weights = weights * wide(weight.array)[np.where(weights, indices, 0)]
        total = weights.sum()
    if kernels.device_of(indices).capturing:  # nothing can be read: a label out of range makes the loss NaN
        return own.one_hot(indices, classes, input.dtype, ignore_index), weights, total
    kept, wrong = counts.tolist()
    if wrong:
        is_wrong = (indices != ignore_index) & ((indices < 0) | (indices >= classes))
        raise ValueError(
            f"{function}: got target {indices[is_wrong].reshape(-1)[0]} with {classes} classes; indices run from 0 to "
            f"{classes - 1}. Labels that start at 1 need target - 1"
        )
    hot = own.one_hot(indices, classes, input.dtype, ignore_index)
    return hot, weights, None if not kept else kept if weight is None else total


def __getattr__(name: str) -> Any:
    raise not_offered("minires.nn.functional", name)
