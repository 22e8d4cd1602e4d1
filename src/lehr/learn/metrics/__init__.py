"""Metrics: one file each, functions of NumPy arrays."""
