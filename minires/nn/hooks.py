"""Forward hooks: functions that see, and may replace, what goes into a module and what comes out of it.

They are registered with `Module.register_forward_pre_hook` and `Module.register_forward_hook`.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple


class Hook(NamedTuple):
    """One registered function, and how it is called."""

    function: Callable[..., Any]
    before: bool  # before forward, or after it
    with_kwargs: bool
    always_call: bool = False

    def __call__(self, module: Any, args: tuple, kwargs: dict[str, Any], *output: Any) -> Any:
        """Call the function, with the keyword arguments if it was registered for them."""
        given = (args, kwargs) if self.with_kwargs else (args,)
        return self.function(module, *given, *output)


def call_with_hooks(module: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """The module's pre-hooks, its forward, its hooks; in the order, and with the results, of torch.nn.Module."""
    result: Any = None
    called = set()
    try:
        for hook in [hook for hook in module._hooks if hook.before]:
            changed = hook(module, args, kwargs)
            if changed is None:
                continue
            if not hook.with_kwargs:
                args = changed if isinstance(changed, tuple) else (changed,)
            elif isinstance(changed, tuple) and len(changed) == 2:
                args, kwargs = changed
            else:
                raise RuntimeError(
                    f"forward pre-hook: got {changed!r} back; with with_kwargs=True expected None or a tuple of "
                    "(new_args, new_kwargs)"
                )
        result = module.forward(*args, **kwargs)
        for hook in [hook for hook in module._hooks if not hook.before]:
            called.add(id(hook))
            changed = hook(module, args, kwargs, result)
            result = result if changed is None else changed
        return result
    except Exception:  # raised again below, once the hooks that are always called have had their turn
        for hook in [hook for hook in module._hooks if hook.always_call and id(hook) not in called]:
            try:
                changed = hook(module, args, kwargs, result)
                result = result if changed is None else changed
            except Exception as error:  # the first error is the one to show
                warnings.warn(f"forward hook with always_call=True: raised {error!r} after an error", stacklevel=3)
        raise
