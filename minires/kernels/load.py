"""From a `.cu` file to a kernel that can be launched: the text, the instances of its templates, and the loader."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from importlib import resources
from typing import Any

TYPES = ("float", "double")
OPTIONS = ("--std=c++17",)


def read(file: str) -> str:
    """The text of a file, named by its path in this folder (``conv/conv.cu``), with its headers pasted in.

    CuPy caches compiled kernels by their text alone, and would not notice a change in an included file.
    ``#line`` directives keep file and line right in the compiler's messages.
    """
    seen: set[str] = set()

    def expand(name: str) -> str:
        lines = [f'#line 1 "{name}"']
        text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
        for number, line in enumerate(text.splitlines(), 1):
            included = re.fullmatch(r'#include "([\w/]+\.cuh)"', line)
            if line == "#pragma once":  # nothing is pasted twice anyway
                lines.append("")
            elif included is None:
                lines.append(line)
            elif included[1] not in seen:
                seen.add(included[1])
                lines += [expand(included[1]), f'#line {number + 1} "{name}"']
            else:
                lines.append("")
        return "\n".join(lines)

    return expand(file) + "\n"


def instance(kernel: str, *arguments: Any) -> str:
    """The name of a template instance: ``instance("relu", "float")`` is ``relu<float>``."""
    words = (str(a).lower() if isinstance(a, bool) else str(a) for a in arguments)
    return f"{kernel}<{', '.join(words)}>"


class Source:
    """A `.cu` file and the instances of its kernels that exist; each is compiled, and tested, under its name.

    file: its path in this folder. instances: (kernel, *template arguments) of each.
    """

    def __init__(self, file: str, instances: Iterable[tuple]):
        self.file, self.instances = file, [instance(*words) for words in instances]


class Loader:
    """Compiles kernels when they are first asked for: ``loader(POOL, "avg_pool2d<float>")(grid, block, args)``.

    raw_module: `cupy.RawModule`, or the CPU runner's class of that name. read: gives the text of a file;
    tests pass one that gives another text.
    """

    def __init__(self, raw_module: Callable[..., Any], read: Callable[[str], str] = read):
        self.raw_module, self.read = raw_module, read
        self.kernels: dict[tuple[str, str], Any] = {}

    def __call__(self, source: Source, name: str) -> Any:
        """The kernel. Raises KeyError, before anything is compiled, for one that its `Source` does not list."""
        try:
            return self.kernels[source.file, name]
        except KeyError:
            if name not in source.instances:
                raise KeyError(f"{source.file} has no instance {name}; list it in the Source beside it") from None
        module = self.raw_module(code=self.read(source.file), options=OPTIONS, name_expressions=(name,))
        kernel = self.kernels[source.file, name] = module.get_function(name)
        return kernel
