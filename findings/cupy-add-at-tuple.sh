#!/usr/bin/env bash
# CuPy 14.2.0: np.add.at(x, key, values) on CuPy's arrays is answered for a key that is one array, but not for a tuple,
# such as x[rows, columns] has: there CuPy's __array_ufunc__ returns NotImplemented, from which NumPy makes a TypeError.
# cupy.add.at takes both.
# One would have guessed that NumPy's function is handed on to CuPy's whenever that can do it. No GPU is needed to see
# it: the arrays below lie in the host's memory, and what CuPy accepts ends with its complaint that there is no driver.
#
# Fails if a tuple is answered, or an array is not.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet cupy-cuda13x==14.2.0 numpy==2.4.6
CUDA_VISIBLE_DEVICES="" "$work/venv/bin/python" - <<'PY'
import warnings

warnings.simplefilter("ignore")
import cupy
import numpy as np

host = np.zeros(64)
memory = cupy.cuda.UnownedMemory(host.ctypes.data, host.nbytes, host, 0)


def array(shape, dtype):
    return cupy.ndarray(shape, dtype, cupy.cuda.MemoryPointer(memory, 0))


def answer(x, key, values):
    try:
        return cupy.ndarray.__array_ufunc__(x, np.add, "at", x, key, values)
    except cupy.cuda.runtime.CUDARuntimeError:
        return "accepted"


x, key, values = array((8,), np.float32), array((2,), np.int64), array((2,), np.float32)
found = [answer(x, key, values), answer(x, (key,), values)]
print("cupy", cupy.__version__, "numpy", np.__version__, "an array:", found[0], "a tuple:", found[1])
assert found == ["accepted", NotImplemented]
PY
