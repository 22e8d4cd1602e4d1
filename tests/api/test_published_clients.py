"""The published clients themselves: clarifai_grpc's JSON channel and the clarifai package, with their own classes."""

import pytest
from clarifai.client.auth.helper import ClarifaiAuthHelper
from clarifai.client.auth.stub import create_stub
from clarifai_grpc.channel.clarifai_channel import ClarifaiChannel
from clarifai_grpc.grpc.api import resources_pb2, service_pb2, service_pb2_grpc

ME = resources_pb2.UserAppIDSet(user_id="ada", app_id="flowers")
KEY = (("authorization", "Key pat"),)


@pytest.fixture(scope="module")
def json_stub(shared):
    return service_pb2_grpc.V2Stub(ClarifaiChannel.get_json_channel(base_url=shared.server.url))


def test_the_json_channel_posts_and_reads_a_model(shared, json_stub):
    model = resources_pb2.Model(id="m", model_type_id="visual-classifier", notes='é "quoted"\n')
    model.metadata.update({"deep": {"list": [1, 2.5, None, "x"]}})
    model.visibility.gettable = 50
    answer = json_stub.PostModels(service_pb2.PostModelsRequest(user_app_id=ME, models=[model]), metadata=KEY)
    assert answer.status.code == 10000
    assert answer.model == model
    received = shared.nouns.posted[-1].models[0]
    assert received.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


def test_the_json_channel_sends_pictures_and_lists(shared, json_stub):
    image = resources_pb2.Image(base64=bytes(range(256)) * 1000, allow_duplicate_url=True)
    inputs = [resources_pb2.Input(id="i", data=resources_pb2.Data(image=image))]
    answer = json_stub.PostInputs(service_pb2.PostInputsRequest(user_app_id=ME, inputs=inputs), metadata=KEY)
    assert answer.inputs[0].id == "i-256000"
    request = service_pb2.ListModelsRequest(user_app_id=ME, page=2, model_type_id="x", trained_only=True)
    request.model_version_ids.extend(["a", "b"])
    assert json_stub.ListModels(request, metadata=KEY).status.code == 10000
    received = shared.nouns.posted[-1]
    assert received.SerializeToString(deterministic=True) == request.SerializeToString(deterministic=True)


def test_the_json_channel_reads_a_concept_of_value_zero_as_zero(json_stub):
    answer = json_stub.ListConcepts(service_pb2.ListConceptsRequest(user_app_id=ME), metadata=KEY)
    assert [concept.value for concept in answer.concepts] == [0.0, pytest.approx(0.9)]


def test_the_json_channel_reads_refusals(json_stub):
    request = service_pb2.GetModelRequest(user_app_id=ME, model_id="unknown")
    answer = json_stub.GetModel(request, metadata=KEY)
    assert (answer.status.code, answer.status.description) == (21200, "Model does not exist")


def test_the_python_package_reaches_the_server_by_its_base_address_alone(shared):
    auth = ClarifaiAuthHelper(user_id="ada", app_id="flowers", pat="pat", base=shared.server.url, ui="https://x.test")
    stub = create_stub(auth)
    answer = stub.GetModel(service_pb2.GetModelRequest(user_app_id=ME, model_id="rose"))
    assert answer.model.id == "rose"
    assert answer.status.req_id.startswith("sdk-python-")
