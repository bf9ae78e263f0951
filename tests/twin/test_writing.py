"""Sets of setpoints: whole or taken back, audited, and told of where the twin ended in between."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.servers import until
from tests.twin.test_service import NAMES, NOW, Machine, Silent, becomes, recommendation, running
from twin import service as shell
from twin.audit import verify
from twin.ledger import Ledger
from twin.ports import ConnectionState, Incident, Write, WriteOutcome


class Stuck(Machine):
    """Never answers the write of one setpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.stuck: int | None = None

    async def write(self, write: Write) -> Any:
        if write.tag == self.stuck:
            await asyncio.Event().wait()
        return await super().write(write)


def trail(folder: Path) -> list[dict[str, Any]]:
    """What was audited, oldest first; checked to be as it was written."""
    with Ledger(f"sqlite:///{folder / 'ledger.sqlite'}") as ledger:
        assert verify(ledger.audit_rows(), ledger.audit_head()).problems == ()
        return ledger.audited(None)[::-1]


async def test_who_accepted_what_was_written_and_read_back_is_in_the_trail(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        advice = recommendation(service)
        service.accept(advice.id, "anna")
        await becomes(service, "verified")
    accepted, begins, written = trail(tmp_path)
    assert [(row["who"], row["what"]) for row in (accepted, begins, written)] == [
        ("anna", "accept"),
        ("anna", "write begins"),
        ("anna", "written"),
    ]
    assert accepted["details"]["became"] == "accepted"
    assert [each["setpoint"] for each in begins["details"]["changes"]] == list(NAMES)
    assert begins["details"]["changes"][0]["unit"] == "mL/min"
    for said, change in zip(
        written["details"]["writes"], begins["details"]["changes"], strict=True
    ):
        assert (said["status"], said["to"], said["read back"]) == ("applied", *[change["to"]] * 2)


async def test_what_was_taken_back_is_in_the_trail(tmp_path: Path) -> None:
    machine = Machine()
    async with running(tmp_path, machine) as service:
        advice = recommendation(service)
        machine.broken = advice.changes[1].tag
        service.accept(advice.id, "anna")
        await becomes(service, "failed")
        assert machine.written[-1] == Write(advice.changes[0].tag, advice.changes[0].before)
    failed = trail(tmp_path)[-1]
    assert failed["what"] == "write failed"
    back = failed["details"]["taken back"]
    assert [(each["setpoint"], each["status"]) for each in back] == [
        (NAMES[0], "applied"),
        (NAMES[1], "failed"),
    ]


async def test_a_set_of_which_a_machine_takes_something_back_is_taken_back(tmp_path: Path) -> None:
    class Forgetful(Machine):
        """Has one setpoint no more a little after it was written."""

        def __init__(self) -> None:
            super().__init__()
            self.forgets: Write | None = None
            self.asked: list[list[Write]] = []

        async def confirm(self, writes: Sequence[Write]) -> list[WriteOutcome]:
            self.asked.append(list(writes))
            return await super().confirm(writes)

        def later(self, write: Write) -> WriteOutcome:
            if write == self.forgets:
                return WriteOutcome(write, "failed", 0.0, "wrote 9, read back 0")
            return super().later(write)

    machine = Forgetful()
    async with running(tmp_path, machine) as service:
        advice = recommendation(service)
        forward = [Write(change.tag, change.after) for change in advice.changes]
        back = [Write(change.tag, change.before) for change in advice.changes]
        machine.forgets = forward[0]
        service.accept(advice.id, "anna")
        failed = await becomes(service, "failed")
        assert service.core.trust.mode("coating") == "shadow"
    assert machine.written == forward + back
    # one wait for all of a set
    assert machine.asked == [forward, back]
    assert "read back 0" in failed.note


async def test_what_cannot_be_noted_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine()
    async with running(tmp_path, machine) as service:
        advice = recommendation(service)

        def full(*_: object) -> None:
            raise OSError("no space left on device")

        monkeypatch.setattr(service.ledger, "audit", full)
        service.accept(advice.id, "anna")
        failed = await becomes(service, "failed")
    assert machine.written == []
    assert "cannot be noted in the audit trail: no space left" in failed.note


@pytest.mark.parametrize("first_too", [False, True])
async def test_an_interlock_that_opens_meanwhile_ends_the_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first_too: bool
) -> None:
    machine = Machine()
    async with running(tmp_path, machine) as service:
        advice = recommendation(service)
        first, second = advice.changes
        open_now = {second.tag} | ({first.tag} if first_too else set())

        def interlocks(change: Any, _: int) -> list[str]:
            return ["the nip must be closed"] if machine.written and change.tag in open_now else []

        monkeypatch.setattr(service.core, "open_interlocks", interlocks)
        service.accept(advice.id, "anna")
        failed = await becomes(service, "failed")
        assert service.core.trust.mode("coating") == "shadow"
    forward = [Write(first.tag, first.after)]
    back = [] if first_too else [Write(first.tag, first.before)]
    # nothing is written while an interlock is open, not even back: that is told
    assert machine.written == forward + back
    assert ("not taken back: the nip must be closed" in failed.note) is first_too


def copied(folder: Path, after: Path) -> None:
    after.mkdir()
    for file in folder.glob("ledger.sqlite*"):
        shutil.copy(file, after)


async def interrupted(folder: Path, after: Path) -> None:
    """A service that is killed between two writes; `after` is what the disk holds then."""
    machine = Stuck()
    async with running(folder, machine) as service:
        advice = recommendation(service)
        machine.stuck = advice.changes[1].tag
        service.accept(advice.id, "anna")
        await until(lambda: bool(machine.written))
        await asyncio.to_thread(copied, folder, after)
        for task in service._writes:
            task.cancel()


def times_told(folder: Path) -> int:
    return sum(row["what"] == "found interrupted" for row in trail(folder))


async def test_a_set_that_was_interrupted_is_told_of_until_a_person_has_looked(
    tmp_path: Path,
) -> None:
    after = tmp_path / "after"
    (tmp_path / "before").mkdir()
    await interrupted(tmp_path / "before", after)
    assert times_told(after) == 0
    for told, looked_at in ((1, ""), (2, "coating"), (3, "calendering"), (3, "")):
        async with running(after) as service:
            await service.store.on_ledger(lambda: None)  # the ledger has been asked by then
            if told < 3 or looked_at:
                await until(lambda: service.core.trust.mode("calendering") == "shadow")
                (alarm,) = {(each.kind, each.priority) for each in service.core.alarms.open()}
                assert alarm == ("half written", "critical")
            if looked_at:
                service.set_mode(looked_at, "advisory", "bert")  # type: ignore[arg-type]
                assert service.core.trust.mode(looked_at) == "advisory"
        assert times_told(after) == told
    found = next(row for row in trail(after) if row["what"] == "found interrupted")
    assert (found["who"], found["details"]["who"]) == ("twin", "anna")
    assert found["details"]["steps"] == ["coating", "calendering"]


async def test_what_is_refused_is_audited_too(tmp_path: Path) -> None:
    machine = Machine()
    async with running(tmp_path, machine) as service:
        advice = recommendation(service)
        service.accept(advice.id, "anna")
        await becomes(service, "verified")
        for refused in (
            lambda: service.accept(advice.id, "eve"),  # what was recorded, sent once more
            lambda: service.reject("coater-7", "eve", "no"),
            lambda: service.set_mode("painting", "twin", "eve"),
            lambda: service.acknowledge("nothing", "eve"),
        ):
            with pytest.raises(KeyError):
                refused()
        outside = recommendation(service)
        service.core.latest[outside.changes[0].tag] *= 2
        service.accept(outside.id, "anna")
        await becomes(service, "expired")
    rows = [row for row in trail(tmp_path) if row["who"] == "eve"]
    assert [row["what"] for row in rows] == [
        "refused: accept",
        "refused: reject",
        "refused: set mode",
        "refused: acknowledge",
    ]
    last = trail(tmp_path)[-1]
    assert (last["what"], last["details"]["became"]) == ("accept", "expired")
    assert "largest step" in last["details"]["because"]
    assert len(machine.written) == 2


async def test_a_peer_that_was_refused_is_audited_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "SILENCE", 0.02)
    source = Silent({}, 0, 0)

    def said(*incidents: Incident) -> None:
        source.state = ConnectionState("silent", False, 0, 0, 0, {}, 0, "no", incidents)

    first = Incident(1, NOW, "peer refused", "the certificate expired")
    second = Incident(2, NOW + 5, "refused by peer", "it refuses the user 'twin'")
    said(first)
    async with running(tmp_path, source=source):
        await until(lambda: len(trail(tmp_path)) == 1)
        said(first, second)
    rows = [(row["time"], row["who"], row["what"], row["details"]) for row in trail(tmp_path)]
    assert rows == [
        (NOW, "twin", "peer refused", {"connector": "silent", "said": first.said}),
        (NOW + 5, "twin", "refused by peer", {"connector": "silent", "said": second.said}),
    ]
