"""What came of a class: a record of each submission, the table ``grades.csv`` and the page ``index.html``."""

import html
import math
from collections import Counter
from pathlib import Path
from typing import Any

from ..csv_files import write_csv
from ..files import replacing
from .assignment import Assignment, added
from .formats import clean
from .grading import Result

BINS = 10
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; font-size: 0.92rem; }
th, td { text-align: left; padding: 0.25rem 0.6rem; border-bottom: 1px solid #ddd; vertical-align: top; }
th { border-bottom: 2px solid #888; } .n { text-align: right; white-space: nowrap; }
.bar { background: #eee; width: 9rem; height: 0.8rem; margin-top: 0.35rem; } .bar i { display: block; height: 100%; }
.lost { background: #c2452d; } .won { background: #2f7d5b; } .grey { color: #666; } a { color: #1d5fa8; }
svg { max-width: 100%; height: auto; }
@media (max-width: 40rem) { .bar { width: 2rem; } th.n { white-space: normal; } td, th { padding: 0.25rem 0.3rem; } }
"""


def record(result: Result) -> dict[str, Any]:
    """What a teacher wants to know of one submission, as plain values."""
    tests = [
        {
            "number": test.number,
            "part": test.test.part,
            "name": test.test.name,
            "hidden": test.test.hidden,
            "score": test.score,
            "points": test.test.points,
            "status": test.status,
            "mistake": "" if test.status == "passed" else clean(test.brief or test.status)[:120],
        }
        for test in result.tests
    ]
    return {
        "file": clean(result.file),
        "remark": clean(result.trouble.partition("\n")[0] or result.note)[:300],
        "score": result.score,
        "points": result.points,
        "seconds": round(result.seconds, 2),
        "tests": tests,
    }


def line(found: dict[str, Any]) -> str:
    """A submission's line on the terminal."""
    if "cannot" in found:
        return f"  could not be graded  {found['name']}: {found['cannot']}"
    remark = f"  {found['remark']}" if found["remark"] else ""
    return f"{found['score']:>5g} of {found['points']:g}  {found['seconds']:>5.1f} s  {found['name']}{remark}"


def summary(records: list[dict[str, Any]], count: int) -> str:
    """How many were graded, and how."""
    graded = [r for r in records if "cannot" not in r]
    text = f"{len(graded)} of {count} submissions graded"
    if graded:
        scores = sorted(r["score"] for r in graded)
        middle = (scores[(len(scores) - 1) // 2] + scores[len(scores) // 2]) / 2
        text += f": mean {sum(scores) / len(scores):.1f}, median {middle:g} of {graded[0]['points']:g} points"
    return f"{text}."


def write(target: Path, assignment: Assignment, records: list[dict[str, Any]], count: int) -> None:
    """Write ``grades.csv`` and ``index.html`` into this folder."""
    header = ["submission", "status", "score", "points", *assignment.parts, "seconds", "file", "remark"]
    rows = []
    for found in records:
        tests = found.get("tests", [])
        of_parts = {part: [t["score"] for t in tests if t["part"] == part] for part in assignment.parts}
        parts = [added(scores) if scores else "" for scores in of_parts.values()]  # a part of hidden tests may not run
        status = "could not be graded" if "cannot" in found else "graded"
        score, points, seconds, file = (found.get(name, "") for name in ("score", "points", "seconds", "file"))
        rows.append(
            [found["name"], status, score, points, *parts, seconds, file, found.get("cannot", found.get("remark", ""))]
        )
    write_csv(target / "grades.csv", header, rows)
    with replacing(target / "index.html") as temporary:
        temporary.write_text(page(assignment, records, count), encoding="utf-8")


def page(assignment: Assignment, records: list[dict[str, Any]], count: int) -> str:
    """The overview as one page that needs no other file."""
    graded = [r for r in records if "cannot" not in r]
    title = html.escape(f"{assignment.name}: {count} submissions")
    sections = [f"<h1>{title}</h1><p>{html.escape(summary(records, count))}</p>"]
    if graded:
        sections += [
            f"<h2>Points</h2>{histogram(graded)}",
            f"<h2>Tests, those that fail most first</h2>{tests_table(graded)}",
            f"<h2>Mistakes</h2>{mistakes_table(graded)}",
        ]
    sections.append(f"<h2>Submissions</h2>{submissions_table(records)}")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    body = "".join(sections)
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>\n<body>{body}</body></html>\n'


def histogram(graded: list[dict[str, Any]]) -> str:
    """How many submissions have how many points, as a drawing."""
    points = graded[0]["points"] or 1.0
    counts = Counter(min(int(BINS * r["score"] / points), BINS - 1) for r in graded)
    highest, width, height = max(counts.values()), 56, 130
    bars = []
    for i in range(BINS):
        tall = height * counts[i] / highest
        low, high = points * i / BINS, points * (i + 1) / BINS
        label = f"{low:g}–{high:g}"
        x = i * width + 4
        bars.append(
            f'<rect x="{x}" y="{height + 20 - tall:.1f}" width="{width - 8}" height="{tall:.1f}" fill="#2f7d5b"/>'
            f'<text x="{x + width / 2 - 4}" y="{height + 14 - tall:.1f}">{counts[i] or ""}</text>'
            f'<text x="{x + width / 2 - 4}" y="{height + 38}" fill="#666">{label}</text>'
        )
    size = f"0 0 {BINS * width} {height + 62}"
    axis = f'<text x="{BINS * width / 2}" y="{height + 57}" fill="#666">points</text>'
    return (
        f'<svg viewBox="{size}" width="{BINS * width}" font-size="13" text-anchor="middle">{"".join(bars)}{axis}</svg>'
    )


def tests_table(graded: list[dict[str, Any]]) -> str:
    """A row per test: how many did not pass it, and by which mistake most often."""
    rows = []
    for i, test in enumerate(graded[0]["tests"]):
        of_all = [r["tests"][i] for r in graded if i < len(r["tests"])]
        failed = [t for t in of_all if t["status"] != "passed"]
        common = Counter(t["mistake"] for t in failed).most_common(1)
        often = f"{html.escape(common[0][0])} ({common[0][1]})" if common else ""
        name = f"{test['number']} {test['part']}: {test['name']}{' (hidden)' if test['hidden'] else ''}"
        cells = [
            html.escape(name),
            f"{test['points']:g}",
            str(len(failed)),
            bar(len(failed) / len(of_all), "lost"),
            often,
        ]
        rows.append((len(failed), cells))
    rows.sort(key=lambda row: -row[0])
    return table(["Test", "Points", "Not passed", "", "Most often"], [cells for _, cells in rows], {1, 2})


def mistakes_table(graded: list[dict[str, Any]]) -> str:
    """A row per kind of mistake: how many submissions have it, and which."""
    who: dict[str, list[dict[str, Any]]] = {}
    for found in graded:
        for mistake in {t["mistake"] for t in found["tests"]} - {""}:
            who.setdefault(mistake, []).append(found)
    rows = []
    for mistake, those in sorted(who.items(), key=lambda item: (-len(item[1]), item[0])):
        links = ", ".join(link(r) for r in those[:6]) + (f" and {len(those) - 6} more" if len(those) > 6 else "")
        rows.append([html.escape(mistake), str(len(those)), links])
    return table(["Mistake", "Submissions", ""], rows, {1}) if rows else "<p>None.</p>"


def submissions_table(records: list[dict[str, Any]]) -> str:
    """A row per submission, with a link to its report."""
    rows = []
    for r in records:
        if "cannot" in r:
            rows.append([html.escape(r["name"]), "–", "", f"could not be graded: {html.escape(r['cannot'])}"])
            continue
        share = r["score"] / r["points"] if r["points"] else 0.0
        rows.append([link(r), f"{r['score']:g} of {r['points']:g}", bar(share, "won"), html.escape(r["remark"])])
    return table(["Submission", "Points", "", "Remark"], rows, {1})


def link(found: dict[str, Any]) -> str:
    """A submission's name, leading to its report."""
    return f'<a href="{html.escape(found["report"])}">{html.escape(found["name"])}</a>'


def bar(share: float, kind: str) -> str:
    """A bar for a share between 0 and 1."""
    share = share if math.isfinite(share) else 0.0
    return f'<div class="bar"><i class="{kind}" style="width: {100 * min(max(share, 0), 1):.0f}%"></i></div>'


def table(header: list[str], rows: list[list[str]], numbers: set[int]) -> str:
    """A table of cells that are HTML already; ``numbers``: columns set to the right."""
    kinds = [' class="n"' if i in numbers else "" for i in range(len(header))]
    head = "".join(f"<th{kind}>{cell}</th>" for cell, kind in zip(header, kinds))
    body = "".join("<tr>" + "".join(f"<td{k}>{c}</td>" for c, k in zip(row, kinds)) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
