# %% [markdown]
# # 10. Twins: the same weights, one addition apart
#
# *Why is it easier to learn what a block adds than what it should return?*
#
# Takes 40 s (quick: 5 s).

# %%
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm

import minires as mr
from minires import Tensor, data, flow, models, optim, train
from minires.flow import plots
from minires.lesson import QUICK, claim, finish, progress, show

digits, test = data.digits()

# %% [markdown]
# **Predict first.** Two networks of 56 layers with *equal* weights at the start. One has shortcuts, the other not.
# After training, we ask every block of the residual network how far it moves its input, $\|H(x) - x\| / \|x\|$. What is
# a typical value?
#
# - a) About 1.4, as for any two unrelated vectors of equal length.
# - b) Well below 1: most blocks make small corrections.
# - c) Near 0: almost all blocks have switched themselves off.
#
# ## What could make it easier
#
# Write the wanted map of a block as its input and a correction, and call the relative size of the correction $d$:
#
# $$H(x) = x + F(x), \qquad d(x) = \frac{\|H(x) - x\|}{\|x\|} = \frac{\|F(x)\|}{\|x\|}.$$
#
# If $H$ is near the identity, a plain block must produce all of $x$ again, through two convolutions and two batch
# norms, before it can correct anything. A residual block starts with $x$ and learns the correction. That argument
# assumes that good maps *are* near the identity. We can measure whether they are.
#
# `models.twins` gives both networks the same weights (option A has no parameters in its shortcuts).

# %%
DEPTH, STEPS, SEEDS = (26, 30, range(1)) if QUICK else (56, 110, range(2))


def build(seed):
    """{name: network}, the twins."""
    mr.manual_seed(seed)
    return dict(zip(("plain", "residual"), models.twins(DEPTH, 8, in_channels=1)))


twins = build(0)
weights = {name: dict(model.named_parameters()) for name, model in twins.items()}
same = all(np.array_equal(p.data, weights["residual"][name].data) for name, p in weights["plain"].items())
claim("the twins have the same parameters, and the same values in them",
      same and weights["plain"].keys() == weights["residual"].keys(), len(weights["plain"]))  # fmt: skip


def train_and_record(model, seed):
    """Losses of all steps, and the recorded gradients on a logarithmic schedule."""
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    rise = optim.LinearLR(optimizer, start_factor=1 / 20, total_iters=20)
    losses, history, probe = [], flow.History(), digits[:64]
    for epoch in range(-(-STEPS // 22)):
        for x, y in data.batches(digits, 64, seed=seed, epoch=epoch, drop_last=True):
            if len(losses) < STEPS:
                if flow.is_due(len(losses), STEPS - 1, dense=4, per_decade=6):
                    history.add(len(losses), flow.record(model, *probe))
                losses.append(train.train_step(model, optimizer, x, y).loss)
                rise.step()
    return losses, history


# %% [markdown]
# ## How far a block is from the identity
#
# By hand: run the blocks one after the other and compare what goes in with what comes out. Blocks that change the shape
# have no distance and are left out. For two vectors of equal length at a right angle it would be $\sqrt2 = 1.41$.

# %%
def distances(model, images):
    """‖H(x) − x‖ / ‖x‖ of every block that keeps the shape; the model stays as it was, running statistics too."""
    found = []
    with flow.keeping(model), mr.no_grad():
        h = model.relu(model.bn1(model.conv1(Tensor(images))))
        for block in model.blocks():
            y = block(h)
            if y.shape == h.shape:
                found.append(float(np.linalg.norm(y.data - h.data) / np.linalg.norm(h.data)))
            h = y
    return np.array(found)


runs = []
for seed in progress(SEEDS, "twins"):
    run = {}
    for name, model in build(seed).items():
        before = distances(model, test[:][0])
        losses, history = train_and_record(model, seed)
        run[name] = {
            "losses": losses, "history": history, "accuracy": train.evaluate(model, test).accuracy,
            "before": before, "after": distances(model, test[:][0]),
        }  # fmt: skip
    runs.append(run)

final = {name: [float(np.mean(run[name]["losses"][-20:])) for run in runs] for name in twins}
medians = {(name, when): [float(np.median(run[name][when])) for run in runs]
           for name in twins for when in ("before", "after")}  # fmt: skip
for name in twins:
    accuracies = ", ".join(f"{run[name]['accuracy']:.1%}" for run in runs)
    print(f"{name}-{DEPTH}: training loss {np.mean(final[name]):.2f}, test accuracy {accuracies}; median distance "
          f"from the identity {np.mean(medians[name, 'before']):.2f}, then {np.mean(medians[name, 'after']):.2f}"
          )  # fmt: skip
typical = np.mean(medians["residual", "after"])
print(f"the answer is {'c' if typical < 0.1 else 'b' if typical < 1 else 'a'})")
claim("the residual twin learns faster, in every seed", max(final["residual"]) + 0.3 < min(final["plain"]),
      [*final["residual"], *final["plain"]])  # fmt: skip
claim("at step 0 a residual block is nearer to the identity than a plain one",
      max(medians["residual", "before"]) < 0.8 * min(medians["plain", "before"]),
      medians["residual", "before"] + medians["plain", "before"])  # fmt: skip
claim("at the end a typical residual block moves its input by less than 0.8 of its length",
      max(medians["residual", "after"]) < 0.8, medians["residual", "after"])  # fmt: skip

# %% [markdown]
# Part of that is geometry, not learning: $x + F(x)$ starts near $x$ in the deeper blocks, because $x$ has grown with
# every addition while batch norm holds $F$ at size 1 (block $\ell$ adds one unit to a stream of about $\sqrt\ell$). It
# is what the shortcut *gives*; that training does not undo it is what we measured.
#
# ## The gradient, over depth and time

# %%
histories = {name: runs[0][name]["history"] for name in twins}
spans = {}
for name, history in histories.items():
    norms = history.convolution_norms
    spans[name] = float(np.median(np.log10(norms.max(1) / norms.min(1))))
    print(f"{name}: over the layers, the gradient spans {spans[name]:.1f} powers of ten (median of the recorded steps)")
claim("the residual twin's gradient spans less", spans["residual"] < spans["plain"], list(spans.values()))
sum_error = histories["residual"].sum_error
claim("at all forks and steps, skip + branch was the gradient", sum_error < 1e-4, sum_error)

figure = plt.figure(figsize=(13.5, 8.6), layout="constrained")
(top_left, top_right), (bottom_left, bottom_right) = figure.subfigures(2, 2)
axes = top_left.subplots(2, 1, sharex=True)
every = np.concatenate([history.convolution_norms for history in histories.values()])
scale = LogNorm(*np.quantile(every[every > 0], [0.005, 0.995]))
for ax, (name, history) in zip(axes, histories.items()):
    plots.heatmap(ax, history.steps, history.convolution_norms, scale, name)
axes[1].set_xlabel("convolution, from input to output")
top_left.colorbar(axes[0].collections[0], ax=list(axes), label="‖∂L/∂W‖", fraction=0.05, extend="both")
plots.fork_strip(*plots.strip_axes(top_right), histories["residual"].forks[-1], f"step {STEPS - 1}")
notes = {name: f"test {runs[0][name]['accuracy']:.0%}" for name in twins}
plots.training(bottom_left.subplots(), {name: runs[0][name]["losses"] for name in twins}, notes)
ax = bottom_right.subplots()
for name, look in plots.style.looks(twins).items():
    for when, line, face in (("before", ":", "none"), ("after", "-", look["color"])):
        values = runs[0][name][when]
        x = np.arange(1, len(values) + 1)
        ax.plot(x, values, look["marker"] + line, color=look["color"], mfc=face, ms=4.5)
ax.axhline(2**0.5, color="#777777", lw=0.8)
ax.text(len(x) + 0.7, 2**0.5, "right angle", color="#777777", va="bottom", size=9)
ax.set(xlabel="block that keeps the shape", ylabel="‖H(x) − x‖ / ‖x‖", xlim=(0, len(x) * 1.45), ylim=(0, None))
ax.set_title(f"Distance from the identity, step 0 (dotted) and {STEPS} (solid)", size=11)
plots.style.label_ends(
    ax, len(x) + 0.7,
    [(runs[0][name][when][-1], f"{name}, {'step 0' if when == 'before' else 'end'}", look["color"])
     for name, look in plots.style.looks(twins).items() for when in ("before", "after")],
    ha="left",
)  # fmt: skip
show(figure, "10-twins")

# %% [markdown]
# Read the upper left panel from top to bottom, as time. In the plain twin the colours run away from each other along
# the layers; in the residual one each row has nearly one colour. Upper right: what skip and branch returned. (In the
# quick version, batch norm's running statistics lag behind the weights, and its test accuracy says nothing yet.)
#
# ## Common mistakes
#
# - **Comparing networks that are not twins.** Other seeds, other widths or a projection in the shortcut change more
#   than the addition. Print the number of parameters of both before you compare anything.
# - **"They are easier because they are near the identity at the end."** The lower right panel says that
#   they are near it *from the start*. What an optimiser finds cannot be read off the end alone.
#
# ## Exercises
#
# 1. `minires new residual_block`, and `minires new gradient_flow` for the heatmap.
# 2. Give the twins `zero_init_residual=True`. Where do the green curves start now, and does the loss fall sooner?
# 3. Take `weight_decay=0` and look whether the distance from the identity grows.
# 4. Is the distance of the first block of a stage larger or smaller than that of the last one? Why?
#
# ## Sources
#
# - K. He, X. Zhang, S. Ren, J. Sun, *Deep residual learning for image recognition*, 2015, arXiv 1512.03385: section 3.1
#   has the argument, figure 7 the measurement of small responses (lesson 15).
# - S. De, S. Smith, *Batch normalization biases residual blocks towards the identity function*, 2020, arXiv 2002.10444.

# %%
finish()
