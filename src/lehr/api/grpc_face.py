"""The gRPC face: a server whose handlers are made from the descriptors and lead to the door.

Errors are answered in-band with gRPC status OK, as published clients expect. Only what cannot be: a message over 1 GiB
(RESOURCE_EXHAUSTED), an unknown method (UNIMPLEMENTED), a server that stops (UNAVAILABLE).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from lehr.api.calls import Envelope, new_req_id
from lehr.api.door import Door
from lehr.api.room import MAX_MESSAGE_BYTES, Room
from lehr.errors import BadFormat, CannotListen, LehrError
from lehr.protocol.rpcs import RPCS, SERVICE, Rpc

_LONGEST_SOCKET_PATH = 100
"""The kernel takes 107 bytes."""
_HOST = re.compile(r"[-.:\[\]_0-9A-Za-z]+")
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.max_concurrent_streams", 256),
    ("grpc.so_reuseport", 0),
    # A client that is gone without saying so, or that reads nothing any more, is found out by pings and dropped.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)


class GrpcFace:
    """Serves gRPC on a local socket; the front leads clients there."""

    def __init__(
        self,
        *,
        door: Door,
        socket: Path,
        base_url: str,
        room: Room | None = None,
        threads: int = 32,
    ) -> None:
        """`base_url` supplies the scheme, and the host of calls whose authority is none. Raises CannotListen."""
        if len(str(socket)) > _LONGEST_SOCKET_PATH:
            raise CannotListen(f"the socket path {socket} is longer than {_LONGEST_SOCKET_PATH} characters")
        self._door = door
        self._base_url = base_url
        self._room = room or Room()
        self._health = health.HealthServicer()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="grpc")
        self._server = grpc.server(self._threads, options=_OPTIONS)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, self._handlers()),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        socket.unlink(missing_ok=True)  # left by a server that was killed
        self._server.add_insecure_port(f"unix:{socket}")
        self.socket = socket

    def start(self) -> None:
        """Begins to answer; the health service says NOT_SERVING until told otherwise."""
        self.serving(False)
        self._server.start()

    def serving(self, ready: bool) -> None:
        """What the health service answers, for the server and for the V2 service."""
        now = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", SERVICE):
            self._health.set(name, now)

    def stop(self, grace_seconds: float = 5) -> None:
        """Ends: no new calls, those under way get `grace_seconds`."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_seconds).wait()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.socket.unlink(missing_ok=True)

    def _handlers(self) -> dict[str, Any]:
        return {name: self._handler(rpc) for name, rpc in RPCS.items()}

    def _handler(self, rpc: Rpc) -> Any:
        """Requests are always taken as a stream of bytes: a caller is looked at before its message is received."""
        answer_one = grpc.stream_unary_rpc_method_handler
        answer_many = grpc.stream_stream_rpc_method_handler
        if rpc.server_streaming:
            return answer_many(self._many(rpc), response_serializer=_serialized)
        return answer_one(self._one(rpc), response_serializer=_serialized)

    def _one(self, rpc: Rpc) -> Callable[[Iterator[bytes], Any], Message]:
        def answer(messages: Iterator[bytes], context: Any) -> Message:
            envelope = self._envelope(context)
            try:
                caller = self._door.admit(rpc, envelope)
                data = next(messages, b"")
                with self._room.taken(len(data)):
                    request = _parsed(rpc, data)
                    del data
                    return self._door.answer(rpc, request, envelope, caller)
            except LehrError as error:
                return self._door.refuse(rpc, envelope, error)

        return answer

    def _many(self, rpc: Rpc) -> Callable[[Iterator[bytes], Any], Iterator[Message]]:
        def answer(messages: Iterator[bytes], context: Any) -> Iterator[Message]:
            envelope = self._envelope(context)
            try:
                caller = self._door.admit(rpc, envelope)
            except LehrError as error:
                yield self._door.refuse(rpc, envelope, error)
                return
            yield from self._door.stream(rpc, (_parsed(rpc, data) for data in messages), envelope, caller)

        return answer

    def _envelope(self, context: Any) -> Envelope:
        metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        session = metadata.get("x-clarifai-session-token", "")
        return Envelope(
            authorization=metadata.get("authorization", "") or (f"Key {session}" if session else ""),
            base_url=self._addressed_as(context),
            face="grpc",
            req_id=new_req_id(metadata.get("x-clarifai-request-id-prefix", "")),
        )

    def _addressed_as(self, context: Any) -> str:
        """The base URL with the authority that the client called, which grpcio keeps in a private place."""
        call = getattr(getattr(context, "_rpc_event", None), "call_details", None)
        host = (getattr(call, "host", None) or b"").decode("ascii", "replace")
        scheme = self._base_url.partition("://")[0]
        return f"{scheme}://{host}" if _HOST.fullmatch(host) and host != "localhost" else self._base_url


def _parsed(rpc: Rpc, data: bytes) -> Message:
    request = rpc.request()
    try:
        request.ParseFromString(data)
    except DecodeError as error:
        raise BadFormat(f"the bytes of the request are no {rpc.request.DESCRIPTOR.name}: {error}") from error
    return request


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()
