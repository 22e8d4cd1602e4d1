"""Saved searches: kept under an id, changed, and run by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from lehr.errors import Duplicate, InvalidSearch, NotFound
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef, checked_id, new_id
from lehr.protocol.patch import OVERWRITE, checked_action, patched
from lehr.services.filters import Filters
from lehr.services.paging import Paging
from lehr.services.ranks import check_ranks
from lehr.services.searches import Searches, check_search
from lehr.store import searches as search_rows
from lehr.store.db import Database
from lehr.store.searches import Kind

MAX_SEARCHES = 128
"""Searches in one request."""
MAX_BYTES = 4 * 2**20
"""Bytes of one saved search: a picture to rank by counts in full."""


@dataclass(frozen=True, kw_only=True)
class SavedSearches:
    """Needs the store, and what runs searches."""

    db: Database
    searches: Searches

    def save(self, ref: AppRef, wanted: Sequence[resources_pb2.Search], kind: Kind) -> list[resources_pb2.Search]:
        """Keeps them, all or none, and runs none. Raises Duplicate, and InvalidSearch for what could not be run."""
        if len(wanted) > MAX_SEARCHES:
            raise InvalidSearch(f"A request saves at most {MAX_SEARCHES} searches; this one has {len(wanted)}.")
        made = [_new(ref, search) for search in wanted]
        with self.db.write() as tx:
            for search in made:
                _check(tx, ref, search)
                if search_rows.get(tx, ref, search.id) is not None:
                    raise Duplicate(f"Search {search.id!r} already exists; patch it, or choose another id.")
                search_rows.insert(tx, ref, search, kind)
        return made

    def get(self, ref: AppRef, search_id: str) -> resources_pb2.Search:
        """One search. Raises NotFound."""
        with self.db.read() as tx:
            return saved(tx, ref, search_id)

    def list_of(self, ref: AppRef, paging: Paging) -> list[resources_pb2.Search]:
        """A page of the app's saved searches, newest first."""
        with self.db.read() as tx:
            return search_rows.page(tx, ref, page=paging.page, per_page=paging.per_page)

    def patch(
        self, ref: AppRef, changes: Sequence[resources_pb2.Search], action: str, kind: Kind | None = None
    ) -> list[resources_pb2.Search]:
        """Changes searches (of this kind), all or none. Raises NotFound, InvalidSearch or InvalidRequest."""
        action = checked_action(action or OVERWRITE)
        done = []
        with self.db.write() as tx:
            for change in changes:
                stored = saved(tx, ref, change.id)
                if kind not in (None, search_rows.kind_of(tx, ref, change.id)):
                    raise NotFound(f"Search {change.id!r} does not find {kind}: patch it by PatchSearches.")
                search = patched(stored, change, action)
                _settle(ref, search, stored)
                _check(tx, ref, search)
                search_rows.update(tx, ref, search)
                done.append(search)
        return done

    def delete(self, ref: AppRef, search_id: str) -> None:
        """Raises NotFound."""
        with self.db.write() as tx:
            if not search_rows.delete(tx, ref, search_id):
                raise _missing(ref, search_id)

    def run(self, ref: AppRef, search_id: str, paging: Paging) -> list[resources_pb2.Hit]:
        """A page of what the search finds now. Raises NotFound."""
        with self.db.read() as tx:
            search = saved(tx, ref, search_id)
            kind = search_rows.kind_of(tx, ref, search_id) or "inputs"
        return self.searches.run(ref, search, paging, kind)


def saved(tx: Connection, ref: AppRef, search_id: str) -> resources_pb2.Search:
    """The search of this id. Raises NotFound."""
    found = search_rows.get(tx, ref, search_id)
    if found is None:
        raise _missing(ref, search_id)
    return found


def _missing(ref: AppRef, search_id: str) -> NotFound:
    return NotFound(f"There is no saved search {search_id!r} in app {ref.app_id!r}.")


def _new(ref: AppRef, order: resources_pb2.Search) -> resources_pb2.Search:
    search = resources_pb2.Search()
    search.CopyFrom(order)
    search.id = checked_id(order.id, "Search", refuse=InvalidSearch) if order.id else new_id()
    for name in ("created_at", "modified_at"):
        search.ClearField(name)
    _settle(ref, search, resources_pb2.Search(id=search.id))
    return search


def _settle(ref: AppRef, search: resources_pb2.Search, stored: resources_pb2.Search) -> None:
    """What no client sets."""
    search.id, search.application_id, search.save = stored.id, ref.app_id, False
    search.ClearField("git_hash")
    if stored.HasField("created_at"):
        search.created_at.CopyFrom(stored.created_at)


def _check(tx: Connection, ref: AppRef, search: resources_pb2.Search) -> None:
    check_search(search)
    check_ranks(search.query)
    Filters(tx=tx, ref=ref).asked(search)
    if search.ByteSize() > MAX_BYTES:
        raise InvalidSearch(
            f"Search {search.id!r} has {search.ByteSize()} bytes; at most {MAX_BYTES} are kept. "
            "To rank by a big picture, upload it and name it by input_id."
        )
