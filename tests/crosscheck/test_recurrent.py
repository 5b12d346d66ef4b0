"""Recurrent layers and gradient clipping against PyTorch: names, weights exchanged, values and gradients."""

import numpy as np
import pytest

import minires as mr
from minires import nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is needed only to compare with it")

CALLS = [
    ("RNN", (3, 4), {}),
    ("RNN", (3, 4, 2, "relu", False, True), {}),
    ("RNN", (3, 4), dict(num_layers=3, batch_first=True)),
    ("GRU", (3, 4), {}),
    ("GRU", (3, 4, 2, False, True), {}),
    ("GRU", (3, 4), dict(num_layers=3)),
    ("LSTM", (3, 4), {}),
    ("LSTM", (3, 4, 2, False, True), {}),
    ("LSTM", (3, 4), dict(num_layers=3)),
]


def pair(name, args, options, randn):
    """The same layer twice, with the same normal weights."""
    ours, theirs = getattr(nn, name)(*args, **options).double(), getattr(torch.nn, name)(*args, **options).double()
    named = [(n, tuple(a.shape)) for n, a in theirs.state_dict().items()]
    assert [(n, a.shape) for n, a in ours.state_dict().items()] == named
    ours.load_state_dict({n: 0.5 * randn(*shape) for n, shape in named})
    theirs.load_state_dict({n: torch.tensor(a) for n, a in ours.state_dict().items()})
    return ours, theirs


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("name, args, options", CALLS, ids=[f"{c[0]}{c[1]}{c[2] or ''}" for c in CALLS])
def test_outputs_states_and_gradients(agree, randn, name, args, options, started, batched):
    ours, theirs = pair(name, args, options, randn)
    n = (2,) if batched else ()
    sizes = (5, 2, 3) if batched else (5, 3)
    sizes = (sizes[1], sizes[0], 3) if batched and ours.batch_first else sizes
    states = [randn(ours.num_layers, *n, 4) for _ in range(1 + (name == "LSTM"))] if started else []

    def everything(layer, join, flat):
        def run(x, *start):
            output, end = layer(x, *([start if name == "LSTM" else start[0]] if start else []))
            ends = end if name == "LSTM" else (end,)
            return join([flat(output), *(flat(e) for e in ends)])

        return run

    agree(
        everything(ours, mr.cat, lambda t: t.reshape(-1)),
        everything(theirs, torch.cat, lambda t: t.reshape(-1)),
        randn(*sizes),
        *states,
    )
    for a, b in zip(ours.parameters(), theirs.parameters()):
        np.testing.assert_allclose(a.grad, b.grad.numpy(), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_weights_start_within_the_same_bounds(name):
    ours, theirs = getattr(nn, name)(30, 64), getattr(torch.nn, name)(30, 64)
    for a, b in zip(ours.parameters(), theirs.parameters()):
        np.testing.assert_allclose(np.abs(a.numpy()).max(), b.detach().abs().max().item(), rtol=0.1)


def clipped(clip, *args):
    """Gradients after clipping and what was returned, ours and theirs."""
    rng, results = np.random.default_rng(0), []
    grads = [rng.standard_normal(shape) for shape in ((3, 4), (5,), (2, 2, 2))]
    for library, make in ((nn, lambda g: nn.Parameter(np.zeros_like(g))), (torch.nn, None)):
        ps = []
        for g in grads:
            p = make(g) if make else torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.float64))
            p.grad = g.copy() if make else torch.tensor(g)
            ps.append(p)
        returned = getattr(library.utils, clip)(ps, *args)
        results.append(([np.asarray(p.grad) for p in ps], returned))
    return results


@pytest.mark.parametrize("max_norm", [0.0, 0.1, 1.0, 100.0])
@pytest.mark.parametrize("norm_type", [1.0, 2.0, float("inf")])
def test_clip_grad_norm(max_norm, norm_type):
    (ours, norm), (theirs, expected) = clipped("clip_grad_norm_", max_norm, norm_type)
    assert norm.item() == pytest.approx(expected.item(), rel=1e-12) and norm.shape == tuple(expected.shape)
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_clip_grad_value():
    (ours, _), (theirs, _) = clipped("clip_grad_value_", 0.3)
    for a, b in zip(ours, theirs):
        np.testing.assert_array_equal(a, b)


def test_a_norm_that_is_not_finite_gives_the_same_gradients():
    for bad in (np.nan, np.inf):
        p, q = nn.Parameter(np.zeros(3)), torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
        p.grad = np.array([1.0, bad, 2.0])
        q.grad = torch.tensor(p.grad.numpy())
        with np.errstate(invalid="ignore"):
            nn.utils.clip_grad_norm_(p, 1.0)
        torch.nn.utils.clip_grad_norm_(q, 1.0)
        np.testing.assert_array_equal(p.grad, q.grad.numpy())
