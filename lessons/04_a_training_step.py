# %% [markdown]
# # 4. A training step: rate, momentum, weight decay, Adam, warm-up
#
# *The gradient says which way is down. How far should one step go?*
#
# Takes 7 s (quick: 3 s).

# %% [markdown]
# Your gradients are right; lesson 3 has checked them. Now use them. A gradient is the slope at one point, and a step
# leaves that point. How long may it be? From here on, lessons train with momentum, weight decay and a warm-up. Each of
# the three is one line of code, and this lesson shows what that line does.
#
# **Predict first.** Take the gradient $g$ of a network's loss and step to $w - \eta g$, with the *same* $g$, for a
# learning rate $\eta$ that is doubled again and again. The loss behind the step …
#
# - a) goes on falling: $-g$ is the way down;
# - b) falls twice as much with each doubling, then less, and is back where it was at about twice the best rate;
# - c) falls at first, and then stays where it is, at the bottom.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import Tensor, data, models, nn, optim, train
from minires.flow.plots.style import BRANCH, NETWORK, SKIP, TOTAL
from minires.lesson import QUICK, also_at, answer, claim, finish, show
from minires.nn import functional as F

digits, _ = data.digits()
X, Y = digits[:300]
X = X.reshape(300, 64).astype(float)
X -= X.mean(0)  # of every pixel
SHAPES = (64, 32), (32,), (32, 10), (10,)
ENDS = np.cumsum([int(np.prod(shape)) for shape in SHAPES])


def start(seed):
    """Lesson 2's network, 64–32–10, with all its weights in one vector."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(0, 0.2 if len(s) == 2 else 0, s).ravel() for s in SHAPES])


def parts(w):
    return [part.reshape(shape) for part, shape in zip(np.split(w, ENDS[:-1]), SHAPES)]


def loss_and_gradient(w):
    W1, b1, W2, b2 = p = [mr.tensor(part, requires_grad=True) for part in parts(w)]
    loss = F.cross_entropy(F.relu(Tensor(X) @ W1 + b1) @ W2 + b2, Tensor(Y))
    return loss.item(), np.concatenate([np.asarray(g).ravel() for g in mr.grad(loss, p)])


# %% [markdown]
# ## How far
#
# Taylor's series along the step, with $H$ the matrix of second derivatives:
#
# $$L(w - \eta g) \approx L(w) - \eta\, \|g\|^2 + \tfrac12 \eta^2\, g^\top H g, \qquad
#   \eta^* = \frac{\|g\|^2}{g^\top H g}.$$
#
# The first two terms are a straight line that goes down. The third bends it up into a parabola. The parabola is lowest
# at $\eta^*$, and at $2\eta^*$ it is back where it began: beyond that, a step against the gradient makes the loss
# *larger*.
#
# Nobody needs the matrix $H$ itself, which has six million entries here. $Hg$ says how the gradient changes along $g$:
# it is the difference of two gradients, divided by the distance between the two points.

# %%
def best_rate(gradient, w, h=1e-4):
    """‖g‖² / gᵀHg, from two gradients."""
    g = gradient(w)
    return (g @ g) / (g @ (g - gradient(w - h * g)) / h)


w = start(0)
before, g0 = loss_and_gradient(w)
star = best_rate(lambda w: loss_and_gradient(w)[1], w)
rates = star * 2.0 ** np.arange(-8, 3.1, 0.25)
after = np.array([loss_and_gradient(w - rate * g0)[0] for rate in rates])
back = rates[np.argmax((after > before) & (rates > star))] / star
small = (before - after[0]) / (rates[0] * (g0 @ g0))
claim("a small step lowers the loss by rate · ‖g‖², within 2 %", abs(small - 1) < 0.02, small)
lowest, far = rates[after.argmin()] / star, after[rates > 3.9 * star].min() / before
print(f"The parabola is lowest at rate {star:.2f}. Measured: lowest at {lowest:.2f} times that, back where it was at "
      f"{back:.1f} times: {answer('b' if back > lowest else 'a' if far < 1 else 'c')}.")
claim("the best rate is the parabola's, within a factor 2", 0.5 < lowest < 2, lowest)
claim("beyond 4 times the best rate a step makes the loss larger", far > 1, far)

# %% [markdown]
# ## Momentum: a valley
#
# A loss does not bend equally in all directions. Think of a valley: steep across, with curvature $\lambda_{\max}$, and
# nearly level along its floor, with curvature $\lambda_{\min}$. The steep direction sets the limit, $\eta <
# 2/\lambda_{\max}$, or the steps climb up the sides. Along the floor so short a step gets nowhere: each one leaves
# $1 - \eta \lambda_{\min}$ of the way still to go.
#
# **Momentum** (Polyak 1964) steps along a running sum of gradients, the *velocity* $v$:
#
# $$v \leftarrow \mu v + g, \qquad w \leftarrow w - \eta v.$$
#
# Across the valley the gradient changes its sign with every step, and the sum cancels. Along the floor all gradients
# point the same way, and they add up to $g\,(1 + \mu + \mu^2 + \dots) = g / (1 - \mu)$: ten times the step at $\mu =
# 0.9$. So a rate of 0.1 with this momentum goes, in the end, as far as a rate of 1 without.
#
# How much does it save? Let $\kappa = \lambda_{\max}/\lambda_{\min}$. The best rate alone comes closer by a factor of
# ten in about $\frac{\kappa}2 \ln 10$ steps, the best rate with the best momentum in about $\frac{\sqrt\kappa}2 \ln
# 10$ (Goh 2017 shows where the root comes from). Below, $\kappa = 100$.

# %%
KAPPA = 100
curvature = np.array([1.0, KAPPA])


def descend(rate, momentum, steps=700):
    """The way down ½(x² + κy²) from (1, 0.3)."""
    w, v, way = np.array([1.0, 0.3]), np.zeros(2), []
    for _ in range(steps):
        way.append(w)
        v = momentum * v + curvature * w
        w = w - rate * v
    return np.array(way)


root = np.sqrt(KAPPA)
alone, with_it = descend(2 / (1 + KAPPA), 0), descend((2 / (1 + root)) ** 2, ((root - 1) / (root + 1)) ** 2)
ways = {"gradient": alone, "momentum": with_it}
needed = {name: int(np.argmax(np.linalg.norm(way, axis=1) < 1e-3)) for name, way in ways.items()}
print(f"Steps to a thousandth of the way: {needed['gradient']} along the gradient, {needed['momentum']} with momentum "
      f"(√κ = {root:.0f}).")
claim("momentum takes less than a fifth of the steps", needed["momentum"] < needed["gradient"] / 5, [*needed.values()])

# %% [markdown]
# ## Weight decay, and Adam
#
# **Weight decay** adds $\lambda w$ to the gradient. Every step then takes the share $\eta\lambda$ off every weight, and a
# weight that the loss does not need fades away. This can be watched: some pixels are blank in every digit, so the
# weights that read them get no gradient at all. Behind $n$ steps, $(1 - \eta\lambda)^n$ of them is left.
#
# **Adam** (Kingma & Ba 2014) gives every weight a rate of its own. It divides a running mean $m$ of the gradient by the
# root of a running mean $s$ of its square:
#
# $$m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad s \leftarrow \beta_2 s + (1 - \beta_2) g^2, \quad
#   w \leftarrow w - \eta\, \frac{m / (1 - \beta_1^t)}{\sqrt{s / (1 - \beta_2^t)} + \varepsilon}.$$
#
# Both means start at 0; the divisors $1 - \beta^t$ make up for that. The size of the gradient cancels: the first step
# moves *every* weight by $\eta$, whether its gradient is large or small. This helps where the gradients of different
# layers have very different sizes, as in lesson 8's networks. It also means that $\eta$ is a length now, and has to be
# smaller: 0.001 is usual.
#
# By hand, each rule is two or three lines. `minires.optim` has the same rules, with PyTorch's names:

# %%
DECAY = 0.01


def sgd(momentum):
    def rule(w, g, state, t):
        state["v"] = momentum * state.get("v", 0) + g + DECAY * w
        return w - 0.1 * state["v"]

    return rule


def adam(w, g, state, t):
    state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
    state["s"] = 0.999 * state.get("s", 0) + 0.001 * g**2
    return w - 0.01 * (state["m"] / (1 - 0.9**t)) / (np.sqrt(state["s"] / (1 - 0.999**t)) + 1e-8)


def by_both(rule, library, steps=100):
    """The weights after so many steps, by the rule and by the library's optimiser, and the last loss."""
    w, state, theirs = start(0), {}, mr.tensor(start(0), requires_grad=True)
    optimizer = library([theirs])
    for t in range(1, steps + 1):
        loss, g = loss_and_gradient(w)
        w = rule(w, g, state, t)
        theirs.grad = Tensor(loss_and_gradient(theirs.numpy())[1])
        optimizer.step()
    return w, theirs.numpy(), loss


trained = {
    "SGD": by_both(sgd(0), lambda p: optim.SGD(p, 0.1, weight_decay=DECAY)),
    "momentum": by_both(sgd(0.9), lambda p: optim.SGD(p, 0.1, momentum=0.9, weight_decay=DECAY)),
    "Adam": by_both(adam, lambda p: optim.Adam(p, 0.01)),
}
print("Training loss after 100 steps:", ", ".join(f"{name} {loss:.3f}" for name, (*_, loss) in trained.items()))
error = max(np.abs(mine - theirs).max() for mine, theirs, _ in trained.values())
claim("three rules by hand are those of minires.optim: largest difference of a weight", error < 1e-10, error)

dark = np.flatnonzero((X == 0).all(0))  # pixels that are 0 in every image
left = parts(trained["SGD"][0])[0][dark] / parts(start(0))[0][dark]
claim("of weights without a gradient (1 − 0.1 · 0.01)^100 is left", np.allclose(left, 0.999**100), left.mean())
moved = np.abs(adam(start(0), 1000 * g0, {}, 1) - start(0))[np.abs(g0) > 1e-6]
claim("Adam's first step is the rate, also with 1,000 times the gradient", np.allclose(moved, 0.01, rtol=0.01), moved.max())

# %% [markdown]
# ## Warm-up: the start is steep
#
# The best rate is not the same everywhere, and where training starts it is often small. Below is a deeper network, of
# six blocks $x + F(x)$ as in the tour. Every block adds something to the stream, so at the start its outputs are far too
# large (lesson 10), and its loss is steep. The rate that will be good later on is then too large for the first steps:
# the loss leaps up, and what the initialisation had prepared is lost.
#
# A **warm-up** (Goyal et al. 2017) begins with a small part of the rate and raises it in a straight line, here over 20
# steps. By then the outputs have shrunk, and the valley has become wider.

# %%
SEEDS = range(2 if QUICK else 4)


def first_steps(seed, lr, warm_up):
    """The losses of 44 steps with momentum 0.9; infinite where they are no numbers any more."""
    mr.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), models.mlp(14, 128, in_features=64, residual=True, norm=False, bias=True))
    optimizer = optim.SGD(model.parameters(), lr, momentum=0.9, weight_decay=1e-4)
    rise = optim.LinearLR(optimizer, start_factor=1 / warm_up, total_iters=warm_up)
    options = dict(epochs=2, batch_size=64, drop_last=True, schedule=rise, seed=seed, progress=False)
    return np.nan_to_num(train.fit(model, digits, optimizer, **options).step_loss, nan=np.inf)


def compare(lr, seeds):
    """Train without and with a warm-up; claims that without one the loss leaps."""
    runs = {warm_up: [first_steps(seed, lr, warm_up) for seed in seeds] for warm_up in (1, 20)}
    over, ends = ([[float(f(losses)) for losses in some] for some in runs.values()] for f in (
        lambda losses: losses[1:20].max() / losses[0], lambda losses: losses[-5:].mean()))  # fmt: skip
    claim("without a warm-up the loss climbs above its start, with one it does not, in every seed",
          min(over[0]) > 1 > max(over[1]), [*over[0], *over[1]])  # fmt: skip
    claim("and at the end it is higher, in every seed", all(a > b for a, b in zip(*ends)), [*ends[0], *ends[1]])
    return runs


with np.errstate(all="ignore"):
    runs = compare(0.05, SEEDS)
    also_at("learning rate 0.02", lambda: compare(0.02, SEEDS))

# %%
fig, axes = plt.subplots(1, 3, figsize=(13.5, 4.2), layout="constrained")
line = before - rates * (g0 @ g0)
axes[0].semilogx(rates, after, "o-", color=SKIP, ms=4, label="measured")
for curved, style, label in ((1, {"color": BRANCH}, "parabola"), (0, {"color": TOTAL, "ls": ":"}, "slope alone")):
    axes[0].plot(rates, line + curved * rates**2 * (g0 @ g0) / (2 * star), label=label, **style)
axes[0].set(ylim=(after.min() - 0.3, before + 0.6), xlabel="rate", ylabel="loss behind one step", title="One step, ever longer")
for (name, way), colour in zip(ways.items(), (BRANCH, SKIP)):
    axes[1].semilogy(np.linalg.norm(way, axis=1)[:400], color=colour, label=name)
axes[1].set(ylim=(1e-6, 2), xlabel="step", ylabel="distance to the bottom", title=f"A valley, {KAPPA} times as steep across")
for (kind, some), colour in zip(runs.items(), (NETWORK["plain"], NETWORK["residual"])):
    label = f"warm-up: {kind} steps" if kind > 1 else "no warm-up"
    axes[2].semilogy(np.clip(some, 0, 1e4).T, color=colour, lw=1, label=[label] + [None] * (len(some) - 1))
axes[2].set(ylim=(0.1, 2e2), xlabel="step", ylabel="training loss", title="The first steps, by seed")
for ax in axes:
    ax.legend(frameon=False)
show(fig, "04-one-step")

# %% [markdown]
# Left: one step of the first network, ever longer. The measured loss follows the slope, then the parabola, and has its
# best step close to where the parabola has it. Farther out the parabola is wrong, and why should it not be: it knows
# the loss at one point only. But both turn, and a step that is a few times too long is worse than none.
#
# Middle: the valley. Momentum first overshoots; that is the hump at the start. Then it is on its way, and its line is
# about ten times as steep. Right: two epochs of the deep network. Without a warm-up (orange) the first step throws the
# loss up. Some seeds overflow; the others stay near guessing, which is $\ln 10 = 2.3$. With a warm-up (green) all of
# them learn. At a smaller rate the leap is smaller, as the second setting says. He et al. met this with ResNet-110: five
# of ours, at once at a rate of 0.1, climb to losses of 13 to 20; with a warm-up four of them, on another machine all
# five, stay at about 5 (`minires experiments warm-up`). A rate of 0.02 needs none.
#
# ## Common mistakes
#
# **Gradients of yesterday.** `backward` adds to `.grad`; who forgets `zero_grad` steps along the sum of all gradients
# so far. That is a momentum of $\mu = 1$, which forgets nothing, and overshoots.
#
# **Weight decay inside Adam.** Where $\lambda w$ is added to the gradient, Adam divides by its size, too: a weight
# without any other gradient loses not the share $\eta\lambda$ but the fixed amount $\eta$ a step, however small
# $\lambda$ is. `optim.AdamW` (Loshchilov & Hutter 2017) keeps decay outside.

# %%
faded = {}
for kind in (optim.Adam, optim.AdamW):
    _, w, _ = by_both(adam, lambda p, kind=kind: kind(p, 0.01, weight_decay=1e-4), steps=20)
    faded[kind.__name__] = np.linalg.norm(parts(w)[0][dark]) / np.linalg.norm(parts(start(0))[0][dark])
print(f"After 20 steps with a decay of 1e-4, {faded['Adam']:.0%} of the weights without a gradient is left with Adam and "
      f"{faded['AdamW']:.2%} with AdamW.")
claim("inside Adam a tiny decay eats most of such weights", faded["Adam"] < 0.5 and faded["AdamW"] > 0.999, [*faded.values()])

# %% [markdown]
# ## Exercises
#
# - In the valley, set the momentum to 0, 0.5, 0.9 and 0.99 at a rate of 0.01. Which needs the fewest steps?
# - Leave out the divisors $1 - \beta^t$ of Adam. How long is the first step now?
# - `minires new cross_entropy`: write the loss and its gradient; its network then trains with your gradient.
#
# Answers: [04_a_training_step](answers/04_a_training_step.md).
#
# ## Sources
#
# - B. Polyak 1964, *Some methods of speeding up the convergence of iteration methods*. G. Goh 2017, *Why momentum
#   really works*, [Distill](https://distill.pub/2017/momentum).
# - D. Kingma, J. Ba 2014, *Adam*, arXiv 1412.6980. I. Loshchilov, F. Hutter 2017, *Decoupled weight decay
#   regularization*, arXiv 1711.05101.
# - Warm-up: P. Goyal et al. 2017, *Accurate, large minibatch SGD*, arXiv 1706.02677.

# %%
finish()
