# %% [markdown]
# # 9. The residual block: F(x) + x
#
# *What changes, going forward and going back, when a block adds its input to its output?*
#
# Takes 20 s (quick: 5 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import Tensor, data, flow, models, nn
from minires.flow import plots
from minires.lesson import QUICK, claim, finish, show
from minires.models.blocks import PadShortcut
from minires.nn import functional as F

digits, _ = data.digits()

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
# Lesson 8 built a deep network that was as good as a shallow one, with layers that were the identity. Gradient descent
# did not find them. He et al. (2015) turn the question around: if the wanted map is $H(x)$, let the layers learn what
# it adds to its input, $F(x) = H(x) - x$, so that the identity is the trivial solution $F = 0$:
#
# $$y = F(x) + x, \qquad \frac{\partial L}{\partial x} = \frac{\partial L}{\partial y}
#   + \Big(\frac{\partial F}{\partial x}\Big)^{\!\top} \frac{\partial L}{\partial y}.$$
#
# Where $F$ changes the shape, the shortcut must change it too: by taking every second pixel and padding new channels
# with zeros (option A, no parameters), or by a 1×1 convolution (option B). Here is the block in three spellings.

# %%
class Block(nn.Module):
    """As a class, the way PyTorch tutorials write it."""

    def __init__(self, in_channels, channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        changes = stride != 1 or in_channels != channels
        self.downsample = PadShortcut(in_channels, channels, stride) if changes else nn.Identity()

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.downsample(x)
        return F.relu(out)


def conv_bn(x, weight):
    """Convolution and batch norm with γ = 1 and β = 0, as functions."""
    return F.batch_norm(F.conv2d(x, weight, padding=weight.shape[-1] // 2), None, None, training=True)


def residual_block(input_tensor, filters, kernel_size, weights):
    """As a function, the way Keras tutorials write it; the weights (2 of them) are passed in."""
    assert all(w.shape[0] == filters and w.shape[2:] == (kernel_size, kernel_size) for w in weights)
    x = F.relu(conv_bn(input_tensor, weights[0]))
    x = conv_bn(x, weights[1])
    return F.relu(x + input_tensor)


def raw_block(x, w1, w2):
    """In raw ops: nothing but sums, products, and the convolution of lesson 4."""
    def normalise(a):
        centred = a - a.mean((0, 2, 3), keepdim=True)
        return centred / ((centred * centred).mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()

    def relu(a):
        return a * Tensor((a.data > 0).astype(a.dtype))

    return relu(normalise(F.conv2d(relu(normalise(F.conv2d(x, w1, padding=1))), w2, padding=1)) + x)


mr.manual_seed(0)
block, library = Block(4, 4).double(), models.ResidualBlock(4, 4).double()
library.load_state_dict(block.state_dict())
w1, w2 = block.conv1.weight, block.conv2.weight
x, cotangent = mr.randn(6, 4, 8, 8).double(), np.random.default_rng(0).standard_normal((6, 4, 8, 8))
results = {}
for name, function in {
    "class": block,
    "function": lambda x: residual_block(x, 4, 3, (w1, w2)),
    "raw ops": lambda x: raw_block(x, w1, w2),
    "library": library,
}.items():
    leaf = Tensor(x.data, requires_grad=True)
    y = function(leaf)
    y.backward(cotangent)
    results[name] = y.numpy(), leaf.grad
worst = max(np.abs(a - b).max() for r in results.values() for a, b in zip(r, results["library"]))
claim("class, function, raw ops and library: equal outputs and gradients", worst < 1e-10, worst)

# %% [markdown]
# ## The two gradients of the fork
#
# $x$ has two consumers, so its gradient is the sum of two contributions (lesson 1). A recording keeps them apart. In
# front of the final ReLU the skip returns what it got, unchanged; the branch returns its own opinion.

# %%
leaf = Tensor(x.data, requires_grad=True)
with flow.recording(block, arrays=True) as recording:
    block(leaf).backward(cotangent)
fork = recording.forks[0]
masked = cotangent * (block(x).numpy() > 0)  # what arrives at the addition
claim("the skip returns exactly what arrived at the addition", np.array_equal(fork.skip_grad, masked))
claim("skip + branch is the gradient: relative error", fork.sum_error < 1e-12, fork.sum_error)
print(f"skip {fork.skip:.1f}, branch {fork.branch:.1f}, cosine {fork.cosine:.2f}: together {fork.total:.1f}")
down = Block(4, 8, stride=2).double()
claim("where shapes change, option A needs no parameters, and the block maps (6, 4, 8, 8) to (6, 8, 4, 4)",
      down(x).shape == (6, 8, 4, 4) and not list(down.downsample.parameters()), down(x).shape)  # fmt: skip

# %% [markdown]
# ## Product against sum
#
# Multiply out what a residual stack does to the gradient:
#
# $$\prod_{i=1}^{n} (I + J_i) = I + \sum_i J_i + \sum_{i<j} J_i J_j + \dots + J_1 J_2 \cdots J_n .$$
#
# The plain stack has the last term alone. The residual one has all $2^n$, and the first is $I$: whatever the $J_i$ do,
# it is there. (That does not forbid the *sum* to be large, or even to cancel it.)

# %%
N, SIZE = 20, 64
rng = np.random.default_rng(0)
J = 0.5 * rng.standard_normal((N, SIZE, SIZE)) / np.sqrt(SIZE)  # E‖Jv‖² = ‖v‖²/4
v = rng.standard_normal(SIZE)
plain, residual = v / np.linalg.norm(v), v / np.linalg.norm(v)
for matrix in J:
    plain, residual = matrix @ plain, residual + matrix @ residual
lengths = float(np.linalg.norm(plain)), float(np.linalg.norm(residual))
guess = min({"a": 1.0, "b": 1.5**N, "c": 1.25 ** (N / 2)}.items(), key=lambda kv: abs(np.log(lengths[1] / kv[1])))[0]
print(f"after {N} factors: plain {lengths[0]:.1e} (0.5^{N} = {0.5**N:.1e}), residual {lengths[1]:.1f}: answer {guess})")
claim("random branches add at right angles: the residual length is within a factor 2.5 of √1.25ⁿ",
      1 / 2.5 < lengths[1] / 1.25 ** (N / 2) < 2.5, lengths[1])  # fmt: skip

# %% [markdown]
# Now real blocks. Twins with the same weights, at initialisation: the largest singular values of the Jacobian of
# blocks $1 \dots i$ together. With batch norm (lesson 8) the plain product does not vanish but explodes; the residual
# one grows too, as sums of many terms do, but far more slowly.

# %%
DEPTH, COUNT = (32, 2) if QUICK else (32, 5)
mr.manual_seed(0)
twins = dict(zip(("plain", "residual"), models.twins(DEPTH, 4, in_channels=1)))
images = digits[: 2 if QUICK else 4][0]
products = {
    name: flow.jacobians(
        model, images, count=COUNT, iterations=2 if QUICK else 8, product=True, tolerance=1e-3, progress=False
    )
    for name, model in twins.items()
}
largest = {name: float(result[-1].values[0]) for name, result in products.items()}
print(f"largest singular value of all blocks of depth {DEPTH} together, step 0: "
      + ", ".join(f"{name} {value:.0f}" for name, value in largest.items()))  # fmt: skip
factor = largest["plain"] / largest["residual"]
claim("the plain product is more than three times as large as the residual one", factor > 3, factor)
claim("the residual product is not small: the identity is in it", largest["residual"] > 1, largest["residual"])

figure, (product_ax, jacobian_ax) = plt.subplots(1, 2, figsize=(12.5, 4.6), layout="constrained")
terms = {"plain": [1.0], "residual": [1.0]}
a = b = v / np.linalg.norm(v)
for matrix in J:
    a, b = matrix @ a, b + matrix @ b
    terms["plain"].append(np.linalg.norm(a))
    terms["residual"].append(np.linalg.norm(b))
for name, colour, label in (("plain", "#D55E00", "∏ Jᵢ"), ("residual", "#009E73", "∏ (I + Jᵢ)")):
    product_ax.plot(terms[name], "o-", color=colour, ms=4)
    product_ax.text(N + 0.5, terms[name][-1], label, color=colour, va="center")
product_ax.plot(1.25 ** (np.arange(N + 1) / 2), ":", color="#777777")
product_ax.plot(0.5 ** np.arange(N + 1), ":", color="#777777")
product_ax.text(11, 0.5**11 * 4, "0.5ⁿ (dotted)", color="#777777")
product_ax.text(7, 12, "√1.25ⁿ (dotted)", color="#777777")
product_ax.set(yscale="log", xlabel="number of factors n", ylabel="length of the vector", xlim=(-0.5, N + 5))
product_ax.set_title("Random Jacobians of size ½: product against sum", size=11)
plots.jacobian(jacobian_ax, products, f"step 0, depth {DEPTH}", product=True)
show(figure, "09-residual-block")

# %% [markdown]
# ## Common mistakes
#
# - **Projecting where nothing changes.** A 1×1 convolution on every shortcut looks like more freedom; it puts a matrix
#   back into the product, and the $I$ is gone. Lesson 12 measures the price.
# - **Forgetting the shortcut's shape.** The library refuses to add what does not fit (broadcasting could hide it):

# %%
try:
    mr.ones(6, 8, 4, 4) + x.float()
    refused = ""
except ValueError as error:
    refused = str(error)
    print(refused)
claim("an addition of unequal shapes is refused", "shortcut" in refused)

# %% [markdown]
# ## Exercises
#
# 1. `minires new residual_block`: write the block with its backward by hand; the checker names the bug.
# 2. `minires new autograd`: the sum at a fork, once more.
# 3. Make the branch zero (γ = 0 in `bn2`) and record again. What is the branch's share, and can it ever grow?
# 4. Set the ½ of the random Jacobians to 1. Which term of the sum dominates now?
#
# ## Sources
#
# - K. He, X. Zhang, S. Ren, J. Sun, *Deep residual learning for image recognition*, 2015, arXiv 1512.03385: section 3,
#   equations 1 and 2.
# - K. He, X. Zhang, S. Ren, J. Sun, *Identity mappings in deep residual networks*, 2016, arXiv 1603.05027.

# %%
finish()
