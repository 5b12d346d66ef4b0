# %% [markdown]
# # 8. Traditional networks: one disease, through depth and through time
#
# *Why is a deep network without shortcuts so hard to train, and a recurrent one over a long sequence, too?*
#
# Takes 42 s (quick: 4 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import Tensor, data, flow, models, nn, optim, train
from minires.flow import plots
from minires.lesson import QUICK, also_at, answer, claim, finish, progress, show
from minires.nn import functional as F

DEPTH, HIDDEN, ROWS, WAIT, SEEDS = 20, 32, 8, 40, range(1 if QUICK else 3)
digits, test = data.digits()

# %% [markdown]
# **Predict first.** A recurrent network reads a handwritten digit row by row, eight steps, and keeps what it saw in 32
# numbers. Asked at once, it names more than four digits in five correctly. Now it must *wait*: after the eighth row
# come 40 blank steps, and only then is it asked. We train it anew for that task, with the same recipe. How good does it
# become?
#
# - a) Nearly as good: it has a memory, and needs only learn to leave it alone.
# - b) Somewhat worse, because a little fades at every step.
# - c) It learns nothing at all, and answers at random: 10 %.
#
# ## Through depth
#
# Traditionally a deep network was a stack of layers $h_l = \tanh(W_l\, h_{l-1})$, convolutional or not. Lesson 1's
# chain rule gives its gradient, layer by layer from the end:
#
# $$\frac{\partial L}{\partial h_{l-1}} = W_l^\top\, \mathrm{diag}(1 - h_l^2)\, \frac{\partial L}{\partial h_l}
#   = J_l^\top \frac{\partial L}{\partial h_l}, \qquad
#   \frac{\partial L}{\partial h_0} = J_1^\top J_2^\top \cdots J_n^\top\, \frac{\partial L}{\partial h_n}.$$
#
# A product of $n$ matrices. If each shrinks a vector to 0.6 of its length, 20 of them leave $0.6^{20} = 4\cdot10^{-5}$.
# On a logarithmic axis that is a straight line, and its slope is the factor of one layer. Here are 20 convolutions with
# tanh, started as PyTorch starts them (weights of variance $1/(3\,\mathrm{fan_{in}})$, so lesson 7 predicts a factor
# of at most $\sqrt{1/3} = 0.58$) and as Xavier proposes.

# %%
def tanh_convolutions(init, seed):
    mr.manual_seed(seed)
    layers = []
    for channels in (1, *[16] * (DEPTH - 1)):
        layers += [nn.Conv2d(channels, 16, 3, padding=1), nn.Tanh()]
        init(layers[-2].weight)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))

def gradient_through_depth(init, seed):
    """‖∂L/∂h‖ of every layer, from the last back to the first; last = 1."""
    recorded = flow.record(tanh_convolutions(init, seed), *digits[:64]).layers
    norms = np.array([layer.output_gradient for layer in recorded if layer.op == "Tanh"][::-1])
    return norms / norms[0]


starts = {"default": lambda weight: weight, "Xavier": nn.init.xavier_normal_}
through_depth = {name: [gradient_through_depth(init, seed) for seed in SEEDS] for name, init in starts.items()}
default, xavier = ([g[-1] ** (1 / (DEPTH - 1)) for g in runs] for runs in through_depth.values())
claim("default start: less than 0.7 of the gradient is left per layer", max(default) < 0.7, default)
claim("Xavier's start keeps between 0.8 and 1.2", 0.8 < min(xavier) and max(xavier) < 1.2, xavier)
if not QUICK:
    def adam_trains(lr):
        """Train the network that starts as Xavier proposes; claims that it learns."""
        deep = tanh_convolutions(nn.init.xavier_normal_, seed=0)
        train.fit(deep, digits, optim.Adam(deep.parameters(), lr), epochs=8, batch_size=64, seed=0, progress=False)
        reads = train.evaluate(deep, test).accuracy
        claim("from Xavier's start, Adam trains these 20 layers: it reads over 60 %", reads > 0.6, reads)
    adam_trains(0.003)
    also_at("learning rate 0.0006", lambda: adam_trains(0.0006), fails=["Adam trains"])

# %% [markdown]
# So the gradient's fall is the start's fault, not a law of depth: with Xavier's start, and Adam, which gives every weight
# a step of about the same size, this network learns. It needs both, and is slow: at the smaller rate, half is read.
#
# ## The forum's picture
#
# Ask on PyTorch's forum whether a network's gradient vanishes, and you are shown a function of RoshanRane's from 2018.
# After `loss.backward()` it draws the mean $|\partial L/\partial w|$ of every weight. (`p.grad` is a tensor here
# too, so that such code runs with only its import changed.)

# %%
def plot_grad_flow(named_parameters):
    """Bars of the mean |∂L/∂w| of every weight; ours, after the forum's."""
    mean = {name.removesuffix(".weight"): float(p.grad.abs().mean()) for name, p in named_parameters if "bias" not in name}
    plt.bar(range(len(mean)), mean.values(), color="#007BC0")
    plt.xticks(range(len(mean)), mean, rotation="vertical")
    plt.gca().set(xlabel="layer, from input to output", ylabel="|∂L/∂w|", title="plot_grad_flow: the default start")
    return np.array([*mean.values()])


model = tanh_convolutions(starts["default"], seed=0)
with flow.recording() as recording:
    F.cross_entropy(model(Tensor(digits[:64][0])), Tensor(digits[:64][1])).backward()
picture, (bars_ax, edges_ax) = plt.subplots(1, 2, figsize=(12, 4.4), layout="constrained")
plt.sca(bars_ax)
bars = plot_grad_flow(model.named_parameters())
claim("half of the bars are below a hundredth of the tallest", np.median(bars) < 0.01 * bars.max(), np.median(bars))
tanhs = [layer for layer in recording.layers if layer.op == "Tanh"]
edges_ax.semilogy([layer.output_gradient for layer in tanhs], "o-", color="#CD4A00", label="‖∂L/∂h‖ of each output")
edges_ax.semilogy([layer.std for layer in tanhs], "o-", color="#008661", label="standard deviation of h")
edges_ax.set(xlabel="layer, from input to output", xticks=range(0, DEPTH, 5), title="flow.recording: the same step")
edges_ax.legend(frameon=False)
show(picture, "08-the-forums-picture")

# %% [markdown]
# Left: on its linear axis the picture *cannot tell* a thousandth from nothing. It cannot tell why a bar is low, for
# $\partial L/\partial W_l$ is a product of what comes back to layer $l$ and what went into it. And where a tensor has
# two consumers, as in lesson 10, it shows only their sum. `flow` records every edge: the fault is all on the way back.
#
# ## Through time
#
# A recurrent network (Elman 1990) is a layer that is used again at every step $t$ of a sequence:
#
# $$h_t = \tanh(W_{ih}\, x_t + b_{ih} + W_{hh}\, h_{t-1} + b_{hh}).$$
#
# Written by hand it is a loop. Backward through time needs no new rule: the graph of 48 steps is a network of 48 layers
# with the *same* weights. A digit that waits is a taller picture, with 40 blank rows beneath.

# %%
def waiting(digits, wait):
    """The data set with ``wait`` blank rows beneath every digit: (N, 1, 8 + wait, 8)."""
    return data.Dataset(np.pad(digits[:][0], ((0, 0), (0, 0), (0, wait), (0, 0))), digits.labels, digits.classes)


rnn = nn.RNN(ROWS, HIDDEN).double()
w_ih, w_hh, b_ih, b_hh = rnn.parameters()
images, labels = waiting(digits, WAIT)[:64]
x = Tensor(images[0]).reshape(ROWS + WAIT, 1, ROWS).double()  # one digit: 48 steps, a batch of 1
h = [mr.zeros(1, HIDDEN).double()]  # h[t] is the state after t steps
for x_t in x:
    h.append((x_t @ w_ih.T + b_ih + h[-1] @ w_hh.T + b_hh).tanh())
claim("the loop equals nn.RNN", np.allclose(rnn(x)[0], mr.stack(h[1:]), rtol=0, atol=1e-12))

# %% [markdown]
# Back to $h_t$ leads a product again, of the Jacobians $\mathrm{diag}(1-h_k^2)\,W_{hh}$ of all later steps $k > t$. We
# multiply them ourselves, with a random vector $u$ in front, and ask the engine for the gradient of $u^\top h_{48}$.

# %%
u, product = np.random.default_rng(0).standard_normal(HIDDEN), np.eye(HIDDEN)
for state in h[:5:-1]:  # from h[48] down to h[6]
    product = product @ np.diag(1 - state.numpy().ravel() ** 2) @ w_hh.numpy()
(engine,) = mr.grad((h[-1] * Tensor(u)).sum(), h[5])
error = np.linalg.norm(u @ product - engine) / np.linalg.norm(engine)
claim("the product of the Jacobians is the engine's gradient", error < 1e-10, error)

# %% [markdown]
# One difference to depth makes it worse: it is 40 times *nearly the same* matrix. In the directions in which $W_{hh}$
# shrinks, the shrinking compounds without any luck to break it. PyTorch draws it uniform within $\pm1/\sqrt{32}$; such
# a matrix has eigenvalues up to about $1/\sqrt3 = 0.58$. An orthogonal one keeps every length, and only tanh takes
# away. Times 2, it wins against tanh, and the product grows: the other half of the disease.
#
# ## What helps: an unbroken way back
#
# Add a shortcut around every step, $h_t = h_{t-1} + \frac18 \tanh(\ldots)$, and the Jacobian of a step becomes
# $I + \frac18 J_t$: a product of matrices near the identity. That is a residual network through time; in the library
# it is `models.ResidualRNN`. The LSTM of 1997 had such a shortcut already, a memory that is only added to. Since 2000
# it has a gate on it, $c_t = f \cdot c_{t-1} + i \cdot g$, which multiplies the gradient by $f$ on its way. But
# $f = \sigma(\ldots)$ starts near ½, and $0.5^{40} \approx 10^{-12}$. Started open, at $\sigma(3) = 0.95$, it lets
# the gradient through.

# %%
COLOUR = {"RNN": "#CD4A00", "RNN, orthogonal": "#A96600", "RNN, orthogonal × 2": "#757575", "residual RNN": "#008661",
          "LSTM": "#C7438A", "LSTM, gate open": "#007BC0"}  # fmt: skip

class Reader(nn.Module):
    """Reads a picture (N, 1, steps, 8) row by row, and names the digit from its last state."""
    def __init__(self, kind):
        super().__init__()
        layer = nn.LSTM if "LSTM" in kind else models.ResidualRNN if "residual" in kind else nn.RNN
        self.recurrent, self.fc = layer(ROWS, HIDDEN, batch_first=True), nn.Linear(HIDDEN, 10)
        if "residual" in kind:
            self.recurrent.scale = 1 / 8
        if "orthogonal" in kind:
            rotation = np.linalg.qr(mr.randn(HIDDEN, HIDDEN).numpy())[0]
            self.recurrent.weight_hh_l0.data[...] = rotation * (2 if "× 2" in kind else 1)
        if "open" in kind:  # the rows of the bias: input gate, forget gate, candidate, output gate
            self.recurrent.bias_ih_l0.data[HIDDEN : 2 * HIDDEN] = 3

    def forward(self, images):
        return self.fc(self.recurrent(images[:, 0])[0][:, -1])

def gradient_through_time(kind, seed):
    """‖∂L/∂x_t‖ of every step t, from the last back to the first; last = 1."""
    mr.manual_seed(seed)
    x = Tensor(images, requires_grad=True)
    (g,) = mr.grad(F.cross_entropy(Reader(kind)(x), Tensor(labels)), x)
    norms = np.sqrt((g**2).sum((0, 1, 3)))[::-1]
    return norms / norms[0]


through_time = {kind: [gradient_through_time(kind, seed) for seed in SEEDS] for kind in COLOUR}
vanished, grown = ([float(g[WAIT]) for g in through_time[kind]] for kind in ("RNN", "RNN, orthogonal × 2"))
claim(f"RNN: less than a millionth comes back over {WAIT} steps", max(vanished) < 1e-6, vanished)
claim("orthogonal × 2: it grows", min(grown) > 5, grown)
# A weak gradient is one thing, learning another. Now train, for several lengths of the wait.
WAITS, EPOCHS = ((0, WAIT), 2) if QUICK else ((0, 12, WAIT), 4)
TRAINED = ["RNN", "residual RNN"] if QUICK else ["RNN", "RNN, orthogonal", "residual RNN", "LSTM, gate open"]

def train_readers(lr, kinds, waits, seeds):
    """Test accuracies by kind and wait; claims what they show."""
    accuracy = {(kind, wait): [] for kind in kinds for wait in waits}
    for kind, wait in progress(list(accuracy), "training"):
        for seed in seeds:
            mr.manual_seed(seed)
            reader = Reader(kind)
            optimizer = optim.Adam(reader.parameters(), lr)
            train.fit(reader, waiting(digits, wait), optimizer, epochs=EPOCHS, batch_size=64, seed=seed, progress=False)
            accuracy[kind, wait].append(train.evaluate(reader, waiting(test, wait)).accuracy)
    claim("without a wait the RNN learns to read", min(accuracy["RNN", 0]) > 0.5, accuracy["RNN", 0])
    claim(f"after {WAIT} steps it is at chance", max(accuracy["RNN", WAIT]) < 0.2, accuracy["RNN", WAIT])
    claim("with an unbroken way back it learns", min(accuracy["residual RNN", WAIT]) > 0.25, accuracy["residual RNN", WAIT])
    return accuracy


accuracy = train_readers(0.003, TRAINED, WAITS, SEEDS)
also_at("learning rate 0.0006", lambda: train_readers(0.0006, ["RNN", "residual RNN"], (0, WAIT), [0]))
at_once, late = (np.mean(accuracy["RNN", wait]) for wait in (0, WAIT))
print(f"The RNN reads {at_once:.0%}, {late:.0%} after {WAIT} steps: {answer('c' if late < 0.2 else 'b' if late < at_once - 0.1 else 'a')}")

figure, (depth_ax, time_ax, accuracy_ax) = plt.subplots(1, 3, figsize=(16, 5), layout="constrained")
depth_ax.set(yscale="log", xlabel="layers back from the last", ylabel="‖∂L/∂h‖, last layer = 1",
             title=f"Through depth: {DEPTH} tanh convolutions, step 0")  # fmt: skip
plots.runs(depth_ax, range(DEPTH), through_depth, {"default": "#CD4A00", "Xavier": "#A96600"}, marker="o")
time_ax.set(yscale="log", xlabel="steps back from the last", ylabel="‖∂L/∂x‖, last step = 1",
            title=f"Through time: {ROWS + WAIT} steps, step 0 of training")  # fmt: skip
plots.runs(time_ax, range(ROWS + WAIT), through_time, COLOUR)
trained = {kind: np.transpose([accuracy[kind, wait] for wait in WAITS]) for kind in TRAINED}
accuracy_ax.set(ylim=(0, 1), ylabel="test accuracy", title=f"After {EPOCHS} epochs")
plots.runs(accuracy_ax, WAITS, trained, COLOUR, marker="o").set(xticks=WAITS, xlabel="wait, in steps")
show(figure, "08-traditional-networks")

# %% [markdown]
# Each line is the mean of the seeds, its band their range. Left and middle, red: the same straight line, once over
# layers, once over steps; that is the *one disease*. Green and blue: a way back that nothing multiplies, or a gate that
# starts open, keeps it from falling. Right: who got no gradient learned nothing. (Hardly any, to be exact: at five
# times this learning rate, one RNN of four found a way.)
#
# That does *not* explain everything. An orthogonal start alone does well here, for what is only rotated is not
# forgotten either; twenty tanh layers can be trained, with the right start and optimiser; and the residual RNN, which
# loses nothing by waiting, reads worst without a wait. A shortcut makes it easy. It is not the only way.
#
# ## Explosion, and clipping
#
# And the grey line? An exploded gradient may point in a useful direction, but only for a tiny step. The remedy of
# Pascanu, Mikolov & Bengio (2013): if the norm $\|g\|$ of all gradients, taken as one vector, exceeds a bound $b$,
# multiply them by $b / \|g\|$. The direction stays. Here it is by hand; in the library, `nn.utils.clip_grad_norm_`.

# %%
def clip(lr):
    """Two steps of gradient descent, without a bound and with one; claims how many of the states, which tanh keeps between
    -1 and 1, are stuck at either end afterwards."""
    stuck = {}
    for bound in (np.inf, 1.0):
        mr.manual_seed(0)
        reader = Reader("RNN, orthogonal × 2")
        for _ in range(2):
            gradients = mr.grad(F.cross_entropy(reader(Tensor(images)), Tensor(labels)), list(reader.parameters()))
            norm = float(np.sqrt(sum((g**2).sum() for g in gradients)))
            for p, g in zip(reader.parameters(), gradients):
                p.data -= lr * min(1, bound / norm) * g
        stuck[bound] = float((np.abs(reader.recurrent(Tensor(images[:, 0]))[0].numpy()) > 0.99).mean())
    claim("the gradient has exploded: its norm is over 50", norm > 50, norm)
    claim("two steps without clipping, and far more states are stuck", stuck[np.inf] > 3 * stuck[1], [*stuck.values()])

clip(0.1)
also_at("learning rate 0.02", lambda: clip(0.02))

# %% [markdown]
# Where a state sticks at ±1, $\tanh' = 0$: the explosion has become a vanishing.
#
# ## Common mistakes
#
# - **Reading an invisible bar as a zero.** In the forum's picture, half of the layers seem to get no gradient. They
#   get one, and it shrinks by the same factor from layer to layer; a logarithmic axis shows it.
# - **Expecting clipping to cure a vanishing gradient.** It only ever shortens. In the middle panel, a bound of
#   1 would cut off the grey line and leave the red one as it is.
# - **An LSTM with the default biases on a long wait.** In the middle panel its line is nearly as steep as the RNN's,
#   for the forget gate starts near ½. The remedy is one line of code.
#
# ## Exercises
#
# 1. `minires new gradient_flow` asks you to predict such profiles, for a plain and a residual stack.
# 2. Start the LSTM's forget gate at $\sigma(0)$, $\sigma(1)$, $\sigma(5)$ and predict the slope of its line first.
# 3. Put a shortcut around every two layers of the deep network, and draw its line. You have invented lesson 10.
#
# Answers: [08_traditional_networks](answers/08_traditional_networks.md).
#
# ## Sources
#
# - J. Elman, *Finding structure in time*, Cognitive Science 14, 1990.
# - S. Hochreiter, *Untersuchungen zu dynamischen neuronalen Netzen*, diploma thesis, TU München 1991; Y. Bengio, P.
#   Simard, P. Frasconi, *Learning long-term dependencies with gradient descent is difficult*, 1994.
# - RoshanRane, in *Check gradient flow in network*, PyTorch Forums, thread 15063, 2018.
# - R. Pascanu, T. Mikolov, Y. Bengio, *On the difficulty of training recurrent neural networks*, 2013, arXiv 1211.5063.
# - S. Hochreiter, J. Schmidhuber, *Long short-term memory*, 1997; the forget gate: F. Gers, J. Schmidhuber, F. Cummins,
#   *Learning to forget: continual prediction with LSTM*, 2000.

# %%
finish()
