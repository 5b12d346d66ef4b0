#!/usr/bin/env bash
# mpi4py 4.1.2: Allreduce adds arrays in the order they have in memory. If one rank's is in Fortran order, such as a
# transposed one, the sum holds other numbers in other places, and nothing is said; arrays that are contiguous in neither
# order are refused. NumPy's own sum of the same arrays is right.
# One would have guessed that entries are added by their index, or that ranks with different orders are refused.
#
# Fails if the sum is right, or an error is raised.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet mpi4py==4.1.2 mpich==5.0.2 numpy==2.4.6
cat >"$work/order.py" <<'PY'
import numpy as np
from mpi4py import MPI

world = MPI.COMM_WORLD
a = np.arange(6.0).reshape(2, 3)
mine = np.asfortranarray(a) if world.rank == 1 else a
total = np.empty_like(a)
world.Allreduce(mine, total)
if world.rank == 0:
    print("each rank has", a.tolist(), "one of them in Fortran order; their sum:", total.tolist())
    assert not np.array_equal(total, 2 * a)
    assert np.array_equal(total.ravel(), a.ravel() + a.ravel("F"))
try:
    world.Allreduce(np.zeros((2, 6))[:, ::2], total)
    raise SystemExit("an array with gaps is taken")
except (BufferError, ValueError) as error:
    if world.rank == 0:
        print("an array with gaps:", error)
PY
timeout 60 "$work/venv/bin/mpiexec" -n 2 "$work/venv/bin/python" "$work/order.py"
