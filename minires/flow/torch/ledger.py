"""The ledger: it follows PyTorch's graph as it grows, and notes what comes back along every edge.

PyTorch's graph has a node for each op, and ``node.next_functions`` leads to the nodes that made its inputs. Every node
gets a hook, which PyTorch calls when the node has run: with the gradient of its output, and with those that it sends
back to its inputs. Both are only read. Hooks of nodes see every edge by itself; those of tensors see sums, and an
in-place op such as ``out += x`` takes some of them along (`retain_grad`) and leaves others behind (`register_hook`).
"""

import functools
import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode

from .. import naming
from ..node import Source
from ..recorder import WITHOUT_GRADIENT
from ..recording import Recording
from . import measure, notes, ops

WALKS = {
    torch.Tensor.backward: ("backward", "self", "gradient"),
    torch.autograd.backward: ("backward", "tensors", "grad_tensors"),
    torch.autograd.grad: ("grad", "outputs", "grad_outputs"),
}


class Found(NamedTuple):
    """What is known of a node of the graph."""

    number: int  # of an op: larger than those of its inputs; of a leaf: negative
    scope: str


class Came(NamedTuple):
    """A gradient that came back along one edge."""

    number: int | None  # of the op that sent it; None for the gradient that the walk started with
    slot: int
    output: int  # which of the source's outputs it belongs to
    grad: torch.Tensor | None  # None if it is the only one, and so the total
    transposed: bool = False


class Ledger(TorchFunctionMode):
    """While it is entered, fills ``recording``: PyTorch tells it of every function that is called on tensors.

    model: gives scopes and parameters their names. arrays: whether to keep the gradients of all edges.
    """

    def __init__(self, model: torch.nn.Module | None = None, arrays: bool = False):
        super().__init__()
        self.recording = Recording(self._number_of)
        self._model, self._arrays = model, arrays
        self._names = {id(p): name for name, p in model.named_parameters()} if model is not None else {}
        self._found: dict[Any, Found] = {}  # by node
        self._ops: dict[int, str] = {}  # number of what a gradient has reached -> the op's name, "" for a leaf
        self._uses: Counter[Any] = Counter()  # how many edges lead back to a node
        self._running: list[str] = []  # the modules that are running, the innermost last
        self._handles: list[Any] = []  # of all hooks
        self._later: list[Callable[[], None]] = []  # what to tell the recording when the walk has ended
        self._call: str | None = None  # the walk back that is under way
        self._came: dict[Any, list[Came]] = {}  # node -> the gradients that have come back to it so far
        self._said: set[str] = set()

    def __enter__(self) -> "Ledger":
        for name, module in self._model.named_modules() if self._model is not None else ():
            self._handles += [
                module.register_forward_pre_hook(functools.partial(self._enter, name), prepend=True, with_kwargs=True),
                module.register_forward_hook(self._leave, always_call=True),
            ]
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        """Remove every hook, and forget every node that no gradient has reached: its saved tensors would stay."""
        super().__exit__(*error)
        for handle in self._handles:
            handle.remove()
        self._tell()
        self._found = {node: found for node, found in self._found.items() if found.number in self._ops}
        self._handles, self._uses, self._model = [], Counter(), None

    def __reduce__(self) -> Any:
        """PyTorch's graph cannot be copied, so the copy of a recording knows its tensors by their names alone."""
        return Ledger, ()

    # ── on the way forward ──
    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func in WALKS:
            return self._walk(func, args, kwargs)
        output = func(*args, **kwargs)
        for tensor in tensors_in(output):
            if tensor.grad_fn is not None and tensor.grad_fn not in self._found:
                self._made(tensor, func, args)
        return output

    def _made(self, tensor: torch.Tensor, func: Any, args: Sequence[Any]) -> None:
        """A function has made a tensor: find its node, keep statistics, and note what a reader should know."""
        node: Any = tensor.grad_fn
        new = self._find(node)
        if ops.name(node) == "Add" and any(_is_constant(summand, tensor) for summand in args):
            label = naming.label(self._scope, "Add")
            self.recording.add_note(WITHOUT_GRADIENT, self._found[node].number, label)
        for note in notes.about_saved_tensors(func, self._scope):
            self._say(note)
        if node in new and measurable(tensor):
            get = measure.statistics(tensor)
            while node in new:
                self._later.append(functools.partial(self.recording.add_statistics, self._found[node].number, get))
                node = node.next_functions[0][0] if ops.name(node) in ops.REARRANGING else None

    def _enter(self, name: str, module: Any, *inputs: Any) -> None:
        self._find_untold(inputs)
        self._running.append(name)

    def _leave(self, module: Any, inputs: Any, output: Any) -> None:
        self._find_untold(output)
        del self._running[-1:]  # there is none if another hook failed before the module was entered

    def _find_untold(self, tensors: Any) -> None:
        """Before the scope changes, find the nodes that no function told of: those of custom autograd functions."""
        if self._call is None:  # a checkpoint runs modules again on the way back
            for tensor in tensors_in(tensors):
                self._find(tensor.grad_fn)

    def _find(self, root: Any) -> set[Any]:
        """Number the new nodes behind a node, inputs first, and hang a hook on each."""
        new, stack = set(), [root]
        while stack:
            node = stack[-1]
            if node is None or node in self._found or ops.leaf_behind(node):
                stack.pop()
                continue
            before = [source for source in self._sources(node) if source not in self._found]
            if before:
                stack += before
                continue
            stack.pop()
            new.add(node)
            leaf = ops.is_leaf(node)
            self._found[node] = Found(-1 - len(self._found) if leaf else len(self._found), "" if leaf else self._scope)
            self._uses.update(self._sources(node))
            self._handles.append(node.register_hook(lambda sent, total, node=node: self._ran(node, sent, total)))
            if note := notes.about(node):
                self._say(f"{self._scope}: {note}" if self._scope else note)
        return new

    def _sources(self, node: Any) -> list[Any]:
        """The nodes that made a node's inputs: for a weight that was merely transposed or cast, the leaf itself."""
        return [ops.source_of(source)[0] for source, _ in node.next_functions if source is not None]

    @property
    def _scope(self) -> str:
        return self._running[-1] if self._running else ""

    def _say(self, note: str) -> None:
        if note not in self._said:
            self._said.add(note)
            self.recording.add_note(note)

    # ── on the way back ──
    def _walk(self, func: Any, args: tuple, kwargs: dict) -> Any:
        """Run a call of backward or grad, and tell the recording what came of it."""
        given = inspect.signature(func).bind(*args, **kwargs).arguments
        call, outputs, gradients = WALKS[func]
        roots = as_list(given[outputs])
        seeds = as_list(given.get(gradients)) if given.get(gradients) is not None else [None] * len(roots)
        if len(seeds) != len(roots) or not all(isinstance(r, GradientEdge) or r.requires_grad for r in roots):
            return func(*args, **kwargs)  # which says what is wrong
        if given.get("is_grads_batched") or not all(isinstance(r, GradientEdge) or measurable(r) for r in roots):
            self._say("a walk back under torch.func, or with is_grads_batched, was not recorded")
            return func(*args, **kwargs)
        for root, seed in zip(roots, seeds):
            edge = root if isinstance(root, GradientEdge) else get_gradient_edge(root)
            self._find(edge.node)
            source, transposed = ops.source_of(edge.node)
            if seed is None and isinstance(root, torch.Tensor):
                seed = torch.ones_like(root)
            self._came.setdefault(source, []).append(Came(None, 0, edge.output_nr, seed, transposed))
        self._later.append(lambda: self.recording.begin(call))
        self._call = call
        try:
            result = func(*args, **kwargs)
            if call == "grad":
                wanted: dict[Any, dict[int, Any]] = {}
                inputs, grads = given["inputs"], result
                if isinstance(inputs, dict):
                    inputs, grads = list(inputs.values()), result.values()
                for tensor, grad in zip(as_list(inputs), grads):
                    edge = tensor if isinstance(tensor, GradientEdge) else get_gradient_edge(tensor)
                    wanted.setdefault(edge.node, {})[edge.output_nr] = grad
                for node, totals in wanted.items():  # PyTorch does not run these, unless they lead to others
                    self._complete(node, totals)
            return result
        finally:
            self._call = None
            self._came.clear()  # of what was not asked for
            self._tell()

    def _ran(self, node: Any, sent: Sequence[Any], totals: Sequence[Any]) -> None:
        """A node has got its gradients (one for each of its outputs), and has sent others back to its inputs."""
        if self._call is None:
            return
        self._complete(node, dict(enumerate(totals)))
        number = self._found[node].number
        for slot, (source, output), grad in zip(ops.slots(node), node.next_functions, sent):
            if source is not None and grad is not None:
                source, transposed = ops.source_of(source)
                alone = self._uses[source] == 1 and source not in self._came
                came = Came(number, slot, output, None if alone else grad, transposed)
                self._came.setdefault(source, []).append(came)

    def _complete(self, node: Any, totals: Mapping[int, Any]) -> None:
        """The gradient of a node is complete: measure it, and the edges along which it came."""
        came = sorted(self._came.pop(node, ()), key=lambda c: (c.number is None, c.number or 0, c.slot))
        if not came:  # a walk that another one has started, in a reentrant checkpoint
            return
        grads, total = together(came, totals)
        number, scope = self._found[node]
        ends = [(c.number, c.slot) for c in came]
        name, role, parameter = "", "", False
        op = self._ops[number] = "" if ops.is_leaf(node) else ops.name(node, total.ndim)
        if ops.is_leaf(node):
            leaf = node.variable
            parameter = isinstance(leaf, torch.nn.Parameter)
            name = self._names.get(id(leaf), "")
            first = ends[0][0]
            role = ops.role(self._ops[first] if first is not None else "", ends[0][1], parameter)
        source = Source(number, op, tuple(total.shape), scope, name, role, parameter)
        get = measure.measure(grads, total)
        kept = [measure.kept(grad) for grad in grads] if self._arrays else ()
        self._later.append(lambda: self.recording.add_gradient(source, ends, get, kept))

    def _tell(self) -> None:
        """Tell the recording all that has been measured; what is on a GPU is read there now."""
        for tell in self._later:
            tell()
        self._later.clear()

    def _number_of(self, tensor: Any) -> int | None:
        """The number of a tensor's node, for `Recording.edges`."""
        found = self._found.get(get_gradient_edge(tensor).node) if tensor.requires_grad else None
        return found.number if found else None


def together(came: Sequence[Came], totals: Mapping[int, Any]) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The gradients that came, and their total, in one shape and dtype.

    If the op has several outputs in use (split, unbind), they are taken as one long vector, and each edge has zeros
    where the others' entries are.
    """
    outputs = sorted({c.output for c in came})
    total = totals[outputs[0]]
    grads = [totals[c.output] if c.grad is None else c.grad.detach() for c in came]
    grads = [g.t() if c.transposed and c.grad is not None else g for c, g in zip(came, grads)]
    if len(outputs) == 1:
        return [g.to(total.dtype) for g in grads], total
    total = torch.cat([totals[k].detach().reshape(-1) for k in outputs])
    start, places = 0, {}
    for k in outputs:
        places[k] = slice(start, start := start + totals[k].numel())
    parts = [torch.zeros_like(total) for _ in came]
    for part, c, grad in zip(parts, came, grads):
        part[places[c.output]] = grad.reshape(-1)
    return parts, total


def tensors_in(output: Any) -> Iterator[torch.Tensor]:
    """The tensors in what a function or a module has returned: in tuples, lists and dicts too."""
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, tuple | list | dict):
        for part in output.values() if isinstance(output, dict) else output:
            yield from tensors_in(part)


def measurable(tensor: torch.Tensor) -> bool:
    """Whether it holds numbers of its own: not one of torch.func's, nor on the device "meta"."""
    own = not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    return own and not tensor.is_meta and (tensor.is_floating_point() or tensor.is_complex())


def as_list(value: Any) -> list[Any]:
    """A list of what is in a list or tuple, or of the one thing given. (An edge of the graph is a tuple too.)"""
    return list(value) if isinstance(value, list | tuple) and not isinstance(value, GradientEdge) else [value]


def _is_constant(summand: Any, total: torch.Tensor) -> bool:
    """Whether a summand as large as the sum carries no gradient."""
    return isinstance(summand, torch.Tensor) and not summand.requires_grad and summand.shape == total.shape
