"""`RemovableHandle`: what registering a hook returns, on a tensor or a module."""

from typing import Any, Self


class RemovableHandle:
    """A hook's place among those of its owner: ``remove()`` takes it away, as does the end of a ``with`` block."""

    def __init__(self, owner: Any, hook: Any, name: str = "hooks", prepend: bool = False):
        self.owner, self.hook, self.name, there = owner, hook, name, getattr(owner, name)
        setattr(owner, name, (hook, *there) if prepend else (*there, hook))  # a loop now running has the old tuple

    def remove(self) -> None:
        """Take the hook away; calling this twice does no harm."""
        setattr(self.owner, self.name, tuple(hook for hook in getattr(self.owner, self.name) if hook is not self.hook))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.remove()
