"""The REST face: every binding of the descriptors as an HTTP route, in the public dialect.

A body is read only after its sender was looked at and room was found for it. Everything under /v2 answers JSON with a
`status` in it, whatever goes wrong.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qsl, unquote

from google.protobuf.message import Message
from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send

from lehr.api import openapi
from lehr.api.body import Body
from lehr.api.calls import Caller, Envelope, new_req_id
from lehr.api.door import Door
from lehr.api.room import Room
from lehr.api.routes import Routes
from lehr.errors import BadFormat, LehrError
from lehr.protocol import dialect, status_code_pb2
from lehr.protocol.rpcs import RPCS, Rpc
from lehr.protocol.statuses import status

_SMALL_BODY = 64 * 1024
"""Up to this a body is read before its sender is looked at: it saves a trip to a thread."""
_HOST = re.compile(r"[-.:\[\]_0-9A-Za-z]+")
_JSON = "application/json"


def rest_app(*, door: Door, routes: Sequence[BaseRoute] = (), room: Room | None = None, threads: int = 32) -> Starlette:
    """The ASGI application. `routes` come before those of the descriptors; more may be mounted on it later."""
    face = RestFace(door=door, room=room or Room(), threads=threads)
    app = Starlette(
        routes=[
            *routes,
            Route("/openapi.json", _openapi),
            Route("/v2/auth/methods", _auth_methods),
            Route("/v2/users/{user_id}/organizations", _organizations),
            Mount("/v2", app=face),
        ]
    )
    app.state.rest_face = face
    app.router.default = _no_such_page
    app.router.redirect_slashes = False  # /v2 is no page that /v2/ could stand for
    return app


async def answer_json(request: Request, rpc_name: str, message: Message) -> Response:
    """For a hand-written route that ends in an RPC: the door's answer to `message`, in the dialect."""
    face: RestFace = request.app.state.rest_face
    envelope = envelope_of(request)
    rpc = RPCS[rpc_name]
    return _json_response(await face.in_thread(face.door.answer, rpc, message, envelope))


class RestFace:
    """The ASGI application of everything under /v2."""

    def __init__(self, *, door: Door, room: Room, threads: int) -> None:
        self.door = door
        self._room = room
        self._routes = Routes(RPCS.values())
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="rest")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one HTTP request; a websocket is closed."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        request = Request(scope, receive)
        try:
            response = await self._response(request)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Runs blocking work in this face's own threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def _response(self, request: Request) -> Response:
        segments = _segments(request)
        found = self._routes.find(request.method, segments)
        if found is None:
            return _no_route(request, self._routes.methods(segments))
        route, values = found
        envelope = envelope_of(request)
        body = Body(request, self._room)
        try:
            async with body:
                return await self._answered(route.rpc, body, envelope, dict(zip(route.fields, values, strict=True)))
        except LehrError as error:
            response = _json_response(self.door.refuse(route.rpc, envelope, error))
            if body.is_hopeless:
                response.headers["connection"] = "close"
            return response

    async def _answered(self, rpc: Rpc, body: Body, envelope: Envelope, path: dict[str, str]) -> Response:
        caller = None
        if body.announced is None or body.announced > _SMALL_BODY:
            caller = await self.in_thread(self.door.admit, rpc, envelope)
        data = await body.read()
        query = body.request.scope["query_string"].decode("latin-1")
        if rpc.server_streaming:
            message = await self.in_thread(_message, rpc, data, query, path)
            return await self._streamed(rpc, message, envelope, caller)
        return await self.in_thread(self._one, rpc, data, query, path, envelope, caller)

    def _one(
        self, rpc: Rpc, data: bytearray, query: str, path: dict[str, str], envelope: Envelope, caller: Caller | None
    ) -> Response:
        message = _message(rpc, data, query, path)
        data.clear()  # the text of a 1 GB body must not outlive its message
        return _json_response(self.door.answer(rpc, message, envelope, caller))

    async def _streamed(self, rpc: Rpc, message: Message, envelope: Envelope, caller: Caller | None) -> Response:
        """One JSON document a line; the first one's status is the HTTP status."""
        answers = self.door.stream(rpc, iter([message]), envelope, caller)
        first: Any = await self.in_thread(next, answers, None)
        if first is None:
            return Response(status_code=200, media_type=_JSON)
        return StreamingResponse(
            _lines(first, answers), status_code=first.status.http_status_code or 200, media_type=_JSON
        )


async def _lines(first: Message, answers: Iterator[Message]) -> AsyncIterator[bytes]:
    yield dialect.dump(first) + b"\n"
    async for answer in iterate_in_threadpool(answers):
        yield dialect.dump(answer) + b"\n"


# -- requests ----------------------------------------------------------------------------------------------------------


def _segments(request: Request) -> list[str]:
    """The path's segments, decoded one by one: an escaped slash in an id stays inside its segment."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    return [unquote(segment) for segment in raw.decode("latin-1").strip("/").split("/")]


def _message(rpc: Rpc, data: bytearray, query: str, path: dict[str, str]) -> Message:
    """The request's message: body, then query, then path; the later wins. Raises BadFormat."""
    message = rpc.request()
    dialect.parse(data, message)
    dialect.from_query(message, _pairs(query))
    for name, text in path.items():
        dialect.put_at(message, name, text)
    return message


def _pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=10_000)
    except ValueError as error:
        raise BadFormat(f"the query string cannot be read: {error}") from error


def envelope_of(request: Request) -> Envelope:
    """What a request says beside its message."""
    headers = request.headers
    session = headers.get("x-clarifai-session-token", "")
    return Envelope(
        authorization=headers.get("authorization", "") or (f"Key {session}" if session else ""),
        base_url=_addressed_as(request),
        face="rest",
        req_id=new_req_id(headers.get("x-clarifai-request-id-prefix", "")),
    )


def _addressed_as(request: Request) -> str:
    """The base URL that the client called: scheme and `Host`, which is not trusted to be more than a host."""
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        name, port = request.scope.get("server") or ("127.0.0.1", 0)
        host = f"{name}:{port}"
    return f"{request.scope['scheme']}://{host}"


# -- answers -----------------------------------------------------------------------------------------------------------


def _json_response(message: Any) -> Response:
    return Response(dialect.dump(message), status_code=message.status.http_status_code or 200, media_type=_JSON)


def _refusal(request: Request, code: int, details: str, http: int) -> Response:
    req_id = new_req_id(request.headers.get("x-clarifai-request-id-prefix", ""))
    refused = status(code, details, req_id=req_id, http=http)
    return JSONResponse({"status": dialect.to_json(refused)}, status_code=http)


def _no_route(request: Request, methods: list[str]) -> Response:
    path = request.scope["path"][:200]
    if methods:
        details = f"{path} does not answer {request.method}; it answers {', '.join(methods)}"
        response = _refusal(request, status_code_pb2.CONN_METHOD_NOT_ALLOWED, details, 405)
        response.headers["allow"] = ", ".join(methods)
        return response
    return _refusal(request, status_code_pb2.CONN_BAD_REQUEST_FORMAT, f"there is no route {path}", 404)


async def _no_such_page(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await _no_route(Request(scope), [])(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": 1008})


async def _openapi(_: Request) -> Response:
    """What the routes under /v2 take and answer."""
    return Response(openapi.document(), media_type=_JSON)


async def _auth_methods(request: Request) -> Response:
    """What a client without a scheme in its base URL probes for."""
    ok = dialect.to_json(status(status_code_pb2.SUCCESS))
    return JSONResponse({"status": ok, "auth_methods": ["key"]})


async def _organizations(request: Request) -> Response:
    """Lehr has users, not organizations."""
    return JSONResponse({"status": dialect.to_json(status(status_code_pb2.SUCCESS)), "organizations": []})
