"""Convolutions of any shape take pipelined.cu if and only if they can, and are what the definition says either way."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from strategies import convolutions, pairs, seeds

from minires import cuda_on_cpu
from minires.kernels import cpu
from minires.kernels.conv import gpu as conv
from minires.kernels.devices import make_cuda_on_cpu
from minires.kernels.launch import allow_tf32

pytestmark = pytest.mark.skipif(not cuda_on_cpu.available(), reason=f"cuda-on-cpu: {cuda_on_cpu.why_not()}")


@st.composite
def wide_convolutions(draw):
    """Of channels and images that can often, but not always, be copied by sixteens and fours; 1×1 and 3×3 often."""
    case = draw(convolutions(max_out=2, kernels=st.sampled_from([(1, 1), (3, 3)]) | pairs(1, 4)))
    batch = draw(st.sampled_from([4, 8, 20]) | st.integers(1, 9))
    channels, out = (draw(st.sampled_from([16, 32, 48, 64]) | st.integers(1, 40)) for _ in range(2))
    x_shape = batch, case.groups * channels, *case.x_shape[2:]
    return replace(case, x_shape=x_shape, w_shape=(case.groups * out, channels, *case.w_shape[2:]))


def pipelined(case):
    """The kernels of pipelined.cu that the case is for."""
    batch, out, (channels, *kernel) = case.x_shape[0], case.w_shape[0] // case.groups, case.w_shape[1:]
    if batch % 4 or channels % 16 or out % 16:
        return set()
    of_weights = kernel == [3, 3] or (kernel == [1, 1] and channels % 64 == out % 64 == 0)
    return set(conv.KERNELS) if of_weights else set(conv.KERNELS[:2])


def computed(case, arrays, device, tf32):
    """y, dx and dw."""
    x, w, _, g = (device.upload(a) for a in arrays)
    with allow_tf32(tf32):
        y = conv.conv2d(device, x, w, None, *case.geometry)
        return y, *conv.conv2d_backward(device, g, x, w, *case.geometry, (True, True, False))[:2]


@cache
def device_of(multiprocessors):
    """The tile depends on how many there are."""
    return make_cuda_on_cpu(multiprocessors=multiprocessors)


cases, processors = wide_convolutions(), st.sampled_from([1, 4, 132])


@settings(max_examples=100)
@given(case=cases, multiprocessors=processors, tf32=st.booleans(), ampere=st.booleans())
def test_what_can_be_copied_by_fours_is(case, multiprocessors, tf32, ampere):
    device, names = make_cuda_on_cpu(multiprocessors=multiprocessors, ampere=ampere), []
    device.load = lambda source, name: names.append(name) or (lambda grid, block, args: None)
    computed(case, case.arrays(0, np.float32), device, tf32)
    names = [name for name in names if name.startswith("conv2d")]
    assert len(names) == 3
    expected = pipelined(case) if ampere else set()
    assert {name.partition("_pipelined")[0] for name in names if "_pipelined" in name} == expected
    assert {"true" in name for name in names} == {tf32 and ampere}


@pytest.mark.slow
@settings(max_examples=100)
@given(
    case=cases, seed=seeds, multiprocessors=processors, tf32=st.booleans(),
    order=st.sampled_from(["forward", "reverse"]),
)  # fmt: skip
def test_wide_convolutions_of_any_shape(case, seed, multiprocessors, tf32, order):
    """Against the CPU's kernels in float64, which tests/kernels holds to the definition: that would take minutes."""
    x, w, b, g = case.arrays(seed, np.float32)
    with cuda_on_cpu.thread_order(order):
        results = computed(case, (x, w, b, g), device_of(multiprocessors), tf32)
    x, w, g = (a.astype(np.float64) for a in (x, w, g))
    expected = cpu.conv2d(x, w, None, *case.geometry), *cpu.conv2d_backward(g, x, w, *case.geometry)[:2]
    for name, got, want in zip(("y", "dx", "dw"), results, expected, strict=True):
        scale = np.abs(want).max(initial=0)
        error = np.abs(np.asarray(got, np.float64) - want).max(initial=0)
        assert got.shape == want.shape and error <= scale * (3e-3 if tf32 else 3e-6), f"{name}: {error / scale:.1e}"
