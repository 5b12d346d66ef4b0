# %% [markdown]
# # 20. Build your own: a ResNet from a block you wrote, and its gradient flow
#
# *You have a block, a recipe made for 64,000 steps, and a minute. What can you learn in it?*
#
# Takes 66 s (quick: 4 s).

# %%
import dataclasses
import sys
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm

import minires as mr
from minires import data, flow, models, nn, train
from minires.flow import plots
from minires.lesson import QUICK, also_at, answer, claim, finish, show
from minires.nn import functional as F

DEPTH, WIDTH, STEPS, POOL = (8, 8, 90, 4) if QUICK else (20, 8, 625, 2)

# %% [markdown]
# **Predict first.** You will train a ResNet-20 from a block of your own, and record at the end what comes back at each
# of its nine forks. Which share of the gradient's squared norm came through the *branches*, on average?
#
# - a) most of it: that is where the weights are;
# - b) about half;
# - c) the smaller part: most came through the shortcuts.
#
# ## The block
#
# Everything in it has had its own lesson: convolutions (5), batch norm (6), ReLU (7), and the addition (10). Where shapes
# change the shortcut takes every second pixel and fills the new channels with zeros (option A), so that the network has
# not one parameter more than its plain twin.
#
# $$y = \mathrm{ReLU}\bigl(F(x) + x\bigr), \qquad
#   \frac{\partial L}{\partial x} = m \odot g + \Bigl(\frac{\partial F}{\partial x}\Bigr)^{\!\top} (m \odot g),$$
#
# where $g$ arrives from above and $m$ is the mask of the last ReLU. The first term is the skip's and the second the
# branch's; the recording below shows both at every fork. The share of a branch is its squared norm over the sum of
# both squared norms: a half where the two are equally strong.

# %%
class MyBlock(nn.Module):
    """Two convolutions and an addition, (N, in_channels, H, W) → (N, channels, H/stride, W/stride)."""

    expansion, preact = 1, False  # what models.ResNet wants to know of a block

    def __init__(self, in_channels: int, channels: int, stride: int = 1, shortcut: str = "A"):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        changes = stride != 1 or in_channels != channels
        self.downsample = models.PadShortcut(in_channels, channels, stride) if changes else nn.Identity()

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.downsample(x)
        return F.relu(out)


# %% [markdown]
# ## The data
#
# CIFAR-10 if it is in your cache (`minires.data.cifar10(download=True)` puts it there, 170 MB), shrunk so that a small
# machine can follow; otherwise the handwritten digits of the package. Augmentation shifts every image by a few pixels,
# at random and anew in each epoch, and mirrors half of the photographs. Digits are shifted only; why, see below.

# %%
try:
    parts = [part.subset(n) for part, n in zip(data.cifar10(), (10_000, 2_000))]
    training, test = (dataclasses.replace(part, pixels=data.average_pool(part.pixels, POOL)) for part in parts)
    augment, what = partial(data.random_crop_flip, padding=4 // POOL), f"CIFAR-10 at {32 // POOL}×{32 // POOL}"
    goal = 0.3  # the accuracy that you may expect
except FileNotFoundError:
    training, test = data.digits()
    augment, what = partial(data.random_crop_flip, padding=1, flip=False), "handwritten digits"
    goal = 0.85
channels = training.pixels.shape[1]
print(f"{what}: {len(training):,} images to train with, {len(test):,} to test")

mr.manual_seed(0)
model = models.resnet_cifar(DEPTH, WIDTH, in_channels=channels, block=MyBlock)
reference = models.resnet_cifar(DEPTH, WIDTH, in_channels=channels)
reference.load_state_dict(model.state_dict())
probe = training[:128]
difference = float(np.abs(model(mr.tensor(probe[0])).numpy() - reference(mr.tensor(probe[0])).numpy()).max())
claim("a network of my block computes what the library's does", difference < 1e-4, difference)

# %% [markdown]
# ## The recipe, scaled
#
# He et al.: batches of 128, learning rate 0.1, momentum 0.9, weight decay $10^{-4}$ (lesson 4), images padded by 4,
# cropped and mirrored; $T = 64{,}000$ steps, the learning rate divided by 10 at 32,000 and at 48,000:
#
# $$\eta_t = 0.1 \cdot 10^{-[t \ge T/2] \, - \, [t \ge 3T/4]}, \qquad
#   v_{t+1} = 0.9 \, v_t + \nabla L(\theta_t) + 10^{-4} \theta_t, \qquad \theta_{t+1} = \theta_t - \eta_t v_{t+1} ,$$
#
# where $[\cdot]$ is 1 if the condition holds, else 0. You keep what has no unit of time (momentum, decay, the
# *fractions* of the way, the crop in proportion to the image) and scale what has: the number of steps $T$. The batch is
# halved, which doubles the steps that a second buys; the learning rate stays, and a short warm-up softens its start.
#
# `train.recipe` builds the optimiser, with that momentum and decay, and its schedule: a few lines, and worth reading.
# `train.fit` runs the epochs and calls `on_step` behind each step; there we record the gradients, often at first, when
# most happens, and seldom later.

# %%
EPOCHS = round(STEPS / data.batch_count(training, 64, drop_last=True))
STEPS = EPOCHS * data.batch_count(training, 64, drop_last=True)


def train_mine(lr):
    """Train a network of my block; returns it with its history, losses and test accuracy, and claims what it has learnt."""
    mr.manual_seed(0)
    model = models.resnet_cifar(DEPTH, WIDTH, in_channels=channels, block=MyBlock)
    optimizer, schedule = train.recipe(model, STEPS, lr, warm_up=STEPS // 20, drops=(1 / 2, 3 / 4))
    history = flow.FlowHistory()

    def record(step=None):
        done = step.step + 1 if step else 0  # steps done
        if flow.is_due(done, last=STEPS):
            history.add(done, flow.record(model, *probe))

    record()
    options = dict(epochs=EPOCHS, batch_size=64, drop_last=True, augment=augment, schedule=schedule, on_step=record)
    losses = train.fit(model, training, optimizer, progress=sys.stderr.isatty(), **options).step_loss
    end, accuracy = float(np.mean(losses[-30:])), train.evaluate(model, test).accuracy
    print(f"after {STEPS} steps: training loss {end:.3f}, test accuracy {accuracy:.1%}")
    claim(f"it reads over {goal:.0%} of the test images", accuracy > goal, accuracy)
    claim("the training loss has fallen by a fifth at least", end < 0.8 * losses[0], [losses[0], end])
    claim("at every recorded step skip + branch was the gradient, to 1e-4", history.sum_error < 1e-4, history.sum_error)
    if not QUICK:  # three blocks are too few for short paths
        length = float(sum(fork.share for fork in history.forks[-1]))
        claim("the paths that carry gradient are shorter than half the network", length < len(history.forks[-1]) / 2, length)
    return model, history, losses, accuracy


model, history, losses, accuracy = train_mine(0.1)
slower = also_at("learning rate 0.02", lambda: train_mine(0.02))

# %% [markdown]
# ## Read its gradient flow

# %%
figure = plt.figure(figsize=(13, 8), layout="constrained")
top, bottom = figure.subfigures(2, 1, hspace=0.04)
left, right = top.subplots(1, 2)
plots.training(left, {"residual": losses}, {"residual": f"test {accuracy:.1%}"})
norms = history.convolution_norms
plots.heatmap(right, history.steps, norms, LogNorm(*np.quantile(norms[norms > 0], [0.01, 0.99])), "residual")
right.set_xlabel("convolution, from input to output")
top.colorbar(right.collections[0], ax=right, label="‖∂L/∂W‖")
forks = history.forks[-1]
plots.fork_strip(*plots.strip_axes(bottom), forks, f"step {history.steps[-1]}")
show(figure, "20-build-your-own")

branch = float(np.mean([fork.share for fork in forks]))
length = float(sum(fork.share for fork in forks))
letter = "a" if branch > 0.6 else "b" if branch > 0.4 else "c"
print(f"{answer(letter)}: the branches brought {branch:.0%} of the squared norm, so that a path that carries "
      f"gradient crosses about {length:.1f} of {len(forks)} blocks.")
spread = [float(row.max() / row.min()) for row in (norms[0], norms[-1])]
print(f"Largest over smallest gradient of a convolution: {spread[0]:.0f} at the start, {spread[1]:.0f} at the end.")

# %% [markdown]
# How to read such a figure in a network of your own:
#
# - The **loss** should fall from the first hundred steps on. Flat at $\ln 10 = 2.30$ is guessing.
# - The **heatmap** should have no dark side. A gradient that fades from right to left is lesson 8's disease; one that
#   grows from right to left in the first rows is lesson 9's, and here only the first column shows a trace of it.
# - The **fork strip** shows whether shortcuts are in use: a bar that is all branch belongs to a block whose shortcut is
#   broken, a bar that is all skip to a block that does nothing yet.
# - The **cosine** says whether the two agree: near 0 they are independent advice, near −1 they cancel each other.
#
# A network this small does not get better with depth (lesson 9 measured it); what you can see in a minute is whether the
# gradient arrives.
#
# ## Common mistakes
#
# **Augmentation that changes the label.** A mirrored truck is a truck; a mirrored 2 is nothing. The loss curve shows it
# only as a floor that it does not break through. Test it on the finished network: mirrored images should cost it little.
#
# **Evaluating in training mode.** Batch norm then normalises each image by its company. In batches of one class, as a
# folder of images sorted by name gives them, the company *is* the label's, and accuracy collapses or flatters. The loss
# curve and the heatmap, made in training, look healthy; only the number beside the curve is wrong.

# %%
images, labels = test[:]


def right(model, images, labels):
    """How many are recognised, in the mode that the model is in."""
    with mr.no_grad():
        return int((model(mr.tensor(images)).numpy().argmax(1) == labels).sum())


mirrored = right(model.eval(), images[:, :, :, ::-1].copy(), labels) / len(labels)
print(f"mirrored test images: {mirrored:.1%}, as they are {accuracy:.1%} ({what})")


def falsify(model, accuracy):
    """One class a batch; by how much the accuracy is falsified, and in which direction, is up to the data."""
    flattered = sum(right(model.train(), images[labels == c], labels[labels == c]) for c in range(10)) / len(labels)
    print(f"in training mode, one class a batch: {flattered:.1%}; evaluated rightly: {accuracy:.1%}")
    claim("training mode falsifies the accuracy, by more than 5 points", abs(flattered - accuracy) > 0.05, abs(flattered - accuracy))


falsify(model, accuracy)
also_at("learning rate 0.02", lambda: falsify(slower[0], slower[3]))

# %% [markdown]
# ## Exercises
#
# - `minires new residual_block` and `minires new gradient_flow`: both of this lesson's halves, graded.
# - Remove `out += self.downsample(x)` and run again: your plain twin. What does the heatmap show, and at which step?
# - Put one idea of lessons 13 to 17 into `MyBlock` (pre-activation, zero-γ, SkipInit, a gate), and say before running
#   what the fork strip will look like.
# - `POOL = 1`, `WIDTH = 16`, `STEPS = 64_000` and batches of 128 are the paper's ResNet-20: 8.75 % test error, with all
#   50,000 images. Bring time.
#
# Answers: [20_build_your_own](answers/20_build_your_own.md).
#
# ## Sources
#
# - K. He, X. Zhang, S. Ren, J. Sun, *Deep Residual Learning*, 2015 (arXiv 1512.03385), section 4.2.
# - A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009 (CIFAR-10).
# - E. Alpaydin, C. Kaynak, *Optical Recognition of Handwritten Digits*, UCI Machine Learning Repository, 1998.

# %%
finish()
