"""The table and the sentences that ``minires compare`` prints, each computed from what was measured."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .measured import Comparison, Network, Run, middle, ratio

TABLE_STEPS = (0, 10, 100)
DIVERGED = 100.0  # at such a training loss nothing was learned: guessing one of ten classes costs ln 10 = 2.3
CLEARLY = 3.0  # how many times smaller a gradient must be, or a loss, to be talked about
BEGINNING, LATER = (
    (1, 5),
    40,
)  # the steps at which kernels turn fast or not, and those from which on they may not any more
FROZEN = 0.02  # degrees: kernels that turn less in a step
LEARNED = 0.1  # a training loss below this is near its end


def table(measured: Comparison) -> str:
    """The comparison as a text table, a column for each network; of several seeds median and range."""
    networks = measured.networks
    recorded = list(next(iter(networks.values())).ends)
    steps = [s for s in TABLE_STEPS if s in recorded]
    last = max(recorded, default=0)
    tail = len(next(iter(networks.values())).runs[0].last_losses)

    def row(name: str, cell: Callable[[Any], str], what: Callable[[Run], Any]) -> tuple[str, ...]:
        return name, *(_over_seeds(network.values(what), cell) for network in networks.values())

    rows: list[tuple[str, ...]] = [("", *(f"{name}-{measured.settings['depth']}" for name in networks))]
    rows.append(("parameters", *(f"{n.parameters:,}" for n in networks.values())))
    rows.append(row(f"training loss, last {'step' if tail == 1 else f'{tail} steps'}", _loss, lambda r: r.train_loss))
    rows.append(row("test accuracy", _accuracy, lambda r: r.test_accuracy))
    ends = [(step, " (end)" if step == last else "") for step in dict.fromkeys([*steps, last])]
    for step, end in ends:
        cells = (_ends([run.ends[step] for run in n.runs if step in run.ends]) for n in networks.values())
        rows.append((f"first/last gradient, step {step}{end}", *cells))
    if any(run.turns for network in networks.values() for run in network.runs):
        kinds: list[tuple[str, Callable[[float | None], str], Callable[[Run], dict[int, float | None]]]] = [
            ("  free of scale", _ratio, lambda run: run.free),
            ("early kernels turn", _degrees, lambda run: run.turns),
        ]
        for name, cell, values in kinds:
            for step, end in ends:
                rows.append(row(f"{name}, step {step}{end}", cell, _at(step, values)))
    errors = (_cell(n.fork_sum_error, ".0e") if n.forks else "(no fork)" for n in networks.values())
    rows.append(("largest fork-sum error", *errors))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))]) for row in rows]
    return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:]])


def sentences(measured: Comparison) -> list[str]:
    """What the table shows, in three or four sentences, each computed from it."""
    networks = measured.networks
    found = [_gradients(measured)]
    losses = {name: math.inf if n.train_loss is None else n.train_loss for name, n in networks.items()}
    if min(losses.values()) > DIVERGED:
        diverged = "The training of both networks diverged; try a smaller --lr."
        return [*found, diverged, "So the gradient at the forks means nothing."]
    found += [
        _turning(measured),
        _outcome(measured),
        _end(measured),
        *(_forks(name, n) for name, n in networks.items() if n.forks),
    ]
    return [sentence for sentence in found if sentence]


def headline(measured: Comparison) -> str:
    """One line or two for the top of the figure: the gradient at the start, and what the training came to."""
    networks = measured.networks
    first = min(next(iter(networks.values())).ends)
    starts = [f"{name} {_ends([run.ends[first] for run in network.runs])}" for name, network in networks.items()]
    ends = [f"{name} {_loss(network.train_loss)}" for name, network in networks.items()]
    tie = ", a tie" if _verdict(measured)[0] is None else ""
    parts = (
        f"first/last gradient at step {first}: {', '.join(starts)}",
        f"training loss at the end: {', '.join(ends)}{tie}",
    )
    return ("; " if sum(map(len, parts)) < 100 else "\n").join(parts)


# ── the sentences ───────────────────────────────────────────────────────────────────────────────────────────────────


def called(name: str) -> str:
    """The network in a sentence."""
    return f"the {name} network" if name in ("plain", "residual") else name


def _gradients(measured: Comparison) -> str:
    (a, first), (b, second) = measured.networks.items()
    one, two = first.ends, second.ends
    later = max((step for step in one if step <= 100 and step in two), default=0)
    of_seeds = f" (medians of {measured.seeds} seeds)" if measured.seeds > 1 else ""
    sentence = (
        f"At step 0 the gradient of {called(a)} {_trend(*one[0])}, that of {called(b)} {_trend(*two[0])}{of_seeds}"
    )
    if not later:
        return f"{sentence}."
    return (
        f"{sentence}; by step {later} of the training the ratio of {called(a)} "
        f"{_change(ratio(*one[0]), ratio(*one[later]), _free(first, later))}, that of {called(b)} "
        f"{_change(ratio(*two[0]), ratio(*two[later]), _free(second, later))}."
    )


def _at(step: int, values: Callable[[Run], dict[int, float | None]]) -> Callable[[Run], float | None]:
    return lambda run: values(run).get(step)


def _free(network: Network, step: int) -> float | None:
    return middle(network.values(lambda run: run.free.get(step)))


def _turning(measured: Comparison) -> str:
    """How fast early kernels turn at first and later: one that has grown behind batch norm is hard to turn."""
    found, frozen = [], []
    for name, network in measured.networks.items():
        begin = middle(network.values(lambda run: run.turned(*BEGINNING)))
        end = middle(network.values(lambda run: run.turned(LATER)))
        if begin is None or end is None:
            return ""
        found.append(f"{_degrees(begin)} and {_degrees(end)} in {called(name)}")
        loss = network.train_loss
        if end < FROZEN and end * 10 < begin and (loss is None or loss > LEARNED):
            frozen.append(called(name))
    sentence = (
        f"An early kernel (the median of up to nine convolutions behind the first) turns in a step by "
        f"{', by '.join(found)}: first at steps {BEGINNING[0]} to {BEGINNING[1]}, then from step {LATER} on"
    )
    if not frozen:
        return f"{sentence}."
    return (
        f"{sentence}. In {' and in '.join(frozen)} early kernels are frozen: they have grown, and behind batch norm "
        "the gradient of a kernel is as many times smaller as the kernel is larger."
    )


def _outcome(measured: Comparison) -> str:
    """Which network has the lower training loss, and which classifies more test images; a tie is called a tie."""
    networks = measured.networks
    a, b = networks
    lower, seeds = _verdict(measured)
    higher = b if lower == a else a
    share = measured.shared_weights
    start = "the same weights" if share == 1 else f"the same seed ({share:.0%} of the weights equal)"
    steps = "step" if measured.steps == 1 else "steps"
    if lower is None:
        losses = f"{_loss(networks[a].train_loss)} and {_loss(networks[b].train_loss)}"
        why = seeds or "they differ by less than from one step to the next"
        sentence = f"After {measured.steps} {steps} from {start} the training losses are a tie, {losses}: {why}"
        one, two = a, b
    else:
        losses = f"{_loss(networks[lower].train_loss)} against {_loss(networks[higher].train_loss)}"
        sentence = f"After {measured.steps} {steps} from {start} {called(lower)} has the lower training loss, {losses}"
        sentence += f" ({seeds})" if seeds else ""
        one, two = lower, higher
    p, q = networks[one].test_accuracy, networks[two].test_accuracy
    if p is None or q is None:
        return f"{sentence}."
    n = measured.test_images * measured.seeds
    error = math.sqrt((p * (1 - p) + q * (1 - q)) / n)
    if _accuracy(p) == _accuracy(q) or abs(p - q) < 2 * error:
        what = f"{_accuracy(p)} and {_accuracy(q)} of the test images classified right"
        return f"{sentence}; {what} are a tie too." if lower is None else f"{sentence}; {what} are a tie."
    if lower is None:
        return f"{sentence}; of the test images {called(one)} classifies {_accuracy(p)}, {called(two)} {_accuracy(q)}."
    return f"{sentence}, and classifies {_accuracy(p)} of the test images against {_accuracy(q)}."


def _verdict(measured: Comparison) -> tuple[str | None, str]:
    """(the network with the lower training loss, or None for a tie; in how many seeds, if there are several).

    Both networks saw the same batches, so the losses of the last steps differ in pairs. It is a tie if the mean
    difference is less than two of its standard errors, or cannot be seen in the numbers as they are printed.
    """
    a, b = measured.networks
    wins = {a: 0, b: 0, None: 0}
    for one, two in zip(measured.networks[a].runs, measured.networks[b].runs):
        wins[_lower(one, two, a, b)] += 1
    most = a if wins[a] > wins[b] else b
    if measured.seeds == 1:
        return (most if wins[most] else None), ""
    if wins[most] > measured.seeds / 2:
        return most, f"in {wins[most]} of {measured.seeds} seeds; medians"
    return None, f"of {measured.seeds} seeds {a} was lower in {wins[a]} and {b} in {wins[b]}"


def _lower(one: Run, two: Run, a: str, b: str) -> str | None:
    if one.train_loss is None or two.train_loss is None:
        return None if one.train_loss == two.train_loss else a if two.train_loss is None else b
    differences = np.subtract(one.last_losses, two.last_losses)
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0
    mean = one.train_loss - two.train_loss
    if _loss(one.train_loss) == _loss(two.train_loss) or abs(mean) < 2 * error:
        return None
    return a if mean < 0 else b


def _end(measured: Comparison) -> str:
    """A word about gradients of very different size at the end: a network that has learned has a small one."""
    sizes = {
        name: float(np.median([run.end_gradient for run in network.runs]))
        for name, network in measured.networks.items()
        if None not in [run.end_gradient for run in network.runs]
    }
    if len(sizes) < 2 or not all(sizes.values()):
        return ""
    small, large = sorted(sizes, key=lambda name: sizes[name])
    factor = sizes[large] / sizes[small]
    losses = {name: measured.networks[name].train_loss for name in sizes}
    if factor < CLEARLY or None in losses.values():
        return ""
    sentence = (
        f"At the end the gradient of {called(small)} is {_times(factor)} times smaller than that of {called(large)} "
        f"(at the median convolution)"
    )
    loss, other = losses[small] or 0.0, losses[large] or 0.0
    if loss < LEARNED and loss * CLEARLY < other:
        return (
            f"{sentence} because its loss is near 0, {_loss(loss)} against {_loss(other)}: it has learned these "
            "images, and little is left to send back. It does not vanish on its way."
        )
    return f"{sentence}, at a training loss of {_loss(loss)} against {_loss(other)}."


def _forks(name: str, network: Network) -> str:
    shares = [fork.share for fork in network.forks]
    if network.fork_sum_error is None or not np.isfinite(shares).any():
        return f"The gradient at the forks of {called(name)} is not finite, or 0."
    known = [share for share in shares if math.isfinite(share)]
    silent = f" (nothing came back at {len(shares) - len(known)} of them)" if len(known) < len(shares) else ""
    where = "At the only fork" if len(shares) == 1 else f"At each of the {len(shares)} forks"
    low, middle, high = (_share(share) for share in (min(known), float(np.median(known)), max(known)))
    parts = f"{middle} of ‖skip‖² + ‖branch‖²"
    if len(known) > 1:
        parts = f"between {low} and {high} of ‖skip‖² + ‖branch‖², and {middle} at the median fork"
    return (
        f"{where} of {called(name)}{silent} the gradient is the sum of what skip and branch returned, to within "
        f"{network.fork_sum_error:.0e} of its size; at the end the branch returned {parts}."
    )


def _trend(first: float, last: float) -> str:
    """Describe what the gradients at the two ends say about its way back."""
    if not (math.isfinite(first) and math.isfinite(last)):
        return "is not finite"
    if first == last == 0:
        return "is 0 at both ends"
    if first == 0:
        return "is 0 at the first convolution (it vanishes on its way back)"
    if last == 0:
        return "is 0 at the last convolution, but not at the first"
    if first / last > 1.5:
        explodes = " (it explodes on its way back)" if first / last > 20 else ""
        return f"is {_times(first / last)} times as large at the first convolution as at the last{explodes}"
    if first / last < 1 / 1.5:
        vanishes = " (it vanishes on its way back)" if first / last < 1 / 20 else ""
        return f"is {_times(last / first)} times smaller at the first convolution than at the last{vanishes}"
    return f"is about the same at both ends (ratio {first / last:.2f})"


def _change(before: float | None, after: float | None, free: float | None = None) -> str:
    """Describe how a first/last ratio changed in training; free: what it became free of scale."""
    if after is None:
        return "is not defined"
    if before is None:
        return f"is {after:.2g}"
    if before == after:
        return f"is still {after:.2g}"
    if not before or not after:
        return f"has {'grown' if after else 'fallen'} from {before:.2g} to {after:.2g}"
    factor = max(before / after, after / before)
    if factor < 10:
        return f"has changed by a factor of {factor:.1f}, to {after:.2g}"
    if 1 / CLEARLY < after < CLEARLY:
        return f"has levelled out, from {before:.2g} to {after:.2g}"
    scale = "" if free is None else f" ({free:.2g} if each is multiplied by its weight's size, which is free of scale)"
    return f"has {'fallen' if after < before else 'grown'} {_times(factor)}-fold, to {after:.2g}{scale}"


# ── numbers as text ─────────────────────────────────────────────────────────────────────────────────────────────────


def _over_seeds(values: Sequence[float | None], cell: Callable[[float | None], str]) -> str:
    """One value as it is; of several the median, with the lowest and the highest behind it."""
    known = sorted(value for value in values if value is not None)
    if len(values) == 1 or len(known) < len(values):
        return cell(None if len(known) < len(values) else known[0])
    return f"{cell(float(np.median(known)))} ({cell(known[0])}–{cell(known[-1])})"


def _ends(ends: Sequence[tuple[float, float]]) -> str:
    """The first over the last, in one cell of the table."""
    ratios = [ratio(*pair) for pair in ends]
    if None in ratios and not any(map(any, ends)):
        return "0/0"
    if None in ratios and all(last == 0 < first for first, last in ends):
        return "last is 0"
    return _over_seeds(ratios, _ratio)


def _ratio(value: float | None) -> str:
    return f"{value:,.0f}" if value is not None and 1000 <= value < 1e6 else _cell(value, ".3g")


def _cell(value: float | None, spec: str) -> str:
    return "not finite" if value is None else format(value, spec)


def _loss(value: float | None) -> str:
    return _cell(value, ".3f" if not value or 0.01 <= value < 1000 else ".1e")


def _accuracy(value: float | None) -> str:
    return "not measured" if value is None else format(value, ".1%")


def _degrees(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2g}°" if value < 10 else f"{value:.0f}°"


def _times(factor: float) -> str:
    return f"{factor:.1f}" if factor < 10 else f"{factor:,.0f}" if factor < 1e6 else f"{factor:.0e}"


def _share(share: float) -> str:
    """In percent, with a power of ten where it would be rounded to 0."""
    return f"{share:.0%}" if share == 0 or share >= 0.005 else f"{100 * share:.0e}%"
