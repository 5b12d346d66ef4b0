"""Tables as CSV files that are safe to open in a spreadsheet."""

import csv
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

from .files import replacing

NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(inf|nan)")
FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # and the full-width forms, which some programs take for them


def write_csv(path: str | os.PathLike, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table, whole or not at all, in UTF-8. Text that a spreadsheet would compute gets an apostrophe in front.

    That is text that begins with =, +, - or @ and is not a number, or with a tab or line break. Source: OWASP, CSV
    Injection, https://owasp.org/www-community/attacks/CSV_Injection.
    """
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerows([_cell(value) for value in row] for row in (header, *rows))


def _cell(value: Any) -> Any:
    if not isinstance(value, str) or NUMBER.fullmatch(value):
        return value
    return f"'{value}" if value.lstrip().startswith(FORMULA) or value.startswith(("\t", "\r", "\n")) else value
