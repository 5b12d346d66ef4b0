"""Fetching an archive that can be trusted: resumed where it stopped, verified by its checksum, unpacked by name."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zlib
from collections.abc import Collection
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from minires.data import checksums
from minires.progress import tqdm

CHUNK = 1 << 18  # bytes between two updates of the progress bar
RANGE_NOT_SATISFIABLE = 416


def fetch(url: str, part: Path, md5: str, *, progress: bool = True, timeout: float = 30.0) -> None:
    """Download `url` to the file `part` and verify it; what an earlier call left in `part` is not fetched again.

    `timeout`, in seconds, limits the connection and every single read.

    Raises ConnectionError when the transfer breaks off: what arrived stays in `part`, and the next call continues it.
    Raises ValueError when the complete file does not have the checksum `md5`: `part` is then deleted.
    """
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "minires"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with urlopen(Request(url, headers=headers), timeout=timeout) as response:
            _save(response, part, have, progress)
    except HTTPError as error:
        error.close()
        # A range that begins at the end of the file cannot be served: all of it is here already.
        if error.code != RANGE_NOT_SATISFIABLE or not have:
            raise ConnectionError(
                f"fetch: the server refused {url}: {error.code} {error.reason}; try again later"
            ) from error
    except (OSError, HTTPException) as error:
        arrived = part.stat().st_size if part.exists() else 0
        raise ConnectionError(
            f"fetch: {url} stopped after {arrived:,} bytes ({error}); "
            f"they are kept in {part}: the same call again goes on from there"
        ) from error

    found = checksums.md5(part)  # `unpack` does not rely on it
    if found != md5.lower():
        size = part.stat().st_size
        part.unlink()
        raise ValueError(
            f"fetch: {url} gave {size:,} bytes with MD5 {found}, wanted {md5}: damaged or not the published file. "
            "It has been deleted; the same call again starts afresh"
        )


def _save(response: HTTPResponse, part: Path, have: int, progress: bool) -> None:
    resumed = response.status == 206  # anything else sends the file from its beginning
    have = have if resumed else 0
    length = response.headers.get("Content-Length")
    total = have + int(length) if length and length.isdecimal() else None
    with (
        part.open("ab" if resumed else "wb") as file,
        tqdm(desc=part.stem, total=total, initial=have, unit="B", unit_scale=True, disable=not progress) as bar,
    ):
        while chunk := response.read(CHUNK):
            have += file.write(chunk)
            bar.update(len(chunk))
    if total is not None and have < total:
        raise ConnectionError(f"the connection closed before the {total:,} bytes announced")


def unpack(archive: Path, into: Path, members: Collection[str]) -> None:
    """Write the given `members` ("folder/file") of a tar.gz into the folder `into`, without "folder/".

    The archive does not decide where a file goes or what kind of file it is: destinations come from `members`, and
    only content is read. Folder entries are skipped. A member that is not listed, is not a regular file or occurs twice
    shows that this is not the archive it claims to be.

    Raises ValueError for such a member and for an archive that cannot be read.
    """
    folders = {str(PurePosixPath(name).parent) for name in members}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                if member.isdir() and member.name in folders:
                    continue
                target = into / PurePosixPath(member.name).name
                if member.name not in members or not member.isreg() or target.exists():
                    raise ValueError(f"unpack: {archive.name} holds {member.name!r}, which is not one of its own files")
                source = tar.extractfile(member)
                assert source is not None  # only for members that are not regular files
                with source, target.open("xb") as file:
                    shutil.copyfileobj(source, file)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"unpack: {archive.name} is not a readable tar.gz archive ({error})") from error
