"""The command line as a person meets it: in a code page, in a narrow window, asked for a guess, interrupted."""

import io
import ntpath
import os
import re
import select
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import ENVIRONMENT, in_a_terminal

from minires import terminal
from minires.commands import cli, diary
from minires.commands.cli import main
from minires.folders import from_here, remove_empty_folders, writable_folder

# Every command, twice, as on Windows: a stdout with the code page of its pipes, no fork and no modules of POSIX, new
# processes by "spawn", and no file that is replaced while this process has it open.
AS_ON_WINDOWS = """
import multiprocessing, os, sys
del os.fork
sys.modules.update(fcntl=None, grp=None, pwd=None, resource=None, termios=None)

def replace(source, target, replace=os.replace):
    held = [os.path.realpath(f"/proc/self/fd/{handle}") for handle in os.listdir("/proc/self/fd")]
    assert os.path.realpath(target) not in held, target
    replace(source, target)

os.replace = replace
from minires import coursework, data, models, train
from minires.commands import cli

def run(*words, code=0):
    commands.add(words[0])
    assert cli.main([*words]) == code, words

multiprocessing.set_start_method("spawn")
commands = set()
run("new", "fork")
os.makedirs("class/a"), os.makedirs("class/b")
for student in "ab":
    run("new", "broadcasting", "--out", f"class/{student}/broadcasting.py")
small = ["--depth", "8", "--width", "2", "--epochs", "1", "--batch-size", "256", "--quiet"]
for _ in range(2):
    run("compare", *small, "--seeds", "2", "--processes", "2", "--out", "compare")
    run("explore", *small)
    run("flow", "--init-only", "--depth", "8", "--width", "2", "--quiet", "--out", "flow")
    run("grade", "fork.py", code=3)
    run("grade", "fork.py", "--format", "junit", "--out", "fork.xml", code=3)
    run("grade", "class", "--assignment", "broadcasting", "--again")
    run("experiments", "degradation", "--data", "digits", "--depths", "8", "--variants", "plain,residual",
        "--set", "steps=2", "--seeds", "1", "--workers", "2", "--quiet", "--out", "sweep")
    model = models.resnet_cifar(8, 4, in_channels=1)
    optimizer, schedule = train.recipe(model, 5)
    options = dict(epochs=1, batch_size=256, schedule=schedule, checkpoint="run.npz", progress=False)
    train.fit(model, data.digits()[0], optimizer, **options)
    run("lessons", "1", "--quick")
run("lessons"), run("doctor"), run("progress"), run("experiments")
try:
    import onnx
except ImportError:
    cli.main(["export", "plain"])  # says what to install
else:
    run("export", "residual", "--width", "4", "--depth", "8", "--in-channels", "1", "--checkpoint", "run.npz")
assert commands | {"export"} == {module.__name__.rpartition(".")[2] for module in cli.COMMANDS}
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="only Linux tells which files are open")
def test_every_command_works_as_on_windows(tmp_path):
    environment = ENVIRONMENT | {"PYTHONIOENCODING": "cp1252", "MINIRES_LESSON_OUTPUT": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", AS_ON_WINDOWS],
        cwd=tmp_path,
        env=environment | {"MINIRES_PROGRESS": str(tmp_path / "progress.json")},
        capture_output=True,
        check=False,
        timeout=600,
    )
    printed = done.stdout.decode("cp1252")
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert "----" in printed and "\nok the walk agrees" in printed and "\\u" not in printed
    assert printed.count("jobs are done") == 2


def test_a_lesson_started_by_itself_prints_to_a_code_page(tmp_path):
    script = "from minires.lesson import claim\nclaim('∂L/∂x is ‖g‖², √2 · 10⁻⁵ – or γ', True, 1.5)\n"
    (tmp_path / "lesson.py").write_text(script, "utf-8")
    for encoding, line in (
        ("cp1252", "ok dL/dx is ||g||², sqrt 2 · 10^-5 – or gamma (measured: 1.5)"),
        ("ascii", "ok dL/dx is ||g||^2, sqrt 2 . 10^-5 - or gamma (measured: 1.5)"),
        ("utf-8", "✓ ∂L/∂x is ‖g‖², √2 · 10⁻⁵ – or γ (measured: 1.5)"),
    ):
        environment = ENVIRONMENT | {"PYTHONIOENCODING": encoding}
        command = [sys.executable, str(tmp_path / "lesson.py")]
        printed = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60).stdout
        assert printed.decode(encoding).strip() == line


def test_what_has_no_plain_word_is_escaped():
    assert "中 ∀".encode("ascii", "minires.plainer") == rb"\u4e2d \u2200"
    assert "Straße Ⅳ".encode("ascii", "minires.plainer") == rb"Stra\xdfe IV"
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("ascii", "minires.plainer")


class Screen(io.StringIO):
    """A stdout that says it is a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize("width", [40, 200])
def test_long_lines_wrap_under_their_own_indentation_on_a_terminal_only(width, monkeypatch):
    monkeypatch.setattr(terminal, "columns", lambda stream=None: width)
    text = f"a short one\n      {'word ' * 60}".rstrip()
    assert terminal.fitted(text) == text  # a pipe or a file
    monkeypatch.setattr(sys, "stdout", Screen())
    first, *rest = terminal.fitted(text).splitlines()
    assert first == "a short one" and all(line.startswith("      ") for line in rest)
    assert max(map(len, rest)) <= min(width, terminal.LONGEST)
    assert " ".join(" ".join(rest).split()) == " ".join(text.split()[3:])


@pytest.mark.parametrize("arguments", [["lessons"], ["new", "list"], ["experiments"], ["doctor"]])
def test_a_list_fits_a_terminal_of_eighty_columns(arguments, monkeypatch):
    screen = Screen()
    monkeypatch.setattr(terminal, "columns", lambda stream=None: 80)
    monkeypatch.setattr(sys, "stdout", screen)
    assert main(arguments) == 0
    lines = [line for line in screen.getvalue().splitlines() if " " in line.strip()]  # one word may be longer
    assert len(lines) > 5 and max(map(len, lines)) <= 80


def test_an_unknown_option_shows_the_usage_of_its_command(capsys):
    for command in ("compare", "lessons", "grade", "progress"):
        with pytest.raises(SystemExit, match="2"):
            main([command, "--nonsense", *(["file.py"] if command == "grade" else [])])
        told = capsys.readouterr().err
        assert told.startswith(f"usage: minires {command} ") and "unrecognized arguments: --nonsense" in told


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["copmare"], "compare"),
        (["compare", "--sed", "3"], "--seed"),
        (["compare", "--data", "cifar"], "cifar10"),
        (["grade", "conv2d.py", "--format", "gradescop"], "gradescope"),
    ],
)
def test_a_slip_of_the_keyboard_is_answered_with_the_nearest_name(arguments, near, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert capsys.readouterr().err.endswith(f"(nearest: {near})\n")


def test_a_path_may_begin_with_a_tilde_that_the_shell_has_left(tmp_path, monkeypatch, capsys):
    for variable in ("HOME", "USERPROFILE"):  # on Windows, the second
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["new", "conv2d", "--out=~/mine.py"]) == 0 and (tmp_path / "mine.py").exists()
    given = "compare --out=~/x", "flow --root=~/x", "explore --out=~/x", "lessons --copy=~/x", "grade ~/x"
    for words in (*given, "experiments explosion --out=~/x", "export preact --checkpoint=~/x"):
        assert str(tmp_path / "x") in vars(cli._parser().parse_args(words.split())).values(), words
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


# ── folders ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_folders_that_stay_empty_are_not_left_behind(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    for out in ("new/er", "there/new"):  # the data are missing
        bad = ["compare", "--depth", "8", "--data", "cifar10", "--root", "nowhere", "--out", out]
        assert main(bad) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["there"] and not any((tmp_path / "there").iterdir())
    writable_folder("kept/inside", "test").joinpath("file").touch()
    writable_folder("kept/empty", "test")
    remove_empty_folders()
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["inside"]


def test_a_path_on_another_drive_is_told_as_it_is(monkeypatch):
    assert from_here(Path("a", "b.png").absolute()) == str(Path("a", "b.png"))
    monkeypatch.setattr(os, "path", ntpath)  # Windows, where every path begins with its drive
    monkeypatch.setattr(os, "getcwd", lambda: "D:\\work")
    assert from_here("D:\\work\\a.png") == "a.png" and from_here("C:\\lessons\\a.png") == "C:\\lessons\\a.png"


# ── a person at a terminal ──────────────────────────────────────────────────────────────────────────────────────────


def session(arguments, answers, folder, **environment):
    """What a terminal shows of `minires` and its exit code; to each text that it shows, one answer is typed."""
    pytest.importorskip("pty")  # not on Windows
    process, terminal = in_a_terminal("-m", "minires", *arguments, cwd=folder, env=ENVIRONMENT | environment)
    shown, until, waiting = b"", time.monotonic() + 60, list(answers)
    while time.monotonic() < until:
        if select.select([terminal], [], [], 0.5)[0]:
            try:
                shown += os.read(terminal, 2**16)
            except OSError:  # it has ended
                break
        if waiting and waiting[0][0] in shown:
            # Nobody types in the microseconds between a prompt and CPython's call of read, where Ctrl-C goes unseen.
            time.sleep(0.3)
            os.write(terminal, waiting.pop(0)[1])
    else:
        process.kill()
    os.close(terminal)
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", shown.decode()).replace("\r\n", "\n"), process.wait()


def test_a_person_is_asked_for_a_guess_and_progress_knows_it(tmp_path, monkeypatch, capsys):
    own = {"MINIRES_PROGRESS": str(tmp_path / "mine" / "progress.json"), "MINIRES_LESSON_OUTPUT": str(tmp_path)}
    answers = [(b"Your guess (a, b or c;", b"q\n"), (b"a, b or c, or Enter: ", b"B)\n")]
    shown, code = session(["lessons", "1", "--quick"], answers, tmp_path, **own)
    assert code == 0 and "Your guess was b. Its figure is in 01-fork.png" in shown
    assert shown.index("Your guess (") < shown.index("✓ ")
    assert max(map(len, shown.splitlines())) <= 80  # the terminal's width

    monkeypatch.setenv("MINIRES_PROGRESS", own["MINIRES_PROGRESS"])
    monkeypatch.chdir(tmp_path)
    assert main(["new", "fork"]) == 0 and main(["grade", "fork.py"]) == 3 and main(["progress"]) == 0
    table = capsys.readouterr().out.partition("solved.")[0]
    assert re.search(r"\n 1  A number's gradient +quick +guessed b\n", table)
    assert re.search(r"\nfork .+ 0 of \d+ points\n", table) and "0 of 12 exercises" in table


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "answers"),
    [
        (["lessons", "9"], [(b"Your guess", b"\x03")]),
        (["lessons", "9"], [(b" s): ", b"\n"), (b" s): \r\n\r\n", b"\x03")]),
        (["grade", "cross_entropy.py"], [(b" 1.1 ", b"\x03")]),
    ],
    ids=["at the guess", "in a lesson", "while grading"],
)
def test_ctrl_c_is_one_line(arguments, answers, tmp_path):
    text = (Path(__file__).parent / "coursework" / "solutions" / "cross_entropy.py").read_text("utf-8")
    (tmp_path / "cross_entropy.py").write_text(f"{text}\nimport time\ntime.sleep(0.5)\n", "utf-8")
    shown, code = session(arguments, answers, tmp_path)
    assert code == 130 and shown.endswith("^Cminires: interrupted\n") and "Traceback" not in shown
    assert "took" not in shown


@pytest.mark.skipif(os.name == "nt", reason="Windows tells it by another error")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["lessons"], ["lessons", "1", "--quick"], ["progress"]])
def test_a_reader_that_leaves_ends_it_without_a_word(arguments, unbuffered, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    own = {"MINIRES_LESSON_OUTPUT": str(tmp_path), "MINIRES_PROGRESS": str(tmp_path / "progress.json")}
    environment = ENVIRONMENT | own | {"PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-m", "minires", *arguments]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, cwd=tmp_path, env=environment, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_damaged_diary_is_named_and_costs_no_lesson(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MINIRES_PROGRESS", str(tmp_path / "progress.json"))
    for text in ("{", '{"lessons": {}}', '{"lessons": {"tour": 3}, "exercises": {}}'):
        (tmp_path / "progress.json").write_text(text, "utf-8")
        assert main(["progress"]) == 1 and "progress.json is damaged; remove it" in capsys.readouterr().err
        diary.note_grade("fork", 3.0, 20.0)  # nothing is noted, and nothing is lost
        assert (tmp_path / "progress.json").read_text("utf-8") == text
    (tmp_path / "progress.json").unlink()
    for score in (5.0, 3.0):
        diary.note_grade("fork", score, 20.0)
    assert diary.read()["exercises"]["fork"]["score"] == 5.0  # the best


@pytest.mark.parametrize("command", [module.__name__.rpartition(".")[2] for module in cli.COMMANDS])
def test_the_examples_of_its_help_are_commands(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    for example in re.findall(
        r"^ *minires (.*?)(?:  .*)?$", capsys.readouterr().out.partition("xample")[2], re.MULTILINE
    ):
        cli._parser().parse_args(shlex.split(example))


def test_no_option_is_abbreviated(capsys):
    with pytest.raises(SystemExit):
        main(["export", "residual", "--comp"])
    assert "unrecognized arguments: --comp" in capsys.readouterr().err
