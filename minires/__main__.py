"""``python -m minires`` is the command ``minires``."""

import sys

from .installed import other_package

try:
    from .commands.cli import main
except ImportError:
    if message := other_package():
        sys.exit(f"minires: {message}")
    raise

if __name__ == "__main__":
    sys.exit(main())
