"""Every lesson runs as a script, keeps its claims, and has the common format."""

import os
import re
import subprocess
import sys

import pytest

from minires import cuda_on_cpu
from minires.commands.lessons import FOLDER, index, read_lessons
from minires.kernels.devices import why_no_gpu

LESSONS = read_lessons()
FAST = 0, 1, 3, 5, 10  # those whose quick versions run in the short suite, too


def each_lesson(test):
    return pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.path.stem)(test)


def run(lesson, folder, *arguments):
    """Run the script in another folder; check its claims and figures, and return what it printed."""
    environment = dict(os.environ, MINIRES_LESSON_OUTPUT=str(folder / "figures"), PYTHONPATH=str(FOLDER.parent))
    environment.pop("MINIRES_QUICK", None)
    command = [sys.executable, str(lesson.path), *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=600, check=False
    )
    assert done.returncode == 0 and done.stderr == "", done.stdout + done.stderr
    claims = claims_of(lesson, done.stdout, quick="--quick" in arguments)
    assert "✗" not in done.stdout and done.stdout.count("✓ ") == claims
    figures = sorted(path.stem for path in (folder / "figures").iterdir())
    assert figures and all(re.fullmatch(rf"{lesson.number:02}-[a-z0-9-]+", name) for name in figures), figures
    assert all((folder / "figures" / f"{name}.png").stat().st_size > 5_000 for name in figures)
    return done.stdout


def claims_of(lesson, printed, quick):
    """The number of claims that were printed, which is at least the number of ``claim(`` in the script.

    What needs more than a quick version trains stands in a block ``if not QUICK:``, and nowhere else; a function may
    make its claims a second time, inside `lesson.also_at`.
    """
    source = lesson.path.read_text("utf-8")
    if quick:
        source = re.sub(r"^( *)if not QUICK:.*\n(?:\1 +.*\n|\n)+", "", source, flags=re.MULTILINE)
    written = len(re.findall(r"^ *claim\(", source, re.MULTILINE))
    count = len(re.findall(r"^[✓✗] ", printed, re.MULTILINE))
    assert 0 < written <= count
    return count


@pytest.mark.parametrize(
    "lesson",
    [
        pytest.param(lesson, marks=[] if lesson.number in FAST else pytest.mark.slow, id=lesson.path.stem)
        for lesson in LESSONS
    ],
)
def test_the_quick_version_keeps_its_claims(lesson, tmp_path):
    run(lesson, tmp_path, "--quick")


@pytest.mark.thorough
@each_lesson
def test_the_full_version_keeps_its_claims_and_gives_the_answer_that_the_chinese_guide_has(lesson, tmp_path):
    answer = re.findall(r"answer ([a-h])\)", run(lesson, tmp_path))[0]
    parts = (FOLDER / "zh.md").read_text("utf-8").split("答案 ")[1:]
    assert parts[lesson.number][0] == answer


def test_the_convolution_in_five_kernels(tmp_path):
    why_not = cuda_on_cpu.why_not() if not cuda_on_cpu.available() else ""
    if why_not and why_no_gpu() is not None:
        pytest.skip(f"needs a GPU or g++: {why_not}")
    script = FOLDER / "kernels" / "convolution.py"
    done = subprocess.run(
        [sys.executable, str(script), "--quick"], cwd=tmp_path, env=dict(os.environ, PYTHONPATH=str(FOLDER.parent)),
        capture_output=True, text=True, encoding="utf-8", timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr == "", done.stdout + done.stderr
    versions = sorted(path.stem for path in script.parent.glob("*.cu"))
    assert len(versions) == 5
    for version in versions:
        assert f"✓ {version} agrees with the reference" in done.stdout and f"\n| {version} | " in done.stdout


def test_they_are_numbered_and_quick():
    assert [lesson.number for lesson in LESSONS] == sorted({lesson.number for lesson in LESSONS})
    assert all(lesson.path.name.startswith(f"{lesson.number:02}_") for lesson in LESSONS)
    assert sum(lesson.quick for lesson in LESSONS) <= 90  # seconds, for all together
    assert all(lesson.seconds < 150 and lesson.quick <= 8 for lesson in LESSONS)


@each_lesson
def test_the_format(lesson):
    source = lesson.path.read_text("utf-8")
    cells = re.split(r"^# %%", source, flags=re.MULTILINE)
    assert cells[0] == "" and cells[1].startswith(" [markdown]\n# # "), "begin with a Markdown cell that has the title"
    text = [cell.split("\n", 1)[1].strip() for cell in cells[1:] if cell.startswith(" [markdown]")]
    code = [cell.split("\n", 1)[1].strip() for cell in cells[1:] if not cell.startswith(" [markdown]")]
    assert all(line.startswith("# ") or line == "#" for cell in text for line in cell.splitlines())
    assert code[-1] == "finish()"


@each_lesson
def test_the_text_uses_only_what_every_reader_of_it_understands(lesson):
    source = lesson.path.read_text("utf-8")
    prose = re.sub(r"\$\$?[^$]+\$?\$|`[^`]*`", "", "\n".join(line for line in source.splitlines() if line[:1] == "#"))
    for pattern, what in (
        (r"^# *\|", "a table"),
        (r"!\[", "an image"),
        (r"</?[a-z]+[ >]", "HTML"),
        (r"^# *```", "a fenced block"),
        (r"^# (#{3,}|# .*\n(?s:.)*^# # )", "a second title, or a heading below ##"),
        (r"^# [*+] ", "a list that is not written with - or 1."),
        (r"\]\((?!https?://|answers/\w+\.md\))", "a link to something else than the web or its answers"),
    ):
        assert not re.search(pattern, prose, re.MULTILINE), f"{lesson.path.name}: {what}"
    assert "matplotlib.use" not in source


def test_the_readme_lists_them():
    text = (FOLDER / "README.md").read_text("utf-8")
    assert index(LESSONS) in text, "lessons/README.md should hold this list:\n" + index(LESSONS)


def test_what_trains_is_tried_at_a_second_setting():
    trains = re.compile(r"^[^#\n]*(?:\b(?:fit|efficiency)\(|\boptim(?:izer)?\.\w+\()", re.MULTILINE)
    sources = {lesson.path.stem: lesson.path.read_text("utf-8") for lesson in LESSONS}
    found = {name for name, source in sources.items() if trains.search(source)}
    assert len(found) > 12 and found == {name for name, source in sources.items() if "also_at(" in source}


def test_lessons_are_called_by_their_names_everywhere():
    stems, root = {lesson.path.stem for lesson in LESSONS}, FOLDER.parent
    texts = [*FOLDER.glob("*.py"), *FOLDER.glob("**/*.md"), root / "README.md", root / "minires" / "README.md"]
    for path in texts:
        called = set(re.findall(r"\b[0-2]\d_[a-z]\w+", path.read_text("utf-8")))
        assert called <= stems, f"{path.name}: {called - stems}"


def test_the_glossary_has_both_languages():
    rows = (FOLDER / "glossary.md").read_text("utf-8").splitlines()
    terms = [row.split("|")[1:-1] for row in rows if row.startswith("|") and "---" not in row][1:]
    assert len(terms) >= 60
    english = [term[0].strip().lower() for term in terms]
    assert len(set(english)) == len(english)
    assert all(re.search(r"[\u4e00-\u9fff]", term[1]) and len(term[2].strip()) > 15 for term in terms)


def test_lessons_import_only_the_package_and_its_dependencies():
    allowed = {"minires", "numpy", "matplotlib", *sys.stdlib_module_names}
    for lesson in LESSONS:
        imports = re.findall(r"^ *(?:from|import) (\w+)", lesson.path.read_text("utf-8"), re.MULTILINE)
        assert set(imports) <= allowed, lesson.path.name
