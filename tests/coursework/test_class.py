"""Grading a class: a line for each as it ends, reports, a table, a page; and it goes on where it was interrupted."""

import contextlib
import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from coursework.conftest import solution

from minires.commands.cli import main
from minires.coursework import grade_class, is_class

SOURCE = solution("broadcasting")
EVIL = "import os, signal; os.kill(os.getppid(), signal.SIGKILL)\n"
CLASS = {
    "ada/broadcasting.py": SOURCE,
    "ben <b>/hw.py": SOURCE.replace("grad_output * b", "grad_output"),
    "cem/broadcasting.py": "import os\nwhile True: pass",
    "=dora/week 1/broadcasting.py": SOURCE.replace("keepdims=True", "keepdims=False"),
    "e\x1b[1m/broadcasting.py": EVIL + SOURCE,
    "fay/notes.txt": "sorry",
}


@pytest.fixture
def folder(tmp_path):
    """A small class."""
    for name, text in CLASS.items():
        path = tmp_path / "class" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    (tmp_path / "class" / "gus").symlink_to(tmp_path / "class" / "ada")
    return tmp_path / "class"


def processes_that_name(path):
    """The processes with this path on their command line or in their environment (Linux)."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if process.name != str(os.getpid()) and str(path).encode() in (process / "environ").read_bytes():
                found.append(process.name)
    return found


def table(out):
    """Row by submission."""
    with open(out / "grades.csv", encoding="utf-8") as file:
        return {row["submission"]: row for row in csv.DictReader(file)}


@pytest.mark.slow
def test_a_class_is_graded_and_what_is_there_is_kept(folder, capsys):
    options = [str(folder), "--assignment", "broadcasting", "--jobs", "2", "--timeout", "1.5"]
    assert is_class(folder, "broadcasting") and not is_class(folder / "ada", "broadcasting")
    assert main(["grade", *options]) == 0
    out = folder.with_name("class-grades")
    rows = table(out)
    assert set(rows) == {"ada", "ben <b>", "cem", "'=dora", "e\N{REPLACEMENT CHARACTER}[1m", "fay", "gus"}
    points = {name: float(row["score"]) for name, row in rows.items()}
    assert points.pop("ada") == float(rows["ada"]["points"]) > 10
    assert 0 < points["ben <b>"] < 12 and 0 < points["'=dora"] < 12
    assert points["cem"] == points["fay"] == points["gus"] == 0
    assert points["e\N{REPLACEMENT CHARACTER}[1m"] < 12  # some of its tests may end before its signal arrives
    assert rows["ben <b>"]["remark"] == "graded: hw.py" and "is a link" in rows["gus"]["remark"]
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "ben &lt;b&gt;" in page and "ben <b>" not in page and "<script" not in page
    assert len(list((out / "reports").iterdir())) == 7
    assert "hint:" in next((out / "reports").glob("ben*")).read_text(encoding="utf-8")
    printed = capsys.readouterr().out
    assert printed.count(" of 12 ") >= 7 and "7/7" in printed and "\x1b" not in printed

    (folder / "fay" / "broadcasting.py").write_text(SOURCE)
    assert main(["grade", *options]) == 0
    printed = capsys.readouterr().out
    assert "6 of 7 submissions are graded already" in printed and "fay" in printed and "ben" not in printed
    assert float(table(out)["fay"]["score"]) == float(rows["ada"]["points"])
    assert main(["grade", *options, "--seed", "3", "--jobs", "1"]) == 0
    assert "already" not in capsys.readouterr().out  # other options, other grades


def test_what_is_no_submission_is_named(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("minires.coursework.jobs.sys.executable", "/bin/false")
    for name in ("hal.rar", "grades.xlsx", ".DS_Store"):
        (folder / name).touch()
    assert main(["grade", str(folder), "--assignment", "broadcasting", "--out", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr().out
    assert "not graded, as they are no folder, script, notebook or zip archive: grades.xlsx, hal.rar\n" in printed
    assert set(table(tmp_path / "out")) & {"hal.rar", "grades.xlsx"} == set()


@pytest.mark.slow
def test_an_executor_grades_a_class_the_same_way(folder, tmp_path, capsys):
    shutil.rmtree(folder / "cem")  # which takes all the time that it is given
    options = [str(folder), "--assignment", "broadcasting", "--timeout", "1.5"]
    assert main(["grade", *options, "--jobs", "2", "--out", str(tmp_path / "here")]) == 0
    assert main(["grade", *options, "--jobs", "2", "--executor", "processes", "--out", str(tmp_path / "there")]) == 0
    here, there = table(tmp_path / "here"), table(tmp_path / "there")
    evil = next(name for name in here if name.startswith("e"))  # how many of its tests end before its signal varies
    for rows in (here, there):
        assert 0 <= float(rows.pop(evil)["score"]) < 12
        for row in rows.values():
            row.pop("seconds")
    assert there == here
    for report in (tmp_path / "here" / "reports").glob("b*"):
        assert "hint:" in (tmp_path / "there" / "reports" / report.name).read_text(encoding="utf-8")
    capsys.readouterr()
    assert main(["grade", *options, "--executor", "processes", "--out", str(tmp_path / "there")]) == 0
    assert "6 of 6 submissions are graded already" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options, said",
    [
        (["--one", "--executor", "processes"], "got --executor processes for a single submission; it is for a class"),
        (["--class", "--executor", "threads"], "got 'threads'; expected one of processes, mpi"),
        (
            ["--class", "--executor", "processes", "--user", "nobody"],
            "need a user each, and other machines have others",
        ),
    ],
)
def test_an_executor_that_does_not_fit_is_told(options, said, folder, capsys):
    assert main(["grade", str(folder), "--assignment", "broadcasting", *options]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_an_interrupted_class_goes_on_and_leaves_no_process(folder, tmp_path):
    for i in range(6):
        (folder / f"slow {i}").mkdir()
        (folder / f"slow {i}" / "broadcasting.py").write_text("import time; time.sleep(0.2)\n" + SOURCE)
    out, environment = (
        tmp_path / "out",
        os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(tmp_path)},
    )
    program = (  # a job in the background inherits SIGINT as ignored
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from minires.commands.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "grade", str(folder), "--assignment", "broadcasting"]
    command += ["--timeout", "1.5", "--out", str(out), "--jobs", "2"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while len(list(out.glob("records/[!.]*.json"))) < 3 and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    first = len(list(out.glob("records/[!.]*.json")))
    assert 3 <= first < len(CLASS) + 7 and (out / "grades.csv").exists()
    until = time.monotonic() + 10  # its helpers see for themselves that it has gone
    while processes_that_name(tmp_path) and time.monotonic() < until:
        time.sleep(0.05)
    assert not list(tmp_path.glob("minires-tests-*")) and not processes_that_name(tmp_path)
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0 and f"{first} of 13 submissions are graded already" in again.stdout
    assert len(table(out)) == 13 and not list(tmp_path.glob("minires-tests-*"))


def test_a_machine_that_cannot_grade_gives_no_scores(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("minires.coursework.jobs.sys.executable", "/bin/false")
    assert main(["grade", str(folder), "--assignment", "broadcasting", "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().out.count("could not be graded") == 7
    assert {row["score"] for row in table(tmp_path / "out").values()} == {""}
    assert not list(tmp_path.glob("out/records/*"))


def test_bad_arguments(folder, tmp_path):
    with pytest.raises(ValueError, match="jobs=0"):
        grade_class(folder, "broadcasting", at_once=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no submissions"):
        grade_class(tmp_path / "empty", "broadcasting")
