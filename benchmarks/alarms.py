"""How often the gradient checker calls right code wrong, and lets wrong code pass."""

import numpy as np

from .harness import Plan, markdown, save

SEEDS = 200


def alarms(plan: Plan) -> None:
    """False alarms of the gradient checker on right code, kind by kind."""
    from tests.testing.awkward import RIGHT, alarms as said_of  # from the repository, like this folder

    seeds = range(3 if plan.quick else SEEDS)
    with np.errstate(all="ignore"):
        found = {kind.name: dict(said_of(kind, seeds)) for kind in RIGHT}
    rows = [
        [name, str(sum(said.values())), ", ".join(f"{kind} ({count})" for kind, count in said.items())]
        for name, said in found.items()
    ]
    total, checks = sum(sum(said.values()) for said in found.values()), len(found) * len(seeds)
    table = markdown(["right code", "called wrong", "as"], rows)
    text = f"{total} false alarms in {checks:,} checks: {len(found)} kinds of right code, {len(seeds)} seeds each."
    save("alarms", plan, {"seeds": len(seeds), "alarms": found}, f"{text}\n\n{table}")
