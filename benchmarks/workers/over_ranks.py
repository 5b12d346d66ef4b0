"""A training step of a ResNet over MPI ranks, one thread each: its time, what is sent, and how far gradients differ.

``over_ranks.py CASE step --ranks 2 --batch-norm sync`` starts mpiexec itself. ``--difference``: how far the gradient at
initialisation is from that of one process with the whole batch, on the digits, in float64.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

RANKS = int(sys.argv[sys.argv.index("--ranks") + 1])
if "PMI_RANK" not in os.environ:  # not started by mpiexec yet
    beside = Path(sys.executable).parent / "mpiexec"
    mpiexec = str(beside) if beside.exists() else shutil.which("mpiexec")
    if mpiexec is None:
        sys.exit("there is no mpiexec: python -m pip install -e '.[mpi]'")
    command = [mpiexec, "-n", str(RANKS), sys.executable, *sys.argv]
    sys.exit(subprocess.run(command, check=False, timeout=800).returncode)

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # read when NumPy is imported
    os.environ[variable] = "1"

import argparse  # noqa: E402
import statistics  # noqa: E402
import warnings  # noqa: E402

import numpy as np  # noqa: E402
from common import CASES, peak_mb, report  # noqa: E402
from mpi4py import MPI  # noqa: E402

import minires as mr  # noqa: E402
from minires import optim  # noqa: E402
from minires.nn import functional as F  # noqa: E402
from minires.ranks import Ranks, wire  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("name", choices=CASES)
parser.add_argument("mode", choices=["step", "difference"])
parser.add_argument("--ranks", type=int)
parser.add_argument("--batch", type=int)
parser.add_argument("--batch-norm", choices=["local", "sync"], default="sync")
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
        sent = dict(sent)  # of the last step
    return {
        "ms": 1e3 * statistics.median(times),
        "average_ms": 1e3 * statistics.median(sums),
        **{f"{name}_sent": n for name, n in sent.items()},
        "peak_mb": peak_mb(),
        "threads": 1,
    }


found = step_time() if options.mode == "step" else difference()
if comm.rank == 0:
    report(**found, ranks=comm.size, version=version)
