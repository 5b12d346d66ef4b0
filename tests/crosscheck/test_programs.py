"""One program, run with PyTorch and with minires under PyTorch's name: the same numbers."""

import numpy as np
import pytest

import minires

torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is needed only to compare with it")


def classifier(torch):
    """Fixed weights, three classes on a line, five epochs with a phase for validation, the usual metrics."""
    nn, F = torch.nn, torch.nn.functional
    torch.manual_seed(0)
    device = torch.device("cpu")
    x = torch.linspace(-1, 1, 60).view(-1, 1).repeat(1, 4).to(device, non_blocking=True)
    x = torch.add(x, torch.eq(x, x).float(), alpha=0.1)
    y = torch.arange(0, 60).div(20).long().clamp(0, 2)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).to(device)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.linspace(-1, 1, p.numel()).view_as(p))
            p.mul_(0.5).add_(0.1)
        model[0].weight[0] = 0.25
        model[0].bias[:2] += 1
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(5):
        for phase in ("train", "val"):
            with torch.set_grad_enabled(phase == "train"):
                for xb, yb in zip(torch.split(x, 20), y.chunk(3)):
                    loss = F.cross_entropy(model(xb), yb)
                    if phase == "train":
                        optimizer.zero_grad()
                        loss.backward()
                        optimizer.step()
    with torch.inference_mode():
        out = model(x)
        _, predicted = torch.max(out.data, 1)
        likely, classes = torch.topk(F.softmax(out, dim=1), 2, dim=1)
        yield loss.item()
        yield predicted.eq(y.view_as(predicted)).sum().item()
        yield from classes[:, 0].tolist()
        yield likely.mean().item()
        yield from out.std(dim=0).tolist()
        yield torch.norm(out).item()
        yield torch.einsum("ij,kj->ik", out, out).mean().item()
        yield out.gather(1, y.unsqueeze(1)).squeeze(1).mean().item()
        yield from (column.sum().item() for column in out.unbind(1))


def by_hand(torch):
    """Tensors without a module: writes into entries, masks, sorting, clamping, running sums and products."""
    x = torch.Tensor([[3, 1, 2], [0, -4, 5]])
    x[0, 0] = 7
    x[x < 0] = 0.5
    w = torch.ones(3, requires_grad=True)
    y = (x * w).masked_fill(x > 6, 2.0).clamp(torch.zeros(3), 4 * torch.ones(3))
    values, order = y.sort(dim=1, descending=True)
    (values.cumsum(1).prod(1).sum() + y.var() + y.t().contiguous().view(-1).dot(torch.ones(6))).backward()
    with torch.no_grad():
        w -= 0.1 * w.grad
    yield from w.tolist()
    yield from order.view(-1).tolist()
    yield from torch.cat(x.split([1, 1])).max(0).values.tolist()
    yield from x[0].outer(x[1]).view(-1).tolist()
    yield x.narrow(1, 1, 2).mean().item()


@pytest.mark.parametrize("program", [classifier, by_hand], ids=lambda f: f.__name__)
def test_a_program_gives_the_same_numbers(program):
    np.testing.assert_allclose(list(program(minires)), list(program(torch)), rtol=1e-5, atol=1e-6)
