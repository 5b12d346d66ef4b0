#!/usr/bin/env bash
# Dask 2026.8.0 (distributed): `Client(address, timeout=2)` waits without end where something takes the connection and
# says nothing: another server's port, a tunnel whose far end is gone, a scheduler that hangs. `distributed.comm.connect`
# spends its timeout on the connection alone; the greeting that follows is awaited without one.
# One would have guessed that the timeout ends it, as the documentation has it: "Timeout duration for initial connection
# to the scheduler". Where nothing listens at all, it does.
#
# Fails if the client gives up within 20 seconds, or if it does not where nothing listens.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet "distributed==2026.8.0" "dask==2026.8.0"
cat >"$work/silent.py" <<'PY'
import os
import socket
import threading
import time

import distributed


def seconds(port, found):
    start = time.monotonic()
    try:
        distributed.Client(f"tcp://127.0.0.1:{port}", timeout=2, set_as_default=False)
    except OSError:
        found.append(time.monotonic() - start)


def within(port, limit):
    """The seconds until the client gives up, or None if it has not within the limit."""
    found = []
    thread = threading.Thread(target=seconds, args=(port, found), daemon=True)
    thread.start()
    thread.join(limit)
    return round(found[0], 1) if found else None


silent = socket.create_server(("127.0.0.1", 0))
with socket.create_server(("127.0.0.1", 0)) as free:
    nobody = free.getsockname()[1]
told = {"nothing listens": within(nobody, 60), "silence": within(silent.getsockname()[1], 20)}
print("distributed", distributed.__version__, "seconds until Client(timeout=2) gives up:", told, flush=True)
os._exit(0 if told["nothing listens"] is not None and told["silence"] is None else 1)
PY
cd "$work"
timeout 150 "$work/venv/bin/python" silent.py
