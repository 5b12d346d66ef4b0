"""The command line: ``minires compare`` and the other commands, each in the file of its name."""

import argparse
import io
import sys
from collections.abc import Sequence

from .. import __version__
from . import compare, doctor, experiments, explore, export, flow, grade, lessons, new

COMMANDS = compare, explore, flow, export, experiments, new, grade, lessons, doctor  # in the order of the help


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 1 for an error (reported in one line), 2 for bad usage, 130 for Ctrl-C.

    ``grade`` returns 3 if grading worked and points are missing.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a pipe on Windows, for one, has no ✓; stderr writes \u2713 by itself
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = vars(_parser().parse_args(argv))
    command = arguments.pop("command")
    try:
        return command(**arguments)
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        print(f"minires: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("minires: interrupted before anything was measured", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="minires", description="A residual-network laboratory: see what a skip connection does to the gradient."
    )
    parser.add_argument("--version", action="version", version=f"minires {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    for module in COMMANDS:
        module.add_parser(commands)
    return parser
