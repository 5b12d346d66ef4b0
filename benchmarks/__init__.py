"""Measurements of minires beside its peers. ``python -m benchmarks --help``."""
