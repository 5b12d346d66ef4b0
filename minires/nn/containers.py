"""Containers: modules in sequence, in a list or by name, and parameters in a list."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from ..arguments import described
from ..tensor import Tensor
from .module import Module, Parameter


class _Container(Module):
    def _places(self) -> dict[str, Any]:
        """The children by name, including empty places (None)."""
        return {name: self.__dict__[name] for name, kind in self._kinds.items() if kind == "module"}

    def __len__(self) -> int:
        return len(self._places())


class _List(_Container):
    """Children numbered from 0 and indexed as in a list; those of a slice are numbered from 0 again."""

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        self.add_module(str(len(self._places())), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add several modules at the end."""
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Self:
        """Add a module before the one at ``index``. Raises ValueError if the children have names instead of numbers."""
        places, name = self._places(), type(self).__name__
        if not -len(places) <= index <= len(places):
            raise IndexError(f"{name}.insert: got index {index} for {len(places)} modules")
        if list(places) != [str(i) for i in range(len(places))]:
            raise ValueError(f"{name}.insert: got a place among modules named {list(places)}; build it again in order")
        modules = list(self.append(module)._places().values())
        modules.insert(index, modules.pop())
        self._number(modules)
        return self

    def pop(self, index: int | slice) -> Any:
        """Take a module (or a slice of them) out; those behind it move up."""
        taken = self[index]
        del self[index]
        return taken

    def _number(self, modules: list[Module | None]) -> None:
        """Make these the children, numbered from 0."""
        for name in self._places():
            self._forget(name)
        for i, module in enumerate(modules):
            self.add_module(str(i), module)

    def __delitem__(self, index: int | slice) -> None:
        modules = list(self)
        del modules[index]
        self._number(modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._places().values())

    def __getitem__(self, index: int | slice) -> Any:
        chosen = list(self)[index]
        if not isinstance(chosen, list):
            return chosen
        part = type(self)()
        for module in chosen:
            part.append(module)
        return part

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, list(self._places())[index], module)


class Sequential(_List):
    """Modules one after the other: ``Sequential(a, b)``, or named, ``Sequential(OrderedDict(first=a, second=b))``."""

    def __init__(self, *modules: Any):
        super().__init__()
        named = modules[0].items() if len(modules) == 1 and isinstance(modules[0], dict) else enumerate(modules)
        for name, module in named:
            if not isinstance(module, Module):
                hint = "; unpack the list: Sequential(*layers)" if isinstance(module, list | tuple) else ""
                raise TypeError(f"Sequential: got {described(module)}, expected modules{hint}")
            self.add_module(str(name), module)

    def forward(self, x: Any) -> Any:
        for _, module in self._own("module"):
            x = module(x)
        return x


class ModuleList(_List):
    """A list whose modules are found by ``parameters()``; it has no forward."""

    def __init__(self, modules: Iterable[Module] | None = None):
        super().__init__()
        self.extend(modules or ())

    def __repr__(self) -> str:
        lines, end = "", 0
        for text, alike in itertools.groupby(map(repr, self)):
            start, end = end, end + len(list(alike))
            place = f"({start}): " if end == start + 1 else f"({start}-{end - 1}): {end - start} x "
            lines += f"\n{place}{text}".replace("\n", "\n  ")
        return f"{type(self).__name__}({lines}" + ("\n)" if lines else ")")


class ModuleDict(_Container):
    """A dict whose modules are found by ``parameters()``, under their keys; it has no forward."""

    def __init__(self, modules: Mapping[str, Module] | None = None):
        super().__init__()
        self.update(modules or {})

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add modules, or replace those with the same keys."""
        for key, module in dict(modules).items():
            self[key] = module

    def keys(self) -> Iterable[str]:
        """The keys, in order of insertion."""
        return self._places().keys()

    def values(self) -> Iterable[Module]:
        """The modules."""
        return self._places().values()

    def items(self) -> Iterable[tuple[str, Module]]:
        """(key, module) of each."""
        return self._places().items()

    def pop(self, key: str) -> Module:
        """Take a module out."""
        module = self[key]
        del self[key]
        return module

    def clear(self) -> None:
        """Take all modules out."""
        for key in list(self):
            del self[key]

    def __getitem__(self, key: str) -> Module:
        return self._places()[key]

    def __setitem__(self, key: str, module: Module) -> None:
        if key not in self and hasattr(self, key):
            raise KeyError(f"ModuleDict: got the key {key!r}, an attribute of every ModuleDict; choose another")
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        self[key]  # raises KeyError for what is no module
        self._forget(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, key: object) -> bool:
        return key in self._places()


class ParameterList(Module):
    """A list of parameters, numbered from 0; a plain tensor that is put in becomes a Parameter."""

    def __init__(self, values: Iterable[Tensor] | None = None):
        super().__init__()
        self.extend(values or ())

    def append(self, value: Tensor) -> Self:
        """Add a parameter at the end."""
        self._set(str(len(self)), value)
        return self

    def extend(self, values: Iterable[Tensor]) -> Self:
        """Add several parameters at the end."""
        if isinstance(values, Tensor):
            raise TypeError("ParameterList.extend: got a Tensor, expected a list of them; to add one: append(x)")
        for value in list(values):
            self.append(value)
        return self

    def _set(self, name: str, value: Any) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"ParameterList: got {described(value)}; expected a Parameter or a Tensor")
        self.register_parameter(name, value if isinstance(value, Parameter) else Parameter(value))

    def __len__(self) -> int:
        return len(self._own("parameter"))

    def __iter__(self) -> Iterator[Parameter]:
        return (value for _, value in self._own("parameter"))

    def __iadd__(self, values: Iterable[Tensor]) -> Self:
        return self.extend(values)

    def __getitem__(self, index: int | slice) -> Any:
        chosen = list(self)[index]
        return type(self)(chosen) if isinstance(chosen, list) else chosen

    def __setitem__(self, index: int, value: Tensor) -> None:
        self._set(str(range(len(self))[index]), value)

    def extra_repr(self) -> str:
        sizes = ["x".join(map(str, p.shape)) for p in self]
        lines = zip(range(len(self)), self, sizes)
        return "\n".join(f"  ({i}): Parameter containing: [{p.dtype} of size {size}]" for i, p, size in lines)
