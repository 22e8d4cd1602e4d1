"""What keys and collaborators may be given: names of scopes, and single endpoints."""

from __future__ import annotations

from collections.abc import Iterable

from lehr.errors import InvalidRequest, MissingScope
from lehr.protocol import resources_pb2
from lehr.protocol.rpcs import ALL_SCOPES, NOT_OFFERED, RPCS, SCOPES, missing_scopes, with_implied

KEY_TYPES = ("app_specific_key", "personal_access_token")
_BY_PATH = {rpc.path: rpc for rpc in RPCS.values()}
_NAMES = frozenset(SCOPES) - {"undef"}


def check_known(scopes: Iterable[str], endpoints: Iterable[str] = ()) -> None:
    """Raises InvalidRequest for a name that is none, with those that there are."""
    strange = sorted({scope for scope in scopes if scope.replace(":", "_") not in _NAMES})
    if strange:
        raise InvalidRequest(f"There is no scope {', '.join(map(repr, strange))}; there are: {', '.join(possible())}.")
    for endpoint in endpoints:
        if endpoint not in _BY_PATH:
            raise InvalidRequest(
                f"There is no endpoint {endpoint!r}; one is called as in gRPC, {RPCS['PostInputs'].path}, and "
                "ListScopes names them all."
            )


def check_within(scopes: Iterable[str], endpoints: Iterable[str], held: Iterable[str]) -> None:
    """A key hands on at most what it holds itself. Raises MissingScope."""
    held = frozenset(held)
    have = with_implied(held)
    beyond = frozenset() if ALL_SCOPES in have else with_implied(scopes) - have
    for endpoint in endpoints:
        beyond |= missing_scopes(_BY_PATH[endpoint], held)
    if beyond:
        raise MissingScope(f"A key gives no scopes that it lacks itself: {', '.join(sorted(beyond))}.")


def possible(key_type: str = "") -> list[str]:
    """The scopes that some call offered here needs, sorted, and `All`; of an app's key those of calls that take one.

    Raises InvalidRequest for a type of key that is none.
    """
    if key_type not in ("", *KEY_TYPES):
        raise InvalidRequest(f"Key type {key_type!r} is not known; there are: {', '.join(KEY_TYPES)}.")
    needed = {scope for rpc in _callable(key_type) for scope in rpc.scopes}
    return sorted(with_implied(needed) | {ALL_SCOPES})


def scope_deps(key_type: str) -> list[resources_pb2.ScopeDeps]:
    """Each possible scope with those that it cannot do without."""
    return [
        resources_pb2.ScopeDeps(scope=name, depending_scopes=sorted(SCOPES.get(name, ())))
        for name in possible(key_type)
    ]


def endpoint_deps(key_type: str) -> list[resources_pb2.EndpointDeps]:
    """Each endpoint that such a key can call, with the scopes that it needs."""
    return [
        resources_pb2.EndpointDeps(endpoint=rpc.path, depending_scopes=sorted(rpc.scopes))
        for rpc in _callable(key_type)
    ]


def granted(held: Iterable[str]) -> tuple[list[str], list[str]]:
    """All scopes and endpoints that come with those held."""
    held = frozenset(held)
    have = with_implied(held)
    scopes = frozenset(possible()) if ALL_SCOPES in have else have & _NAMES
    callable_ = [rpc.path for rpc in _callable("") if not missing_scopes(rpc, held)]
    return sorted(scopes), callable_


def _callable(key_type: str) -> list:
    is_app_key = key_type == KEY_TYPES[0]
    return [rpc for name, rpc in RPCS.items() if name not in NOT_OFFERED and (rpc.takes_app_key or not is_app_key)]
