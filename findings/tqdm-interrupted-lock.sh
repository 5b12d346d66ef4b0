#!/usr/bin/env bash
# tqdm 4.70.1: Ctrl-C while a bar is being redrawn leaves tqdm's lock held for good, since `refresh` takes it without a
# `finally`. The main thread notices nothing, because the lock is re-entrant and its own. Every other thread that then
# updates a bar of its own waits for ever, closing the interrupted bar does not help, and nothing is printed. A bar
# redraws itself ten times a second by default, so few interrupts meet it; here it is redrawn at each update.
# One would have guessed that leaving the `with` block of a bar also leaves its lock.
#
# Fails if, after 200 interrupts, another thread can still take the lock.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet tqdm==4.70.1
"$work/venv/bin/python" - <<'PY'
import _thread
import io
import random
import sys
import threading

import tqdm


def free(lock):
    """Whether another thread can take the lock."""
    answers = []

    def ask():
        answers.append(lock.acquire(blocking=False))
        if answers[0]:
            lock.release()

    other = threading.Thread(target=ask)
    other.start()
    other.join()
    return answers[0]


lock, moments = tqdm.tqdm.get_lock().locks[-1], random.Random(0)  # the one among threads
for interrupts in range(200):
    if not free(lock):
        break
    try:
        with tqdm.tqdm(file=io.StringIO(), mininterval=0) as bar:
            threading.Timer(moments.uniform(1e-3, 5e-3), _thread.interrupt_main).start()
            while True:
                bar.update()
    except KeyboardInterrupt:
        pass
print("tqdm", tqdm.__version__, "Python", sys.version.split()[0], end=": ")
print(f"the lock is {'free' if free(lock) else 'held for good'} after {interrupts + free(lock)} interrupts")
sys.exit(free(lock))
PY
