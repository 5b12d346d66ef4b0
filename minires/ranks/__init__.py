"""Ranks: one training over several processes, which MPI starts and connects. See README.md in this folder.

`parallel` is the door: read `parallel.py` first, then `wire.py`, which has all that is sent.
"""

from .parallel import Ranks, parallel
from .wire import RanksError

__all__ = ["Ranks", "RanksError", "parallel"]
