# %% [markdown]
# # 6. Initialisation: why a factor of √2 decides whether a network learns
#
# *How large should random weights be, so that forty layers neither silence a signal nor blow it up?*
#
# Takes 30 s (quick: 5 s).

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
from minires.flow.plots.style import BRANCH, NETWORK, SKIP, TOTAL, label_ends
from minires.lesson import QUICK, claim, finish, progress, show
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
#
# ## The factor, backward
#
# Going back, $\bar h = W^\top (\phi'(z)\,\bar h_{\text{next}})$: a sum over $n_{\text{out}}$ terms with the slope
# $\phi'$ in each. For ReLU the slope is 1 half of the time, so the same $nv/2$. The sigmoid's slope is
# $\sigma'(z) = \sigma (1 - \sigma) \le \tfrac14$, everywhere, and with $nv = 1$ the gradient is multiplied by
# **at most a quarter in every layer**. (Hochreiter 1991 analysed how such products vanish.)
#
# By hand, a network is a loop, and its backward the loop reversed:

# %%
FUNCTIONS = {
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float)),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2),
}


def profile(function, variance_times_n, norm=False, layers=40, width=128, batch=128, seed=0):
    """Root mean square of every layer's output, and of the gradient of every layer's input."""
    rng = np.random.default_rng(seed)
    phi, slope = FUNCTIONS[function]
    h, kept, sizes = rng.standard_normal((batch, width)), [], []
    for _ in range(layers):
        w = rng.standard_normal((width, width)) * np.sqrt(variance_times_n / width)
        z = h @ w
        sigma = z.std(0) if norm else 1.0
        z = (z - z.mean(0)) / sigma if norm else z
        kept.append((w, z, sigma))
        h = phi(z)
        sizes.append(np.sqrt((h**2).mean()))
    g, gradients = rng.standard_normal(h.shape), []
    for w, z, sigma in reversed(kept):
        g = g * slope(z)
        if norm:  # lesson 5: subtract the regression line
            g = (g - g.mean(0) - z * (g * z).mean(0)) / sigma
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
COLOURS = dict(zip(choices, (NETWORK["residual"], NETWORK["plain"], SKIP, BRANCH, "#CC79A7")))
SEEDS = 2 if QUICK else 5
profiles, factors = {}, {}
for name, choice in progress(choices.items(), "profiles"):
    seeds = np.log([profile(*choice, seed=seed) for seed in range(SEEDS)])
    profiles[name] = np.exp(seeds.mean(0))  # geometric mean over the seeds
    factors[name] = np.exp(-(np.diff(np.log(profiles[name]), axis=1)[:, 5:-5]).mean(1) * [-1, 1])  # per layer

fig, axes = plt.subplots(1, 2, figsize=(12, 4.4), layout="constrained")
titles = "Forward: size of the activations", "Backward: size of the gradient"
for which, (ax, title) in enumerate(zip(axes, titles)):
    for name, curves in profiles.items():
        ax.semilogy(range(1, 41), curves[which], color=COLOURS[name], lw=2)
    ends = [(curves[which][-1 if which == 0 else 0], name, COLOURS[name]) for name, curves in profiles.items()]
    ax.set_xlim((0.5, 59) if which == 0 else (-19, 40.5))
    label_ends(ax, 41 if which == 0 else 0, ends, ha="left" if which == 0 else "right")
    ax.set(xlabel="layer, from input to output", xticks=[1, 10, 20, 30, 40])
    ax.set_title(title, size=11)
    ax.spines[["top", "right"]].set_visible(False)
axes[0].plot(range(1, 41), 2.0 ** (-np.arange(1, 41) / 2), ":", color="black", lw=1)
axes[1].plot(range(1, 41), 0.25 ** np.arange(40, 0, -1.0), ":", color="black", lw=1)
axes[1].text(10, 1e-22, "dotted: ¼ per layer", size=10)
axes[0].text(8, 3e-5, "dotted:\n1/√2 per layer", size=10)
show(fig, "06-forty-layers")

for name, (forward, backward) in factors.items():
    print(f"{name:<17} per layer: activations × {forward:.3f}, gradient × {backward:.3f}")
quarter = factors["sigmoid, Xavier"][1]
print(f"The sigmoid's factor is {quarter:.3f}, so {'c)' if quarter <= 0.26 else 'b)' if quarter < 0.7 else 'a)'}")
claim("He keeps ReLU activations and gradients, within 5 % a layer", np.abs(factors["ReLU, He"] - 1).max() < 0.05)
lost = factors["ReLU, Xavier"]
claim("Xavier loses 1/√2 a layer with ReLU", np.abs(lost - np.sqrt(0.5)).max() < 0.03, tuple(lost))
claim("the sigmoid's gradient loses three quarters and more", quarter < 0.25, quarter)

# %% [markdown]
# ## Batch norm makes the gradient *explode*
#
# Look at the one curve that rises towards the input. With batch norm the activations are perfect, by construction; and
# the gradient of a fresh plain network **grows** on its way back. Yang et al. (2019) computed the factor in the limit
# of wide layers and large batches,
#
# $$\sqrt{\pi / (\pi - 1)} \approx 1.211 \text{ per layer.}$$
#
# "Deep plain networks have vanishing gradients" is therefore wrong for the networks that ResNets were compared with: He
# et al. (2015) say themselves that theirs, with batch norm, do not vanish. What does happen is the subject of lesson 8.

# %%
theory = np.sqrt(np.pi / (np.pi - 1))
measured = factors["ReLU, batch norm"][1]
print(f"With batch norm the gradient grows by {measured:.3f} per layer (theory {theory:.3f}), over 40 layers by "
      f"{measured**40:.0f}.")
claim("batch norm's factor is Yang's, within 0.03", abs(measured - theory) < 0.03, measured)

# %% [markdown]
# ## Does it matter in training?
#
# Twelve layers of width 64 on real digits, the library's layers this time, weights from `nn.init`, biases 0.


# %%
def losses(name, seed, layers=12, width=64):
    function, variance_times_n, norm = choices[name]
    activation = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}[function]
    mr.manual_seed(seed)
    parts = []
    for _ in range(layers):
        linear = nn.Linear(64, width, bias=not norm)
        if variance_times_n == 2:
            nn.init.kaiming_normal_(linear.weight)  # He
        else:
            nn.init.xavier_normal_(linear.weight)
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)
        parts += [linear, *([nn.BatchNorm1d(width)] if norm else []), activation()]
    model = nn.Sequential(*parts, nn.Linear(width, 10))
    optimizer = mr.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    order, values = np.random.default_rng(seed), []
    for _ in range(STEPS):
        images, labels = train[order.integers(0, len(train), 64)]
        optimizer.zero_grad()
        loss = F.cross_entropy(model(mr.tensor(images.reshape(64, 64))), mr.tensor(labels))
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    return values


train, _ = mr.data.digits()
STEPS, RUNS, RATE = (50, 1, 0.02) if QUICK else (200, 3, 0.02)
training = {name: np.mean([losses(name, seed) for seed in range(RUNS)], 0) for name in progress(choices, "training")}
final = {name: float(values[-10:].mean()) for name, values in training.items()}

# %% [markdown]
# ## Kept on average is not kept in yours
#
# He initialisation keeps the *mean* square of the gradient, over all networks one might draw. But each layer multiplies
# by a random factor, and a product of many random factors is log-normal: a few networks get far more than the mean, and
# most get less. With $\beta = 5L/n$ for $L$ layers of width $n$, $\ln \|J^\top u\|^2$ is about normal with mean
# $-\beta/2$ and variance $\beta$ (Hanin & Nica 2020). Narrow and deep is a lottery:

# %%
L, n, NETWORKS = 56, 64, 60 if QUICK else 200
rng = np.random.default_rng(0)
logs = []
for _ in range(NETWORKS):
    weights = rng.standard_normal((L, n, n)) * np.sqrt(2 / n)
    h, masks = rng.standard_normal(n), []
    for w in weights:
        z = w @ h
        masks.append(z > 0)
        h = np.maximum(z, 0)
    g = rng.standard_normal(n)
    g /= np.linalg.norm(g)
    for w, mask in zip(weights[::-1], masks[::-1]):
        g = w.T @ (g * mask)
    logs.append(2 * np.log(np.linalg.norm(g)))
logs, beta = np.array(logs), 5 * L / n

fig, (left, right) = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
for name, values in training.items():
    left.plot(values, color=COLOURS[name], lw=1.8)
left.set_xlim(0, STEPS * 1.42)
left.set_ylim(0, 3)
label_ends(left, STEPS * 1.02, [(final[name], name, COLOURS[name]) for name in training], ha="left")
left.plot([0, STEPS], [np.log(10)] * 2, color=TOTAL, ls=":", lw=1)
left.text(STEPS * 0.98, np.log(10) + 0.06, "guessing: ln 10", color="#666666", size=9, ha="right")
left.set(xlabel="step", ylabel="training loss", title="Twelve layers learn, or do not")
right.hist(logs, bins=25, density=True, color=SKIP, alpha=0.5)
at = np.linspace(logs.min(), logs.max(), 200)
right.plot(at, np.exp(-((at + beta / 2) ** 2) / (2 * beta)) / np.sqrt(2 * np.pi * beta), ":", color="black")
right.axvline(0, color=NETWORK["plain"], lw=1.5)
right.text(0.1, right.get_ylim()[1] * 0.96, " kept exactly", color=NETWORK["plain"], size=10, va="top")
right.set(xlabel="ln of the squared gradient, one network each", yticks=[])
right.set_title(f"He: {NETWORKS} networks of {L} layers, width {n} (dotted: theory)")
for ax in (left, right):
    ax.title.set_size(11)
    ax.spines[["top", "right"]].set_visible(False)
show(fig, "06-training-and-lottery")

print("loss at the end:", ", ".join(f"{name} {value:.2f}" for name, value in final.items()))
claim("the sigmoid is still guessing", final["sigmoid, Xavier"] > 2.2, final["sigmoid, Xavier"])
behind = final["ReLU, Xavier"] - final["ReLU, He"]
claim("ReLU with Xavier is behind ReLU with He", behind > 0.3, behind)
claim("the logarithm's mean is −β/2", abs(logs.mean() + beta / 2) < 0.8, (float(logs.mean()), -beta / 2))
claim("and its deviation √β", abs(logs.std() - np.sqrt(beta)) < 0.6, (float(logs.std()), float(np.sqrt(beta))))
below = float((logs < 0).mean())
claim("most networks get less than the mean", below > 0.7, below)

# %% [markdown]
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
# - Add a skip, `h = h + phi(z)`, to `profile` without batch norm. How fast do activations grow? (Lesson 16.)
# - `minires new gradient_flow` asks you to write such a profile for any model; `minires new relu_maxpool` the ReLU.
#
# ## Sources
#
# - Vanishing: Hochreiter 1991, *Untersuchungen zu dynamischen neuronalen Netzen* (in German).
# - Xavier: Glorot & Bengio 2010. He: He et al. 2015, [arXiv 1502.01852](https://arxiv.org/abs/1502.01852).
# - Explosion: Yang et al. 2019, [arXiv 1902.08129](https://arxiv.org/abs/1902.08129).
# - Log-normal products: Hanin & Nica 2020, [arXiv 1812.05994](https://arxiv.org/abs/1812.05994).

# %%
finish()
