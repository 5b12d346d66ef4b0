"""The site of the lessons: ``python -m pip install -e '.[lessons]' && sphinx-build lessons site``, then open site/index.html.

The lessons are run as they are built, in their quick version; ``MINIRES_FULL=1 sphinx-build lessons site`` runs them in
full. A claim that fails ends the build. The site needs no network: formulas are MathML, which browsers set themselves.
"""

import os
import re
import shutil
import sys
import warnings
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
PAGES = HERE / "pages"  # the pages made of the lessons; like build and api, generated and ignored by git
if not os.environ.get("MINIRES_FULL"):
    os.environ["MINIRES_QUICK"] = "1"
os.environ["MINIRES_LESSON_OUTPUT"] = str(HERE / "build" / "output")

import jupytext  # noqa: E402
from api_pages import readable, write_api_pages  # noqa: E402
from docutils.nodes import SkipNode  # noqa: E402
from docutils.utils.math import MathError  # noqa: E402
from docutils.utils.math.latex2mathml import tex2mathml  # noqa: E402
from markdown_to_rst import rst  # noqa: E402
from sphinx.parsers import RSTParser  # noqa: E402

import minires  # noqa: E402
from minires.commands.lessons import read_lessons, write_notebooks  # noqa: E402

warnings.filterwarnings("ignore", "FigureCanvasAgg is non-interactive")

project = "minires"
author = "the minires authors"
version = release = minires.__version__
extensions = ["sphinx.ext.autodoc", "sphinx_gallery.gen_gallery"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
exclude_patterns = [
    "README.md",
    "answers/README.md",
    "exercises",
    "figures",
    "kernels",
    "pages/index.rst",
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
html_math_renderer = "mathml"
html_show_sphinx = False
html_static_path = ["static"]
html_css_files = ["site.css"]
pygments_style = "friendly"
sphinx_gallery_conf = {
    "examples_dirs": "build/source",
    "gallery_dirs": "pages",
    "filename_pattern": r"/\d\d_",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": True,
    "write_computation_times": False,
    "show_signature": False,
    "capture_repr": (),
    "matplotlib_animations": False,
    "thumbnail_size": (600, 270),
}

HEADER = """\
the-list-starts-here

From a number's gradient to why residual networks can be deep: each lesson asks a question, lets you guess, derives the
answer, measures it and checks what it claims. Start with the first, or with the figure that puzzles you.

"""


class MarkdownParser(RSTParser):
    """Markdown pages, such as the glossary."""

    supported = ("markdown",)

    def parse(self, inputstring, document):
        super().parse(rst(inputstring if isinstance(inputstring, str) else "\n".join(inputstring)), document)


# ── the lessons ─────────────────────────────────────────────────────────────────────────────────────────────────────


def lessons() -> list[Path]:
    return sorted(HERE.glob("[0-9][0-9]_*.py"))


def write_sources(app) -> None:
    """Write the lessons as sphinx-gallery wants them, text in reStructuredText, into build/source."""
    source = HERE / "build" / "source"
    source.mkdir(parents=True, exist_ok=True)
    known = {lesson.stem for lesson in lessons()}
    for old in [*source.glob("[0-9]*"), *PAGES.glob("[0-9]*")]:  # of a lesson that is no more
        if old.name.split(".")[0] not in known:
            old.unlink()
    (source / "GALLERY_HEADER.rst").write_text(HEADER, encoding="utf-8")
    for lesson in lessons():
        first, *cells = jupytext.read(lesson, fmt="py:percent").cells
        text = f'r"""\n{rst(first.source)}"""\n'
        for cell in cells:
            if cell.cell_type == "markdown":
                text += "\n# %%\n" + "".join(f"# {line}".rstrip() + "\n" for line in rst(cell.source).splitlines())
            elif cell.source != "finish()":
                text += f"\n# %%\n\n{cell.source}\n"
            else:
                text += f"\n{cell.source}\n"
        (source / lesson.name).write_text(text, encoding="utf-8")


def put_originals(app) -> None:
    """Let the downloads be the lessons themselves, and notebooks with Markdown, instead of what was made of them."""
    for lesson in lessons():
        shutil.copyfile(lesson, PAGES / lesson.name)
    write_notebooks(read_lessons(), PAGES)
    for archive in PAGES.glob("*.zip"):
        with zipfile.ZipFile(archive) as old:
            names = [Path(name).name for name in old.namelist()]
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as new:
            for name in names:
                new.write(PAGES / name, name)


def tidy(app, name: str, source: list[str]) -> None:
    """The page shows the figure; it need not say where a script would have written it."""
    if name.startswith("pages/"):
        source[0] = re.sub(r"^ +figure: .*\n", "", source[0], flags=re.MULTILINE)


# ── formulas ────────────────────────────────────────────────────────────────────────────────────────────────────────


def inline_math(translator, node) -> None:
    translator.body.append(mathml(node.astext(), as_block=False))
    raise SkipNode


def display_math(translator, node) -> None:
    translator.body.append(f'<div class="formula">{mathml(node.astext(), as_block=True)}</div>\n')
    raise SkipNode


def mathml(formula: str, as_block: bool) -> str:
    """The formula as MathML, written with what docutils understands: \\frac{1}{2}, \\ldots; brackets grow by themselves."""
    for pattern, written in (
        (r"(\\[td]?frac)\s*(\d)\s*(\d)", r"\1{\2}{\3}"),
        (r"\\dots(?![a-z])", r"\\ldots"),
        (r"\\[bB]ig[lr]?(?![a-z])", ""),
    ):
        formula = re.sub(pattern, written, formula)
    try:
        return tex2mathml(formula, as_block)
    except MathError as error:
        raise ValueError(f"the formula {formula!r} cannot be set: {error}") from error


def setup(app) -> None:
    app.add_source_parser(MarkdownParser)
    app.add_html_math_renderer("mathml", (inline_math, None), (display_math, None))
    app.connect("builder-inited", write_sources, priority=100)  # before sphinx-gallery
    app.connect("builder-inited", lambda app: write_api_pages(HERE / "api"), priority=100)
    app.connect("builder-inited", put_originals, priority=900)  # after it
    app.connect("source-read", tidy)
    app.connect("autodoc-process-docstring", readable)
