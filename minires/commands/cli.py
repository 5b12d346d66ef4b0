"""The command line: ``minires compare`` and what follows."""

import argparse
import sys
from collections.abc import Sequence

from .. import __version__, kernels
from ..models import VARIANTS
from . import compare, doctor, flow as gallery, lessons as lessons_cli

FORMATS = "text", "markdown", "junit", "gradescope"  # of ``minires grade``; the coursework is imported if asked for
VISIBILITIES = "visible", "after_due_date", "after_published", "hidden"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 1 for an error (told in one line), 2 for bad usage, 130 for Ctrl-C.

    ``grade`` returns 3 if it has done its work and points are missing.
    """
    arguments = vars(_parser().parse_args(argv))
    command = arguments.pop("command")
    try:
        return command(**arguments)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"minires: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("minires: interrupted before anything was measured", file=sys.stderr)
        return 130


def run_compare(**options) -> int:
    """``minires compare``: train the twins, print the table and three sentences."""
    settings = compare.Settings(**options)
    report, forks = compare.compare(settings)
    if report["interrupted"] and not report["steps"]:
        raise KeyboardInterrupt
    print()
    print(compare.table(report))
    print()
    for sentence in compare.sentences(report, forks):
        print(f"• {sentence}")
    print(f"\nWritten to {settings.out}/: gradient-flow.png, compare.json, compare.csv ({report['seconds']:.0f} s)")
    if report["interrupted"]:
        print(f"Interrupted after {report['steps']} steps: the files hold what was measured until then.")
        return 130
    return 0


def run_flow(**options) -> int:
    """``minires flow``: draw every figure of the instrument."""
    settings = gallery.Settings(**options)
    try:
        for path in gallery.draw_gallery(settings):
            print(path)
    except KeyboardInterrupt:
        print(f"minires: interrupted; what was drawn until then is in {settings.out}", file=sys.stderr)
        return 130
    return 0


def run_new(name: str, out: str | None) -> int:
    """``minires new``: write an exercise file, or list the exercises."""
    from .. import coursework

    if name == "list":
        for assignment in coursework.ASSIGNMENTS.values():
            print(f"{assignment.name:<16}{assignment.points:g} points  {assignment.title}")
        return 0
    print(coursework.new(name, out))
    return 0


def run_grade(file: str, format: str, out: str | None, **options) -> int:
    """``minires grade``: run an assignment's tests, and write or print what came of them."""
    from .. import coursework

    result = coursework.grade_to(file, format, out, **options)
    return 0 if result.score == result.points else 3


def run_doctor(**options) -> int:
    """``minires doctor``: what this machine has, and which devices can be used."""
    print(doctor.report())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="minires", description="A residual-network laboratory: see what a skip connection does to the gradient."
    )
    parser.add_argument("--version", action="version", version=f"minires {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_compare(commands)
    _add_flow(commands)
    _add_new(commands)
    _add_grade(commands)
    _add_lessons(commands)
    _add_doctor(commands)
    return parser


def _add_compare(commands) -> None:
    defaults = compare.Settings()
    parser = commands.add_parser(
        "compare",
        help="train a plain and a residual twin side by side and show their gradient flow",
        description="Train a plain and a residual network that start from the same weights and differ by one flag, "
        "record the gradient on its way back through both, and write a figure, a table and the numbers.",
        epilog="examples:\n"
        "  minires compare                            the default: depth 56 on handwritten digits, about a minute\n"
        "  minires compare --depth 20 --epochs 5      a quick look\n"
        "  minires compare --shortcut B --preact      projections, and BN and ReLU before the convolutions\n"
        "  minires compare --data cifar10 --root DIR  CIFAR-10, in its binary layout under DIR\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run_compare)

    network = parser.add_argument_group("the twins")
    network.add_argument("--depth", type=int, default=defaults.depth, help="layers, 6n+2: 8, 14, 20, … (default 56)")
    network.add_argument("--width", type=int, default=defaults.width, help="channels of the first stage (default 8)")
    network.add_argument(
        "--shortcut",
        choices="ABC",
        default=defaults.shortcut,
        help="A: identity, padded where shapes change (default); B: 1×1 convolution there; C: 1×1 convolution always",
    )
    network.add_argument("--preact", action="store_true", help="BN and ReLU before each convolution (He et al. 2016)")
    network.add_argument(
        "--zero-init-residual",
        action="store_true",
        help="start every residual block as its shortcut (γ = 0 at the end of its branch)",
    )
    training = parser.add_argument_group("training")
    training.add_argument("--data", choices=["digits", "cifar10"], default=defaults.data, help="default: digits")
    training.add_argument("--root", metavar="DIR", help="folder with CIFAR-10 (default: the user cache)")
    training.add_argument("--download", action="store_true", help="download CIFAR-10 (170 MB) if it is not there")
    epochs = ", ".join(f"{n} for {name}" for name, n in compare.EPOCHS.items())
    training.add_argument("--epochs", type=int, help=f"passes over the training images (default: {epochs})")
    training.add_argument("--batch-size", type=int, default=defaults.batch_size, help="default: 64")
    training.add_argument("--lr", type=float, default=defaults.lr, help="learning rate (default 0.1)")
    training.add_argument("--seed", type=int, default=defaults.seed, help="of weights and order of images (default 0)")
    training.add_argument("--dtype", choices=["float32", "float64"], default=defaults.dtype, help="default: float32")
    training.add_argument(
        "--device",
        choices=kernels.DEVICES,
        default=defaults.device,
        help="cpu (default); gpu: a CUDA device; cuda-on-cpu: the GPU's kernels run on the CPU, slowly",
    )
    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="DIR", default=defaults.out, help="folder to write to (default minires-out)")
    output.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_flow(commands) -> None:
    defaults = gallery.Settings()
    parser = commands.add_parser(
        "flow",
        help="draw every figure of the gradient-flow instrument",
        description="Draw every figure of the gradient-flow instrument for a pair of twins, or for a network of your "
        "choice, before and after a short training: profile, forks, path spectrum, graph, responses, variance, "
        "shattering, Jacobians, lesion, landscape, and the flow over training.",
        epilog="examples:\n"
        "  minires flow                               plain and residual twins of 20 layers, on handwritten digits\n"
        "  minires flow --init-only --depth 56        nothing is trained: what the papers say of initialisation\n"
        "  minires flow --plain --depth 20            the plain network alone\n"
        "  minires flow --model skipinit              one of the models below\n\n"
        "models:\n" + "\n".join(f"  {name:<24}{variant.description}" for name, variant in VARIANTS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run_flow)
    network = parser.add_argument_group("the network")
    network.add_argument(
        "--model", metavar="NAME", default=defaults.model, help="twins (default), or a model from the list below"
    )
    network.add_argument("--depth", type=int, default=defaults.depth, help="layers, 6n+2 (default 20)")
    network.add_argument("--width", type=int, default=defaults.width, help="channels of the first stage (default 8)")
    network.add_argument("--plain", action="store_true", help="the plain twin alone")
    network.add_argument("--preact", action="store_true", help="BN and ReLU before each convolution (He et al. 2016)")
    training = parser.add_argument_group("training")
    training.add_argument("--init-only", action="store_true", help="draw the networks as they start; train nothing")
    training.add_argument("--epochs", type=int, default=defaults.epochs, help="default: 5")
    training.add_argument("--data", choices=["digits", "cifar10"], default=defaults.data, help="default: digits")
    training.add_argument("--root", metavar="DIR", help="folder with CIFAR-10 (default: the user cache)")
    training.add_argument("--seed", type=int, default=defaults.seed, help="of weights and order of images (default 0)")
    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="DIR", default=defaults.out, help="folder to write to (default minires-flow)")
    output.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_new(commands) -> None:
    parser = commands.add_parser(
        "new",
        help="write an exercise file",
        description="Write an exercise file with holes to fill.",
        epilog="examples:\n  minires new list\n  minires new conv2d\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run_new)
    parser.add_argument("name", metavar="NAME", help="an exercise, or: list, which tells what there is")
    parser.add_argument("--out", metavar="FILE", help="file to write (default NAME.py); one that exists is kept")


def _add_grade(commands) -> None:
    parser = commands.add_parser(
        "grade",
        help="grade an exercise file",
        description="Run the tests of an exercise on your file, each in a process of its own, and say what passed, "
        "what failed, and a hint.",
        epilog="The exit code is 0 for full marks in all tests that ran, 3 if points are missing.\n\n"
        "examples:\n"
        "  minires grade conv2d.py\n"
        "  minires grade mine.py --assignment conv2d --format junit --out conv2d.xml\n"
        "  minires grade submission/ --assignment conv2d --hidden --seed 7 --format gradescope --out results.json\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run_grade)
    parser.add_argument("file", metavar="FILE", help="the file, or a folder that holds it under the exercise's name")
    parser.add_argument("--assignment", metavar="NAME", help="the exercise (default: the name of the file)")
    parser.add_argument("--format", choices=FORMATS, default="text", help="default: text")
    parser.add_argument("--out", metavar="FILE", help="write here, anew after each test (default: print)")
    parser.add_argument("--hidden", action="store_true", help="run the hidden tests too")
    parser.add_argument("--seed", type=int, default=0, help="of the hidden tests' shapes and numbers (default 0)")
    parser.add_argument(
        "--visibility",
        choices=VISIBILITIES,
        default="visible",
        help="when Gradescope shows a hidden test's score and hint (default: visible)",
    )
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds a test may take (default 30)")
    parser.add_argument("--memory", type=int, default=512, help="MB a test may take (default 512)")
    parser.add_argument("--user", metavar="NAME", help="run the submission as this user (needs root)")


def _add_lessons(commands) -> None:
    parser = commands.add_parser(
        "lessons",
        help="list the lessons, run one, or write them as notebooks",
        description="The lessons: scripts that lead from a number's gradient to why residual networks work. Without "
        "arguments they are listed, with the seconds each takes.",
        epilog="examples:\n"
        "  minires lessons                      the list\n"
        "  minires lessons 8 --quick            run the quick version of lesson 8\n"
        "  minires lessons --notebook DIR       write them all as notebooks (needs jupytext)\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=lessons_cli.run)
    parser.add_argument("number", type=int, nargs="?", help="the lesson to run")
    parser.add_argument("--quick", action="store_true", help="a version of a few seconds")
    parser.add_argument("--notebook", metavar="DIR", help="write notebooks into this folder instead")


def _add_doctor(commands) -> None:
    parser = commands.add_parser(
        "doctor",
        help="say what this machine has and which devices can be used, and why not",
        description="Say what this machine has, which of the devices cpu, gpu and cuda-on-cpu can be used, and what is "
        "missing for the others.",
    )
    parser.set_defaults(command=run_doctor)
