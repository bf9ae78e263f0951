"""The audit trail: whatever is changed, removed or inserted is found and named."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from twin.audit import FIRST, AuditRow, canonical, chained, verify
from twin.cli.auditing import audit
from twin.ledger import Ledger

ROWS = 9


def trail(folder: Path) -> Ledger:
    ledger = Ledger(f"sqlite:///{folder / 'ledger.sqlite'}")
    for number in range(1, ROWS + 1):
        ledger.audit(number * 1000, "anna", "accept", {"recommendation": f"coater-{number}"})
    return ledger


def touched(folder: Path, *statements: str) -> tuple[str, ...]:
    """What is found after somebody with access to the file was there."""
    ledger = trail(folder)
    with sqlite3.connect(folder / "ledger.sqlite") as file:
        file.execute("DROP TRIGGER audit_no_update")
        file.execute("DROP TRIGGER audit_no_delete")
        for statement in statements:
            file.execute(statement)
    file.close()
    with ledger:
        return verify(ledger.audit_rows(), ledger.audit_head()).problems


def test_a_trail_that_nobody_touched_is_as_it_was_written(tmp_path: Path) -> None:
    with trail(tmp_path) as ledger:
        verdict = verify(ledger.audit_rows(), ledger.audit_head())
        assert (verdict.rows, verdict.problems) == (ROWS, ())
        first = next(ledger.audit_rows())
        assert first.previous == FIRST
        assert first.hash == chained(1000, "anna", "accept", first.details, FIRST)
        newest = ledger.audited(1)[0]
        assert newest["details"] == {"recommendation": "coater-9"}
        assert verdict.head == newest["hash"]
        # what was noted elsewhere is found again, however much was added since
        ledger.audit(10**6, "bert", "reject", {})
        later = verify(ledger.audit_rows(), ledger.audit_head(), noted=verdict.head)
        assert later.problems == ()


INSERT = (
    "INSERT INTO audit SELECT {at}, time, 'eve', what, details, {previous}, {own} FROM audit "
    "WHERE number = 6"
)
SHIFT = (
    "UPDATE audit SET number = -number - 1 WHERE number > 4",
    ("UPDATE audit SET number = -number WHERE number < 0"),
)


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (["UPDATE audit SET who = 'eve' WHERE number = 4"], "row 4 was changed"),
        (["UPDATE audit SET time = time + 1 WHERE number = 1"], "row 1 was changed"),
        (["UPDATE audit SET details = '{}' WHERE number = 9"], "row 9 was changed"),
        (["DELETE FROM audit WHERE number = 4"], "row 4 is missing"),
        (["DELETE FROM audit WHERE number IN (4, 5)"], "rows between 3 and 6 are missing"),
        (["DELETE FROM audit WHERE number = 1"], "row 1 is missing"),
        (["DELETE FROM audit WHERE number = 9"], "ends at row 8, and did at row 9"),
        (["DELETE FROM audit"], "ends at row 0, and did at row 9"),
        (
            [*SHIFT, INSERT.format(at=5, previous="previous", own="hash")],
            "row 5 was inserted: row 6 follows row 4",
        ),
        (
            [
                *SHIFT,
                "INSERT INTO audit SELECT 5, time, who, what, details, previous, hash FROM audit "
                "WHERE number = 3",
            ],
            "row 5 was inserted: it is a copy of row 3",
        ),
        (
            [INSERT.format(at=10, previous="hash", own="'ab'").replace("= 6", "= 9")],
            "row 10 was changed",
        ),
    ],
)
def test_what_was_done_to_it_is_named(tmp_path: Path, statements: list[str], words: str) -> None:
    assert any(words in problem for problem in touched(tmp_path, *statements))


def test_a_row_that_was_chained_on_as_if_it_belonged_there(tmp_path: Path) -> None:
    with trail(tmp_path) as ledger:
        last = list(ledger.audit_rows())[-1]
        own = chained(1, "eve", "accept", "{}", last.hash)
        with sqlite3.connect(tmp_path / "ledger.sqlite") as file:
            values = (10, 1, "eve", "accept", "{}", last.hash, own)
            file.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        file.close()
        (problem,) = verify(ledger.audit_rows(), ledger.audit_head()).problems
        assert problem == "rows after row 9 were inserted: the trail ended there"


@pytest.mark.parametrize("number", [1, 4, ROWS])
def test_a_row_that_was_changed_together_with_its_hash(tmp_path: Path, number: int) -> None:
    with trail(tmp_path) as ledger:
        row = list(ledger.audit_rows())[number - 1]
        own = chained(row.time, "eve", row.what, row.details, row.previous)
        change = f"UPDATE audit SET who = 'eve', hash = '{own}' WHERE number = {number}"
        file = sqlite3.connect(tmp_path / "ledger.sqlite")
        file.execute("DROP TRIGGER audit_no_update")
        file.execute(change)
        file.commit()
        file.close()
        (problem,) = verify(ledger.audit_rows(), ledger.audit_head()).problems
    assert problem == f"row {number} was changed together with its hash"


def test_a_trail_written_anew_does_not_hold_what_was_noted(tmp_path: Path) -> None:
    with trail(tmp_path) as ledger:
        _, noted = ledger.audit_head()
    (tmp_path / "ledger.sqlite").unlink()
    with Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as forged:
        forged.audit(1000, "eve", "accept", {})
        assert verify(forged.audit_rows(), forged.audit_head()).problems == ()
        assert verify(forged.audit_rows(), forged.audit_head(), noted).problems


def test_the_database_itself_refuses_changes(tmp_path: Path) -> None:
    trail(tmp_path).close()
    file = sqlite3.connect(tmp_path / "ledger.sqlite")
    for statement in ("DELETE FROM audit", "UPDATE audit SET who = 'eve'"):
        with pytest.raises(sqlite3.IntegrityError, match="only ever added to"):
            file.execute(statement)
    file.close()


def test_several_may_add_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    Ledger(url).close()

    def add(who: str) -> None:
        with Ledger(url) as own:
            for number in range(20):
                own.audit(number, who, "accept", {"number": number})

    threads = [threading.Thread(target=add, args=(who,)) for who in ("anna", "bert", "carl")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Ledger(url) as ledger:
        verdict = verify(ledger.audit_rows(), ledger.audit_head())
        assert (verdict.rows, verdict.problems) == (60, ())


TEXT = st.text(max_size=4)
ENTRY = st.tuples(st.integers(0, 3), TEXT, TEXT, st.dictionaries(TEXT, st.integers() | TEXT))


def built(entries: list[tuple[int, str, str, dict[str, object]]]) -> list[AuditRow]:
    rows: list[AuditRow] = []
    for number, (time, who, what, details) in enumerate(entries, 1):
        previous = rows[-1].hash if rows else FIRST
        text = canonical(details)
        own = chained(time, who, what, text, previous)
        rows.append(AuditRow(number, time, who, what, text, previous, own))
    return rows


CHANGES: dict[str, Callable[[list[AuditRow], int, int], list[AuditRow]]] = {
    "removed": lambda rows, at, _: rows[:at] + rows[at + 1 :],
    "doubled": lambda rows, at, to: [*rows[:to], rows[at], *rows[to:]],
    "swapped": lambda rows, at, to: [
        rows[to] if i == at else rows[at] if i == to else row for i, row in enumerate(rows)
    ],
    "cut": lambda rows, at, _: rows[:at],
}


@given(
    st.lists(ENTRY, min_size=1, max_size=8),
    st.sampled_from([*CHANGES]),
    st.data(),
)
def test_no_change_goes_unseen(
    entries: list[tuple[int, str, str, dict[str, object]]], change: str, data: st.DataObject
) -> None:
    rows = built(entries)
    head = len(rows), rows[-1].hash
    assert verify(rows, head).problems == ()
    at, to = (data.draw(st.integers(0, len(rows) - 1)) for _ in range(2))
    changed = CHANGES[change](rows, at, to)
    if changed != rows:
        assert verify(changed, head).problems


def test_the_commands_show_verify_and_export(tmp_path: Path) -> None:
    trail(tmp_path).close()
    run = CliRunner().invoke
    good = run(audit, ["verify", "--data", str(tmp_path), "--json"])
    said = json.loads(good.output)
    assert (good.exit_code, said["ok"], said["rows"]) == (0, True, ROWS)
    shown = run(audit, ["show", "--data", str(tmp_path), "--last", "1"])
    assert "coater-9" in shown.output
    assert "coater-8" not in shown.output
    for name in ("trail.csv", "trail.jsonl"):
        assert run(audit, ["export", str(tmp_path / name), "--data", str(tmp_path)]).exit_code == 0
        assert said["head"] in (tmp_path / name).read_text()
    rows = [json.loads(line) for line in (tmp_path / "trail.jsonl").read_text().splitlines()]
    assert verify([AuditRow(**row) for row in rows], (ROWS, said["head"])).problems == ()
    with sa.create_engine(f"sqlite:///{tmp_path / 'ledger.sqlite'}").begin() as file:
        file.execute(sa.text("DROP TRIGGER audit_no_delete"))
        file.execute(sa.text("DELETE FROM audit WHERE number = 7"))
    bad = run(audit, ["verify", "--data", str(tmp_path)])
    assert bad.exit_code == 1
    assert "row 7 is missing" in bad.output
    nowhere = run(audit, ["verify", "--data", str(tmp_path / "nowhere")])
    assert isinstance(nowhere.exception, ValueError)
    assert not (tmp_path / "nowhere").exists()
