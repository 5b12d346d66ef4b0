# %% [markdown]
# # 19. Real architectures: ResNet-18 to ResNet-152, counted by hand
#
# *ResNet-50 has sixteen layers more than ResNet-34. Why does it cost nearly the same?*
#
# Takes 19 s (quick: 5 s).

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import models, nn
from minires.experiments import efficiency
from minires.lesson import QUICK, also_at, answer, claim, finish, progress, show

# %% [markdown]
# **Predict first.** A *basic* block has two 3×3 convolutions of 256 channels. A *bottleneck* has a 1×1 convolution from
# 256 to 64 channels, a 3×3 one of 64, and a 1×1 one back to 256. Compared with the basic block, the bottleneck has
#
# - a) more parameters: it has three layers instead of two;
# - b) about half as many;
# - c) less than a tenth.
#
# ## What a convolution costs
#
# A $k \times k$ convolution from $C$ to $C'$ channels has a weight for every pair of channels and every place of the
# kernel, and multiplies each of them once at every one of the $H' \times W'$ output positions:
#
# $$\text{parameters} = C\,C'\,k^2, \qquad \text{MACs} = C\,C'\,k^2 \, H' W' .$$
#
# A MAC is one multiplication and one addition; the papers call it a FLOP. Batch norm adds $2C'$ parameters and almost
# no work. Both costs are quadratic in channels, and the bottleneck does its 3×3 work where channels are few: 1×1
# convolutions carry the 256 channels to the narrow place and back. They cannot look sideways, but they cost a ninth.

# %%
def conv(c_in: int, c_out: int, k: int, size: int = 1) -> np.ndarray:
    """(parameters with batch norm, MACs) of a convolution whose output is size × size."""
    weights = c_in * c_out * k * k
    return np.array([weights + 2 * c_out, weights * size * size], dtype=np.int64)


basic = conv(256, 256, 3) * 2
bottleneck = conv(256, 64, 1) + conv(64, 64, 3) + conv(64, 256, 1)
share = float(bottleneck[0] / basic[0])
letter = "a" if share > 1 else "b" if share > 0.25 else "c"
print(f"basic {basic[0]:,} parameters, bottleneck {bottleneck[0]:,}: {share:.1%}: {answer(letter)}")
claim("the bottleneck has less than a tenth of the parameters", share < 0.1, share)

# %% [markdown]
# ## Five networks in thirty lines of arithmetic
#
# All five have the same plan: a 7×7 stem with stride 2 and a max pooling, which take 224 pixels to 56; four stages of 64,
# 128, 256 and 512 channels (times 4 behind a bottleneck) at 56, 28, 14 and 7 pixels; a mean over positions; one linear
# layer. Only the kind of block and the number of blocks in each stage differ. Where shapes change, the shortcut is a 1×1
# convolution (option B). The number in the name counts convolutions and the linear layer, without those shortcuts:
# $50 = 1 + 3 \cdot (3 + 4 + 6 + 3) + 1$.
#
# A stage in your head: the first of ResNet-18 has four 3×3 convolutions of 64 channels, $4 \cdot 64^2 \cdot 9 = 147{,}456$
# weights, each used at $56^2 = 3136$ places: 462 million MACs, a quarter of the network's. The program below does nothing
# else, stage by stage. It keeps an eye on two things: which size a convolution's *output* has, and which shortcuts exist.
#
# One detail has a history. In the paper the stride of a bottleneck sits in its first 1×1 convolution; nearly every
# implementation since, torchvision's and ours, has it in the 3×3 one ("v1.5"), because a 1×1 convolution with stride 2
# never looks at three quarters of its input. The parameters are the same, the work is not.

# %%
PLANS = {  # depth: (channels behind a block, in widths; blocks of each stage)
    18: (1, [2, 2, 2, 2]), 34: (1, [3, 4, 6, 3]), 50: (4, [3, 4, 6, 3]), 101: (4, [3, 4, 23, 3]), 152: (4, [3, 8, 36, 3]),
}  # fmt: skip
STAGES = ["stem", "stage 1", "stage 2", "stage 3", "stage 4", "linear"]


def count(depth: int, stride_in_1x1: bool = False) -> np.ndarray:
    """(parameters, MACs) of each stage, (6, 2)."""
    expansion, plan = PLANS[depth]
    rows = [conv(3, 64, 7, 112)]
    channels = 64
    for width, size, blocks in zip((64, 128, 256, 512), (56, 28, 14, 7), plan):
        total = np.zeros(2, np.int64)
        for i in range(blocks):
            before = size * 2 if i == 0 and width > 64 else size  # pixels of the block's input
            if expansion == 1:
                total += conv(channels, width, 3, size) + conv(width, width, 3, size)
            else:
                total += conv(channels, width, 1, size if stride_in_1x1 else before)
                total += conv(width, width, 3, size) + conv(width, 4 * width, 1, size)
            if channels != width * expansion:
                total += conv(channels, width * expansion, 1, size)  # the shortcut's projection
            channels = width * expansion
        rows.append(total)
    rows.append(np.array([channels * 1000 + 1000, channels * 1000]))
    return np.array(rows)


for depth in progress([18, 50] if QUICK else PLANS, "building and running"):
    mr.manual_seed(0)
    summary = nn.summary(getattr(models, f"resnet{depth}")(), (3, 224, 224))
    parameters, macs = (int(n) for n in count(depth).sum(0))
    same = (summary.parameters, summary.macs) == (parameters, macs)
    claim(f"ResNet-{depth} has {parameters:,} parameters and {macs:,} MACs, by hand and in the library", same)

PUBLISHED = {18: 1.8, 34: 3.6, 50: 3.8, 101: 7.6, 152: 11.3}  # He et al. 2015, table 1, in 10⁹
v1 = {depth: count(depth, stride_in_1x1=True)[:, 1].sum() / 1e9 for depth in PLANS}
print("10⁹ MACs, v1.5 / v1 / paper:", ", ".join(
    f"ResNet-{depth} {count(depth)[:, 1].sum() / 1e9:.2f} / {v1[depth]:.2f} / {PUBLISHED[depth]}" for depth in PLANS))
off = [float(v1[depth] / PUBLISHED[depth] - 1) for depth in PLANS]
claim("with the paper's stride, the paper's FLOPs to 3 %", max(map(abs, off)) < 0.03, off)
ratio = count(50).sum(0) / count(34).sum(0)
claim("ResNet-50 costs at most a fifth more than ResNet-34, in parameters and MACs", (ratio < 1.2).all(), list(ratio))

# %%
figure, axes = plt.subplots(1, 2, figsize=(12, 4.6), layout="constrained", sharey=True)
colours = ["#757575", "#8063CF", "#007BC0", "#008661", "#A96600", "#C7438A"]
names = [f"ResNet-{depth}" for depth in PLANS]
for column, (ax, unit) in enumerate(zip(axes, (1e6, 1e9))):
    costs = np.array([count(depth)[:, column] for depth in PLANS]) / unit  # (networks, stages)
    for i, (stage, colour) in enumerate(zip(STAGES, colours)):
        left = costs[:, :i].sum(1)
        ax.barh(names, costs[:, i], left=left, color=colour, edgecolor="white", lw=0.8, label=stage)
    for y, total in enumerate(costs.sum(1)):
        ax.text(total, y, f" {total:.1f}", va="center", size=9)
    ax.set_xlim(0, 1.1 * costs.sum(1).max())
axes[0].invert_yaxis()
axes[0].legend(loc="upper right", fontsize=9, frameon=False)
axes[0].set(xlabel="parameters, millions", title="Parameters sit in the late stages …")
axes[1].set(xlabel="MACs for one 224 × 224 image, 10⁹", title="… the work is spread over all of them")
show(figure, "19-architectures")

late, work = count(50)[4] / count(50).sum(0)
print(f"Stage 4 of ResNet-50 holds {late:.0%} of the parameters and does {work:.0%} of the work.")

# %% [markdown]
# To compare two networks, read each panel downwards. From 34 to 50 the bars hardly grow: sixteen blocks of two layers
# became sixteen of three, four times as wide outside and no dearer inside. That answers this lesson's question. From 50
# to 101 to 152 only blocks are added.
#
# The colours show the rule behind the plan: at every stage pixels fall to a quarter and channels double. $C\,C'$ grows by four,
# $H'W'$ falls by four: a block costs the same work in every stage, and four times the parameters in the next. That is
# why the orange part rules the left panel down to ResNet-50, and is one of several on the right. It also says where depth
# is cheap: the green stage, 14 pixels wide, takes 23 blocks in ResNet-101 and 36 in ResNet-152, where most of what was added
# stands.
#
# ## What a network costs until it has learned
#
# MACs say what a *step* costs; **training efficiency** also asks how many it takes. Count until the training loss on digits
# has come down to 0.5, a step being three forward passes (backward takes two) of 64 images, a MAC two operations:

# %%
def spend(lr):
    spent = {}
    for depth in (8, 20) if QUICK else (8, 20, 56):
        for kind in ("plain", "residual"):
            cost = spent[kind, depth] = efficiency.efficiency(0, kind, depth, "digits", steps=150, lr=lr)
            said = "to a loss of 0.5" if cost["arrived"] else "and not there yet"
            print(f"{kind}-{depth}: {cost['steps']} steps, {cost['GFLOPs']:.0f} GFLOPs, {cost['seconds']:.1f} s of one core {said}")
    more = {kind: spent[kind, 20]["steps"] / spent[kind, 8]["steps"] for kind in ("plain", "residual")}
    claim("20 plain layers take more than half again as many steps as 8, residual ones do not",
          more["plain"] > 1.5 > more["residual"], [*more.values()])  # fmt: skip
    if not QUICK:
        arrived = [spent[kind, 56]["arrived"] for kind in ("residual", "plain")]
        claim("of the two of 56 layers only the residual one has arrived after 150 steps", arrived == [True, False])


spend(0.1)
also_at("learning rate 0.02", lambda: spend(0.02), fails=["20 plain layers"])

# %% [markdown]
# On this easy task depth buys nothing: every layer makes a step dearer, and residual-56 pays ten times what residual-8
# pays. But it gets there in hardly more steps, where plain-56 has not in 660 (`minires experiments efficiency`, five
# seeds). The smaller rate is kind to 20 plain layers, and not to 56. A shortcut does not make depth useful; it makes it
# affordable.
#
# ## Loading weights with PyTorch's names
#
# A network is its arithmetic and a dictionary of named arrays. The names here are torchvision's, such as
# `layer1.0.conv1.weight`, so that a dictionary `{name: tensor.numpy()}` of a torchvision model loads as it is. Here a
# small network stands in for it, and the file is NumPy's, which holds arrays and runs no code. (PyTorch's own files are
# pickles, and to open a pickle from a stranger is to run a stranger's program.)
#
# Equal names and shapes are no proof. The test of a loaded network is one input through both, and equal outputs:


# %%
def tiny(seed: int) -> models.ResNet:
    """ResNet-50 with one block a stage and an eighth of the channels."""
    mr.manual_seed(seed)
    return models.ResNet(models.Bottleneck, [1, 1, 1, 1], [8, 16, 32, 64], stem="imagenet", num_classes=10)


theirs, mine = tiny(seed=1), tiny(seed=2)
x = mr.randn(4, 3, 64, 64)
theirs(x)  # moves the running statistics, which travel with the weights
with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "weights.npz"
    mr.save_weights(theirs, file)
    with np.load(file, allow_pickle=False) as weights:
        state = {name: weights[name] for name in weights.files}
print(f"{len(state)} arrays: {', '.join(list(state)[:4])}, …")
before = float(np.abs(mine.eval()(x).numpy() - theirs.eval()(x).numpy()).max())
mr.load_weights(mine, state)  # or the name of the file
after = float(np.abs(mine.eval()(x).numpy() - theirs.eval()(x).numpy()).max())
claim("before loading the outputs differ, afterwards they are equal", before > 1e-3 and after == 0, [before, after])

# %% [markdown]
# ## Common mistakes
#
# **Loading the weights and not the statistics.** A filter on `.weight` and `.bias` looks reasonable and leaves out
# `running_mean` and `running_var`. Nothing fails; in evaluation the network computes something else. `strict` loading,
# the default, refuses such a dictionary, and its message names what is missing. No count can show it: statistics are
# no parameters, and both panels of the figure stay as they are. Compare outputs, as the last claim does.
#
# **Counting a MAC as two operations in one table and as one in the next.** The paper's 3.8 "GFLOPs" for ResNet-50
# are MACs; hardware makers would say 7.6. In the right panel such a network stands at ResNet-101's place: a factor of
# two, all stages alike, is the unit and not the network. Nor is v1 v1.5: the same name stands for 3.9 and 4.1.

# %%
partial = {name: array for name, array in state.items() if not name.endswith(("running_mean", "running_var"))}
refusal = ""
try:
    tiny(seed=2).load_state_dict(partial)
except KeyError as error:
    refusal = error.args[0]
claim("a dictionary without statistics is refused", "running_mean" in refusal, refusal[:60] + "…")
forgetful = tiny(seed=2)
forgetful.load_state_dict(partial, strict=False)
wrong = float(np.abs(forgetful.eval()(x).numpy() - theirs(x).numpy()).max())
claim("loaded all the same, it computes something else", wrong > 1e-3, wrong)

# %% [markdown]
# ## Exercises
#
# - `minires new conv2d`: count the multiplications that your loops do, and compare.
# - `minires new residual_block`: turn it into a bottleneck, and check with `nn.summary`.
# - Count ResNet-50 with option C shortcuts (a projection in every block): how much dearer is it?
# - With torchvision: `mr.load_weights(models.resnet18(), theirs.state_dict())`, then one image through both.
#
# Answers: [19_real_architectures](answers/19_real_architectures.md).
#
# ## Sources
#
# - K. He, X. Zhang, S. Ren, J. Sun, *Deep Residual Learning*, 2015 (arXiv 1512.03385): table 1 and figure 5.
# - torchvision documents its bottleneck's stride ("ResNet V1.5") in `torchvision/models/resnet.py`.

# %%
finish()
