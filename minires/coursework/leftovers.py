"""What submissions leave on the disk, and its removal: whatever they have made of it."""

import contextlib
import os


def remove(folder: str) -> None:
    """Remove a folder in which a submission wrote, however deep and with whatever permissions.

    Each folder's own folders are moved up before it is removed, so no path gets long.
    """
    root = os.geteuid() == 0  # who needs no permissions
    with contextlib.suppress(OSError):
        while folders := [e.path for e in os.scandir(folder) if not _unlinked(e)]:
            for inner in folders:
                if not root:
                    os.chmod(inner, 0o700)
                for entry in os.scandir(inner):
                    if not _unlinked(entry):
                        if not root:
                            os.chmod(entry.path, 0o700)
                        os.rename(entry.path, os.path.join(folder, f"removing-{os.urandom(8).hex()}"))
                os.rmdir(inner)
        os.rmdir(folder)


def _unlinked(entry: os.DirEntry) -> bool:
    """Remove an entry unless it is a folder; whether it was removed."""
    if entry.is_dir(follow_symlinks=False):
        return False
    os.unlink(entry.path)
    return True


def remove_files_of(uid: int, since: float) -> None:
    """Remove what a user has left since this time where all users write; the next submission runs as the same one."""
    for place in ("/tmp", "/var/tmp", "/dev/shm"):
        with contextlib.suppress(OSError):
            for entry in os.scandir(place):
                about = entry.stat(follow_symlinks=False)
                if about.st_uid == uid and about.st_ctime >= since - 1 and not _unlinked(entry):
                    remove(entry.path)
