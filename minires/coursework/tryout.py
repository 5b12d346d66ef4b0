"""What an exercise file does when it is run: try each function, and say what came of it."""

import traceback
from collections.abc import Callable, Mapping
from typing import Any

from ..testing import GradCheckError


def try_out(checks: Mapping[str, Callable[[], Any]]) -> None:
    """Print what each check returns or raises; one that fails stops none, and what is not written is told once."""
    unwritten = []
    for name, check in checks.items():
        try:
            print(f"{name}: {check()}")
        except NotImplementedError as error:
            unwritten.append(str(error) or name)
        except GradCheckError as error:
            if "raised NotImplementedError: " in str(error):
                unwritten.append(str(error).rpartition("raised NotImplementedError: ")[2].partition("\n")[0])
            else:
                print(f"{name}: wrong\n  {error}")
        except Exception as error:
            line = traceback.extract_tb(error.__traceback__)[-1]
            print(f"{name}: {type(error).__name__}: {error} (line {line.lineno}, in {line.name})")
    if unwritten:
        print(f"not written yet: {', '.join(dict.fromkeys(unwritten))}")
