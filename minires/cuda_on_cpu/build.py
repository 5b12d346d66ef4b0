"""From the text of a ``.cu`` file to a library: by g++, with a cache on disk that several processes may share."""

import contextlib
import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..blocks import contextmanager
from ..folders import cache_folder, writable_folder

HERE = Path(__file__).resolve().parent
HEADERS = ("cuda.h", "block.h", "counted.h")
RUNNER = ("block.cpp", "observe.cpp", "block.h", "observe.h")
COMMON = ("-std=c++17", "-fPIC", "-fvisibility=hidden", "-fno-threadsafe-statics", "-ffp-contract=off", "-w")
FAST = ("-O2", "-march=native")

# The purposes for which the same kernels can be compiled.
VARIANTS = {
    "plain": FAST,
    "sanitize": ("-O0", "-g1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    # GCC's thread sanitizer calls a function at every load and store; `observe.cpp` replaces its library.
    "watch": (*FAST, "-fsanitize=thread", "--param=tsan-instrument-func-entry-exit=0"),
}
VARIANTS["count"] = (*VARIANTS["watch"], "-DCUDA_ON_CPU_COUNT")

# Options of NVRTC that change nothing here.
IGNORED = re.compile(
    r"--?(ftz|fmad|prec-div|prec-sqrt)=(true|false)|--?(use_fast_math|device-as-default-execution-space|default-device|"
    r"restrict|generate-line-info|lineinfo|extra-device-vectorization)|--?(gpu-architecture|arch|maxrregcount)=\w+"
)


def available() -> bool:
    """Whether CUDA C can be run on this machine's CPU."""
    return not why_not()


@functools.cache
def why_not() -> str:
    """Why CUDA C cannot be run on this machine's CPU, in one sentence; empty if it can."""
    if sys.platform != "linux":
        return f"cuda-on-cpu runs on Linux only (this is {platform.system()}): its fibers rely on glibc."
    if compiler() is None:
        return (
            "cuda-on-cpu compiles the CUDA kernels with g++, and there is none on the PATH: install it "
            "(Debian, Ubuntu: `apt install g++`), or name another one in $CXX."
        )
    try:
        _machine()
    except (OSError, subprocess.SubprocessError) as error:
        return f"cuda-on-cpu compiles the CUDA kernels with g++, and {compiler()} does not run: {error}."
    return ""


def compiler() -> str | None:
    """The path of g++, or of what $CXX names; None if there is none."""
    return shutil.which(os.environ.get("CXX") or "g++")


def library(source: str, stem: str, options: tuple[str, ...] = (), variant: str = "plain") -> Path:
    """Compile `source`, or find it compiled in the cache folder; return the path of the shared library.

    Raises RuntimeError if there is no compiler, or, with its messages, if it refuses the source.
    """
    if reason := why_not():
        raise RuntimeError(reason)
    runner = _runner("plain" if variant in ("watch", "count") else variant)
    flags = [*COMMON, *VARIANTS[variant], *translated(options)]
    with _building(stem, variant, [source, *flags, runner.name, *_texts(HEADERS)]) as (folder, path):
        if folder is not None:
            unit, compiled = folder / f"{stem}.cpp", folder / f"{stem}.o"
            unit.write_text(source, encoding="utf-8")
            _run([*flags, f"-I{HERE}", "-c", str(unit), "-o", str(compiled)])
            # Link without -fsanitize=thread: the runner defines its functions.
            link = [flag for flag in flags if flag != "-fsanitize=thread"]
            beside = [f"-L{runner.parent}", f"-l:{runner.name}", "-Wl,-rpath,$ORIGIN"]
            _run([*link, "-shared", str(compiled), *beside, "-o", str(folder / path.name)])
    return path


def _runner(variant: str) -> Path:
    """The library of block.cpp and observe.cpp, which all kernels share."""
    flags = [*COMMON, *VARIANTS[variant]]
    with _building("runner", variant, [*flags, *_texts(RUNNER)]) as (folder, path):
        if folder is not None:
            units = [str(HERE / name) for name in RUNNER if name.endswith(".cpp")]
            _run([*flags, "-shared", f"-Wl,-soname,{path.name}", *units, "-o", str(folder / path.name)])
    return path


def _texts(names: tuple[str, ...]) -> list[str]:
    return [(HERE / name).read_text(encoding="utf-8") for name in names]


@contextmanager
def _building(stem: str, variant: str, parts: list[str]) -> Iterator[tuple[Path | None, Path]]:
    """Yield the folder to build in, None if nothing is to be built, and the path where the library will be."""
    key = hashlib.sha256("\0".join([*parts, *_machine()]).encode()).hexdigest()[:20]
    path = cache_folder() / "cuda-on-cpu" / f"{stem}-{variant}-{key}.so"
    if path.exists():
        yield None, path
        return
    try:
        writable_folder(path.parent, "cuda-on-cpu")
    except OSError as error:
        raise OSError(f"{error}: set MINIRES_CACHE") from error
    # Next to its destination, so that the last step is a rename: if two processes build it, neither sees half a file.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{stem}-") as temporary:
        yield Path(temporary), path
        os.replace(Path(temporary) / path.name, path)


def _run(arguments: list[str]) -> None:
    done = subprocess.run([str(compiler()), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"cuda-on-cpu: g++ refuses the kernels\n{done.stderr.strip()}")


def translated(options: tuple[str, ...]) -> list[str]:
    """NVRTC's options in g++'s words. Raises ValueError for one that is not known here."""
    flags = []
    for option in options:
        if re.match(r"-[DUI]", option):
            flags.append(option)
        elif match := re.fullmatch(r"--?std=(c\+\+\d\d)", option):
            flags.append(f"-std={match[1]}")
        elif not IGNORED.fullmatch(option):
            raise ValueError(
                f"cuda-on-cpu: got the option {option!r}; it takes -D, -U, -I, --std and those of NVRTC on rounding"
            )
    return flags


@functools.cache
def _machine() -> tuple[str, ...]:
    """What a compiled kernel depends on as well as its source: the compiler, and the processor's features."""
    version = subprocess.run([str(compiler()), "--version"], capture_output=True, text=True, check=True).stdout
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return version, platform.machine(), next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return version, platform.machine()


def sanitized_environment() -> dict[str, str]:
    """Environment of a subprocess whose kernels are compiled with the address and undefined-behaviour sanitizers.

    The sanitizers end the process with a report on stderr at the first load or store out of bounds, misaligned vector
    access, or overflow of a signed integer. They must be loaded before Python is, which is why it takes a subprocess:
    ``subprocess.run([sys.executable, "script.py"], env=sanitized_environment())``.
    """
    found = subprocess.run(
        [str(compiler()), "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(found).is_absolute():
        raise RuntimeError("cuda-on-cpu: g++ has no libasan.so; install the sanitizers' library (libasan)")
    return {
        **os.environ,
        "LD_PRELOAD": str(Path(found).resolve()),
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0:verify_asan_link_order=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
        "MINIRES_CUDA_ON_CPU": "sanitize",
    }
