"""The command line: ``minires compare`` and the other commands, each in the file of its name."""

import argparse
import os
import sys
from collections.abc import Sequence

from .. import __version__
from ..arguments import nearest
from ..folders import remove_empty_folders
from ..terminal import set_up
from . import compare, doctor, experiments, explore, export, flow, grade, lessons, new, progress

# in the order of the help
COMMANDS = compare, explore, flow, export, experiments, new, grade, lessons, progress, doctor

PATHS = "DIR", "FILE", "PATH"  # what options are called whose values are paths


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 1 for an error (reported in one line), 2 for bad usage, 130 for Ctrl-C.

    ``grade`` returns 3 if grading worked and points are missing. If nobody reads the output any more it is 141, as of
    other programs in front of ``| head``.
    """
    set_up()
    arguments = vars(_parser().parse_args(argv))
    command = arguments.pop("command")
    try:
        code = command(**arguments)
        sys.stdout.flush()  # a reader that has left is noticed here, not as Python ends
        return code
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        if isinstance(error, BrokenPipeError) and _reader_has_left():
            return 141
        print(f"minires: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("minires: interrupted", file=sys.stderr)
        return 130
    finally:
        remove_empty_folders()


def _reader_has_left() -> bool:
    """Whether nobody reads stdout any more, as behind ``| head``; then, what is still written to it goes nowhere."""
    try:
        print(flush=True)
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return True
    return False


class _Parser(argparse.ArgumentParser):
    """A parser that names what may have been meant, and speaks of its own usage where an argument is unknown.

    Options are not abbreviated: what was short for one of them would mean another when that is added.
    """

    def __init__(self, **options):  # type: ignore[no-untyped-def]
        super().__init__(**options, allow_abbrev=False)

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def, override]
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            near = nearest(unknown[0], self._option_string_actions)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{near}")
        return namespace, unknown

    def _get_values(self, action, strings):  # type: ignore[no-untyped-def, override]
        """Paths may begin with ~: shells leave that of ``--out=~/results`` as it is."""
        values = super()._get_values(action, strings)
        return os.path.expanduser(values) if action.metavar in PATHS and isinstance(values, str) else values

    def _check_value(self, action, value):  # type: ignore[no-untyped-def]
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            error.message += nearest(str(value), action.choices)
            raise


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="minires", description="A residual-network laboratory: see what a skip connection does to the gradient."
    )
    parser.add_argument("--version", action="version", version=f"minires {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command", parser_class=_Parser)
    for module in COMMANDS:
        module.add_parser(commands)
    return parser
