"""Benchmarks: `pytest benchmarks` measures, `python -m benchmarks.report` writes the tables of the README."""
