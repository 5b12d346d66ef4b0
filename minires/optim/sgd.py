"""SGD: stochastic gradient descent, with momentum and Nesterov's momentum."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from ..tensor import Tensor
from . import on_device
from .optimizers import Optimizer, Settings, decayed, in_runs


class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

        d = ∇f(θ) + λ·θ                          λ = weight_decay; with maximize, −∇f(θ)
        v ← d  in the first step, then  μ·v + (1 − dampening)·d          μ = momentum
        θ ← θ − η·v,    or with Nesterov's momentum   θ ← θ − η·(d + μ·v)          η = lr

    Source: Polyak 1964; Nesterov 1983; for deep networks, Sutskever et al. 2013 (ICML), but here the learning rate is
    outside the velocity, as in PyTorch. The first velocity is the raw gradient: dampening does not apply to it.
    """

    kernel = "sgd"
    may_keep: ClassVar = {"momentum_buffer": np.ndarray}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        **ways: Any,
    ):
        settings = dict(lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay, nesterov=nesterov)
        ways = self.ways(ways, "foreach", "differentiable", "fused")
        super().__init__(params, {**settings, "maximize": maximize, **ways})

    def check(self, settings: Settings) -> None:
        super().check(settings)
        self.number(settings, "momentum", 0, math.inf)
        self.number(settings, "dampening", -math.inf, math.inf)
        if settings["nesterov"] and (settings["momentum"] <= 0 or settings["dampening"] != 0):
            raise ValueError(
                f"SGD: got nesterov=True with momentum={settings['momentum']}, dampening={settings['dampening']}; "
                "Nesterov needs a momentum, such as 0.9, and no dampening"
            )

    def update(self, p: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: Settings) -> None:
        lr, momentum = group["lr"], group["momentum"]
        first = momentum != 0 and "momentum_buffer" not in state
        buffer = np.empty_like(p) if first else state["momentum_buffer"] if momentum else p

        def formula(w, g, v):
            d = decayed(w, g, group)
            if first:
                v[...] = d
            elif momentum:
                v *= momentum
                v += (1 - group["dampening"]) * d if group["dampening"] else d
            if momentum:
                d = d + momentum * v if group["nesterov"] else v
            w -= lr * d

        in_runs(formula, p, grad, buffer)
        if first:
            state["momentum_buffer"] = buffer

    def row(self, p: Tensor, state: dict[str, Any], group: Settings, advance: bool) -> on_device.Row:
        first = group["momentum"] != 0 and "momentum_buffer" not in state
        if first:
            state["momentum_buffer"] = np.empty_like(p.array)
        states = (state["momentum_buffer"],) if group["momentum"] else ()
        sign = -1 if group["maximize"] else 1
        numbers = group["lr"], group["momentum"], 1 - group["dampening"], group["weight_decay"], group["nesterov"], sign
        assert p.grad is not None  # see `rows`
        return on_device.Row(p.array, p.grad.array, states, numbers, first)
