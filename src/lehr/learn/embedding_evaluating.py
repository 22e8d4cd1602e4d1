"""An embedder's figures on held-out items: of the concepts that it learned, and of those kept out of the training.

Shapes: N held-out items, D embedding, K concepts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from lehr.learn.data.dataset import Data
from lehr.learn.metrics.embedding import EmbeddingEvaluation, Found
from lehr.learn.metrics.retrieval import retrieval


def embedding_evaluation(data: Data, embeddings_ND: np.ndarray) -> EmbeddingEvaluation:
    """Of the embeddings of the held-out items, float32 [N, D], in their order."""
    labels_N = classes(data.targets_NK[data.held_indices])
    is_unseen_N = unseen_items(data)[data.held_indices]
    return EmbeddingEvaluation(
        num_items=len(embeddings_ND),
        num_dimensions=embeddings_ND.shape[1],
        known=found(embeddings_ND[~is_unseen_N], labels_N[~is_unseen_N]),
        unseen=found(embeddings_ND[is_unseen_N], labels_N[is_unseen_N]),
        unseen_concepts=data.unseen,
        item_ids=data.held_out_ids,
    )


def evaluation_of_items(
    positives_N: Sequence[frozenset[str]], embeddings_ND: np.ndarray, learned: frozenset[str], ids: Sequence[str] = ()
) -> EmbeddingEvaluation:
    """Of the embeddings of any labelled items; alike are those that carry the same concepts.

    Items with a concept that is not among the `learned` ones are measured apart, as of unseen concepts.
    """
    numbers = {concepts: number for number, concepts in enumerate(sorted(set(positives_N), key=sorted))}
    labels_N = np.array([numbers[concepts] for concepts in positives_N], dtype=np.int64)
    is_unseen_N = np.array([not concepts <= learned for concepts in positives_N], dtype=bool)
    return EmbeddingEvaluation(
        num_items=len(embeddings_ND),
        num_dimensions=embeddings_ND.shape[1],
        known=found(embeddings_ND[~is_unseen_N], labels_N[~is_unseen_N]),
        unseen=found(embeddings_ND[is_unseen_N], labels_N[is_unseen_N]),
        unseen_concepts=tuple(sorted(frozenset().union(*positives_N) - learned)),
        item_ids=tuple(ids),
    )


def found(embeddings_ND: np.ndarray, labels_N: np.ndarray) -> Found | None:
    """Retrieval among the items that have a class (label from 0); None where no class has two."""
    has_class_N = labels_N >= 0
    labels_N = labels_N[has_class_N]
    figures = (
        retrieval(torch.from_numpy(embeddings_ND[has_class_N]), torch.from_numpy(labels_N)) if len(labels_N) else None
    )
    if figures is None:
        return None
    return Found(
        num_queries=figures.num_queries,
        num_concepts=len(np.unique(labels_N)),
        recall_at_1=figures.recall_at[1],
        recall_at_5=figures.recall_at[5],
        recall_at_10=figures.recall_at[10],
        map_at_r=figures.map_at_r,
    )


def classes(targets_NK: np.ndarray) -> np.ndarray:
    """int64 [N]: equal numbers where the same concepts are true of two items; -1 where none is."""
    _, labels_N = np.unique(targets_NK, axis=0, return_inverse=True)
    return np.where(targets_NK.any(axis=1), labels_N.reshape(-1), -1).astype(np.int64)


def unseen_items(data: Data) -> np.ndarray:
    """bool [all items]: True for those that carry a concept kept out of the training."""
    columns = [number for number, concept in enumerate(data.order.concepts) if concept in set(data.unseen)]
    return np.any(data.targets_NK[:, columns], axis=1)
