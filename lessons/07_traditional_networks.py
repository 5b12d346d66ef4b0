# %% [markdown]
# # 7. Traditional networks: one disease, through depth and through time
#
# *Why could neither a deep network without shortcuts nor a recurrent one over a long sequence be trained?*
#
# Takes 60 s (quick: 4 s).

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import Tensor, data, flow, models, nn, optim, train
from minires.flow.plots.style import label_ends
from minires.lesson import QUICK, claim, finish, progress, show

BLUE, ORANGE, GREEN, RED, PINK, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#777777"
DEPTH, HIDDEN, ROWS, WAIT = 20, 32, 8, 40
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
# Here are 20 convolutions with tanh, started as PyTorch starts them (variance $1/(3\,\mathrm{fan_{in}})$) and as Xavier
# proposes (lesson 6).

# %%
def traditional_cnn(init):
    """A stack of 3×3 convolutions with tanh, without batch norm, without shortcuts."""
    layers = []
    for channels in (1, *[16] * (DEPTH - 1)):
        layers += [nn.Conv2d(channels, 16, 3, padding=1), nn.Tanh()]
        init(layers[-2].weight)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


def gradient_through_depth(model):
    """‖∂L/∂h_l‖ at every layer's output, from the first layer to the last."""
    recording = flow.record(model, *digits[:64])
    return np.array([layer.output_gradient for layer in recording.layers if layer.op == "Tanh"])


mr.manual_seed(0)
starts = {"default": lambda weight: weight, "Xavier": nn.init.xavier_normal_}
through_depth = {name: gradient_through_depth(traditional_cnn(init)) for name, init in starts.items()}
factor = {name: (g[0] / g[-1]) ** (1 / (DEPTH - 1)) for name, g in through_depth.items()}
for name, g in through_depth.items():
    print(f"{name}: {factor[name]:.2f} for each layer on the way back, {g[0] / g[-1]:.0e} for {DEPTH} layers")
claim("the default start leaves less than 0.7 of the gradient per layer", factor["default"] < 0.7, factor["default"])
claim("Xavier's start keeps it within a fifth per layer", 0.8 < factor["Xavier"] < 1.2, factor["Xavier"])

# %% [markdown]
# ## Through time
#
# A recurrent network (Elman 1990) is a layer that is used again at every step $t$ of a sequence:
#
# $$h_t = \tanh(W_{ih}\, x_t + b_{ih} + W_{hh}\, h_{t-1} + b_{hh}).$$
#
# Written by hand it is a loop. Backward through time needs no new rule: the graph of 48 steps is a network of 48 layers
# with the *same* weights, and each use adds its share to their gradient, as at any fork.

# %%
def rnn_by_hand(x, w_ih, w_hh, b_ih, b_hh):
    """All states h_1 … h_L for a sequence x (L, N, input), as a list."""
    h, states = mr.zeros(x.shape[1], len(w_hh), dtype=x.dtype), []
    for x_t in x:
        h = (x_t @ w_ih.T + b_ih + h @ w_hh.T + b_hh).tanh()
        states.append(h)
    return states


def sequences(images, wait):
    """Digits (N, 1, 8, 8) as sequences (N, 8 + wait, 8): a row at each step, then blank steps."""
    rows = np.asarray(images).reshape(-1, ROWS, ROWS)
    return np.concatenate([rows, np.zeros((len(rows), wait, ROWS), rows.dtype)], axis=1)


rnn = nn.RNN(ROWS, HIDDEN).double()
x = Tensor(sequences(digits[:1][0], wait=WAIT).transpose(1, 0, 2)).double()  # one digit: 48 steps, a batch of 1
states = rnn_by_hand(x, *rnn.parameters())
difference = np.abs(rnn(x)[0].numpy() - mr.stack(states).numpy()).max()
claim("the loop equals nn.RNN", difference < 1e-12, difference)

# %% [markdown]
# The gradient from the last state back to state $t$ is a product again,
# $\prod_{k>t} W_{hh}^\top\, \mathrm{diag}(1-h_k^2)$. We multiply the matrices ourselves, and ask the engine.

# %%
def jacobian_product(states, w_hh, t):
    """∂h_L/∂h_t as a matrix (hidden, hidden), for a single sequence; t counts from 0."""
    product = np.eye(HIDDEN)
    for h in states[: t : -1]:  # from the last step back to t + 1
        product = product @ ((1 - h.numpy().ravel() ** 2)[:, None] * w_hh)
    return product


u = np.random.default_rng(0).standard_normal(HIDDEN)
(engine,) = mr.grad((states[-1] * Tensor(u)).sum(), states[4], keep_graph=True)
ours = u @ jacobian_product(states, rnn.weight_hh_l0.numpy(), 4)
error = np.linalg.norm(ours - engine) / np.linalg.norm(engine)
claim("the product of the Jacobians is the engine's gradient", error < 1e-10, error)

# %% [markdown]
# One difference to depth makes it worse: it is 40 times *nearly the same* matrix. In the directions in which $W_{hh}$
# shrinks, the shrinking compounds without any luck to break it. PyTorch draws it uniform within $\pm1/\sqrt{32}$; such
# a matrix has eigenvalues up to about $1/\sqrt3 = 0.58$. An orthogonal one keeps every length (and tanh only takes
# away); times 2, it wins against tanh. We look at the gradient that reaches the input $x_t$, by how long ago that was.

# %%
class Reader(nn.Module):
    """A recurrent network that reads a digit row by row, waits, and names it from its last state."""

    def __init__(self, recurrent, wait):
        super().__init__()
        self.recurrent, self.fc, self.wait = recurrent, nn.Linear(HIDDEN, 10), wait

    def forward(self, images):
        x = images if images.ndim == 3 else Tensor(sequences(images.numpy(), self.wait))
        output, _ = self.recurrent(x)
        return self.fc(output[:, -1])


def orthogonal_rnn(scale):
    """An RNN whose W_hh is a random orthogonal matrix times ``scale``."""
    rnn = nn.RNN(ROWS, HIDDEN, batch_first=True)
    rnn.weight_hh_l0.data[...] = scale * np.linalg.qr(mr.randn(HIDDEN, HIDDEN).numpy())[0]
    return rnn


def forgetting_lstm(bias):
    """An LSTM whose forget gate starts near σ(bias)."""
    lstm = nn.LSTM(ROWS, HIDDEN, batch_first=True)
    lstm.bias_ih_l0.data[HIDDEN : 2 * HIDDEN] = bias  # rows: input gate, forget gate, candidate, output gate
    return lstm


KINDS = {
    "RNN": lambda: nn.RNN(ROWS, HIDDEN, batch_first=True),
    "RNN, orthogonal": lambda: orthogonal_rnn(1.0),
    "RNN, orthogonal × 2": lambda: orthogonal_rnn(2.0),
    "residual RNN": lambda: models.ResidualRNN(ROWS, HIDDEN, batch_first=True, scale=1 / 8),
    "LSTM": lambda: nn.LSTM(ROWS, HIDDEN, batch_first=True),
    "LSTM, forget gate open": lambda: forgetting_lstm(3.0),
}
COLOUR = dict(zip(KINDS, (RED, ORANGE, GREY, GREEN, PINK, BLUE)))


def gradient_through_time(kind, wait=WAIT):
    """‖∂L/∂x_t‖ for every step t, relative to the last."""
    mr.manual_seed(0)
    x = Tensor(sequences(digits[:64][0], wait), requires_grad=True)
    loss = nn.functional.cross_entropy(Reader(KINDS[kind](), wait)(x), Tensor(digits[:64][1]))
    (g,) = mr.grad(loss, x)
    norms = np.linalg.norm(g, axis=(0, 2))
    return norms / norms[-1]


through_time = {kind: gradient_through_time(kind) for kind in KINDS}
reaching = {kind: float(norms[ROWS - 1]) for kind, norms in through_time.items()}  # at the digit's last row
for kind, share in reaching.items():
    print(f"{kind:>24}: the digit's last row gets {share:.1e} times the gradient of the last step")
claim(f"RNN: less than a millionth comes back over {WAIT} steps", reaching["RNN"] < 1e-6, reaching["RNN"])
claim("twice an orthogonal matrix: it grows", reaching["RNN, orthogonal × 2"] > 10, reaching["RNN, orthogonal × 2"])

# %% [markdown]
# ## What helps: an unbroken way back
#
# Add a shortcut around every step, $h_t = h_{t-1} + \frac18 \tanh(\ldots)$, and the Jacobian of a step becomes
# $I + \frac18 J_t$: a product of matrices near the identity. That is a residual network through time; in the library
# it is `models.ResidualRNN`. The LSTM of 1997 had such a shortcut already, a memory that is only added to; since 2000
# it has a gate on it, $c_t = f \cdot c_{t-1} + i \cdot g$ (Gers et al.), which multiplies the gradient by $f$ on its
# way. But $f = \sigma(\ldots)$ starts near ½, and $0.5^{40} \approx 10^{-12}$. Started open, at $\sigma(3) = 0.95$,
# it lets the gradient through. Now train, for several lengths of the wait.

# %%
WAITS, SEEDS, EPOCHS = ((0, WAIT), range(1), 2) if QUICK else ((0, 12, WAIT), range(3), 4)
TRAINED = ["RNN", "residual RNN"] if QUICK else [kind for kind in KINDS if "× 2" not in kind]


def train_reader(kind, wait, seed):
    """Test accuracy after training with Adam, the gradient's norm clipped at 1."""
    mr.manual_seed(seed)
    reader = Reader(KINDS[kind](), wait)
    optimizer = optim.Adam(reader.parameters(), lr=0.003)
    for epoch in range(EPOCHS):
        for images, labels in data.batches(digits, 64, seed=seed, epoch=epoch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(reader(Tensor(images)), Tensor(labels)).backward()
            nn.utils.clip_grad_norm_(reader.parameters(), max_norm=1.0)
            optimizer.step()
    return train.evaluate(reader, test).accuracy


runs = [(kind, wait) for kind in TRAINED for wait in WAITS]
accuracy = {run: [train_reader(*run, seed) for seed in SEEDS] for run in progress(runs, "training")}
mean = {run: float(np.mean(values)) for run, values in accuracy.items()}
guess = "c" if mean["RNN", WAIT] < 0.2 else "b" if mean["RNN", WAIT] < mean["RNN", 0] - 0.1 else "a"
print(f"the RNN reads {mean['RNN', 0]:.0%} without a wait, {mean['RNN', WAIT]:.0%} after {WAIT} steps: answer {guess})")
claim("without a wait the RNN learns to read", min(accuracy["RNN", 0]) > 0.5, accuracy["RNN", 0])
claim(f"after {WAIT} steps it is at chance", max(accuracy["RNN", WAIT]) < 0.2, accuracy["RNN", WAIT])
for kind in [kind for kind in ("residual RNN", "LSTM, forget gate open") if kind in TRAINED]:
    claim(f"with an unbroken way back it learns: {kind}", min(accuracy[kind, WAIT]) > 0.25, accuracy[kind, WAIT])

# %%
figure, ((depth_ax, time_ax), (cure_ax, accuracy_ax)) = plt.subplots(2, 2, figsize=(11.5, 8), layout="constrained")
for (name, g), colour, marker in zip(through_depth.items(), (RED, ORANGE), "os"):
    depth_ax.plot(range(1, DEPTH + 1), g / g[-1], marker + "-", color=colour, ms=4)
    depth_ax.text(0.3, g[0] / g[-1], name, color=colour, ha="right", va="center")
depth_ax.set(xlabel="layer, from input to output", ylabel="‖∂L/∂h‖, last = 1", yscale="log")
depth_ax.set(xlim=(-8, 21), xticks=range(5, 21, 5))
depth_ax.set_title(f"Through depth: {DEPTH} tanh convolutions, step 0", size=11)
for ax, kinds, title in (
    (time_ax, list(KINDS)[:3], "Through time: three starts of one RNN, step 0"),
    (cure_ax, ["RNN", *list(KINDS)[3:]], "Through time: with and without a way back, step 0"),
):
    ago, ends = np.arange(ROWS + WAIT)[::-1], []
    for kind in kinds:
        ax.plot(ago, through_time[kind], color=COLOUR[kind], lw=2)
        ends.append((through_time[kind][0], kind, COLOUR[kind]))
    ax.axvspan(WAIT - 0.5, WAIT + ROWS - 0.5, color=GREY, alpha=0.15, lw=0)
    ax.set(xlabel="steps before the answer (shaded: the digit's rows)", ylabel="‖∂L/∂x‖, last step = 1", yscale="log")
    ax.set_xlim(80, -1)
    label_ends(ax, WAIT + ROWS + 1, ends, ha="right")
    ax.set_title(title, size=11)
ends = []
for kind in TRAINED:
    accuracy_ax.plot(WAITS, [mean[kind, w] for w in WAITS], "o-", color=COLOUR[kind], lw=2)
    accuracy_ax.plot(WAITS, [accuracy[kind, w] for w in WAITS], ".", color=COLOUR[kind], ms=4)
    ends.append((mean[kind, WAIT], kind, COLOUR[kind]))
accuracy_ax.hlines(0.1, 0, WAIT, color=GREY, ls=":")
accuracy_ax.text(0, 0.115, "chance", color=GREY)
accuracy_ax.set(xlabel="wait, in steps", ylabel="test accuracy", ylim=(0, 1), xlim=(-1.5, 71), xticks=WAITS)
label_ends(accuracy_ax, WAIT + 1.5, ends, ha="left")
accuracy_ax.set_title(f"After {EPOCHS} epochs (dots: {len(SEEDS)} seed{'s' * (len(SEEDS) > 1)})", size=11)
show(figure, "07-traditional-networks")

# %% [markdown]
# Upper row: the same straight line on a log axis, once over layers, once over steps. Lower left: a way back that
# nothing multiplies, or a gate that starts open, keeps the line level. Lower right: who got no gradient learned
# nothing. That does *not* explain everything: an orthogonal start alone does well here (what is only rotated is not
# forgotten either), and the residual RNN, which loses nothing by waiting, reads worst without a wait. A gradient is
# necessary, but not sufficient.
#
# ## Explosion, and clipping
#
# The other half of the disease has a simple remedy. If the norm of the whole gradient exceeds a bound, shorten it to
# the bound and keep its direction (Pascanu, Mikolov & Bengio 2013): by hand, `g *= min(1, bound / norm)`; in the
# library, `nn.utils.clip_grad_norm_`.

# %%
def two_steps(clip):
    """Two steps of SGD on one batch: norm of the first gradient, and share of saturated states before and after."""
    mr.manual_seed(0)
    reader, saturated, norms = Reader(orthogonal_rnn(2.0), WAIT), [], []
    optimizer, (images, labels) = optim.SGD(reader.parameters(), lr=0.1), digits[:64]
    for _ in range(3):
        states, _ = reader.recurrent(Tensor(sequences(images, WAIT)))
        saturated.append(float((np.abs(states.numpy()) > 0.99).mean()))
        optimizer.zero_grad()
        nn.functional.cross_entropy(reader.fc(states[:, -1]), Tensor(labels)).backward()
        norms.append(nn.utils.clip_grad_norm_(reader.parameters(), max_norm=clip).item())
        optimizer.step()
    return norms[0], saturated[0], saturated[-1]


norm, before, free = two_steps(clip=np.inf)
_, _, clipped = two_steps(clip=1.0)
print(f"The first gradient has norm {norm:,.0f}. After two unclipped steps {free:.0%} of the state's values stick at "
      f"±1, where tanh′ = 0 (before: {before:.0%}); after two clipped ones {clipped:.0%}.")  # fmt: skip
claim("the gradient has exploded: its norm is over 100", norm > 100, norm)
claim("without clipping the state saturates within two steps", free > clipped + 0.3, [free, clipped])

# %% [markdown]
# ## Common mistakes
#
# - **Expecting clipping to cure a vanishing gradient.** It only ever shortens. The RNN that stayed at chance was
#   trained *with* clipping, and a bound of 1 never touched the millionth that came back from the digit.
# - **An LSTM with the default biases on a long wait.** In the lower left panel its line is nearly as steep as the
#   RNN's, for the forget gate starts near ½.
#
# ## Exercises
#
# 1. `minires new gradient_flow` asks you to predict such profiles, for a plain and a residual stack.
# 2. Change `scale=1 / 8` of the residual RNN to 1 and to 1/64. What happens to its line, and why is neither better?
# 3. Start the LSTM's forget gate at $\sigma(0)$, $\sigma(1)$, $\sigma(5)$ and predict the slope of its line first.
# 4. Put a shortcut around every two layers of `traditional_cnn`, and draw its line. You have invented lesson 9.
#
# ## Sources
#
# - S. Hochreiter, *Untersuchungen zu dynamischen neuronalen Netzen*, 1991; Y. Bengio, P. Simard, P. Frasconi, *Learning
#   long-term dependencies with gradient descent is difficult*, 1994.
# - S. Hochreiter, J. Schmidhuber, *Long short-term memory*, 1997; the forget gate: F. Gers, J. Schmidhuber, F. Cummins,
#   *Learning to forget: continual prediction with LSTM*, 2000.
# - R. Pascanu, T. Mikolov, Y. Bengio, *On the difficulty of training recurrent neural networks*, 2013, arXiv 1211.5063.

# %%
finish()
