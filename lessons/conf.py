"""The site of the lessons: ``python -m pip install -e '.[lessons]' && sphinx-build lessons site``, then open site/index.html.

Its figures and numbers are those of full runs. These are kept (results.py) as long as the lesson and what it uses of
the package do not change; the lessons whose results no longer hold are run as the site is built, one after the other:
all of them take some ten minutes. ``MINIRES_QUICK=1 sphinx-build lessons site`` makes do with quick runs,
which answer nothing, in a minute or two. A claim that fails ends the build. The site needs no network.
"""

import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
QUICK = os.environ.get("MINIRES_QUICK", "") not in ("", "0")
PAGES, BUILD = HERE / "pages", HERE / "build"  # generated, like api, and ignored by git
EXTRA, STATIC = BUILD / "extra", BUILD / "static"  # what goes to the site's root, and into _static
for folder in (EXTRA, STATIC):  # which Sphinx wants to see before they are filled
    folder.mkdir(parents=True, exist_ok=True)

from api_pages import readable, write_api_pages  # noqa: E402
from docutils.nodes import SkipNode, Text, math  # noqa: E402
from formulas import SIGNS, Katex, pieces, with_sign  # noqa: E402
from markdown_to_rst import rst  # noqa: E402
from pages import cards, check_answers, lesson_page, write_thumbnail  # noqa: E402
from results import forget_others, is_kept, result, scripts  # noqa: E402
from sphinx.parsers import RSTParser  # noqa: E402
from sphinx.util import logging  # noqa: E402

import minires  # noqa: E402
from minires.commands.lessons import read_lessons, write_notebooks  # noqa: E402

project = "minires"
author = "the minires authors"
version = release = minires.__version__
extensions = ["sphinx.ext.autodoc"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
exclude_patterns = [
    "README.md",
    "answers/README.md",
    "exercises/[!R]*",
    "figures",
    "kernels",
    "build",
    "output",
    "**/.*",
]
default_role = "literal"
add_module_names = False
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 100
html_theme = "furo"
html_title = f"minires {version}"
html_math_renderer = "katex"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_static_path = ["static", "build/static"]
html_extra_path = ["build/extra"]
html_css_files = ["katex/katex.css", "site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
templates_path = ["templates"]

katex = Katex()

TELL_HEIGHT = """<script>
if (parent !== window) {
  const tell = () => parent.postMessage({ height: document.getElementById("explorer").scrollHeight + 24 }, "*");
  new ResizeObserver(tell).observe(document.getElementById("explorer"));
}
</script>
"""  # in the explorer, when a page shows it in a frame


class MarkdownParser(RSTParser):
    """Markdown pages, such as the glossary."""

    supported = ("markdown",)

    def parse(self, inputstring, document):
        super().parse(rst(inputstring if isinstance(inputstring, str) else "\n".join(inputstring)), document)


def write_pages(app) -> None:
    """Write what is made of the lessons: pages, notebooks, figures, the explorer."""
    forget_others(QUICK)
    stale = [script.stem for script in scripts() if not is_kept(script, QUICK)]
    if stale:
        logging.getLogger(__name__).info(f"{'quick' if QUICK else 'full'} runs of {', '.join(stale)}")
    made = {script.stem: result(script, QUICK) for script in scripts()}
    for folder in (PAGES, EXTRA / "figures", EXTRA / "thumbnails"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    katex.put_files(STATIC / "katex")
    explorer = (made.pop("home_explorer").folder / "explorer.html").read_text(encoding="utf-8")
    (EXTRA / "explorer.html").write_text(explorer.replace("</body>", f"{TELL_HEIGHT}</body>"), encoding="utf-8")
    check_answers((HERE / "zh.md").read_text(encoding="utf-8"), made)
    lessons = read_lessons()
    write_notebooks(lessons, BUILD / "notebooks")
    for lesson in lessons:
        found = made[lesson.path.stem]
        for figure in found.folder.glob("*.png"):
            shutil.copyfile(figure, EXTRA / "figures" / figure.name)
        write_thumbnail(lesson, found, EXTRA / "thumbnails")
        (PAGES / f"{lesson.path.stem}.rst").write_text(lesson_page(lesson, found), encoding="utf-8")
    (PAGES / "cards.html").write_text(cards(lessons), encoding="utf-8")


def join_signs(app, doctree, name) -> None:
    """Make the sign that follows a formula a part of it."""
    for node in doctree.findall(math):
        after = node.next_node(Text, descend=False, siblings=True, ascend=False)
        if after is not None and node.parent.index(after) == node.parent.index(node) + 1 and after[:1] in SIGNS:
            node["sign"] = after[0]
            node.parent.replace(after, Text(after[1:]))


def inline_math(translator, node) -> None:
    translator.body.append(with_sign(katex.html(node.astext(), display=False), node.get("sign", "")))
    raise SkipNode


def display_math(translator, node) -> None:
    parts = "".join(katex.html(part, display=True) for part in pieces(node.astext()))
    translator.body.append(f'<div class="formula">{parts}</div>\n')
    raise SkipNode


def setup(app) -> None:
    app.add_source_parser(MarkdownParser)
    app.add_html_math_renderer("katex", (inline_math, None), (display_math, None))
    app.connect("builder-inited", write_pages)
    app.connect("builder-inited", lambda app: write_api_pages(HERE / "api"))
    app.connect("doctree-resolved", join_signs)
    app.connect("build-finished", lambda app, error: katex.end())
    app.connect("autodoc-process-docstring", readable)
