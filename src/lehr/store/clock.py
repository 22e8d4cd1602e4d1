"""The database's own clock as an SQL expression: the one clock that all servers and workers share."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

__all__ = ["now_ms"]


class now_ms(FunctionElement[int]):  # noqa: N801  reads as the SQL function it is
    """Milliseconds since 1970 when the statement runs (not when the transaction began)."""

    type = BigInteger()
    inherit_cache = True


@compiles(now_ms, "sqlite")
def _on_sqlite(element: now_ms, compiler: Any, **options: Any) -> str:
    return "CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)"


@compiles(now_ms, "postgresql")
def _on_postgresql(element: now_ms, compiler: Any, **options: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
