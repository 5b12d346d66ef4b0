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
from minires.lesson import claim, finish, show

# %% [markdown]
# ## The rule
#
# Along **one** path slopes multiply: if $u = f(x)$ and $y = g(u)$, moving $x$ by $\varepsilon$ moves $u$ by
# $f'\varepsilon$ and $y$ by $g' f' \varepsilon$. Over **several** paths effects add: if $x$ reaches $y$ through $u$ and
# through $v$, both move $y$, and small movements sum. So
#
# $$\frac{dy}{dx} = \sum_{\text{paths } x \to y}\;\prod_{\text{edges of the path}} \text{slope of the edge}.$$
#
# That is the whole chain rule. Computing it path by path would be hopeless, as you will see; but sums of products can
# be factored. Let $\bar v$ be the gradient of a number $v$, meaning $dy/dv$. Each consumer $c$ of $v$ contributes
# $\bar c$ times its slope, so $\bar v = \sum_{c} \bar c\;\partial c/\partial v$, and each number needs to be visited
# once, **after** all of its consumers.
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


def tanh(x):
    value = math.tanh(x.value)
    return Number(value, [(x, 1 - value**2)])


def everything_behind(y):
    """All numbers y was made from, itself included."""
    found, stack = {y}, [y]
    while stack:
        for source, _ in stack.pop().made_from:
            if source not in found:
                found.add(source)
                stack.append(source)
    return found


def backward(y):
    """Fill in .grad of every number behind y; return how many numbers were visited."""
    order = sorted(everything_behind(y), key=lambda number: number.birthday, reverse=True)
    y.grad = 1.0
    for number in order:
        for source, slope in number.made_from:
            source.grad += number.grad * slope  # add: this is the line the course is about
    return len(order)


x = Number(3.0)
backward(x * x)
print(f"x·x at 3: the gradient is {x.grad:g}, so b): two uses, two contributions, and they add.")
claim("d(x·x)/dx = 2x", x.grad == 6.0, x.grad)

# %% [markdown]
# ## A fork that meets again
#
# Now the shape that matters: $y = x + \tanh x$. It is a residual block made of single numbers: the tanh is the
# branch, the addition's other input the skip. Two paths lead from $x$ to $y$, with slopes $1$ and
# $\tanh' x = 1 - \tanh^2 x$, so $dy/dx = 1 + \tanh' x$. Twelve in a row:
#
# $$x_{k+1} = x_k + \tanh x_k, \qquad \frac{dx_{12}}{dx_0} = \prod_{k=0}^{11} (1 + \tanh' x_k),$$
#
# and multiplied out that is a sum over $2^{12}$ paths, one for each choice of skip or branch in each block.


# %%
def chain(x, blocks):
    for _ in range(blocks):
        x = x + tanh(x)
    return x


START, BLOCKS = 0.02, 12
x = Number(START)
count = backward(chain(x, BLOCKS))
h = 1e-5
by_differences = (chain(Number(START + h), BLOCKS).value - chain(Number(START - h), BLOCKS).value) / (2 * h)
print(f"{BLOCKS} blocks: gradient {x.grad:.6f}, by differences {by_differences:.6f}, {count} numbers visited")
claim("the walk agrees with differences", abs(x.grad / by_differences - 1) < 1e-6, abs(x.grad / by_differences - 1))

# %% [markdown]
# ## Done wrong, twice, and once too slowly
#
# 1. **Overwrite**: `source.grad = …` instead of `+=`. Reads innocently; the last consumer wins.
# 2. **Too early**: walk from $y$ breadth first, and pass a number's gradient on the moment it is reached. At a fork
#    only one consumer may have reported by then. The rest comes too late to be passed on.
# 3. **Every path**: follow each path to its end and add up. Right, but with $2^n$ paths.


# %%
def backward_overwriting(y):
    y.grad = 1.0
    for number in sorted(everything_behind(y), key=lambda number: number.birthday, reverse=True):
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


def backward_every_path(y):
    y.grad, visits, stack = 1.0, 0, [(y, 1.0)]
    while stack:
        number, along_path = stack.pop()
        visits += 1
        for source, slope in number.made_from:
            source.grad += along_path * slope
            stack.append((source, along_path * slope))
    return visits


lengths = range(1, BLOCKS + 1)
walks = {"right": backward, "too early": backward_too_early, "overwrite": backward_overwriting}
walks["every path"] = backward_every_path
gradients, visits = {name: [] for name in walks}, {name: [] for name in walks}
for n in lengths:
    for name, walk in walks.items():
        x = Number(START)
        visits[name].append(walk(chain(x, n)))
        gradients[name].append(x.grad)

# %%
fig, (drawing, left, right) = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained", width_ratios=[0.9, 1.2, 1])
spots = {"x": (0, 0), "tanh x": (1, 1), "y": (2, 0)}
slope = 1 - math.tanh(1.0) ** 2
for a, b, colour, text, at, bend in (
    ("x", "tanh x", BRANCH, f"tanh′ x = {slope:.2f}", (0.1, 0.75), 0), ("tanh x", "y", BRANCH, "1", (1.7, 0.62), 0),
    ("x", "y", SKIP, "1", (1, -0.42), 0.3),
):  # fmt: skip
    style = dict(arrowstyle="-|>", color=colour, lw=2, shrinkA=17, shrinkB=17, connectionstyle=f"arc3,rad={-bend}")
    drawing.annotate("", spots[a], spots[b], arrowprops=style)
    drawing.text(*at, text, color=colour, ha="center", size=11)
for name, spot in spots.items():
    drawing.text(*spot, name, ha="center", va="center", size=11, bbox=dict(boxstyle="round", fc="white", ec=TOTAL))
drawing.text(1, -0.95, f"gradient of x at x = 1:  1 + {slope:.2f} = {1 + slope:.2f}", ha="center", size=11)
drawing.set(xlim=(-0.8, 2.5), ylim=(-1.1, 1.4), title="what comes back in y = x + tanh x")
drawing.axis("off")
for (name, values), colour, marker in zip(gradients.items(), (NETWORK["residual"], "#CC79A7", NETWORK["plain"]), "so^"):
    left.plot(lengths, values, marker=marker, color=colour)
    left.text(BLOCKS + 0.3, values[-1], name, color=colour, va="center", size=10)
left.set(yscale="log", xlabel="blocks x + tanh x in a row", ylabel="gradient of x₀", title="three walks, one is right")
left.set(xlim=(0.5, BLOCKS * 1.38), xticks=range(2, BLOCKS + 1, 2))
for walk, name, colour, marker in (("right", "newest first", NETWORK["residual"], "s"), ("every path", "", TOTAL, "v")):
    right.semilogy(lengths, visits[walk], marker=marker, color=colour)
    right.text(BLOCKS, visits[walk][-1] * 1.6, name or walk, color=colour, ha="right", size=10)
right.set(xlabel="blocks x + tanh x in a row", ylabel="numbers visited", title="the cost of the right answer")
right.set_ylim(1, visits["every path"][-1] * 6)
for ax in (left, right):
    ax.spines[["top", "right"]].set_visible(False)
show(fig, "01-fork")

# %% [markdown]
# Look at *which* wrong answers these are. Newest first, the addition reports to $x$ before the tanh does, so
# overwriting keeps the branch's contribution and forgets the skip's: what is left is $\prod \tanh' x_k$, the gradient
# of the same chain **without** skips. One forgotten `+` makes a residual network plain, and only on the way back. Too
# early does the opposite: every number but $x_0$ passes on the skip's part alone; the branch's arrives late.

# %%
slopes, value = [], START
for _ in range(BLOCKS):
    slopes.append(1 - math.tanh(value) ** 2)
    value += math.tanh(value)
last, cost = ({name: values[-1] for name, values in table.items()} for table in (gradients, visits))
print(f"right {last['right']:.4g}, overwriting {last['overwrite']:.2g}, too early {last['too early']:.3g}")
claim("every path and newest first agree", math.isclose(last["right"], last["every path"]))
claim("the right gradient is ∏(1 + tanh′)", math.isclose(last["right"], math.prod(1 + s for s in slopes)))
claim("overwriting gives ∏ tanh′: the skip is gone", math.isclose(last["overwrite"], math.prod(slopes)))
claim("too early gives 1 + tanh′ of the first block alone", math.isclose(last["too early"], 1 + slopes[0]))
claim("newest first visits 2n + 1 numbers", cost["right"] == 2 * BLOCKS + 1, cost["right"])
claim("every path visits 3·2ⁿ − 2", cost["every path"] == 3 * 2**BLOCKS - 2, cost["every path"])

# %% [markdown]
# ## The library's
#
# minires works the same way, with arrays in place of numbers. Its walk is `_walk` in `minires/autograd.py`, thirty
# lines; the birthday is called `serial`. What it does *besides* is the reason it was written: with a recording on,
# every consumer's contribution is kept apart before they are summed, so you can ask a tensor who sent what.

# %%
x = mr.tensor([START], dtype=mr.float64, requires_grad=True)
with mr.flow.recording() as rec:
    y = x
    for _ in range(BLOCKS):
        y = y + y.tanh()
    y.backward()
for consumer, norm, _ in rec.edges(x):
    print(f"x received {norm:.4f} from {consumer.strip(': ')}")
print(f"and passed on their sum, {x.grad[0]:.4f}")
claim("the library agrees with forty lines of Python", math.isclose(x.grad[0], last["right"], rel_tol=1e-12))

# %% [markdown]
# ## Common mistakes
#
# **A walk in the wrong order**, or one that overwrites: the two lower curves of the figure. With one block they are
# not far off, and a test with one fork in it may let them pass. Test an engine on several forks in a row.
#
# **A second backward on top of the first.** Because contributions add, they go on adding: call `backward` twice
# without clearing `.grad`, and every gradient is the sum over both calls. That is why training loops begin with
# `optimizer.zero_grad()`. The symptom is a learning rate that seems to grow with time.

# %%
x = Number(3.0)
after = []
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
# ## Sources
#
# - The walk is reverse-mode differentiation: Linnainmaa's master's thesis, 1970; a book on it is
#   Griewank 2000, *Evaluating Derivatives*.
# - An engine of this size, for numbers: Karpathy's [micrograd](https://github.com/karpathy/micrograd).
# - Residual networks read as sums over paths: Veit et al. 2016, [arXiv 1605.06431](https://arxiv.org/abs/1605.06431),
#   taken up in lesson 13.

# %%
finish()
