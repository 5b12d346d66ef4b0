#!/usr/bin/env bash
# Dask 2026.8.0 (distributed): the concurrent.futures executor of a client, `Client.get_executor()`, runs equal calls
# once. Ten times `executor.submit(measure)` are one call, whose result all ten futures get; with
# `get_executor(pure=False)` they are ten. ProcessPoolExecutor runs each.
# One would have guessed that an Executor runs what is submitted, as often as it is: repetitions of a measurement, or of
# a training with fresh random numbers, come back with a spread of 0.
#
# Fails if equal calls are run separately by default, or still only once with pure=False.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet "distributed==2026.8.0" "dask==2026.8.0"
cat >"$work/equal.py" <<'PY'
import os
import random
from concurrent.futures import ProcessPoolExecutor

import distributed


def measure():
    return random.Random(os.urandom(8)).random()


def different(executor):
    """How many different numbers ten equal calls give."""
    return len({future.result() for future in [executor.submit(measure) for _ in range(10)]})


def main():
    with ProcessPoolExecutor(2) as executor:
        found = {"ProcessPoolExecutor": different(executor)}
    with distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster:
        with distributed.Client(cluster) as client:
            found["get_executor()"] = different(client.get_executor())
            found["get_executor(pure=False)"] = different(client.get_executor(pure=False))
    print("distributed", distributed.__version__, "different numbers of ten calls:", found)
    assert list(found.values()) == [10, 1, 10]


if __name__ == "__main__":
    main()
PY
cd "$work"
timeout 120 "$work/venv/bin/python" equal.py
