"""Gradient clipping, called between ``loss.backward()`` and ``optimizer.step()``, and parameters as one vector.

Names as in ``torch.nn.utils``.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import kernels, norms
from ..arguments import described
from ..blas import one_blas_thread
from ..creation import cat
from ..missing import not_offered
from ..tensor import Tensor
from ..writes import write
from .arguments import check_input


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Scale all gradients by max_norm / (norm + 1e-6) if that is below 1; returns the norm before scaling, a scalar.

    The norm is that of all gradients taken as one vector (``norm_type`` inf: the largest absolute value), so the
    direction of the step does not change. It has the gradients' dtype, or float64 where that cannot hold it, such as
    the norm of many entries of 3e38. Pascanu, Mikolov & Bengio 2013 (arXiv 1211.5063), algorithm 1.
    Raises RuntimeError for a norm that is not finite, if ``error_if_nonfinite``; otherwise finite gradients become 0
    beside an infinite one, and all become NaN beside a NaN.
    """
    grads = _grads("clip_grad_norm_", parameters)
    _check_max_norm("clip_grad_norm_", max_norm)
    norm = _norm("clip_grad_norm_", grads, norm_type, error_if_nonfinite)
    _limit(grads, max_norm, norm)
    return _scalar(norm, grads)


def get_total_norm(
    tensors: Tensor | Iterable[Tensor], norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """The norm of all tensors taken as one vector, as `clip_grad_norm_` computes it for the gradients."""
    tensors = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    for tensor in tensors:
        check_input("get_total_norm", tensor)
    arrays = [tensor.array for tensor in tensors]
    return _scalar(_norm("get_total_norm", arrays, norm_type, error_if_nonfinite), arrays)


def clip_grads_with_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor | float) -> None:
    """Scale all gradients by max_norm / (total_norm + 1e-6) if that is below 1, as `clip_grad_norm_` does."""
    _check_max_norm("clip_grads_with_norm_", max_norm)
    _limit(_grads("clip_grads_with_norm_", parameters), max_norm, float(total_norm))


def _check_max_norm(function: str, max_norm: float) -> None:
    if not max_norm >= 0:
        raise ValueError(f"{function}: got max_norm={max_norm:g}; expected a positive number")


def _norm(function: str, arrays: list[Any], norm_type: float, error_if_nonfinite: bool) -> float:
    """The norm of all arrays together, in float64."""
    norm_type = float(norm_type)
    if not norm_type > 0:
        raise ValueError(f"{function}: got norm_type={norm_type:g}; expected a positive number")
    if not arrays:
        return 0.0
    # BLAS's own threads would get in the way of the next kernel
    each = one_blas_thread(_norm_of_each, arrays, norm_type)
    norm = norms.norm_of_norms(each, norm_type)
    if error_if_nonfinite and not math.isfinite(norm):
        raise RuntimeError(
            f"{function}: the norm of the gradients is {norm}; a loss has overflowed. Lower the learning rate, or "
            "find the op that did it with detect_anomaly()"
        )
    return norm


def _norm_of_each(arrays: list[Any], p: float) -> list[float]:
    """The norms, in float64. A GPU is waited for once, unless squares leave the range of float64 or p is another."""
    if p not in (2, math.inf) or len({type(a) for a in arrays}) > 1 or kernels.device_of(arrays[0]).is_cpu:
        return [norms.norm(a, p) for a in arrays]
    filled = [a for a in arrays if a.size]
    flat = [a.reshape(-1).astype(np.float64) for a in filled]
    parts = [(x * x).sum() if p == 2 else abs(x).max() for x in flat]
    found = np.stack(parts).tolist() if parts else []
    if p == math.inf:
        return found
    safe = (a.dtype != np.float64 or norms.is_safe(square, a.dtype) for a, square in zip(filled, found))
    return [math.sqrt(square) if ok else norms.norm(a) for a, square, ok in zip(filled, found, safe)]


def _limit(grads: list[Any], max_norm: float, norm: float) -> None:
    """Scale the gradients in place, so that their norm is at most max_norm."""
    scale = max_norm / (norm + 1e-6)
    if not scale >= 1:  # NaN is not
        with np.errstate(invalid="ignore"):  # 0 times infinity
            for g in grads:
                if _fits(scale, g.dtype):
                    g *= g.dtype.type(scale)
                else:  # in float16, 1e-8 would be 0, and all gradients with it
                    g[...] = (g.astype(np.float64) * scale).astype(g.dtype)


def _scalar(norm: float, arrays: list[Any]) -> Tensor:
    """The norm as a Tensor of the first array's dtype, or of float64 where that cannot hold it."""
    dtype = arrays[0].dtype if arrays else np.float32
    return Tensor(np.array(norm, dtype if _fits(norm, dtype) else np.float64))


def _fits(value: float, dtype: Any) -> bool:
    """Whether a floating-point type holds the value with all its digits."""
    limits = np.finfo(dtype)
    return not math.isfinite(value) or value == 0 or float(limits.smallest_normal) <= abs(value) <= float(limits.max)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit every single value of every gradient to ±clip_value; this changes the direction of the step."""
    grads = _grads("clip_grad_value_", parameters)
    if not clip_value >= 0:
        raise ValueError(f"clip_grad_value_: got clip_value={clip_value!r}; expected a positive number")
    for g in grads:
        np.clip(g, -clip_value, clip_value, out=g)


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters, end to end in one vector through which gradients flow."""
    return cat([parameter.reshape(-1) for parameter in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Write the values of a vector into the parameters, in place and in their order.

    Raises ValueError, before anything is written, unless the vector has exactly as many values as the parameters.
    PyTorch's parameters would share the vector's memory; these keep their own.
    """
    parameters = list(parameters)
    counts = [parameter.numel() for parameter in parameters]
    if not isinstance(vec, Tensor) or vec.shape != (sum(counts),):
        raise ValueError(
            f"vector_to_parameters: got {described(vec)} of shape {np.shape(vec)} for parameters of "
            f"{sum(counts)} values; expected a Tensor of shape ({sum(counts)},)"
        )
    start = 0
    for parameter, count in zip(parameters, counts):
        write(parameter.array, vec.array[start : start + count].reshape(parameter.shape))
        start += count


def _grads(function: str, parameters: Tensor | Iterable[Tensor]) -> list[np.ndarray]:
    """Every gradient that exists, once each, writable in place."""
    if not isinstance(parameters, Tensor | Iterable):
        raise TypeError(f"{function}: got {described(parameters)}; expected model.parameters()")
    parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    found: dict[int, np.ndarray] = {}
    for p in parameters:
        if not isinstance(p, Tensor):
            raise TypeError(f"{function}: got {described(p)} among the parameters; expected model.parameters()")
        if p.grad is not None:
            if not getattr(p.grad.array.flags, "writeable", True):  # CuPy has no such flag
                p.grad = p.grad.clone()
            found[id(p)] = p.grad.array
    return list(found.values())


def __getattr__(name: str) -> Any:
    raise not_offered("minires.nn.utils", name)
