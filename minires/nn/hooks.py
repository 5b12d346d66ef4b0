"""Hooks of modules: functions that see, and may replace, what goes into a module, what comes out, and the gradients.

They are registered with the methods of `Module`: ``register_forward_pre_hook``, ``register_forward_hook``,
``register_full_backward_pre_hook`` and ``register_full_backward_hook``.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..arguments import described
from ..checks import checked_hook
from ..ops.shape import Gate, Passed
from ..state import current
from ..tensor import Tensor, apply


class Hook(NamedTuple):
    """One registered function, and how it is called."""

    function: Callable[..., Any]
    when: str  # "before" or "after" forward, "back in" to the module or "back out" of it
    with_kwargs: bool = False
    always_call: bool = False

    def __call__(self, module: Any, args: tuple, kwargs: dict[str, Any], *output: Any) -> Any:
        """Call the function, with the keyword arguments if it was registered for them."""
        given = (args, kwargs) if self.with_kwargs else (args,)
        return self.function(module, *given, *output)


def call_with_hooks(module: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """The module's pre-hooks, its forward, its hooks; in the order, and with the results, of torch.nn.Module."""
    result: Any = None
    called = set()
    backward = BackwardHooks(module)
    try:
        for hook in [hook for hook in module._hooks if hook.when == "before"]:
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
        args = backward.watch_inputs(args)
        result = module.forward(*args, **kwargs)
        for hook in [hook for hook in module._hooks if hook.when == "after"]:
            called.add(id(hook))
            changed = hook(module, args, kwargs, result)
            result = result if changed is None else changed
        return backward.watch_outputs(result)
    except Exception:  # raised again below, once the hooks that are always called have had their turn
        for hook in [hook for hook in module._hooks if hook.always_call and id(hook) not in called]:
            try:
                changed = hook(module, args, kwargs, result)
                result = result if changed is None else changed
            except Exception as error:  # the first error is the one to show
                warnings.warn(f"forward hook with always_call=True: raised {error!r} after an error", stacklevel=3)
        raise


class BackwardHooks:
    """The backward hooks of one call of a module.

    What goes in passes one gate, what comes out another, where the gradients are seen on the way back. So grad_input is
    what this module alone sends back, and not what a skip around it sends to the same tensor.
    """

    def __init__(self, module: Any):
        self.module = module
        self.entering = [hook.function for hook in module._hooks if hook.when == "back in"]
        self.leaving = [hook.function for hook in module._hooks if hook.when == "back out"]
        self.grad_output: tuple | None = None  # while backward is inside the module
        self.inputs, self.inputs_seen = 0, False  # how many, and whether one of them gets a gradient

    def watch_inputs(self, args: tuple) -> tuple:
        """The arguments, behind the gate at which gradients leave the module."""
        self.inputs = len(args)
        watched = self._gated(args, self._leave, self._zeros)
        self.inputs_seen = watched is not args
        return watched

    def watch_outputs(self, result: Any) -> Any:
        """The result, behind the gate at which gradients enter the module."""
        if not isinstance(result, tuple):
            return self._gated((result,), self._enter)[0]
        watched = self._gated(result, self._enter)
        return watched if type(result) is tuple or watched is result else type(result)(*watched)

    def _gated(self, values, hooks, default=lambda value: None):
        """The values, the tensors among which have passed a gate. The same tuple if there is nothing to see.

        ``hooks`` gets and returns a gradient for each value, or the ``default`` where backward has none.
        """
        slots = [i for i, value in enumerate(values) if isinstance(value, Tensor) and value.requires_grad]
        if not ((self.entering or self.leaving) and slots and current().grad_enabled):
            return values

        def through(found):
            given = [default(value) for value in values]
            for i, gradient in found.items():
                given[slots[i]] = Tensor(gradient.copy("K"))  # its own, as a hook may write to it
            kept, arrays = hooks(tuple(given)), [tensor.array for tensor in tensors]
            return [_array_of(kept[slot], array) for slot, array in zip(slots, arrays)]

        grads: dict[int, Any] = {}
        tensors = [values[slot] for slot in slots]
        passed = [apply(Gate, *tensors, through=through, grads=grads)]
        if len(slots) > 1:
            passed = [apply(Passed, *passed, array=t.array, slot=i, grads=grads) for i, t in enumerate(tensors)]
        behind = dict(zip(slots, passed))
        return tuple(behind.get(i, value) for i, value in enumerate(values))

    @staticmethod
    def _zeros(value):
        """For an input that gets no gradient although others do, as in PyTorch."""
        return Tensor(np.zeros_like(value.array)) if isinstance(value, Tensor) else None

    def _enter(self, grad_output):
        for hook in self.entering:
            grad_output = self._returned("full backward pre-hook", hook(self.module, grad_output), grad_output)
        self.grad_output = grad_output
        if not self.inputs_seen:  # nothing will leave
            self._leave((None,) * self.inputs)
        return grad_output

    def _leave(self, grad_input):
        if self.grad_output is not None:  # it is, for a gradient of something inside that did not come by the output
            for hook in self.leaving:
                found = hook(self.module, grad_input, self.grad_output)
                grad_input = self._returned("full backward hook", found, grad_input)
            self.grad_output = None
        return grad_input

    def _returned(self, kind, found, given):
        """What a hook made of the gradients. Raises TypeError, ValueError."""
        if found is None:
            return given
        if not isinstance(found, tuple | list):
            raise TypeError(f"{kind}: got {described(found)} back; expected None or a tuple, such as (gradient,)")
        if len(found) != len(given):
            raise ValueError(f"{kind}: got {len(found)} gradients back, expected {len(given)}, one for each given")
        if any(new is not None and old is None for new, old in zip(found, given)):
            raise ValueError(f"{kind}: got a gradient back where there was none; return None there")
        return tuple(found)


def _array_of(gradient, like):
    """The array of a gradient that a hook left; zeros for None."""
    return np.zeros_like(like) if gradient is None else checked_hook(gradient, like, "full backward hook")
