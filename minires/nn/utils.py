"""Gradient clipping, called between ``loss.backward()`` and ``optimizer.step()``. Names as in ``torch.nn.utils``."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import norms
from ..blas import one_blas_thread
from ..tensor import Tensor


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
    norm_type = float(norm_type)
    for name, value in (("max_norm", max_norm), ("norm_type", norm_type)):
        if not value > 0 and not (name == "max_norm" and value == 0):
            raise ValueError(f"clip_grad_norm_: got {name}={value:g}; expected a positive number")
    if not grads:
        return Tensor(np.zeros((), np.float32))
    # BLAS's own threads would get in the way of the next kernel
    each = one_blas_thread(lambda: [norms.norm(g, norm_type) for g in grads])
    norm = norms.norm_of_norms(each, norm_type)
    if error_if_nonfinite and not math.isfinite(norm):
        raise RuntimeError(
            f"clip_grad_norm_: the norm of the gradients is {norm}; a loss has overflowed. Lower the learning rate, or "
            "find the op that did it with detect_anomaly()"
        )
    scale = max_norm / (norm + 1e-6)
    if not scale >= 1:  # NaN is not
        with np.errstate(invalid="ignore"):  # 0 times infinity
            for g in grads:
                if _fits(scale, g.dtype):
                    g *= g.dtype.type(scale)
                else:  # in float16, 1e-8 would be 0, and all gradients with it
                    g[...] = (g.astype(np.float64) * scale).astype(g.dtype)
    return Tensor(np.array(norm, grads[0].dtype if _fits(norm, grads[0].dtype) else np.float64))


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


def _grads(function: str, parameters: Tensor | Iterable[Tensor]) -> list[np.ndarray]:
    """Every gradient that exists, once each, writable in place."""
    parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    found: dict[int, np.ndarray] = {}
    for p in parameters:
        if not isinstance(p, Tensor):
            raise TypeError(f"{function}: got a {type(p).__name__} among the parameters; expected model.parameters()")
        if p.grad is not None:
            if not getattr(p.grad.flags, "writeable", True):  # CuPy has no such flag
                p.grad = p.grad.copy()
            found[id(p)] = p.grad
    return list(found.values())
