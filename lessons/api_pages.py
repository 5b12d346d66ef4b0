"""The pages of the site that are made from the docstrings: one for each public module."""

import inspect
import re
from importlib import import_module
from pathlib import Path

MODULES = """
minires minires.nn minires.nn.functional minires.nn.init minires.optim minires.models minires.data minires.train
minires.flow minires.flow.plots minires.testing minires.kernels.textbook minires.lesson
""".split()

INDEX = """\
The library
===========

What the docstrings say, module by module. Names and defaults follow PyTorch wherever it has the thing.

.. toctree::
   :maxdepth: 1

"""


def write_api_pages(folder: Path) -> None:
    """Write a page for every public module, and an index."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.rst"):
        old.unlink()
    for name in MODULES:
        module = import_module(name)
        text = f"{name}\n{'=' * len(name)}\n\n.. automodule:: {name}\n   :no-members:\n\n"
        for n in getattr(module, "__all__", vars(module)):
            thing = getattr(module, n)
            home = getattr(thing, "__module__", None) or ""  # NumPy's dtypes have pages of their own
            own = home.split(".")[0] == "minires" if hasattr(module, "__all__") else home == name
            if n.startswith("_") or not own or not inspect.getdoc(thing):
                continue
            if inspect.isclass(thing):
                text += f".. autoclass:: {name}.{n}\n   :members:\n\n"
            elif inspect.isfunction(thing):
                text += f".. autofunction:: {name}.{n}\n\n"
        (folder / f"{name}.rst").write_text(text, encoding="utf-8")
    (folder / "index.rst").write_text(INDEX + "".join(f"   {name}\n" for name in MODULES), encoding="utf-8")


def readable(app, what, name, obj, options, lines: list[str]) -> None:
    """Turn a docstring, which is plain text with `names` and indented code, into reStructuredText, in place."""
    out: list[str] = []
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines).strip("\n")):
        rows = paragraph.split("\n")
        if rows[0].startswith(">>>"):
            out += [*rows, ""]
        elif all(row.startswith("    ") for row in rows):
            out += ["::", "", *rows, ""]
        elif any(row.startswith(" ") or re.match(r"([-*•]|\d+\.) ", row) for row in rows):
            out += [*("| " + _escaped(row.strip()) for row in rows), ""]
        else:
            out += [*_escaped(paragraph).split("\n"), ""]
    lines[:] = out


def _escaped(text: str) -> str:
    parts = re.split(r"(``.+?``|`[^`]+`)", text, flags=re.DOTALL)
    parts[::2] = [re.sub(r"([\\*|`]|_(?!\w))", r"\\\1", part) for part in parts[::2]]
    for i in range(1, len(parts), 2):  # markup ends at a word's end, or not at all
        if parts[i + 1][:1].isalnum() or parts[i + 1][:1] in ("–", "'", "′"):
            parts[i + 1] = "\\ " + parts[i + 1]
    return "".join(parts)
