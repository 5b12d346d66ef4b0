"""The gradient checker: free checks first, then differences along random directions, then a diagnosis.

The grad_output is normal: under an all-ones one, which is what ``sum()`` gives, the true gradients of batch norm and
softmax are zero, and a batch-norm gradient multiplied by 7 passes.
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
    """Hold every gradient of ``f(*inputs)`` to central differences in float64, and say what is wrong with a wrong one.

    f: a function of Tensors, a Module, an Op class, or a pair ``(forward, backward)`` of functions of arrays:
    ``forward(*arrays) -> array``, ``backward(grad_output, *arrays) -> tuple``, one gradient (or None) per array.
    inputs: arrays or Tensors of any shapes; whole numbers and None are passed on and not differentiated.
    params: a Module, or Tensors (a dict gives them names) whose gradients are checked too; a Module ``f`` has its own.
    only: indices or names of the gradients to check. options: keyword arguments of f. directions: so many a gradient.
    engine: called instead of `minires.autograd.backward`, as ``engine([output], [grad_output])``, to fill ``.grad``.
    rtol: allowed error relative to the gradient's norm. float32 inputs are checked in float64; then their float32
    gradients may differ from the float64 ones by 1e-4 of the largest entry. Everything is left as it was.

    Returns a `Report`; raises GradCheckError if a gradient is wrong, unless ``raise_on_failure=False``.
    Raises TypeError or ValueError for arguments that make no check; errors of the forward pass come through.
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
        raise ValueError("gradcheck: got no floating-point input or parameter to differentiate")
    return floating
