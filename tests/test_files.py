"""Files that are whole or absent: links, permissions, what a kill leaves, full disks, and locks."""

import contextlib
import errno
import os
import random
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from processes import ENVIRONMENT

from minires import files
from minires.csv_files import write_csv
from minires.files import locked, remove_abandoned, replacing
from minires.train import Checkpoint

posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX")


def write(path, text="new"):
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# ── links and permissions ──


@posix
def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "run.npz").write_text("old", encoding="utf-8")
    (tmp_path / "run.npz").symlink_to("disk/run.npz")
    (tmp_path / "twice.npz").symlink_to("run.npz")
    (tmp_path / "ahead.npz").symlink_to("disk/none-yet.npz")
    for link, target in {"run.npz": "run.npz", "twice.npz": "run.npz", "ahead.npz": "none-yet.npz"}.items():
        write(tmp_path / link, link)
        assert (tmp_path / link).is_symlink() and (tmp_path / "disk" / target).read_text(encoding="utf-8") == link
    assert names(tmp_path / "disk") == ["none-yet.npz", "run.npz"]


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o666, 0o444, 0o755])
def test_permissions_stay(tmp_path, mode):
    path = tmp_path / "run.npz"
    path.touch()
    path.chmod(mode)
    with replacing(path) as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == mode | 0o600  # never more readable than the file itself
        temporary.write_text("new", encoding="utf-8")
    assert stat.S_IMODE(path.stat().st_mode) == mode


@posix
@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root may give files away")
def test_group_and_owner_stay(tmp_path):
    """Otherwise a file that one group may read would be open to another."""
    path = tmp_path / "run.npz"
    path.touch()
    os.chown(path, 1234, 4321)
    path.chmod(0o640)
    with replacing(path) as temporary:
        status = temporary.stat()
        assert (status.st_uid, status.st_gid) == (1234, 4321)
    status = path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1234, 4321, 0o640)


@posix
def test_a_file_of_a_group_and_owner_that_cannot_be_given_is_written(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "chown", refuse)
    path = tmp_path / "run.npz"
    path.touch()
    write(path)
    assert path.read_text(encoding="utf-8") == "new"


@posix
def test_a_new_file_has_the_permissions_that_open_gives(tmp_path):
    before = os.umask(0o027)
    try:
        write(tmp_path / "run.npz")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "run.npz").stat().st_mode) == 0o640


@posix
def test_what_is_no_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(OSError, match=rf"exists and is not a file; choose another name.*{name}"):
            write(tmp_path / name)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


# ── what a kill leaves ──

WRITER = """
import sys
from minires.files import replacing
with replacing(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print("writing", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def writer(path):
    """A process in the middle of writing this file."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], **pipes) as process:
        assert process.stdout is not None and process.stdout.readline().strip() == b"writing"
        yield process
        process.kill()


def test_what_a_killed_write_left_goes_with_the_next_and_what_is_written_stays(tmp_path):
    path = tmp_path / "run.npz"
    with writer(path) as killed:
        killed.kill()
        killed.wait()
        assert len(names(tmp_path)) == 1
        with writer(path) as alive:
            (held,) = names(tmp_path)  # the killed one's is gone
            write(path)
            remove_abandoned(path)
            assert names(tmp_path) == [held, "run.npz"]
            alive.communicate(b"go on")
            assert alive.returncode == 0
    assert names(tmp_path) == ["run.npz"] and path.read_text(encoding="utf-8") == "half"


def test_only_our_own_leftovers_are_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    keep = [".run.npz", ".run.old.npz", f".run2.{ended.pid}.npz", f".run.{ended.pid}.npy", f"run.{ended.pid}.npz"]
    keep += [f".run.{os.getpid()}.npz"]  # of a version without locks, which is alive
    gone = [f".run.{ended.pid}.npz", f".run.{ended.pid}-0123abcd.npz", f".run.{os.getpid()}-0123abcd.npz"]
    for name in keep + gone:
        (tmp_path / name).touch()
    (tmp_path / f".run.{ended.pid}-99999999.npz").mkdir()
    write(tmp_path / "run.npz")
    assert names(tmp_path) == sorted([*keep, "run.npz", f".run.{ended.pid}-99999999.npz"])


SAVER = """
import sys, numpy as np
from minires.train import Checkpoint
for k in range(10**9):
    Checkpoint({"w": np.full(200_000, k, np.float32)}, extra={"k": k}).save(sys.argv[1])
    print(k, flush=True)
"""


def killed_saves(path, kills: int, seed: int = 0) -> int:
    """Kill processes that save all the time; each time the file is whole. Returns how often one left something."""
    rng, left = random.Random(seed), 0
    for _ in range(kills):
        with subprocess.Popen([sys.executable, "-c", SAVER, str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stdout.readline()
            time.sleep(rng.uniform(0, 0.02))
            process.kill()
        left += len(names(path.parent)) > 1
        checkpoint = Checkpoint.load(path)
        assert (checkpoint.model["w"] == checkpoint.extra["k"]).all()
        assert len(names(path.parent)) <= 2  # this kill's, and none from before
    return left


def test_killed_saves_leave_a_whole_file_and_nothing_for_ever(tmp_path):
    killed_saves(tmp_path / "run.npz", 5)
    remove_abandoned(tmp_path / "run.npz")
    assert names(tmp_path) == ["run.npz"]


@pytest.mark.thorough
def test_many_killed_saves_leave_a_whole_file_and_nothing_for_ever(tmp_path):
    assert killed_saves(tmp_path / "run.npz", 60, seed=1) > 5  # else none was killed in the middle
    remove_abandoned(tmp_path / "run.npz")
    assert names(tmp_path) == ["run.npz"]


def test_threads_may_write_the_same_file(tmp_path):
    texts = [f"{k}" * 1000 for k in range(8)]
    threads = [threading.Thread(target=write, args=(tmp_path / "a.txt", text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text(encoding="utf-8") in texts


def test_an_error_names_the_file_and_not_the_temporary_one(tmp_path):
    path = tmp_path / "no folder" / "run.npz"
    with pytest.raises(FileNotFoundError) as caught:
        write(path)
    assert caught.value.filename == str(path) and str(path) in str(caught.value)


# ── as Windows replaces files ──


@pytest.fixture
def windows(monkeypatch):
    """A system that replaces no file that is open, be it the old one or the new one."""
    if not os.path.exists("/proc/self/fd"):
        pytest.skip("only Linux tells which files are open")

    def refuse(source, target, replace=os.replace):
        held = [os.path.realpath(f"/proc/self/fd/{handle}") for handle in os.listdir("/proc/self/fd")]
        if any(os.path.realpath(path) in held for path in (source, target)):
            raise PermissionError(errno.EACCES, "Access is denied", str(source), 5, str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(sys, "platform", "win32")


def test_a_file_that_a_virus_scanner_looks_at_is_replaced_afterwards(windows, tmp_path):
    path = tmp_path / "run.npz"
    write(path, "old")
    file = open(path)
    threading.Timer(0.15, file.close).start()
    write(path)
    assert path.read_text(encoding="utf-8") == "new" and names(tmp_path) == ["run.npz"]


def test_several_files_are_written_whole_or_not_at_all_by_functions_that_replace_one(windows, tmp_path):
    for text in ("old", "new"):
        with replacing(tmp_path / "a.csv") as a, replacing(tmp_path / "b.csv") as b:
            write(a, text)
            write_csv(b, [text], [])
            assert len(names(tmp_path)) == (2 if text == "old" else 4)
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a.csv") as a:
        write(a, "half")
        1 / 0  # noqa: B018
    assert names(tmp_path) == ["a.csv", "b.csv"]
    assert (tmp_path / "a.csv").read_text() == "new" and (tmp_path / "b.csv").read_text().strip() == "new"


def test_a_file_that_stays_open_is_named_and_stays_as_it_was(windows, monkeypatch, tmp_path):
    monkeypatch.setattr(files, "PATIENCE", 0.0)
    path = tmp_path / "run.csv"
    write(path, "old")
    with open(path), pytest.raises(PermissionError, match=r"Close it there, or choose .*run\.csv") as caught:
        write(path)
    assert caught.value.filename == str(path) and path.read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["run.csv"]


# ── full disks ──

FULL = """
import resource, signal, sys, numpy as np
from minires.train import Checkpoint
sys.dont_write_bytecode = True  # Python would keep the part that fits
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an error instead of a signal
for size in map(int, sys.argv[2:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, -1))
    try:
        Checkpoint({"w": np.ones(50_000), "v": np.ones(3)}).save(sys.argv[1])
    except OSError as error:
        print(error)
"""


@posix
def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path):
    path, sizes = tmp_path / "run.npz", [0, 100, 5000, 100_000, 400_500]
    Checkpoint({"w": np.zeros(3)}).save(path)
    before = path.read_bytes()
    command = [sys.executable, "-c", FULL, str(path), *map(str, sizes)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == len(sizes) and done.stderr == ""
    assert all("what was there before is unchanged. Free some space" in line and str(path) in line for line in lines)
    assert path.read_bytes() == before and names(tmp_path) == ["run.npz"]


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_small_disk_that_is_really_full(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(disk)], check=False).returncode:
        pytest.skip("cannot mount here")
    try:
        Checkpoint({"w": np.zeros(1000)}).save(disk / "run.npz")
        before = (disk / "run.npz").read_bytes()
        with pytest.raises(OSError, match=r"No space left.*or choose another folder.*run\.npz"):
            Checkpoint({"w": np.zeros(50_000)}).save(disk / "run.npz")
        assert (disk / "run.npz").read_bytes() == before and names(disk) == ["run.npz"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# ── locks ──

HOLDER = """
import sys
from pathlib import Path
from minires import files
from minires.files import locked
with locked(Path(sys.argv[1]), "waiting for another"):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], **pipes)


def test_a_lock_is_held_by_one_process_and_ends_with_it(tmp_path):
    path = tmp_path / "lock"
    with holder(path) as first, holder(path) as second:
        for process in (first, second):
            assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        ready = {p.stdout: p for p in (first, second)}
        held = []
        threads = [threading.Thread(target=lambda out=out: held.append((out, out.readline()))) for out in ready]
        for thread in threads:
            thread.start()
        while not held:
            time.sleep(0.01)
        one = ready[held[0][0]]
        other = second if one is first else first
        assert other.stderr.readline() == b"waiting for another\n" and len(held) == 1
        one.send_signal(signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
        while len(held) < 2:  # the other has it now
            time.sleep(0.01)
        other.communicate(b"")
        for thread in threads:
            thread.join()
    assert names(tmp_path) == []


def test_threads_take_turns(tmp_path, capfd):
    inside, most = [], []

    def work():
        with locked(tmp_path / "lock", "waiting"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 4 and names(tmp_path) == []
    assert "waiting" in capfd.readouterr().err


def test_an_error_after_a_full_disk_is_not_taken_for_one(tmp_path):
    try:
        raise OSError(errno.ENOSPC, "no space left")
    except OSError:
        with pytest.raises(ValueError, match="bad value"), files.replacing(tmp_path / "elsewhere"):
            raise ValueError("bad value") from None


AS_NOBODY = """
import os, sys
from pathlib import Path
from minires.files import locked
os.setuid(65534)
theirs, nobodys = map(Path, sys.argv[1:])
for _ in range(2):
    with locked(theirs, "waiting"):
        pass
try:
    with locked(nobodys, "waiting"):
        pass
except PermissionError as error:
    print("refused", error.filename)
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else")
def test_a_lock_file_of_somebody_else_can_be_held_and_one_that_cannot_be_made_is_named():
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to others
        os.chmod(folder, 0o755)
        sticky = Path(folder) / "sticky"  # where only its owner may remove a file
        sticky.mkdir()
        sticky.chmod(0o1777)
        (sticky / "a.lock").touch(0o644)
        command = [sys.executable, "-c", AS_NOBODY, sticky / "a.lock", f"{folder}/b.lock"]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
        assert (done.stdout, done.stderr) == (f"refused {folder}/b.lock\n", "")
