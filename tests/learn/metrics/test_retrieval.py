"""Retrieval against sorting all pairs."""

from __future__ import annotations

import pytest
import torch

from lehr.learn.metrics.retrieval import RANKS, Retrieval, retrieval


def by_sorting(embeddings: torch.Tensor, labels: torch.Tensor) -> Retrieval:
    unit = embeddings / embeddings.norm(dim=1, keepdim=True)
    hits, precisions, queries = dict.fromkeys(RANKS, 0), 0.0, 0
    for i in range(len(unit)):
        others = sorted((j for j in range(len(unit)) if j != i), key=lambda j: -float(unit[i] @ unit[j]))
        like = [bool(labels[j] == labels[i]) for j in others]
        if not any(like):
            continue
        queries += 1
        for rank in RANKS:
            hits[rank] += any(like[:rank])
        r = sum(like)
        precisions += sum(sum(like[: k + 1]) / (k + 1) for k in range(r) if like[k]) / r
    return Retrieval(
        num_queries=queries, recall_at={k: v / queries for k, v in hits.items()}, map_at_r=precisions / queries
    )


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_blocks_give_what_sorting_all_pairs_gives(block: int) -> None:
    torch.manual_seed(0)
    labels = torch.cat([torch.randint(6, (70,)), torch.tensor([77, 78])])  # two classes with a single item
    embeddings = torch.randn(72, 8) + torch.nn.functional.one_hot(labels % 8, 8)
    ours, wanted = retrieval(embeddings, labels, block=block), by_sorting(embeddings, labels)
    assert ours is not None
    assert ours.num_queries == wanted.num_queries == 70
    assert ours.recall_at == pytest.approx(wanted.recall_at)
    assert ours.map_at_r == pytest.approx(wanted.map_at_r)


def test_perfect_clusters_score_one_and_a_small_set_is_enough() -> None:
    embeddings = torch.eye(3).repeat_interleave(2, 0) * torch.tensor([1.0, 5.0] * 3)[:, None]
    perfect = retrieval(embeddings, torch.tensor([0, 0, 1, 1, 2, 2]))
    assert perfect == Retrieval(num_queries=6, recall_at={1: 1.0, 5: 1.0, 10: 1.0}, map_at_r=1.0)


def test_without_two_items_of_a_class_there_is_nothing_to_measure() -> None:
    assert retrieval(torch.randn(3, 2), torch.arange(3)) is None
