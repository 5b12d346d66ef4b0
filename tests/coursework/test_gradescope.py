"""The Gradescope scripts, in a folder laid out as Gradescope's /autograder, and the wheel in a fresh environment.

Both need a package registry for NumPy and matplotlib.
"""

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from coursework.conftest import SOLUTIONS, solution
from coursework.container import Container

from minires.coursework import ASSIGNMENTS

SCRIPTS = Path(__file__).parents[2] / "lessons" / "exercises" / "gradescope"
MEMORY, PROCESSORS = 768, 0.5  # MB, and a share: Gradescope's smallest container

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="Gradescope's containers run Linux"),
]


@pytest.fixture(scope="module")
def autograder():
    """The folder after setup.sh, as others may read it: (its path, the environment of its scripts)."""
    root = Path(tempfile.mkdtemp(prefix="minires-autograder-"))
    root.chmod(0o755)  # pytest's own folders are closed to other users, /autograder is open
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MINIRES_"))}
    environment |= {"AUTOGRADER_ROOT": str(root)}
    known = "student" in {user.pw_name for user in pwd.getpwall()}
    if os.geteuid() != 0 or (shutil.which("useradd") is None and not known):
        environment["AUTOGRADER_USER"] = "nobody"  # a user that is there already
    for folder in ("source", "submission", "results"):
        (root / folder).mkdir()
    try:
        subprocess.run([SCRIPTS / "pack.sh", "conv2d", "7391", "made.zip"], cwd=root, env=environment, check=True)
        shutil.unpack_archive(root / "made.zip", root / "source")
        (root / "made.zip").unlink()
        shutil.copy(root / "source" / "run_autograder", root)  # as Gradescope does
        subprocess.run(["bash", root / "source" / "setup.sh"], env=environment, check=True)
        yield root, environment
        if environment.get("AUTOGRADER_USER") is None:
            assert pwd.getpwnam("student").pw_uid != 0
    finally:
        shutil.rmtree(root)
        if not known and environment.get("AUTOGRADER_USER") is None:  # setup.sh has made the user
            subprocess.run(["userdel", "student"], check=False)


def submit(root, assignment, source):
    """Put a submission where Gradescope puts it, and name the assignment in the settings."""
    for folder in ("submission", "results"):
        for file in (root / folder).iterdir():
            file.unlink()
    (root / "source" / "settings").write_text(f"assignment={assignment}\nseed=7391\n")
    (root / "submission" / f"{assignment}.py").write_text(source, encoding="utf-8")


def results(root):
    return json.loads((root / "results" / "results.json").read_text(encoding="utf-8"))


def check_graded(root, environment, run):
    """A right submission gets all points, a wrong one loses only those of its part, and a missing one loses all."""
    command = ["bash", str(root / "run_autograder")]
    options = {"cwd": root, "env": environment, "capture_output": True, "text": True}
    submit(root, "conv2d", solution("conv2d"))
    assert run(command, **options).returncode == 0
    found = results(root)
    assert [t["name"] for t in found["tests"] if t["status"] != "passed"] == []
    assert found["score"] == 20 == sum(t["max_score"] for t in found["tests"])

    submit(root, "conv2d", solution("conv2d").replace("grad_y.sum((0, 2, 3))", "grad_y.mean((0, 2, 3))"))
    assert run(command, **options).returncode == 0
    failed = [t for t in results(root)["tests"] if t["status"] == "failed"]
    assert failed and all(t["name"].startswith(("gradient of bias", "training: your backward")) for t in failed)

    (root / "submission" / "conv2d.py").unlink()
    assert run(command, **options).returncode == 0
    assert results(root)["score"] == 0 and len(results(root)["tests"]) == len(ASSIGNMENTS["conv2d"].tests)


def test_scripts_grade(autograder):
    root, environment = autograder

    def run(command, **options):
        return subprocess.run(command, **options, check=False)

    check_graded(root, environment, run)
    submit(root, "nonsense", "")
    done = run(["bash", root / "run_autograder"], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "it is not your code" in done.stderr
    assert not (root / "results" / "results.json").exists()  # no score, rather than 0


LARGEST = "conv2d", "gradient_flow"  # the most memory and the most time
EACH = [pytest.param(name, marks=[] if name in LARGEST else pytest.mark.thorough) for name in ASSIGNMENTS]


@pytest.mark.parametrize("name", EACH)
def test_all_is_graded_within_768_mb_and_half_a_processor(name, autograder):
    root, environment = autograder
    submit(root, name, (SOLUTIONS / f"{name}.py").read_text(encoding="utf-8"))
    try:
        with Container(MEMORY, PROCESSORS) as container:
            done = container.run(["bash", str(root / "run_autograder")], cwd=root, env=environment)
    except OSError as error:
        pytest.skip(f"control groups cannot be made here: {error}")
    assert done.returncode == 0
    assert results(root)["score"] == 20
    assert 0 < container.peak < MEMORY
    print(f"{name}: {container.seconds:.1f} s, at most {container.peak:.0f} MB")


def test_what_a_submission_takes_too_much_of_costs_its_part_in_the_container_too(autograder):
    root, environment = autograder
    relu = "return np.maximum(x, 0)"
    assert relu in solution("relu_maxpool")
    greedy = solution("relu_maxpool").replace(relu, "a = np.ones(10 * 2**30 // 8); return np.maximum(x, 0) + a[0] - 1")
    submit(root, "relu_maxpool", greedy)
    try:
        with Container(MEMORY, PROCESSORS) as container:
            container.run(["bash", str(root / "run_autograder")], cwd=root, env=environment)
    except OSError as error:
        pytest.skip(f"control groups cannot be made here: {error}")
    found = results(root)
    lost = [t for t in found["tests"] if t["status"] == "failed"]
    assert lost and all(t["name"].startswith(("relu", "training")) for t in lost)
    assert 0 < found["score"] < 20


def test_the_wheel_holds_the_exercises(autograder, tmp_path):
    root, environment = autograder
    minires = root / "venv" / "bin" / "minires"
    for name, assignment in ASSIGNMENTS.items():
        subprocess.run([minires, "new", name], cwd=tmp_path, env=environment, check=True, capture_output=True)
        assert (tmp_path / f"{name}.py").read_text(encoding="utf-8") == assignment.exercise
    listed = subprocess.run([minires, "new", "list"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert listed.stdout.count("20 points") == len(ASSIGNMENTS)
    grade = [minires, "grade", "cross_entropy.py"]
    (tmp_path / "cross_entropy.py").write_text(solution("cross_entropy"), encoding="utf-8")
    done = subprocess.run(grade, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "13 of 13 points" in done.stdout
