# %% [markdown]
# # 16. Without batch norm: what it did for residual networks
#
# *Batch norm can be thrown out of a deep residual network. What must take its place?*
#
# Takes 90 s (quick: 7 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import data, flow, models, nn, optim, train
from minires.flow import plots
from minires.lesson import QUICK, claim, finish, progress, show

DEPTH, EPOCHS, SEEDS = (8, 3, range(1)) if QUICK else (38, 8, range(2))
digits, test = data.digits()

# %% [markdown]
# **Predict first.** Take all batch norms out of a residual network of 38 layers. Multiply every branch by a learned
# number $\alpha$: block $\ell$ computes $x + \alpha F(x)$. At which start value does it train best?
#
# - a) $\alpha = 1$: the block as it always was;
# - b) $\alpha = 0$ or something small, such as $1/\sqrt n$ for $n$ blocks;
# - c) it makes no difference: α is learned, and after some steps it is where it should be.
#
# ## What happens to the variance
#
# He's initialisation keeps the variance through a branch. So a branch that reads variance $v$ returns about $v$, and at
# initialisation skip and branch are uncorrelated: their variances add. Three networks, three recurrences:
#
# $$v_{\ell+1} = v_\ell + v_\ell = 2 v_\ell, \qquad
#   v_{\ell+1} = v_\ell + 1, \qquad
#   v_{\ell+1} = (1 + \alpha^2) \, v_\ell .$$
#
# The first has no batch norm: the variance **doubles**, $v_\ell = 2^\ell$. The second normalises at the start of each
# branch, whose output then has variance 1 whatever comes in: $v_\ell = 1 + \ell$. The third scales the branch. With
# $\alpha = 1/\sqrt n$, the end of $n$ blocks has $(1 + 1/n)^n \to e$; with $\alpha = 0$ nothing grows at all.
#
# Look at the *share* of the branch in the sum. Without batch norm it is one half in every block: the network is as far
# from the identity as it can be, and a typical path crosses $n/2$ branches. With batch norm the share in block $\ell$ is
# $1/(1 + \ell)$. Batch norm, put into the branch, **scales the branch down by about the square root of the depth**. De
# and Smith found that this is the part of it that deep residual networks need.
#
# ## Measured at initialisation

# %%
BLOCKS, WIDTH = 16, 128


def activations(seed: int, **options) -> np.ndarray:
    """Variance at the first block's input and behind every block."""
    mr.manual_seed(seed)
    model = models.mlp(2 * BLOCKS + 2, WIDTH, residual=True, **options)
    return flow.variance_profile(model, mr.randn(128, WIDTH)).activation


settings = {
    "no BN, α = 1": (dict(norm=False), 2.0 ** np.arange(BLOCKS + 1)),
    "with BN": ({}, 1.0 + np.arange(BLOCKS + 1)),
    "no BN, α = 1/√n": (dict(norm=False, scale=BLOCKS**-0.5), (1 + 1 / BLOCKS) ** np.arange(BLOCKS + 1)),
}
variance = {
    name: np.exp(np.mean([np.log(activations(seed, **options)) for seed in range(5)], axis=0))
    for name, (options, _) in settings.items()
}
for name, (_, theory) in settings.items():
    print(f"{name:<17} variance behind block {BLOCKS}: {variance[name][-1]:10.4g}   theory {theory[-1]:10.4g}")
    off = float(np.abs(np.log2(variance[name] / theory)).max())
    claim(f"{name}: within a factor 2 of theory in all {BLOCKS} blocks", off < 1, 2**off)

# %% [markdown]
# ## The block, by hand
#
# This is all of SkipInit: one scalar. The library's `models.SkipInitBlock` is the same, with the biases that batch norm
# leaves behind; `ReZeroBlock` puts the scalar into the ordinary block and keeps the norms.


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
claim("at α = 0 the block is the identity", np.array_equal(by_hand(x).data, x.data))
by_hand.alpha.data[...] = library.alpha.data[...] = 0.7
claim("by hand and library agree at α = 0.7", np.allclose(by_hand(x).data, library(x).data, atol=1e-5))

# %% [markdown]
# At $\alpha = 0$ the branch's weights get no gradient in the first step, but α does:
# $\partial L / \partial \alpha = \langle g, F(x) \rangle$. One step later α is not zero and everything learns. (With
# *both* α and the last layer at zero, nothing would ever move: the second mistake below.)
#
# **Fixup** reaches the same end by other means: the last convolution of every branch starts at 0, the others are scaled
# by $L^{-1/(2m-2)}$ for $L$ branches of $m$ layers, with scalar biases and one scalar scale per branch. There is no α,
# but at the start every block is its shortcut too.
#
# ## Trained
#
# The same learning rate, warm-up and order of images for all; the residual networks without batch norm and the plain one
# share their weights. The plain network without batch norm is the one that the whole course is about.


# %%
def fit(model: models.ResNet, seed: int) -> np.ndarray:
    """The training loss of every step."""
    optimizer = optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=1e-4)
    steps = EPOCHS * data.batch_count(digits, 64, drop_last=True)
    warm_up = min(20, steps // 4)
    rise = optim.LinearLR(optimizer, 1 / 20, total_iters=warm_up)
    drop = optim.MultiStepLR(optimizer, [int(0.7 * steps) - warm_up])
    schedule = optim.SequentialLR(optimizer, [rise, drop], [warm_up])
    history = train.fit(
        model,
        digits,
        optimizer,
        epochs=EPOCHS,
        batch_size=64,
        drop_last=True,
        schedule=schedule,
        seed=seed,
        progress=False,
    )
    return np.array(history.step_loss)


def networks(seed: int):
    """(name, network), one after the other."""
    mr.manual_seed(seed)
    plain, residual = models.twins(DEPTH, 8, in_channels=1, block=models.SkipInitBlock)
    start = residual.state_dict()
    yield "plain, no BN", plain
    n = len(residual.blocks())
    for name, alpha in (("α = 1", 1.0), ("α = 0", 0.0), ("α = 1/√n", n**-0.5)):
        residual.load_state_dict(start)
        for block in residual.blocks():
            nn.init.constant_(block.alpha, alpha)
        yield name, residual
    yield "Fixup", models.VARIANTS["fixup"].build(DEPTH, 8, in_channels=1)
    yield "with BN", models.resnet_cifar(DEPTH, 8, in_channels=1)


losses: dict[str, list[np.ndarray]] = {}
for seed in SEEDS:
    for name, model in progress(networks(seed), f"seed {seed}", total=6):
        losses.setdefault(name, []).append(fit(model, seed))
        final = losses[name][-1][-20:].mean()
        print(
            f"seed {seed}  {name:<13} loss {losses[name][-1][0]:6.2f} → {final:.3f}  test {train.evaluate(model, test).accuracy:.1%}"
        )
final = {name: float(np.mean([run[-20:].mean() for run in runs])) for name, runs in losses.items()}
guessing = float(np.log(10))

# %%
figure, axes = plt.subplots(1, 2, figsize=(12, 4.8), layout="constrained")
colours = {"no BN, α = 1": "#D55E00", "with BN": "#009E73", "no BN, α = 1/√n": "#0072B2"}
ax, ends = axes[0], []
for name, (_, theory) in settings.items():
    ax.plot(theory, ":", color="#999999", lw=2)
    ax.plot(variance[name], "o", color=colours[name], ms=4.5)
    ends.append((variance[name][-1], name, colours[name]))
ax.set(yscale="log", xlim=(-0.5, 1.42 * BLOCKS), xticks=range(0, BLOCKS + 1, 4))
ax.set(xlabel="block ℓ", ylabel="variance of the activations")
ax.set_title("At initialisation: measured (dots), theory (dotted)", size=11)
plots.style.label_ends(ax, BLOCKS + 0.5, ends, ha="left")
ax, ends = axes[1], []
colours = {
    "plain, no BN": "#999999",
    "α = 1": "#D55E00",
    "α = 0": "#56B4E9",
    "α = 1/√n": "#0072B2",
    "Fixup": "#CC79A7",
    "with BN": "#009E73",
}
steps = len(losses["α = 0"][0])
for name, runs in losses.items():
    for run in runs:
        smooth = np.convolve(np.minimum(run, 20), np.ones(15) / 15, "valid")
        ax.plot(
            np.arange(len(smooth)) + 7, smooth, color=colours[name], lw=1.5, ls="--" if name == "plain, no BN" else "-"
        )
    ends.append((min(final[name], 20), name, colours[name] if name != "plain, no BN" else "#666666"))
ax.set(yscale="log", xlim=(0, 1.36 * steps), xlabel="step", ylabel="training loss (mean of 15 steps)")
ax.set_title(f"{DEPTH} layers, {len(SEEDS)} seed(s), one line each", size=11)
plots.style.label_ends(ax, 1.01 * steps, ends, ha="left")
show(figure, "16-without-batch-norm")

answer = "b" if final["α = 0"] < 0.7 * final["α = 1"] else "a" if final["α = 1"] < 0.7 * final["α = 0"] else "c"
print(
    f"At {DEPTH} layers the answer is {answer}): after {steps} steps the training loss is {final['α = 1']:.3f} from α = 1, "
    f"{final['α = 0']:.3f} from α = 0, {final['α = 1/√n']:.3f} from α = 1/√n and {final['Fixup']:.3f} with Fixup; with batch "
    f"norm {final['with BN']:.3f}; guessing is {guessing:.2f}."
)
plain, best = final["plain, no BN"], min(final["α = 1"], final["α = 0"], final["α = 1/√n"])
claim("plain without batch norm learns nothing: within 5 % of guessing", plain > 0.95 * guessing, plain)
claim("a shortcut is enough to learn without batch norm: below half of that", best < 0.5 * plain, best)
if not QUICK:  # the quick network is too shallow for it
    claim("at this depth α = 0 beats α = 1", final["α = 0"] < 0.7 * final["α = 1"], [final["α = 0"], final["α = 1"]])

# %% [markdown]
# Three honest remarks. First, the answer depends on the depth: run the script with `--quick`, which takes 8 layers, and
# α = 1 wins. Three blocks double the variance only three times, and a branch that is there from the start need not wait for
# its α. Second, α = 1 is not hopeless at 38 layers either; some seeds repair the start, others stay at guessing. With 56
# layers and CIFAR-10 images it starts at a loss of 14 to 67 and mostly stays at chance
# (`benchmarks/results/science.md`, row 15). There $1/\sqrt n$ trains at least as well as 0; here one of the two seeds
# is late. Third, batch norm is still the fastest, and that is no accident: it does more than shrink the branch.
#
# ## Common mistakes
#
# **Inputs that are not standardised.** With batch norm nobody notices: the first norm swallows any scale. Without it the
# whole network is multiplied by it. Below, pixels from 0 to 16 instead of standardised ones.
#
# **Two zeros in a row.** Zero α *and* a zero last convolution: each one's gradient is multiplied by the other. The
# branch is dead, and no error message says so. You see it in the recording: the branch's share is 0, in every step.

# %%
raw = digits.pixels[:256].astype(np.float32)  # 0 … 16
labels = mr.tensor(digits.labels[:256])
for name, options in (("with BN", {}), ("SkipInit", dict(block=models.SkipInitBlock))):
    mr.manual_seed(0)
    model = models.resnet_cifar(14, 8, in_channels=1, **options)
    outputs = [float(np.std(model(mr.tensor(pixels)).data)) for pixels in (digits[:256][0], raw)]
    print(f"{name:<9} std of the outputs: standardised {outputs[0]:.2f}, raw pixels {outputs[1]:.2f}")
claim(
    "SkipInit passes the scale of raw pixels on, by a factor above 2",
    outputs[1] > 2 * outputs[0],
    outputs[1] / outputs[0],
)

mr.manual_seed(0)
dead = models.resnet_cifar(14, 8, in_channels=1, block=models.SkipInitBlock)
for block in dead.blocks():
    nn.init.zeros_(block.conv2.weight)
optimizer = optim.SGD(dead.parameters(), 0.05, momentum=0.9)
for images, targets in data.batches(digits, 64, drop_last=True):
    train.train_step(dead, optimizer, images, targets)
shares = [fork.share for fork in flow.record(dead, *digits[:64]).forks]
claim("two zeros: after an epoch every branch still carries nothing", max(shares) == 0, max(shares))

# %% [markdown]
# ## Exercises
#
# - `minires new batch_norm`, then train your network without it.
# - Set `DEPTH = 56` in the script. Which of the curves change?
# - Scale the branches by $1/\sqrt{\ell}$, as batch norm does, instead of $1/\sqrt n$. What is the variance behind the last
#   block, and does it train?
# - `minires flow --model skipinit` draws every figure of the instrument for the network of this lesson.
#
# ## Sources
#
# - S. De, S. Smith, *Batch Normalization Biases Residual Blocks Towards the Identity Function*, 2020 (arXiv 2002.10444).
# - T. Bachlechner et al., *ReZero is All You Need*, 2020 (arXiv 2003.04887).
# - H. Zhang, Y. Dauphin, T. Ma, *Fixup Initialization*, 2019 (arXiv 1901.09321).

# %%
finish()
