"""The gradient checker: cheap checks first, then differences along random directions, then a diagnosis.

grad_output is drawn from a normal distribution. With all ones, which is what ``sum()`` gives, the true gradients of
batch norm and softmax are zero, and a batch-norm gradient multiplied by 7 would pass.
"""

from collections.abc import Callable, Iterable
from typing import Any

from .procedure import Check
from .report import Report
from .subject import Subject, make_subject


def gradcheck(
    f: Any,
    *inputs: Any,
    params: Any = None,
    seed: int = 0,
    only: int | str | Iterable[int | str] | None = None,
    options: dict[str, Any] | None = None,
    engine: Callable | None = None,
    directions: int = 2,
    rtol: float = 1e-6,
    raise_on_failure: bool = True,
) -> Report:
    """Compare every gradient of ``f(*inputs)`` with central differences in float64; if one is wrong, say how.

    f: a function of Tensors, a Module, an Op class, or a pair ``(forward, backward)`` of functions of arrays:
    ``forward(*arrays) -> array``, ``backward(grad_output, *arrays) -> tuple``, one gradient (or None) per array.
    inputs: arrays or Tensors of any shapes; whole numbers and None are passed on and not differentiated.
    params: a Module, or Tensors (a dict gives them names) whose gradients are checked too; a Module ``f`` has its own.
    only: indices or names of the gradients to check. options: keyword arguments of f.
    directions: how many random directions each gradient is measured along.
    engine: called instead of `minires.autograd.backward`, as ``engine([output], [grad_output])``, to fill ``.grad``.
    A kink at the inputs (a ReLU's zero, a tie): the gradient is measured a little way off, and must lie between the
    slopes on the two sides at the kink itself. Layers that f finds around it are checked in float64 and not judged.
    rtol: allowed error relative to the gradient's norm. float32 inputs are checked in float64; the gradients in float32
    may then differ from the float64 ones by 1e-4 of the largest entry. Inputs and parameters are left as they were.

    Returns a `Report`; raises GradCheckError if a gradient is wrong, unless ``raise_on_failure=False``.
    Raises TypeError or ValueError for arguments that cannot be checked; errors of the forward pass are passed on.

    >>> import numpy as np
    >>> from minires.testing import gradcheck
    >>> def square(x):
    ...     return x * x
    >>> def backward(grad_output, x):  # the 2 is missing
    ...     return (grad_output * x,)
    >>> report = gradcheck((square, backward), np.array([0.5, -1.0, 2.0]), raise_on_failure=False)
    >>> bool(report), report.failures[0].kind
    (False, 'constant_factor')
    >>> print(report.failures[0].likely)
    the gradient is +0.5 times the right one: halved?
    """
    check = prepare(
        f,
        *inputs,
        params=params,
        seed=seed,
        only=only,
        options=options,
        engine=engine,
        directions=directions,
        rtol=rtol,
    )
    with check.subject.borrowed():
        report = check.run()
    if raise_on_failure:
        report.raise_if_wrong()
    return report


def prepare(
    f: Any,
    *inputs: Any,
    params: Any = None,
    seed: int = 0,
    only: Any = None,
    options: dict[str, Any] | None = None,
    engine: Callable | None = None,
    directions: int = 2,
    rtol: float = 1e-6,
) -> Check:
    """The check that `gradcheck` would run, with its arguments; ``check.subject.borrowed()`` must be open meanwhile."""
    subject = make_subject(f, inputs, params, options or {}, engine)
    subject.chosen = _chosen(subject, only)
    return Check(subject, seed, directions, rtol)


def _chosen(subject: Subject, only: Any) -> list[int]:
    """Positions of the gradients to check."""
    floating = subject.floating
    if only is not None:
        wanted = [only] if isinstance(only, int | str) else list(only)
        known = [*subject.keys, *subject.names]
        for key in wanted:
            if key not in known:
                raise ValueError(f"gradcheck: got only={key!r}; there are {', '.join(map(repr, subject.names))}")
        floating = [i for i in floating if subject.keys[i] in wanted or subject.names[i] in wanted]
    if not floating:
        kinds = ", ".join(type(x).__name__ for x in subject.inputs) or "nothing"
        raise ValueError(
            f"gradcheck: got no floating-point input or parameter to differentiate, but {kinds}; pass arrays or "
            "tensors of floats one by one, gradcheck(f, x, y)"
        )
    return floating
