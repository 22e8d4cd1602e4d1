"""Both faces through the one port, with a real gRPC channel and a real HTTP client."""

import base64
import json
import re

import grpc
import pytest
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lehr.protocol import resources_pb2, service_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.rpcs import RPCS

FLOWERS = resources_pb2.UserAppIDSet(user_id="me", app_id="flowers")
BINDINGS = [(rpc, binding) for rpc in RPCS.values() for binding in rpc.bindings]


def test_all_273_rpcs_answer_over_grpc_as_themselves(kit, shared):
    for name, rpc in RPCS.items():
        call = getattr(shared.stub, name)
        if rpc.server_streaming:
            answers = list(call(iter([rpc.request()]) if rpc.client_streaming else rpc.request()))
        else:
            answers = [call(rpc.request(user_app_id=FLOWERS) if name == "GetModel" else rpc.request(**numbers(name)))]
        expected = 10000 if name in vars(kit.Nouns) else 10040
        assert {answer.status.code for answer in answers} == {expected}, name
        assert expected == 10000 or name in answers[0].status.details


def numbers(name):
    return {"input_id": "5"} if name == "GetInput" else {}


def test_all_467_rest_bindings_answer_as_their_rpc(kit, shared):
    answered = 0
    taken = {}
    for rpc, binding in BINDINGS:
        path = re.sub(r"\{[^}]+\}", "7", binding.template)
        first = taken.setdefault((binding.method, re.sub(r"\{[^}]+\}", "*", binding.template)), rpc)
        answer = shared.http.request(binding.method, path, content=b"" if binding.method == "GET" else b"{}")
        body = json.loads(answer.content.splitlines()[0])
        code = body["status"]["code"]
        assert code == (10000 if first.name in vars(kit.Nouns) else 10040), (rpc.name, path, body)
        assert code == 10000 or first.name in body["status"]["details"], (rpc.name, path, body)
        assert answer.status_code == body["status"]["http_status_code"]
        answered += 1
    assert answered == 467
    unreachable = {rpc.name for rpc in RPCS.values()} - {rpc.name for rpc in taken.values()}
    assert unreachable == {"PatchRunners"}, "the protocol gives it the very route of PostRunners"


def test_one_call_reads_the_same_over_both_faces(shared):
    over_grpc = shared.stub.GetModel(service_pb2.GetModelRequest(user_app_id=FLOWERS, model_id="rose"))
    over_rest = shared.http.get("/v2/users/me/apps/flowers/models/rose").json()
    assert over_rest["model"]["id"] == over_grpc.model.id == "rose"
    assert [call.app for call in shared.nouns.calls[-2:]] == [AppRef("ada", "flowers")] * 2
    assert {call.base_url for call in shared.nouns.calls[-2:]} == {shared.server.url}


def test_the_wire_bytes_of_an_old_client_are_read(shared):
    """`Model.train_info` was field 13 until clarifai-grpc 9.6: a Struct in a TrainInfo in a Model."""

    def field(number, payload):
        return bytes([number << 3 | 2, len(payload)]) + payload

    template = field(1, b"template") + field(2, field(3, b"classification_cifar10_v1"))
    model = field(1, b"old") + field(13, field(1, field(1, template)))
    shared.stub.PostModels(field(2, model))
    train_info = shared.nouns.posted[-1].model.train_info
    assert train_info.params.fields["template"].string_value == "classification_cifar10_v1"


def test_the_seeds_curl_body_is_read_whole(shared):
    body = {
        "model": {
            "id": "lawrence-1591638385",
            "model_type_id": "visual-classifier",
            "train_info": {"params": {"template": "classification_cifar10_v1", "num_epochs": 2}},
            "output_info": {
                "data": {"concepts": [{"id": "ferrari23"}, {"id": "outdoors23"}]},
                "output_config": {"closed_environment": True},
            },
        }
    }
    answer = shared.http.post("/v2/models", json=body, headers={"authorization": "Key appkey"}).json()
    assert answer["status"]["code"] == 10000
    assert answer["model"]["train_info"] == {"params": {"template": "classification_cifar10_v1", "num_epochs": 2}}
    assert answer["model"]["output_info"]["output_config"]["closed_environment"] is True
    assert [c["value"] for c in answer["model"]["output_info"]["data"]["concepts"]] == [1.0, 1.0]


def test_fields_that_nobody_knows_are_ignored_by_both_faces(shared):
    unknown = service_pb2.GetModelRequest(model_id="rose").SerializeToString() + b"\xfa\x3e\x03abc"  # field 1007
    assert shared.stub.GetModel(unknown).model.id == "rose"
    assert shared.http.post("/v2/models", json={"nonsense": {"x": [1]}, "model": {"id": "m"}}).status_code == 200


def test_broken_requests_get_a_sentence_and_not_an_error_of_the_transport(shared):
    over_grpc = shared.stub.GetModel(b"\xff\xff\xff").status
    over_rest = shared.http.post("/v2/models", content=b'{"model": ').json()["status"]
    assert over_grpc.code == over_rest["code"] == 11100
    assert over_rest["description"] == "Bad request format"
    with pytest.raises(DecodeError):
        service_pb2.GetModelRequest.FromString(b"\xff\xff\xff")


@pytest.mark.parametrize("key", ["", "nobody"])
def test_wrong_keys_get_the_exact_words_over_both_faces(kit, shared, key):
    over_grpc = kit.Stub(shared.channel, key).PostInputs(service_pb2.PostInputsRequest()).status
    headers = {"authorization": f"Key {key}" if key else ""}
    answer = shared.http.post("/v2/inputs", json={}, headers=headers)
    over_rest = answer.json()["status"]
    assert over_grpc.code == over_rest["code"] == 11008
    assert over_grpc.description == over_rest["description"] == "Invalid API key or Invalid API key/application pair"
    assert answer.status_code == 401


def test_a_stranger_is_refused_before_a_large_body_is_read(kit, shared):
    before = len(shared.nouns.posted)
    large = service_pb2.PostInputsRequest(
        inputs=[resources_pb2.Input(data=resources_pb2.Data(image=resources_pb2.Image(base64=bytes(64 << 20))))]
    )
    assert kit.Stub(shared.channel, "nobody").PostInputs(large).status.code == 11008
    body = b'{"inputs":[{"data":{"image":{"base64":"' + b"A" * (64 << 20) + b'"}}}]}'
    answer = shared.http.post("/v2/inputs", content=body, headers={"authorization": "Key nobody"})
    assert answer.json()["status"]["code"] == 11008
    assert len(shared.nouns.posted) == before
    assert shared.server.room.held == 0


def test_request_ids_echo_the_clients_prefix_over_both_faces(shared):
    metadata = (("authorization", "Key pat"), ("x-clarifai-request-id-prefix", "sdk-python-12.5.0"))
    over_grpc = shared.stub.GetModel(service_pb2.GetModelRequest(), metadata=metadata)
    over_rest = shared.http.get("/v2/models/m", headers={"X-Clarifai-Request-ID-Prefix": "python-json-12.6.0"}).json()
    assert over_grpc.status.req_id.startswith("sdk-python-12.5.0-")
    assert over_rest["status"]["req_id"].startswith("python-json-12.6.0-")


def test_a_fixed_path_wins_over_a_parameter(shared):
    assert "model_types" in shared.http.get("/v2/models/types").json()
    assert shared.http.get("/v2/models/types/visual-classifier").json()["model_type"]["id"] == "visual-classifier"
    assert shared.http.get("/v2/models/typesetting").json()["model"]["id"] == "typesetting"
    assert shared.http.get("/v2/models/types/").json()["model_types"] == []


def test_ids_in_the_path_win_over_the_body_and_the_query(shared):
    body = {"user_app_id": {"user_id": "bob", "app_id": "trees"}, "page": 3}
    shared.http.request("GET", "/v2/users/me/apps/flowers/models?user_app_id.app_id=trees&per_page=7", json=body)
    assert shared.nouns.calls[-1].app == AppRef("ada", "flowers")
    assert (shared.nouns.posted[-1].page, shared.nouns.posted[-1].per_page) == (3, 7)


def test_a_delete_with_a_body_is_read(shared):
    shared.http.request("DELETE", "/v2/users/me/apps/flowers/models", json={"ids": ["a", "b"]})
    assert list(shared.nouns.posted[-1].ids) == ["a", "b"]
    shared.http.request("DELETE", "/v2/models?ids=c&delete_all=True")
    assert (list(shared.nouns.posted[-1].ids), shared.nouns.posted[-1].delete_all) == (["c"], True)


def test_an_escaped_slash_does_not_leave_its_segment(shared):
    answer = shared.http.get("/v2/users/me/apps/a%2Fb/models/m").json()
    assert answer["status"]["code"] == 11102
    assert "'a/b'" in answer["status"]["details"]


def test_routes_and_methods_that_do_not_exist_answer_in_band(shared):
    nowhere = shared.http.get("/v2/nothing/here")
    assert (nowhere.status_code, nowhere.json()["status"]["code"]) == (404, 11100)
    wrong = shared.http.put("/v2/models")
    assert (wrong.status_code, wrong.json()["status"]["code"]) == (405, 11103)
    assert wrong.headers["allow"] == "DELETE, GET, PATCH, POST"
    assert shared.http.get("/somewhere/else").json()["status"]["code"] == 11100
    with pytest.raises(grpc.RpcError) as unknown:
        shared.channel.unary_unary("/clarifai.api.V2/Nonsense")(b"")
    assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_what_clients_ask_beside_the_rpcs(shared):
    assert shared.http.get("/v2/auth/methods").status_code == 200
    assert shared.http.get("/v2/users/ada/organizations").json()["organizations"] == []


def test_streams_answer_over_both_faces(shared):
    request = service_pb2.PostModelOutputsRequest(model_id="m")
    assert [a.outputs[0].id for a in shared.stub.GenerateModelOutputs(request)] == ["0", "1", "2"]
    ids = ("a", "b")
    echoed = shared.stub.StreamModelOutputs(iter([service_pb2.PostModelOutputsRequest(model_id=i) for i in ids]))
    assert [a.outputs[0].id for a in echoed] == ["a", "b"]
    lines = shared.http.post("/v2/users/me/apps/f/models/m/outputs/generate", json={}).content.splitlines()
    assert [json.loads(line)["outputs"][0]["id"] for line in lines] == ["0", "1", "2"]


def test_concepts_of_value_zero_are_shown_over_rest(shared):
    concepts = shared.http.get("/v2/concepts").json()["concepts"]
    assert [(c["id"], c["value"]) for c in concepts] == [("absent", 0.0), ("present", 0.9)]


def test_health_follows_what_the_server_says_of_itself(shared):
    health = health_pb2_grpc.HealthStub(shared.channel)
    ask = health_pb2.HealthCheckRequest()
    assert health.Check(ask).status == health_pb2.HealthCheckResponse.NOT_SERVING
    shared.server.grpc.serving(True)
    assert health.Check(ask).status == health_pb2.HealthCheckResponse.SERVING


def test_a_compressed_body_is_refused_with_a_sentence(shared):
    answer = shared.http.post("/v2/inputs", content=b"\x1f\x8b" + bytes(100), headers={"content-encoding": "gzip"})
    assert answer.json()["status"]["code"] == 11100
    assert "compressed" in answer.json()["status"]["details"]


def test_a_chunked_body_is_read(shared):
    picture = base64.b64encode(bytes(3 << 20))

    def chunks():
        yield b'{"inputs":[{"id":"i","data":{"image":{"base64":"'
        for start in range(0, len(picture), 100_000):
            yield picture[start : start + 100_000]
        yield b'"}}}]}'

    answer = shared.http.post("/v2/inputs", content=chunks(), headers={"content-type": "application/json"})
    assert answer.json()["inputs"][0]["id"] == f"i-{3 << 20}"
    assert shared.server.room.held == 0
