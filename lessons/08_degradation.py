# %% [markdown]
# # 8. Degradation: deeper and worse, on the training set
#
# *Why does a plain network get worse when we add layers, even on the images it is trained with?*
#
# Takes 55 s (quick: 5 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import data, flow, models, nn, optim, train
from minires.flow.plots.style import label_ends
from minires.lesson import QUICK, claim, finish, progress, show

digits, test = data.digits()

# %% [markdown]
# **Predict first.** Three plain networks of 8, 20 and 56 layers: 3×3 convolutions, each with batch norm and ReLU, He's
# initialisation, the same recipe, the same 1,437 digits. After the same number of steps, which has the lowest error *on
# the training set*?
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
# This is He et al.'s argument *by construction*, and we can carry it out: train 8 layers, then build 20 layers that
# compute exactly the same, by putting identity blocks behind every block. A 3×3 kernel with a single 1 in the middle is
# the identity, a batch norm that has seen mean 0 and variance 1 (in evaluation mode) is too, and ReLU does not change
# what an earlier ReLU has let through.

# %%
STEPS, RECORD = (30, (0, 1, 3, 10, 20, 29)) if QUICK else (140, (0, 1, 3, 5, 10, 20, 40, 80, 139))
SEEDS = range(1 if QUICK else 3)
DEPTHS = (8, 14, 32) if QUICK else (8, 20, 56)


def fit(model, seed, steps=STEPS, history=None):
    """Train with SGD, momentum 0.9, weight decay 1e-4, 20 steps of warm-up to lr 0.1; returns each step's loss."""
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    rise = optim.LinearLR(optimizer, start_factor=1 / 20, total_iters=20)
    losses, probe = [], digits[:64]
    for epoch in range(-(-steps // 22)):
        for images, labels in data.batches(digits, 64, seed=seed, epoch=epoch, drop_last=True):
            if len(losses) == steps:
                break
            if history is not None and len(losses) in RECORD:
                history.add(len(losses), flow.record(model, *probe))
            losses.append(train.train_step(model, optimizer, images, labels).loss)
            rise.step()
    return losses


def become_identity(block):
    """Make a plain block, in evaluation mode, return what it gets (which must not be negative)."""
    for conv, norm in ((block.conv1, block.bn1), (block.conv2, block.bn2)):
        nn.init.zeros_(conv.weight)
        for channel in range(len(conv.weight)):
            conv.weight.data[channel, channel, 1, 1] = 1
        nn.init.ones_(norm.weight)
        nn.init.zeros_(norm.bias)
        norm.running_mean[...], norm.running_var[...] = 0, 1 - norm.eps  # it divides by √(var + eps)


mr.manual_seed(0)
shallow = models.plain_cifar(8, 8, in_channels=1)
fit(shallow, seed=0, steps=60)
deep = models.plain_cifar(20, 8, in_channels=1)
deep.load_state_dict(shallow.state_dict(), strict=False)  # layer1.0, layer2.0, layer3.0, stem and classifier
for stage in (deep.layer1, deep.layer2, deep.layer3):
    for block in stage[1:]:
        become_identity(block)
images = mr.tensor(test[:][0])
difference = np.abs(deep.eval()(images).numpy() - shallow.eval()(images).numpy()).max()
reached = train.evaluate(shallow, digits).accuracy
print(f"plain-8, trained for 60 steps, reads {reached:.1%} of the training digits; so does a plain-20 built from it")
claim("a plain-20 can compute what the plain-8 does: largest difference of the outputs", difference < 1e-3, difference)

# %% [markdown]
# So a solution that good *exists* in the deeper network. The question is whether gradient descent finds one from the
# usual start. We train, and record the gradient of every layer on the way.

# %%
losses, accuracy, histories = {}, {}, {}
for depth in DEPTHS:
    for seed in progress(SEEDS, f"plain-{depth}"):
        mr.manual_seed(seed)
        model = models.plain_cifar(depth, 8, in_channels=1)
        histories[depth, seed] = flow.History()
        losses[depth, seed] = fit(model, seed, history=histories[depth, seed])
        accuracy[depth, seed] = train.evaluate(model, digits).accuracy, train.evaluate(model, test).accuracy

final = {depth: [float(np.mean(losses[depth, seed][-20:])) for seed in SEEDS] for depth in DEPTHS}
small, middle, large = DEPTHS
for depth in DEPTHS:
    on_train, on_test = np.mean([accuracy[depth, seed] for seed in SEEDS], axis=0)
    print(f"plain-{depth}: training loss {np.mean(final[depth]):.3f}; right on {on_train:.1%} of the training and "
          f"{on_test:.1%} of the test digits")  # fmt: skip
means = [np.mean(final[depth]) for depth in DEPTHS]
worse = means[0] < means[1] < means[2]
answer = "c" if worse else "a" if means[2] == min(means) else "b"
print(f"From {small} to {large} layers the training loss went from {means[0]:.2f} to {means[2]:.2f}: "
      f"the answer is {answer})")  # fmt: skip
claim("in every seed the deepest network has the largest training loss",
      min(final[large]) > max(max(final[small]), max(final[middle])), means)  # fmt: skip
gap = min(f - s for f, s in zip(final[large], final[small]))
claim("the deepest is worse than the shallowest by more than 0.5, in every seed", gap > 0.5, gap)
gaps = [accuracy[large, seed][0] - accuracy[large, seed][1] for seed in SEEDS]
claim("that is not overfitting: training and test accuracy of the deepest differ by less than 15 points",
      max(np.abs(gaps)) < 0.15, gaps)  # fmt: skip

# %% [markdown]
# ## What does the gradient do?
#
# "Deep plain networks have vanishing gradients" is the usual answer, and for this network it is wrong, or at least too
# simple. Batch norm keeps every activation at variance 1, so nothing vanishes on the way forward. On the way back the
# gradient at first *explodes* towards the input: for a wide network without convolutions Yang et al. (2019) computed a
# factor of
#
# $$\sqrt{\frac{\pi}{\pi - 1}} \approx 1.21 \quad\text{per layer, and}\quad 1.21^{54} \approx 3\cdot10^{4}.$$
#
# The first steps then hit the first layers far harder than the last ones; and soon the ratio turns over. So look at it
# over time: $\|\partial L/\partial W\|$ of the first convolution over that of the last.

# %%
ratio = {key: history.first_over_last() for key, history in histories.items()}
start = [float(ratio[large, seed][0]) for seed in SEEDS]
later = [float(ratio[large, seed][RECORD.index(10) :].min()) for seed in SEEDS]
print(f"plain-{large}: first/last gradient {np.median(start):,.0f} at step 0, and down to {np.median(later):.2g} from "
      "step 10 on (medians of the seeds)")  # fmt: skip
claim("at step 0 the gradient is far larger in the first layer", min(start) > 30, start)
claim("within the run it falls by more than a factor of 100", min(s / l for s, l in zip(start, later)) > 100, later)
claim("plain-8 shows nothing of the kind", 0.1 < ratio[small, 0][0] < 20, float(ratio[small, 0][0]))

# %%
COLOUR = dict(zip(DEPTHS, ("#009E73", "#E69F00", "#D55E00")))
figure, (loss_ax, bar_ax, ratio_ax) = plt.subplots(1, 3, figsize=(15, 4.6), layout="constrained")
ends = []
for depth in DEPTHS:
    curves = np.array([np.convolve(losses[depth, seed], np.ones(10) / 10, "valid") for seed in SEEDS])
    x = np.arange(curves.shape[1]) + 4.5
    loss_ax.plot(x, curves.mean(0), color=COLOUR[depth], lw=2)
    loss_ax.fill_between(x, curves.min(0), curves.max(0), color=COLOUR[depth], alpha=0.2, lw=0)
    ends.append((curves.mean(0)[-1], f"plain-{depth}", COLOUR[depth]))
loss_ax.set(xlabel="step", ylabel="training loss (mean of 10 steps)", xlim=(0, STEPS * 1.28), ylim=(0, None))
loss_ax.set_title(f"Training loss, steps 0 to {STEPS - 1}", size=11)
label_ends(loss_ax, STEPS, ends, ha="left")
for i, depth in enumerate(DEPTHS):
    on_train, on_test = 1 - np.mean([accuracy[depth, seed] for seed in SEEDS], axis=0)
    for x, value, hatch, what in ((i - 0.2, on_train, "", "train"), (i + 0.2, on_test, "///", "test")):
        bar_ax.bar(x, value, 0.38, color=COLOUR[depth], hatch=hatch, edgecolor="white")
        bar_ax.text(x, value + 0.01, f"{what}\n{value:.0%}", ha="center", va="bottom", size=9)
bar_ax.set_xticks(range(3), [f"plain-{depth}" for depth in DEPTHS])
bar_ax.set(ylabel="error", ylim=(0, 1.12))
bar_ax.set_title(f"Error after step {STEPS - 1}: on training and test digits", size=11)
ends = []
for depth in DEPTHS:
    values = np.array([ratio[depth, seed] for seed in SEEDS])
    x = np.arange(len(RECORD))
    ratio_ax.plot(x, np.median(values, 0), "o-", color=COLOUR[depth], lw=2, ms=4)
    ratio_ax.fill_between(x, values.min(0), values.max(0), color=COLOUR[depth], alpha=0.2, lw=0)
    ends.append((np.median(values, 0)[-1], f"plain-{depth}", COLOUR[depth]))
ratio_ax.hlines(1, 0, len(RECORD) - 1, color="#777777", ls=":")
ratio_ax.set(xlabel="step", ylabel="‖∂L/∂W first‖ / ‖∂L/∂W last‖", yscale="log", xlim=(-0.3, len(RECORD) * 1.25))
ratio_ax.set_xticks(range(len(RECORD)), RECORD)
ratio_ax.set_title("First over last layer's gradient, during training", size=11)
label_ends(ratio_ax, len(RECORD) - 0.8, ends, ha="left")
show(figure, "08-degradation")

# %% [markdown]
# Left: the deeper, the slower, and the deepest by far. Middle: training and test error rise together, so
# this is a failure to *fit*. Right: a single number, "the gradient at initialisation", would have told the opposite of
# what the network meets a few steps later.
#
# What this small budget does not show: whether the deep network would catch up with many more steps. He et al. trained
# plain-56 for 64,000 steps on CIFAR-10, and it stayed behind plain-20; plain-110 stayed above 60 % error. Nor is the
# ratio of two gradients a proof of the cause. It says where the trouble starts; lesson 10 gives the twin its shortcut
# and changes nothing else.
#
# ## Common mistakes
#
# - **Calling it overfitting.** Overfitting is a small training error and a large test error. In the middle panel both
#   bars are high. More data, dropout or weight decay would not help, as there is nothing to regularise.
# - **Measuring the gradient once.** A probe at step 0 finds it exploding, one at the end finds it vanished or back
#   to normal, and two papers could disagree about the same network. Always show it over time.
#
# ## Exercises
#
# 1. `minires new gradient_flow`: predict, then measure, such profiles.
# 2. `minires new batch_norm`: the layer that turns vanishing into exploding at the start.
# 3. Set `width` from 8 to 16. Does the degradation get weaker? The factor 1.21 does not depend on the width.
# 4. Train the plain-20 that was *built* from plain-8 a few steps more. Does it stay as good as it is? In training mode
#    its identity blocks meet the batch's own statistics.
#
# ## Sources
#
# - K. He, X. Zhang, S. Ren, J. Sun, *Deep residual learning for image recognition*, 2015, arXiv 1512.03385: section
#   1, figures 1 and 6.
# - G. Yang, J. Pennington, V. Rao, J. Sohl-Dickstein, S. Schoenholz, *A mean field theory of batch normalization*,
#   2019, arXiv 1902.08129.

# %%
finish()
