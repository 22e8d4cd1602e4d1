"""The one door: every call of either face passes here, and nothing else reaches a service.

It finds out who calls and which app is meant, checks scopes, calls the implementation, and turns whatever comes back or
is raised into an answer of the RPC's own type with a status in it. It reads no bytes and knows no transport.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from google.protobuf.message import Message

from lehr.api.addressing import addressed
from lehr.api.calls import ANONYMOUS, Call, Caller, Envelope
from lehr.api.meter import Meter
from lehr.errors import InvalidRequest, KeyInvalid, LehrError, MissingScope, NotImplementedHere
from lehr.protocol import status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.rpcs import NOT_OFFERED, RPCS, Rpc, missing_scopes
from lehr.protocol.statuses import describe, http_status, status

log = logging.getLogger("lehr.door")

LOOK_AGAIN_SECONDS = 5.0
"""An answer that is streamed for longer than this goes on only for a caller who would still be let in."""

Authenticate = Callable[[str], Caller]
Enter = Callable[[str, Caller, str, AppRef | None, Message], None]
Implementation = Callable[[Call, Any], Any]


@dataclass(kw_only=True)
class _Visit:
    """What becomes known of a call while it is answered."""

    rpc: Rpc
    envelope: Envelope
    caller: Caller | None
    started: float
    call: Call | None = None


class Door:
    """Answers calls with the implementations it was given.

    An implementation is a method named as its RPC on any of the objects: `PostModels(call, request) -> response`; one
    that streams answers returns an iterator, one that takes a stream gets an iterator.
    """

    def __init__(
        self,
        *,
        authenticate: Authenticate,
        enter: Enter = lambda rpc, caller, user_id, app, request: None,
        implementations: Sequence[object],
        may_lack: frozenset[str] = frozenset(),
        meter: Meter | None = None,
    ) -> None:
        """Raises ValueError when an RPC in scope has no implementation (and is not in `may_lack`), or has two.

        `enter(rpc, caller, user_id, app, request)` raises NotFound where the caller may not see the user or app that a
        call names, and MissingScope where that RPC may not be called there.
        """
        self.meter = meter or Meter()
        self._authenticate = authenticate
        self._enter = enter
        self._implementations = _found(implementations)
        lacking = sorted(set(RPCS) - NOT_OFFERED - may_lack - set(self._implementations))
        if lacking:
            raise ValueError(f"no implementation of {', '.join(lacking)}")

    # -- one answer --------------------------------------------------------------------------------------------------

    def admit(self, rpc: Rpc, envelope: Envelope) -> Caller:
        """Who calls. Raises KeyInvalid or MissingScope; a face asks this before it reads a large body."""
        if not rpc.needs_key:
            return ANONYMOUS
        caller = self._authenticate(_token(envelope.authorization))
        if caller.app is not None and not rpc.takes_app_key:
            raise MissingScope(f"{rpc.name} needs a personal access token; this key is confined to one app")
        missing = missing_scopes(rpc, caller.scopes)
        if missing:
            raise MissingScope(f"{rpc.name} needs the scopes {', '.join(sorted(missing))}, which this key lacks")
        return caller

    def answer(self, rpc: Rpc, request: Message, envelope: Envelope, caller: Caller | None = None) -> Message:
        """The answer to one request; never raises. `caller` is what `admit` returned, where the face asked already."""
        visit = _Visit(rpc=rpc, envelope=envelope, caller=caller, started=time.perf_counter())
        try:
            response = self._implementation(visit)(self._call(visit, request), request)
        except Exception as error:
            return self._refused(visit, error)
        return self._finished(visit, response)

    def call_of(self, rpc: Rpc, request: Message, envelope: Envelope) -> Call:
        """Who calls, and about what: for a route that stands beside an RPC. Raises what that would answer."""
        return self._call(_Visit(rpc=rpc, envelope=envelope, caller=None, started=time.perf_counter()), request)

    def refuse(self, rpc: Rpc, envelope: Envelope, error: Exception) -> Message:
        """The answer to a call that a face could not even read."""
        return self._refused(_Visit(rpc=rpc, envelope=envelope, caller=None, started=time.perf_counter()), error)

    # -- many answers ------------------------------------------------------------------------------------------------

    def stream(
        self, rpc: Rpc, requests: Iterable[Message], envelope: Envelope, caller: Caller | None = None
    ) -> Iterator[Message]:
        """The answers of a streaming RPC; an error ends the stream with an answer that says so. Never raises.

        The first request decides which app the call is about.
        """
        visit = _Visit(rpc=rpc, envelope=envelope, caller=caller, started=time.perf_counter())
        code = status_code_pb2.SUCCESS
        try:
            for response in self._responses(visit, requests):
                _complete(response, envelope.req_id)
                code = response.status.code
                yield response
        except Exception as error:
            yield self._refused(visit, error)
        else:
            self._count(visit, code)

    def _responses(self, visit: _Visit, requests: Iterable[Message]) -> Iterator[Any]:
        ahead = iter(requests)
        first = next(ahead, None)
        if first is None:
            raise InvalidRequest(f"{visit.rpc.name} was called without any request")
        call = self._call(visit, first)
        told = chain([first], ahead) if visit.rpc.client_streaming else first
        yield from self._still_let_in(visit, first, self._implementation(visit)(call, told))

    def _still_let_in(self, visit: _Visit, first: Message, responses: Iterable[Any]) -> Iterator[Any]:
        """The responses, until the key is deleted or may no longer do this: then raises what a new call would."""
        looked_at = time.monotonic()
        for response in responses:
            if visit.rpc.needs_key and time.monotonic() - looked_at > LOOK_AGAIN_SECONDS:
                caller = self.admit(visit.rpc, visit.envelope)
                self._enter(visit.rpc.name, caller, *addressed(first, caller), first)
                looked_at = time.monotonic()
            yield response

    # -- the steps ---------------------------------------------------------------------------------------------------

    def _call(self, visit: _Visit, request: Message) -> Call:
        caller = visit.caller or self.admit(visit.rpc, visit.envelope)
        user_id, app = addressed(request, caller)
        if visit.rpc.needs_key:
            self._enter(visit.rpc.name, caller, user_id, app, request)
        visit.call = Call(
            caller=caller, app=app, user_id=user_id, base_url=visit.envelope.base_url, req_id=visit.envelope.req_id
        )
        return visit.call

    def _implementation(self, visit: _Visit) -> Implementation:
        """The implementation, or one that refuses: a stranger must not learn from the refusal what is offered."""
        return self._implementations.get(visit.rpc.name) or _not_implemented(visit.rpc.name)

    def _finished(self, visit: _Visit, response: Any) -> Message:
        assert isinstance(response, visit.rpc.response), f"{visit.rpc.name} answered with a {type(response).__name__}"
        _complete(response, visit.envelope.req_id)
        self._count(visit, response.status.code)
        return response

    def _refused(self, visit: _Visit, error: Exception) -> Message:
        response: Any = visit.rpc.response()
        response.status.CopyFrom(_error_status(visit, error))
        self._count(visit, response.status.code)
        return response

    def _count(self, visit: _Visit, code: int) -> None:
        seconds = time.perf_counter() - visit.started
        self.meter.count(visit.rpc.name, visit.envelope, visit.call, code, seconds)


def _found(implementations: Sequence[object]) -> dict[str, Implementation]:
    found: dict[str, Implementation] = {}
    for owner in implementations:
        for name in set(dir(owner)) & set(RPCS):
            if name in found:
                raise ValueError(f"{name} is implemented twice, by {found[name]} and by {type(owner).__name__}")
            found[name] = getattr(owner, name)
    return found


def _not_implemented(name: str) -> Implementation:
    def refuse(call: Call, request: Any) -> Any:
        raise NotImplementedHere(f"{name} is not implemented: Lehr does not offer this call")

    return refuse


def _token(authorization: str) -> str:
    scheme, _, token = authorization.strip().partition(" ")
    if scheme.lower() not in ("key", "bearer") or not token.strip():
        raise KeyInvalid("send the header `Authorization: Key YOUR_KEY`, with a personal access token or an app's key")
    return token.strip()


def _error_status(visit: _Visit, error: Exception) -> Any:
    req_id = visit.envelope.req_id
    if isinstance(error, LehrError):
        return status(error.code, error.details, req_id=req_id, http=error.http_status)
    log.error("%s failed, req_id=%s", visit.rpc.name, req_id, exc_info=error)
    return status(
        status_code_pb2.INTERNAL_UNCATEGORIZED,
        f"something went wrong on the server; its log has the reason under req_id {req_id}",
        req_id=req_id,
    )


def _complete(response: Any, req_id: str) -> None:
    """Fills in what the implementation left open of its status."""
    given = response.status
    if not given.code:
        given.code = status_code_pb2.SUCCESS
    if not given.description:
        given.description = describe(given.code)
    if not given.http_status_code:
        given.http_status_code = http_status(given.code)
    given.req_id = req_id
