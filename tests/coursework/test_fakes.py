"""What is not written, and the laziest of what is, earns nothing in any part of any exercise."""

import numpy as np
import pytest
from coursework.conftest import solution
from coursework.fakes import KINDS, earned, fake
from coursework.test_shapes import Direct

from minires.coursework import ASSIGNMENTS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_fakes_earn_nothing(name, kind, quick_training):
    """In this process, which is quicker; the next test does it with the grader."""
    learner = Direct(fake(name, kind))
    for number, test in enumerate(ASSIGNMENTS[name].tests):
        with pytest.raises(Exception):  # noqa: B017 (Wrong, or whatever the fake makes the test's code raise)
            test.check(learner, np.random.default_rng([7, number]))


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_graded_fakes_earn_nothing(name, kind):
    assert set(earned(name, fake(name, kind)).values()) == {0}


def changed(name, right, wrong):
    """The solution with a mistake."""
    assert right in solution(name)
    return solution(name).replace(right, wrong)


CONV = "return grad_x[:, :, padding[0] : height, padding[1] : width], grad_weight, grad_y.sum((0, 2, 3))"
NORM = "return scale * (grad_y - over_mean - over_var), (grad_y * x_hat).sum(axes(x)), grad_y.sum(axes(x))"


@pytest.mark.parametrize(
    ("name", "right", "wrong", "word"),
    [
        ("relu_maxpool", "return grad_y * (y > 0)", "return grad_y", "its gradient is wrong"),
        ("batch_norm", "(grad_y - over_mean - over_var)", "(grad_y - over_mean)", "its gradient is wrong"),
        ("conv2d", "grad_x[window] +=", "grad_x[window] =", "its gradient is wrong"),
        ("residual_block", "self.bn2(self.conv2(out)) +", "mr.relu(self.bn2(self.conv2(out))) +", "its block is wrong"),
        ("conv2d", CONV, "return None, None, 0 * grad_y.sum((0, 2, 3))", "not written yet"),
        ("conv2d", CONV, CONV.replace("return ", "return [").replace("grad_weight", "2 * grad_weight") + "]",
         "its gradient is wrong"),
        ("batch_norm", NORM, "return None, None, 0 * grad_y.sum(axes(x))", "not written yet"),
        ("batch_norm", NORM, "return None, None, grad_y.sum(axes(x))", "not written yet"),
        ("conv2d", "np.pad(x, [(0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2])",
         "np.pad(x, [(0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2], 'edge')", "its forward is wrong"),
    ],
)  # fmt: skip
def test_training_earns_points_only_with_what_is_right(name, right, wrong, word, graded, quick_training):
    result, _ = graded(changed(name, right, wrong), name)
    failed = [test for test in result.tests if test.test.part == "training" and test.status == "failed"]
    assert any(word in test.message for test in failed), [test.message for test in failed]


def test_a_list_of_gradients_trains_as_a_tuple_does(graded, quick_training):
    """What is missing from it is left to the library, too."""
    listed = "return [grad_x[:, :, padding[0] : height, padding[1] : width], None, None]"
    result, _ = graded(changed("conv2d", CONV, listed), "conv2d")
    assert all(test.status == "passed" for test in result.tests if test.test.part == "training")


def test_a_dummy_gradient_of_the_bias_earns_nothing(graded, quick_training):
    source = ASSIGNMENTS["conv2d"].exercise
    hole = next(line for line in source.splitlines() if "raise" in line and "gradient of x" in line)
    result, _ = graded(source.replace(hole, "    grad_bias = grad_y[0, :, 0, 0]"), "conv2d", hidden=True)
    assert result.score == 0


def test_what_ends_while_it_is_judged_is_not_called_wrong(graded, quick_training):
    """The network has trained by then; what is judged after it has one image or two."""
    here = "def relu_backward(grad_y, y):\n"
    assert here in solution("relu_maxpool")
    late = "    if grad_y.dtype == np.float64:\n        import os\n        os._exit(0)\n"
    result, _ = graded(solution("relu_maxpool").replace(here, here + late), "relu_maxpool")
    told = [test.message for test in result.tests if test.test.part == "training" and test.status == "failed"]
    assert told and all("ended from within" in text and "it trains although" not in text for text in told)
