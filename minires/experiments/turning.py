"""How far a step turns a kernel, and the gradient free of scale: what freezes in a deep plain network.

Behind batch norm ‖∂L/∂W‖ falls as ‖W‖ grows, so that neither says how fast a layer learns. By how many degrees a step
turns a kernel does (see `flow.FlowHistory`).
"""

import numpy as np

from ..nn.examples import fit_to
from .experiment import Experiment, Numbers, above, below
from .training import batches, network
from .watched import Runner

EARLY, LATE = range(1, 6), range(40, 89, 8)
KERNELS = slice(1, 10)  # the 2nd to the 10th convolution


def turning(seed: int, variant: str, depth: int, data: str, lr: float = 0.1) -> Numbers:
    """Degrees that a step turns the median kernel in steps 1–5 and 40–88, and ‖∂L/∂W‖·‖W‖, first over last."""
    runner = Runner.start(network(variant, depth, seed, data), 660, lr)
    watched = {0, 10, *EARLY, *LATE}
    for step, (x, y) in zip(range(LATE[-1] + 1), batches(data, seed)):
        runner.step(fit_to(runner.model, x), fit_to(runner.model, y), record=step in watched)
    history = runner.history
    degrees = dict(zip(history.steps, np.median(history.convolution_turns[:, KERNELS], axis=1)))
    ratios = dict(zip(history.steps, history.first_over_last(free_of_scale=True)))
    return {
        "degrees turned, steps 1–5": float(np.median([degrees[step] for step in EARLY])),
        "degrees turned, steps 40–88": float(np.median([degrees[step] for step in LATE])),
        **{f"‖∂L/∂W‖·‖W‖ first/last, step {step}": float(ratios[step]) for step in (0, 10, 88)},
    }


TURNING = Experiment(
    "turning",
    "The first steps turn the kernels of plain-56 far, and then they freeze; those of residual-56 keep turning",
    "Behind batch norm only the direction counts: Arora et al. 2019 (arXiv 1812.03981), lemma 2.4",
    turning,
    {
        "degrees turned, steps 1–5, plain-56": above(5),
        "degrees turned, steps 40–88, plain-56": below(0.02),
        "degrees turned, steps 1–5, residual-56": below(2),
        "degrees turned, steps 40–88, residual-56": above(0.1),
        "‖∂L/∂W‖·‖W‖ first/last, step 0, plain-56": above(100),
        "‖∂L/∂W‖·‖W‖ first/last, step 0, residual-56": below(20),
    },
    variants=("plain", "residual"),
    depths=(56,),
    data=("digits", "c8"),
    pilot="plain 13–15° and 0.000°, residual 0.5° and 0.42°; free of scale, plain 531–578 / 0.2–0.3 / about 1 at steps "
    "0 / 10 / 88, residual 0.5–2.1",
    log=("degrees turned, steps 1–5", "degrees turned, steps 40–88", "‖∂L/∂W‖·‖W‖ first/last, step 0"),
    tested={"seeds": [0]},
    slow=True,
    second={"lr": 0.02},
)
