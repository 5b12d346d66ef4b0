"""Weights from files and other libraries, and to files: all of them or none.

``.safetensors`` is what most others read and write; ``.npz`` is NumPy's own and needs no other package.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...arguments import described, nearest
from ..module import IncompatibleKeys, Module
from . import files, names
from .files import Entry, WeightsError

__all__ = ["WeightsError", "load_weights", "save_weights"]
SHOWN = 8  # names in a message


def load_weights(
    model: Module, path_or_dict: str | os.PathLike | Mapping[str, Any], strict: bool = True
) -> IncompatibleKeys:
    """Load a ``.safetensors`` or ``.npz`` file, or a dict of tensors or arrays; returns the names that were left out.

    Tensors may be PyTorch's, on any device and of any real dtype; each weight is converted to the model's dtype.
    Names may have the prefixes ``module.`` and ``_orig_mod.``; ``linear`` and ``shortcut`` may stand for ``fc`` and
    ``downsample``, as in many CIFAR ResNets; num_batches_tracked may be missing, and then keeps its value.
    ``strict=False`` leaves out what is missing or unexpected.

    Everything is checked before anything is changed. Raises WeightsError (a ValueError) for weights that are not this
    model's, with all names that are missing, unexpected or of another shape; for a damaged file; for a pickle, with the
    two lines that convert it; for numbers that the model's dtype cannot hold. ImportError without safetensors.
    """
    if not isinstance(model, Module):
        raise TypeError(f"load_weights: got {described(model)} as the model; expected a module of minires")
    own = model.state_dict()
    with files.opened(path_or_dict) as (source, entries):
        chosen, unexpected = _matched(source, entries, own)
        optional = model.optional_names()
        missing = [name for name in own if name not in chosen and name not in optional]
        shapes = {
            name: (entries[there].shape, own[name].shape)
            for name, there in chosen.items()
            if entries[there].shape != own[name].shape
        }
        if shapes or (strict and (missing or unexpected)):
            raise _misfit(source, type(model).__name__, missing, unexpected, shapes, strict)
        arrays = {name: _converted(name, entries[there], own[name].dtype) for name, there in chosen.items()}
    model.load_state_dict(arrays, strict=False)
    return IncompatibleKeys(missing, unexpected)


def save_weights(model: Module, path: str | os.PathLike) -> None:
    """Write all parameters and buffers under their names, as ``.safetensors`` or ``.npz``, by the name of the file.

    The file is whole or not there. In PyTorch: ``model.load_state_dict(safetensors.torch.load_file(path))``. Raises
    ValueError for another ending, OSError if it cannot be written, ImportError without safetensors.
    """
    if not isinstance(model, Module):
        raise TypeError(f"save_weights: got {described(model)} as the model; expected a module of minires")
    files.write(path, model.state_dict())


def _matched(source: str, entries: dict[str, Entry], own: Mapping[str, np.ndarray]) -> tuple[dict[str, str], list[str]]:
    """{the model's name: that in the source}, in the model's order, and the names that no weight of the model has."""
    found: dict[str, str] = {}
    unexpected = []
    for there in entries:
        name = names.own_name(there, own)
        if name is None:
            unexpected.append(there)
        elif name in found:
            raise WeightsError(f"load_weights: {source} has {name} twice, as {found[name]} and as {there}")
        else:
            found[name] = there
    return {name: found[name] for name in own if name in found}, unexpected


def _converted(name: str, entry: Entry, dtype: np.dtype) -> np.ndarray:
    """The array in the model's dtype, if it can hold the numbers: rounding is legal, overflow is not."""
    array = entry.read()
    with np.errstate(all="ignore"):
        converted = array.astype(dtype, order="C")
    kept = np.isfinite(converted) | ~np.isfinite(array) if dtype.kind == "f" else converted == array
    if not np.all(kept):
        raise WeightsError(
            f"load_weights: {name} holds {array[~kept].flat[0]}, which {dtype} cannot hold; convert the model first, "
            "as with model.double()"
        )
    return converted


def _misfit(
    source: str,
    model: str,
    missing: list[str],
    unexpected: list[str],
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]],
    strict: bool,
) -> WeightsError:
    lines = [f"load_weights: {source} does not fit this {model}; nothing has changed."]
    if strict:
        lines += _listed("missing", [name + nearest(name, unexpected) for name in missing[:SHOWN]], missing)
        lines += _listed("unexpected", [name + nearest(name, missing) for name in unexpected[:SHOWN]], unexpected)
    differing = [f"{name} is {there} there and {here} here" for name, (there, here) in list(shapes.items())[:SHOWN]]
    lines += _listed("of another shape", differing, shapes)
    advice = "Build the model it was saved from: its depth, widths, shortcut, stem, num_classes"
    lines.append(f"{advice}{'; strict=False loads the rest' if strict and not shapes else ''}.")
    error = WeightsError("\n".join(lines))
    error.missing, error.unexpected, error.shapes = missing, unexpected, shapes
    return error


def _listed(what: str, shown: list[str], names: Any) -> list[str]:
    more = [f"… and {len(names) - SHOWN} more"] if len(names) > SHOWN else []
    return [f"  {what} ({len(names)}): {', '.join([*shown, *more])}"] if names else []
