"""The machine's two ceilings, as NumPy reaches them: float32 products and copying memory, on all threads and on one."""

import os
import sys

from common import cores, report

quick, threads = "--quick" in sys.argv, cores()
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(threads)

import statistics  # noqa: E402
import time  # noqa: E402
from concurrent.futures import ThreadPoolExecutor  # noqa: E402

import numpy as np  # noqa: E402
import threadpoolctl  # noqa: E402


def seconds_of(function, repeats):
    """Seconds of each call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return times


def best_of(function, repeats):
    return min(seconds_of(function, repeats))


n = 2048
a, b = (np.random.default_rng(i).random((n, n), np.float32) for i in range(2))
product = np.empty((n, n), np.float32)
repeats = 3 if quick else 10
np.matmul(a, b, out=product)
products = seconds_of(lambda: np.matmul(a, b, out=product), repeats)
with threadpoolctl.threadpool_limits(1, "blas"):
    sgemm_one = 2 * n**3 / best_of(lambda: np.matmul(a, b, out=product), repeats) / 1e9

source = np.ones(1 << 26, np.float32)  # 256 MB, far beyond any cache
target = np.zeros_like(source)
cuts = [slice(i * source.size // threads, (i + 1) * source.size // threads) for i in range(threads)]


def copy(pool):
    list(pool.map(lambda cut: np.copyto(target[cut], source[cut]), cuts))


with ThreadPoolExecutor(threads) as pool:
    copy(pool)
    bandwidth = 2 * source.nbytes / best_of(lambda: copy(pool), repeats) / 1e9
bandwidth_one = 2 * source.nbytes / best_of(lambda: np.copyto(target, source), repeats) / 1e9
report(
    sgemm_gflops=2 * n**3 / min(products) / 1e9,
    sgemm_median_gflops=2 * n**3 / statistics.median(products) / 1e9,
    sgemm_one_thread_gflops=sgemm_one,
    copy_gbs=bandwidth,  # bytes read and bytes written
    copy_one_thread_gbs=bandwidth_one,
    threads=threads,
    version=f"NumPy {np.__version__}",
)
