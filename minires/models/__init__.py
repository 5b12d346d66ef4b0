"""Networks: residual blocks written out, the networks built from them, and twins to compare."""

from .blocks import Bottleneck, PadShortcut, PlainBlock, PlainBottleneck, PlainPreActBlock, PreActBlock, ResidualBlock
from .mlp import MLP, mlp, mlp_twins
from .normfree import FixupBlock, PlainNormFreeBlock, ReZeroBlock, SkipInitBlock
from .orders import BNAfterAdditionBlock, ReLUBeforeAdditionBlock, ReLUOnlyPreActBlock
from .recurrent import ResidualRNN
from .resnet import ResNet, plain_cifar, resnet18, resnet34, resnet50, resnet101, resnet152, resnet_cifar
from .shortcuts import DropoutShortcutBlock, ExclusiveGateBlock, ScaledBlock, ScaledPreActBlock, ShortcutGateBlock
from .stochastic_depth import StochasticDepthBlock
from .trained import trained
from .transformer import Transformer, TransformerBlock, transformer
from .twins import twins
from .variants import VARIANTS, Variant

__all__ = [
    "MLP",
    "VARIANTS",
    "BNAfterAdditionBlock",
    "Bottleneck",
    "DropoutShortcutBlock",
    "ExclusiveGateBlock",
    "FixupBlock",
    "PadShortcut",
    "PlainBlock",
    "PlainBottleneck",
    "PlainNormFreeBlock",
    "PlainPreActBlock",
    "PreActBlock",
    "ReLUBeforeAdditionBlock",
    "ReLUOnlyPreActBlock",
    "ReZeroBlock",
    "ResNet",
    "ResidualBlock",
    "ResidualRNN",
    "ScaledBlock",
    "ScaledPreActBlock",
    "ShortcutGateBlock",
    "SkipInitBlock",
    "StochasticDepthBlock",
    "Transformer",
    "TransformerBlock",
    "Variant",
    "mlp",
    "mlp_twins",
    "plain_cifar",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnet_cifar",
    "trained",
    "transformer",
    "twins",
]
