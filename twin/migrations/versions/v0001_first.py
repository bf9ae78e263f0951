"""The ledger as it was before it had migrations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _log(name: str, *columns: sa.Column[object]) -> None:
    op.create_table(
        name,
        sa.Column("row", sa.Integer, primary_key=True),
        sa.Column("time", sa.BigInteger, nullable=False, index=True),
        *columns,
    )


def _text(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.String, nullable=False)


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "recommendations",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("time", sa.BigInteger, primary_key=True),
        _text("web"),
        _text("state"),
        _text("decided_by"),
        _text("reason"),
        sa.Column("document", sa.JSON, nullable=False),
    )
    _log(
        "recommendation_states",
        sa.Column("recommendation", sa.String, nullable=False, index=True),
        sa.Column("made", sa.BigInteger, nullable=False),
        _text("state"),
        _text("decided_by"),
        _text("note"),
    )
    _log("mode_changes", _text("step"), _text("mode"), _text("reason"), _text("by"))
    _log("alarms", _text("subject"), _text("text"), sa.Column("cleared", sa.BigInteger))
    _log("audit", _text("who"), _text("what"), sa.Column("details", sa.JSON))
    _log("models", _text("step"), _text("model"), _text("version"))
    _log(
        "model_changes",
        *map(
            _text,
            ("step", "kind", "file", "version", "sha256", "previous", "by", "evidence"),
        ),
    )
    _log("splices", _text("web"), sa.Column("position", sa.Float))
    op.create_table(
        "rolls",
        sa.Column("web", sa.String, primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True),
        sa.Column("start", sa.Float),
        sa.Column("end", sa.Float),
        sa.Column("began", sa.BigInteger),
        sa.Column("wound", sa.BigInteger),
    )
    op.create_table(
        "slurry_batches",
        sa.Column("batches", sa.String, primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True),
        sa.Column("released", sa.BigInteger, nullable=False),
        sa.Column("parameters", sa.JSON, nullable=False),
    )
