"""What a model was made from: the inputs of its training, and a few of them as examples."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from lehr.errors import InvalidModel, NotFound
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.services.concepts import rename_labels
from lehr.services.media import shown
from lehr.services.models import found_model, found_version
from lehr.services.paging import Paging
from lehr.services.plans import source_of
from lehr.store import concepts as concept_rows
from lehr.store import model_inputs as rows
from lehr.store import versions as version_rows
from lehr.store.db import Database
from lehr.store.items import Source

MAX_EXAMPLES = 20
"""Of a version: one per concept."""


@dataclass(frozen=True, kw_only=True)
class ModelInputs:
    """Needs only the store."""

    db: Database

    def list_of(self, ref: AppRef, model_id: str, version_id: str, paging: Paging) -> list[resources_pb2.Input]:
        """A page of the inputs that the version (the newest, if none is named) learned or would learn from.

        Raises ModelNotFound.
        """
        with self.db.read() as tx:
            version = _version(tx, ref, model_id, version_id)
            source = _source(tx, ref, model_id, version)
            if source is None:
                return []
            found = rows.page(tx, source, _concepts(version), **paging._asdict())
            rename_labels(tx, source.app, [label for each in found for label in each.data.concepts])
        return found

    def examples(
        self, ref: AppRef, model_id: str, version_id: str, base_url: str
    ) -> list[resources_pb2.ModelVersionInputExample]:
        """An input per concept, the first on which it is there; of a version without concepts its first inputs.

        An example's id is the input's. Raises ModelNotFound.
        """
        with self.db.read() as tx:
            version = _version(tx, ref, model_id, version_id)
            source = _source(tx, ref, model_id, version)
            if source is None:
                return []
            found = _named_examples(tx, source, _concepts(version)[:MAX_EXAMPLES])
        made: dict[str, resources_pb2.ModelVersionInputExample] = {}
        for name, item in found:
            example = made.setdefault(item.id, resources_pb2.ModelVersionInputExample(id=item.id, name=name))
            example.model_id, example.model_version_id = model_id, version.id
            example.description = f"an input of {_words(source)} the version is about" if source else ""
            example.data.CopyFrom(shown(item, source.app, base_url).data)
            example.data.ClearField("concepts")
        return list(made.values())

    def example(
        self, ref: AppRef, model_id: str, version_id: str, example_id: str, base_url: str
    ) -> resources_pb2.ModelVersionInputExample:
        """One of them. Raises ModelNotFound, NotFound."""
        found = self.examples(ref, model_id, version_id, base_url)
        for example in found:
            if example.id == example_id:
                return example
        there = ", ".join(example.id for example in found) or "none"
        raise NotFound(f"Version {version_id!r} has no input example {example_id!r}; there are: {there}.")


def _version(tx: Connection, ref: AppRef, model_id: str, version_id: str) -> resources_pb2.ModelVersion:
    found_model(tx, ref, model_id)
    if version_id:
        return found_version(tx, ref, model_id, version_id)
    return version_rows.latest(tx, ref, [model_id]).get(model_id) or resources_pb2.ModelVersion()


def _source(tx: Connection, ref: AppRef, model_id: str, version: resources_pb2.ModelVersion) -> Source | None:
    """Where the version's data is; None for one that learns from no data, and has no concepts to look for."""
    try:
        return source_of(ref, found_model(tx, ref, model_id).model_type_id, version)
    except InvalidModel:  # no template yet, or a model that is not trained here
        return Source(app=ref) if _concepts(version) else None


def _concepts(version: resources_pb2.ModelVersion) -> list[str]:
    return [concept.id for concept in version.output_info.data.concepts]


def _named_examples(tx: Connection, source: Source, concept_ids: list[str]) -> list[tuple[str, resources_pb2.Input]]:
    if not concept_ids:
        return [("", item) for item in rows.page(tx, source, (), page=1, per_page=MAX_EXAMPLES)]
    found = rows.examples(tx, source, concept_ids)
    known = concept_rows.get_many(tx, source.app, concept_ids)
    names = {concept_id: concept.name for concept_id, concept in known.items()}
    return [(names.get(one, one), found[one]) for one in concept_ids if one in found]


def _words(source: Source) -> str:
    return f"dataset {source.dataset_id!r} that" if source.dataset_id else "the app that"
