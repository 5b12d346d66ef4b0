"""RMSprop, Adagrad and Adadelta: each gradient is divided by the size of those before it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from .optimizers import Optimizer, Settings, decayed, in_runs


class RMSprop(Optimizer):
    """The gradient divided by the root of its running mean square.

        g = ∇f(θ) + λ·θ                          λ = weight_decay; with maximize, −∇f(θ)
        v ← α·v + (1 − α)·g²                     α = alpha
        d = g / (√v + ε)                         ε = eps; with centered, √(v − a²), where a ← α·a + (1 − α)·g
        θ ← θ − η·d,    or with momentum   b ← μ·b + d,   θ ← θ − η·b          η = lr, μ = momentum

    Source: Tieleman & Hinton 2012 (Coursera, lecture 6.5); centered: Graves 2013 (arXiv 1308.0850), equations 38 to 45.
    """

    keeps: ClassVar = {"step": int, "square_avg": np.ndarray}
    may_keep: ClassVar = {"momentum_buffer": np.ndarray, "grad_avg": np.ndarray}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
        **ways: Any,
    ):
        settings = dict(lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum, centered=centered)
        ways = self.ways(ways, "capturable", "foreach", "differentiable")
        super().__init__(params, {**settings, "maximize": maximize, **ways})

    def check(self, settings: Settings) -> None:
        super().check(settings)
        for name in ("alpha", "eps", "momentum"):
            self.number(settings, name, 0, math.inf)

    def update(self, p: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: Settings) -> None:
        lr, alpha, eps = group["lr"], group["alpha"], group["eps"]
        momentum, centered = group["momentum"], group["centered"]
        names = ["square_avg", *["momentum_buffer"] * (momentum > 0), *["grad_avg"] * bool(centered)]
        for name in names:
            if name not in state:
                state[name] = np.zeros_like(p)
        state["step"] = state.get("step", 0) + 1

        def formula(w, g, v, *rest):
            g = decayed(w, g, group)
            v *= alpha
            v += (1 - alpha) * g * g
            if centered:
                a = rest[-1]
                a += (1 - alpha) * (g - a)
                v = np.maximum(v - a * a, 0)  # the variance; rounding can make it negative
            d = g / (np.sqrt(v) + eps)
            if momentum > 0:
                b = rest[0]
                b *= momentum
                b += d
                d = b
            w -= lr * d

        in_runs(formula, p, grad, *(state[name] for name in names))


class Adagrad(Optimizer):
    """The gradient divided by the root of the sum of all squares so far: the step of a parameter only ever shrinks.

        g = ∇f(θ) + λ·θ                          λ = weight_decay; with maximize, −∇f(θ)
        s ← s + g²                               s starts at initial_accumulator_value
        θ ← θ − η / (1 + (t − 1)·lr_decay) · g / (√s + ε)          η = lr, ε = eps, t counts from 1

    Source: Duchi, Hazan & Singer 2011 (JMLR 12), with the diagonal matrix.
    """

    keeps: ClassVar = {"step": int, "sum": np.ndarray}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
        **ways: Any,
    ):
        settings = dict(lr=lr, lr_decay=lr_decay, eps=eps, weight_decay=weight_decay, maximize=maximize)
        settings["initial_accumulator_value"] = initial_accumulator_value
        super().__init__(params, {**settings, **self.ways(ways, "foreach", "differentiable", "fused")})

    def check(self, settings: Settings) -> None:
        super().check(settings)
        for name in ("lr_decay", "initial_accumulator_value", "eps"):
            self.number(settings, name, 0, math.inf)

    def update(self, p: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: Settings) -> None:
        eps = group["eps"]
        if not state:
            state.update(step=0, sum=np.full_like(p, group["initial_accumulator_value"]))
        state["step"] += 1
        step_size = group["lr"] / (1 + (state["step"] - 1) * group["lr_decay"])

        def formula(w, g, s):
            g = decayed(w, g, group)
            s += g * g
            w -= step_size * g / (np.sqrt(s) + eps)

        in_runs(formula, p, grad, state["sum"])


class Adadelta(Optimizer):
    """The gradient divided by its size and multiplied by that of the steps, so that a step has the units of θ.

        g = ∇f(θ) + λ·θ                          λ = weight_decay; with maximize, −∇f(θ)
        v ← ρ·v + (1 − ρ)·g²                     ρ = rho
        d = √(u + ε) / √(v + ε) · g              ε = eps
        u ← ρ·u + (1 − ρ)·d²
        θ ← θ − η·d                              η = lr

    Source: Zeiler 2012 (arXiv 1212.5701), algorithm 1, where η is 1.
    """

    keeps: ClassVar = {"step": int, "square_avg": np.ndarray, "acc_delta": np.ndarray}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
        **ways: Any,
    ):
        settings = dict(lr=lr, rho=rho, eps=eps, weight_decay=weight_decay, maximize=maximize)
        super().__init__(params, {**settings, **self.ways(ways, "foreach", "capturable", "differentiable")})

    def check(self, settings: Settings) -> None:
        super().check(settings)
        self.number(settings, "eps", 0, math.inf)
        self.number(settings, "rho", 0, math.nextafter(1, 2))  # 1 is allowed

    def update(self, p: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: Settings) -> None:
        lr, rho, eps = group["lr"], group["rho"], group["eps"]
        if not state:
            state.update(step=0, square_avg=np.zeros_like(p), acc_delta=np.zeros_like(p))
        state["step"] += 1

        def formula(w, g, v, u):
            g = decayed(w, g, group)
            v *= rho
            v += (1 - rho) * g * g
            d = np.sqrt(u + eps) / np.sqrt(v + eps) * g
            u *= rho
            u += (1 - rho) * d * d
            w -= lr * d

        in_runs(formula, p, grad, state["square_avg"], state["acc_delta"])
