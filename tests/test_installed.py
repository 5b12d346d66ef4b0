"""The other package called `minires` is noticed, by the metadata it installs; an old install of this one is not."""

import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

from minires import installed
from minires.commands import doctor

ROOT = Path(__file__).parents[1]
OTHER = "Metadata-Version: 2.4\nName: minires\nVersion: 0.3.2\nSummary: Toy petroleum reservoir simulator using TPFA.\n"


@pytest.fixture
def run(tmp_path):
    """Run Python with a folder of installed metadata on its path; returns what it printed, and its warnings."""

    def run(code, metadata, entry_points=None):
        folder = tmp_path / "minires-0.3.2.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(metadata)
        if entry_points:
            (folder / "entry_points.txt").write_text(entry_points)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=True)
        return done.stdout, done.stderr

    return run


def test_importing_beside_the_other_package_warns_once_and_works(run):
    out, err = run("import minires; import minires.nn; print(minires.ones(2).sum().item())", OTHER)
    assert out == "2.0\n" and err.count("RuntimeWarning") == 1
    assert 'minires 0.3.2: "Toy petroleum reservoir simulator' in err
    assert "pip uninstall minires minires-lab" in err and "pip install -e ." in err


def test_doctor_says_it_too(run):
    code = "import warnings; warnings.simplefilter('ignore'); from minires.__main__ import main; main(['doctor'])"
    out, err = run(code, OTHER)
    assert "package             another package that is imported as `minires` is installed too" in out and not err


def test_this_library_under_its_old_name_is_no_other_package(run):
    points = "[console_scripts]\nminires = minires.cli:main\n[pytest11]\nminires = minires.testing.pytest_plugin\n"
    assert run("import minires", OTHER, points) == ("", "")


def test_an_init_file_that_was_replaced_is_noticed(monkeypatch):
    monkeypatch.setitem(sys.modules, "minires", types.ModuleType("minires"))
    assert "__init__.py is gone" in installed.other_package()
    with pytest.warns(RuntimeWarning, match="pip uninstall minires minires-lab"):
        installed.warn_of_other_package()


def test_the_command_says_why_it_cannot_be_imported(tmp_path):
    shutil.copytree(ROOT / "minires", tmp_path / "minires")
    (tmp_path / "minires" / "__init__.py").write_text("__all__ = ['ResSim', 'grid']")
    command = [sys.executable, "-c", "from minires.__main__ import main"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 1 and done.stderr.startswith("minires: this library's own __init__.py is gone")


def test_without_it_the_folder_is_shown():
    assert installed.other_package() is None
    assert f"package             minires-lab, from {ROOT / 'minires'}" in doctor.report()
