"""Module: a piece of a network that knows its parameters and its children."""

import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

import numpy as np

from .. import blas, html, kernels
from ..arguments import described, nearest
from ..hooks import RemovableHandle
from ..missing import WAYS, not_offered
from ..state import current, scope
from ..tensor import Tensor
from ..tensor_names import checked_format
from ..writes import wrote
from .foreign import to_numpy
from .hooks import Hook, call_with_hooks


class Parameter(Tensor):
    """A tensor that is learned: assigned to a module's attribute, it is found by ``parameters()``."""

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True):
        super().__init__(data.array if isinstance(data, Tensor) else data, requires_grad)


class IncompatibleKeys(NamedTuple):
    """What ``load_state_dict(strict=False)`` left out."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        missing, unexpected = self
        if not (missing or unexpected):
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={missing}, unexpected_keys={unexpected})"


class _Running(threading.local):
    """The dotted names of all modules in the network whose forward is running, None between networks; per thread."""

    names: "dict[Module, str] | None" = None


_running = _Running()


class Module:
    """Base of all layers and networks: define ``forward``, assign parameters and modules to attributes.

    Parameters, buffers and children are found in the order of assignment and named by their path, such as
    ``layer1.0.conv1.weight``. While a module runs, ops take its path as their ``scope``, where there is a graph.
    """

    training: bool
    optional: tuple[str, ...] = ()  # buffers that a loaded state need not have
    _hooks: tuple[Hook, ...] = ()
    _kinds: dict[str, str]  # which attributes are a "parameter", a "buffer" or a "module"; in order of assignment

    def __init__(self) -> None:
        self.__dict__.update(_kinds={}, training=True)

    # ── attributes ──
    def __setattr__(self, name: str, value: Any) -> None:
        kind = "parameter" if isinstance(value, Parameter) else "module" if isinstance(value, Module) else None
        if kind:
            self._keep(kind, name, value)
            return
        held = self.__dict__.get("_kinds", {}).get(name)
        if held and value is not None and not (held == "buffer" and hasattr(value, "dtype")):
            wanted = {"parameter": "nn.Parameter", "module": "nn.Module", "buffer": "array"}[held]
            raise TypeError(
                f"{type(self).__name__}: got {described(value)} for {name!r}, which holds an {wanted}; "
                f"assign an {wanted} or None, or del it first"
            )
        self.__dict__[name] = value

    def __getattr__(self, name: str) -> Any:
        """An attribute that Python has not found, or that somebody asks for by this name, as some networks do."""
        if name in self.__dict__:
            return self.__dict__[name]
        if f"Module.{name}" in WAYS:
            raise not_offered("Module", name, self)
        error = AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        error.name, error.obj = name, self
        raise error

    def __delattr__(self, name: str) -> None:
        if name not in self.__dict__:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        self._forget(name)

    def _keep(self, kind: str, name: str, value: Any) -> None:
        """Make a value an attribute, and note its kind."""
        if "_kinds" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__}: call super().__init__() before assigning {name!r}")
        if not name or "." in name:
            raise KeyError(f"{type(self).__name__}: got the name {name!r}; a name is not empty and contains no dot")
        if callable(getattr(type(self), name, None)):
            raise KeyError(f"{type(self).__name__}: got the name {name!r}, which is a method; choose another")
        if self._kinds.get(name) != kind:  # a replaced value keeps its place in the order
            self._forget(name)
        self.__dict__["_kinds"] = {**self._kinds, name: kind}  # a new dict: a shallow copy may share the old one
        self.__dict__[name] = value

    def _forget(self, name: str) -> None:
        self.__dict__["_kinds"] = {other: kind for other, kind in self._kinds.items() if other != name}
        self.__dict__.pop(name, None)

    def _own(self, kind: str) -> list[tuple[str, Any]]:
        """(name, value) of all attributes of one kind that are not None."""
        own = self.__dict__
        return [(name, own[name]) for name, k in self._kinds.items() if k == kind and own[name] is not None]

    def register_buffer(self, name: str, array: Any) -> None:
        """Keep an array (or Tensor) that is saved with the parameters but not learned, such as a running mean."""
        if not (array is None or hasattr(array, "dtype")):
            raise TypeError(
                f"{type(self).__name__}: got {described(array)} for {name!r}; expected an array or a Tensor"
            )
        self._keep("buffer", name, array)

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Keep a parameter under this name; None reserves the name (a layer without bias)."""
        if not (parameter is None or isinstance(parameter, Parameter)):
            raise TypeError(f"{type(self).__name__}: got {described(parameter)} for {name!r}; expected an nn.Parameter")
        self._keep("parameter", name, parameter)

    def add_module(self, name: str, module: "Module | None") -> None:
        """Keep a child under this name; None reserves the name (a block without downsampling)."""
        if not (module is None or isinstance(module, Module)):
            raise TypeError(f"{type(self).__name__}: got {described(module)} for {name!r}; expected an nn.Module")
        self._keep("module", name, module)

    # ── calling ──
    def forward(self, *inputs: Any) -> Any:
        """Compute the output; defined by each module."""
        raise TypeError(f"{type(self).__name__}: a module must define forward(self, x)")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        if not blas.is_held():  # once for all kernels that run inside
            return blas.one_blas_thread(lambda: self(*inputs, **options))
        now = current()
        if not (now.grad_enabled or now.anomaly):  # no node is made that would need a name
            return call_with_hooks(self, inputs, options) if self._hooks else self.forward(*inputs, **options)
        before, outermost = scope.get(), _running.names is None
        try:
            if outermost:
                _running.names = {module: path for path, module in self.named_modules()}
                if now.recorder is not None:
                    now.recorder.network(self)
            scope.set(_running.names.get(self, before))  # type: ignore[union-attr]
            return call_with_hooks(self, inputs, options) if self._hooks else self.forward(*inputs, **options)
        finally:
            if outermost:
                _running.names = None
            scope.set(before)  # last: an interrupt may come after a call, not after an assignment

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args)`` before every forward; what it returns, unless None, replaces the arguments.

        ``with_kwargs=True``: call ``hook(module, args, kwargs)``, which returns None or (args, kwargs).
        ``prepend=True``: before the existing hooks. Returns a handle with ``remove()``, and for ``with``.
        """
        return RemovableHandle(self, Hook(hook, "before", with_kwargs), "_hooks", prepend)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after every forward; what it returns, unless None, replaces the output.

        ``with_kwargs=True``: call ``hook(module, args, kwargs, output)``. ``prepend=True``: before the existing hooks.
        ``always_call=True``: also when forward, or an earlier hook, raises. Hooks run under no_grad too.
        Returns a handle with ``remove()``, which a ``with`` block calls at its end:

        >>> import minires as mr
        >>> layer = mr.nn.Linear(3, 2)
        >>> with layer.register_forward_hook(lambda module, args, output: print(args[0].shape, "->", output.shape)):
        ...     y = layer(mr.ones(4, 3))
        (4, 3) -> (4, 2)
        """
        return RemovableHandle(self, Hook(hook, "after", with_kwargs, always_call), "_hooks", prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` whenever backward has passed the module.

        Both are tuples: the gradients of the positional inputs and of the outputs, Tensors, None where there is none. A
        tuple returned replaces grad_input. That is what the module itself sends back; if its input also goes to a skip,
        the skip's share is not in it. `minires.flow.recording` shows both, and all other edges, without hooks.
        ``prepend=True``: before the existing hooks. Returns a handle with ``remove()``, and for ``with``.

        >>> import minires as mr
        >>> layer, x = mr.nn.Linear(3, 2), mr.ones(4, 3, requires_grad=True)
        >>> def show(module, grad_input, grad_output):
        ...     print(grad_output[0].shape, "->", grad_input[0].shape)
        >>> with layer.register_full_backward_hook(show):
        ...     (layer(x).sum() + x.sum()).backward()
        (4, 2) -> (4, 3)
        """
        return RemovableHandle(self, Hook(hook, "back out"), "_hooks", prepend)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` before backward enters the module; a tuple returned replaces grad_output.

        See `register_full_backward_hook`; `minires.flow.recording` shows the gradients without hooks.
        """
        return RemovableHandle(self, Hook(hook, "back in"), "_hooks", prepend)

    # ── walking ──
    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        """(name, module) of the modules assigned directly to this one, each module once."""
        names: dict[Module, str] = {}
        for name, module in self._own("module"):
            names.setdefault(module, name)
        return ((name, module) for module, name in names.items())

    def children(self) -> Iterator["Module"]:
        """The modules assigned directly to this one, each once."""
        return (m for _, m in self.named_children())

    def named_modules(self, prefix: str = "", remove_duplicate: bool = True) -> Iterator[tuple[str, "Module"]]:
        """(dotted name, module) of this and all modules below, each module once unless ``remove_duplicate=False``.

        In that case, raises ValueError, which names the cycle, for a module inside itself: its names would never end.
        """
        seen: set[Module] = set()
        stack: list[tuple[str, Module, dict[Module, str]]] = [(prefix, self, {})]  # the last: the modules around it
        while stack:
            path, module, around = stack.pop()
            if remove_duplicate and module in seen:
                continue
            if module in around:
                raise ValueError(
                    f"{type(self).__name__}: {path} is {around[module] or 'the network'} itself "
                    f"({type(module).__name__}), a module inside itself, whose names never end; hold what refers back "
                    f"in a list, self.{path.rpartition('.')[2]} = [module], which is not searched for modules"
                )
            seen.add(module)
            yield path, module
            around = {**around, module: path}
            children = reversed(module._own("module"))
            stack += [(f"{path}.{name}" if path else name, m, around) for name, m in children]

    def get_submodule(self, target: str) -> "Module":
        """The module of this dotted name, as in `named_modules`; "" is this one. Raises AttributeError for others."""
        found = dict(self.named_modules(remove_duplicate=False))
        if target not in found:
            near = nearest(target, found)
            raise AttributeError(f"get_submodule: got {target!r}, which {type(self).__name__} has not{near}")
        return found[target]

    def modules(self) -> Iterator["Module"]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def _named(
        self, *kinds: str, prefix: str = "", shared: bool = False, recurse: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """(dotted name, value) of all values of these kinds, in order; ``shared`` ones under each of their names."""
        seen: set[int] = set()
        for path, module in self.named_modules(prefix, not shared) if recurse else [(prefix, self)]:
            for kind in kinds:
                for name, value in module._own(kind):
                    if shared or id(value) not in seen:
                        seen.add(id(value))
                        yield (f"{path}.{name}" if path else name), value

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """(dotted name, parameter), each parameter once; without ``recurse``, of this module alone."""
        return self._named("parameter", prefix=prefix, recurse=recurse)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters, each once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Any]]:
        """(dotted name, array), each buffer once; without ``recurse``, of this module alone."""
        return self._named("buffer", prefix=prefix, recurse=recurse)

    def buffers(self, recurse: bool = True) -> Iterator[Any]:
        """All buffers, each once."""
        return (array for _, array in self.named_buffers(recurse=recurse))

    def apply(self, function: Callable[["Module"], Any]) -> Self:
        """Call ``function`` on every module, children first."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    # ── mode, type and gradients ──
    def train(self, mode: bool = True) -> Self:
        """Training mode: batch norm uses the batch's statistics, dropout drops."""
        self.__dict__["training"] = mode
        for child in self.children():
            child.train(mode)  # which the child may have defined anew, to keep a part of it frozen
        return self

    def eval(self) -> Self:
        """Evaluation mode: batch norm uses its running statistics, dropout does nothing."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freeze (False) or unfreeze all parameters."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters (or fill them with zeros, ``set_to_none=False``)."""
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.zero_()

    def to(
        self,
        target: Any = None,
        dtype: Any = None,
        non_blocking: Any = False,
        *,
        device: Any = None,
        memory_format: Any = None,
    ) -> Self:
        """Move or convert all parameters and buffers in place: ``to("gpu")``; ``to(float64)`` leaves integers alone.

        ``to("gpu", float64)`` does both; ``non_blocking`` and ``memory_format`` have no effect, as in `Tensor.to`.

        An optimiser that has taken steps keeps its state where it was: move the model first, then build the optimiser.
        Raises TypeError for a dtype that is not floating point, ValueError for an unknown target, RuntimeError for a
        device that cannot be used here.
        """

        checked_format("to", memory_format)
        if any(given is not None for given in (dtype, device, memory_format)):
            for one in (device, target, dtype):
                self if one is None else self.to(one)
            return self

        def convert(array: Any) -> Any:
            converted = Tensor(array).to(target).array
            if converted.dtype.kind != "f" and array.dtype.kind == "f":
                raise TypeError(f"to: got {target!r}; the parameters of a module stay floating point, such as float64")
            return converted

        parameters = [
            (p, convert(p.array), None if p.grad is None else Tensor(convert(p.grad.array))) for p in self.parameters()
        ]
        buffers = [
            (module, name, buffer, convert(_array(buffer)))
            for module in self.modules()
            for name, buffer in module._own("buffer")
            if buffer.dtype.kind == "f" or kernels.is_device(target)
        ]
        for p, array, grad in parameters:  # now that nothing can fail any more
            p.grad, p.array = None, array
            p.grad = grad
        for module, name, buffer, array in buffers:
            setattr(module, name, Tensor(array) if isinstance(buffer, Tensor) else array)
        return self

    def half(self) -> Self:
        """To float16, in place."""
        return self.to(np.float16)

    def double(self) -> Self:
        """To float64, in place."""
        return self.to(np.float64)

    def float(self) -> Self:
        """To float32, in place."""
        return self.to(np.float32)

    def cpu(self) -> Self:
        """To the CPU, in place."""
        return self.to("cpu")

    def cuda(self) -> Self:
        """To the GPU, in place."""
        return self.to("gpu")

    # ── saving ──
    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers as NumPy arrays, by dotted name; PyTorch's names and order.

        Raises ValueError, which names the cycle, if a module is inside itself.
        """
        saved = self._named("parameter", "buffer", shared=True)
        return {name: np.array(Tensor(_array(value)).numpy(), order="C") for name, value in saved}

    def load_state_dict(self, state_dict: dict[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copy the arrays of a state dict into this module; nothing is changed if anything does not fit.

        They may be PyTorch's tensors or parameters; `minires.load_weights` also knows files and other people's names.
        Raises KeyError for missing or unexpected names (unless ``strict=False``), ValueError for a wrong shape. A batch
        norm's num_batches_tracked may be missing, as in PyTorch, and then keeps its value.
        """
        if not hasattr(state_dict, "keys"):
            raise TypeError(f"load_state_dict: got {described(state_dict)}; expected a dict of names and arrays")
        own = {name: _array(value) for name, value in self._named("parameter", "buffer", shared=True)}
        optional = self.optional_names()
        missing = [name for name in own if name not in state_dict and name not in optional]
        unexpected = [name for name in state_dict if name not in own]
        if strict and (missing or unexpected):
            raise KeyError(
                f"load_state_dict: missing {_some(missing)}; unexpected {_some(unexpected)}. Was the state saved from "
                f"another architecture? strict=False loads what fits {type(self).__name__}"
            )
        arrays = {}
        for name in own:
            if name in state_dict:
                try:
                    arrays[name] = to_numpy(state_dict[name])
                except TypeError as error:
                    raise ValueError(f"load_state_dict: got {name}, {error}") from error
        for name, array in arrays.items():
            if array.shape != own[name].shape:
                raise ValueError(
                    f"load_state_dict: got {name} of shape {array.shape}, but {type(self).__name__} has "
                    f"{own[name].shape}; the widths or the number of classes differ"
                )
        for name, array in arrays.items():
            own[name][...] = kernels.to_device(array, kernels.device_of(own[name]).name)
        wrote(*(own[name] for name in arrays))
        return IncompatibleKeys(missing, unexpected)

    def optional_names(self) -> set[str]:
        """The names that a state to load need not have: num_batches_tracked of every batch norm."""
        paths = self.named_modules(remove_duplicate=False)
        return {f"{path}.{name}" if path else name for path, module in paths for name in module.optional}

    # ── looking ──
    def extra_repr(self) -> str:
        """What the repr shows in brackets; layers give their arguments."""
        return ""

    def __repr__(self) -> str:
        lines, name = self.extra_repr().split("\n"), type(self).__name__
        children = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self._own("module")]
        if not children and len(lines) == 1:
            return f"{name}({lines[0]})"
        return f"{name}(" + "".join(f"\n  {line}" for line in [*lines, *children] if line) + "\n)"

    def _repr_html_(self) -> str:
        return html.block(_as_html("", self))


def _as_html(name: str, module: Module) -> str:
    """A line for a module, as a notebook shows it; those inside it unfold. The whole has no name."""
    inside = [_as_html(f"{below}: ", child) for below, child in module._own("module")]
    if not inside:
        return html.line(f"{name}{module}")
    about = f"{name}{type(module).__name__}, {sum(p.numel() for p in module.parameters()):,} parameters"
    return html.fold(about, inside, open=not name)


def _array(value: Any) -> Any:
    """The array of a parameter or buffer."""
    return value.array if isinstance(value, Tensor) else value


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:5]) + (f", … ({len(names)} in all)" if len(names) > 5 else "")
    return shown or "nothing"
