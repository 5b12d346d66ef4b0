"""NumPy's ``.npz`` files, written member by member, and read without trusting what they say of their size.

Read without pickle, so that opening one from elsewhere runs no code. A flipped bit in a zip's directory can hide the
members that follow, which no checksum covers; here the members must fill the file, so that a gap shows it.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from typing import BinaryIO, NamedTuple

import numpy as np

HEADER = 20_000  # bytes: more than the header of any .npy file that NumPy reads


class NpzError(ValueError):
    """What is wrong with the file, as the end of a sentence."""


class Header(NamedTuple):
    """What a member says of itself; ``start`` is where its data begin."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype
    start: int

    @property
    def nbytes(self) -> int:
        """How many bytes of data must follow."""
        return math.prod(self.shape) * self.dtype.itemsize


def write(file: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the arrays, C-contiguous and uncompressed, in this order.

    As `np.savez` does; but NumPy 2.0's leaves the archive open after an error, and its destructor complains.
    """
    try:
        with zipfile.ZipFile(file, "w") as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(array, order="C"), allow_pickle=False)
    except ValueError as error:  # an interrupt can leave a member open, of which zipfile then complains instead
        raise (error.__context__ or error) from None


def check_directory(archive: zipfile.ZipFile, file: BinaryIO) -> None:
    """Verify that the members lie one after the other and fill the file up to the directory; raises NpzError."""
    end = 0
    for info in archive.infolist():
        if info.header_offset != end:
            raise NpzError(f"{info.filename} is not where the member before it ends")
        file.seek(end + 26)  # of a local header, 30 bytes; the last four are the lengths of a name and an extra field
        name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
        end += 30 + name + extra + info.compress_size
    if end != archive.start_dir:
        raise NpzError("there is something between the last member and the directory")
    if len(set(archive.namelist())) != len(archive.namelist()):
        raise NpzError("two members have the same name")


def header(archive: zipfile.ZipFile, name: str) -> Header:
    """A member's header, once it describes exactly the bytes that follow it; nothing is allocated on its word alone.

    If the member is not compressed, these bytes are in the file. Raises NpzError.
    """
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
        raise NpzError(f"{name} says that it has {info.file_size:,} bytes, and has {info.compress_size:,}")
    with archive.open(info) as member:  # which compares the names in directory and header
        stream = io.BytesIO(member.read(HEADER))
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    found = Header(*read(stream), stream.tell())
    if found.dtype.hasobject or found.start + found.nbytes != info.file_size:
        raise NpzError(
            f"{name} has a header that does not fit its {info.file_size:,} bytes ({found.dtype}, {found.shape})"
        )
    return found


def member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """One array, once its bytes have been checked (CRC-32). Raises NpzError, or one of zipfile's and zlib's errors."""
    head = header(archive, name)
    data = bytearray(archive.read(f"{name}.npy"))
    return np.ndarray(head.shape, head.dtype, data, head.start, order="F" if head.fortran_order else "C")
