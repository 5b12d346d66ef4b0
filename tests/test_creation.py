"""Functions that make tensors: shapes, types, copies, and random numbers from a seed."""

import json

import numpy as np
import pytest

import minires as mr
from minires import random


def test_tensor_copies():
    a = np.ones(2)
    x = mr.tensor(a)
    a[0] = 5
    assert x.data.tolist() == [1, 1]
    y = mr.tensor(x)
    assert y.data is not x.data and y.is_leaf


def test_tensor_chooses_types_as_pytorch_does():
    assert mr.tensor([1.0]).dtype == np.float32 and mr.tensor([1]).dtype == np.int64
    assert mr.tensor([True]).dtype == np.bool_ and mr.tensor(np.ones(1)).dtype == np.float64
    assert mr.tensor([1], dtype=np.float64).dtype == np.float64
    assert mr.tensor(1.0).shape == ()
    assert mr.tensor([1.0], requires_grad=True).requires_grad


def test_numbers_reach_float64_without_a_detour():
    assert mr.tensor(0.02, dtype=np.float64).item() == 0.02 != mr.tensor(0.02).item()


@pytest.mark.parametrize("data", [None, "abc", [1, None], 1j, {}], ids=repr)
def test_tensor_refuses_what_is_no_number(data):
    with pytest.raises(TypeError, match=r"tensor: got .* data of dtype .*; expected numbers"):
        mr.tensor(data)


def test_tensor_refuses_ragged_lists_and_unknown_devices():
    with pytest.raises(ValueError, match="inhomogeneous"):
        mr.tensor([[1], [1, 2]])
    with pytest.raises(ValueError, match="got device 'tpu'"):
        mr.tensor([1.0], device="tpu")


@pytest.mark.parametrize("make", [mr.zeros, mr.ones, mr.randn, mr.rand], ids=lambda f: f.__name__)
def test_sizes_one_by_one_or_together(make):
    for x in (make(2, 3), make((2, 3)), make([2, 3])):
        assert x.shape == (2, 3) and x.dtype == np.float32 and not x.requires_grad
    assert make().shape == () and make(0, 2).shape == (0, 2)
    x = make(2, dtype=np.float64, requires_grad=True)
    assert x.dtype == np.float64 and x.requires_grad


def test_values():
    assert mr.zeros(2).data.tolist() == [0, 0] and mr.ones(2).data.tolist() == [1, 1]
    x = mr.tensor([[1.0, 2.0]])
    for y, value in ((mr.zeros_like(x), 0), (mr.ones_like(x), 1)):
        assert y.data.tolist() == [[value, value]] and y.dtype == np.float32


def test_full_takes_its_type_from_the_value():
    assert mr.full((2,), 3).dtype == np.int64 and mr.full((2,), 3.0).dtype == np.float32
    assert mr.full((2, 2), 1.5, dtype=np.float64).data.tolist() == [[1.5, 1.5], [1.5, 1.5]]


def test_arange():
    assert mr.arange(3).data.tolist() == [0, 1, 2] and mr.arange(3).dtype == np.int64
    assert mr.arange(1, 7, 2).data.tolist() == [1, 3, 5]
    assert mr.arange(0, 1, 0.5).data.tolist() == [0, 0.5] and mr.arange(0, 1, 0.5).dtype == np.float32
    assert mr.arange(3, dtype=np.float64, requires_grad=True).dtype == np.float64


def test_random_numbers_have_their_distribution():
    mr.manual_seed(0)
    normal, uniform = mr.randn(100_000).data, mr.rand(100_000).data
    assert abs(normal.mean()) < 0.02 and abs(normal.std() - 1) < 0.02
    assert abs(uniform.mean() - 0.5) < 0.01 and uniform.min() >= 0 and uniform.max() < 1


def test_the_same_seed_gives_the_same_numbers():
    def draw():
        return [mr.randn(3).data.tolist(), mr.rand(2).data.tolist()]

    mr.manual_seed(7)
    first = draw()
    assert draw() != first
    mr.manual_seed(np.int64(7))
    assert draw() == first
    mr.manual_seed(8)
    assert draw() != first


def test_the_generator_is_one_and_the_same_object():
    """Code that took it before a new seed goes on drawing from the new one."""
    before = random.generator()
    assert mr.manual_seed(3) is before is random.generator()


def test_the_state_survives_json():
    mr.manual_seed(1)
    mr.randn(3)
    state = json.loads(json.dumps(random.get_state()))
    expected = mr.randn(5).data.tolist()
    random.set_state(state)
    assert mr.randn(5).data.tolist() == expected


@pytest.mark.parametrize("seed", [-1, 1.5, "1", None], ids=repr)
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(ValueError, match=r"manual_seed: got .*; expected a whole number of at least 0"):
        mr.manual_seed(seed)
