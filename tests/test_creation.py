"""Functions that make tensors: shapes, types, copies, and random numbers from a seed."""

import json

import numpy as np
import pytest
from hypothesis import given, strategies as st

import minires as mr
from minires import random


def test_tensor_copies():
    a = np.ones(2)
    x = mr.tensor(a)
    a[0] = 5
    assert x.array.tolist() == [1, 1]
    y = mr.tensor(x)
    assert y.array is not x.array and y.is_leaf


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
    with pytest.raises(TypeError, match=r"tensor: got .* data of dtype .*; expected real numbers"):
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
    assert mr.zeros(2).array.tolist() == [0, 0] and mr.ones(2).array.tolist() == [1, 1]
    x = mr.tensor([[1.0, 2.0]])
    for y, value in ((mr.zeros_like(x), 0), (mr.ones_like(x), 1)):
        assert y.array.tolist() == [[value, value]] and y.dtype == np.float32


def test_full_takes_its_type_from_the_value():
    assert mr.full((2,), 3).dtype == np.int64 and mr.full((2,), 3.0).dtype == np.float32
    assert mr.full((2, 2), 1.5, dtype=np.float64).array.tolist() == [[1.5, 1.5], [1.5, 1.5]]


def test_arange():
    assert mr.arange(3).array.tolist() == [0, 1, 2] and mr.arange(3).dtype == np.int64
    assert mr.arange(1, 7, 2).array.tolist() == [1, 3, 5]
    assert mr.arange(0, 1, 0.5).array.tolist() == [0, 0.5] and mr.arange(0, 1, 0.5).dtype == np.float32
    assert mr.arange(3, dtype=np.float64, requires_grad=True).dtype == np.float64


def test_random_numbers_have_their_distribution():
    mr.manual_seed(0)
    normal, uniform = mr.randn(100_000).array, mr.rand(100_000).array
    assert abs(normal.mean()) < 0.02 and abs(normal.std() - 1) < 0.02
    assert abs(uniform.mean() - 0.5) < 0.01 and uniform.min() >= 0 and uniform.max() < 1


def test_the_same_seed_gives_the_same_numbers():
    def draw():
        return [mr.randn(3).array.tolist(), mr.rand(2).array.tolist()]

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
    expected = mr.randn(5).array.tolist()
    random.set_state(state)
    assert mr.randn(5).array.tolist() == expected


@pytest.mark.parametrize("seed", [-1, 1.5, "1", None], ids=repr)
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(ValueError, match=r"manual_seed: got .*; expected a whole number of at least 0"):
        mr.manual_seed(seed)


MAKERS = {
    "zeros": lambda **o: mr.zeros(2, **o), "ones": lambda **o: mr.ones(2, **o),
    "full": lambda **o: mr.full((2,), 1, **o), "zeros_like": lambda **o: mr.zeros_like(mr.ones(2), **o),
    "ones_like": lambda **o: mr.ones_like(mr.ones(2), **o),
    "arange": lambda **o: mr.arange(2, **o), "linspace": lambda **o: mr.linspace(0, 1, 2, **o),
    "randn": lambda **o: mr.randn(2, **o), "rand": lambda **o: mr.rand(2, **o),
    "randperm": lambda **o: mr.randperm(2, **o), "new_zeros": lambda **o: mr.ones(2).new_zeros(2, **o),
    "randint": lambda **o: mr.randint(5, (2,), **o), "tensor": lambda **o: mr.tensor([1, 2], **o),
}  # fmt: skip


@pytest.mark.parametrize("name", MAKERS)
def test_every_function_takes_dtype_device_and_requires_grad(name):
    x = MAKERS[name](dtype=np.float64, device="cpu", requires_grad=True)
    assert x.shape == (2,) and x.dtype == np.float64 and x.device == "cpu" and x.requires_grad and x.is_leaf
    with pytest.raises(ValueError, match="got device 'tpu'"):
        MAKERS[name](device="tpu")


@given(st.integers(-5, 5), st.integers(-5, 5), st.integers(-3, 3))
def test_arange_of_whole_numbers_is_range(start, end, step):
    if step == 0 or (end - start) * step < 0:
        with pytest.raises(ValueError, match=r"arange: got step=.* expected one that leads there"):
            mr.arange(start, end, step)
    else:
        x = mr.arange(start, end, step)
        assert x.tolist() == list(range(start, end, step)) == mr.arange(start=start, end=end, step=step).tolist()


def test_arange_takes_an_end_by_name_and_rounds_for_whole_types():
    assert mr.arange(end=3).tolist() == [0, 1, 2] and mr.arange(1, end=3).tolist() == [1, 2]
    assert mr.arange(0.5, 5.5, 1.5, dtype=np.int64).tolist() == [0, 1, 2, 3, 4]
    assert mr.arange(0, 1, 0.1).shape == (10,) and mr.arange(mr.tensor(3)).tolist() == [0, 1, 2]
    for wrong in ((0, 3, 0), (0, np.inf), (np.nan,), (0, -1)):
        with pytest.raises(ValueError, match="arange: got "):
            mr.arange(*wrong)
    with pytest.raises(TypeError, match="arange: got end='a'; expected a number"):
        mr.arange("a")
    with pytest.raises(ValueError, match=r"step=0.5"):
        mr.arange(0, 3, 0.5, dtype=np.int64)


def test_linspace():
    np.testing.assert_allclose(mr.linspace(-1, 1, 5).array, [-1, -0.5, 0, 0.5, 1])
    assert mr.linspace(0, 1, 1).tolist() == [0] and mr.linspace(0, 1, 0).shape == (0,)
    with pytest.raises(ValueError, match="linspace: got steps=-1"):
        mr.linspace(0, 1, -1)


def test_random_whole_numbers():
    mr.manual_seed(0)
    assert set(mr.randint(3, 6, (200,)).tolist()) == {3, 4, 5} and mr.randint(high=2, size=(2, 3)).shape == (2, 3)
    assert set(mr.randint(3, (200,)).tolist()) == {0, 1, 2} and mr.randint(3, (2,)).dtype == np.int64
    assert sorted(mr.randperm(50).tolist()) == list(range(50)) != mr.randperm(50).tolist()
    with pytest.raises(ValueError, match="randint: got low=3, high=3"):
        mr.randint(3, 3, (2,))


def test_from_numpy_shares_memory_and_new_zeros_keeps_the_type():
    a = np.ones(2)
    x = mr.from_numpy(a)
    a[0] = 5
    assert x.tolist() == [5, 1] and x.new_zeros(2, 3).dtype == np.float64 and x.new_zeros((3,)).tolist() == [0, 0, 0]
    with pytest.raises(TypeError, match="from_numpy: got a list, expected a NumPy array"):
        mr.from_numpy([1])


@pytest.mark.parametrize(
    "make",
    [
        lambda dtype, value: mr.full((2,), value, dtype=dtype),
        lambda dtype, value: mr.full_like(mr.zeros(2, dtype=dtype), value),
        lambda dtype, value: mr.zeros(2, dtype=dtype).new_full((2,), value),
        lambda dtype, value: mr.zeros(2, dtype=dtype).masked_fill(mr.tensor([True, False]), value),
        lambda dtype, value: mr.where(mr.tensor([True, False]), value, mr.zeros(2, dtype=dtype)),
    ],
    ids=["full", "full_like", "new_full", "masked_fill", "where"],
)
def test_a_number_that_the_dtype_cannot_hold_is_refused(make):
    for dtype, held, beyond in [(np.uint8, 255, 256), (np.int8, -128, -129), (np.float16, 65504, 65536)]:
        made = make(dtype, held)
        assert made.dtype == dtype and made[0].item() == held
        with pytest.raises(OverflowError, match=f"got {beyond}, which {np.dtype(dtype)} cannot hold"):
            make(dtype, beyond)
    assert make(np.float32, np.inf)[0].item() == np.inf
    with pytest.raises(OverflowError, match=r"got 1e\+300, which float32 cannot hold"):
        make(np.float32, 1e300)


def test_whole_numbers_beyond_the_dtype_are_refused_wherever_they_come_from():
    for value in (256, -1, float("nan"), float("inf")):
        with pytest.raises(OverflowError, match=r"tensor: got .*, which uint8 cannot hold"):
            mr.tensor([[1, value]], dtype=np.uint8)
    assert mr.tensor([255.0, 3.7], dtype=np.uint8).tolist() == [255, 3]
    assert mr.tensor(np.array([256]), dtype=np.uint8).tolist() == [0]  # an array is converted as `to` does
    for low, high in ((0, 257), (-1, 3)):
        with pytest.raises(OverflowError, match=r"randint: got .*, which uint8 cannot hold"):
            mr.randint(low, high, (3,), dtype=np.uint8)
    assert mr.randint(0, 256, (3,), dtype=np.uint8).dtype == mr.randperm(256, dtype=np.uint8).dtype == np.uint8
    with pytest.raises(OverflowError, match="randperm: got 256, which uint8 cannot hold"):
        mr.randperm(257, dtype=np.uint8)


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([1j]), np.array([None, 1])], ids=lambda a: str(a.dtype))
def test_arrays_of_anything_but_real_numbers_are_refused(array):
    for make in (mr.tensor, mr.from_numpy, mr.as_tensor):
        with pytest.raises(TypeError, match=rf"{make.__name__}: got ndarray data of dtype .*; expected real numbers"):
            make(array)
    x = mr.zeros(2)
    with pytest.raises(TypeError, match="data: got ndarray data of dtype"):
        x.data = array
    assert x.tolist() == [0, 0]


@pytest.mark.parametrize("scalar", [np.complex64(1), np.str_("a")], ids=repr)
def test_scalars_of_anything_but_real_numbers_are_refused(scalar):
    with pytest.raises(TypeError, match=r"Tensor: got .*; expected numbers"):
        mr.Tensor(scalar)


def test_rows_of_different_lengths_are_told():
    with pytest.raises(ValueError, match=r"tensor: got \[\[1, 2\], \[3\]\], of which NumPy makes no array of numbers"):
        mr.tensor([[1, 2], [3]])


def test_a_dtype_or_device_that_is_given_twice_is_refused():
    x = mr.zeros(2)
    for arguments, named in [((np.float64, np.float32), {}), (("cpu",), {"device": "gpu"}), ((x,), {"device": "cpu"})]:
        with pytest.raises(TypeError, match=r"to: got .* and .*; expected one dtype and one device"):
            x.to(*arguments, **named)
    assert x.to("cpu", np.float64).dtype == x.to(np.float64, device="cpu").dtype == np.float64


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i2"])
def test_numbers_of_the_other_byte_order_are_copied_in_this_one(dtype):
    array = np.arange(3).astype(dtype)
    for made in (mr.tensor(array), mr.as_tensor(array)):
        assert made.dtype.isnative and made.dtype == array.dtype.newbyteorder("=") and made.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"from_numpy: got >.., the other byte order"):
        mr.from_numpy(array)


class Foreign:
    """An array of another library."""

    dtype, shape, ndim = "float32", (2,), 1

    def numpy(self):
        return np.ones(2)


def test_arrays_of_another_library_are_named_with_the_way_out(monkeypatch):
    monkeypatch.setattr(Foreign, "__module__", "library.arrays")
    x = Foreign()
    for make in (mr.tensor, mr.Tensor, mr.as_tensor, mr.relu, mr.nn.Linear(2, 2)):
        with pytest.raises(TypeError, match=r"got a library\.Foreign \(convert it: x\.numpy\(\)\)"):
            make(x)


def test_sizes_are_not_taken_for_values():
    with pytest.raises(TypeError, match=r"Tensor: got array\(2\) and 3; for a tensor of these sizes, use empty"):
        mr.Tensor(2, 3)
