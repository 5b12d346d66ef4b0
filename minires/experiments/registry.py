"""All experiments, in the order in which they are listed. A new one is imported here, and added to the list."""

from ..arguments import one_of
from .agreement import AGREEMENT
from .chaos import CHAOS, EDGE_OF_CHAOS
from .depth_scaling import DEPTH_SCALING
from .efficiency import EFFICIENCY
from .experiment import Experiment
from .initialisation import EXPLOSION, LOG_NORMAL_GRADIENT, VARIANCE_GROWTH
from .isometry import ISOMETRY
from .layer_norms import LAYER_NORMS
from .paths import (
    BRANCH_COST,
    CONSERVATION,
    EFFECTIVE_LENGTH,
    LENGTH_WITHOUT_BATCH_NORM,
    PATH_COUNT,
    SCALED_SHORTCUT,
)
from .plain_starts import PLAIN_STARTS
from .reading import READING
from .relative_error import RELATIVE_ERROR
from .sharpness import SHARPNESS
from .shattering import SHATTERING, SHATTERING_ON_A_LINE
from .shortcuts import SHORTCUTS
from .traditional import CLIPPING, TANH_LAYERS, THROUGH_TIME
from .trained import DEGRADATION, GRADIENT_PROFILE, LESION, RESPONSES, SKIP_INIT
from .turning import TURNING
from .warm_up import WARM_UP

LIST = (
    *(CONSERVATION, PATH_COUNT, BRANCH_COST, EFFECTIVE_LENGTH, LENGTH_WITHOUT_BATCH_NORM, SCALED_SHORTCUT),
    *(EXPLOSION, LOG_NORMAL_GRADIENT, VARIANCE_GROWTH),
    *(SHATTERING, SHATTERING_ON_A_LINE),
    *(CHAOS, EDGE_OF_CHAOS, ISOMETRY, RELATIVE_ERROR, LAYER_NORMS),
    *(AGREEMENT, EFFICIENCY, TURNING, WARM_UP, PLAIN_STARTS, DEPTH_SCALING),
    *(TANH_LAYERS, THROUGH_TIME, CLIPPING, READING, SHORTCUTS, SHARPNESS),
    *(GRADIENT_PROFILE, DEGRADATION, LESION, RESPONSES, SKIP_INIT),
)
EXPERIMENTS: dict[str, Experiment] = {experiment.name: experiment for experiment in LIST}


def named(name: str) -> Experiment:
    """The experiment of this name. Raises ValueError, which lists all, if there is none."""
    if name not in EXPERIMENTS:
        raise ValueError(f"experiments: got {name!r}; {one_of(name, EXPERIMENTS)}")
    return EXPERIMENTS[name]
