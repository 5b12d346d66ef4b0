"""The site of the lessons, built of quick runs and opened in a real browser, on a desktop and on a telephone."""

import importlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from minires.files import locked

ROOT = Path(__file__).resolve().parent.parent
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = [name for name in ("sphinx", "jupytext", "furo", "PIL") if importlib.util.find_spec(name) is None]
MISSING += [name for name in ("node", "npm") if shutil.which(name) is None]
NO_BROWSER = [name for name in ("chromedriver",) if shutil.which(name) is None] + ["chromium"] * (BROWSER is None)
NO_BROWSER += ["selenium"] * (importlib.util.find_spec("selenium") is None)
needs_browser = pytest.mark.skipif(bool(NO_BROWSER), reason=f"needs {', '.join(NO_BROWSER)}")

# What is wrong with a page as it is drawn: wider than its window, images that did not load, output that is cut off,
# formulas that KaTeX or its fonts did not set, and text without enough contrast (WCAG 2.2, AA).
LOOK = r"""
const [done] = [arguments[arguments.length - 1]];
const wrong = [];
const root = document.documentElement;
if (root.scrollWidth > innerWidth) wrong.push(`the page is ${root.scrollWidth} wide`);
for (const image of document.images) image.loading = "eager";
const channels = (colour) => {
  const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number);
  return [r, g, b, a];
};
const over = ([r, g, b, a], below) => [r, g, b].map((c, i) => a * c + (1 - a) * below[i]);
const behind = (element) => {
  if (!element) return [255, 255, 255];
  const own = channels(getComputedStyle(element).backgroundColor);
  return own[3] === 1 ? own.slice(0, 3) : over(own, behind(element.parentElement));
};
const light = (colour) => {
  const [r, g, b] = colour.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const seen = new Set();
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || seen.has(element)) continue;
  seen.add(element);
  if (!element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
  if (element.closest(".katex-mathml, .visually-hidden, .skip-to-content, noscript, script, style")) continue;
  const style = getComputedStyle(element);
  const background = behind(element);
  const colour = over(channels(element.namespaceURI.endsWith("svg") ? style.fill : style.color), background);
  const [a, b] = [light(colour), light(background)].sort((x, y) => y - x);
  const [size, bold] = [parseFloat(style.fontSize), Number(style.fontWeight) >= 700];
  const needed = size >= 24 || (bold && size >= 18.66) ? 3 : 4.5;
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < needed)
    wrong.push(`contrast ${ratio.toFixed(2)}: <${element.tagName} class=${element.className}> ${element.textContent}`);
}
for (const output of document.querySelectorAll(".printed, .slide, .formula"))
  for (const side of ["Width", "Height"])
    if (output.checkVisibility() && output[`scroll${side}`] > output[`client${side}`] + 1)
      wrong.push(`${output.id || output.className} is cut off: ${output[`scroll${side}`]}, ${side}`);
for (const output of document.querySelectorAll(".printed")) if (!output.textContent.trim()) wrong.push("empty output");
for (const broken of document.querySelectorAll(".katex-error")) wrong.push(`formula: ${broken.textContent}`);
const images = [...document.images].filter((image) => image.src);
const decoded = images.map((image) => image.decode().catch(() => wrong.push(image.src)));
Promise.all([document.fonts.ready, ...decoded]).then(() => {
  const faces = [...document.fonts];
  for (const face of faces) if (face.status === "error") wrong.push(`font ${face.family}`);
  const set = faces.some((face) => face.family.includes("KaTeX") && face.status === "loaded");
  if (document.querySelector(".katex") && !set) wrong.push("no font of KaTeX");
  done([wrong, document.body.innerText.length]);
});
"""


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


def build(folder, **environment):
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(ROOT / "lessons"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if MISSING:
        pytest.skip(f"needs {', '.join(MISSING)}: python -m pip install -e '.[lessons]'")
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # these share one site: two builds at a time would write the same pages
        shared = shared.parent
    folder, whole = shared / "site", shared / "site-is-whole"
    with locked(shared / "site.lock", "waiting for the site, which another process builds"):
        if not whole.exists():
            built = build(folder, MINIRES_QUICK="1")
            assert built.returncode == 0 and not built.stderr.strip(), built.stderr
            whole.touch()
    return folder


@pytest.fixture(scope="module")
def chrome():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    options.binary_location = BROWSER
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


def visit(driver, page, width, scheme="light"):
    """Open a page in a window of this width, and wait until it is drawn."""
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    driver.get(page.as_uri())


def asked_of_the_network(driver):
    """Addresses that the browser asked for since the last call, other than files."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    return [url for url in asked if not re.match("(file|data|blob|about|chrome):", url)]


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


def test_a_comma_behind_a_formula_stands_in_its_last_box(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "lessons"))
    with_sign = importlib.import_module("formulas").with_sign
    formula = '<span class="katex"><span class="katex-html"><span class="base">F</span></span></span>'
    assert with_sign(formula, "") == formula
    assert with_sign(formula, "，") == formula.replace("F<", 'F<span class="sign">，</span><')


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
def test_a_site_of_quick_runs_answers_nothing(site):
    for page in (site / "pages").glob("[0-9]*.html"):
        text = page.read_text(encoding="utf-8")
        printed = "".join(re.findall(r'<pre class="printed.*?</pre>', text, re.DOTALL))
        assert "(quick: too small to answer)" in printed, page.name
        assert not re.search(r"answer (is )?[a-h]\)", printed), page.name
        assert 'data-answer=""' in text and "too small to answer. Run" in text, page.name
        cells = re.findall(r"<pre>(.*?)</pre>", text, re.DOTALL)
        assert not any(re.sub(r"<[^>]+>", "", cell).strip() == "finish()" for cell in cells), page.name


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("width", [1366, 390])
def test_every_page_is_whole_and_can_be_read(site, chrome, width):
    found = {}
    asked_of_the_network(chrome), chrome.get_log("browser")
    for page in sorted(site.rglob("*.html")):
        visit(chrome, page, width)
        chrome.execute_script("document.querySelector('.guess .without')?.click()")
        wrong, length = chrome.execute_async_script(LOOK)
        if width == 1366 and page.stem in (
            "index",
            "00_tour",
            "glossary",
            "licence",
            "minires.flow",
        ):  # and in the dark
            visit(chrome, page, width, "dark")
            chrome.execute_script("document.querySelector('.guess .without')?.click()")
            wrong += [f"dark: {each}" for each in chrome.execute_async_script(LOOK)[0]]
        wrong += [entry["message"] for entry in chrome.get_log("browser")] + asked_of_the_network(chrome)
        wrong += ["nothing on it"] * (length <= 20)
        if wrong:
            found[page.relative_to(site).as_posix()] = sorted(set(wrong))
    assert found == {}


@pytest.mark.slow
@needs_browser
def test_a_guess_opens_the_figure(site, chrome):
    page = site / "pages" / "00_tour.html"
    visit(chrome, page, 390)
    chrome.execute_script("localStorage.clear()")
    visit(chrome, page, 390)
    figure = chrome.find_element("css selector", "#figure-00-weak-branch")
    assert not figure.is_displayed()
    chrome.execute_script("document.querySelectorAll('.guess li')[1].click()")
    assert figure.is_displayed()
    opened = chrome.find_element("css selector", ".guess .opened")
    assert "too small to answer" in opened.text and opened.find_element("tag name", "img").is_displayed()
    visit(chrome, page, 390)  # and it remembers
    assert chrome.find_element("css selector", ".guess li.chosen").text.startswith("b)")
    chrome.execute_script("localStorage.clear()")


@pytest.mark.slow
@needs_browser
def test_a_slider_moves_its_sentence(site, chrome):
    visit(chrome, site / "pages" / "00_tour.html", 1366)
    chrome.execute_script("document.querySelector('.guess .without').click()")
    rows = json.loads(chrome.find_element("css selector", ".slide").get_attribute("data-slider"))
    sentences = rows["sentences"]
    assert len(set(sentences)) == len(sentences) == 9 and sentences[0].startswith("Dial at 1:")
    for at in (0, 8):
        chrome.execute_script(
            "const input = document.querySelector('.slide input'); input.value = arguments[0];"
            "input.dispatchEvent(new Event('input'));",
            at,
        )
        assert chrome.find_element("css selector", ".slide p").text == sentences[at]


@pytest.mark.slow
@needs_browser
def test_a_figure_opens_in_full_size_and_closes(site, chrome):
    visit(chrome, site / "pages" / "10_residual_block.html", 390)
    chrome.execute_script("document.querySelector('.guess .without').click()")
    image = "document.querySelector('.drawn img')"
    small = chrome.execute_script(f"{image}.click(); return {image}.clientWidth")
    shown = chrome.find_element("css selector", "dialog img")
    assert shown.is_displayed() and shown.size["width"] > 3 * small
    chrome.execute_script("document.querySelector('dialog').click()")
    wait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait(chrome, 10)
    wait.until(lambda _: not chrome.find_elements("css selector", "dialog"))  # its event is queued


@pytest.mark.slow
@needs_browser
def test_the_first_page_shows_the_explorer_and_all_of_it(site, chrome):
    visit(chrome, site / "index.html", 1366)
    frame = chrome.find_element("css selector", "iframe.explorer")
    above = chrome.execute_script("return document.querySelector('article p, article h2').getBoundingClientRect().top")
    assert frame.rect["y"] < above
    height = frame.size["height"]
    chrome.switch_to.frame(frame)
    for _ in range(100):
        if chrome.find_elements("css selector", "[data-ready]"):
            break
        chrome.execute_async_script("setTimeout(arguments[0], 50)")
    inside = chrome.execute_script("return document.getElementById('explorer').scrollHeight")
    assert chrome.find_elements("css selector", "svg.scene path")
    chrome.switch_to.default_content()
    height = chrome.find_element("css selector", "iframe.explorer").size["height"]
    assert inside <= height < inside + 60


# ── results of lessons, kept by content ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def results(monkeypatch, tmp_path):
    """The module, keeping results of a lesson of three lines in a folder of the test's."""
    pytest.importorskip("jupytext")
    monkeypatch.syspath_prepend(str(ROOT / "lessons"))
    monkeypatch.setenv("MINIRES_RESULTS", str(tmp_path / "kept"))
    return importlib.import_module("results")


LESSON = """\
# %% [markdown]
# # 5. A lesson
# %%
from minires.lesson import answer, claim, finish, show, slider
print("a", answer("c"))
# %%
import matplotlib.pyplot as plt
figure, ax = plt.subplots(figsize=(1, 1))
ax.set_title("Titles")
print("before")
show(figure, "05-figure")
print("after")
slider("At {x}: {y:.1f}.", 1, x=[1, 2], y=[0.2, 0.5])
# %%
claim("holds", CLAIM)
finish()
"""


def test_what_a_lesson_shows_is_kept_in_order(results, tmp_path):
    script = tmp_path / "05_lesson.py"
    script.write_text(LESSON.replace("CLAIM", "True"), "utf-8")
    assert not results.is_kept(script, quick=False)
    found = results.result(script, quick=False)
    assert found.cells == [
        [{"text": "a answer c)"}],
        [
            {"text": "before"},
            {"figure": {"name": "05-figure", "title": "Titles"}},
            {"text": "after"},
            {
                "slider": {
                    "sentences": ["At 1: 0.2.", "At 2: 0.5."],
                    "at": 1,
                    "columns": {"x": [1, 2], "y": [0.2, 0.5]},
                }
            },
        ],
        [{"text": "✓ holds"}],
    ]
    assert (found.answer, found.answered) == ("c", 0) and (found.folder / "05-figure.png").exists()
    stamp = (found.folder / "result.json").stat().st_mtime_ns
    assert results.result(script, quick=False) == found and (found.folder / "result.json").stat().st_mtime_ns == stamp
    quick = results.result(script, quick=True)  # kept apart
    assert quick.cells[0] == [{"text": "a (quick: too small to answer)"}] and quick.answer == ""


def test_another_lesson_or_another_package_is_run_anew(results, tmp_path):
    script = tmp_path / "05_lesson.py"
    script.write_text("# %%\nimport minires\nprint(1)\n", "utf-8")
    kept = json.loads((results.result(script, quick=True).folder / "result.json").read_text("utf-8"))
    assert results.is_current(kept, script)
    assert {"minires/__init__.py", "minires/tensor.py"} <= set(kept["files"])
    assert not any(name.startswith("minires/coursework") for name in kept["files"])  # not used, so it may change
    assert not results.is_current({**kept, "files": {**kept["files"], "minires/tensor.py": "another"}}, script)
    assert not results.is_current({**kept, "files": {"minires/gone.py": "x"}}, script)
    script.write_text("# %%\nimport minires\nprint(2)\n", "utf-8")
    assert not results.is_kept(script, quick=True)
    assert results.result(script, quick=True).cells == [[{"text": "2"}]]


def test_a_lesson_that_fails_says_so_and_what_was_kept_stays(results, tmp_path):
    script = tmp_path / "05_lesson.py"
    script.write_text(LESSON.replace("CLAIM", "True"), "utf-8")
    folder = results.result(script, quick=True).folder
    script.write_text(LESSON.replace("CLAIM", "False"), "utf-8")
    with pytest.raises(RuntimeError, match=r"05_lesson\.py \(quick\) failed:(?s:.*)1 claim\(s\) failed: holds"):
        results.result(script, quick=True)
    assert (folder / "05-figure.png").exists() and len(list(folder.parent.iterdir())) == 1


def test_a_name_that_no_lesson_has_is_refused(results, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["results.py", "--quick", "08_degradation"])
    with pytest.raises(SystemExit):
        results.main()
    assert "got '08_degradation'; expected one of" in (said := capsys.readouterr().err) and "09_degradation" in said


def test_a_translation_that_answers_otherwise_is_refused(monkeypatch):
    pytest.importorskip("jupytext")
    monkeypatch.syspath_prepend(str(ROOT / "lessons"))
    pages, results = importlib.import_module("pages"), importlib.import_module("results")
    text = (ROOT / "lessons" / "zh.md").read_text("utf-8")
    stems = [path.stem for path in sorted((ROOT / "lessons").glob("[0-9][0-9]_*.py"))]
    told = dict(re.findall(r"\]\((\w+)\.py\)(?s:.*?)\*\*答案 ([a-z])\)", text))
    assert list(told) == stems  # each lesson is there, in order
    made = {stem: results.Result([], letter, 0, {}, ROOT, False) for stem, letter in told.items()}
    pages.check_answers(text, made)
    made[stems[3]] = results.Result([], "z", 0, {}, ROOT, False)
    with pytest.raises(ValueError, match=f"zh.md: got other answers.*{stems[3]}"):
        pages.check_answers(text, made)
