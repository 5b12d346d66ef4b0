"""The lessons' Markdown, as the site reads it."""

import importlib.util

import pytest

from minires.commands.lessons import FOLDER

pytest.importorskip("docutils", reason="the site is written with Sphinx, which brings docutils")


@pytest.fixture(scope="module")
def rst():
    specification = importlib.util.spec_from_file_location("markdown_to_rst", FOLDER / "markdown_to_rst.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.rst


def html(text):
    from docutils.core import publish_parts
    from docutils.writers.html5_polyglot import Writer

    settings = {"report_level": 1, "halt_level": 1, "math_output": "MathJax somewhere"}  # a remark is an error
    return publish_parts(text, writer=Writer(), settings_overrides=settings)["body"]


@pytest.mark.parametrize("start", ["a) Nearly as good.", "J. Elman, *Finding structure in time*, 1990."])
def test_a_letter_begins_no_list_within_a_list_item(rst, start):
    found = html(rst(f"- {start}\n- Another."))
    assert "<ol" not in found and found.count("<li>") == 2 and start.split(",")[0] in found


def test_bold_code_and_formulas(rst):
    found = html(rst("**Bold**, `code` and $W_{hh}$.\n\n$$y = F(x) + x$$"))
    assert "<strong>Bold</strong>" in found and "code</" in found and "W_{hh}" in found and "F(x) + x" in found


def test_code_and_formulas_stand_within_emphasis(rst):
    found = html(rst("*What becomes of `f`? And `g`, $x$, or `h`?*"))
    assert found.count("<em>") == 5 and all(f"{name}</" in found for name in "fgh") and "`" not in found


def test_blocks_of_code_are_left_as_they_are(rst):
    found = rst("Look:\n\n```python\nx = 1  # *one*\n\n\n- x\n```\nThen text.")
    assert found == "Look:\n\n.. code-block:: python\n\n   x = 1  # *one*\n\n\n   - x\n\nThen text.\n"
    assert "<em>" not in html(found) and "Then text." in html(found)


def test_the_page_about_a_network_of_your_own_becomes_a_page(rst):
    found = html(rst((FOLDER / "your_network.md").read_text("utf-8")))
    assert found.count("<pre") == 4 and "<li>" in found and "```" not in found
