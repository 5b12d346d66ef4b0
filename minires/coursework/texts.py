"""The Python text of a file that was handed in: a script in some encoding, or a notebook's code cells.

Nothing is run here, and nothing parsed as Python: what a submission says is only read where it also runs.
"""

import json
import re

LARGEST_TEXT = 2**20  # bytes of Python
ENCODINGS = re.compile(
    r"utf-?8(-sig)?|(us-)?ascii|latin-?1|iso-?8859-?\d+|cp125\d|windows-125\d|mac-?roman|koi8-[ru]|"
    r"euc-?(jp|kr)|shift-?jis|cp9(32|36|49|50)|gbk|gb2312|gb18030|big5",
    re.I,
)
COOKIE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")  # PEP 263
SIGNATURES = {
    b"%PDF": "a PDF document",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"\x1f\x8b": "a gzip archive",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"{\\rtf": "an RTF document",
    b"<!DOCTYPE": "a web page",
    b"<html": "a web page",
    b"\xd0\xcf\x11\xe0": "an Office document",
}
BODY_RUNS = "%%time", "%%timeit", "%%capture", "%%prun"  # cell magics whose cell is Python all the same


class Refused(Exception):
    """This file is not read; the reason, in words for the learner."""


def text_of(data: bytes, name: str) -> str:
    """The Python text of a script or of a notebook's code cells. Raises Refused if it has none."""
    for signature, kind in SIGNATURES.items():
        if data.lstrip()[: len(signature)].lower() == signature.lower():
            raise Refused(f"{name} is {kind}")
    if data[257:262] == b"ustar":
        raise Refused(f"{name} is a tar archive")
    if is_notebook(data):
        return notebook_text(data, name)
    if name.lower().endswith(".ipynb") and data.lstrip()[:1] == b"{":
        raise Refused(f"{name} is a damaged notebook, or none")
    if len(data) > LARGEST_TEXT:
        raise Refused(f"{name} has {len(data) / 2**20:.0f} MB of text; is it the file you meant to hand in?")
    return decoded(data, name)


def decoded(data: bytes, name: str) -> str:
    """A script's text, in UTF-8 or in the encoding that its first lines name, if that is a plain one."""
    encoding = "utf-8-sig"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):  # as Windows' editors write it
        encoding = "utf-16"
    else:
        for line in data.split(b"\n", 2)[:2]:
            if found := COOKIE.match(line[:200]):
                named = found[1].decode("ascii").replace("_", "-")
                if not ENCODINGS.fullmatch(named):
                    raise Refused(f"{name} names the encoding {named[:40]}, which is not read here: save it as UTF-8")
                encoding = "utf-8-sig" if named.lower().startswith("utf") else named
                break
    try:
        text = data.decode(encoding)
    except (UnicodeDecodeError, LookupError) as error:
        at = f" (line {data[: error.start].count(10) + 1})" if isinstance(error, UnicodeDecodeError) else ""
        said = encoding.upper().removesuffix("-SIG")
        raise Refused(f"{name} cannot be read as a Python file: it is not in {said}{at}; save it as UTF-8") from None
    if "\0" in text:
        raise Refused(f"{name} cannot be read as a Python file: there are zero bytes in it; save it as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def is_zip(data: bytes) -> bool:
    """Whether these bytes begin as an archive does."""
    return data.startswith((b"PK\3\4", b"PK\5\6"))


def is_notebook(data: bytes) -> bool:
    """Whether these bytes look like a Jupyter notebook, which is JSON; as Windows' programs save it, too."""
    if data.startswith((b"\xff\xfe{\0", b"\xfe\xff\0{")):
        return b"\0".join(b'"cells"'[i : i + 1] for i in range(7)) in data
    return data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{" and b'"cells"' in data and b'"nbformat"' in data


def notebook_text(data: bytes, name: str) -> str:
    """The code cells of a notebook, one after the other, without nbgrader's own tests."""
    try:
        cells = json.loads(data)["cells"]
        texts = [cell_text(cell) for cell in cells if cell.get("cell_type") == "code" and not is_test(cell)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Refused(f"{name} is a damaged notebook ({type(error).__name__})") from None
    text = "\n\n".join(texts) + "\n"
    if not text.strip():
        raise Refused(f"{name} is a notebook without code")
    if len(text) > LARGEST_TEXT:
        raise Refused(f"{name} has {len(text) / 2**20:.0f} MB of code; is it the file you meant to hand in?")
    return text


def is_test(cell: dict) -> bool:
    """Whether nbgrader put this cell there to grade others."""
    about = cell.get("metadata", {}).get("nbgrader", {})
    return bool(about.get("grade")) and not about.get("solution")


def cell_text(cell: dict) -> str:
    """A cell's code; a cell in another language (``%%bash``) as comments."""
    source = cell["source"]
    text = source if isinstance(source, str) else "".join(source)
    if text.lstrip().startswith("%%"):
        first, _, rest = text.lstrip().partition("\n")
        if first.split()[0] not in BODY_RUNS:
            rest = "\n".join(f"# {line}" for line in rest.splitlines())
        text = f"# {first}\n{rest}"
    return text
