"""Real CIFAR-10 as rows 11 to 15 want it."""

import subprocess
import sys
from pathlib import Path

import pytest

from minires.data.cifar10 import FOLDER, cache_folder
from minires.experiments.trained import C8, load_c8

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.fixture(scope="session")
def c8(tmp_path_factory) -> C8:
    """CIFAR-10 at 8×8: from the user's cache, else unpacked from the data beside the repository, else skip."""
    if (cache_folder() / FOLDER).is_dir():
        return load_c8()
    script = SHARED / "unpack_cifar10.py"
    if not script.is_file() or not (SHARED / "cifar10_jpeg.npz").is_file():
        pytest.skip(f"no real CIFAR-10: neither {cache_folder() / FOLDER} nor {SHARED}")
    pytest.importorskip("PIL", reason="unpacking the JPEG copy needs Pillow")
    folder = tmp_path_factory.mktemp("cifar")
    subprocess.run([sys.executable, str(script), str(folder)], check=True, stdout=subprocess.DEVNULL)
    return load_c8(folder)
