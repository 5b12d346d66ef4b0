"""Batch norm, addition and ReLU in one kernel, inside `fusing`: fewer launches, and fewer passes over memory.

The ops in the graph stay what they are, with their names, hooks and gradients. Only how they compute changes.

*Forward*, batch norm takes its statistics and returns a `Later`: a tensor whose values are computed when they are read.
If a ReLU comes first, or an addition and its ReLU, one kernel goes from batch norm's input to the ReLU's output, and
what is in between has values only if somebody reads it, then or afterwards. It gets them before anything is written
that they depend on (`Fusion.settle`).

*Backward*, the engine asks once for each walk which ReLUs follow a batch norm whose output has no other use and no
gradient that anybody waits for (`Fusion.joined`). Batch norm's first kernel then takes the gradient through the ReLU.

Nothing is joined that a recorder, `flow.scaled`, `checkpoint`, anomaly detection or a replaced kernel has to do with.
One thing is not noticed: code that, between a batch norm and its ReLU, reaches past the tensors for the arrays of the
running statistics, weights or inputs. It finds them as they were before the batch norm, and must not write to them.
"""

import weakref
from collections import Counter
from collections.abc import Iterator
from typing import Any

from . import kernels, writes
from .blocks import contextmanager
from .kernels.batchnorm.gpu import DeferredBatchNorm, batch_norm_relu_backward, can_move
from .kernels.conv.gpu import conv2d_with_statistics
from .ops import Op, activation, arithmetic, batchnorm, conv, shape
from .state import current, switch
from .tensor import Tensor, apply

KERNELS = ("add", "batch_norm", "batch_norm_backward", "conv2d", "relu", "relu_backward", "running_update")
VALUES: Any = vars(Tensor)["array"]  # where a tensor keeps its array: what `Later.array` hides


@contextmanager
def fusing(enabled: bool = True) -> Iterator[None]:
    """Join these ops inside a ``with`` block, where the kernels are CUDA's; no change unless ``enabled``."""
    fusion = Fusion() if enabled else None
    with switch(fusion=fusion):
        yield
    if fusion is not None:
        fusion.settle()


class Fusion:
    """The joined ops of one `fusing` block; the engine calls the methods."""

    def __init__(self) -> None:
        self.begun: Later | None = None  # of the last batch norm, while its running statistics have not moved
        self.pending: list[weakref.ref[Later]] = []  # whose values may still be asked for
        self.convolved: tuple[Any, Any] | None = None  # what the op before was, a convolution: y, and its statistics

    def batch_norm(self, input: Tensor, weight: Any, bias: Any, eps: float, running: Any) -> Tensor:
        """Batch norm in training: a `Later` if it can be."""
        x = input.array
        moves = running is None or can_move(x, running)
        if not (moves and _has_kernels(x) and x.size > x.shape[1]) or _is_watched():
            return apply(batchnorm.BatchNorm, input, weight, bias, eps=eps, running=running)
        made: list[DeferredBatchNorm] = []
        statistics = self.convolved[1] if self.convolved is not None and self.convolved[0] is x else None
        y = apply(_BatchNorm, input, weight, bias, eps=eps, running=running, statistics=statistics, made=made)
        self.begun = Later(y, self, *made)
        return self.begun

    def instead(self, op_class: type[Op], inputs: Any) -> type[Op]:
        """What runs in place of an op. A batch norm that has begun ends first: the op may use its running statistics.

        It waits for what a padded shortcut does, which is to copy what another op has made.
        """
        self.convolved = None
        if self.begun is not None and not (op_class in (shape.Index, shape.Pad) and inputs[0].op is not None):
            self.begun.compute()
        plain = op_class is not conv.Conv2d or any(t is not None for t in inputs[2:]) or _is_watched()
        return op_class if plain else _Conv2d

    def settle(self) -> None:
        """Compute whatever may still be asked for: something is going to be written."""
        self.convolved = None
        for reference in self.pending:
            tensor = reference()
            if tensor is not None:
                tensor.compute()
        self.pending.clear()

    def joined(self, order: list[Op], kept: set[Any]) -> dict[Op, Op]:
        """{ReLU: what goes back in its place, through it and the batch norm before it}.

        order: the ops of a walk back. kept: the nodes whose gradients are wanted for themselves.
        """
        self.settle()
        if _is_watched():
            return {}
        members, uses = set(order), Counter(source for op in order for source in op.inputs)

        def hidden(op: Any, *classes: type) -> bool:
            """Whether this is an op of one of these classes, whose output's gradient nobody but itself sees."""
            return (
                type(op) in classes and op in members and uses[op] == 1 and op not in kept
                and op.tensor is None and not op.hooks
            )  # fmt: skip

        found: dict[Op, Op] = {}
        for op in order:
            if type(op) in (activation.ReLU, _ReLU):
                addition = op.inputs[0] if hidden(op.inputs[0], arithmetic.Add, _Add) else None
                for slot, norm in enumerate((addition or op).inputs):
                    if hidden(norm, batchnorm.BatchNorm, _BatchNorm) and _belong_together(op, norm):
                        found[op] = _BatchNormToReLU(op, norm, addition, 1 - slot)
                        break
        return found


class Later(Tensor):
    """The output of a batch norm, or its sum with an ``addend``: gets its values when they are read."""

    __slots__ = ("addend", "batch_norm", "fusion")

    def __init__(self, made: Tensor, fusion: Fusion, norm: DeferredBatchNorm, addend: Any = None):
        self.fusion, self.addend = fusion, addend
        self.batch_norm: DeferredBatchNorm | None = None  # once the values are there
        super().__init__(VALUES.__get__(made), made.requires_grad, made.op)  # an array of the same shape and type
        self.batch_norm = norm
        fusion.pending.append(weakref.ref(self))

    def compute(self) -> None:
        """See to it that the values are there."""
        self._passes_on()
        norm, self.batch_norm = self.batch_norm, None
        if norm is not None:
            VALUES.__set__(self, norm(self.addend))
            self.addend = None

    @property
    def array(self) -> Any:  # type: ignore[override]
        """The values."""
        if self.batch_norm is not None:
            self.compute()
        return VALUES.__get__(self)

    @array.setter
    def array(self, array: Any) -> None:
        self.compute()  # it leaves traces in running statistics, and in the graph
        VALUES.__set__(self, array)

    shape = property(lambda self: VALUES.__get__(self).shape)
    ndim = property(lambda self: VALUES.__get__(self).ndim)
    dtype = property(lambda self: VALUES.__get__(self).dtype)
    device = property(lambda self: kernels.device_of(VALUES.__get__(self)).name)

    def relu(self) -> Tensor:
        """max(x, 0)."""
        norm, addend = self.batch_norm, self.addend
        if norm is None or _is_watched():
            return super().relu()
        self._passes_on()
        return apply(_ReLU, self._without_values(), norm=norm, addend=addend)

    def __add__(self, other: Any) -> Any:
        total = self._joined_to(other, lambda mine: (mine, other))
        if total is None and isinstance(other, Later):
            total = other._joined_to(self, lambda mine: (self, mine))
        return super().__add__(other) if total is None else total

    def __radd__(self, other: Any) -> Any:
        if not isinstance(other, Tensor):
            return super().__radd__(other)
        total = self._joined_to(other, lambda mine: (other, mine))
        return NotImplemented if total is None else total  # so that it is other + self after all

    def _joined_to(self, other, in_order):
        """The sum, if its values can be left for later, too."""
        if not isinstance(other, Tensor) or self.batch_norm is None or self.addend is not None or _is_watched():
            return None
        addend = other.array  # computed here, if it is a Later; so is this one, if it is the same
        norm, mine = self.batch_norm, VALUES.__get__(self)
        if norm is None or type(addend) is not type(mine) or addend.shape != mine.shape or addend.dtype != mine.dtype:
            return None
        has_begun = self._passes_on()
        total = Later(apply(_Add, *in_order(self._without_values())), self.fusion, norm, addend)
        if has_begun:
            self.fusion.begun = total
        return total

    def _passes_on(self) -> bool:
        """Whether this was what has begun; now something else will be."""
        has_begun = self.fusion.begun is self
        if has_begun:
            self.fusion.begun = None
        return has_begun

    def _without_values(self) -> Tensor:
        """This node of the graph, for an op that needs no values."""
        return Tensor(VALUES.__get__(self), self.requires_grad, self.op)


class _Conv2d(conv.Conv2d):
    """A convolution without a bias, whose kernel takes the statistics of its output, in case batch norm is next."""

    name = "Conv2d"

    def convolved(self, x, weight, bias):
        if kernels.device_of(x).is_cpu:
            return super().convolved(x, weight, bias)
        current().fusion.convolved = y, _ = conv2d_with_statistics(kernels.device_of(x), x, weight, *self.geometry)
        return y


class _BatchNorm(batchnorm.BatchNorm):
    """Batch norm that takes its statistics and leaves the rest for later. The array it returns only shows the shape."""

    name = "BatchNorm"

    def forward(self, x, weight=None, bias=None, eps=1e-5, running=None, *, statistics, made):  # type: ignore[override]
        norm = DeferredBatchNorm(kernels.device_of(x), x, weight, bias, eps, running, statistics)
        made.append(norm)
        self.x, self.weight, self.eps, self.mean, self.var = x, weight, eps, norm.mean, norm.var
        return x


class _Add(arithmetic.Add):
    """An addition left for later. The array it returns only shows the shape."""

    name = "Add"

    def forward(self, a, b):
        return a


class _ReLU(activation.ReLU):
    """A ReLU that begins at the input of the batch norm before it."""

    name = "ReLU"

    def forward(self, x, *, norm, addend):  # type: ignore[override]
        self.y = norm(addend, relu=True)
        return self.y


class _BatchNormToReLU(Op):
    """In one walk back: a ReLU, the addition before it, if any, and the batch norm before that.

    Its inputs are those of the batch norm; before them, the addition's other operand.
    """

    def __init__(self, relu: Op, norm: Op, addition: Op | None, other: int):
        self.relu: Any = relu
        self.norm: Any = norm
        self.addition = addition
        self.shape, self.dtype, self.scope = relu.shape, relu.dtype, norm.scope
        self.inputs, self.input_specs = norm.inputs, norm.input_specs
        if addition is not None:
            self.inputs = addition.inputs[other], *self.inputs
            self.input_specs = addition.input_specs[other], *self.input_specs

    def backward(self, grad_output):
        relu, norm = self.relu, self.norm
        saved = relu.y, norm.x, norm.weight, norm.mean, norm.var, norm.eps
        on, needs = kernels.device_of(grad_output), tuple(norm.needs[:3])
        *grads, masked = batch_norm_relu_backward(on, grad_output, *saved, needs)
        return grads if self.addition is None else (masked, *grads)

    def release(self) -> None:
        for op in (self.relu, self.norm, self.addition):
            if op is not None:
                op.release()


def _is_watched() -> bool:
    """Whether somebody else has to do with what the ops compute now."""
    now = current()
    return not (now.recorder is now.segment is None) or now.anomaly or kernels.replaced(*KERNELS)


def _has_kernels(array: Any) -> bool:
    """Whether CUDA kernels take it as it is."""
    return array.dtype.kind == "f" and array.dtype.itemsize > 2 and not kernels.device_of(array).is_cpu


def _belong_together(relu: Any, norm: Any) -> bool:
    """Whether what the two have saved is there, unwritten, and of one kind."""
    if any(op.segment is not None or -1 < op.serial < writes.latest for op in (relu, norm)):
        return False
    kinds = {(type(array), array.shape, array.dtype) for array in (relu.y, norm.x)}
    return len(kinds) == 1 and norm.x.size > 0 and _has_kernels(norm.x)
