# %% [markdown]
# # 11. The information bottleneck: what survives the layers
#
# *How much of the picture can still be read off after 1, 10, 27 blocks, with and without shortcuts?*
#
# Takes 30 s (quick: 4 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import Tensor, data, flow, models, optim, train
from minires.flow.plots.style import label_ends, looks
from minires.lesson import QUICK, claim, finish, progress, show

digits, test = data.digits()

# %% [markdown]
# **Predict first.** An untrained plain network: random 3×3 convolutions with batch norm and ReLU, 512 numbers after
# every block. We look only at the numbers behind block 18 and let linear regression guess the digit (10 % is chance).
# How often is it right?
#
# - a) About 90 %: random features are good features, and 512 numbers hold an 8×8 picture easily.
# - b) About half the time.
# - c) Hardly better than chance.
#
# ## What "information" can mean here
#
# A deterministic layer can only lose information, $I(X; h_l) \le I(X; h_{l-1})$, but for real numbers that inequality
# says little: a random layer is often invertible *in principle*, and then loses nothing. What counts is what the
# next layers can get at. So we measure what a *linear* map can read: fit ridge regression from the features $h$ of the
# training digits to a target $t$, and test it on others,
#
# $$W = (h^\top h + \lambda I)^{-1} h^\top t, \qquad R^2 = 1 - \frac{\sum (t - h W)^2}{\sum (t - \bar t)^2}.$$
#
# Two targets: the label (as 10 numbers, the largest wins), and the 64 pixels themselves. $R^2 = 1$: all of the picture
# is there; 0: no more than its mean. Such probes are Alain & Bengio's (2016). The penalty $\lambda$ is chosen on a
# fifth of the training digits that the fit does not see.

# %%
BLOCKS, SEEDS = (18, range(1)) if QUICK else (27, range(2))
WATCHED = sorted({1, *range(0, BLOCKS + 1, 9 if QUICK else 3)} - {0})
STEPS = 0 if QUICK else 66


def one_stage(residual, seed):
    """One stage of equal blocks, 8 channels of 8×8: every block has 512 outputs, so that no layer is narrower."""
    mr.manual_seed(seed)
    return models.ResNet(models.ResidualBlock, [BLOCKS], [8], in_channels=1, residual=residual)


def features(model, images):
    """{number of blocks passed: features (N, 512)}, with the batch's own statistics; the model stays as it was."""
    found = {}
    with flow.keeping(model), mr.no_grad():
        h = model.relu(model.bn1(model.conv1(Tensor(images))))
        for number, block in enumerate(model.blocks(), start=1):
            h = block(h)
            if number in WATCHED:
                found[number] = h.numpy().reshape(len(images), -1).astype(np.float64)
    return found


def ridge(h, t, penalty):
    """Weights of the regression, for features and targets of mean 0; by the smaller of the two normal equations."""
    return np.linalg.solve(h.T @ h + penalty * np.eye(h.shape[1]), h.T @ t)


def probe(h, t, n):
    """Predictions for the examples from n on, by a fit to those before; the penalty is chosen on the last fifth."""
    h, centre, cut = (h - h[:n].mean(0)) / (h[:n].std() + 1e-12), t[:n].mean(0), 4 * n // 5
    errors = {}
    for penalty in (1e-1, 1e1, 1e3, 1e5, 1e7):
        w = ridge(h[:cut], t[:cut] - centre, penalty)
        errors[penalty] = ((h[cut:n] @ w + centre - t[cut:n]) ** 2).sum()
    return h[n:] @ ridge(h[:n], t[:n] - centre, min(errors, key=errors.get)) + centre


pixels = np.concatenate([digits[:][0], test[:][0]])
labels = np.concatenate([digits[:][1], test[:][1]])
n = len(digits)
flat, one_hot = pixels.reshape(len(pixels), -1).astype(np.float64), np.eye(10)[labels]

x = np.random.default_rng(0).standard_normal((200, 5))
exact = probe(x, x @ np.arange(10.0).reshape(5, 2), 150)
off = float(np.abs(exact - x[150:] @ np.arange(10.0).reshape(5, 2)).max())
claim("the probe finds a linear map where there is one", off < 0.1, off)


def read(model):
    """{blocks passed: (accuracy of the label, R² of the pixels)} on the test digits."""
    found = {}
    for number, h in features(model, pixels).items():
        accuracy = float((probe(h, one_hot, n).argmax(1) == labels[n:]).mean())
        error = ((probe(h, flat, n) - flat[n:]) ** 2).sum() / ((flat[n:] - flat[n:].mean(0)) ** 2).sum()
        found[number] = accuracy, float(1 - error)
    return found


def fit(model, seed):
    """A short training: SGD with momentum, lr 0.1 after 20 steps of warm-up."""
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    rise = optim.LinearLR(optimizer, start_factor=1 / 20, total_iters=20)
    for epoch in range(STEPS // 22):
        for images, targets in data.batches(digits, 64, seed=seed, epoch=epoch, drop_last=True):
            train.train_step(model, optimizer, images, targets)
            rise.step()


results = {}
for seed in progress(SEEDS, "probes"):
    for name, residual in (("plain", False), ("residual", True)):
        model = one_stage(residual, seed)
        results[name, 0, seed] = read(model)
        if STEPS and seed == 0:
            fit(model, seed)
            results[name, STEPS, seed] = read(model)

at = 18
label = {name: [results[name, 0, seed][at][0] for seed in SEEDS] for name in ("plain", "residual")}
picture = {name: [results[name, 0, seed][at][1] for seed in SEEDS] for name in ("plain", "residual")}
guess = "a" if np.mean(label["plain"]) > 0.75 else "b" if np.mean(label["plain"]) > 0.35 else "c"
for name in label:
    print(f"{name}, untrained, behind block {at}: label {np.mean(label[name]):.0%}, R² of the pixels "
          f"{np.mean(picture[name]):.2f}")  # fmt: skip
print(f"the answer is {guess})")
first = {name: results[name, 0, 0][1] for name in label}
claim("behind the first block both hold most of the picture", min(first[name][1] for name in first) > 0.8,
      [first[name][1] for name in first])  # fmt: skip
claim(f"behind block {at} the residual net shows the picture", min(picture["residual"]) > 0.5, picture["residual"])
claim("and the plain net has lost most of it", max(picture["plain"]) < 0.3, picture["plain"])
claim("the label is read better from the residual net, by more than 30 points",
      min(label["residual"]) > max(label["plain"]) + 0.3, label["plain"] + label["residual"])  # fmt: skip

# %%
figure, axes = plt.subplots(1, 2, figsize=(13, 4.8), layout="constrained")
style = looks(label)
for ax, which, ylabel in ((axes[0], 1, "R² of the 64 pixels"), (axes[1], 0, "label: test accuracy of the probe")):
    ends = []
    for name in label:
        curves = np.array([[results[name, 0, seed][k][which] for k in WATCHED] for seed in SEEDS])
        colour = style[name]["color"]
        ax.plot(WATCHED, curves.mean(0), style[name]["marker"] + ":", color=colour, mfc="none", lw=1.8)
        ax.fill_between(WATCHED, curves.min(0), curves.max(0), color=colour, alpha=0.2, lw=0)
        ends.append((curves.mean(0)[-1], f"{name}, step 0", colour))
        if STEPS:
            after = [results[name, STEPS, 0][k][which] for k in WATCHED]
            ax.plot(WATCHED, after, style[name]["marker"] + "-", color=colour, lw=1.8)
            ends.append((after[-1], f"{name}, step {STEPS}", colour))
    ax.set(xlabel="blocks passed", ylabel=ylabel, ylim=(-0.05, 1.05), xlim=(0, BLOCKS * 1.38))
    ax.set_xticks(WATCHED)
    label_ends(ax, BLOCKS + 0.6, ends, ha="left")
axes[0].set_title("How much of the picture a linear map reads", size=11)
axes[1].set_title("How well a linear map reads the label", size=11)
axes[1].hlines(0.1, 0, BLOCKS, color="#777777", ls="--", lw=0.8)
axes[1].text(0.3, 0.12, "chance", color="#777777", size=9)
show(figure, "11-information-bottleneck")

# %% [markdown]
# The plain network forgets at the start, before any training, and no layer is narrower than another. Every block mixes
# the picture at random and cuts about half of the values off; after enough of them a linear map finds nothing to hold
# on to. The shortcut carries the picture along, beneath what
# the branches add. So a deep plain network has a double problem: the gradient that reaches its first layers is wild
# (lesson 8), and its last layers have to learn from features that no longer say what the picture was.
#
# What this does *not* show: that information is destroyed (a nonlinear reader might recover it), nor that keeping the
# whole picture is good in the end. A trained network *should* forget what does not matter for the label; solid lines
# that fall in the left panel while they stay high in the right one would be exactly that. 66 steps do not show it.
#
# ## Common mistakes
#
# - **Measuring the probe on its training data.** With 512 features and about 1,400 digits a fit without penalty always
#   looks good:

# %%
deep = features(one_stage(False, 0), pixels)[at]
h = (deep - deep[:n].mean(0)) / deep[:n].std()
w = ridge(h[:n], one_hot[:n] - 0.1, 1e-6)
seen, unseen = (float((h[part] @ w).argmax(1).__eq__(labels[part]).mean()) for part in (slice(0, n), slice(n, None)))
print(f"plain, block {at}: the probe is right on {seen:.0%} of the digits it was fitted to, on {unseen:.0%} of others")
claim("the fit flatters by more than 20 points", seen > unseen + 0.2, [seen, unseen])

# %% [markdown]
# - **Comparing layers of different width.** In the networks of lesson 8 the features shrink from 512 to 128 numbers, in
#   both twins. A curve that falls there would say nothing about depth; hence the single stage here.
#
# ## Exercises
#
# 1. `minires new relu_maxpool`: which part of a picture does a ReLU throw away, and which part can be recovered?
# 2. Set `zero_init_residual=True` for the residual network. What must its curves be at step 0?
# 3. Replace the ridge probe by the nearest neighbour. Is the plain network's block 18 still near chance?
# 4. Does a wider plain network (16 channels) keep the picture for longer?
#
# ## Sources
#
# - G. Alain, Y. Bengio, *Understanding intermediate layers using linear classifier probes*, 2016, arXiv 1610.01644.
# - A. Saxe et al., *On the information bottleneck theory of deep learning*, 2018: on what mutual information of
#   deterministic layers can and cannot mean.

# %%
finish()
