"""The nine assignments, by name, in the order of the lessons."""

from ..assignment import Assignment
from . import (
    autograd,
    batch_norm,
    broadcasting,
    conv2d,
    cross_entropy,
    gradcheck,
    gradient_flow,
    relu_maxpool,
    residual_block,
)

ASSIGNMENTS: dict[str, Assignment] = {
    module.ASSIGNMENT.name: module.ASSIGNMENT
    for module in (
        autograd,
        broadcasting,
        conv2d,
        batch_norm,
        relu_maxpool,
        cross_entropy,
        residual_block,
        gradcheck,
        gradient_flow,
    )
}
