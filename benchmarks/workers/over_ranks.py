"""A training step of a ResNet over MPI ranks, one thread each: its time, what is sent, and how far gradients differ.

``over_ranks.py CASE step --ranks 2 --batch-norm sync`` starts mpiexec itself. ``difference``: how far the gradient at
initialisation is from that of one process with the whole batch, on the digits, in float64. ``recording``: how far what
`flow.record` measures is.
"""

import os
import subprocess
import sys
import time

from common import CASES, mpiexec, peak_mb, report

RANKS = int(sys.argv[sys.argv.index("--ranks") + 1])
if "PMI_RANK" not in os.environ:  # not started by mpiexec yet
    command = [mpiexec(), "-n", str(RANKS), sys.executable, *sys.argv]
    sys.exit(subprocess.run(command, check=False, timeout=800).returncode)

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # read when NumPy is imported
    os.environ[variable] = "1"

import argparse  # noqa: E402
import statistics  # noqa: E402
import warnings  # noqa: E402

import numpy as np  # noqa: E402
from mpi4py import MPI  # noqa: E402

import minires as mr  # noqa: E402
from minires import flow, optim  # noqa: E402
from minires.nn import functional as F  # noqa: E402
from minires.ranks import Ranks, wire  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("name", choices=CASES)
parser.add_argument("mode", choices=["step", "difference", "recording"])
parser.add_argument("--ranks", type=int)
parser.add_argument("--batch", type=int)
parser.add_argument("--batch-norm", choices=["local", "sync"], default="sync")
parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
parser.add_argument("--digits", action="store_true", help="images of the digits in place of normal noise")
parser.add_argument("--seeds", type=int, default=20)
parser.add_argument("--quick", action="store_true")
options = parser.parse_args()
case, comm = CASES[options.name], MPI.COMM_WORLD
batch = options.batch or case.batch
mr.set_num_threads(1)
warnings.simplefilter("ignore")  # one rank is meant
version = f"minires {mr.__version__}, NumPy {np.__version__}, {MPI.Get_library_version().split()[0]}"


def difference():
    """‖averaged − whole‖ / ‖whole‖ of all parameters' gradients, and the cosine between the two."""

    def gradient(*shared):
        mr.manual_seed(0)
        model = mr.models.resnet_cifar(20, 8, in_channels=1).to(np.float64)
        images, labels = (images64, labels64)
        if shared:
            with mr.parallel(model, optim.SGD(model.parameters(), 0.1), *shared) as ranks:
                images, labels = ranks.share(images, labels)
                F.cross_entropy(model(mr.tensor(images)), mr.tensor(labels)).backward()
        else:
            F.cross_entropy(model(mr.tensor(images)), mr.tensor(labels)).backward()
        return np.concatenate([p.grad.array.ravel() for p in model.parameters()])

    images64, labels64 = mr.data.digits()[0][:64]
    images64 = images64.astype(np.float64)
    one, several = gradient(), gradient(comm, options.batch_norm)
    sizes = np.linalg.norm(one), np.linalg.norm(several)
    return {
        "difference": float(np.linalg.norm(several - one) / sizes[0]),
        "cosine": float(one @ several / sizes[0] / sizes[1]),
    }


def step_time():
    """Medians of a step, of the sum of all gradients in it, and the bytes that a rank sends."""
    mr.manual_seed(0)
    model = mr.models.ResNet(
        mr.models.ResidualBlock, case.blocks, case.widths, stem=case.stem, in_channels=case.channels,
        num_classes=case.classes, shortcut="A",
    )  # fmt: skip
    optimizer = optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)
    x, y = mr.randn(batch, case.channels, case.size, case.size), mr.tensor(np.arange(batch) % 10)
    sent = {"gradients": 0, "messages": 0, "packets": 0}
    inside = [0.0]

    def counted(function, *names):
        def call(self, *arguments, **keywords):
            for name in names:
                sent[name] += 1 if name == "messages" else arguments[0].nbytes
            return function(self, *arguments, **keywords)

        return call

    wire.Wire.sum = counted(wire.Wire.sum, "gradients")
    wire.Wire._exchange = counted(wire.Wire._exchange, "messages", "packets")
    average = Ranks.average

    def timed(self):
        start = time.perf_counter()
        average(self)
        inside[0] = time.perf_counter() - start

    Ranks.average = timed
    times, sums = [], []
    with mr.parallel(model, optimizer, comm, options.batch_norm) as ranks:
        images, labels = ranks.share(x, y)
        for i in range(2 if options.quick else 7):
            sent.update(gradients=0, messages=0, packets=0)
            start = time.perf_counter()
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            loss.item()
            if i > 0 if options.quick else i > 1:
                times.append(time.perf_counter() - start)
                sums.append(inside[0])
        last = dict(sent)  # what the last step sent
    return {
        "ms": 1e3 * statistics.median(times),
        "average_ms": 1e3 * statistics.median(sums),
        **{f"{name}_sent": n for name, n in last.items()},
        "peak_mb": peak_mb(),
        "threads": 1,
    }


def recording():
    """{quantity: for each seed, how far it is at most from that of one process with the whole batch}, of a recording.

    A single rank shows how far one process is from itself with the batch in another order.
    """
    found = {}
    for seed in range(2 if options.quick else options.seeds):
        rng = np.random.default_rng(seed)
        if options.digits:
            x, y = mr.data.digits()[0][rng.permutation(1437)[:64]]
        else:
            x, y = rng.standard_normal((64, 3, 32, 32)), rng.integers(0, 10, 64)
        x = x.astype(options.dtype)
        mr.manual_seed(seed)
        model = mr.models.resnet_cifar(20, in_channels=x.shape[1]).to(np.dtype(options.dtype))
        whole = flow.record(model, x, y)
        if comm.size == 1:
            order = rng.permutation(64)
            other = flow.record(model, x[order], y[order])
        else:
            with mr.parallel(model, optim.SGD(model.parameters(), 0.1), comm, options.batch_norm) as ranks:
                other = flow.record(model, *ranks.share(x, y))
        for what, far in apart(other, whole).items():
            found.setdefault(what, []).append(far)
    return {"apart": found}


def apart(a, b):
    """{quantity: the largest difference between two recordings, as a part of its size}."""
    pairs = {
        kind: [(m, n) for m, n in zip(a.nodes, b.nodes, strict=True) if n.parameter == kind] for kind in (False, True)
    }
    forks, layers = (list(zip(*both, strict=True)) for both in ((a.forks, b.forks), (a.layers, b.layers)))
    return {
        "norms of edges and sums": max(
            np.abs(np.divide((m.norm, *m.edge_norms), (n.norm, *n.edge_norms)) - 1).max() for m, n in pairs[False]
        ),
        "inner products, as parts of the norms' product": max(
            np.abs((m.gram - n.gram) / np.outer(n.edge_norms, n.edge_norms)).max() for m, n in pairs[False]
        ),
        "cosines, shares": max(
            *(abs(m.cosine - n.cosine) for m, n in forks), *(abs(m.skip_share - n.skip_share) for m, n in forks)
        ),
        "norms of parameters' gradients": max(abs(m.norm / n.norm - 1) for m, n in pairs[True]),
        "means and deviations, as parts of the root mean square": max(
            max(abs(m.mean - n.mean), abs(m.std - n.std)) / np.hypot(n.mean, n.std) for m, n in layers
        ),
        "share of zeros": max(abs(m.zeros - n.zeros) for m, n in layers),
        "loss": abs(a.loss - b.loss) / b.loss,
    }


found = {"step": step_time, "difference": difference, "recording": recording}[options.mode]()
if comm.rank == 0:
    report(**found, ranks=comm.size, version=version)
