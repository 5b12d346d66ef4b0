"""`parallel`: one training over several processes ("ranks"), each of which has its share of every batch.

Every rank holds the whole network and starts from the same numbers. It computes the gradient of its share's mean loss;
the mean of these over the ranks, weighted by the sizes of the shares, is the gradient of the whole batch's mean loss:

    L = Σ_r (n_r/N)·L_r,     ∂L/∂w = Σ_r (n_r/N)·∂L_r/∂w

One sum over all ranks, of all parameters' gradients in one row, does that after each backward, and as all ranks then
take the same step, they stay alike. Batch norm is what does not add up: its statistics are those of the share, unless
they are taken over all ranks, too (``batch_norm="sync"``, see `ops.batchnorm.SyncBatchNorm`).
"""

import itertools
import math
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from .. import data, kernels, random
from ..blocks import contextmanager
from ..data.dataset import Dataset, part_of
from ..nn import Module
from ..nn.normalisation import _BatchNorm
from ..optim import Optimizer
from ..state import current, switch
from ..tensor import Tensor
from ..threads import available_cores, get_num_threads, set_num_threads
from ..writes import wrote
from .wire import RanksError, Wire, communicator

T = TypeVar("T")
CHOICES = "local", "sync"
CHUNK = 1024  # images read at a time for their checksum


@contextmanager
def parallel(model: Module, optimizer: Optimizer, comm: Any, batch_norm: str | None = None) -> "Iterator[Ranks]":
    """Train over the ranks of an MPI communicator inside the ``with`` block, in a loop of your own.

    comm: a communicator of mpi4py. batch_norm: "sync" takes batch norm's statistics over all ranks, so that gradients
    are those of one process with the whole batch; "local" over each rank's share, which is faster and another function.
    A model with batch norm needs the choice.

    At the start, parameters, buffers, optimiser state and random state become those of rank 0. From then on, each
    ``backward`` leaves in ``.grad`` the mean over all ranks; all of them must make the same calls in the same order.
    `grad` returns what it always does, this rank's. Where the ranks of a machine would have more threads than it has
    cores, each gets its part of these. An error on one rank ends the block on all.

    Raises ImportError, TypeError or ValueError for arguments that do not fit, and RanksError, on all ranks, if the
    models or optimisers differ, if the ranks make different calls, or if one fails.

        from mpi4py import MPI                    # mpiexec -n 4 python train.py
        with mr.parallel(model, optimizer, MPI.COMM_WORLD, batch_norm="sync") as ranks:
            for x, y in ranks.batches(digits, 128):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(mr.tensor(x)), mr.tensor(y))
                loss.backward()
                optimizer.step()
    """
    ranks = Ranks(model, optimizer, communicator("parallel", comm), batch_norm)
    if ranks.size == 1:
        warnings.warn(
            "parallel: there is one rank, so this process trains alone; to use more: mpiexec -n 4 python train.py",
            stacklevel=4,
        )
        yield ranks
        return
    if current().ranks is not None:
        raise ValueError("parallel: got a block inside another; end the first, or use its ranks")
    threads = get_num_threads()
    try:
        ranks.start()
        with switch(ranks=ranks):
            yield ranks
        ranks.wire.meet("the end")
    except BaseException as error:
        if not getattr(error, "known_to_all_ranks", False):
            ranks.wire.tell(error)
        raise
    finally:
        set_num_threads(threads)
        ranks.wire.free()


class Ranks:
    """The processes that train together: what `parallel` gives to its block. Without comm, this process alone.

    rank: the number of this process, from 0; size: how many there are. batch_norm: "local" or "sync".
    """

    def __init__(self, model: Module, optimizer: Optimizer, comm: Any = None, batch_norm: str | None = None):
        if batch_norm not in (None, *CHOICES):
            raise ValueError(f'parallel: got batch_norm={batch_norm!r}; expected "local" or "sync"')
        if comm is not None and batch_norm is None and any(isinstance(m, _BatchNorm) for m in model.modules()):
            raise ValueError(
                'parallel: got a model with batch norm, and no batch_norm; choose "sync", statistics over all ranks, '
                'as in one process with the whole batch, or "local", those of each share, which is another function'
            )
        self.rank: int = 0 if comm is None else comm.rank
        self.size: int = 1 if comm is None else comm.size
        self.batch_norm, self.model, self.optimizer = batch_norm, model, optimizer
        own = [p for group in optimizer.param_groups for p in group["params"]]
        names = {id(p): name for name, p in model.named_parameters()}
        held = {id(p): p for p in (*model.parameters(), *own)}  # the optimiser may have some that the model has not
        self.named = [(names.get(key, f"parameter {i} of the optimiser"), p) for i, (key, p) in enumerate(held.items())]
        self._known: tuple[Any, list[str]] = None, []  # the latest data set, and what must be the same of it
        self._rows: dict[Any, Any] = {}  # the row in which all gradients are sent, for each type and dtype of arrays
        self.total = self.size  # examples in the batch
        self.count, self._uneven = 1, False  # examples in this rank's share; whether other ranks have more or fewer
        if self.size > 1:
            self.wire = Wire(comm)

    def start(self) -> None:
        """Compare models and optimisers, and take over what rank 0 has."""
        self.check_alike("model or optimiser", self._described())
        state = self.first(lambda: (self.optimizer.state_dict(), random.get_state()))
        self.send_buffers()
        for _, p in self.named:
            self.wire.broadcast(p.array)
            wrote(p.array)
        if self.rank:
            self.optimizer.load_state_dict(state[0])
            random.set_state(state[1])
        set_num_threads(min(get_num_threads(), max(available_cores() // self.wire.neighbours(), 1)))

    def _described(self) -> list[str]:
        """What must be the same on all ranks, a line each."""
        names = {id(p): name for name, p in self.named}
        return [
            *(f"{name}: {_own_line(module)}" for name, module in self.model.named_modules()),
            *(f"{n}: {p.dtype} {p.shape}{'' if p.requires_grad else ', frozen'}" for n, p in self.named),
            *(f"{n}: {b.dtype} {b.shape}" for n, b in self.model.named_buffers()),
            *repr(self.optimizer).splitlines(),
            *(str([names[id(p)] for p in group["params"]]) for group in self.optimizer.param_groups),
        ]

    # ── shares ──
    def batches(self, dataset: Dataset, batch_size: int, **options: Any) -> Iterator[tuple[Any, Any]]:
        """`data.batches` of ``batch_size`` in all: the same batches in the same order, but of each this rank's share.

        Augmentation draws what it draws for the whole batch. Raises what `data.batches` and `check_batches` raise, and
        RanksError, on all ranks, if their images are other ones or come in another order.
        """
        self.check_batches(dataset, batch_size, options.get("drop_last", False))
        order = {name: value for name, value in options.items() if name != "augment"}
        if self.size > 1 and dataset is not self._known[0]:
            self._known = dataset, _summed_up(dataset)
        self.check_alike(
            "data set, or order of it",
            [*self._known[1], f"batch_size {batch_size}", *(f"{name} {value}" for name, value in order.items())],
        )
        parts = data.batches(dataset, batch_size, part=(self.rank, self.size), **options)
        totals = (min(batch_size, len(dataset) - k * batch_size) for k in itertools.count(options.get("start", 0)))
        return (self._take(total, pair) for total, pair in zip(totals, parts))

    def check_batches(self, dataset: Dataset, batch_size: int, drop_last: bool = False) -> None:
        """Raise ValueError if a batch has fewer images than there are ranks."""
        count = data.batch_count(dataset, batch_size, drop_last=drop_last)
        smallest = min(batch_size, len(dataset) - (count - 1) * batch_size)
        if smallest < self.size:
            raise ValueError(
                f"parallel: got batches of {batch_size}, the smallest of {smallest}, for {self.size} ranks; each needs "
                "at least one image: use larger batches, fewer ranks, or drop_last=True"
            )

    def share(self, *arrays: Any) -> Any:
        """This rank's share of arrays or tensors (N, …) that hold a whole batch; the next gradients are weighted by it.

        Shares differ by one example at most, and come in the order of the ranks. Raises ValueError if there are fewer
        examples than ranks, or if lengths differ.
        """
        total = len(arrays[0])
        if total < self.size or any(len(a) != total for a in arrays):
            raise ValueError(
                f"share: got {', '.join(str(len(a)) for a in arrays)} examples for {self.size} ranks; expected arrays "
                "of one length, and at least one example for each rank"
            )
        part = part_of(total, self.rank, self.size)
        taken = self._take(total, tuple(a[part] for a in arrays))
        return taken[0] if len(taken) == 1 else taken

    def _take(self, total: int, pair: T) -> T:
        if self._uneven:  # ranks with more examples have drawn more numbers, for dropout
            random.set_state(self.first(random.get_state))
        part = part_of(total, self.rank, self.size)
        self.total, self.count, self._uneven = total, part.stop - part.start, total % self.size > 0
        return pair

    # ── numbers that all ranks need ──
    def mean(self, *values: float) -> tuple[float, ...]:
        """The means of numbers over all ranks, weighted by their shares: the same on all ranks, to the last bit."""
        if self.size == 1:
            return values
        counts, found = self.meet("a mean", values)
        return tuple((counts / counts.sum() @ found).tolist())

    def sum(self, *values: float) -> tuple[float, ...]:
        """The sums of numbers over all ranks: the same on all ranks, to the last bit."""
        return values if self.size == 1 else tuple(self.meet("a sum", values)[1].sum(0).tolist())

    def diverged(self, loss: float) -> bool:
        """Whether the loss is NaN or infinite on any rank: the same answer on all, so that all leave a loop together.

        (It is a sum. MPI's MAX and MIN, given a NaN on one rank, may return another number on each.)
        """
        return self.sum(not math.isfinite(loss))[0] > 0

    def first(self, call: Callable[[], T]) -> T:
        """Call a function on rank 0 alone, and return on all ranks what it returned there, or raise what it raised."""
        return call() if self.size == 1 else self.wire.first(call)

    def check_alike(self, what: str, lines: list[str]) -> None:
        """Raise RanksError, on all ranks, unless these texts are the same on all of them."""
        different = self.wire.compare(lines) if self.size > 1 else None
        if different:
            rank, theirs, ours = different
            raise RanksError(
                f"parallel: rank {rank} has another {what} than rank 0: {theirs.strip()}, and rank 0: {ours.strip()}; "
                "all ranks must run the same program with the same settings"
            )

    def check_equal_weights(self) -> None:
        """Raise RanksError, on all ranks, unless their parameters are equal bit for bit, as they are after a step."""
        if self.size > 1:
            arrays = ((name, kernels.to_device(p.array, "cpu")) for name, p in self.named)
            self.check_alike(
                "set of weights", [f"{name} {zlib.crc32(np.ascontiguousarray(a).data)}" for name, a in arrays]
            )

    def send_buffers(self) -> None:
        """Make the model's buffers, such as running statistics, those of rank 0."""
        if self.size > 1:
            self.meet("rank 0's turn")
            for buffer in self.model.buffers():
                self.wire.broadcast(buffer.array if isinstance(buffer, Tensor) else buffer)

    # ── what the engine and batch norm call ──
    def average(self) -> None:
        """Replace every parameter's gradient by its mean over the ranks; the engine calls it after each backward.

        Where only some ranks have a gradient, it counts as 0 on the others.
        """
        found = np.array([p.requires_grad and p.grad is not None for _, p in self.named])
        counts, seen = self.meet("gradients", [len(found), zlib.crc32(found.tobytes())])
        if (seen != seen[0]).any():
            found = np.array(self.meet("gradients", found)[1].any(0))
        rows: dict[Any, list[Tensor]] = {}
        for _, p in itertools.compress(self.named, found):
            rows.setdefault((type(p.array), np.promote_types(p.dtype, np.float32)), []).append(p)
        for key, parameters in rows.items():
            self._average(key, parameters, self.count / counts.sum())

    def _average(self, key: Any, parameters: list[Tensor], weight: float) -> None:
        """Average gradients of one type: write them into one row, in C order, add up the rows, and read them back."""
        size = sum(p.array.size for p in parameters)
        row = self._rows.get(key)
        if row is None or row.size != size:
            row = self._rows[key] = np.empty_like(parameters[0].array, key[1], shape=size)
        ends = [0, *itertools.accumulate(p.array.size for p in parameters)]
        pieces = [row[a:b].reshape(p.shape) for p, a, b in zip(parameters, ends, ends[1:])]
        for p, piece in zip(parameters, pieces):
            piece[...] = 0 if p.grad is None else p.grad.array
        row *= row.dtype.type(weight)
        self.wire.sum(row, "gradients")
        for p, piece in zip(parameters, pieces):
            if p.grad is None:
                p.grad = np.empty_like(p.array)
            p.grad.array[...] = piece  # type: ignore[union-attr]
            wrote(p.grad.array)  # type: ignore[union-attr]

    def gather(self, place: str, count: float, *arrays: Any) -> tuple[np.ndarray, list[Any]]:
        """Each rank's count (R), and of each array (n) those of all ranks (R, n), in float64."""
        sizes = [0, *itertools.accumulate(a.size for a in arrays)]
        numbers = np.concatenate([a.astype(np.float64) for a in arrays])
        counts, found = self.wire.gather(place, numbers, count, self.total, self.watching)
        return counts, [found[:, a:b] for a, b in itertools.pairwise(sizes)]

    def sums(self, place: str, *arrays: Any) -> list[Any]:
        """Sums of arrays (n) over the ranks, in the units of this rank's loss, which is n_r/N of the whole batch's."""
        counts, found = self.gather(place, self.count, *arrays)
        weights = kernels.to_device((counts / self.count)[:, None], kernels.device_of(arrays[0]).name)
        return [(weights * rows).sum(0).astype(a.dtype) for rows, a in zip(found, arrays)]

    @property
    def watching(self) -> bool:
        """Whether a recorder watches: as one would on some ranks only, if their program differs."""
        return current().recorder is not None

    def mean_of(self, array: Any) -> Any:
        """The mean of arrays over the ranks, weighted by their shares; a new array."""
        counts, _ = self.meet("a recorded parameter")
        row = array.astype(np.promote_types(array.dtype, np.float32), "C").ravel()
        row *= row.dtype.type(self.count / counts.sum())
        self.wire.sum(row, "a recorded parameter")
        return row.reshape(array.shape).astype(array.dtype, copy=False)

    def meet(self, place: str, numbers: Any = ()) -> tuple[np.ndarray, np.ndarray]:
        """Wait for all ranks: the sizes of their shares (R), and the numbers of each (R, n), as in `Wire.meet`."""
        return self.wire.meet(place, numbers, self.count, self.total, self.watching)


def _own_line(module: Module) -> str:
    """A module's repr, without those of the modules inside it."""
    return f"{type(module).__name__}({module.extra_repr()})" if any(module.children()) else repr(module)


def _summed_up(dataset: Dataset) -> list[str]:
    """What must be the same of a data set on all ranks, a line each."""
    lines = [str(dataset), f"labels {_checksum(dataset.labels):#x}"]
    if isinstance(dataset, Dataset):  # another may draw its images anew
        lines += [f"mean {dataset.mean}, std {dataset.std}", f"images {_checksum(dataset.pixels):#x}"]
    return lines


def _checksum(array: Any) -> int:
    total = 0
    for start in range(0, len(array), CHUNK):
        total = zlib.crc32(np.ascontiguousarray(kernels.to_device(array[start : start + CHUNK], "cpu")).data, total)
    return total
