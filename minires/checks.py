"""What the engine checks: an op's output, the gradients it returns, the gradient backward starts from; NaN and Inf.

A wrong gradient raises a `GradientError`, whose attributes say what was wrong with it.
"""

from typing import Any

import numpy as np

from . import kernels
from .arguments import array_of, check_no_foreign, described
from .ops.arithmetic import sum_to


class GradientError(ValueError):
    """An op's backward returned something that is not the gradient of its input.

    op: the Op. slot: which of its inputs, None if there are too few or too many gradients.
    got, expected: what came and what should have come; each subclass says what these are.
    """

    def __init__(self, message: str, op: Any = None, slot: int | None = None, got: Any = None, expected: Any = None):
        super().__init__(message)
        self.op, self.slot, self.got, self.expected = op, slot, got, expected


class GradientCountError(GradientError):
    """Too few or too many gradients; got and expected are numbers of gradients."""


class NoGradientError(GradientError):
    """Not an array; got is what came, often None, and expected is the shape of the input."""


class GradientShapeError(GradientError):
    """A shape that is neither the input's nor, where the input was broadcast, the output's; both are shapes."""


class GradientTypeError(GradientError, TypeError):
    """A dtype other than the input's; got and expected are dtypes."""


def one_each(op: Any, grads: Any) -> Any:
    """What an op's backward returned, as one gradient for each input. Raises GradientCountError."""
    if not isinstance(grads, (tuple, list)):
        grads = (grads,)
    if len(grads) != len(op.inputs):
        text = f"{op.name}.backward: got {len(grads)} gradients for {len(op.inputs)} inputs of {op!r}"
        raise GradientCountError(text, op, None, len(grads), len(op.inputs))
    return grads


def checked(g: Any, op: Any, slot: int, finite: bool = False) -> Any:
    """The gradient an op returned for one input, with the input's shape: broadcasting is undone here, and only here.

    Raises GradientError for anything but an array of the right shape and dtype; FloatingPointError, if ``finite``, for
    NaN and Inf.
    """
    shape, dtype = op.input_specs[slot]
    if type(g) is np.ndarray and g.shape == shape and g.dtype == dtype and not finite:
        return g
    if not hasattr(g, "dtype") or hasattr(g, "requires_grad"):
        text = (
            f"{op.name}.backward: got {None if g is None else type(g).__name__} for input {slot}, which requires grad, "
            f"in {op!r}; expected an array of shape {shape}"
        )
        raise NoGradientError(text, op, slot, g, shape)
    if g.shape != shape:
        if g.shape != op.shape or not broadcasts(shape, op.shape):
            text = (
                f"{op.name}.backward: got a gradient of shape {g.shape} for input {slot} of shape {shape} in "
                f"{op!r}; a gradient has the shape of its input (or of the output, where the input was broadcast)"
            )
            raise GradientShapeError(text, op, slot, g.shape, shape)
        g = sum_to(g, shape)
    if g.dtype != dtype:
        text = f"{op.name}.backward: got a {g.dtype} gradient for {dtype} input {slot} in {op!r}"
        raise GradientTypeError(text, op, slot, g.dtype, dtype)
    if finite:
        check_finite(g, op, f"gradient for input {slot}")
    return as_array(g)


def checked_seed(tensor: Any, seed: Any) -> Any:
    """The gradient to start from at an output: ``seed`` (array, Tensor or number), or 1 for a scalar and None.

    Raises RuntimeError if there is no graph behind the tensor, ValueError for a seed of another shape or dtype.
    """
    if not tensor.requires_grad:
        raise RuntimeError(
            "backward: the tensor does not require grad, so there is no graph behind it. Was it computed under "
            "no_grad(), detached, or made from tensors without requires_grad=True?"
        )
    if seed is None:
        if tensor.array.size != 1:
            raise ValueError(
                f"backward: got a tensor of shape {tensor.shape} and no gradient; only a scalar has an obvious one. "
                "Reduce it to a scalar loss, or pass a gradient of the same shape"
            )
        return np.ones_like(tensor.array)
    check_no_foreign("backward", seed)
    array = array_of(seed)
    if isinstance(array, np.generic) or not hasattr(array, "dtype"):  # numbers take the dtype of the tensor
        array = kernels.to_device(np.asarray(array, dtype=tensor.dtype), tensor.device)
    if array.shape != tensor.shape or array.dtype != tensor.dtype:
        raise ValueError(
            f"backward: got a {array.dtype} gradient of shape {array.shape} for a {tensor.dtype} tensor of shape "
            f"{tensor.shape}; the two must agree"
        )
    return array


def checked_output(op: Any, data: Any) -> Any:
    """What an op's forward returned, as an array. Raises TypeError if it is a Tensor, or no array at all."""
    if hasattr(data, "requires_grad") or not hasattr(data, "dtype"):
        raise TypeError(f"{op.name}.forward: got {described(data)} back; an op takes arrays and returns an array")
    return as_array(data)


def checked_hook(found: Any, gradient: Any, kind: str = "register_hook") -> Any:
    """The array of what a hook of this kind made of a gradient. Raises TypeError, ValueError."""
    if not hasattr(found, "requires_grad"):
        raise TypeError(f"{kind}: got {described(found)} back from the hook; expected None or a Tensor")
    array = found.array
    if (type(array), array.shape, array.dtype) != (type(gradient), gradient.shape, gradient.dtype):
        raise ValueError(
            f"{kind}: got a {array.dtype} tensor of shape {array.shape} back from the hook, which was given a "
            f"{gradient.dtype} gradient of shape {gradient.shape}; it must be like that"
        )
    return array


def check_first_order(function: str, create_graph: bool) -> None:
    """Raise NotImplementedError if the gradient is to have a graph of its own."""
    if create_graph:
        raise NotImplementedError(
            f"{function}: got create_graph=True; minires has first-order gradients only. A second derivative along v "
            "is (∇f(x + εv) − ∇f(x − εv)) / 2ε"
        )


def check_wanted(inputs: Any) -> None:
    """Raise ValueError if backward is asked for the ``.grad`` of no tensor, RuntimeError for one that can get none."""
    if not inputs:
        raise ValueError(
            "backward: got inputs=[]; name the tensors whose .grad is wanted, or leave it out for all leaves"
        )
    for i, t in enumerate(inputs):
        if not t.requires_grad:
            raise RuntimeError(
                f"backward: input {i} of shape {t.shape} does not require grad, so it gets no .grad; make it with "
                "requires_grad=True"
            )


def check_all_used(inputs: Any, found: Any) -> None:
    """Raise ValueError for an input whose node (its op, or the leaf tensor itself) is not among those found."""
    for i, t in enumerate(inputs):
        if (t.op or t) not in found:
            raise ValueError(
                f"grad: input {i} of shape {t.shape} was not used to compute the outputs (or does not require grad); "
                "pass allow_unused=True to get None for it"
            )


def freed(op: Any) -> RuntimeError:
    """The error for an op that has dropped what backward needs."""
    return RuntimeError(
        f"backward: the graph behind {op!r} was already freed by an earlier backward; "
        "run the forward pass again, or pass retain_graph=True to the first backward"
    )


def check_finite(array: Any, op: Any, what: str, inputs: Any = ()) -> None:
    """Raise FloatingPointError, naming the op, if a value is NaN or Inf; ``inputs`` may already have been."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        cause = ""
        for slot, a in enumerate(inputs):
            if getattr(a, "dtype", None) is not None and a.dtype.kind == "f" and not np.isfinite(a).all():
                cause = f"; its input {slot} was already not finite"
        raise FloatingPointError(f"detect_anomaly: NaN or Inf in the {what} of {op!r}{cause}")


def broadcasts(small: tuple[int, ...], large: tuple[int, ...]) -> bool:
    """Whether an array of shape ``small`` can be stretched to shape ``large``."""
    return len(small) <= len(large) and all(s in (1, n) for s, n in zip(reversed(small), reversed(large)))


def as_array(value: Any) -> Any:
    """NumPy turns results of shape () into scalars; make an array of them again."""
    return np.asarray(value) if isinstance(value, np.generic) else value


def as_list(x: Any) -> list[Any]:
    """A list of what is in a list or tuple, or of the one thing given."""
    return list(x) if isinstance(x, list | tuple) else [x]
