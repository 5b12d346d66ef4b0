# %% [markdown]
# # 4. Convolution: four loops, one matrix product, two ways back
#
# *Why does a convolution that first copies every pixel nine times run faster?*
#
# Takes 4 s (quick: 3 s).

# %% [markdown]
# A convolution slides a small window over an image and takes, at every place, the same weighted sum of what it sees.
# One small set of weights, used everywhere: that is all. This lesson writes it twice, differentiates it twice, and
# times everything.
#
# **Predict first.** The loops visit every output pixel and multiply its window with the weights. The other way,
# *im2col*, copies all windows into one large matrix first, so that each pixel is stored up to nine times, and then
# multiplies once. The number of multiplications is the same. Compared with the loops, im2col in NumPy is …
#
# - a) several times slower: all that copying;
# - b) about as fast;
# - c) at least ten times faster.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import kernels
from minires.flow.plots.style import BRANCH, NETWORK, SKIP, TOTAL
from minires.lesson import QUICK, claim, finish, show
from minires.testing import gradcheck

# %% [markdown]
# ## Four loops
#
# With images $x$ of shape $(N, C, H, W)$, weights $w$ of $(O, C, k, k)$, a border of $p$ zeros and stride 1,
#
# $$y_{n o h w} = \sum_{c, i, j} w_{o c i j}\; x_{n,\,c,\,h + i - p,\,w + j - p}.$$
#
# Four loops run over the outputs, and the sum is one line of NumPy. Every deep-learning library flips nothing here, so
# that mathematicians call this a *correlation*. The flip comes on the way back, wait for it.


# %%
def with_border(x, p):
    return np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))


def conv_loops(x, w, p=1):
    (N, _, H, W), (O, _, k, _) = x.shape, w.shape
    x = with_border(x, p)
    y = np.empty((N, O, H + 2 * p - k + 1, W + 2 * p - k + 1))
    for n, o, i, j in np.ndindex(y.shape):
        y[n, o, i, j] = (w[o] * x[n, :, i : i + k, j : j + k]).sum()
    return y


# %% [markdown]
# ## One matrix product
#
# Write each window as a column of $C k^2$ numbers, and the columns of all places side by side. The weights of one
# output channel are a row of the same length. Then the whole convolution is one product of matrices, which is what a
# processor does best:
#
# $$Y_{(O,\;N H W)} = W_{(O,\;C k^2)} \cdot \text{columns}_{(C k^2,\;N H W)}.$$
#
# Gathering needs a loop over the $k^2$ places *in the window*, not over the image: each step copies a whole shifted
# image at once.


# %%
def im2col(x, k, p):
    """(N, C, H, W) -> (C·k·k, N·H′·W′): column after column the windows."""
    N, C, H, W = x.shape
    height, width = H + 2 * p - k + 1, W + 2 * p - k + 1
    x = with_border(x, p)
    columns = np.empty((C, k, k, N, height, width))
    for i, j in np.ndindex(k, k):
        columns[:, i, j] = x[:, :, i : i + height, j : j + width].transpose(1, 0, 2, 3)
    return columns.reshape(C * k * k, -1)


def conv_im2col(x, w, p=1):
    O, _, k, _ = w.shape
    y = w.reshape(O, -1) @ im2col(x, k, p)
    return y.reshape(O, len(x), x.shape[2] + 2 * p - k + 1, -1).transpose(1, 0, 2, 3)


rng = np.random.default_rng(0)
x, w = rng.standard_normal((2, 3, 6, 5)), rng.standard_normal((4, 3, 3, 3))
y = conv_loops(x, w)
claim("im2col and the loops agree", np.allclose(conv_im2col(x, w), y, atol=1e-12), np.abs(conv_im2col(x, w) - y).max())
library = kernels.of(x).conv2d(x, w, padding=(1, 1))
claim("the library agrees with both", np.allclose(library, y, atol=1e-12), np.abs(library - y).max())

# %%
train, _ = mr.data.digits()
digit = train[18:19][0].astype(float)
digit -= digit.min()  # no ink is 0, as the border
edges = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]], float)[None, None]  # Sobel's filter
columns, response = im2col(digit, 3, 1), conv_im2col(digit, edges)

fig, axes = plt.subplots(1, 4, figsize=(12, 3), layout="constrained", width_ratios=[1, 2.6, 0.5, 1])
axes[0].imshow(with_border(digit, 1)[0, 0], cmap="Greys", extent=(-1.5, 8.5, 8.5, -1.5))
axes[1].imshow(columns, cmap="Greys", aspect="auto")
axes[2].imshow(edges[0, 0], cmap="PuOr", vmin=-2, vmax=2)
axes[3].imshow(response[0, 0], cmap="PuOr_r")
for (i, j), colour in (((2, 2), SKIP), ((4, 6), BRANCH)):
    box = dict(fc="none", ec=colour, lw=2.5)
    axes[0].add_patch(plt.Rectangle((j - 1.5, i - 1.5), 3, 3, **box))
    axes[1].add_patch(plt.Rectangle((8 * i + j - 0.5, -0.5), 1, 9, **box))
    axes[3].add_patch(plt.Rectangle((j - 0.5, i - 0.5), 1, 1, **box))
for i, j in np.ndindex(3, 3):
    ink = "white" if abs(edges[0, 0, i, j]) > 1 else "black"
    axes[2].text(j, i, f"{edges[0, 0, i, j]:+.0f}", ha="center", va="center", size=9, color=ink)
titles = "image, with a border of zeros", "columns: one for each of the 64 windows", "weights", "output"
for ax, title in zip(axes, titles):
    ax.set_title(title, size=11)
    ax.set_xticks([])
    ax.set_yticks([])
axes[1].set_ylabel("9 pixels of the window")
show(fig, "04-im2col")

# %% [markdown]
# ## The two ways back
#
# With $G = \partial L / \partial Y$ as a matrix $(O, NHW)$, lesson 2 has the answers: it is a matrix product.
#
# $$\bar W = G \cdot \text{columns}^\top, \qquad \overline{\text{columns}} = W^\top G.$$
#
# The gradient of the columns must still become one of the image. A pixel was copied into up to nine columns, so it was
# used up to nine times, and contributions add. Going through it index by index shows what that sum is: the tap at
# offset $+i$ forward reaches back at offset $-i$. **The gradient of the image is a convolution of $G$ with the weights
# flipped** in both directions, input and output channels exchanged, and a border of $k - 1 - p$.


# %%
def backward_columns(g, x, w, p=1):
    """dx by adding up the columns' gradients, dw by one product."""
    (N, C, H, W), (O, _, k, _) = x.shape, w.shape
    G = g.transpose(1, 0, 2, 3).reshape(O, -1)
    grad_w = (G @ im2col(x, k, p).T).reshape(w.shape)
    pulled = (w.reshape(O, -1).T @ G).reshape(C, k, k, N, *g.shape[2:])
    grad_x = np.zeros((N, C, H + 2 * p, W + 2 * p))
    for i, j in np.ndindex(k, k):
        grad_x[:, :, i : i + g.shape[2], j : j + g.shape[3]] += pulled[:, i, j].transpose(1, 0, 2, 3)
    return grad_x[:, :, p : p + H, p : p + W], grad_w


def backward_flipped(g, w, p=1):
    """dx as a convolution with the flipped weights."""
    return conv_im2col(g, w.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1], p=w.shape[-1] - 1 - p)


g = rng.standard_normal(y.shape)
grad_x, grad_w = backward_columns(g, x, w)
truth_x, truth_w, _ = kernels.of(x).conv2d_backward(g, x, w, padding=(1, 1))
difference = max(np.abs(grad_x - truth_x).max(), np.abs(grad_w - truth_w).max())
claim("both gradients agree with the library's", difference < 1e-11, difference)
claim("dx is a convolution with flipped weights", np.allclose(backward_flipped(g, w), grad_x, atol=1e-12))
report = gradcheck((conv_im2col, backward_columns), x, w, raise_on_failure=False)
claim("and with finite differences (lesson 3)", bool(report))

# %% [markdown]
# ## What each costs
#
# Sixteen channels in, sixteen out, images of 16 × 16. Every version does the same multiplications, $N\,O\,H\,W\,C\,k^2$
# forward, and twice as many backward (once for $\bar x$, once for $\bar w$).

# %%
N = 2 if QUICK else 16
x, w = rng.standard_normal((N, 16, 16, 16)), rng.standard_normal((16, 16, 3, 3))
g = rng.standard_normal(x.shape)
kernel = kernels.of(x)
x32, w32, g32 = (a.astype(np.float32) for a in (x, w, g))
multiplications = g.size * w[0].size
versions = {
    "four loops": (conv_loops, (x, w), 1),
    "im2col": (conv_im2col, (x, w), 1),
    "minires": (lambda x, w: kernel.conv2d(x, w, padding=(1, 1)), (x, w), 1),
    "minires, float32": (lambda x, w: kernel.conv2d(x, w, padding=(1, 1)), (x32, w32), 1),
    "im2col, backward": (backward_columns, (g, x, w), 2),
    "minires, backward": (lambda g, x, w: kernel.conv2d_backward(g, x, w, padding=(1, 1)), (g, x, w), 2),
    "minires, float32, backward": (
        lambda g, x, w: kernel.conv2d_backward(g, x, w, padding=(1, 1)), (g32, x32, w32), 2,
    ),
}  # fmt: skip


def seconds(function, arguments):
    """The shortest of several runs; one, if it takes long."""
    best, spent = np.inf, 0.0
    while spent < 0.1:
        start = time.perf_counter()
        function(*arguments)
        spent += time.perf_counter() - start
        best = min(best, time.perf_counter() - start)
    return best


taken = {name: seconds(function, arguments) for name, (function, arguments, _) in versions.items()}
rates = {name: versions[name][2] * multiplications / taken[name] / 1e9 for name in versions}

fig, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
for i, (name, rate) in enumerate(rates.items()):
    colour = TOTAL if "loops" in name else BRANCH if "im2col" in name else SKIP
    ax.barh(-i, rate, color=colour, alpha=0.6 if "backward" in name else 1)
    ax.text(rate * 1.08, -i, f"{rate:.2g}", va="center", size=10)
ax.set_yticks([-i for i in range(len(rates))], rates)
ax.set(xscale="log", xlabel="billion multiply-adds a second (more is better)", xlim=(min(rates.values()) / 2, None))
ax.set_xlim(right=max(rates.values()) * 3)
ax.set_title(f"The same convolution, {multiplications / 1e6:.0f} million multiply-adds forward", size=11)
ax.spines[["top", "right"]].set_visible(False)
show(fig, "04-speed")

gain = taken["four loops"] / taken["im2col"]
answer = "c)" if gain > 10 else "b)" if gain > 0.5 else "a)"
print(f"On this machine im2col is {gain:.0f} times as fast as the loops: {answer}. "
      f"It pays with memory, {im2col(x, 3, 1).nbytes / x.nbytes:.0f} times that of the image.")
claim("the matrix of columns is nine times the image", im2col(x, 3, 1).size == 9 * x.size)

# %% [markdown]
# Copying is cheap because it moves long runs of memory; a Python loop pays for its interpreter once per output pixel.
# The library goes one step further and copies each pixel only three times: `minires/kernels/cpu/conv.py` begins with a
# drawing of how.
#
# ## Common mistakes
#
# **The kernel that was not flipped.** The gradient has the right shape, the right size, and for a symmetric kernel it
# is even right. Below is a gradient sent back through the edge filter, with flip and without: not a bit wrong, but
# the exact *opposite*, because this filter turned by 180° is minus itself.
#
# **Columns in another order than the weights.** Gather as $(k, k, C)$ and reshape the weights as $(C, k, k)$: all
# shapes fit, and the output is a convolution with scrambled weights. It trains, too! The network simply learns
# scrambled weights; you notice when you load weights from elsewhere.

# %%
pull = rng.standard_normal(response.shape)
flipped = backward_flipped(pull, edges)
unflipped = conv_im2col(pull, edges)
cosine = (flipped * unflipped).sum() / np.linalg.norm(flipped) / np.linalg.norm(unflipped)

smooth = train[18:26][0].astype(float)
stack, w8 = smooth.reshape(1, 8, 8, 8), rng.standard_normal((1, 8, 3, 3))
in_order = conv_im2col(stack, w8)
scrambled = w8.transpose(0, 2, 3, 1).reshape(1, 8, 3, 3)
correlation = np.corrcoef(in_order.ravel(), conv_im2col(stack, scrambled).ravel())[0, 1]

fig, axes = plt.subplots(1, 3, figsize=(9, 3.1), layout="constrained")
limit = np.abs(flipped).max()
pieces = ("right: flipped", flipped), ("wrong: not flipped", unflipped), ("their sum", flipped + unflipped)
for ax, (title, image), colour in zip(axes, pieces, (NETWORK["residual"], NETWORK["plain"], "black")):
    drawn = ax.imshow(image[0, 0], cmap="RdBu_r", vmin=-limit, vmax=limit)
    ax.set_title(title, size=11, color=colour, weight="bold")
    ax.set_xticks([])
    ax.set_yticks([])
fig.colorbar(drawn, ax=axes, shrink=0.85, label="∂L/∂pixel")
show(fig, "04-not-flipped")

print(f"Cosine between the right and the unflipped gradient {cosine:+.3f}; correlation between outputs of right and "
      f"scrambled weights {correlation:+.2f}.")
claim("for this filter the unflipped gradient is the exact opposite", np.allclose(unflipped, -flipped), cosine)

# %% [markdown]
# ## Exercises
#
# - Give `conv_im2col` a stride: which slices change? And what becomes of `backward_flipped`?
# - A 1 × 1 convolution needs no gathering. What does the matrix product become? (Lesson 18 lives on it.)
# - Put your own into the library: `with kernels.use(conv2d=mine): …`, and train with it.
# - `minires new conv2d` is the graded version; its checker knows the unflipped kernel when it sees one.
#
# ## Sources
#
# - im2col: Chellapilla, Puri & Simard 2006, *High Performance Convolutional Neural Networks for Document Processing*.
# - The arithmetic of shapes: Dumoulin & Visin 2016, [arXiv 1603.07285](https://arxiv.org/abs/1603.07285).

# %%
finish()
