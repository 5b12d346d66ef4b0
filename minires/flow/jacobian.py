"""The Jacobian of a block, seen through its leading singular values.

The gradient crosses a plain stack as a product ∏Jᵢ of its blocks' Jacobians, and a residual one as ∏(I + Jᵢ), where Jᵢ
is that of the branch. The singular values of one block say how much it stretches the gradient; those of the product say
how much is left when it arrives, and in how many directions.

Method: power iteration on a few vectors at once that keeps all its steps (block Krylov iteration: Musco & Musco 2015,
arXiv 1504.05477, algorithm 2). It needs Jᵀu and Jv. The engine gives Jᵀu exactly (`autograd.grad`). Being first-order
it cannot give Jv: the usual trick, a reverse pass through the reverse pass, needs backward methods that are themselves
differentiable. So Jv is a central difference, (f(x + hv) − f(x − hv)) / 2h in float64, and only *steers* the iteration:
the singular values returned are those of JᵀU, where U holds the orthonormal vectors found and each column of JᵀU is an
exact vector–Jacobian product. They never exceed the true ones, and an angle ε between U and the true vectors costs only
ε². Jv is checked against the identity ⟨u, Jv⟩ = ⟨Jᵀu, v⟩, and the result says how far it was off. Where J is so small
that Jv is lost in the rounding of y, U goes in random directions, and residuals near 1 or above say so, until it spans
all of them: then the values are exact.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import autograd, kernels, random
from ..arguments import described
from ..blas import one_blas_thread
from ..nn import Module
from ..norms import norm, relative, scaled
from ..progress import tqdm
from ..tensor import Tensor
from .chain import Chain, Function, chain_of
from .inside import check_single
from .keeping import keeping


@dataclass(frozen=True)
class Jacobian:
    """The leading singular values of a Jacobian ∂y/∂x, with x and y taken as long vectors.

    values (count,): descending; lower bounds, up to rounding. residuals (count,): ‖Jv − σu‖ / σ₁ for each; a singular
    value of J lies within that (times σ₁) of it. adjoint_error: the largest |⟨u, Jv⟩ − ⟨Jᵀu, v⟩| over all vectors used,
    over σ₁². iterations: how many it took. shape: (numbers in y, numbers in x).
    left (count, *shape of y), right (count, *shape of x): the unit singular vectors, if requested.
    """

    values: np.ndarray
    residuals: np.ndarray
    adjoint_error: float
    iterations: int
    shape: tuple[int, int]
    left: np.ndarray | None = field(default=None, repr=False)
    right: np.ndarray | None = field(default=None, repr=False)


def jacobian(
    block: Function,
    x: Any,
    count: int = 5,
    iterations: int = 40,
    *,
    tolerance: float = 1e-6,
    vectors: bool = False,
    seed: int = 0,
) -> Jacobian:
    """The ``count`` leading singular values of the Jacobian of ``block`` at x, and on request their vectors.

    block: a module, or a function of one tensor. x (N, …): tensor or array. The Jacobian is that of the whole batch,
    whose examples batch norm ties together in training mode. The mode is used as it is; dropout draws the same mask in
    every run. Stops when all residuals are below ``tolerance``, or after ``iterations``, each of ``count`` products Jᵀu
    and Jv. A module runs in float64 and is left exactly as it was. A function runs as it is, inside `keeping` if it
    changes a model; from float32, residuals stay above 1e-4, and the values are good to about their square.
    Memory: count · iterations vectors of the size of x, and twice as many of the size of y.
    Raises ValueError if ``count`` or ``iterations`` does not fit, or if y does not depend on x.
    """
    check_single("jacobian", x)
    if isinstance(block, Module):
        with keeping(block):
            block.double().requires_grad_(False)
            f, start = _from_host(block, _device(block, x)), _array(x).astype(np.float64)
            return one_blas_thread(_jacobian, f, start, count, iterations, tolerance, vectors, seed)
    restore = random.restorer()
    try:
        f, start = _from_host(block, Tensor(x).device), _array(x)
        return one_blas_thread(_jacobian, f, start, count, iterations, tolerance, vectors, seed)
    finally:
        restore()


def jacobians(
    model: Module,
    x: Any,
    blocks: Iterable[Module | str] | None = None,
    count: int = 5,
    iterations: int = 40,
    *,
    product: bool = False,
    tolerance: float = 1e-6,
    seed: int = 0,
    progress: bool = True,
) -> list[Jacobian]:
    """The Jacobian of every block of a model, at the activations that x (N, …) gives it; in forward order.

    blocks: modules (or names) that the model calls in a chain, each with one input; ``model.blocks()`` if left out.
    ``product`` takes the first i blocks together instead, the product of their Jacobians. The rest is `jacobian`'s.
    The model is left exactly as it was. Raises ValueError if a block is not called once, or they form no chain.
    """
    check_single("jacobians", x)
    results = []
    with keeping(model):
        model.double().requires_grad_(False)
        device = _device(model, x)
        x = kernels.to_device(_array(x).astype(np.float64), device)
        chain, inputs = chain_of("jacobians", model, x, blocks)
        for i in tqdm(range(len(chain)), desc="Jacobians", disable=not progress, unit="block", leave=False):
            start, part = (inputs[0], chain[: i + 1]) if product else (inputs[i], chain[i : i + 1])
            f = _from_host(Chain(part), device)
            results.append(one_blas_thread(_jacobian, f, _array(start), count, iterations, tolerance, False, seed))
    return results


def _jacobian(f: Function, x: np.ndarray, count, iterations, tolerance, vectors, seed) -> Jacobian:
    """Block Krylov iteration; see the top of the file. Its matrices are too thin to share between BLAS's threads."""
    map_ = _LinearMap(f, x)
    m, n = map_.y.array.size, x.size
    if not 1 <= count <= min(m, n):
        raise ValueError(f"jacobian: got count={count} for a Jacobian of shape ({m}, {n}); expected 1 to {min(m, n)}")
    if iterations < 1:
        raise ValueError(f"jacobian: got iterations={iterations}; expected at least 1")
    rng = np.random.default_rng(seed)
    u = np.zeros((m, 0))  # orthonormal columns; beside them Jᵀu, exact, and J·Jᵀu, by differences
    jt_u, jjt_u = np.zeros((n, 0)), np.zeros((m, 0))
    block = map_.jv(rng.standard_normal((n, count)))
    done, unit = 0, 1.0
    while done < iterations and u.shape[1] < m:
        new = _orthonormal(block, u, map_.noise)
        if new.shape[1] < count:  # an invariant subspace: go on from somewhere else, within the range of J
            fresh = map_.jv(rng.standard_normal((n, count - new.shape[1])))
            new = np.hstack([new, _orthonormal(fresh, np.hstack([u, new]), map_.noise)])
        if not new.shape[1]:
            if done and _adjoint_error(u, jt_u, jjt_u) < 0.1:
                break  # the range of J is exhausted: all is exact
            anywhere = rng.standard_normal((m, min(count, m - u.shape[1])))  # Jv is lost in the rounding of y
            new = _orthonormal(anywhere, u, map_.noise)
        exact = map_.vj(new)
        if not done:
            unit = scaled(exact)[1]  # in which J is measured from here on, so that no square under- or overflows
        done += 1
        u = np.hstack([u, new])
        jt_u = np.hstack([jt_u, exact / unit])
        block = map_.jv(exact / unit) / unit
        jjt_u = np.hstack([jjt_u, block])
        squares, mix = np.linalg.eigh(jt_u.T @ jt_u)  # cheap, and good enough to see whether this is enough
        values, mix = np.sqrt(np.maximum(squares[::-1], 0))[:count], mix[:, ::-1][:, :count]
        if values[0] == 0 or (len(values) == count and _residuals(u, jjt_u, values, mix).max() < tolerance):
            break
    if not done or values[0] == 0:
        return Jacobian(np.zeros(count), np.zeros(count), 0.0, done, (m, n))  # J = 0 determines no singular vectors
    right, values, mix = np.linalg.svd(jt_u, full_matrices=False)
    right, values, mix = right[:, :count], values[:count], mix[:count].T
    residuals = _residuals(u, jjt_u, values, mix) if u.shape[1] < m else np.zeros(len(values))  # all of J is known
    adjoint = _adjoint_error(u, jt_u, jjt_u)
    missing = max(count - len(values), 0)  # J has a lower rank than ``count``: the rest is 0
    return Jacobian(
        np.pad(values * unit, (0, missing)),
        np.pad(residuals, (0, missing)),
        adjoint,
        done,
        (m, n),
        left=(u @ mix).T.reshape(-1, *map_.y.shape) if vectors else None,
        right=right.T.reshape(-1, *x.shape) if vectors else None,
    )


def _residuals(u: np.ndarray, jjt_u: np.ndarray, values: np.ndarray, mix: np.ndarray) -> np.ndarray:
    """‖Jv − σu‖ / σ₁ of the singular triples found in Jᵀu = right · diag(values) · mixᵀ."""
    safe = np.maximum(values, values[0] * np.finfo(float).eps)
    return np.linalg.norm(jjt_u @ mix / safe - (u @ mix) * values, axis=0) / values[0]


def _adjoint_error(u: np.ndarray, jt_u: np.ndarray, jjt_u: np.ndarray) -> float:
    """The largest |⟨u, Jv⟩ − ⟨Jᵀu, v⟩| for v = Jᵀu, over σ₁²."""
    exact = jt_u.T @ jt_u
    return relative(float(np.abs(u.T @ jjt_u - exact).max()), float(np.linalg.norm(exact, 2)))


def _orthonormal(block: np.ndarray, basis: np.ndarray, noise: float) -> np.ndarray:
    """Orthonormal columns for what the block adds to the basis, above the noise."""
    size = np.linalg.norm(block, axis=0)
    block = block[:, size > 0] / size[size > 0]
    for _ in range(2):  # twice is enough
        block = block - basis @ (basis.T @ block)
    q, weight, _ = np.linalg.svd(block, full_matrices=False)
    q = q[:, weight > noise]
    q = q - basis @ (basis.T @ q)
    return np.linalg.qr(q)[0]


class _LinearMap:
    """J and Jᵀ of a function at x, on columns of vectors."""

    def __init__(self, f: Function, x: np.ndarray):
        if x.dtype.kind != "f":
            raise TypeError(f"jacobian: got x of dtype {x.dtype}; a Jacobian needs floating point, such as float64")
        self.f, self.x, self.state = f, x, random.get_state()
        self.input = Tensor(x, requires_grad=True)
        with autograd.switch(grad_enabled=True, recorder=None):
            self.y = self._run(self.input)
        if not isinstance(self.y, Tensor):
            raise TypeError(f"jacobian: the block returned {described(self.y)}; expected one tensor")
        if not self.y.requires_grad:
            raise ValueError(
                "jacobian: the block's output does not depend on x; was it detached, or computed from another tensor?"
            )
        eps = float(np.finfo(x.dtype).eps)
        self.move = eps**0.5  # small, at the cost of some rounding: a ReLU that switches within ±hv would be worse
        self.noise = 100 * self.move  # of Jv, with a margin
        self.norms = [norm(array) or 1.0 for array in (x, self.y.array)]
        self.stretch = 1.0  # the largest ‖Jᵀu‖ seen

    def _run(self, x: Tensor) -> Tensor:
        random.set_state(dict(self.state))  # the same dropout mask each time
        return self.f(x)

    def vj(self, u: np.ndarray) -> np.ndarray:
        """Jᵀu for the columns of u (m, k) -> (n, k), by the engine."""
        with autograd.switch(recorder=None, scaling=None):  # J is that of the forward pass
            seeds = [column.reshape(self.y.shape).astype(self.x.dtype) for column in u.T]
            grads = [autograd.grad(self.y, self.input, seed, retain_graph=True)[0] for seed in seeds]
        columns = np.stack([np.asarray(g, np.float64).ravel() for g in grads], axis=1)
        self.stretch = max(self.stretch, float(np.linalg.norm(columns, axis=0).max()))
        return columns

    def jv(self, v: np.ndarray) -> np.ndarray:
        """Jv for the columns of v (n, k) -> (m, k), by central differences."""
        growth = max(1.0, self.stretch * self.norms[0] / self.norms[1])  # of a relative change, from x to y
        columns, step = [], self.move * self.norms[0] / growth**0.5
        with autograd.switch(grad_enabled=False, recorder=None):
            for column in v.T:
                size = norm(column) or 1.0
                move = (column * (step / size)).reshape(self.x.shape).astype(self.x.dtype)
                ahead, behind = (self._run(Tensor(self.x + sign * move)).array for sign in (1, -1))
                columns.append((ahead.astype(np.float64) - behind).ravel() * (size / (2 * step)))
        return np.stack(columns, axis=1)


def _array(x: Any) -> np.ndarray:
    """The values on the CPU, where all the linear algebra is done."""
    return (x if isinstance(x, Tensor) else Tensor(x)).numpy()


def _device(model: Module, x: Any) -> str:
    """Where a model runs: with its parameters, or if it has none, with its input."""
    return next(model.parameters(), x if isinstance(x, Tensor) else Tensor(x)).device


def _from_host(f: Function, device: str) -> Function:
    """f, which runs on a device, as a function of a tensor on the CPU that returns one there."""
    return f if device == "cpu" else lambda x: f(x.to(device)).to("cpu")
