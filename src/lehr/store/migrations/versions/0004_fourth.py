"""How often inputs of an app were deleted: what remembers where pages of them begin forgets it then."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Adds the column; nobody remembers anything across a start."""
    op.add_column("apps", Column("input_deletions", BigInteger, nullable=False, server_default="0"))
