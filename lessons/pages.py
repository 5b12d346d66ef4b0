"""The pages of the site that are made of lessons and their results, in reStructuredText.

Text and code are the lesson's. What it printed, its figures and its sliders are HTML, which static/site.js makes
movable: **Predict first** becomes a question with buttons, which then opens the figure that answers it.
"""

import html
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jupytext
from markdown_to_rst import rst
from PIL import Image
from results import Result

from minires.commands.lessons import Lesson

GUESS = re.compile(r"^\*\*Predict first\.\*\*(?s:.*?)^- a\) (?:.+\n|\n(?=- [a-z]\) ))+", re.MULTILINE)
THUMBNAIL = (640, 288)  # pixels, at most
QUICK_ANSWER = "This page was made of a quick run, which is too small to answer."


@dataclass
class Page:
    """A lesson's page while it is written: its reStructuredText, and what the guess opens."""

    lesson: Lesson
    result: Result
    parts: list[str] = field(default_factory=list)

    @property
    def opens(self) -> tuple[str, str]:
        """Names of the printed text that answers the question, and of the figure that shows it: "" if there is none."""
        answered = self.result.answered
        if answered is None:
            return "", ""
        cells = self.result.cells
        order = [*range(answered, len(cells)), *reversed(range(answered))]
        figures = [piece["figure"]["name"] for i in order for piece in cells[i] if "figure" in piece]
        texts = [f"out-{answered}-{i}" for i, piece in enumerate(cells[answered]) if "text" in piece]
        return (texts[-1] if texts else ""), (figures[0] if figures else "")


def lesson_page(lesson: Lesson, result: Result) -> str:
    """The page of a lesson."""
    page = Page(lesson, result)
    number = 0
    for i, cell in enumerate(jupytext.read(lesson.path, fmt="py:percent").cells):
        if cell.cell_type == "markdown":
            page.parts.append(_text(page, cell.source))
        else:
            if cell.source.strip() != "finish()":
                page.parts.append(_block("code-block", "python", cell.source))
            for k, piece in enumerate(result.cells[number]):
                page.parts.append(_piece(page, number, f"out-{number}-{k}", piece))
            number += 1
        if i == 0:
            page.parts.append(_tools(lesson, result))
    return "\n".join(page.parts)


def check_answers(translation: str, results: dict[str, Result]) -> None:
    """Raise ValueError if a translation gives another answer than a full run, or leaves a lesson out."""
    told = dict(re.findall(r"\]\((\d\d_\w+)\.py\)(?s:.*?)\*\*答案 ([a-z])\)", translation))
    measured = {stem: result.answer for stem, result in results.items() if not result.quick}
    wrong = {stem: (told.get(stem), answer) for stem, answer in measured.items() if told.get(stem) != answer}
    if wrong:
        raise ValueError(f"zh.md: got other answers than the lessons measured, (told, measured): {wrong}")


def write_thumbnail(lesson: Lesson, result: Result, folder: Path) -> None:
    """The figure that answers the lesson's question, small."""
    name = Page(lesson, result).opens[1] or next(
        p["figure"]["name"] for cell in result.cells for p in cell if "figure" in p
    )
    with Image.open(result.folder / f"{name}.png") as image:
        small = image.convert("RGB")
        small.thumbnail(THUMBNAIL)
        small.save(folder / f"{lesson.path.stem}.png", optimize=True)


def _text(page: Page, markdown: str) -> str:
    """A Markdown cell; the guesses in it become a question to click at."""
    found = GUESS.search(markdown + "\n")
    if not found:
        return rst(markdown)
    text, figure = page.opens
    data = {"answer": page.result.answer, "text": text, "figure": figure and f"figure-{figure}"}
    attributes = "".join(f' data-{name}="{html.escape(value)}"' for name, value in data.items())
    if not page.result.answer:
        attributes += f' data-unknown="{html.escape(f"{QUICK_ANSWER} Run minires lessons {page.lesson.number}.")}"'
    before, after = markdown[: found.start()], (markdown + "\n")[found.end() :]
    opened, closed = _raw(f'<div class="guess"{attributes}>'), _raw("</div>")
    return "\n".join([rst(before), opened, rst(found[0]), closed, rst(after)])


def _tools(lesson: Lesson, result: Result) -> str:
    """Where to have the lesson, and what ran to make this page."""
    stem = lesson.path.stem
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    run = "the full run" if not result.quick else "a quick run, too small to answer anything"
    return (
        f".. container:: tools\n\n   :download:`script <../{stem}.py>` · :download:`notebook <../build/notebooks/{stem}.ipynb>`"
        f" · ``minires lessons {lesson.number}`` · figures and numbers: {run} ({versions})\n"
    )


def _piece(page: Page, number: int, name: str, piece: dict[str, Any]) -> str:
    """What a cell printed, drew, or lets slide; covered, until there is a guess, if it gives the answer away."""
    text, figure = page.opens
    if "text" in piece:
        lines = "".join(f"<span>{html.escape(line)}\n</span>" for line in piece["text"].split("\n"))
        covered = " covered" if name == text else ""
        return _raw(f'<pre class="printed{covered}" id="{name}" tabindex="0">{lines}</pre>')
    if "figure" in piece:
        name, title = piece["figure"]["name"], piece["figure"]["title"]
        with Image.open(page.result.folder / f"{name}.png") as image:
            width, height = image.size
        covered = " covered" if name == figure else ""
        return _raw(
            f'<figure class="drawn{covered}" id="figure-{name}"><img src="../figures/{name}.png" width="{width}" '
            f'height="{height}" loading="lazy" alt="{html.escape("Figure: " + (title or name))}"></figure>'
        )
    slider = json.dumps(piece["slider"], ensure_ascii=False)
    sentence = piece["slider"]["sentences"][piece["slider"]["at"]]
    covered = " covered" if number == page.result.answered else ""
    return _raw(f'<div class="slide{covered}" data-slider="{html.escape(slider)}"><p>{html.escape(sentence)}</p></div>')


def _block(directive: str, argument: str, text: str) -> str:
    return f".. {directive}:: {argument}\n\n" + "".join(f"   {line}".rstrip() + "\n" for line in text.splitlines())


def _raw(text: str) -> str:
    return _block("raw", "html", text)


# ── the first page ──────────────────────────────────────────────────────────────────────────────────────────────────


def cards(lessons: list[Lesson]) -> str:
    """The lessons with a figure of each, in HTML; addresses as seen from the site's root."""
    inside = "".join(
        f'<a class="card" href="pages/{lesson.path.stem}.html">'
        f'<img src="thumbnails/{lesson.path.stem}.png" alt="" loading="lazy">'
        f'<span class="title">{lesson.number}. {_inline(lesson.title)}</span>'
        f'<span class="question">{_inline(lesson.question)}</span></a>\n'
        for lesson in lessons
    )
    return f'<div class="cards">\n{inside}</div>\n'


def _inline(markdown: str) -> str:
    return re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(markdown))
