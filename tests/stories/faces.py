"""The published messages over either face: the wheel's stub over gRPC, and JSON over HTTP as curl sends it."""

from __future__ import annotations

import re

import httpx
from clarifai_grpc.channel.clarifai_channel import ClarifaiChannel
from clarifai_grpc.grpc.api import resources_pb2, service_pb2, service_pb2_grpc
from clarifai_grpc.grpc.api.status import status_code_pb2 as codes
from google.protobuf.json_format import MessageToDict, ParseDict

GRPC, REST = "gRPC", "REST"
FACES = (GRPC, REST)
SERVICE = service_pb2.DESCRIPTOR.services_by_name["V2"]


class Client:
    """Asks one face as one app, with a key."""

    def __init__(self, face: str, base: str, token: str, app_id: str = "", user_id: str = "lehr") -> None:
        self.who = resources_pb2.UserAppIDSet(user_id=user_id, app_id=app_id)
        self.face, self.token = face, token
        host, port = base.removeprefix("http://").split(":")
        channel = ClarifaiChannel.get_insecure_grpc_channel(base=host, port=int(port))
        self.stub = service_pb2_grpc.V2Stub(channel)
        self.http = httpx.Client(base_url=base, headers={"Authorization": f"Key {token}"}, timeout=60)

    def ask(self, rpc: str, **fields):
        """Calls one RPC with `user_app_id` filled in, and returns the answer whatever its status."""
        method = SERVICE.methods_by_name[rpc]
        request = getattr(service_pb2, method.input_type.name)(**fields)
        if "user_app_id" in request.DESCRIPTOR.fields_by_name:
            request.user_app_id.CopyFrom(self.who)
        if self.face == REST:
            return self._over_http(method, request)
        return getattr(self.stub, rpc)(request, metadata=(("authorization", f"Key {self.token}"),))

    def must(self, rpc: str, **fields):
        """The same, and it must succeed."""
        answer = self.ask(rpc, **fields)
        assert answer.status.code == codes.SUCCESS, f"{rpc}: {answer.status}"
        return answer

    def _over_http(self, method, request):
        """The RPC's first route whose path the message fills, the rest as query or body."""
        [rule] = [rule for option, rule in method.GetOptions().ListFields() if option.name == "http"]
        routes = [(one.WhichOneof("pattern"), one) for one in (rule, *rule.additional_bindings)]
        paths = [
            (verb, re.sub(r"{([^}]+)}", lambda found: _at(request, found[1]), getattr(one, verb)))
            for verb, one in routes
        ]
        verb, path = next((verb, path) for verb, path in paths if "//" not in path)
        body = MessageToDict(request, preserving_proto_field_name=True)
        if verb == "get":
            flat = {name: value for name, value in body.items() if name != "user_app_id"}
            answer = self.http.get(path, params=flat)
        else:
            answer = self.http.request(verb.upper(), path, json=body)
        message = getattr(service_pb2, method.output_type.name, None) or _status_message(method.output_type.name)
        return ParseDict(answer.json(), message(), ignore_unknown_fields=True)


def _at(message, path: str) -> str:
    for name in path.split("."):
        message = getattr(message, name)
    return message


def _status_message(name: str):
    from clarifai_grpc.grpc.api.status import status_pb2

    return getattr(status_pb2, name)
