"""Markdown to reStructuredText, for the part of Markdown that the lessons use; the site reads nothing else.

Paragraphs, headings, lists with ``-`` and ``1.``, **bold**, *emphasis*, ``code``, links, formulas in ``$…$``, and
displayed ones in ``$$…$$`` on lines of their own, tables with a heading, and blocks of code between lines of ```.
"""

import re
import unicodedata

INLINE = re.compile(r"`([^`]+)`|\$([^$]+)\$|\[([^\]]+)\]\(([^)\s]+)\)|\*\*(.+?)\*\*|\*(?!\s)(.+?)(?<!\s)\*", re.DOTALL)
LIST_ITEM = re.compile(r"( *)([-*]|\d+\.) +")
UNDERLINES = "=-~^"


def rst(markdown: str) -> str:
    """The same text in reStructuredText."""
    out: list[str] = []
    for block in _blocks(markdown.splitlines()):
        indent = re.match(" *", block[0])[0]
        text = "\n".join(block)
        if text.strip().startswith("$$"):
            formula = re.sub(r"\s*\n\s*", "\n" + indent + "   ", text.strip().strip("$").strip())
            out.append(f"{indent}.. math::\n\n{indent}   {formula}")
        elif block[0].startswith("```"):
            code = "\n".join(f"   {line}".rstrip() for line in block[1:])
            out.append(f".. code-block:: {block[0][3:] or 'text'}\n\n{code}")
        elif block[0].startswith("|"):
            out.append(_table(block))
        elif heading := re.match(r"(#+) +(.*)", text):
            title = inline(heading[2])
            width = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in title)
            out.append(f"{title}\n{UNDERLINES[len(heading[1]) - 1] * width}")
        elif item := LIST_ITEM.match(text):
            inside = re.sub(r"^(\w)([.)])", r"\1\\\2", inline(text[item.end() :]))  # neither a) nor J. begins a list
            out.append(item[0] + inside)
        else:
            out.append(indent + inline(text[len(indent) :]))
    return "\n\n".join(out) + "\n"


def inline(text: str, wrap: str = "{}") -> str:
    """Text with its inline markup; inside bold or emphasis, ``wrap`` says which, as markup does not nest in rst."""
    out, end = "", 0

    def plain(part: str) -> str:
        part = re.sub(r"([\\*`|]|_(?!\w))", r"\\\1", part)
        return (
            re.sub(r"\S.*\S|\S", lambda found: wrap.format(found[0]), part, flags=re.DOTALL) if wrap != "{}" else part
        )

    for found in INLINE.finditer(text):
        out += plain(text[end : found.start()])
        code, formula, label, target, bold, emphasis = found.groups()
        if code:
            markup = f"``{code}``"
        elif formula:
            markup = f":math:`{' '.join(formula.split())}`"
        elif label:
            markup = _link(label, target)
        else:
            markup = inline(bold or emphasis, "**{}**" if bold else "*{}*")
        before = "\\ " if out and (out[-1].isalnum() or out[-1] in "`*_–—−") else ""
        end = found.end()
        touches = end < len(text) and (text[end].isalnum() or text[end] in "–—−`*$_" or wrap != "{}")
        after = "\\ " if touches and not text[end].isspace() else ""
        out += before + markup + after
    return out + plain(text[end:])


def _table(lines: list[str]) -> str:
    """A table: the first line is its heading, the second the rule beneath."""
    rows = [[inline(cell.strip()) for cell in line.strip().strip("|").split("|")] for line in [lines[0], *lines[2:]]]
    written = "\n".join(f"   * - {first}\n" + "\n".join(f"     - {cell}" for cell in rest) for first, *rest in rows)
    return f".. list-table::\n   :header-rows: 1\n\n{written}"


def _link(label: str, target: str) -> str:
    """A link to another page of the site, to a file of the repository, which is then offered for download, or elsewhere."""
    label = label.replace("`", "").replace("<", r"\<")
    pages = r"(?:(\d\d_\w+)\.py|(answers/\d\d_\w+|your_network|glossary|zh)\.md)"
    page = re.fullmatch(rf"(?:\.\./)*(?:lessons/)?{pages}", target)
    if page:
        return f":doc:`{label} </{f'pages/{page[1]}' if page[1] else page[2]}>`"
    if not re.match(r"[a-z]+:|#", target):
        return f":download:`{label} <{target}>`"
    return f"`{label} <{target}>`__"


def _blocks(lines: list[str]) -> list[list[str]]:
    """Headings, displayed formulas, blocks of code (without the line that ends them), list items and paragraphs."""
    blocks: list[list[str]] = []
    fresh, formula, code = True, False, False
    for line in lines:
        starts = line.strip().startswith("$$")
        if code or line.startswith("```"):
            if not code:
                blocks.append([line])
            elif line != "```":
                blocks[-1].append(line)
            code, fresh = not code or line != "```", True
        elif formula:
            blocks[-1].append(line)
            formula = not line.rstrip().endswith("$$")
            fresh = not formula
        elif not line.strip():
            fresh = True
        elif starts or line.startswith("#") or LIST_ITEM.match(line) or fresh:
            blocks.append([line])
            formula = starts and not (line.strip().endswith("$$") and len(line.strip()) > 2)
            fresh = line.startswith("#") or (starts and not formula)
        else:
            blocks[-1].append(line)
    return blocks
