"""Writes `minires/CONVENTIONS.md`: what comes out where mathematics leaves a choice, in minires and in PyTorch.

    python tests/crosscheck/conventions.py

Every call in `convention_cases` is run in both libraries, and every cell of the page is what came out.
"""

import math
import re
import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

TESTS = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))

from crosscheck.convention_cases import TOPICS, Case  # noqa: E402
from crosscheck.outcomes import REFUSED, outcome_of  # noqa: E402

PAGE = TESTS.parent / "minires" / "CONVENTIONS.md"
PYTORCH = "2.13.0"  # whose results are on the page
HEAD = f"""# Conventions

What comes out where mathematics leaves a choice. Every call was run in minires and in PyTorch {PYTORCH}; the last
column says why the two differ, if they do. Numbers are float32 where no dtype is given. ∇x is the gradient of the sum
of the results with respect to x. *refuses* means an error that names the function; *fails* means any other error.

A test runs the calls again and compares. `python tests/crosscheck/conventions.py` writes this page.
"""
TABLE = "| call | where | minires | PyTorch | |\n|---|---|---|---|---|"


class Row(NamedTuple):
    """A call, its inputs, what came out of it in each library (PyTorch's may be unknown), and why they differ."""

    call: str
    where: str
    ours: str
    theirs: str | None
    why: str

    @property
    def alike(self) -> bool:
        """Whether the same came out; an error is one, whatever its type."""
        ours, theirs = (re.sub(r"(\*refuses\*) \(\w+\)", r"\1", text or "") for text in (self.ours, self.theirs))
        return ours == theirs

    def __str__(self) -> str:
        why = "same" if self.alike else self.why or "**not deliberate**"
        return f"| `{self.call}` | {self.where} | {self.ours} | {self.theirs} | {why} |"


def rows(libraries: list[Any]) -> dict[str, list[Row]]:
    """The rows of each topic; the libraries are ours and, if it is there, PyTorch."""
    found: dict[str, list[Row]] = {}
    for title, _, cases in TOPICS:
        for case in cases:
            cells = [cell(case, library) for library in libraries]
            row = Row(case.call, where(case), cells[0], cells[1] if len(cells) > 1 else None, case.why)
            found.setdefault(title, []).append(row)
    return found


def page(found: dict[str, list[Row]]) -> str:
    """The whole page as Markdown."""
    parts = [HEAD]
    for title, introduction, _ in TOPICS:
        parts.append(f"## {title}\n\n{introduction}\n\n" + "\n".join([TABLE, *map(str, found[title])]) + "\n")
    return "\n".join(parts)


# ── one call ──


def cell(case: Case, library: Any) -> str:
    """What comes out of a call in one library: the result and the gradients, or an error, for each dtype."""
    found = [came_out(case, library, dtype) for dtype in case.dtypes]
    return found[0] if len(set(found)) == 1 else "<br>".join(found)


def came_out(case: Case, library: Any, dtype: str) -> str:
    names = {name: getattr(library, name) for name in ("tensor", "cat", "stack", "where", "maximum", "minimum")}
    names |= {name: getattr(library, name) for name in ("arange", "zeros", "ones", "full", "zeros_like", "ones_like")}
    names |= {"F": library.nn.functional, "nn": library.nn, "inf": math.inf, "nan": math.nan}
    inputs = {name: library.tensor(np.asarray(value, dtype)) for name, value in case.inputs.items()}
    differentiable = [name for name in inputs if dtype.startswith("float")]
    for name in differentiable:
        inputs[name].requires_grad_()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            result = eval(case.call, names | inputs)
            text = shown(result)
            value = result[0] if isinstance(result, tuple) else result
            if getattr(value, "requires_grad", False):
                value.backward(library.ones_like(value))
                text += "".join(f", ∇{name} = {shown(inputs[name].grad)}" for name in differentiable)
        except Exception as error:
            told = library.__name__ == "torch" or outcome_of(error) == REFUSED
            return f"{'*refuses*' if told else '*fails*'} ({type(error).__name__})"
    return text


def shown(result: Any) -> str:
    """Values, with the dtype unless it is float32; the shape of an empty tensor."""
    if result is None:
        return "none"
    if isinstance(result, tuple):
        return " and ".join(map(shown, result))
    array = np.asarray(result.detach() if hasattr(result, "detach") else result)
    if array.size == 0:
        text = f"shape {array.shape}"
    else:
        text = np.array2string(array, formatter={"float_kind": lambda v: f"{v + 0:.4g}", "bool": str}, separator=", ")
        text = " ".join(text.split())
    return text if array.dtype == np.float32 or not hasattr(result, "shape") else f"{array.dtype} {text}"


def where(case: Case) -> str:
    """The inputs in words."""
    texts = [
        f"{name} of shape {value.shape}" if isinstance(value, np.ndarray) else f"{name} = {value}"
        for name, value in case.inputs.items()
    ]
    return ", ".join(texts) + ("" if case.dtypes == ("float32",) else f" as {', '.join(case.dtypes)}")


def complaints(found: dict[str, list[Row]]) -> list[str]:
    """Differences that nobody explains, and explanations of what is the same."""
    every = [row for topic in found.values() for row in topic]
    return [f"no reason: {row}" for row in every if not row.alike and not row.why] + [
        f"a reason too many: {row.call}, {row.where}: {row.why}" for row in every if row.alike and row.why
    ]


def main() -> None:
    """Write the page, and print what is to be explained."""
    import torch

    import minires

    found = rows([minires, torch])
    PAGE.write_text(page(found), encoding="utf-8")
    print(*complaints(found), sep="\n")


if __name__ == "__main__":
    main()
