"""From bytes to batches: decoding, packing, augmenting, sampling."""
