"""Users, tokens and sessions; laboratory values that people enter."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String, nullable=False)


def _time(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "users",
        sa.Column("name", sa.String, primary_key=True),
        _text("role"),
        _text("password"),
        _time("added"),
    )
    op.create_table(
        "tokens",
        sa.Column("name", sa.String, primary_key=True),
        _text("role"),
        sa.Column("sha256", sa.String, nullable=False, unique=True),
        _time("issued"),
        _time("expires"),
    )
    op.create_table(
        "sessions",
        sa.Column("sha256", sa.String, primary_key=True),
        sa.Column("user", sa.String, nullable=False, index=True),
        _time("expires"),
    )
    op.create_table(
        "laboratory_entries",
        sa.Column("row", sa.Integer, primary_key=True),
        sa.Column("time", sa.BigInteger, nullable=False, index=True),
        _text("by"),
        _text("tag"),
        _text("unit"),
        sa.Column("value", sa.Float, nullable=False),
        _time("sampled"),
        sa.Column("roll", sa.BigInteger),
        sa.Column("metre", sa.Float),
        sa.Column("batch", sa.BigInteger),
        _text("note"),
        sa.Column("corrects", sa.Integer),
    )
