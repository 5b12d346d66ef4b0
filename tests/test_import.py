"""`import minires` is quick: it loads nothing that is slow to import and that most programs do not need."""

import subprocess
import sys

import minires as mr

SLOW = [
    "matplotlib",
    "IPython",
    "tqdm",
    "cupy",
    "hypothesis",
    "pytest",
    "sklearn",
    "torch",
    "onnx",
    "onnxruntime",
    "http.client",
    "tarfile",
]


def test_nothing_slow_is_imported_before_it_is_used():
    code = f"import sys, minires; print([name for name in {SLOW} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_public_name_is_there():
    assert sorted(mr.__all__) == mr.__all__ and all(hasattr(mr, name) for name in mr.__all__)
