#!/usr/bin/env bash
# NumPy 2.4.6 (OpenBLAS 0.3.31 in its wheel), x86-64 with AVX-512: a float32 product with few rows is about twice as fast,
# per multiplication, if it has at most 10⁶ multiply-adds. (16 × 48)·(48 × 1024), 786,432 of them, runs at 75 to 105
# GFLOP/s on one core of an AMD EPYC; with 4,096 columns, 3,145,728 of them, at 35 to 45. All operands of the
# second are 1 MB together; float64 has the same step, less high. Below the limit OpenBLAS's kernel for small
# matrices reads the operands where they lie, above it the general one copies them first.
# Cutting the second product into four quarters, by hand, makes it twice as fast.
# One would have guessed that a larger product is at least as efficient as its parts.
#
# Fails if a product of 4,096 columns is no longer at least 1.4 times as slow as its four quarters.
set -euo pipefail
grep -q avx512f /proc/cpuinfo || { echo "skipped: this processor has no AVX-512"; exit 0; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet numpy==2.4.6 threadpoolctl==3.6.0
OPENBLAS_NUM_THREADS=1 "$work/venv/bin/python" - <<'PY'
import statistics
import sys
import time

import numpy as np
import threadpoolctl

(blas,) = threadpoolctl.threadpool_info()
print("NumPy", np.__version__, blas["internal_api"], blas["version"], blas["architecture"])
a = np.ones((16, 48), np.float32)
b = np.ones((48, 4096), np.float32)
c = np.empty((16, 4096), np.float32)


def whole():
    np.matmul(a, b, out=c)


def quarters():
    for start in range(0, 4096, 1024):
        np.matmul(a, b[:, start : start + 1024], out=c[:, start : start + 1024])


times = {whole: [], quarters: []}
for _ in range(300):  # in turn, so that a slow moment of the machine meets both
    for function, seen in times.items():
        start = time.perf_counter()
        for _ in range(10):
            function()
        seen.append((time.perf_counter() - start) / 10)
whole_s, quarters_s = (statistics.median(seen) for seen in times.values())
flop = 2 * a.shape[0] * b.size
print(f"whole {1e6 * whole_s:.0f} us = {flop / whole_s / 1e9:.0f} GFLOP/s, quarters {1e6 * quarters_s:.0f} us = ", end="")
print(f"{flop / quarters_s / 1e9:.0f} GFLOP/s: {whole_s / quarters_s:.2f} times")
sys.exit(whole_s < 1.4 * quarters_s)
PY
