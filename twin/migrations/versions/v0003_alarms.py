"""Alarms have the states of ISA-18.2."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the book and its states; alarms of before stay in the copy of the old ledger."""
    op.drop_table("alarms")
    op.create_table(
        "alarm_book",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("time", sa.BigInteger, nullable=False, index=True),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
    )
    op.create_table(
        "alarm_states",
        sa.Column("row", sa.Integer, primary_key=True),
        sa.Column("time", sa.BigInteger, nullable=False, index=True),
        sa.Column("alarm", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("by", sa.String, nullable=False),
    )
