# %% [markdown]
# # 18. Loss landscapes: what the neighbourhood of a network looks like
#
# *Stand on a trained network and walk off in a random direction. How soon does it get steep?*
#
# Takes 25 s (quick: 7 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import data, flow, models, optim
from minires.flow import plots
from minires.lesson import QUICK, also_at, answer, claim, finish, fit, progress, show
from minires.nn import functional as F

SHALLOW, DEEP = 20, 56
DIRECTIONS = range(1 if QUICK else 6)
digits, test = data.digits()
probe = digits.subset(128 if QUICK else 256)

# %% [markdown]
# **Predict first.** Four networks are trained alike on handwritten digits: plain and residual, with 20 and with 56
# layers. Then all filters are moved by a fifth of their own length, at random. Whose loss suffers?
#
# - a) the deep ones', plain and residual alike: more layers, more to go wrong;
# - b) that of the deep plain network alone;
# - c) nobody's: a fifth is little.
#
# ## A step of which length?
#
# A loss of a million weights cannot be drawn. Li et al. draw it along one random direction $d$, or two: $f(t) =
# L(\theta + t d)$. But how long is a step? Behind a convolution stands a batch norm, so the weights can be multiplied
# by any $c > 0$ and the network computes the same: $L(c\,w) = L(w)$. A step of length 1 is then a catastrophe for small
# weights and nothing for large ones, and a landscape looks as sharp or as flat as one likes. The cure is **filter
# normalisation**: every filter of the direction gets the length of the same filter of the weights,
#
# $$d_i \leftarrow \frac{d_i}{\|d_i\|} \, \|w_i\| ,$$
#
# so that $t = 0.2$ moves every filter by a fifth of itself. Biases and batch norms stay where they are. A filter is all
# that makes one output channel: row $i$ of the weight, whatever its other axes.
#
# ## By hand, then the library's
#
# Walk to one point, measure, and put the weights back. Batch norm uses the statistics of the batch here, so that a
# network that has never been trained can be measured too.

# %%
def loss_along(model: models.ResNet, t: float, seed: int, normalise: bool = True) -> float:
    """The loss at θ + t·d for the direction d of this seed."""
    rng = np.random.default_rng(seed)
    before = [(p, p.numpy().copy()) for p in model.parameters()]
    for p, w in before:
        if w.ndim >= 2:  # not a bias, nor γ and β of a batch norm
            d, rows = rng.standard_normal(w.shape), (len(w),) + (1,) * (w.ndim - 1)
            lengths = [np.linalg.norm(a.reshape(len(w), -1), axis=1).reshape(rows) for a in (w, d)]
            p.data[...] = w + t * d * (lengths[0] / lengths[1] if normalise else 1)
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
# ## Four trained networks, and a walk from each
#
# The package brings them: twins of two depths that minires has trained with lesson 9's recipe, 20 epochs on the digits
# (`models.trained` loads them; `python -m benchmarks.trained` trains them again). Every network is walked from along
# the same random directions, and the curves are averaged as logarithms, since losses of 0.01 and of 10 stand on one
# line. "Moved by 0.2" is the mean of the two points at $t = \pm 0.2$; the *rise* is what was gained over the network
# itself. Rise, not height, is the question of this lesson.

# %%
trained = {name: models.trained(name) for depth in (SHALLOW, DEEP) for name in (f"plain-{depth}", f"residual-{depth}")}
steps, plain, residual = np.linspace(-1, 1, 11), f"plain-{DEEP}", f"residual-{DEEP}"


def walk(networks):
    """The curve around each network, and how far its loss rises; claims how they differ."""
    curves, moved, rise = {}, {}, {}
    for name, model in progress(networks.items(), "walking"):
        lines = [flow.landscape(model, probe, points=11, seed=direction, progress=False).loss for direction in DIRECTIONS]
        curves[name] = np.exp(np.log(lines).mean(0))
        moved[name] = float(np.sqrt(curves[name][4] * curves[name][6]))
        rise[name] = moved[name] - float(curves[name][5])
        print(f"{name:<12} loss {curves[name][5]:.3f}, moved by 0.2 {moved[name]:.3f}, rise {rise[name]:.3f}")
    pair = [moved[residual], moved[plain]]
    claim("moved by a fifth, the deep residual network has less than half the loss", pair[0] < pair[1] / 2, pair)
    claim("as they are, trained and hardly trained, its loss rises less than a third as much",
          rise[residual] < rise[plain] / 3, rise[residual] / rise[plain])  # fmt: skip
    claim("depth has not made the residual network sharp: its rise is below 0.2", rise[residual] < 0.2, rise[residual])
    return curves, rise


curves, rise = walk(trained)
if not QUICK:
    mr.manual_seed(0)
    slow = dict(zip((plain, residual), models.twins(DEEP, 8, in_channels=1)))
    for model in slow.values():
        fit(model, digits, epochs=6, lr=0.02)
    also_at("6 epochs at learning rate 0.02", lambda: walk(slow))
letter = "c" if rise[plain] < 0.1 else "b" if rise[residual] < rise[plain] / 3 else "a"
print(f"{answer(letter)}: a fifth of a filter's length raises the loss of {plain} by {rise[plain]:.2f}, and that of "
      f"{residual}, as deep, by {rise[residual]:.2f}.")

# %%
figure, axes = plt.subplots(1, 3, figsize=(15, 4.8), layout="constrained", width_ratios=[1.25, 1, 1])
for name, curve in curves.items():
    kind, depth = name.split("-")
    style = dict(color=plots.style.NETWORK[kind], marker=plots.style.MARKER[kind], ls="-" if int(depth) == DEEP else ":")
    axes[0].plot(steps, curve, **style, ms=4, lw=1.6, label=name)
axes[0].set(yscale="log", xlabel="step t, in norms of the filters", ylabel="loss")
axes[0].set_title(f"Along random directions, mean of {len(DIRECTIONS)}", size=11)
axes[0].legend(loc="lower left", fontsize=9)
plane = dict(dimensions=2, points=5 if QUICK else 11, progress=False)
planes = {name: flow.landscape(trained[name], probe.subset(64 if QUICK else 128), **plane) for name in (plain, residual)}
for ax, (name, found) in zip(axes[1:], planes.items()):
    plots.landscape_2d(ax, found, name, levels=plots.contour_levels(planes.values()))
show(figure, "18-landscapes")

# %% [markdown]
# Left: three curves are one valley, narrow at the bottom and steep at the sides; the deep residual network (solid
# green) stands in it as the shallow ones do. The deep plain network (solid orange) lies far above, lopsided, and its
# rim is at losses of thousands. Middle and right: one plane around each of the two deep networks, the cross being the
# network itself, lines at equal loss, dark is high. Rings around the cross are a minimum in this plane. A cross beside
# the middle of the innermost ring stands on a slope: that network would get better by a step in a direction that nobody
# chose.
#
# ## What the picture does not show
#
# The deep plain network is not sharp *at its minimum*: it has not found one. With the same steps its training loss is
# still high (lesson 9), and the picture mixes two things, a bad place and steep surroundings. To tell them apart, take
# a fresh residual network of the same depth and stop its training as soon as it has the *same loss*. Both walks start
# at the same height then. (Batch norm uses each batch's statistics here, as the young network has no others yet.)

# %%
def until(goal: float, seed: int = 0) -> models.ResNet:
    """A residual network that was trained until its loss on the probe was no more than the goal."""
    mr.manual_seed(seed)
    model = models.resnet_cifar(DEEP, 8, in_channels=1)
    optimizer, rng = optim.SGD(model.parameters(), lr=0.02, momentum=0.9), np.random.default_rng(seed)
    while loss_along(model, 0, 0) > goal:
        images, labels = digits[rng.integers(0, len(digits), 64)]
        optimizer.zero_grad()
        F.cross_entropy(model(mr.tensor(images)), mr.tensor(labels)).backward()
        optimizer.step()
    return model


def at_the_same_loss(plain: models.ResNet) -> None:
    rises = []
    for model in (plain, until(loss_along(plain, 0, 0))):
        lines = [[loss_along(model, t, direction) for t in (-0.2, 0, 0.2)] for direction in DIRECTIONS]
        left, middle, right = np.exp(np.log(lines).mean(0))
        rises.append(float(np.sqrt(left * right) - middle))
        print(f"loss {middle:.2f}, moved by 0.2: rise {rises[-1]:.2f}")
    claim("at the same loss, that of the plain network rises faster, by a factor over 1.2", rises[0] > 1.2 * rises[1],
          rises[0] / rises[1])  # fmt: skip


at_the_same_loss(trained[plain])
also_at("6 epochs at learning rate 0.02", lambda: at_the_same_loss(slow[plain]), fails=["at the same loss"])

# %% [markdown]
# So the surroundings of this plain network are steeper, too, but by a factor of three or four. The first numbers made it
# hundreds, because they compared a network that had learned with one that had not. Nor is the factor a law. For five
# pairs on CIFAR-10 images it is between 1.0 and 2.9 (`minires experiments sharpness`), and with less training a plain
# network still stands on its plateau, near the loss of guessing, where nothing rises, and it is the residual network of
# the same loss that has the steeper surroundings.
#
# Li et al. train to the end and still find the surroundings chaotic without shortcuts from about 56 layers on, hardly
# at 20; at 20 layers our networks differ little as well (the dotted lines). Two directions out of two hundred
# thousand are a keyhole, and the picture says nothing about the way to the minimum.
#
# ## Common mistakes
#
# **Comparing heights where the question is steepness.** On a linear axis the high curve looks like the steep one, and
# three of the four lines lie on the floor. On the left the axis is logarithmic, where a *factor* has a length; the
# printed rise is a *difference*. They can disagree: say which you mean.
#
# **Leaving the normalisation out.** Multiply all convolutions of the shallow residual network by 5: the same network.
# Its filter-normalised landscape is the same too; the raw one has changed, by nothing but the unit of length: its
# valley looks five times as wide.

# %%
shallow, loss = trained[f"residual-{SHALLOW}"], {}
for scale in (1, 5):
    for p in shallow.parameters():
        p.data *= scale if p.ndim == 4 else 1
    loss[scale] = [loss_along(shallow, 0.1, 4, normalise) for normalise in (True, False)]
    print(f"convolutions times {scale}: loss at t = 0.1, normalised {loss[scale][0]:.3f}, raw {loss[scale][1]:.3f}")
normalised, raw = (abs(after / before - 1) for before, after in zip(loss[1], loss[5]))
claim("filter-normalised: the same landscape", normalised < 0.01, normalised)
claim("raw: another one", raw > 0.05, raw)

# %% [markdown]
# ## Exercises
#
# - `minires new gradient_flow`, then ask: where the landscape is steep, which layers have the large gradients?
# - One network of each kind may be luck. Train twins of 38 layers with two seeds (`lesson.fit`, lesson 9). What stays?
# - Train a residual network with `zero_init_residual=True`. Is it flatter?
# - `minires new batch_norm`: with your batch norm, prove $L(c\,w) = L(w)$ numerically; find out what eps does to it.
#
# Answers: [18_loss_landscapes](answers/18_loss_landscapes.md).
#
# ## Sources
#
# - H. Li, Z. Xu, G. Taylor, C. Studer, T. Goldstein, *Visualizing the Loss Landscape of Neural Nets*, 2018 (arXiv
#   1712.09913): filter normalisation in section 4; test errors with and without shortcuts, ResNet-56 5.89 against 13.31
#   %, ResNet-20 7.37 against 8.18 %.

# %%
finish()
