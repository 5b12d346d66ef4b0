"""Adam and its relatives: a running mean of the gradients, divided by a running measure of their size."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from ..tensor import Tensor
from . import on_device
from .optimizers import Optimizer, Settings, decayed, in_runs

WAYS = ("foreach", "capturable", "differentiable")


class _TwoMeans(Optimizer):
    """Base of this family: ``betas`` = (β₁, β₂), the share of each mean that a step keeps; ``eps`` adds to the size."""

    def check(self, settings: Settings) -> None:
        super().check(settings)
        self.number(settings, "eps", 0, math.inf)
        betas = settings["betas"]
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise TypeError(f"{self.name}: got betas={betas!r}; expected a pair such as (0.9, 0.999)")
        named = {"betas[0]": betas[0], "betas[1]": betas[1]}
        for name in named:
            self.number(named, name, 0, 1)
        settings["betas"] = tuple(named.values())


class Adam(_TwoMeans):
    """Adam: a step of about η for every parameter, whatever the scale of its gradient.

        g = ∇f(θ) + λ·θ                                              λ = weight_decay; with maximize, −∇f(θ)
        m ← β₁·m + (1 − β₁)·g,      v ← β₂·v + (1 − β₂)·g²           betas = (β₁, β₂)
        θ ← θ − η · m̂ / (√v̂ + ε),   m̂ = m / (1 − β₁ᵗ),  v̂ = v / (1 − β₂ᵗ)         η = lr, ε = eps, t counts from 1

    With amsgrad, v̂ is computed from the largest v so far. With decoupled_weight_decay, this is `AdamW`.

    Source: Kingma & Ba 2015 (arXiv 1412.6980), algorithm 1; amsgrad: Reddi et al. 2018 (arXiv 1904.09237).
    """

    kernel = "adam"
    keeps: ClassVar = {"step": int, "exp_avg": np.ndarray, "exp_avg_sq": np.ndarray}
    may_keep: ClassVar = {"max_exp_avg_sq": np.ndarray}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
        **ways: Any,
    ):
        settings = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad, maximize=maximize)
        ways = self.ways(ways, *WAYS, "fused")
        super().__init__(params, {**settings, "decoupled_weight_decay": decoupled_weight_decay, **ways})

    def update(self, p: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: Settings) -> None:
        lr, (beta1, beta2), eps = group["lr"], group["betas"], group["eps"]
        means = self._means(p, state, group)
        state["step"] += 1
        step_size = lr / (1 - beta1 ** state["step"])
        root = math.sqrt(1 - beta2 ** state["step"])

        def formula(w, g, m, v, largest=None):
            g = decayed(w, g, group)
            m += (1 - beta1) * (g - m)
            v *= beta2
            v += (1 - beta2) * g * g
            if largest is not None:
                v = np.maximum(largest, v, out=largest)
            w -= step_size * m / (np.sqrt(v) / root + eps)

        in_runs(formula, p, grad, *means)

    def row(self, p: Tensor, state: dict[str, Any], group: Settings, advance: bool) -> on_device.Row:
        lr, (beta1, beta2), eps, weight_decay = group["lr"], group["betas"], group["eps"], group["weight_decay"]
        means = self._means(p.array, state, group)
        state["step"] += advance
        step_size, root = lr / (1 - beta1 ** state["step"]), math.sqrt(1 - beta2 ** state["step"])
        l2, shrink = (0.0, 1 - lr * weight_decay) if group["decoupled_weight_decay"] else (weight_decay, 1.0)
        sign = -1 if group["maximize"] else 1
        numbers = step_size, root, 1 - beta1, beta2, 1 - beta2, eps, l2, shrink, sign
        assert p.grad is not None  # see `rows`
        return on_device.Row(p.array, p.grad.array, means, numbers)

    def _means(self, p: Any, state: dict[str, Any], group: Settings) -> tuple[Any, ...]:
        """m and v, and with amsgrad the largest v; zeros before the first step."""
        if not state:
            state.update(step=0, exp_avg=np.zeros_like(p), exp_avg_sq=np.zeros_like(p))
        if not group["amsgrad"]:
            return state["exp_avg"], state["exp_avg_sq"]
        if "max_exp_avg_sq" not in state:
            state["max_exp_avg_sq"] = np.zeros_like(p)
        return state["exp_avg"], state["exp_avg_sq"], state["max_exp_avg_sq"]


class AdamW(Adam):
    """Adam with decoupled weight decay: θ shrinks by η·λ·θ before the step of `Adam`, and g stays the plain gradient.

    Source: Loshchilov & Hutter 2019 (arXiv 1711.05101), algorithm 2; the decay is scaled by η, as in PyTorch.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        **ways: Any,
    ):
        ways["decoupled_weight_decay"] = True
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, **ways)

    def check(self, settings: Settings) -> None:
        super().check(settings)
        settings["decoupled_weight_decay"] = True  # even with an Adam's state loaded: the name says so


class Adamax(_TwoMeans):
    """Adam with the largest gradient in place of the root of the mean square.

        g = ∇f(θ) + λ·θ                                              λ = weight_decay; with maximize, −∇f(θ)
        m ← β₁·m + (1 − β₁)·g,      u ← max(β₂·u, |g| + ε)           betas = (β₁, β₂), ε = eps
        θ ← θ − η / (1 − β₁ᵗ) · m / u                                η = lr, t counts from 1

    Source: Kingma & Ba 2015 (arXiv 1412.6980), algorithm 2; ε, as in PyTorch, so that u is never 0.
    """

    keeps: ClassVar = {"step": int, "exp_avg": np.ndarray, "exp_inf": np.ndarray}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
        **ways: Any,
    ):
        settings = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, maximize=maximize)
        super().__init__(params, {**settings, **self.ways(ways, *WAYS)})

    def update(self, p: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: Settings) -> None:
        (beta1, beta2), eps = group["betas"], group["eps"]
        if not state:
            state.update(step=0, exp_avg=np.zeros_like(p), exp_inf=np.zeros_like(p))
        state["step"] += 1
        step_size = group["lr"] / (1 - beta1 ** state["step"])

        def formula(w, g, m, u):
            g = decayed(w, g, group)
            m += (1 - beta1) * (g - m)
            np.maximum(beta2 * u, np.abs(g) + eps, out=u)
            w -= step_size * m / u

        in_runs(formula, p, grad, state["exp_avg"], state["exp_inf"])


class NAdam(_TwoMeans):
    """Adam with Nesterov's momentum, which grows towards β₁ as training goes on.

        g = ∇f(θ) + λ·θ                                              λ = weight_decay; with maximize, −∇f(θ)
        μ_t = β₁·(1 − 0.96^(t·ψ) / 2),  π_t = μ₁·…·μ_t               betas = (β₁, β₂), ψ = momentum_decay
        m ← β₁·m + (1 − β₁)·g,      v ← β₂·v + (1 − β₂)·g²,  v̂ = v / (1 − β₂ᵗ)
        θ ← θ − η · (μ_{t+1}·m / (1 − π_{t+1}) + (1 − μ_t)·g / (1 − π_t)) / (√v̂ + ε)         η = lr, ε = eps

    With decoupled_weight_decay, θ shrinks by η·λ·θ first, and g stays the plain gradient.

    Source: Dozat 2016, Incorporating Nesterov momentum into Adam (ICLR workshop); 0.96 as in PyTorch.
    """

    keeps: ClassVar = {"step": int, "mu_product": float, "exp_avg": np.ndarray, "exp_avg_sq": np.ndarray}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        **ways: Any,
    ):
        settings = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, momentum_decay=momentum_decay)
        settings |= dict(decoupled_weight_decay=decoupled_weight_decay, maximize=maximize)
        super().__init__(params, {**settings, **self.ways(ways, *WAYS)})

    def check(self, settings: Settings) -> None:
        super().check(settings)
        self.number(settings, "momentum_decay", 0, math.inf)

    def update(self, p: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: Settings) -> None:
        lr, (beta1, beta2), eps = group["lr"], group["betas"], group["eps"]
        if not state:
            state.update(step=0, mu_product=1.0, exp_avg=np.zeros_like(p), exp_avg_sq=np.zeros_like(p))
        state["step"] += 1
        t = state["step"]
        now, ahead = (beta1 * (1 - 0.5 * 0.96 ** (s * group["momentum_decay"])) for s in (t, t + 1))
        state["mu_product"] *= now
        of_gradient = lr * (1 - now) / (1 - state["mu_product"])
        of_mean = lr * ahead / (1 - state["mu_product"] * ahead)
        root = math.sqrt(1 - beta2**t)

        def formula(w, g, m, v):
            g = decayed(w, g, group)
            m += (1 - beta1) * (g - m)
            v *= beta2
            v += (1 - beta2) * g * g
            w -= (of_gradient * g + of_mean * m) / (np.sqrt(v) / root + eps)

        in_runs(formula, p, grad, state["exp_avg"], state["exp_avg_sq"])


class RAdam(_TwoMeans):
    """Adam that takes plain momentum steps until it has seen enough gradients to know their size.

        g = ∇f(θ) + λ·θ                                              λ = weight_decay; with maximize, −∇f(θ)
        m ← β₁·m + (1 − β₁)·g,      v ← β₂·v + (1 − β₂)·g²           betas = (β₁, β₂)
        ρ∞ = 2 / (1 − β₂) − 1,      ρ_t = ρ∞ − 2·t·β₂ᵗ / (1 − β₂ᵗ)
        ρ_t > 5:  θ ← θ − η · r_t · m̂ · √(1 − β₂ᵗ) / (√v + ε),   m̂ = m / (1 − β₁ᵗ)         η = lr, ε = eps
        ρ_t ≤ 5:  θ ← θ − η · m̂
        r_t = √((ρ_t − 4)·(ρ_t − 2)·ρ∞ / ((ρ∞ − 4)·(ρ∞ − 2)·ρ_t))

    With decoupled_weight_decay, θ shrinks by η·λ·θ first, and g stays the plain gradient.

    Source: Liu et al. 2020 (arXiv 1908.03265), algorithm 2; 5 in place of the paper's 4, as in PyTorch.
    """

    keeps: ClassVar = {"step": int, "exp_avg": np.ndarray, "exp_avg_sq": np.ndarray}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        **ways: Any,
    ):
        settings = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, maximize=maximize)
        settings["decoupled_weight_decay"] = decoupled_weight_decay
        super().__init__(params, {**settings, **self.ways(ways, *WAYS)})

    def update(self, p: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: Settings) -> None:
        lr, (beta1, beta2), eps = group["lr"], group["betas"], group["eps"]
        if not state:
            state.update(step=0, exp_avg=np.zeros_like(p), exp_avg_sq=np.zeros_like(p))
        state["step"] += 1
        t = state["step"]
        step_size = lr / (1 - beta1**t)
        most = 2 / (1 - beta2) - 1
        seen = most - 2 * t * beta2**t / (1 - beta2**t)  # ρ_t: the length of a moving average that sees as much
        if seen > 5:
            known = (seen - 4) * (seen - 2) * most / ((most - 4) * (most - 2) * seen)
            step_size *= math.sqrt(known * (1 - beta2**t))

        def formula(w, g, m, v):
            g = decayed(w, g, group)
            m += (1 - beta1) * (g - m)
            v *= beta2
            v += (1 - beta2) * g * g
            w -= step_size * m / (np.sqrt(v) + eps) if seen > 5 else step_size * m

        in_runs(formula, p, grad, state["exp_avg"], state["exp_avg_sq"])
