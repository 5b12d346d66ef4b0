"""The map in `minires/README.md`: each floor imports only from the floors below it, and there are no import cycles."""

import ast
import graphlib
from pathlib import Path

import minires

FLOORS = """
    arguments blas blocks state | files folders npz threads random installed hooks html missing progress terminal
    | csv_files norms | cuda_on_cpu
    | kernels
    | ops | dtypes | checks writes | autograd
    | tensor_elementwise tensor_in_place tensor_names tensor_reduce tensor_shape | tensor
    | creation einsum functions recompute cuda fusion | nn
    | data models optim jobs | ranks executors | train | flow | export
    | minires
    | testing lesson | coursework experiments | commands
    | __main__
"""
FOLDER = Path(minires.__file__).parent
MODULES = {".".join(path.relative_to(FOLDER.parent).with_suffix("").parts): path for path in FOLDER.rglob("*.py")}
MODULES = {name.removesuffix(".__init__"): path for name, path in MODULES.items()}


def imported(name: str, path: Path) -> set[str]:
    """The modules of the package that a file imports anywhere: at the top, in functions, under TYPE_CHECKING."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = name.split(".") + ["__init__"] * (path.stem == "__init__")
            base = ".".join([*parts[: -node.level], *filter(None, [node.module])]) if node.level else str(node.module)
            found |= {f"{base}.{a.name}" if f"{base}.{a.name}" in MODULES else base for a in node.names}
    return (found & MODULES.keys()) - {name}


IMPORTS = {name: imported(name, path) for name, path in MODULES.items()}


def test_each_floor_imports_only_from_floors_below_it():
    floor = {room: i for i, rooms in enumerate(FLOORS.split("|")) for room in rooms.split()}
    room = {name: name.split(".")[:2][-1] for name in MODULES}
    assert set(room.values()) == floor.keys()
    pairs = [(a, b) for a, names in IMPORTS.items() for b in names if room[a] != room[b]]
    assert [(a, b) for a, b in pairs if floor[room[a]] <= floor[room[b]]] == []


def test_there_are_no_circles():
    graphlib.TopologicalSorter(IMPORTS).prepare()  # raises CycleError, with the cycle
