"""A container's limits without a container: a control group with limited memory and processor time (Linux)."""

import contextlib
import os
import subprocess
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PERIOD = 100_000  # microseconds, over which a processor is shared out


class Container:
    """A control group, version 1 or 2. A context manager; OSError where groups cannot be made or limited.

    After `run`: ``peak``, the most memory that all processes had together, in MB, files in memory included;
    ``seconds``.
    """

    def __init__(self, memory: int, processors: float):
        name = f"minires-test-{os.getpid()}"
        limit, quota = str(memory * 2**20), int(processors * PERIOD)
        if (ROOT / "memory" / "memory.limit_in_bytes").exists():
            self.groups = {ROOT / "memory" / name: {"memory.limit_in_bytes": limit}}
            self.groups[ROOT / "cpu" / name] = {"cpu.cfs_quota_us": str(quota), "cpu.cfs_period_us": str(PERIOD)}
            self._peak = ROOT / "memory" / name / "memory.max_usage_in_bytes"
        else:
            root = ROOT / "unified" if (ROOT / "unified").exists() else ROOT
            self.groups = {root / name: {"memory.max": limit, "memory.swap.max": "0", "cpu.max": f"{quota} {PERIOD}"}}
            self._peak = root / name / "memory.peak"
        self.peak = self.seconds = 0.0

    def __enter__(self) -> "Container":
        try:
            for group, limits in self.groups.items():
                if "memory.max" in limits:  # version 2: a group gets the controllers that its parent hands down
                    (group.parent / "cgroup.subtree_control").write_text("+memory +cpu")
                group.mkdir()
                for file, value in limits.items():
                    (group / file).write_text(value)
            self._peak.read_text()
        except OSError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for group in self.groups:
            with contextlib.suppress(OSError):
                for pid in (group / "cgroup.procs").read_text().split():
                    os.kill(int(pid), 9)
            for _ in range(50):  # the ended ones leave a moment later
                with contextlib.suppress(OSError):
                    group.rmdir()
                if not group.exists():
                    break
                time.sleep(0.05)

    def run(self, command: list[str], **options) -> subprocess.CompletedProcess:
        """Run a command inside, as subprocess.run does."""
        enter = "; ".join(f"echo $$ >'{group}/cgroup.procs'" for group in self.groups)
        started = time.monotonic()
        done = subprocess.run(["sh", "-c", f'{enter}; exec "$@"', "sh", *command], **options, check=False)
        self.seconds = time.monotonic() - started
        self.peak = int(self._peak.read_text()) / 2**20
        return done
