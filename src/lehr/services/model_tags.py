"""A model's tags: toolkits, use cases, languages, and what must be agreed to before it is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lehr.errors import InvalidModel
from lehr.protocol.ids import AppRef
from lehr.protocol.patch import MERGE, OVERWRITE, REMOVE, checked_action
from lehr.services.models import found_model
from lehr.store import models as model_rows
from lehr.store.db import Database

TOOLKITS, USE_CASES, LANGUAGES, CHECK_CONSENTS = "toolkits", "use_cases", "languages", "check_consents"
"""Fields of a model that are lists of tags."""
MAX_TAGS = 100
MAX_LENGTH = 100


@dataclass(frozen=True, kw_only=True)
class ModelTags:
    """Needs only the store."""

    db: Database

    def patch(self, ref: AppRef, model_id: str, field: str, tags: Sequence[str], action: str) -> list[str]:
        """The tags after merging (each once, old ones first), overwriting or removing; an empty overwrite clears them.

        Raises ModelNotFound, InvalidModel for a tag that is none, InvalidRequest for an unknown action.
        """
        action = checked_action(action or MERGE)
        for tag in tags:
            _check(field, tag)
        with self.db.write() as tx:
            model = found_model(tx, ref, model_id)
            listed = getattr(model, field)
            left = _after(list(listed), tags, action)
            if len(left) > MAX_TAGS:
                raise InvalidModel(f"A model has at most {MAX_TAGS} {field}; this would make {len(left)}.")
            del listed[:]
            listed.extend(left)
            model_rows.update(tx, ref, model)
        return left


def _after(present: Sequence[str], tags: Sequence[str], action: str) -> list[str]:
    if action == REMOVE:
        return [tag for tag in present if tag not in tags]
    return list(dict.fromkeys(tags if action == OVERWRITE else [*present, *tags]))


def _check(field: str, tag: str) -> None:
    if not tag.strip() or len(tag) > MAX_LENGTH:
        raise InvalidModel(f"{field} are words of 1 to {MAX_LENGTH} characters; given {tag[:MAX_LENGTH]!r}.")
