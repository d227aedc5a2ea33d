"""Metrics of generated molecules, each with the ruler it is measured by."""
