"""Files that are either whole or not there: written under a temporary name, then renamed. And locks between processes.

A temporary file is held open, and locked, while it is written. So one that nobody holds was left by a process that was
killed, whatever the process number in its name: numbers are reused, and other machines and containers have their own.
"""

import contextlib
import errno
import os
import re
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from .blocks import contextmanager

try:
    from fcntl import LOCK_EX, LOCK_NB, flock
except ImportError:  # on Windows, where a file cannot be removed while it is open; or in a browser, with one process
    flock = None  # type: ignore[assignment]

PATIENCE = 2.0  # seconds in which somebody else may close a file that Windows does not let us replace
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no space, no quota, beyond the largest size allowed

_temporary: set[Path] = set()  # what this process is writing now, inside `replacing`


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path in the same folder; the file written there replaces ``path`` if the block succeeds.

    After an exception, the temporary file is removed and ``path`` is as it was. After a kill, the next call for this
    path removes it. A link stays a link, and the file keeps its permissions and, as far as the system allows, its group
    and owner. The temporary path of an enclosing block is given as it is: that block replaces the file. Raises OSError,
    which names the file and says what to do, if the disk is full, something other than a file has this name, or, on
    Windows, it is read-only or stays open in another program.
    """
    target = Path(os.path.realpath(path))
    if target in _temporary:
        yield target
        return
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "exists and is not a file; choose another name", str(path))
    remove_abandoned(target)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}-{os.urandom(4).hex()}{target.suffix}")
    handle, earlier = None, sys.exception()  # what is being handled where the block stands
    try:
        handle = _create(temporary)
        _temporary.add(temporary)
        mode = None
        if target.exists() and sys.platform != "win32":  # before there is anything to read
            mode = stat.S_IMODE(target.stat().st_mode)
            _give(temporary, target.stat())
            os.chmod(temporary, mode | stat.S_IRUSR | stat.S_IWUSR)
        yield temporary
        if mode is not None:
            os.chmod(temporary, mode)
        os.fsync(handle)
        if sys.platform == "win32":  # where no file can be renamed while it is open
            os.close(handle)
            handle = None
        _rename(temporary, target)
        _sync_folder(target.parent)
    except Exception as error:
        if full := _disk_full(error, earlier):
            text = f"{os.strerror(full)}: not written, and what was there before is unchanged. Free some space (or ask"
            raise OSError(full, f"{text} for a larger quota), or choose another folder", str(path)) from error
        if isinstance(error, OSError) and error.filename in (temporary, str(temporary)):
            error.filename = str(path)  # the only name that the caller knows
        raise
    finally:
        if handle is not None:
            os.close(handle)
        temporary.unlink(missing_ok=True)
        _temporary.discard(temporary)


def remove_abandoned(path: str | os.PathLike) -> None:
    """Remove the temporary files of `replacing` for this path that no process holds: their writers were killed."""
    target = Path(os.path.realpath(path))
    ours = re.compile(rf"\.{re.escape(target.stem)}\.(\d{{1,9}})(-[0-9a-f]{{8}})?{re.escape(target.suffix)}")
    with contextlib.suppress(OSError):  # the folder may not exist, or not be readable
        for name in os.listdir(target.parent):  # not scandir: Ctrl-C would leave its handle open
            found = ours.fullmatch(name)
            # Up to version 0.2.0 there was no lock, and the process's number alone in the name.
            if found and (found[2] or not _alive(int(found[1]))):
                entry = target.parent / name
                with contextlib.suppress(OSError):  # gone by now, or, on Windows, held
                    if entry.is_file() and not entry.is_symlink():
                        _remove_unless_held(entry)


@contextmanager
def locked(path: Path, waiting: str) -> Iterator[None]:
    """Hold the lock file ``path`` against all other processes and threads; print ``waiting`` if that takes a wait.

    The lock ends with the block, or with the process, however it ends; nothing has to be cleaned up. On a file system
    without locks there is none.
    """
    handle = _claim(path)
    if handle is None:
        print(waiting, file=sys.stderr, flush=True)
    while handle is None:
        time.sleep(0.1)
        handle = _claim(path)
    try:
        yield
    finally:
        if sys.platform == "win32":
            os.close(handle)
            with contextlib.suppress(OSError):  # the next one has it open already
                path.unlink()
        else:  # the name goes first: whoever waits for this file then finds that it is no longer the one
            with contextlib.suppress(OSError):  # in a folder where only its owner may remove it
                path.unlink()
            os.close(handle)


# ── details ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _create(path: Path) -> int:
    """A handle to a new, empty file, which is locked as long as the handle is open."""
    while True:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)  # less the umask, as open() does
        if sys.platform == "win32":
            return handle
        with contextlib.suppress(OSError):  # a file system without locks
            _lock(handle, wait=True)
        if _is_at(handle, path):  # else somebody found it before it was locked, and removed it
            return handle
        os.close(handle)


def _give(path: Path, to: os.stat_result) -> None:
    """Set the group, for which half of the permissions are, and the owner, as far as this process may."""
    for owner, group in ((-1, to.st_gid), (to.st_uid, -1)):
        with contextlib.suppress(OSError):
            os.chown(path, owner, group)


def _rename(temporary: Path, target: Path) -> None:
    """Replace the target; on Windows, which replaces no open file, again, as a virus scanner may just look at it."""
    until = time.monotonic() + PATIENCE
    if sys.platform == "emscripten":  # there, in memory, a file that was replaced comes back when its name is removed
        target.unlink(missing_ok=True)
    while True:
        try:
            os.replace(temporary, target)
            return
        except PermissionError as error:
            if sys.platform != "win32":
                raise
            if time.monotonic() > until:
                text = "not written, and what was there before is unchanged: it is open in another program or read-only"
                text += ". Close it there, or choose another name"
                raise PermissionError(error.errno, text, str(target)) from error
            time.sleep(0.05)


def _remove_unless_held(path: Path) -> None:
    if sys.platform == "win32":
        os.unlink(path)
        return
    handle = os.open(path, os.O_RDWR)
    try:
        _lock(handle)
        if _is_at(handle, path):
            os.unlink(path)
    finally:
        os.close(handle)


def _claim(path: Path) -> int | None:
    """A handle to the lock file, created if necessary; None if somebody else holds it."""
    try:
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
    except PermissionError as error:
        if sys.platform == "win32":  # it is being removed
            return None
        try:
            handle = os.open(path, os.O_RDONLY)  # somebody else's, who may be gone
        except FileNotFoundError:
            raise error from None  # nobody's: it may not be made here
    try:
        _lock(handle)
        held = not _is_at(handle, path)  # what we hold may have been removed while we took hold of it
    except OSError as error:
        held = error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)  # else there are no locks here
    if held:
        os.close(handle)
        return None
    return handle


def _lock(handle: int, wait: bool = False) -> None:
    """Lock an open file for whoever has this handle. Raises OSError if it is locked, or if there are no locks."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    elif flock is not None:
        flock(handle, LOCK_EX if wait else LOCK_EX | LOCK_NB)
    else:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def _is_at(handle: int, path: str | os.PathLike) -> bool:
    """Whether the open file is the one with this name."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _alive(process: int) -> bool:
    if sys.platform == "win32":  # where os.kill(process, 0) would end it; removing fails while the file is open
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        pass
    return True


def _disk_full(error: BaseException | None, earlier: BaseException | None) -> int | None:
    """The error number of a full disk, if that is what the exception comes from, and not from an ``earlier`` one."""
    while error is not None and error is not earlier:
        if isinstance(error, OSError) and error.errno in FULL:
            return error.errno
        error = error.__cause__ or error.__context__
    return None


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, on systems where a folder can be opened."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
