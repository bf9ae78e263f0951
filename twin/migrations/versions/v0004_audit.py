"""The audit trail is chained by hashes, and only ever added to."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

from twin.audit import FIRST, canonical, chained

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Chain what is there, in its order."""
    connection = op.get_bind()
    rows = connection.execute(
        sa.text("SELECT time, who, what, details FROM audit ORDER BY row")
    ).all()
    op.drop_table("audit")
    text = [sa.Column(name, sa.String, nullable=False) for name in ("who", "what", "details")]
    trail = op.create_table(
        "audit",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("time", sa.BigInteger, nullable=False, index=True),
        *text,
        sa.Column("previous", sa.String, nullable=False),
        sa.Column("hash", sa.String, nullable=False),
    )
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.String, nullable=False),
    )
    previous = FIRST
    for number, (time, who, what, old) in enumerate(rows, 1):
        details = canonical((json.loads(old) if isinstance(old, str) else old) or {})
        its_hash = chained(time, who, what, details, previous)
        values = (number, time, who, what, details, previous, its_hash)
        connection.execute(sa.insert(trail).values(dict(zip(trail.c.keys(), values, strict=True))))
        previous = its_hash
    if rows:
        connection.execute(sa.insert(head).values(id=1, number=len(rows), hash=previous))
    if connection.dialect.name == "sqlite":
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audit_no_{change.lower()} BEFORE {change} ON audit "
                "BEGIN SELECT RAISE(ABORT, 'the audit trail is only ever added to'); END"
            )
