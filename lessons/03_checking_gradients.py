# %% [markdown]
# # 3. Checking gradients: how to know that a derivative is right
#
# *How small a step should a finite difference take, and which loss lets a wrong gradient pass?*
#
# Takes 4 s (quick: 3 s).

# %% [markdown]
# You wrote an engine, and it trained. So its gradients are right? No. A network learns with gradients that are 7 times
# too large, that lack a term, that are wrong at every border pixel. It learns a little worse, and nobody ever finds
# out. Checking is done against the definition of the derivative, and has three traps.
#
# **Predict first.** To measure $f'(x)$ you compute $(f(x + h) - f(x - h)) / 2h$ in double precision, for an $f$ with
# values around 1. The most accurate $h$ is about …
#
# - a) $10^{-15}$: the smaller, the closer to the limit;
# - b) $10^{-5}$;
# - c) $10^{-1}$: tiny numbers are a nuisance.

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires.flow.plots.style import BRANCH, NETWORK, SKIP, TOTAL
from minires.lesson import QUICK, claim, finish, progress, show
from minires.testing import VacuousCheckWarning, gradcheck

# %% [markdown]
# ## Trap one: the step
#
# Two errors pull at $h$. Cutting off the Taylor series costs $h^2 f'''/6$ for a centred difference, $h f''/2$ for a
# one-sided one. And $f(x+h)$ is only known to a rounding error of about $\varepsilon |f|$, where $\varepsilon$ is
# $2.2 \cdot 10^{-16}$ in double precision; the division by $h$ blows it up:
#
# $$\text{error} \approx \tfrac{1}{6} h^2 |f'''| + \varepsilon |f| / h, \quad h^* = \sqrt[3]{3\varepsilon |f/f'''|}.$$
#
# By hand, for $f = e^{\sin x}$ at ten points:

# %%
points = np.linspace(0.3, 1.2, 10)
steps = 10.0 ** np.arange(-15, 0.01, 0.25)


def f(x):
    return np.exp(np.sin(x))


def errors(difference, dtype=np.float64):
    """The typical error (root mean square over the points) of a difference quotient, for each step."""
    x = points.astype(dtype)
    exact = np.cos(points) * f(points)
    quotients = np.array([difference(x, dtype(h)) for h in steps], float)
    return np.sqrt(((quotients - exact) ** 2).mean(1))


def centred(x, h):
    return (f(x + h) - f(x - h)) / (2 * h)


def one_sided(x, h):
    return (f(x + h) - f(x)) / h


curves = {"one-sided": errors(one_sided), "centred": errors(centred), "centred, float32": errors(centred, np.float32)}
best = {name: steps[np.argmin(curve)] for name, curve in curves.items()}
s, c = np.sin(points), np.cos(points)
third = c * f(points) * (c**2 - 3 * s - 1)  # f‴
size, third = np.sqrt((f(points) ** 2).mean()), np.sqrt((third**2).mean())
epsilon = np.finfo(float).eps
h_star = np.cbrt(3 * epsilon * size / third)

fig, ax = plt.subplots(figsize=(7.4, 4.2), layout="constrained")
for (name, curve), colour, marker, spot in zip(
    curves.items(), (BRANCH, SKIP, TOTAL), "^os", ((4e-9, 1e-6), (1.5e-7, 1.5e-8), (1e-13, 4))
):
    ax.loglog(steps, curve, marker=marker, ms=4, color=colour)
    ax.text(*spot, name, color=colour, size=11)
ax.loglog(steps, steps**2 * third / 6, ":", color="black", lw=1)
ax.loglog(steps, epsilon * size / steps, ":", color="black", lw=1)
ax.text(1e-3, 1.2e-9, "h²·f‴/6", size=10)
ax.text(1e-8, 2e-10, "ε·f/h", size=10, ha="right")
ax.axvline(h_star, color=SKIP, lw=1, ls="--")
ax.text(h_star * 1.3, 2e3, "theory's\nbest h", color=SKIP, size=10, va="top")
ax.set(xlabel="step h", ylabel="error of the derivative", ylim=(1e-12, 3e3))
ax.set_title("Too large a step cuts corners, too small a step drowns in rounding", size=11)
ax.spines[["top", "right"]].set_visible(False)
show(fig, "03-step")

answers = {"a)": 1e-15, "b)": 1e-5, "c)": 1e-1}
nearest = min(answers, key=lambda letter: abs(np.log10(answers[letter] / best["centred"])))
print(f"Best centred step {best['centred']:.0e} (theory {h_star:.0e}), so {nearest}; at 1e-15 the error is "
      f"{curves['centred'][0]:.2f} in a derivative of about 1. In float32 the best step gives an error of "
      f"{curves['centred, float32'].min():.0e}, in float64 {curves['centred'].min():.0e}: check in float64.")
claim("the best step is within a factor 5 of theory", 0.2 < best["centred"] / h_star < 5, best["centred"] / h_star)
claim("centred beats one-sided at its best by 100", curves["one-sided"].min() > 100 * curves["centred"].min())
claim("float32 is 10,000 times worse", curves["centred, float32"].min() > 1e4 * curves["centred"].min())

# %% [markdown]
# ## One number for a million entries
#
# A tensor of a million entries would need two million evaluations of $f$. Instead, take one random direction $d$ and
# one random gradient $v$ for the output, and compare two numbers:
#
# $$\frac{\langle v, f(x + hd)\rangle - \langle v, f(x - hd)\rangle}{2h} \quad\text{against}\quad
# \langle \text{backward}(v),\, d\rangle.$$
#
# Two evaluations, and a wrong gradient passes only if its error happens to be orthogonal to $d$. The choice of $v$ is
# trap two.
#
# ## Trap two: `sum()` as the loss
#
# `f(x).sum().backward()` is everybody's first check. It is the choice $v = 1$. Take softmax, $p_i = e^{x_i} / \sum_j
# e^{x_j}$, whose backward is
#
# $$\bar x_i = p_i \Big( v_i - \sum_j p_j v_j \Big).$$
#
# With $v = 1$ the bracket is $1 - \sum_j p_j = 0$: probabilities sum to one whatever $x$ is, so the sum has **no**
# gradient. Seven times nothing is nothing. Here are four wrong backwards; which check catches which?


# %%
def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def right(v, x):
    p = softmax(x)
    return p * (v - (p * v).sum(-1, keepdims=True))


backwards = {
    "right": right,
    "7 times too large": lambda v, x: 7 * right(v, x),
    "all zeros": lambda v, x: 0 * v,
    "sign wrong": lambda v, x: -right(v, x),
    "term forgotten: p·v": lambda v, x: softmax(x) * v,
}
losses = {
    "sum: v = 1": lambda y, rng: np.ones_like(y),
    "sum of squares: v = 2y": lambda y, rng: 2 * y,
    "random v": lambda y, rng: rng.standard_normal(y.shape),
}


def accepted(backward, loss, seed, h=1e-5):
    """Whether one directional check with this loss lets the backward pass."""
    rng = np.random.default_rng(seed)
    x, d = rng.standard_normal((2, 4, 10))
    v = loss(softmax(x), rng)
    if loss is losses["sum of squares: v = 2y"]:
        numeric = ((softmax(x + h * d) ** 2).sum() - (softmax(x - h * d) ** 2).sum()) / (2 * h)
    else:
        numeric = (v * (softmax(x + h * d) - softmax(x - h * d))).sum() / (2 * h)
    return abs(numeric - (backward(v, x) * d).sum()) < 1e-6


seeds = range(50 if QUICK else 300)
share = np.array([
    [np.mean([accepted(backward, loss, seed) for seed in seeds]) for loss in losses.values()]
    for backward in progress(backwards.values(), "checking")
])  # fmt: skip

fig, ax = plt.subplots(figsize=(7.6, 3.6), layout="constrained")
for i, j in np.ndindex(share.shape):
    fine = share[i, j] > 0.99 if i == 0 else share[i, j] < 0.01  # row 0 is the right one
    colour = NETWORK["residual"] if fine else NETWORK["plain"]
    ax.barh(-i, share[i, j], left=1.15 * j, height=0.7, color=colour)
    ax.add_patch(plt.Rectangle((1.15 * j, -i - 0.35), 1, 0.7, fc="none", ec=TOTAL, lw=0.8))
    text = f"{share[i, j]:.0%}" + ("" if fine else "  missed")
    ink = "white" if share[i, j] > 0.6 else "black"
    ax.text(1.15 * j + 0.5, -i, text, ha="center", va="center", size=10, color=ink)
ax.set_xticks([0.5 + 1.15 * j for j in range(3)], losses, size=10)
ax.set_yticks([-i for i in range(len(backwards))], backwards, size=10)
ax.xaxis.tick_top()
ax.tick_params(length=0)
ax.spines[:].set_visible(False)
ax.set_title("How often is each backward of softmax accepted?", size=11, pad=10)
show(fig, "03-vacuous")

passed = dict(zip(backwards, share))
print(f"With sum() as the loss, the gradient times 7 passes in {passed['7 times too large'][0]:.0%} of {len(seeds)} "
      f"checks, all zeros in {passed['all zeros'][0]:.0%}; with a random v in {passed['7 times too large'][2]:.0%} and "
      f"{passed['all zeros'][2]:.0%}.")
claim("the right backward passes every check", share[0].min() == 1, share[0].min())
claim("sum() lets a gradient times 7 pass, always", passed["7 times too large"][0] == 1)
claim("a random v lets none of the wrong ones pass", share[1:, 2].max() == 0, share[1:, 2].max())

# %% [markdown]
# ## Trap three: kinks
#
# ReLU, $\max(x, 0)$, has a kink at 0. If the kink lies between $x - h$ and $x + h$, the difference averages two slopes
# and is neither. At $x = h/2$ it measures $3/4$ where the derivative is 1. With a hundred thousand ReLUs some always
# lie there. A good check notices, and takes a smaller step.

# %%
h = 0.01
near = np.array([0.5 * h, -0.5 * h, 2 * h])
measured = (np.maximum(near + h, 0) - np.maximum(near - h, 0)) / (2 * h)
print("at x = h/2, −h/2 and 2h the difference says", np.round(measured, 4), "where the derivative is", 1.0 * (near > 0))
claim("across a kink the difference is off by a quarter", np.allclose(measured, [0.75, 0.25, 1.0]))

# %% [markdown]
# ## The library's
#
# `minires.testing.gradcheck` takes random directions in float64, a random $v$, shrinks $h$ at kinks, and tries to say
# **what** is wrong. Its answers to our wrong backwards, and to a check that could not fail:

# %%
x = np.random.default_rng(0).standard_normal((4, 10))
for name, backward in backwards.items():
    pair = (softmax, lambda v, x, backward=backward: (backward(v, x),))
    report = gradcheck(pair, x, raise_on_failure=False)
    print(f"{name:<20} {'right' if report else report.failures[0].kind + ': ' + report.failures[0].likely}")
    claim(f"gradcheck judges '{name}' rightly", bool(report) == (name == "right"))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    gradcheck(lambda x: mr.softmax(x, 1).sum(), x, raise_on_failure=False)
claim("gradcheck warns of a loss that has no gradient", any(w.category is VacuousCheckWarning for w in caught))

# %% [markdown]
# ## Common mistakes
#
# **A step that is "as small as possible"**: the left end of the first figure. In float32 with $h = 10^{-7}$ the
# measured derivative is noise, and a tolerance wide enough to let noise pass lets everything pass.
#
# **A loss with a symmetry**: the left column of the second figure. Softmax ignores a constant added to its input;
# batch norm (lesson 5) ignores a constant *and* a factor. Use a random $v$, always.
#
# ## Exercises
#
# - In the second figure, "sum of squares" catches everything here. Find a function for which it is vacuous too. (Hint:
#   which vectors have a length that does not depend on the input?)
# - Put the kink back: run `gradcheck(lambda x: x.relu(), np.zeros((2, 3)))` and read the note.
# - `minires new gradcheck`: write the checker, and it is given wrong gradients to judge.
#
# ## Sources
#
# - The best step: Press et al., *Numerical Recipes*, section 5.7.
# - Checks in practice, kinks included: [CS231n notes](https://cs231n.github.io/neural-networks-3/#gradcheck).

# %%
finish()
