"""LSTMs: whether the checked function is one, and which known mistake in backward gives the wrong gradient.

The equations are those of `minires.nn.LSTM`; its gates may stand in any order, and the weights may be transposed.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

GATES = {"i": "input", "f": "forget", "g": "cell", "o": "output"}


@dataclass(frozen=True)
class Mistake:
    """A mistake in one place of backward. The fields name gates, or factors that should be 1."""

    text: str
    underived: str = ""  # the gate whose activation's derivative is missing
    halved: str = ""  # the gate whose activation's derivative lacks its factor 1 − σ
    dropped: str = ""  # the gate that gets no gradient
    swapped: str = ""  # two gates that get each other's
    tanh: bool = True  # the derivative of tanh(c)
    through_h: float = 1.0
    through_c: float = 1.0
    gated: bool = True  # whether c's gradient is multiplied by f on its way back
    inner: float = 1.0  # factor of h's gradient on its way into c
    only: int | None = None  # the one step whose weights' gradient is kept
    late: str = ""  # "h" or "c": the state after the step is used in place of the one before it


MISTAKES = [
    *(Mistake(f"the derivative of the {name} gate's activation is missing", underived=k) for k, name in GATES.items()),
    *(Mistake(f"the factor 1 − {k} in the derivative of the {GATES[k]} gate is missing", halved=k) for k in "ifo"),
    *(Mistake(f"nothing goes back through the {name} gate", dropped=k) for k, name in GATES.items()),
    *(Mistake(f"the {GATES[a]} and the {GATES[b]} gate get each other's gradient", swapped=a + b)
      for a, b in itertools.combinations(GATES, 2)),
    Mistake("the derivative of tanh(c) is missing", tanh=False),
    Mistake("h's gradient does not go back to the step before", through_h=0.0),
    Mistake("c's gradient does not go back to the step before", through_c=0.0),
    Mistake("no gradient goes back to the step before", through_h=0.0, through_c=0.0),
    Mistake("c's gradient goes back without the forget gate as its factor", gated=False),
    Mistake("h's gradient does not reach c", inner=0.0),
    Mistake("the weights' gradient is the first step's alone; add up all steps", only=0),
    Mistake("the weights' gradient is the last step's alone; add up all steps", only=-1),
    Mistake("the recurrent weights meet h of the same step; it is h of the step before", late="h"),
    Mistake("the forget gate meets c of the same step; it is c of the step before", late="c"),
]  # fmt: skip


@dataclass(frozen=True)
class Lstm:
    """Where an LSTM's arrays are among the function's, the order of its gates, and what it returns."""

    x: int
    w: int
    u: int
    biases: Sequence[int]
    states: Sequence[int]  # h and c before the first step, if given
    turned: bool  # weights (I, 4H) for (4H, I)
    order: str
    whole: bool  # whether it returns every h, or only the last

    def run(self, arrays: Sequence[Any]) -> tuple[np.ndarray, list[dict[str, np.ndarray]]]:
        """The output, and for each step its x and gates, and h and c before and after it."""
        x, w, u = self._weights(arrays)
        bias = sum((arrays[k] for k in self.biases), np.zeros(len(w)))
        h, c = (arrays[k] for k in self.states) if self.states else np.zeros((2, x.shape[1], u.shape[1]))
        steps = []
        for now in x:
            parts = np.split(now @ w.T + h @ u.T + bias, 4, axis=1)
            gates = {k: np.tanh(a) if k == "g" else 1 / (1 + np.exp(-a)) for k, a in zip(self.order, parts)}
            step = gates | {"x": now, "h before": h, "c before": c}
            c = gates["f"] * c + gates["i"] * gates["g"]
            h = gates["o"] * np.tanh(c)
            steps.append(step | {"h": h, "c": c})
        return (np.stack([step["h"] for step in steps]) if self.whole else h), steps

    def gradient(self, arrays: Sequence[Any], grad: np.ndarray, slot: int, m: Mistake) -> np.ndarray:
        """What a backward with this mistake gives for one of the arrays."""
        x, w, u = self._weights(arrays)
        _, steps = self.run(arrays)
        dh, dc = np.zeros((2, x.shape[1], u.shape[1]))
        given = grad if self.whole else [*[0 * dh] * (len(x) - 1), grad]
        dx, dw, du, db = [], [], [], []  # by step, the last one first
        for step, g in zip(reversed(steps), reversed(given)):
            dh = g + m.through_h * dh
            th = np.tanh(step["c"])
            dc = m.through_c * dc + m.inner * dh * step["o"] * (1 - th**2 if m.tanh else 1)
            to = {"i": dc * step["g"], "f": dc * step["c" if m.late == "c" else "c before"],
                  "g": dc * step["i"], "o": dh * th}  # fmt: skip
            for k, value in to.items():
                derivative = 1 - step[k] ** 2 if k == "g" else step[k] * (1 if k == m.halved else 1 - step[k])
                to[k] = value * (1 if k == m.underived else 0 if k == m.dropped else derivative)
            if m.swapped:
                a, b = tuple(m.swapped)
                to[a], to[b] = to[b], to[a]
            da = np.concatenate([to[k] for k in self.order], axis=1)
            dx.append(da @ w)
            dw.append(da.T @ step["x"])
            du.append(da.T @ step["h" if m.late == "h" else "h before"])
            db.append(da.sum(0))
            dh, dc = da @ u, dc * (step["f"] if m.gated else 1)
        if slot == self.x:
            return np.stack(dx[::-1]).reshape(arrays[slot].shape)
        if slot in self.states:
            return (dh, dc)[self.states.index(slot)]
        parts = (dw if slot == self.w else du if slot == self.u else db)[::-1]
        total = np.sum(parts, axis=0) if m.only is None else parts[m.only]
        return total.T if self.turned else total

    def _weights(self, arrays: Sequence[Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x (L, N, I), w (4H, I) and u (4H, H)."""
        x, w, u = (arrays[k] for k in (self.x, self.w, self.u))
        return x if x.ndim == 3 else x[None], *((w.T, u.T) if self.turned else (w, u))


def recognise(arrays: Sequence[Any], output: np.ndarray) -> Lstm | None:
    """The LSTM that computes this output from these arrays, if there is one."""
    for candidate in _candidates([np.shape(a) for a in arrays], output.shape):
        found, _ = candidate.run(arrays)
        if np.allclose(found, output, rtol=1e-9, atol=1e-12):
            return candidate
    return None


def _candidates(shapes: Sequence[tuple[int, ...]], out: tuple[int, ...]) -> Iterator[Lstm]:
    """Every way in which shapes fit: x (L, N, I) or (N, I), w (4H, I), u (4H, H), biases (4H), states (N, H)."""
    if len(out) not in (2, 3) or len(shapes) < 3 or 0 in out:
        return
    batch, hidden = out[-2:]
    biases = [k for k, s in enumerate(shapes) if s == (4 * hidden,)]
    matrices = [k for k, s in enumerate(shapes) if len(s) == 2 and 4 * hidden in s]
    for x, w, u in itertools.product(range(len(shapes)), matrices, matrices):
        size = shapes[x][-1] if shapes[x] else 0
        if w == u or x in (w, u) or len(shapes[x]) not in (2, 3) or shapes[x][-2] != batch:
            continue
        for turned, rows in ((False, (4 * hidden, size)), (True, (size, 4 * hidden))):
            square = (4 * hidden, hidden)
            if shapes[w] != rows or shapes[u] != (square[::-1] if turned else square):
                continue
            states = [k for k, s in enumerate(shapes) if s == (batch, hidden) and k not in (x, w, u)]
            for order in itertools.permutations("ifgo"):
                whole = len(out) == 3
                yield Lstm(x, w, u, biases, states if len(states) == 2 else [], turned, "".join(order), whole)
