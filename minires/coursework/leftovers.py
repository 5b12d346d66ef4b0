"""What submissions leave on the disk, and its removal: whatever they have made of it."""

import contextlib
import math
import os
import time


def remove(folder: str, seconds: float = math.inf) -> None:
    """Remove a folder in which a submission wrote, however deep and with whatever permissions, or begin to.

    After this many seconds the rest is left for a later call. It is walked down and up again by handles, two at a time,
    so no path gets long; no link is followed.
    """
    until = time.monotonic() + seconds
    with contextlib.suppress(OSError):
        here = _open(folder, None)
        levels = [_clear(here)]  # the folders left at each level, the one that is open last
        names: list[str] = []
        while time.monotonic() < until:
            if levels[-1]:
                names.append(levels[-1].pop())
                there = _open(names[-1], here)
                levels.append(_clear(there))
            elif names:
                there = _open("..", here)
                os.rmdir(names.pop(), dir_fd=there)
                levels.pop()
            else:
                os.rmdir(folder)
                break
            os.close(here)
            here = there
        os.close(here)


def _open(name: str, inside: int | None) -> int:
    """A handle to a folder that may be read and changed."""
    if os.geteuid() != 0 and name != "..":  # root needs no permissions
        os.chmod(name, 0o700, dir_fd=inside)
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=inside)


def _clear(handle: int) -> list[str]:
    """Remove all but folders; the names of those."""
    folders = []
    for entry in list(os.scandir(handle)):
        if entry.is_dir(follow_symlinks=False):
            folders.append(entry.name)
        else:
            os.unlink(entry.name, dir_fd=handle)
    return folders


def remove_files_of(uid: int, since: float) -> None:
    """Remove what a user has left since this time where all users write; the next submission runs as the same one."""
    for place in ("/tmp", "/var/tmp", "/dev/shm"):
        with contextlib.suppress(OSError):
            for entry in list(os.scandir(place)):
                about = entry.stat(follow_symlinks=False)
                if about.st_uid == uid and about.st_ctime >= since - 1:
                    if entry.is_dir(follow_symlinks=False):
                        remove(entry.path)
                    else:
                        os.unlink(entry.path)
