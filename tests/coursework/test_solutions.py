"""Every assignment can be solved, is worth what its text says, and is worth nothing unsolved."""

import re

import numpy as np
import pytest
from coursework.conftest import SOLUTIONS, solution

from minires.coursework import ASSIGNMENTS, formats, grade


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_reference_solution_scores_full_marks(name, quick_training):
    check_full_marks(name, 5)


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_reference_solution_scores_full_marks_and_its_networks_learn_on_other_seeds(name, seed):
    check_full_marks(name, seed)


def check_full_marks(name, seed):
    result = grade(SOLUTIONS / f"{name}.py", hidden=True, seed=seed)
    assert [test for test in result.tests if test.status != "passed"] == []
    assert result.score == ASSIGNMENTS[name].points == 20


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_exercise_as_handed_out_scores_nothing(name, graded):
    result, tests = graded(ASSIGNMENTS[name].exercise, name)
    assert result.score == 0
    assert all("not written yet" in t.message for t in tests.values())
    assert formats.text(result).count("not written yet") == 1


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_points_of_parts_are_those_in_the_text(name):
    assignment = ASSIGNMENTS[name]
    points = {part: sum(t.points for t in assignment.tests if t.part == part) for part in assignment.parts}
    text = re.sub(r"\s+", " ", assignment.exercise)
    for part, worth in points.items():
        assert f'"{part}" ({worth:g} points)' in text
    assert any(t.hidden for t in assignment.tests) and all(t.hint for t in assignment.tests)
    assert len({(t.part, t.name) for t in assignment.tests}) == len(assignment.tests)


@pytest.mark.parametrize(
    ("name", "right", "wrong", "part", "word"),
    [
        ("autograd", "totals[source] + grad if source in totals else grad", "grad", "forks", "at the fork"),
        ("broadcasting", "keepdims=True", "keepdims=False", "add", "shape"),
        ("conv2d", "grad_y, weight[:, :, i, j]", "grad_y, weight[:, :, -1 - i, -1 - j]",
         "gradient of x", "reversed"),
        ("batch_norm", "(grad_y - over_mean - over_var)", "(grad_y - over_var)", "gradient of x", "mean"),
        ("batch_norm", "count / (count - 1)", "1", "running statistics", "biased"),
        ("relu_maxpool", "constant_values=-np.inf", "constant_values=0", "max pool", "−∞"),
        ("cross_entropy", "grad / len(target)", "grad", "gradient", "a sum for a mean"),
        ("residual_block", "out)) + shortcut)", "out)))", "identity shortcut", "the shortcut is not added"),
        ("fork", "totals[source] += totals", "totals[source] = totals", "collect", "add to it"),
        ("skip_or_branch", '"skip": skip, "branch": branch', '"skip": branch, "branch": skip', "record", "exchanged"),
        ("break_it", "return -dx, dw, db", "return 2 * dx, dw, db", "linear", "should say sign"),
        ("gradcheck", "v = rng.standard_normal(", "v = np.ones(", "wrong gradients", "passes on"),
        ("gradient_flow", "[1][:-1]", "[1][-2::-1]", "measure",
         "last block first"),
    ],
)  # fmt: skip
def test_a_mistake_costs_its_part_and_is_named(name, right, wrong, part, word, graded, quick_training):
    assert right in solution(name)
    result, _ = graded(solution(name).replace(right, wrong), name)
    failed = [t for t in result.tests if t.status == "failed"]
    assert 0 < result.score < result.points
    assert part in {t.test.part for t in failed}
    assert any(word in t.message for t in failed), [t.message for t in failed]


@pytest.mark.parametrize(
    ("name", "right", "missing", "part"),
    [
        ("conv2d", "grad_y.sum((0, 2, 3))", "None", "gradient of bias"),
        ("batch_norm", "(grad_y * x_hat).sum(axes(x)), grad_y.sum(axes(x))", "None, None", "gradients of γ and β"),
        ("relu_maxpool", "return np.maximum(x, 0)", "pass", "relu"),
    ],
)
def test_a_missing_piece_costs_one_part_and_no_more(name, right, missing, part, graded, quick_training):
    assert right in solution(name)
    result, _ = graded(solution(name).replace(right, missing), name)
    assert {t.test.part for t in result.tests if t.status == "failed"} == {part}


def test_other_seed_draws_other_hidden_tests_and_a_mistake_there_tells_nothing_but_kind_and_hint(graded):
    wrong = solution("cross_entropy").replace("grad / len(target)", "grad")
    result, _ = graded(wrong, "cross_entropy", hidden=True, seed=1)
    told = [t.told for t in result.tests if t.test.hidden and t.status == "failed"]
    assert told
    for text in told:
        assert "hint:" in text and "constant factor" in text
        assert not np.any([word in text for word in ("shape", "entries", "yours")])
