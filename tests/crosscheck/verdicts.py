"""One call made in PyTorch and in minires, and how it came out: values, dtypes, shapes, vector–Jacobian products."""

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from crosscheck.outcomes import AGREES, FAULTS, NOT_TAKEN, TOLERANCES, WRONG, Verdict, one_line, outcome_of, unequal

import minires as mr

torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is needed only to compare with it")
torch.set_num_threads(1)

# What PyTorch's samples spell out although it is the default.
DEFAULTS = {
    "ceil_mode": False,
    "device": "cpu",
    "dilation": 1,
    "divisor_override": None,
    "requires_grad": False,
    "return_indices": False,
}


def judge(
    theirs: Callable, ours: Callable, args: tuple, kwargs: dict, names: set[str], also: Iterable[tuple] = ()
) -> Verdict | None:
    """Call both with the same arguments; None if PyTorch has no answer itself.

    names: what an error of ours may call the function. also: pairs of tensors that the two functions use besides.
    """
    return spelt_out(lambda needed: _judged(theirs, ours, args, kwargs, needed, names, also), kwargs)


def spelt_out(judged: Callable[[dict], Verdict | None], kwargs: dict) -> Verdict | None:
    """judged(kwargs); where an argument is not taken, a fault without the arguments that are PyTorch's defaults."""
    verdict = judged(kwargs)
    if verdict is not None and verdict.outcome == NOT_TAKEN:
        needed = {k: v for k, v in kwargs.items() if k not in DEFAULTS or not same(v, DEFAULTS[k])}
        without = judged(needed) if needed != kwargs else None
        if without is not None and without.outcome in FAULTS:
            return without
    return verdict


def same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and a == b


def _judged(theirs, ours, args, kwargs, our_kwargs, names, also):
    case = described(args, kwargs)
    copies, clones = Copies(), {}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            expected = theirs(*cloned(args, clones), **cloned(kwargs, clones))
        except Exception:  # what PyTorch itself refuses, in any way, is no case to compare
            return None
        if expected is NotImplemented:
            return None
        try:
            got = ours(*copies.of(args), **copies.of(our_kwargs))
        except Exception as error:
            return Verdict(outcome_of(error, names), one_line(error), case)
        pairs = [*also, *((clones[key], tensor) for key, tensor in copies.made.items())]
        try:
            difference = differ(got, expected, pairs)
            if difference and as_exact(got, expected, lambda: theirs(*doubled(args), **doubled(kwargs))):
                difference = None
            difference = difference or gradients_differ(got, expected, pairs)
        except Exception as error:
            return Verdict(outcome_of(error, names), f"after the call: {one_line(error)}", case)
    return Verdict(WRONG, difference, case) if difference else Verdict(AGREES, "", case)


# ── arguments ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Copies:
    """PyTorch's arguments as ours. A tensor that occurs twice stays one tensor."""

    def __init__(self):
        self.made: dict[int, mr.Tensor] = {}  # by the identity of PyTorch's tensor

    def of(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            if id(value) not in self.made:
                self.made[id(value)] = mr.Tensor(array(copied(value)), requires_grad=value.requires_grad)
            return self.made[id(value)]
        if isinstance(value, torch.memory_format):
            return getattr(mr, str(value).removeprefix("torch."))
        if isinstance(value, torch.dtype):
            name = str(value).removeprefix("torch.")
            return np.dtype(name) if name in np.sctypeDict else value
        return value.type if isinstance(value, torch.device) else mapped(self.of, value)


def cloned(value: Any, made: dict[int, Any]) -> Any:
    """PyTorch's arguments with every tensor copied."""
    if isinstance(value, torch.Tensor):
        if id(value) not in made:
            made[id(value)] = copied(value).requires_grad_(value.requires_grad)
        return made[id(value)]
    return mapped(lambda v: cloned(v, made), value)


def copied(tensor: Any) -> Any:
    """The values in memory of their own, so that nothing done in place reaches the sample; strides stay as they are."""
    storage = tensor.untyped_storage().clone()
    return tensor.new_empty(0).set_(storage, tensor.storage_offset(), tensor.size(), tensor.stride())


def mapped(function: Callable, value: Any) -> Any:
    """The function applied to what is inside a list, tuple, dict or slice; anything else as it is."""
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, list | tuple):
        return type(value)(map(function, value))
    if isinstance(value, dict):
        return {key: function(v) for key, v in value.items()}
    if isinstance(value, slice):
        return slice(function(value.start), function(value.stop), function(value.step))
    return value


def described(args: Any, kwargs: dict) -> str:
    """The call in short: ``float32 (2, 3), dim=0``."""

    def short(value):
        if isinstance(value, torch.Tensor):
            small = f" {value.tolist()}" if value.numel() <= 6 else ""
            return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}{small}"
        if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
            inside = ", ".join(short(v) for v in value)
            return f"[{inside}]" if isinstance(value, list) else f"({inside})"
        return repr(value)

    return ", ".join([short(a) for a in args] + [f"{k}={short(v)}" for k, v in kwargs.items()])


# ── results ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def leaves(value: Any) -> list[Any]:
    """The tensors and numbers in a result."""
    if isinstance(value, list | tuple):
        return [leaf for v in value for leaf in leaves(v)]
    return [value]


def array(value: Any) -> np.ndarray:
    """The values of a tensor of either library, or a number's."""
    if isinstance(value, torch.Tensor):
        return value.detach().resolve_neg().numpy()
    return np.asarray(value.numpy() if isinstance(value, mr.Tensor) else value)


def differ(got: Any, expected: Any, pairs: list) -> str | None:
    """The first difference between two results, or between the arguments after the call."""
    got, expected = leaves(got), leaves(expected)
    if len(got) != len(expected):
        return f"{len(got)} results, expected {len(expected)}"
    for i, (a, b) in enumerate(zip(got, expected)):
        if isinstance(a, mr.Tensor) != isinstance(b, torch.Tensor):
            return f"a {type(a).__name__}, expected a {type(b).__name__}"
        if found := unequal(array(a), array(b)):
            return f"result {i}: {found}" if len(got) > 1 else found
    for theirs, ours in pairs:
        if found := unequal(array(ours), array(theirs)):
            return f"an argument after the call: {found}"
    return None


def as_exact(got: Any, expected: Any, in_double: Callable[[], Any]) -> bool:
    """Whether float32 results are as close to PyTorch's in float64 as its own float32 results.

    Where terms cancel, each library rounds in its own way, and on each processor in another.
    """
    got, expected = leaves(got), leaves(expected)
    if not all(isinstance(b, torch.Tensor) and b.dtype == torch.float32 for b in expected) or len(got) != len(expected):
        return False
    for a, b, exact in zip(map(array, got), map(array, expected), map(array, leaves(in_double()))):
        if a.shape != b.shape or a.dtype != b.dtype or not np.isfinite(exact).all():
            return False
        rounding = max(np.abs(b - exact).max(initial=0), np.finfo(b.dtype).eps * np.abs(exact).max(initial=0))
        if not np.abs(a - exact).max(initial=0) <= 2 * rounding:
            return False
    return True


def doubled(value: Any) -> Any:
    """The same arguments, float32 tensors in float64."""
    if isinstance(value, torch.Tensor):
        return value.detach().double() if value.dtype == torch.float32 else value
    return mapped(doubled, value)


def gradients_differ(got: Any, expected: Any, pairs: list) -> str | None:
    """The first difference between the vector–Jacobian products, for one *normal* cotangent of each result."""
    wanted = [(theirs, ours) for theirs, ours in pairs if theirs.requires_grad]
    outputs = [(b, a) for a, b in zip(leaves(got), leaves(expected)) if isinstance(b, torch.Tensor) and b.requires_grad]
    if not wanted or not outputs:
        theirs, ours = (any(getattr(a, "requires_grad", False) for a in leaves(found)) for found in (expected, got))
        return "requires a gradient, expected none" if ours and not theirs else None
    rng = np.random.default_rng(0)
    cotangents = [np.asarray(rng.standard_normal(b.shape), array(b).dtype) for b, _ in outputs]
    try:
        seeds = [torch.from_numpy(c) for c in cotangents]
        expected = torch.autograd.grad([b for b, _ in outputs], [t for t, _ in wanted], seeds, allow_unused=True)
    except RuntimeError:
        return None  # PyTorch has no derivative here
    if not all(a.requires_grad for _, a in outputs):
        return "no gradient, expected one"
    got = mr.grad([a for _, a in outputs], [t for _, t in wanted], cotangents, allow_unused=True)
    for i, (a, b) in enumerate(zip(got, expected)):
        if (a is None) != (b is None):
            return f"gradient {i}: {'none' if a is None else 'an array'}, expected {'none' if b is None else 'one'}"
        if a is not None and (found := unequal(a, array(b), of_sums(array(b)))):
            return f"gradient {i}: {found}"
    return None


def of_sums(expected: np.ndarray) -> dict:
    """Tolerances for gradients, which are sums whose terms may cancel: in float32 relative to the largest, too."""
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=10)
    return TOLERANCES | {"float32": dict(rtol=1e-5, atol=1e-6 * largest)}
