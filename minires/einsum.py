"""`einsum`: sums of products of tensors, written with a letter for each axis. The arithmetic is in `ops.arithmetic`."""

from typing import Any

import numpy as np

from . import kernels
from .ops import arithmetic
from .tensor import Tensor, _plain, _promoted, apply


def einsum(equation: str, *operands: Any) -> Tensor:
    """Sums of products: ``einsum("ij,jk->ik", a, b)`` is a matrix product, ``"...ij,...jk->...ik"`` one of stacks.

    Letters that the result does not have are summed over; without "->", it has those that occur once, in the order of
    the alphabet. A letter twice in a term is the diagonal. Raises ValueError for what does not fit the shapes.
    """
    given = operands[0] if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands
    if (
        not isinstance(equation, str)
        or not given
        or not all(hasattr(x, "dtype") and hasattr(x, "ndim") for x in map(_plain, given))
    ):
        kinds = ", ".join(type(x).__name__ for x in given)
        raise TypeError(
            f'einsum: got {equation!r:.60} and ({kinds}); expected a string such as "ij,jk->ik", and tensors'
        )
    tensors = _promoted("einsum", *given)
    terms, result = parsed(equation, [t.shape for t in tensors])
    sizes = {c: 1 for term in terms for c in term}
    for term, t in zip(terms, tensors):
        sizes |= {c: n for c, n in zip(term, t.shape) if n != 1}
    fits = all(n in (1, sizes[c]) for term, t in zip(terms, tensors) for c, n in zip(term, t.shape))
    if not fits or len(set(result)) < len(result) or not set(result) <= set(sizes):
        raise _unfit(equation, tensors)
    pairs = [_distinct(t, term, sizes) for t, term in zip(tensors, terms)]
    tensors = tuple([t for t, _ in pairs])
    return apply(arithmetic.Einsum, *tensors, terms=[term for _, term in pairs], result=result)


def parsed(equation: str, shapes: list[tuple[int, ...]]) -> tuple[list[str], str]:
    """The letters of each operand and of the result, those of "..." included. Raises ValueError if they do not fit."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms, free = left.split(","), [chr(i) for i in range(0x3B1, 0x3CA)]  # Greek letters stand for the axes of "..."
    letters = left.replace("...", "").replace(",", "") + result.replace("...", "")
    if len(terms) != len(shapes) or not (letters.isascii() and (letters.isalpha() or not letters)):
        raise _unfit(equation, shapes)
    most = 0
    for i, (term, shape) in enumerate(zip(terms, shapes)):
        rest = len(shape) - len(term.replace("...", ""))
        if term.count("...") > 1 or rest < 0 or (rest and "..." not in term) or rest > len(free):
            raise _unfit(equation, shapes)
        most = max(most, rest)
        terms[i] = term.replace("...", "".join(free[:rest][::-1]))  # the last axes of all of them belong together
    dots = "".join(free[:most][::-1])
    if not arrow:
        every = "".join(terms)
        return terms, dots + "".join(sorted(c for c in letters if every.count(c) == 1))
    return terms, result.replace("...", dots)


def _distinct(t: Tensor, term: str, sizes: dict[str, int]) -> tuple[Tensor, str]:
    """The tensor with diagonals taken, and without the axes of size 1 that broadcast; and the letters it has left."""
    kept = "".join(dict.fromkeys(term))
    if len(kept) < len(term):  # x[i, j, i]: the positions along each axis, those of a letter on an axis of their own
        at = [np.arange(t.shape[term.index(c)]).reshape([-1 if d == c else 1 for d in kept]) for c in term]
        t = t[tuple([kernels.to_device(i, t.device) for i in at])]
    left = [(c, n) for c, n in zip(kept, t.shape) if not (n == 1 and sizes[c] != 1)]
    return (t if len(left) == len(kept) else t.reshape([n for _, n in left])), "".join(c for c, _ in left)


def _unfit(equation: str, operands: Any) -> ValueError:
    shapes = [getattr(x, "shape", x) for x in operands]
    return ValueError(
        f"einsum: got {equation!r} for shapes {shapes}; expected a letter for each axis, one size for each letter, and "
        "a result of letters that occur, each once, as in: ij,jk->ik"
    )
