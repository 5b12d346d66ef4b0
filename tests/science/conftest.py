"""Real CIFAR-10 for the experiments that want it."""

import subprocess
import sys
from pathlib import Path

import pytest

from minires.data.cifar10 import FOLDER, cache_folder

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.fixture(scope="session")
def cifar10(tmp_path_factory):
    """CIFAR-10 in the user's cache, else unpacked from the data beside the repository, else skip."""
    if (cache_folder() / FOLDER).is_dir():
        yield
        return
    script = SHARED / "unpack_cifar10.py"
    if not script.is_file() or not (SHARED / "cifar10_jpeg.npz").is_file():
        pytest.skip(f"no real CIFAR-10: neither {cache_folder() / FOLDER} nor {SHARED}")
    pytest.importorskip("PIL", reason="unpacking the JPEG copy needs Pillow")
    folder = tmp_path_factory.mktemp("cifar")
    subprocess.run([sys.executable, str(script), str(folder)], check=True, stdout=subprocess.DEVNULL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIRES_CACHE", str(folder))
        yield
