"""What can be chosen of a clusterer. The names are those that published clients know; what has no effect says so."""

from __future__ import annotations

from lehr.hyperparameters import Form, knob

CLUSTERER = "clusterer"


class ClustererForm(Form):
    """k-means on unit embeddings."""

    coarse_clusters: int = knob(32, minimum=2, maximum=1024, step=1)
    """How many clusters to find; fewer where there are fewer different images."""
    seed: int = knob(0, minimum=0, maximum=2**31 - 1, step=1)
    """The same inputs and the same seed give the same clusters."""
    duplicate_score: float = knob(0.98, minimum=0.5, maximum=1, step=0.001)
    """Inputs at least so much alike, by (1 + cosine) / 2, are near-duplicates."""
    eval_holdout_fraction: float = knob(0.2, minimum=0, maximum=0.9, step=0.01)
    """Accepted for old clients; it has no effect."""
    query_holdout_fraction: float = knob(0.1, minimum=0, maximum=0.9, step=0.01)
    """Accepted for old clients; it has no effect."""
    to_be_indexed_queries_fraction: float = knob(0.25, minimum=0, maximum=1, step=0.01)
    """Accepted for old clients; it has no effect."""
    max_num_query_embeddings: int = knob(100, minimum=1, maximum=100_000, step=1)
    """Accepted for old clients; it has no effect."""
    num_results_per_query: tuple[float, ...] = knob((1.0, 5.0, 10.0, 20.0), minimum=1, maximum=1000)
    """Accepted for old clients; it has no effect."""
    max_visited: int = knob(32, minimum=1, maximum=100_000, step=1)
    """Accepted for old clients; it has no effect."""
    quota: int = knob(1000, minimum=1, maximum=1_000_000, step=1)
    """Accepted for old clients; it has no effect."""
    beta: float = knob(1.0, minimum=0, maximum=1000)
    """Accepted for old clients; it has no effect."""
