"""The residual RNN: a twin of the RNN, a shortcut around every step."""

import numpy as np
import pytest
from differences import check_gradient

import minires as mr
from minires import flow, models, nn


def test_it_adds_the_state_to_what_the_rnn_would_give():
    plain, residual = nn.RNN(2, 3, 2), models.ResidualRNN(2, 3, 2, scale=0.5)
    residual.load_state_dict(plain.state_dict())
    x, h = mr.randn(1, 4, 2), mr.randn(2, 4, 3)
    first = h[0].numpy() + 0.5 * plain(x, h)[1][0].numpy()
    np.testing.assert_allclose(residual(x, h)[1][0].numpy(), first, rtol=1e-5)


def test_a_scale_of_zero_remembers_forever():
    layer = models.ResidualRNN(2, 3, scale=0.0)
    h = mr.randn(1, 4, 3)
    np.testing.assert_array_equal(layer(mr.randn(9, 4, 2), h)[1].numpy(), h.numpy())


def test_its_gradient_is_that_of_differences(rng):
    layer = models.ResidualRNN(3, 2, scale=0.3).double()
    check_gradient(lambda x, h: layer(x, h)[0], rng.standard_normal((4, 2, 3)), rng.standard_normal((1, 2, 2)))


def test_every_step_is_a_fork_whose_skip_returns_the_gradient_unchanged():
    layer, h = models.ResidualRNN(1, 8, scale=0.25), mr.zeros(1, 3, 8, requires_grad=True)
    with flow.recording(layer) as rec:
        layer(mr.randn(5, 3, 1), h)[1].sum().backward()
    assert len(rec.forks) == 5
    assert rec.sum_error < 1e-6
    assert rec.forks[-1].skip == pytest.approx(np.sqrt(3 * 8))  # of ones


def test_repr_and_errors_say_the_name():
    assert repr(models.ResidualRNN(1, 2, scale=0.125)) == "ResidualRNN(1, 2, scale=0.125)"
    with pytest.raises(ValueError, match="ResidualRNN: got an input of shape"):
        models.ResidualRNN(1, 2)(mr.ones(3, 1, 5))
