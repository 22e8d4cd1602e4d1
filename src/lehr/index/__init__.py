"""The vector index: derived from the store's rows, rebuildable from them at any time. Knows no SQL and no tensors."""
