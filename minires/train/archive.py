"""The file of a checkpoint: arrays and a description in JSON, as NumPy's ``.npz``, every byte of which is checked.

Read without pickle, so that opening one from elsewhere runs no code. The first member, ``meta``, is the description; it
lists the other members in order, each with its dtype, shape and SHA-256. The second, ``sha256``, is the digest of
``meta``. Nothing is compressed, so nothing unpacks to more than the file's own size.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..files import replacing

FORMAT, VERSION = "minires checkpoint", 2  # version 1 had no list of members and no digests
START_ANEW = "move the file away (or pass resume=False) to start anew"
HEADER = 20_000  # bytes: more than the header of any .npy file that NumPy reads


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
        try:
            _write_members(file, {"meta": np.array(text), "sha256": np.array(digest), **arrays})
        except ValueError as error:  # an interrupt can leave a member open, of which zipfile then complains instead
            raise (error.__context__ or error) from None


def _write_members(file: BinaryIO, arrays: dict[str, np.ndarray]) -> None:
    """As `np.savez` does; but NumPy 2.0's leaves the archive open after an error, and its destructor complains."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


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
    """Verify that the members lie one after the other and fill the file, uncompressed, up to the directory.

    A flipped bit in the directory can hide the members that follow, and no checksum covers it. A gap shows it.
    """
    end = 0
    for info in archive.infolist():
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise CheckpointError(
                f"{info.filename} is compressed, to {info.compress_size:,} bytes from {info.file_size:,}; a checkpoint "
                f"never is. Take the file that was saved, or {START_ANEW}"
            )
        if info.header_offset != end:
            raise _damaged(f"{info.filename} is not where the member before it ends")
        file.seek(end + 26)  # of a local header, 30 bytes; the last four are the lengths of a name and an extra field
        name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
        end += 30 + name + extra + info.file_size
    if end != archive.start_dir:
        raise _damaged("there is something between the last member and the directory")
    if len(set(archive.namelist())) != len(archive.namelist()):
        raise _damaged("two members have the same name")


def _member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """One array. Its header must describe exactly the bytes that follow: nothing is allocated on its word alone."""
    data = bytearray(archive.read(f"{name}.npy"))  # compares the names in directory and header, and the CRC-32
    stream = io.BytesIO(data[:HEADER])
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = read_header(stream)
    if dtype.hasobject or fortran_order or math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise _damaged(f"{name} has a header that does not fit its {len(data):,} bytes ({dtype}, {shape})")
    return np.ndarray(shape, dtype, data, stream.tell())


def _damaged(what: str) -> CheckpointError:
    return CheckpointError(f"damaged: {what}; take an earlier copy, or {START_ANEW}")


def digest_of(array: np.ndarray) -> str:
    """SHA-256 of a C-contiguous array's bytes."""
    return hashlib.sha256(array.reshape(-1).view(np.uint8).data).hexdigest()
