"""The CUDA kernels, run on the CPU by g++ and, where there is one, on a GPU, against `kernels.cpu` and the textbook."""

import inspect
import math

import numpy as np
import pytest
from gpu.cases import CASES, QUICK, SOURCES, device_for, normal, quick_or_slow
from hypothesis import given, settings, strategies as st
from strategies import convolutions, layouts, poolings, seeds

from minires import cuda_on_cpu, kernels
from minires.kernels import cpu, load, textbook
from minires.kernels.batchnorm import gpu as batchnorm
from minires.kernels.devices import make_cuda_on_cpu, make_gpu, why_no_gpu
from minires.kernels.launch import LARGEST
from minires.kernels.loss.gpu import LOSS
from minires.kernels.product import gpu as linear
from minires.kernels.reduce import gpu as reduce

needs_gxx = pytest.mark.skipif(not cuda_on_cpu.available(), reason=f"cuda-on-cpu: {cuda_on_cpu.why_not()}")
needs_gpu = pytest.mark.skipif(why_no_gpu() is not None, reason=f"no GPU: {why_no_gpu()}")


@needs_gxx
@pytest.mark.parametrize("order", ["forward", "reverse"])
@pytest.mark.parametrize("case", quick_or_slow(QUICK))
def test_every_case_in_both_thread_orders(case, order):
    with cuda_on_cpu.thread_order(order):
        case.check(device_for(case, QUICK))


@needs_gxx
def test_the_cases_launch_every_instance():
    device = make_cuda_on_cpu()
    launched = set()
    device.load = lambda source, name: launched.add((source.file, name)) or (lambda grid, block, args: None)
    for case in CASES:
        case.run(device)
    assert launched == {(source.file, name) for source in SOURCES for name in source.instances}


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_on_the_gpu(case):
    device = make_gpu()
    case.check(device)
    first, again = case.run(device), case.run(device)
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name], err_msg=f"{name} differs between two runs")


either_dtype = pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
orders = st.sampled_from(["forward", "reverse"])
odd_sizes = st.sampled_from([1, 2, 3, 5, 31, 32, 33, 63, 65, 127, 129])


def on_device(*arrays):
    return [a if a is None else kernels.to_device(a, "cuda-on-cpu") for a in arrays]


def assert_close(got, want, dtype):
    for a, b in zip(got, want, strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            scale = max(np.abs(b).max(initial=0), 1)
            error = np.abs(np.asarray(kernels.to_device(a, "cpu"), np.float64) - b).max(initial=0)
            assert a.shape == b.shape and error <= scale * (3e-5 if dtype == np.float32 else 1e-12)


@needs_gxx
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(max_examples=25)
@given(case=convolutions(), seed=seeds, layout=layouts, order=orders)
def test_convolutions_of_any_shape(case, seed, layout, order, dtype):
    rng = np.random.default_rng(seed)
    x, w = (layout(rng.standard_normal(shape).astype(dtype)) for shape in (case.x_shape, case.w_shape))
    y = cpu.conv2d(x, w, None, *geometry(case))
    g = layout(rng.standard_normal(y.shape).astype(dtype))
    of = kernels.of(on_device(x)[0])
    with cuda_on_cpu.thread_order(order):
        got = of.conv2d(*on_device(x, w), None, *geometry(case))
        grads = of.conv2d_backward(*on_device(g, x, w), *geometry(case))
    assert_close([got], [y], dtype)
    assert_close(grads, cpu.conv2d_backward(g, x, w, *geometry(case)), dtype)


@needs_gxx
@pytest.mark.parametrize("first", [0, 1, 3])
def test_a_convolution_of_an_array_that_begins_anywhere(first, rng):
    """Sixteen bytes at a time can be copied only from multiples of sixteen; the runner would refuse others."""
    (room, w), (c, h, n) = on_device(np.zeros(16 * 4 * 4 + 7, np.float32), normal(1, 16, 16, 1, 1)), (16, 4, 4)
    start = -room.ctypes.data // 4 % 4 + first
    x = room[start : start + c * h * n].reshape(c, h, 1, n).transpose(3, 0, 1, 2)
    x[...] = on_device(normal(0, n, c, h, 1))[0]
    assert_close([kernels.of(x).conv2d(x, w)], [cpu.conv2d(np.array(x), np.array(w))], np.float32)


def geometry(case):
    return case.stride, case.padding, case.dilation, case.groups


@needs_gxx
@settings(max_examples=25)
@given(
    case=poolings(max_dilation=3, ceil_modes=(False, True)), seed=seeds, layout=layouts, order=orders,
    include=st.booleans(), divisor=st.sampled_from([None, 3, -2]),
)  # fmt: skip
def test_pools_of_any_shape(case, seed, layout, order, include, divisor):
    x = layout(np.random.default_rng(seed).integers(-3, 3, case.x_shape).astype(np.float32))  # with many ties
    window, ceil = (*case.window, case.dilation), case.ceil_mode
    y, tap = cpu.max_pool2d(x, *window, ceil)
    g = np.random.default_rng(seed).standard_normal(y.shape).astype(np.float32)
    (gx, gg), of = on_device(x, g), kernels.of(on_device(x)[0])
    with cuda_on_cpu.thread_order(order):
        gy, gtap = of.max_pool2d(gx, *window, ceil)
        got = [gy, gtap, of.max_pool2d_backward(gg, gtap, x.shape, *window)]
    assert_close(got, [y, tap, cpu.max_pool2d_backward(g, tap, x.shape, *window)], np.float32)
    if case.dilation == (1, 1):
        window = *case.window, include, ceil, divisor
        with cuda_on_cpu.thread_order(order):
            got = [of.avg_pool2d(gx, *window), of.avg_pool2d_backward(gg, x.shape, *window)]
        assert_close(got, [cpu.avg_pool2d(x, *window), cpu.avg_pool2d_backward(g, x.shape, *window)], np.float32)


@needs_gxx
@either_dtype
@settings(max_examples=15)
@given(batch=odd_sizes, channels=st.integers(1, 5), size=st.integers(1, 4), seed=seeds, layout=layouts, order=orders)
def test_batch_norms_of_any_shape(batch, channels, size, seed, layout, order, dtype):
    rng = np.random.default_rng(seed)
    x, g = (layout(rng.standard_normal((batch + 1, channels, size, 2)).astype(dtype)) for _ in range(2))
    w, b, mean, var = (rng.uniform(0.5, 2, channels).astype(dtype) for _ in range(4))
    (gx, gg, gw), given_there = on_device(x, g, w), on_device(w, b, mean, var)
    of = kernels.of(gx)
    y, batch_mean, batch_var = cpu.batch_norm(x, w, b, 1e-5)
    with cuda_on_cpu.thread_order(order):
        got = of.batch_norm(gx, *given_there[:2], 1e-5)
        grads = of.batch_norm_backward(gg, gx, gw, *got[1:], 1e-5)
        evaluated = of.batch_norm_eval(gx, *given_there, 1e-5)
    assert_close(got, [y, batch_mean, batch_var], dtype)
    scale = 1 / np.sqrt(batch_var.min() + 1e-5)  # how much normalising magnifies rounding errors
    if scale < 10:
        assert_close(grads, cpu.batch_norm_backward(g, x, w, batch_mean, batch_var, 1e-5), dtype)
    assert_close([evaluated], [cpu.batch_norm_eval(x, w, b, mean, var, 1e-5)], dtype)


@needs_gxx
@either_dtype
@settings(max_examples=15)
@given(rows=odd_sizes, into=odd_sizes, out=odd_sizes, seed=seeds, layout=layouts, order=orders)
def test_linear_layers_of_any_shape(rows, into, out, seed, layout, order, dtype):
    rng, shapes = np.random.default_rng(seed), ((rows, into), (out, into), (out,), (rows, out))
    x, w, b, g = (layout(rng.standard_normal(shape).astype(dtype)) for shape in shapes)
    gx, gw, gb, gg = on_device(x, w, b, g)
    of = kernels.of(gx)
    with cuda_on_cpu.thread_order(order):
        got = of.linear(gx, gw, gb), *of.linear_backward(gg, gx, gw)
    here = kernels.of(np.ones(1))
    assert_close(got, [here.linear(x, w, b), *here.linear_backward(g, x, w)], dtype)


@needs_gxx
@either_dtype
@settings(max_examples=15)
@given(batch=odd_sizes, classes=odd_sizes, rest=st.integers(1, 3), seed=seeds, order=orders)
def test_losses_of_any_shape(batch, classes, rest, seed, order, dtype):
    rng = np.random.default_rng(seed)
    z, g = (rng.normal(0, 3, shape).astype(dtype) for shape in ((batch, classes, rest), (batch, rest)))
    labels = np.where(rng.random((batch, rest)) < 0.1, -100, rng.integers(0, classes, (batch, rest)))
    (gz, gg, gl), here = on_device(z, g, labels), kernels.of(np.ones(1))
    of = kernels.of(gz)
    with cuda_on_cpu.thread_order(order):
        q = of.one_hot(gl, classes, np.dtype(dtype))
        loss, p = of.cross_entropy(gz, q)
        got = q, loss, p, of.cross_entropy_backward(gg, p, q)
    q = here.one_hot(labels, classes, np.dtype(dtype))
    loss, p = here.cross_entropy(z, q)
    assert_close(got, [q, loss, p, here.cross_entropy_backward(g, p, q)], dtype)


@needs_gxx
def test_losses_of_more_positions_than_a_32nd_of_what_32_bits_count():
    """A warp works on each. Of these large arrays only one block's part is touched: the others are no memory at all."""
    skipped = 2**24  # blocks of eight warps
    device = make_cuda_on_cpu(lambda file: load.read(file).replace("blockIdx.x", f"(blockIdx.x + {skipped}u)"))
    z, q, p = (device.empty((8 * skipped + 5, 2), np.float32) for _ in range(3))
    loss, here = device.empty(len(z), np.float32), slice(8 * skipped, None)
    z[here], q[here] = [1, 0], [0, 1]
    numbers = len(z), 2, 1
    device.launch(LOSS, "cross_entropy", ("float",), (1,), 256, z, q, loss, p, numbers=numbers)
    np.testing.assert_allclose(loss[here], np.log1p(np.e), rtol=1e-6)
    device.launch(LOSS, "cross_entropy_backward", ("float",), (1,), 256, loss, p, q, z, numbers=numbers)
    np.testing.assert_allclose(z[here], loss[here, None] * (p[here] - q[here]), rtol=1e-6)


@needs_gxx
@either_dtype
@settings(max_examples=15)
@given(
    shape=st.tuples(odd_sizes, st.integers(1, 5), odd_sizes), seed=seeds, layout=layouts, order=orders,
    axes=st.sets(st.integers(0, 2), min_size=1).map(sorted).map(tuple),
)  # fmt: skip
def test_reductions_of_any_shape(shape, seed, layout, order, axes, dtype):
    x = layout(np.random.default_rng(seed).standard_normal(shape).round(1).astype(dtype))  # with ties
    (gx,), names, axis = on_device(x), ("reduce_sum", "reduce_max", "reduce_min"), (None, *axes)[-1 if seed % 2 else 0]
    of = kernels.of(gx)
    with cuda_on_cpu.thread_order(order):
        got = [getattr(of, name)(gx, axes, keepdims) for name in names for keepdims in (False, True)]
        places = [getattr(of, name)(gx, axis, keepdims) for name in ("argmax", "argmin") for keepdims in (False, True)]
    want = [getattr(textbook, name)(x, axes, keepdims) for name in names for keepdims in (False, True)]
    assert_close(got, [np.asarray(value) for value in want], dtype)
    want = [getattr(textbook, name)(x, axis, keepdims) for name in ("argmax", "argmin") for keepdims in (False, True)]
    for a, b in zip(places, want, strict=True):
        np.testing.assert_array_equal(np.asarray(a), b, strict=True)


@needs_gxx
@either_dtype
@settings(max_examples=15)
@given(
    stack=st.sampled_from([((), ()), ((3,), (3,)), ((3,), ()), ((), (3,)), ((2, 1), (3,)), ((1,), (2,)), ((0,), (0,))]),
    rows=odd_sizes, depth=odd_sizes, columns=odd_sizes, seed=seeds, layout=layouts, order=orders,
)  # fmt: skip
def test_matrix_products_of_any_shape(stack, rows, depth, columns, seed, layout, order, dtype):
    rng, shapes = np.random.default_rng(seed), ((*stack[0], rows, depth), (*stack[1], depth, columns))
    a, b = (layout(rng.standard_normal(shape).astype(dtype)) for shape in shapes)
    ga, gb = on_device(a, b)
    with cuda_on_cpu.thread_order(order):
        got = kernels.of(ga).matmul(ga, gb)
    assert_close([got], [textbook.matmul(a, b)], dtype)


@needs_gxx
def test_no_grid_is_larger_than_cuda_takes():
    """Many rows, and many matrices: CUDA counts up to 65,535 blocks in y and z."""
    device, grids = make_cuda_on_cpu(), []
    device.load = lambda source, name: lambda grid, block, args: grids.append((*grid, 1, 1)[:3])
    x = device.upload(np.zeros((70_000, 2), np.float32))
    for kernel in (reduce.reduce_sum, reduce.reduce_max):
        kernel(device, x, (1,))
    reduce.argmax(device, x, 1)
    linear.matmul(device, x.reshape(-1, 1, 2), x.reshape(-1, 2, 1))
    assert sum(z for _, _, z in grids[-2:]) == 70_000
    tall, two = device.upload(np.zeros((1_100_000, 1))), device.upload(np.zeros((2, 1)))
    linear.linear(device, tall, two)
    assert 16 * sum(y for _, y, _ in grids[-2:]) == 1_100_000
    assert all(y <= 65_535 and z <= 65_535 for _, y, z in grids)
    with pytest.raises(ValueError, match=r"batch_norm_statistics in a grid of \(1, 70000\) .* up to 65,535 .* fewer"):
        batchnorm.batch_norm(device, x.reshape(2, 70_000))


@needs_gxx
@pytest.mark.parametrize("processors", [1, 132, 304])
@pytest.mark.parametrize("columns", [1, 3])
def test_the_runs_of_the_largest_arrays_end_where_32_bits_can_count(processors, columns):
    """A run ends at its beginning plus its length, or at the end of the row; a thread then takes one more step."""
    device, launched = make_cuda_on_cpu(multiprocessors=processors), []
    device.load = lambda source, name: lambda grid, block, args: launched.append((grid, args[-1].tolist()))
    x = device.empty((LARGEST // columns - 1, columns), np.float32)  # never touched, so that it is no memory
    reduce.reduce_rows(device, "Sum", x.reshape(1, -1))
    (_, number), (_, length) = launched[0]
    assert number * length + 4096 < 2**31
    launched.clear()
    reduce.reduce_columns(device, "Sum", x, 1)
    (_, number), (_, _, length) = launched[0]
    assert number * length + 4096 < 2**31
    launched.clear()
    batchnorm.batch_norm_statistics(device, x.reshape(1, columns, -1))
    (number, _), (_, length, _) = launched[0]
    assert number * length + 4096 < 2**31
    with pytest.raises(ValueError, match="the kernels count up to 2³¹ values"):
        device.empty(LARGEST, np.uint8)


@needs_gxx
@pytest.mark.parametrize("rows", [2, 100])
def test_many_matrices_and_many_rows_may_take_several_launches(rows, rng, monkeypatch):
    monkeypatch.setattr(linear, "MOST_LAYERS", 3)
    a, b, bias = rng.standard_normal((7, rows, 3)), rng.standard_normal((7, 3, 4)), rng.standard_normal(4)
    ga, gb, gbias = on_device(a, b, bias)
    of = kernels.of(ga)
    got = of.matmul(ga, gb), of.linear(ga, gb[0].T, gbias), of.matmul(ga[0].T, ga[0])
    assert_close(got, [a @ b, a @ b[0] + bias, a[0].T @ a[0]], np.float64)


@needs_gxx
@pytest.mark.parametrize("out", [(1, 1), (3, 2), (9, 8)])
def test_adaptive_pools_smaller_and_larger_than_the_image(out, rng):
    x = rng.standard_normal((2, 3, 5, 7))
    g = rng.standard_normal((2, 3, *out))
    (gx, gg), of = on_device(x, g), kernels.of(on_device(x)[0])
    got = of.adaptive_avg_pool2d(gx, out), of.adaptive_avg_pool2d_backward(gg, x.shape)
    assert_close(got, [cpu.adaptive_avg_pool2d(x, out), cpu.adaptive_avg_pool2d_backward(g, x.shape)], np.float64)


@needs_gxx
def test_nan_and_infinity_are_treated_as_on_the_cpu():
    x = np.array([[-1.0, np.nan, 2.0, -np.inf], [np.inf, np.nan, 0.0, -0.0]], np.float32).reshape(1, 2, 2, 2)
    (gx,), of = on_device(x), kernels.of(on_device(x)[0])
    np.testing.assert_array_equal(np.asarray(of.relu(gx)), cpu.relu(x))
    for name in ("reduce_max", "reduce_min"):
        np.testing.assert_array_equal(np.asarray(getattr(of, name)(gx, (1,))), getattr(cpu, name)(x, (1,)))
    for name in ("argmax", "argmin"):
        np.testing.assert_array_equal(np.asarray(getattr(of, name)(gx, 3)), getattr(cpu, name)(x, 3))
    for got, want in zip(of.max_pool2d(gx, (2, 2), (2, 2)), cpu.max_pool2d(x, (2, 2), (2, 2)), strict=True):
        np.testing.assert_array_equal(np.asarray(got), want)


@needs_gxx
def test_a_label_out_of_range_cannot_pass_for_a_loss():
    (labels,), of = on_device(np.array([0, 3, -100])), kernels.of(on_device(np.ones(1))[0])
    q = np.asarray(of.one_hot(labels, 3, np.dtype(np.float32)))
    assert q[0].tolist() == [1, 0, 0] and all(map(math.isnan, q[1])) and q[2].tolist() == [0, 0, 0]


@needs_gxx
def test_names_and_signatures_are_those_of_the_cpu():
    mine, theirs = kernels.of(on_device(np.ones(1))[0]), kernels.of(np.ones(1))
    for name in kernels.NAMES:
        assert inspect.signature(getattr(mine, name)) == inspect.signature(getattr(theirs, name)), name


def test_an_unlisted_instance_is_named():
    with pytest.raises(KeyError, match=r"relu\.cu has no instance relu<int>; list it in the Source beside it"):
        load.Loader(None)(load.Source("relu.cu", [("relu", "float")]), "relu<int>")
