"""What concepts mean: relations, graphs, languages; and on how many inputs they are."""

from __future__ import annotations

import pytest

from lehr.errors import Duplicate, InvalidConcept, InvalidRequest, NotFound
from lehr.protocol import resources_pb2 as r
from lehr.protocol import status_code_pb2
from lehr.protocol.statuses import status
from lehr.services.annotations import Annotations
from lehr.services.concept_details import ConceptDetails
from lehr.services.concept_relations import ConceptRelations
from lehr.services.concepts import Concepts
from lehr.services.paging import Paging
from lehr.store import concepts, inputs
from lehr.store.concept_relations import RelationFilter
from lehr.store.inputs import NewInput

PAGE = Paging(1, 100)


@pytest.fixture
def relations(db, ref, other_ref) -> ConceptRelations:
    names = ("animal", "dog", "hound", "poodle", "cat")
    Concepts(db=db).create(ref, [r.Concept(id=name, name=name.title()) for name in names])
    Concepts(db=db).create(other_ref, [r.Concept(id="car")])
    return ConceptRelations(db=db)


def to(other: str, predicate: str = "hypernym", **more) -> r.ConceptRelation:
    return r.ConceptRelation(object_concept=r.Concept(id=other), predicate=predicate, **more)


def said(service: ConceptRelations, ref, **filters) -> list[tuple[str, str, str]]:
    found = service.list_of(ref, RelationFilter(**filters), PAGE)
    return [(each.subject_concept.id, each.predicate, each.object_concept.id) for each in found]


def test_relations_are_made_listed_and_deleted(db, relations, ref, other_ref):
    first, second = relations.create(ref, "dog", [to("animal"), to("hound", "synonym")])
    relations.create(ref, "dog", [to("poodle", "hyponym")])
    relations.create(ref, "cat", [to("animal")])
    assert (first.subject_concept.name, first.object_concept.name) == ("Dog", "Animal")
    assert said(relations, ref, subject_id="dog") == [
        ("dog", "hypernym", "animal"),
        ("dog", "synonym", "hound"),
        ("dog", "hyponym", "poodle"),
    ]
    assert said(relations, ref, predicate="hypernym") == [("dog", "hypernym", "animal"), ("cat", "hypernym", "animal")]
    assert len(said(relations, ref)) == 4
    assert said(relations, other_ref) == []
    assert [each.id for each in relations.list_of(ref, RelationFilter(), Paging(2, 1))] == [second.id]
    assert relations.list_of(ref, RelationFilter(), Paging(9, 10)) == []
    [again] = relations.create(ref, "dog", [to("animal")])
    assert again.id == first.id, "said twice, kept once"
    assert relations.delete(ref, "dog", []) == 0
    assert relations.delete(ref, "cat", [first.id]) == 0, "it is not the cat's"
    assert relations.delete(ref, "dog", [first.id, second.id, "unknown"]) == 2
    with db.write() as tx:
        concepts.update(tx, ref, [r.Concept(id="poodle", name="Barbone")])
    [left] = relations.list_of(ref, RelationFilter(subject_id="dog"), PAGE)
    assert left.object_concept.name == "Barbone"
    with db.write() as tx:
        concepts.delete(tx, ref, ["poodle"])
    assert said(relations, ref, subject_id="dog") == []


@pytest.mark.parametrize(
    ("relation", "error", "words"),
    [
        (to("animal", "parent"), InvalidConcept, "'parent' is not known; there are: hypernym, hyponym, synonym"),
        (to("dog"), InvalidConcept, "cannot be the hypernym of itself"),
        (to("unicorn"), NotFound, "no concept 'unicorn'"),
        (to("car"), NotFound, "no concept 'car' in app 'flowers'"),
        (to("animal", knowledge_graph_id="g"), NotFound, "no knowledge graph 'g'"),
        (to("animal", subject_concept=r.Concept(id="cat")), InvalidConcept, "'dog'; this relation has 'cat'"),
        (to("animal", id="a/b"), InvalidConcept, "'a/b' is not usable"),
    ],
)
def test_relations_that_make_no_sense_are_refused_and_none_is_made(relations, ref, relation, error, words):
    with pytest.raises(error, match=words):
        relations.create(ref, "dog", [to("hound", "synonym"), relation])
    assert said(relations, ref) == []
    for wanted in ([], [to("animal")] * 129):
        with pytest.raises(InvalidConcept, match="1 to 128"):
            relations.create(ref, "dog", wanted)
    with pytest.raises(NotFound, match="no concept 'ghost'"):
        relations.create(ref, "ghost", [to("dog")])


def test_nothing_is_more_general_than_itself(relations, ref):
    relations.create(ref, "poodle", [to("dog")])
    relations.create(ref, "animal", [to("dog", "hyponym")])
    for subject, relation in (
        ("animal", to("poodle")),
        ("animal", to("dog")),
        ("poodle", to("animal", "hyponym")),
        ("dog", to("animal", "hyponym")),
    ):
        with pytest.raises(InvalidConcept, match="more general than"):
            relations.create(ref, subject, [relation])
    relations.create(ref, "poodle", [to("animal")])
    relations.create(ref, "animal", [to("poodle", "synonym")])
    relations.create_graphs(ref, [r.KnowledgeGraph(id="odd")])
    relations.create(ref, "animal", [to("poodle", knowledge_graph_id="odd")])


def test_relations_may_belong_to_a_graph(relations, ref, other_ref):
    made = relations.create_graphs(ref, [r.KnowledgeGraph(id="zoo", description="x"), r.KnowledgeGraph(name="Pets")])
    assert [graph.name for graph in made] == ["zoo", "Pets"]
    assert [graph.id for graph in relations.list_graphs(ref)] == [graph.id for graph in made]
    assert relations.list_graphs(other_ref) == []
    with pytest.raises(Duplicate, match="'zoo' already exists"):
        relations.create_graphs(ref, [r.KnowledgeGraph(id="new"), r.KnowledgeGraph(id="zoo")])
    assert len(relations.list_graphs(ref)) == 2
    relations.create(ref, "dog", [to("animal"), to("animal", knowledge_graph_id="zoo")])
    assert len(said(relations, ref)) == 2
    assert said(relations, ref, knowledge_graph_id="zoo") == [("dog", "hypernym", "animal")]


# -- languages ---------------------------------------------------------------------------------------------------------


def name_in(language: str, name: str, **more) -> r.ConceptLanguage:
    return r.ConceptLanguage(id=language, name=name, **more)


def test_a_concept_has_names_in_languages_its_own_first(db, relations, ref):
    service = ConceptDetails(db=db)
    service.add(ref, "dog", [name_in("zh-TW", "狗"), name_in("de", "Hund", definition="bellt")])
    assert [(each.id, each.name) for each in service.languages(ref, "dog", PAGE)] == [
        ("en", "Dog"),
        ("de", "Hund"),
        ("zh-TW", "狗"),
    ]
    assert [each.id for each in service.languages(ref, "dog", Paging(2, 2))] == ["zh-TW"]
    assert service.language(ref, "dog", "de").definition == "bellt"
    assert service.language(ref, "dog", "en").name == "Dog"
    service.add(ref, "dog", [name_in("de", "Hund", definition="bellt"), name_in("en", "Dog")])
    [done] = service.patch(ref, "dog", [name_in("de", "Köter")], "overwrite")
    assert (done.name, done.definition) == ("Köter", "bellt")
    service.patch(ref, "dog", [name_in("en", "Good dog")], "")
    assert Concepts(db=db).get(ref, "dog").name == "Good dog"
    [found] = Concepts(db=db).search(ref, "köt", PAGE, language="de")
    assert (found.id, found.name, found.language) == ("dog", "Köter", "de")
    assert Concepts(db=db).search(ref, "cat", PAGE, language="de") == []
    assert [each.id for each in Concepts(db=db).search(ref, "cat", PAGE, language="en")] == ["cat"]
    with pytest.raises(NotFound, match="no name in language 'fr'; there are: de, zh-TW"):
        service.language(ref, "dog", "fr")


@pytest.mark.parametrize(
    ("wanted", "error", "words"),
    [
        (name_in("de", "Köter"), Duplicate, "already: 'Hund'; patch it"),
        (name_in("en", "Doggo"), Duplicate, "already: 'Dog'"),
        (name_in("German", "Hund"), InvalidConcept, "write a code like en, de or zh-TW"),
        (name_in("fr", ""), InvalidConcept, "1 to 1000 characters"),
        (name_in("fr", "x" * 1001), InvalidConcept, "1 to 1000 characters"),
    ],
)
def test_names_that_cannot_be_are_refused(db, relations, ref, wanted, error, words):
    service = ConceptDetails(db=db)
    service.add(ref, "dog", [name_in("de", "Hund")])
    with pytest.raises(error, match=words):
        service.add(ref, "dog", [name_in("it", "cane"), wanted])
    assert len(service.languages(ref, "dog", PAGE)) == 2
    with pytest.raises(NotFound):
        service.patch(ref, "dog", [name_in("fr", "chien")], "overwrite")
    with pytest.raises(InvalidRequest, match="use one of overwrite"):
        service.patch(ref, "dog", [name_in("de", "x")], "merge")
    with pytest.raises(NotFound, match="no concept 'ghost'"):
        service.languages(ref, "ghost", PAGE)


# -- counts ------------------------------------------------------------------------------------------------------------


def test_concepts_are_counted_by_inputs_and_their_state(db, relations, ref):
    codes = {
        "done": status_code_pb2.INPUT_DOWNLOAD_SUCCESS,
        "wait": status_code_pb2.INPUT_DOWNLOAD_PENDING,
        "work": status_code_pb2.INPUT_DOWNLOAD_IN_PROGRESS,
        "fail": status_code_pb2.INPUT_DOWNLOAD_FAILED,
    }
    with db.write() as tx:
        for name, code in codes.items():
            inputs.insert(tx, ref, [NewInput(message=r.Input(id=name, status=status(code)))])
    notes = [
        r.Annotation(input_id=name, data=r.Data(concepts=[r.Concept(id="dog", value=value)]))
        for name, value in (("done", 1), ("done", 1), ("wait", 1), ("work", 0), ("fail", 1))
    ]
    Annotations(db=db).post(ref, "ana", notes)
    counts = {count.id: count for count in ConceptDetails(db=db).counts(ref, PAGE)}
    assert set(counts) == {"animal", "dog", "hound", "poodle", "cat"}
    dog = counts["dog"]
    assert (dog.name, dog.concept_type_count.positive, dog.concept_type_count.negative) == ("Dog", 3, 1)
    detail = dog.detail_concept_count
    assert (detail.processed.positive, detail.to_process.positive, detail.errors.positive) == (1, 1, 1)
    assert (detail.processing.positive, detail.processing.negative) == (0, 1)
    assert counts["cat"].concept_type_count.positive == 0
    assert [count.id for count in ConceptDetails(db=db).counts(ref, Paging(3, 2))] == ["cat"]
