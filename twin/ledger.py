"""The ledger: advice, decisions and material in a relational database."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Final, Self

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Float, Integer, String, Table
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from twin.alarms import Alarm
from twin.audit import FIRST, AuditRow, canonical, chained
from twin.migrating import migrate
from twin.promise import Judgement

Row = dict[str, Any]

LEDGER: Final = "ledger.sqlite"
"""In the folder of a store."""
TWIN: Final = "twin"
"""Who, where no person did it."""
WRITE_BEGINS: Final = "write begins"
WRITE_ENDS: Final = ("written", "write failed")
MODE_SET: Final = "set mode"
_BUSY: Final = 5.0
"""Seconds to wait for others who write."""
_ATTEMPTS: Final = 20
"""To add to the audit trail, while others add to it too."""

_METADATA: Final = sa.MetaData()


def _time() -> Column[int]:
    return Column("time", BigInteger, nullable=False, index=True)


def _text(name: str) -> Column[str]:
    return Column(name, String, nullable=False)


def _log(name: str, *columns: Column[Any]) -> Table:
    return Table(name, _METADATA, Column("row", Integer, primary_key=True), _time(), *columns)


_LABORATORY: Final = _log(
    "laboratory_entries",
    _text("by"),
    _text("tag"),
    _text("unit"),
    Column("value", Float, nullable=False),
    Column("sampled", BigInteger, nullable=False),
    Column("roll", BigInteger),
    Column("metre", Float),
    Column("batch", BigInteger),
    _text("note"),
    Column("corrects", Integer),
)
_RECOMMENDATIONS: Final = Table(
    "recommendations",
    _METADATA,
    Column("id", String, primary_key=True),
    Column("time", BigInteger, primary_key=True),
    _text("web"),
    _text("state"),
    _text("decided_by"),
    _text("reason"),
    Column("document", sa.JSON, nullable=False),
)
_STATES: Final = _log(
    "recommendation_states",
    Column("recommendation", String, nullable=False, index=True),
    Column("made", BigInteger, nullable=False),
    _text("state"),
    _text("decided_by"),
    _text("note"),
)
_JUDGEMENTS: Final = Table(
    "judgements",
    _METADATA,
    Column("recommendation", String, primary_key=True),
    Column("parameter", String, primary_key=True),
    _time(),
    Column("kept", sa.Boolean, nullable=False),
    Column("document", sa.JSON, nullable=False),
)
_MODES: Final = _log("mode_changes", _text("step"), _text("mode"), _text("reason"), _text("by"))
_ALARMS: Final = Table(
    "alarm_book",
    _METADATA,
    Column("id", String, primary_key=True),
    _time(),
    _text("state"),
    Column("document", sa.JSON, nullable=False),
)
_ALARM_STATES: Final = _log("alarm_states", _text("alarm"), _text("state"), _text("by"))
_AUDIT: Final = Table(
    "audit",
    _METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    _time(),
    _text("who"),
    _text("what"),
    _text("details"),
    _text("previous"),
    _text("hash"),
)
_AUDIT_HEAD: Final = Table(
    "audit_head",
    _METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    _text("hash"),
)
for _change in ("UPDATE", "DELETE"):
    sa.event.listen(
        _AUDIT,
        "after_create",
        sa.DDL(  # type: ignore[no-untyped-call]  # not typed there
            f"CREATE TRIGGER audit_no_{_change.lower()} BEFORE {_change} ON audit "
            "BEGIN SELECT RAISE(ABORT, 'the audit trail is only ever added to'); END"
        ).execute_if(dialect="sqlite"),
    )
_MODELS: Final = _log("models", _text("step"), _text("model"), _text("version"))
_MODEL_CHANGES: Final = _log(
    "model_changes",
    _text("step"),
    _text("kind"),
    _text("file"),
    _text("version"),
    _text("sha256"),
    _text("previous"),
    _text("by"),
    _text("evidence"),
)
_SPLICES: Final = _log("splices", _text("web"), Column("position", Float))
_ROLLS: Final = Table(
    "rolls",
    _METADATA,
    Column("web", String, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("start", Float),
    Column("end", Float),
    Column("began", BigInteger),
    Column("wound", BigInteger),
)
_BATCHES: Final = Table(
    "slurry_batches",
    _METADATA,
    Column("batches", String, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("released", BigInteger, nullable=False),
    Column("parameters", sa.JSON, nullable=False),
)
USERS: Final = Table(
    "users",
    _METADATA,
    Column("name", String, primary_key=True),
    _text("role"),
    _text("password"),
    Column("added", BigInteger, nullable=False),
)
TOKENS: Final = Table(
    "tokens",
    _METADATA,
    Column("name", String, primary_key=True),
    _text("role"),
    Column("sha256", String, nullable=False, unique=True),
    Column("issued", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
)
SESSIONS: Final = Table(
    "sessions",
    _METADATA,
    Column("sha256", String, primary_key=True),
    Column("user", String, nullable=False, index=True),
    Column("expires", BigInteger, nullable=False),
)

_INTERVENTIONS: Final = Table(
    "interventions",
    _METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("time", BigInteger, nullable=False),
    Column("document", sa.JSON, nullable=False),
)


class Ledger:
    """What was advised and decided, and the material's genealogy; in SQLite or another database.

    Synchronous, and safe to use from any one thread at a time. What a method records is durable
    when it returns. Times are ns since the epoch; recording the same thing again changes nothing.
    A number that is not finite is kept as null.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: from every method, where the database refuses.
    """

    def __init__(self, url: str) -> None:
        """Open the database, create it or bring it up to date.

        Args:
            url: SQLAlchemy's, e.g. sqlite:////var/lib/linetwin/ledger.sqlite

        Raises:
            LedgerError: a newer program made it.
        """
        migrate(sa.make_url(url), _METADATA)
        self._engine = sa.create_engine(url)
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _prepare_sqlite)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def engine(self) -> sa.Engine:
        """The database, for those who keep something else in it."""
        return self._engine

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def recommend(self, document: Mapping[str, Any], time: int | None = None) -> None:
        """Record a recommendation, or the state that it has now.

        Args:
            document: as it is published: at least id, time_ns, web, state and reason.
            time: when it took its state; without one, when it was made.
        """
        identity, made = str(document["id"]), int(document["time_ns"])
        key = {"id": identity, "time": made}
        state = {
            "state": document["state"],
            "decided_by": document.get("by", ""),
        }
        values = {
            **state,
            "web": document["web"],
            "reason": document["reason"],
            "document": _finite(document),
        }
        with self._engine.begin() as connection:
            _put(connection, _RECOMMENDATIONS, key, values)
            entry = {"recommendation": identity, "made": made, **state}
            _once(
                connection,
                _STATES,
                entry,
                {"time": made if time is None else time, "note": document.get("note", "")},
            )

    def recommendations(
        self, limit: int = 100, state: str | None = None, without: str | None = None
    ) -> list[Row]:
        """The documents as last recorded, newest first.

        Each has its `history` of states, and what the material then did as `judged`.

        Args:
            limit: most.
            state: only those in this state.
            without: not those in this state.
        """
        query = sa.select(_RECOMMENDATIONS).order_by(_RECOMMENDATIONS.c.time.desc()).limit(limit)
        if state is not None:
            query = query.where(_RECOMMENDATIONS.c.state == state)
        if without is not None:
            query = query.where(_RECOMMENDATIONS.c.state != without)
        with self._engine.connect() as connection:
            found = connection.execute(query).mappings().all()
            return [
                {
                    **row["document"],
                    "history": self._history(connection, row["id"], row["time"]),
                    "judged": _judged(connection, row["id"]),
                }
                for row in found
            ]

    def judge(self, judgement: Judgement) -> None:
        """Record whether the material did what a recommendation promised; values are SI."""
        parameter = f"{judgement.step}.{judgement.output}"
        key = {"recommendation": judgement.recommendation, "parameter": parameter}
        values = {
            "time": judgement.time,
            "kept": judgement.kept,
            "document": _finite(asdict(judgement)),
        }
        with self._engine.begin() as connection:
            _put(connection, _JUDGEMENTS, key, values)

    def change_mode(self, time: int, step: str, mode: str, reason: str, by: str = "") -> None:
        """Record what a step may do from now on, why, and who said so."""
        self._note(_MODES, time=time, step=step, mode=mode, reason=reason, by=by)

    def modes(self) -> dict[str, str]:
        """The mode that each step was last given."""
        return {row["step"]: row["mode"] for row in reversed(self.mode_changes(limit=None))}

    def mode_changes(self, limit: int | None = 100) -> list[Row]:
        """Newest first."""
        return self._newest(_MODES, limit)

    def put_alarm(self, alarm: Alarm) -> None:
        """Record an alarm, or the state that it has now."""
        values = {"time": alarm.time, "state": alarm.state, "document": asdict(alarm)}
        entry = {
            "time": alarm.changed,
            "alarm": alarm.id,
            "state": alarm.state,
            "by": alarm.by,
        }
        with self._engine.begin() as connection:
            _put(connection, _ALARMS, {"id": alarm.id}, values)
            _once(connection, _ALARM_STATES, entry, {})

    def alarms(self, limit: int | None = 100) -> list[Alarm]:
        """As last recorded, newest first."""
        query = sa.select(_ALARMS).order_by(_ALARMS.c.time.desc(), _ALARMS.c.id).limit(limit)
        return [_alarm(row["document"]) for row in self._rows(query)]

    def open_alarms(self) -> list[Alarm]:
        """Those that are not cleared."""
        query = sa.select(_ALARMS).where(_ALARMS.c.state != "cleared").order_by(_ALARMS.c.time)
        return [_alarm(row["document"]) for row in self._rows(query)]

    def alarm_states(self, limit: int | None = 100) -> list[Row]:
        """Every state that an alarm took, newest first."""
        return self._newest(_ALARM_STATES, limit)

    def audit(self, time: int, who: str, what: str, details: Mapping[str, Any]) -> None:
        """Add to the audit trail what a person, the twin or a peer did; others may too."""
        text = canonical(_finite(details))
        for attempt in range(_ATTEMPTS):
            try:
                with self._engine.begin() as connection:
                    _append(connection, time, who, what, text)
                return
            except (sa.exc.IntegrityError, _OvertakenError):
                if attempt == _ATTEMPTS - 1:
                    raise

    def audited(self, limit: int | None = 100) -> list[Row]:
        """The audit trail, newest first."""
        query = sa.select(_AUDIT).order_by(_AUDIT.c.number.desc()).limit(limit)
        return [{**row, "details": json.loads(row["details"])} for row in self._rows(query)]

    def audit_rows(self) -> Iterator[AuditRow]:
        """The audit trail as it is stored, from its first row."""
        with self._engine.connect() as connection:
            query = sa.select(_AUDIT).order_by(_AUDIT.c.number)
            for row in connection.execution_options(yield_per=1000).execute(query):
                yield AuditRow(*row)

    def audit_head(self) -> tuple[int, str]:
        """Number and hash of the last row, kept beside the trail."""
        with self._engine.connect() as connection:
            return _head(connection) or (0, FIRST)

    def interrupted_writes(self) -> list[Row]:
        """Details of sets of setpoints that were begun and never ended, oldest first.

        A set is settled by its end, or by a person who has set the mode of all its steps since.
        """
        query = (
            sa.select(_AUDIT)
            .where(_AUDIT.c.what.in_((WRITE_BEGINS, *WRITE_ENDS, MODE_SET)))
            .order_by(_AUDIT.c.number)
        )
        begun: dict[tuple[str, int], Row] = {}
        for row in self._rows(query):
            details = json.loads(row["details"])
            if row["what"] == WRITE_BEGINS:
                key = details["recommendation"], details["made"]
                begun[key] = {**details, "who": row["who"], "time": row["time"]}
            elif row["what"] in WRITE_ENDS:
                begun.pop((details["recommendation"], details["made"]), None)
            elif row["who"] != TWIN:
                for key, each in list(begun.items()):
                    each["steps"] = [step for step in each["steps"] if step != details["step"]]
                    if not each["steps"]:
                        del begun[key]
        return list(begun.values())

    def use_model(self, time: int, step: str, model: str, version: str) -> None:
        """Record which model predicts a step from now on."""
        self._note(_MODELS, time=time, step=step, model=model, version=version)

    def models(self, limit: int | None = 100) -> list[Row]:
        """Newest first."""
        return self._newest(_MODELS, limit)

    def promote_model(
        self,
        time: int,
        step: str,
        file: str,
        version: str,
        sha256: str,
        previous: str,
        by: str,
        evidence: str,
    ) -> None:
        """Record that another model shall predict a step.

        Args:
            time: ns.
            step: the step.
            file: of the model, below the store's folder.
            version: of the model, as its card says.
            sha256: of the file.
            previous: version of the model before.
            by: who decided.
            evidence: SHA-256 of the report that it rests on.
        """
        values = {"kind": "promoted", "file": file, "version": version, "sha256": sha256}
        self._change_model(time, step, {**values, "evidence": evidence}, previous, by)

    def roll_back_model(
        self, time: int, step: str, to: Mapping[str, str], previous: str, by: str
    ) -> None:
        """Record that a step shall be predicted by the model before again.

        Args:
            time: ns.
            step: the step.
            to: file, version and sha256 of the model before; file is empty for the configured one.
            previous: version of the model that goes.
            by: who decided.
        """
        self._change_model(time, step, {"kind": "rolled back", "evidence": "", **to}, previous, by)

    def _change_model(
        self, time: int, step: str, values: Mapping[str, str], previous: str, by: str
    ) -> None:
        with self._engine.begin() as connection:
            row = {"time": time, "step": step, "previous": previous, "by": by, **values}
            connection.execute(sa.insert(_MODEL_CHANGES).values(row))

    def model_changes(self) -> list[Row]:
        """Promotions and rollbacks, in the order in which they were decided."""
        columns = [column for column in _MODEL_CHANGES.c if column.name != "row"]
        return self._rows(sa.select(*columns).order_by(_MODEL_CHANGES.c.row))

    def enter_laboratory(self, time: int, **entry: object) -> int:
        """Record a laboratory value that a person entered; gives its number.

        Args:
            time: ns.
            entry: by, tag, unit, value in that unit, sampled (ns), roll, metre, batch, note, and
                the number of the entry that it corrects.
        """
        with self._engine.begin() as connection:
            added = connection.execute(sa.insert(_LABORATORY).values(time=time, **entry))
            (row,) = added.inserted_primary_key or (0,)
            return int(row)

    def laboratory_entries(self, limit: int | None = 100) -> list[Row]:
        """Newest first, each with its number as `row`."""
        query = sa.select(_LABORATORY).order_by(_LABORATORY.c.row.desc()).limit(limit)
        return self._rows(query)

    def recommendation(self, identity: str) -> Row | None:
        """The document of one, as `recommendations` gives it; None where there is none."""
        table = _RECOMMENDATIONS
        query = sa.select(table).where(table.c.id == identity).order_by(table.c.time.desc())
        with self._engine.connect() as connection:
            row = connection.execute(query.limit(1)).mappings().first()
            if row is None:
                return None
            history = self._history(connection, row["id"], row["time"])
            judged = _judged(connection, row["id"])
            return {**row["document"], "history": history, "judged": judged}

    def splice(self, time: int, web: str, position: float) -> None:
        """Record a splice at a position of the web, m."""
        self._note(_SPLICES, time=time, web=web, position=_finite(position))

    def splices(self, limit: int | None = 100) -> list[Row]:
        """Newest first."""
        return self._newest(_SPLICES, limit)

    def begin_roll(self, web: str, number: int, start: float, began: int) -> None:
        """Record a roll that is being wound, from position `start` of its web, m."""
        self._put(_ROLLS, {"web": web, "number": number}, {"start": start, "began": began})

    def wind_roll(self, web: str, number: int, end: float, wound: int) -> None:
        """Record that a roll is finished, at position `end` of its web, m."""
        self._put(_ROLLS, {"web": web, "number": number}, {"end": end, "wound": wound})

    def rolls(self, web: str | None = None) -> list[Row]:
        """By web and number: start and end, m; began and wound, ns; None where not known."""
        query = sa.select(_ROLLS).order_by(_ROLLS.c.web, _ROLLS.c.number)
        return self._rows(query if web is None else query.where(_ROLLS.c.web == web))

    def release_batch(
        self, batches: str, number: int, released: int, parameters: Mapping[str, float]
    ) -> None:
        """Record a slurry batch and what is known of it, SI by name."""
        self._put(
            _BATCHES,
            {"batches": batches, "number": number},
            {"released": released, "parameters": _finite(parameters)},
        )

    def slurry_batches(self) -> list[Row]:
        """By number."""
        return self._rows(sa.select(_BATCHES).order_by(_BATCHES.c.batches, _BATCHES.c.number))

    def intervene(self, number: int, time: int, document: Mapping[str, Any]) -> None:
        """Record what a person or a machine did, until a checkpoint holds what came of it."""
        values = {"time": time, "document": _finite(document)}
        self._put(_INTERVENTIONS, {"number": number}, values)

    def interventions(self, after: int) -> list[Row]:
        """Those with a higher number, in their order."""
        query = sa.select(_INTERVENTIONS).where(_INTERVENTIONS.c.number > after)
        return self._rows(query.order_by(_INTERVENTIONS.c.number))

    def last_intervention(self) -> int:
        """The highest number; 0 where there is none."""
        with self._engine.connect() as connection:
            found = connection.execute(sa.select(sa.func.max(_INTERVENTIONS.c.number))).scalar()
        return int(found or 0)

    def forget_interventions(self, until: int) -> None:
        """Drop those up to a number: the checkpoints that are kept know them."""
        with self._engine.begin() as connection:
            connection.execute(sa.delete(_INTERVENTIONS).where(_INTERVENTIONS.c.number <= until))

    def backup(self, folder: Path) -> list[Path]:
        """Copy a SQLite ledger into a folder, whole and consistent; of others the site keeps dumps.

        Returns:
            The files made.
        """
        if self._engine.dialect.name != "sqlite":
            return []
        file = folder / LEDGER
        with closing(sqlite3.connect(file)) as copy, self._engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            driver.backup(copy)
        return [file]

    def _history(self, connection: sa.Connection, identity: str, made: int) -> list[Row]:
        columns = (_STATES.c.time, _STATES.c.state, _STATES.c.decided_by, _STATES.c.note)
        query = sa.select(*columns).where(
            _STATES.c.recommendation == identity, _STATES.c.made == made
        )
        return [dict(row) for row in connection.execute(query.order_by(_STATES.c.row)).mappings()]

    def _note(self, table: Table, **values: object) -> None:
        with self._engine.begin() as connection:
            _once(connection, table, values, {})

    def _put(self, table: Table, key: Mapping[str, object], values: Mapping[str, object]) -> None:
        with self._engine.begin() as connection:
            _put(connection, table, key, {name: _finite(each) for name, each in values.items()})

    def _newest(self, table: Table, limit: int | None) -> list[Row]:
        columns = [column for column in table.c if column.name != "row"]
        order = (table.c.time.desc(), table.c.row.desc())
        return self._rows(sa.select(*columns).order_by(*order).limit(limit))

    def _rows(self, query: sa.Select[Any]) -> list[Row]:
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]


class _OvertakenError(Exception):
    """Somebody else added a row at the same moment."""


def _head(connection: sa.Connection) -> tuple[int, str] | None:
    found = connection.execute(sa.select(_AUDIT_HEAD.c.number, _AUDIT_HEAD.c.hash)).first()
    return None if found is None else (found[0], found[1])


def _append(connection: sa.Connection, time: int, who: str, what: str, details: str) -> None:
    head = _head(connection)
    number, previous = head or (0, FIRST)
    its_hash = chained(time, who, what, details, previous)
    if head is None:
        connection.execute(sa.insert(_AUDIT_HEAD).values(id=1, number=1, hash=its_hash))
    else:
        where = _AUDIT_HEAD.c.hash == previous
        moved = sa.update(_AUDIT_HEAD).where(where).values(number=number + 1, hash=its_hash)
        if not connection.execute(moved).rowcount:
            raise _OvertakenError("the audit trail went on meanwhile")
    connection.execute(
        sa.insert(_AUDIT).values(
            number=number + 1,
            time=time,
            who=who,
            what=what,
            details=details,
            previous=previous,
            hash=its_hash,
        )
    )


def _judged(connection: sa.Connection, recommendation: str) -> list[Row]:
    query = sa.select(_JUDGEMENTS).where(_JUDGEMENTS.c.recommendation == recommendation)
    rows = connection.execute(query.order_by(_JUDGEMENTS.c.parameter)).mappings()
    return [{**row["document"], "kept": row["kept"]} for row in rows]


def _alarm(document: Row) -> Alarm:
    return Alarm(**{**document, "evidence": tuple(document["evidence"])})


def _put(
    connection: sa.Connection,
    table: Table,
    key: Mapping[str, object],
    values: Mapping[str, object],
) -> None:
    where = [table.c[name] == value for name, value in key.items()]
    if not connection.execute(sa.update(table).where(*where).values(values)).rowcount:
        connection.execute(sa.insert(table).values({**key, **values}))


def _once(
    connection: sa.Connection,
    table: Table,
    values: Mapping[str, object],
    besides: Mapping[str, object],
) -> None:
    """Insert values and what goes besides, unless the values are there already."""
    same = [
        table.c[name] == value
        for name, value in values.items()
        if not isinstance(table.c[name].type, sa.JSON)
    ]
    if connection.execute(sa.select(table.c.row).where(*same).limit(1)).first() is None:
        connection.execute(sa.insert(table).values({**values, **besides}))


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={round(1000 * _BUSY)}")
    # a file keeps this mode; where several are the first to open it, sqlite does not wait by itself
    end = monotonic() + _BUSY
    while cursor.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if monotonic() > end:
                raise
            sleep(0.01)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _finite(value: Any) -> Any:
    """JSON has no word for NaN and infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value
