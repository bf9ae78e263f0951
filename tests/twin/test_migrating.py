"""Ledgers of other versions: an old one is brought up to date, a newer one is left as it is."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext

from twin import ledger as module
from twin import migrating
from twin.audit import verify
from twin.ledger import Ledger
from twin.migrating import LedgerError

MIGRATIONS = Path(migrating.__file__).with_name("migrations")


def url(file: Path) -> str:
    return f"sqlite:///{file}"


def old_ledger(file: Path, stamped: bool = False) -> None:
    """A ledger as the first version made it, with something in it."""
    engine = sa.create_engine(url(file))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(
            sa.text("INSERT INTO mode_changes VALUES (1, 5, 'coating', 'twin', 'trusted', 'me')")
        )
        for row in (1, 2):
            details = '{"b": "\u00fc", "a": 1.5}'
            values = {"row": row, "details": details}
            entry = "INSERT INTO audit VALUES (:row, 5, 'me', 'accept', :details)"
            connection.execute(sa.text(entry), values)
        if not stamped:
            connection.execute(sa.text("DROP TABLE alembic_version"))
    engine.dispose()


@pytest.mark.parametrize("stamped", [False, True])
def test_an_old_ledger_is_brought_up_to_date_and_kept_as_it_was(
    tmp_path: Path, stamped: bool
) -> None:
    file = tmp_path / "ledger.sqlite"
    old_ledger(file, stamped)
    with Ledger(url(file)) as ledger:
        assert ledger.modes() == {"coating": "twin"}
        ledger.intervene(1, 5, {"kind": "fell silent"})
        assert [row["number"] for row in ledger.interventions(0)] == [1]
    kept = tmp_path / "ledger.0001.sqlite"
    with closing(sqlite3.connect(kept)) as connection:
        assert connection.execute("SELECT mode FROM mode_changes").fetchall() == [("twin",)]
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    assert ("interventions",) not in tables
    before = kept.stat().st_mtime_ns
    Ledger(url(file)).close()
    assert kept.stat().st_mtime_ns == before


def test_what_was_audited_before_is_chained(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    old_ledger(file)
    with Ledger(url(file)) as ledger:
        ledger.audit(6, "me", "reject", {})
        verdict = verify(ledger.audit_rows(), ledger.audit_head())
        assert (verdict.rows, verdict.problems) == (3, ())
        assert ledger.audited()[-1]["details"] == {"a": 1.5, "b": "ü"}
    with closing(sqlite3.connect(file)) as connection:
        for change in ("DELETE FROM audit", "UPDATE audit SET who = 'eve'"):
            with pytest.raises(sqlite3.IntegrityError, match="only ever added to"):
                connection.execute(change)


def test_migrations_come_to_what_is_declared(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    old_ledger(file)
    Ledger(url(file)).close()
    for path in (file, tmp_path / "new.sqlite"):
        Ledger(url(path)).close()
        engine = sa.create_engine(url(path))
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, module._METADATA) == []
        engine.dispose()


def test_a_newer_ledger_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    Ledger(url(file)).close()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    before = file.read_bytes()
    with pytest.raises(LedgerError, match=r"newer linetwin .*9999.* install that version"):
        Ledger(url(file))
    assert file.read_bytes() == before


def test_an_upgrade_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ledger.sqlite"
    old_ledger(file)

    def fails(config: Config, revision: str) -> None:
        upgrade(config, revision)
        raise OSError("the power is gone")

    upgrade = command.upgrade
    monkeypatch.setattr(migrating.command, "upgrade", fails)
    with pytest.raises(OSError, match="power"):
        Ledger(url(file))
    with closing(sqlite3.connect(file)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    assert ("interventions",) not in tables
    assert ("alembic_version",) not in tables
    monkeypatch.undo()
    with Ledger(url(file)) as ledger:
        assert ledger.modes() == {"coating": "twin"}
