"""The page of conventions says what comes out."""

import pytest
from crosscheck import conventions
from crosscheck.convention_cases import TOPICS
from crosscheck.conventions import PAGE, PYTORCH, Row, complaints, page, rows

import minires as mr

UPDATE = "run: python tests/crosscheck/conventions.py"


def with_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; its column is not run again")
    if torch.__version__.partition("+")[0] != PYTORCH:
        pytest.skip(f"the page is about PyTorch {PYTORCH}, not {torch.__version__}")
    torch.set_num_threads(1)
    return rows([mr, torch])


def test_our_column_is_what_comes_out():
    found = [f"| `{row.call}` | {row.where} | {row.ours} |" for topic in rows([mr]).values() for row in topic]
    lines = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `")]
    assert [line for line, start in zip(lines, found) if not line.startswith(start)] == [], UPDATE
    assert len(lines) == len(found) == sum(len(cases) for _, _, cases in TOPICS), UPDATE


def test_the_page_is_what_comes_out():
    assert PAGE.read_text("utf-8") == page(with_pytorch()), UPDATE


def test_every_difference_has_a_reason_and_every_reason_a_difference():
    assert complaints(with_pytorch()) == []


@pytest.mark.parametrize(
    "ours, theirs, why, verdict",
    [
        ("1", "1", "", "same"),
        ("*refuses* (ValueError)", "*refuses* (RuntimeError)", "", "same"),
        ("int64 1<br>*refuses* (TypeError)", "int64 1<br>*refuses* (RuntimeError)", "", "same"),
        ("*fails* (ValueError)", "*refuses* (ValueError)", "", "**not deliberate**"),
        ("1", "2", "better", "better"),
        ("1", "2", "", "**not deliberate**"),
    ],
)
def test_what_the_last_column_says(ours, theirs, why, verdict):
    row = Row("x", "x = 1", ours, theirs, why)
    assert str(row).endswith(f"| {verdict} |")
    assert bool(complaints({"": [row]})) == (verdict == "**not deliberate**")
    assert bool(complaints({"": [row._replace(why="a reason")]})) == (verdict == "same")


def test_no_call_is_made_twice():
    calls = [(title, case.call, conventions.where(case)) for title, _, cases in TOPICS for case in cases]
    assert len(set(calls)) == len(calls)
