"""Module: a piece of a network that knows its parameters, its children and its name."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..autograd import state
from ..tensor import Tensor


class Parameter(Tensor):
    """A tensor that is learned: assigned to a module's attribute, it is found by ``parameters()``."""

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True):
        super().__init__(data.data if isinstance(data, Tensor) else data, requires_grad)


class Module:
    """Base of all layers and networks: define ``forward``, assign parameters and modules to attributes.

    Parameters, buffers and children are found in the order of assignment and named by their path: ``layer1.0.conv1.weight``.
    """

    training: bool

    def __init__(self) -> None:
        self.__dict__.update(_parameters={}, _buffers={}, _modules={}, _name="", training=True)

    # ── attributes ──
    def __setattr__(self, name: str, value: Any) -> None:
        if "_modules" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__}: call super().__init__() before assigning {name!r}")
        for table, kind in ((self._parameters, Parameter), (self._modules, Module)):
            if isinstance(value, kind):
                self._forget(name)
                table[name] = value
                if kind is Module and not value._name:
                    value.__dict__["_name"] = name
                return
            if name in table and value is None:
                table[name] = None
                return
        if name in self._buffers:
            self._buffers[name] = value
            return
        self._forget(name)
        self.__dict__[name] = value

    def __getattr__(self, name: str) -> Any:  # called only where normal lookup fails
        for table in ("_parameters", "_buffers", "_modules"):
            if name in self.__dict__.get(table, ()):
                return self.__dict__[table][name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        if not self._forget(name):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def _forget(self, name: str) -> bool:
        tables = (self._parameters, self._buffers, self._modules, self.__dict__)
        return sum(table.pop(name, tables) is not tables for table in tables) > 0

    def register_buffer(self, name: str, array: Any) -> None:
        """Keep an array that is saved with the parameters but not learned, such as a running mean."""
        self._buffers[name] = array

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Keep a parameter under this name; None reserves the name (a layer without bias)."""
        self._parameters[name] = parameter

    def add_module(self, name: str, module: "Module | None") -> None:
        """Keep a child under this name; None reserves the name (a block without downsampling)."""
        if module is not None and not module._name:
            module.__dict__["_name"] = name
        self._modules[name] = module

    # ── calling ──
    def forward(self, *inputs: Any) -> Any:
        """Compute the output; defined by each module."""
        raise TypeError(f"{type(self).__name__}: a module must define forward(self, x)")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        outer = state.scope
        state.scope = f"{outer}.{self._name}" if outer and self._name else outer or self._name
        try:
            return self.forward(*inputs, **options)
        finally:
            state.scope = outer

    # ── walking ──
    def children(self) -> Iterator["Module"]:
        """The modules assigned directly to this one."""
        return (m for m in self._modules.values() if m is not None)

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """(dotted name, module) of this module and all below it, each module once."""
        seen: set[int] = set()
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            path, module = stack.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            yield path, module
            below = [(f"{path}.{name}" if path else name, m) for name, m in module._modules.items() if m is not None]
            stack.extend(reversed(below))

    def modules(self) -> Iterator["Module"]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """(dotted name, parameter), each parameter once."""
        return self._named("_parameters", prefix)

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """(dotted name, array), each buffer once."""
        return self._named("_buffers", prefix)

    def _named(self, table: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix):
            for name, value in module.__dict__[table].items():
                if value is not None and id(value) not in seen:
                    seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def parameters(self) -> Iterator[Parameter]:
        """All parameters, each once."""
        return (parameter for _, parameter in self.named_parameters())

    def apply(self, function: Callable[["Module"], Any]) -> "Module":
        """Call ``function`` on every module, children first."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    # ── mode, type and gradients ──
    def train(self, mode: bool = True) -> "Module":
        """Training mode: batch norm uses the batch's statistics, dropout drops."""
        for module in self.modules():
            module.__dict__["training"] = mode
        return self

    def eval(self) -> "Module":
        """Evaluation mode: batch norm uses its running statistics, dropout does nothing."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> "Module":
        """Freeze (False) or unfreeze all parameters."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    def to(self, target: Any) -> "Module":
        """Move or convert all parameters and floating-point buffers in place: ``to(float64)``, ``to("cpu")``."""
        for parameter in self.parameters():
            parameter.data, parameter.grad = Tensor(parameter.data).to(target).data, None
        for module in self.modules():
            for name, array in module._buffers.items():
                if array.dtype.kind == "f" or isinstance(target, str):
                    module._buffers[name] = Tensor(array).to(target).data
        return self

    def double(self) -> "Module":
        """To float64, in place."""
        return self.to(np.float64)

    def float(self) -> "Module":
        """To float32, in place."""
        return self.to(np.float32)

    # ── saving ──
    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers as NumPy arrays, by dotted name; PyTorch's names and order."""
        state: dict[str, np.ndarray] = {}
        for path, module in self.named_modules():
            for table in (module._parameters, module._buffers):
                for name, value in table.items():
                    if value is not None:
                        array = Tensor(value.data if isinstance(value, Tensor) else value).numpy()
                        state[f"{path}.{name}" if path else name] = np.array(array, order="C")
        return state

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> None:
        """Copy the arrays of a state dict into this module; nothing is changed if anything does not fit.

        Raises KeyError for missing or unexpected names (unless ``strict=False``), ValueError for a wrong shape.
        """
        own = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        if strict and (missing or unexpected):
            raise KeyError(
                f"load_state_dict: missing {_some(missing)}; unexpected {_some(unexpected)}. Was the state saved from "
                f"another architecture? strict=False loads what fits {type(self).__name__}"
            )
        arrays = {name: np.asarray(state[name]) for name in own if name in state}
        for name, array in arrays.items():
            if array.shape != own[name].shape:
                raise ValueError(
                    f"load_state_dict: got {name} of shape {array.shape}, but {type(self).__name__} has "
                    f"{own[name].shape}; the widths or the number of classes differ"
                )
        for name, array in arrays.items():
            target = own[name].data if isinstance(own[name], Tensor) else own[name]
            target[...] = array

    # ── looking ──
    def extra_repr(self) -> str:
        """What the repr shows in brackets; layers give their arguments."""
        return ""

    def __repr__(self) -> str:
        head = f"{type(self).__name__}({self.extra_repr()}"
        lines = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self._modules.items() if child]
        return head + ("".join(f"\n  {line}" for line in lines) + "\n)" if lines else ")")


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:5]) + (f", … ({len(names)} in all)" if len(names) > 5 else "")
    return shown or "nothing"


class Sequential(Module):
    """Modules one after the other."""

    def __init__(self, *modules: Module):
        super().__init__()
        for i, module in enumerate(modules):
            self.add_module(str(i), module)

    def forward(self, x: Any) -> Any:
        for module in self.children():
            x = module(x)
        return x

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __getitem__(self, index: int) -> Module:
        return list(self.children())[index]


class ModuleList(Module):
    """A list whose modules are found by ``parameters()``; it has no forward of its own."""

    def __init__(self, modules: Any = ()):
        super().__init__()
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> "ModuleList":
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __getitem__(self, index: int) -> Module:
        return list(self.children())[index]
