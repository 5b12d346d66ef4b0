"""The explorer in a real browser, from a file: the numbers shown are those measured, and it is quick enough to play."""

import importlib.util
import json
import random
import re
import shutil
import time

import numpy as np
import pytest

import minires as mr
from minires import data, flow, models, nn
from minires.experiments.watched import Runner
from minires.flow.explorer.page import script, style
from minires.tensor import Tensor

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = [name for name in ("chromedriver",) if shutil.which(name) is None] + ["chromium"] * (BROWSER is None)
MISSING += ["selenium"] * (importlib.util.find_spec("selenium") is None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}: apt-get install chromium chromium-driver"),
]

SWEEP = """
const done = arguments[0];
const slider = document.querySelector(".player input"), scene = document.querySelector("svg.scene");
let at = 0, last = performance.now(), worst = 0, work = 0;
function frame(now) {
  worst = Math.max(worst, now - last);
  last = now;
  if (at > Number(slider.max)) return done([worst, work]);
  const began = performance.now();
  slider.value = at++;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  requestAnimationFrame(() => { scene.getBoundingClientRect(); work = Math.max(work, performance.now() - began); });
  requestAnimationFrame(frame);
}
requestAnimationFrame((now) => { last = now; requestAnimationFrame(frame); });
"""


# What this machine takes at worst for one of ten frames in which three thousand lines change.
REFERENCE = """
const scene = document.body.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "svg"));
for (let i = 0; i < 3000; i++) scene.appendChild(document.createElementNS(scene.namespaceURI, "path"));
let worst = 0;
for (let turn = 0; turn < 10; turn++) {
  const began = performance.now();
  for (const [i, path] of [...scene.children].entries()) {
    path.setAttribute("d", `M${i % 60},${turn} L${turn},${i % 70} L${i % 80},${i % 90}`);
    path.setAttribute("stroke-width", `${1 + turn}`);
  }
  scene.getBoundingClientRect();
  worst = Math.max(worst, performance.now() - began);
}
scene.remove();
return worst;
"""


def train(depth, steps):
    """A `Run` of twins on digits with everything that the page can show."""
    mr.random.manual_seed(0)
    networks = dict(zip(("plain", "residual"), models.twins(depth, 8, in_channels=1)))
    images, test = data.digits()
    x, y = images[:64]
    probes = {name: {0: flow.probe(model, x, y, test, progress=False)} for name, model in networks.items()}
    runners = {name: Runner.start(model, steps) for name, model in networks.items()}
    batches = [batch for epoch in range(2) for batch in data.batches(images, 64, seed=0, epoch=epoch, drop_last=True)]
    for a, b in batches[:steps]:
        for runner in runners.values():
            runner.step(Tensor(a), Tensor(b), record=True)
    for name, model in networks.items():
        probes[name][steps - 1] = flow.probe(model, x, y, test, progress=False)
    histories = {name: runner.history for name, runner in runners.items()}
    losses = {name: runner.losses for name, runner in runners.items()}
    accuracies = {name: {0: 0.1, steps - 1: 0.9} for name in networks}
    return flow.Run(histories, {"depth": depth}, losses, accuracies, probes)


@pytest.fixture(scope="module")
def small():
    return train(8, 6)


@pytest.fixture(scope="module")
def page(small, tmp_path_factory):
    path = tmp_path_factory.mktemp("explorer") / "page.html"
    flow.explore_runs([small], path)
    return path


@pytest.fixture(scope="module")
def chrome():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(argument)
    options.binary_location = BROWSER
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def visit(driver, url, width=1366, height=768, **media):
    """Open a page in a window of this size, and wait until it is drawn; returns the milliseconds that took."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in media.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    driver.get("about:blank")
    driver.get(url)
    return driver.execute_async_script(
        "const done = arguments[0];"
        "const ready = () => document.querySelector('[data-ready]');"
        "(function look() { ready() ? done(performance.now()) : setTimeout(look, 5); })();"
    )


def settle(driver):
    driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]));")


def press(driver, key):
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(driver).send_keys(key).perform()
    settle(driver)


def find(driver, selector):
    return driver.find_element("css selector", selector)


def text(driver, selector):
    return find(driver, selector).get_property("textContent")


def number(written):
    """A number as the page writes it: 0.0444, 1.30×10⁻⁵."""
    digits, _, power = written.replace("−", "-").partition("×10")
    return float(digits) * 10 ** int(power.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")) or 0)


@pytest.fixture(autouse=True)
def no_console_errors(chrome):
    chrome.get_log("browser")
    yield
    assert [entry["message"] for entry in chrome.get_log("browser")] == []


def test_numbers_of_random_edges_and_steps_are_those_recorded(chrome, page, small):
    visit(chrome, page.as_uri())
    chooser = random.Random(0)
    for number_of_edge in range(14):  # ten anywhere, then four at forks
        at_fork = number_of_edge >= 10
        name = "residual" if at_fork else chooser.choice(["plain", "residual"])
        step = chooser.randrange(6)
        kept = small.networks[name].edge_history
        press_to = (
            f"const s = document.querySelector('.player input'); s.value = {step}; s.dispatchEvent(new Event('input'));"
        )
        chrome.execute_script(press_to)
        settle(chrome)
        targets = chrome.find_elements("css selector", f"[data-edge][data-network='{int(name == 'residual')}']")
        roles = [edge["role"] for edge in kept.graph()["edges"]]
        target = chooser.choice([t for t in targets if not at_fork or roles[int(t.get_attribute("data-edge"))]])
        chrome.execute_script("arguments[0].focus()", target)
        shown = text(chrome, "div.tip")
        edge = int(target.get_attribute("data-edge"))
        source = kept.names()[edge][0]
        assert source in shown and kept.names()[edge][1] in shown
        norm = kept.norms[step, edge]
        assert number(re.search(r"‖gradient‖([^a-z ]+)", shown)[1]) == pytest.approx(norm, rel=6e-3)  # three digits
        assert ("share" in shown) == ("cosine" in shown) == bool(roles[edge])
        if at_fork:
            together = [i for i, other in enumerate(kept.names()) if other[0] == source]
            share = norm**2 / (kept.norms[step, together] ** 2).sum()
            assert float(re.search(r"share([\d.]+) %", shown)[1]) == pytest.approx(100 * share, abs=0.6)
            cosine = float(re.search(r"cosine(−?[\d.]+)", shown)[1].replace("−", "-"))
            assert cosine == pytest.approx(kept.cosines[step, edge], abs=2e-3)


def test_the_table_holds_every_edge(chrome, page, small):
    visit(chrome, page.as_uri() + "#step=4")
    chrome.execute_script("document.querySelector('details.numbers').open = true")
    settle(chrome)
    rows = chrome.execute_script(
        "return [...document.querySelectorAll('tbody tr')].map(row => [...row.cells].map(cell => cell.textContent))"
    )
    expected = [
        (name, *edge, norm, cosine)
        for name, history in small.networks.items()
        for kept in [history.edge_history]
        for edge, norm, cosine in zip(kept.names(), kept.norms[4], kept.cosines[4])
    ]
    assert len(rows) == len(expected)
    for row, (name, source, consumer, _, norm, cosine) in zip(rows, expected):
        assert (row[0], row[1], row[2]) == (name, consumer, source)
        assert float(row[4]) == pytest.approx(norm, rel=1e-3)
        assert row[6] == "" or float(row[6].replace("−", "-")) == pytest.approx(cosine, abs=2e-4)
    assert sum(row[6] != "" for row in rows) == 6 and sum(row[3] == "skip" for row in rows) > 3
    kernels = [row for row in rows if row[0] == "residual" and "conv" in row[2] and row[2].endswith(".weight")]
    history = small.networks["residual"]
    pairs = list(zip(history.weight_norms[4], history.turns[4]))[:7]
    assert [[float(cell) for cell in row[8:]] for row in kernels] == [pytest.approx(pair, rel=1e-3) for pair in pairs]


def test_a_block_shows_its_fork_and_a_cut_what_was_recorded(chrome, page, small):
    visit(chrome, page.as_uri() + "#block=layer2.0")
    fork = next(fork for fork in small.networks["residual"].forks[0] if fork.name == "layer2.0")
    shown = re.match(r"(\S+) ⊕ (\S+) = (\S+)$", text(chrome, ".block .twins > :nth-child(2) .sum"))
    assert [number(one) for one in shown.groups()] == pytest.approx([fork.skip, fork.branch, fork.total], rel=6e-3)
    widths = "return [...document.querySelectorAll('.wire')].map(wire => wire.getAttribute('stroke-width'))"
    before = chrome.execute_script(widths)
    find(chrome, "input[data-cut='layer2.0.skip']").click()
    settle(chrome)
    after = chrome.execute_script(widths)
    assert before != after and len(chrome.find_elements("css selector", ".wire.cut")) == 1
    probe = small.probes["residual"][0]
    weight = next(i for i, name in enumerate(probe.edges.names()) if name[0] == "conv1.weight")
    whole, left = (probe.edges.norms[probe.cuts.index(cut), weight] for cut in ("", "layer2.0.skip"))
    found = re.search(r"first layer (\S+) → (\S+) ", text(chrome, ".card.cuts"))
    assert [number(one) for one in found.groups()] == pytest.approx([whole, left], rel=6e-3)
    row = probe.edges.norms[probe.cuts.index("layer2.0.skip")]
    branch = next(row[i] for i, (name, to, _) in enumerate(probe.edges.names()) if to == "layer2.0.conv1: Conv2d")
    shown = re.match(r"0 ⊕ (\S+) = (\S+)$", text(chrome, ".block .twins > :nth-child(2) .sum"))
    assert [number(one) for one in shown.groups()] == pytest.approx([branch, branch], rel=6e-3)
    accuracy = 100 * small.probes["residual"][5].lesion.accuracy[1]
    lesion = next(one for one in chrome.find_elements("css selector", ".lesion-name") if "residual" in one.text)
    assert float(re.search(r"→ ([\d.]+) %", lesion.text)[1]) == pytest.approx(accuracy, abs=0.6)
    assert "cut=layer2.0.skip" in chrome.current_url
    find(chrome, ".moments button:last-child").click()
    settle(chrome)
    assert text(chrome, ".now") == "step 5" and len(chrome.find_elements("css selector", ".wire.cut")) == 1


def test_paths_say_how_much_went_through_k_branches(chrome, page, small):
    visit(chrome, page.as_uri())
    find(chrome, "[data-k='2']").click()
    settle(chrome)
    norms = small.probes["residual"][0].spectrum.norms
    share = float(re.search(r"k = 2: ([\d.]+) %", text(chrome, ".card.paths"))[1])
    assert share == pytest.approx(100 * norms[2] / norms.sum(), abs=0.6) and "k=2" in chrome.current_url
    assert "through 3 paths (38 % of all)" in text(chrome, ".card.paths")


def test_keys_move_through_time_and_through_the_blocks(chrome, page):
    from selenium.webdriver.common.keys import Keys

    visit(chrome, page.as_uri())
    for key in [Keys.ARROW_RIGHT] * 3 + [Keys.ARROW_LEFT]:
        press(chrome, key)
    assert text(chrome, ".now") == "step 2" and "step=2" in chrome.current_url
    press(chrome, Keys.SPACE)
    assert find(chrome, ".play").get_attribute("aria-label") == "pause"
    for _ in range(100):
        if text(chrome, ".now") == "step 5":
            break
        time.sleep(0.05)
    time.sleep(0.4)
    assert text(chrome, ".now") == "step 5" and find(chrome, ".play").get_attribute("aria-label") == "play"
    active = "return document.activeElement.getAttribute('aria-label')"
    for _ in range(30):
        press(chrome, Keys.TAB)
        if "layer" in (chrome.execute_script(active) or ""):
            break
    assert chrome.execute_script(active) == "plain, layer2.0"
    press(chrome, Keys.ARROW_DOWN)
    press(chrome, Keys.ARROW_RIGHT)
    assert chrome.execute_script(active) == "residual, layer3.0"
    press(chrome, Keys.ENTER)
    assert text(chrome, ".card.block h2") == "layer3.0" and "block=layer3.0" in chrome.current_url
    assert chrome.execute_script(active) == "residual, layer3.0"  # the focus is kept
    press(chrome, Keys.TAB)  # to the first wire of the block
    assert find(chrome, "div.tip").is_displayed() and "‖gradient‖" in chrome.execute_script(active)
    press(chrome, Keys.ESCAPE)
    assert "block=" not in chrome.current_url


def test_the_address_leads_to_the_same_moment_and_nonsense_to_a_page_that_works(chrome, page):
    visit(chrome, page.as_uri() + "#step=3&block=layer3.0&theme=dark&k=1")
    assert text(chrome, ".now") == "step 3" and text(chrome, ".card.block h2") == "layer3.0"
    assert find(chrome, ".minires-explorer").get_attribute("data-theme") == "dark"
    chrome.execute_script("location.hash = '#step=2&block=layer1.0'")
    settle(chrome)
    settle(chrome)
    assert text(chrome, ".now") == "step 2" and text(chrome, ".card.block h2") == "layer1.0"
    visit(chrome, page.as_uri() + "#step=1e9&run=-3&block=<b>&edge=9.9&cut=*&k=x&zoom=-1&what=%E0%A4%A")
    assert text(chrome, ".now") == "step 5" and len(chrome.find_elements("css selector", ".wire")) > 20


@pytest.mark.parametrize("width", [320, 390, 800, 1366, 2560])
def test_it_fits_windows_of_any_width(chrome, page, width):
    visit(chrome, page.as_uri(), width=width, height=844)
    assert chrome.execute_script("return document.documentElement.scrollWidth") <= width
    chrome.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 600, "height": 844, "deviceScaleFactor": 1, "mobile": False}
    )
    for _ in range(4):
        settle(chrome)
    assert chrome.execute_script("return document.documentElement.scrollWidth") <= 600
    assert chrome.execute_script("return document.querySelector('.minires-explorer').classList.contains('narrow')")


def test_light_and_dark_have_readable_colours(chrome, page):
    ratios = """
    const linear = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const light = (text) => {
      const [r, g, b] = text.match(/[\\d.]+/g).map((v) => linear(v / 255));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const back = light(getComputedStyle(document.querySelector(".card")).backgroundColor);
    const all = document.querySelectorAll(".minires-explorer :is(span, p, dd, dt, h1, h2, h3, small, .scene text)");
    return [...all].map((one) => {
      const style = getComputedStyle(one), ink = light(one.tagName === "text" ? style.fill : style.color);
      return [one.textContent, (Math.max(ink, back) + 0.05) / (Math.min(ink, back) + 0.05)];
    });
    """
    for theme in ("light", "dark"):
        visit(chrome, page.as_uri(), color_scheme=theme)
        assert find(chrome, ".minires-explorer").get_attribute("data-theme") == theme
        low = [(what, round(ratio, 2)) for what, ratio in chrome.execute_script(ratios) if ratio < 4.5]
        assert low == []
    find(chrome, ".theme").click()
    settle(chrome)
    assert find(chrome, ".minires-explorer").get_attribute("data-theme") == "light"


def test_names_are_shown_as_text(chrome, tmp_path):
    odd = "<img src=x onerror=alert(1)></script>"

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            setattr(self, odd, nn.Linear(3, 2))

        def forward(self, x):
            return next(self.children())(x)

    path = tmp_path / "ö & <b>.html"
    flow.explore({odd: flow.record(Odd(), mr.ones(2, 3), mr.tensor([0, 1]))}, path, title=odd, settings={odd: odd})
    visit(chrome, path.as_uri())
    assert chrome.title == odd and text(chrome, "h1") == odd and text(chrome, ".network") == odd
    assert chrome.find_elements("css selector", "img") == []


def test_the_widget_renders_from_a_module(chrome, page, tmp_path):
    document = re.search(r'id="data">(.*?)</script>', page.read_text("utf-8"))[1]
    parts = json.dumps([script() + "\nexport default { render };", document]).replace("<", "\\u003c")
    (tmp_path / "cell.html").write_text(
        "<!doctype html><meta charset=utf-8><link rel=icon href=data:,>"
        f"<style>{style()}</style><div id=a></div><script type=module>"
        f"const [source, data] = {parts};"
        'const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));'
        "const widget = (await import(url)).default;"
        'const el = document.getElementById("a");'
        "window.clean = await widget.render({ model: { get: () => data, on() {} }, el });"
        "</script>",
        encoding="utf-8",
    )
    visit(chrome, (tmp_path / "cell.html").as_uri() + "#step=3")
    assert text(chrome, ".now") == "step 0"  # the address belongs to the notebook
    find(chrome, ".play").click()
    settle(chrome)
    chrome.execute_script("window.clean()")
    assert find(chrome, ".play").get_attribute("aria-label") == "play"


def test_printing_takes_light_colours(chrome, page):
    visit(chrome, page.as_uri() + "#theme=dark")
    assert len(chrome.print_page()) > 10_000
    assert find(chrome, ".minires-explorer").get_attribute("data-theme") == "dark"


def test_deep_networks_are_small_and_quick(chrome, tmp_path, record_property):
    runs = {depth: train(depth, 28) for depth in (20, 56)}
    both, deep = tmp_path / "both.html", tmp_path / "deep.html"
    flow.explore_runs(runs.values(), both)
    flow.explore_runs([runs[56]], deep)
    size = len(json.loads(re.search(r'id="data">(.*?)</script>', deep.read_text("utf-8"))[1])["runs"][0]["data"])
    assert both.stat().st_size <= 500_000 and size <= 120_000
    for _ in range(5):  # a machine that is slow, or busy for a moment, is judged by what else it can draw
        ready = visit(chrome, both.as_uri() + "#run=1")
        frame, work = chrome.execute_async_script(SWEEP)
        reference = chrome.execute_script(REFERENCE)
        measured = {"page": both.stat().st_size, "twins": size, "ready": ready, "frame": frame, "work": work}
        print(measured, "reference", reference)
        if ready <= max(1000, 20 * reference) and frame <= max(50, 2 * reference):
            break
    else:
        pytest.fail(f"{measured}, where a frame of three thousand lines takes {reference} ms")
    assert len(chrome.find_elements("css selector", ".row")) == 2
    assert text(chrome, ".choice") == "depth2056"
    find(chrome, ".choice button").click()
    for _ in range(6):
        settle(chrome)
    assert find(chrome, ".choice button").get_attribute("aria-pressed") == "true" and "run=0" in chrome.current_url


def test_networks_keep_their_colours_in_any_order(chrome, small, tmp_path):
    names = ["mine", "residual", "yours", "plain"]
    flow.explore({name: small.networks["residual"] for name in names}, tmp_path / "four.html")
    visit(chrome, (tmp_path / "four.html").as_uri(), width=1000)
    looks = [one.get_attribute("class").split("is-")[1] for one in chrome.find_elements("css selector", ".network")]
    assert looks == ["other", "second", "other", "first"]
    assert chrome.execute_script("return document.documentElement.scrollWidth") <= 1000


def test_weights_are_shown_by_gradient_free_of_scale_or_by_degrees_turned(chrome, page, small):
    visit(chrome, page.as_uri() + "#step=3")
    line = "return document.querySelector('.profile-line.is-second:not(.ghost)').getAttribute('d')"
    drawn, history = {"": chrome.execute_script(line)}, small.networks["residual"]
    for measure, what in (("free", "‖∂L/∂W‖·‖W‖ of each weight"), ("turn", "degrees that the step turned each weight")):
        find(chrome, f"[data-measure='{measure}']").click()
        settle(chrome)
        drawn[measure] = chrome.execute_script(line)
        assert what in text(chrome, ".profile") and f"measure={measure}" in chrome.current_url
        pressed = chrome.find_elements("css selector", "[data-measure][aria-pressed='true']")
        assert [button.get_attribute("data-measure") for button in pressed] == [measure]
    assert len(set(drawn.values())) == 3
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", drawn["turn"])]
    turns = history.convolution_turns[3]
    assert np.argsort(heights).tolist() == np.argsort(-turns).tolist()  # y goes down


def test_without_measured_turns_there_is_no_choice_of_what_weights_show(chrome, small, tmp_path):
    recording = flow.record(models.resnet_cifar(8, 4, in_channels=1), mr.ones(2, 1, 8, 8), mr.tensor([3, 7]))
    flow.explore({"residual": recording}, tmp_path / "page.html")
    visit(chrome, (tmp_path / "page.html").as_uri() + "#measure=turn")
    assert not chrome.find_elements("css selector", "[data-measure]")
    assert "‖∂L/∂W‖ of each weight" in text(chrome, ".profile")


class Attention(nn.Module):
    """Three weights side by side, and a sum of two forks."""

    def __init__(self):
        super().__init__()
        self.norm, self.q, self.k, self.v = nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.mlp = nn.Linear(8, 8)

    def forward(self, x):
        h = self.norm(x)
        x = x + (self.q(h) @ self.k(h).transpose(1, 2)).softmax(-1) @ self.v(h)
        return x + self.mlp(x).tanh()


def test_every_weight_has_a_dot_and_every_fork_a_cut(chrome, tmp_path):
    model = nn.Sequential(nn.Linear(8, 8), Attention(), nn.Flatten(), nn.Linear(32, 10))
    x, y = np.random.default_rng(0).standard_normal((4, 4, 8)).astype(np.float32), np.arange(4)
    recording, probe = flow.record(model, x, y), flow.probe(model, x, y, progress=False)
    flow.explore({"residual": recording}, tmp_path / "page.html", probes={"residual": {0: probe}})
    visit(chrome, (tmp_path / "page.html").as_uri() + "#block=1")
    dots = find(chrome, ".profile-dots").get_attribute("d")
    assert dots.count("M") == len(recording.weight_layers) == 6
    for way in ("1#1.skip", "1#2.skip"):
        find(chrome, f"input[data-cut='{way}']").click()
        settle(chrome)
        assert len(chrome.find_elements("css selector", ".wire.cut")) == 1


class Dense(nn.Module):
    """Concatenates what its layers return, without an addition."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8 + 4 * i, 4) for i in range(3)])

    def forward(self, x):
        for layer in self.layers:
            x = mr.cat([x, layer(x).tanh()], 1)
        return x


def test_wires_without_a_skip_keep_clear_of_the_names(chrome, tmp_path):
    model = nn.Sequential(nn.Linear(8, 8), Dense(), nn.Linear(20, 10))
    recording = flow.record(model, np.ones((4, 8), np.float32), np.arange(4))
    flow.explore({"dense": recording}, tmp_path / "page.html")
    visit(chrome, (tmp_path / "page.html").as_uri())
    ends = "return [...document.querySelectorAll(arguments[0])].map(e => e.getBoundingClientRect()[arguments[1]])"
    assert min(chrome.execute_script(ends, ".wire", "top")) > max(chrome.execute_script(ends, ".slot-name", "bottom"))
