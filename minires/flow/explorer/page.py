"""The page: template, style sheet, modules and data in one file, which is read from anywhere and needs nothing else."""

import html
import json
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
IMPORT = re.compile(r'^import \{[^}]*\} from "\./([a-z]+\.js)";\n', re.MULTILINE)


def page(document: dict[str, Any]) -> str:
    """The HTML page that shows the document."""
    parts = {
        "TITLE": html.escape(document["title"]),
        "STYLE": style(),
        "DATA": inside_script(document),
        "SCRIPT": script(),
    }
    template = (FOLDER / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda match: parts[match[1]], template)


def style() -> str:
    """The style sheets as one."""
    return "".join((FOLDER / name).read_text(encoding="utf-8") for name in ("cards.css", "explorer.css"))


def script() -> str:
    """The modules as one: each behind those that it imports, without the imports. It exports `render`."""
    order: list[str] = []

    def visit(name: str) -> None:
        if name not in order:
            for needed in IMPORT.findall((FOLDER / name).read_text(encoding="utf-8")):
                visit(needed)
            order.append(name)

    visit("main.js")
    parts = []
    for name in order:
        source = IMPORT.sub("", (FOLDER / name).read_text(encoding="utf-8"))
        if name != "main.js":
            source = re.sub(r"^export ", "", source, flags=re.MULTILINE)
        parts.append(f"// ── {name} ──\n{source}")
    return "\n".join(parts)


def inside_script(document: Any) -> str:
    """JSON that may stand inside <script>: without <, so that nothing there ends it or opens a comment."""
    text = json.dumps(document, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")
