"""The file of a checkpoint: arrays and a description in JSON, as NumPy's ``.npz``, every byte of which is checked.

The first member, ``meta``, is the description; it lists the other members in order, each with its dtype, shape and
SHA-256. The second, ``sha256``, is the digest of ``meta``. Nothing is compressed, so nothing unpacks to more than the
file's own size. See `npz` for how it is written and read.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .. import npz
from ..files import replacing

FORMAT, VERSION = "minires checkpoint", 2  # version 1 had no list of members and no digests
START_ANEW = "move the file away (or pass resume=False) to start anew"


class CheckpointError(ValueError):
    """The file is damaged, not a checkpoint, or of another model, optimiser or run; nothing has changed."""


def write(path: str | os.PathLike, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write the file; a kill at any moment, or a full disk, leaves a whole file: the old one or the new one."""
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"Checkpoint.save: got {name} of dtype {array.dtype}; expected an array of numbers")
    members = [[name, array.dtype.str, list(array.shape), digest_of(array)] for name, array in arrays.items()]
    text = to_json({"format": FORMAT, "version": VERSION, **meta, "members": members})
    digest = hashlib.sha256(text.encode()).hexdigest()
    with replacing(path) as temporary, open(temporary, "wb") as file:
        npz.write(file, {"meta": np.array(text), "sha256": np.array(digest), **arrays})


def to_json(value: Any) -> str:
    """JSON text, in which NumPy's numbers are Python's. Raises TypeError, saying which, for what JSON cannot hold."""

    def plain(part: Any) -> Any:
        if isinstance(part, np.generic):
            return part.item()
        raise TypeError(
            f"checkpoint: got {part!r} ({type(part).__name__}) among the options of the optimizer or what is saved "
            "beside it; expected numbers, text, and lists and dicts of them; convert it, as with array.tolist()"
        )

    return json.dumps(value, default=plain)


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The description and the arrays, once the whole file has been checked.

    Raises CheckpointError, saying what to do, if anything is damaged, missing, added, renamed or in another place.
    """
    with open(path, "rb") as file:
        try:
            return _read(file)
        except MemoryError:
            raise
        except CheckpointError as error:
            raise CheckpointError(f"checkpoint {path}: {error}") from None
        except npz.NpzError as error:
            raise CheckpointError(f"checkpoint {path}: {_damaged(str(error))}") from None
        except Exception as error:  # a damaged archive fails in many ways: zip, npy header, JSON …
            raise CheckpointError(
                f"checkpoint {path}: damaged, cut short, or no .npz file ({type(error).__name__}: {error}); "
                f"take an earlier copy, or {START_ANEW}"
            ) from error


def _read(file: BinaryIO) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    if file.read(6) == b"\x93NUMPY":
        raise CheckpointError("a single array and no checkpoint; pass the .npz file that was saved as a checkpoint")
    with zipfile.ZipFile(file) as archive:
        names = [info.filename.removesuffix(".npy") for info in archive.infolist()]
        if "meta" not in names:
            raise CheckpointError(
                f"a .npz file, but no checkpoint: it holds {', '.join(names[:5])}; pass a file that was saved as one, "
                f"or {START_ANEW}"
            )
        _check_directory(archive, file)
        text = str(_member(archive, "meta"))
        meta = json.loads(text)
        if not isinstance(meta, dict) or meta.get("format") != FORMAT:
            raise CheckpointError(f"a .npz file of another program and no checkpoint; {START_ANEW}")
        if meta.get("version") not in (1, VERSION):
            raise CheckpointError(
                f"of format {meta.get('version')}, this version of minires reads 1 and {VERSION}; use the version that "
                f"wrote it, or {START_ANEW}"
            )
        if meta["version"] == 1:
            return meta, {name: _member(archive, name) for name in names if name != "meta"}
        if "sha256" not in names or str(_member(archive, "sha256")) != hashlib.sha256(text.encode()).hexdigest():
            raise _damaged("the digest of meta is wrong")
        listed = [name for name, *_ in meta["members"]]
        if names != ["meta", "sha256", *listed]:
            different = sorted({*names, "meta", "sha256"} ^ {"meta", "sha256", *listed})
            raise _damaged(f"its members are not those it lists ({', '.join(different[:3]) or 'another order'})")
        arrays = {}
        for name, dtype, shape, sha256 in meta["members"]:
            array = _member(archive, name)
            if [array.dtype.str, list(array.shape), digest_of(array)] != [dtype, shape, sha256]:
                raise _damaged(f"{name} is not what was saved")
            arrays[name] = array
        return meta, arrays


def _check_directory(archive: zipfile.ZipFile, file: BinaryIO) -> None:
    for info in archive.infolist():
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise CheckpointError(
                f"{info.filename} is compressed, to {info.compress_size:,} bytes from {info.file_size:,}; a checkpoint "
                f"never is. Take the file that was saved, or {START_ANEW}"
            )
    npz.check_directory(archive, file)


def _member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    array = npz.member(archive, name)
    if not array.flags.c_contiguous:
        raise _damaged(f"{name} is in Fortran's order, in which none is written")
    return array


def _damaged(what: str) -> CheckpointError:
    return CheckpointError(f"damaged: {what}; take an earlier copy, or {START_ANEW}")


def digest_of(array: np.ndarray) -> str:
    """SHA-256 of a C-contiguous array's bytes."""
    return hashlib.sha256(array.reshape(-1).view(np.uint8).data).hexdigest()
