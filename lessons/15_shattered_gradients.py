# %% [markdown]
# # 15. Shattered gradients: two neighbours that no longer agree
#
# *Two inputs are almost the same. Does a deep network want the same change for both?*
#
# Takes 9 s (quick: 4 s).

# %%
import math

import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import autograd, flow, models, nn
from minires.blas import one_blas_thread
from minires.experiments import agreement, chaos
from minires.flow import plots
from minires.lesson import QUICK, answer, claim, finish, progress, show

SEEDS = range(4 if QUICK else 10)
WIDTH, INPUTS = 200, 64

# %% [markdown]
# **Predict first.** A network of 24 layers has one number $t$ as its input and one number $f(t)$ as its output. It is
# plain, with batch norm, and freshly initialised. Walk along $t$ in 256 small steps and write down the slope $df/dt$ at
# each. The list of slopes looks like
#
# - a) a smooth curve: neighbours have nearly the same slope;
# - b) a random walk: each slope is its neighbour's, changed a little;
# - c) white noise: a slope says nothing about the next one.
#
# The *size* of the gradient was the subject of lessons 7 to 9. This one is about its *direction*: gradient descent takes
# the mean over a batch, and a mean of unrelated vectors is small and points nowhere in particular.

# %% [markdown]
# ## Why every ReLU halves the agreement
#
# A gradient goes back through a layer as $g \mapsto W^\top (m \odot g)$, where the mask $m$ is 1 where the ReLU was
# active. Take two unrelated inputs with masks $m$ and $m'$. Batch norm centres what the ReLU sees, so that half of the
# entries of each mask are 1, and a quarter are 1 in both. With He's initialisation, $\mathrm{Var}\,W = 2/n$,
#
# $$\|g\|^2 \mapsto 2 \cdot \tfrac12 \, \|g\|^2, \qquad g \cdot g' \mapsto 2 \cdot \tfrac14 \, g \cdot g' .$$
#
# The norm is kept and the agreement is halved: after $L$ layers the correlation of two gradients is $2^{-L}$. (Batch
# norm also divides by a standard deviation; it divides both lines alike, and drops out.)
#
# A shortcut adds $g$ itself. Let the input of block $\ell$ have the variance $v_\ell$ over the batch. Batch norm divides
# the branch by $\sqrt{v_\ell}$, so that, $W$ being random, skip and branch add like perpendicular vectors:
#
# $$\|g\|^2 \mapsto \Bigl(1 + \frac{1}{v_\ell}\Bigr) \|g\|^2, \qquad
#   g \cdot g' \mapsto \Bigl(1 + \frac{1}{2 v_\ell}\Bigr) g \cdot g', \qquad
#   \rho_L = \prod_{\ell=1}^{L} \frac{1 + 1/(2 v_\ell)}{1 + 1/v_\ell} .$$
#
# If every block adds a variance of 1, $v_\ell = \ell$, the denominator is $L + 1$ and the numerator grows as $\sqrt L$:
# the correlation falls only as $1/\sqrt L$, the result of Balduzzi et al. But lesson 14 has counted what a block adds:
# a second moment of 1, and a batch *variance*, which is what batch norm divides by, of $1 - \tfrac1\pi \approx 0.68$.
# The rest is a constant, the same for all inputs. So $\rho_L$ falls a little faster, as
# $L^{-\pi/(2\pi-2)} \approx L^{-0.73}$.


# %%
def correlation_theory(L: int, added: float = 1 - 1 / math.pi) -> float:
    """ρ_L if every block adds this variance: the product over v_ℓ = 1 + added·(ℓ − 1)."""
    v = 1 + added * np.arange(L)
    return float(np.prod((1 + 1 / (2 * v)) / (1 + 1 / v)))


# %% [markdown]
# ## By hand, then the library's
#
# One backward pass gives the gradients of a whole batch: the sum of an output over the batch has, at every input, that
# input's own gradient, if nothing mixes the inputs. Batch norm does mix them, so it runs once on all inputs and is then
# frozen (`eval`), its statistics being constants from there on.


# %%
def gradients_by_hand(model: nn.Module, x: mr.Tensor) -> np.ndarray:
    """The gradient of the first output at every input, (N, features)."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d)]
    for norm in norms:
        norm.momentum = 1.0  # the running statistics become those of this batch
    model.train()(x)
    for norm in norms:
        norm.running_var *= (len(x) - 1) / len(x)  # but for its variance, in which n − 1 stands for n
    model.eval()
    leaf = mr.tensor(x, requires_grad=True)
    (g,) = autograd.grad(model(leaf)[:, 0].sum(), leaf)
    return g


def mean_cosine(g: np.ndarray) -> float:
    unit = g / np.linalg.norm(g, axis=1, keepdims=True)
    off_diagonal = (unit @ unit.T)[~np.eye(len(g), dtype=bool)]
    return float(off_diagonal.mean())


mr.manual_seed(0)
layers, x = models.mlp(5, WIDTH, layers=1).hidden, mr.randn(INPUTS, WIDTH)
library = flow.gradient_correlation(layers, x)
by_hand = mean_cosine(gradients_by_hand(layers, x))
claim("by hand and flow.gradient_correlation agree on 3 plain layers", abs(by_hand - library) < 1e-4, [by_hand, library])

# %% [markdown]
# ## Measured: unrelated inputs
#
# Sixty-four random inputs, every pair of gradients, the mean cosine; then the mean over seeds. The last column of the
# table is the product with $1 - 1/\pi$, the one before it the rough one, in which every block adds 1.

# %%
depths = {"plain": [1, 2, 3, 4, 6, 8], "residual": [1, 2, 3, 4, 6, 10, 20]}


def correlations(name: str) -> np.ndarray:
    """(seeds, depths)"""
    rows = []
    for seed in progress(SEEDS, f"{name} networks"):
        mr.manual_seed(seed)
        stacks = [models.mlp(L + 2, WIDTH, layers=1, residual=name == "residual").hidden for L in depths[name]]
        rows.append([flow.gradient_correlation(layers, mr.randn(INPUTS, WIDTH)) for layers in stacks])
    return np.array(rows)


# matrices this small are not worth sharing between threads
correlation = {name: one_blas_thread(correlations, name) for name in depths}

plain, residual = (dict(zip(depths[name], correlation[name].mean(0))) for name in depths)
print(f"{'L':>3} {'plain':>8} {'2^−L':>8} {'residual':>10} {'adds 1':>8} {'1 − 1/π':>8}")
for L in [1, 2, 3, 4, 6]:
    theory = f"{correlation_theory(L, 1.0):8.3f} {correlation_theory(L):8.3f}"
    print(f"{L:3} {plain[L]:8.3f} {2.0**-L:8.3f} {residual[L]:10.3f} {theory}")
halvings = [math.log2(plain[L] * 2.0**L) for L in (1, 2, 3, 4)]
claim("plain: 2^−L for L = 1 … 4, within 0.4 of a halving", max(map(abs, halvings)) < 0.4, halvings)
ratios = [residual[L] / correlation_theory(L) for L in (1, 4, 10, 20)]
claim("residual: the product with 1 − 1/π, within 15 %", max(abs(r - 1) for r in ratios) < 0.15, ratios)
off = [abs(residual[10] - correlation_theory(10, added)) for added in (1 - 1 / math.pi, 1.0)]
claim("it fits better than the rough one at L = 10: deviations", off[0] < off[1], off)

# %% [markdown]
# ## Measured: neighbours on a line
#
# Now the walk along $t$. The autocorrelation at lag $k$ says how much a slope has in common with the one $k$ grid points
# on: 1 for a smooth curve, falling slowly for a random walk, 0 at once for white noise. For comparison there is a shallow
# network of four layers, and a residual one that is twice as deep as the plain one.

# %%
kinds = {"shallow (plain-4)": (4, False), "plain-24": (24, False), "residual-50": (50, True)}
options = dict(in_features=1, out_features=1, layers=1)
walks: dict[str, list[flow.Shattering]] = {name: [] for name in kinds}
for seed in progress(SEEDS, "walks"):
    for name, (depth, shortcuts) in kinds.items():
        mr.manual_seed(seed)
        model = models.mlp(depth, WIDTH, residual=shortcuts, **options)
        walks[name].append(one_blas_thread(flow.shattering, model))

figure, axes = plt.subplots(1, 3, figsize=(16, 4.6), layout="constrained")
plots.input_gradient(axes[0], {name: found[0] for name, found in walks.items()}, "at initialisation")
plots.shattering(axes[1], walks, f"{len(SEEDS)} seeds")
colours, ax, Ls = plots.style.NETWORK, axes[2], np.arange(1, 21)
for name, found in correlation.items():
    ax.fill_between(depths[name], np.maximum(found.min(0), 1e-4), found.max(0), color=colours[name], alpha=0.2, lw=0)
    ax.plot(depths[name], found.mean(0), plots.style.MARKER[name], color=colours[name], ms=5)
ax.plot(Ls, 2.0**-Ls, ":", color=colours["plain"])
ax.plot(Ls, [correlation_theory(L) for L in Ls], ":", color=colours["residual"])
ax.text(5, 0.05, r"plain, $2^{-L}$", color=colours["plain"])
ax.text(8, 0.4, r"residual, each block adds $1-1/\pi$", color=colours["residual"])
ax.set(yscale="log", ylim=(2e-3, 1.2), xlim=(0, 21), xlabel="ReLU layers L", xticks=[1, 5, 10, 15, 20])
ax.set_ylabel("mean cosine between two gradients")
ax.set_title(f"Unrelated inputs, {len(SEEDS)} seeds, theory dotted", size=11)
show(figure, "15-shattering")

lag_1 = {name: float(np.mean([walk.autocorrelation[1] for walk in found])) for name, found in walks.items()}
noise = lag_1["plain-24"]
letter = "c" if abs(noise) < 0.3 else "b" if noise < 0.97 else "a"
values = ", ".join(f"{name} {value:.2f}" for name, value in lag_1.items())
print(f"{answer(letter)}. Autocorrelation of the slopes at lag 1, mean of {len(SEEDS)} seeds: {values}")
claim("plain-24 looks like white noise: lag 1 between −0.25 and 0.25", abs(noise) < 0.25, noise)
claim("residual-50 does not: above 0.4", lag_1["residual-50"] > 0.4, lag_1["residual-50"])

# %% [markdown]
# Left: one seed of each. By eye the lower two both look rough; the middle panel tells them apart. Plain-24 drops to 0 at
# the very next grid point: it is noise. Residual-50 keeps more than half and loses the rest over the next few points:
# a curve of fine grain, but a curve. Right: for inputs that have nothing to do with each other
# the dots follow the two laws; a straight line on this axis is a halving per layer.
#
# That is the difference a shortcut makes before any training: not a *larger* gradient, but one that neighbours share.
# It is also a statement about initialisation only. What training does with a shattered gradient was seen in lesson 9:
# the first steps turn the plain network's kernels by ten degrees each, and it leaves the state in which this theory holds.
#
# ## One number behind four lessons
#
# Shattering is one face of something seen before. In a wide network one number $\chi$ says by how much a layer multiplies
# a squared gradient going back, and also a small squared *distance* going forward (Schoenholz et al. 2017). Above 1 is
# **chaos**: gradients explode (lessons 7 and 9), an input and its noisy copy become strangers (lesson 12), and gradients
# at two inputs lose all they share. Below 1 is **order**: all inputs end up alike, and gradients vanish. Batch norm and
# ReLU give a plain network $\chi = \pi/(\pi - 1) = 1.47$ in every layer, of which lesson 7's 1.211 is the root. A residual
# block whose input has the variance $v$ has $\chi = 1 + 1/v$, and $v$ grows with every block: it nears the **edge**.

# %%
blocks, seen = 24, range(2 if QUICK else 5)
pages = {name: [one_blas_thread(chaos.along_depth, seed, name == "residual", blocks) for seed in seen] for name in depths}
figure, axes = plt.subplots(2, 2, figsize=(13, 8), layout="constrained")
for ax, (what, title) in zip(axes.flat, chaos.SAYS.items()):
    ax.set(title=title, yscale="log" if what == "gradient" else "linear")
    x = np.arange(blocks + (what != "χ"))
    for name in pages:
        ax.plot(x, chaos.theory(name == "residual", blocks)[what], ":", color="black", lw=1.5, zorder=3)
    plots.runs(ax, x, {name: [run[what] for run in runs] for name, runs in pages.items()})
    ax.set_xlabel("block, from input to output (dotted: infinite width)")
show(figure, "15-edge-of-chaos")
chi = {name: float(np.mean([run["χ"][-12:] for run in runs])) for name, runs in pages.items()}
claim("χ of a plain layer is π/(π − 1), within 5 %", abs(chi["plain"] / (math.pi / (math.pi - 1)) - 1) < 0.05, chi["plain"])
claim("χ of the later residual blocks is below 1.15", 1 < chi["residual"] < 1.15, chi["residual"])
copies = {name: float(np.mean([run["cosine"][-1] for run in runs])) for name, runs in pages.items()}
claim("after 24 layers a noisy copy is a stranger to the plain network alone", copies["plain"] < 0.2 < 0.9 < copies["residual"],
      [*copies.values()])  # fmt: skip

# %% [markdown]
# Two of the panels go from left to right and two from right to left, and each pair is the same $\chi$ at work: a slope
# on the logarithmic axis, a cosine that falls. The green curves bend because each block changes less than the one before.
#
# What does it cost a training? Steps are taken for *mini-batches*, and if their gradients have nothing in common, a step
# for one does nothing for the next ("gradient confusion", Sankararaman et al. 2020). The mean cosine between the
# gradients of mini-batches of 64 digits, for lesson 9's networks, before the first step:

# %%
for depth in (8, 20) if QUICK else (8, 20, 56):
    kinds_of = {kind: [agreement.agreement(s, kind, depth, "digits", 4)["cosine"] for s in seen[:2]] for kind in depths}
    print(f"{depth} layers: " + ", ".join(f"{kind} {np.mean(found):.2f}" for kind, found in kinds_of.items()))
claim("deep plain networks: hardly any agreement, below 0.1", max(map(abs, kinds_of["plain"])) < 0.1, kinds_of["plain"])
claim("residual ones, as deep: above 0.2", min(kinds_of["residual"]) > 0.2, kinds_of["residual"])

# %% [markdown]
# ## Common mistakes
#
# **Batch norm left in training mode.** Then an input's gradient contains what it does to the statistics of all others.
# The batch is no longer a list of separate inputs, and the "gradient at one input" depends on its company. In the left
# panel the curves would still look plausible, which is why this mistake survives; measured below is how far the gradients
# move, relative to their size.
#
# **A line through the origin of a network without biases and without batch norm.** A ReLU network without constants
# has $f(st) = s f(t)$ for $s > 0$: a line through 0 has one kink, at 0, and two slopes in all. However deep, nothing can
# shatter there. In the left panel: a single step. In the middle: near 1 for any depth.

# %%
mr.manual_seed(0)
layers, x = models.mlp(6, WIDTH, layers=1).hidden, mr.randn(INPUTS, WIDTH)
frozen = gradients_by_hand(layers, x)
leaf = mr.tensor(x, requires_grad=True)
(mixed,) = autograd.grad((layers.train()(leaf)[:, 0] * mr.arange(INPUTS).float()).sum(), leaf)
separate = frozen * np.arange(INPUTS)[:, None]  # what it would be if every input went its own way
moved = float(np.linalg.norm(mixed - separate) / np.linalg.norm(separate))
claim("batch norm in training mode changes the gradients at single inputs by more than a tenth", moved > 0.1, moved)

mr.manual_seed(0)
walk = flow.shattering(models.mlp(24, WIDTH, norm=False, bias=False, **options))
slopes = len(np.unique(np.round(walk.gradient / np.abs(walk.gradient).max(), 4)))
claim("without biases and batch norm, plain-24 has two slopes along the line", slopes == 2, slopes)
claim("and its autocorrelation hides the shattering", walk.autocorrelation[1] > 0.9, float(walk.autocorrelation[1]))

# %% [markdown]
# ## Exercises
#
# - `minires new relu_maxpool`: write the mask that halves the agreement.
# - `minires new residual_block`: write the addition that keeps it.
# - Put `scale=0.3` into the residual networks above. Derive $\rho_L$ for a branch scaled by $s$, and check.
# - Replace the walk from −2 to 2 by one from one handwritten digit to another (`start=`, `direction=` of
#   `flow.shattering`, with `models.twins(20, 8, in_channels=1)`). At which depth is it noise?
#
# Answers: [15_shattered_gradients](answers/15_shattered_gradients.md).
#
# ## Sources
#
# - D. Balduzzi, M. Frean, L. Leary, J. Lewis, K. Ma, B. McWilliams, *The Shattered Gradients Problem*, 2017
#   (arXiv 1702.08591): figures 1 and 2, section 3. The product with $1 - 1/\pi$ is this lesson's own count.
# - G. Yang, J. Pennington, V. Rao, J. Sohl-Dickstein, S. Schoenholz, *A Mean Field Theory of Batch Normalization*, 2019
#   (arXiv 1902.08129): the same $1 - 1/\pi$ makes the gradient of plain networks explode.
# - S. Schoenholz, J. Gilmer, S. Ganguli, J. Sohl-Dickstein, *Deep Information Propagation*, 2017 (arXiv 1611.01232); with
#   shortcuts: G. Yang, S. Schoenholz, *Mean Field Residual Networks: On the Edge of Chaos*, 2017 (arXiv 1712.08969).
# - K. Sankararaman, S. De, Z. Xu, W. Huang, T. Goldstein, *The Impact of Neural Network Overparameterization on Gradient
#   Confusion*, 2020 (arXiv 1904.06963).

# %%
finish()
