"""Recurrent layers: the same weights, used at every step of a sequence.

Names, arguments, shapes and the order of the gates are PyTorch's, so that weights can be exchanged. Backward through
time is nothing new: the graph of L steps is a network of L layers that share their weights, and every use of a weight
adds to its gradient. Each step adds a few ops to the graph, and a recording shows them one by one.
"""

import itertools
import math
from typing import Any

import numpy as np

from ..creation import cat, stack
from ..tensor import Tensor
from . import functional as F, init
from .arguments import check_counts, check_input
from .module import Module, Parameter


class _Recurrent(Module):
    """Base of RNN, GRU and LSTM: the weights, the stacked layers, and the walk along the sequence.

    A subclass defines ``step``, the number of ``gates`` it computes, and the number of tensors in its ``states``.
    """

    gates = 1
    states = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        proj_size: int = 0,
    ):
        super().__init__()
        name = type(self).__name__
        check_counts(name, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        if not 0 <= dropout <= 1:
            raise ValueError(f"{name}: got dropout={dropout}; expected a probability between 0 and 1")
        if (
            not isinstance(proj_size, int | np.integer)
            or not 0 <= proj_size < hidden_size
            or (proj_size and name != "LSTM")
        ):
            raise ValueError(
                f"{name}: got proj_size={proj_size!r}; expected 0, or, of an LSTM, less than hidden_size={hidden_size}"
            )
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, dropout
        self.bidirectional, self.proj_size = bidirectional, proj_size
        self.directions = ("", "_reverse") if bidirectional else ("",)  # what the names of the weights end in
        self.output_size = proj_size or hidden_size  # of one direction
        rows, bound = self.gates * hidden_size, 1 / math.sqrt(hidden_size)
        for layer, direction in itertools.product(range(num_layers), self.directions):
            width = input_size if layer == 0 else self.output_size * len(self.directions)
            shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, width), "weight_hh": (rows, self.output_size)}
            if bias:
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            if proj_size:
                shapes |= {"weight_hr": (proj_size, hidden_size)}
            for what, shape in shapes.items():
                weight = Parameter(np.empty(shape, np.float32))
                setattr(self, f"{what}_l{layer}{direction}", init.uniform_(weight, -bound, bound))

    def weights(self, layer: str) -> tuple[Any, Any, Any, Any]:
        """weight_ih, weight_hh, bias_ih and bias_hh of one layer, "0" or "0_reverse"; no ``bias``: these are None."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        w_ih, w_hh, b_ih, b_hh = (getattr(self, f"{name}_l{layer}", None) for name in names)
        return w_ih, w_hh, b_ih, b_hh

    def step(self, x: Tensor, state: tuple[Tensor, ...], layer: str) -> tuple[Tensor, ...]:
        """From x_t (N, input) and the state at t − 1 to the state at t; its first tensor is the output (N, hidden)."""
        raise TypeError(f"{type(self).__name__}: a recurrent layer must define step(self, x, state, layer)")

    def walk(self, input: Tensor, starts: tuple[Tensor, ...] | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The outputs of the last layer, in the input's order of axes, and the last states of all layers."""
        name = type(self).__name__
        check_input(name, input)
        if input.ndim not in (2, 3) or input.shape[-1] != self.input_size or 0 in input.shape:
            order = "(N, L, input)" if self.batch_first else "(L, N, input)"
            raise ValueError(
                f"{name}: got an input of shape {input.shape}; expected {order}, or (L, input) without a batch, with "
                f"input_size {self.input_size}, and at least one sample and one step"
            )
        batched = input.ndim == 3
        time = 1 if batched and self.batch_first else 0
        n = (input.shape[1 - time],) if batched else ()
        count = self.num_layers * len(self.directions)
        sizes = (self.output_size, self.hidden_size)[: self.states]
        if starts is None:
            starts = tuple(input.new_zeros(count, *n, size) for size in sizes)
        for start, size in zip(starts, sizes):
            expected = (count, *n, size)
            if not isinstance(start, Tensor) or start.shape != expected:
                got = start.shape if isinstance(start, Tensor) else type(start).__name__
                raise ValueError(
                    f"{name}: got a start state of shape {got}; expected (layers · directions, N, hidden) = {expected}"
                    + ("; it stays layers first with batch_first too" if self.batch_first else "")
                )
        steps = [input[:, t] if time else input[t] for t in range(input.shape[time])]
        ends: list[tuple[Tensor, ...]] = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                steps = [F.dropout(x, self.dropout, self.training) for x in steps]
            outputs = []
            for direction in self.directions:
                state = tuple(start[len(ends)] for start in starts)
                there = []
                for x in reversed(steps) if direction else steps:
                    state = self.step(x, state, f"{layer}{direction}")
                    there.append(state[0])
                ends.append(state)
                outputs.append(there[::-1] if direction else there)
            steps = outputs[0] if len(outputs) == 1 else [cat(both, -1) for both in zip(*outputs)]
        return stack(steps, time), tuple(stack(end) for end in zip(*ends))

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        text += f", num_layers={self.num_layers}" if self.num_layers != 1 else ""
        text += "" if self.bias else ", bias=False"
        text += ", batch_first=True" if self.batch_first else ""
        text += f", dropout={self.dropout}" if self.dropout else ""
        return text + (", bidirectional=True" if self.bidirectional else "")


class RNN(_Recurrent):
    """h_t = tanh(W_ih·x_t + b_ih + W_hh·h_{t−1} + b_hh), or ReLU in place of tanh; Elman 1990.

    input (L, N, input_size), (N, L, input_size) with ``batch_first``, or (L, input_size); h_0 (num_layers, N,
    hidden_size), zeros if not given -> output of the last layer, in the input's order with hidden_size as the last
    axis, and h_n (num_layers, N, hidden_size). Each layer takes the outputs of the one below it, with ``dropout`` in
    between. A ``bidirectional`` layer also walks from the end to the start, with weights "…_reverse": its outputs are
    both, 2·hidden_size, and its states are two, so that h_n has 2·num_layers rows. Weights start uniform within
    ±1/√hidden_size. Raises ValueError or TypeError for shapes that do not fit.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        proj_size: int = 0,
    ):
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size)
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f'{type(self).__name__}: got nonlinearity={nonlinearity!r}; expected "tanh" or "relu"')
        self.nonlinearity = nonlinearity

    def candidate(self, x: Tensor, h: Tensor, layer: str) -> Tensor:
        """The nonlinearity of W_ih·x + b_ih + W_hh·h + b_hh."""
        w_ih, w_hh, b_ih, b_hh = self.weights(layer)
        a = F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh)
        return a.tanh() if self.nonlinearity == "tanh" else a.relu()

    def step(self, x: Tensor, state: tuple[Tensor, ...], layer: str) -> tuple[Tensor, ...]:
        """One step: (h_{t−1},) -> (h_t,)."""
        return (self.candidate(x, state[0], layer),)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        output, (h_n,) = self.walk(input, None if hx is None else (hx,))
        return output, h_n

    def extra_repr(self) -> str:
        return super().extra_repr() + (", nonlinearity=relu" if self.nonlinearity == "relu" else "")


class GRU(_Recurrent):
    """Gated recurrent unit: h_t = (1 − z)·n + z·h_{t−1}; Cho et al. 2014 (arXiv 1406.1078), as PyTorch has it.

    r and z are sigmoids of W_ih·x_t + b_ih + W_hh·h_{t−1} + b_hh; n is the tanh of W_ih·x_t + b_ih + r·(W_hh·h_{t−1} +
    b_hh). The rows of the weights hold r, z, n in this order. Shapes as in `RNN`. Along h there is a gated shortcut.
    """

    gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
    ):
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size)

    def step(self, x: Tensor, state: tuple[Tensor, ...], layer: str) -> tuple[Tensor, ...]:
        """One step: (h_{t−1},) -> (h_t,)."""
        w_ih, w_hh, b_ih, b_hh = self.weights(layer)
        a, b, n = F.linear(x, w_ih, b_ih), F.linear(state[0], w_hh, b_hh), self.hidden_size
        gates = (a[..., : 2 * n] + b[..., : 2 * n]).sigmoid()
        r, z = gates[..., :n], gates[..., n:]
        new = (a[..., 2 * n :] + r * b[..., 2 * n :]).tanh()
        return ((1 - z) * new + z * state[0],)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        output, (h_n,) = self.walk(input, None if hx is None else (hx,))
        return output, h_n


class LSTM(_Recurrent):
    """Long short-term memory: c_t = f·c_{t−1} + i·g and h_t = o·tanh(c_t); Hochreiter & Schmidhuber 1997.

    The gates i, f, o are sigmoids, g is a tanh, of W_ih·x_t + b_ih + W_hh·h_{t−1} + b_hh, whose rows hold i, f, g, o
    in this order. Along c the gradient is multiplied by f alone: a gated shortcut through time.
    Shapes as in `RNN`; the state is a pair (h, c), so that ``output, (h_n, c_n) = lstm(input, (h_0, c_0))``. With a
    ``proj_size``, h is W_hr·(o·tanh(c_t)) of that size (Sak, Senior & Beaufays 2014, arXiv 1402.1128).
    """

    gates = 4
    states = 2

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
    ):
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size)

    def step(self, x: Tensor, state: tuple[Tensor, ...], layer: str) -> tuple[Tensor, ...]:
        """One step: (h_{t−1}, c_{t−1}) -> (h_t, c_t)."""
        h, c = state
        w_ih, w_hh, b_ih, b_hh = self.weights(layer)
        a, n = F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh), self.hidden_size
        i, f, g, o = a[..., :n], a[..., n : 2 * n], a[..., 2 * n : 3 * n], a[..., 3 * n :]
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        return F.linear(h, getattr(self, f"weight_hr_l{layer}")) if self.proj_size else h, c

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if hx is not None and (not isinstance(hx, tuple | list) or len(hx) != 2):
            raise ValueError(f"LSTM: got a start state of type {type(hx).__name__}; expected a pair (h_0, c_0)")
        output, (h_n, c_n) = self.walk(input, None if hx is None else tuple(hx))
        return output, (h_n, c_n)
