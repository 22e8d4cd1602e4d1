"""The table of browsers that are signed in to the web page."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column

from lehr.store.tables.kit import SHA, key, parent, table

web_sessions = table(
    "web_sessions",
    key(),
    parent("key_key", "keys.key", index=True),
    Column("token_sha", SHA, nullable=False, unique=True),
    Column("expires_at", BigInteger, nullable=False, index=True),  # ms since 1970
)
