"""Training, evaluation and prediction with PyTorch. Knows no server: imports none of ours but `errors`."""
