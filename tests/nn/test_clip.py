"""Clipping of gradients: what is scaled, what stays, what is returned; and parameters as one vector."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

import minires as mr
from minires import nn
from minires.nn.utils import (
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    get_total_norm,
    parameters_to_vector,
    vector_to_parameters,
)


def parameters(*grads):
    found = []
    for grad in grads:
        p = nn.Parameter(np.zeros(np.shape(grad), np.float32))
        p.grad = np.array(grad, np.float32)
        found.append(p)
    return found


@given(
    seed=st.integers(0, 2**32 - 1),
    max_norm=st.floats(1e-3, 1e3),
    norm_type=st.sampled_from([1.0, 2.0, 3.0, float("inf")]),
)
def test_the_norm_of_all_gradients_together_is_limited_and_their_direction_kept(seed, max_norm, norm_type):
    rng = np.random.default_rng(seed)
    ps = parameters(rng.standard_normal((3, 4)), rng.standard_normal(5))
    before = np.concatenate([p.grad.numpy().ravel() for p in ps]).astype(np.float64)
    norm = np.linalg.norm(before, norm_type)
    assert clip_grad_norm_(ps, max_norm, norm_type).item() == pytest.approx(norm, rel=1e-5)
    after = np.concatenate([p.grad.numpy().ravel() for p in ps])
    np.testing.assert_allclose(after, before * min(1, max_norm / (norm + 1e-6)), rtol=1e-5)


def test_small_gradients_do_not_change_a_bit():
    (p,) = parameters([0.3, 0.4])
    before = p.grad.clone()
    assert clip_grad_norm_(p, 1.0).item() == pytest.approx(0.5)
    np.testing.assert_array_equal(p.grad, before)


def test_parameters_without_gradient_and_shared_ones():
    (p,) = parameters([3.0, 4.0])
    empty = nn.Parameter(np.zeros(2, np.float32))
    assert clip_grad_norm_([p, empty, p], 1.0).item() == pytest.approx(5)
    np.testing.assert_allclose(p.grad, [0.6, 0.8], rtol=1e-5)
    assert empty.grad is None
    assert clip_grad_norm_([empty], 1.0).item() == 0


def test_squares_do_not_overflow():
    ps = parameters([3e30, 4e30])
    assert clip_grad_norm_(ps, 1.0).item() == pytest.approx(5e30)
    np.testing.assert_allclose(ps[0].grad, [0.6, 0.8], rtol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "entry", "count"),
    [(np.float32, 3e38, 10_000), (np.float32, 1e-30, 7), (np.float32, 1e-44, 7), (np.float16, 6e4, 10_000)]
    + [(np.float16, 6e-8, 9), (np.float64, 1e-200, 5), (np.float64, 1e200, 5)],
)
@pytest.mark.parametrize("norm_type", [1.0, 2.0, 7.0, np.inf])
def test_norms_that_the_type_itself_cannot_hold(dtype, entry, count, norm_type):
    """Of two parameters, whose gradients point in one direction before and after."""
    ps = [nn.Parameter(np.zeros(count, dtype)) for _ in range(2)]
    ps[0].grad, ps[1].grad = np.full(count, entry, dtype), np.full(count, -entry, dtype)
    entry = float(ps[0].grad[0])
    norm = entry * (2 * count) ** (1 / norm_type)
    returned = clip_grad_norm_(ps, 1.0, norm_type, error_if_nonfinite=True)
    assert returned.item() == pytest.approx(norm, rel=1e-3 if dtype == np.float16 else 1e-6, abs=0)
    small = norm < 1
    assert ps[0].grad.dtype == dtype and (ps[1].grad == -ps[0].grad).all()
    rel, smallest = (1e-3, 6e-8) if dtype == np.float16 else (1e-6, 0)
    expected = entry if small else entry / (norm + 1e-6)
    np.testing.assert_allclose(ps[0].grad.numpy().astype(np.float64), expected, rtol=rel, atol=smallest)


def test_the_norm_has_the_gradients_type_where_that_holds_it():
    assert clip_grad_norm_(parameters([3.0, 4.0]), 1.0).dtype == np.float32
    assert clip_grad_norm_(parameters([3e38, 3e38]), 1.0).dtype == np.float64


def test_beside_an_infinite_gradient_the_finite_ones_become_0_as_in_pytorch():
    p, q = parameters([1.0, np.inf], [2.0])
    assert clip_grad_norm_([p, q], 1.0).item() == np.inf
    np.testing.assert_array_equal(p.grad, [0, np.nan])
    np.testing.assert_array_equal(q.grad, [0])


def test_the_norm_type_may_be_written_out_as_in_pytorch():
    assert clip_grad_norm_(parameters([3.0, -4.0]), 1.0, "inf").item() == 4


def test_a_norm_that_is_not_finite():
    (p,) = parameters([1.0, np.inf])
    with pytest.raises(RuntimeError, match="clip_grad_norm_: the norm of the gradients is inf"):
        clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    np.testing.assert_array_equal(p.grad, [1.0, np.inf])  # nothing was changed


def test_clip_value():
    (p,) = parameters([-3.0, 0.5, 2.0])
    clip_grad_value_([p], 1.0)
    np.testing.assert_array_equal(p.grad, [-1, 0.5, 1])


def test_clipping_works_on_what_backward_leaves():
    model = nn.Linear(3, 2)
    (1e6 * model(mr.randn(4, 3)).sum()).backward()
    clip_grad_norm_(model.parameters(), 1.0)
    assert np.sqrt(sum((p.grad**2).sum() for p in model.parameters())) == pytest.approx(1, rel=1e-4)
    clip_grad_value_(model.parameters(), 0.01)
    assert max(np.abs(p.grad).max() for p in model.parameters()) == pytest.approx(0.01)


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: clip_grad_norm_(parameters([1.0]), -1), ValueError, "clip_grad_norm_: got max_norm=-1"),
        (lambda: clip_grad_norm_(parameters([1.0]), 1, 0), ValueError, "clip_grad_norm_: got norm_type=0"),
        (lambda: clip_grad_value_(parameters([1.0]), float("nan")), ValueError, "clip_grad_value_: got clip_value=nan"),
        (lambda: clip_grad_norm_(["weight"], 1), TypeError, r"got a str among .*model.parameters\(\)"),
    ],
)
def test_bad_input_is_explained(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_the_two_halves_of_clipping():
    p, q = parameters([3.0], [4.0])
    norm = get_total_norm([mr.tensor(p.grad), mr.tensor(q.grad)])
    assert norm.item() == 5 and norm.dtype == np.float32
    assert get_total_norm(mr.tensor([3.0, -4.0]), math.inf).item() == 4
    clip_grads_with_norm_([p, q], 1.0, norm)
    np.testing.assert_allclose([p.grad, q.grad], [[0.6], [0.8]], rtol=1e-5)
    clip_grads_with_norm_(p, 1.0, 0.5)
    np.testing.assert_allclose(p.grad, [0.6], rtol=1e-5)
    with pytest.raises(RuntimeError, match="get_total_norm: the norm"):
        get_total_norm([mr.tensor([math.nan])], error_if_nonfinite=True)
    with pytest.raises(ValueError, match="clip_grads_with_norm_: got max_norm=-1"):
        clip_grads_with_norm_(p, -1.0, norm)
    with pytest.raises(TypeError, match="get_total_norm: got an input of dtype int64"):
        get_total_norm([mr.tensor([1])])


# ── parameters as one vector ──


def test_parameters_go_into_a_vector_and_back():
    model = nn.Linear(3, 2).double()
    vector = parameters_to_vector(model.parameters())
    np.testing.assert_array_equal(vector.array, np.concatenate([p.array.ravel() for p in model.parameters()]))
    held = model.weight.array
    vector_to_parameters(mr.arange(8.0).double(), model.parameters())
    assert model.weight.array is held
    assert model.weight.array.tolist() == [[0, 1, 2], [3, 4, 5]] and model.bias.array.tolist() == [6, 7]


def test_gradients_flow_through_the_vector():
    ps = parameters([1.0, 2.0], [3.0])
    for p in ps:
        p.grad = None
    (parameters_to_vector(ps) * mr.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert [p.grad.tolist() for p in ps] == [[1, 2], [3]]


@pytest.mark.parametrize("vector", [mr.zeros(2), mr.zeros(4), mr.zeros(3, 1), np.zeros(3)])
def test_a_vector_that_does_not_fit_changes_nothing(vector):
    ps = parameters([1.0, 2.0], [3.0])
    for p in ps:
        p.array += 1
    with pytest.raises(ValueError, match=r"vector_to_parameters: got.*expected a Tensor of shape \(3,\)"):
        vector_to_parameters(vector, ps)
    assert [p.array.tolist() for p in ps] == [[1, 1], [1]]


def test_a_graph_from_before_the_vector_is_refused():
    """Backward would otherwise use the new values."""
    (p,) = parameters([1.0, 2.0])
    loss = (p * p).sum()
    vector_to_parameters(mr.ones(2), [p])
    with pytest.raises(RuntimeError, match="in place"):
        loss.backward()
