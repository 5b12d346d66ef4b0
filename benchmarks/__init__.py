"""Measurements of minires next to its peers. ``python -m benchmarks --help``."""
