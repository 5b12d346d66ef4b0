"""The CUDA kernels, run on the CPU by g++ and, where there is one, on a GPU, against `kernels.cpu` and the textbook."""

import inspect
import math

import numpy as np
import pytest
from gpu.cases import CASES
from hypothesis import given, settings
from strategies import convolutions, layouts, poolings, seeds

from minires import kernels
from minires.kernels import cpu
from minires.kernels.gpu import cuda_on_cpu, load
from minires.kernels.gpu.devices import make_cuda_on_cpu, make_gpu, why_no_gpu

needs_gxx = pytest.mark.skipif(not cuda_on_cpu.available(), reason=f"cuda-on-cpu: {cuda_on_cpu.why_not()}")
needs_gpu = pytest.mark.skipif(why_no_gpu() is not None, reason=f"no GPU: {why_no_gpu()}")


@pytest.fixture(scope="module")
def simulated():
    return make_cuda_on_cpu()


@needs_gxx
@pytest.mark.parametrize("order", ["forward", "reverse"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_in_both_thread_orders(case, order, simulated):
    with cuda_on_cpu.thread_order(order):
        case.check(simulated)


@needs_gxx
def test_the_cases_launch_every_instance():
    device = make_cuda_on_cpu()
    launched = set()
    device.load = lambda file, name: launched.add((file, name)) or (lambda grid, block, args: None)
    for case in CASES:
        case.run(device)
    assert launched == set(load.INSTANCES)


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_on_the_gpu(case):
    device = make_gpu()
    case.check(device)
    first, again = case.run(device), case.run(device)
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name], err_msg=f"{name} differs between two runs")


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
@given(case=convolutions(), seed=seeds, layout=layouts)
def test_convolutions_of_any_shape(case, seed, layout, dtype):
    rng = np.random.default_rng(seed)
    x, w = (layout(rng.standard_normal(shape).astype(dtype)) for shape in (case.x_shape, case.w_shape))
    y = cpu.conv2d(x, w, None, *geometry(case))
    g = layout(rng.standard_normal(y.shape).astype(dtype))
    of = kernels.of(on_device(x)[0])
    assert_close([of.conv2d(*on_device(x, w), None, *geometry(case))], [y], dtype)
    got = of.conv2d_backward(*on_device(g, x, w), *geometry(case))
    assert_close(got, cpu.conv2d_backward(g, x, w, *geometry(case)), dtype)


def geometry(case):
    return case.stride, case.padding, case.dilation, case.groups


@needs_gxx
@settings(max_examples=25)
@given(case=poolings(), seed=seeds, layout=layouts)
def test_pools_of_any_shape(case, seed, layout):
    x = layout(np.random.default_rng(seed).integers(-3, 3, case.x_shape).astype(np.float32))  # with many ties
    window = case.kernel_size, case.stride, case.padding
    y, tap = cpu.max_pool2d(x, *window)
    g = np.random.default_rng(seed).standard_normal(y.shape).astype(np.float32)
    (gx, gg), of = on_device(x, g), kernels.of(on_device(x)[0])
    gy, gtap = of.max_pool2d(gx, *window)
    assert_close([gy, gtap, of.max_pool2d_backward(gg, gtap, x.shape, *window)],
                 [y, tap, cpu.max_pool2d_backward(g, tap, x.shape, *window)], np.float32)  # fmt: skip
    assert_close([of.avg_pool2d(gx, *window), of.avg_pool2d_backward(gg, x.shape, *window)],
                 [cpu.avg_pool2d(x, *window), cpu.avg_pool2d_backward(g, x.shape, *window)], np.float32)  # fmt: skip


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
    for got, want in zip(of.max_pool2d(gx, (2, 2), (2, 2)), cpu.max_pool2d(x, (2, 2), (2, 2)), strict=True):
        np.testing.assert_array_equal(np.asarray(got), want)


@needs_gxx
def test_a_label_out_of_range_cannot_pass_for_a_loss():
    (labels,), of = on_device(np.array([0, 3, -100])), kernels.of(on_device(np.ones(1))[0])
    q = np.asarray(of.one_hot(labels, 3, np.dtype(np.float32)))
    assert q[0].tolist() == [1, 0, 0] and all(map(math.isnan, q[1])) and q[2].tolist() == [0, 0, 0]


@needs_gxx
def test_names_and_signatures_are_those_of_the_cpu(simulated):
    mine, theirs = kernels.of(on_device(np.ones(1))[0]), kernels.of(np.ones(1))
    for name in kernels.NAMES:
        assert inspect.signature(getattr(mine, name)) == inspect.signature(getattr(theirs, name)), name


def test_an_unlisted_instance_is_named():
    with pytest.raises(KeyError, match=r"relu\.cu has no instance relu<int>; list it in load\.INSTANCES"):
        load.Loader(None)("relu.cu", "relu<int>")
