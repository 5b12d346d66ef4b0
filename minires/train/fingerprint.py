"""What a run is: the network as it computes, the loss, the images and the recipe, in plain text that can be compared.

Names and shapes of the weights do not tell a plain network from its residual twin, or ReLU from Tanh. So a checkpoint
holds what each module is: its type, and its options, which are the public attributes that are numbers, text, functions,
classes, or tuples of them. The text is the same in every process and every version of Python: nothing in it is an
address. A function or class counts by its name, not by what is in it: two lambdas in the same place are alike.
"""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from .. import kernels
from ..data.dataset import Dataset
from ..nn import Module
from ..optim import LRScheduler, Optimizer
from ..ranks import Ranks
from ..state import current
from ..tensor import Tensor
from .archive import digest_of, to_json

Architecture = list[list[Any]]  # of every module, in order: [dotted name, type, {option: value}]
NOT_COMPUTING = ("training", "recompute_every")  # the mode, which `fit` sets; and where memory is saved
CHUNK = 1024  # images read at a time for their checksum


def architecture(model: Module) -> Architecture:
    """What every module of a network is, and which parameters are frozen or shared."""
    modules: dict[int, str] = {}
    parameters: dict[int, str] = {}
    described: Architecture = []
    for path, module in model.named_modules(remove_duplicate=False):
        if id(module) in modules:
            described.append([path, f"the same module as {modules[id(module)]}", {}])
            continue
        modules[id(module)] = path or "the network itself"
        options = {name: text(value) for name, value in _plain(module)}
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                options[f"{name} is frozen"] = "True"
            first = parameters.setdefault(id(parameter), f"{path}.{name}")
            if first != f"{path}.{name}":
                options[name] = f"the same parameter as {first}"
        described.append([path, text(type(module)), options])
    return described


def differences(saved: Architecture, here: Architecture) -> list[str]:
    """What differs between two networks, one phrase each: "layer1.0: minires.PlainBlock in the checkpoint, …"."""
    theirs, ours = ({path: (kind, options) for path, kind, options in one} for one in (saved, here))
    found = []
    for path in {**ours, **theirs}:
        where = f"{path}: " if path else ""
        if path not in ours or path not in theirs:
            there, own = (one[path][0] if path in one else "nothing" for one in (theirs, ours))
            found.append(f"{where}{there} in the checkpoint, {own} here")
            continue
        (their_kind, theirs_), (our_kind, ours_) = theirs[path], ours[path]
        if their_kind != our_kind:
            found.append(f"{where}{their_kind} in the checkpoint, {our_kind} here")
        for option in {**ours_, **theirs_} if their_kind == our_kind else ():
            there, own = theirs_.get(option, "None"), ours_.get(option, "None")
            if there != own:
                found.append(f"{where}{option}={there} in the checkpoint, {own} here")
    if not found and list(ours) != list(theirs):
        found.append(f"the order of the modules: {', '.join(theirs)} in the checkpoint, {', '.join(ours)} here")
    return found


def of_run(
    train_data: Dataset,
    test_data: Dataset | None,
    optimizer: Optimizer,
    schedule: LRScheduler | None,
    schedule_every: str,
    batch_size: int,
    drop_last: bool,
    seed: int,
    loss: Any,
    augment: Any,
) -> dict[str, Any]:
    """What must be the same when `fit` continues a run, apart from the network: by name, as it is read from a file."""
    driven = {"params", "initial_lr", *(schedule.drives if schedule is not None else ())}
    run = {
        "number of training examples": len(train_data),
        "checksum of the training examples": checksum(train_data),
        "number of test examples": None if test_data is None else len(test_data),
        "checksum of the test examples": None if test_data is None else checksum(test_data),
        "batch_size": operator.index(batch_size),
        "drop_last": bool(drop_last),
        "seed": operator.index(seed),
        "schedule_every": schedule_every if schedule is not None else None,
        "optimizer": type(optimizer).__name__,
        "settings of the optimizer": [
            {name: value for name, value in group.items() if name not in driven} for group in optimizer.param_groups
        ],
        "loss": function(loss),
        "augment": function(augment),
        "gradients scaled": None if (scaling := current().scaling) is None else scaling.described(),
    }
    return json.loads(to_json(run))


ONE_RANK = {"number of ranks": 1, "batch norm over ranks": None}


def of_ranks(ranks: Ranks) -> dict[str, Any]:
    """What must be the same of the processes that train together: weights differ in rounding for another number."""
    if ranks.size == 1:
        return ONE_RANK
    return {"number of ranks": ranks.size, "batch norm over ranks": ranks.batch_norm}


def checksum(dataset: Dataset) -> str:
    """SHA-256 of all images and labels, and of how they are scaled."""
    total = hashlib.sha256()
    stored = type(dataset) is Dataset  # else the checksum is of whatever dataset[…] returns
    if stored:
        total.update(text([dataset.mean, dataset.std]).encode())
    for start in range(0, len(dataset), CHUNK):
        part = slice(start, start + CHUNK)
        for array in (dataset.pixels[part], dataset.labels[part]) if stored else dataset[part]:
            total.update(_array(array).encode())
    return total.hexdigest()


def function(value: Any) -> str:
    """A loss or augmentation as text: a function's name, or an object's type and options; for a module, arrays too."""
    if isinstance(value, Module):
        arrays = {name: _array(array) for name, array in value.state_dict().items()}
        return text([*architecture(value), arrays])
    if isinstance(value, partial):
        return f"partial({function(value.func)}, {text(value.args)}, {text(value.keywords)})"
    if hasattr(value, "__qualname__") or not hasattr(value, "__dict__"):
        return text(value)
    return f"{text(type(value))}{text(dict(_plain(value)))}"


def text(value: Any) -> str:
    """A value as text that does not depend on the process. For an object of any other kind, the name of its type."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, tuple | list):
        return f"({', '.join(map(text, value))})"
    if isinstance(value, dict):
        return f"{{{', '.join(sorted(f'{text(k)}: {text(v)}' for k, v in value.items()))}}}"
    if isinstance(value, partial):
        return f"partial({text(value.func)}, {text(value.args)}, {text(value.keywords)})"
    if isinstance(value, Tensor | np.ndarray):
        return _array(value)
    if isinstance(value, np.dtype):
        return str(value)
    named = value if hasattr(value, "__qualname__") else type(value)
    library = (getattr(named, "__module__", None) or "").partition(".")[0] == "minires"
    return f"minires.{named.__qualname__}" if library else named.__qualname__


def _plain(value: Any) -> Iterator[tuple[str, Any]]:
    """The public attributes that say how an object computes; not lists, arrays and objects, which may hold its past."""
    for name, option in vars(value).items():
        if not name.startswith("_") and name not in NOT_COMPUTING and _is_plain(option):
            yield name, option


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_plain(part) or part is None for part in value)
    plain = bool | int | float | complex | str | bytes | np.generic | np.dtype | partial
    return isinstance(value, plain) or hasattr(value, "__qualname__")


def _array(value: Any) -> str:
    array = np.asarray(kernels.to_device(value.array if isinstance(value, Tensor) else value, "cpu"), order="C")
    return f"{array.dtype} {array.shape} {digest_of(array)}"
