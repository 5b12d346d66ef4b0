# %% [markdown]
# # 5. Convolution: four loops, one matrix product, two ways back
#
# *Why does a convolution that first copies every pixel nine times run faster?*
#
# Takes 2 s (quick: 2 s).

# %% [markdown]
# A convolution slides a small window over an image and takes, at every place, the same weighted sum of what it sees.
# One small set of weights, used everywhere: that is all. An edge is an edge wherever it is, so why learn it twice? This
# lesson writes it twice, differentiates it twice, and times everything.
#
# **Predict first.** The loops visit every output pixel and multiply its window with the weights. The other way,
# *im2col*, copies all windows into one large matrix first, so that each pixel is stored up to nine times, and then
# multiplies once. The number of multiplications is the same. Compared with the loops, im2col in NumPy is …
#
# - a) several times slower: all that copying;
# - b) about as fast;
# - c) at least ten times faster.

# %%
import timeit

import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import kernels
from minires.flow.plots.style import BRANCH, NETWORK, SKIP, TOTAL
from minires.lesson import QUICK, answer, claim, finish, show
from minires.testing import gradcheck

# %% [markdown]
# ## Four loops
#
# With images $x$ of shape $(N, C, H, W)$, weights $w$ of $(O, C, k, k)$, a border of $p$ zeros and stride 1,
#
# $$y_{n o h w} = \sum_{c, i, j} w_{o c i j}\; x_{n,\,c,\,h + i - p,\,w + j - p}.$$
#
# Read the indices: image $n$, output channel $o$, place $(h, w)$; the sum runs over the input's channels $c$ and the
# places $(i, j)$ in the window. Four loops run over the outputs, and the sum is one line of NumPy. Every deep-learning
# library flips nothing here, so that mathematicians call this a *correlation*. The flip comes on the way back, wait
# for it.


# %%
def conv_loops(x, w, p=1):
    """Every output number by itself."""
    (N, _, H, W), (O, _, k, _) = x.shape, w.shape
    x = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
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
# image at once. For a 3 × 3 window that is nine steps, however large the image.


# %%
def im2col(x, k, p):
    """(N, C, H, W) -> (C·k·k, N·H′·W′): column after column the windows."""
    N, C, H, W = x.shape
    height, width = H + 2 * p - k + 1, W + 2 * p - k + 1
    x = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
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
y, library = conv_loops(x, w), kernels.of(x).conv2d(x, w, padding=(1, 1))
difference = max(np.abs(conv_im2col(x, w) - y).max(), np.abs(library - y).max())
claim("im2col, the loops and the library agree", difference < 1e-12, difference)

# %% [markdown]
# Now look at a real one: a digit, and Sobel's filter for vertical edges, which subtracts what is on the right from what
# is on the left. Two windows are framed in colour; find each in the image, as a column of the matrix, and as a pixel of
# the output. Violet is ink that begins on the left, orange where it ends on the right.

# %%
train, _ = mr.data.digits()
digit = train[18:19][0].astype(float) - train[18:19][0].min()  # no ink is 0, as the border
edges = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]], float)[None, None]
response, fixed = conv_im2col(digit, edges), dict(xticks=[], yticks=[])

fig, axes = plt.subplots(1, 4, figsize=(12, 3), layout="constrained", width_ratios=[1, 2.6, 0.5, 1], subplot_kw=fixed)
axes[0].imshow(np.pad(digit[0, 0], 1), cmap="Greys", extent=(-1.5, 8.5, 8.5, -1.5))
axes[1].imshow(im2col(digit, 3, 1), cmap="Greys", aspect="auto")
axes[1].set_ylabel("9 pixels of the window")
axes[2].imshow(edges[0, 0], cmap="PuOr_r", vmin=-4, vmax=4)
axes[3].imshow(response[0, 0], cmap="PuOr_r")
for i, j, colour in ((2, 2, SKIP), (4, 6, BRANCH)):
    axes[0].add_patch(plt.Rectangle((j - 1.5, i - 1.5), 3, 3, fc="none", ec=colour, lw=2.5))
    axes[1].add_patch(plt.Rectangle((8 * i + j - 0.5, -0.5), 1, 9, fc="none", ec=colour, lw=2.5))
    axes[3].add_patch(plt.Rectangle((j - 0.5, i - 0.5), 1, 1, fc="none", ec=colour, lw=2.5))
for i, j in np.ndindex(3, 3):
    axes[2].text(j, i, f"{edges[0, 0, i, j]:+.0f}", ha="center", va="center", size=9)
for ax, title in zip(axes, ("image, with a border of zeros", "columns: one for each window", "weights", "output")):
    ax.set_title(title, size=11)
show(fig, "05-im2col")

# %% [markdown]
# ## The two ways back
#
# With $G = \partial L / \partial Y$ as a matrix $(O, NHW)$, lesson 2 has the answers: it is a matrix product.
#
# $$\bar W = G \cdot \text{columns}^\top, \qquad \overline{\text{columns}} = W^\top G.$$
#
# The first sums over all places of all images, as a weight is used at every one. The second must still become a
# gradient of the image. A pixel was copied into up to nine columns, so it was used up to nine times, and contributions
# add: the way back of copying is *adding up at the place one copied from*.
#
# Going through that sum index by index shows what it is. The weight that looked $i$ to the right on the way forward
# sends its gradient $i$ to the left on the way back. **The gradient of the image is a convolution of $G$ with the
# weights flipped** in both directions, input and output channels exchanged, and a border of $k - 1 - p$.


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
pairs = (grad_x, truth_x), (grad_w, truth_w), (backward_flipped(g, w), truth_x)
difference = max(np.abs(mine - library).max() for mine, library in pairs)
claim("both gradients agree with the library's, and dx with the flipped convolution", difference < 1e-11, difference)
claim("and with finite differences", gradcheck((conv_im2col, backward_columns), x, w, raise_on_failure=False))

# %% [markdown]
# ## What each costs
#
# Sixteen channels in, sixteen out, images of 16 × 16. Every version does the same multiplications, $N\,O\,H\,W\,C\,k^2$
# forward, and twice as many backward (once for $\bar x$, once for $\bar w$). Whatever differs in the figure is not
# arithmetic: it is how the numbers are brought to the processor. The axis is logarithmic.

# %%
N = 2 if QUICK else 16
x, w = rng.standard_normal((N, 16, 16, 16)), rng.standard_normal((16, 16, 3, 3))
g, kernel = rng.standard_normal(x.shape), kernels.of(x)
million = g.size * w[0].size / 1e6
versions = {
    "four loops": lambda: conv_loops(x, w),
    "im2col": lambda: conv_im2col(x, w),
    "minires": lambda: kernel.conv2d(x, w, padding=(1, 1)),

    "im2col, backward": lambda: backward_columns(g, x, w),
    "minires, backward": lambda: kernel.conv2d_backward(g, x, w, padding=(1, 1)),

}
taken = {name: min(timeit.repeat(run, number=1, repeat=1 if "loops" in name else 5)) for name, run in versions.items()}
rates = {name: million * (2 if "backward" in name else 1) / 1e3 / seconds for name, seconds in taken.items()}

fig, ax = plt.subplots(figsize=(8, 3), layout="constrained")
bars = ax.barh(list(rates), list(rates.values()), color=[TOTAL, BRANCH, SKIP, BRANCH, SKIP])
ax.bar_label(bars, fmt="%.2g", padding=5)
ax.set(xscale="log", xlabel="billion multiply-adds a second (more is better)")
ax.set_xlim(rates["four loops"] / 2, 4 * max(rates.values()))
ax.set_title(f"The same convolution, {million:.1f} million multiply-adds forward", size=11)
ax.invert_yaxis()
ax.spines[["top", "right"]].set_visible(False)
show(fig, "05-speed")

gain = taken["four loops"] / taken["im2col"]
letter = "c" if gain > 10 else "b" if gain > 0.5 else "a"
print(f"On this machine im2col is {gain:.0f} times as fast as the loops: {answer(letter)}. It pays with memory:")
claim("the matrix of columns is nine times the image", im2col(x, 3, 1).size == 9 * x.size, im2col(x, 3, 1).size / x.size)

# %% [markdown]
# Copying is cheap because it moves long runs of memory; a Python loop pays for its interpreter once per output pixel.
# And a product of matrices is what processors and their libraries are built for: each number that is fetched from memory
# takes part in many multiplications before the next is needed. The library goes one step further and copies each pixel
# only three times: see `minires/kernels/conv/`.
#
# ## Common mistakes
#
# **The kernel that was not flipped.** The gradient has the right shape, the right size, and for a symmetric kernel it
# is even right. On the left of the figure is a gradient sent back through the edge filter, with flip and without: not
# a bit wrong, but the exact *opposite*, because this filter turned by 180° is minus itself.
#
# **Columns in another order than the weights.** Gather the window column by column and read the weights row by row: all
# shapes fit, and the filter for vertical edges has become one for horizontal edges, on the right of the figure. It
# trains, too! The network simply learns transposed weights; you notice when you load weights from elsewhere.

# %%
pull = rng.standard_normal(response.shape)
flipped, unflipped = backward_flipped(pull, edges), conv_im2col(pull, edges)
reordered = im2col(digit, 3, 1).reshape(3, 3, -1).transpose(1, 0, 2).reshape(9, -1)  # column by column
scrambled = (edges.reshape(1, 9) @ reordered).reshape(response.shape)

pieces = [("flipped", flipped), ("not flipped", unflipped), ("in order", response), ("another order", scrambled)]
fig, axes = plt.subplots(1, 4, figsize=(11, 3.1), layout="constrained", subplot_kw=fixed)
for k, (title, image) in enumerate(pieces):
    limit = np.abs(image).max()
    axes[k].imshow(image[0, 0], cmap=("RdBu_r", "PuOr_r")[k // 2], vmin=-limit, vmax=limit)
    axes[k].set_title(f"{('gradient', 'output')[k // 2]}: {title}", size=11, color=NETWORK[("residual", "plain")[k % 2]])
show(fig, "05-mistakes")

cosine = (flipped * unflipped).sum() / np.linalg.norm(flipped) / np.linalg.norm(unflipped)
print(f"The cosine between the right gradient (green title) and the unflipped one (red) is {cosine:+.3f}.")
claim("for this filter the unflipped gradient is the exact opposite", np.allclose(unflipped, -flipped), cosine)

# %% [markdown]
# ## Exercises
#
# - Give `conv_im2col` a stride: which slices change? And what becomes of `backward_flipped`?
# - A 1 × 1 convolution needs no gathering. What does the matrix product become? (Lesson 19 lives on it.)
# - Put your own into the library: `with kernels.use(conv2d=mine): …`, and train with it.
# - `minires new conv2d` is the graded version; its checker knows the unflipped kernel when it sees one.
#
# Answers: [05_convolution](answers/05_convolution.md).
#
# ## Sources
#
# - im2col: Chellapilla, Puri & Simard 2006, *High Performance Convolutional Neural Networks for Document Processing*.
# - The arithmetic of shapes: Dumoulin & Visin 2016, [arXiv 1603.07285](https://arxiv.org/abs/1603.07285).

# %%
finish()
