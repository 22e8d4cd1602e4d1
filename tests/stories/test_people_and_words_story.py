"""Apps called anew, keys and their scopes, collaborators, and what concepts mean: over both faces of a real server."""

from __future__ import annotations

import pytest
from clarifai_grpc.grpc.api import resources_pb2 as r
from clarifai_grpc.grpc.api import service_pb2 as s
from clarifai_grpc.grpc.api.status import status_code_pb2 as codes
from faces import FACES, Client
from lehr_server import TOKEN


@pytest.fixture(params=FACES)
def face(request) -> str:
    return request.param


def client_of(server, face: str, app_id: str) -> Client:
    Client(face, server.base, TOKEN).must("PostApps", apps=[r.App(id=app_id)])
    return Client(face, server.base, TOKEN, app_id)


def test_apps_are_described_found_counted_and_called_anew(server, face):
    old, new = f"words-{face.lower()}", f"better-words-{face.lower()}"
    client = client_of(server, face, old)
    [app] = client.must("PatchAppsDetails", apps=[r.App(description="mine")], action="overwrite").apps
    assert (app.id, app.description) == (old, "mine")
    client.must("PostConcepts", concepts=[r.Concept(id="rose")])
    client.must("PostModels", models=[r.Model(id="m", model_type_id="visual-classifier")])
    renaming = [s.IdUpdateSource(id="m", new_id="n")]
    assert [model.id for model in client.must("PatchModelIds", ids=renaming, action="overwrite").models] == ["n"]
    me = Client(face, server.base, TOKEN)
    assert [app.id for app in me.must("PostAppsSearches", app_query=r.AppQuery(name=old)).apps] == [old]
    me.must("PatchAppsIds", ids=[s.IdUpdateSource(id=old, new_id=new)], action="overwrite")
    assert client.ask("GetApp").status.code == codes.CONN_DOES_NOT_EXIST
    renamed = Client(face, server.base, TOKEN, new)
    assert renamed.must("GetModel", model_id="n").model.app_id == new
    assert renamed.must("GetResourceCounts").models == 1
    me.must("PostApps", apps=[r.App(id=old)])


def test_concepts_have_relations_graphs_languages_and_counts(server, face):
    client = client_of(server, face, f"meaning-{face.lower()}")
    client.must("PostConcepts", concepts=[r.Concept(id="animal"), r.Concept(id="dog", name="Dog")])
    [graph] = client.must("PostKnowledgeGraphs", knowledge_graphs=[r.KnowledgeGraph(id="zoo")]).knowledge_graphs
    assert client.must("ListKnowledgeGraphs").knowledge_graphs == [graph]
    order = r.ConceptRelation(object_concept=r.Concept(id="animal"), predicate="hypernym", knowledge_graph_id="zoo")
    [made] = client.must("PostConceptRelations", concept_id="dog", concept_relations=[order]).concept_relations
    [listed] = client.must("ListConceptRelations", concept_id="dog", knowledge_graph_id="zoo").concept_relations
    assert (listed.id, listed.object_concept.id) == (made.id, "animal")
    bad = r.ConceptRelation(object_concept=r.Concept(id="animal"), predicate="eats")
    refused = client.ask("PostConceptRelations", concept_id="dog", concept_relations=[bad])
    assert refused.status.code == codes.CONCEPTS_INVALID_REQUEST
    assert "hypernym, hyponym, synonym" in refused.status.details
    client.must("DeleteConceptRelations", concept_id="dog", ids=[made.id])
    assert not client.must("ListConceptRelations").concept_relations

    names = [r.ConceptLanguage(id="de", name="Hund")]
    client.must("PostConceptLanguages", concept_id="dog", concept_languages=names)
    assert client.must("GetConceptLanguage", concept_id="dog", language="de").concept_language.name == "Hund"
    names[0].name = "Köter"
    client.must("PatchConceptLanguages", concept_id="dog", concept_languages=names, action="overwrite")
    listed = client.must("ListConceptLanguages", concept_id="dog").concept_languages
    assert [(each.id, each.name) for each in listed] == [("en", "Dog"), ("de", "Köter")]
    query = r.ConceptQuery(name="köt", language="de")
    assert [each.id for each in client.must("PostConceptsSearches", concept_query=query).concepts] == ["dog"]
    counts = client.must("GetConceptCounts").concept_counts
    assert [(each.id, each.concept_type_count.positive) for each in counts] == [("animal", 0), ("dog", 0)]


def test_a_key_does_what_its_scopes_say_and_no_more(server, face):
    app_id = f"keys-{face.lower()}"
    client_of(server, face, app_id)
    me = Client(face, server.base, TOKEN)
    can = {each.scope for each in me.must("ListScopes", key_type="app_specific_key").scope_deps}
    assert "Concepts_Add" in can
    assert "All" in me.must("MyScopesUser").scopes
    assert "/clarifai.api.V2/PostInputs" in me.must("MyScopesRoot").endpoints
    apps = [r.App(id=app_id, user_id="lehr")]
    refused = me.ask("PostKeys", keys=[r.Key(apps=apps, scopes=["Concepts_Eat"])])
    assert refused.status.code == codes.CONN_INVALID_REQUEST
    assert "there are: All, " in refused.status.details

    def key(**fields) -> Client:
        [made] = me.must("PostKeys", keys=[r.Key(apps=apps, **fields)]).keys
        return Client(face, server.base, made.id, app_id)

    reader = key(scopes=["Concepts_Get", "Apps_Get"])
    assert reader.must("ListConcepts").status.code == codes.SUCCESS
    for rpc, fields in (
        ("PostConcepts", {"concepts": [r.Concept(id="x")]}),
        ("ListInputs", {}),
        ("PatchModelToolkits", {"model_id": "m", "toolkits": ["x"]}),
        ("ListCollaborators", {}),
    ):
        assert reader.ask(rpc, **fields).status.code == codes.CONN_INSUFFICIENT_SCOPES, rpc
    single = key(endpoints=["/clarifai.api.V2/PostConcepts"])
    single.must("PostConcepts", concepts=[r.Concept(id="y")])
    assert single.ask("ListConcepts").status.code == codes.CONN_INSUFFICIENT_SCOPES
    assert Client(face, server.base, TOKEN, app_id).must("ListCollaborators").app_owner.id == "lehr"
