#!/usr/bin/env bash
# NumPy 2.4.6, CPython 3.11 and 3.13 with the interpreter lock: `np.matmul` and `np.vecdot` keep the lock during the whole
# product if the result has 500 entries or fewer, however much there is to multiply. (1 × 20,000)·(20,000 × 500),
# ten million multiply-adds, lets no other thread run; with 501 columns others run from the beginning.
# So does the inner product of two rows of a million numbers: with `@` and `np.vecdot` the lock is kept, with
# `ndarray.dot`, which computes the same by the same BLAS function, it is released.
# NumPy lets go of the lock in long calls; one would have guessed that what counts as long is the work, not the result.
# Two threads that measure large arrays in this way wait for each other, and take longer than one alone.
#
# Fails if another thread runs during a product that keeps the lock, or does not during one that releases it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet numpy==2.4.6
OPENBLAS_NUM_THREADS=1 "$work/venv/bin/python" - <<'PY'
import sys
import threading
import time

import numpy as np

if not getattr(sys, "_is_gil_enabled", lambda: True)():
    print("skipped: this Python has no interpreter lock")
    sys.exit()
sys.setswitchinterval(1000)  # the lock changes hands only where somebody lets go of it
turns, over = 0, False


def other():
    global turns
    while not over:
        turns += 1
        time.sleep(0)


def turns_during(product):
    """How often the other thread ran during forty products."""
    total = 0
    for _ in range(40):
        before = turns
        product()
        total += turns - before
    return total


row, columns, long = (np.ones(shape, np.float32) for shape in [(1, 20_000), (20_000, 501), 1_000_000])
few, many = columns[:, :500].copy(), columns
expected = {
    "matmul, 500 results": (lambda: np.matmul(row, few), False),
    "matmul, 501 results": (lambda: np.matmul(row, many), True),
    "dot, 500 results": (lambda: row.dot(few), True),
    "vecdot of two rows": (lambda: np.vecdot(long, long), False),
    "matmul of two rows": (lambda: long @ long, False),
    "dot of two rows": (lambda: long.dot(long), True),
}
print("NumPy", np.__version__, "Python", sys.version.split()[0])
threading.Thread(target=other, daemon=True).start()
wrong = 0
for name, (product, released) in expected.items():
    seen = turns_during(product)
    print(f"{name}: the other thread ran {seen} times")
    wrong += (seen > 0) != released
over = True
sys.exit(wrong)
PY
