"""The takeaway of each panel: one sentence, computed from the numbers that the panel draws."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

ALIKE = 1.1  # what changes by less than this factor keeps its size
FOLLOWED = 0.5  # an autocorrelation below this no longer tells where the gradient goes


def profile(lines: Mapping[str, Sequence[float]], layer: str = "convolution") -> str:
    """How the gradient changes from the last layer back to the first: {name: norms in forward order}."""
    return f"From the last {layer} back to the first the gradient {_each({n: _change(v) for n, v in lines.items()})}."


def compared(histories: Mapping[str, Any], losses: Mapping[str, Sequence[float]]) -> str:
    """How two networks' gradients change through depth at the first recorded step, and their sizes at the last."""
    one, two = histories
    first, last = (histories[one].steps[i] for i in (0, -1))
    start = profile({name: history.convolution_norms[0] for name, history in histories.items()})
    norms = {name: history.convolution_norms[-1] for name, history in histories.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(np.median(norms[one]) / np.median(norms[two]))
    loss = {name: values[min(last, len(values) - 1)] for name, values in losses.items() if len(values)}
    if first == last or not 0 < ratio < math.inf or len(loss) < 2:
        return f"{start[:-1]} at step {first}."
    size = (
        "as large as"
        if max(ratio, 1 / ratio) < ALIKE
        else f"{fold(max(ratio, 1 / ratio))} times " + ("smaller than" if ratio > 1 else "larger than")
    )
    both = (
        ("the residual network's", "the plain one's")
        if (one, two) == ("plain", "residual")
        else (f"{two}'s", f"{one}'s")
    )
    return (
        f"{start[:-1]} at step {first}; at step {last} {both[0]} is {size} {both[1]} at the median convolution, at a "
        f"loss of {number(loss[two])} against {number(loss[one])}."
    )


def heatmap(steps: Sequence[int], norms: np.ndarray) -> str:
    """The gradient at the first convolution over that at the last, at the first and the last step."""
    said = []
    for step, row in {steps[0]: norms[0], steps[-1]: norms[-1]}.items():
        ratio = row[0] / row[-1] if row[-1] else math.nan
        said.append(f"{number(ratio)} at step {step}" if math.isfinite(ratio) else f"not defined at step {step}")
    return f"First convolution's gradient over the last one's: {', '.join(said)}."


def forks(forks: Sequence[Any]) -> str:
    """The branch's share of what came back at the forks."""
    shares = [fork.share for fork in forks if math.isfinite(fork.share)]
    silent = sum(fork.skip == fork.branch == 0 for fork in forks)
    if not shares:
        return "No gradient came back at any fork." if silent == len(forks) else "The gradient is not finite."
    nothing = f"; at {silent} of {len(forks)} forks nothing came back" if silent else ""
    if max(shares) == 0 or min(shares) == 1:
        way, other = ("skip", "branch") if max(shares) == 0 else ("branch", "skip")
        return f"All of the gradient came back along the {way}, none along the {other}{nothing}."
    share = f"{_percent(float(np.median(shares)))} of ‖skip‖² + ‖branch‖²"
    low, high = _percent(min(shares)), _percent(max(shares))
    among = (
        "" if len(shares) == 1 else " at every fork" if low == high else f" at the median fork, from {low} to {high}"
    )
    return f"The branch returned {share}{among}{nothing}."


def path_spectrum(results: Mapping[str, Any]) -> str:
    """How many branches the gradient's paths cross, against all paths."""
    lengths = {name: f"{result.effective_length:.1f}" for name, result in results.items()}
    if not any(math.isfinite(result.effective_length) for result in results.values()):
        return "No gradient came back along any path."
    every = " or ".join(f"{half:.1f}" for half in sorted({result.blocks / 2 for result in results.values()}))
    return f"By ‖G[k]‖², the gradient's paths cross {_each(lengths)} branches on average; all paths together {every}."


def graph(edges: Sequence[Mapping[str, Any]]) -> str:
    """Where more comes back, along skips or branches; without forks, the range of what comes back."""
    ways: dict[Any, dict[str, float]] = {}
    norms = [math.nan if edge["norm"] is None else edge["norm"] for edge in edges]
    for edge, norm in zip(edges, norms):
        if edge["role"]:
            fork = ways.setdefault(edge["source"], {"skip": 0.0, "branch": 0.0})
            fork[edge["role"]] = math.hypot(fork[edge["role"]], norm)
    if ways:
        more = {"skip": 0, "branch": 0}
        for fork in ways.values():
            for way, other in (("skip", "branch"), ("branch", "skip")):
                more[way] += fork[way] > fork[other]
        way, other = ("skip", "branch") if more["skip"] >= more["branch"] else ("branch", "skip")
        if more[way] == 0:
            return "At no fork does more gradient come back along one way than along the other."
        return f"{_at(more[way], len(ways))}, more gradient comes back along the {way} than along the {other}."
    finite = [norm for norm in norms if math.isfinite(norm)]
    if not any(finite):
        return "No gradient came back."
    low, high = min(finite), max(finite)
    factor = f", a factor of {fold(high / low)}" if low else ""
    used = Counter(edge["source"] for edge in edges)
    start = "One way, and no skip: along it" if max(used.values()) == 1 else "No skip that ends in an addition;"
    return f"{start} ‖gradient‖ is between {number(low)} and {number(high)}{factor}."


def responses(results: Mapping[str, Any]) -> str:
    """Each network's median response, and the range."""
    said = {}
    for name, result in results.items():
        middle, low, high = (number(value) for value in np.quantile(result.std, [0.5, 0, 1]))
        said[name] = f"{middle} at the median convolution, from {low} to {high}"
    return f"The standard deviation of the responses is {_each(said)}."


def variance(results: Mapping[str, Any], gradient: bool = False) -> str:
    """How the variance changes through all blocks, on the way that the signal takes."""
    way, what = ("back through all blocks", "gradient's variance") if gradient else ("through all blocks", "variance")
    values = {name: result.gradient if gradient else result.activation for name, result in results.items()}
    return f"On the way {way} the {what} {_each({n: _change(v if gradient else v[::-1]) for n, v in values.items()})}."


def shattering(curves: Mapping[str, np.ndarray]) -> str:
    """How far along the line the gradient still resembles itself: {name: mean autocorrelation, (lags,)}."""
    said, constant = {}, [name for name, curve in curves.items() if np.isnan(curve).all()]
    for name, curve in curves.items():
        below = np.flatnonzero(curve < FOLLOWED)
        if name not in constant:
            said[name] = (
                _count(int(below[0]), "grid point") if below.size else f"more than {len(curve) - 1} grid points"
            )
    return _unless_constant("The gradient's autocorrelation falls below ½ after", said, constant)


def input_gradient(results: Mapping[str, Any]) -> str:
    """How often the gradient crosses its mean along the line."""
    said, constant = {}, [name for name, result in results.items() if not np.ptp(result.gradient)]
    for name, result in results.items():
        above = result.gradient > result.gradient.mean()
        if name not in constant:
            said[name] = _count(int((above[1:] != above[:-1]).sum()), "time")
    points = max(len(result.points) for result in results.values())
    return _unless_constant(f"Over {points} points the gradient crosses its mean", said, constant)


def _unless_constant(start: str, said: Mapping[str, str], constant: Sequence[str]) -> str:
    without = "constant along the line" + (f" ({', '.join(constant)})" if any(constant) else "")
    if not said:
        return f"The gradient is {without}."
    return f"{start} {_each(said)}{f'; it is {without}' if constant else ''}."


def jacobian(results: Mapping[str, Sequence[Any]], product: bool) -> str:
    """The largest singular values, of single blocks or of all of them together."""
    said = {}
    for name, jacobians in results.items():
        values = np.array([jacobian.values[0] for jacobian in jacobians])
        if np.abs(values - 1).max(initial=0) < 1e-3:
            said[name] = "1, the identity's"
        elif product:
            said[name] = number(values[-1])
        else:
            low, high = number(values.min()), number(values.max())
            said[name] = low if low == high else f"from {low} to {high}"
    return f"{'After all blocks the' if product else 'The'} largest singular value is {_each(said)}."


def lesion(results: Mapping[str, Any], what: str = "accuracy") -> str:
    """What deleting one block costs in accuracy, or what it makes of the loss."""
    said = {}
    for name, result in results.items():
        if what == "loss":
            values = result.intact_loss, np.median(result.loss), result.loss.max()
            intact, middle, worst = (number(value) for value in values)
            said[name] = f"from {intact} to {middle} at the median, to {worst} at most"
            continue
        middle, worst = (_points(100 * float(value)) for value in (np.median(result.drop), result.drop.max()))
        whole = f"{name}, which guesses even when whole" if result.intact_accuracy < 1.5 / result.classes else name
        said[whole] = f"{middle} at the median, {worst} at most"
    if what == "loss":
        return f"Deleting one block takes the loss {_each(said)}."
    return f"In points of accuracy, deleting one block costs {_each(said)}."


def landscape(results: Mapping[str, Any]) -> str:
    """How far the loss rises around each network."""
    said = {}
    for name, result in results.items():
        here = result.loss[tuple(length // 2 for length in result.loss.shape)]
        highest = np.max(result.loss)  # NaN if any is
        far = number(highest) if math.isfinite(highest) else "more than float32 holds"
        lowest = np.min(result.loss)
        rises, falls = (not (b > 0 and a / b < ALIKE) for a, b in ((highest, here), (here, lowest)))
        said[name] = f"rises from {number(here)} to {far}" if rises else f"stays near {number(here)}"
        if falls:
            said[name] = f"falls from {number(here)} to {number(lowest)}" + (f" and rises to {far}" if rises else "")
    span = max(float(np.max(result.steps)) for result in results.values())
    norms = "one filter norm" if span == 1 else f"{number(span)} filter norms"
    return f"Within {norms} of the network the loss {_each(said)}."


def training(ends: Mapping[str, float], window: int) -> str:
    """The loss at the end."""
    steps = f"mean of the last {window} steps" if window > 1 else "last step"
    return f"The training loss ends at {_each({name: number(loss) for name, loss in ends.items()})} ({steps})."


def number(value: float) -> str:
    """Two digits: 0.052, 2.3, 1,400; powers of ten below 0.001 and from a million on."""
    value = float(value)
    if not math.isfinite(value):
        return "not finite"
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.0e}"
    return f"{float(f'{value:.2g}'):,.0f}" if abs(value) >= 9.95 else f"{value:#.2g}" if value else "0"


def fold(factor: float) -> str:
    """A factor of at least 1."""
    return number(factor)


def _change(norms: Sequence[float]) -> str:
    """How the first differs from the last, and how many are exactly 0."""
    values = np.asarray(norms, float)
    values = values[~np.isnan(values)]
    zeros = int((values == 0).sum())
    if not values.size or not np.isfinite(values).all():
        return "is not finite"
    if zeros:
        return f"is exactly 0 (▼) at {'all' if zeros == len(values) else f'{zeros} of'} {len(values)}"
    ratio, spread = values[0] / values[-1], values.max() / values.min()
    factor = max(ratio, 1 / ratio)
    way = "keeps its size" if factor < ALIKE else f"{'grows' if ratio > 1 else 'shrinks'} {fold(factor)}-fold"
    return way if spread < 10 * factor else f"{way} but spans a factor of {fold(spread)}"


def _each(said: Mapping[str, str]) -> str:
    """Every network's part of a sentence, with its name."""
    same = next(
        (verb for verb in ("grows ", "shrinks ", "rises ") if all(text.startswith(verb) for text in said.values())), ""
    )
    parts = [f"{text.removeprefix(same)} ({name})" if name else text.removeprefix(same) for name, text in said.items()]
    parts[0] = same + parts[0]
    if len(parts) < 3:
        return " and ".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _at(count: int, forks: int) -> str:
    """At some of the forks, or at all."""
    if count < forks:
        return f"At {count} of {forks} forks"
    return "At the fork" if forks == 1 else f"At {'both' if forks == 2 else f'all {forks}'} forks"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share == 0 or share >= 0.005 else f"{100 * share:.0e}%"


def _points(value: float) -> str:
    return "not known" if math.isnan(value) else f"{max(value, 0):.1f}"
