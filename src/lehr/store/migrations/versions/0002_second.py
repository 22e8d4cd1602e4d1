"""The tables of searches, indexes, uploads, exports, tracks and people."""

from __future__ import annotations

from alembic import op

from lehr.store.tables import METADATA

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds them."""
    METADATA.create_all(op.get_bind())
