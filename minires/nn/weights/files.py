"""What a set of weights holds, by name: a ``.safetensors`` or ``.npz`` file, or a dict.

Shapes and dtypes are known before any data are read, so that what does not fit costs nothing. No pickle is ever read.
"""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ... import npz
from ...arguments import described
from ...files import replacing
from ..foreign import is_torch, to_numpy

PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".tar", ".pkl", ".pickle")  # what PyTorch's files are called
# The dtypes of safetensors (https://huggingface.co/docs/safetensors); bfloat16 is the upper half of a float32.
DTYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "?"},
    **{f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)},
}


class WeightsError(ValueError):
    """Weights that are damaged, no weights, or not this model's; nothing has changed.

    missing, unexpected: the names, all of them. shapes: ``{name: (there, here)}`` of those that differ.
    """

    missing: list[str] = []  # noqa: RUF012
    unexpected: list[str] = []  # noqa: RUF012
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}  # noqa: RUF012


class Entry(NamedTuple):
    """One array that has not been read yet."""

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


@contextlib.contextmanager
def opened(source: Any) -> Iterator[tuple[str, dict[str, Entry]]]:
    """What the source is called in messages, and its entries, which can be read inside the block."""
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        kind = _kind(path)
        with kind(path) as entries:
            yield path.name, entries
    elif isinstance(source, Mapping):
        yield "the dict", _of_dict(source)
    else:
        hint = "; pass its state_dict()" if hasattr(source, "state_dict") else ""
        raise TypeError(f"load_weights: got {described(source)}; expected a path or a dict of names{hint}")


def write(path: str | os.PathLike, arrays: dict[str, np.ndarray]) -> None:
    """Write a ``.safetensors`` or ``.npz`` file, whole or not at all; every array is C-contiguous in it."""
    suffix = Path(path).suffix
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    if suffix == ".safetensors":
        content = _safetensors("save_weights").numpy.save(arrays, {"format": "pt"})  # names and shapes are PyTorch's
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    elif suffix == ".npz":
        with replacing(path) as temporary, open(temporary, "wb") as file:
            npz.write(file, arrays)
    else:
        pickle = "; minires writes no pickle, and PyTorch reads both" if suffix in PICKLES else ""
        raise ValueError(f"save_weights: got {os.fspath(path)!r}; expected a name in .safetensors or .npz{pickle}")


# ── details ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _kind(path: Path) -> Callable[[Path], contextlib.AbstractContextManager[dict[str, Entry]]]:
    """The reader of this file. Raises OSError if it cannot be read, WeightsError for a pickle."""
    if not path.exists():
        raise FileNotFoundError(f"load_weights: no file {path}")
    if path.is_dir():
        raise IsADirectoryError(f"load_weights: {path} is a folder; pass a .safetensors or .npz file in it")
    if path.suffix in PICKLES:
        raise _pickle(path)
    if path.suffix not in (".safetensors", ".npz"):
        raise WeightsError(f"load_weights: got {path.name}; expected a file in .safetensors or .npz")
    return _npz if path.suffix == ".npz" else _safetensors_file


def _pickle(path: Path) -> WeightsError:
    new = path.with_suffix(".safetensors").name
    return WeightsError(
        f"load_weights: {path.name} is a pickle, which can run any code when it is read. Convert it once, in PyTorch:\n"
        f'    state = torch.load("{path.name}", map_location="cpu", weights_only=True)\n'
        f'    safetensors.torch.save_file(state, "{new}")\n'
        'If state holds more than tensors, the weights are usually state["state_dict"] or state["model"].'
    )


def _of_dict(source: Mapping[Any, Any]) -> dict[str, Entry]:
    entries = {}
    for name, value in source.items():
        if isinstance(value, Mapping):
            raise WeightsError(
                f"load_weights: {name!r} is a dict and no weight; if these are the weights, pass that dict: "
                f"source[{name!r}]"
            )
        if not isinstance(name, str):
            raise WeightsError(f"load_weights: got the name {name!r}; expected text, such as 'fc.weight'")
        entries[name] = _of_value(name, value)
    return entries


def _of_value(name: str, value: Any) -> Entry:
    def read() -> np.ndarray:
        try:
            return to_numpy(value)
        except TypeError as error:
            raise WeightsError(f"load_weights: {name} is {error}") from error

    try:
        shape = tuple(value.shape) if is_torch(value) else np.shape(value)
    except ValueError as error:  # rows of different lengths
        raise WeightsError(f"load_weights: {name} is {described(value)} and no array ({error})") from error
    return Entry(shape, read)


@contextlib.contextmanager
def _npz(path: Path) -> Iterator[dict[str, Entry]]:
    with open(path, "rb") as file, _told(path), zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if any(name.endswith("data.pkl") for name in names):
            raise _pickle(path)
        if "meta.npy" in names and "sha256.npy" in names:
            raise WeightsError(
                f"load_weights: {path.name} is a checkpoint of a training run; take its weights with "
                f'minires.train.Checkpoint.load("{path.name}").restore_weights(model)'
            )
        strangers = [name for name in names if not name.endswith(".npy")]
        if strangers:
            raise npz.NpzError(f"it holds {strangers[0]}, which is no array")
        npz.check_directory(archive, file)
        members = [name.removesuffix(".npy") for name in names]
        yield {name: Entry(npz.header(archive, name).shape, partial(npz.member, archive, name)) for name in members}


@contextlib.contextmanager
def _safetensors_file(path: Path) -> Iterator[dict[str, Entry]]:
    deserialize = _safetensors("load_weights").deserialize
    content = path.read_bytes()
    with _told(path):  # the package verifies that the header describes exactly the bytes that follow
        yield {name: _of_bytes(path, name, **found) for name, found in deserialize(content)}


def _of_bytes(path: Path, name: str, dtype: str, shape: list[int], data: bytearray) -> Entry:
    def read() -> np.ndarray:
        if dtype not in DTYPES:
            raise WeightsError(f"load_weights: {name} in {path.name} is {dtype}; expected one of {', '.join(DTYPES)}")
        array = np.frombuffer(data, DTYPES[dtype]).reshape(shape)
        return (array.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else array

    return Entry(tuple(shape), read)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say in words, and with the file's name, what is wrong with it."""
    try:
        yield
    except (WeightsError, MemoryError):
        raise
    except Exception as error:  # a damaged file fails in many ways: zip, npy header, JSON …
        what = str(error) if isinstance(error, npz.NpzError) else f"{type(error).__name__}: {error}"
        raise WeightsError(
            f"load_weights: {path.name} is damaged, cut short, or no {path.suffix} file ({what}); take another copy"
        ) from error


def _safetensors(function: str) -> Any:
    try:
        import safetensors.numpy
    except ImportError:
        raise ImportError(
            f"{function}: .safetensors needs the package safetensors: python -m pip install safetensors "
            "(the extra `weights`); .npz needs nothing"
        ) from None
    return safetensors
