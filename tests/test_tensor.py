"""Tensor: attributes, conversions, comparisons and how it prints."""

import operator

import numpy as np
import pytest

import minires as mr
from minires import Tensor


def test_holds_an_array_and_its_attributes():
    a = np.ones((2, 3), np.float32)
    x = Tensor(a, requires_grad=True)
    assert x.array is a and x.shape == x.size() == (2, 3) and x.size(-1) == 3 and x.numel() == 6 and x.ndim == 2
    assert x.dtype == np.float32 and x.device == "cpu"
    assert x.requires_grad and x.is_leaf and x.grad is None and x.op is None
    assert not (x * 2).is_leaf


@pytest.mark.parametrize(
    "data, dtype",
    [(1.5, np.float32), (2, np.int64), (True, np.bool_), ([1, 2.0], np.float32), ([], np.float32), ([[1]], np.int64)],
    ids=repr,
)
def test_python_numbers_become_float32_or_int64(data, dtype):
    assert mr.tensor(data).dtype == dtype
    np.testing.assert_array_equal(mr.tensor(data).array, data)


@pytest.mark.parametrize("data", [[1, 2], (1, 2), [[True]], [], [1.5]], ids=repr)
def test_the_class_makes_float32_of_lists_as_pytorch_does(data):
    assert Tensor(data).dtype == np.float32
    np.testing.assert_array_equal(Tensor(data).array, data)


@pytest.mark.parametrize("data", [np.float64(1), np.ones(2).view(np.matrix), np.ma.array([1.0]), np.ones(3)], ids=repr)
def test_whatever_numpy_gives_is_kept_as_a_plain_array_of_its_type(data):
    x = Tensor(data)
    assert type(x.array) is np.ndarray and x.dtype == np.float64
    assert x.relu().shape == data.shape


def test_a_memory_mapped_array_goes_through_the_kernels(tmp_path):
    np.save(tmp_path / "a.npy", np.array([-1.0, 1.0]))
    assert Tensor(np.load(tmp_path / "a.npy", mmap_mode="r")).relu().array.tolist() == [0, 1]


def test_a_tensor_of_a_tensor_is_its_values():
    x = mr.ones(2)
    assert Tensor(x).array is x.array


def test_item_and_python_numbers():
    x = mr.tensor([[2.5]])
    assert x.item() == float(x) == 2.5 and int(x) == 2 and bool(x) is True
    assert isinstance(mr.tensor(3).item(), int)
    with pytest.raises(ValueError, match=r"item: got a tensor of shape \(2,\)"):
        mr.ones(2).item()
    with pytest.raises(ValueError, match=r"bool: got a tensor of shape \(2,\).*any"):
        bool(mr.ones(2) == mr.ones(2))


def test_numpy_shares_and_asarray_converts():
    x = mr.ones(2)
    assert x.numpy() is x.array
    assert np.asarray(x).tolist() == [1, 1] and np.asarray(x, np.float64).dtype == np.float64
    assert not np.shares_memory(np.array(x), x.array)


def test_to_converts_types_and_keeps_the_graph():
    x = mr.tensor([1.5, 2.5], requires_grad=True)
    y = x.to(np.float64) * 2
    assert y.dtype == np.float64 and y.requires_grad
    y.backward(np.ones(2))
    assert x.grad.tolist() == [2, 2] and x.grad.dtype == np.float32
    assert x.to(np.float32) is x and x.to("cpu") is x and x.to("float64").dtype == np.float64
    assert x.double().dtype == np.float64 and x.double().float().dtype == np.float32
    assert x.long().dtype == np.int64 and not x.long().requires_grad and x.long().array.tolist() == [1, 2]


@pytest.mark.parametrize("target", ["cuda:7", "float33", None, 3.5], ids=repr)
def test_to_refuses_what_is_neither_type_nor_device(target):
    with pytest.raises(ValueError, match=r"to: got .*; expected a dtype such as float64 or one of the devices cpu"):
        mr.ones(1).to(target)


def test_requires_grad_can_be_switched_on_leaves_only():
    x = mr.ones(2)
    assert x.requires_grad_() is x and x.requires_grad
    assert not x.requires_grad_(False).requires_grad
    with pytest.raises(RuntimeError, match=r"requires_grad_: only a leaf.*detach"):
        (mr.ones(2, requires_grad=True) * 2).requires_grad_(False)


def test_comparisons_give_booleans_and_no_graph():
    x, y = mr.tensor([1.0, 2.0, 3.0], requires_grad=True), mr.tensor([3.0, 2.0, 1.0])
    for result, expected in (
        (x == y, [False, True, False]), (x != y, [True, False, True]), (x < y, [True, False, False]),
        (x <= y, [True, True, False]), (x > 2, [False, False, True]), (x >= np.float64(2), [False, True, True]),
    ):  # fmt: skip
        assert result.array.tolist() == expected and result.dtype == np.bool_ and not result.requires_grad


def test_tensors_are_keys_by_identity():
    x, y = mr.ones(1), mr.ones(1)
    assert len({x, y, x}) == 2 and {x: "x", y: "y"}[x] == "x"


def test_prints_its_values_and_where_it_comes_from():
    assert repr(mr.tensor([1.0, 2.5])) == "tensor([1. , 2.5])"
    assert repr(mr.tensor([1.0], requires_grad=True)) == "tensor([1.], requires_grad=True)"
    assert repr(mr.tensor([1.0], requires_grad=True) * 2) == "tensor([2.], op=Mul)"
    assert repr(mr.tensor(np.ones(1))) == "tensor([1.], dtype=float64)"
    assert repr(mr.tensor([1, 2])) == "tensor([1, 2])"


def test_arguments_are_named_as_in_pytorch(rng):
    x = mr.tensor(rng.standard_normal((2, 3, 4)))
    assert x.sum(dim=1, keepdim=True).shape == x.mean(dim=1, keepdim=True).shape == (2, 1, 4)
    assert x.var(dim=(0, 2), unbiased=False, keepdim=True).shape == (1, 3, 1)
    assert x.max(dim=1).values.shape == x.min(dim=1).indices.shape == (2, 4)
    assert x.clamp(min=0, max=1).shape == x.transpose(dim0=0, dim1=0).shape == x.shape
    assert x.flatten(start_dim=1).shape == (2, 12) and x.unsqueeze(dim=0).squeeze(dim=0).shape == x.shape


# ── other names ──


def test_conversions_have_names():
    x = mr.tensor([1.5, 0.0])
    for name, dtype in dict(
        half="float16", float="float32", double="float64", int="int32", long="int64", bool="bool"
    ).items():
        assert getattr(x, name)().dtype == x.type(dtype).dtype == dtype
    assert x.tolist() == [1.5, 0] and x.bool().tolist() == [True, False] and mr.tensor(2).tolist() == 2
    assert x.dim() == 1 and x.cpu() is x and mr.ones(2, 3).size(0) == 2


def test_to_takes_a_device_and_a_dtype_and_another_tensor():
    x, like = mr.tensor([1.5], requires_grad=True), mr.zeros(1, dtype=np.float64)
    for y in (x.to("cpu", np.float64), x.to(device="cpu", dtype="float64"), x.to(like), x.to(dtype=np.float64)):
        assert y.dtype == np.float64 and y.requires_grad
    assert x.to("cpu", non_blocking=True) is x and x.to(device="cpu") is x
    y = x.to("cpu", copy=True)
    assert y is not x and not np.shares_memory(y.array, x.array)


@pytest.mark.skipif(mr.cuda.is_available(), reason="there is a GPU")
def test_cuda_means_the_gpu():
    assert mr.device("cuda") == mr.device("cuda:0") == "gpu" and mr.device("cpu") == mr.ones(1).device
    for move in (lambda: mr.ones(1).cuda(), lambda: mr.ones(1).to("cuda"), lambda: mr.zeros(1, device="cuda"),
                 lambda: mr.nn.Linear(1, 1).to("cuda"), lambda: mr.nn.Linear(1, 1).cuda()):  # fmt: skip
        with pytest.raises(RuntimeError, match="device gpu: "):
            move()
    with pytest.raises(ValueError, match="device: got 'mps'; minires computes on cpu, gpu"):
        mr.device("mps")


def test_data_takes_the_array_of_a_tensor():
    p = mr.nn.Parameter(np.ones(2))
    p.data = p.data - mr.tensor(np.array([0.25, 0.5]))
    assert type(p.array) is np.ndarray and p.array.tolist() == [0.75, 0.5]
    (p * p).sum().backward()
    assert p.grad.tolist() == [1.5, 1]
    memory = p.array
    p.data -= mr.tensor(np.full(2, 0.25))
    p.data.mul_(2)
    assert p.tolist() == [1.0, 0.5] and p.array is memory and p.requires_grad and not p.data.requires_grad


def test_detach_in_place():
    x = mr.ones(2, requires_grad=True)
    y = x * 2
    assert y.detach_() is y and y.is_leaf and not y.requires_grad


def test_functions_are_the_methods():
    x, y = mr.tensor([[1.0, 4], [9, 16]]), mr.tensor([[2.0, 2], [20, 2]])
    for name in (
        "exp",
        "log",
        "sqrt",
        "abs",
        "sum",
        "mean",
        "max",
        "min",
        "argmax",
        "argmin",
        "norm",
        "tanh",
        "sigmoid",
        "relu",
    ):
        np.testing.assert_array_equal(getattr(mr, name)(x).array, getattr(x, name)().array)
    for name in ("sum", "mean", "argmax", "argmin"):
        np.testing.assert_array_equal(getattr(mr, name)(x, 0, True).array, getattr(x, name)(0, True).array)
    for name in ("add", "sub", "mul", "div", "matmul", "eq", "max", "min"):
        np.testing.assert_array_equal(getattr(mr, name)(x, y).array, getattr(x, name)(y).array)
    for name in ("ne", "lt", "le", "gt", "ge"):
        np.testing.assert_array_equal(getattr(x, name)(y).array, getattr(operator, name)(x.array, y.array))
    np.testing.assert_array_equal(mr.max(x, y).array, np.maximum(x.array, y.array))
    assert mr.max(x, 1).indices.tolist() == [1, 1] and [part.shape for part in mr.chunk(x, 2)] == [(1, 2)] * 2
    assert mr.is_tensor(x) and not mr.is_tensor(x.array)
    assert mr.max(x.array, 1).indices.tolist() == [1, 1]


def test_what_has_no_function_is_named():
    with pytest.raises(TypeError, match=r"add: got a list; expected a Tensor, made with tensor\(x\)"):
        mr.add([1], 2)
    with pytest.raises(AttributeError, match=r"minires.view: there is no such function; .* x.view"):
        mr.view  # noqa: B018
    with pytest.raises(AttributeError, match=r"minires\.nonsense: there is no such name here"):
        mr.nonsense  # noqa: B018
