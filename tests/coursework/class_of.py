"""Make a class of any size, and measure how it is graded: time, memory, and what is left behind (Linux).

    python tests/coursework/class_of.py 200 [minires grade's options]

The mix, from a fixed seed: right solutions, known mistakes, hostile ones, and what cannot be graded, in containers of
all kinds. Most of the hostile ones come in few copies, as in a class.
"""

import io
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

NAME = "conv2d"
SOURCE = (Path(__file__).with_name("solutions") / f"{NAME}.py").read_text(encoding="utf-8")
MISTAKES = [
    ("grad_y.sum((0, 2, 3))", "grad_y.mean((0, 2, 3))"),
    ("grad_y.sum((0, 2, 3))", "None"),
    ("grad_y, weight[:, :, i, j]", "grad_y, weight[:, :, -1 - i, -1 - j]"),
    ("bias is None", "True"),
]
HOSTILE = {
    "hangs while loading": "while True: pass\n",
    "ends while loading": "import os; os._exit(0)\n",
    "raises while loading": "raise ValueError('long ' * 10**6)\n",
    "floods": "print('x' * 10**6)\n" * 5 + SOURCE,
    "takes memory": SOURCE.replace("    if bias", "    a = np.ones(2**31)\n    if bias"),
    "kills the keeper": "import os, signal\nos.kill(os.getppid(), 9)\n" + SOURCE,
    "leaves a process": "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; "
    "time.sleep(600)'], start_new_session=True)\n" + SOURCE,
    "leaves files": "open('left', 'w').write('x' * 10**7)\n" + SOURCE,
}
BROKEN = {
    "notes.txt": b"sorry",
    "conv2d.py": b"%PDF-1.7",
    "hand-in.zip": b"PK\3\4 half of it",
    "conv2d.ipynb": b'{"nbformat": 4, "cells": [',
}


def contained(folder: Path, source: str, kind: int) -> None:
    """Write a source as a script, in a subfolder, in an archive, or as a notebook."""
    if kind == 0:
        (folder / f"{NAME}.py").write_text(source)
    elif kind == 1:
        (folder / "week 3").mkdir()
        (folder / "week 3" / "hw (1).py").write_text(source)
        (folder / "week 3" / "._hw (1).py").write_bytes(b"\0\5\26\7")
    elif kind == 2:
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            archive.writestr(f"solution/{NAME}.py", source)
        (folder / "hand-in.zip").write_bytes(data.getvalue())
    else:
        cell = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": source}
        (folder / f"{NAME}.ipynb").write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4}))


def make(top: Path, count: int) -> None:
    """Write ``count`` submissions: 60 % right, 25 % with a mistake, 10 % hostile, 5 % that cannot be graded."""
    rng = random.Random(0)
    for i in range(count):
        folder = top / f"student {i:03}"
        folder.mkdir(parents=True)
        place = i % 20
        if place < 12:
            contained(folder, SOURCE, rng.randrange(4))
        elif place < 17:
            right, wrong = MISTAKES[(i // 20 + place) % len(MISTAKES)]
            contained(folder, SOURCE.replace(right, wrong), rng.randrange(4))
        elif place < 19:
            contained(folder, list(HOSTILE.values())[(i // 20 * 2 + place - 17) % len(HOSTILE)], 0)
        else:
            name, data = list(BROKEN.items())[i // 20 % len(BROKEN)]
            (folder / name).write_bytes(data)


def processes(mark: str) -> dict[int, int]:
    """Memory in kB of each process with this text in its environment, shared pages counted once (PSS)."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                rollup = (process / "smaps_rollup").read_text()
                found[int(process.name)] = int(rollup.partition("Pss:")[2].split()[0])
        except (OSError, ValueError, IndexError):
            continue
    return found


def main(count: int, options: list[str]) -> None:
    """Grade the class, and print what it took."""
    with tempfile.TemporaryDirectory(prefix="class-") as work:
        top, own = Path(work, "class"), Path(work, "tmp")
        make(top, count)
        own.mkdir()
        command = [sys.executable, "-m", "minires", "grade", str(top), "--assignment", NAME, "--hidden", "--seed", "7"]
        started, peak = time.monotonic(), 0
        with open(Path(work, "log"), "w") as log:
            process = subprocess.Popen([*command, *options], env=os.environ | {"TMPDIR": str(own)}, stdout=log)
            while process.poll() is None:
                peak = max(peak, sum(processes(str(own)).values()))
                time.sleep(0.2)
        seconds = time.monotonic() - started
        time.sleep(0.5)
        print(Path(work, "log").read_text()[-1500:])
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"{count} submissions: {seconds:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of computing, at most "
              f"{peak / 1024:.0f} MB, exit code {process.returncode}")  # fmt: skip
        print(f"left behind: {len(processes(str(own)))} processes, {len(list(own.iterdir()))} files")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
