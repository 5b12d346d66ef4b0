"""The exact path spectrum, held to the ordinary gradient and to the enumeration of all paths."""

import itertools
import math

import numpy as np
import pytest

from minires import autograd, flow, models, nn, random
from minires.nn import functional as F
from minires.tensor import Tensor


def batch(channels=1, size=8, n=5, dtype=np.float64):
    rng = np.random.default_rng(1)
    return rng.standard_normal((n, channels, size, size)).astype(dtype), np.arange(n) % 10


def spectrum(model, x, y, **options):
    return flow.path_spectrum(model, x, y, progress=False, **options)


def net(depth=8, **options):
    random.manual_seed(0)
    return models.resnet_cifar(depth, 4, in_channels=1, **options).double()


class Branches(nn.Module):
    """Written by a user: two branches and a scaled shortcut, in one expression."""

    def __init__(self, channels):
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(3))

    def forward(self, x):
        return self.c(x) + self.b(F.relu(self.a(x))) + 0.5 * x


class Scaled(nn.Module):
    """x ↦ λ·x + branch(x): a clean identity path, scaled."""

    def __init__(self, width, lam):
        super().__init__()
        self.lam, self.inner, self.outer = lam, nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        return self.lam * x + self.outer(self.inner(x).tanh())


def user_net():
    random.manual_seed(0)
    blocks = [nn.Conv2d(1, 4, 3, padding=1), Branches(4), nn.ReLU(), Branches(4)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)).double()


def bottlenecks():
    random.manual_seed(0)
    return models.ResNet(models.Bottleneck, [2, 1], [4, 8], in_channels=1).double()


NETS = {
    "post-activation, identity and padding": lambda: net(20),
    "post-activation, projected where shapes change": lambda: net(14, shortcut="B"),
    "post-activation, projected everywhere": lambda: net(shortcut="C"),
    "pre-activation": lambda: net(14, preact=True),
    "pre-activation, projected": lambda: net(14, preact=True, shortcut="B"),
    "zero branches": lambda: net(zero_init_residual=True),
    "bottleneck": bottlenecks,
    "user-written, several branches": user_net,
}


@pytest.mark.parametrize("size", [8, 5])
@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("training", [True, False])
def test_the_parts_sum_to_the_ordinary_gradient(kind, size, training):
    model, (x, y) = NETS[kind]().train(training), batch(size=size)
    exact = spectrum(model, x, y, arrays=True)
    rec = flow.record(model, x, y)
    assert exact.sum_error < 1e-10
    assert exact.blocks == len(rec.forks)
    assert np.linalg.norm(sum(exact.arrays)) == pytest.approx(rec.forks[0].total, rel=1e-10)
    np.testing.assert_allclose(exact.norms, [np.linalg.norm(part) for part in exact.arrays])


class Residual(nn.Module):
    def __init__(self, *inner):
        super().__init__()
        self.inner = nn.Sequential(*inner)

    def forward(self, x):
        return x + self.inner(x)


class Gated(nn.Module):
    """x ↦ f(x)·g(x): it splits and meets again, but not at an addition."""

    def __init__(self):
        super().__init__()
        self.f, self.g = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        return self.f(x) * self.g(x).sigmoid()


def test_forks_within_a_branch_are_counted_as_paths_and_cannot_be_sampled():
    random.manual_seed(0)
    x, y = np.random.default_rng(0).standard_normal((4, 3)), np.arange(4) % 3
    layers = [nn.Linear(3, 3), Residual(nn.Linear(3, 3)), nn.Tanh(), Residual(Gated())]
    nested = nn.Sequential(nn.Linear(3, 3), Residual(*layers)).double()
    found = spectrum(nested, x, y)
    assert found.counts.tolist() == [1, 1, 2, 1]  # around all; or through it, and then each of the four ways
    assert found.sum_error < 1e-12 and found.mean_length == pytest.approx(8 / 5)
    with pytest.raises(ValueError, match="got samples=3 for a network with forks within a branch"):
        spectrum(nested, x, y, samples=3)
    chain = nn.Sequential(nn.Linear(3, 3), *layers).double()
    assert spectrum(chain, x, y, samples=3).counts.tolist() == [1, 2, 1]


def test_float32_sums_to_rounding():
    random.manual_seed(0)
    model = models.resnet_cifar(20, 4, in_channels=1)
    assert 0 < spectrum(model, *batch(dtype=np.float32)).sum_error < 1e-4


# ── all 2ⁿ paths, one by one ────────────────────────────────────────────────────────────────────────────────────────


class Switched(models.ResidualBlock):
    """A residual block that lets the gradient through one way only: ``crossed`` is True, False, or None for both."""

    crossed = None

    def forward(self, x):
        through_branch = x.detach() if self.crossed is False else x
        through_shortcut = x.detach() if self.crossed else x
        shortcut = through_shortcut if self.downsample is None else self.downsample(through_shortcut)
        return self.relu(self.branch(through_branch) + shortcut)


class SwitchedPreAct(models.PreActBlock):
    """The same with BN and ReLU in front; its projection starts behind them."""

    crossed = None

    def forward(self, x):
        if isinstance(self.downsample, nn.Conv2d):
            active = self.relu(self.bn1(x))
            through_branch = active.detach() if self.crossed is False else active
            return self.branch(through_branch) + self.downsample(active.detach() if self.crossed else active)
        active = self.relu(self.bn1(x.detach() if self.crossed is False else x))
        x = x.detach() if self.crossed else x
        return self.branch(active) + (x if self.downsample is None else self.downsample(x))


@pytest.mark.parametrize("block", [Switched, SwitchedPreAct])
@pytest.mark.parametrize("shortcut", ["A", "B"])
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_every_part_equals_the_sum_over_its_paths(block, shortcut, n):
    random.manual_seed(n)
    widths = [3, 3, 6, 6, 6][: n + 1]  # the second block changes the shape
    chain = [block(a, b, 2 if b > a else 1, shortcut) for a, b in itertools.pairwise(widths)]
    model = nn.Sequential(*chain, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10)).double()
    x, y = batch(channels=3, size=6)
    expected = [np.zeros_like(x) for _ in range(n + 1)]
    for path in itertools.product([False, True], repeat=n):
        for member, crossed in zip(chain, path):
            member.crossed = crossed
        start = Tensor(x, requires_grad=True)
        loss = F.cross_entropy(model(start), Tensor(y))
        expected[sum(path)] += autograd.grad(loss, start)[0]
    for member in chain:
        member.crossed = None
    found = spectrum(model, x, y, arrays=True)
    assert found.counts.tolist() == [math.comb(n, k) for k in range(n + 1)]
    for part, sum_over_paths in zip(found.arrays, expected):
        np.testing.assert_allclose(part, sum_over_paths, atol=1e-12 * np.abs(sum(expected)).max())


# ── what the papers say ─────────────────────────────────────────────────────────────────────────────────────────────


def test_paths_are_binomial_as_veit_counts_them():
    """Row 2: of the 2⁵⁴ paths, 0.45 % cross 5 to 17 modules and more than 95 % cross 19 to 35."""
    counts = np.array([float(math.comb(54, k)) for k in range(55)])
    found = flow.PathSpectrum(norms=np.ones(55), counts=counts, sum_error=0.0)
    share = found.counts / found.counts.sum()
    assert share[5:18].sum() == pytest.approx(0.0045, abs=0.0001)
    assert share[19:36].sum() == pytest.approx(0.980, abs=0.005)
    assert found.mean_length == pytest.approx(27)
    assert found.blocks == 54


@pytest.mark.parametrize("lam", [0.5, 1.0, 1.1])
@pytest.mark.parametrize("n", [1, 6, 12])
def test_a_scaled_shortcut_scales_the_direct_path_by_its_nth_power(lam, n):
    """Row 16: G₀ = λⁿ·g, g the gradient behind the last block (He et al. 2016, eq. 8)."""
    random.manual_seed(0)
    blocks, head = nn.Sequential(*(Scaled(6, lam) for _ in range(n))).double(), nn.Linear(6, 3).double()
    x, y = np.random.default_rng(0).standard_normal((4, 6)), np.arange(4) % 3
    model = nn.Sequential(nn.Linear(6, 6).double(), blocks, head)
    found = spectrum(model, x, y, arrays=True)
    last = Tensor(nn.Sequential(model[0], blocks)(Tensor(x)).array, requires_grad=True)
    (g,) = autograd.grad(F.cross_entropy(head(last), Tensor(y)), last)
    np.testing.assert_allclose(found.arrays[0], lam**n * g, rtol=1e-10)
    assert found.norms[0] == pytest.approx(lam**n * np.linalg.norm(g), rel=1e-10)


def test_lengths_are_weighted_means():
    norms, sampled = np.array([1.0, 2.0, 1.0]), np.array([1.0, 1.0, 2.0])
    found = flow.PathSpectrum(norms=norms, counts=np.array([1.0, 2.0, 1.0]), sum_error=0.0, sampled=sampled)
    assert found.effective_length == pytest.approx((4 + 2) / 6)
    assert found.mean_length == 1.0
    assert found.sampled_length == pytest.approx(5 / 4)


def test_no_gradient_at_all_has_no_length():
    assert math.isnan(flow.PathSpectrum(np.zeros(3), np.array([1.0, 2.0, 1.0]), 0.0).effective_length)


# ── Veit's sampled estimate ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("preact", [False, True])
def test_the_sampled_estimate_is_exact_where_there_is_a_single_path(preact):
    found = spectrum(net(20, preact=preact), *batch(), samples=2)
    assert len(found.sampled) == found.blocks + 1 == 10
    for k in (0, -1):
        assert found.sampled[k] == pytest.approx(found.norms[k], rel=1e-12)


def test_sampled_norms_add_up_what_cancels():
    """The triangle inequality: all paths of one length, sampled often enough, have at least the norm of their sum."""
    found = spectrum(net(14), *batch(), samples=60)
    assert (found.sampled[1:-1] > 0.9 * found.norms[1:-1]).all()
    assert found.sampled[1:-1].sum() > found.norms[1:-1].sum()


def test_sampling_depends_on_the_seed_alone():
    runs = [spectrum(net(14), *batch(), samples=2, seed=seed).sampled for seed in (0, 0, 1)]
    assert (runs[0] == runs[1]).all() and not (runs[0] == runs[2]).all()


def test_no_samples_no_estimate():
    found = spectrum(net(), *batch())
    assert found.sampled is None and found.arrays is None
    with pytest.raises(ValueError, match=r"sampled_length: no paths were sampled; call path_spectrum\(…, samples=40\)"):
        _ = found.sampled_length
    with pytest.raises(ValueError, match="path_spectrum: got samples=-1; expected 0"):
        spectrum(net(), *batch(), samples=-1)


# ── manners ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("options", [{}, {"preact": True}])
def test_a_plain_net_is_told_that_it_has_a_single_path(options):
    with pytest.raises(ValueError, match=r"path_spectrum: found no fork .* A plain network has a single path"):
        spectrum(net(residual=False, **options), *batch())


def test_it_works_under_no_grad_and_leaves_a_running_recording_alone():
    model, (x, y) = net(), batch()
    with autograd.no_grad(), flow.recording(model) as recording:
        inside = spectrum(model, x, y)
    assert (inside.norms == spectrum(model, x, y).norms).all()
    with pytest.raises(RuntimeError, match="nothing was recorded"):
        _ = recording.nodes


class Dropping(nn.Module):
    """A network that draws random numbers in its forward."""

    def __init__(self):
        super().__init__()
        self.net, self.dropout = net(), nn.Dropout(0.5)

    def forward(self, x):
        return self.dropout(self.net(x))


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_and_the_random_state_are_left_as_they_were(fails):
    def loss(y, target):
        if fails:
            raise RuntimeError("stop")
        return F.cross_entropy(y, target)

    model, (x, y) = Dropping().train(), batch()
    model.net.layer2.eval()
    F.cross_entropy(model(Tensor(x)), Tensor(y)).backward()
    modes = [module.training for module in model.modules()]
    before = {name: value.tobytes() for name, value in model.state_dict().items()}
    grads, state = [p.grad.numpy().tobytes() for p in model.parameters()], random.get_state()
    if fails:
        with pytest.raises(RuntimeError, match="stop"):
            spectrum(model, x, y, loss=loss, samples=1)
    else:
        spectrum(model, x, y, loss=loss, samples=1)
    assert before == {name: value.tobytes() for name, value in model.state_dict().items()}
    assert grads == [p.grad.numpy().tobytes() for p in model.parameters()]
    assert modes == [module.training for module in model.modules()]
    assert state == random.get_state()


def test_a_progress_bar_is_shown_on_request(capsys):
    flow.path_spectrum(net(), *batch(), samples=1)
    shown = capsys.readouterr().err
    assert "path spectrum" in shown and "sampled paths" in shown
