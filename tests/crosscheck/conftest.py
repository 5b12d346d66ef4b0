"""How the two libraries are compared: the same float64 arrays in, equal values and gradients out."""

import numpy as np
import pytest

import minires as mr

TOLERANCE = dict(rtol=1e-9, atol=1e-10)


@pytest.fixture(scope="session")
def agree():
    """``agree(ours, theirs, *arrays)``: both functions give the same value, and the same gradient for every array.

    The gradient is taken against a *normal* cotangent: a sum would hide the errors of batch norm and softmax.
    """
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is needed only to compare with it")
    torch.set_num_threads(1)

    def compare(ours, theirs, *arrays):
        left = [mr.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
        right = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
        y, z = ours(*left), theirs(*right)
        assert y.shape == tuple(z.shape)
        np.testing.assert_allclose(y.numpy(), z.detach().numpy(), **TOLERANCE)
        cotangent = np.random.default_rng(len(arrays)).standard_normal(y.shape)
        y.backward(cotangent)
        z.backward(torch.tensor(cotangent))
        for a, b in zip(left, right):
            if a.requires_grad:
                assert (a.grad is None) == (b.grad is None)
                if b.grad is not None:
                    np.testing.assert_allclose(a.grad, b.grad.numpy(), **TOLERANCE)

    return compare


@pytest.fixture(scope="session")
def randn():
    """``randn(2, 3)``: seeded normal numbers, new ones at every call."""
    rng = np.random.default_rng(0)
    return lambda *shape: rng.standard_normal(shape)
