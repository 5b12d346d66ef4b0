"""What an error raised by backward means for the gradient that was asked for."""


def kind_of_error(error: Exception) -> tuple[str, str]:
    """What an error of backward means. The engine checks shapes and types itself, and says so in its message."""
    text = str(error)
    if "got None" in text or "NoneType for input" in text:
        return "no_gradient", "an op returned no gradient for an input that needs one"
    if "got a gradient of shape" in text:
        shapes = _shapes_of(error)
        if shapes and shapes[0] and axes_to_sum(*shapes) is not None:
            return "missing_broadcast_sum", f"sum over axes {axes_to_sum(*shapes)}"
        return "wrong_shape", "an op returned a gradient of another shape than its input's"
    if isinstance(error, TypeError) and "gradient for" in text:
        return "wrong_dtype", "an op returned a gradient of another type than its input's"
    return "raises", "backward does not run"


def _shapes_of(error: BaseException) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """(shape of the gradient, shape of the input) with which the engine was at odds."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name == "checked":
            return trace.tb_frame.f_locals["g"].shape, trace.tb_frame.f_locals["want_shape"]
        trace = trace.tb_next
    return None


def axes_to_sum(large: tuple[int, ...], small: tuple[int, ...]) -> tuple[int, ...] | None:
    """Axes of ``large`` whose sum leaves ``small``, going by the sizes alone (None if there are none)."""
    axes, remaining = [], list(small)
    for axis, size in enumerate(large):
        if remaining and remaining[0] == size:
            remaining.pop(0)
        else:
            axes.append(axis)
    return None if remaining or not axes else tuple(axes)
