"""Jobs in this process and in others: the same results, progress, errors, Ctrl-C, and nothing left behind."""

import contextlib
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
from processes import ENVIRONMENT

import minires
from minires import jobs, random, threads

pytestmark = pytest.mark.usefixtures("collected")


def draw(count):
    """A job that draws numbers."""
    total = 0.0
    for i in range(count):
        total += float(random.generator().standard_normal())
        yield i
    return total


def ask(_):
    """A job that says in how many threads it computes."""
    yield 0
    return threads.get_num_threads()


def fail(kind):
    """A job that ends badly, or never."""
    yield 0
    if kind == "error":
        raise ValueError("a job failed")
    if kind == "death":
        os._exit(9)
    while True:
        time.sleep(0.01)
        yield 0


def save(count):
    """A job that hands over what it has when it is interrupted; at 3 it interrupts itself."""
    done = 0
    try:
        while done < count:
            done += 1
            yield done
            if done == 3:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        raise jobs.Interrupted(done) from None
    return done


def wait(_):
    """A job that never ends by itself, and hands over what it has when it is interrupted."""
    done = 0
    try:
        while True:
            done += 1
            yield done
            time.sleep(0.001)
    except KeyboardInterrupt:
        raise jobs.Interrupted(done) from None


COUNTS = [3, 1, 4]


@pytest.fixture(scope="module")
def alone():
    return [jobs.run(draw, [count])[0] for count in COUNTS]


@pytest.mark.parametrize("abreast", [1, 2, 5])
def test_taking_turns_changes_no_result_and_leaves_the_random_numbers_alone(alone, abreast):
    heard, before = [], random.get_state()
    assert jobs.run(draw, COUNTS, abreast=abreast, progress=lambda *message: heard.append(message)) == alone
    assert random.get_state() == before
    assert sorted(heard) == [(number, i) for number, count in enumerate(COUNTS) for i in range(count)]
    assert (heard[:2] == [(0, 0), (0, 1)]) == (abreast == 1)


def test_side_by_side_is_the_same(alone):
    heard = []
    with jobs.Processes(2) as executor:
        assert jobs.run(draw, COUNTS, executor=executor, progress=lambda *message: heard.append(message)) == alone
        assert jobs.run(ask, [None], executor=executor) == [1]
        with pytest.raises(ValueError, match="a job failed"):
            jobs.run(fail, ["error", "forever"], executor=executor)
    assert sorted(heard) == [(number, i) for number, count in enumerate(COUNTS) for i in range(count)]
    assert multiprocessing.active_children() == []


def test_any_executor_of_processes_will_do(alone):
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        assert jobs.run(draw, COUNTS, executor=executor) == alone
        with pytest.raises(jobs.Interrupted) as stopped:
            jobs.run(save, [2, 5], executor=executor)
    assert stopped.value.result == [2, 3]
    with ThreadPoolExecutor(1) as executor, pytest.raises(TypeError, match="share their random numbers"):
        jobs.run(draw, COUNTS, executor=executor)


def test_a_process_that_dies_is_an_error_and_ends_the_others():
    with jobs.Processes(2) as executor, pytest.raises(RuntimeError, match="a process ended before its job was done"):
        jobs.run(fail, ["forever", "death"], executor=executor)
    assert multiprocessing.active_children() == []


def test_an_interrupt_in_one_job_lets_the_others_hand_over_what_they_have():
    with pytest.raises(jobs.Interrupted) as stopped:
        jobs.run(save, [9, 2, 9, 9], abreast=3)
    assert stopped.value.result == [3, 2, 3, None]

    def progress(number, message):
        if number == 1:
            raise KeyboardInterrupt

    with pytest.raises(jobs.Interrupted) as stopped:
        jobs.run(save, [9, 9], abreast=2, progress=progress)
    assert stopped.value.result == [1, 1]
    with pytest.raises(jobs.Interrupted) as stopped:
        jobs.run(draw, [5, 5], abreast=2, progress=progress)
    assert stopped.value.result == [None, None]


def test_ctrl_c_here_reaches_the_jobs_there():
    def progress(number, message):
        raise KeyboardInterrupt

    with jobs.Processes(1) as executor, pytest.raises(jobs.Interrupted) as stopped:
        jobs.run(wait, [0, 0], executor=executor, progress=progress)
    first, second = stopped.value.result
    assert first >= 1 and second is None


PARENT = """
import sys
sys.path[:0] = [{folder!r}]
from test_jobs import fail
from minires import jobs
if __name__ == "__main__":
    with jobs.Processes(1) as executor:
        def progress(*message):
            print(*(child.pid for child in executor.children), flush=True)
        jobs.run(fail, ["forever"], executor=executor, progress=progress)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_when_the_parent_is_killed_its_processes_end(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(folder=os.path.dirname(__file__)))
    with subprocess.Popen(
        [sys.executable, str(script)], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as parent:
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.send_signal(signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        for _ in range(100):
            os.kill(child, 0)
            with contextlib.suppress(FileNotFoundError), open(f"/proc/{child}/stat") as stat:
                if stat.read().rpartition(")")[2].split()[0] == "Z":  # ended, and nobody asked
                    return
            time.sleep(0.1)
        pytest.fail("the process is still there after 10 s")


def end(how):
    """A plain job: its answer, an error, or the end of its process."""
    if how == "error":
        raise ValueError("a job failed")
    if how == "death":
        os._exit(9)
    time.sleep(0.05)
    return how


def test_outcomes_come_as_jobs_end_and_one_that_fails_or_dies_stops_nobody():
    tasks = ["a", "error", "b", "death", "c", "d"]
    with jobs.Processes(2) as executor:
        found = list(jobs.outcomes(end, tasks, executor))
        assert sorted(number for number, _ in found) == list(range(len(tasks))), "each once"
        for number, outcome in found:
            if tasks[number] == "error":
                assert isinstance(outcome, ValueError) and str(outcome) == "a job failed"
            elif tasks[number] == "death":
                assert isinstance(outcome, RuntimeError) and "its process ended" in str(outcome)
            else:
                assert outcome == tasks[number]
        assert list(jobs.outcomes(end, [], executor)) == []
    assert multiprocessing.active_children() == []


def test_leaving_the_outcomes_ends_what_runs():
    with jobs.Processes(2) as executor:
        for number, outcome in jobs.outcomes(time.sleep, [0, 60, 60, 60], executor):
            assert (number, outcome) == (0, None)
            break
        started = time.monotonic()
    assert time.monotonic() - started < 30 and multiprocessing.active_children() == []


def test_a_script_that_starts_processes_again_and_again_is_told_what_it_needs(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(
        "from minires import jobs\n"
        "with jobs.Processes(2) as executor:\n"
        "    list(jobs.outcomes(abs, [1, 2, 3], executor))\n"
    )
    command = [sys.executable, str(script)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "needs the line `if __name__ == '__main__':`" in done.stderr


def test_processes_are_started_in_one_file_and_alike_on_every_system():
    """Elsewhere they would be forked on Linux, and behave as nobody has tried where they are spawned."""
    package = Path(minires.__file__).parent
    files = {path: path.read_text("utf-8") for path in package.rglob("*.py")}
    using = [path for path, text in files.items() if re.search("multiprocessing|ProcessPoolExecutor", text)]
    assert using == [package / "jobs.py"]
    named = re.findall(r"\bmultiprocessing\.(\w+\(\"?\w*)", files[using[0]])
    assert set(named) == {'get_context("spawn', "active_children(", "parent_process("}


class Lost(ProcessPoolExecutor):
    """An executor that gives up, as Dask's does without its scheduler."""

    def submit(self, *args, **options):
        future = super().submit(time.sleep, 0)
        future.cancel()
        return future


def test_an_executor_that_gives_up_is_told():
    with Lost(1, multiprocessing.get_context("spawn")) as executor, pytest.raises(jobs.ExecutorGone, match="scheduler"):
        list(jobs.outcomes(end, ["a"] * 4, executor))


def good(task):
    yield
    return 2 * task


def bad(task):
    yield
    raise ValueError(f"no {task}")


def test_an_executor_can_be_used_again_after_a_job_has_failed():
    with jobs.Processes(1) as executor:
        for _ in range(2):
            with pytest.raises(ValueError, match=r"no [123]"):
                jobs.run(bad, [1, 2, 3], executor=executor)
            assert jobs.run(good, [1, 2], executor=executor) == [2, 4]
