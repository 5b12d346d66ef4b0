"""The page that shows all figures of ``minires flow``, each with what it says."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from ...files import replacing
from ...html import escape
from .figures import PROBE_IMAGES, Drawn

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }}
  figure {{ margin: 0 0 3rem }}
  img {{ max-width: 100%; background: white }}
  @media (prefers-color-scheme: dark) {{ body {{ background: #161616; color: #e8e8e8 }} a {{ color: #8ab8ff }} }}
</style>
<h1>{title}</h1>
<p>The figures at one step look at the first {images} training images. Heatmap and training show the batches that the
networks were trained on, each step another.</p>
<nav>{links}</nav>
{figures}
</html>
"""
FIGURE = """<figure id="{id}">
<h2>{name}</h2>
<p>{sentences}</p>
<a href="{path}"><img src="{path}" alt="{sentences}" loading="lazy"></a>
</figure>
"""


def write(path: Path, title: str, drawn: Sequence[Drawn]) -> None:
    """Write the page: for each figure its name, its sentences and the picture, which lies beside the page."""
    shown, links = [], []
    for figure in drawn:
        relative = figure.path.relative_to(path.parent)
        name = relative.stem.replace("-", " ") + (f", {relative.parent}" if relative.parent.name else "")
        text = {
            "name": escape(name.capitalize().replace("step-", "step ")),
            "id": escape(relative.with_suffix("").as_posix()),
            "sentences": escape(" ".join(figure.sentences)),
        }
        shown.append(FIGURE.format(**text, path=quote(relative.as_posix())))
        links.append(f'<a href="#{text["id"]}">{text["name"]}</a>')
    page = PAGE.format(title=escape(title), images=PROBE_IMAGES, links=" · ".join(links), figures="".join(shown))
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
