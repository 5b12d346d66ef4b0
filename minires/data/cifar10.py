"""CIFAR-10 in its official binary layout, from a folder, the user's cache or the official archive."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from minires.data import checksums
from minires.data.dataset import Dataset
from minires.files import locked
from minires.folders import cache_folder, writable_folder

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # https://www.cs.toronto.edu/~kriz/cifar.html

FOLDER = "cifar-10-batches-bin"
UNPACKING = ".cifar-10-unpacking-"
TRAIN_FILES = tuple(f"data_batch_{k}.bin" for k in range(1, 6))
TEST_FILE = "test_batch.bin"
NAMES_FILE = "batches.meta.txt"
FILES = (*TRAIN_FILES, TEST_FILE, NAMES_FILE)

# MD5 of the files in that archive, on which the other programs that check them agree.
PUBLISHED = {
    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
}

CLASSES = 10
SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32  # bytes: the label, then the red, green and blue planes, each in rows of 32

# Those of the 50,000 training images, in units of the stored bytes; fixed, so that every subset is scaled alike.
MEAN = (255 * 0.4914, 255 * 0.4822, 255 * 0.4465)
STD = (255 * 0.2470, 255 * 0.2435, 255 * 0.2616)


def cifar10(
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    normalize: bool = True,
    *,
    progress: bool = True,
    verify: bool = False,
    url: str = URL,
    md5: str = MD5,
    records: int = 10_000,
) -> tuple[Dataset, Dataset]:
    """The training and test set of CIFAR-10: 50,000 and 10,000 colour images (N, 3, 32, 32), labels 0 to 9.

    `root` is the folder `cifar-10-batches-bin`, or the folder that contains it. The default is the user's cache:
    `$MINIRES_CACHE`, else `$XDG_CACHE_HOME/minires`, else `~/.cache/minires`.
    `download` fetches the official archive (170 MB) if the folder is absent. It shows a progress bar, resumes an
    interrupted download, verifies the archive, and puts the files in place only when all are there. It never
    overwrites anything. If another process is downloading to the same place, this one waits for it.

    The files' checksums are computed once and kept in the folder, in `checksums.json`. A file whose size or
    modification time has changed since then is read again, and must have the same checksum. `verify` reads all of them
    again.

    Pixels are stored as bytes. `normalize` gives (pixels − mean) / std per channel, with the constants
    (0.4914, 0.4822, 0.4465) and (0.2470, 0.2435, 0.2616) of the training set; without it images run from 0 to 1.

    `url`, `md5` and `records` (in each file) describe the archive; change them only for a mirror or a test.

    Raises FileNotFoundError when files are missing, ValueError when they or the archive are damaged, ConnectionError
    when the download breaks off; each says what to do.
    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """
    folder = _folder(cache_folder() if root is None else Path(root).expanduser())
    if not folder.exists():
        if not download:
            raise FileNotFoundError(
                f"cifar10: no folder {folder}; name the one that holds it (root=…, --root or MINIRES_CACHE=…), or "
                "download it there (170 MB): --download on the command line, "
                f"cifar10({str(folder.parent)!r}, download=True) in Python"
            )
        _download(folder, url, md5, records, progress)
    _check_sizes(folder, records)
    if damaged := checksums.verify(folder, FILES, PUBLISHED, again=verify):
        raise ValueError(
            f"cifar10: {folder / damaged} is damaged: its checksum is not the one it had, or not the published one; "
            f"{_again(folder)}. If you have changed it yourself, delete {folder / checksums.RECORD}"
        )
    classes = _read_classes(folder / NAMES_FILE)
    mean, std = (MEAN, STD) if normalize else ((0.0,) * 3, (255.0,) * 3)
    train, test = _read([folder / name for name in TRAIN_FILES], records), _read([folder / TEST_FILE], records)
    return Dataset(*train, classes, mean, std), Dataset(*test, classes, mean, std)


def _folder(root: Path) -> Path:
    is_the_folder = root.name == FOLDER or any((root / name).exists() for name in FILES)
    return root if is_the_folder else root / FOLDER


def _download(folder: Path, url: str, md5: str, records: int, progress: bool) -> None:
    if sys.platform == "emscripten":
        raise OSError(
            "cifar10: in a browser nothing can be downloaded, because Python has no sockets there; "
            "data.digits() comes with the package"
        )
    from minires.data.download import fetch  # here, because HTTP takes 50 ms to import and is rarely needed

    writable_folder(folder.parent, "cifar10")
    part = folder.parent / "cifar-10-binary.tar.gz.part"
    waiting = f"cifar10: waiting for another process that downloads to {folder.parent}"
    with locked(folder.parent / ".cifar-10.lock", waiting):
        if folder.exists():  # it has been downloaded by now
            return
        for left in folder.parent.glob(f"{UNPACKING}*"):  # by a process that was killed
            shutil.rmtree(left)
        fetch(url, part, md5, progress=progress)
        _unpack(part, folder, url, records)


def _unpack(part: Path, folder: Path, url: str, records: int) -> None:
    from minires.data.download import unpack

    # Next to its destination, so that the last step is a rename within one file system: all files or none.
    with TemporaryDirectory(dir=folder.parent, prefix=UNPACKING) as temporary:
        fresh = Path(temporary) / FOLDER
        fresh.mkdir()
        try:
            unpack(part, fresh, [f"{FOLDER}/{name}" for name in (*FILES, "readme.html")])
            _check_sizes(fresh, records)
        except (ValueError, FileNotFoundError) as error:
            part.unlink()
            raise ValueError(
                f"cifar10: {url} is not the CIFAR-10 binary archive: {error}. It has been deleted"
            ) from error
        except OSError as error:
            text = (
                f"{error.strerror}: cannot unpack {part.name}, which needs another 180 MB. It is kept: free some space"
            )
            raise OSError(error.errno, f"{text}, and the same call again goes on", str(folder.parent)) from error
        try:
            fresh.rename(folder)
        except OSError:
            if not folder.exists():  # else another process was quicker, where there are no locks
                raise
    part.unlink(missing_ok=True)


def _again(folder: Path) -> str:
    return f"move {folder} away and download it anew: --download on the command line, download=True in Python"


def _check_sizes(folder: Path, records: int) -> None:
    again = _again(folder)
    for name in FILES:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"cifar10: {folder} has no {name}; {again}")
        size = (folder / name).stat().st_size
        if name != NAMES_FILE and size != records * RECORD:
            raise ValueError(
                f"cifar10: {folder / name} has {size:,} bytes, wanted {records * RECORD:,} "
                f"({records:,} records of {RECORD:,}): damaged or incomplete; {again}"
            )


def _read(files: list[Path], records: int) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.empty((len(files) * records, *SHAPE), np.uint8)
    labels = np.empty(len(files) * records, np.int64)
    for k, file in enumerate(files):
        table = np.fromfile(file, np.uint8).reshape(records, RECORD)
        if table[:, 0].max() >= CLASSES:
            bad = int((table[:, 0] >= CLASSES).argmax())
            raise ValueError(
                f"cifar10: record {bad} of {file} has label {table[bad, 0]}, wanted 0..{CLASSES - 1}: damaged; "
                f"{_again(file.parent)}"
            )
        here = slice(k * records, (k + 1) * records)
        labels[here] = table[:, 0]
        pixels[here] = table[:, 1:].reshape(records, *SHAPE)
    return pixels, labels


def _read_classes(file: Path) -> tuple[str, ...]:
    names = tuple(file.read_text(encoding="utf-8", errors="replace").split())
    if len(set(names)) != CLASSES:
        raise ValueError(
            f"cifar10: {file} must name {CLASSES} classes, one a line, got {len(names)} ({', '.join(names[:3])} …): "
            f"damaged; {_again(file.parent)}"
        )
    return names
