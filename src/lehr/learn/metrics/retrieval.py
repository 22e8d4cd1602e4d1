"""How well an embedding finds items of the same class: exact, in blocks, never holding all pairs at once.

Shapes: N items, D embedding, B items of a block, R the most same-class items that one of them has.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - as everybody writes it

RANKS = (1, 5, 10)


@dataclass(frozen=True, kw_only=True)
class Retrieval:
    """Every item asks for its like among all others, by cosine; figures are means over the items that have any."""

    num_queries: int
    """Items with at least one other item of their class."""
    recall_at: dict[int, float]
    """Share of queries with an item of their class among the nearest 1, 5, 10."""
    map_at_r: float
    """Mean average precision at R (Musgrave et al., arXiv 2003.08505): 1 when each query's R like items come first."""


@torch.no_grad()
def retrieval(embeddings_ND: Tensor, labels_N: Tensor, *, block: int = 1024) -> Retrieval | None:
    """Measure float embeddings [N, D] with int labels [N]; None where no class has two items.

    Needs block * N floats of memory. Runs where the embeddings are.
    """
    unit_ND = F.normalize(embeddings_ND.float(), dim=1)
    _, class_N, sizes = labels_N.unique(return_inverse=True, return_counts=True)
    likes_N = sizes[class_N] - 1
    by_likes = likes_N.argsort(stable=True)  # queries of equal R share a block: no longer lists than they need
    queries = by_likes[likes_N[by_likes] > 0]
    if len(queries) == 0:
        return None
    sums = sum(_block_sums(unit_ND, class_N, likes_N, rows) for rows in queries.split(block))
    *recalls, map_at_r = (sums / len(queries)).tolist()  # type: ignore[union-attr]
    return Retrieval(num_queries=len(queries), recall_at=dict(zip(RANKS, recalls, strict=True)), map_at_r=map_at_r)


def _block_sums(unit_ND: Tensor, class_N: Tensor, likes_N: Tensor, rows_B: Tensor) -> Tensor:
    """Sums over a block's queries: hits within each of RANKS, then average precisions at R; float64."""
    likes_B = likes_N[rows_B]
    length = min(max(int(likes_B.max()), *RANKS), len(unit_ND) - 1)
    similar_BN = unit_ND[rows_B] @ unit_ND.T
    similar_BN[torch.arange(len(rows_B), device=rows_B.device), rows_B] = -torch.inf
    is_like_BR = class_N[similar_BN.topk(length).indices] == class_N[rows_B, None]
    hits = [is_like_BR[:, :rank].any(1).sum() for rank in RANKS]
    place_R = torch.arange(1, length + 1, device=rows_B.device, dtype=torch.float64)
    precision_BR = is_like_BR.cumsum(1) / place_R * (is_like_BR & (place_R <= likes_B[:, None]))
    return torch.stack([*(hit.double() for hit in hits), (precision_BR.sum(1) / likes_B).sum()])
