"""The site of the lessons, built and opened in a real browser: no warning, no console error, no broken link."""

import functools
import http.server
import importlib
import importlib.util
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

ROOT = Path(__file__).resolve().parent.parent
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = [name for name in ("sphinx", "sphinx_gallery", "jupytext", "furo") if importlib.util.find_spec(name) is None]

# Opens every page in a frame as wide as a telephone, and says how wide it came out and which images did not load.
VISITOR = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><body><script>
const pages = PAGES, found = {};
(async () => {
  for (const page of pages) {
    const frame = document.createElement("iframe");
    frame.width = 390; frame.height = 844;
    const loaded = new Promise(done => frame.onload = done);
    frame.src = page;
    document.body.append(frame);
    await loaded;
    const inside = frame.contentDocument;
    const broken = [];
    for (const image of inside.images) if (!(await fetch(image.src)).ok) broken.push(image.src);
    found[page] = {
      width: inside.documentElement.scrollWidth,
      broken: broken.concat([...inside.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)),
      text: inside.body.innerText.length,
    };
    frame.remove();
  }
  await fetch("/found", {method: "POST", body: JSON.stringify(found)});
})();
</script>"""


class Links(HTMLParser):
    """What a page links to, and the anchors it has."""

    def __init__(self, page: Path):
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("href", "src") and value:
                self.targets.append(value)
            elif name in ("id", "name") and value:
                self.anchors.add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if MISSING:
        pytest.skip(f"needs {', '.join(MISSING)}: python -m pip install -e '.[lessons]'")
    folder = tmp_path_factory.mktemp("lessons") / "site"
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(ROOT / "lessons"), str(folder)]
    built = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "MPLBACKEND": "Agg"})
    assert built.returncode == 0 and not built.stderr.strip(), built.stderr
    return folder


def test_the_glossary_becomes_a_table(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "lessons"))
    rst = importlib.import_module("markdown_to_rst").rst
    written = rst("Words.\n\n| a | b |\n|---|---|\n| residual block | 残差块 |\n| *skip* | 跳跃连接 |\n")
    assert written == (
        "Words.\n\n.. list-table::\n   :header-rows: 1\n\n   * - a\n     - b\n"
        "   * - residual block\n     - 残差块\n   * - *skip*\n     - 跳跃连接\n"
    )
    glossary = rst((ROOT / "lessons" / "glossary.md").read_text("utf-8"))
    assert glossary.count("   * - ") > 60 and "\n|" not in glossary


@pytest.mark.slow
def test_every_link_and_anchor_of_the_site_leads_somewhere(site):
    pages = {page.resolve(): Links(page) for page in site.rglob("*.html")}
    broken = []
    for page, links in pages.items():
        for target in links.targets:
            if re.match(r"[a-z]+:|//", target):
                continue
            path, anchor = urldefrag(target)
            file = (page.parent / unquote(path).partition("?")[0]).resolve() if path else page
            if not file.exists() or (anchor and file in pages and unquote(anchor) not in pages[file].anchors):
                broken.append(f"{page.name}: {target}")
    assert not broken
    lessons = {path.stem for path in (ROOT / "lessons").glob("[0-9][0-9]_*.py")}
    assert lessons and lessons <= {page.stem for page in pages}
    for stem in lessons:  # the downloads are the lessons themselves, and notebooks in Markdown
        (script,) = site.rglob(f"{stem}.py")
        assert script.read_bytes() == (ROOT / "lessons" / script.name).read_bytes()
        (notebook,) = site.rglob(f"{stem}.ipynb")
        first = json.loads(notebook.read_text(encoding="utf-8"))["cells"][0]
        assert first["cell_type"] == "markdown" and "".join(first["source"]).startswith("# ")


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs chromium on the PATH")
def test_every_page_of_the_site_opens_on_a_telephone(site):
    pages = sorted(page.relative_to(site).as_posix() for page in site.rglob("*.html") if page.name != "visitor.html")
    (site / "visitor.html").write_text(VISITOR.replace("PAGES", json.dumps(pages)), encoding="utf-8")

    reports: queue.Queue[bytes] = queue.Queue()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_POST(self):
            reports.put(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    log = site.parent / "browser.log"
    handler = functools.partial(Handler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, log.open("wb") as stderr:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/visitor.html"
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
        options += [
            f"--user-data-dir={site.parent / 'profile'}",
            "--remote-debugging-port=0",
        ]  # stays until it is ended
        with subprocess.Popen([str(BROWSER), *options, url], stdout=subprocess.DEVNULL, stderr=stderr) as browser:
            try:
                found = json.loads(reports.get(timeout=240))
            finally:
                browser.terminate()
                server.shutdown()
    console = [line for line in log.read_text(errors="replace").splitlines() if "CONSOLE" in line]
    assert list(found) == pages
    assert {page: at["broken"] for page, at in found.items() if at["broken"]} == {}
    assert {page: at["width"] for page, at in found.items() if at["width"] > 390} == {}
    assert all(at["text"] > 20 for at in found.values())
    assert console == []
