# %% [markdown]
# # 12. Shortcuts compared: why the identity, and what may stand behind it
#
# *If a shortcut helps, does a cleverer one (scaled, gated, learned) help more?*
#
# Takes 60 s (quick: 5 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import Tensor, data, flow, models, nn, optim, train
from minires.lesson import QUICK, claim, finish, progress, show

digits, test = data.digits()

# %% [markdown]
# **Predict first.** We replace the identity in every block of a residual network by something with *more* freedom: a
# learned 1×1 convolution, which could become the identity if that were best. What happens to the training loss after 80
# steps?
#
# - a) It is lower: more parameters, and nothing is lost.
# - b) It is the same, for the convolution learns to be the identity.
# - c) It is higher.
#
# ## A scale on the shortcut, exactly
#
# He et al. (2016) multiply the shortcut by $\lambda$: $x_{l+1} = \lambda\, x_l + F(x_l)$. Unrolled over $n$ blocks, the
# part of the gradient that crosses no branch is
#
# $$G_0 = \lambda^n\, \frac{\partial L}{\partial x_n},$$
#
# exactly, whatever the branches are. For $\lambda = 0.9$ and $n = 50$ that is 0.005; for $\lambda = 1.1$ it is 117. The
# other terms have their own factors; a branch can make up for a $\lambda$, but it has to learn to. Measured, with
# pre-activation blocks, where nothing else stands on the shortcut's way:

# %%
def clean_path_share(scale, blocks):
    """‖G₀‖ / ‖∂L/∂x_n‖, and its error against λⁿ."""
    mr.manual_seed(0)
    body = nn.Sequential(*[models.ScaledPreActBlock(4, 4, scale=scale) for _ in range(blocks)]).double()
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)).double()
    x, y = mr.randn(8, 4, 6, 6).double(), Tensor(np.arange(8))
    part = flow.path_spectrum(nn.Sequential(body, head), x, y, arrays=True, progress=False).arrays[0]
    end = Tensor(body(x).data, requires_grad=True)
    (g,) = mr.grad(nn.functional.cross_entropy(head(end), y), end)
    return np.linalg.norm(part) / np.linalg.norm(g), np.linalg.norm(part - scale**blocks * g) / np.linalg.norm(part)


LENGTHS, SCALES = (1, 3, 6, 9), (0.5, 0.9, 1.0, 1.1)
clean = {scale: [clean_path_share(scale, n) for n in LENGTHS] for scale in SCALES}
error = max(e for results in clean.values() for _, e in results)
claim("what crosses no branch is λⁿ times the gradient at the end: relative error", error < 1e-10, error)

# %% [markdown]
# ## The table of He et al., in small
#
# Now the variants of their tables 1 and 2, all from `models.VARIANTS`, on digits: the same recipe for all, that of the
# standard block. Table 1 changes the shortcut, table 2 the order of batch norm and ReLU. Their numbers are
# test errors of 110 layers on CIFAR-10 after 64,000 steps; ours are training losses after 80 steps, so compare orders,
# not values.

# %%
TABLE_1 = ["scaled-shortcut", "scaled-both", "exclusive-gate", "shortcut-gate", "conv-shortcut", "dropout-shortcut"]
TABLE_2 = ["bn-after-addition", "relu-before-addition", "relu-only-preact", "preact"]
NAMES = ["residual", "scaled-shortcut", "conv-shortcut"] if QUICK else ["residual", *TABLE_1, *TABLE_2]
DEPTH, STEPS, SEEDS = (20, 40, range(1)) if QUICK else (32, 80, range(2))
CHANCE = float(np.log(10))


def final_loss(build, seed, depth=DEPTH):
    """Mean training loss of the last 20 steps: SGD with momentum, lr 0.1 after 20 steps of warm-up."""
    mr.manual_seed(seed)
    model = build(depth, 4, in_channels=1)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    rise, losses = optim.LinearLR(optimizer, start_factor=1 / 20, total_iters=20), []
    for epoch in range(-(-STEPS // 22)):
        for x, y in data.batches(digits, 64, seed=seed, epoch=epoch, drop_last=True):
            if len(losses) < STEPS:
                losses.append(train.train_step(model, optimizer, x, y).loss)
                rise.step()
    return float(np.mean(losses[-20:]))


with np.errstate(over="ignore", invalid="ignore"):  # one of them diverges
    loss = {
        name: [final_loss(models.VARIANTS[name].build, seed) for seed in SEEDS] for name in progress(NAMES, "variants")
    }
mean = {name: float(np.mean(values)) for name, values in loss.items()}
for name in sorted(NAMES, key=mean.get):
    published = models.VARIANTS[name].published or "–"
    print(f"{name:<22} loss {min(loss[name]):7.2f} … {max(loss[name]):<10.2f} published: {published}")
cost = mean["conv-shortcut"] / mean["residual"]
guess = "c" if cost > 1.1 else "a" if cost < 0.9 else "b"
print(f"identity {mean['residual']:.2f}, 1×1 convolution {mean['conv-shortcut']:.2f}: the answer is {guess})")
claim("a 1×1 convolution on every shortcut trains worse than the identity, in every seed",
      min(loss["conv-shortcut"]) > max(loss["residual"]), loss["conv-shortcut"])  # fmt: skip
claim("so does half the shortcut", min(loss["scaled-shortcut"]) > max(loss["residual"]), loss["scaled-shortcut"])
if not QUICK:
    claim("dropout on the shortcut fails: above chance, ln 10, or not finite",
          all(not v < CHANCE for v in loss["dropout-shortcut"]), loss["dropout-shortcut"])  # fmt: skip
    claim("exclusive gating is worse than a gate on the shortcut alone that starts nearly closed",
          min(loss["exclusive-gate"]) > max(loss["shortcut-gate"]),
          [mean["exclusive-gate"], mean["shortcut-gate"]])  # fmt: skip
    claim("BN after the addition stands in the way and is worse than pre-activation",
          min(loss["bn-after-addition"]) > max(loss["preact"]),
          [mean["bn-after-addition"], mean["preact"]])  # fmt: skip

# %%
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#777777"
figure, (clean_ax, loss_ax) = plt.subplots(1, 2, figsize=(13.5, 5), layout="constrained", width_ratios=[1, 1.5])
for scale, colour in zip(SCALES, ("#D55E00", ORANGE, GREEN, "#CC79A7")):
    x = np.arange(LENGTHS[-1] + 1)
    clean_ax.plot(x, scale**x, ":", color=colour)
    clean_ax.plot(LENGTHS, [share for share, _ in clean[scale]], "o", color=colour)
    clean_ax.text(LENGTHS[-1] + 0.3, scale ** LENGTHS[-1], f"λ = {scale}", color=colour, va="center")
clean_ax.set(yscale="log", xlabel="blocks n", ylabel="‖G₀‖ / ‖∂L/∂x at the end‖", xlim=(0, 11.5))
clean_ax.set_title("What crosses no branch, step 0 (dotted: λⁿ)", size=11)
order = sorted(NAMES, key=lambda name: mean[name] if np.isfinite(mean[name]) else np.inf, reverse=True)
limit = 2.6
for i, name in enumerate(order):
    colour = GREEN if name == "residual" else ORANGE if name in TABLE_1 else BLUE
    shown = min(mean[name], limit) if np.isfinite(mean[name]) else limit
    loss_ax.barh(i, shown, color=colour, height=0.6, hatch="" if name in ("residual", *TABLE_1) else "///",
                 edgecolor="white")  # fmt: skip
    loss_ax.plot(np.clip(np.nan_to_num(loss[name], nan=limit), 0, limit), [i] * len(SEEDS), "k.", ms=5)
    published = models.VARIANTS[name].published
    note = f"  paper: {published}" if published else ""
    off = "diverges;" if not shown < limit else ""
    loss_ax.text(limit + 0.05, i, off + note, va="center", size=9)
loss_ax.axvline(CHANCE, color=GREY, ls=":")
loss_ax.text(CHANCE - 0.04, len(order) - 0.5, "chance", ha="right", va="center", color=GREY, size=9)
loss_ax.set_yticks(range(len(order)), order)
loss_ax.set(xlabel="training loss", xlim=(0, 3.9), ylim=(-0.6, len(order) - 0.1))
loss_ax.set_title(f"{DEPTH} layers, steps {STEPS - 20} to {STEPS - 1} (dots: seeds; hatched: order of BN)", size=11)
show(figure, "12-shortcuts")

# %% [markdown]
# The ends of table 1 are there after 80 steps: identity first, the gate that hardly touches the shortcut next to it,
# and dropout, which fails, last; the convolution and the scales lie between. One stands elsewhere: the exclusive gate
# is third in the paper (8.70 %) and last but one here. It starts at −6 and multiplies every branch by
# $\sigma(-6) = 0.0025$; we suspect that 80 steps are too few to open it. Of table 2 we see less. BN after the addition
# is worse, as in the paper; the paper's small advantage of pre-activation over the standard block (6.37 % against
# 6.61 %) is far below what two seeds and 80 steps could show, and ReLU before the addition is not worse here, as it is
# there.
#
# Is it optimisation or capacity? The 1×1 convolution *can* be the identity, and a gate nearly so. He et al. conclude
# that it is optimisation, and so does this lesson.
#
# ## Common mistakes
#
# - **Option C by default.** "Project everywhere" looks safe. In the 2015 paper, with 34 layers, option C was even
#   slightly *better* (24.19 % against 25.03 % for A on ImageNet); with 110 layers it fails. The depth decides:

# %%
depths = (8, DEPTH)
shallow = [[final_loss(models.VARIANTS[name].build, s, 8) for s in SEEDS] for name in ("conv-shortcut", "residual")]
gap = [float(np.mean(shallow[0]) - np.mean(shallow[1])), mean["conv-shortcut"] - mean["residual"]]
print(f"1×1 convolution minus identity: {gap[0]:+.2f} with {depths[0]} layers, {gap[1]:+.2f} with {depths[1]}")
claim("the deeper the network, the more a convolution on the shortcut costs", gap[1] > gap[0], gap)

# %% [markdown]
# - **Reading $\lambda^n$ as the whole story.** It is a statement about one of $2^n$ terms, and about the start.
#   Scaled by 0.5 on both sides the network of the full version still trains, slowly: its loss falls well below chance.
#
# ## Exercises
#
# 1. `minires new residual_block`, then change its shortcut to $0.5\,x$ and watch the checker's answer.
# 2. Start the gates at 0 in place of −6: `functools.partial(models.ShortcutGateBlock, gate_bias=0.0)`.
# 3. Lower the learning rate of the dropout variant to 0.01. Does it train then? At what price?
# 4. Add "zero-gamma" and "rezero" to the names (lesson 15 and 16).
#
# ## Sources
#
# - K. He, X. Zhang, S. Ren, J. Sun, *Identity mappings in deep residual networks*, 2016, arXiv 1603.05027: section 3,
#   tables 1 and 2.
# - R. Srivastava, K. Greff, J. Schmidhuber, *Highway networks*, 2015, arXiv 1505.00387.

# %%
finish()
