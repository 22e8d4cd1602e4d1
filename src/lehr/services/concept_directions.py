"""How a concept looks that nobody labelled anything with: as a classifier on the app's embeddings learned to see it.

Such a classifier is linear, so that what it looks for in a concept is one direction among the embeddings. It is an
embedding-classifier of the app, or, where the built-in embedder makes the embeddings, the built-in classifier of
ImageNet's concepts. Labelled items go first; they are services/ranks.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from sqlalchemy import Connection

from lehr.learn.heads import NET, WHOLE_NET, read_head
from lehr.protocol import resources_pb2
from lehr.protocol.ids import PUBLIC_APP, AppRef
from lehr.services.base_dependents import trained_on
from lehr.services.built_in_catalogue import BY_MODEL_ID, CONCEPTS, EMBEDDING
from lehr.services.bundles import Bundles
from lehr.services.telling import known_bundle
from lehr.store import versions as version_rows
from lehr.store.db import Database
from lehr.store.versions import ModelVersionRef

_RECOGNITION = ModelVersionRef(PUBLIC_APP, CONCEPTS, BY_MODEL_ID[CONCEPTS].version_id)


@dataclass(frozen=True, kw_only=True)
class _Known:
    """A classifier that knows the concept, under these ids: several where a name is that of several."""

    vref: ModelVersionRef
    net: str
    concept_ids: Collection[str]


@dataclass(frozen=True, kw_only=True)
class ConceptDirections:
    """Needs the store and trained bundles."""

    db: Database
    bundles: Bundles

    def find(
        self, ref: AppRef, embedder: ModelVersionRef, concept: resources_pb2.Concept, ids: Collection[str]
    ) -> np.ndarray | None:
        """float32 [D], not of length 1; None where no classifier on this embedder knows the concept.

        `ids`: what the app's concepts that are meant are called. Raises Loading while the built-in classifier is made.
        """
        with self.db.read() as tx:
            candidates = list(chain(_of_app(tx, ref, embedder, ids), _of_everybody(tx, embedder, concept)))
        for known in candidates:
            direction_D = self._direction(known)
            if direction_D is not None and direction_D.any():
                return direction_D
        return None

    def _direction(self, known: _Known) -> np.ndarray | None:
        folder = self.bundles.folder_of(known.vref)
        places = [n for n, id_ in enumerate(known_bundle(folder).concepts) if id_ in known.concept_ids]
        if not places:
            return None
        rows_KD = read_head(folder, known.net).directions()[places]
        mean_D: np.ndarray = rows_KD.mean(axis=0)
        return mean_D


def _of_app(tx: Connection, ref: AppRef, embedder: ModelVersionRef, ids: Collection[str]) -> Iterator[_Known]:
    for vref, version in trained_on(tx, ref, embedder):
        if any(each.id in ids for each in version.output_info.data.concepts):
            yield _Known(vref=vref, net=NET, concept_ids=ids)


def _of_everybody(tx: Connection, embedder: ModelVersionRef, concept: resources_pb2.Concept) -> Iterator[_Known]:
    """By id or by name, whichever the client put the word into."""
    if (embedder.app, embedder.model_id) != (PUBLIC_APP, EMBEDDING):
        return
    version = version_rows.get(tx, _RECOGNITION)
    words = {word.casefold() for word in (concept.id, concept.name) if word}
    every = version.output_info.data.concepts if version else ()
    found = [each.id for each in every if words & {each.id.casefold(), each.name.casefold()}]
    if found:
        yield _Known(vref=_RECOGNITION, net=WHOLE_NET, concept_ids=found)
