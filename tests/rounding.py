"""What summing costs in float32: the same network pieces, written once for both libraries, and the errors of each.

A case is a function ``f(library, functional, *tensors)`` of float32 arrays. Its results are the output and the gradient
of each array against a normal cotangent (`measure`). Their errors are those beside float64 on the same numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import minires as mr
from minires import kernels

Arrays = dict[str, np.ndarray]
BATCH_LAST = (3, 0, 1, 2)  # lies in memory as (C, H, W, N)


@dataclass(frozen=True)
class Case:
    """shapes: of the arrays. names: of the results that are compared, the output first, "" for one that is not.

    mean: added to the first array. cotangent: "normal", or "mean" for the mean of the output as the loss. last: whether
    four-dimensional arrays lie with the batch last in memory (ours; PyTorch gets contiguous copies).
    """

    f: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    names: tuple[str, ...] = ("y",)
    mean: float = 0
    cotangent: str = "normal"
    last: bool = False

    def arrays(self, seed: int) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        made = [rng.standard_normal(shape).astype(np.float32) for shape in self.shapes]
        made[0] += np.float32(self.mean)
        return [_batch_last(a) if self.last and a.ndim == 4 else a for a in made]


def _batch_last(a):
    return np.ascontiguousarray(a.transpose(1, 2, 3, 0)).transpose(BATCH_LAST)


def measure(case: Case, arrays: list[np.ndarray], library: Any, functional: Any, tensor: Callable[..., Any]) -> Arrays:
    """{name: result} of a case. ``tensor`` makes a tensor that requires grad from an array."""
    inputs = [tensor(a) for a in arrays]
    y = case.f(library, functional, *inputs)
    results = [_host(y.detach())]
    if any(case.names[1:]):
        g = np.random.default_rng(len(arrays)).standard_normal(tuple(y.shape)).astype(arrays[0].dtype)
        g = _batch_last(g) if case.last and g.ndim == 4 else g
        y.backward(tensor(g).detach()) if case.cotangent == "normal" else y.mean().backward()
        results += [_host(x.grad) for x in inputs]
    return {name: np.asarray(r) for name, r in zip(case.names, results) if name}


def minires(a: np.ndarray) -> mr.Tensor:
    """A tensor of ours; the array keeps its place in memory."""
    return mr.Tensor(a, requires_grad=True)


def on_device(a: np.ndarray) -> mr.Tensor:
    """The same for the CUDA kernels, run on the CPU."""
    return mr.Tensor(kernels.to_device(a, "cuda-on-cpu"), requires_grad=True)


def _host(value):
    """A result as a NumPy array: ours are tensors and arrays, perhaps of another device, PyTorch's are tensors."""
    return value.numpy() if hasattr(value, "numpy") else value if value is None else np.array(value, subok=False)


def errors(found: Arrays, exact: Arrays) -> dict[str, tuple[float, float]]:
    """{name: (largest, root mean square)} of the errors, over the root mean square of the exact result."""
    table = {}
    for name, e in exact.items():
        difference, scale = np.abs(found[name] - e), np.sqrt(np.mean(e**2))
        table[name] = float(difference.max() / scale), float(np.sqrt(np.mean(difference**2)) / scale)
    return table


def _sum(*dim):
    return lambda lib, F, x: x.sum(dim) if dim else x.sum()


def _mean(*dim):
    return lambda lib, F, x: x.mean(dim) if dim else x.mean()


def _var(*dim):
    return lambda lib, F, x: x.var(dim) if dim else x.var()


def _batch_norm(lib, F, x, weight, bias):
    return F.batch_norm(x, None, None, weight, bias, training=True)


def _statistics(lib, F, x):
    """The running statistics after one batch with momentum 1: its mean and unbiased variance."""
    mean, var = (x.detach()[0, :, 0, 0] * 0 + start for start in (0, 1))
    F.batch_norm(x, mean, var, training=True, momentum=1.0)
    return lib.stack([mean, var])


IMAGES, FEW = (128, 16, 16, 16), (20, 24, 7, 7)
REDUCED = [  # shape, dims, whether the batch is last in memory
    ((50_000, 10), (0,), False),
    ((10, 50_000), (1,), False),
    ((40, 2000, 30), (1,), False),
    ((3000, 20, 50), (0, 2), False),
    ((50, 2000, 3), (0, 2), False),
    ((2048, 7, 3, 3), (0, 2, 3), True),
    *((IMAGES, dims, last) for dims in ((0, 2, 3), (2, 3), (0,), (1,)) for last in (False, True)),
]
CASES = {
    **{
        f"{name} of {shape} over {dims}{', batch last' * last}": Case(f(*dims), (shape,), last=last)
        for name, f in (("sum", _sum), ("mean", _mean), ("var", _var))
        for shape, dims, last in REDUCED
    },
    "linear": Case(lambda lib, F, x, w, b: F.linear(x, w, b), ((20_000, 16), (10, 16), (10,)), ("y", "dx", "dw", "db")),
    "linear, mean of squares": Case(
        lambda lib, F, x, w, b: F.linear(x, w, b) ** 2, ((20_000, 16), (10, 16), (10,)), ("", "", "dw", "db"), 0, "mean"
    ),
    "conv2d": Case(
        lambda lib, F, x, w, b: F.conv2d(x, w, b, padding=1),
        (IMAGES, (16, 16, 3, 3), (16,)),
        ("y", "dx", "dw", "db"),
        last=True,
    ),
    "broadcast row": Case(lambda lib, F, x, b: x + b, ((20_000, 10), (10,)), ("", "", "db")),
    "broadcast column": Case(lambda lib, F, x, b: x + b, ((10, 20_000), (10, 1)), ("", "", "db")),
    "broadcast channel": Case(lambda lib, F, x, b: x * b, (IMAGES, (16, 1, 1)), ("", "", "db"), last=True),
    "broadcast number": Case(lambda lib, F, x, b: x * b, ((300, 700), (1,)), ("", "", "db")),
    "broadcast row, one sign": Case(
        lambda lib, F, x, b: (x + b) ** 2, ((20_000, 10), (10,)), ("", "", "db"), 4, "mean"
    ),
    **{
        f"batch norm of {shape}, mean {mean}": Case(
            _batch_norm, (shape, shape[1:2], shape[1:2]), ("y", "dx", "dγ", "dβ"), mean, last=len(shape) == 4
        )
        for shape in (IMAGES, FEW, (4096, 32))
        for mean in (0, 1, 1.9, 4, 100)
    },
    **{
        f"batch norm's {name}, {shape}, mean {mean}": Case(
            lambda lib, F, x, i=i: _statistics(lib, F, x)[i], (shape,), mean=mean, last=True
        )
        for shape in (IMAGES, FEW)
        for mean in (0, 1, 1.9, 4, 100)
        for i, name in enumerate(("mean", "variance"))
    },
    **{
        f"global average pool of {size}×{size}, mean {mean}": Case(
            lambda lib, F, x: F.adaptive_avg_pool2d(x, 1), ((32, 16, size, size),), ("y", "dx"), mean, last=True
        )
        for size, mean in ((8, 0), (32, 0), (56, 1))
    },
    "adaptive average pool": Case(lambda lib, F, x: F.adaptive_avg_pool2d(x, (3, 5)), ((8, 16, 31, 33),), ("y", "dx")),
    "average pool": Case(lambda lib, F, x: F.avg_pool2d(x, 8), ((32, 16, 32, 32),), ("y", "dx"), last=True),
    **{
        f"{name}, dim {dim}": Case(
            lambda lib, F, x, name=name, dim=dim: getattr(F, name)(x, dim), ((700, 500),), ("y", "dx")
        )
        for name in ("softmax", "log_softmax")
        for dim in (0, 1)
    },
    "cross entropy with probabilities": Case(
        lambda lib, F, x, t: F.cross_entropy(x, t.detach() ** 2 / 10, reduction="none"), ((500, 300),) * 2, ("y", "dx")
    ),
    **{
        f"running sums of {shape} along {dim}": Case(lambda lib, F, x, dim=dim: x.cumsum(dim), (shape,), ("y", "dx"), 1)
        for shape, dim in (((50_000, 10), 0), ((10, 50_000), 1))
    },
    **{
        f"einsum {equation}": Case(
            lambda lib, F, *xs, equation=equation: lib.einsum(equation, *xs),
            shapes,
            ("y", "dx", "dw")[: len(shapes) + 1],
        )
        for equation, shapes in (
            ("ij->j", ((50_000, 8),)),
            ("ij,k->jk", ((50_000, 8), (5,))),
            ("ij,kj->", ((50_000, 8), (6, 8))),
            ("ij,ij->j", ((50_000, 8),) * 2),
        )
    },
    "mse loss": Case(lambda lib, F, x, t: F.mse_loss(x, t.detach()), ((30_000, 20),) * 2, ("y", "dx")),
}
