"""What an error raised by backward says about the gradient that was wanted."""

from ..checks import GradientCountError, GradientShapeError, GradientTypeError, NoGradientError


def kind_of_error(error: Exception) -> tuple[str, str]:
    """(kind, words) of an error: the engine checks what an op returns, and each of its errors has a type."""
    if isinstance(error, GradientCountError) and error.op is None:  # of two functions; backward itself ran
        return "raises", str(error)
    kind, text = _kind_of_error(error)
    return kind, f"{text}; backward raised {type(error).__name__}: {error}"


def _kind_of_error(error: Exception) -> tuple[str, str]:
    if isinstance(error, NoGradientError) and error.got is None:
        return "no_gradient", "an op returned no gradient for an input that needs one"
    if isinstance(error, NoGradientError):
        return "raises", "an op returned something else than an array for a gradient"
    if isinstance(error, GradientCountError):
        return "raises", "an op returned too few gradients, or too many"
    if isinstance(error, GradientShapeError):
        axes = axes_to_sum(error.got, error.expected)
        if axes is not None:
            return "missing_broadcast_sum", f"sum over axes {axes}"
        return "wrong_shape", "an op returned a gradient of another shape than its input's"
    if isinstance(error, GradientTypeError):
        return "wrong_dtype", "an op returned a gradient of another type than its input's"
    return "raises", "backward does not run"


def axes_to_sum(large: tuple[int, ...], small: tuple[int, ...]) -> tuple[int, ...] | None:
    """Axes of ``large`` whose sum leaves ``small``, going by the sizes alone (None if there are none)."""
    axes, remaining = [], list(small)
    for axis, size in enumerate(large):
        if remaining and remaining[0] == size:
            remaining.pop(0)
        else:
            axes.append(axis)
    return None if remaining or not axes else tuple(axes)
