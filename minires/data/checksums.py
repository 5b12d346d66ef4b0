"""Checksums of unpacked files: computed once, kept with size and modification time, compared when these differ."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minires.files import replacing

RECORD = "checksums.json"  # in the folder: {file: {"bytes": …, "modified": …, "md5": …}}


def verify(folder: Path, names: Sequence[str], published: Mapping[str, str], *, again: bool = False) -> str | None:
    """The first of these files that has changed since it was first seen, or None.

    With nothing remembered yet, it is the first that differs from the published one although others do not. If all
    differ, they are another edition, and are remembered as they are. ``again``: read the files even if their sizes and
    modification times are as remembered.
    """
    remembered, record = _remembered(folder), {}
    for name in names:
        status = (folder / name).stat()
        entry: dict[str, Any] = {"bytes": status.st_size, "modified": status.st_mtime_ns}
        known = remembered.get(name, {})
        if again or known.get("md5") is None or any(known.get(key) != value for key, value in entry.items()):
            entry["md5"] = md5(folder / name)
        else:
            entry["md5"] = known["md5"]
        if known.get("md5", entry["md5"]) != entry["md5"]:
            return name
        record[name] = entry
    if not remembered:
        wrong = [name for name in names if name in published and record[name]["md5"] != published[name]]
        if 0 < len(wrong) < len(published):
            return wrong[0]
    if record != remembered:
        with contextlib.suppress(OSError), replacing(folder / RECORD) as temporary:  # else they are read every time
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return None


def md5(file: Path) -> str:
    """The checksum that publishers of data sets give. It reveals damage; it is no protection against forgery."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _remembered(folder: Path) -> dict[str, dict[str, Any]]:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or damaged: begin anew
        return {}
    whole = isinstance(record, dict) and all(isinstance(entry, dict) for entry in record.values())
    return record if whole else {}
