"""Users, apps, keys and the small questions clients ask about them, over both faces."""

from __future__ import annotations

import httpx
import pytest
from clarifai_grpc.grpc.api import resources_pb2 as r
from clarifai_grpc.grpc.api.status import status_code_pb2 as codes
from faces import FACES, REST, Client


@pytest.fixture(params=FACES)
def me(request, server) -> Client:
    """A user, in no app."""
    return Client(request.param, server.base, server.token)


@pytest.fixture
def client(me, server) -> Client:
    """The user in an app."""
    one = Client(me.face, server.base, server.token, f"people-{me.face.lower()}")
    me.ask("PostApps", apps=[r.App(id=one.who.app_id)])
    return one


def test_a_key_of_one_app_opens_that_app_alone_until_it_is_deleted(me, client, server):
    made = me.must(
        "PostKeys",
        keys=[r.Key(description="for the shop", scopes=["All"], apps=[r.App(id=client.who.app_id, user_id="lehr")])],
    ).keys[0]
    secret = made.id
    shop = Client(client.face, server.base, secret, client.who.app_id)
    assert shop.must("GetApp").app.id == client.who.app_id
    elsewhere = Client(client.face, server.base, secret, "another")
    assert elsewhere.ask("ListInputs").status.code == 11008

    handle = me.must("GetKey", key_id=secret).key.id
    assert handle != secret
    assert handle in {key.id for key in me.must("ListKeys").keys}
    assert handle in {key.id for key in client.must("ListAppKeys").keys}
    assert all(secret != key.id for key in me.must("ListKeys").keys)
    me.must("PatchKeys", keys=[r.Key(id=handle, scopes=["Inputs_Get"])], action="overwrite")
    assert set(shop.must("MyScopes").scopes) >= {"Inputs_Get"}
    assert shop.ask("PostInputs", inputs=[r.Input()]).status.code == codes.CONN_INSUFFICIENT_SCOPES
    assert shop.ask("GetKey", key_id=handle).status.code != codes.SUCCESS

    me.must("DeleteKey", key_id=handle)
    assert shop.ask("ListInputs").status.code == 11008
    assert me.ask("GetKey", key_id=handle).status.code != codes.SUCCESS


def test_people_and_apps_are_found_and_changed(me, client):
    assert me.must("GetUser").user.id == "lehr"
    assert client.who.app_id in {app.id for app in me.must("ListApps", per_page=500).apps}
    client.must("PatchApp", app=r.App(id=client.who.app_id, description="one"), action="overwrite")
    assert client.must("GetApp").app.description == "one"
    me.must("PatchApps", apps=[r.App(id=client.who.app_id, description="two")], action="overwrite")
    assert client.must("GetApp").app.description == "two"
    assert client.ask("PatchApp", app=r.App(id=client.who.app_id), action="append").status.code != codes.SUCCESS
    again = me.ask("PostApps", apps=[r.App(id=client.who.app_id)])
    assert again.status.code != codes.SUCCESS
    assert "already exists" in again.status.details


def test_what_a_status_and_a_model_type_mean_can_be_asked(client):
    listed = client.must("ListStatusCodes").statuses
    assert {10000, 21100, 30000} <= {one.code for one in listed}
    assert client.ask("GetStatusCode", status_code_id="21100").status.code == codes.MODEL_TRAINED
    classifier = client.must("GetModelType", model_type_id="visual-classifier").model_type
    assert list(classifier.input_fields) == ["image"]
    assert client.ask("GetModelType", model_type_id="crystal-ball").status.code != codes.SUCCESS


def test_a_model_tells_its_concepts_and_versions_keep_their_words(client):
    wanted = r.OutputInfo(data=r.Data(concepts=[r.Concept(id="cat"), r.Concept(id="dog")]))
    model = r.Model(id="pets", model_type_id="visual-classifier", output_info=wanted)
    made = client.must("PostModels", models=[model]).model
    assert made.model_version.status.code == codes.MODEL_UNTRAINED
    told = client.must("GetModelOutputInfo", model_id="pets").model
    concepts = told.model_version.output_info.data.concepts or told.output_info.data.concepts
    assert [concept.id for concept in concepts] == ["cat", "dog"]
    version_id = made.model_version.id
    client.must(
        "PatchModelVersions",
        model_id="pets",
        model_versions=[r.ModelVersion(id=version_id, description="the first")],
        action="merge",
    )
    kept = client.must("GetModelVersion", model_id="pets", version_id=version_id).model_version
    assert kept.description == "the first"
    client.must("PatchModels", models=[r.Model(id="pets", notes="small")], action="overwrite")
    assert client.must("GetModel", model_id="pets").model.notes == "small"


def test_answers_over_rest_have_the_http_status_of_theirs(client):
    if client.face == REST:
        answer = client.http.get("/v2/users/lehr/apps/nowhere")
        assert answer.status_code == answer.json()["status"]["http_status_code"] == 404


def test_what_needs_no_key_answers_strangers_and_names_nobody(server):
    client = Client(REST, server.base, server.token)
    client.must("PostApps", apps=[r.App(id="named-by-nobody")])
    stranger = httpx.Client(base_url=server.base)
    told = stranger.get("/metrics").text
    assert 'lehr_calls_total{code="10000",face="rest",rpc="PostApps"}' in told
    assert "process_resident_memory_bytes" in told
    assert "named-by-nobody" not in told
    assert client.who.user_id not in [word for line in told.splitlines() for word in line.split('"')[1::2]]
    assert stranger.get("/healthz").text == "ok"
    assert set(stranger.get("/readyz").json()) == {"store", "predictor", "worker"}
    assert "/v2/users/{user_id}/apps" in stranger.get("/openapi.json").json()["paths"]
    assert stranger.get("/v2/users/lehr/apps").json()["status"]["code"] == 11008
