# %% [markdown]
# # 17. Without batch norm: what it did for residual networks
#
# *Batch norm can be thrown out of a deep residual network. What must take its place?*
#
# Takes 68 s (quick: 5 s). A long one: nineteen networks of 44 layers.

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import data, flow, models, nn, train
from minires.flow import plots
from minires.lesson import QUICK, also_at, answer, claim, finish, fit, progress, show

DEPTH, EPOCHS, SEEDS = (8, 3, range(1)) if QUICK else (44, 6, range(2))
warnings.simplefilter("ignore", RuntimeWarning)  # a network may overflow here; that is one of the results
digits, test = data.digits()

# %% [markdown]
# **Predict first.** Take all batch norms out of a residual network of 44 layers. Multiply every branch by a learned
# number $\alpha$: block $\ell$ computes $x + \alpha F(x)$. At which start value does it train best?
#
# - a) $\alpha = 1$: the block as it always was;
# - b) $\alpha = 0$ or something small, such as $1/\sqrt n$ for $n$ blocks;
# - c) it makes no difference: α is learned, and after some steps it is where it should be.
#
# ## What is missing
#
# Lesson 10 has followed the variance forward. In a residual network without batch norm it doubles with every block, and
# with a batch norm at the start of each branch it grows by 1. Say the same of the *share* that block $\ell$ has in its
# sum: without batch norm it is one half, so the network is as far from the identity as it can be. With batch norm it is
#
# $$\frac{1}{1 + \ell}, \qquad \text{with a factor } \alpha \text{ in front of the branch} \quad
#   \frac{\alpha^2}{1 + \alpha^2}.$$
#
# Batch norm, put into the branch, **scales the branch down by about the square root of the depth**. De and Smith found
# that this is the part of it that deep residual networks need. A factor $\alpha$ has the same effect: with $1/\sqrt n$
# in each of $n$ blocks the variance stays below $e$, and with $\alpha = 0$ nothing grows at all.
#
# %% [markdown]
# ## The block, by hand
#
# This is all of SkipInit: one scalar. The library's `models.SkipInitBlock` is the same, with the biases that batch norm
# leaves behind.

# %%
class SkipInitByHand(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.alpha = nn.Parameter(np.zeros(1, np.float32))

    def forward(self, x):
        return x + self.alpha * self.conv2(self.conv1(x.relu()).relu())


mr.manual_seed(0)
by_hand, library = SkipInitByHand(4), models.SkipInitBlock(4, 4)
for mine, theirs in ((by_hand.conv1, library.conv1), (by_hand.conv2, library.conv2)):
    theirs.weight.data[...] = mine.weight.data
x = mr.randn(2, 4, 8, 8)
claim("at α = 0 the block is the identity", np.array_equal(by_hand(x), x))
by_hand.alpha.data[...] = library.alpha.data[...] = 0.7
claim("by hand and library agree at α = 0.7", np.allclose(by_hand(x), library(x), atol=1e-5))

# %% [markdown]
# At $\alpha = 0$ the branch's weights get no gradient in the first step, but α does:
# $\partial L / \partial \alpha = \langle g, F(x) \rangle$. One step later α is not zero and everything learns. (With
# *both* α and the last layer at zero, nothing would ever move: the second mistake below.)
#
# Two relatives. **Fixup** reaches the same start without α: the last convolution of every branch is 0, the others are
# scaled by $L^{-1/(2m-2)}$ for $L$ branches of $m$ layers, and scalar biases and one scalar scale per branch do the
# rest of what batch norm did. **ReZero** puts the scalar α = 0 before any branch, of whatever kind; before that of an
# ordinary ResNet, as here, it leaves the batch norms where they are. So the three differ in what they keep, and agree
# in one thing: at the start every block is its shortcut.
#
# ## Trained
#
# The same learning rate, warm-up and order of images for all, and the three SkipInit networks share their weights.

# %%
def networks(seed: int):
    """(name, network), one after the other."""
    mr.manual_seed(seed)
    residual = models.resnet_cifar(DEPTH, 8, in_channels=1, block=models.SkipInitBlock)
    start = residual.state_dict()
    for name, alpha in (("α = 1", 1.0), ("α = 1/√n", len(residual.blocks()) ** -0.5), ("α = 0", 0.0)):
        residual.load_state_dict(start)
        for block in residual.blocks():
            nn.init.constant_(block.alpha, alpha)
        yield name, residual
    yield "with BN", models.resnet_cifar(DEPTH, 8, in_channels=1)


GUESSING = float(np.log(10))


def train_all(lr, seeds):
    """The losses of every step by name, one array for each seed; where one overflowed, guessing. Makes the claims."""
    runs: dict[str, list[np.ndarray]] = {}
    for seed in seeds:
        for name, model in progress(networks(seed), f"seed {seed}", total=4):
            losses = np.fmin(fit(model, digits, EPOCHS, lr=lr, seed=seed), 100)
            runs.setdefault(name, []).append(losses)
            end, accuracy = losses[-20:].mean(), train.evaluate(model, test).accuracy
            print(f"rate {lr}, seed {seed}  {name:<9} loss {losses[0]:6.2f} → {end:.3f}  test {accuracy:.1%}")
    one, small, zero = ([at_the_end(losses) for losses in runs[f"α = {start}"]] for start in ("1", "1/√n", "0"))
    best = [min(trio) for trio in zip(one, small, zero)]
    claim("a shortcut is enough to learn without batch norm: the best α ends below half of guessing, in every seed",
          max(best) < 0.5 * GUESSING, best)  # fmt: skip
    if not QUICK:  # the quick network is too shallow for it
        claim("with α = 0 and α = 1/√n every seed learns, below a quarter of guessing, with α = 1 not every one",
              max(*zero, *small) < GUESSING / 4 < GUESSING / 2 < max(one), [*zero, *small, *one])  # fmt: skip
    return runs


def at_the_end(losses):
    """The mean loss of the last 20 steps; guessing if it is worse than that."""
    return float(min(losses[-20:].mean(), GUESSING))


runs = train_all(0.05, SEEDS)
also_at("learning rate 0.01", lambda: train_all(0.01, SEEDS[1:]), fails=["with α = 0", "the best α"])
final = {name: [at_the_end(losses) for losses in found] for name, found in runs.items()}
mean = {name: float(np.mean(found)) for name, found in final.items()}

# %%
figure, axes = plt.subplots(1, 2, figsize=(13, 4.8), layout="constrained")
colours = dict(zip(final, ("#CD4A00", "#A96600", "#007BC0", "#008661")))
axes[0].set(yscale="log", xlabel="step", ylabel="training loss", title=f"{DEPTH} layers: mean of the seeds, and their range")
thinned = {name: np.reshape(found, (len(found), 22, -1)).mean(2) for name, found in runs.items()}
plots.runs(axes[0], (np.arange(22) + 0.5) * EPOCHS, thinned, colours)
axes[0].axhline(GUESSING, color="#757575", ls=":", lw=1.5)
for x, (name, found) in enumerate(final.items()):
    axes[1].plot(x, mean[name], "_", color=colours[name], ms=34, mew=4)
    axes[1].plot([x] * len(found), found, "o", color="#222222", ms=6)
axes[1].axhline(GUESSING, color="#757575", ls=":", lw=1.5)
axes[1].text(len(final) - 0.45, 1.04 * GUESSING, "guessing", ha="right", va="bottom", color="#666666")
axes[1].set_xticks(range(len(final)), final)
axes[1].set(yscale="log", ylim=(min(map(min, final.values())) / 2, 5), xlim=(-0.5, len(final) - 0.5))
axes[1].set_ylabel("training loss at the end (last 20 steps)")
axes[1].set_title(f"After {EPOCHS} epochs: seeds (dots), mean (dash)")
show(figure, "17-without-batch-norm")

letter = "b" if mean["α = 0"] < 0.7 * mean["α = 1"] else "a" if mean["α = 1"] < 0.7 * mean["α = 0"] else "c"
values = ", ".join(f"{name}: {value:.3f}" for name, value in mean.items())
print(f"At {DEPTH} layers and rate 0.05: {answer(letter)}. Training loss, mean of the seeds: {values}; guessing: {GUESSING:.2f}.")

# %% [markdown]
# Left: the loss over the steps. Right: what is left at the end, by seed, on a logarithmic axis. The dotted line is that
# of a network that has learnt nothing.
#
# Three honest remarks. First, the answer depends on the depth: run the script with `--quick`, which takes 8 layers, and
# α = 1 wins. Three blocks double the variance only three times, and a branch that is there from the start need not wait
# for its α. Second, it depends on the rate. α = 1 starts with outputs far too large; some seeds begin to repair that,
# others stay at guessing. At a fifth of the rate none of the three has learnt much after so few steps, as the second
# setting says. With 56 layers and CIFAR-10 images α = 1 starts at a loss of 14 to 67 and mostly stays at chance
# (`benchmarks/results/science.md`, row 15). Third, batch norm is the lowest, and that is no accident: it does more than
# shrink the branch. (Fixup, ReZero and the plain network are left for the first exercise; its answer has the table.)
#
# ## Plain, without batch norm, and trained
#
# A network with neither shortcut nor batch norm, started as He et al. do it, stays at guessing. (The plain networks of
# lessons 9 and 11 have batch norm.) What keeps it there is its start. He's keeps the *size* of a signal, but behind 44
# random layers all digits look alike. So mirror every kernel: with $Q$ and $-Q$ side by side, what the ReLU cuts off of
# the one it lets through of the other,
#
# $$\begin{pmatrix} Q & -Q \\ -Q & Q \end{pmatrix} \mathrm{relu}\begin{pmatrix} x \\ -x \end{pmatrix}
#   = \begin{pmatrix} Q x \\ -Q x \end{pmatrix},$$
#
# and the network starts as a *linear* map ("looks-linear", Balduzzi et al. 2017). With an orthogonal $Q$ in the middle
# of a 3×3 kernel of zeros ("delta-orthogonal", Xiao et al. 2018) that map keeps all lengths and angles. No shortcut, no
# batch norm, and if the learning rate is small it learns.

# %%
def looks_linear(model):
    """Start the model with mirrored kernels, orthogonal and all in the middle; the first one is only mirrored."""
    for w in (p for p in model.parameters() if p.ndim == 4):
        half, before = len(w) // 2, w.shape[1] // 2
        if before:
            q = nn.init.orthogonal_(mr.zeros(half, before)).numpy()
            w.data[...] = 0
            w.data[:, :, 1, 1] = np.block([[q, -q], [-q, q]])
        else:
            w.data[half:] = -w.data[:half]
    return model


def end(lr, seed, start=looks_linear):
    mr.manual_seed(seed)
    plain = start(models.twins(DEPTH, 8, in_channels=1, block=models.SkipInitBlock)[0])
    loss = at_the_end(np.nan_to_num(fit(plain, digits, EPOCHS, lr=lr, seed=seed), nan=np.inf))
    print(f"plain, {start.__name__}, rate {lr}: loss {loss:.3f}, test {train.evaluate(plain, test).accuracy:.1%}")
    return loss


def as_he_does(model):
    return model


def it_learns(lr, seeds):
    before, ends = ([end(lr, seed, start) for seed in seeds] for start in (as_he_does, looks_linear))
    claim("plain, from He's start, learns nothing: within 5 % of guessing", min(before) > 0.95 * GUESSING, before)
    claim(f"plain-{DEPTH} without batch norm learns from a looks-linear start: below half of guessing",
          max(ends) < GUESSING / 2, ends)  # fmt: skip


it_learns(0.1 if QUICK else 0.005, SEEDS)  # few layers want a larger rate
also_at("learning rate 0.01", lambda: it_learns(0.01, SEEDS[:1]))
if not QUICK:  # fewer layers learn there, too
    fast = end(0.05, 0)
    claim("but not at 0.05, where α = 0 learns", fast > 0.95 * GUESSING, fast)

# %% [markdown]
# So batch norm and shortcuts are not the only way to train a network this deep. They are the way that needs neither a
# special start nor a small learning rate. What does it is that *every* direction gets through, not only the average one
# (lesson 7): LSUV (Mishkin & Matas 2015), which divides each layer by the standard deviation of its output, sets the
# average and learns nothing; tanh in place of ReLU, delta-orthogonal, learns (`minires experiments plain-starts`).
#
# ## One learning rate for all depths
#
# $1/\sqrt n$ in front of the branches does more than hold the variance. If each of $n$ branches moves the output by
# $1/\sqrt n$, and the gradient that moves it carries a second $1/\sqrt n$, a step changes the function by the same amount
# at any depth. So the best learning rate of a shallow network is that of a deep one (Bordelon et al. 2023, Yang et al.
# 2023, *depth-µP*). `minires experiments depth-scaling` tries nine rates on fully connected networks, five seeds: from 8
# to 128 blocks the best one moves by a factor of 1.1 on average, as much as chance moves it. With unscaled branches it
# falls to a quarter or less from 8 blocks to 16, and 32 train at no rate at all.
#
# ## Common mistakes
#
# **Inputs that are not standardised.** With batch norm nobody notices: the first norm swallows any scale. Without it
# the whole network is multiplied by it. Below, pixels from 0 to 16 instead of standardised ones.
#
# **Two zeros in a row.** Zero α *and* a zero last convolution: each one's gradient is multiplied by the other. The
# branch is dead, and no error message says so: stem, shortcuts and classifier go on learning, and the loss even falls.
# You see it in the recording. The fork strip of lesson 11 is blue from top to bottom in every block and at every step,
# where α = 0 alone shows a first edge of orange after one step.

# %%
raw = digits.pixels[:256].astype(np.float32)  # 0 … 16
for name, options in (("with BN", {}), ("SkipInit", dict(block=models.SkipInitBlock))):
    mr.manual_seed(0)
    model = models.resnet_cifar(8, 8, in_channels=1, **options)
    outputs = [float(np.std(model(mr.tensor(pixels)).numpy())) for pixels in (digits[:256][0], raw)]
    print(f"{name}: std of the outputs {outputs[0]:.2f} for standardised, {outputs[1]:.2f} for raw pixels")
claim("SkipInit passes the scale of raw pixels on, by a factor above 2", outputs[1] > 2 * outputs[0], outputs[1] / outputs[0])

dead = model
for block in dead.blocks():
    nn.init.zeros_(block.conv2.weight)
fit(dead, digits, epochs=1, lr=0.05)
shares = [fork.share for fork in flow.record(dead, *digits[:64]).forks]
claim("two zeros: after an epoch every branch still carries nothing", max(shares) == 0, max(shares))

# %% [markdown]
# ## Exercises
#
# - Train three more: Fixup, ReZero (`models.VARIANTS["fixup"]`, `["rezero"]`) and the plain network. Where do they end?
# - `minires new batch_norm`, then train your network without it.
# - Set `DEPTH = 20`, then 56. Which of the losses change?
# - Scale the branches by $1/\sqrt{\ell}$, as batch norm does, instead of $1/\sqrt n$. What is the variance behind the
#   last block, and does it train?
# - `minires flow --model skipinit` draws every figure of the instrument for the network of this lesson.
#
# Answers: [17_without_batch_norm](answers/17_without_batch_norm.md).
#
# ## Sources
#
# - S. De, S. Smith, *Batch Normalization Biases Residual Blocks Towards the Identity Function in Deep Networks*,
#   2020 (arXiv 2002.10444).
# - T. Bachlechner et al., *ReZero is All You Need: Fast Convergence at Large Depth*, 2020 (arXiv 2003.04887).
# - D. Balduzzi et al., *The Shattered Gradients Problem*, 2017 (arXiv 1702.08591): the looks-linear start. L. Xiao et
#   al., *Dynamical Isometry and a Mean Field Theory of CNNs*, 2018 (arXiv 1806.05393): delta-orthogonal kernels.
# - H. Zhang, Y. Dauphin, T. Ma, *Fixup Initialization: Residual Learning Without Normalization*, 2019 (arXiv
#   1901.09321).
# - D. Mishkin, J. Matas, *All You Need Is a Good Init*, 2015 (arXiv 1511.06422). B. Bordelon et al., *Depthwise
#   Hyperparameter Transfer in Residual Networks*, 2023 (arXiv 2309.16620); G. Yang et al., 2023 (arXiv 2310.02244).

# %%
finish()
