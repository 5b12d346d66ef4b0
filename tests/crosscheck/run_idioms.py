"""Runs an `Idiom` in a library, and says what came out."""

import re
import warnings
from typing import Any

import numpy as np
from crosscheck.idioms import Idiom, setting
from crosscheck.outcomes import REFUSED, outcome_of

RUNS, REFUSES, FAILS, DIFFERS = "runs", "refused", "fails", "differs"


def came_out(idiom: Idiom, library: Any) -> Any:
    """What the lines leave in ``out`` as plain arrays, with gradients if there are any. Raises what they raise."""
    library.manual_seed(0)
    names = setting(library)
    lines = re.sub(r"\b(import|from) torch\b", rf"\1 {library.__name__}", idiom.code)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as PyTorch's about its old names
        exec(compile(lines, idiom.title, "exec"), names)
        out = names["out"]
        if getattr(out, "requires_grad", False):
            (out * names["numbers"](*out.shape) if out.shape else out).sum().backward()
    modules = [value for value in names.values() if isinstance(value, library.nn.Module)]
    return plain(out), [[plain(p.grad) for p in module.parameters()] for module in modules]


def plain(value: Any) -> Any:
    """Tensors as arrays, containers as lists."""
    if isinstance(value, dict):
        return [(key, plain(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def difference(ours: Any, theirs: Any) -> str | None:
    """The first difference between two results of `came_out`."""
    if isinstance(theirs, list | tuple):
        if not isinstance(ours, list | tuple) or len(ours) != len(theirs):
            return f"{ours!r:.60}, expected {theirs!r:.60}"
        return next(filter(None, map(difference, ours, theirs)), None)
    if theirs is None or isinstance(theirs, str):
        return None if ours == theirs else f"{ours!r}, expected {theirs!r}"
    a, b = np.asarray(ours), np.asarray(theirs)
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        return f"{a.dtype} {a.shape}, expected {b.dtype} {b.shape}"
    size = np.abs(b[np.isfinite(b)]).max(initial=1.0) if b.dtype.kind == "f" else 1.0
    return None if np.allclose(a, b, rtol=1e-4, atol=1e-5 * size, equal_nan=True) else f"{a!r:.80}, expected {b!r:.80}"


def verdict(idiom: Idiom, ours: Any, theirs: Any) -> tuple[str, str]:
    """How the lines fare: what they do, and the words of an error or the difference."""
    expected = came_out(idiom, theirs) if theirs is not None else None
    try:
        found = came_out(idiom, ours)
    except Exception as error:
        words = f"{type(error).__name__}: {error}".partition("\n")[0]
        return (REFUSES if outcome_of(error) == REFUSED else FAILS), words
    wrong = difference(found, expected) if expected is not None else None
    return (DIFFERS, wrong) if wrong else (RUNS, "")
