"""Arguments that make no sense, to every function: a result, or an error that names the function.

Each call below is right. Each of its arguments in turn becomes each odd one, which may be an error or not; what must
not come out is an error in Python's or NumPy's own words.
"""

import inspect
import re

import numpy as np
import pytest

import minires as mr
from minires import creation, einsum, functions
from minires.nn import functional as F

x = mr.tensor([[1.0, -2.0, 3.0], [0.5, 0.0, -1.0]], requires_grad=True)
y = mr.ones(2, 3)
row = mr.ones(3)
mask = y > 0
index = mr.tensor([[0, 1, 1]])
labels = mr.tensor([0, 2])


class Foreign:
    """As a tensor of another library: it has what PyTorch's have, but no array."""

    shape, ndim, dtype, requires_grad = (2, 3), 2, object(), False

    def size(self):
        return self.shape

    def numpy(self):
        return np.ones(self.shape)


ODD = {
    "None": None,
    "text": "a",
    "half": 1.5,
    "True": True,
    "minus one": -1,
    "five": 5,
    "minus nine": -9,
    "nothing": (),
    "a pair": (0, 1),
    "twice": (0, 0),
    "None in a list": [None],
    "text in a tuple": ("a",),
    "an object": object(),
    "a set": {1},
    "complex": 1j,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "a NumPy number": np.float64(2),
    "an array": np.ones((2, 3), np.float32),
    "a tensor of another shape": mr.ones(7),
    "a stack": mr.ones(2, 2, 3, 3),
    "a number in a tensor": mr.tensor(2.0),
    "a whole number in a tensor": mr.tensor(1),
    "an empty tensor": mr.zeros(0, 3),
    "whole numbers": mr.tensor([[1, 2, 3], [4, 5, 6]]),
    "truth values": mask,
    "float64": mr.ones(2, 3, dtype=np.float64),
    "a type": int,
    "a function": len,
    "a tensor of another library": Foreign(),
}

METHODS = {
    "add": (y,), "sub": (y,), "mul": (y,), "div": (y,), "pow": (2,), "matmul": (y.t(),), "mm": (y.t(),),
    "maximum": (y,), "minimum": (y,), "eq": (y,), "ne": (y,), "lt": (y,), "le": (y,), "gt": (y,), "ge": (y,),
    "allclose": (y, 1e-5, 1e-8), "equal": (y,), "clamp": (0, 1), "masked_fill": (mask, 1.0), "sum": (1, True),
    "mean": (1, True), "prod": (1, True), "cumsum": (1,), "norm": (2, 1, True), "var": (1, True, True),
    "std": (1, True, True), "max": (1, True), "min": (1, True), "amax": (1, True), "amin": (1, True),
    "argmax": (1, True), "argmin": (1, True), "any": (1, True), "all": (1, True), "softmax": (1, np.float32),
    "log_softmax": (1, np.float32), "argsort": (1, True), "sort": (1, True), "topk": (2, 1), "reshape": (3, 2),
    "view": (3, 2), "view_as": (y,), "permute": (1, 0), "transpose": (0, 1), "expand": (2, 3), "expand_as": (y,),
    "flatten": (0, 1), "squeeze": (0,), "unsqueeze": (0,), "flip": (0,), "repeat": (1, 2), "narrow": (1, 0, 2),
    "split": (1, 1), "chunk": (2, 1), "unbind": (1,), "gather": (0, index), "to": (np.float64,),
    "type": (np.float64,), "size": (0,), "new_zeros": (2,), "new_ones": (2,), "new_full": ((2,), 1), "copy_": (y,),
    "fill_": (1.0,), "add_": (y,), "sub_": (y,), "mul_": (y,), "div_": (y,), "normal_": (0.0, 1.0),
    "uniform_": (0.0, 1.0),
}  # fmt: skip
ROW_METHODS = {"dot": (row,), "outer": (row,)}
STACK_METHODS = {"bmm": (mr.ones(2, 3, 2),)}
PLAIN = {  # methods whose only argument is the tensor
    "abs", "bool", "ceil", "clone", "contiguous", "cpu", "cuda", "detach", "detach_", "dim", "double", "exp",
    "float", "floor", "half", "int", "isfinite", "isinf", "isnan", "item", "log", "log1p", "logical_not", "long",
    "short",
    "neg", "numel", "numpy", "reciprocal", "relu", "requires_grad_", "retain_grad", "round", "rsqrt", "sigmoid",
    "sign", "sqrt", "square", "t", "tanh", "tolist", "zero_", "backward", "ravel", "register_hook", "receive", "wrap",
}  # fmt: skip

CREATED = {
    "tensor": ([1.0], np.float32), "as_tensor": ([1.0], np.float32), "from_numpy": (np.ones(2),), "zeros": (2, 3),
    "ones": (2, 3), "empty": (2, 3), "rand": (2, 3), "randn": (2, 3), "full": ((2,), 1.0), "eye": (2, 3),
    "zeros_like": (y,), "ones_like": (y,), "empty_like": (y,), "rand_like": (y,), "randn_like": (y,),
    "full_like": (y, 1.0), "arange": (0, 3, 1), "linspace": (0, 1, 3), "randint": (0, 3, (2,)), "randperm": (3,),
    "cat": ([x, y], 0), "concat": ([x, y], 0), "stack": ([x, y], 0), "where": (mask, x, y), "maximum": (x, y),
    "minimum": (x, y), "device": ("cpu",),
}  # fmt: skip

LAYERS = {
    "linear": (x, mr.ones(4, 3), mr.ones(4)), "relu": (x,), "relu6": (x,), "leaky_relu": (x, 0.1), "elu": (x, 1.0),
    "gelu": (x, "none"), "silu": (x,), "hardswish": (x,), "prelu": (x, row), "sigmoid": (x,), "tanh": (x,),
    "softmax": (x, 1, 3, np.float32), "log_softmax": (x, 1, 3, np.float32), "dropout": (x, 0.5, True),
    "dropout2d": (mr.ones(2, 3, 4, 4), 0.5, True), "one_hot": (labels, 3),
    "batch_norm": (x, row.detach().clone(), row.detach().clone(), row, row, True, 0.1, 1e-5),
    "group_norm": (x, 1, row, row, 1e-5), "layer_norm": (x, (3,), row, row, 1e-5),
    "instance_norm": (mr.ones(2, 3, 4), row.detach().clone(), row.detach().clone(), row, row, True, 0.1, 1e-5),
    "cross_entropy": (x, labels, row, None, -100, None, "mean", 0.1),
    "nll_loss": (x, labels, row, None, -100, None, "mean"), "mse_loss": (x, y, None, None, "mean", y),
}  # fmt: skip
IMAGES = {"convolution", "pooling", "padding"}  # files whose functions tests/nn/test_bad_input.py tries

OF_FUNCTIONS = {name: (x, *args) for name, args in METHODS.items()} | {
    "pow": (x, 2), "reshape": (x, (3, 2)), "permute": (x, (1, 0)), "flip": (x, (0,)), "dot": (row, row),
    "outer": (row, row), "bmm": (mr.ones(2, 2, 3), mr.ones(2, 3, 2)),
}  # fmt: skip


def own(module):
    """The public functions that a module defines."""
    found = inspect.getmembers(module, inspect.isfunction)
    return {name: f for name, f in found if not name.startswith("_") and f.__module__ == module.__name__}


def calls():
    """(name, function, right arguments)."""
    for name, args in METHODS.items():
        yield f"x.{name}", getattr(mr.Tensor, name), (x, *args)
    for name, args in ROW_METHODS.items():
        yield f"x.{name}", getattr(mr.Tensor, name), (row, *args)
    for name, args in STACK_METHODS.items():
        yield f"x.{name}", getattr(mr.Tensor, name), (mr.ones(2, 2, 3), *args)
    for name, f in own(functions).items():
        yield name, f, OF_FUNCTIONS.get(name, (x,))
    for name, args in CREATED.items():
        yield name, getattr(creation, name), args
    yield "einsum", einsum, ("ij,jk->ik", x, y.t())
    for name, args in LAYERS.items():
        yield f"F.{name}", getattr(F, name), args


CALLS = {name: (function, args) for name, function, args in calls()}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore")
def test_odd_arguments_give_a_result_or_an_error_of_ours(name):
    function, args = CALLS[name]
    bad, own_argument = [], name.startswith("x.")
    with mr.no_grad(), np.errstate(all="ignore"):
        function(*args)
        for position in range(own_argument, len(args)):
            for odd, value in ODD.items():
                changed = [a.clone() if isinstance(a, mr.Tensor) else a for a in args]
                changed[position] = value
                try:
                    function(*changed)
                except Exception as error:
                    if not ours(error, name.rpartition(".")[2]):
                        bad.append(f"argument {position} = {odd}: {type(error).__name__}: {error}")
    assert bad == []


CALLED = {  # an error may also name the function that does the work
    "mm": {"matmul"}, "bmm": {"matmul"}, "dot": {"matmul"}, "max": {"maximum"}, "min": {"minimum"},
    "concat": {"cat"}, "view": {"reshape"}, "view_as": {"reshape"}, "expand_as": {"expand"}, "type": {"to"},
    "sort": {"argsort"}, "topk": {"argsort"}, "rand_like": {"rand"}, "randn_like": {"randn"},
    "as_tensor": {"tensor"},
}  # fmt: skip


def ours(error, function):
    """Whether it is of a kind that we raise, and its message begins with the name of the function."""
    named = re.match(r"(\w+): ", str(error))
    if "all must have one dtype and one device" in str(error):  # in the name of the op that the two meet in
        return True
    kinds = TypeError | ValueError | IndexError | RuntimeError | OverflowError
    return (
        isinstance(error, kinds)
        and named
        and named[1].lower() in {function, function.strip("_"), *CALLED.get(function, ())}
    )


def test_every_function_is_called():
    public = {name for name in vars(mr.Tensor) | inspected(mr.Tensor) if not name.startswith("_")}
    properties = {name for name in public if not callable(getattr(mr.Tensor, name, None)) or name in ("grad", "op")}
    assert public - properties - METHODS.keys() - ROW_METHODS.keys() - STACK_METHODS.keys() - PLAIN == set()
    assert own(creation).keys() - CREATED.keys() == set()
    layers = {name: f.__module__.rpartition(".") for name, f in inspect.getmembers(F, inspect.isfunction)}
    layers = {name for name, (room, _, file) in layers.items() if room == "minires.nn" and file not in IMAGES}
    assert {name for name in layers - LAYERS.keys() if not name.startswith(("_", "check"))} - {"interpolate"} == set()


def inspected(cls):
    """The attributes of a class and its bases."""
    return {name: value for base in reversed(cls.__mro__[:-1]) for name, value in vars(base).items()}


def test_a_tensor_of_another_library_is_named_beside_an_operator_too():
    for use in (
        lambda: x + Foreign(),
        lambda: Foreign() * x,
        lambda: x == Foreign(),
        lambda: x.sum().backward(Foreign()),
    ):
        with pytest.raises(TypeError, match=r"^(add|mul|eq|backward): got a .*Foreign \(convert it: x\.numpy\(\)\)"):
            use()
