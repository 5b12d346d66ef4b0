# %% [markdown]
# # 11. Twins: the same weights, one addition apart
#
# *Why is it easier to learn what a block adds than what it should return?*
#
# Takes 131 s (quick: 7 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import Tensor, data, flow, models, optim, train
from minires.experiments import relative_error
from minires.flow import plots
from minires.lesson import QUICK, also_at, answer, claim, finish, progress, show

digits, test = data.digits()

# %% [markdown]
# **Predict first.** Two networks of 56 layers with *equal* weights at the start. One has shortcuts, the other not.
# After training, we ask every block of the residual network how far it moves its input, $\|H(x) - x\| / \|x\|$. What is
# a typical value?
#
# - a) About 1.4, as for any two unrelated vectors of equal length.
# - b) Well below 1: most blocks make small corrections.
# - c) Near 0: almost all blocks have switched themselves off.
#
# ## What could make it easier
#
# Write the wanted map of a block as its input and a correction, and call the relative size of the correction $d$:
#
# $$H(x) = x + F(x), \qquad d(x) = \frac{\|H(x) - x\|}{\|x\|} = \frac{\|F(x)\|}{\|x\|}.$$
#
# If $H$ is near the identity, a plain block must produce all of $x$ again, through two convolutions and two batch
# norms, before it can correct anything. A residual block starts with $x$ and learns the correction. That argument
# assumes that good maps *are* near the identity. We can measure whether they are, and whether the network was led there
# by learning or stood there from the start.
#
# ## Twins
#
# A fair comparison changes one thing. By hand: build both networks, and copy the weights of one into the other. That
# works because the shortcuts of option A (lesson 10) have no weights. In the library it is `models.twins`.

# %%
DEPTH, EPOCHS, SEEDS = (20, 1, range(1)) if QUICK else (56, 4, range(3))
STEPS = 22 * EPOCHS
mr.manual_seed(0)
plain, residual = models.plain_cifar(DEPTH, 8, in_channels=1), models.resnet_cifar(DEPTH, 8, in_channels=1)
residual.load_state_dict(plain.state_dict())
mr.manual_seed(0)
library = models.twins(DEPTH, 8, in_channels=1)
weights = [model.state_dict() for model in (plain, residual, *library)]
same = all(np.array_equal(weights[0][key], twin[key]) for twin in weights for key in weights[0] | twin)
claim("the twins have the same parameters, with the same values in them", same, len(weights[0]))

# %% [markdown]
# ## How far a block is from the identity
#
# Run the blocks one after the other and compare what goes in with what comes out. Blocks that change the shape have no
# distance and are left out. For two vectors of equal length at a right angle it would be $\sqrt2 = 1.41$; for two that
# are both positive, as after a ReLU, it is less, because they cannot point in opposite directions.

# %%
def distances(model):
    """‖H(x) − x‖ / ‖x‖ of every block that keeps the shape, on the test digits; the model stays as it was."""
    found = []
    with flow.keeping(model), mr.no_grad():
        h = model.relu(model.bn1(model.conv1(Tensor(test[:][0]))))
        for block in model.blocks():
            y = block(h)
            if y.shape == h.shape:
                found.append(float(np.linalg.norm(y.numpy() - h.numpy()) / np.linalg.norm(h.numpy())))
            h = y
    return found


def train_and_record(model, seed, lr):
    """Train as in lesson 9; returns losses, recorded gradients, distances before and after, and the test accuracy."""
    optimizer = optim.SGD(model.parameters(), lr, momentum=0.9, weight_decay=1e-4)
    rise, history, before = optim.LinearLR(optimizer, 1 / 20, total_iters=20), flow.FlowHistory(), distances(model)

    def watch(step):
        if flow.is_due(step, STEPS, dense=4, per_decade=6):
            history.add(step, flow.record(model, *digits[:64]))

    watch(0)
    losses = train.fit(
        model, digits, optimizer, epochs=EPOCHS, batch_size=64, drop_last=True, schedule=rise, seed=seed,
        progress=False, on_step=lambda done: watch(done.step + 1),
    ).step_loss  # fmt: skip
    return losses, history, before, distances(model), train.evaluate(model, test).accuracy


def collect(runs):
    """The five things that training returned, each by network: lists with one entry a seed."""
    return [{name: [run[i] for run in runs[name]] for name in runs} for i in range(5)]


def final_loss(losses):
    """Mean of the last ten steps, for each seed."""
    return np.array(losses)[:, -10:].mean(1)


def train_twins(lr, seeds):
    """All that was recorded, by network; claims what it shows."""
    runs = {"plain": [], "residual": []}
    for seed in progress(seeds, "twins"):
        mr.manual_seed(seed)
        for name, model in zip(runs, models.twins(DEPTH, 8, in_channels=1)):
            runs[name].append(train_and_record(model, seed, lr))
    losses, histories, before, after, _ = collect(runs)
    loss_p, loss_r = (final_loss(losses[name]) for name in runs)
    start_p, start_r, end_p, end_r = (np.median(found[name], axis=1) for found in (before, after) for name in runs)
    print(f"training loss at the end: plain {loss_p.mean():.2f}, residual {loss_r.mean():.2f}\n"
          f"a typical block moves its input by: plain {start_p.mean():.2f} at step 0, {end_p.mean():.2f} at the end; "
          f"residual {start_r.mean():.2f}, then {end_r.mean():.2f}: "
          f"{answer('c' if end_r.mean() < 0.05 else 'b' if end_r.mean() < 0.8 else 'a')}")  # fmt: skip
    claim("the residual twin learns faster, in every seed", max(loss_r) + 0.3 < min(loss_p), [*loss_r, *loss_p])
    claim("at step 0 a typical residual block is nearer to the identity", max(start_r) < 0.8 * min(start_p), [*start_r])
    claim("at the end it moves its input by less than 0.8 of its size, a plain one by more", max(end_r) < 0.8 < min(end_p),
          [*end_r, *end_p])  # fmt: skip
    spans = [[float(np.median(np.log10(h.convolution_norms.max(1) / h.convolution_norms.min(1)))) for h in histories[name]]
             for name in runs]  # fmt: skip
    claim("over the layers, the residual twin's gradient spans fewer powers of ten (median of the recorded steps)",
          max(spans[1]) < min(spans[0]), spans)  # fmt: skip
    return runs


runs = train_twins(0.1, SEEDS)
slower = also_at("learning rate 0.02", lambda: train_twins(0.02, [0]))
losses, histories, before, after, accuracy = collect(runs)
# %%
names = {(name, when): f"{name}, step {when}" for when in (0, STEPS) for name in runs}
looks = {label: plots.style.looks(runs)[name] | {"ls": "-" if when else ":", "mfc": None if when else "none"}
         for (name, when), label in names.items()}  # fmt: skip
figure, ax = plt.subplots(figsize=(8.5, 4.6), layout="constrained")
ax.set(ylim=(0, 1.5), ylabel="‖H(x) − x‖ / ‖x‖", title="Distance of every block from the identity")
number = np.arange(1, (DEPTH - 2) // 6 + 1)  # ℓ, in the first stage
ax.plot(number, 1 / np.sqrt(number), color="#757575", lw=5, alpha=0.4)
lines = {label: (after if when else before)[name] for (name, when), label in names.items()}
plots.runs(ax, 1 + np.arange(len(before["plain"][0])), lines, looks)
ax.set_xlabel("block ℓ that keeps the shape (grey: 1/√ℓ)")
show(figure, "11-distance")
ratio = np.mean(before["residual"], axis=0)[: len(number)] * np.sqrt(number)
claim("in the first stage, block ℓ starts at a distance of 1/√ℓ, within a quarter",
      all(abs(np.log(ratio)) < np.log(1.25)), [*ratio])  # fmt: skip

# %% [markdown]
# Dotted is the start, solid the end, the band the range of the seeds. The plain blocks begin far from the identity and
# stay there. The residual blocks begin near it, the deeper the nearer, and end nearer still.
#
# Part of that is geometry, not learning: $x + F(x)$ starts near $x$ in the deeper blocks, because $x$ has grown with
# every addition while batch norm holds $F$ at size 1. Block $\ell$ adds one unit to a stream of about $\sqrt\ell$, so
# $d \approx 1/\sqrt\ell$: the dotted green line falls like the grey one, and jumps where a new stage begins. The branch
# *starts small* without anybody having made it small (De & Smith 2020). It is what the shortcut *gives*; what we
# measured is that training does not undo it. So the answer to the question above: a block that should change little is
# already nearly right before the first step, and has only the difference to learn.
#
# Is a difference easier to learn, too, as He et al. argue? Let a plain and a residual block learn $H(x) = x +
# \varepsilon R(x)$, a random $R(x)$ being as large as $x$, in 100 steps; and both once more from a start as the identity.

# %%
def learn(lr, seeds):
    """The errors of every kind of block, an array of one for each ε by seed; claims how they go with ε."""
    wrong = {kind: [relative_error.errors(seed, kind, lr=lr) for seed in seeds] for kind in relative_error.BLOCKS}
    small = {kind: [float(run[0] / run[-1]) for run in runs] for kind, runs in wrong.items()}  # ε = 0.01 over ε = 1
    claim("a plain block gets as much wrong for a small ε as for a large one", min(small["plain"]) > 0.8, small["plain"])
    claim("from x, either is wrong in proportion to ε", max(small["plain, from x"] + small["residual, from x"]) < 0.05)
    return wrong
wrong = learn(0.05, SEEDS)
also_at("learning rate 0.01", lambda: learn(0.01, [0]))
figure, ax = plt.subplots(figsize=(8.5, 4.6), layout="constrained")
ax.set(xscale="log", yscale="log", xlabel="ε", ylabel="‖f(x) − H(x)‖ / ‖H(x)‖", title="Wrong after 100 steps")
plots.runs(ax, relative_error.SIZES, wrong)
show(figure, "11-relative-error")

# %% [markdown]
# From left to right ε grows. The plain block (circles) has $x$ to learn as well, and what it gets wrong of it hides a
# small $\varepsilon R$. Started as the identity it is as good: what helps is the *reference* that the addition provides.
# And it should be a small branch: one that starts as large as $x$ must be unlearned first (squares).
#
# ## The gradient, over depth and time
#
# Now what the two networks have been sent back on the way, for one seed. A row of the heatmaps is a recorded step, a
# column a layer. A good row has one colour: then all layers hear the loss equally loud.

# %%
one = {name: histories[name][0] for name in runs}
figure = plots.comparison(one, {name: losses[name][0] for name in runs}, {name: accuracy[name][0] for name in runs},
                          f"Twins of {DEPTH} layers, steps 0 to {STEPS}")  # fmt: skip
show(figure, "11-twins")
error = max(history.sum_error for history in histories["residual"])
claim("at all forks and steps, skip + branch was the gradient", error < 1e-4, error)

# %% [markdown]
# Upper right, from top to bottom as time: in the plain twin the colours run away from each other along the layers,
# yellow at first where it explodes, then dark, where its kernels have grown out of reach and are frozen (lesson 9); in
# the residual one each row has nearly one colour. Upper left: the first and the last of these rows, as lines. Lower
# left: what skip and branch returned at each fork at the end; blue is the part that no layer has touched. Lower right:
# what comes of it. (In the quick version batch norm's running statistics lag behind the weights, and the test accuracy
# says nothing yet.)
#
# One caution. We changed one addition and saw many things change with it: the size of the gradient, the start near the
# identity, the loss. That they belong together is likely, but twins show only that the addition causes them all.
#
# ## Forward or backward?
#
# An addition acts twice: forward it adds $x$, backward it adds a gradient. We can keep the one and take the other away:
#
# $$y = F(x) + \operatorname{detach}(x) \quad\Rightarrow\quad
# \frac{\partial L}{\partial x} = F'(x)^\top \frac{\partial L}{\partial y}.$$
#
# In the library, `flow.scaled` multiplies what comes back along skips or branches, here by 0, and leaves forward alone.
# So train the residual twin twice more, from the same weights. First no gradient passes along any skip: it has to cross
# all 27 branches. Then none passes along any branch: each block's own weights still learn, but what reaches the blocks
# before it has come by skips alone.

# %%
block, x = models.ResidualBlock(4, 4), mr.randn(8, 4, 5, 5).requires_grad_()
(by_hand,) = mr.grad((block.relu(block.branch(x) + x.detach()) ** 2).sum(), x)
with flow.scaled(block, {"*.skip": 0}):
    (library,) = mr.grad((block(x) ** 2).sum(), x)
claim("a cut skip has the gradient of a detached x, bit for bit", np.array_equal(by_hand, library))

def cut(twins, lr, seeds):
    """Train the residual twin with its skips cut, then with its branches cut; claims what that costs it."""
    runs = dict(twins)
    for name, factors in {"skips cut": {"*.skip": 0}, "branches cut": {"*.branch": 0}}.items():
        runs[name] = []
        for seed in progress(seeds, name):
            mr.manual_seed(seed)
            _, model = models.twins(DEPTH, 8, in_channels=1)
            with flow.scaled(model, factors):
                runs[name].append(train_and_record(model, seed, lr))
    loss = {name: final_loss([run[0] for run in runs[name]]) for name in runs}
    ratios = {name: [float(run[1].first_over_last()[0]) for run in runs[name]] for name in runs}
    print("training loss at the end:", ", ".join(f"{name} {found.mean():.2f}" for name, found in loss.items()),
          f"\nfirst/last gradient at step 0: skips cut {ratios['skips cut'][0]:.0e}, plain {ratios['plain'][0]:.0e}")  # fmt: skip
    claim("the blocks start as near to the identity as ever: forward is untouched, to the last bit",
          [run[2] for run in runs["skips cut"]] == [run[2] for run in runs["residual"]])  # fmt: skip
    claim("without the gradient of its skips the residual twin learns much worse, in every seed",
          min(loss["skips cut"]) > max(loss["residual"]) + 0.3, [*loss["skips cut"]])  # fmt: skip
    claim("without that of its branches it learns better than without that of its skips, in every seed",
          max(loss["branches cut"]) < min(loss["skips cut"]) - 0.3, [*loss["branches cut"]])  # fmt: skip
    claim("at step 0 the gradient vanishes on its way through the branches alone, and explodes in the plain twin",
          max(ratios["skips cut"]) < 1 < min(ratios["plain"]), [*ratios["skips cut"], *ratios["plain"]])  # fmt: skip
    return runs


runs = cut(runs, 0.1, SEEDS)
also_at("learning rate 0.02", lambda: cut(slower, 0.02, [0]))
losses = collect(runs)[0]
figure, (left, right) = plt.subplots(1, 2, figsize=(13.5, 4.6), layout="constrained")
left.set(ylim=(0, 3.5), ylabel="training loss (mean over 10 steps)", title=f"Training loss, steps 0 to {STEPS - 1}")
smooth = {name: [np.convolve(one, np.full(10, 0.1), "valid") for one in losses[name]] for name in runs}
plots.runs(left, np.arange(9, STEPS), smooth, markevery=8)
left.set_xlabel("step")
start = {name: [run[1].convolution_norms[0] for run in runs[name]] for name in runs}
right.set(yscale="log", ylabel="‖∂L/∂W‖", title="Gradient over depth, step 0")
plots.runs(right, np.arange(1, DEPTH), start, markevery=4,
           middle=lambda norms, axis: np.exp(np.log(norms).mean(axis)))  # fmt: skip
right.set_xlabel("convolution, from input to output")
show(figure, "11-cut")

# %% [markdown]
# Four networks, three of which compute the same function at the start. With the skips cut, every block is as near to
# the identity as before. That is worth something, as the plain twin learns less; but what is left of the gradient has
# crossed every branch, and each takes its toll. The reason is the $1/\sqrt\ell$ of above, read backwards: a branch that
# adds little to $x$ also returns little of the gradient. (So it fades, where the plain twin's explodes.) With the
# branches cut, no block hears the loss through another's layers, and the network learns nearly as well as with all.
#
# All of it was checked at a fifth of the learning rate, too (one seed). The gap between the four stays, and so does
# their order: what the addition is good for does not hang on the size of the steps. What does hang on it is how near to
# the identity the residual twin ends: smaller steps have taken it less far from where it started.
#
# Of the two things that the addition does, this training needed both, and the way back more. Lessons 14 to 17 go on
# taking apart what comes with it.
#
# ## Common mistakes
#
# - **Comparing networks that are not twins.** Other seeds, other widths or a projection in the shortcut change more
#   than the addition; then even the first rows of the two heatmaps differ for two reasons. Compare the parameters of
#   both before you compare anything else.
# - **"They are easier because they are near the identity at the end."** The dotted green line says that they are near
#   it *from the start*. What an optimiser finds cannot be read off the end alone.
#
# ## Exercises
#
# 1. `minires new residual_block`, and `minires new gradient_flow` for the heatmap.
# 2. Give the twins `zero_init_residual=True`. Where do the green curves start now, and does the loss fall sooner?
# 3. Take `weight_decay=0` and look whether the distance from the identity grows.
# 4. Is the distance of the first block of a stage larger or smaller than that of the last one? Why?
#
# Answers: [11_twins](answers/11_twins.md).
#
# ## Sources
#
# - K. He, X. Zhang, S. Ren, J. Sun, *Deep residual learning for image recognition*, 2015, arXiv 1512.03385: section 3.1
#   has the argument, figure 7 the measurement of small responses (lesson 16).
# - S. De, S. Smith, *Batch normalization biases residual blocks towards the identity function in deep networks*, 2020,
#   arXiv 2002.10444.

# %%
finish()
