"""Which distribution this package came from: ours is `minires-lab`; `minires` on the public index is somebody else's.

That one, a reservoir simulator, has the same import name. Installed into the same environment it replaces our
``__init__.py``, or stands beside it, and which of the two ``import minires`` finds depends on the folder and the order.
"""

import os
import sys
import warnings

CURE = "`python -m pip uninstall minires minires-lab`, then `python -m pip install -e .` in this library's checkout"


def other_package() -> str | None:
    """What is wrong and what to do, if another distribution claims the name ``minires``; None if all is well.

    It looks at the metadata of installed distributions only, in less than a millisecond.
    """
    if not hasattr(sys.modules["minires"], "manual_seed"):
        return (
            "this library's own __init__.py is gone: the package `minires` of the public index, a reservoir simulator, "
            f"is or was installed over it. Remove both and install again: {CURE}"
        )
    if not _has_metadata():
        return None
    from importlib import metadata  # only now: it is slow to import

    try:
        other = metadata.distribution("minires")
    except metadata.PackageNotFoundError:
        return None
    if any(entry.value.startswith("minires.testing.") for entry in other.entry_points):
        return None  # ours, installed before it was called minires-lab
    summary = other.metadata["Summary"] or "no summary"
    return (
        f"another package that is imported as `minires` is installed too, {other.metadata['Name']} {other.version}: "
        f'"{summary}" Which of the two a program gets depends on the folder it starts in. Keep them '
        f"in separate environments: {CURE}"
    )


def _has_metadata() -> bool:
    """Whether a folder on the path holds the metadata of a distribution called minires."""
    folders = (folder or os.curdir for folder in sys.path)
    readable = (folder for folder in folders if os.path.isdir(folder) and os.access(folder, os.R_OK))
    names = (name.lower() for folder in readable for name in os.listdir(folder))
    return any(name.startswith("minires-") and name.endswith((".dist-info", ".egg-info")) for name in names)


def version() -> str:
    """The version of this library, which the front door states."""
    return sys.modules["minires"].__version__


def warn_of_other_package() -> None:
    """A RuntimeWarning that says what `other_package` says."""
    if message := other_package():
        warnings.warn(f"minires: {message}", RuntimeWarning, stacklevel=3)
