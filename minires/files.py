"""Files that are either whole or not there: written under a temporary name, then renamed."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path in the same folder; the file written there replaces ``path`` if the block succeeds.

    After an exception, the temporary file is removed and ``path`` is as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def cache_folder() -> Path:
    """Where downloads and compiled kernels are kept.

    That is `$MINIRES_CACHE`, else `$XDG_CACHE_HOME/minires`, else `~/.cache/minires`.
    """
    if own := os.environ.get("MINIRES_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minires"


def writable_folder(path: str | os.PathLike, purpose: str) -> Path:
    """The folder, created if necessary. Raises OSError, naming it and its purpose, if it cannot be written to."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f"{purpose}: cannot write to the folder {folder} ({error.strerror}); choose another") from error
    return folder
