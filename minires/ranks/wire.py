"""Wire: what goes from rank to rank, and how the ranks notice that one of them is missing, wrong or dead.

Before anything is exchanged, all ranks meet: each sends where it is, and a few numbers. As such a message has the same
length everywhere, ranks at different places still understand each other, and all of them raise the same error instead
of adding up what does not belong together, or waiting for ever. A rank that has failed says so at the next meeting.

Sums of floating-point numbers depend on their order. Numbers from `meet` and `gather` come in the order of the ranks;
`sum` uses MPI's own order, which is the same in every run with the same ranks on the same machines.
"""

import itertools
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from .. import kernels

T = TypeVar("T")
INSTALL = "python -m pip install -e '.[mpi]', in the folder of the repository"
PLACES = (
    "the start",
    "the end",
    "an error",
    "rank 0's turn",
    "a comparison",
    "a mean",
    "a sum",
    "gradients",
    "batch norm, forward",
    "batch norm, backward",
    "a recording",
    "a recorded parameter",
)
HEADER = 6  # numbers: place, meetings before, whether a recorder watches, examples in batch and share, how many more
ALIKE = 0, 1, 2, 3, 5  # those of them that must be the same on all ranks
PACKET = 160  # numbers in a meeting's message; what does not fit follows in a second one
PATIENCE = 600.0  # seconds that a rank waits for the others
LAST_WORDS = 10.0  # seconds that a rank which has failed waits until the others have heard of it


class RanksError(RuntimeError):
    """The ranks do not fit together, or one of them has failed; raised on all of them."""

    known_to_all_ranks = True


def communicator(function: str, comm: Any) -> Any:
    """The communicator, checked. Raises ImportError without mpi4py, TypeError for anything but a communicator of it."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # the latter if there is no MPI library
        raise ImportError(f"{function}: mpi4py cannot be used ({error}); install it: {INSTALL}") from error
    if not isinstance(comm, MPI.Intracomm) or comm == MPI.COMM_NULL:
        raise TypeError(
            f"{function}: got {comm!r:.60} as comm; expected a communicator of mpi4py: from mpi4py import MPI, then "
            "comm=MPI.COMM_WORLD"
        )
    return comm


class Wire:
    """A communicator of our own with the ranks of ``comm``, so that no message of the caller's gets in between."""

    def __init__(self, comm: Any):
        self.comm = comm.Dup()
        self.rank, self.size = self.comm.rank, self.comm.size
        self._meetings, self._error = 0, ""  # the error with which this rank has failed
        self._stop: KeyboardInterrupt | None = None  # Ctrl-C, from when it came in a meeting until that has ended
        self._nccl: Any = None
        end_all_if_one_fails()

    # ── meetings ──
    def meet(
        self,
        place: str,
        numbers: Any = (),
        count: float = 1,
        total: float = 0,
        watching: bool = False,
        limit: float = 0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Wait for all ranks; returns each one's ``count`` (R) and ``numbers`` (R, n), in float64.

        Raises RanksError, on all ranks, if one is at another place or has failed. If one does not come within the limit
        (default `PATIENCE`), says so and ends all. Ctrl-C is raised when the meeting has ended: in a terminal it comes
        to all ranks, and one that left a meeting would be elsewhere than those which are to hear of it.
        """
        try:
            met = self._meet(place, numbers, count, total, watching, limit or PATIENCE)
        except RanksError:
            if self._stop is None:
                raise
            self._stop.known_to_all_ranks = True  # type: ignore[attr-defined]
        if self._stop is None:
            return met
        stop, self._stop = self._stop, None
        raise stop

    def _meet(
        self, place: str, numbers: Any, count: float, total: float, watching: bool, limit: float
    ) -> tuple[np.ndarray, np.ndarray]:
        packet = np.zeros(max(PACKET, HEADER + len(numbers)))
        packet[:HEADER] = PLACES.index(place), self._meetings, watching, total, count, len(numbers)
        packet[HEADER : HEADER + len(numbers)] = numbers
        self._meetings += 1
        packets = self._exchange(packet[:PACKET], place, limit)
        failed = np.flatnonzero(packets[:, 0] == PLACES.index("an error"))
        if failed.size:
            self._hear(int(failed[0]), place)
        elif (packets[:, ALIKE] != packets[0, ALIKE]).any():
            where = "; ".join(f"rank {r} {_described(p)}" for r, p in enumerate(packets))
            raise RanksError(
                f"parallel: all ranks must run the same calls, in the same order, with the same batches: {where}"
            )
        if len(packet) > PACKET:
            packets = np.hstack([packets, self._exchange(packet[PACKET:], place, PATIENCE)])
        return packets[:, 4], packets[:, HEADER : HEADER + len(numbers)]

    def _exchange(self, numbers: np.ndarray, place: str, limit: float) -> np.ndarray:
        found = np.empty((self.size, len(numbers)))
        request = self.comm.Iallgather(numbers, found)
        try:
            self._wait(request, place, limit)
        except KeyboardInterrupt as stop:
            self._stop = stop
            self._wait(request, place, LAST_WORDS)
        return found

    def _wait(self, request: Any, place: str, limit: float) -> None:
        """Wait as MPI does, but hear Ctrl-C, leave the core to others, and do not wait for ever."""
        start, rounds = time.monotonic(), 0
        while not request.Test():
            rounds += 1
            if rounds > 100:
                _let_others_run()
            if rounds % 1000 == 0 and time.monotonic() - start > limit:
                self._end_all(f"rank {self.rank} has waited {limit:g} s at {place} for ranks that have not come")

    def tell(self, error: BaseException) -> None:
        """Tell all ranks that this one has failed; if they do not hear it soon, end them."""
        self._error = "".join(traceback.format_exception_only(error)).strip()
        self.meet("an error", limit=LAST_WORDS)
        error.known_to_all_ranks = True  # type: ignore[attr-defined]

    def _hear(self, failed: int, place: str) -> None:
        text = self.comm.bcast(self._error, root=failed)
        if place != "an error":
            raise RanksError(f"parallel: rank {failed} has failed, so rank {self.rank} ends too: {text}")

    def _end_all(self, why: str) -> None:
        traceback.print_stack() if sys.exception() is None else traceback.print_exc()
        print(f"parallel: {why}; all ranks end.", file=sys.stderr, flush=True)
        self.comm.Abort(1)

    # ── what is sent ──
    def gather(self, place: str, array: Any, *told: Any) -> tuple[np.ndarray, Any]:
        """Each rank's count (R), and its array (n) of float64: (R, n), on the array's device. told: as in `meet`."""
        on = kernels.device_of(array)
        if on.name != "gpu":
            counts, found = self.meet(place, on.download(array), *told)
            return counts, found if on.is_cpu else on.upload(found)
        counts, _ = self.meet(place, (), *told)
        found = np.empty_like(array, shape=(self.size, array.size))
        self.nccl.all_gather(array, found, array.size)
        return counts, found

    def sum(self, flat: Any, place: str) -> None:
        """Replace a contiguous array (n) by its sum over the ranks. The ranks must just have met."""
        on = kernels.device_of(flat)
        if on.name == "gpu":
            self.nccl.all_reduce(flat, flat)
            return
        host = on.download(flat)
        from mpi4py import MPI

        self._wait(self.comm.Iallreduce(MPI.IN_PLACE, host), place, PATIENCE)
        if host is not flat:
            flat[...] = on.upload(host)

    def broadcast(self, array: Any) -> None:
        """Replace an array, in any memory order, by that of rank 0. The ranks must just have met."""
        on = kernels.device_of(array)
        if on.name == "gpu":
            row = array.copy("C")
            self.nccl.broadcast(row)
            array[...] = row
            return
        host = np.array(on.download(array), order="C")  # MPI sends memory as it lies
        self.comm.Bcast(host.view(np.uint8) if host.ndim else host.reshape(1).view(np.uint8))
        array[...] = host if on.is_cpu else on.upload(host)

    def first(self, call: Callable[[], T]) -> T:
        """Call a function on rank 0 alone, and return on all what it returned there, or raise what it raised."""
        result: Any = None
        error: Exception | None = None
        if self.rank == 0:
            try:
                result = call()
            except Exception as raised:
                error = raised
        self.meet("rank 0's turn")
        result, failed = self.comm.bcast((result, error))
        if failed is not None:
            failed = error or failed  # on rank 0 with its traceback
            setattr(failed, "known_to_all_ranks", True)  # noqa: B010 (exceptions do not declare it)
            raise failed
        return result

    def compare(self, lines: Sequence[str]) -> tuple[int, str, str] | None:
        """The first rank whose text is not rank 0's, its first line that differs, and rank 0's; None if all agree."""
        self.meet("a comparison")
        everything = self.comm.allgather(list(lines))
        for rank, theirs in enumerate(everything):
            if theirs != everything[0]:
                pairs = itertools.zip_longest(theirs, everything[0], fillvalue="nothing")
                return rank, *next((a, b) for a, b in pairs if a != b)
        return None

    def neighbours(self) -> int:
        """How many ranks run on this machine, this one included."""
        from mpi4py import MPI

        here = self.comm.Split_type(MPI.COMM_TYPE_SHARED)
        try:
            return here.size
        finally:
            here.Free()

    @property
    def nccl(self) -> Any:
        """NCCL's communicator, between the GPUs that the ranks compute on. It connects all ranks of COMM_WORLD."""
        if self._nccl is None:
            self._nccl = connect_gpus(self)
        return self._nccl

    def free(self) -> None:
        """Give the communicator back."""
        self.comm.Free()


def connect_gpus(wire: Wire) -> Any:
    """`cupyx.distributed`'s NCCL backend for these ranks. Raises RanksError, in words, if they cannot be connected."""
    import cupy
    import cupyx.distributed
    from mpi4py import MPI

    device = cupy.cuda.Device()
    places = wire.comm.allgather((MPI.Get_processor_name(), device.pci_bus_id))
    shared = [place for place in places if places.count(place) > 1]
    if shared:
        ranks = [rank for rank, place in enumerate(places) if place == shared[0]]
        raise RanksError(
            f"parallel: ranks {ranks} all compute on GPU {shared[0][1]} of {shared[0][0]}; give each one its own, "
            "before the model is moved there: cupy.cuda.Device(number).use()"
        )
    if MPI.Comm.Compare(wire.comm, MPI.COMM_WORLD) not in (MPI.IDENT, MPI.CONGRUENT):
        raise RanksError(
            "parallel: on GPUs, comm must have all ranks of MPI.COMM_WORLD, which cupyx.distributed connects"
        )
    if not cupy.cuda.nccl.available:
        raise RanksError(
            "parallel: CuPy finds no NCCL; python -m cupyx.tools.install_library --library nccl, or nvidia-nccl-cu13"
        )
    return cupyx.distributed.init_process_group(wire.size, wire.rank, use_mpi=True)


def end_all_if_one_fails() -> None:
    """From now on, an error that ends this process ends all of them, after its traceback, unless all know of it."""
    if isinstance(sys.excepthook, _EndAll):
        return
    sys.excepthook = _EndAll(sys.excepthook)


class _EndAll:
    """An excepthook: others would wait for ever in MPI for a rank that has gone."""

    def __init__(self, before: Callable[..., Any]):
        self.before = before

    def __call__(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        from mpi4py import MPI

        self.before(kind, error, trace)
        sys.stderr.flush()
        if not getattr(error, "known_to_all_ranks", False) and not MPI.Is_finalized():
            MPI.COMM_WORLD.Abort(1)


def _described(packet: np.ndarray) -> str:
    place, meetings, watching, total, _, more = packet[:HEADER]
    batch, recording = f", a batch of {int(total)}" if total else "", ", recording" if watching else ""
    return f"is at {PLACES[int(place)]} (meeting {int(meetings)}, {int(more)} numbers{batch}{recording})"


def _let_others_run() -> None:
    if hasattr(os, "sched_yield"):
        os.sched_yield()
    else:
        time.sleep(0)
