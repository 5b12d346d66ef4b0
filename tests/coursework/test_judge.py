"""What is said of a wrong result."""

import numpy as np
import pytest
from coursework.conftest import solution
from coursework.test_shapes import Direct

from minires.coursework import ASSIGNMENTS
from minires.coursework.judge import judge
from minires.coursework.learner import Wrong


def said_of(got, right):
    with pytest.raises(Wrong) as raised:
        judge("f", got, right)
    return str(raised.value)


def test_how_many_entries_are_wrong_is_said_once_and_then_what_they_have_in_common():
    rng = np.random.default_rng(0)
    right, noise = rng.standard_normal((4, 3)), rng.standard_normal((4, 3))
    row, everywhere = right.copy(), right + noise
    row[1] += noise[1]
    for got, count, likely in (
        (row, 3, "all at indices [1] of axis 0"),
        (everywhere, 12, "no known mistake explains it"),
    ):
        text = said_of(got, right)
        assert (
            text.startswith(f"f: {count} of 12 entries are wrong; the worst, [")
            and text.count("entries are wrong") == 1
        )
        assert text.endswith(f"\n    likely: {likely}")


def test_what_is_counted_as_wrong_is_what_is_judged_wrong():
    """By the same tolerance, whatever it is; two numbers that differ look different."""
    right = np.linspace(1, 2, 12).reshape(4, 3)
    off = np.zeros((4, 3))
    off[1] = 1
    for size, tolerance in ((1e-7, 1e-8), (1e-6, 1e-8), (1e-3, 1e-4)):
        with pytest.raises(Wrong) as raised:
            judge("f", right + size * off + 1e-9 * (1 - off), right, tolerance=tolerance)
        text = str(raised.value)
        assert (
            text.startswith("f: 3 of 12 entries are wrong; the worst, [1, ") and "all at indices [1] of axis 0" in text
        )
        yours, wanted = text.partition("yours ")[2].splitlines()[0].split(", right ")
        assert yours != wanted


def test_nan_where_nan_is_right_is_not_wrong():
    right = np.random.default_rng(0).standard_normal((4, 6))
    right[0] = np.nan
    got = right.copy()
    got[2] = 0
    text = said_of(got, right)
    assert text.startswith("f: 6 of 24 entries are wrong; the worst, [2, ") and "all at indices [2] of axis 0" in text


def test_a_result_of_zeros_is_called_that_and_a_result_is_no_gradient():
    right = np.random.default_rng(0).standard_normal((4, 6))
    assert "the result is 0 everywhere" in said_of(0 * right, right)
    assert "exactly those whose result is 0" in said_of(np.where(right > 0, right, 0.1 * right), np.maximum(right, 0))


def messages(name, *changes):
    """What each failed test says of the solution with these changes, training aside."""
    source = solution(name)
    for right, wrong in changes:
        assert right in source
        source = source.replace(right, wrong)
    said = []
    for number, test in enumerate(ASSIGNMENTS[name].tests):
        if test.part != "training":
            try:
                test.check(Direct(source), np.random.default_rng([7, number]))
            except (Wrong, TypeError) as error:
                said.append(str(error))
    assert said
    return said


def test_a_list_for_an_array_is_called_a_list():
    for name, right, wrong in (
        (
            "cross_entropy",
            "return grad_output * grad / len(target)",
            "return (grad_output * grad / len(target)).tolist()",
        ),
        ("broadcasting", "return sum_to(grad_output, a.shape),", "return sum_to(grad_output, a.shape).tolist(),"),
        ("break_it", "return -dx, dw, db", "return (-dx).tolist(), dw, db"),
    ):
        for said in messages(name, (right, wrong)):
            assert "a list came back" in said and "None" not in said


def test_a_missing_return_is_asked_for():
    said = messages("conv2d", ("return grad_x[", "grad_x["))
    assert all("None came back; expected 3 results" in text and "is there a return?" in text for text in said)


def test_the_place_of_epsilon_is_named():
    end = "np.sqrt(spread(var, x) + x.dtype.type(eps))\n\n\ndef batch_norm("
    for wrong, words in (
        ("np.sqrt(spread(var, x))\n\n\ndef batch_norm(", "ε is missing"),
        ("(np.sqrt(spread(var, x)) + x.dtype.type(eps))\n\n\ndef batch_norm(", "ε belongs under the root"),
    ):
        assert any(words in text for text in messages("batch_norm", (end, wrong)) if text.startswith("batch_norm of"))


@pytest.mark.parametrize(
    ("name", "right", "other"),
    [
        ("gradcheck", "                break\n", ""),  # an index for every direction
        ("fork", "return totals", "import numpy as np\n    return {k: np.array(v) for k, v in totals.items()}"),
        ("fork", "return {value: float(paths(value)) for value in graph}",
         "import numpy as np\n    return {value: np.asarray(paths(value)) for value in graph}"),
        ("skip_or_branch", """return ((skip * total).sum() / square, (branch * total).sum() / square) if square else \
(0.0, 0.0)""", "return np.array([(skip * total).sum(), (branch * total).sum()]) / (square or 1)"),
        ("skip_or_branch", "return (skip * branch).sum() / lengths if lengths else 0.0",
         "return np.array([(skip * branch).sum() / lengths if lengths else 0.0])"),
    ],
)  # fmt: skip
def test_right_answers_in_another_form_are_right(name, right, other):
    source = solution(name)
    assert right in source
    for number, test in enumerate(ASSIGNMENTS[name].tests):
        test.check(Direct(source.replace(right, other)), np.random.default_rng([7, number]))


@pytest.mark.parametrize("given", ["None", "[i in wrong for i in range(len(arrays))]"])
def test_what_is_no_list_of_indices_is_said_to_be_none(given):
    said = messages("gradcheck", ("return wrong", f"return {given}"))
    assert all("expected a list of indices" in text for text in said)
