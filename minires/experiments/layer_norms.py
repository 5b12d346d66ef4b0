"""Pre-LN and Post-LN transformers, seen through the paths that the gradient takes.

Xiong et al. 2020 (arXiv 2002.04745) show why Post-LN needs a warm-up and Pre-LN does not. In paths: a layer norm behind
the sum shrinks the shortcut along with the branch, so that every block keeps its share, and the effective path length
grows with depth. Before the branch it leaves the sum to grow, so that later branches count less and less: the length
grows with the logarithm, as in pre-activation ResNets (row 4).
"""

import numpy as np

from .. import data, flow, models, random
from .seeds import Numbers

DEPTHS = 6, 12, 24, 48  # of blocks, each of which has two branches


def layer_norms(seed: int, depths: tuple[int, ...] = DEPTHS, exact: tuple[int, ...] = (6, 12)) -> Numbers:
    """Row 22: Σr²/(1 + r²) over the forks, and the exact effective length at some of the depths; on digits."""
    found: Numbers = {}
    x, y = data.digits()[0].subset(64)[:]
    for norm in ("pre", "post"):
        for depth in depths:
            random.manual_seed(seed)
            model = models.transformer(depth, norm=norm)
            found[f"{norm}-{depth}, Σ"] = sum(fork.share for fork in flow.record(model, x, y).forks)
            if depth in exact:
                spectrum = flow.path_spectrum(model, x, y, progress=False)
                found[f"{norm}-{depth}, exact"] = spectrum.effective_length
        lengths = [found[f"{norm}-{depth}, Σ"] for depth in depths]
        found[f"{norm}, power of depth"] = float(np.polyfit(np.log(depths), np.log(lengths), 1)[0])
    return found
