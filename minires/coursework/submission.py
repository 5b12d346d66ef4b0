"""What was handed in, whatever it is: find the one text to grade, or say what is there and what to hand in.

Nothing is unpacked to disk, no link is followed, and no size is believed: archives and notebooks are read in memory,
up to the bounds below.
"""

import contextlib
import errno
import io
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from .texts import LARGEST_TEXT, Refused, is_notebook, is_zip, text_of

LARGEST_FILE = 16 * 2**20  # bytes of an archive or a notebook, whose pictures count
LARGEST_SUM = 48 * 2**20  # bytes read of one submission
LARGEST_DIRECTORY = 2**20  # bytes of an archive's list of contents
ENTRIES, DEPTH, HELPERS = 2000, 12, 50
LONGEST_PATH = 3000  # bytes; systems open 4,096
READ = os.O_RDONLY  # and what systems have of these: follow no link, wait for no pipe, change no byte
for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
    READ |= getattr(os, name, 0)
IMPORT = re.compile(rb"^[ \t]*(?:from|import)[ \t]+([A-Za-z_]\w*)", re.M)


@dataclass(frozen=True)
class Submission:
    """What to grade: a file's name, its text, and the modules beside it by relative path.

    trouble: what keeps it from being graded, in words for the learner, or "". note: says which file of a folder,
    archive or notebook this is, where its name does not.
    """

    file: str
    source: str = ""
    helpers: Mapping[str, str] = field(default_factory=dict)
    trouble: str = ""
    note: str = ""


@dataclass
class Found:
    """A file of the submission that may be what is graded."""

    name: str  # relative, with slashes
    data: bytes
    helper: bool = False  # it can also be a module beside another

    @property
    def depth(self) -> int:
        return self.name.count("/")


def check_there(path: str | os.PathLike) -> None:
    """Raise FileNotFoundError if there is nothing at this path."""
    if not os.path.lexists(path):
        raise FileNotFoundError(f"grade: there is no {path}; check the name, and the folder you are in")


def read_submission(path: str | os.PathLike, name: str, asked: Collection[str], beside: bool = True) -> Submission:
    """Find what to grade in a file, a folder, a zip archive or a notebook.

    name: of the exercise; asked: the functions and classes that it asks for. Graded is the only file with the
    exercise's name (``conv2d.py``; else, ``Conv2d (1).PY``, ``conv2d.ipynb``), else the only one that defines something
    asked for, else the only one. Hidden files and links do not count. beside: a single file may import modules that lie
    beside it.

    Raises OSError if there is nothing at this path, or if this process cannot read it.
    """
    check_there(path)
    reader = Reader()
    try:
        found = list(reader.look(Path(path), beside))
    except Refused as refused:
        return Submission(f"{name}.py", trouble=f"{refused}; hand in {name}.py")
    return choose(found, name, asked, reader)


class Reader:
    """Goes through a submission within its bounds. ``seen``: what else is there, in words; ``alone``: the only file."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.alone: str | None = None
        self.left, self.entries = LARGEST_SUM, ENTRIES

    def look(self, path: Path, beside: bool) -> Iterator[Found]:
        """The files that may be graded, from a folder's or an archive's top to its depths."""
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            raise Refused(f"{path.name} is a link, which is not followed")
        if stat.S_ISDIR(mode):
            yield from self._folder(path)
            return
        self.alone = path.name
        data = self._file(path, path.name)
        if is_zip(data):
            yield from self._archive(path.name, data, "")
        else:
            yield Found(path.name, data)
            if beside:
                yield from self._imported(path, data)

    def _imported(self, path: Path, data: bytes) -> Iterator[Found]:
        """The modules beside a file that it imports."""
        for name in sorted({m.decode() for m in IMPORT.findall(data[:LARGEST_TEXT])})[:HELPERS]:
            module = path.with_name(f"{name}.py")
            if module != path and module.is_file() and not module.is_symlink():
                with contextlib.suppress(Refused):
                    yield Found(module.name, self._file(module, module.name), helper=True)

    def _folder(self, top: Path) -> Iterator[Found]:
        waiting = [(top, "", 0)]
        while waiting:
            folder, prefix, depth = waiting.pop(0)
            for entry in sorted(os.scandir(folder), key=lambda e: e.name):
                if not self._counts(entry.name):
                    continue
                name = prefix + entry.name
                if entry.is_symlink():
                    self.seen.append(f"{name} (a link, which is not followed)")
                elif entry.is_dir(follow_symlinks=False):
                    if depth + 1 < DEPTH and len(os.fsencode(entry.path)) < LONGEST_PATH:
                        waiting.append((Path(entry.path), f"{name}/", depth + 1))
                    else:
                        self.seen.append(f"{name} (too deep)")
                else:
                    yield from self._guarded(entry, name)

    def _guarded(self, entry: os.DirEntry, name: str) -> Iterator[Found]:
        """A file of a folder; what is wrong with it concerns no other."""
        if not gradable(name):
            self.seen.append(name)
            return
        try:
            data = self._file(Path(entry.path), name)
            if is_zip(data):
                yield from self._archive(name, data, f"{name}/")
            else:
                yield Found(name, data, helper=True)
        except Refused as refused:
            self.seen.append(str(refused))

    def _archive(self, name: str, data: bytes, prefix: str) -> Iterator[Found]:
        """The files of a zip archive, none larger than promised or allowed."""
        try:
            check_directory(data)
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                members = archive.infolist()
                if any(m.filename == "[Content_Types].xml" for m in members):
                    raise Refused(f"{name} is an Office document")
                for member in sorted(members, key=lambda m: (m.filename.count("/"), m.filename)):
                    inside = member.filename.replace("\\", "/")
                    parts = PurePosixPath(inside).parts
                    if member.is_dir() or not parts or not all(self._counts(part) for part in parts):
                        continue
                    shown = prefix + "/".join(parts)
                    if stat.S_ISLNK(member.external_attr >> 16):
                        self.seen.append(f"{shown} (a link, which is not followed)")
                    elif not gradable(inside) or inside.lower().endswith(".zip") or len(parts) > DEPTH:
                        self.seen.append(shown)
                    elif member.flag_bits & 1:
                        raise Refused(f"{name} has a password")
                    elif member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                        self.seen.append(f"{shown} (compressed in a way that is not read here)")
                    else:
                        with archive.open(member) as file:
                            yield Found(shown, self._bounded(file, shown), helper=True)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, struct.error) as error:
            raise Refused(f"{name} is a damaged zip archive ({error})") from None

    def _file(self, path: Path, name: str) -> bytes:
        """The bytes of a regular file; a link that has taken its place is not followed, nor a pipe waited for."""
        try:
            handle = os.open(path, READ)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG):
                raise Refused(f"{name} is a link or no file") from None
            raise
        with open(handle, "rb") as file:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode):
                raise Refused(f"{name} is no file")
            if about.st_size > LARGEST_FILE:
                raise Refused(f"{name} has {about.st_size / 2**20:,.0f} MB, which is too much for an exercise")
            return self._bounded(file, name)

    def _bounded(self, file: IO[bytes], name: str) -> bytes:
        data = file.read(min(LARGEST_FILE, self.left) + 1)
        if len(data) > LARGEST_FILE or len(data) > self.left:
            raise Refused(f"{name} is too large for an exercise")
        self.left -= len(data)
        return data

    def _counts(self, name: str) -> bool:
        """Whether this entry is looked at: it is visible, and not the 2,001st."""
        if name.startswith(".") or name in ("__MACOSX", "__pycache__"):
            return False
        self.entries -= 1
        if self.entries == 0:
            self.seen.append(f"more than {ENTRIES:,} files")
        return self.entries > 0


def choose(found: list[Found], name: str, asked: Collection[str], reader: Reader) -> Submission:
    """The one of these files that is meant, with the modules beside it."""
    wanted = f"{name}.py"
    texts: list[tuple[Found, str]] = []
    refusals: dict[str, str] = {}
    for file in found:
        try:
            texts.append((file, text_of(file.data, file.name)))
        except Refused as refused:
            refusals[file.name] = str(refused)
    candidates = (
        texts if found and found[0].helper else [t for t in texts if t[0] is found[0]]
    )  # a single file: this one
    defines = re.compile(rf"^(?:(?:async )?def|class) +(?:{'|'.join(asked)})\b|^(?:{'|'.join(asked)})\b *[=:]", re.M)
    tiers = (
        [t for t in candidates if PurePosixPath(t[0].name).name == wanted],
        [t for t in candidates if plain_stem(t[0].name) == name.lower()],
        [t for t in candidates if defines.search(t[1])],
        candidates,
    )
    # A damaged file of the right name is not passed over for another one.
    meant = [n for n in refusals if plain_stem(n) == name.lower()] or ([] if candidates else list(refusals))
    by_name_or_content = next((tier for tier in tiers[:3] if tier), None)
    chosen = pick(by_name_or_content) if by_name_or_content else (texts[0] if len(candidates) == 1 else None)
    if meant and not tiers[0] and not tiers[1]:
        return Submission(wanted, trouble=f"{refusals[meant[0]]}; hand in {wanted}")
    if chosen is None:
        return Submission(wanted, trouble=nothing(wanted, tiers, [*refusals.values(), *reader.seen]))
    file, source = chosen
    return Submission(
        PurePosixPath(file.name).name, source, helpers_of(file, texts), note=note_of(file, wanted, reader.alone)
    )


def pick(tier: list[tuple[Found, str]]) -> tuple[Found, str] | None:
    """The only file, or the only one that lies higher than the others, or any if all say the same; else None."""
    top = min(file.depth for file, _ in tier)
    highest = [t for t in tier if t[0].depth == top]
    return highest[0] if len({source for _, source in highest}) == 1 else None


def nothing(wanted: str, tiers: tuple, seen: list[str]) -> str:
    """Why nothing is graded: several files could be meant, or none."""
    several: list[tuple[Found, str]] = next((tier for tier in tiers[:3] if tier), [])
    if several:
        names = some([file.name for file, _ in several])
        return f"several files could be meant ({names}); hand in one, named {wanted}"
    names = some([*(file.name for file, _ in tiers[3]), *seen]) or "nothing"
    return f"there is no {wanted} among the submitted files ({names}); hand it in under that name"


def some(names: list[str]) -> str:
    """The first of these names, none too long to be read."""
    shown = [n if len(n) <= 80 else f"{n[:50]}…{n[-25:]}" for n in names[:8]]
    return ", ".join([*shown, *([f"and {len(names) - 8} more"] if len(names) > 8 else [])])


def note_of(file: Found, wanted: str, alone: str | None) -> str:
    """Which file this is, unless that is plain."""
    kind = "the code cells of " if is_notebook(file.data) else ""
    if file.name in (wanted, alone) and not kind:
        return ""
    inside = f" in {alone}" if alone not in (None, file.name) else ""
    return f"graded: {kind}{file.name}{inside}"


def helpers_of(chosen: Found, texts: list[tuple[Found, str]]) -> dict[str, str]:
    """The modules that the chosen file can import: those in its folder and below it, by relative path."""
    folder = chosen.name.rpartition("/")[0]
    helpers: dict[str, str] = {}
    room = LARGEST_TEXT
    for file, source in texts:
        relative = file.name.removeprefix(f"{folder}/") if folder else file.name
        inside = not folder or file.name.startswith(f"{folder}/")
        parts = relative.removesuffix(".py").split("/")
        if file is chosen or not (file.helper and inside and relative.endswith(".py")):
            continue
        if all(part.isidentifier() for part in parts) and len(helpers) < HELPERS and len(source) <= room:
            helpers[relative] = source
            room -= len(source)
    return helpers


def gradable(name: str) -> bool:
    """Whether a file of a folder or archive may be what is graded, by its name."""
    return name.lower().endswith((".py", ".ipynb", ".zip", ".py.txt"))


def plain_stem(name: str) -> str:
    """``sub/Conv2d (1).PY`` -> ``conv2d``: the name without folder, ending, and what a second download adds."""
    stem = PurePosixPath(name).name.lower()
    for ending in (".txt", ".py", ".ipynb"):
        stem = stem.removesuffix(ending)
    return re.sub(r"(\s*\(\d{1,3}\)|\s*-?\s*copy|\s+\d{1,2})+$", "", stem).strip()


def check_directory(data: bytes) -> None:
    """Refuse a zip archive whose list of contents would take the memory of the grader."""
    end = data.rfind(b"PK\5\6", max(0, len(data) - 2**16 - 22))
    if end < 0 or len(data) < end + 22:
        raise zipfile.BadZipFile("its list of contents is missing")
    size = int.from_bytes(data[end + 12 : end + 16], "little")
    if size > LARGEST_DIRECTORY or data[end - 20 : end - 16] == b"PK\6\7":
        raise Refused("the archive holds too many files")
