"""The pages of the gallery that are made from the docstrings: one for each public module."""

import inspect
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import minires

INDEX = """\
The library
===========

What the docstrings say, module by module. Names and defaults follow PyTorch wherever it has the thing.

.. toctree::
   :maxdepth: 1

"""


def write_api_pages(folder: Path) -> None:
    """Write a page for every module of the package that has public names of its own, and an index."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.rst"):
        old.unlink()
    entries = []
    for name in _modules():
        module = import_module(name)
        front = hasattr(module, "__path__")  # a package: its front door lists what is public
        names = [n for n in getattr(module, "__all__", dir(module)) if _documented(module, n, front)]
        if not names:
            continue
        # What a package re-exports is documented there, and once: not again in the module that defines it.
        if not front and name.rpartition(".")[0] != "minires" and any(
            getattr(import_module(name.rpartition(".")[0]), n, None) is getattr(module, n) for n in names
        ):
            continue
        entries.append(name)
        title = f"{name}\n{'=' * len(name)}\n\n"
        text = f".. currentmodule:: {name}\n\n.. automodule:: {name}\n   :no-members:\n\n"
        for n in names:
            kind = "class" if inspect.isclass(getattr(module, n)) else "function"
            members = "\n   :members:" if kind == "class" else ""
            text += f".. auto{kind}:: {name}.{n}{members}\n\n"
        (folder / f"{name}.rst").write_text(title + text, encoding="utf-8")
    lines = [f"   {name}" for name in entries]
    (folder / "index.rst").write_text(INDEX + "\n".join(lines) + "\n", encoding="utf-8")


def readable(app, what, name, obj, options, lines: list[str]) -> None:
    """Escape what reStructuredText would take for markup; docstrings here are plain text with `names` and code."""
    code = False
    for i, line in enumerate(lines):
        indented = line.startswith(("    ", ">>>"))
        if indented and not code and i and not lines[i - 1].strip():
            code = True
            if not line.startswith(">>>"):
                lines[i] = "::\n\n" + line
        elif line.strip() and not indented:
            code = False
        if not code:
            parts = re.split(r"(``.+?``|`[^`]+`)", line)
            parts[::2] = [re.sub(r"([\\*|]|_(?=[^\w]|$))", r"\\\1", part) for part in parts[::2]]
            lines[i] = "".join(parts)
    lines[:] = "\n".join(lines).split("\n")


def _modules() -> list[str]:
    found = [m.name for m in pkgutil.walk_packages(minires.__path__, "minires.")]
    return ["minires", *(n for n in found if not any(part.startswith("_") for part in n.split(".")))]


def _documented(module, name: str, front: bool) -> bool:
    thing = getattr(module, name)
    if name.startswith("_") or not (inspect.isclass(thing) or inspect.isfunction(thing)):
        return False
    return (front or thing.__module__ == module.__name__) and bool(inspect.getdoc(thing))
