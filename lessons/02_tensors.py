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
from minires.lesson import QUICK, also_at, answer, claim, finish, show
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
# product, with the factor put in before the sum. NumPy repeats an array in two cases: it lacks an axis in front, as
# $(10,)$ beside $(64, 10)$, or it has an axis of length 1, as $(64, 1)$ beside $(64, 10)$. In code:


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
# gives the gradient of that array. For numbers the pull multiplied by a slope. An array of a thousand numbers made from
# another thousand has a million slopes, the *Jacobian*; but the pull needs only their product with one vector, and that
# can mostly be had without them. For a matrix product $C = AB$ it is
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
        """A sum passes the gradient on to both, as it is."""
        return Array(self.data + other.data, [(self, lambda g: g), (other, lambda g: g)])

    def __mul__(self, other):
        """Each factor receives it times the other factor."""
        return Array(self.data * other.data, [(self, lambda g: g * other.data), (other, lambda g: g * self.data)])

    def __matmul__(self, other):
        """The two formulas above, side by side."""
        return Array(self.data @ other.data, [(self, lambda g: g @ other.data.T), (other, lambda g: self.data.T @ g)])

    def relu(self):
        """Where the input was negative, the output did not depend on it: nothing comes back."""
        return Array(np.maximum(self.data, 0), [(self, lambda g: g * (self.data > 0))])

    def backward(self):
        """Fill in .grad of everything behind this array: the gradient of the sum of its entries."""
        found, new = set(), {self}
        while new:
            found |= new
            new = {source for array in new for source, _ in array.made_from} - found
        self.grad = np.ones_like(self.data)
        for array in sorted(found, key=lambda array: array.birthday, reverse=True):
            for source, pull in array.made_from:
                source.grad = source.grad + sum_to(pull(array.grad), source.data.shape)


def cross_entropy(scores, labels):
    """Mean of −log p(label), p being the softmax of the scores; its gradient is (p − one-hot) / N."""
    p = np.exp(scores.data - scores.data.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    one_hot = np.eye(p.shape[1])[labels]
    return Array(-np.log((p * one_hot).sum(1)).mean(), [(scores, lambda g: g * (p - one_hot) / len(labels))])


# %% [markdown]
# That is a whole engine. Compare its walk with lesson 1: the order is the same, the `+` is the same, a slope became a
# pull. The broadcasting is undone **once**, in `backward`, and not in every operation: `+` may pretend that shapes
# always fit. minires does the same (`sum_to` in `ops/arithmetic.py`).
#
# The loss at the end is worth a look too. Softmax turns ten scores into ten probabilities $p$, and cross-entropy is the
# surprise, $-\ln p$, at the right label. Its gradient for the scores is $p$ minus a 1 at the right label, divided by
# $N$: every wrong score is pushed down by as much probability as it has, and the right one up by as much as it lacks.
#
# First the picture: four rows of scores, a bias of three. As the loss take $\sum_{ik} G_{ik}\,y_{ik}$ with some fixed
# numbers $G$, for then the gradient of $y$ is $G$, and you can do the rest in your head.

# %%
rng = np.random.default_rng(0)
scores, bias, G = Array(rng.integers(-3, 4, (4, 3))), Array([[2, -1, 0]]), Array(rng.integers(-2, 3, (4, 3)))
y = scores + bias
(G * y).backward()

pieces = {"b": bias.data, "b stretched": np.broadcast_to(bias.data, (4, 3)), "G = ∂L/∂y": y.grad, "∂L/∂b": bias.grad}
fig, ax = plt.subplots(figsize=(10, 3), layout="constrained")
for n, ((title, values), colour) in enumerate(zip(pieces.items(), (SKIP, SKIP, BRANCH, BRANCH))):
    ax.text(5 * n + 1, 0.9, title, ha="center", size=12)
    for (i, k), value in np.ndenumerate(values):
        box = dict(boxstyle="square,pad=0.45", fc=(colour, 0.25), ec=(colour, 0.5))
        ax.text(5 * n + k, -i, f"{value:+.0f}", ha="center", va="center", size=13, family="monospace", bbox=box)
ax.text(3.5, -0.5, "→\nrepeated\nover rows", ha="center", va="center", color=SKIP, size=11)
ax.text(13.5, -0.5, "→\nsummed\nover rows", ha="center", va="center", color=BRANCH, size=11)
ax.set(xlim=(-0.7, 17.7), ylim=(-3.6, 1.4))
ax.axis("off")
show(fig, "02-broadcasting")

summed = np.array_equal(bias.grad[0], y.grad.sum(0))
print(f"A stretched array: {answer('b' if summed else 'a')}")
claim("a stretched array's gradient is summed", summed, [*bias.grad[0]])

# %% [markdown]
# Guess (c) is not foolish: $G$ *is* the gradient of the stretched $b$. But those four rows are one and the same bias,
# and it answers for all of them. Guess (a) divides by $N$ once too often. A loss that is a mean over images has its
# $1/N$ in it already, $G$ has inherited it, and a bias that divided again would learn $N$ times too slowly.
#
# ## Yours against the library's
#
# A network of two layers reads 300 real digits, trained with your engine and with minires from the same weights. Both
# do the same thing over and over: scores, loss, gradients, and a small step against the gradient. Not "similar curves"
# are asked for, but the same numbers, up to the rounding in the sixteenth digit. Weights start random and small: were
# they all zero, no gradient would ever come through $W_2$ to $W_1$, and $W_1$ would stay zero (lesson 7).

# %%
train, _ = mr.data.digits()
images, labels = train[:300]
images = images.reshape(300, 64).astype(float)
shapes = {"W1": (64, 32), "b1": (32,), "W2": (32, 10), "b2": (10,)}
start = {name: rng.normal(0, 0.1, shape) for name, shape in shapes.items()}
STEPS, RATE = 100 if QUICK else 300, 0.3

mine, by_hand = dict(start), []
for _ in range(STEPS):
    p = {name: Array(values) for name, values in mine.items()}
    scores = (Array(images) @ p["W1"] + p["b1"]).relu() @ p["W2"] + p["b2"]
    loss = cross_entropy(scores, labels)
    loss.backward()
    mine = {name: array.data - RATE * array.grad for name, array in p.items()}
    by_hand.append(float(loss.data))


def descend(parameters, loss_of, steps, rate=RATE):
    """The loss before each of so many steps of gradient descent with minires."""
    optimizer, losses = mr.optim.SGD(parameters, lr=rate), []
    for _ in range(steps):
        optimizer.zero_grad()
        losses.append(loss_of())
        losses[-1].backward()
        optimizer.step()
    return [loss.item() for loss in losses]

X, Y = mr.tensor(images), mr.tensor(labels)


def train_it(rate):
    """The same network and loss with minires; returns the trained parameters, and claims that it has learnt."""
    p = {name: mr.tensor(values, requires_grad=True) for name, values in start.items()}

    def loss():
        return F.cross_entropy(F.relu(X @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"], Y)

    losses = descend(list(p.values()), loss, STEPS, rate)
    claim("the loss fell below a fifth of its start", losses[-1] < 0.2 * losses[0], losses[-1] / losses[0])
    return p, losses


p, library = train_it(RATE)
also_at("rate 0.06", lambda: train_it(0.06))
difference = max(np.abs(mine[name] - p[name].numpy()).max() for name in shapes)
print(f"Loss {by_hand[0]:.3f}, after {STEPS} steps {by_hand[-1]:.4f}; the weights differ by {difference:.1e} at most.")
claim("after training, all weights agree to 1e-12", difference < 1e-12, difference)

# %% [markdown]
# ## Common mistakes
#
# **Broadcasting that nobody asked for.** A network's output has shape $(N, 1)$, the targets $(N,)$. The difference is
# no error: it is a matrix of $(N, N)$, every output against every target. The loss falls, training is smooth, and the
# best answer to such a question is the targets' mean, whatever the input: the flat line on the right of the figure.
#
# **The bias that grew.** Without the sum the gradient of a bias is as large as the batch. `b = b - rate * g` does not
# complain; it makes $b$ larger by broadcasting, and every image of the batch now owns a private bias. The training
# curve on the left would fall faster than it should: with its own bias an image can be learnt by heart.

# %%
x = np.sort(rng.uniform(-1, 1, (64, 1)), axis=0)
target = 2 * x + 0.5 + rng.normal(0, 0.2, (64, 1))


def fit(wanted):
    w, b = mr.zeros(1, 1, dtype=mr.float64, requires_grad=True), mr.zeros(1, dtype=mr.float64, requires_grad=True)
    descend([w, b], lambda: ((mr.tensor(x) @ w + b - mr.tensor(wanted)) ** 2).mean(), 100)
    return w.item(), b.item()


(good, height), (bad, offset) = fit(target), fit(target[:, 0])  # of shape (N, 1), and of shape (N,)

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
left.plot(by_hand, color=SKIP, lw=2, label="your engine")
left.plot(library, "o", color=BRANCH, mfc="none", ms=7, markevery=STEPS // 20, label="minires")
left.set(xlabel="step", ylabel="training loss", title="The same network, two engines", ylim=(0, None))
right.plot(x, target, ".", color=TOTAL)
right.plot(x, good * x + height, color=NETWORK["residual"], lw=2, label="right: (N, 1) − (N, 1)")
right.plot(x, bad * x + offset, "--", color=NETWORK["plain"], lw=2, label="wrong: (N, 1) − (N,)")
right.set(xlabel="x", ylabel="target", title="A line fitted with the right shapes and the wrong ones")
for ax in (left, right):
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
show(fig, "02-two-engines")

print(f"Slope {good:.2f} with the right shapes and {bad:.0e} with the wrong ones, whose line is at {offset:.3f}.")
print("A bias of shape", mine["b2"].shape, "after a step without the sum:", (mine["b2"] - RATE * scores.grad).shape)
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
# Answers: [02_tensors](answers/02_tensors.md).
#
# ## Sources
#
# - Broadcasting rules: [NumPy's manual](https://numpy.org/doc/stable/user/basics.broadcasting.html).
# - The pulls are vector–Jacobian products: Griewank 2000, *Evaluating Derivatives*.

# %%
finish()
