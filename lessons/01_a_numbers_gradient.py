# %% [markdown]
# # 1. A number's gradient: why contributions add where paths meet
#
# *A number is used twice; each use sends a gradient back. Which one counts?*
#
# Takes 2 s (quick: 2 s).

# %% [markdown]
# Everything in this course rests on one rule about one number: forty lines of code, and two ways to get them wrong
# that look perfectly sensible.
#
# **Predict first.** $y = x \cdot x$ at $x = 3$. Both inputs of the product are $x$. The slope towards the first is the
# other factor, 3; towards the second it is 3 as well. The gradient of $x$ is …
#
# - a) 3: both uses say so;
# - b) 6: they add;
# - c) 9: they multiply, as things do in the chain rule.

# %%
import math

import matplotlib.pyplot as plt

import minires as mr
from minires.flow.plots.style import BRANCH, NETWORK, SKIP, TOTAL
from minires.lesson import answer, claim, finish, show

# %% [markdown]
# ## The rule
#
# Draw a computation as a graph: a dot for each number, an arrow from what is used to what is made of it, and on the
# arrow the *slope*, which says how far the new number moves when the old one moves by 1. Along **one** path slopes
# multiply: if $u = f(x)$ and $y = g(u)$, moving $x$ by $\varepsilon$ moves $u$ by $f'\varepsilon$, and that moves $y$
# by $g' f' \varepsilon$. Over **several** paths effects add: if $x$ reaches $y$ through $u$ and through $v$, both move
# $y$, and small movements sum. So
#
# $$\frac{dy}{dx} = \sum_{\text{paths } x \to y}\;\prod_{\text{edges of the path}} \text{slope of the edge}.$$
#
# That is the whole chain rule. Path by path it would be hopeless, for their number doubles with every fork. But sums of
# products can be factored: $ac + bc = (a + b)\,c$. Let $\bar v$ be the gradient of a number $v$, meaning $dy/dv$. Each
# consumer $c$ of $v$ contributes $\bar c$ times its slope,
#
# $$\bar v = \sum_{\text{consumers } c} \bar c\;\frac{\partial c}{\partial v},$$
#
# and each number needs to be visited only once, **after** all of its consumers: before that, the sum is not complete.
#
# ## By hand
#
# A number remembers what it was made from, and the slope towards each. Newer numbers are made of older ones, so
# going through them newest first visits every consumer before what it consumed.


# %%
class Number:
    """A value, and for each number it was made from, the slope of the value in it."""

    count = 0

    def __init__(self, value, made_from=()):
        self.value, self.made_from, self.grad = value, made_from, 0.0
        Number.count += 1
        self.birthday = Number.count  # larger for newer numbers

    def __add__(self, other):
        return Number(self.value + other.value, [(self, 1.0), (other, 1.0)])

    def __mul__(self, other):
        return Number(self.value * other.value, [(self, other.value), (other, self.value)])

    def tanh(self):
        value = math.tanh(self.value)
        return Number(value, [(self, 1 - value**2)])


def newest_first(y):
    """All numbers y was made from, itself included; each comes after its consumers."""
    found, new = set(), {y}
    while new:
        found |= new
        new = {source for number in new for source, _ in number.made_from} - found
    return sorted(found, key=lambda number: number.birthday, reverse=True)


def backward(y):
    """Fill in .grad of every number behind y."""
    y.grad = 1.0
    for number in newest_first(y):
        for source, slope in number.made_from:
            source.grad += number.grad * slope  # add: this is the line the course is about


x = Number(3.0)
backward(x * x)
print(f"x·x at 3: two uses, two contributions, and a gradient of {x.grad:g}.")
print(f"Both count: {answer('b' if x.grad == 6 else 'a')}")
claim("d(x·x)/dx is 2x, the sum", x.grad == 6.0, x.grad)

# %% [markdown]
# ## A fork that meets again
#
# Now the shape that matters: $y = x + \tanh x$. It is a residual block made of single numbers: the tanh is the
# branch, the addition's other input the skip. Two paths lead from $x$ to $y$, with slopes $1$ and
# $\tanh' x = 1 - \tanh^2 x$, so $dy/dx = 1 + \tanh' x$. Twelve in a row:
#
# $$x_{k+1} = x_k + \tanh x_k, \qquad \frac{dx_{12}}{dx_0} = \prod_{k=0}^{11} (1 + \tanh' x_k),$$
#
# and multiplied out that is a sum over $2^{12}$ paths, one for each choice of skip or branch in each block. The walk
# needs none of them: it visits the 25 numbers there are (12 sums, 12 tanhs and $x_0$). Whether it is right, a
# difference quotient can tell, with a small step $h$ to either side. (Lesson 3 says how small.)


# %%
def chain(x, blocks):
    for _ in range(blocks):
        x = x + x.tanh()
    return x


START, BLOCKS, h = 0.02, 12, 1e-5
x = Number(START)
y = chain(x, BLOCKS)
backward(y)
by_differences = (chain(Number(START + h), BLOCKS).value - chain(Number(START - h), BLOCKS).value) / (2 * h)
print(f"{BLOCKS} blocks: the walk gives {x.grad:.5f}, the difference quotient {by_differences:.5f}.")
claim("the walk agrees with differences", abs(x.grad / by_differences - 1) < 1e-6, abs(x.grad / by_differences - 1))
claim("it visits 2n + 1 numbers, not 2ⁿ paths", len(newest_first(y)) == 2 * BLOCKS + 1, len(newest_first(y)))

# %% [markdown]
# ## Done wrong, twice
#
# 1. **Overwrite**: `source.grad = …` instead of `+=`. Reads innocently; the last consumer wins.
# 2. **Too early**: walk from $y$ breadth first, and pass a number's gradient on the moment the number is reached. At a
#    fork only one consumer may have reported by then. What the other reports comes too late to be passed on.
#
# On a graph without forks both are right. So let the number of forks grow, and compare.


# %%
def backward_overwriting(y):
    y.grad = 1.0
    for number in newest_first(y):
        for source, slope in number.made_from:
            source.grad = number.grad * slope


def backward_too_early(y):
    y.grad, seen, queue = 1.0, {y}, [y]
    while queue:
        number = queue.pop(0)
        for source, slope in number.made_from:
            source.grad += number.grad * slope
            if source not in seen:
                seen.add(source)
                queue.append(source)


walks = {"right": backward, "too early": backward_too_early, "overwrite": backward_overwriting}
gradients = {name: [] for name in walks}
for name, walk in walks.items():
    for blocks in range(1, BLOCKS + 1):
        x = Number(START)
        walk(chain(x, blocks))
        gradients[name].append(x.grad)

fig, (drawing, ax) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained", width_ratios=[0.8, 1])
spots = {"x": (0, 0), "tanh x": (1, 1), "y": (2, 0)}
slope = 1 - math.tanh(1.0) ** 2
arrows = [("tanh x", "x", BRANCH, f"tanh′ x = {slope:.2f}", (0, 0.75), 0), ("y", "tanh x", BRANCH, "1", (1.7, 0.62), 0)]
for start, end, colour, text, at, bend in [*arrows, ("y", "x", SKIP, "1", (1, -0.42), -0.3)]:
    style = dict(arrowstyle="-|>", color=colour, lw=2, shrinkA=17, shrinkB=17, connectionstyle=f"arc3,rad={bend}")
    drawing.annotate("", spots[end], spots[start], arrowprops=style)
    drawing.text(*at, text, color=colour, ha="center", size=11)
for name, spot in spots.items():
    drawing.text(*spot, name, ha="center", va="center", size=11, bbox=dict(boxstyle="round", fc="white", ec=TOTAL))
drawing.text(1, -0.95, f"gradient of x at x = 1:  1 + {slope:.2f} = {1 + slope:.2f}", ha="center", size=11)
drawing.set(xlim=(-0.8, 2.5), ylim=(-1.1, 1.4), title="What comes back in y = x + tanh x")
drawing.axis("off")
for (name, values), colour, marker in zip(gradients.items(), (NETWORK["residual"], "#C7438A", NETWORK["plain"]), "so^"):
    ax.semilogy(range(1, BLOCKS + 1), values, marker=marker, color=colour)
    ax.text(BLOCKS + 0.3, values[-1], name, color=colour, va="center", size=10)
ax.set(xlabel="blocks in a row", ylabel="gradient of x₀", title="Three walks, one is right", xlim=(0.5, BLOCKS * 1.25))
ax.spines[["top", "right"]].set_visible(False)
show(fig, "01-fork")

# %% [markdown]
# Look at *which* wrong answers these are. Newest first, the addition reports to $x$ before the tanh does, so
# overwriting keeps the branch's contribution and forgets the skip's: what is left is $\prod \tanh' x_k$, the gradient
# of the same chain **without** skips. It dies, as $x_k$ grows and tanh flattens. One forgotten `+` makes a residual
# network plain, and only on the way back. Too early does the opposite: every number but $x_0$ passes on the skip's part
# alone, and the branch's arrives late; only at $x_0$, where nothing is passed on any more, do both count.

# %%
slopes = [1 - math.tanh(chain(Number(START), k).value) ** 2 for k in range(BLOCKS)]
last = {name: values[-1] for name, values in gradients.items()}
print(f"right {last['right']:.4g}, overwriting {last['overwrite']:.2g}, too early {last['too early']:.3g}")
claim("the right gradient is ∏(1 + tanh′)", math.isclose(last["right"], math.prod(1 + s for s in slopes)))
claim("overwriting gives ∏ tanh′: the skip is gone", math.isclose(last["overwrite"], math.prod(slopes)))
claim("too early gives 1 + tanh′ of the first block alone", math.isclose(last["too early"], 1 + slopes[0]))

# %% [markdown]
# ## The library's
#
# minires works the same way, with arrays in place of numbers: read `_walk` in `minires/autograd.py`, thirty lines, where
# the birthday is called `serial`. What it does *as well* is the reason it was written: a recording keeps every
# consumer's contribution apart before they are summed, so you can ask a tensor who sent what.

# %%
x = mr.tensor([START], dtype=mr.float64, requires_grad=True)
with mr.flow.recording() as rec:
    chain(x, BLOCKS).backward()
for consumer, norm, _ in rec.edges(x):
    print(f"x received {norm:.4f} from {consumer}")
print(f"and its gradient is their sum, {x.grad[0]:.4f}.")
claim("the library agrees with forty lines of Python", math.isclose(x.grad[0], last["right"], rel_tol=1e-12))

# %% [markdown]
# ## Common mistakes
#
# **A walk in the wrong order**, or one that overwrites: the two lower curves of the figure. With one block the wrong
# order is right, and a test with a single fork in it lets it pass. Test an engine on several forks in a row.
#
# **A second backward on top of the first.** Because contributions add, they go on adding: call `backward` twice
# without clearing `.grad`, and every gradient is the sum over both calls. The figure's upper curve would lie twice as
# high, with no bend to betray it. That is why a training loop begins with `optimizer.zero_grad()`.

# %%
x, after = Number(3.0), []
for _ in range(3):
    backward(x * x)
    after.append(x.grad)
print("gradient of x·x after one, two and three calls:", after)
claim("without clearing, calls add up", after == [6.0, 12.0, 18.0], after)

# %% [markdown]
# ## Exercises
#
# - `Number` cannot subtract or divide. Add both; each is one line and its slopes.
# - What does `x + x + x` look like as a graph, and how many contributions does $x$ receive? Ask `rec.edges`.
# - Replace `x + tanh(x)` by `x * tanh(x)`. Which of the three walks are still right for one block, and why?
# - `minires new autograd` gives you an engine with the walk left out; `minires new residual_block` the block.
#
# Answers: [01_a_numbers_gradient](answers/01_a_numbers_gradient.md).
#
# ## Sources
#
# - The walk is reverse-mode differentiation: Linnainmaa 1970, master's thesis; Griewank 2000, *Evaluating Derivatives*.
# - An engine of this size, for numbers: Karpathy's [micrograd](https://github.com/karpathy/micrograd).
# - Residual networks as sums over paths: Veit et al. 2016, [arXiv 1605.06431](https://arxiv.org/abs/1605.06431).

# %%
finish()
