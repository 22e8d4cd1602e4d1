"""Who calls, and what a service may know about the call beside its message."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lehr.errors import InvalidRequest
from lehr.protocol.ids import AppRef, new_id
from lehr.protocol.rpcs import ALL_SCOPES

EVERY_SCOPE: frozenset[str] = frozenset({ALL_SCOPES})
"""The scopes of a personal access token."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """The owner of the key that came with a call."""

    user_id: str
    key_id: str
    app: AppRef | None = None
    """The app that the key is confined to; None: a personal access token."""
    scopes: frozenset[str] = EVERY_SCOPE
    """Names of `clarifai.auth.scope.S`, and gRPC paths of single RPCs."""


ANONYMOUS = Caller(user_id="", key_id="", scopes=frozenset())
"""The caller of the few RPCs that need no key."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call, as an RPC's implementation sees it."""

    caller: Caller
    app: AppRef | None
    """The app that the request addresses, or the key's own; None where the request names none."""
    user_id: str
    """The user that the request addresses; "me" and nothing are the caller."""
    base_url: str
    """Where the client reached us, without a slash at the end: `http://127.0.0.1:8080`."""
    req_id: str

    @property
    def is_confined(self) -> bool:
        """Whether other apps of this app's owner are out of reach: with a key of one app, and for a collaborator."""
        return self.caller.app is not None or (self.app is not None and self.app.user_id != self.caller.user_id)

    def needed_app(self) -> AppRef:
        """The app, or InvalidRequest where the request names none and the key belongs to none."""
        if self.app is None:
            raise InvalidRequest(
                "this call needs an app: set user_app_id.app_id, use a route under /v2/users/…/apps/…, or call with an "
                "app's key"
            )
        return self.app


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """What a face read of a call beside its message."""

    authorization: str
    """The header as sent: `Key …`; empty where there was none."""
    base_url: str
    face: str
    """grpc or rest."""
    req_id: str


_UNFIT_FOR_PREFIX = re.compile(r"[^-._0-9A-Za-z]")


def new_req_id(prefix: str) -> str:
    """A fresh request id behind 64 harmless characters of what the client sent as `x-clarifai-request-id-prefix`."""
    kept = _UNFIT_FOR_PREFIX.sub("", prefix)[:64]
    return f"{kept}-{new_id()}" if kept else new_id()
