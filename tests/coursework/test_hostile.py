"""What students submit: each costs its own part, says why, and leaves a complete result. Real files, real processes."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from coursework.conftest import solution

from minires.coursework import formats

pytestmark = pytest.mark.usefixtures("quick_training")

RELU = "def relu(x):\n    return np.maximum(x, 0)"


def with_relu(body):
    """The solution of relu_maxpool with another body for relu."""
    assert RELU in solution("relu_maxpool")
    return solution("relu_maxpool").replace(RELU, f"def relu(x):\n{body}")


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
        ("    return input()", "EOFError"),
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
        ("import sys; sys.exit()", "exit(None)"),
        ("", "there is no function relu"),
        (b"\xff\xfe\x00binary", "cannot be read"),
        (b"x = '\x00'", ""),
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


def test_strange_characters_leave_every_format_valid(graded):
    import xml.etree.ElementTree as xml

    result, _ = graded(with_relu(r"""    raise ValueError("\x00\x1b[31m \ud800 ``` ]]> <b>")"""))
    xml.fromstring(formats.junit(result).encode())
    json.loads(formats.gradescope(result).encode())
    for write in formats.FORMATS.values():
        assert not set(write(result)) & {"\x00", "\x1b", "\ud800"}
