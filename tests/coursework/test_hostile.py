"""What students submit: each costs its own part, says why, and leaves a complete result. Real files, real processes."""

import dataclasses
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from coursework.conftest import solution

import minires
from minires.coursework import ASSIGNMENTS, CannotGrade, formats, grade

pytestmark = pytest.mark.usefixtures("quick_training")

RELU = "def relu(x):\n    return np.maximum(x, 0)"


def with_relu(body):
    """The solution of relu_maxpool with another body for relu."""
    assert RELU in solution("relu_maxpool")
    return solution("relu_maxpool").replace(RELU, f"def relu(x):\n{body}")


def readable_by_all():
    """Whether other users can read the Python that runs here, and what it needs."""
    files = [Path(module.__file__) for module in (os, np, minires)]
    return all(path.stat().st_mode & 0o005 for file in files for path in (file, *file.parents))


def check_only_relu_is_lost(result, tests, word):
    """The tests that call relu fail with this word in the message; all others pass."""
    assert all(t.status in ("passed", "failed") for t in result.tests)
    lost = {number for number, t in tests.items() if t.status == "failed"}
    assert lost == {"1.1", "1.3", "4.1"}
    assert all(word in t.message for number, t in tests.items() if number in {"1.1", "1.3"}), tests["1.1"].message
    assert result.score == result.points - 1.5 - 2


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("    import sys; sys.exit(0)", "exit(0)"),
        ("    import os; os._exit(0)", "ended from within"),
        ("    import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("    return np.zeros((10 * 2**30,), np.uint8) + 1", "out of memory"),
        ("    return np.full(x.shape, np.nan, x.dtype)", "NaN"),
        ("    return x.tolist()", "expected an array"),
        ("    return lambda: x", "expected an array"),
        ("    return np.array([object()])", "expected an array"),
        ("    return relu(x)", "RecursionError"),
        ("    raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("    a = []; a.append(a); return a", "cannot be sent back"),
        ("    import os; os.write(3, b'\\xff' * 64); return x", "is not a result"),
        ("    import os; os.close(3)", "ended from within"),
        ("    return input()", "Does the code call input()?"),
        ("    open('big', 'wb').write(bytes(2**26))", "OSError"),
    ],
)
def test_costs_its_own_part_and_says_why(body, word, graded):
    check_only_relu_is_lost(*graded(with_relu(body)), word)


def test_writing_into_an_input(graded):
    _, tests = graded(with_relu("    x[x < 0] = 0; return x"))
    assert {number for number, t in tests.items() if t.status == "failed"} == {"1.1", "1.3", "4.1"}
    assert "wrote into its input x" in tests["1.1"].message


def test_wrong_signature(graded):
    check_only_relu_is_lost(*graded(solution("relu_maxpool").replace("def relu(x):", "def relu(x, y):")), "relu(x, y)")


def test_a_function_of_another_name_is_suggested(graded):
    _, tests = graded(solution("relu_maxpool").replace("def relu_backward(", "def reluBackward("))
    assert tests["1.2"].message == "there is no function relu_backward in your file (nearest: reluBackward)"


def test_endless_loop_ends_at_the_time_limit(graded):
    started = time.monotonic()
    _, tests = graded(with_relu("    while True: pass"), timeout=0.7)
    assert {n for n, t in tests.items() if t.status == "failed"} >= {"1.1", "1.3", "4.1"}
    assert "stopped after 0.7 s in relu" in tests["1.1"].message
    assert time.monotonic() - started < 60


def test_print_flood_is_cut_and_costs_nothing(graded):
    result, tests = graded(with_relu("    print('x' * 10**7); return np.maximum(x, 0)"))
    assert result.score == result.points
    assert "bytes more" in tests["1.1"].output and len(tests["1.1"].output) < 5000


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("def relu(x:\n", "line 1 of relu_maxpool.py"),
        ("import nonsense_module", "nonsense_module"),
        ("import sys; sys.exit()", "exit()"),
        ("", "there is no function relu"),
        (b"\xff\xfe\x00binary", "cannot be read"),
        (b"x = '\x00'", "zero bytes"),
    ],
)
def test_file_that_cannot_be_used_costs_all_and_ends(source, word, graded):
    result, tests = graded(source)
    assert result.score == 0 and all(t.status == "failed" for t in result.tests)
    assert word in tests["1.1"].message


def test_processes_that_outlive_the_submission_are_ended(graded, tmp_path):
    mark = tmp_path / "pids"
    body = f"""
    import os, pathlib, subprocess, sys
    mark = pathlib.Path({str(mark)!r})
    few = not mark.exists() or len(mark.read_text().split()) < 4
    for session in (False, True) * few:
        command = [sys.executable, "-S", "-c", "import time; time.sleep(300)"]
        child = subprocess.Popen(command, start_new_session=session)
        os.write(os.open(mark, os.O_CREAT | os.O_APPEND | os.O_WRONLY), b"%d\\n" % child.pid)
    return np.maximum(x, 0)"""
    _, tests = graded(with_relu(body))
    assert tests["1.1"].status == tests["1.3"].status == "passed"
    pids = [int(pid) for pid in mark.read_text().split()]
    assert len(pids) == 4
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_patching_the_library_changes_nothing_for_the_grader(graded):
    patch = """
import minires.kernels.textbook as textbook, minires.coursework.judge as judge, minires.testing as testing
textbook.relu = textbook.max_pool2d = lambda *a: None
judge.judge = judge.agree = testing.gradcheck = lambda *a, **k: True
"""
    _, tests = graded(patch + with_relu("    return x"))
    assert tests["1.1"].status == tests["1.3"].status == "failed"
    assert tests["2.1"].status == tests["3.2"].status == "passed"


def test_ending_the_process_that_starts_the_tests_costs_that_test(graded):
    _, tests = graded(with_relu("    import os, signal; os.kill(os.getppid(), signal.SIGKILL); return x"))
    assert tests["1.1"].status == tests["1.3"].status == "failed"
    assert tests["1.2"].status == tests["2.1"].status == tests["3.2"].status == "passed"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may become another user")
def test_as_another_user_files_of_the_grader_are_out_of_reach(graded, tmp_path):
    if not readable_by_all():  # else its user could not even import what it needs
        with pytest.raises(CannotGrade, match="where everyone may read them"):
            graded(solution("relu_maxpool"), user="nobody")
        return
    secret = tmp_path / "answers"
    secret.write_text("42")
    tmp_path.chmod(0o700)
    result, tests = graded(with_relu(f"    return open({str(secret)!r}).read()"), user="nobody")
    check_only_relu_is_lost(result, tests, "PermissionError")
    body = "    import os, signal; os.kill(os.getppid(), signal.SIGKILL); return x"
    check_only_relu_is_lost(*graded(with_relu(body), user="nobody"), "PermissionError")


def test_reading_the_tests_files_finds_no_answers(graded):
    """The submission may read the package; the expected values are in no file and not in its process."""
    body = """
    import gc, pathlib, minires.coursework.assignments.relu_maxpool as tests
    text = pathlib.Path(tests.__file__).read_text()
    arrays = [a for a in gc.get_objects() if isinstance(a, np.ndarray) and a.shape == x.shape and (a >= 0).all()]
    return arrays[0] if arrays else x"""
    _, tests = graded(with_relu(body))
    assert {number for number, t in tests.items() if t.status == "failed"} >= {"1.1", "1.3"}


def test_result_file_is_whole_at_every_moment(tmp_path):
    file, out = tmp_path / "relu_maxpool.py", tmp_path / "results.json"
    file.write_text(with_relu("    import time; time.sleep(60)"))
    command = [sys.executable, "-m", "minires", "grade", str(file), "--format", "gradescope", "--out", str(out)]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])})
    try:
        until = time.monotonic() + 60
        while not out.exists() and time.monotonic() < until:
            time.sleep(0.05)
        found = json.loads(out.read_text())
    finally:
        process.kill()
        process.wait()
    assert found["score"] == 0 and len(found["tests"]) == 11
    assert {t["status"] for t in found["tests"]} == {"failed"}
    assert "did not run" in found["tests"][-1]["output"]


def test_strange_characters_leave_every_format_valid(graded, in_classroom50):
    import xml.etree.ElementTree as xml

    result, _ = graded(with_relu(r"""    raise ValueError("\x00\x1b[31m \ud800 ``` ]]> <b>")"""))
    xml.fromstring(formats.junit(result).encode())
    json.loads(formats.gradescope(result).encode())
    for write in formats.FORMATS.values():
        assert not set(write(result)) & {"\x00", "\x1b", "\ud800"}


# ── loading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_that_hangs_while_it_is_loaded_is_loaded_once(graded):
    started = time.monotonic()
    result, _ = graded("print('here')\nwhile True: pass", timeout=0.6)
    assert time.monotonic() - started < 5 and len(result.tests) == 11
    assert {t.message for t in result.tests} == {result.trouble} and "when your file was loaded" in result.trouble
    shown = formats.text(result)
    assert shown.count("stopped after") == 1 and "here" in shown and len(shown.splitlines()) < 15


def test_a_file_that_is_slow_to_load_ends_at_the_total(graded):
    started = time.monotonic()
    result, tests = graded("import time; time.sleep(0.3)\n" + solution("relu_maxpool"), total=1.2)
    assert time.monotonic() - started < 5
    assert tests["1.1"].status == "passed" and result.tests[-1].status == "not run"
    assert "was not reached: the 1.2 s" in result.tests[-1].told and "were not run" in result.summary
    assert json.loads(formats.gradescope(result))["score"] == result.score > 0


def test_matplotlib_is_imported_once_for_all_tests(graded, tmp_path):
    """In seven processes of their own, it takes half a minute."""
    mark = tmp_path / "seconds"
    look = f"""
import sys, time
there, started = "matplotlib.pyplot" in sys.modules, time.perf_counter()
import matplotlib.pyplot as plt
plt.plot([1, 2])
plt.savefig("figure.png")
with open({str(mark)!r}, "a") as file:
    file.write(f"{{there}} {{len(plt.get_fignums())}}\\n")
"""
    result, _ = graded(look + solution("cross_entropy"), "cross_entropy")
    assert result.score == result.points
    assert mark.read_text().splitlines() == ["True 1"] * len(result.tests)


def test_a_fresh_exercise_says_once_that_nothing_is_written(graded):
    for name in ("conv2d", "gradient_flow"):  # the others are graded as handed out, elsewhere
        result, _ = graded(ASSIGNMENTS[name].exercise, name, hidden=True)
        shown = formats.text(result)
        assert shown.count("not written yet") == 1 and len(shown.splitlines()) < 12
        assert all(len(t.told.splitlines()) == 1 for t in result.tests)


# ── what is said, and sent ──────────────────────────────────────────────────────────────────────────────────────────

ODD = "class Odd(Exception):\n    def __str__(self):\n        {}\n"


@pytest.mark.parametrize("body", ["raise ValueError", "return None", "raise SystemExit", "return str(self)"])
def test_an_exception_that_cannot_say_what_it_is(body, graded):
    source = ODD.format(body) + with_relu("    raise Odd")
    check_only_relu_is_lost(*graded(source), "Odd: (its message cannot be shown")


def test_an_exception_without_a_name(graded):
    source = "class Meta(type):\n    __name__ = property(lambda c: 1 / 0)\nclass Odd(Exception, metaclass=Meta): pass\n"
    check_only_relu_is_lost(*graded(source + with_relu("    raise Odd('so')")), "Odd: so")


def test_long_messages_are_cut(graded, in_classroom50):
    result, tests = graded(with_relu("    raise ValueError('long ' * 10**6)"))
    check_only_relu_is_lost(result, tests, "long long")
    assert all(len(write(result)) < 50_000 for write in formats.FORMATS.values())


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("    return np.zeros(2**23)", "cannot be sent back"),
        ("    return np.broadcast_to(1.0, (10**6, 10**6))", "cannot be sent back: 7,629,395 MB"),
        ("    return [1.5] * 10**6", "return arrays"),
        ("    import os; os.write(3, (2**62).to_bytes(8, 'big')); return x", "too large"),
        ("    import os; os.write(3, (2**23).to_bytes(8, 'big') + (2**22).to_bytes(8, 'big') + b'[' * 2**23); return x",
         "a header of"),
    ],
)  # fmt: skip
def test_large_replies_take_neither_time_nor_memory(body, word, graded):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    check_only_relu_is_lost(*graded(with_relu(body)), word)
    if sys.platform == "linux":
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_words_of_a_submission_s_own_process_do_not_get_into_hidden_tests(graded):
    body = """    import os, minires.coursework.messages as m
    os.write(3, m.framed(m.pack({"trouble": "inputs: %s" % x, "text": ""}))); return x"""
    result, _ = graded(with_relu(body), hidden=True)
    for test in result.tests:
        assert "inputs" not in (test.told if test.test.hidden else test.brief)


# ── time ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        "    while True: print('x' * 10**6)",
        "    import os, signal, time; os.kill(os.getppid(), signal.SIGSTOP); time.sleep(300)",
        "    import os\n    while True: os.write(3, b'')",
    ],
)
def test_limits_are_of_time_that_passes(body, graded):
    started = time.monotonic()
    _, tests = graded(with_relu(body), timeout=0.8)
    assert "stopped after 0.8 s" in tests["1.1"].message and tests["2.1"].status == "passed"
    assert max(t.seconds for t in tests.values() if t.number != "4.1") < 3
    assert time.monotonic() - started < 30


# ── what is left ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_files_of_a_test_are_gone_before_the_next(graded, tmp_path):
    mark = tmp_path / "folders"
    body = f"""
    import os
    with open({str(mark)!r}, "a") as file:
        file.write(os.environ["HOME"] + "\\n")
    for i in range(200 * (not hasattr(os, "deep"))):
        os.mkdir("deep"); os.chdir("deep"); os.deep = True
    open("kept", "w").close(); os.chmod(".", 0); os.chmod("..", 0)
    return np.maximum(x, 0)"""
    _, tests = graded(with_relu(body))
    assert tests["1.1"].status == tests["1.3"].status == "passed"
    folders = mark.read_text().splitlines()
    assert len(set(folders)) >= 3
    assert not [folder for folder in folders if os.path.lexists(folder)]


@pytest.mark.slow
def test_the_folders_of_tests_are_gone_when_the_keeper_is(tmp_path):
    file = tmp_path / "relu_maxpool.py"
    file.write_text(with_relu("    import os, signal; os.kill(os.getppid(), signal.SIGKILL); return x"))
    script = "import sys; from minires.coursework import grade; grade(sys.argv[1])"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script, str(file)], env=environment, check=True)
    assert [p.name for p in tmp_path.iterdir()] == ["relu_maxpool.py"]


# ── the grader's own trouble, and the machine's ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "options",
    [{"timeout": 1e-9}, {"timeout": 1e300}, {"timeout": float("nan")}, {"memory": 1}, {"total": 0}, {"seed": -1}],
)
def test_absurd_limits_are_refused(options, graded):
    with pytest.raises(ValueError, match="expected a timeout of"):
        graded(solution("relu_maxpool"), **options)


@pytest.mark.parametrize(("what", "value"), [("AS", 2**30), ("DATA", 2**30), ("CPU", 20)])
def test_limits_that_are_inherited_are_no_fault_of_the_submission(what, value, tmp_path):
    (tmp_path / "relu_maxpool.py").write_text(solution("relu_maxpool"))
    script = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_{what}, ({value}, {value}))
from minires.commands.cli import main
sys.exit(main(["grade", "relu_maxpool.py", "--format", "gradescope", "--out", "r.json", "--memory", "2000"]))
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "this process was started with a limit of" in done.stderr
    assert done.stderr.count("\n") == 1 and not (tmp_path / "r.json").exists()


def test_a_machine_without_room_for_a_process_gives_no_score(monkeypatch, tmp_path):
    (tmp_path / "relu_maxpool.py").write_text(solution("relu_maxpool"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no_python"))
    with pytest.raises(CannotGrade, match="no process can be started"):
        grade(tmp_path / "relu_maxpool.py")


@pytest.mark.parametrize("trouble", [OSError("no space left on device"), MemoryError()])
def test_a_test_that_the_machine_cannot_run_gives_no_score(trouble, monkeypatch, tmp_path):
    def check(learner, rng):
        raise trouble

    assignment = ASSIGNMENTS["relu_maxpool"]
    tests = [dataclasses.replace(assignment.tests[0], check=check), *assignment.tests[1:]]
    monkeypatch.setitem(ASSIGNMENTS, "relu_maxpool", dataclasses.replace(assignment, tests=tests))
    (tmp_path / "relu_maxpool.py").write_text(solution("relu_maxpool"))
    with pytest.raises(CannotGrade, match="the grader itself had trouble"):
        grade(tmp_path / "relu_maxpool.py")
