# %% [markdown]
# # 10. The residual block: F(x) + x
#
# *What changes, going forward and going back, when a block adds its input to its output?*
#
# Takes 4 s (quick: 3 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import Tensor, data, flow, models, nn
from minires.flow import plots
from minires.lesson import QUICK, answer, claim, finish, show, slider
from minires.nn import functional as F

# %% [markdown]
# **Predict first.** A stack of $n$ layers multiplies the gradient by $n$ Jacobians $J_i$, a residual stack by $n$
# matrices $I + J_i$. Take $n = 20$ random $J_i$, each of which shrinks a vector to half its length on average. How long
# is a vector of length 1 after the residual stack?
#
# - a) Still about 1: the identity carries it past the $J_i$.
# - b) About $(1 + \frac12)^{20} \approx 3300$: each factor adds a half.
# - c) About $\sqrt{1 + \frac14}^{\,20} \approx 9$: each factor adds a half at a right angle.
#
# ## The block
#
# Lesson 9 built a deep network that was as good as a shallow one, with layers that were the identity. Gradient descent
# did not find them. He et al. (2015) turn the question around: if the wanted map is $H(x)$, let the layers learn what
# it adds to its input, $F(x) = H(x) - x$, so that the identity is the trivial solution $F = 0$:
#
# $$y = F(x) + x, \qquad \frac{\partial L}{\partial x} = \frac{\partial L}{\partial y}
#   + \Big(\frac{\partial F}{\partial x}\Big)^{\!\top} \frac{\partial L}{\partial y}.$$
#
# The first term needs no weight, no slope and no luck: what arrives at the output arrives at the input. In the paper
# $F$ is convolution, batch norm, ReLU, convolution, batch norm, and one more ReLU follows the addition.
#
# Where $F$ changes the shape, the shortcut must change it too: by taking every second pixel and padding new channels
# with zeros (option A, no parameters), or by a 1×1 convolution and a batch norm (option B, a *projection*). PyTorch's
# tutorials hand such a shortcut to the block as `downsample`, and so do we.
#
# Here is the block in three spellings. As a **class**, the way PyTorch code has it: layers are made once, in
# `__init__`, and used in `forward`.

# %%
class Block(nn.Module):
    """relu(F(x) + shortcut(x)): (N, in_channels, H, W) to (N, channels, H/stride, W/stride)."""

    def __init__(self, in_channels, channels, stride=1, downsample=None):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = downsample  # None: the shape stays as it is

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + identity)

# %% [markdown]
# As a **function**, the way Keras code has it: it makes its layers while it runs. For an equal result it must draw the
# same random weights, so we start both from the same seed.

# %%
def residual_block(input_tensor, filters, kernel_size):
    """relu(F(x) + x): (N, filters, H, W) to the same shape."""

    def conv_bn(x):
        conv = nn.Conv2d(x.shape[1], filters, kernel_size, padding=kernel_size // 2, bias=False)
        return nn.BatchNorm2d(filters).double()(conv.double()(x))

    x = F.relu(conv_bn(input_tensor))
    x = conv_bn(x)
    return F.relu(x + input_tensor)

# %% [markdown]
# And in **raw ops**: nothing but sums, products, and the convolution of lesson 5. Mean and variance go over the batch
# and over all pixels, one pair for each channel.

# %%
def raw_block(x, w1, w2):
    """relu(F(x) + x), with the weights of the two convolutions."""

    def normalise(a):
        centred = a - a.mean((0, 2, 3), keepdim=True)
        return centred / ((centred * centred).mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()

    def relu(a):
        return a * Tensor((a.numpy() > 0).astype(a.dtype))

    return relu(normalise(F.conv2d(relu(normalise(F.conv2d(x, w1, padding=1))), w2, padding=1)) + x)


def both_ways(function):
    """The block's output, and the gradient of its input, from the same weights, input and output gradient."""
    mr.manual_seed(0)
    leaf = Tensor(x.numpy(), requires_grad=True)
    y = function(leaf)
    y.backward(cotangent)
    return y.numpy(), leaf.grad


x, cotangent = np.random.default_rng(0).standard_normal((2, 6, 4, 8, 8))
x = Tensor(x)
mr.manual_seed(0)
block, library = Block(4, 4).double(), models.ResidualBlock(4, 4).double()
library.load_state_dict(block.state_dict())
spellings = [block, lambda x: residual_block(x, 4, 3), lambda x: raw_block(x, block.conv1.weight, block.conv2.weight)]
wanted = both_ways(library)
worst = max(np.abs(a - b).max() for spelling in spellings for a, b in zip(both_ways(spelling), wanted))
claim("class, function, raw ops and library: equal outputs and gradients", worst < 1e-10, worst)

option = {"A": models.PadShortcut(4, 8, stride=2),
          "B": nn.Sequential(nn.Conv2d(4, 8, 1, stride=2, bias=False), nn.BatchNorm2d(8))}  # fmt: skip
for name, downsample in option.items():
    mine, library = Block(4, 8, 2, downsample).double(), models.ResidualBlock(4, 8, 2, shortcut=name).double()
    mine.load_state_dict(library.state_dict())
    claim(f"option {name} halves (6, 4, 8, 8) to (6, 8, 4, 4), as the library does",
          np.array_equal(mine(x), library(x)) and mine(x).shape == (6, 8, 4, 4))  # fmt: skip
    print(f"option {name}: {sum(p.numel() for p in downsample.parameters())} parameters in the shortcut")

# %% [markdown]
# ## The two gradients of the fork
#
# $x$ has two consumers, so its gradient is the sum of two contributions (lesson 1). A recording keeps them apart. In
# front of the final ReLU the skip returns what it got, unchanged, bit for bit; the branch returns its own opinion.

# %%
with flow.recording(block, arrays=True) as recording:
    y = block(Tensor(x.numpy(), requires_grad=True))
    y.backward(cotangent)
fork = recording.forks[0]
claim("the skip returns exactly what arrived at the addition", np.array_equal(fork.skip_grad, cotangent * (y.numpy() > 0)))
claim("skip + branch is the gradient: relative error", fork.sum_error < 1e-12, fork.sum_error)
print(f"skip {fork.skip:.1f}, branch {fork.branch:.1f}, cosine {fork.cosine:.2f}: together {fork.total:.1f}")

# %% [markdown]
# A cosine near 0 is a right angle, and the sum is then as long as Pythagoras says, the root of skip² + branch². That is
# no accident: in hundreds of dimensions two random directions are nearly orthogonal. Keep it for the prediction.
#
# ## Going forward: variances add
#
# The same right angle stands in the forward pass. At initialisation skip and branch are unrelated, so the mean square
# of their sum, $v_{\ell+1}$, is the sum of both mean squares. He's weights (lesson 7) keep the mean square through a
# branch. So what does a branch add that reads $v_\ell$? Without batch norm, $v_\ell$ again. With a batch norm at its
# start, 1, whatever comes in. (Over the *batch* that varies by $1 - \frac1\pi$ only, because a ReLU has a mean that is
# common to all inputs; lesson 14 needs it.) And with a number $\alpha$ in front of it, $\alpha^2 v_\ell$:
#
# $$v_{\ell+1} = v_\ell + v_\ell = 2 v_\ell, \qquad
#   v_{\ell+1} = v_\ell + 1, \qquad
#   v_{\ell+1} = (1 + \alpha^2) \, v_\ell .$$
#
# One recurrence, three fates. The first **doubles**, $v_\ell = 2^\ell$. The second is a straight line, $1 + \ell$. The
# third, with $\alpha = 1/\sqrt n$ for $n$ blocks, ends at $(1 + 1/n)^n$, which is below $e$. We measure them in blocks
# without a ReLU behind the addition.

# %%
BLOCKS = 16
ell = np.arange(BLOCKS + 1)
settings = {
    "no BN, α = 1": (dict(norm=False), r"$2^\ell$", 2.0**ell),
    "with BN": ({}, r"$1 + \ell$", 1.0 + ell),
    "no BN, α = 1/√n": (dict(norm=False, scale=BLOCKS**-0.5), r"$(1 + 1/n)^\ell$", (1 + 1 / BLOCKS) ** ell),
}
variance = {}
for name, (options, _, theory) in settings.items():
    mr.manual_seed(0)
    model = models.mlp(2 * BLOCKS + 2, 512, residual=True, **options)
    variance[name] = flow.variance_profile(model, mr.randn(128, 512))
    off = 2 ** float(np.abs(np.log2(variance[name].activation / theory)).max())
    allowed = 2 if theory[-1] > 1000 else 1.2  # chance multiplies up where variance does
    claim(f"{name}: within a factor {allowed} of theory in all {BLOCKS} blocks", off < allowed, off)

# %% [markdown]
# So the *share* of a branch in what it is added to is one half in every block without batch norm, and $1/(1 + \ell)$
# with it: the deeper the block, the closer it is to the identity.
#
# ## Product against sum
#
# Multiply out what a residual stack does to the gradient:
#
# $$\prod_{i=1}^{n} (I + J_i) = I + \sum_i J_i + \sum_{i<j} J_i J_j + \dots + J_1 J_2 \cdots J_n .$$
#
# The plain stack has the last term alone. The residual one has all $2^n$, and the first is $I$: whatever the $J_i$ do,
# it is there. (That does not forbid the *sum* to be large, or even to cancel it.) First with random matrices of the
# kind in the prediction, then with real blocks: 27 of them, 8 channels of 8×8, twins with the same weights, before any
# training. There a backward pass does the multiplication: we send a random vector in at the end, and measure its length
# in front of every block.

# %%
SIZE, SEEDS = 64, range(3 if QUICK else 10)
digits, _ = data.digits()


def random_lengths(identity, seed, n=20):
    """Length of a vector after 0 … n factors identity·I + J_i, where J_i halves lengths on average."""
    rng = np.random.default_rng(seed)
    v = rng.standard_normal(SIZE)
    lengths = [np.linalg.norm(v)]
    for _ in range(n):
        v = identity * v + 0.5 * rng.standard_normal((SIZE, SIZE)) / np.sqrt(SIZE) @ v  # E‖Jv‖² = ‖v‖²/4
        lengths.append(np.linalg.norm(v))
    return np.array(lengths) / lengths[0]


def network_lengths(residual, seed, n=27):
    """Length of a random gradient after 0 … n blocks of an untrained network, from its end to its start."""
    mr.manual_seed(seed)
    model = models.ResNet(models.ResidualBlock, [n], [8], in_channels=1, residual=residual)
    h = [model.relu(model.bn1(model.conv1(Tensor(digits[:64][0]))))]
    for block in model.blocks():
        h.append(block(h[-1]))
    gradients = mr.grad((h[-1] * mr.randn(*h[-1].shape)).sum(), h)
    lengths = np.array([np.linalg.norm(g) for g in reversed(gradients)])
    return lengths / lengths[0]


random = {"∏ Jᵢ": [random_lengths(0, s) for s in SEEDS], "∏ (I + Jᵢ)": [random_lengths(1, s) for s in SEEDS]}
real = {"plain": [network_lengths(False, s) for s in SEEDS], "residual": [network_lengths(True, s) for s in SEEDS]}
product, total = (np.exp(np.mean(np.log(runs), axis=0))[-1] for runs in random.values())  # geometric means
letter = min({"a": 1, "b": 1.5**20, "c": 1.25**10}.items(), key=lambda guess: abs(np.log(total / guess[1])))[0]
means = {kind: np.exp(np.mean(np.log(runs), axis=0)) for kind, runs in zip(real, random.values())}
slider("After {factors} factors ½: the product has length {plain:.2g}, the sum {residual:.2g}.", 10, factors=range(21), **means)
print(f"after 20 random factors: plain {product:.1e} (0.5^20 = {0.5**20:.1e}), residual {total:.1f}: {answer(letter)}")
claim("random branches add at right angles: within a factor of 2 of √1.25ⁿ", 0.5 < total / 1.25**10 < 2, total)
ends = {name: [float(run[-1]) for run in runs] for name, runs in real.items()}
print(f"after 27 real blocks: plain {np.median(ends['plain']):,.0f}, residual {np.median(ends['residual']):,.0f}")
claim("the gradient of every plain network has grown at least 10 times as much as that of any residual one",
      min(ends["plain"]) > 10 * max(ends["residual"]), [min(ends["plain"]), max(ends["residual"])])  # fmt: skip
claim("the residual ones do not vanish: the identity is in the sum", min(ends["residual"]) > 1, min(ends["residual"]))

# %%
figure, (forward, *axes) = plt.subplots(1, 3, figsize=(17, 4.8), layout="constrained")
plots.variance(forward, variance, "at initialisation", theory={label: theory for _, label, theory in settings.values()})
looks = plots.style.looks(real)  # red circles, green squares
for ax, lines, per in zip(axes, (random, real), (0.5, np.pi / (np.pi - 1))):
    x = np.arange(len(next(iter(lines.values()))[0]))
    ax.set(yscale="log", ylabel="length of the vector")
    ax.plot(x, per**x, ":", color="black", zorder=3)
    plots.runs(ax, x, lines, dict(zip(lines, looks.values())), middle=np.median)
axes[0].plot(range(21), 1.25 ** (np.arange(21) / 2), ":", color="black", zorder=3)
axes[0].set(xlabel="factors (dotted: 0.5ⁿ and √1.25ⁿ)", title="Random Jacobians of size ½: product against sum")
axes[1].set(xlabel="blocks passed on the way back (dotted: 1.21²ⁿ)", title="Gradient of real blocks, step 0")
show(figure, "10-residual-block")

# %% [markdown]
# Left: the three fates. On a logarithmic axis the doubling is a straight line, the sum bends, and the third is nearly
# flat. Middle and right: lines are medians of the seeds. In the middle the same small branches, multiplied or added;
# both follow their theory. Right: with batch norm (lesson 9) the plain product does not vanish but explodes, nearly as
# steeply as the dotted theory of wide networks. The residual one grows too, as a sum of many terms does, but slowly,
# until it reaches the first blocks of the network, at the right end. There the stream is still small, and the branch
# has its largest share. Neither of the two "vanishes". The difference is a straight line on a log axis, so a constant
# factor per block, against a curve whose factor goes to 1 as blocks are added.
#
# So every further block costs the plain network the same factor again, and the residual one less and less.
#
# ## Common mistakes
#
# - **Projecting where nothing changes.** A 1×1 convolution on every shortcut looks like more freedom; it puts a matrix
#   back into the product, and the $I$ is gone. The green curve would rise like the red one. Lesson 13 measures the
#   price.
# - **Forgetting the shortcut's shape.** Where broadcasting hides it, the sum is not what you meant, and no curve of
#   this figure would show it. The library refuses to add what does not fit:

# %%
try:
    mr.ones(6, 8, 4, 4) + mr.ones(6, 4, 8, 8)
    refused = "no"
except ValueError as error:
    refused = str(error)
claim("an addition of unequal shapes is refused", "shortcut" in refused, refused)

# %% [markdown]
# ## Exercises
#
# 1. `minires new residual_block`: write the block with its backward by hand; the checker names the bug.
# 2. `minires new autograd`: the sum at a fork, once more.
# 3. Make the branch zero (γ = 0 in `bn2`) and record again. What is the branch's share, and can it ever grow?
# 4. Set the ½ of the random Jacobians to 1. Which term of the sum dominates now?
# 5. One vector shows a typical stretch. `flow.jacobians(model, images, product=True)` measures the largest.
#
# Answers: [10_residual_block](answers/10_residual_block.md).
#
# ## Sources
#
# - K. He, X. Zhang, S. Ren, J. Sun, *Deep residual learning for image recognition*, 2015, arXiv 1512.03385: section 3,
#   equations 1 and 2.
# - K. He, X. Zhang, S. Ren, J. Sun, *Identity mappings in deep residual networks*, 2016, arXiv 1603.05027: equation 5
#   is the gradient's sum, over all blocks.

# %%
finish()
