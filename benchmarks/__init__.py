"""The benchmark suite: `make bench` measures, `ditkernels bench report` writes tables and plots. See README.md here.

Imports flow one way: {conftest, gpu, quick} -> report -> results -> measure -> contestants -> cases.
"""
