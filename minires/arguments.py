"""What functions check about their arguments. Every error names the function, what it got and what it expected.

``x`` may be of Python, of NumPy, or a tensor of shape () where a number is meant.
"""

import difflib
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np


def described(x: Any) -> str:
    """What a wrong argument is, for an error: "a list"; "a torch.Tensor (convert it: x.numpy())"."""
    library = type(x).__module__.partition(".")[0]
    known = library in ("builtins", "minires", "numpy", "__main__")
    name = type(x).__name__ if known else f"{library}.{type(x).__name__}"
    article = "an" if name.startswith(("a", "e", "i", "o", "nd", "O")) else "a"
    return f"{article} {name}" + " (convert it: x.numpy())" * (not known and hasattr(x, "numpy"))


def is_tensor(x: Any) -> bool:
    """Whether it is a tensor of ours; PyTorch's, which is of no use here, has no array. Reads none: see `fusion`."""
    return hasattr(type(x), "requires_grad") and hasattr(type(x), "array")


def check_tensor(function: str, x: Any) -> None:
    """Raise TypeError for anything but a tensor."""
    if not is_tensor(x):
        raise TypeError(f"{function}: got {described(x)}; expected a Tensor, made with tensor(x)")


def check_no_foreign(function: str, *operands: Any) -> None:
    """Raise TypeError for a tensor of another library, which Python's own error would call "Tensor" as well."""
    for x in operands:
        if hasattr(type(x), "requires_grad") and not is_tensor(x):
            raise TypeError(f"{function}: got {described(x)}; expected a tensor of minires or a number")


def check_operand(function: str, x: Any) -> None:
    """Raise TypeError for anything that cannot stand beside a tensor: tensors, arrays and numbers can."""
    check_no_foreign(function, x)
    if not hasattr(x, "dtype") and not isinstance(x, int | float):
        raise TypeError(f"{function}: got {described(x)}; expected a tensor or a number, such as tensor(x)")


def number(function: str, name: str, x: Any) -> Any:
    """A Python number, which may be in an array or a tensor of one value. Raises TypeError for anything else."""
    if type(x) in (int, float):
        return x
    value = x.item() if hasattr(x, "dtype") and np.size(array_of(x)) == 1 else x
    if not isinstance(value, int | float):
        raise TypeError(f"{function}: got {name}={x!r:.60}; expected a number")
    return value


def whole(function: str, x: Any) -> int:
    """A whole number, which may be in a tensor of shape (). Raises TypeError for anything else."""
    if type(x) is int:
        return x
    array = array_of(x)
    if isinstance(x, bool) or np.ndim(array) or not np.issubdtype(getattr(array, "dtype", type(array)), np.integer):
        raise TypeError(f"{function}: got {x!r:.60}, expected a whole number")
    return int(array)


def at_least(function: str, name: str, x: Any, least: int) -> int:
    """A whole number that is not too small. Raises TypeError or ValueError for anything else."""
    try:
        found = operator.index(x)
    except TypeError:
        raise TypeError(f"{function}: {name} must be a whole number, got {x!r}; use int(…)") from None
    if found < least:
        raise ValueError(f"{function}: {name} must be at least {least}, got {found}")
    return found


def flag(function: str, name: str, x: Any) -> bool:
    """A truth value. Raises TypeError for anything but True and False, or a number, as Python takes one for another."""
    if type(x) is bool:
        return x
    if not isinstance(x, np.bool_ | int | float | None):
        raise TypeError(f"{function}: got {name}={x!r:.60}; expected True or False")
    return bool(x)


def sizes(function: str, given: Any) -> tuple[int, ...]:
    """``f(2, 3)`` and ``f((2, 3))`` mean the same. Raises TypeError for anything but whole numbers."""
    given = given if isinstance(given, tuple | list) else (given,)
    given = tuple(given[0]) if len(given) == 1 and isinstance(given[0], tuple | list) else tuple(given)
    for n in given:
        if type(n) is not int:
            return tuple([whole(function, m) for m in given])
    return given


def new_sizes(function: str, given: Any) -> tuple[int, ...]:
    """The same for something new. Raises ValueError for a negative size."""
    found = sizes(function, given)
    if min(found, default=0) < 0:
        raise ValueError(f"{function}: got size {found}; expected whole numbers of at least 0")
    return found


def nearest(name: str, others: Iterable[str]) -> str:
    """Of the other names the one most like this one, in words; empty if none is."""
    found = difflib.get_close_matches(name, others, n=1)
    return f" (nearest: {found[0]})" if found else ""


def one_of(given: Any, choices: Iterable[str]) -> str:
    """What is expected where one of a few names is, in words, and which is most like what was given."""
    return f"expected one of {', '.join(choices)}{nearest(str(given), choices)}"


def array_of(x: Any) -> Any:
    """The array of a tensor; anything else as it is."""
    return x.array if is_tensor(x) else x
