"""`Tensor`, an array that remembers how it was computed, and `apply`, which runs an op and adds it to the graph.

The methods are one-liners over the ops of `minires.ops`; names, arguments and defaults are PyTorch's. Most are
inherited, each family from a file of its own: `tensor_elementwise`, `tensor_reduce`, `tensor_shape` (those that
rearrange), `tensor_in_place` (those that write), and `tensor_names` (other names for what the rest can do).
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from . import autograd, dtypes, html, kernels
from .arguments import check_no_foreign, check_operand, described, new_sizes, number, sizes
from .checks import check_finite, checked_hook, checked_output
from .hooks import RemovableHandle
from .kernels.devices import by_type
from .kernels.layout import entry_by_entry
from .missing import NotInTensor
from .ops import Op, arithmetic, elementwise, shape
from .ops.op import serials
from .state import current, latest, scope
from .tensor_elementwise import Elementwise
from .tensor_in_place import InPlace
from .tensor_names import FORMATS, Names, checked_format
from .tensor_reduce import Reductions
from .tensor_shape import Shapes
from .writes import wrote


def apply(op_class: type[Op], *inputs: Any, **options: Any) -> "Tensor":
    """Run ``op_class`` on tensors (numbers and None pass through) and return its output as a node of the graph.

    The result's dtype follows the rules in `minires.dtypes`. Raises TypeError if the inputs mix floating-point types or
    devices, or are of a kind that the op does not take, or if the op changes the type.
    """
    now = latest.get()
    now = current() if now.uses else now  # a call spared, once for each op
    op: Any = (op_class if now.fusion is None else now.fusion.instead(op_class, inputs))()
    arrays, op.needs, dtype = _unwrapped(op, inputs, now.grad_enabled)
    if op.elementwise and type(arrays[0]) is not np.ndarray:
        data = op.forward_along_memory(arrays, options)
    else:
        data = op.forward(*arrays, **options)
    if type(data) is not np.ndarray:
        data = checked_output(op, data)
    if data.dtype is not dtype and (dtype is None or data.dtype != dtype):  # NumPy takes None for float64
        data = dtypes.checked_dtype(op, data, dtype, arrays)
    if now.anomaly:
        op.shape, op.scope = data.shape, scope.get()
        check_finite(data, op, "output", arrays)
    return _node(op, inputs, arrays, data, now) if any(op.needs) else Tensor(data)


def _node(op, inputs, arrays, data, now):
    """The output as a tensor that knows how it was made: the op becomes a node of the graph."""
    op.inputs = tuple((t.op or t) if need else None for t, need in zip(inputs, op.needs))
    op.input_specs = tuple((a.shape, a.dtype) if need else None for a, need in zip(arrays, op.needs))
    op.shape, op.dtype, op.scope, op.serial = data.shape, data.dtype, scope.get(), next(serials)
    if now.recorder is not None:
        now.recorder.forward(op, arrays, data)
    if now.segment is not None:
        now.segment.joined(op)
    return Tensor(data, requires_grad=True, op=op)


def _unwrapped(op, inputs, tracking):
    """The arrays to work on, which inputs need a gradient, and their floating-point type (None if there is none)."""
    arrays, needs, first, alike = [], [], None, True
    for t in inputs:
        if isinstance(t, Tensor):
            array = t.array
            first = array if first is None else first
            alike = alike and array.dtype is first.dtype and type(array) is type(first)
            arrays.append(array)
            needs.append(tracking and t.requires_grad)
        else:
            alike = alike and (t is None or isinstance(t, int | float))
            arrays.append(t)
            needs.append(False)
    if alike and first is not None and first.dtype.kind == "f":
        return arrays, needs, first.dtype
    dtype = _common_dtype(op, inputs, arrays)
    return dtypes.of_whole_numbers(op, arrays) if dtype is None else arrays, needs, dtype


def _common_dtype(op, inputs, arrays):
    """The one floating-point type among inputs that are not alike (None if there is none).

    Raises TypeError for two such types, two devices, or an input that is neither tensor nor number.
    """
    dtype = kind = None
    for t, a in zip(inputs, arrays):
        if isinstance(t, Tensor):
            kind = kind or type(a)
            if a.dtype.kind == "f":
                dtype = dtype or a.dtype
            if type(a) is not kind or (a.dtype.kind == "f" and a.dtype != dtype):
                shapes = type(a) is not kind  # mixed devices: the shapes say which tensor to move
                got = " and ".join(
                    f"{t.dtype} {f'{t.shape} ' * shapes}on {t.device}" for t in inputs if isinstance(t, Tensor)
                )
                raise TypeError(
                    f"{op.name.removesuffix('Tensor')}: got inputs of {got}; all must have one dtype and one device. "
                    "Convert one of them: x.to(y.dtype) or x.to(y.device)"
                )
        elif t is not None and not isinstance(t, int | float | np.generic):
            raise TypeError(
                f"{op.name}: got {described(t)} among its inputs, expected tensors and numbers; "
                "wrap an array: mr.tensor(array)"
            )
    dtypes.check_kinds(op, arrays)
    return dtype


class Tensor(Elementwise, InPlace, Names, NotInTensor, Reductions, Shapes):
    """An array that remembers how it was computed.

    array: its values, an array of its device, such as a NumPy or CuPy ndarray: what ops work on. A list becomes
        float32; `minires.tensor` keeps int64.
    requires_grad: whether gradients flow to or through it.
    grad: a Tensor of the same shape, without a graph, once backward has passed, for leaf tensors (and after
        ``retain_grad()``), else None.
    op: the op that made it; None for a leaf. Names, arguments and defaults of all methods are PyTorch's.

    >>> import minires as mr
    >>> x = mr.tensor([2.0, -3.0], requires_grad=True)
    >>> y = (x.relu() + x).sum()  # a residual block in one line
    >>> y
    tensor(1., op=Sum)
    >>> y.backward()
    >>> x.grad
    tensor([2., 1.])
    """

    __slots__ = ("__weakref__", "_grad", "array", "hooks", "op", "requires_grad")
    __array_priority__ = 1000  # so that array + tensor calls Tensor.__radd__, while np.exp(tensor) is an array

    def __init__(self, data: Any, requires_grad: bool = False, op: Op | None = None):
        if type(data) not in by_type:
            data = _numbers(data)
        if requires_grad and data.dtype.kind != "f":
            if type(requires_grad) is int:
                raise TypeError(f"Tensor: got {data!r} and {requires_grad}; for a tensor of these sizes, use empty")
            raise TypeError(f"Tensor: got requires_grad=True for dtype {data.dtype}; only floating point has gradients")
        self.array, self.requires_grad, self.op = data, requires_grad, op
        self._grad: Tensor | None = None
        self.hooks: tuple[Callable[[Any], Any], ...] = ()  # of a leaf; those of an op's output are the op's

    @property
    def data(self) -> "Tensor":
        """A tensor over the same memory, without graph. Assigning, ``p.data = t``, takes over the memory of t."""
        return Tensor(self.array)

    @data.setter
    def data(self, data: Any) -> None:
        array = data if type(data) is np.ndarray else _numbers(data)
        dtypes.check_real("data", data, array)
        self.array = array

    @property
    def grad(self) -> "Tensor | None":
        """The gradient that backward has left here, which adds up over calls; see the class."""
        return self._grad

    @grad.setter
    def grad(self, grad: Any) -> None:
        if grad is not None and not isinstance(grad, Tensor):
            if not (hasattr(grad, "dtype") and hasattr(grad, "shape")):
                raise TypeError(f"grad: got {described(grad)}, expected a Tensor, an array or None")
            grad = Tensor(grad)
        if grad is not None and (grad.shape, grad.dtype, grad.device) != (self.shape, self.dtype, self.device):
            raise ValueError(
                f"grad: got a {grad.dtype} tensor of shape {grad.shape} on {grad.device} for one that is {self.dtype}, "
                f"{self.shape}, on {self.device}; a gradient is like its tensor"
            )
        self._grad = grad

    def receive(self, gradient: Any, ours: bool) -> None:
        """Add an array to ``.grad``; ``ours`` if nobody else holds it. Backward calls this."""
        if self._grad is None:
            self._grad = Tensor(gradient if ours else gradient.copy("K"))
        elif self.op is None:
            arithmetic.add_to(self._grad.array, gradient)
            wrote(self._grad.array)
        else:  # of retain_grad(): somebody may hold the tensor
            self._grad = self._grad + Tensor(gradient)

    shape = property(lambda self: self.array.shape, doc="Sizes of the axes, a tuple.")
    ndim = property(lambda self: self.array.ndim, doc="Number of axes.")
    dtype = property(lambda self: self.array.dtype, doc="Type of the values, such as float32.")
    device = property(lambda self: kernels.device_of(self.array).name, doc='Where it lives, such as "cpu" or "gpu".')
    is_leaf = property(lambda self: self.op is None, doc="Whether it was not made by an op.")
    T = property(lambda self: self.permute(*reversed(range(self.ndim))), doc="All axes reversed.")

    # gradients and conversions
    def backward(
        self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False, inputs: Any = None
    ) -> None:
        """Add this tensor's gradient to ``.grad`` of every leaf it depends on, or of ``inputs`` alone.

        gradient: of the whole with respect to this tensor; for a scalar, it may be left out. Frees the graph as it
        goes, unless ``retain_graph``. Raises RuntimeError if there is no graph, or a freed one.
        """
        autograd.backward([self], [gradient], retain_graph, create_graph, inputs)

    def register_hook(self, hook: Callable[["Tensor"], "Tensor | None"]) -> RemovableHandle:
        """Call ``hook(gradient)`` when backward has this tensor's gradient; what it returns, unless None, replaces it.

        The gradient is that of all consumers together; `minires.flow.recording` shows what each of them sent. Returns
        a handle with ``remove()``, and for ``with``. Raises RuntimeError for a tensor without ``requires_grad``.
        """
        if not self.requires_grad:
            raise RuntimeError("register_hook: got a tensor that does not require grad, so no gradient comes by")

        def replaced(gradient: Any) -> Any:
            given = Tensor(gradient.copy("K"))  # its own, as the hook may write to it
            found = hook(given)
            return checked_hook(given if found is None else found, gradient)

        return RemovableHandle(self if self.op is None else self.op, replaced)

    def retain_grad(self) -> "Tensor":
        """Ask backward to leave this tensor's gradient in ``.grad`` too, although it is not a leaf."""
        if not self.requires_grad:
            raise RuntimeError("retain_grad: got a tensor that does not require grad, so no gradient comes by")
        if self.op is not None:
            self.op.tensor = self
        return self

    @staticmethod
    def wrap(array: Any) -> "Tensor":
        """A tensor of this array, without graph."""
        return Tensor(array)

    def detach(self) -> "Tensor":
        """The same array, outside the graph."""
        return Tensor(self.array)

    def detach_(self) -> "Tensor":
        """Take this tensor itself out of the graph."""
        self.op, self.requires_grad = None, False
        return self

    def clone(self, *, memory_format: Any = None) -> "Tensor":
        """A copy, through which gradients flow; memory_format=`minires.contiguous_format` lays it out row by row."""
        return apply(shape.Clone, self, order="C" if checked_format("clone", memory_format) == FORMATS[0] else "K")

    def contiguous(self, memory_format: Any = None) -> "Tensor":
        """The values row by row in memory: a copy, unless they are already. A ``memory_format`` has no effect."""
        checked_format("contiguous", memory_format)
        return self if self.array.flags.c_contiguous else apply(shape.Clone, self, order="C")

    def new_zeros(self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> "Tensor":
        """Zeros of this shape, with the dtype and device of this tensor if none is given."""
        return self._new("new_zeros", size, 0, dtype, device, requires_grad)

    def new_ones(self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> "Tensor":
        """Ones of this shape, with the dtype and device of this tensor if none is given."""
        return self._new("new_ones", size, 1, dtype, device, requires_grad)

    def new_full(
        self, size: Any, fill_value: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
    ) -> "Tensor":
        """``fill_value`` in this shape, with the dtype and device of this tensor if none is given."""
        return self._new("new_full", size, fill_value, dtype, device, requires_grad)

    def _new(self, function, size, value, dtype, device, requires_grad):
        dtype = self.dtype if dtype is None else dtypes.real_dtype(function, dtype)
        value = number(function, "fill_value", value)
        dtypes.check_holds(function, value, dtype)
        value = np.asarray(value).astype(dtype)
        filled = np.full_like(self.array, value, dtype, "C", shape=new_sizes(function, size))
        return Tensor(kernels.to_device(filled, device or self.device), requires_grad)

    def requires_grad_(self, requires_grad: bool = True) -> "Tensor":
        """Switch ``requires_grad`` of a leaf tensor."""
        if self.op is not None:
            raise RuntimeError("requires_grad_: only a leaf tensor can be switched; use detach() first")
        self.requires_grad = Tensor(self.array, requires_grad).requires_grad
        return self

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array (sharing memory with the tensor if it lives on the CPU)."""
        return kernels.to_device(self.array, "cpu")

    def item(self) -> float:
        """The single value as a Python number."""
        if self.array.size != 1:
            raise ValueError(f"item: got a tensor of shape {self.shape}; only one with a single value converts")
        return self.array.item()

    def to(
        self,
        target: Any = None,
        dtype: Any = None,
        non_blocking: Any = False,
        copy: Any = False,
        *,
        device: Any = None,
        memory_format: Any = None,
    ) -> "Tensor":
        """The same values in another dtype (``to(float64)``), on another device (``to("gpu")``), or as another tensor.

        ``to("gpu", float64)`` does both; ``copy=True`` makes a new tensor in any case. ``non_blocking`` has no effect,
        nor has ``memory_format``: convolutions lay images out as they need them.
        Raises ValueError for an unknown target, and RuntimeError, with what to do, for a device that cannot be used.
        """
        checked_format("to", memory_format)
        if isinstance(dtype, bool):  # to(float64, non_blocking, copy)
            dtype, copy = None, copy or non_blocking
        if isinstance(target, Tensor):
            self._once(target, dtype, device)
            device, dtype = target.device, target.dtype
        elif kernels.is_device(target):
            self._once(target, device)
            device = target
        elif target is not None or dtype is device is None:
            self._once(target, dtype)
            dtype = target
        moved = self
        if device is not None and kernels.device(device, "to").name != self.device:
            moved = apply(shape.Move, self, device=device)
        if dtype is not None or device is None:
            moved = moved._cast(dtype)
        return self.clone() if copy and moved is self else moved

    @staticmethod
    def _once(target, *others):
        """Raise TypeError if what the first argument of ``to`` says is said again."""
        for other in others:
            if other is not None:
                raise TypeError(f"to: got {target!r:.60} and {other!r:.60}; expected one dtype and one device")

    def _cast(self, target):
        try:
            dtype = dtypes.real_dtype("to", target)
        except TypeError:
            devices = ", ".join(kernels.DEVICES)
            raise ValueError(
                f"to: got {target!r:.60}; expected a dtype such as float64 or one of the devices {devices}"
            ) from None
        if dtype == self.dtype:
            return self
        both_float = dtype.kind == self.dtype.kind == "f"
        return apply(shape.Cast, self, dtype=dtype) if both_float else Tensor(self.array.astype(dtype))

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __array_function__(self, function, types, args, kwargs):
        """NumPy's functions, such as np.max(x), work on the values."""
        return function(*_arrays(args), **_arrays(kwargs))

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len: got a tensor of shape (), which has no length")
        return self.shape[0]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        if self.array.size != 1:
            raise ValueError(f"bool: got a tensor of shape {self.shape}, and not of one value; say x.any() or x.all()")
        return bool(self.item())

    def __float__(self):
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item() if self.ndim == 0 else str(self), spec)

    def __repr__(self) -> str:
        body = np.array2string(self.numpy(), precision=4, separator=", ", prefix="tensor(")
        extra = "" if self.dtype in (np.float32, np.int64, np.bool_) else f", dtype={self.dtype}"
        made = f", op={self.op.name}" if self.op else ", requires_grad=True" if self.requires_grad else ""
        return f"tensor({body}{extra}{made})"

    def _repr_html_(self) -> str:
        made = f"made by {self.op.name}" if self.op else "requires_grad" if self.requires_grad else ""
        about = filter(None, [f"Tensor {self.shape}", str(self.dtype), self.device, made])
        array = self.numpy()
        if array.size > 100:
            array = array.astype(np.uint8) if array.dtype == bool else array
            with np.errstate(all="ignore"):
                shown = f"from {array.min():.4g} to {array.max():.4g}, mean {array.mean(dtype=np.float64):.4g}"
        else:
            shown = np.array2string(array, precision=4, separator=", ", threshold=100)
        return html.block(html.line(" · ".join(about)), html.text(shown))

    # arithmetic
    def __add__(self, other):
        return _binary(arithmetic.Add, self, other)

    def __sub__(self, other):
        return _binary(arithmetic.Sub, self, other)

    def __mul__(self, other):
        return _binary(arithmetic.Mul, self, other)

    def __truediv__(self, other):
        return _binary(arithmetic.Div, self, other)

    def __matmul__(self, other):
        return _binary(arithmetic.MatMul, self, other)

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other):
        return _binary(arithmetic.Sub, other, self)

    def __rtruediv__(self, other):
        return _binary(arithmetic.Div, other, self)

    def __rmatmul__(self, other):
        return _binary(arithmetic.MatMul, other, self)

    def __pow__(self, exponent):
        exponent = _plain(exponent)
        if isinstance(exponent, int | float):
            return apply(arithmetic.Pow, self, exponent=exponent)
        return _binary(arithmetic.PowTensor, self, exponent)

    def __rpow__(self, base):
        return _binary(arithmetic.PowTensor, base, self)

    def __neg__(self):
        return apply(arithmetic.Neg, self)

    def __abs__(self):
        return apply(elementwise.Abs, self)

    # comparisons: no gradient
    def _compare(self, function: str, compare: Callable, other: Any) -> Any:
        if type(other) in (int, float):
            return Tensor(entry_by_entry(compare, self.array, other))
        other = other if isinstance(other, Tensor) else _plain(other)
        if not isinstance(other, Tensor):
            check_no_foreign(function, other)
            return (
                Tensor(entry_by_entry(compare, self.array, other)) if isinstance(other, int | float) else NotImplemented
            )
        try:
            return Tensor(entry_by_entry(compare, self.array, other.array))
        except ValueError:  # NumPy's, for shapes that do not broadcast
            check_broadcast(function, self, other)
            raise

    def __eq__(self, other):  # type: ignore[override]
        return self._compare("eq", np.equal, other)

    def __ne__(self, other):
        return self._compare("ne", np.not_equal, other)

    def __lt__(self, other):
        return self._compare("lt", np.less, other)

    def __le__(self, other):
        return self._compare("le", np.less_equal, other)

    def __gt__(self, other):
        return self._compare("gt", np.greater, other)

    def __ge__(self, other):
        return self._compare("ge", np.greater_equal, other)

    __hash__ = object.__hash__

    # of several operands
    def clamp(self, min=None, max=None):
        """min(max(x, min), max): numbers or tensors, at least one of them."""
        low, high = _plain(min), _plain(max)
        for bound in (low, high):
            if bound is not None:
                check_operand("clamp", bound)
        check_broadcast("clamp", self, low, high)
        if isinstance(low, Tensor) or isinstance(high, Tensor):
            return apply(elementwise.Clamp, *_promoted("clamp", self, low, high))
        return apply(elementwise.Clamp, self, low, high)

    def masked_fill(self, mask, value):
        """x, with ``value`` where the bool ``mask`` holds."""
        mask, value = _plain(mask), _plain(value)
        if not isinstance(mask, Tensor) or mask.dtype.kind != "b":
            raise TypeError(f"masked_fill: got a mask {mask!r:.60}, expected a bool tensor, such as x > 0")
        if (
            not isinstance(value, Tensor | int | float)
            or np.result_type(getattr(value, "dtype", value)).kind == "c"
            or np.ndim(value)
        ):
            raise TypeError(f"masked_fill: got a value {value!r:.60}, expected a single real number; use where")
        check_broadcast("masked_fill", self, mask)
        if self.dtype.kind == "b" and not isinstance(value, Tensor):
            value = bool(value)
        value, x = _promoted("masked_fill", value, self)
        check_fits("masked_fill", value, x)
        filled = apply(elementwise.Where, mask, value, x)
        if filled.dtype != self.dtype:
            raise TypeError(f"masked_fill: got a value that {self.dtype} cannot hold; convert the tensor: x.float()")
        return filled

    def maximum(self, other):
        """The larger of the two, elementwise; NaN if either is, and then the gradient goes to both."""
        return _both(elementwise.Maximum, self, other)

    def minimum(self, other):
        """The smaller of the two, elementwise; NaN if either is, and then the gradient goes to both."""
        return _both(elementwise.Minimum, self, other)

    _run = staticmethod(apply)  # for the methods that are inherited, whose files are below this one

    @staticmethod
    def _alike(function, *operands):
        """Operands of one type, whose shapes broadcast, likewise for those; numbers stay as they are."""
        operands = tuple(map(_plain, operands))
        check_broadcast(function, *operands)
        return _promoted(function, *operands)

    # shape
    def reshape(self, *size):
        """The same entries in another shape; one size may be −1."""
        return apply(shape.Reshape, self, shape=sizes("reshape", size))

    view = reshape  # an array that cannot be viewed in the new shape is copied

    def permute(self, *dims):
        """The axes in another order."""
        return apply(shape.Permute, self, axes=sizes("permute", dims))

    def expand(self, *size):
        """A view with axes of size 1 repeated, and axes put in front; −1 leaves a size as it is."""
        return apply(shape.Expand, self, shape=sizes("expand", size))

    def __getitem__(self, key):
        keys = key if isinstance(key, tuple) else (key,)
        return apply(shape.Index, self, key=tuple([k.array if isinstance(k, Tensor) else k for k in keys]))


def _numbers(data):
    """What a Tensor holds of anything but a NumPy array. Raises TypeError for what is no number."""
    try:
        array = np.asarray(data, np.float32) if isinstance(data, list | tuple) else _plain_array(data)
    except (TypeError, ValueError) as error:
        if hasattr(data, "dtype"):  # another library's array: the error says which
            raise
        raise TypeError(f"Tensor: got {data!r:.60}, of which NumPy makes no array of numbers: {error}") from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"Tensor: got {data!r:.60}; expected numbers")
    return array


def _plain_array(data):
    """Anything that a Tensor can be made from, as an array."""
    if not hasattr(data, "dtype"):  # Python numbers become float32 or int64, as in PyTorch
        data = np.asarray(data)
        meant = {np.dtype(np.float64): np.float32, np.dtype(int): np.int64}  # in a browser, int is int32
        return data.astype(meant.get(data.dtype, data.dtype), copy=False)
    if isinstance(data, Tensor):
        return data.array
    on_cpu = kernels.device_of(data, "Tensor").is_cpu
    return np.asarray(data) if on_cpu and isinstance(data, np.generic | np.ndarray) else data  # a scalar, or a memmap


def _arrays(given):
    """Tensors in arguments of a NumPy function as NumPy arrays, also in lists, tuples and dicts."""
    if isinstance(given, list | tuple):
        return [_arrays(x) for x in given] if isinstance(given, list) else tuple(map(_arrays, given))
    if isinstance(given, dict):
        return {name: _arrays(x) for name, x in given.items()}
    return given.numpy() if isinstance(given, Tensor) else given


def _binary(op_class, a, b):
    """Apply an op to two operands, one of which may be a number, an array, or a tensor of whole numbers."""
    function = op_class.__name__.removesuffix("Tensor").lower()
    if isinstance(a, Tensor):
        alike = a.array.dtype == b.array.dtype if isinstance(b, Tensor) else type(b) in (int, float)
    else:
        alike = isinstance(b, Tensor) and type(a) in (int, float)
    if not alike:
        a, b = _plain(a), _plain(b)
        if not (isinstance(a, Tensor | int | float) and isinstance(b, Tensor | int | float)):
            check_no_foreign(function, a, b)
            return NotImplemented
        dtypes.check_kinds(op_class, (a, b))
        a, b = _promoted(function, a, b, fractional=op_class.fractional)
    try:
        return apply(op_class, a, b)
    except OverflowError:
        raise OverflowError(
            f"{function}: got a number that {(a if isinstance(a, Tensor) else b).dtype} cannot hold; "
            "convert the tensor: x.long() or x.float()"
        ) from None
    except ValueError:
        if op_class is not arithmetic.MatMul:
            check_broadcast(function, a, b)
        raise


def _both(op_class, a, b):
    """The same for a function, which has no second operand to ask. Raises TypeError for anything else."""
    result = _binary(op_class, a, b)
    if result is NotImplemented:
        other = b if isinstance(a, Tensor) else a
        function = op_class.__name__.removesuffix("Tensor").lower()
        raise TypeError(f"{function}: got {described(other)}; expected tensors or numbers, such as tensor(x)")
    return result


def check_fits(function: str, a: Any, b: Any) -> None:
    """Raise OverflowError if one is a number that does not fit into the other's dtype: np.where would wrap it."""
    for x, value in ((a, b), (b, a)):
        if isinstance(x, Tensor) and not isinstance(value, Tensor) and (x.dtype.kind == "f" or type(value) is int):
            dtypes.check_holds(function, value, x.dtype)


def check_broadcast(function: str, *operands: Any) -> None:
    """Raise ValueError unless the shapes of the operands broadcast; numbers and None have none."""
    shapes = [x.shape for x in operands if isinstance(x, Tensor)]
    for i, a in enumerate(shapes):
        for b in shapes[:i]:
            if not arithmetic.broadcast(a, b):
                raise ValueError(
                    f"{function}: got shapes {' and '.join(map(str, shapes))}, which do not broadcast: counted from "
                    "the last, axes must be equal or 1. A shortcut must have the shape of its branch: project or pad it"
                )


def _promoted(function, *operands, fractional=False):
    """The operands with arrays made tensors, and whole-number tensors cast to the type that all will have."""
    operands = tuple([x if isinstance(x, Tensor) else _plain(x) for x in operands])
    tensors = [x for x in operands if isinstance(x, Tensor)]
    if all([x.array.dtype is tensors[0].array.dtype for x in tensors]):
        return operands
    dtype = next((x.dtype for x in tensors if x.dtype.kind == "f"), None)
    if dtype is None and fractional:
        dtype = np.dtype(np.float32)
    if dtype is None:
        dtype = dtypes.common_whole(function, [(x.dtype, x.ndim) for x in tensors])
    cast = tuple(x.to(dtype) if isinstance(x, Tensor) and x.dtype.kind != "f" else x for x in operands)
    if dtype.kind != "f" and any(x.ndim == 0 and bool(x != y) for x, y in zip(operands, cast) if isinstance(x, Tensor)):
        raise OverflowError(f"{function}: got a single value that {dtype} cannot hold; convert the other: x.long()")
    return cast


def _plain(x):
    """A NumPy scalar as the Python number it holds (which never changes a dtype); an array as a tensor."""
    return x.item() if isinstance(x, np.generic) else Tensor(x) if isinstance(x, np.ndarray) else x
