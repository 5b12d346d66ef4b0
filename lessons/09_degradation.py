# %% [markdown]
# # 9. Degradation: deeper and worse, on the training set
#
# *Why does a plain network get worse when we add layers, even on the images it is trained with?*
#
# Takes 44 s (quick: 4 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import Tensor, data, flow, models, optim, train
from minires.flow import plots
from minires.lesson import QUICK, also_at, answer, claim, finish, progress, show
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
# double it (lesson 7) and, going back, make up for the half of the slopes that are 0. What is left is batch norm:
# forward it divides by the standard deviation $\sqrt{(\pi - 1)/\pi}$, and so it does with the gradient on its way back.
#
# ## Two numbers to follow in training
#
# The usual one is $\|\partial L/\partial W\|$ of the first convolution over that of the last. But behind batch norm the
# size of a kernel means nothing, $L(cW) = L(W)$, and so
#
# $$\frac{\partial L}{\partial W}(cW) = \frac1c\, \frac{\partial L}{\partial W}(W):$$
#
# if a kernel has grown 50-fold, its gradient is 50 times smaller, and nothing else has changed. So we multiply each
# norm by the kernel's own, $\|\partial L/\partial W\|\,\|W\|$, which is **free of scale**, and show the raw ratio
# beside it. What a step can do to such a kernel is to *turn* it. So the second number is by how many **degrees** it
# turns in a step.
#
# By hand it takes a backward pass and a few norms; `flow.record` has the norms of all layers at once.

# %%
def kernels_of(model):
    return [p for p in model.parameters() if p.ndim == 4]


def first_over_last(model):
    """‖∂L/∂W‖ of the first convolution over that of the last, on 64 digits, raw and free of scale; and ‖W‖ of the first."""
    images, labels = digits[:64]
    ends = kernels_of(model)[:: len(kernels_of(model)) - 1]
    with flow.keeping(model):
        gradients = mr.grad(F.cross_entropy(model(Tensor(images)), Tensor(labels)), ends)
    first, last = (float(np.linalg.norm(g)) for g in gradients)
    size, size_last = (float(np.linalg.norm(p)) for p in ends)
    return first / last, first * size / (last * size_last), size


def turned(before, after):
    """By how many degrees each kernel has turned."""
    unit = [[w / np.linalg.norm(w) for w in kernels] for kernels in (before, after)]
    return [float(np.degrees(np.arccos(min((a * b).sum(), 1)))) for a, b in zip(*unit)]


mr.manual_seed(0)
model, history = models.plain_cifar(20, 8, in_channels=1), flow.FlowHistory()
history.add(0, flow.record(model, *digits[:64]))
error = abs(first_over_last(model)[0] / history.first_over_last()[0] - 1)
claim("two norms by hand are what the library records: relative error", error < 1e-4, error)

# %% [markdown]
# ## Three depths, one recipe
#
# Stochastic gradient descent as in the paper: momentum 0.9, weight decay $10^{-4}$, learning rate 0.1, reached after 20
# steps of warm-up (lesson 4), 64 digits a step. Three seeds, so that nobody's luck decides, and once more at a fifth of
# the rate. We measure the gradient at steps that lie closer together at the start, where most happens, and the turning
# at every step: the median of the convolutions 2 to 10.

# %%
DEPTHS, EPOCHS, SEEDS = ((8, 14, 32), 1, range(1)) if QUICK else ((8, 20, 56), 6, range(3))
RECORD = [step for step in (0, 1, 3, 5, 10, 20, 40, 80, 132) if step <= 22 * EPOCHS]


def fit(depth, seed, lr):
    """Train a plain network; returns it with its losses, gradients, degrees per step, and errors in training and test."""
    mr.manual_seed(seed)
    model = models.plain_cifar(depth, 8, in_channels=1)
    optimizer = optim.SGD(model.parameters(), lr, momentum=0.9, weight_decay=1e-4)
    rise, ratios, degrees = optim.LinearLR(optimizer, start_factor=1 / 20, total_iters=20), [first_over_last(model)], []
    kernels = [p.numpy().astype(np.float64) for p in kernels_of(model)[1:10]]

    def watch(done):
        before, kernels[:] = [*kernels], [p.numpy().astype(np.float64) for p in kernels_of(model)[1:10]]
        degrees.append(np.median(turned(before, kernels)))
        if done.step + 1 in RECORD:
            ratios.append(first_over_last(model))

    history = train.fit(model, digits, optimizer, epochs=EPOCHS, batch_size=64, drop_last=True, schedule=rise, seed=seed,
                        progress=False, on_step=watch)  # fmt: skip
    errors = [1 - train.evaluate(model, part).accuracy for part in (digits, test)]
    return model, history.step_loss, np.array(ratios), np.array(degrees), errors


def degradation(lr, seeds):
    """Train all three depths; claims what they show."""
    runs = {f"plain-{depth}": [fit(depth, seed, lr) for seed in progress(seeds, f"plain-{depth}")] for depth in DEPTHS}
    small, middle, large = runs
    final = {name: [np.mean(run[1][-20:]) for run in runs[name]] for name in runs}
    for name in runs:
        on_train, on_test = np.mean([run[4] for run in runs[name]], axis=0)
        print(f"{name}: training loss {np.mean(final[name]):.3f}, error {on_train:.1%} in training, {on_test:.1%} in test")
    claim("the training loss rises with depth, in every seed",
          max(final[small]) < min(final[middle]) and max(final[middle]) < min(final[large]),
          [float(np.mean(losses)) for losses in final.values()])  # fmt: skip
    wrong, reference = [run[4][0] for run in runs[large]], [run[4][1] for run in runs[small]]
    claim("that is not overfitting: the deepest errs more often in training than the shallowest in test, by over 30 points",
          min(wrong) - max(reference) > 0.3, [*wrong, *reference])  # fmt: skip
    if not QUICK:  # 32 layers show less of what follows
        _, free, size = np.moveaxis([run[2] for run in runs[large]], -1, 0)
        tenth, early, late = RECORD.index(10), slice(0, 5), slice(40, None)
        claim("before the first step the first layer has over 100 times the gradient of the last, free of scale",
              min(free[:, 0]) > 100, list(free[:, 0]))  # fmt: skip
        fall = free[:, 0] / free[:, tenth]
        claim("in ten steps that falls over 20-fold, mostly to about 1", min(fall) > 20, list(free[:, tenth]))
        growth = size[:, tenth] / size[:, 0]
        claim("in these ten the first kernel grows over 10-fold, by which its raw gradient shrinks once more",
              min(growth) > 10, list(growth))  # fmt: skip
        begin, end = ([float(np.median(run[3][part])) for run in runs[large]] for part in (early, late))
        claim("in the first five steps its early kernels turn by over 5 degrees a step", min(begin) > 5, begin)
        claim("from step 40 on they are frozen: less than 0.02 degrees", max(end) < 0.02, end)
        others = [float(np.median(run[3][late])) for name in (small, middle) for run in runs[name]]
        claim("those of the other two are not: over 0.1 degrees", min(others) > 0.1, others)
    return runs


runs = degradation(0.1, SEEDS)
also_at("learning rate 0.02", lambda: degradation(0.02, SEEDS[:1]))
small, middle, large = runs
losses, errors = ({name: [run[i] for run in runs[name]] for name in runs} for i in (1, 4))
means = [np.mean([loss[-20:] for loss in losses[name]]) for name in runs]
print(f"{min(runs, key=dict(zip(runs, means)).get)} has the lowest training loss: {answer('cba'[np.argmin(means)])}")

# %%
COLOUR = dict(zip(runs, ("#008661", "#A96600", "#CD4A00")))
figure, ((loss_ax, error_ax), (ratio_ax, turn_ax)) = plt.subplots(2, 2, figsize=(13, 9), layout="constrained")
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
raw = np.median([run[2][:, 0] for run in runs[large]], axis=0)
ratio_ax.set(yscale="log", ylabel="first / last layer", title="‖∂L/∂W‖·‖W‖ of the first over the last layer")
ratio_ax.set_ylim(raw.min() / 2, raw.max() * 2)
ratios = {name: [run[2][:, 1] for run in runs[name]] for name in runs}
plots.runs(ratio_ax, range(len(RECORD)), ratios, COLOUR, middle=np.median, marker="o").set_xlabel("steps done")
ratio_ax.plot(range(len(RECORD)), raw, ":", color=COLOUR[large])
ratio_ax.text(0.15, raw[0], f"raw, {large}", color=COLOUR[large], va="center")
ratio_ax.set_xticks(range(len(RECORD)), RECORD)
ratio_ax.hlines(1, 0, len(RECORD) - 1, color="#757575", ls=":")
turn_ax.set(yscale="log", ylabel="degrees", title="How far early kernels turn in a step")
turns = {name: [run[3].reshape(-1, EPOCHS).mean(1) for run in runs[name]] for name in runs}
plots.runs(turn_ax, (np.arange(22) + 0.5) * EPOCHS, turns, COLOUR, middle=np.median).set_xlabel("step")
show(figure, "09-degradation")

# %% [markdown]
# Lines are means of the seeds (below: medians), bands and dots the seeds. Above: the deeper, the slower, and the
# deepest by far; training and test error rise together, so this is a failure to *fit*.
#
# Below left: before the first step, plain-56 has hundreds of times as much gradient in the first layer as in the last.
# With it the optimiser *destroys* the first layers: they turn by more than ten degrees a step, and as a step that is at
# right angles to a kernel makes it longer, they grow, fifty-fold and more. Now their gradient is, give or take a factor
# of ten, level with the last layer's, and yet nothing moves: to turn so long a kernel, the learning rate is far too
# small. Below right, that is the fall to a thousandth of a degree. So the first layers are random, and **frozen**. The
# raw ratio (dotted) shows the growth as a "vanishing gradient", which it is not: there is no such fall free of scale,
# and weight decay, which takes a ten-thousandth off a step, would need tens of thousands of steps to undo the growth. A
# single number, "the gradient at initialisation", tells nothing of all that.
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
shallow = runs[small][0][0]
built.load_state_dict(shallow.state_dict(), strict=False)  # one block in each stage
for stage in (built.layer1, built.layer2, built.layer3):
    for block in stage[1:]:
        become_identity(block)
images = mr.tensor(test[:][0])
difference = np.abs(built.eval()(images).numpy() - shallow.eval()(images).numpy()).max()
print(f"A {large} with a training error of {1 - train.evaluate(built, digits).accuracy:.1%} exists; "
      f"gradient descent arrived at {np.mean(errors[large], axis=0)[0]:.1%}.")  # fmt: skip
claim("the deepest can compute what the shallowest does: largest difference of outputs", difference < 1e-3, difference)

# %% [markdown]
# So it is the search that fails. What this small budget does not show is whether the deep network would catch up with
# many more steps. He et al. trained plain-56 for 64,000 steps on CIFAR-10, and it stayed behind plain-20; plain-110
# stayed above 60 % error. Nor is the ratio of two gradients a proof of the cause. It says where the trouble starts;
# lesson 11 gives the twin its shortcut and changes nothing else.
#
# ## Common mistakes
#
# - **Calling it overfitting.** Overfitting is a small training error and a large test error: a low bar beside a high
#   one. Above on the right both are high. More data, dropout or weight decay would not help, as there is nothing to
#   regularise.
# - **Measuring the gradient once, and raw.** Below left, a probe at step 0 finds it exploding, and one at step 10 that
#   does not count the weights finds it vanishing; two papers could disagree about the same network.
#
# ## Exercises
#
# 1. `minires new gradient_flow`: predict, then measure, such profiles.
# 2. `minires new batch_norm`: the layer that turns vanishing into exploding at the start.
# 3. Set the width from 8 to 16. Does the degradation get weaker? The factor 1.21 does not depend on the width.
# 4. Train `built` a few steps more. Does it stay as good as it is? In training mode its identity blocks meet the
#    batch's own statistics.
#
# Answers: [09_degradation](answers/09_degradation.md).
#
# ## Sources
#
# - K. He, X. Zhang, S. Ren, J. Sun, *Deep residual learning for image recognition*, 2015, arXiv 1512.03385: section
#   1 with the argument by construction, figures 1 and 6.
# - A gradient behind batch norm: S. Arora, Z. Li, K. Lyu, *Theoretical analysis of auto rate-tuning by batch
#   normalization*, 2019, arXiv 1812.03981, lemma 2.4.
# - G. Yang, J. Pennington, V. Rao, J. Sohl-Dickstein, S. Schoenholz, *A mean field theory of batch normalization*,
#   2019, arXiv 1902.08129.

# %%
finish()
