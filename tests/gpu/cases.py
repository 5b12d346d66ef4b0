"""One small call, or a few, of every kernel, with the result expected of it.

``case.run(device)`` launches through the same code as a GPU would and returns NumPy arrays by name; ``case.expected()``
gives what they must be, from `minires.kernels.textbook` and the fast CPU kernels. A device made with another source,
``make_cuda_on_cpu(read=lambda file: …)``, runs a changed kernel file. The shapes are small, odd, and large enough
that every barrier matters: several steps of every loop, several warps of every block, tails everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from minires import cuda_on_cpu
from minires.kernels import cpu, textbook
from minires.kernels.augment import cpu as cpu_augment, gpu as augment
from minires.kernels.batchnorm import gpu as batchnorm
from minires.kernels.batchnorm.definition import Running
from minires.kernels.conv import gpu as conv
from minires.kernels.devices import Device, make_cuda_on_cpu
from minires.kernels.elementwise import gpu as elementwise
from minires.kernels.launch import allow_tf32
from minires.kernels.load import OPTIONS, read
from minires.kernels.loss import cpu as cpu_loss, gpu as loss
from minires.kernels.measure import gpu as measure
from minires.kernels.pool import gpu as pool
from minires.kernels.product import gpu as linear
from minires.kernels.reduce import gpu as reduce
from minires.kernels.update import gpu as update
from minires.kernels.update.gpu import Row, Update

Arrays = dict[str, np.ndarray]

SOURCES = (
    augment.AUGMENT,
    batchnorm.BATCH_NORM,
    conv.CONV,
    conv.PIPELINED,
    elementwise.ELEMENTWISE,
    loss.LOSS,
    linear.MATMUL,
    measure.MEASURE,
    pool.POOL,
    reduce.REDUCE,
    update.UPDATE,
)


@dataclass(frozen=True)
class Case:
    """file: the kernel file it is about, a `Source` of `SOURCES`. tolerance: relative to the largest expected value."""

    name: str
    file: str  # such as conv/conv.cu
    call: Callable[[Device], dict[str, Any]]
    expected: Callable[[], Arrays]
    tolerance: float

    def run(self, device: Device) -> Arrays:
        """The results, downloaded."""
        return {name: np.array(device.download(value)) for name, value in self.call(device).items()}

    def check(self, device: Device) -> None:
        """AssertionError, naming the array, unless all results are as expected."""
        results, expected = self.run(device), self.expected()
        assert results.keys() == expected.keys()
        for name, want in expected.items():
            got = results[name]
            assert got.shape == want.shape and got.dtype == want.dtype, f"{self.name}: {name} {got.dtype} {got.shape}"
            scale = max(float(np.abs(want).max(initial=0)), 1e-30)
            error = float(np.abs(got.astype(np.float64) - want).max(initial=0)) / scale
            assert error <= self.tolerance, f"{self.name}: {name} is off by {error:.1e} of its largest value"


def normal(seed: int, *shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def on(device: Device, *arrays: np.ndarray) -> tuple[Any, ...]:
    return tuple(device.upload(a) for a in arrays)


def named(names: str, values: Any) -> dict[str, Any]:
    return dict(zip(names.split(), values, strict=True))


def _conv(
    name, x_shape, w_shape, dtype=np.float32, tf32=False, tolerance=2e-6, bias=True, file=conv.CONV.file, **geometry
):
    x, w, b = normal(0, *x_shape, dtype=dtype), normal(1, *w_shape, dtype=dtype), normal(2, w_shape[0], dtype=dtype)
    b = b if bias else None
    y = cpu.conv2d(x, w, b, **geometry)
    g = normal(3, *y.shape, dtype=dtype)

    def call(device):
        with allow_tf32(tf32):
            args = on(device, x, w)
            out = conv.conv2d(device, *args, None if b is None else device.upload(b), **geometry)
            grads = conv.conv2d_backward(device, *on(device, g), *args, **geometry)
            again, found = conv.conv2d_with_statistics(device, *args, **geometry)
            norm = batchnorm.DeferredBatchNorm(device, again, statistics=found)
            norm()
            return {"y": out, **named("dx dw db", grads), "mean": norm.mean, "var": norm.var}

    def expected():
        grads = cpu.conv2d_backward(g, x, w, **geometry)
        moments = (a.astype(dtype) for a in cpu.batch_norm_statistics(cpu.conv2d(x, w, None, **geometry)))
        return {"y": y, **named("dx dw db", grads), **named("mean var", moments)}

    return Case(name, file, call, expected, tolerance)


def _pipelined(name, x_shape, w_shape, **options):
    """A convolution for pipelined.cu; that it goes there is shown by test_the_cases_launch_every_instance."""
    return _conv(f"pipelined {name}", x_shape, w_shape, file=conv.PIPELINED.file, **options)


def _linear(name, rows, into, out, dtype=np.float32, tf32=False, tolerance=2e-6):
    x, w, b = normal(0, rows, into, dtype=dtype), normal(1, out, into, dtype=dtype), normal(2, out, dtype=dtype)
    g = normal(3, rows, out, dtype=dtype)

    def call(device):
        with allow_tf32(tf32):
            args = on(device, x, w)
            y = linear.linear(device, *args, device.upload(b))
            return {"y": y, **named("dx dw db", linear.linear_backward(device, *on(device, g), *args))}

    def expected():
        return {"y": cpu.linear(x, w, b), **named("dx dw db", cpu.linear_backward(g, x, w))}

    return Case(name, linear.MATMUL.file, call, expected, tolerance)


def _batch_norm(name, shape, dtype, tolerance):
    x, w, b = 3 + 2 * normal(0, *shape, dtype=dtype), normal(1, shape[1], dtype=dtype), normal(2, shape[1], dtype=dtype)
    g, eps = normal(3, *shape, dtype=dtype), 1e-5
    old_mean, old_var = normal(4, shape[1], dtype=dtype), normal(5, shape[1], dtype=dtype) ** 2
    names = "y mean var dx dw db eval eval_dx eval_dw eval_db part_dx part_mean part_var running_mean running_var"
    names += " also_mean also_var batches only_dw only_db"

    def call(device):
        gx, gw, gb, gg, m, v = on(device, x, w, b, g, old_mean, old_var)
        m2, v2, batches = on(device, old_mean, old_var, np.array(6))
        running = Running(m2, v2, batches, 0.1)
        y, mean, var = batchnorm.batch_norm(device, gx, gw, gb, eps, running)
        grads = batchnorm.batch_norm_backward(device, gg, gx, gw, mean, var, eps)
        evaluated = batchnorm.batch_norm_eval(device, gx, gw, gb, m, v, eps)
        eval_grads = batchnorm.batch_norm_eval_backward(device, gg, gx, gw, m, v, eps)
        part = batchnorm.batch_norm_input_gradient(device, gg, gx, gw, m, v, gb, gw, 2 * x[:, 0].size, eps)
        alone = batchnorm.batch_norm_statistics(device, gx)
        batchnorm.running_update(device, m, v, mean, var, 0.1, x[:, 0].size)
        _, *only = batchnorm.batch_norm_backward(device, gg, gx, gw, mean, var, eps, needs=(False, True, True))
        results = y, mean, var, *grads, evaluated, *eval_grads, part, *alone, m, v, m2, v2, batches, *only
        return named(names, results)

    def expected():
        y, mean, var = cpu.batch_norm(x, w, b, eps)
        grads = cpu.batch_norm_backward(g, x, w, mean, var, eps)
        evaluated = cpu.batch_norm_eval(x, w, b, old_mean, old_var, eps)
        eval_grads = cpu.batch_norm_eval_backward(g, x, w, old_mean, old_var, eps)
        part = cpu.batch_norm_input_gradient(g, x, w, old_mean, old_var, b, w, 2 * x[:, 0].size, eps)
        m, v = old_mean.copy(), old_var.copy()
        textbook.running_update(m, v, mean, var, 0.1, x[:, 0].size)
        alone = cpu.batch_norm_statistics(x)
        results = y, mean, var, *grads, evaluated, *eval_grads, part, *alone, m, v, m, v, np.array(7), *grads[1:]
        kept = named(names, results).items()
        return {name: a if name == "batches" else a.astype(dtype, copy=False) for name, a in kept}

    return Case(name, batchnorm.BATCH_NORM.file, call, expected, tolerance)


def _fused(name, shape, dtype, tolerance):
    """Batch norm with an addition and a ReLU in the same pass, and back through both."""
    x, w, b = 3 + 2 * normal(0, *shape, dtype=dtype), normal(1, shape[1], dtype=dtype), normal(2, shape[1], dtype=dtype)
    g, s, eps = normal(3, *shape, dtype=dtype), normal(4, *shape, dtype=dtype), 1e-5
    start = np.zeros(shape[1], dtype), np.ones(shape[1], dtype)
    names = "relu both sum y dx dw db masked dx2 dw2 db2 masked2 mean var running_mean running_var batches"

    def call(device):
        gx, gw, gb, gg, gs, m, v, batches = on(device, x, w, b, g, s, *start, np.array(6))
        norm = batchnorm.DeferredBatchNorm(device, gx, gw, gb, eps, Running(m, v, batches, 0.1))
        made = norm(relu=True), norm(gs, relu=True), norm(gs), norm()
        back = [batchnorm.batch_norm_relu_backward(device, gg, y, gx, gw, norm.mean, norm.var, eps) for y in made[:2]]
        return named(names, (*made, *back[0], *back[1], norm.mean, norm.var, m, v, batches))

    def expected():
        y, mean, var = cpu.batch_norm(x, w, b, eps)
        made, back = (cpu.relu(y), cpu.relu(y + s), y + s, y), []
        for out in made[:2]:
            masked = cpu.relu_backward(g, out)
            back += *cpu.batch_norm_backward(masked, x, w, mean, var, eps), masked
        m, v = (a.copy() for a in start)
        textbook.running_update(m, v, mean, var, 0.1, x[:, 0].size)
        kept = named(names, (*made, *back, mean, var, m, v, np.array(7))).items()
        return {name: a if name == "batches" else a.astype(dtype, copy=False) for name, a in kept}

    return Case(name, batchnorm.BATCH_NORM.file, call, expected, tolerance)


def _elementwise(name, dtype):
    x, y = normal(0, 3, 5, 7, 11, dtype=dtype), normal(1, 3, 5, 7, 11, dtype=dtype)

    def call(device):
        gx, gy = on(device, x, y)
        made = (
            elementwise.relu(device, gx),
            elementwise.relu_backward(device, gy, elementwise.relu(device, gx)),
            elementwise.add(device, gx, gy),
        )
        return named("relu relu_backward add", made)

    def expected():
        return named("relu relu_backward add", (cpu.relu(x), cpu.relu_backward(y, cpu.relu(x)), x + y))

    return Case(name, elementwise.ELEMENTWISE.file, call, expected, 0)


def _pool(name, dtype, kernel, stride, padding, tolerance, dilation=(1, 1)):
    """Plainly, and in ceil mode: dilated maxima, and sums divided by the entries there are, or by 7."""
    x = normal(0, 3, 2, 9, 8, dtype=dtype)
    y, tap = cpu.max_pool2d(x, kernel, stride, padding)
    g, adaptive_g = normal(1, *y.shape, dtype=dtype), normal(2, 3, 2, 4, 3, dtype=dtype)
    names = "max tap max_dx avg avg_dx unpadded unpadded_dx adaptive adaptive_dx"
    names += " spread spread_tap spread_dx ceil ceil_dx ceil_unpadded ceil_unpadded_dx sevenths sevenths_dx"
    spread_shape = cpu.max_pool2d(x, kernel, stride, padding, dilation, True)[0].shape
    spread_g = normal(3, *spread_shape, dtype=dtype)
    ceil_g = normal(4, *cpu.avg_pool2d(x, kernel, stride, padding, ceil_mode=True).shape, dtype=dtype)
    divisions = (True, True, None), (False, True, None), (True, True, 7)
    tap_type = np.uint8 if np.prod(kernel) <= 256 else np.int32

    def call(device):
        gx, gg, ga = on(device, x, g, adaptive_g)
        window = kernel, stride, padding
        y, tap = pool.max_pool2d(device, gx, *window)
        results = [y, tap, pool.max_pool2d_backward(device, gg, tap, x.shape, *window)]
        for padded in (True, False):
            results.append(pool.avg_pool2d(device, gx, *window, padded))
            results.append(pool.avg_pool2d_backward(device, gg, x.shape, *window, padded))
        results.append(pool.adaptive_avg_pool2d(device, gx, (4, 3)))
        results.append(pool.adaptive_avg_pool2d_backward(device, ga, x.shape))
        gs, gc = on(device, spread_g, ceil_g)
        spread, spread_tap = pool.max_pool2d(device, gx, *window, dilation, True)
        results += [spread, spread_tap, pool.max_pool2d_backward(device, gs, spread_tap, x.shape, *window, dilation)]
        for options in divisions:
            results.append(pool.avg_pool2d(device, gx, *window, *options))
            results.append(pool.avg_pool2d_backward(device, gc, x.shape, *window, *options))
        return named(names, results)

    def expected():
        window = kernel, stride, padding
        results = [y, tap.astype(tap_type), cpu.max_pool2d_backward(g, tap, x.shape, *window)]
        for padded in (True, False):
            results.append(cpu.avg_pool2d(x, *window, padded))
            results.append(cpu.avg_pool2d_backward(g, x.shape, *window, padded))
        results.append(cpu.adaptive_avg_pool2d(x, (4, 3)))
        results.append(cpu.adaptive_avg_pool2d_backward(adaptive_g, x.shape))
        spread, spread_tap = cpu.max_pool2d(x, *window, dilation, True)
        results += [spread, spread_tap.astype(tap_type)]
        results.append(cpu.max_pool2d_backward(spread_g, spread_tap, x.shape, *window, dilation))
        for options in divisions:
            results.append(cpu.avg_pool2d(x, *window, *options))
            results.append(cpu.avg_pool2d_backward(ceil_g, x.shape, *window, *options))
        return named(names, results)

    return Case(name, pool.POOL.file, call, expected, tolerance)


def _loss(name, shape, dtype, tolerance):
    z = 3 * normal(0, *shape, dtype=dtype)
    labels = np.random.default_rng(1).integers(0, shape[1], (shape[0], *shape[2:]))
    labels.flat[0] = -100
    g = normal(2, *labels.shape, dtype=dtype)

    def call(device):
        gz, gl, gg = on(device, z, labels, g)
        q = loss.one_hot(device, gl, shape[1], dtype)
        values, p = loss.cross_entropy(device, gz, q)
        counts = loss.count_labels(device, gl, shape[1])
        return named("counts q loss p dz", (counts, q, values, p, loss.cross_entropy_backward(device, gg, p, q)))

    def expected():
        q = textbook.one_hot(labels, shape[1], dtype)
        values, p = cpu_loss.cross_entropy(z, q)
        counts = textbook.count_labels(labels, shape[1])
        return named("counts q loss p dz", (counts, q, values, p, cpu_loss.cross_entropy_backward(g, p, q)))

    return Case(name, loss.LOSS.file, call, expected, tolerance)


def _reduce(name, dtype, tolerance):
    x = normal(0, 2, 263, 3, dtype=dtype).round(1)  # with ties
    axes = {"all": (0, 1, 2), "last": (2,), "first": (0, 1), "middle": (1,), "outer": (0, 2)}
    joined, placed = ("reduce_sum", "reduce_max", "reduce_min"), ("argmax", "argmin")

    def call(device):
        (gx,) = on(device, x)
        found = {f"{name} {key}": getattr(reduce, name)(device, gx, axes[key]) for name in joined for key in axes}
        return found | {f"{name} {i}": getattr(reduce, name)(device, gx, i) for name in placed for i in (0, 1, 2, None)}

    def expected():
        found = {f"{name} {key}": getattr(textbook, name)(x, axes[key]) for name in joined for key in axes}
        found |= {f"{name} {i}": getattr(textbook, name)(x, i) for name in placed for i in (0, 1, 2, None)}
        return {name: np.asarray(value) for name, value in found.items()}

    return Case(name, reduce.REDUCE.file, call, expected, tolerance)


def _matmul(name, dtype, tolerance):
    a, b, c = (normal(i, *shape, dtype=dtype) for i, shape in enumerate(((2, 3, 5, 37), (3, 37, 9), (37, 9))))

    def call(device):
        ga, gb, gc = on(device, a, b, c)
        results = (linear.matmul(device, x, y) for x, y in ((ga, gb), (ga, gc), (ga[0, 0], gb), (ga[1], gb)))
        return named("broadcast one_right one_left stacked", results)

    def expected():
        results = (textbook.matmul(x, y) for x, y in ((a, b), (a, c), (a[0, 0], b), (a[1], b)))
        return named("broadcast one_right one_left stacked", results)

    return Case(name, linear.MATMUL.file, call, expected, tolerance)


def _measure(name, dtype, tolerance):
    a, b = (normal(i, 7, 401, dtype=dtype) for i in range(2))
    a[::2, ::3] = 0
    total, largest = a + b, np.array([9.0])

    def call(device):
        rows = measure.flat(on(device, a, b, total))
        (unit,) = on(device, largest) if dtype == np.float64 else (None,)
        found = {"moments": measure.moments(device, rows[0], unit), "inner": measure.inner(device, *rows[:2], unit)}
        found |= {"pair": measure.pair(device, *rows, unit)[:4]}  # the fifth is a rounding error
        return found | ({"unit": measure.unit(device, *rows)} if dtype == np.float64 else {})

    def expected():
        p, q, t = (x.astype(np.float64) for x in (a, b, total))
        square = 81.0 if dtype == np.float64 else 1.0
        found = {
            "moments": np.array([p.mean(), p.std(), np.mean(p == 0)]),
            "inner": np.array([(p * q).sum()]) / square,
            "pair": np.array([(p * p).sum(), (p * q).sum(), (q * q).sum(), (t * t).sum()]) / square,
        }
        return found | ({"unit": np.array([max(abs(x).max() for x in (p, q, t))])} if dtype == np.float64 else {})

    return Case(name, measure.MEASURE.file, call, expected, tolerance)


SHAPES = ((3, 700), (5,), ())


def _sgd(name, dtype, tolerance):
    weights, states = (
        [normal(i, *s, dtype=dtype) for i, s in enumerate(SHAPES)],
        [normal(9, *s, dtype=dtype) for s in SHAPES],
    )
    grads = [normal(5 + i, *s, dtype=dtype) for i, s in enumerate(SHAPES)]
    # lr, momentum, 1 − dampening, decay, Nesterov, sign of the gradient
    settings = [(0.1, 0.9, 1.0, 0.01, 1.0, 1.0), (0.2, 0.5, 0.25, 0.0, 0.0, -1.0)]

    def call(device):
        w, g, v = on(device, *weights), on(device, *grads), on(device, *states)
        rows = [Row(w[i], g[i], (v[i],), i % 2, first=i == 1) for i in range(len(w))]
        update = Update(device, "sgd", np.dtype(dtype))
        update.send_settings(settings)
        update(rows)
        return {f"{kind}{i}": a for kind, arrays in (("w", w), ("v", v)) for i, a in enumerate(arrays)}

    def expected():
        found = {}
        for i, (w, g, v) in enumerate(zip(weights, grads, states)):
            lr, momentum, fresh, decay, nesterov, sign = settings[i % 2]
            d = sign * g + decay * w
            v = d if i == 1 else momentum * v + fresh * d
            found |= {f"w{i}": w - lr * (d + momentum * v if nesterov else v), f"v{i}": v}
        return {name: np.asarray(a, dtype) for name, a in found.items()}

    return Case(name, update.UPDATE.file, call, expected, tolerance)


def _adam(name, dtype, tolerance):
    weights, grads = ([normal(k + i, *s, dtype=dtype) for i, s in enumerate(SHAPES)] for k in (0, 5))
    means, squares, largest = ([abs(normal(k, *s, dtype=dtype)) for s in SHAPES] for k in (7, 8, 9))
    settings = [
        (0.01, 0.5, 0.1, 0.999, 0.001, 1e-8, 0.02, 1.0, 1.0),
        (0.02, 0.25, 0.2, 0.99, 0.01, 1e-6, 0.0, 0.9, -1.0),
    ]
    with_largest = (0, 2)  # the rows with amsgrad

    def call(device):
        w, g, m, v, top = (on(device, *arrays) for arrays in (weights, grads, means, squares, largest))
        rows = [
            Row(w[i], g[i], (m[i], v[i], top[i]) if i in with_largest else (m[i], v[i]), i % 2) for i in range(len(w))
        ]
        update = Update(device, "adam", np.dtype(dtype))
        update.send_settings(settings)
        update(rows)
        states = ("w", w), ("m", m), ("v", v), ("top", top)
        return {f"{kind}{i}": a for kind, arrays in states for i, a in enumerate(arrays)}

    def expected():
        found = {}
        for i, (w, g, m, v, top) in enumerate(zip(weights, grads, means, squares, largest)):
            lr, root, fresh, beta2, fresh2, eps, l2, shrink, sign = settings[i % 2]
            d = sign * g + l2 * w
            m, v = m + fresh * (d - m), beta2 * v + fresh2 * d * d
            top = np.maximum(top, v) if i in with_largest else top
            size = np.sqrt(top if i in with_largest else v)
            found |= {f"w{i}": shrink * w - lr * m / (size / root + eps), f"m{i}": m, f"v{i}": v, f"top{i}": top}
        return {name: np.asarray(a, dtype) for name, a in found.items()}

    return Case(name, update.UPDATE.file, call, expected, tolerance)


def _augment(name, dtype, pixel, tolerance):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 3, 5, 6)).astype(pixel)
    index, mean, std = np.array([4, 0, 6, 6, 2]), (100.0, 120.0, 90.0), (50.0, 60.0, 70.0)
    images = normal(1, 5, 3, 5, 6, dtype=dtype)
    top, left, mirrored = np.array([0, 4, 2, 1, 3]), np.array([2, 2, 0, 4, 1]), np.array([1, 0, 1, 0, 0], bool)

    def call(device):
        taken = augment.take_images(device, device.upload(pixels), index, mean, std)
        cropped = augment.crop_flip(device, device.upload(images), top, left, mirrored, 2)
        return {"taken": taken, "cropped": cropped}

    def expected():
        return {
            "taken": textbook.take_images(pixels, index, mean, std),
            "cropped": cpu_augment.crop_flip(images, top, left, mirrored, 2),
        }

    return Case(name, augment.AUGMENT.file, call, expected, tolerance)


CASES: list[Case] = [
    # each tile of the product, with tails in all three directions; 1×1, 3×3 and other kernels; several parts of dw
    _conv("conv 3x3, parts", (9, 3, 9, 7), (5, 3, 3, 3), padding=(1, 1), tolerance=5e-6),
    _conv("conv 3x3, 5 channels", (3, 4, 9, 7), (5, 4, 3, 3), stride=(1, 1), padding=(1, 1)),
    _conv("conv 3x3, 20 channels", (5, 3, 6, 7), (20, 3, 3, 3), stride=(2, 1), padding=(1, 0)),
    _conv("conv 3x3, 70 channels", (4, 35, 5, 3), (70, 35, 3, 3), padding=(1, 1), bias=False),
    _conv("conv 1x1", (3, 33, 5, 6), (17, 33, 1, 1)),
    _conv("conv 1x1, stride 2, 40 channels", (5, 17, 7, 6), (40, 17, 1, 1), stride=(2, 2)),
    _conv(
        "conv 2x4, dilated, groups",
        (2, 6, 9, 11),
        (8, 3, 2, 4),
        stride=(3, 2),
        padding=(2, 3),
        dilation=(2, 3),
        groups=2,
    ),
    _conv("conv 5x5, 66 channels", (3, 2, 5, 6), (66, 2, 5, 5), padding=(2, 2)),
    _conv("conv 7x3, 24 channels", (3, 2, 9, 6), (24, 2, 7, 3), padding=(3, 1), stride=(2, 2)),
    _conv("conv 1x1, 16 channels", (3, 33, 5, 6), (16, 33, 1, 1)),
    _conv("conv 1x1, from 16 channels", (3, 16, 5, 6), (70, 16, 1, 1)),
    _conv("conv 3x3, from 20 channels", (3, 20, 5, 6), (5, 20, 3, 3), padding=(1, 1)),
    _conv("conv 1x1, from 20 channels", (3, 20, 5, 6), (5, 20, 1, 1)),
    _conv("conv 2x2, from 40 channels", (3, 40, 5, 6), (5, 40, 2, 2), stride=(2, 2)),
    _conv(
        "conv float64, parts", (9, 4, 9, 7), (6, 2, 3, 3), dtype=np.float64, groups=2, padding=(1, 1), tolerance=1e-14
    ),
    _conv(
        "conv float64", (3, 4, 9, 7), (18, 4, 3, 3), dtype=np.float64, stride=(2, 1), padding=(1, 1), tolerance=1e-14
    ),
    _conv("conv TF32 3x3", (3, 4, 9, 7), (70, 4, 3, 3), tf32=True, padding=(1, 1), tolerance=2e-3),
    _conv("conv TF32 1x1", (3, 40, 5, 6), (9, 40, 1, 1), tf32=True, tolerance=2e-3),
    _conv("conv TF32 5x5", (3, 3, 7, 6), (9, 3, 5, 5), tf32=True, stride=(2, 2), padding=(2, 2), tolerance=2e-3),
    # each tile of the pipelined kernels, several blocks and steps of each; phases, dilation, groups, parts
    _pipelined("3x3, 16 channels", (4, 16, 5, 7), (16, 16, 3, 3), padding=(1, 1)),
    _pipelined("3x3, 32 from 48", (12, 48, 5, 6), (32, 48, 3, 3), padding=(1, 1)),
    _pipelined("3x3, strided", (8, 32, 6, 5), (48, 32, 3, 3), stride=(1, 2), padding=(1, 0), bias=False),
    _pipelined(
        "4x3, dilated, groups",
        (4, 32, 9, 8),
        (48, 16, 4, 3),
        stride=(3, 2),
        padding=(2, 3),
        dilation=(1, 2),
        groups=2,
    ),
    _pipelined("1x1, 64 channels", (8, 64, 8, 8), (64, 64, 1, 1)),
    _pipelined("1x1, 32 channels", (8, 32, 8, 16), (32, 32, 1, 1)),
    _pipelined("1x1, 32 channels, fewer positions", (8, 32, 8, 8), (32, 32, 1, 1)),
    _pipelined("1x1, 32 channels, fewest positions", (8, 32, 4, 8), (32, 32, 1, 1)),
    _pipelined("1x1, 32 from 16", (8, 16, 8, 8), (32, 16, 1, 1)),
    _pipelined("1x1, 16 from 32", (8, 32, 8, 8), (16, 32, 1, 1)),
    _pipelined("1x1, 64 channels, few positions", (4, 64, 6, 7), (64, 64, 1, 1)),
    _pipelined("1x1, 16 from 64", (8, 64, 8, 8), (16, 64, 1, 1)),
    _pipelined("1x1, 64 from 16", (8, 16, 8, 8), (64, 16, 1, 1)),
    _pipelined("TF32 3x3, 16 channels", (4, 16, 5, 7), (16, 16, 3, 3), padding=(1, 1), tf32=True, tolerance=2e-3),
    _pipelined("TF32 3x3, 32 from 48", (12, 48, 5, 6), (32, 48, 3, 3), padding=(1, 1), tf32=True, tolerance=2e-3),
    _pipelined("TF32 1x1, 64 channels", (8, 64, 8, 8), (64, 64, 1, 1), tf32=True, tolerance=2e-3),
    _pipelined("TF32 1x1, 32 channels", (8, 32, 8, 16), (32, 32, 1, 1), tf32=True, tolerance=2e-3),
    _pipelined("TF32 1x1, fewer positions", (8, 32, 8, 8), (32, 32, 1, 1), tf32=True, tolerance=2e-3),
    _pipelined("TF32 1x1, few positions", (4, 64, 6, 7), (64, 64, 1, 1), tf32=True, tolerance=2e-3),
    _linear("linear, 5 rows", 5, 37, 10),
    _linear("linear, 20 rows", 20, 37, 10),
    _linear("linear, 70 rows", 70, 33, 131),
    _linear("linear float64", 19, 37, 10, dtype=np.float64, tolerance=1e-14),
    _linear("linear TF32", 19, 37, 10, tf32=True, tolerance=2e-3),
    _measure("measure float32", np.float32, 1e-12),
    _measure("measure float64", np.float64, 1e-14),
    _batch_norm("batch norm float32", (7, 3, 15, 13), np.float32, 3e-6),
    _batch_norm("batch norm float64", (7, 3, 15, 13), np.float64, 1e-13),
    _batch_norm("batch norm of features", (33, 40), np.float32, 3e-6),
    _batch_norm("batch norm of runs of several tiles", (4, 17, 23, 23), np.float32, 3e-6),
    _fused("batch norm to ReLU float32", (7, 3, 15, 13), np.float32, 3e-6),
    _fused("batch norm to ReLU float64", (7, 3, 15, 13), np.float64, 1e-13),
    _fused("batch norm to ReLU, runs of several tiles", (4, 17, 23, 23), np.float32, 3e-6),
    _elementwise("elementwise float32", np.float32),
    _elementwise("elementwise float64", np.float64),
    _pool("pool 3x2", np.float32, (3, 2), (2, 3), (1, 1), 1e-6, dilation=(2, 3)),
    _pool("pool 3x2 float64", np.float64, (3, 2), (2, 1), (1, 1), 1e-14, dilation=(1, 2)),
    _pool("pool 17x16", np.float32, (17, 16), (1, 1), (8, 8), 1e-5),
    _pool("pool 17x16 float64", np.float64, (17, 16), (1, 1), (8, 8), 1e-13),
    _loss("loss float32", (13, 10), np.float32, 1e-6),
    _loss("loss of pixels, 40 classes", (2, 40, 3, 2), np.float32, 1e-6),
    _loss("loss float64", (13, 10), np.float64, 1e-14),
    _matmul("matmul float32", np.float32, 2e-6),
    _matmul("matmul float64", np.float64, 1e-14),
    _reduce("reductions float32", np.float32, 1e-5),
    _reduce("reductions float64", np.float64, 1e-13),
    _sgd("SGD float32", np.float32, 1e-6),
    _sgd("SGD float64", np.float64, 1e-14),
    _adam("Adam float32", np.float32, 1e-6),
    _adam("Adam float64", np.float64, 1e-14),
    _augment("augment bytes", np.float32, np.uint8, 1e-6),
    _augment("augment float32", np.float32, np.float32, 1e-6),
    _augment("augment float64", np.float64, np.float64, 1e-14),
]

# g++ takes about a second for each kernel, and the tests must do with an empty cache: these always, all when slow tests
# run. Watched kernels are compiled anew.
QUICK = (
    "conv 3x3, parts",
    "pipelined 3x3, 16 channels",
    "linear, 5 rows",
    "linear TF32",
    "batch norm float32",
    "batch norm to ReLU float32",
    "elementwise float32",
    "pool 3x2",
    "loss float32",
    "matmul float32",
    "reductions float32",
    "SGD float32",
    "Adam float32",
    "augment bytes",
)
QUICK_TO_WATCH = ("linear, 5 rows", "SGD float32")


def make_for_all_cases() -> Device:
    """A cuda-on-cpu device that compiles all instances of a file at once: for all of them, less than half the work."""
    device, modules = make_cuda_on_cpu(), {}

    def load(source, name):
        if source.file not in modules:
            code, names = read(source.file), source.instances
            modules[source.file] = cuda_on_cpu.RawModule(code=code, options=OPTIONS, name_expressions=names)
        return modules[source.file].get_function(name)

    device.load = load
    return device


def device_for(case: Case, quick: tuple[str, ...]) -> Device:
    """One that compiles what the case needs if it is quick; otherwise all cases are likely to run."""
    return make_cuda_on_cpu() if case.name in quick else make_for_all_cases()


def quick_or_slow(quick: tuple[str, ...]) -> list[Any]:
    """All cases, as parameters of a test; those not named are slow."""
    return [pytest.param(c, id=c.name, marks=() if c.name in quick else pytest.mark.slow) for c in CASES]
