"""The comparison itself: each way in which a call can come out is told from the others."""

import numpy as np
import pytest
from crosscheck import known
from crosscheck.outcomes import AGREES, NOT_TAKEN, REFUSED, UNCLEAR, WRONG, Verdict, report, unequal
from crosscheck.verdicts import judge, of_sums, torch

import minires as mr

X = torch.tensor([[1.0, -2.0, 3.0], [0.5, 0.25, -0.125]], dtype=torch.float64, requires_grad=True)


class Doubled(mr.Op):
    """2x, whose gradient is wrong."""

    def forward(self, x):
        return 2 * x

    def backward(self, grad_output):
        return 3 * grad_output


def in_place(x):
    y = 2 * x
    x.array *= 1.0001
    return y


def raising(error):
    def function(x, **options):
        raise error

    return function


@pytest.mark.parametrize(
    "ours, outcome, why",
    [
        (lambda x: 2 * x, AGREES, ""),
        (lambda x: 2.0000001 * x, AGREES, ""),
        (lambda x: 2.00001 * x, WRONG, "expected 2.0 at (0, 0)"),
        (lambda x: (2 * x).float(), WRONG, "dtype float32, expected float64"),
        (lambda x: (2 * x).sum(0), WRONG, "shape (3,), expected (2, 3)"),
        (lambda x: (2 * x, x), WRONG, "2 results, expected 1"),
        (lambda x: 2.0, WRONG, "a float, expected a Tensor"),
        (lambda x: 2 * x.detach(), WRONG, "no gradient, expected one"),
        (lambda x: mr.apply(Doubled, x), WRONG, "gradient 0:"),
        (in_place, WRONG, "an argument after the call: 1.0001"),
        (raising(ValueError("double: got a tensor, expected another")), REFUSED, "ValueError: double: got"),
        (raising(ValueError("halve: got a tensor, expected another")), UNCLEAR, "halve"),
        (raising(KeyError("double: a key")), UNCLEAR, "KeyError"),
        (raising(ValueError("operands could not be broadcast together")), UNCLEAR, "operands"),
        (lambda x: object().no_such_method(), UNCLEAR, "AttributeError"),
        (lambda: None, NOT_TAKEN, "positional arguments"),
    ],
)
def test_each_outcome_is_told_from_the_others(ours, outcome, why):
    verdict = judge(lambda x: 2 * x, ours, (X,), {}, {"double"})
    assert verdict.outcome == outcome and why in verdict.why
    assert verdict.case == "float64 (2, 3) [[1.0, -2.0, 3.0], [0.5, 0.25, -0.125]]"


def test_what_is_changed_in_place_is_seen_and_the_sample_stays():
    mean = torch.zeros(3, dtype=torch.float64)

    def theirs(x, mean):
        mean += 1
        return 2 * x

    assert judge(theirs, lambda x, mean: 2 * x, (X, mean), {}, set()).why.startswith("an argument after the call")
    assert mean.sum() == 0


def test_a_call_that_pytorch_refuses_has_no_verdict():
    assert judge(lambda x: x @ x, lambda x: x, (X,), {}, set()) is None
    assert judge(lambda x: NotImplemented, lambda x: x, (X,), {}, set()) is None


def test_without_an_argument_that_is_not_taken_a_fault_is_still_found():
    def theirs(x, dilation):
        return 2 * x

    def judged(ours, dilation):
        return judge(theirs, ours, (X,), {"dilation": dilation}, set()).outcome

    assert judged(lambda x: 2 * x, 1) == judged(lambda x: 3 * x, 2) == NOT_TAKEN
    assert judged(lambda x: 3 * x, 1) == WRONG


@pytest.mark.parametrize("x", [X.detach().T, X.detach()[:, ::2], X.detach()[0].expand(4, 3), X.detach()[1, 1:]])
def test_one_tensor_given_twice_stays_one_and_keeps_its_strides(x):
    def twice(a, b):
        assert a is b and a.array.strides == tuple(8 * n for n in x.stride())
        return a + b

    assert judge(lambda a, b: a + b, twice, (x, x), {}, set()).outcome == AGREES


def test_in_float32_gradients_may_differ_by_the_rounding_of_terms_that_cancelled():
    for dtype, allowed in (("float32", True), ("float64", False)):
        got, expected = np.array([1e4, 1.005], dtype), np.array([1e4, 1.0], dtype)
        assert (unequal(got, expected, of_sums(expected)) is None) == allowed
        assert unequal(got, expected) and unequal(got[1:], expected[1:], of_sums(expected[1:]))


def test_reports_count_and_show_the_faults():
    verdicts = [Verdict(AGREES, "", "a"), *[Verdict(WRONG, f"{i}", "b") for i in range(3)]]
    assert report(verdicts, most=2) == "1 agrees, 3 wrong\nwrong: (b): 0\nwrong: (b): 1\n…"


def test_known_faults_are_strict_and_one_that_names_nothing_is_found():
    cells, faults = ["abs-float32", "exp-float32"], {"abs-*": "NaN", "neg-*": "gone"}
    marked = known.marked(cells, faults)
    assert [len(p.marks) for p in marked] == [1, 0] and marked[0].marks[0].kwargs["strict"]
    assert known.unused(cells, faults) == ["neg-*"]
