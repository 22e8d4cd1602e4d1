"""The published messages over either face: the wheel's own stub over gRPC, and plain JSON over HTTP as curl sends it."""

from __future__ import annotations

import re

import grpc
import httpx
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
        options = [("grpc.max_receive_message_length", 2**30), ("grpc.max_send_message_length", 2**30)]
        channel = grpc.insecure_channel(base.removeprefix("http://"), options=options)
        self.stub = service_pb2_grpc.V2Stub(channel)
        self.http = httpx.Client(base_url=base, headers={"Authorization": f"Key {token}"}, timeout=60)

    def ask(self, rpc: str, **fields):
        """Calls one RPC with `user_app_id` filled in, and returns the answer whatever its status."""
        method = SERVICE.methods_by_name[rpc]
        request = getattr(service_pb2, method.input_type.name)(**fields)
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
        """The RPC's first route, the path filled from the message, the rest as query or body."""
        [rule] = [rule for option, rule in method.GetOptions().ListFields() if option.name == "http"]
        verb = rule.WhichOneof("pattern")
        path = re.sub(r"{([^}]+)}", lambda found: _at(request, found[1]), getattr(rule, verb))
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
