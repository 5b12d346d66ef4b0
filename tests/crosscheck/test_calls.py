"""Calls as PyTorch's users write them, run as they stand in both libraries: every name that minires offers, once.

Values, dtypes, shapes and gradients agree. The databases of PyTorch's own tests (`test_opinfo`) try the same functions
with many more inputs, but call them by other arguments than people do.
"""

import math
import re

import numpy as np
import pytest
from crosscheck.outcomes import unequal
from crosscheck.verdicts import array, leaves, torch

import minires as mr

NAMES = """
    m.add(x, y, alpha=2)  x.add(y, alpha=2)  m.add(2, x)  m.add(2, 3.5)  m.sub(x, y, alpha=2)  m.sub(1, x)
    m.mul(x, y)  m.mul(3, x)  m.div(x, y)  m.div(1, x)  m.pow(x, 2)  m.pow(2, x)  m.neg(x)  m.matmul(x, y.t())
    m.mm(x, y.t())  m.bmm(s, s)  m.dot(v, v)  m.outer(v, v)  m.einsum("ij,kj->ik", x, y)  m.einsum("...ij,jk", s, z)
    m.eq(x, y)  m.ne(x, y)  m.lt(x, y)  m.le(x, y)  m.gt(x, y)  m.ge(x, y)  m.allclose(x, x + 1e-9)  m.equal(x, y)
    m.exp(x)  m.log(p)  m.log1p(p)  m.sqrt(p)  m.rsqrt(p)  m.square(x)  m.reciprocal(p)  m.abs(x)  m.relu(x)
    m.sigmoid(x)  m.tanh(x)  m.sign(x)  m.floor(x)  m.ceil(x)  m.round(x)  m.round(x, decimals=1)  m.isnan(x / 0)
    m.isinf(x / 0)  m.isfinite(x / 0)  m.logical_not(x > 0)  m.clamp(x, 0, 1)  m.clamp(x, min=0)
    m.masked_fill(x, x > 0, 7)  m.where(x > 0, x, y)  m.where(x > 0)  m.maximum(x, y)  m.minimum(x, y)  m.max(x, y)
    (x > 0) & (y > 0)  (x > 0) | (y > 0)  ~(x > 0)  (x > 0) ^ True  m.sum(x)  m.sum(x, 1)
    m.sum(x, dim=(0, 1), keepdim=True)  m.sum(x, dtype=m.float64)  x.sum(axis=0, keepdims=True)  m.mean(x, 1, True)
    m.mean(n, dtype=m.float32)  m.prod(x, 1)  m.prod(n, dtype=m.float64)  m.cumsum(x, dim=1)
    m.cumsum(n, 1, dtype=m.float32)  m.norm(x)  m.norm(x, p=1, dim=1)  x.norm(3, dim=0, keepdim=True)
    m.norm(x, math.inf)  m.norm(x, -math.inf)  m.norm(x, 0.5)  m.norm(x, dtype=m.float64)  m.var(x)  m.var(x, 1)
    m.std(x, dim=0, correction=0)  x.var(False)  m.max(x)  m.max(x, 1)  m.max(x, dim=0, keepdim=True)  x.max(axis=1)
    m.min(x)  m.min(x, 1)  m.amax(x, (0, 1))  m.amin(x, 0)  m.argmax(x)  m.argmax(x, dim=1)  m.argmin(x, 1, True)
    m.any(x > 0, 1)  m.all(x > 0)  m.any(n)  m.softmax(x, 1)  x.softmax(dim=-1)  m.softmax(n, 1, dtype=m.float32)
    m.log_softmax(x, 1)  x.log_softmax(1)  F.softmax(x, dim=1, dtype=m.float64)  F.log_softmax(x, 1)
    m.softmax(x, axis=0)  m.reshape(x, (3, 2))  m.flatten(s, 1)  m.permute(s, (2, 0, 1))  m.transpose(s, 0, 2)
    m.t(x)  m.squeeze(x[None])  m.unsqueeze(x, 1)  m.flip(x, (0, 1))  x.flip(1)  x.flip(dims=[0])  m.chunk(x, 2, 1)
    m.split(x, 2, dim=1)  m.split(x, [1, 2], 1)  m.unbind(x, 1)  m.narrow(x, 1, 1, 2)  m.gather(x, 1, i)
    m.sort(x, 1)  m.sort(x, descending=True)  m.argsort(x, 1)  m.topk(x, 2)  m.cat([x, y], 1)  m.cat([x, y], axis=0)
    m.concat((x, y))  m.stack([x, y], dim=1)  m.clone(x)  m.numel(x)  m.is_tensor(x)  x.contiguous().view(-1)
    x.expand_as(s[:, :2, :3])  x.view_as(z)  x.repeat(2, 1)  x.unsqueeze(0).expand(4, 2, 3)  x.size(0)  x.dim()
    x.tolist()  x[0, 1].item()  x.type(m.float64)  x.double()  x.half()  x.long()  x.int()  x.bool()  x.float()
    x.cpu()  x.to(m.float64, copy=True)  x.to(y)  x.clone(memory_format=m.contiguous_format)
    x.contiguous(memory_format=m.channels_last) if x.dim() == 4 else x  x.new_zeros(2, 3)  x.new_ones((2,))
    x.new_full((2,), 7.0)  x.detach()  m.zeros(2, 3)  m.zeros(size=(2,))  m.ones((2, 3), dtype=m.long)
    m.full((2,), 1.5)  m.zeros(2, dtype=m.float16)  m.eye(3)  m.eye(2, 3)  m.arange(3)  m.arange(0, 1, 0.25)
    m.arange(3, dtype=m.half)  m.linspace(0, 1, 5)  m.zeros_like(x)  m.ones_like(n)  m.full_like(x, 2)
    m.zeros_like(x, dtype=m.bool)  m.tensor([1, 2])  m.tensor([1.5], dtype=m.double)  m.Tensor([1, 2])
    m.as_tensor([1, 2])  m.from_numpy(a)  m.empty(2, 3).shape  m.rand(2, 3).shape
    m.randn(2, 3, dtype=m.double).dtype == m.float64  m.rand_like(x).shape  m.randn_like(x).shape
    m.empty_like(x).shape  m.randint(0, 9, (2, 3)).shape  m.randperm(5).sum()  m.randint(5, (3,)).dtype == m.int64
    F.cross_entropy(x, t)  F.cross_entropy(v, t[0])  F.cross_entropy(x, q)  F.cross_entropy(v, q[0])
    F.cross_entropy(x, t, w)  F.cross_entropy(x, t, weight=w, label_smoothing=0.1)  F.nll_loss(x, t, w)
    F.cross_entropy(x, q, w)  F.cross_entropy(x, t, ignore_index=0)  F.nll_loss(v, t[0])
    F.cross_entropy(x, q, label_smoothing=0.1, reduction="none")  F.nll_loss(s, u)  F.cross_entropy(s, u)
    F.cross_entropy(s, u, w, None, 1, None, "sum", 0.2)  F.mse_loss(x, y)
    F.cross_entropy(v, t[0], reduction="none")  F.mse_loss(x, y, weight=p)  F.mse_loss(x, y, reduce=False)
    F.cross_entropy(x, t, size_average=False)  F.hardswish(x * 4)  F.relu6(n)
    nn.CrossEntropyLoss(w, label_smoothing=0.1)(x, t)  nn.MSELoss(reduction="sum")(x, y)
    nn.NLLLoss(ignore_index=2)(x, t)  F.linear(n, n)
"""

EMPTY = """
    e.sum()  e.sum(0)  e.mean()  e.mean(0)  e.mean(1)  e.var()  e.std(0)  e.prod()  e.prod(0)  e.cumsum(0)  e.norm()
    e.norm(dim=0)  e.norm(1, 1)  e.amax(1)  e.max(1)  e.argmax(1)  e.any()  e.all(0)  e.softmax(0)  e.log_softmax(1)
    e.sort()  e.argsort(0)  e.topk(0, 0)  e.t()  e.flatten()  e.chunk(2)  e.split(2)  e.unbind(1)  e.repeat(2, 2)
    e.expand(2, 0, 3)  e @ y.t()  y @ e.t()  e.t() @ e  m.cat([e, x])  m.cat([h, x])  m.cat([x, h, h])
    m.stack([e, e])  m.einsum("ij,ik->jk", e, e)  m.where(e > 0, e, 1)  e.clamp(0, 1)  e.masked_fill(e > 0, 1)
    m.outer(h, v)  m.dot(h, h)  e.gather(0, i[:0])  e.narrow(0, 0, 0)  e.flip(0)  e.exp().log()  F.linear(e, y)
    F.linear(e.t(), m.ones(2, 0), m.ones(2))  F.relu(e)  F.hardswish(e)  F.prelu(e, w)  F.dropout(e)
    F.layer_norm(e, (3,), w, w)  F.group_norm(e, 1, w, w)  F.group_norm(m.ones(2, 4, 0), 2)
    F.instance_norm(m.ones(0, 3, 4))  F.instance_norm(m.ones(2, 3, 0))  F.layer_norm(m.ones(3, 0), (0,))
    F.batch_norm(e, None, None, w, w, True)  F.batch_norm(e, v, p[0], w, w)
    F.batch_norm(m.ones(2, 3, 0), v, p[0], training=True)  nn.BatchNorm1d(3)(e)  nn.BatchNorm1d(3).eval()(e)
    nn.BatchNorm2d(3)(m.ones(0, 3, 4, 4))  nn.Linear(3, 2)(e).shape  nn.LayerNorm(3)(e)  nn.PReLU(3)(e)
    F.cross_entropy(e, t[:0])  F.cross_entropy(e, t[:0], w)  F.cross_entropy(e, e.softmax(1))
    F.cross_entropy(e, t[:0], reduction="sum")  F.cross_entropy(e, t[:0], reduction="none")
    F.cross_entropy(s[:, :, :0], u[:, :0])  F.cross_entropy(x, t * 0 - 100)  F.nll_loss(e, t[:0])
    F.cross_entropy(v, t[0] * 0 - 100)  F.cross_entropy(x, t, w * 0)  F.mse_loss(e, e)
    F.cross_entropy(x, t * 0 - 100, reduction="sum")  F.one_hot(t[:0], 3)  x[:0].mean(1)  x[0, :1].std()
"""


def calls(text):
    return re.split(r"\s{2,}", text.strip())


def given(library):
    """The names in the calls: tensors of both libraries with the same values."""
    rng, tensor = np.random.default_rng(0), library.tensor
    x, y, v, p, z, s = (
        tensor(values.astype(np.float32), requires_grad=True)
        for values in (
            rng.standard_normal((2, 3)), rng.standard_normal((2, 3)), rng.standard_normal(3), rng.random((2, 3)) + 0.5,
            rng.standard_normal((3, 2)), rng.standard_normal((3, 3, 3)),
        )
    )  # fmt: skip
    e, h = (tensor(np.zeros(shape, np.float32), requires_grad=True) for shape in ((0, 3), (0,)))
    names = dict(x=x, y=y, v=v, p=p, z=z, s=s, e=e, h=h, q=p, w=tensor(np.array([1.0, 2.0, 0.5], np.float32)))
    names |= dict(n=tensor([[1, 2, 3], [4, 5, 0]]), i=tensor([[0, 2], [1, 0]]), t=tensor([2, 0]))
    names |= dict(u=tensor([[0, 1, 2], [2, 2, 0], [1, 1, 1]]), a=np.arange(3.0))
    return names | dict(m=library, nn=library.nn, F=library.nn.functional, math=math)


@pytest.mark.parametrize("call", calls(NAMES) + calls(EMPTY))
@pytest.mark.filterwarnings("ignore")
def test_the_same_comes_out(call):
    found = []
    for library in (mr, torch):
        library.manual_seed(0)
        names = given(library)
        result = leaves(eval(call, names))
        tensors = [r for r in result if getattr(r, "requires_grad", False)]
        sources = [names[k] for k in "xyvpzseh"]
        rng = np.random.default_rng(1)
        seeds = [rng.standard_normal(r.shape).astype(array(r).dtype) for r in tensors]
        if "F.dropout" in call or not tensors:
            grads = [None] * len(sources)
        elif library is mr:
            grads = mr.grad(tensors, sources, seeds, allow_unused=True)
        else:
            grads = torch.autograd.grad(tensors, sources, [torch.from_numpy(g) for g in seeds], allow_unused=True)
        found.append(([array(r) for r in result], [None if g is None else array(g) for g in grads]))
    (ours, our_grads), (theirs, their_grads) = found
    assert [unequal(a, b) for a, b in zip(ours, theirs, strict=True)] == [None] * len(theirs)
    for a, b in zip(our_grads, their_grads):
        assert (a is None) == (b is None) and (a is None or unequal(a, b) is None), f"gradients {a} and {b}"
