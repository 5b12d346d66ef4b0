"""Pre-LN and Post-LN transformers, seen through the paths that the gradient takes.

A layer norm behind the sum (Post-LN) shrinks the shortcut along with the branch: every branch keeps its share, and the
effective path length grows with depth. One before the branch (Pre-LN) leaves the sum to grow, so that later branches
count less and less: the length grows slowly, as in pre-activation ResNets (effective-length).
"""

from .. import flow, models, random
from .experiment import Experiment, Numbers, above, below
from .training import dataset

EXACT = 12  # up to how many blocks the exact spectrum is taken too, which costs as many backward passes


def layer_norms(seed: int, variant: str, depth: int, width: int = 32) -> Numbers:
    """Σ r²/(1 + r²) over the forks of a transformer on digits, and for few blocks the exact effective length.

    variant: "pre" or "post". depth: in blocks, each of which has two branches.
    """
    random.manual_seed(seed)
    model, (x, y) = models.transformer(depth, width, norm=variant), dataset("digits").train.subset(64)[:]
    found = {"path length": sum(fork.share for fork in flow.record(model, x, y).forks)}
    if depth <= EXACT:
        found["exact length"] = flow.path_spectrum(model, x, y, progress=False).effective_length
    return found


LAYER_NORMS = Experiment(
    "layer-norms",
    "The paths that carry the gradient grow with depth in a Post-LN transformer, and hardly in a Pre-LN one",
    "Xiong et al. 2020 (arXiv 2002.04745), read as a path spectrum",
    layer_norms,
    {
        "path length, post-48 / post-6": above(6),
        "path length, pre-48 / pre-6": below(3),
        "length/exact, post-6": (0.9, 1.1),
        "length/exact, pre-6": (0.9, 1.1),
    },
    variants=("pre", "post"),
    depths=(6, 12, 24, 48),
    derived={
        "path length, post-48 / post-6": lambda found: found["path length, post-48"] / found["path length, post-6"],
        "path length, pre-48 / pre-6": lambda found: found["path length, pre-48"] / found["path length, pre-6"],
        "length/exact, post-6": lambda found: found["path length, post-6"] / found["exact length, post-6"],
        "length/exact, pre-6": lambda found: found["path length, pre-6"] / found["exact length, pre-6"],
    },
    pilot="6/12/24/48 blocks: post 4/8/16/32, pre 2.0/2.6/3.3/4.0",
    remark="depth: in blocks, each of which has two branches. Compared with the exact spectrum for few blocks only, as "
    "it costs a backward pass for every branch.",
    shows=("path length",),
    log=("path length",),
    tested={"seeds": range(2), "depths": (6, 48)},
    slow=True,
    least={"depth": 1},
)
