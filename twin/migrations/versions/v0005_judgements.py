"""What the material did after a recommendation."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "judgements",
        sa.Column("recommendation", sa.String, primary_key=True),
        sa.Column("parameter", sa.String, primary_key=True),
        sa.Column("time", sa.BigInteger, nullable=False, index=True),
        sa.Column("kept", sa.Boolean, nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
    )
