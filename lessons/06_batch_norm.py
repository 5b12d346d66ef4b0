# %% [markdown]
# # 6. Batch norm: three terms, and what they forbid
#
# *Why does the backward pass of batch norm have three terms, and what goes wrong without them?*
#
# Takes 25 s (quick: 3 s).

# %% [markdown]
# Batch norm takes the values of one channel over a batch, subtracts their mean and divides by their standard deviation.
# The ResNets of 2015 have one behind every convolution, pre-activation ones (lesson 13) have it in front. Its forward pass
# is two lines; its backward pass is the first one in this course that people get wrong, because the mean and the
# deviation depend on the input too.
#
# **Predict first.** A colleague treats mean and deviation as constants on the way back. The shapes fit, and the code is
# shorter. Trained with that gradient, a small network with batch norm …
#
# - a) learns the same: the forgotten terms are averages, and small;
# - b) learns worse, or not at all;
# - c) does not matter, the checker of lesson 3 refuses it anyway. (True, but guess a or b.)

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import kernels, nn
from minires.flow.plots.style import BRANCH, NETWORK, SKIP, TOTAL
from minires.lesson import QUICK, also_at, answer, claim, finish, progress, show
from minires.nn import functional as F
from minires.testing import gradcheck

# %% [markdown]
# ## The derivation
#
# For one channel with $m$ values, let $\sigma^2 = \tfrac1m \sum_i (x_i - \mu)^2 + \varepsilon$, and
# $\hat x_i = (x_i - \mu)/\sigma$, $y_i = \gamma \hat x_i + \beta$. (The small $\varepsilon$ avoids a division by zero;
# $\gamma$ and $\beta$ are learnt.) Let $g_i$ be the gradient of $y_i$.
# Moving one $x_i$ acts on the loss in three ways: directly; by moving $\mu$, which shifts **all** values; by moving
# $\sigma$, which stretches them.
# With $\partial\mu/\partial x_i = 1/m$ and $\partial\sigma/\partial x_i = \hat x_i/m$,
#
# $$\bar x_i = \frac{\gamma}{\sigma}\Big(\;g_i \;-\; \underbrace{\operatorname{mean}(g)}_{\text{through }\mu} \;-\;
# \underbrace{\hat x_i \operatorname{mean}(g\,\hat x)}_{\text{through }\sigma}\;\Big).$$
#
# Read it again: $\operatorname{mean}(g)$ is the height and $\operatorname{mean}(g \hat x)$ the slope of the line that
# fits $g$ over $\hat x$ best. **Batch norm's backward subtracts the regression line.** What remains is the part of
# the gradient that neither shifts nor stretches the channel; for shifting and stretching are undone on the next forward
# pass, and asking for them is pointless.
#
# Both terms can be had without any derivation, from what batch norm ignores. Add a constant to all $x_i$, and no $y_i$
# moves: so moving all together must cost nothing, $\sum_i \bar x_i = 0$, and the mean term sees to it. Double the
# distances to the mean, and no $y_i$ moves (but for $\varepsilon$): so $\sum_i \bar x_i \hat x_i = 0$, the variance
# term. A function that is blind to a change has a gradient at right angles to it.


# %%
def forward(x, gamma, beta, eps=1e-5):
    """x (N, C) -> y (N, C)."""
    x_hat = (x - x.mean(0)) / np.sqrt(x.var(0) + eps)
    return gamma * x_hat + beta


def backward(g, x, gamma, beta, eps=1e-5, mean_term=True, variance_term=True):
    """Gradients of x, gamma and beta; terms can be left out."""
    sigma = np.sqrt(x.var(0) + eps)
    x_hat = (x - x.mean(0)) / sigma
    inside = g - mean_term * g.mean(0) - variance_term * x_hat * (g * x_hat).mean(0)
    return gamma / sigma * inside, (g * x_hat).sum(0), g.sum(0)


# %% [markdown]
# The library's is a kernel: a function of plain arrays, which is given the mean and variance that the forward pass has
# found. All three gradients of ours should be its, and the checker should tell our four versions apart.

# %%
rng = np.random.default_rng(0)
x, gamma, beta, g = (rng.standard_normal(shape) for shape in ((24, 3), 3, 3, (24, 3)))
_, mean, var = kernels.of(x).batch_norm(x, gamma, beta)
library = kernels.of(x).batch_norm_backward(g, x, gamma, mean, var, 1e-5)
difference = max(np.abs(a - b).max() for a, b in zip(backward(g, x, gamma, beta), library))
claim("three terms by hand agree with the library", difference < 1e-12, difference)

without = {"right": {}, "no mean term": dict(mean_term=False), "no variance term": dict(variance_term=False)}
without["neither"] = dict(mean_term=False, variance_term=False)
for name, options in without.items():
    pair = (forward, lambda *arrays, options=options: backward(*arrays, **options))
    report = gradcheck(pair, x, gamma, beta, raise_on_failure=False)
    print(f"{name:<17} {'right' if report else report.failures[0].likely}")
    claim(f"gradcheck judges '{name}' rightly", bool(report) == (name == "right"))

# %% [markdown]
# Now the regression line, drawn. Each dot is one of 24 values of a channel, and its height the gradient that arrives
# there. On the left it pulls the channel up (the dots are above 0 on average) and apart (they rise with $\hat x$).
# The mean term takes the height away, the variance term the slope, and what goes on to $x$ is only the scatter.

# %%
x_hat = (x[:, 0] - mean[0]) / np.sqrt(var[0] + 1e-5)
arrives = 0.8 + 0.9 * x_hat + 0.7 * g[:, 0]
centred = arrives - arrives.mean()
goes_on = centred - x_hat * (arrives * x_hat).mean()
terms = {"g: what arrives": arrives, "− mean(g)": centred, "− x̂·mean(g·x̂): what goes on": goes_on}
fig, axes = plt.subplots(1, 3, figsize=(11, 3.5), layout="constrained", sharey=True)
for ax, (title, values) in zip(axes, terms.items()):
    slope, height = np.polyfit(x_hat, values, 1)
    ax.axhline(0, color=TOTAL, lw=0.8)
    ax.vlines(x_hat, 0, values, color=SKIP, lw=1, alpha=0.5)
    ax.plot(x_hat, values, "o", color=SKIP, ms=5)
    ax.axline((0, height), slope=slope, color=BRANCH, lw=2)
    ax.set(xlabel="x̂, the normalised value", title=f"{title}\nline: height {abs(height):.2f}, slope {abs(slope):.2f}")
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("gradient of each value")
show(fig, "06-three-terms")
claim("what goes on has no height and no slope, up to ε", max(abs(height), abs(slope)) < 1e-4, [height, slope])

# %% [markdown]
# ## Each term removed in turn
#
# Now the guess. Six layers, linear–batch norm–ReLU, read real digits; the backward pass of batch norm is swapped for a
# broken one (`kernels.use` puts any function in a kernel's place). Same weights, same batches, several seeds. Besides
# the loss, keep an eye on the first weights: how many times their norm has grown when training ends. A kernel's
# `needs` says which of its gradients are wanted; weights that were frozen, say, want none.


# %%
def broken(options):
    """A batch norm kernel's backward for (N, C) arrays, with terms left out."""

    def batch_norm_backward(grad_y, x, weight, mean, var, eps, needs=(True, True, True)):
        grads = backward(grad_y, x, weight, None, x.dtype.type(eps), **options)
        return tuple(grad if need else None for grad, need in zip(grads, needs))

    return batch_norm_backward


train, test = mr.data.digits()
STEPS, SEEDS = (60, 2) if QUICK else (300, 5)


def train_network(options, seed, lr, width=64):
    """Losses of every step, and the factor by which the norm of the first weights grew."""
    mr.manual_seed(seed)
    parts = [m for _ in range(6) for m in (nn.Linear(64, width, bias=False), nn.BatchNorm1d(width), nn.ReLU())]
    model = nn.Sequential(*parts, nn.Linear(width, 10))
    before = np.linalg.norm(model[0].weight)
    optimizer = mr.optim.SGD(model.parameters(), lr, momentum=0.9)
    order, losses = np.random.default_rng(seed), []
    with kernels.use(batch_norm_backward=broken(options)):
        for _ in range(STEPS):
            images, labels = train[order.integers(0, len(train), 64)]
            optimizer.zero_grad()
            loss = F.cross_entropy(model(mr.tensor(images.reshape(64, -1))), mr.tensor(labels))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses, np.linalg.norm(model[0].weight) / before


def remove_terms(lr, seeds):
    """Losses (seeds, steps) with each term removed, and their mean at the end; claims what they show."""
    curves, final, growth = {}, {}, {}
    for name, options in progress(without.items(), "training"):
        losses, grown = map(np.array, zip(*(train_network(options, seed, lr) for seed in seeds)))
        curves[name], final[name], growth[name] = losses, losses[:, -20:].mean(), grown.mean()
        print(f"{name:<17} loss of the last 20 steps {final[name]:.3f}, first weights grew {growth[name]:.1f}-fold")
    worse, unseen = (final[name] / final["right"] for name in ("no mean term", "no variance term"))
    claim("without the mean term the loss ends at least half as high again", worse > 1.5, worse)
    if not QUICK:  # a few steps with two seeds say nothing about these
        claim("and the first weights grow more", growth["no mean term"] > 1.3 * growth["right"], growth["no mean term"])
        claim("without the variance term nobody would notice: the loss is within a factor 2", 0.5 < unseen < 2, unseen)
    return curves, final


curves, final = remove_terms(0.1, range(SEEDS))
also_at("learning rate 0.02", lambda: remove_terms(0.02, range(2)))
letter = "b" if final["neither"] > 1.5 * final["right"] else "a"
print(f"Constants on the way back: the loss ends at {final['neither']:.3f} instead of {final['right']:.3f}: {answer(letter)}")

# %% [markdown]
# Was it what you guessed? (A few quick steps cannot tell.) In the figure below, a line is the mean over the seeds and
# its band their range. Two of the lines lie on top of each other, and this is the most useful thing in it: a bug that
# leaves no trace in training is found by the checker of lesson 3 or never. The mean term is another matter. Without it,
# weights are pushed to shift a channel, the next forward pass takes the shift away, and they are pushed again, for ever:
# see how the first weights have grown. Ioffe and Szegedy (2015, section 2) describe that as the reason why the gradient
# must know of the normalisation. How much each term matters depends on the network; this is one.
#
# ## Train against evaluation
#
# In training a digit's output depends on the other digits of its batch. That cannot stay so: asked about one digit, the
# network has no batch, and its answer must not depend on the company. So the layer keeps *running* statistics,
#
# $$\mu_{\text{run}} \leftarrow 0.9\,\mu_{\text{run}} + 0.1\,\mu_{\text{batch}},$$
#
# and uses them in evaluation, where batch norm is a fixed scale and shift, and its backward has one term only. They
# start at mean 0 and variance 1, so after $k$ batches a part $0.9^k$ of that start is left.

# %%
layer = nn.BatchNorm1d(1)
batches, path = 5 + 2 * rng.standard_normal((60, 64, 1)).astype(np.float32), []
for batch in batches:
    layer(mr.tensor(batch))
    path.append(layer.running_mean[0])
expected = 5 * (1 - 0.9 ** np.arange(1, 61))

fig, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4.2), layout="constrained", width_ratios=[1.2, 1])
looks = (NETWORK["residual"], "-"), (NETWORK["plain"], "--"), ("#8063CF", ":"), ("#C7438A", "-.")
for (name, losses), (colour, style) in zip(curves.items(), looks):
    blocks = losses.reshape(SEEDS, 15, -1).mean(2)  # (seeds, fifteenths of the training)
    at = STEPS * (np.arange(15) + 0.5) / 15
    left.fill_between(at, blocks.min(0), blocks.max(0), color=colour, alpha=0.15, lw=0)
    left.plot(at, blocks.mean(0), color=colour, ls=style, lw=2, label=name)
left.set(yscale="log", xlabel="step", ylabel="training loss", title="Training with terms of the backward left out")
right.plot(range(1, 61), batches.mean((1, 2)), ".", color=TOTAL, label="mean of each batch")
right.plot(range(1, 61), path, color=SKIP, lw=2, label="running mean")
right.plot(range(1, 61), expected, ":", color="black", label="5·(1 − 0.9ᵏ)")
right.set(xlabel="batches seen, k", ylabel="mean", ylim=(0, 6.2), title="The running mean starts at 0 and follows")
for ax in (left, right):
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
show(fig, "06-terms-removed")
off = np.abs(np.array(path) - expected).max()
claim("the running mean follows 5·(1 − 0.9ᵏ), within the batches' noise", off < 0.4, off)

# %% [markdown]
# ## Common mistakes
#
# **Evaluating in training mode.** Forget `model.eval()` and every answer depends on the batch: the same digit beside
# different neighbours gets different scores, by as much as the grey dots on the right differ from each other. A batch
# of one is an error, as it has no variance.
#
# **Evaluating too early.** After a handful of batches the running statistics are still half their start: the left part
# of the right panel. The training loss is fine and the evaluation is nonsense.

# %%
digits, layer = mr.tensor(test[:32][0].reshape(32, 64)), nn.BatchNorm1d(64)
company = np.abs(layer(digits).numpy()[0] - layer(digits[:16]).numpy()[0]).max()
layer.eval()
alone = np.abs(layer(digits).numpy()[0] - layer(digits[:1]).numpy()[0]).max()
print(f"A digit's output changes by up to {company:.2f} with its neighbours in training, by {alone:.0e} in evaluation.")
claim("in training mode the neighbours matter, in evaluation they do not", company > 0.05 and alone < 1e-5)

# %% [markdown]
# ## Exercises
#
# - Multiply the weights in front of a batch norm by 10. What happens to the output, and to the weights' gradient? The
#   answer explains why networks with batch norm forgive large learning rates.
# - Train with `without["neither"]` and without momentum. Does the loss still end higher?
# - In evaluation mean and variance are constants. Which of the four versions of `backward` is the right one there?
# - `minires new batch_norm`: all three terms, and the checker tells you which one you forgot.
#
# Answers: [06_batch_norm](answers/06_batch_norm.md).
#
# ## Sources
#
# - Ioffe & Szegedy 2015, [Batch Normalization](https://arxiv.org/abs/1502.03167), algorithm 1 and section 2.
# - In very deep networks: Yang et al. 2019, [arXiv 1902.08129](https://arxiv.org/abs/1902.08129), and lesson 7.

# %%
finish()
