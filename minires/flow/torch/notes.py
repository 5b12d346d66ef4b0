"""What the bridge says in words: what it refuses, and what a reader of the numbers should know.

The traps are those of PyTorch 2.13. They are there without the bridge too, which sets none of them.
"""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import torch

from . import ops

FUSED = {
    "CompiledFunctionBackward": "torch.compile",
    "DifferentiableGraphBackward": "torch.jit",
}
ABOUT = {
    "CheckpointFunctionBackward": "a checkpoint with use_reentrant=True hides what is inside it, which runs in a walk "
    "back of its own: neither its forks nor its weights are recorded; use_reentrant=False shows them",
    "CopySlices": "an in-place operation wrote into a view of a tensor. PyTorch's graph does not say which "
    "operation it was, so an addition written that way is no fork here: write out = out + x instead of out += x",
}
ADDING_TOO = "Addbmm", "Addcdiv", "Addcmul", "Baddbmm", "Lerp"  # what these add to is their first input
UNPACKED = (
    "saved_tensors_hooks were in force (save_on_cpu, checkpoint(use_reentrant=False) or your own). Inside them PyTorch "
    "does not notice when an operation overwrites, in place, what an earlier one saved, and the gradient can be wrong "
    "without an error: write out = out + x instead of out += x"
)
TWICE = (
    "a checkpoint computes its part again on the way back, and batch norm's running statistics move twice; minires's "
    "own checkpoint moves them once"
)


def refuse_fused(function: str, model: torch.nn.Module) -> None:
    """Raise TypeError for a model that is compiled, scripted or without numbers yet, or is none of PyTorch's."""
    if not isinstance(model, torch.nn.Module):
        raise TypeError(
            f"{function}: got a {type(model).__name__} as the model; expected a torch.nn.Module. For minires's own "
            f"networks there is minires.flow.{function}"
        )
    for name, module in model.named_modules():
        where = f"its module {name!r}" if name else "the model"
        if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None:
            raise TypeError(
                f"{function}: {where} was compiled by torch.compile, which fuses ops, so their edges are not to be "
                "seen; pass the model as it was before (model._orig_mod, or build it anew)"
            )
        if isinstance(module, torch.jit.ScriptModule):
            raise TypeError(f"{function}: {where} was made by torch.jit, which fuses ops; pass the original module")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if torch.nn.parameter.is_lazy(tensor):
            raise TypeError(f"{function}: {name} has no shape yet, as a lazy module gives it one when it first runs")
        if tensor.is_meta:
            raise TypeError(
                f'{function}: {name} is on the device "meta", where there are no numbers to measure; make room for '
                'them with model.to_empty(device="cpu"), and load its weights'
            )


def uncompiled() -> contextlib.AbstractContextManager[Any]:
    """Inside, functions that torch.compile has made run as they were before, op by op."""
    made = "torch._dynamo" in sys.modules  # else there are none, and it is slow to import
    return torch.compiler.set_stance("force_eager") if made else contextlib.nullcontext()


def about(node: Any) -> str | None:
    """The note on a node of the graph, if there is one. Raises RuntimeError for a part that was compiled."""
    name = ops.own_name(node)
    if name in FUSED:
        without = (
            " (PYTORCH_JIT=0 in the environment leaves them all as they are)" if FUSED[name] == "torch.jit" else ""
        )
        raise RuntimeError(
            f"recording: the graph holds a part made by {FUSED[name]}, which fuses ops, so their edges are not to be "
            f"seen; run the original function{without}"
        )
    if name.startswith(ADDING_TOO) and (first := node.next_functions[0][0]) is not None and not ops.is_leaf(first):
        function = name.partition("Backward")[0].lower()
        return f"torch.{function} does more than add, so an addition inside it is no fork: write it with +"
    return ABOUT.get(name)


def about_saved_tensors(func: Any, scope: str) -> Iterator[str]:
    """Notes on hooks that change what ops save, if any are in force while ``func`` runs in the module ``scope``."""
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
    if hooks is None:
        return
    yield UNPACKED
    name = getattr(func, "__name__", "")
    if name.endswith("_") and not name.startswith("_"):
        yield f"{scope or 'outside of modules'}: {name} wrote in place while saved_tensors_hooks were in force"
    if getattr(hooks[0], "__module__", "") == "torch.utils.checkpoint":
        yield TWICE
