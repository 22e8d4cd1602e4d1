"""Every RPC of the public service, read from its descriptors: message classes, REST bindings, who may call it.

Holds no implementation and no route matching: `api/` has both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from google.protobuf import message_factory
from google.protobuf.message import Message

from lehr.protocol.messages import POOL
from lehr.protocol.tiers import TIER_A, TIER_B

SERVICE = "clarifai.api.V2"
ALL_SCOPES = "All"
UNSTATED = {
    name: frozenset({"Models_Add"})
    for name in ("PatchModelToolkits", "PatchModelUseCases", "PatchModelLanguages", "PatchModelCheckConsents")
}
"""Scopes that an RPC needs beyond those it states: a key that may only look changes nothing."""


@dataclass(frozen=True, kw_only=True)
class Binding:
    """One REST route of an RPC: `POST /v2/users/{user_app_id.user_id}/apps`."""

    method: str
    template: str


@dataclass(frozen=True, kw_only=True)
class Rpc:
    """One method of the service."""

    name: str
    request: type[Message]
    response: type[Message]
    bindings: tuple[Binding, ...]
    client_streaming: bool
    server_streaming: bool
    needs_key: bool
    """False for the three that anybody may call."""
    takes_app_key: bool
    """False: only a personal access token will do, not a key confined to one app."""
    scopes: frozenset[str]
    """Names of `clarifai.auth.scope.S`; a restricted key needs all of them."""

    @property
    def path(self) -> str:
        """The gRPC method path."""
        return f"/{SERVICE}/{self.name}"


def _option(options: Any, name: str, otherwise: Any) -> Any:
    return next((value for field, value in options.ListFields() if field.name == name), otherwise)


def _bindings(options: Any) -> tuple[Binding, ...]:
    rule = _option(options, "http", None)
    rules = [] if rule is None else [rule, *rule.additional_bindings]
    return tuple(
        Binding(method=verb.upper(), template=getattr(r, verb)) for r in rules if (verb := r.WhichOneof("pattern"))
    )


def _rpc(method: Any) -> Rpc:
    options = method.GetOptions()
    scope_names = POOL.FindEnumTypeByName("clarifai.auth.scope.S").values_by_number
    auth_types = POOL.FindEnumTypeByName("clarifai.auth.types.AuthType").values_by_number
    auth = auth_types[_option(options, "cl_auth_type", 0)].name
    return Rpc(
        name=method.name,
        request=message_factory.GetMessageClass(method.input_type),
        response=message_factory.GetMessageClass(method.output_type),
        bindings=_bindings(options),
        client_streaming=method.client_streaming,
        server_streaming=method.server_streaming,
        needs_key=auth != "NoAuth",
        takes_app_key=auth in ("NoAuth", "KeyAuth"),
        scopes=frozenset(scope_names[number].name for number in _option(options, "cl_depending_scopes", ()))
        | UNSTATED.get(method.name, frozenset()),
    )


RPCS: dict[str, Rpc] = {method.name: _rpc(method) for method in POOL.FindServiceByName(SERVICE).methods}
"""All RPCs by name, in the service's own order."""

NOT_OFFERED: frozenset[str] = frozenset(RPCS) - TIER_A - TIER_B
"""RPCs out of scope: the door answers them with NOT_IMPLEMENTED."""


def _implied_scopes() -> dict[str, frozenset[str]]:
    values = POOL.FindEnumTypeByName("clarifai.auth.scope.S").values
    names = {value.number: value.name for value in values}
    return {
        value.name: frozenset(names[n] for n in _option(value.GetOptions(), "clarifai_depending_scopes", ()))
        for value in values
    }


SCOPES: dict[str, frozenset[str]] = _implied_scopes()
"""Every scope there is, with the scopes it cannot do without (`Inputs_Add` needs `Inputs_Get`)."""


@lru_cache(maxsize=1024)
def _closed(scopes: frozenset[str]) -> frozenset[str]:
    closed: set[str] = set()
    open_ends = list(scopes)
    while open_ends:
        scope = open_ends.pop().replace(":", "_")  # the public documentation writes Inputs:Get
        if scope not in closed:
            closed.add(scope)
            open_ends.extend(SCOPES.get(scope, ()))
    return frozenset(closed)


def with_implied(scopes: Iterable[str]) -> frozenset[str]:
    """The scopes and all those that they cannot do without."""
    return _closed(frozenset(scopes))


def missing_scopes(rpc: Rpc, held: Iterable[str]) -> frozenset[str]:
    """What a key with the scopes `held` lacks to call the RPC; empty: it may.

    `held` may also have endpoints, which are gRPC paths: one that is named needs no scopes.
    """
    held = frozenset(held)
    if rpc.path in held:
        return frozenset()
    granted = with_implied(held)
    return frozenset() if ALL_SCOPES in granted else rpc.scopes - granted
