"""Processes beside the control plane: decoders for untrusted bytes, predictors for models; and guarded downloads."""
