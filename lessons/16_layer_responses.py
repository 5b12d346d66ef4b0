# %% [markdown]
# # 16. Layer responses: how much a layer of a trained ResNet does
#
# *If every block only adds a little to what passes it, can you measure the little?*
#
# Takes 63 s (quick: 4 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import data, flow, models, nn, train
from minires.flow import plots
from minires.lesson import QUICK, also_at, answer, claim, finish, fit, progress, show

DEPTH, EPOCHS, SEEDS = (14, 2, range(1)) if QUICK else (20, 8, range(2))
digits, test = data.digits()

# %% [markdown]
# He et al. argued that a residual block should find it easy to stay close to the identity: its branch then learns a
# small correction. To check it they measured the **response** of every 3×3 layer: the standard deviation of its output
# behind the batch norm, before the ReLU or the addition.
#
# **Predict first.** You train a plain network, its residual twin, and a residual network whose branches start at zero
# ($\gamma = 0$ in the last batch norm of each, "zero-γ"), all on handwritten digits, for a few minutes at most. Compare
# the mean response of the *last* layer of each block, the one that meets the addition:
#
# - a) the residual network's is far below the plain one's, as in the paper; zero-γ is lower still;
# - b) the residual network's is barely below the plain one's; only zero-γ is far below;
# - c) all three are the same: training moves them to where they need to be.
#
# ## What a response is
#
# Batch norm hands on $y = \gamma \hat{x} + \beta$, where every channel of $\hat{x}$ has mean 0 and variance 1 over the
# batch. The standard deviation over examples, positions *and* channels therefore does not depend on the convolution's
# weights at all. The variance of the whole is the mean variance inside a channel plus the variance between their means:
#
# $$\mathrm{std}(y)^2 = \frac{1}{C} \sum_c \gamma_c^2 + \mathrm{Var}_c(\beta_c) .$$
#
# Both start at the same values in every layer, $\gamma = 1$ and $\beta = 0$, so all responses start at 1, plain or
# residual. A response measures how far training has moved $\gamma$. That takes many steps, and it is the first reason
# why a short experiment shows less than the paper.

# %%
def response_by_hand(norm: nn.BatchNorm2d) -> float:
    gamma, beta = (parameter.numpy().astype(np.float64) for parameter in (norm.weight, norm.bias))
    return float(np.sqrt((gamma**2).mean() + beta.var()))


# %% [markdown]
# ## Train four networks from one start
#
# The fourth has **stochastic depth**: in every training step block $\ell$ of $L$ is dropped with a probability that
# rises linearly to one half, and only its shortcut remains. On average $L - \sum_\ell \ell / 2L = (3L - 1)/4$ blocks
# run. In evaluation all blocks run, each branch scaled by its probability of survival. Zero-γ asks for small branches
# at the start; stochastic depth asks for branches that the network can do without.

# %%
def build(seed: int) -> dict[str, models.ResNet]:
    """Four networks, equal in every weight they share."""
    mr.manual_seed(seed)
    plain, residual = models.twins(DEPTH, 8, in_channels=1)
    networks = {"plain": plain, "residual": residual}
    for name, variant in (("zero-γ", "zero-gamma"), ("stochastic depth", "stochastic-depth")):
        networks[name] = models.VARIANTS[variant].build(DEPTH, 8, in_channels=1)
        networks[name].load_state_dict(residual.state_dict())
    networks["zero-γ"].zero_branches()
    return networks


def train_four(lr, seeds):
    runs = [build(seed) for seed in seeds]
    for seed, run in zip(seeds, runs):
        for name, model in progress(run.items(), f"seed {seed}", total=4):
            loss = fit(model, digits, EPOCHS, lr=lr, seed=seed)[-20:].mean()
            print(f"seed {seed}  {name:<17} training loss {loss:.3f}  test {train.evaluate(model, test).accuracy:.1%}")
    return runs


runs = train_four(0.1, SEEDS)

# %% [markdown]
# ## Measured: the responses
#
# `flow.responses` finds the batch norm behind each convolution in the graph. In training mode batch norm uses the
# statistics of the batch it is given, and the formula above must hold.

# %%
images = test[:][0]
residual = runs[0]["residual"].train()
by_hand = np.array([response_by_hand(norm) for block in residual.blocks() for norm in (block.bn1, block.bn2)])
library = flow.responses(residual, images).std[1:]  # the stem's comes first
off = float(np.abs(library / by_hand - 1).max())
claim("by hand, γ and the spread of β, is what flow.responses measures, to 1 %", off < 0.01, off)

def respond(runs):
    """The responses of all networks, and which of them are last layers; claims how strong these are."""
    found = [{name: flow.responses(model.eval(), images) for name, model in run.items()} for run in runs]
    last = np.array([name.endswith("conv2") for name in found[0]["plain"].names])  # the last layer of each block
    means = {name: float(np.mean([r[name].std[last].mean() for r in found])) for name in runs[0]}
    print("mean response of the last layers:", ", ".join(f"{name} {value:.3f}" for name, value in means.items()))
    ratio = {name: means[name] / means["plain"] for name in means}
    letter = "a" if ratio["residual"] < 0.6 else "b" if ratio["zero-γ"] < 0.6 else "c"
    print(f"{answer(letter)}: the last layers of residual blocks respond {ratio['residual']:.2f} times as strongly "
          f"as those of the plain network, with zero-γ {ratio['zero-γ']:.2f} times.")  # fmt: skip
    claim("residual: within a fifth of its plain twin", 0.8 < ratio["residual"] < 1.2, ratio["residual"])
    claim("zero-γ: below 0.7 of it", ratio["zero-γ"] < 0.7, ratio["zero-γ"])
    forks = {name: [flow.record(run[name].train(), *digits[:256]).forks for run in runs] for name in ("residual", "zero-γ")}
    length = [float(np.mean([sum(fork.share for fork in each) for each in of])) for of in forks.values()]
    claim("the gradient's paths are shorter with zero-γ: blocks crossed", length[1] < 0.8 * length[0], length)
    return found, last


found, last = respond(runs)

# %% [markdown]
# In the paper (figure 7) the residual network's responses are plainly lower, and lower still in deeper networks. It was
# trained for 64,000 steps; here the γ of a residual block, which starts at 1, has hardly left it. We do not see the
# paper's effect at this size, and our benchmark with CIFAR-10 images says that it is not a law there either
# (`benchmarks/results/science.md`, row 14). Start γ at 0 instead, and it stays small: a layer keeps much of the scale
# that it was born with, and so the start of a branch is a decision, not a detail. Goyal et al. made it for large batches.
#
# The last claim ties the response to lesson 14: a branch that responds weakly also returns little of the gradient, so
# the paths that carry it cross fewer blocks. The network has become *effectively* shallower without losing a layer.
#
# ## Which network can do without its blocks?
#
# Delete $k$ blocks at once from the trained network, at random among those that keep the shape, their shortcuts staying,
# and measure the test accuracy. (Veit et al. call it a lesion study; lesson 14 deleted one at a time.)

# %%
def accuracy_without(model: models.ResNet, deleted: np.ndarray) -> float:
    blocks = [model.blocks()[i] for i in deleted]
    for block in blocks:
        block.forward = lambda x, block=block: block.relu(block.shortcut(x))
    accuracy = train.evaluate(model, test).accuracy
    for block in blocks:
        del block.forward  # the class's own again
    return accuracy


candidates = [i for i, block in enumerate(residual.blocks()) if block.downsample is None]
counts, draws = range(len(candidates) + 1), 2 if QUICK else 10
orders = [np.random.default_rng(draw).permutation(candidates) for draw in range(draws)]


def delete_blocks(runs):
    """Mean accuracy of each network, (seeds, counts)."""
    robust: dict[str, np.ndarray] = {}
    for name in progress(["residual", "zero-γ", "stochastic depth"], "deleting"):
        kept = [[[accuracy_without(run[name], order[:k]) for order in orders] for k in counts] for run in runs]
        robust[name] = np.mean(kept, axis=2)
    kept = {name: float(curves[:, -1].mean()) for name, curves in robust.items()}
    print(f"all {len(candidates)} blocks deleted:", ", ".join(f"{name} {value:.1%}" for name, value in kept.items()))
    if not QUICK:  # in the few steps of the quick version zero-γ has not learnt enough to lose something
        pair = [kept["zero-γ"], kept["residual"]]
        claim("zero-γ, whose blocks do less, keeps more without them", pair[0] > pair[1] + 0.1, pair)
    return robust


robust = delete_blocks(runs)


def at_a_fifth():
    slow = train_four(0.02, SEEDS[:1])
    respond(slow)
    delete_blocks(slow)


also_at("learning rate 0.02", at_a_fifth)
figure, axes = plt.subplots(1, 2, figsize=(12, 4.6), layout="constrained")
plots.responses(axes[0], {name: found[0][name] for name in ("plain", "residual", "zero-γ")}, f"after {EPOCHS} epochs")
axes[0].hlines(1, 1, len(last), color="#757575", ls=":", lw=1.2)
axes[0].set_xlabel("3×3 convolution, from input to output (dotted: where all start)")
ax, ends = axes[1], [(0.1, "guessing", "#666666")]
for name, look in plots.style.looks(robust).items():
    curves = robust[name]
    ax.fill_between(counts, curves.min(0), curves.max(0), color=look["color"], alpha=0.2, lw=0)
    ax.plot(counts, curves.mean(0), **look, ms=5)
    ends.append((curves[:, -1].mean(), name, look["color"]))
ax.hlines(0.1, 0, counts[-1], color="#757575", ls=":", lw=1.2)
ax.set(xlim=(-0.2, counts[-1] + 0.2), ylim=(0, 1.03), xticks=list(counts), ylabel="test accuracy")
ax.set_xlabel("residual blocks deleted at once")
ax.set_title("Deleting blocks at random; the band spans the seeds", size=11)
plots.style.label_ends(ax, ends)
show(figure, "16-responses")

# %% [markdown]
# Left: the zigzag is zero-γ. Every second layer is the last of its block and started at 0; the one before it started at
# 1, and each stayed near its start. Right: what small branches buy. The less a block adds, the less it is missed.
#
# Stochastic depth surprises: it was trained with blocks missing, and yet its curve falls nearly as the ordinary network's
# does; with other seeds it comes closer to zero-γ's. Its survival falls *linearly* with depth: the first blocks, on
# which every later one depends, were almost always there. It has learnt to do without its last blocks, not without any;
# what this lesson deletes at random, it has hardly seen missing. (The paper claims a lower test error and a shorter
# training, not this.)
#
# ## Common mistakes
#
# **Reading a response as importance.** The response says how large the branch is, not how much its loss would hurt: the
# norms of later layers rescale everything. On the left the plain line lies beside the residual one; yet deleting any
# block of the plain network is fatal (lesson 14).
#
# **Evaluating stochastic depth in training mode.** Then blocks go missing in the exam. On the right its curve would
# start lower and jump about, another one in every run. Ten exams of one network:

# %%
model = runs[0]["stochastic depth"]
L, blocks_that_run = len(model.blocks()), sum(block.survival for block in model.blocks())
claim("the mean number of blocks that run is (3L − 1)/4", np.isclose(blocks_that_run, (3 * L - 1) / 4), blocks_that_run)
right = train.evaluate(model, test).accuracy
x, y = test[:]
mr.manual_seed(0)
with mr.no_grad():
    exams = [float((model.train()(mr.tensor(x)).numpy().argmax(1) == y).mean()) for _ in range(10)]
print(f"evaluated rightly {right:.1%}, in training mode from {min(exams):.1%} to {max(exams):.1%}")
claim("in training mode the result is another every time", max(exams) > min(exams), [min(exams), max(exams)])

# %% [markdown]
# ## Exercises
#
# - `minires new batch_norm`: write the layer whose γ is the response.
# - `minires new residual_block`, then give your block a `zero_branch` as in `minires/models/blocks.py`.
# - Train for 60 epochs. Does the residual network's line go down? Does it with `weight_decay=0`?
# - Let all blocks survive with the same probability (`block.survival = 0.75`) and repeat the deletion. Which blocks hurt?
#
# Answers: [16_layer_responses](answers/16_layer_responses.md).
#
# ## Sources
#
# - K. He, X. Zhang, S. Ren, J. Sun, *Deep Residual Learning*, 2015 (arXiv 1512.03385), section 4.2 and figure 7.
# - P. Goyal et al., *Accurate, Large Minibatch SGD*, 2017 (arXiv 1706.02677), section 5.1: γ = 0 at the start.
# - G. Huang, Y. Sun, Z. Liu, D. Sedra, K. Weinberger, *Deep Networks with Stochastic Depth*, 2016 (arXiv 1603.09382):
#   ResNet-110 on CIFAR-10 with 5.25 % test error against 6.41 %.
# - A. Veit, M. Wilber, S. Belongie, *Residual Networks Behave Like Ensembles of Relatively Shallow Networks*, 2016
#   (arXiv 1605.06431), section 4: deleting blocks.

# %%
finish()
