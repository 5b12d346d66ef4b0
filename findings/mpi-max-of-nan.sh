#!/usr/bin/env bash
# mpi4py 4.1.2 with MPICH 5.0.2: Allreduce with MAX or MIN leaves each rank with another answer, if one rank gave a NaN.
# Of two ranks, the one that gave it gets the other's number, and the other gets the NaN. Of four, numbers come out that
# are neither the largest nor NaN. SUM gives NaN on all of them.
# One would have guessed that all ranks get the same, as MPI promises for the reductions of its standard; so ranks that
# ask by MAX whether a loss has diverged do not leave their loop together. A SUM of `not isfinite` is safe.
#
# Fails if all ranks agree, or SUM is not NaN everywhere.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet mpi4py==4.1.2 mpich==5.0.2 numpy==2.4.6
cat >"$work/reduce.py" <<'PY'
import numpy as np
from mpi4py import MPI

world = MPI.COMM_WORLD
mine = np.array([np.nan if world.rank == world.size - 1 else float(world.rank)])
for name, op in {"MAX": MPI.MAX, "MIN": MPI.MIN, "SUM": MPI.SUM}.items():
    answer = np.empty(1)
    world.Allreduce(mine, answer, op)
    answers = world.gather(answer.item())
    if world.rank == 0:
        print(f"{world.size} ranks, the last gives NaN, {name}: {answers}")
        if name == "SUM":
            assert np.isnan(answers).all()
        else:
            assert len({str(a) for a in answers}) > 1
PY
for ranks in 2 4; do
    timeout 60 "$work/venv/bin/mpiexec" -n "$ranks" "$work/venv/bin/python" "$work/reduce.py"
done
