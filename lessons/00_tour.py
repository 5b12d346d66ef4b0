# %% [markdown]
# # 0. Tour: one residual block, its two gradients
#
# *What does adding `+ x` to a layer do to the gradient on its way back?*
#
# Takes 3 s (quick: 3 s).

# %% [markdown]
# A residual block computes $y = F(x) + x$: some layers $F$, the **branch**, and around them a wire, the **skip**. With
# that one addition networks of a hundred layers became easy to train, which is hard in any other way (lesson 17 tries
# one). The rest of this course takes it apart. Today you only look: at one block, and at what comes back through it.
#
# A network learns by asking of each of its numbers: if you moved a little, how would the loss $L$ move? The answers are
# the *gradient*, and they are worked out from the loss backwards. So a layer in front of the block hears only what the
# block lets through.
#
# **Predict first.** A block reads a digit $x$. Now make its branch weak: multiply the weights of its last convolution
# by 0.001, so that $F(x)$ almost vanishes. The gradient that arrives at $x$ …
#
# - a) shrinks to about a thousandth: the gradient has to come through those weights;
# - b) stays about as large as it was;
# - c) depends on the digit, nothing can be said.
#
# Write your letter down. A guess that turns out wrong teaches more than a figure that was only looked at.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import nn
from minires.flow.plots import fork_strip
from minires.flow.plots.style import BRANCH, MARKER, NETWORK, SKIP
from minires.lesson import QUICK, answer, claim, finish, show, slider
from minires.nn import functional as F

# %% [markdown]
# ## The block, and its two gradients, in ten lines
#
# The branch is convolution–ReLU–convolution. (What a convolution is comes in lesson 5; for now: some layers with
# weights.) A single linear layer on top, the readout, turns the block's output into ten scores, one for each digit;
# the cross-entropy is small when the right score is the largest.
#
# By hand, the two gradients are had by a trick: give the branch and the skip a copy of the digit each, and see what
# comes back to either copy.

# %%
train, _ = mr.data.digits()
digit, label = train[18:19]  # shape (1, 1, 8, 8): one image, one channel, eight rows, eight columns
mr.manual_seed(0)
conv1, conv2 = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1)
readout = nn.Linear(64, 10)


def branch(x):
    return conv2(F.relu(conv1(x)))


def loss_of(y):
    return F.cross_entropy(readout(y.flatten(1)), mr.tensor(label))


for_skip, for_branch = mr.tensor(digit, requires_grad=True), mr.tensor(digit, requires_grad=True)
loss_of(branch(for_branch) + for_skip).backward()

# %% [markdown]
# The library needs no copies. `flow.recording` keeps what every consumer of a tensor sends back to it. The digit has
# two consumers, the first convolution and the addition: it is a *fork*, and so it gets two gradients.

# %%
x = mr.tensor(digit, requires_grad=True)
with mr.flow.recording(arrays=True) as rec:
    y = branch(x) + x
    loss_of(y).backward()
fork = rec.forks[0]
print(f"The digit is a {label[0]}. Its gradient has norm {fork.total:.3f}: through the skip came {fork.skip:.3f}, through "
      f"the branch {fork.branch:.3f}, at a cosine of {fork.cosine:+.2f} to each other.")

# %% [markdown]
# Why two, and why do they add up? If $x$ moves a little, $y$ moves for two reasons: because $F(x)$ changes, and because
# $x$ itself does. With $g = \partial L/\partial y$, and $J$ for the matrix of derivatives of $F$,
#
# $$\frac{\partial L}{\partial x} = \underbrace{g}_{\text{skip}} + \underbrace{J^\top g}_{\text{branch}}.$$
#
# Read the two summands apart. The branch hands $g$ through its weights, which is what the matrix $J^\top$ stands for:
# large weights enlarge it, small ones shrink it. The skip hands over $g$ **unchanged**: no weight, no factor, nothing
# in between. Whatever $J$ is, that one arrives.
#
# As $x$ is an image, so is its gradient. Red pixels: more ink there, and the network would be more wrong about this
# digit. Blue: more right. No seven is to be seen in it yet, for the weights are random and know nothing of digits.

# %%
pieces = [("through the skip", fork.skip_grad), ("through the branch", fork.branch_grad), ("gradient of x", x.grad)]
fig, axes = plt.subplots(1, 4, figsize=(10, 2.9), layout="constrained", subplot_kw=dict(xticks=[], yticks=[]))
axes[0].imshow(digit[0, 0], cmap="Greys")
axes[0].set_title("the digit x", size=11, weight="bold")
limit = np.abs(x.grad).max()
for ax, (title, image), colour, sign in zip(axes[1:], pieces, (SKIP, BRANCH, "black"), ("", "+", "=")):
    drawn = ax.imshow(image[0, 0], cmap="RdBu_r", vmin=-limit, vmax=limit)
    ax.set_title(title, size=11, color=colour, weight="bold")
    ax.set_xlabel(f"norm {np.linalg.norm(image):.3f}")
    ax.text(-0.08, 0.5, sign, transform=ax.transAxes, ha="right", va="center", size=18)
fig.colorbar(drawn, ax=axes, shrink=0.8, label="∂L/∂pixel")
show(fig, "00-two-gradients")

copies = max(np.abs(for_skip.grad - fork.skip_grad).max(), np.abs(for_branch.grad - fork.branch_grad).max())
claim("recorded and by hand, the two gradients are the same", copies < 1e-6, float(copies))
error = np.abs(fork.skip_grad + fork.branch_grad - x.grad).max()
claim("skip + branch is the gradient of x, up to rounding", error < 1e-6, float(error))
claim("the skip's share is ∂L/∂y itself, every bit of it", np.array_equal(fork.skip_grad, rec.edges(y)[0].grad))

# %% [markdown]
# ## Turn the branch down
#
# Now the guess. The same block with the branch's last weights multiplied by a dial $s$; and beside it the *plain* block
# $y = F(x)$, the same layers without the wire. In the equation, $J$ becomes $sJ$: the branch's summand must shrink
# with $s$, and the skip's has no $s$ in it. The figure has logarithmic axes, on which shrinking in proportion to the
# dial is a straight line downwards.


# %%
def gradient_norm(dial, residual):
    """‖∂L/∂x‖ of the block whose last convolution is multiplied by the dial."""
    x.grad = None
    weak = F.conv2d(F.relu(conv1(x)), conv2.weight * dial, conv2.bias, padding=1)
    loss_of(weak + x if residual else weak).backward()
    return float(np.linalg.norm(x.grad))


dials = np.logspace(0, -4, 9)
norms = {kind: [gradient_norm(dial, kind == "residual") for dial in dials] for kind in ("plain", "residual")}
kept = {kind: gradient_norm(0.001, kind == "residual") / norms[kind][0] for kind in norms}

fig, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
for kind, formula in (("residual", "residual: F(x) + x"), ("plain", "plain: F(x)")):
    ax.loglog(dials, norms[kind], color=NETWORK[kind], marker=MARKER[kind])
    ax.text(dials[4], norms[kind][4] * 1.6, formula, color=NETWORK[kind], size=11)
ax.invert_xaxis()
ax.set(xlabel="dial s on the branch's last weights (weaker →)", ylabel="‖∂L/∂x‖", ylim=(min(norms["plain"]) / 2, 3))
ax.set_title("Weaken the branch, and watch the gradient that reaches x", size=11)
ax.spines[["top", "right"]].set_visible(False)
show(fig, "00-weak-branch")

shares = {kind: np.divide(norms[kind], norms[kind][0]) for kind in norms}
slider("Dial at {dial:.2g}: the residual block keeps {residual:.0%} of its gradient, the plain one {plain:.2%}.", 4,
       dial=dials, **shares)  # fmt: skip

letter = {kind: "a" if share < 0.01 else "b" if 0.5 < share < 2 else "c" for kind, share in kept.items()}
print(f"With the dial at 0.001 the residual block keeps {kept['residual']:.0%} of its gradient, the plain one "
      f"{kept['plain']:.2%}: {answer(letter['residual'])} with the wire, {answer(letter['plain'])} without it.")
claim("the residual block keeps its gradient within a factor of 2", 0.5 < kept["residual"] < 2, kept["residual"])
claim("the plain block's shrinks to about a thousandth", 0.0003 < kept["plain"] < 0.003, kept["plain"])

# %% [markdown]
# Careful with what this shows. It does **not** show that plain networks lose their gradient: nobody trains with a dial
# at 0.001, and with batch norm the gradient of a fresh plain network even *explodes* (lessons 6, 7 and 9). It shows
# that the wire makes the gradient *independent* of how strong the branch is. What that is worth in training is measured
# from lesson 9 on.
#
# ## A whole network
#
# `mr.flow.record` does the same for any model. Here a ResNet of 20 layers, nine residual blocks, reads 64 digits, fresh
# from its initialisation. Each bar is one fork: how much of the gradient's energy $\|g\|^2$ came by the skip, how much
# by the branch. The strip below shows the cosine between the two. It is pale everywhere: the two gradients are almost
# at right angles, they neither help nor cancel each other.

# %%
mr.manual_seed(0)
model = mr.models.resnet_cifar(20, width=8, in_channels=1)
rec = mr.flow.record(model, *train[: 16 if QUICK else 64])
fig = plt.figure(figsize=(7, 4), layout="constrained")
fork_strip(*mr.flow.plots.strip_axes(fig), rec.forks, "ResNet-20 before training")
show(fig, "00-resnet-20-forks")

shares, cosines = [fork.share for fork in rec.forks], [fork.cosine for fork in rec.forks]
print(f"From the last of {len(shares)} forks to the first, the gradient's norm goes from {rec.forks[-1].total:.3f} to "
      f"{rec.forks[0].total:.3f}; the branch's share of its energy lies between {min(shares):.0%} and {max(shares):.0%}.")
claim("at every fork of the network, too, skip + branch is what was passed on", rec.sum_error < 1e-6, rec.sum_error)
claim("skip and branch are nearly at right angles", max(map(abs, cosines)) < 0.3, max(map(abs, cosines)))

# %% [markdown]
# ## Common mistakes
#
# **The wire that is not there.** `out = self.branch(x); out + shortcut` computes the sum and throws it away. The
# network runs, trains, and is a plain network: the lower line of the second figure. In a recording you see it at once,
# as there is no fork.
#
# **The wire that carries no gradient.** `y = branch + x.detach()` gives the same output to the last bit, the same loss,
# the same picture on your screen; and the gradient of $x$ lacks a summand: in the first figure the panel "through the
# skip" would be white. Looking at outputs cannot find this bug. Looking at forks can.

# %%
blocks = {"right": lambda x: branch(x) + x, "lost": branch, "detached": lambda x: branch(x) + x.detach()}
found = {}
for name, block in blocks.items():
    x.grad = None
    with mr.flow.recording() as rec:
        loss = loss_of(block(x))
        loss.backward()
    found[name] = loss.item(), float(np.linalg.norm(x.grad))
    print(f"shortcut {name:<9} loss {found[name][0]:.4f}   ‖∂L/∂x‖ {found[name][1]:.4f}   forks {len(rec.forks)}")
claim("a detached wire changes no output", found["right"][0] == found["detached"][0])
claim("but the gradient is the branch's alone", np.isclose(found["detached"][1], fork.branch), found["detached"][1])

# %% [markdown]
# ## Exercises
#
# - Scale the *skip* instead: `branch + 0.5 * x`. What happens to the skip's summand? And after ten such blocks? Lesson
#   13 has the answer, and what He et al. (2016) measured.
# - Record `mr.models.resnet_cifar(56, in_channels=1)`, and after `mr.flow.record(…)` call `.table()` and `.plot()`.
# - `minires new residual_block` gives you a file with the block left out. Write it; the checker says what is wrong.
#
# Answers: [00_tour](answers/00_tour.md).
#
# ## Sources
#
# - The residual block: He, Zhang, Ren, Sun 2015, [Deep Residual Learning](https://arxiv.org/abs/1512.03385), eq. 1.
# - The sum of two gradients: He et al. 2016, [Identity Mappings](https://arxiv.org/abs/1603.05027), eq. 5.
# - The digits: Alpaydin & Kaynak 1998, UCI Machine Learning Repository; they come with the package.

# %%
finish()
