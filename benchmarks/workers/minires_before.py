"""``minires compare`` as a whole process, or a path spectrum of 27 blocks, in whatever checkout PYTHONPATH names."""

import argparse
import subprocess
import sys
import tempfile
import time

from common import report

parser = argparse.ArgumentParser()
parser.add_argument("what", choices=["compare", "spectrum"])
parser.add_argument("--quick", action="store_true")
options = parser.parse_args()


def compare():
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "minires", "compare", "--quiet", "--out", folder]
        command += ["--depth", "8", "--epochs", "1"] * options.quick
        start = time.perf_counter()
        subprocess.run(command, check=True, cwd=folder, capture_output=True)  # elsewhere: Python looks here first
        return time.perf_counter() - start


def spectrum():
    import minires as mr

    mr.manual_seed(0)
    model = mr.models.resnet_cifar(56, in_channels=1, width=8)
    images, labels = mr.data.digits()[0][:64]
    times = []
    for _ in range(2 if options.quick else 6):
        start = time.perf_counter()
        mr.flow.path_spectrum(model, mr.Tensor(images), mr.Tensor(labels), progress=False)
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[len(times) // 2 - 1]


seconds = {"compare": compare, "spectrum": spectrum}[options.what]()
import minires  # noqa: E402

report(ms=1e3 * seconds, version=f"minires {minires.__version__}")
