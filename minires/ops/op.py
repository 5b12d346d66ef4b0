"""Op: one differentiable operation, which is also one node of the graph."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..kernels.layout import in_memory_order

serials = itertools.count()  # the next op's place in the order of creation


class Op:
    """One differentiable operation on arrays, and one node of the graph.

    A new operation is a class with two methods, arrays in and arrays out, and needs no registration::

        class Cube(mr.Op):
            def forward(self, x):              # x -> x³
                self.x = x                     # what backward will need
                return x**3

            def backward(self, grad_output):   # one array (or None) per input
                return 3 * self.x**2 * grad_output

        y = mr.apply(Cube, x)

    An op sees arrays, never tensors; `minires.tensor.apply` is what puts it into the graph.
    Whatever ``forward`` stores on ``self`` is dropped when backward has passed.

    If an op works entry by entry, its base is `Elementwise`.

    Two class attributes say what becomes of whole numbers and bools (see `minires.dtypes`):
        kinds: the kinds of arrays that forward takes: f(loating point), u(nsigned) and i(nteger), b(ool).
        fractional: whether the result is not whole, so that forward gets float32 in place of whole numbers.

    The engine sets these attributes, which the class body declares, and no others:
        inputs: for each input, where its gradient goes: to the op that made it, to a leaf tensor, or nowhere (None).
            An input itself is *not* kept: the output of a batch norm is freed as soon as the ReLU after it has run.
        needs: for each input, whether a gradient is wanted; backward may skip the others. If run by hand, all are.
        input_specs: for each input that needs a gradient, its (shape, dtype); None for the others.
        shape, dtype: of the output.
        scope: dotted name of the module in which the op ran, such as ``layer1.0.conv1``.
        serial: position in the order of creation. An op is always created after the ops that made its inputs,
            so sorting by ``serial`` *is* a topological sort.
        tensor: the output, if `Tensor.retain_grad` asked for its gradient.
        hooks: what `Tensor.register_hook` of the output registered: functions of an array that return one.
        released: whether backward has passed and dropped the graph.
        segment: if the op forgot what it saved, the call that can compute it again: see `minires.checkpoint`.
    """

    kinds = "fuib"
    fractional = False
    elementwise = False
    memory_order: Any = None  # of an `Elementwise` op: (its axes in memory, and what takes them back), if it has one

    inputs: tuple[Any, ...] = ()
    needs: Sequence[bool] = (True,) * 16
    input_specs: tuple[Any, ...] = ()
    shape: tuple[int, ...] = ()
    dtype: Any = None
    scope: str = ""
    serial: int = -1
    tensor: Any = None
    hooks: tuple[Any, ...] = ()
    released: bool = False
    segment: Any = None

    def forward(self, *arrays: Any, **options: Any) -> Any:
        """Return the output array, and store on ``self`` what backward needs."""
        raise TypeError(f"{self.name}: an op must define forward(self, *arrays) -> array")

    def backward(self, grad_output: Any) -> Any:
        """Return one array (or None) per input, given the gradient of the output."""
        raise TypeError(f"{self.name}: an op must define backward(self, grad_output) -> one array per input")

    @property
    def name(self) -> str:
        """The op's class name, such as ``Conv2d``."""
        return type(self).__name__

    def release(self) -> None:
        """Drop the saved arrays and the links to earlier ops; keep only what identifies the node."""
        self.__dict__ = {"scope": self.scope, "serial": self.serial, "shape": self.shape, "released": True}

    def forget(self) -> None:
        """Drop only the saved arrays; the op keeps its place in the graph."""
        self.__dict__ = {name: value for name, value in self.__dict__.items() if name in SET_BY_THE_ENGINE}

    def recall(self, again: "Op") -> None:
        """Take over what the same op saved in the second run."""
        saved = {name: value for name, value in again.__dict__.items() if name not in SET_BY_THE_ENGINE}
        self.__dict__.update(saved, segment=again.segment)

    def __repr__(self) -> str:
        where = f" in {self.scope}" if self.scope else ""
        return f"<{self.name}{where}, output {self.shape}>"


class Elementwise(Op):
    """Base of the ops of which each entry of the result comes from those at the same place; inputs broadcast.

    A GPU's array library takes the axes as they come, and gives its results that order. Both methods there get arrays
    whose axes are in the order in which the largest input lies in memory, so that neighbouring threads take neighbours.
    """

    elementwise = True

    def forward_along_memory(self, arrays: Sequence[Any], options: dict[str, Any]) -> Any:
        """`forward`, and its result with the axes as they were."""
        arrays, self.memory_order = in_memory_order(*arrays)
        y = self.forward(*arrays, **options)
        return y if self.memory_order is None else y.transpose(self.memory_order[1])

    def backward_along_memory(self, grad_output: Any) -> Any:
        """`backward`, whose gradients get their axes as they were."""
        order, back = self.memory_order
        grads = self.backward(grad_output.transpose(order))
        grads = grads if isinstance(grads, tuple | list) else (grads,)
        return [g.transpose(back) if getattr(g, "ndim", 0) == len(back) else g for g in grads]


def wide(array: Any) -> Any:
    """float16 as float32, in which sums and exponentials neither overflow nor lose their digits; the rest as it is."""
    return array.astype(np.float32) if getattr(array, "dtype", None) == _HALF else array


_HALF = np.dtype(np.float16)  # dtypes compare faster than a dtype and a type
SET_BY_THE_ENGINE = frozenset(Op.__annotations__) - {"memory_order"}  # which belong to the saved arrays
