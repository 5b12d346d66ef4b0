"""Folders: where downloads are kept; one to write to, created if necessary, and removed again if it stays empty."""

import contextlib
import os
import tempfile
from pathlib import Path

_created: list[Path] = []  # by `writable_folder`


def cache_folder() -> Path:
    """Where downloads and compiled kernels are kept.

    That is `$MINIRES_CACHE`, else `$XDG_CACHE_HOME/minires`, else `~/.cache/minires`.
    """
    if own := os.environ.get("MINIRES_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minires"


def writable_folder(path: str | os.PathLike, purpose: str) -> Path:
    """The folder, created if necessary. Raises OSError, naming it and its purpose, if it cannot be written to.

    `remove_empty_folders` removes what was created here if nothing has been written into it.
    """
    folder = Path(path)
    _created.extend(one.absolute() for one in (folder, *folder.parents) if not one.exists())  # the innermost first
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # without a name, where the system can: nothing to leave behind
            pass
    except OSError as error:
        raise OSError(f"{purpose}: cannot write to the folder {folder} ({error.strerror}); choose another") from error
    return folder


def writable_file(path: str | os.PathLike, purpose: str) -> Path:
    """The path of a file to write later, its folder created if necessary. Raises OSError if it cannot be written."""
    file = Path(path)
    if file.is_dir():
        raise OSError(f"{purpose}: cannot write to {file}, which is a folder; name a file in it")
    writable_folder(file.parent, purpose)
    return file


def from_here(path: str | os.PathLike) -> str:
    """The path as it is seen from the working folder; as it is, if that is on another drive of Windows."""
    try:
        return os.path.relpath(path)
    except ValueError:
        return str(path)


def remove_empty_folders() -> None:
    """Remove the folders that `writable_folder` has created in this process and that are still empty."""
    for folder in sorted(_created, key=lambda one: len(one.parts), reverse=True):
        with contextlib.suppress(OSError):  # it is not empty, or gone
            folder.rmdir()
    _created.clear()
