"""What a notebook shows of a result: tables, small profiles and text, as HTML in the colours of the page.

Nothing here sets a colour, so that light and dark themes both work: ink is ``currentColor``, paler where less matters.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

DASHES = [("", "──"), ("5 3", "╌╌"), ("1 3", "┈┈")]  # of the first line of a profile, the second …; and in its legend
WIDTH, HEIGHT, LEFT, RIGHT, TOP, FOOT = 440, 116, 58, 432, 22, 92  # of a profile, and of the axes in it, in pixels
ESCAPED = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})


class Text(str):
    """Text that shows itself as it is where Python shows a value, as below a notebook's cell."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def escape(text: str) -> str:
    """Text that HTML shows as it is. (The standard library's ``html.escape`` is slow to import.)"""
    return text.translate(ESCAPED)


def block(*parts: str) -> str:
    """Pieces of HTML, below one another; wide ones scroll."""
    return f'<div style="overflow-x:auto">{"".join(parts)}</div>'


def line(text: str, pale: bool = False) -> str:
    """A line of text."""
    style = ' style="opacity:.7"' if pale else ""
    return f"<div{style}>{escape(text)}</div>"


def text(lines: str) -> str:
    """Several lines of text, in columns."""
    return f'<pre style="margin:.4em 0;font-family:monospace">{escape(lines)}</pre>'


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], whole: str, words: int = 1, most: int = 12) -> str:
    """A table: the first columns, so many, have words and start at the left; the others have numbers.

    Of more than ``most`` rows, the first and the last are shown, the number of those between, and where the whole is.
    """
    head, tail = (most // 2, most - most // 2) if len(rows) > most else (len(rows), 0)
    sides = ["left"] * words + ["right"] * (len(headings) - words)
    shown = [_row(row, sides) for row in rows[:head]]
    if tail:
        between = f'<td colspan="{len(headings)}" style="text-align:center;opacity:.7">'
        shown += [f"<tr>{between}… {len(rows) - most} more; {escape(whole)} …</td></tr>"]
        shown += [_row(row, sides) for row in rows[-tail:]]
    return (
        '<table style="border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.4em 0">'
        f"<thead>{_row(headings, sides, 'th')}</thead><tbody>{''.join(shown)}</tbody></table>"
    )


def _row(cells: Sequence[str], sides: Sequence[str], tag: str = "td") -> str:
    found = (
        f'<{tag} style="text-align:{side};padding:.1em .6em">{escape(cell)}</{tag}>' for side, cell in zip(sides, cells)
    )
    return f"<tr>{''.join(found)}</tr>"


def fold(summary: str, inside: Iterable[str], open: bool = False) -> str:
    """A line that unfolds into what is inside it."""
    start = '<details open="">' if open else "<details>"
    return f'{start}<summary>{escape(summary)}</summary><div style="padding-left:1em">{"".join(inside)}</div></details>'


def profile(
    lines: Mapping[str, Sequence[float]], x: str, log: bool = False, high: float | None = None, width: int = 0
) -> str:
    """Lines over their index, drawn small: SVG. ``{name: values}``; x: what the index is.

    The axis begins at 0, or below it if there are such values, and ends at ``high`` or the largest value. With ``log``
    it is logarithmic and spans a decade at least, so that rounding is not blown up; there, zeros are written at its
    foot. What is not finite is a cross at the top. width: how many values there is room for, if more than are given.
    """
    values = [float(v) for line in lines.values() for v in line if math.isfinite(v) and (v > 0 or not log)]
    low, top = _limits(values, log, high)
    count = max([width, *map(len, lines.values())])
    parts = []
    for i, line in enumerate(lines.values()):
        dash, pale = DASHES[i % len(DASHES)][0], 1 if i == 0 else 0.75
        parts.append(
            f'<g opacity="{pale}" stroke="currentColor" fill="none" stroke-dasharray="{dash}">'
            + "".join(_line(line, count, low, top, log))
            + "</g>"
        )
    name = ", ".join(lines)
    legend = "   ".join(f"{DASHES[i % len(DASHES)][1]} {name}" for i, name in enumerate(lines))
    parts += [
        f'<path d="M{LEFT} {TOP}V{FOOT}H{RIGHT}" stroke="currentColor" opacity=".4" fill="none"/>',
        _words(LEFT - 5, TOP + 4, f"{top:.3g}", "end"),
        _words(LEFT - 5, FOOT, f"{low:.3g}", "end"),
        _words(LEFT, TOP - 10, (legend if len(lines) > 1 else name) + ", logarithmic" * log, "start"),
        _words(RIGHT, FOOT + 16, x, "end"),
    ]
    about = f"{name} over {x}: from {min(values):.3g} to {max(values):.3g}" if values else f"{name}: nothing to draw"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(about)}" width="{WIDTH}" '
        f'height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" style="display:block;max-width:100%">{"".join(parts)}</svg>'
    )


def _limits(values: Sequence[float], log: bool, high: float | None) -> tuple[float, float]:
    """Both ends of the axis."""
    if not log:
        low, top = min([0.0, *values]), max([*values, 0.0]) if high is None else high
        return low, top if top > low else low + 1
    low, top = (min(values), max(values)) if values else (0.1, 1.0)
    middle, half = math.log10(low) / 2 + math.log10(top) / 2, max(math.log10(top) - math.log10(low), 1) / 2
    return 10 ** max(middle - half, -323), 10 ** min(middle + half, 308)


def _line(line: Sequence[float], count: int, low: float, top: float, log: bool) -> Iterable[str]:
    """The pieces between gaps, a dot for each value if there are few, and marks for what the axis cannot show."""
    scale = math.log10 if log else float

    def at(i: int) -> float:
        return LEFT + (RIGHT - LEFT) * (i + 0.5) / max(count, 1)

    def height(value: float) -> float:
        share = (scale(value) - scale(low)) / (scale(top) - scale(low))
        return FOOT - (FOOT - TOP) * min(max(share, 0), 1)

    def shown(value: float) -> bool:
        return math.isfinite(value) and (value > 0 or not log)

    for drawn, piece in groupby(enumerate(line), lambda pair: shown(pair[1])):
        if not drawn:
            for i, value in piece:
                yield _words(at(i), FOOT - 3 if value == 0 else TOP + 3, "0" if value == 0 else "×", "middle")
            continue
        points = [(at(i), height(value)) for i, value in piece]
        yield f'<polyline points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}"/>'
        if count <= 60 or len(points) == 1:
            yield "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="1.8" fill="currentColor"/>' for a, b in points)


def _words(x: float, y: float, text: str, anchor: str) -> str:
    style = f'font-size="11" text-anchor="{anchor}" fill="currentColor" stroke="none" style="white-space:pre"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'
