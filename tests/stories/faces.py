"""The published low-level client over either of its transports: gRPC, and its own JSON over HTTP."""

from __future__ import annotations

import grpc
from clarifai_grpc.channel.clarifai_channel import ClarifaiChannel
from clarifai_grpc.grpc.api import resources_pb2, service_pb2, service_pb2_grpc
from clarifai_grpc.grpc.api.status import status_code_pb2 as codes

GRPC, REST = "gRPC", "REST"
FACES = (GRPC, REST)


class Client:
    """`V2Stub` of the public wheel, with the key and the app filled in."""

    def __init__(self, face: str, base: str, token: str, app_id: str = "", user_id: str = "lehr") -> None:
        if face == GRPC:
            options = [("grpc.max_receive_message_length", 2**30), ("grpc.max_send_message_length", 2**30)]
            self.channel = grpc.insecure_channel(base.removeprefix("http://"), options=options)
            ClarifaiChannel.get_insecure_grpc_channel(base="127.0.0.1")  # switches the wheel's deserialiser back
        else:
            self.channel = ClarifaiChannel.get_json_channel(base_url=base)
        self.stub = service_pb2_grpc.V2Stub(self.channel)
        self.metadata = (("authorization", f"Key {token}"),)
        self.who = resources_pb2.UserAppIDSet(user_id=user_id, app_id=app_id)

    def ask(self, rpc: str, **fields):
        """Calls one RPC with `user_app_id` filled in, and returns the answer whatever its status."""
        method = getattr(self.stub, rpc)
        request_type = getattr(service_pb2, fields.pop("request_type", f"{rpc}Request"))
        request = request_type(user_app_id=self.who, **fields)
        return method(request, metadata=self.metadata)

    def must(self, rpc: str, **fields):
        """The same, and it must succeed."""
        answer = self.ask(rpc, **fields)
        assert answer.status.code == codes.SUCCESS, f"{rpc}: {answer.status}"
        return answer
