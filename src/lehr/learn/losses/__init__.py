"""Losses: one file each, functions of tensors."""
