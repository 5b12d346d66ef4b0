"""The transformer: the same as PyTorch's encoder layers, and paths that are those of a residual network."""

import numpy as np
import pytest

import minires as mr
from minires import flow, models, nn
from minires.models.transformer import Attention, TransformerBlock
from minires.tensor import Tensor
from minires.testing import gradcheck


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_block_is_pytorch_s_encoder_layer(norm):
    torch = pytest.importorskip("torch")
    mr.random.manual_seed(0)
    block = TransformerBlock(8, heads=2, norm=norm)
    theirs = torch.nn.TransformerEncoderLayer(8, 2, 32, dropout=0.0, batch_first=True, norm_first=norm == "pre")
    for p in block.parameters():
        nn.init.normal_(p, std=0.5)
    ours = {name: torch.from_numpy(p.numpy()) for name, p in block.named_parameters()}
    parts = ("query", "key", "value")
    state = {
        f"self_attn.in_proj_{kind}": torch.cat([ours[f"attention.{part}.{kind}"] for part in parts])
        for kind in ("weight", "bias")
    }
    names = {
        "attention.out": "self_attn.out_proj",
        "mlp.0": "linear1",
        "mlp.2": "linear2",
        "ln1": "norm1",
        "ln2": "norm2",
    }
    state |= {f"{b}.{kind}": ours[f"{a}.{kind}"] for a, b in names.items() for kind in ("weight", "bias")}
    theirs.load_state_dict(state)
    x = np.random.default_rng(0).standard_normal((3, 5, 8)).astype(np.float32)
    mine, other = Tensor(x, requires_grad=True), torch.from_numpy(x).requires_grad_()
    y, expected = block(mine), theirs(other)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-5)
    seed = np.random.default_rng(1).standard_normal(x.shape).astype(np.float32)
    y.backward(Tensor(seed))
    expected.backward(torch.from_numpy(seed))
    np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-3, atol=1e-4)


def test_attention_has_the_gradient_of_its_definition():
    mr.random.manual_seed(0)
    attention = Attention(4, heads=2).double()
    assert gradcheck(lambda x: attention(x), mr.randn(2, 3, 4).double())


def test_attention_is_its_formula():
    mr.random.manual_seed(0)
    attention, x = Attention(6, heads=3).double(), np.random.default_rng(0).standard_normal((2, 4, 6))
    q, k, v = (
        x @ part.weight.numpy().T + part.bias.numpy() for part in (attention.query, attention.key, attention.value)
    )
    heads = []
    for head in range(3):
        own = slice(2 * head, 2 * head + 2)
        scores = np.exp(np.einsum("ntd,nsd->nts", q[..., own], k[..., own]) / np.sqrt(2))
        heads.append((scores / scores.sum(-1, keepdims=True)) @ v[..., own])
    expected = np.concatenate(heads, -1) @ attention.out.weight.numpy().T + attention.out.bias.numpy()
    np.testing.assert_allclose(attention(Tensor(x)).numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_every_block_has_two_forks_and_the_paths_add_up(norm):
    mr.random.manual_seed(0)
    model = models.transformer(2, 8, heads=2, norm=norm).double()
    x, y = mr.randn(4, 1, 8, 8).double(), Tensor(np.arange(4))
    assert model(x).shape == (4, 10) and len(flow.record(model, x, y).forks) == 4
    spectrum = flow.path_spectrum(model, x, y, progress=False)
    assert spectrum.blocks == 4 and spectrum.sum_error < 1e-10
    assert flow.record(model, x, y).sum_error < 1e-12


def test_it_learns_the_digits():
    mr.random.manual_seed(0)
    digits, _ = mr.data.digits()
    model = models.transformer(1, 16)
    optimizer = mr.optim.Adam(model.parameters(), 0.01)
    losses = [mr.train.train_step(model, optimizer, *digits[64 * i : 64 * i + 64]).loss for i in range(20)]
    assert losses[-1] < 1.5 < 2 < losses[0]


def test_other_norms_and_widths_are_refused():
    with pytest.raises(ValueError, match=r'norm=\'sandwich\'; expected "pre" or "post"'):
        models.transformer(1, norm="sandwich")
    with pytest.raises(ValueError, match="Attention: got width 10 for 4 heads"):
        models.transformer(1, 10)
