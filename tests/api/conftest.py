from pathlib import Path
from types import SimpleNamespace

import grpc
import httpx
import pytest

from lehr.api.calls import EVERY_SCOPE, Caller
from lehr.api.door import Door
from lehr.api.front import Front
from lehr.api.grpc_face import GrpcFace
from lehr.api.rest_face import rest_app
from lehr.api.room import Room
from lehr.errors import KeyInvalid, ModelNotFound
from lehr.protocol import resources_pb2, service_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.rpcs import RPCS

CALLERS = {
    "pat": Caller(user_id="ada", key_id="k1", scopes=EVERY_SCOPE),
    "appkey": Caller(user_id="ada", key_id="k2", app=AppRef("ada", "flowers"), scopes=EVERY_SCOPE),
    "reader": Caller(
        user_id="ada", key_id="k3", app=AppRef("ada", "flowers"), scopes=frozenset({"Models_Get", "Concepts_Get"})
    ),
}


def authenticate(token):
    if token not in CALLERS:
        raise KeyInvalid("no such key")
    return CALLERS[token]


class Nouns:
    """A few RPCs, really answered from memory."""

    def __init__(self):
        self.calls = []
        self.posted = []
        self.keeps = True

    def PostModels(self, call, request):
        self.calls.append(call)
        self.posted.append(request)
        model = request.models[0] if request.models else request.model
        if model.id == "broken":
            raise RuntimeError("a secret from the inside")
        return service_pb2.SingleModelResponse(model=model)

    def GetModel(self, call, request):
        self.calls.append(call)
        if request.model_id == "unknown":
            raise ModelNotFound("no model unknown in flowers")
        return service_pb2.SingleModelResponse(model=resources_pb2.Model(id=request.model_id))

    def GetModelType(self, call, request):
        return service_pb2.SingleModelTypeResponse(model_type=resources_pb2.ModelType(id=request.model_type_id))

    def ListModels(self, call, request):
        self.calls.append(call)
        self.posted.append(request)
        return service_pb2.MultiModelResponse()

    def ListModelTypes(self, call, request):
        return service_pb2.MultiModelTypeResponse()

    def ListConcepts(self, call, request):
        concepts = [resources_pb2.Concept(id="absent", value=0.0), resources_pb2.Concept(id="present", value=0.9)]
        return service_pb2.MultiConceptResponse(concepts=concepts)

    def PostInputs(self, call, request):
        self.posted += [request] if self.keeps else []
        sizes = [resources_pb2.Input(id=f"{i.id}-{len(i.data.image.base64)}") for i in request.inputs]
        return service_pb2.MultiInputResponse(inputs=sizes)

    def DeleteModels(self, call, request):
        self.posted.append(request)
        return RPCS["DeleteModels"].response()

    def GetInput(self, call, request):
        image = resources_pb2.Image(base64=b"\x00" * int(request.input_id))
        return service_pb2.SingleInputResponse(
            input=resources_pb2.Input(id="big", data=resources_pb2.Data(image=image))
        )

    def ListStatusCodes(self, call, request):
        self.calls.append(call)
        return service_pb2.MultiStatusCodeResponse()

    def GenerateModelOutputs(self, call, request):
        for number in range(3):
            yield service_pb2.MultiOutputResponse(outputs=[resources_pb2.Output(id=f"{number}")])
        if request.model_id == "breaks":
            raise ModelNotFound("it went away")

    def StreamModelOutputs(self, call, requests):
        for request in requests:
            yield service_pb2.MultiOutputResponse(outputs=[resources_pb2.Output(id=request.model_id)])


class Server:
    """Front, both faces and a door on a free port."""

    def __init__(self, folder: Path, *, tls=None, patience=None, room=None):
        self.nouns = Nouns()
        self.door = Door(
            authenticate=authenticate,
            implementations=[self.nouns],
            may_lack=frozenset(RPCS) - {name for name in RPCS if hasattr(Nouns, name)},
        )
        self.room = room or Room()
        app = rest_app(door=self.door, room=self.room)
        path = folder / "grpc.sock"
        self.front = Front(host="127.0.0.1", port=0, app=app, grpc_socket=path, tls=tls, patience=patience)
        self.address = f"127.0.0.1:{self.front.port}"
        self.url = f"{'https' if tls else 'http'}://{self.address}"
        self.grpc = GrpcFace(door=self.door, socket=path, base_url=self.url, room=self.room)
        self.grpc.start()
        self.front.start(when_stopping=self.grpc.stop)

    def stop(self):
        self.front.stop()


LIMITS = [("grpc.max_receive_message_length", 2**30), ("grpc.max_send_message_length", 2**30)]


class Stub:
    """Calls RPCs by name over a channel, with our own classes."""

    def __init__(self, channel, key="pat"):
        self._channel, self._metadata = channel, (("authorization", f"Key {key}"),) if key else ()

    def __getattr__(self, name):
        rpc = RPCS[name]
        kind = {(0, 0): "unary_unary", (0, 1): "unary_stream", (1, 1): "stream_stream"}[
            rpc.client_streaming, rpc.server_streaming
        ]
        call = getattr(self._channel, kind)(
            rpc.path,
            request_serializer=lambda m: m if isinstance(m, bytes) else m.SerializeToString(),
            response_deserializer=rpc.response.FromString,
        )
        return lambda request, **more: call(request, **{"metadata": self._metadata, "timeout": 120, **more})


@pytest.fixture
def server(tmp_path):
    running = Server(tmp_path)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("api"))
    channel = grpc.insecure_channel(running.address, options=LIMITS)
    with httpx.Client(base_url=running.url, headers={"authorization": "Key pat"}, timeout=60) as http:
        yield SimpleNamespace(server=running, nouns=running.nouns, channel=channel, stub=Stub(channel), http=http)
    channel.close()
    running.stop()


@pytest.fixture(scope="session")
def kit():
    """The parts, for tests that put them together themselves."""
    return SimpleNamespace(Nouns=Nouns, Server=Server, Stub=Stub, LIMITS=LIMITS, authenticate=authenticate)
