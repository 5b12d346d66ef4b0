# %% [markdown]
# # 8. Degradation: deeper and worse, on the training set
#
# *Why does a plain network get worse when we add layers, even on the images it is trained with?*
#
# Takes 42 s (quick: 4 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import Tensor, data, flow, models, optim, train
from minires.flow import plots
from minires.lesson import QUICK, claim, finish, progress, show
from minires.nn import functional as F

digits, test = data.digits()

# %% [markdown]
# **Predict first.** Three plain networks of 8, 20 and 56 layers: 3×3 convolutions, each with batch norm and ReLU, He's
# initialisation, the same recipe, the same 1,437 scanned digits. After the same number of steps, which has the lowest
# error *on the training set*?
#
# - a) The deepest: it has the most parameters, and fits the training set best. It may overfit.
# - b) All about the same, because batch norm has solved vanishing gradients.
# - c) The shallowest: the deeper, the worse, although nothing overfits.
#
# ## Why (c) would be strange
#
# Let $\mathcal F_n$ be the functions that a network of $n$ layers can compute. If a layer can be the identity, then
# $\mathcal F_8 \subset \mathcal F_{20} \subset \mathcal F_{56}$, and the best training loss cannot rise with depth:
#
# $$\min_{\mathcal F_{56}} L(f) \;\le\; \min_{\mathcal F_{20}} L(f) \;\le\; \min_{\mathcal F_{8}} L(f).$$
#
# The left side may be out of reach, but it cannot be *worse*. Whatever we find instead is about the search for the
# minimum, not about the minimum.
#
# ## What the gradient may do
#
# "Deep plain networks have vanishing gradients" is the usual answer, and for this network it is wrong, or at least too
# simple. Batch norm keeps every activation at variance 1, so nothing vanishes on the way forward. On the way back the
# gradient at first *explodes* towards the input: for a wide network without convolutions Yang et al. (2019) computed a
# factor of
#
# $$\sqrt{\frac{\pi}{\pi - 1}} \approx 1.21 \quad\text{per layer, and}\quad 1.21^{54} \approx 3\cdot10^{4}.$$
#
# The factor can be found in three lines. For $z$ of mean 0 and variance 1, $\mathrm{relu}(z)$ has the mean square ½ but
# also a mean, $1/\sqrt{2\pi}$, so its variance is only $\frac12 - \frac{1}{2\pi} = \frac{\pi - 1}{2\pi}$. He's weights
# double it (lesson 6) and, going back, make up for the half of the slopes that are 0. What is left is batch norm:
# forward it divides by the standard deviation $\sqrt{(\pi - 1)/\pi}$, and so it does with the gradient on its way back.
#
# We follow one number during training: $\|\partial L/\partial W\|$ of the first convolution over that of the last.
# Above 1, the first layers get the larger push. By hand it takes a backward pass and two norms; `flow.record` has the
# norms of all layers at once.

# %%
def first_over_last(model):
    """‖∂L/∂W‖ of the first convolution over that of the last, on 64 digits; the model stays as it was."""
    images, labels = digits[:64]
    kernels = [p for p in model.parameters() if p.ndim == 4]
    with flow.keeping(model):
        loss = F.cross_entropy(model(Tensor(images)), Tensor(labels))
        first, last = mr.grad(loss, [kernels[0], kernels[-1]])
    return float(np.linalg.norm(first) / np.linalg.norm(last))


mr.manual_seed(0)
model, history = models.plain_cifar(20, 8, in_channels=1), flow.FlowHistory()
history.add(0, flow.record(model, *digits[:64]))
error = abs(first_over_last(model) / history.first_over_last()[0] - 1)
claim("two norms by hand are what the library records: relative error", error < 1e-4, error)

# %% [markdown]
# ## Three depths, one recipe
#
# Stochastic gradient descent as in the paper: momentum 0.9, weight decay $10^{-4}$, learning rate 0.1, reached after 20
# steps of warm-up, 64 digits a step. Three seeds, so that nobody's luck decides. We measure the gradient at steps that
# lie closer together at the start, where most happens.

# %%
DEPTHS, EPOCHS, SEEDS = ((8, 14, 32), 1, range(1)) if QUICK else ((8, 20, 56), 6, range(3))
RECORD = [step for step in (0, 1, 3, 5, 10, 20, 40, 80, 132) if step <= 22 * EPOCHS]


def fit(depth, seed):
    """Train a plain network; returns it with its losses, first_over_last, and final errors in training and test."""
    mr.manual_seed(seed)
    model = models.plain_cifar(depth, 8, in_channels=1)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    rise, ratios = optim.LinearLR(optimizer, start_factor=1 / 20, total_iters=20), [first_over_last(model)]
    history = train.fit(
        model, digits, optimizer, epochs=EPOCHS, batch_size=64, drop_last=True, schedule=rise, seed=seed,
        progress=False, on_step=lambda done: ratios.append(first_over_last(model)) if done.step + 1 in RECORD else None,
    )  # fmt: skip
    errors = [1 - train.evaluate(model, part).accuracy for part in (digits, test)]
    return model, history.step_loss, ratios, errors


runs = {f"plain-{depth}": [fit(depth, seed) for seed in progress(SEEDS, f"plain-{depth}")] for depth in DEPTHS}
trained, losses, ratios, errors = ({name: [run[i] for run in runs[name]] for name in runs} for i in range(4))
small, middle, large = runs
final = {name: np.array(losses[name])[:, -20:].mean(1) for name in runs}
for name in runs:
    on_train, on_test = np.mean(errors[name], axis=0)
    print(f"{name}: training loss {final[name].mean():.3f}, error {on_train:.1%} in training, {on_test:.1%} in test")
best = min(runs, key=lambda name: final[name].mean())
print(f"{best} has the lowest training loss: the answer is {'c' if best == small else 'a' if best == large else 'b'})")
claim("the training loss rises with depth, in every seed",
      max(final[small]) < min(final[middle]) and max(final[middle]) < min(final[large]),
      [losses.mean() for losses in final.values()])  # fmt: skip
(deep, deep_test), (shallow, _) = np.transpose(errors[large]), np.transpose(errors[small])
claim("so does the training error, by over 20 points from the shallowest to the deepest", min(deep - shallow) > 0.2,
      [*shallow, *deep])  # fmt: skip
claim("that is not overfitting: test and training error of the deepest are less than 15 points apart",
      max(abs(deep_test - deep)) < 0.15, list(deep_test - deep))  # fmt: skip
start, tenth = ([run[RECORD.index(step)] for run in ratios[large]] for step in (0, 10))
claim("before the first step the gradient is far larger in the first layer", min(start) > 20, start)
claim("after ten it has collapsed, by more than a factor of 10", min(np.divide(start, tenth)) > 10, tenth)
claim("plain-8 shows nothing of the kind", 0.1 < np.min(ratios[small]) and np.max(ratios[small]) < 10, ratios[small][0])

# %%
COLOUR = dict(zip(runs, ("#008661", "#A96600", "#CD4A00")))
figure, (loss_ax, error_ax, ratio_ax) = plt.subplots(1, 3, figsize=(16, 4.8), layout="constrained")
loss_ax.set(ylim=(0, 2.5), xlabel="step", ylabel="training loss", title=f"The deeper, the slower ({22 * EPOCHS} steps)")
thinned = {name: np.reshape(runs, (-1, 22, EPOCHS)).mean(2) for name, runs in losses.items()}
plots.runs(loss_ax, (np.arange(22) + 0.5) * EPOCHS, thinned, COLOUR)
for i, name in enumerate(errors):
    for x, values, part, hatch in zip((i - 0.2, i + 0.2), np.transpose(errors[name]), ("train", "test"), ("", "///")):
        error_ax.bar(x, values.mean(), 0.36, color=COLOUR[name], hatch=hatch, edgecolor="white")
        error_ax.plot([x] * len(values), values, "k.", ms=4)
        error_ax.text(x, values.max() + 0.02, f"{part}\n{values.mean():.0%}", ha="center", size=9)
error_ax.set(ylim=(0, 1.12), ylabel="error", title=f"Error after {22 * EPOCHS} steps (dots: seeds)")
error_ax.set_xticks(range(3), runs)
ratio_ax.set(yscale="log", ylabel="‖∂L/∂W first‖ / ‖∂L/∂W last‖", title="The gradient explodes, then collapses")
plots.runs(ratio_ax, range(len(RECORD)), ratios, COLOUR, middle=np.median, marker="o").set_xlabel("steps done")
ratio_ax.set_xticks(range(len(RECORD)), RECORD)
ratio_ax.hlines(1, 0, len(RECORD) - 1, color="#757575", ls=":")
show(figure, "08-degradation")

# %% [markdown]
# Lines are means of the seeds (right: medians), bands and dots the seeds. Left: the deeper, the slower, and the deepest
# by far. Middle: training and test error rise together, so this is a failure to *fit*. Right: before the first step
# the gradient of plain-56 is thousands of times larger in the first layer than in the last; ten steps later it is
# smaller. A single number, "the gradient at initialisation", would have suggested the opposite of what
# the network meets in nearly all of its training.
#
# ## A solution exists
#
# He et al. argue *by construction*, and we can carry it out. Take the plain-8 that has just learned its training set.
# Build the deepest network from it, by putting blocks behind its blocks that return what they get. A 3×3 kernel with a
# single 1 in the middle is the identity; so is a batch norm that has seen mean 0 and variance 1, in evaluation mode;
# and ReLU does not change what an earlier ReLU has let through.

# %%
def become_identity(block):
    """Make a fresh plain block, in evaluation mode, return what it gets (which must not be negative)."""
    for conv, norm in ((block.conv1, block.bn1), (block.conv2, block.bn2)):
        conv.weight.data[...] = 0
        conv.weight.data[range(len(conv.weight)), range(len(conv.weight)), 1, 1] = 1
        norm.running_var[...] = 1 - norm.eps  # it divides by √(var + eps); its mean is 0, γ is 1 and β is 0


built = models.plain_cifar(DEPTHS[-1], 8, in_channels=1)
built.load_state_dict(trained[small][0].state_dict(), strict=False)  # one block in each stage
for stage in (built.layer1, built.layer2, built.layer3):
    for block in stage[1:]:
        become_identity(block)
images = mr.tensor(test[:][0])
difference = np.abs(built.eval()(images).numpy() - trained[small][0].eval()(images).numpy()).max()
print(f"A {large} with a training error of {1 - train.evaluate(built, digits).accuracy:.1%} exists; "
      f"gradient descent arrived at {deep.mean():.1%}.")  # fmt: skip
claim("the deepest can compute what the shallowest does: largest difference of outputs", difference < 1e-3, difference)

# %% [markdown]
# So it is the search that fails. What this small budget does not show is whether the deep network would catch up with
# many more steps. He et al. trained plain-56 for 64,000 steps on CIFAR-10, and it stayed behind plain-20; plain-110
# stayed above 60 % error. Nor is the ratio of two gradients a proof of the cause. It says where the trouble starts;
# lesson 10 gives the twin its shortcut and changes nothing else.
#
# ## Common mistakes
#
# - **Calling it overfitting.** Overfitting is a small training error and a large test error: a low bar beside a high
#   one. In the middle panel both are high. More data, dropout or weight decay would not help, as there is nothing to
#   regularise.
# - **Measuring the gradient once.** In the right panel, a probe at step 0 finds it exploding and one at step 10 finds
#   it vanishing; two papers could disagree about the same network. Always show it over time.
#
# ## Exercises
#
# 1. `minires new gradient_flow`: predict, then measure, such profiles.
# 2. `minires new batch_norm`: the layer that turns vanishing into exploding at the start.
# 3. Set the width from 8 to 16. Does the degradation get weaker? The factor 1.21 does not depend on the width.
# 4. Train `built` a few steps more. Does it stay as good as it is? In training mode its identity blocks meet the
#    batch's own statistics.
#
# ## Sources
#
# - K. He, X. Zhang, S. Ren, J. Sun, *Deep residual learning for image recognition*, 2015, arXiv 1512.03385: section
#   1 with the argument by construction, figures 1 and 6.
# - G. Yang, J. Pennington, V. Rao, J. Sohl-Dickstein, S. Schoenholz, *A mean field theory of batch normalization*,
#   2019, arXiv 1902.08129.

# %%
finish()
