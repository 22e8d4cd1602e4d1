"""Which user and app a request is about.

Knows ids only: whether the app exists, and whether the caller may see it, is for the services to say.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from lehr.api.calls import Caller
from lehr.errors import KeyInvalid
from lehr.protocol.ids import PUBLIC_APP, AppRef, checked_id

ME = "me"


def addressed(request: Message, caller: Caller) -> tuple[str, AppRef | None]:
    """The user id and the app of a request.

    Raises InvalidRequest for an id that is none, KeyInvalid for a key that belongs to another app.
    """
    user_id, app_id = _named(request)
    own = caller.app
    if user_id in ("", ME):
        user_id = own.user_id if own else caller.user_id
    else:
        checked_id(user_id, "user")
    if app_id:
        return user_id, _allowed(AppRef(user_id, checked_id(app_id, "app")), caller)
    return user_id, own if own and own.user_id == user_id else None


def _named(request: Message) -> tuple[str, str]:
    """What `user_app_id` says, with empty strings where it says nothing."""
    if "user_app_id" not in request.DESCRIPTOR.fields_by_name:
        return "", ""
    pair: Any = request.user_app_id
    return pair.user_id, pair.app_id


def _allowed(app: AppRef, caller: Caller) -> AppRef:
    if caller.app in (None, app) or app == PUBLIC_APP:
        return app
    raise KeyInvalid("the key belongs to another app than the one that the request names")
