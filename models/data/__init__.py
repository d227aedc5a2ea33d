"""Molecules with geometries for training: readers, the preprocessing cache, splits and ragged batches."""
