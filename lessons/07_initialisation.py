# %% [markdown]
# # 7. Initialisation: why a factor of √2 decides whether a network learns
#
# *How large should random weights be, so that forty layers neither silence a signal nor blow it up?*
#
# Takes 12 s (quick: 3 s).

# %% [markdown]
# Before a network has learnt anything its weights are random. Forty layers multiply forty times, so a factor of 0.7 a
# layer is a factor of a millionth in the end. This lesson works out the factor, forward and backward, for the usual
# choices, and then trains with them.
#
# **Predict first.** Forty layers of linear map and **sigmoid**, with weights drawn by the book (Xavier). At each layer
# backward, the gradient is multiplied by about …
#
# - a) 1: that is what initialisation by the book is for;
# - b) a half;
# - c) a quarter or less.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import nn
from minires.experiments import isometry
from minires.flow.plots.style import BRANCH, NETWORK, SKIP, TOTAL
from minires.lesson import QUICK, also_at, answer, claim, finish, progress, show, slider
from minires.nn import functional as F

# %% [markdown]
# ## The factor, forward
#
# One output is $z = \sum_{j=1}^{n} w_j h_j$ with independent weights of mean 0 and variance $v$. Their variances
# add, so $\operatorname{E} z^2 = n\,v\,\operatorname{E} h^2$. A ReLU then cuts off the negative half, and with
# it half of the square: $\operatorname{E} \mathrm{relu}(z)^2 = \tfrac12 \operatorname{E} z^2$. Per layer,
#
# $$\frac{\operatorname{E} h_{\ell+1}^2}{\operatorname{E} h_\ell^2} = \frac{n\,v}{2},
# \qquad\text{equal to 1 for}\quad v = \frac{2}{n} \quad\text{(He)}.$$
#
# Xavier initialisation, $v = 2 / (n_{\text{in}} + n_{\text{out}})$, is $1/n$ here. It is right for a function that is
# the identity near 0, such as tanh, and a factor of 2 short for ReLU: the signal loses $1/\sqrt 2$ in every layer.
# How exact need it be? Five per cent off in every layer make a factor of $1.05^{40} = 7$ over forty, which training
# mends. A factor of $\sqrt 2$ makes $2^{20}$, a million, and that it does not. Below, the last line that is printed
# has the factors over forty layers for one variance. On the site it has a slider: move it from $1/n$ to $3/n$, and see how
# narrow the place is where a signal neither vanishes nor explodes on its way through all of them.
#
# ## The factor, backward
#
# Going back, $\bar h = W^\top (\phi'(z)\,\bar h_{\text{next}})$: a sum over $n_{\text{out}}$ terms with the slope
# $\phi'$ in each. For ReLU the slope is 1 half of the time, so the same $nv/2$. The sigmoid's slope is
# $\sigma'(z) = \sigma (1 - \sigma) \le \tfrac14$, everywhere, and with $nv = 1$ the gradient is multiplied by
# **at most a quarter in every layer**. (Hochreiter 1991 analysed how such products vanish.)
#
# Mark how different the two directions are. Forward, a sigmoid's output stays between 0 and 1, whatever comes in: you
# can look at every activation of the network and see nothing wrong. Only the way back has the quarter in it.
#
# By hand, a network is a loop, and its backward the loop reversed. With `norm`, a batch norm without $\gamma$ and
# $\beta$ stands behind each linear map, and its backward is that of lesson 6: subtract the regression line.

# %%
FUNCTIONS = {
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float)),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2),
}


def profile(function, variance_times_n, norm=False, layers=40, width=128, batch=128, seed=0):
    """Root mean square of every layer's output, and of the gradient of every layer's input."""
    rng, (phi, slope) = np.random.default_rng(seed), FUNCTIONS[function]
    h, kept, sizes, gradients = rng.standard_normal((batch, width)), [], [], []
    for _ in range(layers):
        w = rng.standard_normal((width, width)) * np.sqrt(variance_times_n / width)
        z = h @ w
        sigma = z.std(0) if norm else 1.0
        z = (z - z.mean(0)) / sigma if norm else z
        kept.append((w, z, sigma))
        h = phi(z)
        sizes.append(np.sqrt((h**2).mean()))
    g = rng.standard_normal(h.shape)
    for w, z, sigma in reversed(kept):
        g = g * slope(z)
        g = (g - g.mean(0) - z * (g * z).mean(0)) / sigma if norm else g
        g = g @ w.T
        gradients.append(np.sqrt((g**2).mean()))
    return np.array(sizes), np.array(gradients[::-1])


choices = {
    "ReLU, He": ("relu", 2.0, False),
    "ReLU, Xavier": ("relu", 1.0, False),
    "tanh, Xavier": ("tanh", 1.0, False),
    "sigmoid, Xavier": ("sigmoid", 1.0, False),
    "ReLU, batch norm": ("relu", 2.0, True),
}
COLOURS = dict(zip(choices, (NETWORK["residual"], NETWORK["plain"], SKIP, BRANCH, "#C7438A")))
SEEDS = 2 if QUICK else 5
profiles, factors = {}, {}
for name, choice in progress(choices.items(), "profiles"):
    logs = np.log([profile(*choice, seed=seed) for seed in range(SEEDS)]).mean(0)  # the seeds' geometric mean
    profiles[name] = np.exp(logs)
    factors[name] = np.exp(np.diff(logs)[:, 5:-5].mean(1) * [1, -1])  # a layer, forward and backward
    print(f"{name:<17} per layer: activations × {factors[name][0]:.3f}, gradient × {factors[name][1]:.3f}")

quarter, lost, kept = (factors[name] for name in ("sigmoid, Xavier", "ReLU, Xavier", "ReLU, He"))
letter = "c" if quarter[1] <= 0.26 else "b" if quarter[1] < 0.7 else "a"
print(f"The sigmoid's gradient is multiplied by {quarter[1]:.3f} in every layer: {answer(letter)}")
claim("the sigmoid's gradient loses three quarters and more", quarter[1] < 0.25, quarter[1])
claim("He keeps ReLU activations and gradients, within 5 % a layer", np.abs(kept - 1).max() < 0.05, [*kept])
claim("Xavier loses 1/√2 a layer with ReLU", np.abs(lost - np.sqrt(0.5)).max() < 0.05, [*lost])
variances = np.linspace(1, 3, 9)
ends = [np.mean([np.log(profile("relu", v, seed=seed))[[0, 1], [-1, 0]] for seed in range(SEEDS)], 0) for v in variances]
activations, gradients = np.exp(ends).T
slider("ReLU, variance {v:.2f}/n: forty layers multiply activations by {activations:.2g}, the gradient by {gradient:.2g}.",
       0, v=variances, activations=activations, gradient=gradients)  # fmt: skip

# %% [markdown]
# ## Batch norm makes the gradient *explode*
#
# In the figure the axes are logarithmic, so that a constant factor per layer is a straight line. Read the left panel
# from left to right and the right one from right to left, as the gradient does. One curve of the right panel rises
# towards the input. With batch norm the activations are perfect, by construction; and the gradient of a fresh plain
# network **grows** on its way back. Yang et al. (2019) computed the factor in the limit of wide layers and large batches,
#
# $$\sqrt{\pi / (\pi - 1)} \approx 1.211 \text{ per layer.}$$
#
# "Deep plain networks have vanishing gradients" is therefore wrong for the networks that ResNets were compared with: He
# et al. (2015) say themselves that theirs, with batch norm, do not vanish. What does happen is the subject of lesson 9.

# %%
fig, axes = plt.subplots(1, 2, figsize=(12, 4.4), layout="constrained")
layers = np.arange(1, 41)
for which, (ax, title) in enumerate(zip(axes, ("Forward: size of the activations", "Backward: size of the gradient"))):
    for name, curves in profiles.items():
        ax.semilogy(layers, curves[which], color=COLOURS[name], lw=2, label=name)
    ax.set(xlabel="layer, from input to output", xticks=[1, 10, 20, 30, 40], title=title)
    ax.spines[["top", "right"]].set_visible(False)
axes[0].plot(layers, 2.0 ** (-layers / 2), ":", color="black", lw=1, label="1/√2 per layer")
axes[0].legend(frameon=False, loc="lower left")
axes[1].plot(layers, 0.25 ** (41.0 - layers), ":", color="black", lw=1)
axes[1].text(10, 1e-22, "dotted: ¼ per layer", size=10)
show(fig, "07-forty-layers")

theory, measured = np.sqrt(np.pi / (np.pi - 1)), factors["ReLU, batch norm"][1]
print(f"With batch norm the gradient grows by {measured:.3f} per layer, over 40 layers by {measured**40:.0f}.")
claim("batch norm's factor is Yang's, within 0.03", abs(measured - theory) < 0.03, measured)

# %% [markdown]
# ## Does it matter in training?
#
# Twelve layers of width 64 on real digits, the library's layers this time, weights from `nn.init`. Twelve layers with a
# factor of $1/\sqrt 2$ leave a 64th of the signal, which is little, but not nothing: watch whether the network stays
# where it is, at the loss $\ln 10$ of guessing among ten digits, or comes loose after a while.


# %%
def losses(name, seed, lr, layers=12, width=64):
    """The training loss of every step, for one of the choices above."""
    function, variance_times_n, norm = choices[name]
    activation = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}[function]
    draw = nn.init.kaiming_normal_ if variance_times_n == 2 else nn.init.xavier_normal_
    mr.manual_seed(seed)
    parts = []
    for _ in range(layers):
        linear = nn.Linear(64, width, bias=False)
        draw(linear.weight)
        parts += [linear, *([nn.BatchNorm1d(width)] if norm else []), activation()]
    model = nn.Sequential(*parts, nn.Linear(width, 10))
    optimizer = mr.optim.SGD(model.parameters(), lr, momentum=0.9)
    order, values = np.random.default_rng(seed), []
    for _ in range(STEPS):
        images, labels = train[order.integers(0, len(train), 64)]
        optimizer.zero_grad()
        loss = F.cross_entropy(model(mr.tensor(images.reshape(64, 64))), mr.tensor(labels))
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    return values


def train_all(lr, runs):
    """The mean losses of all choices over so many seeds; claims who is behind at the end."""
    found = {name: np.mean([losses(name, seed, lr) for seed in range(runs)], 0) for name in progress(choices, "training")}
    final = {name: float(values[-10:].mean()) for name, values in found.items()}
    print("loss at the end:", ", ".join(f"{name} {value:.2f}" for name, value in final.items()))
    claim("the sigmoid is still guessing", final["sigmoid, Xavier"] > 2.2, final["sigmoid, Xavier"])
    claim("ReLU with Xavier is behind ReLU with He", final["ReLU, Xavier"] > final["ReLU, He"] + 0.3, final["ReLU, Xavier"])
    return found


train, _ = mr.data.digits()
STEPS, RUNS = (50, 1) if QUICK else (200, 3)
training = train_all(0.02, RUNS)
also_at("learning rate 0.004", lambda: train_all(0.004, 1))

# %% [markdown]
# On the left of the next figure, ReLU with Xavier does as its curve in the first figure said: for a long time nothing
# happens, as hardly anything of the digit arrives at the top. The sigmoid does not come loose at all. Batch norm, whose
# gradient explodes, learns about as fast as the best: over twelve layers $1.211^{12}$ is only 10, and each layer's
# weights are safe behind a norm that takes their scale away again. Exploding matters when networks get deeper (lesson
# 9).
#
# ## Kept on average is not kept in yours
#
# He initialisation keeps the *mean* square of the gradient, over all networks one might draw. But each layer multiplies
# by a random factor, and a product of many random factors is log-normal: a few networks get far more than the mean, and
# most get less. Toss a coin to multiply by 1.5 or by 0.5: on average nothing changes, but one of each makes 0.75, and
# after a hundred tosses the typical product is less than a millionth, the mean still 1. With $\beta = 5L/n$ for $L$
# layers of width $n$, $\ln \|J^\top u\|^2$ is about normal with mean $-\beta/2$ and variance $\beta$ (Hanin & Nica
# 2020). Narrow and deep is a lottery. In the right panel of the next figure the upright line is a gradient that was kept
# exactly; look how many of the draws lie to its left.

# %%
L, n, NETWORKS = 56, 64, 60 if QUICK else 200
logs, beta = np.empty(NETWORKS), 5 * L / n
for k in range(NETWORKS):
    logs[k] = 2 * np.log(profile("relu", 2.0, layers=L, width=n, batch=1, seed=k)[1][0])  # the gradient starts near 1

fig, (left, right) = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
for name, values in training.items():
    left.plot(values, color=COLOURS[name], lw=1.8, label=name)
left.axhline(np.log(10), color=TOTAL, ls=":", lw=1, label="guessing: ln 10")
left.set(ylim=(0, 3.6), xlabel="step", ylabel="training loss", title="Twelve layers learn, or do not")
left.legend(framealpha=1, edgecolor="none", ncols=3, loc="upper center")
right.hist(logs, bins=20, density=True, color=SKIP, alpha=0.5)
at = np.linspace(-9.5, 5.5, 200)
right.plot(at, np.exp(-((at + beta / 2) ** 2) / (2 * beta)) / np.sqrt(2 * np.pi * beta), ":", color="black")
right.axvline(0, color=NETWORK["plain"], lw=1.5)
right.text(0.2, 0.98, "kept exactly", color=NETWORK["plain"], va="top", transform=right.get_xaxis_transform())
right.set(xlabel="ln of the squared gradient", yticks=[], title=f"{NETWORKS} networks of {L} layers (dotted: theory)")
for ax in (left, right):
    ax.spines[["top", "right"]].set_visible(False)
show(fig, "07-training-and-lottery")

below = float((logs < 0).mean())
print(f"{below:.0%} of {NETWORKS} networks get less than the mean; the median network gets {np.exp(np.median(logs)):.2f}.")
claim("the logarithm's mean is −β/2", abs(logs.mean() + beta / 2) < 0.8, (float(logs.mean()), -beta / 2))
claim("and its deviation √β", abs(logs.std() - np.sqrt(beta)) < 0.6, (float(logs.std()), float(np.sqrt(beta))))
claim("most networks get less than the mean", below > 0.7, below)

# %% [markdown]
# And within one network? $\|J^\top u\|$ is kept for an average direction $u$, but do all directions get through? Take
# *all* singular values of the Jacobian of 32 layers of width 64. (Orthogonal: every layer keeps all lengths. Looks-linear:
# ReLUs in pairs of opposite sign, so that the network starts as a linear map, see lesson 17.)

# %%
through = {}
for name in isometry.NETWORKS[:4]:
    sigma = isometry.spectrum(0, name, depth=32)
    through[name] = float((sigma**2).sum() ** 2 / (sigma**4).sum())
    print(f"{name:<24} σ from {sigma[0]:.2g} to {sigma[-1]:.2g}; gradient in about {through[name]:.1f} of 64 directions")
claim("ReLU: fewer than 5 directions, He or orthogonal", max(through["plain"], through["plain orthogonal"]) < 5, [*through.values()])
claim("linear at the start: all 64, exactly", abs(through["plain looks-linear"] - 64) < 1e-3, through["plain looks-linear"])

# %% [markdown]
# So what arrives at the input has forgotten nearly everything but its size. Values that are all near 1, **dynamical
# isometry**, need layers that are linear, or nearly (Pennington et al. 2017); or small branches beside a shortcut:
# `minires experiments isometry` shows them as well.
#
# ## Common mistakes
#
# **Xavier with ReLU**, or a framework's default: the falling straight line of the first figure, and in training a
# plateau at $\ln 10$ where the network has not noticed its input. With three layers nobody sees it.
#
# **One seed.** The right panel of the second figure: a single draw of a deep narrow network may be off by a factor of
# $e^{4}$ either way. Whoever compares initialisations on one seed compares luck.
#
# ## Exercises
#
# - Use $v = 2.2/n$ and $v = 1.8/n$ with ReLU. Predict both curves at layer 40, then look.
# - Add a skip, `h = h + phi(z)`, to `profile` without batch norm. How fast do activations grow? (Lesson 10.)
# - `minires new gradient_flow` asks you to write such a profile for any model; `minires new relu_maxpool` the ReLU.
#
# Answers: [07_initialisation](answers/07_initialisation.md).
#
# ## Sources
#
# - Vanishing: Hochreiter 1991, *Untersuchungen zu dynamischen neuronalen Netzen* (in German).
# - Xavier: Glorot & Bengio 2010. He: He et al. 2015, [arXiv 1502.01852](https://arxiv.org/abs/1502.01852).
# - Explosion: Yang et al. 2019, [arXiv 1902.08129](https://arxiv.org/abs/1902.08129).
# - Log-normal products: Hanin & Nica 2020, [arXiv 1812.05994](https://arxiv.org/abs/1812.05994).
# - Dynamical isometry: Saxe et al. 2013, [arXiv 1312.6120](https://arxiv.org/abs/1312.6120); Pennington et al. 2017,
#   [arXiv 1711.04735](https://arxiv.org/abs/1711.04735).

# %%
finish()
