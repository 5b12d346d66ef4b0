"""Messages between the grader and a submission's process: plain values and arrays, as bytes. No pickle.

A message is a JSON header followed by the arrays' bytes. Whatever the other side sends, `unpack` returns plain values
or raises MessageError; it never runs anything.
"""

import json
import math
import struct
from typing import Any

import numpy as np

LARGEST = 16 * 2**20  # bytes of a message: several times what any test asks for
LARGEST_HEADER = 2**18  # bytes of its header, which take many times as much once read
LENGTH = struct.Struct("!Q")  # precedes each message


class MessageError(ValueError):
    """These bytes are no message."""


class Other:
    """What stands for a value that is neither plain nor an array: its type's name."""

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}>"


def pack(value: Any) -> bytes:
    """A value of numbers, strings, None, lists, tuples, dicts and arrays, as bytes; all else becomes an `Other`.

    Raises MessageError if it is too large.
    """
    arrays: list[np.ndarray] = []
    described = _describe(value, arrays)
    if (size := sum(a.nbytes for a in arrays)) > LARGEST:  # before it is copied: a broadcast array has no memory
        raise MessageError(f"{size / 2**20:,.0f} MB; a message may have {LARGEST // 2**20} MB")
    header = json.dumps([[[a.dtype.str, a.shape] for a in arrays], described]).encode()
    if len(header) > LARGEST_HEADER:
        raise MessageError(f"{len(header) / 2**20:.1f} MB of plain values; return arrays")
    return b"".join([LENGTH.pack(len(header)), header, *(a.tobytes() for a in arrays)])


def unpack(data: bytes) -> Any:
    """The value that was packed. Raises MessageError for bytes that are no message."""
    try:
        (length,) = LENGTH.unpack_from(data)
        if length > LARGEST_HEADER:
            raise ValueError(f"a header of {length} bytes")
        specs, described = json.loads(data[LENGTH.size : LENGTH.size + length])
        arrays, at = [], LENGTH.size + length
        for kind, shape in specs:
            dtype, count = np.dtype(kind), math.prod(shape)
            if dtype.kind not in "fiubc" or any(n < 0 for n in shape):
                raise ValueError(f"an array of {kind} values and shape {shape}")
            arrays.append(np.frombuffer(data, dtype, count, at).reshape(shape).copy())
            at += count * dtype.itemsize
        return _restore(described, arrays)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, struct.error) as error:
        raise MessageError(f"not a message: {error}") from error


def framed(data: bytes) -> bytes:
    """A message preceded by its length. Raises MessageError if it is too large."""
    if len(data) > LARGEST:
        raise MessageError(f"{len(data) / 2**20:.0f} MB; a message may have {LARGEST // 2**20} MB")
    return LENGTH.pack(len(data)) + data


def _describe(value: Any, arrays: list[np.ndarray]) -> Any:
    """The value as JSON, with arrays replaced by their place in the list."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "fiubc":
        arrays.append(np.asarray(value))
        return {"array": len(arrays) - 1}
    if isinstance(value, tuple | list):
        kind = "list" if type(value) is list else "tuple"
        return {kind: [_describe(v, arrays) for v in value]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _describe(v, arrays) for key, v in value.items()}}
    return {"other": type(value).__name__}


def _restore(described: Any, arrays: list[np.ndarray]) -> Any:
    if not isinstance(described, dict):
        return described
    ((kind, value),) = described.items()
    if kind == "array":
        return arrays[value]
    if kind == "dict":
        return {key: _restore(v, arrays) for key, v in value.items()}
    if kind == "other":
        return Other(str(value))
    if kind not in ("tuple", "list"):
        raise KeyError(kind)
    return {"tuple": tuple, "list": list}[kind](_restore(v, arrays) for v in value)
