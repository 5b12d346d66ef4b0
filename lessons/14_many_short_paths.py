# %% [markdown]
# # 14. Many short paths: how deep a deep network really is
#
# *If a residual network is a sum over paths, how long are the paths that carry its gradient?*
#
# Takes 30 s (quick: 6 s).

# %%
import math

import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import data, flow, models, nn
from minires.flow import plots
from minires.lesson import QUICK, also_at, answer, claim, finish, fit, progress, show, slider

digits, test = data.digits()

# %% [markdown]
# **Predict first.** A residual network of 27 blocks is a sum over $2^{27}$ paths, half of which cross 13.5 branches or
# more. We sort the gradient at its first block, at initialisation, by the number of branches it crossed. What is the
# mean length?
#
# - a) 13.5, as most paths are that long.
# - b) About 8.
# - c) About 5.
#
# ## Unravelled
#
# Two blocks, written out (Veit et al. 2016):
#
# $$x_2 = x_1 + F_2(x_1) = x_0 + F_1(x_0) + F_2\big(x_0 + F_1(x_0)\big).$$
#
# Going back the network is linear, so the gradient *is* a sum over paths: each block passes on what its shortcut gives
# plus what its branch returns, $(S^\top + B^\top)\, g$. Nobody needs to walk $2^n$ paths to sort them by length. Keep
# $G_k$, the part that crossed exactly $k$ branches so far. Starting from $G_0 = \partial L/\partial x_n$, set at each
# block
#
# $$G'_k = S^\top G_k + B^\top G_{k-1}, \qquad \sum_k G_k = \frac{\partial L}{\partial x_0}.$$
#
# Read it as a queue at a toll gate: of what arrives with $k$ branches behind it, the shortcut's share goes on as $k$,
# the branch's share as $k + 1$. Nothing is lost and nothing is estimated; $n$ blocks cost about $n^2/2$ backward steps.
#
# By hand, for a small network whose blocks are $x + B\,x$ with a matrix $B$, against the library, whose blocks may be
# anything that is built of a shortcut and a branch.

# %%
class LinearBlock(nn.Module):
    """x + x·Wᵀ."""

    def __init__(self, width):
        super().__init__()
        self.fc = nn.Linear(width, width, bias=False)

    def forward(self, x):
        return x + self.fc(x)


mr.manual_seed(0)
small = nn.Sequential(*[LinearBlock(6) for _ in range(5)]).double()
x, u = mr.randn(1, 6).double(), np.random.default_rng(0).standard_normal((1, 6))
G = {0: u}
for block in reversed(list(small)):
    B = block.fc.weight.numpy()
    G = {k: G.get(k, 0) + (G[k - 1] @ B if k - 1 in G else 0) for k in range(len(G) + 1)}
library = flow.path_spectrum(small, x, u, lambda y, u: (y * u).sum(), arrays=True, progress=False)
error = max(np.abs(G[k] - library.arrays[k]).max() for k in range(6))
claim("the recursion by hand equals flow.path_spectrum", error < 1e-12, error)
claim("there are C(5, k) paths of each length", list(library.counts) == [math.comb(5, k) for k in range(6)])

# %% [markdown]
# Now a real one: 27 blocks BN–ReLU–Linear–BN–ReLU–Linear, at initialisation, on digits. Veit et al. estimated the
# lengths differently: they sampled single paths with $k$ branches and multiplied the mean norm by the *number* of such
# paths. That is the length of the sum if all paths pointed the same way. The instrument does both.

# %%
BLOCKS = 27
SEEDS = range(1 if QUICK else 3)
images, labels = digits[:64]
flat = images.reshape(64, -1)
spectra = []
for seed in progress(SEEDS, "spectra"):
    mr.manual_seed(seed)
    deep = models.mlp(2 * BLOCKS + 2, 64, residual=True)
    spectra.append(flow.path_spectrum(deep, flat, labels, samples=2 if QUICK else 10, seed=seed, progress=False))
exact = [s.effective_length for s in spectra]
sampled = [s.sampled_length for s in spectra]
guess = min({"a": BLOCKS / 2, "b": 8.0, "c": 5.0}.items(), key=lambda kv: abs(kv[1] - exact[0]))[0]
print(f"all paths: mean length {BLOCKS / 2}; sampled, as if they agreed: {np.mean(sampled):.1f}; exact: "
      f"{np.mean(exact):.1f}: {answer(guess)}")  # fmt: skip
short, carried = (np.cumsum(part) / np.sum(part) for part in (spectra[0].counts, np.square(spectra[0].norms)))
slider("{paths:.2%} of all paths cross at most {k} branches; they carry {gradient:.0%} of the squared gradient.", 6,
       k=range(BLOCKS + 1), paths=short.astype(float), gradient=carried)  # fmt: skip
claim("the parts sum to the gradient", max(s.sum_error for s in spectra) < 1e-4, max(s.sum_error for s in spectra))
claim("the effective length is below 7 of 27", max(exact) < 7, exact)
claim("the sampled estimate overstates it by more than a quarter", min(np.divide(sampled, exact)) > 1.25, sampled)
estimate = sum(fork.share for fork in flow.record(deep, flat, labels).forks)
claim("Σ r²/(1 + r²) over the forks, r = ‖branch‖/‖skip‖, gives the exact length within 15 %",
      abs(estimate / exact[-1] - 1) < 0.15, estimate)  # fmt: skip

# %% [markdown]
# Why so short? Let $v_\ell$ be the variance over the batch of what enters block $\ell$. A branch ends in ReLU–Linear,
# and what it adds has the second moment 1 but, as the mean of a ReLU is the same for all inputs, only the *batch
# variance* $1 - \frac1\pi$ (lesson 9). So $v_\ell = 1 + (1 - \frac1\pi)(\ell - 1)$ if the inputs are Gaussian. On its
# way back through the branch, the gradient is divided by the standard deviation of each batch norm's input:
# $\sqrt{v_\ell}$ at the first, $\sqrt{1 - 1/\pi}$ at the second. He's weights make up for the ReLUs. Hence
#
# $$r_\ell^2 = \frac{\pi}{\pi - 1} \cdot \frac{1}{1 + (1 - 1/\pi)(\ell - 1)} \;\to\; \frac{2.15}{\ell}, \qquad
#   \text{mean length} = \sum_\ell \frac{r_\ell^2}{1 + r_\ell^2},$$
#
# which grows like the *logarithm* of the depth. (De & Smith 2020 count the second moment, which gives $1/\ell$: the
# right law, but a mean length of 2.9 where it is 4.9.) Digits have longer paths. A good part of each is common to all of
# them: their stream starts with a variance of ½, and so the first branches weigh more.

# %%
mr.manual_seed(0)
wide, gaussian = models.mlp(2 * BLOCKS + 2, 256, residual=True), mr.randn(64, 256)
measured = flow.path_spectrum(wide, gaussian, labels, progress=False).effective_length
added = 1 - 1 / math.pi
r2 = 1 / added / (1 + added * np.arange(BLOCKS))
theory = float((r2 / (1 + r2)).sum())
claim("256 wide, on Gaussian inputs: the derivation gives the measured length, within 8 %", abs(measured / theory - 1) < 0.08,
      [measured, theory])  # fmt: skip

# %% [markdown]
# ## Lesion study
#
# If a network is many paths, deleting a block cuts half of them and leaves the other half. If it is one path, any cut
# is fatal. The package brings twins that minires has trained on the digits for 20 epochs, so we can start at once:
# delete each block of those with 20 layers in turn, and test. "Deleted" means that its shortcut alone is left, in the
# plain network too; nothing is trained again. One pair may be luck, so the full version trains two more, for 7 epochs.
# The recipe, `fit` in one line, is lesson 9's with an end: it divides the learning rate of 0.1 by ten for the last
# third.
#
# A measure that does not depend on how good a network is: the accuracy without the block over the accuracy with it.

# %%
KINDS = ("plain", "residual")


def trained_pair(seed, lr=0.1, depth=20):
    mr.manual_seed(seed)
    pair = list(models.twins(depth, 8, in_channels=1))
    for model in pair:
        fit(model, digits, epochs=7, lr=lr, seed=seed)
    return pair


def delete_blocks(pairs):
    """The lesions of every pair; claims what they show."""
    lesions = [{kind: flow.lesion(m, test, progress=False) for kind, m in zip(KINDS, pair)} for pair in pairs]
    kept = {kind: [float(np.median(l[kind].accuracy / l[kind].intact_accuracy)) for l in lesions] for kind in KINDS}
    for kind in KINDS:
        print(f"{kind}: with one block deleted, {np.mean(kept[kind]):.0%} of the accuracy is left (median of the blocks)")
    claim("a residual network keeps more than 60 % of its accuracy", min(kept["residual"]) > 0.6, kept["residual"])
    claim("a plain one loses more than half", max(kept["plain"]) < 0.5, kept["plain"])
    lengths = [flow.path_spectrum(pair[1].train(), images, labels, progress=False).effective_length for pair in pairs]
    claim("training keeps the paths short: below half of the 9 blocks", max(lengths) < 4.5, lengths)
    return lesions


lesions = delete_blocks([[models.trained(f"{kind}-20") for kind in KINDS]] + [trained_pair(s) for s in SEEDS if s])
hardest = ", ".join(str(l["residual"].accuracy.argmin() + 1) for l in lesions)
print(f"the block that the residual network misses most, by pair: {hardest}")
also_at("learning rate 0.02", lambda: delete_blocks([trained_pair(1, lr=0.02)]))


def stays_short(model):
    """The effective length of a trained network of 56 layers; claims that it is short."""
    after = flow.path_spectrum(model.train(), images, labels, progress=False).effective_length
    claim("trained, 56 layers have short paths as well: below 7 of 27", after < 7, after)
    return after


after = stays_short(models.trained("residual-56"))
also_at("7 epochs at learning rate 0.02", lambda: stays_short(trained_pair(0, 0.02, depth=56)[1]))

# %%
figure, (spectrum_ax, lesion_ax) = plt.subplots(1, 2, figsize=(13.5, 5), layout="constrained")
plots.path_spectrum(spectrum_ax, spectra[0], f"{BLOCKS} blocks, step 0")
plots.lesion(lesion_ax, lesions[0], "20 layers, after 20 epochs")
show(figure, "14-many-short-paths")

# %% [markdown]
# Left: the grey hill is where the *paths* are, the bars are where the *gradient* is. They hardly overlap: the typical
# path, with 13 or 14 branches, carries next to nothing, and what arrives took a few branches and otherwise shortcuts.
# So the network is deep on paper and shallow to its own gradient; that is how the first block hears of the loss at all.
#
# Right: the thin lines are the intact networks, each mark is one deletion. Green marks stay near their line, orange
# ones fall far below theirs wherever you cut, most of them to guessing. The ringed blocks change the shape; Veit et al.
# found that deleting those hurts a residual network more than deleting others. With three stages of three blocks that
# is not the rule: above you see which block was missed most.
#
# ## The same in a transformer
#
# A transformer is a residual network, too: attention and two linear layers are its branches. But where does the layer
# norm stand? In the original, *Post-LN*, it is behind the sum, $x' = \mathrm{LN}(x + F(x))$; nearly all since GPT-2 are
# *Pre-LN*, $x' = x + F(\mathrm{LN}(x))$, for Post-LN does not train without a warm-up (Xiong et al. 2020). The paths say
# why. Behind the sum, the norm shrinks the shortcut with the branch, and each branch keeps its share of the gradient.
# Before the branch it leaves the sum to grow, as batch norm does in our blocks. Here is $\sum_\ell r_\ell^2/(1 + r_\ell^2)$
# for untrained transformers (`models.transformer`) that read the rows of a digit; a block has two branches.

# %%
LN_DEPTHS = (3, 6) if QUICK else (6, 12, 24)
length = {}
for norm in ("pre", "post"):
    for depth in LN_DEPTHS:
        mr.manual_seed(0)
        transformer = models.transformer(depth, norm=norm)
        length[norm, depth] = sum(fork.share for fork in flow.record(transformer, images, labels).forks)
    print(f"{norm}-LN: " + ", ".join(f"{depth} blocks {length[norm, depth]:.1f}" for depth in LN_DEPTHS))
    exact = flow.path_spectrum(models.transformer(3, norm=norm), images, labels, progress=False)
    print(f"   3 blocks, exactly: {exact.effective_length:.1f} of {exact.blocks} branches")
grown = {norm: length[norm, LN_DEPTHS[-1]] / length[norm, LN_DEPTHS[0]] for norm in ("pre", "post")}
deeper = LN_DEPTHS[-1] / LN_DEPTHS[0]
claim("Post-LN: paths grow like the depth, within a fifth", abs(grown["post"] / deeper - 1) < 0.2, grown["post"])
claim("Pre-LN: by less than half of that", grown["pre"] < grown["post"] / 2, grown["pre"])

# %% [markdown]
# That is one seed. `minires experiments layer-norms` takes five and goes up to 48 blocks: there Post-LN has paths of about
# 35 branches, Pre-LN of about 5.
#
# ## Common mistakes
#
# - **Adding norms instead of vectors.** The dots on the left sum $\binom{27}{k}$ norms. Paths of equal length point in
#   nearly unrelated directions, and $N$ of those sum to about $\sqrt N$ times one, not $N$ times. The factor grows with
#   the number of paths, so the whole hill of dots slides to the right, towards the grey one: the overstated length that
#   was measured above.
# - **"Without the shortcuts the same paths would be there."** A plain network has exactly one, of full length; its
#   spectrum would be a single bar at the right edge. The library refuses to draw it:

# %%
refusal = ""
try:
    flow.path_spectrum(models.plain_cifar(8, 4, in_channels=1), images, labels, progress=False)
except ValueError as problem:
    refusal = str(problem)
claim("a plain network has no spectrum, only a single path", "single path" in refusal, refusal)

# %% [markdown]
# ## Exercises
#
# 1. `minires new gradient_flow`: compute $G_k$ yourself, for two blocks.
# 2. Leave out batch norm (`norm=False`): why is the mean length now near 13.5?
# 3. And with `scale=27**-0.5` as well? Predict, from $r^2 = 1/27$ at every fork.
# 4. Delete *two* blocks of the residual network. Is the loss about the sum of the two?
#
# Answers: [14_many_short_paths](answers/14_many_short_paths.md).
#
# ## Sources
#
# - A. Veit, M. Wilber, S. Belongie, *Residual networks behave like ensembles of relatively shallow networks*, 2016,
#   arXiv 1605.06431. With 54 modules they found the gradient on paths of 5 to 17 modules.
# - S. De, S. Smith, *Batch normalization biases residual blocks towards the identity function in deep networks*, 2020,
#   arXiv 2002.10444.
# - R. Xiong et al., *On layer normalization in the transformer architecture*, 2020, arXiv 2002.04745.

# %%
finish()
