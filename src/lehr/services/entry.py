"""Who may make a call about an app: its owner, its collaborators within their scopes, and strangers what is public.

What is not there, and what is somebody else's, get the same NotFound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from lehr.errors import MissingScope
from lehr.protocol.ids import PUBLIC_APP, AppRef
from lehr.protocol.rpcs import RPCS, Rpc, missing_scopes
from lehr.services.apps import Apps
from lehr.services.publications import is_open
from lehr.store import collaborators
from lehr.store.db import Database

OF_OWNERS = frozenset({"DeleteApp", "ListAppKeys", "MyScopes", "PostCollaborators", "PatchCollaborators"})
"""Calls about an app that only its owner makes, whatever the scopes: keys and collaborators open it to others."""
BESIDE_APPS = frozenset({"StreamModelOutputs", "ListLogEntries", "StreamLogEntries"})
"""Calls about an app, although their first route has none in it."""
LEAVING = "DeleteCollaborators"
"""Takes no scopes of a collaborator, who can only take himself or herself out with it."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Needs the store, and the rules for owners and for the built-in app."""

    db: Database
    apps: Apps

    def admit(self, rpc: str, user_id: str, of_user: str, ref: AppRef | None, request: Any) -> None:
        """Lets a user call an RPC on an app. Raises NotFound, or MissingScope for a collaborator's missing scope."""
        if ref is not None and ref != PUBLIC_APP and of_user != user_id:
            with self.db.read() as tx:
                if _is_collaborator(tx, RPCS[rpc], user_id, ref) or is_open(tx, rpc, ref, request):
                    return
        self.apps.admit(rpc, user_id, of_user, ref)


def may_look(tx: Connection, rpc: str, user_id: str, ref: AppRef) -> bool:
    """Whether the user, as owner or collaborator, may call an RPC that only reads. Raises MissingScope."""
    return ref.user_id == user_id or _is_collaborator(tx, RPCS[rpc], user_id, ref)


def is_about_an_app(rpc: Rpc) -> bool:
    """Whether an RPC works inside of one app: others would lend a collaborator the owner's whole account."""
    return rpc.name in BESIDE_APPS or "{user_app_id.app_id}" in rpc.bindings[0].template


def _is_collaborator(tx: Connection, rpc: Rpc, user_id: str, ref: AppRef) -> bool:
    if rpc.name in OF_OWNERS or not is_about_an_app(rpc):
        return False
    found = collaborators.get(tx, ref, user_id)
    if found is None:
        return False
    missing = missing_scopes(rpc, [*found.scopes, *found.endpoints]) if rpc.name != LEAVING else ()
    if missing:
        raise MissingScope(
            f"{rpc.name} needs the scopes {', '.join(sorted(missing))}, which the owner of app {ref.app_id!r} has not "
            "given you: ask for them."
        )
    return True
