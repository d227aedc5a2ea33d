"""Questions that are answered by a command, with their tables in ``benchmarks/results/studies``."""
