"""The twelve assignments, by name, in the order of the lessons."""

from ..assignment import Assignment
from . import (
    autograd,
    batch_norm,
    break_it,
    broadcasting,
    conv2d,
    cross_entropy,
    fork,
    gradcheck,
    gradient_flow,
    relu_maxpool,
    residual_block,
    skip_or_branch,
)

ASSIGNMENTS: dict[str, Assignment] = {
    module.ASSIGNMENT.name: module.ASSIGNMENT
    for module in (
        fork,
        autograd,
        broadcasting,
        conv2d,
        batch_norm,
        relu_maxpool,
        cross_entropy,
        residual_block,
        skip_or_branch,
        gradcheck,
        break_it,
        gradient_flow,
    )
}
