# %% [markdown]
# # 3. Checking gradients: how to know that a derivative is right
#
# *How small a step should a finite difference take, and which loss lets a wrong gradient pass?*
#
# Takes 2 s (quick: 2 s).

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
from matplotlib.colors import ListedColormap

import minires as mr
from minires.flow.plots.style import BRANCH, NETWORK, SKIP, TOTAL
from minires.lesson import QUICK, answer, claim, finish, show
from minires.testing import VacuousCheckWarning, gradcheck

# %% [markdown]
# ## Trap one: the step
#
# Two errors pull at $h$. The first is geometry: a chord is not a tangent. Cutting off the Taylor series costs
# $h^2 f'''/6$ for a centred difference, $h f''/2$ for a one-sided one. It calls for a small step.
#
# The second is arithmetic. $f(x+h)$ is only known to a rounding error of about $\varepsilon |f|$, where $\varepsilon$
# is $2.2 \cdot 10^{-16}$ in double precision. In the difference of two nearly equal numbers the leading digits cancel
# and the rounding errors stay; the division by $h$ blows them up. It calls for a large step. Together,
#
# $$\text{error} \approx \tfrac{1}{6} h^2 |f'''| + \varepsilon |f| / h, \quad h^* = \sqrt[3]{3\varepsilon |f/f'''|},$$
#
# where $h^*$ is the step at which the derivative of the sum is 0. With $f$ and $f'''$ around 1 it is near
# $\sqrt[3]{\varepsilon} = 6 \cdot 10^{-6}$.
#
# By hand, for $f = e^{\sin x}$ at ten points, whose derivative $f' = f \cos x$ we know:

# %%
points = np.linspace(0.3, 1.2, 10)
steps = 10.0 ** np.arange(-15, 0.01, 0.25)
quotients = {
    "one-sided": lambda f, x, h: (f(x + h) - f(x)) / h,
    "centred": lambda f, x, h: (f(x + h) - f(x - h)) / (2 * h),
}


def f(x):
    return np.exp(np.sin(x))


def errors(quotient, dtype=np.float64):
    """The typical error (root mean square over the points) of a difference quotient, for each step."""
    x, exact = points.astype(dtype), np.cos(points) * f(points)
    return np.array([np.sqrt(((quotients[quotient](f, x, dtype(h)) - exact) ** 2).mean()) for h in steps])


one_sided, centred, single = errors("one-sided"), errors("centred"), errors("centred", np.float32)
s, c, epsilon = np.sin(points), np.cos(points), np.finfo(float).eps
third = np.sqrt(((c * f(points) * (c**2 - 3 * s - 1)) ** 2).mean())  # f‴
size = np.sqrt((f(points) ** 2).mean())
h_star, best = np.cbrt(3 * epsilon * size / third), steps[np.argmin(centred)]

# %% [markdown]
# In the figure both axes are logarithmic, so that a power of $h$ is a straight line and its exponent is the slope. Look
# for the two walls of each valley: rounding on the left, falling as $1/h$; geometry on the right, rising as $h$ or
# $h^2$. The best step is at the bottom, and the bottom is not very deep: even there half of the sixteen digits, or a
# third of them, are lost.

# %%
fig, ax = plt.subplots(figsize=(7.4, 4.2), layout="constrained")
ax.loglog(steps, single, "s-", ms=4, color=TOTAL, label="centred, float32")
ax.loglog(steps, one_sided, "^-", ms=4, color=BRANCH, label="one-sided")
ax.loglog(steps, centred, "o-", ms=4, color=SKIP, label="centred")
ax.loglog(steps, steps**2 * third / 6, ":", color="black", lw=1)
ax.loglog(steps, epsilon * size / steps, ":", color="black", lw=1)
ax.text(1e-3, 1.2e-9, "h²·f‴/6", size=10)
ax.text(1e-8, 2e-10, "ε·f/h", size=10, ha="right")
ax.axvline(h_star, color=SKIP, lw=1, ls="--", label="theory's best h")
ax.set(xlabel="step h", ylabel="error of the derivative", ylim=(1e-12, 1e5))
ax.set_title("Too large a step cuts corners, too small a step drowns in rounding", size=11)
ax.legend(frameon=False, ncols=2)
ax.spines[["top", "right"]].set_visible(False)
show(fig, "03-step")

letter = min(("a", -15), ("b", -5), ("c", -1), key=lambda guess: abs(np.log10(best) - guess[1]))[0]
print(f"Best centred step {best:.0e} (theory {h_star:.0e}), so {answer(letter)}; at 1e-15 the error is {centred[0]:.2f} in a "
      f"derivative of about 1. The best step gives an error of {centred.min():.0e} in float64 and {single.min():.0e} in "
      "float32: check in float64.")
claim("the best step is within a factor 5 of theory", 0.2 < best / h_star < 5, best / h_star)
claim("centred beats one-sided at its best by 50", one_sided.min() > 50 * centred.min(), one_sided.min() / centred.min())
claim("float32 is 10,000 times worse", single.min() > 1e4 * centred.min(), single.min() / centred.min())

# %% [markdown]
# ## One number for a million entries
#
# A tensor of a million entries would need two million evaluations of $f$. Instead, take one random direction $d$ and
# one random gradient $v$ for the output, and compare two numbers:
#
# $$\frac{\langle v, f(x + hd)\rangle - \langle v, f(x - hd)\rangle}{2h} \quad\text{against}\quad
# \langle \text{backward}(v),\, d\rangle.$$
#
# On the left all entries of $x$ move at once; on the right the backward pass says what that should do to
# $\langle v, f \rangle$. Two evaluations, and a wrong gradient passes only if its error happens to be at right angles
# to $d$, which for a random $d$ has probability 0. The choice of $v$ is trap two.
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


def accepted(backward, random, seed, h=1e-5):
    """Whether one directional check lets the backward pass, with a random v or with v = 1."""
    rng = np.random.default_rng(seed)
    x, d, v = rng.standard_normal((3, 4, 10))
    v = v if random else np.ones_like(v)
    numeric = (v * (softmax(x + h * d) - softmax(x - h * d))).sum() / (2 * h)
    return abs(numeric - (backward(v, x) * d).sum()) < 1e-6


seeds = range(50 if QUICK else 300)
share = np.array([
    [np.mean([accepted(backward, random, seed) for seed in seeds]) for random in (False, True)]
    for backward in backwards.values()
])  # fmt: skip

fig, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
missed = share > 0
missed[0] = share[0] < 1  # row 0 is the right one, which should pass
ax.imshow(missed, cmap=ListedColormap(["#D9D9D9", NETWORK["plain"]]), aspect="auto", vmin=0, vmax=1)
for i, j in np.ndindex(share.shape):
    ax.text(j, i, f"{share[i, j]:.0%}" + ("  missed" if missed[i, j] else ""), ha="center", va="center")
ax.set_xticks([0, 1], ["sum(): v = 1", "random v"])
ax.set_yticks(range(len(backwards)), backwards)
ax.hlines(np.arange(4) + 0.5, -0.5, 1.5, color="white", lw=3)
ax.axvline(0.5, color="white", lw=6)
ax.tick_params(length=0, labeltop=True, labelbottom=False)
ax.spines[:].set_visible(False)
ax.set_title("How often is each backward of softmax accepted?", size=11, pad=10)
show(fig, "03-vacuous")

passed = dict(zip(backwards, share))
print(f"Of {len(seeds)} checks with sum(), {passed['7 times too large'][0]:.0%} let the gradient times 7 pass and "
      f"{passed['all zeros'][0]:.0%} no gradient at all; with a random v {passed['7 times too large'][1]:.0%} and "
      f"{passed['all zeros'][1]:.0%}.")
claim("the right backward passes every check", share[0].min() == 1, share[0].min())
claim("sum() lets a gradient times 7 pass, always", passed["7 times too large"][0] == 1)
claim("a random v lets hardly any wrong one pass", share[1:, 1].max() < 0.01, share[1:, 1].max())

# %% [markdown]
# ## Trap three: kinks
#
# ReLU, $\max(x, 0)$, has a kink at 0. If the kink lies between $x - h$ and $x + h$, the difference averages two slopes
# and is neither. At $x = h/2$ it measures $3/4$ where the derivative is 1, and no smaller tolerance will help: it is
# the check that is wrong. With a hundred thousand ReLUs some always lie there. A good check notices that the two
# one-sided differences disagree, and takes a smaller step, until the kink is outside.

# %%
h = 0.01
near = np.array([0.5 * h, -0.5 * h, 2 * h])
measured = (np.maximum(near + h, 0) - np.maximum(near - h, 0)) / (2 * h)
print("at x = h/2, −h/2 and 2h the difference says", np.round(measured, 4), "where the derivative is", 1.0 * (near > 0))
claim("across a kink the difference is off by a quarter", np.allclose(measured, [0.75, 0.25, 1.0]), [*measured])

# %% [markdown]
# ## The library's
#
# `minires.testing.gradcheck` takes random directions in float64, a random $v$, shrinks $h$ at kinks, and tries to say
# **what** is wrong: it compares the gradient with the difference quotients of single entries, and looks whether one
# factor, or one forgotten term, explains all of them. Its answers to our backwards, and to a check that could not fail:

# %%
x = np.random.default_rng(0).standard_normal((4, 10))
for name, backward in backwards.items():
    report = gradcheck((softmax, lambda v, x, backward=backward: (backward(v, x),)), x, raise_on_failure=False)
    print(f"{name:<20} {'right' if report else report.failures[0].kind + ': ' + report.failures[0].likely}")
    claim(f"gradcheck judges '{name}' rightly", bool(report) == (name == "right"))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    gradcheck(lambda x: mr.softmax(x, 1).sum(), x, raise_on_failure=False)
claim("gradcheck warns of a loss that has no gradient", any(w.category is VacuousCheckWarning for w in caught))

# %% [markdown]
# ## Common mistakes
#
# **A step that is "as small as possible"**: the left end of the first figure. In float32 with $h = 10^{-8}$ the grey
# curve is flat: $x + h$ *is* $x$, and the quotient is 0. A tolerance wide enough to let that pass lets everything pass.
#
# **A loss with a symmetry**: the left column of the second figure. Softmax ignores a constant added to its input;
# batch norm (lesson 6) ignores a constant *and* a factor. Use a random $v$, always.
#
# ## Exercises
#
# - Take a sum of squares as the loss, $v = 2 f(x)$. Does it catch all four? Find a function for which it is vacuous
#   too. (Hint: which vectors have a length that does not depend on the input?)
# - Put the kink back: run `gradcheck(lambda x: x.relu(), np.zeros((2, 3)))` and read the note.
# - `minires new gradcheck`: write the checker, and it is given wrong gradients to judge.
#
# Answers: [03_checking_gradients](answers/03_checking_gradients.md).
#
# ## Sources
#
# - The best step: Press, Teukolsky, Vetterling & Flannery 2007, *Numerical Recipes*, third edition, section 5.7.
# - Checks in practice, kinks included: [CS231n notes](https://cs231n.github.io/neural-networks-3/#gradcheck).

# %%
finish()
