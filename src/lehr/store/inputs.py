"""Inputs: images, videos, texts. The row holds the message without its bytes; the bytes are a blob."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, bindparam, func, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import update as sql_update

from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.store import facts
from lehr.store.beginnings import Beginnings, Listing
from lehr.store.rows import Noun, app_key, app_key_of, paged
from lehr.store.tables import PENDING_INPUT, apps
from lehr.store.tables import inputs as table
from lehr.store.times import stamp

__all__ = [
    "InputFilter",
    "NewInput",
    "StoredInput",
    "Taken",
    "after",
    "count",
    "delete",
    "delete_some",
    "get",
    "get_many",
    "ids_of",
    "insert",
    "keys_of",
    "lock",
    "newest_key",
    "page",
    "page_of_all",
    "pending",
    "set_content",
    "sha_of_url",
    "status_counts",
    "stored",
    "stream",
    "taken",
    "update",
    "with_content",
]


@dataclass(frozen=True, kw_only=True)
class NewInput:
    """An input about to be stored, the blob of its bytes if they came along, and the upload it is part of."""

    message: resources_pb2.Input
    content_sha: str = ""
    add_job_id: str = ""


@dataclass(frozen=True, kw_only=True)
class StoredInput:
    """An input with what the message does not say."""

    app: AppRef
    id: str
    message: resources_pb2.Input
    content_sha: str
    thumbnail_sha: str
    add_job_id: str


@dataclass(frozen=True, kw_only=True)
class InputFilter:
    """Which inputs: of these ids, in one of these status codes; an empty field means any."""

    ids: tuple[str, ...] = ()
    statuses: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Which of the asked ids and URLs the app has already."""

    ids: frozenset[str]
    urls: frozenset[str]


def _url(message: resources_pb2.Input) -> str:
    for kind in ("image", "video", "text", "audio"):
        url = str(getattr(message.data, kind).url)
        if url:
            return url
    return ""


def sha_of_url(url: str) -> str:
    """What stands for a URL in the column `url_sha`."""
    return hashlib.sha256(url.encode()).hexdigest()


def _columns(message: resources_pb2.Input) -> dict[str, Any]:
    url = _url(message)
    own = {"id": message.id, "status_code": message.status.code, "url_sha": sha_of_url(url) if url else None}
    return {**own, **facts.input_columns(message)}


_INPUTS = Noun(table=table, message=resources_pb2.Input, columns=_columns, what="input")


def insert(tx: Connection, ref: AppRef, rows: Sequence[NewInput]) -> None:
    """All or none, in one statement. Raises Duplicate if an id is taken: ask `taken` first, in the same transaction."""
    _queue_up(tx, ref)
    key = app_key_of(tx, ref)
    complete = []
    for row in rows:
        stamp(row.message)
        own = {"content_sha": row.content_sha, "thumbnail_sha": "", "add_job_id": row.add_job_id or None}
        complete.append({"app_key": key, **own, **_INPUTS.row(row.message)})
    _INPUTS.insert_rows(tx, complete)
    _note(tx, key, [row.message for row in rows if _is_noteworthy(row.message)], are_new=True)


def _is_noteworthy(message: resources_pb2.Input) -> bool:
    return message.data.HasField("metadata") or message.data.HasField("geo")


def _note(tx: Connection, app: int, messages: Sequence[resources_pb2.Input], *, are_new: bool) -> None:
    """What searches look up of them: see store/facts.py."""
    for start in range(0, len(messages), 500):
        by_id = {message.id: message for message in messages[start : start + 500]}
        found = tx.execute(select(table.c.key, table.c.id).where(table.c.app_key == app, table.c.id.in_(list(by_id))))
        facts.note_inputs(tx, app, {row.key: by_id[row.id] for row in found}, are_new=are_new)


def lock(tx: Connection, ref: AppRef) -> None:
    """Before reading what is then changed: other writers of the app's inputs wait. Raises NotFound without the app."""
    _queue_up(tx, ref)
    app_key_of(tx, ref)


def _queue_up(tx: Connection, ref: AppRef) -> None:
    """Makes the app's uploads wait for each other: so keys appear in their order and no URL comes in twice.

    SQLite has one writer anyway, and ignores the lock.
    """
    apps_row = select(apps.c.key).where(apps.c.user_id == ref.user_id, apps.c.id == ref.app_id)
    tx.execute(apps_row.with_for_update(key_share=True))


def taken(tx: Connection, ref: AppRef, *, ids: Iterable[str], urls: Iterable[str] = ()) -> Taken:
    """Which of these the app has already. In a write transaction the answer holds until its end."""
    if not tx.get_execution_options().get("postgresql_readonly"):
        _queue_up(tx, ref)
    by_sha = {sha_of_url(url): url for url in urls}
    in_app = table.c.app_key == app_key(ref)
    found = tx.execute(select(table.c.id).where(in_app, table.c.id.in_(list(ids)))).scalars()
    shas = tx.execute(select(table.c.url_sha).where(in_app, table.c.url_sha.in_(list(by_sha)))).scalars()
    return Taken(ids=frozenset(found), urls=frozenset(by_sha[sha] for sha in shas))


def get(tx: Connection, ref: AppRef, input_id: str) -> resources_pb2.Input | None:
    """The input of this id."""
    return _INPUTS.first(tx, table.c.app_key == app_key(ref), table.c.id == input_id)


def get_many(tx: Connection, ref: AppRef, ids: Iterable[str]) -> dict[str, resources_pb2.Input]:
    """Those of the ids that exist."""
    return _INPUTS.by_id(tx, ids, table.c.app_key == app_key(ref))


def ids_of(tx: Connection, keys: Iterable[int]) -> dict[int, str]:
    """Key → id, of those of the keys that exist."""
    query = select(table.c.key, table.c.id).where(table.c.key.in_(list(keys)))
    return {int(row.key): row.id for row in tx.execute(query)}


def keys_of(tx: Connection, ref: AppRef, ids: Iterable[str]) -> dict[str, int]:
    """Id → key, of those of the ids that exist, in the order of their keys."""
    query = select(table.c.id, table.c.key).where(table.c.app_key == app_key(ref), table.c.id.in_(list(ids)))
    return {row.id: int(row.key) for row in tx.execute(query.order_by(table.c.key))}


def _matches(ref: AppRef, filters: InputFilter) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = [table.c.app_key == app_key(ref)]
    if filters.ids:
        same = table.alias()  # found first, by their index: SQLite would else walk the whole app in order of key
        chosen = select(same.c.key).where(same.c.app_key == app_key(ref), same.c.id.in_(filters.ids))
        where.append(table.c.key.in_(chosen))
    if filters.statuses:
        where.append(table.c.status_code.in_(filters.statuses))
    return where


def page(
    tx: Connection, ref: AppRef, *, page: int, per_page: int, filters: InputFilter = InputFilter()
) -> list[resources_pb2.Input]:
    """The app's inputs, oldest first: a listing misses and repeats nothing while others are added."""
    return _INPUTS.page(tx, *_matches(ref, filters), page=page, per_page=per_page)


def page_of_all(
    tx: Connection, ref: AppRef, *, page: int, per_page: int, beginnings: Beginnings
) -> list[resources_pb2.Input]:
    """As `page` without a filter; as fast at the end of the app as at its beginning, if the page before was read."""
    app = tx.execute(select(apps.c.key, apps.c.input_deletions).where(apps.c.key == app_key(ref))).first()
    if app is None:
        return []
    listing = Listing(app.key, app.input_deletions, per_page)
    query = select(table.c.key, table.c.message).where(table.c.app_key == app.key)
    before = beginnings.before(listing, page)
    if before is None:
        keys = paged(select(table.c.key).where(table.c.app_key == app.key).order_by(table.c.key), page, per_page)
        query = query.where(table.c.key.in_(keys))
    else:
        query = query.where(table.c.key > before).limit(per_page)
    rows = tx.execute(query.order_by(table.c.key)).all()
    if len(rows) == per_page:
        beginnings.remember(listing, page + 1, rows[-1].key)
    return [_INPUTS.parse(row.message) for row in rows]


def stream(
    tx: Connection, ref: AppRef, *, last_id: str, limit: int, by_id: bool = False, descending: bool = False
) -> list[resources_pb2.Input] | None:
    """Up to `limit` inputs behind the one called `last_id` in order of arrival or of id; from the first where that is
    empty. None where it is unknown and its place with it: ids know their place, arrivals do not.
    """
    in_app, column = table.c.app_key == app_key(ref), table.c.id if by_id else table.c.key
    where: list[ColumnElement[bool]] = [in_app]
    if last_id:
        last: Any = last_id
        if not by_id:
            last = tx.execute(select(table.c.key).where(in_app, table.c.id == last_id)).scalar()
        if last is None:
            return None
        where.append(column < last if descending else column > last)
    order = [column.desc() if descending else column]
    return _INPUTS.page(tx, *where, page=1, per_page=limit, order=order)


def after(tx: Connection, ref: AppRef, *, last_id: str, limit: int) -> list[resources_pb2.Input]:
    """Up to `limit` inputs that came after the one called `last_id`; from the first where that is empty or unknown."""
    in_app = table.c.app_key == app_key(ref)
    last = select(table.c.key).where(in_app, table.c.id == last_id).scalar_subquery()
    return _INPUTS.page(tx, in_app, table.c.key > func.coalesce(last, 0), page=1, per_page=limit)


def count(tx: Connection, ref: AppRef, filters: InputFilter = InputFilter()) -> int:
    """How many inputs `page` runs over."""
    return _INPUTS.count(tx, *_matches(ref, filters))


def status_counts(tx: Connection, ref: AppRef) -> dict[int, int]:
    """Status code → number of inputs in it."""
    query = select(table.c.status_code, func.count()).where(table.c.app_key == app_key(ref))
    return {int(code): int(number) for code, number in tx.execute(query.group_by(table.c.status_code))}


def _with_app() -> Select[Any]:
    return select(table, apps.c.user_id, apps.c.id.label("app_id")).join(apps, apps.c.key == table.c.app_key)


def _stored(row: Row[Any]) -> StoredInput:
    return StoredInput(
        app=AppRef(row.user_id, row.app_id),
        id=row.id,
        message=_INPUTS.parse(row.message),
        content_sha=row.content_sha,
        thumbnail_sha=row.thumbnail_sha,
        add_job_id=row.add_job_id or "",
    )


def stored(tx: Connection, ref: AppRef, ids: Iterable[str]) -> dict[str, StoredInput]:
    """Those of the ids that exist, with the names of their blobs."""
    query = _with_app().where(table.c.app_key == app_key(ref), table.c.id.in_(list(ids)))
    return {row.id: _stored(row) for row in tx.execute(query)}


def with_content(tx: Connection, ref: AppRef, sha: str) -> StoredInput | None:
    """An input of the app that holds these bytes; of several, one that has a thumbnail."""
    query = _with_app().where(table.c.content_sha == sha, table.c.app_key == app_key(ref))
    row = tx.execute(query.order_by(table.c.thumbnail_sha.desc()).limit(1)).first()
    return None if row is None else _stored(row)


def pending(tx: Connection, *, limit: int, app: AppRef | None = None) -> list[StoredInput]:
    """Up to `limit` inputs of any app (or of one) that wait for their processing, oldest first."""
    query = _with_app().where(PENDING_INPUT).order_by(table.c.key).limit(limit)
    if app is not None:
        query = query.where(table.c.app_key == app_key(app))
    return [_stored(row) for row in tx.execute(query)]


def update(tx: Connection, ref: AppRef, inputs: Sequence[resources_pb2.Input]) -> None:
    """Writes the whole messages. Raises NotFound."""
    if not inputs:
        return
    key = app_key_of(tx, ref)
    _INPUTS.update_many(tx, inputs, table.c.app_key == key)
    _note(tx, key, inputs, are_new=False)


def set_content(tx: Connection, ref: AppRef, blobs: Mapping[str, tuple[str, str]]) -> int:
    """Names the blobs of inputs' bytes and thumbnails, by input; answers of how many: others went in the meantime."""
    if not blobs:
        return 0
    which = (table.c.app_key == app_key_of(tx, ref), table.c.id == bindparam("input_id"))
    rows = [{"input_id": id_, "content_sha": sha, "thumbnail_sha": small} for id_, (sha, small) in blobs.items()]
    return tx.execute(sql_update(table).where(*which), rows).rowcount


def delete(tx: Connection, ref: AppRef, ids: Iterable[str]) -> int:
    """Deletes those that exist, with their annotations and their places in data sets."""
    _count_deletion(tx, ref)
    return _INPUTS.delete(tx, table.c.app_key == app_key(ref), table.c.id.in_(list(ids)))


def _count_deletion(tx: Connection, ref: AppRef) -> None:
    """Pages do not begin where they did: see store/beginnings.py."""
    counted = {apps.c.input_deletions: apps.c.input_deletions + 1}
    tx.execute(sql_update(apps).where(apps.c.key == app_key(ref)).values(counted))


def newest_key(tx: Connection, ref: AppRef) -> int:
    """Key of the app's input that came last; 0 without any."""
    return tx.execute(select(func.max(table.c.key)).where(table.c.app_key == app_key(ref))).scalar() or 0


def delete_some(tx: Connection, ref: AppRef, *, up_to: int, limit: int) -> int:
    """Deletes so many of the app's inputs, the oldest first, none behind the key `up_to`; answers how many."""
    _count_deletion(tx, ref)
    which = (table.c.app_key == app_key(ref), table.c.key <= up_to)
    some = select(table.c.key).where(*which).order_by(table.c.key).limit(limit)
    return tx.execute(sql_delete(table).where(table.c.key.in_(tx.execute(some).scalars().all()))).rowcount
