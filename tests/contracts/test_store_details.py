"""What surrounds models, concepts and apps, on every database."""

from __future__ import annotations

import pytest

from lehr.errors import Duplicate, NotFound
from lehr.protocol import resources_pb2 as r
from lehr.protocol import status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.statuses import status
from lehr.store import (
    annotations,
    app_ids,
    apps,
    collaborators,
    concept_details,
    concept_relations,
    concepts,
    inputs,
    logs,
    model_exports,
    model_ids,
    model_inputs,
    models,
    users,
    versions,
)
from lehr.store.db import Database
from lehr.store.inputs import NewInput
from lehr.store.items import Source
from lehr.store.model_exports import StoredExport
from lehr.store.models import ModelFilter
from lehr.store.versions import ModelVersionRef

APP = AppRef("ann", "zoo")
VREF = ModelVersionRef(APP, "m", "v")


@pytest.fixture
def tx(db: Database):
    """An app with two concepts, a model with a version, and an input that is a cat."""
    with db.write() as tx:
        for user_id in ("ann", "bob"):
            users.insert(tx, r.User(id=user_id, primary_email=f"{user_id}@example.org"))
        apps.insert(tx, r.App(id="zoo", user_id="ann", name="Zoo"))
        concepts.insert(tx, APP, [r.Concept(id="cat", name="Cat", app_id="zoo"), r.Concept(id="pet", app_id="zoo")])
        models.insert(tx, APP, [r.Model(id="m", name="M_1", app_id="zoo", user_id="ann")])
        versions.insert(tx, APP, "m", r.ModelVersion(id="v", status=status(status_code_pb2.MODEL_UNTRAINED)))
        done = status(status_code_pb2.INPUT_DOWNLOAD_SUCCESS)
        inputs.insert(tx, APP, [NewInput(message=r.Input(id="i", status=done))])
        note = r.Annotation(id="n", input_id="i", user_id="ann", status=status(status_code_pb2.ANNOTATION_SUCCESS))
        note.data.concepts.add(id="cat", value=1, app_id="zoo")
        annotations.insert(tx, APP, [note])
        yield tx


def test_an_export_belongs_to_its_version(tx) -> None:
    assert model_exports.get(tx, VREF) is None
    model_exports.put(tx, VREF, StoredExport(export=r.ModelVersionExport(size=1)))
    model_exports.put(tx, VREF, StoredExport(export=r.ModelVersionExport(size=2), sha="a" * 64))
    found = model_exports.get(tx, VREF)
    assert (found.export.size, found.sha) == (2, "a" * 64)
    versions.delete(tx, VREF)
    assert model_exports.get(tx, VREF) is None


def test_models_are_found_by_pattern_and_called_anew(tx) -> None:
    for pattern, number in (("m?1", 0), ("M_*", 1), ("m_1", 1), ("*", 1), ("mx1", 0)):
        assert models.count(tx, APP, ModelFilter(pattern=pattern)) == number, pattern
    models.insert(tx, APP, [r.Model(id="other")])
    with pytest.raises(Duplicate):
        model_ids.rename(tx, APP, "m", "other")
    model_ids.rename(tx, APP, "m", "n")
    assert models.get(tx, APP, "n").id == "n"
    assert versions.get(tx, ModelVersionRef(APP, "n", "v")) is not None


def test_inputs_of_a_model_are_those_with_its_concepts(tx) -> None:
    source = Source(app=APP)
    assert [one.id for one in model_inputs.page(tx, source, ["cat"], page=1, per_page=9)] == ["i"]
    assert model_inputs.page(tx, source, ["pet"], page=1, per_page=9) == []
    assert list(model_inputs.examples(tx, source, ["cat", "pet"])) == ["cat"]
    gone = Source(app=APP, dataset_id="gone", dataset_version_id="v")
    assert model_inputs.page(tx, gone, [], page=1, per_page=9) == []


def test_collaborators_are_one_row_per_user_and_app(tx) -> None:
    bob = r.Collaborator(id="c", user=r.User(id="bob"), scopes=["Apps_Get"])
    collaborators.insert(tx, APP, bob)
    with pytest.raises(Duplicate):
        collaborators.insert(tx, APP, r.Collaborator(id="d", user=r.User(id="bob")))
    with pytest.raises(NotFound):
        collaborators.insert(tx, APP, r.Collaborator(id="d", user=r.User(id="nobody")))
    assert collaborators.get(tx, APP, "bob").scopes == ["Apps_Get"]
    [(app, mine)] = collaborators.page_of_user(tx, "bob", page=1, per_page=9)
    assert (app.id, mine.id) == ("zoo", "c")
    assert [user.id for user in users.by_email(tx, "BOB@example.org ")] == ["bob"]
    assert users.by_email(tx, "") == []
    assert collaborators.delete(tx, APP, ["bob"]) == 1


def test_relations_and_languages_go_with_their_concepts(tx) -> None:
    key = concept_details.key_of(tx, APP, "cat")
    keys = {"cat": key, "pet": concept_details.key_of(tx, APP, "pet")}
    relation = r.ConceptRelation(id="r", predicate="hypernym")
    relation.subject_concept.id, relation.object_concept.id = "cat", "pet"
    concept_relations.insert(tx, APP, relation, keys)
    concept_details.insert_language(tx, key, r.ConceptLanguage(id="de", name="Katze"))
    assert concept_relations.edges(tx, APP, "") == [("cat", "hypernym", "pet")]
    assert concept_details.language(tx, key, "de").name == "Katze"
    [count] = concept_details.counts(tx, APP, [r.Concept(id="cat")])
    assert (count.concept_type_count.positive, count.detail_concept_count.processed.positive) == (1, 1)
    concepts.delete(tx, APP, ["cat"])
    assert concept_relations.page(tx, APP, page=1, per_page=9) == []


def test_a_log_is_read_by_pages(tx) -> None:
    logs.append(tx, VREF, ["a", "b", "c"])
    assert [line.text for line in logs.page(tx, VREF, page=2, per_page=2)] == ["c"]


def test_an_app_is_called_anew_in_every_message(tx) -> None:
    app_ids.rename(tx, APP, "ark")
    new = AppRef("ann", "ark")
    assert apps.get(tx, new).id == "ark"
    assert models.get(tx, new, "m").app_id == "ark"
    assert {concept.app_id for concept in concepts.page(tx, new, page=1, per_page=9)} == {"ark"}
    [note] = annotations.page(tx, new, page=1, per_page=9)
    assert note.data.concepts[0].app_id == "ark"
    assert [one.id for one in model_inputs.page(tx, Source(app=new), ["cat"], page=1, per_page=9)] == ["i"]
