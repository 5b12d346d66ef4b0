"""One training step captured in a CUDA graph: launched as a whole, with no Python between its kernels.

The first steps run eagerly: they compile the kernels and fill a memory pool that belongs to the CUDA graph. Then one
step is captured, which runs nothing and fixes all addresses. From then on, each step copies the batch into the static
inputs, sends the numbers that the optimiser counts and schedules, and launches. Nothing inside may be read back, so
loss and accuracy stay on the device until the step has run. The ops are those of the eager step, in the same order;
some share a kernel (`minires.fusion`), and then the results are the same up to rounding.

On the device "cuda-on-cpu" the step is rehearsed: it is run again each time, under the same rules.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from .. import kernels, random
from ..blocks import contextmanager
from ..fusion import fusing
from ..kernels.devices import Device
from ..nn import Module
from ..nn.examples import read, share_right
from ..optim import Optimizer, on_device
from ..tensor import Tensor
from .history import Result

WARM_UP = 2  # eager steps: the first makes the optimiser's state, the second allocates as all later ones do


class GraphedStep:
    """Trains a model on one batch per call; the step is captured after `WARM_UP` batches of one shape.

    A batch of another shape, such as a smaller last one, is trained eagerly. ``eager``: the step to capture,
    `train.train_step`. ``fuse``: join ops in all of these steps, eager ones too, so that a run that is resumed, and
    begins with eager ones, has the same bits. Raises ValueError for a model on the CPU, and for an optimiser that has
    no kernel.
    """

    def __init__(
        self, model: Module, optimizer: Optimizer, loss: Callable, eager: Callable[..., Result], fuse: bool = True
    ):
        parameter = next(model.parameters(), None)
        on = kernels.device("cpu") if parameter is None else kernels.device_of(parameter.array)
        if on.is_cpu:
            raise ValueError('graph=True: got a model on the device cpu; a CUDA graph needs a GPU: model.to("gpu")')
        if optimizer.kernel is None:
            raise ValueError(
                f"graph=True: got {optimizer.name}, which has no kernel; use SGD, Adam, AdamW, or graph=False"
            )
        self.model, self.optimizer, self.loss, self.eager = model, optimizer, loss, eager
        self.kernel, self.fuse = optimizer.kernel, fuse
        self.runner: Any = _Rehearsal(on) if on.launches_at_once else _CudaGraph(on)
        self.launches: on_device.Launches = {}
        self.inputs: tuple[Tensor, Tensor] | None = None
        self.seen = 0
        self.captured: list[tuple] | None = None  # what the optimiser's part of the CUDA graph works on
        self.results: tuple[Any, Any] = None, None  # loss and accuracy, on the device
        self.grads: list[tuple[Any, Any]] = []

    def __call__(self, x: Tensor, y: Tensor) -> Result:
        """One step on a batch, x (N, …) and y (N), tensors on the model's device."""
        if self.inputs is None:
            self.inputs = Tensor(x.array.copy("K")), Tensor(y.array.copy("K"))
        if [(t.shape, t.dtype) for t in (x, y)] != [(t.shape, t.dtype) for t in self.inputs]:
            with fusing(self.fuse):
                return self.eager(self.model, self.optimizer, x, y, self.loss)
        with self.runner.active(), self._own_launches():
            for static, values in zip(self.inputs, (x, y)):
                static.array[...] = values.array
            if self.seen < WARM_UP:
                self.seen += 1
                with fusing(self.fuse):
                    return self.eager(self.model, self.optimizer, *self.inputs, self.loss)
            for p, grad in self.grads:  # an eager step may have put others there
                p.grad = grad
            layout = on_device.advance(self.kernel, self.optimizer.rows(), self.launches)
            if layout != self.captured:  # the first time, or the optimiser's arrays or groups have changed
                self._capture()
                self.captured = layout
            self.runner.replay()
            return Result(*read(*self.results))

    def _step(self) -> None:
        assert self.inputs is not None
        x, y = self.inputs
        self.optimizer.zero_grad()
        with fusing(self.fuse):
            outputs = self.model(x)
            value = self.loss(outputs, y)
            value.backward()
        on_device.launch(self.kernel, self.optimizer.rows(advance=False), self.launches)
        self.results = value.array, share_right(outputs.array, y.array)
        self.grads = [(p, p.grad) for group in self.optimizer.param_groups for p in group["params"]]

    def _capture(self) -> None:
        before = random.get_state()
        self.runner.capture(self._step)
        if random.get_state() != before:  # a rehearsal notices in `to_device` that the draws cannot be sent
            raise RuntimeError(
                "graph=True: the model draws random numbers on the host (dropout, stochastic depth), which a graph "
                "would repeat in every step; use graph=False"
            )

    @contextmanager
    def _own_launches(self) -> Iterator[None]:
        """The optimiser's tables hold addresses: the CUDA graph has separate ones, which eager steps do not change."""
        before, self.optimizer.launches = self.optimizer.launches, self.launches
        try:
            yield
        finally:
            self.optimizer.launches = before


@contextmanager
def _capturing(on: Device) -> Iterator[None]:
    """Inside, nothing can be sent to the device; what was to be sent is sent at the end."""
    on.capturing = True
    try:
        yield
    except BaseException:
        on.after_capture.clear()
        raise
    finally:
        on.capturing = False
    for send in on.after_capture:
        send()
    on.after_capture.clear()


class _CudaGraph:
    """A separate stream and memory pool, and what was captured there."""

    def __init__(self, on: Device):
        import cupy

        self.cupy, self.on = cupy, on
        self.stream, self.pool = cupy.cuda.Stream(non_blocking=True), cupy.cuda.MemoryPool()
        self.graph: Any = None

    @contextmanager
    def active(self) -> Iterator[None]:
        """Work inside goes to this stream, after the work already on the caller's, and takes memory from this pool.

        It has ended when the block has, also by an error: the caller's stream would not wait for it.
        """
        ready = self.cupy.cuda.get_current_stream().record()
        with self.stream, self.cupy.cuda.using_allocator(self.pool.malloc):
            self.stream.wait_event(ready)
            try:
                yield
            finally:
                self.stream.synchronize()

    def capture(self, step: Callable[[], None]) -> None:
        with _capturing(self.on):
            self.stream.begin_capture()
            try:
                step()
            except BaseException as error:
                with contextlib.suppress(self.cupy.cuda.runtime.CUDARuntimeError):
                    self.stream.end_capture()
                error.add_note("graph=True: this step cannot be captured in a CUDA graph; use graph=False")
                raise
            self.graph = self.stream.end_capture()

    def replay(self) -> None:
        self.graph.launch(stream=self.stream)


class _Rehearsal:
    """The same rules on the CPU: a replay runs the step again, while nothing may be read back or sent."""

    def __init__(self, on: Device):
        self.on = on

    def active(self) -> Any:
        return contextlib.nullcontext()

    def capture(self, step: Callable[[], None]) -> None:
        self.step = step

    def replay(self) -> None:
        arrays: Any = self.on.array_type
        arrays.reading_back = False
        try:
            with _capturing(self.on):
                self.step()
        finally:
            arrays.reading_back = True
