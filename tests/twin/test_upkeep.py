"""What lets a service run for months: jobs, reload, backup and restore, checkpoints; in process."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import trustme

from tests.in_process import line_configuration, make_core
from tests.servers import until
from tests.twin.streams import busy_stream, cut
from tests.twin.test_service import NOW, S
from twin import backup
from twin.app.line import load_surrogates
from twin.certificates import expiring
from twin.checkpoint import MOST_STARTS, NEWEST, REFUSED, Checkpoints
from twin.clock import ManualClock
from twin.configuration.models import LineConfiguration
from twin.control import ControlError, ask, served
from twin.control import running as answers
from twin.health import examine
from twin.historian import DuckDBHistorian
from twin.jobs import Job, Jobs, daily, every
from twin.ledger import WRITE_BEGINS, Ledger
from twin.ports import Event, Sink, Write, WriteOutcome
from twin.recommendation import Change, Recommendation
from twin.reloading import ReloadError
from twin.resuming import outcomes, stands
from twin.samples import OfflineMeasurement, SampleBatch
from twin.service import Service
from twin.shift_report import report
from twin.spool import Spool
from twin.store import Store
from twin.upkeep import (
    back_up_to,
    certificate_files,
    last_shift,
    retain,
    thin,
    upkeep,
    write_report,
)


def changed(path: str, value: object) -> LineConfiguration:
    """The bundled line with one thing changed."""
    content = line_configuration().model_dump(mode="json", by_alias=True)
    *sections, last = path.split("/")
    part = content
    for section in sections:
        part = part[section]
    part[last] = value
    return LineConfiguration.model_validate(content)


def service_on(
    folder: Path,
    clock: ManualClock,
    line: LineConfiguration | None = None,
    sinks: Mapping[int, Sink] | None = None,
) -> Service:
    """A service without connectors on the stores in a folder."""
    line = line or line_configuration()
    core = make_core(line)
    historian = DuckDBHistorian(folder / "historian.duckdb", core.tags)
    spool = Spool(folder / "spool", [tag.name for tag in core.tags], 0.0, 10**8, 1e9)
    return Service(
        core,
        load_surrogates(line, Path()),
        [],
        sinks or {},
        None,
        Store(historian, len(line.tags), spool),
        Ledger(f"sqlite:///{folder / 'ledger.sqlite'}"),
        clock,
        checkpoints=Checkpoints(folder),
        upkeep=lambda service: upkeep(service, folder, list),
    )


@contextlib.asynccontextmanager
async def running(service: Service, polite: bool = True) -> AsyncIterator[Service]:
    """Run a service; without politeness it ends as a kill would end it: nothing more is kept."""
    task = asyncio.create_task(service.run())
    try:
        await until(lambda: service.running, 30.0)
        yield service
    finally:
        if polite:
            service.stop()
            await task
        else:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        service.store.close()


async def everything_stored(service: Service) -> None:
    await service.store.kept()
    await until(lambda: service.store.waiting == 0)
    await service.store.on_ledger(lambda: None)


def pieces() -> list[SampleBatch]:
    stream = busy_stream()
    return cut(stream, range(0, len(stream), 500))


def feed(service: Service, clock: ManualClock, piece: SampleBatch) -> None:
    clock.time = int(piece.time.max())
    service.feed(piece)


async def test_after_a_kill_a_service_is_where_one_is_that_nobody_killed(tmp_path: Path) -> None:
    clock, parts = ManualClock(NOW), pieces()
    third, half = len(parts) // 3, len(parts) // 2
    async with running(service_on(tmp_path / "whole", clock)) as whole:
        for number, piece in enumerate(parts[:half]):
            feed(whole, clock, piece)
            if number == third:
                whole.set_mode("drying", "advisory", "operator")
        expected = whole.core

    async with running(service_on(tmp_path / "cut", clock), polite=False) as first:
        for number, piece in enumerate(parts[:half]):
            feed(first, clock, piece)
            if number == third - 10:
                await first.checkpoint()
            if number == third:
                first.set_mode("drying", "advisory", "operator")
        await first.store.kept()
        await until(lambda: first.entries.waiting == 0)
        heard = first.core.latest_time.copy()

    clock.time += 5 * S
    async with running(service_on(tmp_path / "cut", clock)) as second:
        core = second.core
        assert core.trust.wanted("drying") == "advisory"
        assert core.latest_time.max() == heard.max() + 1
        # the web's position is known up to the mark that says that nobody listened any more
        at = np.array([expected.tracker.frontier])
        for web, station in (("coater", "beta_gauge"), ("calender", "nip")):
            if station in core.line.webs[web].stations:
                np.testing.assert_allclose(
                    core.tracker.locate(web, station, at),
                    expected.tracker.locate(web, station, at),
                    atol=1e-9,
                )
        for name, estimator in expected.estimators.items():
            np.testing.assert_allclose(
                core.estimators[name].state(at), estimator.state(at), rtol=1e-6, err_msg=name
            )
        await everything_stored(second)
        (gap,) = [
            each
            for each in await second.store.call(lambda: second.store.historian.events(0, 2**62))
            if each.kind == "gap"
        ]
        assert gap == Event(int(heard.max()), "gap", "twin", "the twin was not running for 5.0 s")


async def test_a_polite_end_leaves_nothing_to_read_back(tmp_path: Path) -> None:
    clock, parts = ManualClock(NOW), pieces()
    async with running(service_on(tmp_path, clock)) as first:
        for piece in parts[:60]:
            feed(first, clock, piece)
        before = first.core
    async with running(service_on(tmp_path, clock)) as second:
        assert second.core.received == before.received
        assert second.core.refused() == before.refused()
        assert second.core.tracker.segment_of(1, 2.0) == before.tracker.segment_of(1, 2.0)


async def test_a_line_that_has_never_spoken_was_not_missed(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    async with running(service_on(tmp_path, clock)):
        pass
    clock.time += 5 * S
    async with running(service_on(tmp_path, clock)) as second:
        await everything_stored(second)
        assert not second.core.kept
        assert not second.core.latest_time.any()
        historian = second.store.historian
        assert not await second.store.call(lambda: historian.events(0, 2**62))


async def test_what_is_damaged_is_set_aside_and_the_line_is_followed_anew(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    async with running(service_on(tmp_path, clock)) as first:
        feed(first, clock, pieces()[0])
    file = tmp_path / NEWEST
    file.write_bytes(file.read_bytes()[:-100])
    async with running(service_on(tmp_path, clock)) as second:
        assert second.core.received == 0
        (alarm,) = second.core.alarms.open()
        assert "damaged" in alarm.evidence[0]
        assert (tmp_path / REFUSED).exists()


async def test_what_ends_the_service_again_and_again_is_set_aside(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    async with running(service_on(tmp_path, clock)) as first:
        feed(first, clock, pieces()[0])
    checkpoints = Checkpoints(tmp_path)
    for _ in range(MOST_STARTS):
        assert checkpoints.newest() is not None
    async with running(service_on(tmp_path, clock)) as second:
        assert second.core.received == 0
        assert "3 starts" in second.core.alarms.open()[0].evidence[0]
    async with running(service_on(tmp_path, clock)) as third:
        assert third.core.alarms.causes()["job:memory lost:twin"] is False


async def test_the_checkpoint_before_serves_where_the_newest_is_damaged(tmp_path: Path) -> None:
    clock, parts = ManualClock(NOW), pieces()
    async with running(service_on(tmp_path, clock), polite=False) as first:
        feed(first, clock, parts[0])
        await first.checkpoint()
        feed(first, clock, parts[1])
        await first.checkpoint()
        await first.store.kept()
    (tmp_path / NEWEST).write_bytes(b"torn")
    async with running(service_on(tmp_path, clock)) as second:
        assert second.core.received >= len(parts[0]) + len(parts[1])


async def test_a_laboratory_value_that_came_after_the_checkpoint_is_not_forgotten(
    tmp_path: Path,
) -> None:
    clock, parts = ManualClock(NOW), pieces()
    async with running(service_on(tmp_path, clock), polite=False) as first:
        for piece in parts[:20]:
            feed(first, clock, piece)
        await first.checkpoint()
        clock.time += S
        tag = next(
            n for n in range(len(first.core.line.tags)) if first.core.tags[n].role == "laboratory"
        )
        value = OfflineMeasurement(tag, clock.time - 3600 * S, 0.5, batch=1)
        first.feed(SampleBatch(*[np.empty(0, t) for t in ("i4", "i8", "f8", "u4")], (value,)))
        taken = [each for _, _, each in first.core._waiting] + sorted(first.core.rejected)
        await first.store.kept()
    async with running(service_on(tmp_path, clock)) as second:
        again = [each for _, _, each in second.core._waiting] + sorted(second.core.rejected)
        assert again == taken


class NoRoomError(Exception):
    """A job's failure."""


async def test_a_job_that_fails_is_tried_again_and_people_are_told(tmp_path: Path) -> None:
    broken = True

    async def work() -> None:
        if broken:
            raise NoRoomError("no room")

    async with running(service_on(tmp_path, ManualClock(NOW))) as service:
        service.jobs = Jobs([Job("nightly", every(3600), work)])
        state = await service.jobs.do("nightly")
        assert (state.runs, state.failures, state.error) == (1, 1, "no room")
        assert "job nightly: no room" in examine(service).reasons
        assert examine(service).ready
        broken = False
        await service.jobs.do("nightly")
        assert (state.error, state.failures) == (None, 1)
        assert state.succeeded is not None


async def test_jobs_run_when_due_and_never_twice_at_once() -> None:
    busy, most, runs = 0, 0, 0

    async def work() -> None:
        nonlocal busy, most, runs
        busy, runs = busy + 1, runs + 1
        most = max(most, busy)
        await asyncio.sleep(0.05)
        busy -= 1

    running_jobs = Jobs([Job("often", every(0.02), work, at_once=True)])
    task = asyncio.create_task(running_jobs.run())
    await until(lambda: runs >= 3)
    await running_jobs.do("often")
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert most == 1


def test_daily_jobs_keep_to_the_clock_of_the_site() -> None:
    trigger = daily("02:30", "Europe/Berlin")
    summer = datetime(2026, 7, 1, 0, 0, tzinfo=UTC)
    winter = datetime(2026, 12, 1, 0, 0, tzinfo=UTC)
    assert trigger.get_next_fire_time(None, summer).astimezone(UTC).hour == 0
    assert trigger.get_next_fire_time(None, winter).astimezone(UTC).hour == 1


async def test_old_samples_go_and_become_means(tmp_path: Path) -> None:
    line = changed("store/minute_means_after", "10 d")
    clock = ManualClock(NOW)
    async with running(service_on(tmp_path, clock, line)) as service:
        day = 86_400 * S
        ages = [91 * day, 20 * day, 20 * day - S, day]
        value = line_configuration()
        tag = list(value.tags).index("coater.line_speed")
        times = [NOW - age for age in ages]
        service.store.put(SampleBatch.of([tag] * 4, times, [1.0, 2.0, 4.0, 8.0]))
        await until(lambda: service.store.stored == 4)
        await retain(service)
        await thin(service)
        found = await service.store.call(lambda: service.store.historian.read([tag], 0, 2 * NOW))
        assert found.value.tolist() == [3.0, 8.0]


def test_certificates_that_end_soon_are_named(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    authority = trustme.CA()
    for name, days in (("ended", -1), ("soon", 10), ("later", 300)):
        made = authority.issue_cert(f"{name}.example", not_after=now + timedelta(days=days))
        (tmp_path / f"{name}.pem").write_bytes(made.cert_chain_pems[0].bytes())
    (tmp_path / "broken.pem").write_text("-----BEGIN nothing")
    names = ("ended", "soon", "later", "broken", "missing")
    found = expiring([tmp_path / f"{name}.pem" for name in names], now)
    assert len(found) == 4
    assert "ended on" in found[0]
    assert "in 9 days" in found[1] or "in 10 days" in found[1]
    assert all("cannot be read" in said for said in found[2:])


def test_the_certificates_of_connectors_and_historian_are_watched(tmp_path: Path) -> None:
    for name in ("broker.pem", "store.pem"):
        (tmp_path / name).touch()
    connectors = {
        "gauges": {
            "kind": "mqtt",
            "host": "plant",
            "security": {"trusts": [str(tmp_path / "broker.pem")]},
        }
    }
    line = line_configuration(
        connectors=line_configuration().connectors | connectors,
        store={
            "historian": {
                "kind": "victoria_metrics",
                "url": "https://plant",
                "security": {"trusts": [str(tmp_path)]},
            }
        },
    )
    assert certificate_files(line) == [tmp_path / "broker.pem", tmp_path / "store.pem"]


async def test_a_backup_is_made_while_samples_come_and_puts_everything_back(
    tmp_path: Path,
) -> None:
    clock, parts = ManualClock(NOW), pieces()
    store = tmp_path / "store"
    async with running(service_on(store, clock)) as service:
        for piece in parts[:30]:
            feed(service, clock, piece)
        await everything_stored(service)
        making = asyncio.create_task(back_up_to(service, store, tmp_path / "backup"))
        rest = iter(parts[30:])
        while not making.done():
            for piece in islice(rest, 1):
                feed(service, clock, piece)
            await asyncio.sleep(0.001)
        await making
        with pytest.raises(backup.BackupError, match="there already"):
            await back_up_to(service, store, tmp_path / "backup")
        at_backup = sum(map(len, parts[:30]))
    kept = {file.name for file in store.iterdir()}
    aside = backup.restore(tmp_path / "backup", store, "before-today")
    assert aside is not None
    assert {file.name for file in aside.iterdir()} == kept
    async with running(service_on(store, clock)) as again:
        assert again.core.received >= at_backup
        found = again.store.historian
        count = len(await again.store.call(lambda: found.read(range(46), 0, 2**62)))
        assert count > 0
        assert again.core.tracker.frontier > parts[0].time.min()


def test_a_damaged_backup_changes_nothing(tmp_path: Path) -> None:
    store, folder = tmp_path / "store", tmp_path / "backup"
    store.mkdir()
    (store / NEWEST).write_text("newest")

    def copy(into: Path) -> list[Path]:
        (into / "historian.duckdb").write_text("samples")
        return []

    backup.make(folder, store, NOW, [copy])
    assert backup.verify(folder)["time"] == NOW
    (folder / "historian.duckdb").write_text("samplez")
    with pytest.raises(backup.BackupError, match="is missing or damaged"):
        backup.restore(folder, store, "before")
    assert [file.name for file in store.iterdir()] == [NEWEST]
    with pytest.raises(backup.BackupError, match="is no backup"):
        backup.verify(store)
    manifest = folder / backup.MANIFEST
    said = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**said, "files": {"../outside": "0"}}))
    with pytest.raises(backup.BackupError, match="does not lie in the folder"):
        backup.verify(folder)


def test_a_backup_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def copy(_: Path) -> list[Path]:
        raise OSError("no space left")

    (tmp_path / "store").mkdir()
    with pytest.raises(OSError, match="no space"):
        backup.make(tmp_path / "backup", tmp_path / "store", NOW, [copy])
    assert [each.name for each in tmp_path.iterdir()] == ["store"]


def test_the_oldest_backups_go(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    for day in range(4):
        backup.make(tmp_path / f"2026-01-0{day + 1}", tmp_path / "store", NOW, [])
    (tmp_path / "notes").mkdir()
    backup.rotate(tmp_path, 2)
    names = {each.name for each in tmp_path.iterdir()}
    assert names == {"store", "notes", "2026-01-03", "2026-01-04"}


async def test_a_reload_changes_limits_targets_and_modes_and_keeps_what_is_known(
    tmp_path: Path,
) -> None:
    clock, parts = ManualClock(NOW), pieces()
    async with running(service_on(tmp_path, clock)) as service:
        for piece in parts[:40]:
            feed(service, clock, piece)
        frontier, received = service.core.tracker.frontier, service.core.received
        line = changed("steps/coating/outputs/mass_loading/target", 151.0)
        content = line.model_dump(mode="json", by_alias=True)
        content["steps"]["coating"]["mode"] = "shadow"
        content["tags"]["gauges.mass_loading"]["limits"] = [1, 2]
        line = LineConfiguration.model_validate(content)
        said = service.reload(line, "engineer")
        assert set(said) == {
            "steps.coating.outputs.mass_loading.target",
            "steps.coating.mode",
            "tags.gauges.mass_loading.limits",
        }
        assert service.core.tracker.frontier == frontier
        assert service.core.received == received
        assert service.core.trust.wanted("coating") == "shadow"
        assert service.status.parameters["coating.mass_loading"].target == 151.0
        feed(service, clock, parts[40])
        assert service.core.rejected["out of range"] > 0
        assert service.reload(line, "engineer") == []
        await until(lambda: service.entries.waiting == 0)
        (entry,) = [row for row in service.ledger.audited() if row["what"] == "reload"]
        assert entry["who"] == "engineer"
        assert set(entry["details"]["changed"]) == set(said)


async def test_a_reload_of_what_needs_a_restart_is_refused_as_a_whole(tmp_path: Path) -> None:
    async with running(service_on(tmp_path, ManualClock(NOW))) as service:
        line = changed("steps/coating/outputs/mass_loading/target", 151.0)
        content = line.model_dump(mode="json", by_alias=True)
        content["segment"] = "0.25 m"
        content["connectors"]["mixer"]["url"] = "opc.tcp://elsewhere:4840/mixer"
        with pytest.raises(ReloadError) as refused:
            service.reload(LineConfiguration.model_validate(content), "engineer")
        assert refused.value.problems == [
            "segment needs a restart",
            "connectors.mixer.url needs a restart",
        ]
        assert service.core.line == line_configuration()


async def test_a_reload_mixes_no_tags_up_and_widens_no_limits(tmp_path: Path) -> None:
    async with running(service_on(tmp_path, ManualClock(NOW))) as service:
        content = line_configuration().model_dump(mode="json", by_alias=True)
        tags = content["tags"]
        content["stale_after"] = "45 s"
        content["tags"] = dict(reversed(tags.items()))
        with pytest.raises(ReloadError, match="the order of tags needs a restart"):
            service.reload(LineConfiguration.model_validate(content), "engineer")
        content["tags"] = tags
        pump = content["steps"]["coating"]["setpoints"]["pump_flow"]
        low, high = pump["limits"]
        pump["limits"] = [low, high + 1]
        with pytest.raises(ReloadError, match="limits wider than before needs a restart"):
            service.reload(LineConfiguration.model_validate(content), "engineer")
        pump["limits"] = [low + 1, high]
        said = service.reload(LineConfiguration.model_validate(content), "engineer")
        assert set(said) == {"stale_after", "steps.coating.setpoints.pump_flow.limits"}


async def test_the_control_socket_answers_its_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / ("a folder with a path that is longer than a socket's may be " * 3)[:150]
    folder.mkdir()

    async def echo(request: object) -> dict[str, object]:
        return {"said": request}

    async def refuse(_: object) -> dict[str, object]:
        raise ExceptionGroup("refused", [ValueError("this"), ValueError("that")])

    with pytest.raises(ControlError, match="no service answers"):
        ask(folder, {"do": "echo"}, 1.0)
    async with served(folder, {"echo": echo, "refuse": refuse}):
        mode = (folder / "control.sock").stat().st_mode
        assert mode & 0o077 == 0
        said = await asyncio.to_thread(ask, folder, {"do": "echo"}, 5.0)
        assert said == {"ok": True, "said": {"do": "echo"}}
        said = await asyncio.to_thread(ask, folder, {"do": "refuse"}, 5.0)
        assert said == {"ok": False, "problems": ["this", "that"]}
        said = await asyncio.to_thread(ask, folder, {"do": "nonsense"}, 5.0)
        assert "not one of" in said["problems"][0]
        with pytest.raises(ControlError, match="another service"):
            async with served(folder, {}):
                pass
    assert not await asyncio.to_thread(answers, folder)
    assert not (folder / "control.sock").exists()


def test_a_setpoint_stands_at_one_end_or_elsewhere() -> None:
    change = Change("coating", 3, 1.0, 2.0)
    assert [stands(change, value) for value in (1.0, 1.005, 2.0, 1.5, 3.0)] == [
        "before",
        "before",
        "after",
        "elsewhere",
        "elsewhere",
    ]


@pytest.mark.parametrize(
    ("values", "state", "undone"),
    [
        ((2.0, 2.0), "verified", []),
        ((1.0, 1.0), "failed", []),
        ((2.0, 1.0), "failed", [0]),
        ((2.0, 1.5), "failed", [0]),
    ],
    ids=["written", "not written", "half written", "moved by somebody"],
)
async def test_what_became_of_a_write_that_a_kill_interrupted(
    tmp_path: Path, values: tuple[float, float], state: str, undone: list[int]
) -> None:
    clock, parts = ManualClock(NOW), pieces()
    tags = [
        list(line_configuration().tags).index(name)
        for name in ("coater.pump_flow_setpoint", "calender.roll_gap_setpoint")
    ]
    scale = [1e-6, 1e-5]
    changes = tuple(
        Change(step, tag, 1.0 * by, 2.0 * by)
        for step, tag, by in zip(("coating", "calendering"), tags, scale, strict=True)
    )
    async with running(service_on(tmp_path, clock), polite=False) as first:
        for piece in parts[:20]:
            feed(first, clock, piece)
        first.core.open["coater"] = Recommendation(
            "coater-1", clock.time, "coater", changes, (), "why", "accepted"
        )
        begins = {
            "recommendation": "coater-1",
            "made": clock.time,
            "steps": ["coating", "calendering"],
            "changes": [],
        }
        first.ledger.audit(clock.time, "operator", WRITE_BEGINS, begins)
        await first.checkpoint()
    clock.time += S
    written: list[Write] = []

    class Machine:
        async def write(self, write: Write) -> WriteOutcome:
            written.append(write)
            return WriteOutcome(write, "applied", write.value)

        async def confirm(self, writes: Sequence[Write]) -> list[WriteOutcome]:
            return [WriteOutcome(write, "applied", write.value) for write in writes]

    sinks: dict[int, Sink] = dict.fromkeys(tags, Machine())
    second = service_on(tmp_path, clock, sinks=sinks)
    async with running(second):
        clock.time += S
        found = [value * by for value, by in zip(values, scale, strict=True)]
        second.feed(SampleBatch.of(tags, [clock.time] * 2, found))
        last = second.status.recommendations
        await until(lambda: last["coater"].state == state)
        assert written == [Write(tags[n], changes[n].before) for n in undone]
        # it was begun and has its end: the next start has nothing to tell of it
        assert second.ledger.interrupted_writes() == []


def test_what_nobody_answers_for_is_said_so() -> None:
    change = Change("coating", 0, 1.0, 2.0)
    advice = Recommendation("a", 0, "coater", (change,), (), "")
    (outcome,) = outcomes(advice, [None])
    assert outcome.status == "timed out"
    assert "does not answer" in outcome.reason


async def test_a_shift_report_says_what_the_shift_made(tmp_path: Path) -> None:
    line = changed("operation/shifts", ["06:00", "14:00", "22:00"])
    clock, parts = ManualClock(NOW), pieces()
    async with running(service_on(tmp_path, clock, line)) as service:
        for piece in parts:
            feed(service, clock, piece)
        await everything_stored(service)
        await until(lambda: service.entries.waiting == 0)
        start = int(parts[0].time.min())
        found = await service.store.call(
            lambda: report(
                line,
                service.core.tags,
                service.store.historian,
                service.ledger.recommendations(limit=1000),
                service.ledger.alarms(),
                start,
                clock.time,
            )
        )
        stream = busy_stream()
        length = stream.value[stream.tag == list(line.tags).index("coater.web_length")]
        assert found.metres["coater"] == pytest.approx(np.nanmax(length) - length[0])
        loading = next(each for each in found.parameters if each.name == "coating.mass_loading")
        status = service.status.parameters["coating.mass_loading"]
        assert loading.measured >= status.count > 0
        assert loading.error == pytest.approx(status.mean_absolute_error, rel=1e-9)
        assert sum(found.advice.values()) == len(service.ledger.recommendations(limit=1000))
        file = await write_report(service, tmp_path / "reports")
        assert "coating.mass_loading" in file.read_text()
        assert "recommendations:" in found.text("Europe/Berlin")


def test_a_shift_ends_where_the_next_begins() -> None:
    line = changed("operation/shifts", ["06:00", "14:00", "22:00"])
    noon = int(datetime(2026, 3, 3, 12, 0, tzinfo=UTC).timestamp()) * S
    start, end = (datetime.fromtimestamp(t / S, UTC) for t in last_shift(line, noon))
    assert (start.day, start.hour, end.day, end.hour) == (2, 22, 3, 6)
