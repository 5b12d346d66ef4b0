"""Every lesson is short, half of it is text, and it has all the parts that a lesson has."""

import io
import re
import tokenize

import pytest

from minires.commands.lessons import read_lessons
from minires.coursework.assignments import ASSIGNMENTS

LESSONS = read_lessons()
BLANK = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def each_lesson(test):
    return pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.path.stem)(test)


def text_and_code(source):
    """The lines of text, which are comments and docstrings, and those of code; blank ones are neither."""
    rows, text, code, before = source.splitlines(), set(), set(), tokenize.NEWLINE
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        lines = range(token.start[0], token.end[0] + 1)
        if token.type == tokenize.COMMENT:
            text.update(lines)  # behind code it is code: see the last line
        elif token.type == tokenize.STRING and before in BLANK:  # a docstring
            text.update(lines)
        elif token.type not in BLANK:
            code.update(lines)
        if token.type not in (tokenize.NL, tokenize.COMMENT):
            before = token.type
    code = {line for line in code if rows[line - 1].strip()}
    return [[rows[i - 1].strip() for i in sorted(some) if rows[i - 1].strip()] for some in (text - code, code)]


def section(prose, title):
    """The text under a heading, up to the next."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", prose, re.MULTILINE | re.DOTALL)
    assert found, f"the heading '## {title}' is missing"
    return found[1]


def test_text_and_code_are_told_apart():
    source = '# a\nx = 1  # b\n\n\ndef f():\n    """Two\n\n    lines."""\n    return """c\n    d"""\n'
    text, code = text_and_code(source)
    assert text == ["# a", '"""Two', 'lines."""']
    assert code == ["x = 1  # b", "def f():", 'return """c', 'd"""']


@each_lesson
def test_it_is_short_and_half_of_it_is_text(lesson):
    source = lesson.path.read_text("utf-8")
    assert 100 <= len(source.splitlines()) <= 305, f"{len(source.splitlines())} lines"
    text, code = text_and_code(source)
    by_lines = len(text) / (len(text) + len(code))
    written = sum(len(line.lstrip("# ")) for line in text)
    by_characters = written / (written + sum(map(len, code)))
    assert max(by_lines, by_characters) >= 0.48, f"text is {by_lines:.0%} of lines, {by_characters:.0%} of characters"


@each_lesson
def test_it_has_all_the_parts(lesson):
    text, code = text_and_code(lesson.path.read_text("utf-8"))
    prose, program = "\n".join(line.removeprefix("#").removeprefix(" ") for line in text), "\n".join(code)
    assert "**Predict first.**" in prose
    guesses = re.findall(r"^- ([a-z])\) ", prose, re.MULTILINE)
    assert guesses == list("abcdefgh"[: len(guesses)]) and len(guesses) >= 3, f"answers to choose from: {guesses}"
    assert "\n$$" in prose, "a derivation has an equation"
    assert re.search(r"librar|`mr\.|minires", prose), "after the code by hand comes the library's"
    assert "\nshow(" in program and "\nclaim(" in program and program.endswith("\nfinish()")
    assert re.search(r"^ *print\(\s*f\"[^\"]*{", program, re.MULTILINE), "what was measured is said in a sentence"
    mistakes = re.findall(r"^(?:- |\d\. )?\*\*", section(prose, "Common mistakes"), re.MULTILINE)
    assert len(mistakes) >= 2, f"{len(mistakes)} common mistakes begin with words in bold face"
    exercises = section(prose, "Exercises")
    linked = re.findall(r"`minires new (\w+)`", exercises)
    assert len(re.findall(r"^(?:- |\d\. )", exercises, re.MULTILINE)) >= 2
    assert linked and set(linked) <= set(ASSIGNMENTS), linked
    sources = section(prose, "Sources")
    assert sources.startswith("\n- ") and re.search(r"\b(19|20)\d\d\b", sources), "who, when and where"
