# %% [markdown]
# # 12. The information bottleneck: what survives the layers
#
# *How much of the picture can still be read off after 1, 10, 27 blocks, with and without shortcuts?*
#
# Takes 58 s (quick: 5 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import Tensor, data, flow, models, nn, optim, train
from minires.flow import plots
from minires.lesson import QUICK, also_at, answer, claim, finish, progress, show

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
# A deterministic layer can only lose information, $I(X; h_l) \le I(X; h_{l-1})$. Tishby and Zaslavsky (2015) call the
# **information bottleneck** the trade between two such numbers: a good code $T$ of the input $X$ forgets as much of it
# as it can and keeps what the label $Y$ needs, it makes $I(X; T) - \beta\, I(T; Y)$ small. Shwartz-Ziv and Tishby
# (2017) saw training do that; Saxe et al. (2018) dispute it, for with real numbers a random layer is often invertible
# *in principle*, and then $I(X; h_l)$ says nothing. **We measure something humbler**, without any $I$: what a reader,
# mostly a *linear* one, gets at. Fit ridge regression from the features $h$ of the training digits to a target $t$, and
# test it on others,
#
# $$W = (h^\top h + \lambda I)^{-1} h^\top t, \qquad R^2 = 1 - \frac{\sum (t - h W)^2}{\sum (t - \bar t)^2}.$$
#
# $W$ minimises $\|t - hW\|^2 + \lambda \|W\|^2$: the penalty $\lambda$ keeps it from explaining chance. Such probes are
# Alain & Bengio's (2016). We use two targets. The label, as 10 numbers of which the largest wins: can one still tell
# the digit? And the 64 pixels themselves: is the picture still there? $R^2 = 1$ says all of it, 0 only its mean.
#
# The networks have one stage of equal blocks, 8 channels of 8×8. Every block has 512 outputs, so that no layer is
# narrower than another: a bottleneck in the figure is not one of the architecture.

# %%
BLOCKS, EPOCHS, SEEDS = (18, 0, range(1)) if QUICK else (27, 2, range(3))
WATCHED = [1, *range(9 if QUICK else 3, BLOCKS + 1, 9 if QUICK else 3)]
pixels, labels = (np.concatenate(parts) for parts in zip(digits[:], test[:]))
picture, one_hot, n = pixels.reshape(-1, 64).astype(np.float64), np.eye(10)[labels], len(digits)


def one_stage(residual, seed):
    mr.manual_seed(seed)
    return models.ResNet(models.ResidualBlock, [BLOCKS], [8], in_channels=1, residual=residual)


def features(model, images=pixels):
    """Outputs (N, 512) of the watched blocks, scaled by means and one standard deviation of the training digits."""
    found = []
    with flow.keeping(model), mr.no_grad():
        h = model.relu(model.bn1(model.conv1(Tensor(images))))
        for number, block in enumerate(model.blocks(), start=1):
            h = block(h)
            if number in WATCHED:
                flat = h.numpy().reshape(len(images), -1).astype(np.float64)
                found.append((flat - flat[:n].mean(0)) / (flat[:n].std() + 1e-12))
    return found


def ridge(h, t, penalty):
    """The weights W of the equation above."""
    return np.linalg.solve(h.T @ h + penalty * np.eye(h.shape[1]), h.T @ t)


def probe(h, t):
    """Predictions for the test digits; the penalty is chosen on the last fifth of the training digits."""
    fifth, centre = slice(4 * n // 5, n), t[:n].mean(0)
    penalties = (1e-1, 1e1, 1e3, 1e5, 1e7)
    tries = [h[fifth] @ ridge(h[: 4 * n // 5], t[: 4 * n // 5] - centre, penalty) + centre for penalty in penalties]
    best = penalties[int(np.argmin([((guess - t[fifth]) ** 2).sum() for guess in tries]))]
    return h[n:] @ ridge(h[:n], t[:n] - centre, best) + centre


def read(model):
    """Accuracy of the label and R² of the pixels on the test digits, (2, watched blocks)."""
    found, spread = [], ((picture[n:] - picture[n:].mean(0)) ** 2).sum()
    for h in features(model):
        accuracy = (probe(h, one_hot).argmax(1) == labels[n:]).mean()
        found.append((accuracy, 1 - ((probe(h, picture) - picture[n:]) ** 2).sum() / spread))
    return np.transpose(found)

# %% [markdown]
# Is that really the minimum? The library knows the slope of any function: we write the penalised error as a loss, and
# ask the engine for its gradient at $W$. It must be zero, up to rounding, next to the gradient at $W = 0$. To try it,
# the features are the pixels themselves.

# %%
h, t = picture[:n] - picture[:n].mean(0), one_hot[:n] - one_hot[:n].mean(0)


def slope(w, penalty=10.0):
    w = Tensor(w, requires_grad=True)
    return np.linalg.norm(mr.grad(((Tensor(t) - Tensor(h) @ w) ** 2).sum() + penalty * (w**2).sum(), w)[0])


flat = float(slope(ridge(h, t, 10.0)) / slope(np.zeros((64, 10))))
claim("at the ridge solution the engine finds no slope", flat < 1e-8, flat)

# %% [markdown]
# Now read both networks at the start, and after a short training with the recipe of lesson 9.

# %%
def read_both(lr, seeds):
    """What is read from both networks, by name and step; claims what a short training has not changed."""
    results = {}
    for seed in progress(seeds, "probes"):
        for name in ("plain", "residual"):
            model = one_stage(name == "residual", seed)
            results.setdefault(f"{name}, step 0", []).append(read(model))
            if EPOCHS:
                optimizer = optim.SGD(model.parameters(), lr, momentum=0.9, weight_decay=1e-4)
                rise = optim.LinearLR(optimizer, start_factor=1 / 20, total_iters=20)
                train.fit(model, digits, optimizer, epochs=EPOCHS, batch_size=64, drop_last=True, schedule=rise, seed=seed,
                          progress=False)  # fmt: skip
                results.setdefault(f"{name}, step {22 * EPOCHS}", []).append(read(model))
    if not QUICK:
        plain, residual = ([run[0, -1] for run in results[f"{name}, step {22 * EPOCHS}"]] for name in ("plain", "residual"))
        print(f"trained for {22 * EPOCHS} steps at {lr}, the residual nets show the label in", *map("{:.0%}".format, residual))
        claim("after a short training, too, the plain net's last block shows the label in less than half of the cases",
              max(plain) < 0.5, plain)  # fmt: skip
    return results


results = read_both(0.1, SEEDS)
also_at("learning rate 0.02", lambda: read_both(0.02, SEEDS[:1]))
at = WATCHED.index(18)
(label_p, seen_p), (label_r, seen_r) = (np.transpose(results[f"{x}, step 0"])[at] for x in ("plain", "residual"))
letter = "a" if label_p.mean() > 0.75 else "b" if label_p.mean() > 0.35 else "c"
print(f"untrained, behind block 18: the label is read from the plain net in {label_p.mean():.0%} of the cases, "
      f"from the residual one in {label_r.mean():.0%}: {answer(letter)}")  # fmt: skip
first = [run[1, 0] for name in ("plain", "residual") for run in results[f"{name}, step 0"]]
claim("behind the first block both hold most of the picture", min(first) > 0.8, first)
claim("behind block 18 the residual net shows the picture", min(seen_r) > 0.4, list(seen_r))
claim("and the plain net has lost most of it", max(seen_p) < 0.2, list(seen_p))
claim("the label is read better from the residual net, by more than 30 points", min(label_r) > max(label_p) + 0.3,
      [*label_p, *label_r])  # fmt: skip

# %% [markdown]
# ## Why: chaos
#
# Does every block mix the picture until nobody can sort it out? Take the ReLUs away, and all the mixing is still there.
# Or is it only our linear reader who is lost? Ask another one, the nearest neighbour: which training digit has the most
# similar features? And last, give each network every digit twice, as it is and with a little noise, a tenth of the
# pixels' standard deviation. How similar are the two behind every block? (The cosine is taken of what is left without
# the mean over the digits, as the next layers see it.)

# %%
noisy = pixels + 0.1 * pixels.std() * np.random.default_rng(0).standard_normal(pixels.shape).astype(np.float32)


def similarity(model):
    """Mean cosine between the features of a digit and of its noisy copy, (watched blocks)."""
    pairs = zip(features(model), features(model, noisy))
    return [float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).mean()) for a, b in pairs]


def nearest_neighbour(h):
    """How often the training digit with the nearest features is the same digit."""
    distance = (h[:n] ** 2).sum(1) - 2 * h[n:] @ h[:n].T
    return float((labels[:n][distance.argmin(1)] == labels[n:]).mean())


def without_relu(model):
    for part in (model, *model.blocks()):
        part.relu = nn.Identity()
    return model


cosine = {name: [similarity(one_stage(name == "residual", seed)) for seed in SEEDS] for name in ("plain", "residual")}
mixed = [nearest_neighbour(features(without_relu(one_stage(False, seed)))[at]) for seed in SEEDS]
lost = [nearest_neighbour(features(one_stage(False, seed))[at]) for seed in SEEDS]
apart, together = ([run[at] for run in cosine[name]] for name in ("plain", "residual"))
print(f"behind block 18 the nearest neighbour is right in {np.mean(lost):.0%}, without ReLUs in {np.mean(mixed):.0%}; a "
      f"digit and its noisy copy have the cosine {np.mean(apart):.2f} in the plain net, {np.mean(together):.2f} in the "
      "residual one")  # fmt: skip
claim("mixing does no harm: without ReLUs the nearest neighbour reads over 80 % behind 18 plain blocks", min(mixed) > 0.8,
      mixed)  # fmt: skip
claim("with ReLUs it does not help to read nonlinearly: below 20 %", max(lost) < 0.2, lost)
claim("chaos: a digit and its noisy copy no longer look alike to the plain net, cosine below 0.2", max(apart) < 0.2, apart)
claim("to the residual net they do: above 0.7", min(together) > 0.7, together)

# %%
looks = {name: plots.style.looks(["plain", "residual"])[name.split(",")[0]] for name in results}
looks = {name: look | ({"ls": ":", "mfc": "none"} if "step 0" in name else {"ls": "-"}) for name, look in looks.items()}
figure, axes = plt.subplots(1, 3, figsize=(17, 4.8), layout="constrained")
for ax, which, what in zip(axes, (1, 0), ("R² of the 64 pixels", "test accuracy of the label")):
    ax.set(ylim=(-0.05, 1.05), ylabel=what, xlabel="blocks passed")
    lines = {name: np.array(runs)[:, which] for name, runs in results.items()}
    plots.runs(ax, WATCHED, lines, looks).set_xticks(WATCHED)
axes[0].set_title("How much of the picture a linear map reads")
axes[1].set_title("How well a linear map reads the digit (dashed: chance)")
axes[1].hlines(0.1, 1, BLOCKS, color="#757575", ls="--", lw=0.8)
plots.runs(axes[2], WATCHED, cosine).set_xticks(WATCHED)
axes[2].set(ylim=(-0.05, 1.05), ylabel="cosine", xlabel="blocks passed", title="A digit and its noisy copy, step 0")
show(figure, "12-information-bottleneck")

# %% [markdown]
# Dotted is the untrained network, solid the trained one, the band the range of the seeds. The plain network forgets at
# the start, before any training. It is not the mixing, and a cleverer reader would not help: it is **chaos**
# (Schoenholz et al. 2017). Batch norm and ReLU together push two inputs apart in every block, however alike they were:
# the right panel. After enough of them a digit is as far from its own copy as from any other digit, and what is learned
# about one is of no use for the next. It is one thing with three faces. In a wide network, the factor by which a small
# difference grows going forward is the one by which the gradient grows going back: lesson 9's explosion. And that
# neighbours end up with gradients that have nothing in common is lesson 15's shattering. The shortcut carries the
# picture along, beneath what the branches add: differences grow too, but slowly (Yang & Schoenholz 2017), and so the
# green lines sink. A short training (solid) gives a little back, to the plain network in its first half; behind that it
# still sees next to nothing, and how much differs from seed to seed. (At this rate a residual net of 27 blocks may
# stumble in its first steps, and forget as well: on one machine one of three did, and at a fifth of the rate it did not.)
#
# So a deep plain network has a double problem. The gradient that reaches its first layers is wild (lesson 9), and its
# last layers have to learn from features that no longer say what the picture was. Training the first layers would help
# the last ones, but it is the last ones that must tell the first what to do.
#
# What this does *not* show: that information is destroyed (without noise the map may be invertible), nor that keeping
# the whole picture is good in the end. A trained network *should* forget what does not matter for the label, which is
# Tishby's point; solid lines that fall in the left panel while they stay high in the middle one would be exactly that.
# So few steps do not show it.
#
# ## Common mistakes
#
# - **Measuring the probe on its training data.** With 512 features and about 1,400 digits a fit without penalty always
#   looks good. In the middle panel, the red line would never come near chance:

# %%
h = features(one_stage(False, 0))[at]
right = (h @ ridge(h[:n], one_hot[:n] - 0.1, 1e-6)).argmax(1) == labels
seen, unseen = float(right[:n].mean()), float(right[n:].mean())
print(f"plain, block 18: the probe is right on {seen:.0%} of the digits it was fitted to, on {unseen:.0%} of others")
claim("the fit flatters by more than 20 points", seen > unseen + 0.2, [seen, unseen])

# %% [markdown]
# - **Comparing layers of different width.** In the networks of lesson 9 the features shrink from 512 to 128 numbers, in
#   both twins. Both lines would fall at the same two places, which says nothing about depth.
#
# ## Exercises
#
# 1. `minires new relu_maxpool`: which part of a picture does a ReLU throw away, and which part can be recovered?
# 2. Set `zero_init_residual=True` for the residual network. What must its curves be at step 0?
# 3. Ten times less noise: behind how many more blocks is the cosine of the plain network at 0? What does that say of
#    the factor by which a small difference grows?
# 4. Does a wider plain network (16 channels) keep the picture for longer?
#
# Answers: [12_information_bottleneck](answers/12_information_bottleneck.md).
#
# ## Sources
#
# - N. Tishby, N. Zaslavsky, *Deep learning and the information bottleneck principle*, 2015, arXiv 1503.02406; R.
#   Shwartz-Ziv, N. Tishby, *Opening the black box of deep neural networks via information*, 2017, arXiv 1703.00810.
# - S. Schoenholz, J. Gilmer, S. Ganguli, J. Sohl-Dickstein, *Deep information propagation*, 2017, arXiv 1611.01232;
#   with shortcuts: G. Yang, S. Schoenholz, *Mean field residual networks: on the edge of chaos*, 2017, arXiv
#   1712.08969.
# - G. Alain, Y. Bengio, *Understanding intermediate layers using linear classifier probes*, 2016, arXiv 1610.01644.
# - A. Saxe, Y. Bansal, J. Dapello, M. Advani, A. Kolchinsky, B. Tracey, D. Cox, *On the information bottleneck theory
#   of deep learning*, ICLR 2018.

# %%
finish()
