"""Benchmarks: each prints its goal beside the figure; run them by `python -m`."""
