"""What goes to a terminal: text that fits it, in characters that it has; and whether somebody sits at it."""

import codecs
import contextlib
import io
import os
import re
import shutil
import sys
import textwrap
import unicodedata
from typing import Any

LONGEST = 100  # characters of a line that can still be read
WORDS = {  # for what a code page, such as cp1252 where Windows' pipes begin, does not have
    "✓": "ok",
    "✗": "x",
    "•": "*",
    "·": ".",
    "★": "*",
    "─": "-",
    "‖": "||",
    "−": "-",
    "–": "-",
    "—": "-",
    "…": "...",
    "×": "x",
    "÷": "/",
    "±": "+-",
    "→": "->",
    "←": "<-",
    "↔": "<->",
    "⇒": "=>",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
    "≈": "~",
    "∝": "~",
    "°": " degrees",
    "∞": "inf",
    "∂": "d",
    "∑": "sum",
    "∏": "product",
    "√": "sqrt ",
    "⟨": "<",
    "⟩": ">",
    "′": "'",
    "‴": "'''",
    "“": '"',
    "”": '"',
    "’": "'",
    "∥": "||",
}


def set_up() -> None:
    """Let stdout and stderr write what their encoding has not in plainer words (`plainer`), instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # else it is a notebook's, or a test's
            stream.reconfigure(errors="minires.plainer")


def plainer(error: UnicodeError) -> tuple[str, int]:
    """Python's handler "minires.plainer" of what cannot be encoded: ✓ as ok, γ as gamma, x² as x^2, else as \\u2713."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = "".join(map(_plain, error.object[error.start : error.end]))
    return re.sub(r"(?<=\^.)\^", "", text), error.end  # 10⁻⁵ is 10^-5


codecs.register_error("minires.plainer", plainer)


def columns(stream: Any = None) -> int:
    """How wide the terminal of the stream (stdout unless given) is; COLUMNS or 80 where there is none."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.get_terminal_size((stream or sys.stdout).fileno()).columns or 80
    return shutil.get_terminal_size().columns


def wrapped(text: str, first: str = "", rest: str | None = None) -> str:
    """The text in lines that fit the terminal and are not too long to be read.

    first, rest: what the first line begins with, and the others (default: as many spaces).
    """
    return textwrap.fill(
        text,
        max(min(columns(), LONGEST), 30),
        initial_indent=first,
        subsequent_indent=" " * len(first) if rest is None else rest,
        break_on_hyphens=False,
        break_long_words=False,
    )


def fitted(text: str) -> str:
    """The text, its long lines wrapped under their own indentation if stdout is a terminal."""
    if not sys.stdout.isatty():
        return text
    lines = []
    for line in text.splitlines():
        indent = line[: len(line) - len(line.lstrip())]
        lines.append(line if len(line) <= columns() else wrapped(line.lstrip(), indent, f"{indent}  "))
    return "\n".join(lines)


def somebody_is_there() -> bool:
    """Whether a person can be asked: both stdin and stdout are a terminal."""
    try:
        return sys.stdin.isatty() and sys.stdout.isatty()
    except (AttributeError, ValueError):  # there is none, or it is closed
        return False


def _plain(character: str) -> str:
    """The character in ASCII, or as Python escapes it."""
    if character in WORDS:
        return WORDS[character]
    name = unicodedata.name(character, "")
    if greek := re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (\w+)", name):
        return greek[2].lower().replace("lamda", "lambda") if greek[1] == "SMALL" else greek[2].capitalize()
    sign = "^" if unicodedata.decomposition(character).startswith("<super>") else ""
    text = unicodedata.normalize("NFKD", character).replace("⁄", "/").replace("−", "-")
    text = "".join(c for c in text if not unicodedata.combining(c))
    return sign + text if text.isascii() else character.encode("ascii", "backslashreplace").decode()
