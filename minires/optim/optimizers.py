"""What all optimisers share: from the gradients of the parameters to a step.

Names, defaults and update rules are PyTorch's. Parameters change in place: whoever else holds ``p.array`` sees it.
Every formula is elementwise: the result depends neither on the arrays' memory order nor on how they are cut into runs.
On a GPU, one launch of SGD's or Adam's kernel updates all parameters (see `on_device`); the other optimisers compute
their formula array by array there too.
"""

from __future__ import annotations

import difflib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

import numpy as np

from .. import kernels
from ..arguments import described
from ..nn import Module, Parameter
from ..nn.foreign import to_numpy
from ..state import switch
from ..tensor import Tensor
from ..threads import parallel
from ..writes import wrote
from . import on_device

Settings = dict[str, Any]

# Found by `python -m benchmarks tune`.
RUN = 131_072  # values per run: a formula's few arrays fit in the cache, and there are few calls

# PyTorch's arguments on how to carry out a step. Here there is one way for each device, with the same result; they are
# accepted and kept in the groups, whose keys are then PyTorch's. (Only differentiable steps are refused, by `check`.)
WAYS = {"foreach": None, "fused": None, "capturable": False, "differentiable": False}
# Settings that a saved state may lack, because older versions of PyTorch, or of minires, did not have them.
YOUNG = {*WAYS, "maximize", "amsgrad", "decoupled_weight_decay"}


class Optimizer:
    """Base of the optimisers: parameter groups, checks, `zero_grad` and the state; subclasses define `update`.

    params: parameters, or a list of dicts ``{"params": [...], "lr": 0.01}`` that override the defaults for their group.
    defaults: the settings by name. A group may also have keys of its own, which are kept and saved.
    param_groups: one dict per group, ``{"params": [...], "lr": …, …}``, which a schedule (or you) may change.
    state: for each parameter that has been updated, a dict of arrays of its shape, and numbers.

    Raises TypeError or ValueError for an empty list, something that cannot be learned, a parameter given twice, or a
    setting out of range.
    """

    kernel: str | None = None  # the kernel in kernels/update/update.cu that does what `update` does, if any
    keeps: ClassVar[dict[str, type]] = {}  # what a parameter's state holds: arrays (np.ndarray) and numbers, by name
    may_keep: ClassVar[dict[str, type]] = {"step": int}  # and what it holds with some settings only

    def __init__(self, params: Iterable[Any], defaults: Settings):
        self.defaults = defaults
        self.launches: on_device.Launches = {}
        self.param_groups: list[Settings] = []
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.check(defaults)
        groups = self._listed(params)
        if not groups:
            raise self._nothing_to_learn()
        if isinstance(groups[0], dict):
            for group in groups:
                self.add_param_group(group)
        else:
            self.add_param_group({"params": groups})

    @property
    def name(self) -> str:
        return type(self).__name__

    def ways(self, given: Settings, *names: str) -> Settings:
        """PyTorch's arguments of these names that say how to carry out a step, ``given`` or by default; see `WAYS`."""
        for name in given:
            if name not in names:
                raise TypeError(f"{self.name}: got an unexpected keyword argument {name!r}")
        return {**{name: WAYS[name] for name in names}, **given}

    def update(self, p: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: Settings) -> None:
        """Change the array ``p`` in place; defined by each optimiser."""
        raise TypeError(f"{self.name}: an optimiser must define update(self, p, grad, state, group)")

    def check(self, settings: Settings) -> None:
        """Raise ValueError or TypeError for settings out of range; each optimiser adds its own."""
        for name in ("lr", "weight_decay"):
            if name in settings:
                self.number(settings, name, 0, math.inf)
        if settings.get("differentiable"):
            raise NotImplementedError(
                f"{self.name}: got differentiable=True; minires has first-order gradients only and cannot "
                "differentiate a step: leave it out"
            )

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient; return what ``closure`` returns, which, if given, is called first.

        closure: computes the gradients again (``zero_grad``, the loss, ``backward``), and returns the loss.
        """
        loss = None
        if closure is not None:
            with switch(grad_enabled=True):
                loss = closure()
        moved, elsewhere = [], False
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                w, grad = p.array, p.grad.array
                moved.append(w)
                if type(w) is np.ndarray or self.kernel is None or kernels.device_of(w).is_cpu:
                    self.update(w, grad, self.state[p], group)
                else:
                    elsewhere = True
        if elsewhere and self.kernel:
            on_device.step(self.kernel, self.rows(), self.launches)
        wrote(*moved)
        return loss

    def rows(self, advance: bool = True) -> Iterator[tuple[int, on_device.Row]]:
        """(number of its group, row) of every parameter that has a gradient and is not on the CPU; see `row`."""
        for i, group in enumerate(self.param_groups):
            for p in group["params"]:
                if p.grad is not None and not kernels.device_of(p.array).is_cpu:
                    yield i, self.row(p, self.state[p], group, advance)

    def row(self, p: Tensor, state: dict[str, Any], group: Settings, advance: bool) -> on_device.Row:
        """What the kernel needs to know about one parameter; with ``advance``, the step is counted first."""
        raise TypeError(f"{self.name}: an optimiser with a kernel must define row(self, p, state, group, advance)")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients: ``p.grad = None``; without ``set_to_none``, fill existing ones with zeros, in place."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad.zero_()

    def add_param_group(self, param_group: Settings) -> None:
        """Add a group, ``{"params": [...]}`` with settings of its own; the optimiser's apply where it has none.

        Keys that are not settings are yours to use. Raises ValueError for one that looks like a misspelt setting.
        """
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise ValueError(f'{self.name}: got the group {param_group!r}; expected a dict with "params"')
        given = param_group["params"]
        params = [given] if isinstance(given, Tensor) else self._listed(given)
        for key in param_group.keys() - {"params", *self.defaults}:
            meant = difflib.get_close_matches(str(key), self.defaults, 1, cutoff=0.85)
            if meant:
                raise ValueError(
                    f"{self.name}: got {key!r} in a group; is {meant[0]!r} meant? A key of your own needs another name"
                )
        if not params and not isinstance(given, list | tuple):
            raise self._nothing_to_learn()
        group = {**self.defaults, **param_group, "params": params}
        self.check(group)
        seen = {id(p): f"group {i}" for i, known in enumerate(self.param_groups) for p in known["params"]}
        for p in params:
            self._check_parameter(p)
            if id(p) in seen:
                raise ValueError(
                    f"{self.name}: got the parameter of shape {p.shape} twice (it is already in {seen[id(p)]}), and "
                    "would step it twice; list each parameter once"
                )
            seen[id(p)] = "this list"
        self.param_groups.append(group)

    # ── state ──
    def state_dict(self) -> dict[str, Any]:
        """Copies of the state, with parameters numbered in order: ``{"state": {0: {…}}, "param_groups": [{…}]}``."""
        numbers = {p: i for i, p in enumerate(self._all())}
        return {
            "state": {
                i: {name: _copied(value) for name, value in self.state[p].items()}
                for p, i in numbers.items()
                if self.state.get(p)
            },
            "param_groups": [{**group, "params": [numbers[p] for p in group["params"]]} for group in self.param_groups],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken, with its settings and state; if anything does not fit, change nothing.

        The state of PyTorch's optimiser of this name is accepted too. Raises ValueError if the optimiser, the number of
        parameters or a shape differs, and ValueError or TypeError for something that is not a state at all.
        """
        groups, entries = self._read_state(state_dict)
        params, kinds = self._all(), {**self.keeps, **self.may_keep}
        state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        of_tensors = type(self).update is Optimizer.update  # written in PyTorch's way, with a step of its own
        for i, entry in entries.items():
            for n, v in entry.items():
                number = kinds.get(n, np.ndarray) is not np.ndarray
                held = kinds[n](v) if number else _like(params[i].array, v)
                state[params[i]][n] = Tensor(held) if of_tensors and hasattr(held, "shape") else held
        for group, saved in zip(self.param_groups, groups):
            group.update(saved)
        self.state = state

    def check_state(self, state_dict: dict[str, Any]) -> None:
        """Raise what `load_state_dict` would raise; nothing is changed."""
        self._read_state(state_dict)

    def _read_state(self, state_dict: dict[str, Any]) -> tuple[list[Settings], dict[int, dict[str, Any]]]:
        """Groups and states as this optimiser holds them, once all of them have been checked."""
        who, params = f"{self.name}.load_state_dict", self._all()
        if not _is_state(state_dict):
            raise ValueError(f"{who}: got no state; expected what state_dict() returned")
        groups = [dict(saved) for saved in state_dict["param_groups"]]
        counts = [[len(g.get("params", ())) for g in gs] for gs in (groups, self.param_groups)]
        if counts[0] != counts[1]:
            raise ValueError(
                f"{who}: got groups of {counts[0]} parameters, this optimiser has {counts[1]}; "
                "build it from the same model, with the same groups"
            )
        for saved in groups:
            del saved["params"]
            if not self.defaults.keys() - YOUNG <= saved.keys():
                raise ValueError(
                    f"{who}: got the settings {', '.join(saved)}; expected {', '.join(self.defaults)}. Was the state "
                    "saved by another optimiser?"
                )
            saved.update({name: tuple(v) for name, v in saved.items() if isinstance(v, list)})
            if "initial_lr" in saved:
                self.number(saved, "initial_lr", 0, math.inf)
        groups = [{**here, **saved} for here, saved in zip(self.param_groups, groups)]
        for group in groups:
            self.check(group)
        entries = {
            int(i): {name: value for name, value in entry.items() if value is not None}
            for i, entry in state_dict["state"].items()
        }
        for i, entry in entries.items():
            if not 0 <= i < len(params):
                raise ValueError(f"{who}: got a state for parameter {i}; there are {len(params)}, counted from 0")
            self._check_entry(f"parameter {i}", params[i].shape, entry)
        return groups, entries

    def _check_entry(self, which: str, shape: tuple[int, ...], entry: dict[str, Any]) -> None:
        who, kinds = f"{self.name}.load_state_dict", {**self.keeps, **self.may_keep}
        missing = self.keeps.keys() - entry.keys() if entry else ()
        if missing:
            raise ValueError(f"{who}: got {', '.join(entry)} for {which}, without {', '.join(sorted(missing))}")
        for name, value in entry.items():
            if name not in kinds and self.keeps:
                raise ValueError(f"{who}: got {name} for {which}; expected {', '.join(kinds)}")
            kind, got = kinds.get(name), np.shape(value)
            if got not in (((), shape) if kind is None else (shape,) if kind is np.ndarray else ((),)):
                raise ValueError(
                    f"{who}: got {name} of shape {got} for {which}, here {shape}; build the optimiser from the same "
                    "model"
                )
            is_array = hasattr(value, "shape")
            if (kind is np.ndarray and not is_array) or (kind in (int, float) and not _is_count(value)):
                expected = "an array" if kind is np.ndarray else "a number of at least 0"
                raise ValueError(f"{who}: got {name}={value!r} for {which}; expected {expected}")

    def __repr__(self) -> str:
        lines = []
        for i, group in enumerate(self.param_groups):
            names = sorted(group.keys() - {"params"})
            lines += [f"Parameter Group {i}", *(f"    {name}: {group[name]}" for name in names)]
        return "\n".join([f"{self.name} (", *lines, ")"])

    # ── checks ──
    def _all(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def _listed(self, params: Any) -> list[Any]:
        if isinstance(params, Module | Tensor | dict) or not isinstance(params, Iterable):
            fix = "model.parameters()" if isinstance(params, Module) else "a list: [p]"
            raise TypeError(f"{self.name}: got {described(params)}; expected a list of parameters: pass {fix}")
        if isinstance(params, set | frozenset):
            raise TypeError(
                f"{self.name}: got {described(params)} of parameters, whose order changes from run to run, while "
                "the state is saved by position; pass a list"
            )
        return list(params)

    def _nothing_to_learn(self) -> ValueError:
        return ValueError(
            f"{self.name}: got no parameters to learn; pass model.parameters(), "
            "anew each time, as a generator is empty once it has been read"
        )

    def _check_parameter(self, p: Any) -> None:
        if not isinstance(p, Tensor):
            names = "; leave out the names: model.parameters()" if isinstance(p, tuple) else ""
            raise TypeError(f"{self.name}: got {described(p)} among the parameters; expected nn.Parameter{names}")
        if not p.is_leaf:
            raise ValueError(
                f"{self.name}: got the result of an operation ({p.op!r}) as a parameter; only a leaf can be learned: "
                "an nn.Parameter, or tensor.detach().requires_grad_()"
            )
        if not isinstance(p, Parameter) and not p.requires_grad:
            raise TypeError(f"{self.name}: got a tensor without gradient as a parameter; wrap it: nn.Parameter(tensor)")

    def number(self, settings: Settings, name: str, low: float, high: float) -> None:
        """Make the setting a plain number, low <= value < high: a NumPy scalar would widen float32 arithmetic."""
        value = settings[name]
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            way = ": pass its item()" if hasattr(value, "item") else ""  # a tensor, ours or PyTorch's, or an array
            raise TypeError(f"{self.name}: got {name}={value!r}; expected a number{way}")
        if not low <= value < high:
            expected = f"a finite number of at least {low}" if high == math.inf else f"{low} <= {name} < {high}"
            raise ValueError(f"{self.name}: got {name}={value}; expected {expected}")
        settings[name] = value.item() if isinstance(value, np.generic) else value


def in_runs(formula: Callable[..., None], *arrays: np.ndarray) -> None:
    """Apply the formula to runs of the arrays, shared among the threads.

    Small arrays, those that are not contiguous, and those on a GPU are not cut into runs.
    """
    on_device.check_alike(*arrays)
    size = arrays[0].size
    if size <= RUN or not (kernels.device_of(arrays[0]).is_cpu and all(array.flags.c_contiguous for array in arrays)):
        formula(*arrays)
        return
    flat = [array.reshape(-1) for array in arrays]

    def work(starts):
        for start in starts:
            formula(*(array[start : start + RUN] for array in flat))

    parallel(work, range(0, size, RUN))


def decayed(w: Any, g: Any, group: Settings) -> Any:
    """The gradient to descend: −g with maximize; weight decay adds λ·w or, if decoupled, shrinks w by η·λ·w instead."""
    if group["maximize"]:
        g = -g
    if group["weight_decay"]:
        if not group.get("decoupled_weight_decay"):
            return g + group["weight_decay"] * w
        w *= 1 - group["lr"] * group["weight_decay"]
    return g


def _is_state(value: Any) -> bool:
    """Whether it is built as what `Optimizer.state_dict` returns: groups with parameters, and entries by number."""
    if not isinstance(value, dict) or not isinstance(value.get("param_groups"), list | tuple):
        return False
    groups, state = value["param_groups"], value.get("state")
    return (
        isinstance(state, dict)
        and all(str(i).removeprefix("-").isdecimal() for i in state)
        and all(isinstance(part, dict) for part in (*groups, *state.values()))
        and all(isinstance(group.get("params", ()), list | tuple) for group in groups)
    )


def _is_count(value: Any) -> bool:
    is_number = isinstance(value, int | float) or (hasattr(value, "item") and np.shape(value) == ())
    return is_number and 0 <= float(value) < math.inf


def _copied(value: Any) -> Any:
    value = value.array if isinstance(value, Tensor) else value
    return np.array(kernels.to_device(value, "cpu"), order="C") if hasattr(value, "shape") else value


def _like(p: np.ndarray, value: Any) -> Any:
    """A copy of a state array on the device, and in the memory order, of ``p``."""
    if not hasattr(value, "shape"):
        return value
    if hasattr(value, "detach"):  # a tensor, ours or PyTorch's
        value = to_numpy(value)
    array = np.empty_like(p)
    array[...] = kernels.to_device(value, kernels.device_of(p).name)
    return array
