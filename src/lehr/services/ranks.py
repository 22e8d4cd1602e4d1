"""What a search ranks by: pictures, crops, inputs, concepts and vectors, brought down to one vector to look for.

Several ranks count alike: a hit's score is the mean of what each would give it, where a negated one gives 1 minus its
score. As scores follow from cosines, (1 + cosine) / 2, that mean is the score by the mean of the ranks' vectors.

A concept stands for the mean of the vectors of what is labelled with it, or, where nothing is, for what a classifier on
these vectors looks for in it: labels are for filters, ranks tell what looks alike, labelled or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from sqlalchemy import Connection

from lehr.errors import InvalidSearch, UndecodableImage
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.services.concept_directions import ConceptDirections
from lehr.services.embedding import boxes_of, cut
from lehr.services.filters import Filters
from lehr.services.neighbours import Neighbours, unit
from lehr.serving.fetch import Fetcher
from lehr.store import finding
from lehr.store import inputs as input_rows
from lehr.store.blobs import Blobs
from lehr.store.rows import app_key_of

MAX_RANKS = 32
MAX_EXAMPLES = 1000
"""Labelled items that a concept's vector is the mean of: the newest."""

_OF_RANK = frozenset({"input_id", "data", "id"})
_OF_DATA = frozenset({"image", "concepts", "embeddings", "regions"})


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """What to look for. A cosine to it, times `scale`, is the mean of the cosines to all that was asked for."""

    vector: np.ndarray
    """float32 [D], of length 1."""
    scale: float

    def score(self, score: float) -> float:
        """The score by all ranks of what has this score by the vector."""
        return 0.5 + (score - 0.5) * self.scale


@dataclass(frozen=True, kw_only=True)
class Example:
    """One thing to be like, or unlike."""

    sign: int
    picture: bytes | None = None
    vector: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Needs what embeds and finds, the blobs, and a way to fetch URLs."""

    neighbours: Neighbours
    blobs: Blobs
    fetcher: Fetcher

    def read(self, ref: AppRef, wanted: Sequence[resources_pb2.Rank]) -> Ranking | None:
        """None where nothing is asked for: clients send empty ranks.

        Raises InvalidSearch for what nothing can be ranked by, DownloadFailed, UndecodableImage, and Loading while the
        embedder is not ready.
        """
        examples = [one for where, rank in _asked(wanted) for one in self._examples(ref, rank, where)]
        return _ranking(self._vectors(ref, examples)) if examples else None

    def _examples(self, ref: AppRef, rank: resources_pb2.Rank, where: str) -> Iterator[Example]:
        wanted, sign = rank.annotation, -1 if rank.negate else 1
        data = wanted.data
        boxes = boxes_of(data.regions)
        if data.HasField("image"):
            picture = self._picture(data.image, where)
            yield from self._looks(ref, picture, boxes, sign)
        elif wanted.input_id and boxes:
            picture = self._stored(ref, wanted.input_id, where)
            yield from self._looks(ref, picture, boxes, sign)
        elif wanted.input_id:
            yield Example(sign=sign, vector=self._of_input(ref, wanted.input_id, wanted.id, where))
        for concept in data.concepts:
            vector = self._of_concept(ref, concept, where)
            yield Example(sign=sign if concept.value >= 0.5 else -sign, vector=vector)
        for embedding in data.embeddings:
            yield Example(sign=sign, vector=_of_embedding(embedding, where))

    # -- pictures ------------------------------------------------------------------------------------------------------

    def _picture(self, image: resources_pb2.Image, where: str) -> bytes:
        if image.base64:
            return image.base64
        if not image.url:
            raise InvalidSearch(f"{where}.data.image needs base64 or url.")
        return self.fetcher.fetch(image.url).data

    def _stored(self, ref: AppRef, input_id: str, where: str) -> bytes:
        with self.neighbours.db.read() as tx:
            stored = input_rows.stored(tx, ref, [input_id]).get(input_id)
        if stored is None or not stored.content_sha:
            raise InvalidSearch(f"{where}: there is no input {input_id!r} with a picture in app {ref.app_id!r}.")
        return self.blobs.read(stored.content_sha)

    def _looks(
        self, ref: AppRef, picture: bytes, boxes: Sequence[tuple[float, float, float, float]], sign: int
    ) -> Iterator[Example]:
        """The picture, or its crops: these are embedded at once, so that one picture in full size is held at a time."""
        if not boxes:
            yield Example(sign=sign, picture=picture)
            return
        try:
            pixels = self.neighbours.decoders.decode(picture).pixels
        except UndecodableImage as error:
            raise _unreadable(error) from error
        vectors = self.neighbours.embed(ref, [cut(pixels, box) for box in boxes])
        yield from (Example(sign=sign, vector=vector) for vector in vectors)

    def _vectors(self, ref: AppRef, examples: Sequence[Example]) -> np.ndarray:
        """One row for each example, turned round where unlikeness is asked for."""
        pictures = [one.picture for one in examples if one.picture is not None]
        try:
            embedded = iter(self.neighbours.embed(ref, pictures) if pictures else ())
        except UndecodableImage as error:
            raise _unreadable(error) from error
        vectors = [next(embedded) if one.vector is None else one.vector for one in examples]
        lengths = sorted({len(vector) for vector in vectors})
        if len(lengths) > 1:
            raise InvalidSearch(f"The ranks are of {' and '.join(map(str, lengths))} dimensions; they must be of one.")
        signs = np.array([[one.sign] for one in examples], np.float32)
        return np.stack(vectors).astype(np.float32) * signs

    # -- what is there already -----------------------------------------------------------------------------------------

    def _of_input(self, ref: AppRef, input_id: str, annotation_id: str, where: str) -> np.ndarray:
        with self.neighbours.db.read() as tx:
            keys = finding.keys_of(tx, ref, input_id, annotation_id)
        if keys is None:
            named = f"annotation {annotation_id!r} of input {input_id!r}" if annotation_id else f"input {input_id!r}"
            raise InvalidSearch(f"{where}: there is no {named} in app {ref.app_id!r}.")
        input_key, annotation_key = keys
        found = None
        if annotation_key is not None:
            found = self.neighbours.vectors_of_annotations(ref, [input_key]).get(annotation_key)
        if found is None:
            found = self.neighbours.vectors_of(ref, [input_key]).get(input_key)
        if found is None:
            self.neighbours.embedder(ref)  # tells if there is none
            raise InvalidSearch(f"{where}: input {input_id!r} is not indexed: it waits for it, or is no picture.")
        return found

    def _of_concept(self, ref: AppRef, concept: resources_pb2.Concept, where: str) -> np.ndarray:
        """The mean of what is labelled with it, or what a classifier looks for. Raises InvalidSearch, Loading."""
        embedder = self.neighbours.embedder(ref)  # tells if there is none
        with self.neighbours.db.read() as tx:
            ids = Filters(tx=tx, ref=ref).concept_ids(concept, f"{where}.data.concepts")
            examples = _labelled(tx, ref, ids)
        found = self._mean_of(ref, examples)
        if found is None:
            directions = ConceptDirections(db=self.neighbours.db, bundles=self.neighbours.bundles)
            found = directions.find(ref, embedder, concept, ids)
        if found is None:
            named = concept.id or concept.name
            raise InvalidSearch(
                f"{where}: nothing is known of how concept {named!r} looks: in app {ref.app_id!r} nothing that is "
                "indexed is labelled with it, and no classifier on the app's embeddings knows it. Label an input with "
                "it, rank by a picture or by an input, or train an embedding-classifier that has the concept."
            )
        return cast(np.ndarray, unit(found[None])[0])

    def _mean_of(self, ref: AppRef, examples: Sequence[tuple[int, int]]) -> np.ndarray | None:
        """That of what is indexed of (annotation key, input key); None where nothing is."""
        inputs_of = dict(examples)
        of_regions = self.neighbours.vectors_of_annotations(ref, list(dict.fromkeys(inputs_of.values())))
        of_inputs = self.neighbours.vectors_of(ref, list(dict.fromkeys(inputs_of.values())))
        seen = [of_regions.get(key, of_inputs.get(input_key)) for key, input_key in examples]
        vectors = [vector for vector in seen if vector is not None]
        return cast(np.ndarray, np.mean(np.stack(vectors), axis=0)) if vectors else None


def _unreadable(error: UndecodableImage) -> UndecodableImage:
    return UndecodableImage(f"The picture to rank by cannot be read: {error.details}")


def _labelled(tx: Connection, ref: AppRef, ids: Sequence[str]) -> list[tuple[int, int]]:
    """(annotation key, input key) of the newest that are labelled with one of the concepts."""
    return finding.labelled(tx, app_key_of(tx, ref), tuple((id_, True) for id_ in ids), limit=MAX_EXAMPLES)


def check_ranks(query: resources_pb2.Query) -> None:
    """Raises InvalidSearch for what nothing can be ranked by, as far as it can be told without looking."""
    _asked([*query.ranks, *legacy_ranks(query.ands)])


def _asked(wanted: Sequence[resources_pb2.Rank]) -> list[tuple[str, resources_pb2.Rank]]:
    """Where each stands, and each that asks for something."""
    asked = [(f"ranks[{n}]", rank) for n, rank in enumerate(wanted) if not _is_empty(rank)]
    if len(asked) > MAX_RANKS:
        raise InvalidSearch(f"The search has {len(asked)} ranks; at most {MAX_RANKS} are possible.")
    for where, rank in asked:
        _check(rank.annotation, where)
    return asked


def _is_empty(rank: resources_pb2.Rank) -> bool:
    fields = [field.name for field, _ in rank.annotation.ListFields()]
    return not rank.negate and not rank.annotation.data.ListFields() and fields in ([], ["data"])


def _check(wanted: resources_pb2.Annotation, where: str) -> None:
    for field, _ in wanted.ListFields():
        if field.name not in _OF_RANK:
            raise InvalidSearch(f"{where}.{field.name} cannot be ranked by; there are: data, input_id.")
    for field, _ in wanted.data.ListFields():
        if field.name not in _OF_DATA:
            raise InvalidSearch(
                f"{where}.data.{field.name} cannot be ranked by; there are: {', '.join(sorted(_OF_DATA))}."
            )
    if len(boxes_of(wanted.data.regions)) != len(wanted.data.regions):
        raise InvalidSearch(f"{where}.data.regions: each needs a bounding_box or a polygon with an extent.")
    if wanted.data.regions and not (wanted.data.HasField("image") or wanted.input_id):
        raise InvalidSearch(f"{where}.data.regions: name the picture they are of: data.image or input_id.")
    if not (wanted.input_id or wanted.data.ListFields()):
        raise InvalidSearch(f"{where} asks for nothing; give data.image, input_id, data.concepts or data.embeddings.")


def _of_embedding(embedding: resources_pb2.Embedding, where: str) -> np.ndarray:
    values = np.array(embedding.vector, np.float32)
    if embedding.num_dimensions not in (0, len(values)):
        raise InvalidSearch(
            f"{where}.data.embeddings: num_dimensions is {embedding.num_dimensions}, but the vector has {len(values)}."
        )
    if not len(values) or not np.isfinite(values).all() or not values.any():
        raise InvalidSearch(f"{where}.data.embeddings: the vector must be of finite numbers, not all of them zero.")
    return cast(np.ndarray, unit(values[None])[0])


def _ranking(vectors_ND: np.ndarray) -> Ranking:
    mean = vectors_ND.mean(axis=0)
    length = float(np.linalg.norm(mean))
    if length < 1e-6:
        raise InvalidSearch("The ranks cancel each other out: they ask for the very same, and for its opposite.")
    return Ranking(vector=mean / length, scale=length)


def legacy_ranks(ands: Iterable[resources_pb2.And]) -> Iterator[resources_pb2.Rank]:
    """The ranks among the `ands` of an older query: their outputs."""
    for number, and_ in enumerate(ands):
        if not and_.HasField("output"):
            continue
        output = and_.output
        for field, _ in output.ListFields():
            if field.name not in ("data", "input"):
                raise InvalidSearch(f"ands[{number}].output.{field.name} cannot be ranked by; there are: data, input.")
        annotation = resources_pb2.Annotation(input_id=output.input.id, data=output.data)
        annotation.data.MergeFrom(output.input.data)
        yield resources_pb2.Rank(negate=and_.negate, annotation=annotation)
