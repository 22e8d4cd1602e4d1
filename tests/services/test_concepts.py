import pytest

from lehr.errors import InvalidConcept, InvalidRequest, NotFound
from lehr.protocol import resources_pb2
from lehr.services.concepts import Concepts, checked_concept_id, ensure_concepts
from lehr.services.paging import Paging
from lehr.store import concepts as concept_rows

Concept = resources_pb2.Concept
FIRST = Paging(1, 128)


@pytest.fixture
def concepts(db) -> Concepts:
    return Concepts(db=db)


def test_a_concept_is_called_like_its_id_unless_it_has_a_name(concepts, ref):
    made = concepts.create(ref, [Concept(id="rose"), Concept(id="c2", name="Tulip")])
    assert [(each.id, each.name, each.language, each.app_id) for each in made] == [
        ("rose", "rose", "en", "flowers"),
        ("c2", "Tulip", "en", "flowers"),
    ]
    assert concepts.get(ref, "c2").name == "Tulip"


@pytest.mark.parametrize("orders", [["rose"], ["lily", "lily"]])
def test_a_duplicate_is_refused_in_the_words_clients_look_for_and_nothing_is_made(concepts, ref, orders):
    concepts.create(ref, [Concept(id="rose")])
    with pytest.raises(InvalidConcept, match="duplicate") as caught:
        concepts.create(ref, [Concept(id=each) for each in ["fresh", *orders]])
    assert caught.value.code == 40003
    assert [each.id for each in concepts.list_of(ref, FIRST)] == ["rose"]


def test_concepts_of_one_app_are_not_those_of_another(concepts, ref, other_ref):
    concepts.create(ref, [Concept(id="rose")])
    with pytest.raises(NotFound):
        concepts.get(other_ref, "rose")
    assert concepts.search(other_ref, "rose", FIRST) == []


def test_a_search_finds_parts_of_names_and_ids_whatever_their_case_and_stars_stand_for_anything(concepts, ref):
    concepts.create(
        ref, [Concept(id="c1", name="Red Rose"), Concept(id="c2", name="rosemary"), Concept(id="c3", name="fern")]
    )

    def found(name):
        return [each.id for each in concepts.search(ref, name, FIRST)]

    assert found("ROSE") == ["c1", "c2"]
    assert found("r*d*rose") == ["c1"]
    assert found("rose*red") == []
    assert found("c3") == ["c3"]
    assert found("") == ["c1", "c2", "c3"]
    assert found("*" * 10_000 + "z") == []  # at once
    assert concepts.search(ref, "r", Paging(2, 1))[0].id == "c2"
    assert [each.id for each in concepts.list_of(ref, FIRST, like="3")] == ["c3"]


def test_a_patch_changes_the_name_and_nothing_else(concepts, ref):
    [before] = concepts.create(ref, [Concept(id="c1", name="old")])
    [after] = concepts.patch(ref, [Concept(id="c1", name="new", user_id="eve", value=1)], "overwrite")
    assert (after.name, after.user_id, after.created_at) == ("new", before.user_id, before.created_at)
    with pytest.raises(InvalidRequest, match="overwrite"):
        concepts.patch(ref, [Concept(id="c1", name="x")], "remove")
    with pytest.raises(NotFound, match="'nobody'"):
        concepts.patch(ref, [Concept(id="c1", name="lost"), Concept(id="nobody")], "overwrite")
    assert concepts.get(ref, "c1").name == "new"


@pytest.mark.parametrize("good", ["id-Blüte", "people wearing hats", "日本", "a", "x" * 128])
def test_labels_of_any_language_can_be_ids(good):
    assert checked_concept_id(good) == good


@pytest.mark.parametrize("bad", ["", "a/b", "a\\b", " a", "a ", "a\nb", "a\0b", "x" * 129])
def test_what_cannot_be_part_of_an_address_is_no_id(bad):
    with pytest.raises(InvalidConcept, match="not usable"):
        checked_concept_id(bad)


def test_labels_make_the_concepts_they_name_and_take_the_names_of_those_that_are_there(db, concepts, ref):
    concepts.create(ref, [Concept(id="c1", name="Rose")])
    labels = [Concept(id="c1", name="other", value=1), Concept(name="Rose"), Concept(name="Fern"), Concept(name="a/b")]
    with db.write() as tx:
        ensure_concepts(tx, ref, labels)
        assert concept_rows.count(tx, ref) == 3
    assert [(each.id, each.name) for each in labels[:3]] == [("c1", "Rose"), ("c1", "Rose"), ("Fern", "Fern")]
    assert labels[3].name == "a/b"
    assert len(labels[3].id) == 32
    assert labels[0].value == 1
    with db.write() as tx, pytest.raises(InvalidConcept, match="neither"):
        ensure_concepts(tx, ref, [Concept(value=1)])
