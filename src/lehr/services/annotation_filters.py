"""Annotation filters: kept searches that choose which annotations a version of a data set holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from lehr.errors import Duplicate, InvalidSearch, NotFound
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef, checked_id, new_id
from lehr.protocol.patch import OVERWRITE, checked_action, patched
from lehr.services.batches import chunks
from lehr.services.filters import Filters
from lehr.services.paging import Paging
from lehr.store import annotation_filters as filter_rows
from lehr.store import searches as search_rows
from lehr.store.conditions import Asked
from lehr.store.db import Database

MAX_FILTERS = 128
"""Filters in one request."""


@dataclass(frozen=True, kw_only=True)
class AnnotationFilters:
    """Needs only the store."""

    db: Database

    def create(
        self, ref: AppRef, wanted: Sequence[resources_pb2.AnnotationFilter]
    ) -> list[resources_pb2.AnnotationFilter]:
        """Makes filters, all or none. Raises Duplicate, and InvalidSearch for what cannot be filtered by."""
        if not 1 <= len(wanted) <= MAX_FILTERS:
            raise InvalidSearch(f"A request makes 1 to {MAX_FILTERS} annotation filters; this one has {len(wanted)}.")
        made = [_new(ref, order) for order in wanted]
        with self.db.write() as tx:
            for message in made:
                asked_of(tx, ref, message)
                if filter_rows.get(tx, ref, message.id) is not None:
                    raise Duplicate(f"Annotation filter {message.id!r} already exists.")
                filter_rows.insert(tx, ref, [message])
        return made

    def get(self, ref: AppRef, filter_id: str) -> resources_pb2.AnnotationFilter:
        """One filter. Raises NotFound."""
        with self.db.read() as tx:
            return found_filter(tx, ref, filter_id)

    def list_of(self, ref: AppRef, paging: Paging) -> list[resources_pb2.AnnotationFilter]:
        """A page of the app's filters, newest first."""
        with self.db.read() as tx:
            return filter_rows.page(tx, ref, page=paging.page, per_page=paging.per_page)

    def patch(
        self, ref: AppRef, changes: Sequence[resources_pb2.AnnotationFilter], action: str
    ) -> list[resources_pb2.AnnotationFilter]:
        """Changes filters, all or none; frozen versions stay. Raises NotFound, InvalidSearch or InvalidRequest."""
        action = checked_action(action or OVERWRITE)
        done = []
        with self.db.write() as tx:
            for change in changes:
                stored = found_filter(tx, ref, change.id)
                message = patched(stored, change, action)
                message.id, message.app_id, message.user_id = stored.id, stored.app_id, stored.user_id
                message.created_at.CopyFrom(stored.created_at)
                asked_of(tx, ref, message)
                filter_rows.update(tx, ref, message)
                done.append(message)
        return done

    def delete(self, ref: AppRef, ids: Sequence[str]) -> int:
        """Deletes filters; those that do not exist are passed over. No ids: nothing is deleted."""
        with self.db.write() as tx:
            return sum(filter_rows.delete(tx, ref, some) for some in chunks(ids))


def found_filter(tx: Connection, ref: AppRef, filter_id: str) -> resources_pb2.AnnotationFilter:
    """The filter of this id. Raises NotFound."""
    found = filter_rows.get(tx, ref, filter_id)
    if found is None:
        raise NotFound(f"There is no annotation filter {filter_id!r} in app {ref.app_id!r}.")
    return found


def resolved(tx: Connection, ref: AppRef, named: resources_pb2.AnnotationFilter) -> resources_pb2.AnnotationFilter:
    """The filter as it is now: the stored one where only an id is given. Raises NotFound."""
    if named.HasField("search") or not named.id:
        return named
    return found_filter(tx, ref, named.id)


def asked_of(tx: Connection, ref: AppRef, message: resources_pb2.AnnotationFilter) -> Asked:
    """What the filter chooses. Raises InvalidSearch, and NotFound for an unknown saved search."""
    search = message.search
    if search.id and not search.query.ListFields():
        saved = search_rows.get(tx, ref, search.id)
        if saved is None:
            raise NotFound(f"There is no saved search {search.id!r} in app {ref.app_id!r}.")
        search = saved
    outputs = [each for each in search.query.ands if each.HasField("output")]
    if search.query.ranks or outputs:
        raise InvalidSearch("An annotation filter chooses by filters; ranks only put things in order. Leave them out.")
    asked = Filters(tx=tx, ref=ref).asked(search)
    if not asked.conditions and asked.as_of is None:
        raise InvalidSearch("An annotation filter needs search.query.filters that ask for something, or search.as_of.")
    return asked


def _new(ref: AppRef, order: resources_pb2.AnnotationFilter) -> resources_pb2.AnnotationFilter:
    id_ = checked_id(order.id, "Annotation filter", refuse=InvalidSearch) if order.id else new_id()
    return resources_pb2.AnnotationFilter(id=id_, app_id=ref.app_id, user_id=ref.user_id, search=order.search)
