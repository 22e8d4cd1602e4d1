"""The door alone: who may call what, and what every kind of failure looks like from outside."""

import logging

import pytest

from lehr.api.calls import Envelope, new_req_id
from lehr.api.door import Door
from lehr.errors import NotFound
from lehr.protocol import resources_pb2, service_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.rpcs import NOT_OFFERED, RPCS

IN_SCOPE = frozenset(RPCS) - NOT_OFFERED
KEY_WORDS = "Invalid API key or Invalid API key/application pair"


@pytest.fixture
def nouns(kit):
    return kit.Nouns()


@pytest.fixture
def door(kit, nouns):
    return Door(authenticate=kit.authenticate, implementations=[nouns], may_lack=IN_SCOPE)


def envelope(key="pat", req_id="r-1"):
    return Envelope(authorization=f"Key {key}" if key else "", base_url="http://h:1", face="grpc", req_id=req_id)


def get_model(door, key="pat", user="", app="", model="rose"):
    request = service_pb2.GetModelRequest(model_id=model)
    if user or app:
        request.user_app_id.CopyFrom(resources_pb2.UserAppIDSet(user_id=user, app_id=app))
    return door.answer(RPCS["GetModel"], request, envelope(key))


def test_a_door_with_an_rpc_in_scope_missing_or_doubled_does_not_open(kit, nouns):
    with pytest.raises(ValueError, match="no implementation of PostInputs"):
        Door(authenticate=kit.authenticate, implementations=[], may_lack=IN_SCOPE - {"PostInputs"})
    with pytest.raises(ValueError, match="implemented twice"):
        Door(authenticate=kit.authenticate, implementations=[nouns, kit.Nouns()], may_lack=IN_SCOPE)


@pytest.mark.parametrize("authorization", ["", "Key ", "Key", "Basic pat", "Key nobody", "pat"])
def test_a_missing_or_wrong_key_is_refused_with_the_words_that_clients_know(door, authorization):
    wrong = Envelope(authorization=authorization, base_url="", face="rest", req_id="r")
    refused = door.answer(RPCS["GetModel"], service_pb2.GetModelRequest(), wrong)
    assert (refused.status.code, refused.status.description) == (11008, KEY_WORDS)
    assert refused.status.http_status_code == 401


@pytest.mark.parametrize(
    ("key", "user", "app", "expected"),
    [
        ("pat", "", "", ("ada", None)),
        ("pat", "me", "flowers", ("ada", AppRef("ada", "flowers"))),
        ("pat", "", "flowers", ("ada", AppRef("ada", "flowers"))),
        ("pat", "bob", "trees", ("bob", AppRef("bob", "trees"))),
        ("appkey", "", "", ("ada", AppRef("ada", "flowers"))),
        ("appkey", "me", "", ("ada", AppRef("ada", "flowers"))),
        ("appkey", "ada", "flowers", ("ada", AppRef("ada", "flowers"))),
        ("appkey", "bob", "", ("bob", None)),
        ("appkey", "clarifai", "main", ("clarifai", AppRef("clarifai", "main"))),
    ],
)
def test_the_app_comes_from_the_request_or_from_the_key(door, nouns, key, user, app, expected):
    assert get_model(door, key, user, app).status.code == 10000
    assert (nouns.calls[-1].user_id, nouns.calls[-1].app) == expected


@pytest.mark.parametrize(("user", "app"), [("", "trees"), ("me", "trees"), ("bob", "flowers")])
def test_a_key_of_another_app_is_refused_like_a_wrong_one(door, nouns, user, app):
    refused = get_model(door, "appkey", user, app).status
    assert (refused.code, refused.description) == (11008, KEY_WORDS)
    assert not nouns.calls


@pytest.mark.parametrize(("user", "app"), [("a/b", "x"), ("../x", "y"), ("me", "a b"), ("me", "x" * 49), ("me", "é")])
def test_ids_that_are_none_are_refused_with_a_sentence(door, user, app):
    refused = get_model(door, "pat", user, app).status
    assert refused.code == 11102
    assert "id" in refused.details


def test_what_the_caller_may_not_see_answers_as_if_it_did_not_exist(kit, nouns):
    def enter(rpc, caller, user_id, app, request):
        if user_id != caller.user_id:
            raise NotFound(f"User {user_id!r} does not exist.")

    door = Door(authenticate=kit.authenticate, implementations=[nouns], may_lack=IN_SCOPE, enter=enter)
    assert get_model(door, "pat", "me", "flowers").status.code == 10000
    refused = get_model(door, "pat", "bob", "trees").status
    assert (refused.code, refused.description) == (11101, "Resource does not exist")
    assert len(nouns.calls) == 1


def test_a_restricted_key_may_do_what_its_scopes_say_and_no_more(door):
    refused = get_model(door, "reader").status
    assert (refused.code, refused.http_status_code) == (11007, 403)
    assert "Apps_Get" in refused.details
    token_only = door.answer(RPCS["DeleteApp"], service_pb2.DeleteAppRequest(), envelope("appkey")).status
    assert token_only.code == 11007
    assert "personal access token" in token_only.details


def test_some_calls_need_no_key(door, nouns):
    answer = door.answer(RPCS["ListStatusCodes"], service_pb2.ListStatusCodesRequest(), envelope(""))
    assert answer.status.code == 10000
    assert nouns.calls[-1].caller.user_id == ""


def test_a_refusal_of_a_service_is_answered_in_band(door):
    refused = get_model(door, model="unknown")
    assert isinstance(refused, service_pb2.SingleModelResponse)
    assert (refused.status.code, refused.status.description) == (21200, "Model does not exist")
    assert refused.status.details == "no model unknown in flowers"
    assert refused.status.req_id == "r-1"


def test_a_mistake_of_ours_is_logged_and_never_told(door, caplog):
    request = service_pb2.PostModelsRequest(models=[resources_pb2.Model(id="broken")])
    with caplog.at_level(logging.ERROR, "lehr.door"):
        refused = door.answer(RPCS["PostModels"], request, envelope(req_id="find-me"))
    assert refused.status.code == 99009
    assert "secret" not in str(refused)
    assert "find-me" in refused.status.details
    assert "a secret from the inside" in caplog.text
    assert "find-me" in caplog.text


def test_every_rpc_without_implementation_names_itself(kit, door):
    for name, rpc in RPCS.items():
        if name not in vars(kit.Nouns) and not rpc.server_streaming:
            answer = door.answer(rpc, rpc.request(), envelope())
            assert answer.status.code == 10040, name
            assert name in answer.status.details
            assert answer.status.http_status_code == 501


def test_a_stream_that_breaks_ends_with_the_reason(door):
    rpc = RPCS["GenerateModelOutputs"]
    request = service_pb2.PostModelOutputsRequest(model_id="breaks")
    *outputs, last = door.stream(rpc, [request], envelope())
    assert [o.outputs[0].id for o in outputs] == ["0", "1", "2"]
    assert all(o.status.code == 10000 for o in outputs)
    assert (last.status.code, last.status.details) == (21200, "it went away")


def test_a_stream_ends_when_its_key_is_deleted(kit, nouns, monkeypatch):
    monkeypatch.setattr("lehr.api.door.LOOK_AGAIN_SECONDS", 0)
    keys = {"pat": kit.authenticate("pat")}
    door = Door(
        authenticate=lambda token: keys.get(token) or kit.authenticate("deleted"),
        implementations=[nouns],
        may_lack=IN_SCOPE,
    )
    request = service_pb2.PostModelOutputsRequest(model_id="lasts")
    stream = door.stream(RPCS["GenerateModelOutputs"], [request], envelope("pat"))
    assert next(stream).outputs[0].id == "0"
    del keys["pat"]
    (last,) = stream
    assert (last.status.code, len(last.outputs)) == (11008, 0)


def test_a_stream_without_any_request_is_refused(door):
    (only,) = door.stream(RPCS["StreamModelOutputs"], [], envelope())
    assert only.status.code == 11102


def test_each_call_is_counted_and_leaves_one_line(door, caplog):
    with caplog.at_level(logging.INFO, "lehr.calls"):
        get_model(door, "pat", "me", "flowers")
    (line,) = [record.message for record in caplog.records if record.name == "lehr.calls"]
    assert "rpc=GetModel face=grpc code=10000" in line
    assert "user=ada app=ada/flowers key=k1 req_id=r-1" in line
    labels = {"rpc": "GetModel", "face": "grpc", "code": "10000"}
    assert door.meter.registry.get_sample_value("lehr_calls_total", labels) == 1


def test_request_ids_begin_with_what_the_client_asked_for():
    assert new_req_id("sdk-python-12.5.0").startswith("sdk-python-12.5.0-")
    assert len(new_req_id("")) == 32
    assert new_req_id("a\r\nb: {}").startswith("ab-")
    assert len(new_req_id("x" * 1000)) == 64 + 1 + 32
