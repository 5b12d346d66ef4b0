"""From a `.cu` file to a kernel that can be launched: the sources, which template instances exist, and the loader."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from importlib import resources
from typing import Any

TYPES = ("float", "double")
TILES = ((16, 128, 4, 4), (32, 128, 4, 8), (64, 64, 8, 4))  # BM, BP, TM, TP of product.cuh, 128 threads each
OPTIONS = ("--std=c++17",)


def source(file: str) -> str:
    """The text of ``conv.cu`` and its like, with the headers it includes pasted in.

    CuPy caches what it compiled by the text alone and would not see that an included file has changed.
    ``#line`` directives keep file and line right in the compiler's messages.
    """
    seen: set[str] = set()

    def expand(name: str) -> str:
        lines = [f'#line 1 "{name}"']
        text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
        for number, line in enumerate(text.splitlines(), 1):
            included = re.fullmatch(r'#include "(\w+\.cuh)"', line)
            if line == "#pragma once":  # what is pasted is pasted once
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


def _instances() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []

    def add(file: str, kernel: str, *arguments: Any) -> None:
        found.append((f"{file}.cu", instance(kernel, *arguments)))

    for kernel in ("conv2d_forward", "conv2d_input_gradient", "conv2d_weight_gradient"):
        for tile, k in itertools.product(TILES, (0, 1, 3)):
            add("conv", kernel, "float", *tile, k, False)
        for k in (0, 1, 3):
            add("conv", kernel, "float", *TILES[-1], k, True)
        add("conv", kernel, "double", *TILES[0], 0, False)
    for tile in TILES:
        add("matmul", "matmul", "float", *tile, False)
    add("matmul", "matmul", "float", *TILES[-1], True)
    add("matmul", "matmul", "double", *TILES[0], False)
    for t in TYPES:
        add("conv", "sum_parts", t)
        for kernel in ("relu", "relu_backward", "add"):
            add("elementwise", kernel, t)
        for kernel in ("statistics", "combine", "sums", "combine_sums"):
            add("batchnorm", f"batch_norm_{kernel}", t)
        for shortcut, relu in ((False, False), (False, True), (True, True)):
            add("batchnorm", "batch_norm_apply", t, shortcut, relu)
        for training in (False, True):
            add("batchnorm", "batch_norm_input_gradient", t, training)
        add("batchnorm", "running_update", t)
        for tap in ("unsigned char", "int"):
            add("pool", "max_pool2d", t, tap)
            add("pool", "max_pool2d_backward", t, tap)
        for kernel in ("avg_pool2d", "adaptive_avg_pool2d"):
            add("pool", kernel, t)
            add("pool", f"{kernel}_backward", t)
        for kernel in ("one_hot", "cross_entropy", "cross_entropy_backward"):
            add("loss", kernel, t)
        for kernel, how in itertools.product(("reduce_rows", "reduce_columns"), ("Sum", "Max", "Min")):
            add("reduce", kernel, t, how)
        add("reduce", "first_in_rows", t)
        for kernel in ("sgd", "adam"):
            add("optim", kernel, t)
        add("augment", "take_images", t, t)
        add("augment", "crop_flip", t)
    add("augment", "take_images", "unsigned char", "float")
    return found


def instance(kernel: str, *arguments: Any) -> str:
    """The name of a template instance: ``instance("relu", "float")`` is ``relu<float>``."""
    words = (str(a).lower() if isinstance(a, bool) else str(a) for a in arguments)
    return f"{kernel}<{', '.join(words)}>"


INSTANCES = _instances()
"""(file, name of the instance) of every kernel there is."""


class Loader:
    """Compiles kernels when they are first asked for: ``loader("pool.cu", "avg_pool2d<float>")(grid, block, args)``.

    raw_module: `cupy.RawModule`, or the CPU runner's class of that name. source: where the text of a file comes from;
    tests put another text in its place.
    """

    def __init__(self, raw_module: Callable[..., Any], source: Callable[[str], str] = source):
        self.raw_module, self.source = raw_module, source
        self.kernels: dict[tuple[str, str], Any] = {}

    def __call__(self, file: str, name: str) -> Any:
        """The kernel; KeyError, before anything is compiled, for one that `INSTANCES` does not list."""
        try:
            return self.kernels[file, name]
        except KeyError:
            if (file, name) not in INSTANCES:
                raise KeyError(f"{file} has no instance {name}; list it in load.INSTANCES") from None
        module = self.raw_module(code=self.source(file), options=OPTIONS, name_expressions=(name,))
        kernel = self.kernels[file, name] = module.get_function(name)
        return kernel
