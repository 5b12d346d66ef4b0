"""The explorer on the site's first page: twins of 20 layers (quick: of 8) that learn the digits."""

from minires.commands.cli import main
from minires.lesson import OUTPUT, QUICK

size = ["--depth", "8", "--epochs", "1"] if QUICK else ["--depth", "20"]
assert main(["explore", *size, "--quiet", "--out", str(OUTPUT / "explorer.html")]) == 0
