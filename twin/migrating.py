"""Migrations: a ledger of an older version is brought up to date; a newer one is left alone.

A new ledger is created as the tables are declared, an old one by `twin/migrations`; a test holds
that both come to the same.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import sqlalchemy as sa
import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

_SCRIPTS: Final = Path(__file__).with_name("migrations")
_FIRST: Final = "0001"
"""What a ledger without a revision is: it is older than migrations."""
log = structlog.get_logger()


class LedgerError(Exception):
    """A ledger cannot be used; the message says why, and what to do."""


def migrate(url: sa.URL, metadata: sa.MetaData) -> None:
    """Create the tables of a ledger, or bring them up to date; the old file stays as a copy.

    All or nothing: SQLite and PostgreSQL change tables in a transaction.

    Raises:
        LedgerError: a newer program made it.
        sqlalchemy.exc.SQLAlchemyError: the database refuses.
    """
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    head = scripts.get_current_head()
    engine = sa.create_engine(url, poolclass=NullPool)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _leave_transactions_to_us)
        sa.event.listen(engine, "begin", _exclude_others)
    try:
        with engine.connect() as connection:
            revision = _revision(connection)
        if revision == head:
            return
        known = {script.revision for script in scripts.walk_revisions()}
        if revision is not None and revision not in known:
            raise LedgerError(
                f"the ledger {url.render_as_string()} was made by a newer linetwin (its revision "
                f"is {revision}, this program knows up to {head}): install that version again, or "
                "restore the copy that lies beside it from before"
            )
        if revision is not None:
            _keep_copy(url, revision)
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            # another process may have been here since
            revision = _revision(connection)
            if revision is None:
                metadata.create_all(connection)
                command.stamp(config, "head")
            else:
                if MigrationContext.configure(connection).get_current_revision() is None:
                    command.stamp(config, _FIRST)
                command.upgrade(config, "head")
                log.info("ledger", upgraded_from=revision, to=head)
    finally:
        engine.dispose()


def _revision(connection: sa.Connection) -> str | None:
    """Of the ledger; None where there is none yet."""
    found = MigrationContext.configure(connection).get_current_revision()
    if found is None and sa.inspect(connection).has_table("recommendations"):
        return _FIRST
    return found


def _keep_copy(url: sa.URL, revision: str) -> None:
    """Copy a SQLite file as it is, with what its log holds; of others the site keeps dumps."""
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return
    file = Path(str(url.database))
    copy = file.with_name(f"{file.stem}.{revision}{file.suffix}")
    if copy.exists():
        return
    beside = copy.with_name(f".{copy.name}.new")
    beside.unlink(missing_ok=True)
    with closing(sqlite3.connect(file)) as old, closing(sqlite3.connect(beside)) as new:
        old.backup(new)
    beside.replace(copy)


def _leave_transactions_to_us(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # Python's driver would otherwise commit before it changes a table
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.close()


def _exclude_others(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
