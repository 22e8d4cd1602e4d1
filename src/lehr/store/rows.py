"""What the nouns share: rows that hold one serialised message each, with the columns that queries need beside it.

Knows no noun: each noun says which table, which message, and how its columns follow from the message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    ScalarSelect,
    Select,
    Table,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from lehr.errors import Duplicate, NotFound
from lehr.protocol.ids import AppRef
from lehr.store import tables
from lehr.store.times import stamp, touch

__all__ = ["Noun", "app_key", "app_key_of", "insert_new", "is_like", "paged"]

M = TypeVar("M")
Condition = ColumnElement[bool]


def app_key(app: AppRef) -> ScalarSelect[Any]:
    """The app's key as a subquery: NULL, hence no rows, where there is no such app."""
    apps = tables.apps.c
    return select(apps.key).where(apps.user_id == app.user_id, apps.id == app.app_id).scalar_subquery()


def app_key_of(tx: Connection, app: AppRef) -> int:
    """The app's key, for inserting below it. Raises NotFound."""
    key = tx.execute(select(app_key(app))).scalar()
    if key is None:
        raise NotFound(f"there is no app {app.app_id!r} of user {app.user_id!r}")
    return int(key)


def insert_new(tx: Connection, table: Table) -> Any:
    """An INSERT that leaves rows alone which are there already: another transaction may have come first."""
    if tx.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # every PostgreSQL driver's dialect comes along: a tenth of a second

        return postgresql.insert(table).on_conflict_do_nothing()
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table).on_conflict_do_nothing()


def paged(query: Select[Any], page: int, per_page: int) -> Select[Any]:
    """The page-th (from 1) `per_page` rows."""
    assert page >= 1, f"page {page}: pages count from 1"
    assert per_page >= 1, f"per_page {per_page}"
    return query.limit(per_page).offset((page - 1) * per_page)


def is_like(pattern: str, *columns: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether all of one of the texts is like the pattern, whatever the case, where `*` stands for anything."""
    literal = pattern.lower().replace("/", "//").replace("%", "/%").replace("_", "/_")
    wanted = literal.replace("*", "%")
    return or_(*(func.lower(column).like(wanted, escape="/") for column in columns))


@dataclass(frozen=True, kw_only=True)
class Noun(Generic[M]):
    """A table whose rows each hold one message of class `message`."""

    table: Table
    message: Callable[[], M]
    columns: Callable[[M], Mapping[str, Any]]
    """The query columns of a message."""
    what: str
    """What a person calls it."""

    def parse(self, data: bytes) -> M:
        """The message of a row."""
        parsed = self.message()
        parsed.MergeFromString(data)  # type: ignore[attr-defined]
        return parsed

    def insert(self, tx: Connection, messages: Sequence[M], **owner: Any) -> None:
        """Stamps and inserts all in one statement; `owner` gives the columns that are the same in every row."""
        rows = []
        for message in messages:
            stamp(message)
            rows.append({**owner, **self.row(message)})
        self.insert_rows(tx, rows)

    def insert_rows(self, tx: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Inserts complete rows, none of them if one is a Duplicate."""
        if not rows:
            return
        statement: Any = insert(self.table)
        if tx.dialect.name == "postgresql":  # asking for something back makes one statement of many rows
            statement = statement.returning(self.table.c.key)
        try:
            with tx.begin_nested():
                tx.execute(statement, list(rows))
        except IntegrityError as error:
            raise self._refusal(rows, error) from error

    def _refusal(self, rows: Sequence[Mapping[str, Any]], error: IntegrityError) -> Exception:
        reason = str(error.orig).lower()
        if "foreign key" in reason:
            return NotFound(f"what the {self.what} belongs to does not exist")
        shown = ", ".join(repr(row["id"]) for row in rows[:5]) + (", …" if len(rows) > 5 else "")
        return Duplicate(f"{self.what} id {shown} already exists; choose another id, or patch the one that is there")

    def row(self, message: M) -> dict[str, Any]:
        """The row of a message that is already stamped, but for its owner."""
        return {**self.columns(message), "message": message.SerializeToString()}  # type: ignore[attr-defined]

    def first(self, tx: Connection, *where: Condition) -> M | None:
        """The one message of the row that fulfils the conditions."""
        data = tx.execute(select(self.table.c.message).where(*where)).scalar()
        return None if data is None else self.parse(data)

    def messages(self, tx: Connection, query: Select[Any]) -> list[M]:
        """The messages of a query whose first column is `message`."""
        return [self.parse(row[0]) for row in tx.execute(query)]

    def page(self, tx: Connection, *where: Condition, page: int, per_page: int, order: Sequence[Any] = ()) -> list[M]:
        """One page; `order` defaults to the order of insertion. Rows are fetched only once the page is found."""
        table = self.table.c
        by = list(order) or [table.key]
        keys = paged(select(table.key).where(*where).order_by(*by), page, per_page)
        return self.messages(tx, select(table.message).where(table.key.in_(keys)).order_by(*by))

    def count(self, tx: Connection, *where: Condition) -> int:
        """How many rows fulfil the conditions."""
        return int(tx.execute(select(func.count()).select_from(self.table).where(*where)).scalar_one())

    def update(self, tx: Connection, message: M, *where: Condition) -> None:
        """Touches the message and writes it over the row that fulfils the conditions. Raises NotFound."""
        touch(message)
        changed = tx.execute(update(self.table).where(*where).values(**self.row(message)))
        if changed.rowcount == 0:
            raise NotFound(f"there is no {self.what} {message.id!r}")  # type: ignore[attr-defined]

    def update_many(self, tx: Connection, messages: Sequence[M], *where: Condition) -> None:
        """As `update` for each, among the rows that fulfil the conditions, in one go. Raises NotFound."""
        for message in messages:
            touch(message)
        rows = [{"of_id": message.id, **self.row(message)} for message in messages]  # type: ignore[attr-defined]
        changed = tx.execute(update(self.table).where(self.table.c.id == bindparam("of_id"), *where), rows)
        if changed.rowcount < len(rows):
            there = self.by_id(tx, [row["of_id"] for row in rows], *where)
            missing = next(row["of_id"] for row in rows if row["of_id"] not in there)
            raise NotFound(f"there is no {self.what} {missing!r}")

    def delete(self, tx: Connection, *where: Condition) -> int:
        """How many rows went, with everything below them."""
        assert where, "a delete without a condition would empty the table"
        return tx.execute(delete(self.table).where(*where)).rowcount

    def by_id(self, tx: Connection, ids: Iterable[str], *where: Condition) -> dict[str, M]:
        """The messages of these ids, as far as they exist."""
        table = self.table.c
        query = select(table.id, table.message).where(table.id.in_(list(ids)), *where)
        return {row.id: self.parse(row.message) for row in tx.execute(query)}
