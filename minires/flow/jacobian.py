"""The Jacobian of a block, seen through its leading singular values.

The gradient crosses a plain stack as a product ∏Jᵢ of its blocks' Jacobians, and a residual one as ∏(I + Jᵢ), J being that
of the branch. The singular values of one block say how much it stretches the gradient; those of the product say whether
any direction is left when it arrives.

Method: power iteration on a block of vectors that keeps all its steps (block Krylov iteration: Musco & Musco 2015,
arXiv 1504.05477, algorithm 2). It needs Jᵀu and Jv. The engine gives Jᵀu exactly (`autograd.grad`), and being first-order
cannot give Jv the same way: the known device, a second reverse pass through the first, needs backward passes that are
differentiable themselves. So Jv is a central difference in float64, (f(x + hv) − f(x − hv)) / 2h, which only *steers* the
iteration: the singular values returned are those of Jᵀ·U, U being the orthonormal vectors found, each column an exact
vector–Jacobian product. They can fall below the true ones and never exceed them, and an angle ε between U and the true
subspace costs only ε². Jv is held to the identity ⟨u, Jv⟩ = ⟨Jᵀu, v⟩, and its error comes with the result.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from .. import autograd, random
from ..kernels.cpu.threads import one_blas_thread
from ..nn import Module
from ..tensor import Tensor
from .keeping import keeping

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Jacobian:
    """The leading singular values of a Jacobian ∂y/∂x, x and y taken as long vectors.

    values (count,): descending; lower bounds up to rounding. residuals (count,): ‖Jv − σu‖ / σ₁ for each; a singular value
    lies within this of it (relative to the largest). adjoint_error: the largest |⟨u, Jv⟩ − ⟨Jᵀu, v⟩| over all vectors used,
    relative to σ₁². iterations: how many it took. shape: (numbers in y, numbers in x).
    left (count, *shape of y), right (count, *shape of x): the unit singular vectors, if asked for.
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

    block: a module, or a function of one tensor. x (N, …): a tensor or array; the Jacobian is that of the whole batch, which
    in training mode batch norm ties together. The mode is used as it is; dropout draws the same mask each time.
    Stops when all residuals are below ``tolerance``, or after ``iterations``, of count products Jᵀu and Jv each.
    A module runs in float64 and is left exactly as it was; a function runs as it is (inside `keeping`, if it changes a
    model), and with float32 weights Jv carries an error of about 1e-3, which slows the iteration but does not spoil it.
    Memory: count · iterations vectors of the size of x and three times as many of the size of y.
    Raises ValueError if ``count`` exceeds the rank there can be, or y does not depend on x.
    """
    if isinstance(block, Module):
        with keeping(block), in_float64(block):
            return _jacobian(block, _array(x).astype(np.float64), count, iterations, tolerance, vectors, seed)
    state = random.get_state()
    try:
        return _jacobian(block, _array(x), count, iterations, tolerance, vectors, seed)
    finally:
        random.set_state(state)


def jacobians(
    model: Module,
    x: Any,
    blocks: Sequence[Module] | None = None,
    count: int = 5,
    iterations: int = 40,
    *,
    product: bool = False,
    tolerance: float = 1e-6,
    seed: int = 0,
    progress: bool = True,
) -> list[Jacobian]:
    """The Jacobian of every block of a model at the activations that x (N, …) gives; one `Jacobian` per block, in order.

    blocks: modules that the model calls in a chain, each with one input; ``model.blocks()`` if left out. With ``product``,
    the Jacobian of the first i blocks together: the product of their Jacobians. Other arguments as for `jacobian`.
    The model is left exactly as it was. Raises ValueError if the blocks are not called once each, or do not form a chain.
    """
    chain = list(model.blocks() if blocks is None and hasattr(model, "blocks") else blocks or ())
    if not chain:
        raise ValueError("jacobians: got no blocks, and the model has no method blocks(); pass blocks=[…], its modules")
    results = []
    with keeping(model), in_float64(model):
        inputs = inputs_of(model, chain, _array(x).astype(np.float64))
        for i in tqdm(range(len(chain)), desc="Jacobians", disable=not progress, unit="block", leave=False):
            start, part = (inputs[0], chain[: i + 1]) if product else (inputs[i], chain[i : i + 1])
            results.append(_jacobian(_Chain(part), start, count, iterations, tolerance, False, seed))
    return results


@contextlib.contextmanager
def in_float64(model: Module) -> Iterator[None]:
    """Run a model in float64, its parameters taken as constants; its own arrays come back, untouched, when the block ends."""
    parameters = [(p, p.data, p.requires_grad) for p in model.parameters()]
    buffers = [(module._buffers, dict(module._buffers)) for module in model.modules()]
    try:
        model.double().requires_grad_(False)
        yield
    finally:
        for p, data, requires_grad in parameters:
            p.data, p.requires_grad = data, requires_grad
        for own, before in buffers:
            own.update(before)


def inputs_of(model: Module, chain: Sequence[Module], x: np.ndarray) -> list[np.ndarray]:
    """What each module of a chain gets as its input when the model runs on x. Raises ValueError if it is no chain."""
    calls: list[tuple[Module, Tensor, Tensor]] = []

    def watched(module: Module) -> Function:
        def forward(*inputs: Tensor) -> Tensor:
            calls.append((module, inputs[0], type(module).forward(module, *inputs)))
            return calls[-1][2]

        return forward

    try:
        for module in chain:
            module.__dict__["forward"] = watched(module)
        with autograd.switch(grad_enabled=False, recorder=None):
            model(Tensor(x))
    finally:
        for module in chain:
            module.__dict__.pop("forward", None)
    if [id(module) for module, _, _ in calls] != [id(module) for module in chain]:
        raise ValueError(
            f"jacobians: got {len(chain)} blocks, and the model made {len(calls)} calls of them in another order; "
            "give each block once, in the order in which the model calls them"
        )
    for i, ((_, _, y), (_, then, _)) in enumerate(zip(calls, calls[1:])):
        if y.data is not then.data:
            raise ValueError(
                f"jacobians: block {i + 1} does not get the output of block {i}; expected a chain. "
                "Wrap what stands between them and a block into one module"
            )
    return [entered.data for _, entered, _ in calls]


class _Chain:
    """The function that runs modules one after the other."""

    def __init__(self, modules: Sequence[Module]):
        self.modules = modules

    def __call__(self, x: Tensor) -> Tensor:
        for module in self.modules:
            x = module(x)
        return x


@one_blas_thread()  # the matrices are tall and thin, and threads only get into each other's way
def _jacobian(f: Function, x: np.ndarray, count, iterations, tolerance, vectors, seed) -> Jacobian:
    """Block Krylov iteration; see the head of the file."""
    map_ = _LinearMap(f, x)
    m, n = map_.y.data.size, x.size
    if not 1 <= count <= min(m, n):
        raise ValueError(f"jacobian: got count={count} for a Jacobian of shape ({m}, {n}); expected 1 to {min(m, n)}")
    if iterations < 1:
        raise ValueError(f"jacobian: got iterations={iterations}; expected at least 1")
    rng = np.random.default_rng(seed)
    u = np.zeros((m, 0))  # orthonormal columns; beside them Jᵀu, exact, and J·Jᵀu, by differences
    jt_u, jjt_u = np.zeros((n, 0)), np.zeros((m, 0))
    block = map_.jv(rng.standard_normal((n, count)))
    done = 0
    while done < iterations:
        new = _orthonormal(block, u, map_.noise)
        if new.shape[1] < count:  # an invariant subspace: go on from somewhere else, within the range of J
            fresh = map_.jv(rng.standard_normal((n, count - new.shape[1])))
            new = np.hstack([new, _orthonormal(fresh, np.hstack([u, new]), map_.noise)])
        if not new.shape[1]:
            break  # the range of J is exhausted: all is exact
        done += 1
        u = np.hstack([u, new])
        jt_u = np.hstack([jt_u, map_.vj(new)])
        block = map_.jv(jt_u[:, -new.shape[1] :])
        jjt_u = np.hstack([jjt_u, block])
        squares, mix = np.linalg.eigh(jt_u.T @ jt_u)  # cheap, and good enough to see whether this is enough
        values, mix = np.sqrt(np.maximum(squares[::-1], 0))[:count], mix[:, ::-1][:, :count]
        if values[0] == 0 or (len(values) == count and _residuals(u, jjt_u, values, mix).max() < tolerance):
            break
    if not done or values[0] == 0:
        return Jacobian(np.zeros(count), np.zeros(count), 0.0, done, (m, n))  # J = 0 has no singular vectors of its own
    right, values, mix = np.linalg.svd(jt_u, full_matrices=False)
    right, values, mix = right[:, :count], values[:count], mix[:count].T
    residuals = _residuals(u, jjt_u, values, mix)
    adjoint = float(np.abs(u.T @ jjt_u - jt_u.T @ jt_u).max() / values[0] ** 2)
    missing = max(count - len(values), 0)  # J has a lower rank than was asked for: the rest is 0
    return Jacobian(
        np.pad(values, (0, missing)),
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
            raise TypeError(f"jacobian: the block returned a {type(self.y).__name__}; expected one tensor")
        if not self.y.requires_grad:
            raise ValueError(
                "jacobian: the block's output does not depend on x; was it detached, or computed from another tensor?"
            )
        eps = float(np.finfo(x.dtype).eps)
        # Small, at the cost of some rounding: a ReLU that switches between x − hv and x + hv is the larger error.
        self.step = eps**0.5 * (float(np.linalg.norm(x)) or 1.0)
        self.noise = 100 * eps**0.5  # relative, with a margin

    def _run(self, x: Tensor) -> Tensor:
        random.set_state(dict(self.state))  # the same dropout mask each time
        return self.f(x)

    def vj(self, u: np.ndarray) -> np.ndarray:
        """Jᵀu for the columns of u (m, k) -> (n, k), by the engine."""
        with autograd.switch(recorder=None):
            seeds = [column.reshape(self.y.shape).astype(self.x.dtype) for column in u.T]
            grads = [autograd.grad(self.y, self.input, seed, keep_graph=True)[0] for seed in seeds]
        return np.stack([np.asarray(g, np.float64).ravel() for g in grads], axis=1)

    def jv(self, v: np.ndarray) -> np.ndarray:
        """Jv for the columns of v (n, k) -> (m, k), by central differences."""
        columns = []
        with autograd.switch(grad_enabled=False, recorder=None):
            for column in v.T:
                size = float(np.linalg.norm(column)) or 1.0
                move = (column * (self.step / size)).reshape(self.x.shape).astype(self.x.dtype)
                ahead, behind = (self._run(Tensor(self.x + sign * move)).data for sign in (1, -1))
                columns.append((ahead.astype(np.float64) - behind).ravel() * (size / (2 * self.step)))
        return np.stack(columns, axis=1)


def _array(x: Any) -> np.ndarray:
    return np.asarray(x.data if isinstance(x, Tensor) else x)
