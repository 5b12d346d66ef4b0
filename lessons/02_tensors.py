# %% [markdown]
# # 2. Tensors: broadcasting, and an engine of your own
#
# *An array was stretched to fit on the way forward. What happens to its gradient on the way back?*
#
# Takes 3 s (quick: 3 s).

# %% [markdown]
# Lesson 1 differentiated single numbers. A network has millions, and nobody makes a Python object of each: they are
# kept in arrays, and one operation moves a whole array. The chain rule stays what it was. Two things are new: how
# shapes are made to fit, and that slopes become matrices that one never writes down.
#
# **Predict first.** 64 images give scores $XW$ of shape $(64, 10)$. A bias $b$ of shape $(10,)$ is added; NumPy
# stretches it over all 64 rows. $G$, of shape $(64, 10)$, is the gradient of the sum. The gradient of $b$ is …
#
# - a) the mean of $G$ over its rows, as all images share the bias;
# - b) the sum of $G$ over its rows;
# - c) $G$ itself, of shape $(64, 10)$: addition passes gradients on unchanged.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires.flow.plots.style import BRANCH, NETWORK, SKIP, TOTAL
from minires.lesson import QUICK, claim, finish, show
from minires.nn import functional as F

# %% [markdown]
# ## Stretching is using more than once
#
# Stretching $b$ over rows means that the number $b_k$ is **used 64 times**, once in each row. Lesson 1 has settled what
# happens to a number that is used several times: contributions add. So
#
# $$y_{ik} = s_{ik} + b_k \quad\Longrightarrow\quad \frac{\partial L}{\partial b_k} = \sum_i G_{ik}.$$
#
# Every axis along which an array was repeated on the way forward is summed over on the way back. The same holds for a
# product, with the factor put in before the sum. In code:


# %%
def sum_to(gradient, shape):
    """Undo broadcasting: sum over axes that were added in front, and over axes that were 1."""
    gradient = gradient.sum(axis=tuple(range(gradient.ndim - len(shape))))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and gradient.shape[i] != 1)
    return gradient.sum(axis=stretched, keepdims=True)


# %% [markdown]
# ## An engine by hand
#
# For each array it was made from, a tensor remembers a **pull**: a function that takes the gradient of the tensor and
# gives the gradient of that array. For numbers the pull multiplied by a slope; for a matrix product $C = AB$ it is
#
# $$\bar A = \bar C\,B^\top, \qquad \bar B = A^\top \bar C.$$
#
# You need not remember which side and which transpose: shapes leave no other choice. With $A$ of $(n, k)$, $B$ of
# $(k, m)$ and $\bar C$ of $(n, m)$, try to build something of shape $(n, k)$ from $\bar C$ and $B$.


# %%
class Array:
    """An array, and for each array it was made from, the pull of its gradient back to it."""

    count = 0

    def __init__(self, data, made_from=()):
        self.data, self.made_from, self.grad = np.asarray(data, float), made_from, 0.0
        Array.count += 1
        self.birthday = Array.count

    def __add__(self, other):
        pulls = [(self, lambda g: g), (other, lambda g: g)]
        return Array(self.data + other.data, pulls)

    def __mul__(self, other):
        pulls = [(self, lambda g: g * other.data), (other, lambda g: g * self.data)]
        return Array(self.data * other.data, pulls)

    def __matmul__(self, other):
        pulls = [(self, lambda g: g @ other.data.T), (other, lambda g: self.data.T @ g)]
        return Array(self.data @ other.data, pulls)

    def relu(self):
        return Array(np.maximum(self.data, 0), [(self, lambda g: g * (self.data > 0))])

    def backward(self):
        found, stack = {self}, [self]
        while stack:
            for source, _ in stack.pop().made_from:
                if source not in found:
                    found.add(source)
                    stack.append(source)
        self.grad = np.ones_like(self.data)
        for array in sorted(found, key=lambda array: array.birthday, reverse=True):
            for source, pull in array.made_from:
                source.grad = source.grad + sum_to(pull(array.grad), source.data.shape)


def cross_entropy(scores, labels):
    """Mean of −log p(label), p being the softmax of the scores; its gradient is (p − one-hot) / N."""
    p = np.exp(scores.data - scores.data.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    rows = np.arange(len(labels))
    one_hot = np.eye(p.shape[1])[labels]
    return Array(-np.log(p[rows, labels]).mean(), [(scores, lambda g: g * (p - one_hot) / len(labels))])


# %% [markdown]
# That is a whole engine. The broadcasting is undone **once**, in `backward`, and not in every operation: `+` may
# pretend that shapes always fit. minires does the same (`sum_to` in `ops/arithmetic.py`).
#
# First the picture: four rows of scores, a bias of three.

# %%
rng = np.random.default_rng(0)
scores, bias = Array(rng.integers(-3, 4, (4, 3))), Array([[2, -1, 0]])
weights = Array(rng.integers(-2, 3, (4, 3)))  # Σ weights·y is a loss whose gradient for y is the weights
y = scores + bias
loss = Array(np.ones((1, 4))) @ (weights * y) @ Array(np.ones((3, 1)))
loss.backward()

pieces = [("b", bias.data), ("b stretched", np.broadcast_to(bias.data, (4, 3))), ("G = ∂L/∂y", y.grad)]
pieces.append(("∂L/∂b", bias.grad))
fig, axes = plt.subplots(1, 4, figsize=(10, 3), layout="constrained")
for ax, (title, values), colour in zip(axes, pieces, (SKIP, SKIP, BRANCH, BRANCH)):
    ax.imshow(np.zeros((4, 3)), cmap="Greys", vmin=0, vmax=1)
    top = 0 if title == "b" else 3 if title == "∂L/∂b" else None
    for i, k in np.ndindex(4, 3):
        if top is None or i == top:
            ax.text(k, i, f"{values[i if top is None else 0, k]:+.0f}", ha="center", va="center", size=13)
            box = plt.Rectangle((k - 0.45, i - 0.4), 0.9, 0.8, fc=colour, alpha=0.25, ec=colour)
            ax.add_patch(box)
        if title == "b stretched" and i:
            ax.annotate("", (k, i - 0.32), (k, i - 0.68), arrowprops=dict(arrowstyle="->", color=SKIP))
    if title == "G = ∂L/∂y":
        for k in range(3):
            ax.annotate("", (k, 3.9), (k, 3.3), arrowprops=dict(arrowstyle="->", color=BRANCH), annotation_clip=False)
    ax.set_title(title, size=12, color="black")
    ax.axis("off")
fig.text(0.25, -0.09, "forward: repeated over the rows →", ha="center", size=11, color=SKIP)
fig.text(0.75, -0.09, "backward: summed over the rows →", ha="center", size=11, color=BRANCH)
show(fig, "02-broadcasting")

answer = {"a)": y.grad.mean(0), "b)": y.grad.sum(0)}
right = [letter for letter, values in answer.items() if np.array_equal(values, bias.grad[0])]
print("The gradient of the bias is", bias.grad[0], "which is answer", *right)
claim("a stretched array's gradient is summed", np.array_equal(bias.grad, y.grad.sum(0, keepdims=True)))

# %% [markdown]
# ## Yours against the library's
#
# A network of two layers reads 300 real digits, trained with your engine and with minires from the same weights. Not
# "similar curves": the same numbers.

# %%
train, _ = mr.data.digits()
images, labels = train[:300]
images = images.reshape(len(images), 64).astype(float)
shapes = {"W1": (64, 32), "b1": (32,), "W2": (32, 10), "b2": (10,)}
start = {name: rng.normal(0, 0.1, shape) for name, shape in shapes.items()}
STEPS, RATE = 100 if QUICK else 300, 0.3

mine, curves = dict(start), {"by hand": [], "minires": []}
for _ in range(STEPS):
    p = {name: Array(values) for name, values in mine.items()}
    hidden = (Array(images) @ p["W1"] + p["b1"]).relu()
    loss = cross_entropy(hidden @ p["W2"] + p["b2"], labels)
    loss.backward()
    mine = {name: array.data - RATE * array.grad for name, array in p.items()}
    curves["by hand"].append(float(loss.data))

p = {name: mr.tensor(values, requires_grad=True) for name, values in start.items()}
optimizer = mr.optim.SGD(list(p.values()), lr=RATE)
for _ in range(STEPS):
    optimizer.zero_grad()
    hidden = F.relu(mr.tensor(images) @ p["W1"] + p["b1"])
    loss = F.cross_entropy(hidden @ p["W2"] + p["b2"], mr.tensor(labels))
    loss.backward()
    optimizer.step()
    curves["minires"].append(loss.item())

difference = max(np.abs(mine[name] - p[name].numpy()).max() for name in shapes)
print(f"Loss {curves['by hand'][0]:.3f} before, {curves['by hand'][-1]:.4f} after {STEPS} steps, in both engines; "
      f"the weights differ by {difference:.1e} at most.")
claim("after training, all weights agree to 1e-12", difference < 1e-12, difference)
learnt = curves["by hand"][-1] / curves["by hand"][0]
claim("the network learnt something: the loss fell below a fifth of its start", learnt < 0.2, learnt)

# %% [markdown]
# ## Common mistakes
#
# **Broadcasting that nobody asked for.** A network's output has shape $(N, 1)$, the targets $(N,)$. The difference is
# no error: it is a matrix of $(N, N)$, every output against every target. The loss falls, training is smooth, and the
# best answer to such a question is the targets' mean, whatever the input. On the right is what it looks like.
#
# **The bias that grew.** Without the sum the gradient of a bias is as large as the batch. `b = b - rate * g` does not
# complain; it makes $b$ larger by broadcasting, and every image of the batch now owns a private bias.

# %%
x = rng.uniform(-1, 1, (64, 1))
target = 2 * x[:, 0] + 0.5 + rng.normal(0, 0.2, 64)
fits = {}
for name, wanted in (("right: (N, 1) − (N, 1)", target[:, None]), ("wrong: (N, 1) − (N,)", target)):
    w, b = mr.zeros(1, 1, dtype=mr.float64, requires_grad=True), mr.zeros(1, dtype=mr.float64, requires_grad=True)
    optimizer = mr.optim.SGD([w, b], lr=0.3)
    for _ in range(100):
        optimizer.zero_grad()
        ((mr.tensor(x) @ w + b - mr.tensor(wanted)) ** 2).mean().backward()
        optimizer.step()
    fits[name] = w.item(), b.item()

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
left.plot(curves["by hand"], color=SKIP, lw=2)
every = max(STEPS // 20, 1)
left.plot(range(0, STEPS, every), curves["minires"][::every], "o", color=BRANCH, mfc="none", ms=7)
left.text(STEPS * 0.25, curves["by hand"][0] * 0.6, "line: your engine\ncircles: minires", size=11)
left.set(xlabel="step", ylabel="training loss", title="The same network, two engines", ylim=(0, None))
right.plot(x, target, ".", color=TOTAL)
for (name, (w, b)), colour, style in zip(fits.items(), (NETWORK["residual"], NETWORK["plain"]), ("-", "--")):
    right.plot([-1, 1], [b - w, b + w], color=colour, ls=style, lw=2)
    at = 0.35 if style == "-" else -0.98
    right.text(at, b + w * at + (-0.75 if style == "-" else 0.12), name, color=colour, size=10)
right.set(xlabel="x", ylabel="target", title="A line fitted with the right shapes and the wrong ones")
for ax in (left, right):
    ax.spines[["top", "right"]].set_visible(False)
show(fig, "02-two-engines")

(good, _), (bad, offset) = fits.values()
unsummed = F.softmax(mr.tensor(images @ start["W1"] @ start["W2"]), 1).numpy() - np.eye(10)[labels]
grown = start["b2"] - RATE * unsummed
print(f"Slope {good:.2f} with the right shapes, {bad:.0e} with the wrong ones, whose line is at {offset:.3f}; the "
      f"targets' mean is {target.mean():.3f}.\nA bias of shape {start['b2'].shape} has shape {grown.shape} after a "
      "step without the sum.")
claim("the right shapes find the slope", abs(good - 2) < 0.2, good)
claim("the wrong shapes find the mean and nothing else", abs(bad) < 1e-6 and abs(offset - target.mean()) < 1e-6, bad)

# %% [markdown]
# ## Exercises
#
# - Give `Array` subtraction, and `mean`. What is the pull of a mean over $n$ numbers?
# - Break `sum_to`: return the mean over stretched axes. How far does training get? Which line would you suspect?
# - Add an `exp` and write `cross_entropy` from `Array` operations alone. Compare gradients with the short formula.
# - `minires new broadcasting` and `minires new autograd` are the graded versions.
#
# ## Sources
#
# - Broadcasting rules: [NumPy's manual](https://numpy.org/doc/stable/user/basics.broadcasting.html).
# - The pulls are vector–Jacobian products: Griewank 2000, *Evaluating Derivatives*.

# %%
finish()
