"""Every kind of residual network by name, for comparisons: ``VARIANTS["skipinit"].build(20, 8, in_channels=1)``."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from .normfree import FixupBlock, ReZeroBlock, SkipInitBlock
from .orders import BNAfterAdditionBlock, ReLUBeforeAdditionBlock, ReLUOnlyPreActBlock
from .resnet import ResNet, resnet_cifar
from .shortcuts import DropoutShortcutBlock, ExclusiveGateBlock, ScaledBlock, ScaledPreActBlock, ShortcutGateBlock
from .stochastic_depth import StochasticDepthBlock


class Variant(NamedTuple):
    """One kind of residual network.

    build: called like `resnet_cifar`, as ``build(depth, width, **options)``. description: one line. source: the paper.
    published: the paper's test error with 110 layers on CIFAR-10, or "" if it gives none.
    """

    build: Callable[..., ResNet]
    description: str
    source: str
    published: str = ""


TABLE_1, TABLE_2 = "He et al. 2016 (arXiv 1603.05027), table 1", "He et al. 2016 (arXiv 1603.05027), table 2"

VARIANTS: dict[str, Variant] = {
    "residual": Variant(
        resnet_cifar, "identity shortcut, ReLU after the addition", "He et al. 2015 (arXiv 1512.03385)", "6.61 %"
    ),
    # the shortcut
    "scaled-shortcut": Variant(
        partial(resnet_cifar, block=ScaledBlock), "shortcut times 0.5", TABLE_1, "fails, above 20 %"
    ),
    "scaled-both": Variant(
        partial(resnet_cifar, block=partial(ScaledBlock, branch_scale=0.5)),
        "shortcut and branch times 0.5",
        TABLE_1,
        "12.35 %",
    ),
    "scaled-preact": Variant(
        partial(resnet_cifar, block=ScaledPreActBlock),
        "shortcut times 0.5, nothing after the addition: 0.5ⁿ of the gradient cross no branch",
        "He et al. 2016 (arXiv 1603.05027), section 3",
    ),
    "exclusive-gate": Variant(
        partial(resnet_cifar, block=ExclusiveGateBlock), "branch times g(x), shortcut times 1 − g(x)", TABLE_1, "8.70 %"
    ),
    "shortcut-gate": Variant(
        partial(resnet_cifar, block=ShortcutGateBlock), "shortcut times 1 − g(x)", TABLE_1, "6.91 %"
    ),
    "conv-shortcut": Variant(partial(resnet_cifar, shortcut="C"), "1×1 convolution as shortcut", TABLE_1, "12.22 %"),
    "dropout-shortcut": Variant(
        partial(resnet_cifar, block=DropoutShortcutBlock), "dropout on the shortcut", TABLE_1, "fails"
    ),
    # the order of BN and ReLU
    "bn-after-addition": Variant(
        partial(resnet_cifar, block=BNAfterAdditionBlock), "BN and ReLU after the addition", TABLE_2, "8.17 %"
    ),
    "relu-before-addition": Variant(
        partial(resnet_cifar, block=ReLUBeforeAdditionBlock), "ReLU at the end of the branch", TABLE_2, "7.84 %"
    ),
    "relu-only-preact": Variant(
        partial(resnet_cifar, block=ReLUOnlyPreActBlock), "ReLU before the convolutions, BN behind", TABLE_2, "6.71 %"
    ),
    "preact": Variant(partial(resnet_cifar, preact=True), "BN and ReLU before the convolutions", TABLE_2, "6.37 %"),
    # the start of the branch
    "zero-gamma": Variant(
        partial(resnet_cifar, zero_init_residual=True),
        "γ of the last batch norm of a branch starts at 0",
        "Goyal et al. 2017 (arXiv 1706.02677), section 5.1",
    ),
    "rezero": Variant(
        partial(resnet_cifar, block=ReZeroBlock),
        "branch times α, which starts at 0",
        "Bachlechner et al. 2020 (arXiv 2003.04887)",
    ),
    "skipinit": Variant(
        partial(resnet_cifar, block=SkipInitBlock),
        "pre-activation without batch norm, branch times α, which starts at 0",
        "De & Smith 2020 (arXiv 2002.10444)",
    ),
    "fixup": Variant(
        partial(resnet_cifar, block=FixupBlock),
        "no batch norm, scalar biases, weights scaled by 1/√L, branches and classifier start at 0",
        "Zhang et al. 2019 (arXiv 1901.09321)",
    ),
    "stochastic-depth": Variant(
        partial(resnet_cifar, block=StochasticDepthBlock),
        "branches dropped at random in training, the last ones half of the time",
        "Huang et al. 2016 (arXiv 1603.09382)",
        "5.25 %",
    ),
}
