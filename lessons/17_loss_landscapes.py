# %% [markdown]
# # 17. Loss landscapes: what the neighbourhood of a network looks like
#
# *Stand on a trained network and walk off in a random direction. How soon does it get steep?*
#
# Takes 60 s (quick: 7 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import data, flow, models, optim, train
from minires.flow import plots
from minires.lesson import QUICK, claim, finish, progress, show
from minires.nn import functional as F

SHALLOW, DEEP, EPOCHS, SEEDS = (8, 26, 2, range(1)) if QUICK else (8, 38, 8, range(2))
DIRECTIONS = range(1 if QUICK else 3)
digits, test = data.digits()
probe = digits.subset(128 if QUICK else 256)

# %% [markdown]
# **Predict first.** Four networks are trained alike on handwritten digits: plain and residual, with 8 layers and with 38.
# Then all filters are moved by a fifth of their own length, at random. Whose loss suffers?
#
# - a) the deep ones', plain and residual alike: more layers, more to go wrong;
# - b) that of the deep plain network alone;
# - c) nobody's: a fifth is little.
#
# ## A step of which length?
#
# A loss of a million weights cannot be drawn. Li et al. draw it along one random direction $d$, or two:
# $f(t) = L(\theta + t d)$. But how long is a step? Behind a convolution stands a batch norm, so the weights can be
# multiplied by any $c > 0$ and the network computes the same: $L(c\,w) = L(w)$. A step of length 1 is then a catastrophe
# for small weights and nothing for large ones, and a landscape looks as sharp or as flat as one likes. The cure is
# **filter normalisation**: every filter of the direction gets the length of the same filter of the weights,
#
# $$d_i \leftarrow \frac{d_i}{\|d_i\|} \, \|w_i\| ,$$
#
# so that $t = 0.2$ moves every filter by a fifth of itself. Biases and batch norms stay where they are.
#
# ## By hand, then the library's


# %%
def loss_along(model: models.ResNet, t: float, seed: int, normalise: bool = True) -> float:
    """The loss at θ + t·d, batch norm using the statistics of the batch; the weights are put back."""
    rng = np.random.default_rng(seed)
    before = [(p, p.data.copy()) for p in model.parameters()]
    for p, w in before:
        if w.ndim < 2:  # a bias, or γ and β of a batch norm
            continue
        d = rng.standard_normal(w.shape)
        if normalise:
            axes = tuple(range(1, w.ndim))
            d *= np.linalg.norm(w.reshape(len(w), -1), axis=1).reshape(-1, *[1] * len(axes)) / np.sqrt(
                (d**2).sum(axes, keepdims=True)
            )
        p.data[...] = w + t * d
    images, labels = probe[:]
    with mr.no_grad():
        loss = F.cross_entropy(model.train()(mr.tensor(images)), mr.tensor(labels)).item()
    for p, w in before:
        p.data[...] = w
    return loss


mr.manual_seed(0)
small = models.resnet_cifar(8, 8, in_channels=1)
library = flow.landscape(small, [probe[:]], points=3, span=0.5, seed=4, training=True, progress=False).loss[2]
by_hand = loss_along(small, 0.5, seed=4)
claim("by hand and flow.landscape agree", abs(by_hand / library - 1) < 1e-3, [by_hand, library])

# %% [markdown]
# ## Train, then walk


# %%
def fit(model: models.ResNet, seed: int) -> None:
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    steps = EPOCHS * data.batch_count(digits, 64, drop_last=True)
    warm_up = 20
    rise = optim.LinearLR(optimizer, 1 / 20, total_iters=warm_up)
    drop = optim.MultiStepLR(optimizer, [int(0.7 * steps) - warm_up])
    schedule = optim.SequentialLR(optimizer, [rise, drop], [warm_up])
    options = dict(epochs=EPOCHS, batch_size=64, drop_last=True, schedule=schedule, seed=seed, progress=False)
    train.fit(model, digits, optimizer, **options)


trained: dict[str, list[models.ResNet]] = {}
for seed in SEEDS:
    for depth in (SHALLOW, DEEP):
        mr.manual_seed(seed)
        for kind, model in progress(
            zip(("plain", "residual"), models.twins(depth, 8, in_channels=1)), "training", total=2
        ):
            fit(model, seed)
            trained.setdefault(f"{kind}-{depth}", []).append(model)

lines: dict[str, list[flow.Landscape]] = {}
for name, networks in progress(trained.items(), "walking"):
    lines[name] = [
        flow.landscape(model, probe, points=11, seed=direction, training=False, progress=False)
        for model in networks
        for direction in DIRECTIONS
    ]
curves = {name: np.exp(np.mean([np.log(line.loss) for line in found], axis=0)) for name, found in lines.items()}
at = {t: int(np.argmin(np.abs(lines[f"plain-{DEEP}"][0].steps - t))) for t in (-0.2, 0.0, 0.2)}
moved = {name: float(np.sqrt(curve[at[-0.2]] * curve[at[0.2]])) for name, curve in curves.items()}
rise = {name: moved[name] - float(curves[name][at[0.0]]) for name in curves}
print(f"{'network':<14}{'loss':>9}{'moved by 0.2':>14}{'rise':>9}")
for name, curve in curves.items():
    print(f"{name:<14}{curve[at[0.0]]:>9.3f}{moved[name]:>14.3f}{rise[name]:>9.3f}")

# %%
planes = {
    name: flow.landscape(trained[name][0], probe.subset(128), dimensions=2, points=5 if QUICK else 13, progress=False)
    for name in (f"plain-{DEEP}", f"residual-{DEEP}")
}
figure, axes = plt.subplots(1, 3, figsize=(15, 4.8), layout="constrained", width_ratios=[1.25, 1, 1])
one = {name: flow.Landscape(lines[name][0].steps, curve, curve, 0) for name, curve in curves.items()}
plots.landscape(axes[0], one)
axes[0].set_title(f"Loss along random directions, mean of {len(SEEDS) * len(DIRECTIONS)}", size=11)
levels = plots.contour_levels(planes.values())
for ax, (name, plane) in zip(axes[1:], planes.items()):
    plots.landscape_2d(ax, plane, name, levels=levels)
show(figure, "17-landscapes")

plain, residual = f"plain-{DEEP}", f"residual-{DEEP}"
answer = "c" if rise[plain] < 0.1 else "b" if rise[residual] < rise[plain] / 3 else "a"
print(
    f"The answer is {answer}): a fifth of a filter's length raises the loss of {plain} by {rise[plain]:.2f} and that of "
    f"{residual} by {rise[residual]:.2f}; of the shallow networks by {rise[f'plain-{SHALLOW}']:.2f} and "
    f"{rise[f'residual-{SHALLOW}']:.2f}."
)
claim(
    "moved by a fifth, the deep residual network has the lower loss",
    moved[residual] < moved[plain],
    [moved[residual], moved[plain]],
)
if not QUICK:
    claim("its loss rises less than a third as much", rise[residual] < rise[plain] / 3, [rise[residual], rise[plain]])
    losses = [moved[residual], moved[f"residual-{SHALLOW}"]]
    claim("depth has not made the residual network much sharper: less than 3 times the loss", losses[0] < 3 * losses[1], losses)

# %% [markdown]
# ## What the picture does not show
#
# The deep plain network is not sharp *at its minimum*: it has not found one. With the same steps its training loss is
# still high (lesson 8), and the picture mixes two things, a bad place and steep surroundings. Li et al. train to the
# end and still find the surroundings chaotic without shortcuts from about 56 layers on, hardly at 20; at 20 layers our
# networks differ little as well (try it). Two directions out of tens of thousands are a keyhole, and the picture says
# nothing about the way to the minimum.
#
# ## Common mistakes
#
# **Comparing networks whose losses at $t = 0$ differ, on a linear axis.** The eye then sees the high curve as the steep
# one. Look at the rise, on a logarithmic axis, and say what you did.
#
# **Leaving the normalisation out.** Multiply all convolutions of the shallow residual network by 5: the same network. Its
# filter-normalised landscape is the same too; the raw one has changed, by nothing but the unit of length: its valley
# looks five times as wide.

# %%
shallow, changes = trained[f"residual-{SHALLOW}"][0], {}
for normalise in (True, False):
    before = loss_along(shallow, 0.1, 4, normalise)
    for p in shallow.parameters():
        if p.ndim == 4:
            p.data *= 5
    after = loss_along(shallow, 0.1, 4, normalise)
    for p in shallow.parameters():
        if p.ndim == 4:
            p.data /= 5
    changes[normalise] = abs(after / before - 1)
    print(
        f"{'normalised' if normalise else 'raw':<11} loss at t = 0.1: {before:.3f}, weights five times as large: {after:.3f}"
    )
claim("filter-normalised: the same landscape", changes[True] < 0.01, changes[True])
claim("raw: another one", changes[False] > 0.05, changes[False])

# %% [markdown]
# ## Exercises
#
# - `minires new gradient_flow`, then ask: where the landscape is steep, which layers have the large gradients?
# - Set `DEEP = 20`. How much of the difference is left?
# - Give the residual network `zero_init_residual=True`. Is it flatter?
# - `minires new batch_norm`: with your batch norm, prove $L(c\,w) = L(w)$ numerically; find out what eps does to it.
#
# ## Sources
#
# - H. Li, Z. Xu, G. Taylor, C. Studer, T. Goldstein, *Visualizing the Loss Landscape of Neural Nets*, 2018
#   (arXiv 1712.09913): filter normalisation in section 4; test errors with and without shortcuts, ResNet-56 5.89 against
#   13.31 %, ResNet-20 7.37 against 8.18 %.

# %%
finish()
