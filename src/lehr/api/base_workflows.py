"""`/v2/users/{user}/apps/{app}/base-workflows`: the one route of the REST API that is no RPC, as old documents show it.

PATCH makes a workflow the app's base, GET tells how its index stands, DELETE …/generations/N lets go of an old one. Who
may do so is settled as for the RPC that comes nearest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from lehr.api.calls import Call
from lehr.api.door import Door
from lehr.api.rest_face import envelope_of
from lehr.errors import BadFormat, LehrError
from lehr.protocol import dialect, resources_pb2, service_pb2
from lehr.protocol.rpcs import RPCS
from lehr.protocol.statuses import status
from lehr.services.reindex import BaseWorkflows

MAX_BODY_BYTES = 2**20
PATH = "/v2/users/{user}/apps/{app}/base-workflows"
Answer = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class BaseWorkflowRoutes:
    """Needs the door, for who may come in, and the service."""

    door: Door
    bases: BaseWorkflows

    def routes(self) -> list[BaseRoute]:
        """To be put before those of the RPCs."""
        return [
            Route(PATH, self._patch, methods=["PATCH"]),
            Route(PATH, self._get, methods=["GET"]),
            Route(PATH + "/generations/{number:int}", self._drop, methods=["DELETE"]),
        ]

    async def _patch(self, request: Request) -> Response:
        return await self._answered(request, "PatchApp", self._change, await _body(request))

    async def _get(self, request: Request) -> Response:
        return await self._answered(request, "GetApp", self._current, b"")

    async def _drop(self, request: Request) -> Response:
        number = int(request.path_params["number"])
        return await self._answered(request, "PatchApp", lambda call, _: self._dropped(call, number), b"")

    async def _answered(
        self, request: Request, rpc: str, work: Callable[[Call, bytes], Answer], body: bytes
    ) -> Response:
        return await run_in_threadpool(self._worked, request, rpc, work, body)

    def _worked(self, request: Request, rpc: str, work: Callable[[Call, bytes], Answer], body: bytes) -> Response:
        envelope = envelope_of(request)
        named: Any = RPCS[rpc].request()
        named.user_app_id.user_id = request.path_params["user"]
        named.user_app_id.app_id = request.path_params["app"]
        try:
            call = self.door.call_of(RPCS[rpc], named, envelope)
            answer = work(call, body)
        except LehrError as error:
            refused: Any = self.door.refuse(RPCS[rpc], envelope, error)
            return _json({"status": dialect.to_json(refused.status)}, refused.status.http_status_code or 400)
        return _json({"status": dialect.to_json(status(10000, req_id=envelope.req_id)), **answer}, 200)

    def _change(self, call: Call, body: bytes) -> Answer:
        asked = read(body)
        done = self.bases.change(
            call.needed_app(), asked.workflows, asked.action, reindex=asked.reindex, confined=call.is_confined
        )
        return {"workflows": [dialect.to_json(done)]}

    def _current(self, call: Call, _: bytes) -> Answer:
        workflow, generations = self.bases.current(call.needed_app())
        return {"workflows": [dialect.to_json(workflow)] if workflow else [], "generations": generations}

    def _dropped(self, call: Call, number: int) -> Answer:
        self.bases.drop(call.needed_app(), number)
        return {}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a PATCH says."""

    workflows: list[resources_pb2.Workflow]
    action: str
    reindex: bool


async def _body(request: Request) -> bytes:
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > MAX_BODY_BYTES:
            break
    return data


def read(body: bytes) -> Asked:
    """The body, in which a node says `input: {node_id, output}` for today's `node_inputs`. Raises BadFormat."""
    if len(body) > MAX_BODY_BYTES:
        raise BadFormat(f"the body has more than {MAX_BODY_BYTES} bytes")
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadFormat(f"the body is no JSON: {error}") from error
    if not isinstance(given, dict) or not isinstance(given.get("workflows"), list):
        raise BadFormat('the body must be {"workflows": [{"id", "nodes": […]}], "action": "merge", "reindex": true}')
    message = service_pb2.PostWorkflowsRequest()
    workflows = [_todays(workflow) for workflow in given["workflows"]]
    dialect.parse(bytearray(json.dumps({"workflows": workflows}).encode()), message)
    reindex, action = given.get("reindex", False), given.get("action") or ""
    if not isinstance(reindex, bool) or not isinstance(action, str):
        raise BadFormat(f"reindex is true or false and action a text; given {reindex!r} and {action!r}")
    return Asked(workflows=list(message.workflows), action=action, reindex=reindex)


def _todays(workflow: Any) -> Any:
    """A workflow as today's messages have it."""
    nodes = workflow.get("nodes") if isinstance(workflow, dict) else None
    if not isinstance(nodes, list):
        return workflow
    return {**workflow, "nodes": [_todays_node(node) for node in nodes]}


def _todays_node(node: Any) -> Any:
    source = node.get("input") if isinstance(node, dict) else None
    if not isinstance(source, dict):
        return node
    rest = {name: value for name, value in node.items() if name != "input"}
    return {**rest, "node_inputs": [*rest.get("node_inputs", []), {"node_id": source.get("node_id", "")}]}


def _json(answer: Answer, http: int) -> Response:
    return JSONResponse(answer, status_code=http)
