"""Upkeep: the jobs that let a service run for months."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable
from zoneinfo import ZoneInfo

from twin import backup, shift_report
from twin.certificates import expiring
from twin.configuration.historians import EmbeddedHistorianConfiguration, HistorianSecurity
from twin.configuration.models import LineConfiguration
from twin.ingest import NANOSECONDS
from twin.jobs import Job, daily, every

if TYPE_CHECKING:
    from twin.service import Service

CHECKPOINT: Final = 30.0
"""Seconds between checkpoints. What comes after one is read back, so that a longer pause loses
nothing; after 8 km of web, 20 MB are written each time."""
MODELS: Final = 2.0
"""Seconds between looks whether another model was promoted."""
CLEAN: Final = 3600.0
"""Seconds between deletions of what is older than the store keeps."""
REPORTS: Final = "reports"
"""Below the store's folder."""


@runtime_checkable
class Thins(Protocol):
    """A historian that can replace old samples by means."""

    def thin(self, before: int) -> bool:
        """Go on with it; whether there may be more to do."""
        ...


@runtime_checkable
class Copies(Protocol):
    """A store that can be copied while it is at work; others are backed up where they run."""

    def backup(self, folder: Path) -> list[Path]:
        """Copy everything into a folder, as it is now; for any thread."""
        ...


class CertificatesEnd(Exception):  # noqa: N818  # a fact, named as such
    """Certificates end soon, or have."""


def upkeep(service: Service, folder: Path, certificates: Callable[[], Iterable[Path]]) -> list[Job]:
    """The jobs of a service.

    Args:
        service: whose they are.
        folder: of its store.
        certificates: gives the files that must not expire unnoticed.
    """
    operation = service.core.line.operation
    zone = operation.time_zone

    async def look_at_certificates() -> None:
        found = await asyncio.to_thread(lambda: expiring(certificates(), datetime.now(UTC)))
        if found:
            raise CertificatesEnd("; ".join(found))

    async def back_up() -> None:
        assert operation.backups is not None
        moment = datetime.now(ZoneInfo(zone))
        await back_up_to(service, folder, operation.backups / f"{moment:%Y-%m-%d-%H%M%S}")
        await asyncio.to_thread(backup.rotate, operation.backups, operation.backups_kept)

    async def report_shift() -> None:
        await write_report(service, folder / REPORTS)

    jobs = [
        Job("retention", every(CLEAN), lambda: retain(service), at_once=True),
        Job("minute means", every(CLEAN), lambda: thin(service), at_once=True),
        Job("checkpoint", every(CHECKPOINT), service.checkpoint),
        Job("models", every(MODELS), service.follow_models),
        Job("certificates", every(86_400), look_at_certificates, at_once=True),
    ]
    if operation.backups is not None:
        jobs.append(Job("backup", daily(operation.backup_at, zone), back_up))
    return [
        *jobs,
        *(
            Job(f"shift report {start}", daily(start, zone), report_shift)
            for start in operation.shifts
        ),
    ]


async def retain(service: Service) -> None:
    """Delete what is older than the store keeps."""
    kept = int(service.core.line.store.retention * NANOSECONDS)
    await service.store.retain(service.clock.now() - kept)


async def thin(service: Service) -> None:
    """Keep a mean per minute of what is older than the configuration says."""
    after = service.core.line.store.minute_means_after
    historian = service.store.historian
    if after is None or not isinstance(historian, Thins):
        return
    before = service.clock.now() - int(after * NANOSECONDS)
    # an hour of samples at a time: what the line sends now is written in between
    while await service.store.call(lambda: historian.thin(before)):
        pass


async def back_up_to(service: Service, store: Path, folder: Path) -> Path:
    """Make a backup of everything while the service runs; gives its folder.

    Raises:
        BackupError: the folder is there already.
    """
    await service.checkpoint()
    now = service.clock.now()
    copies = [
        each.backup
        for each in (service.store.historian, service.ledger)
        if isinstance(each, Copies)
    ]
    # on a thread of its own: the copy of months must hold up nobody
    return await asyncio.to_thread(backup.make, folder, store, now, copies)


async def write_report(service: Service, folder: Path) -> Path:
    """Report on the shift that ended last; gives the file."""
    line, tags, zone = service.core.line, service.core.tags, service.core.line.operation.time_zone
    start, end = last_shift(line, service.clock.now())

    ledger = service.ledger
    made = await service.store.on_ledger(lambda: ledger.recommendations(limit=10_000))
    raised = await service.store.on_ledger(lambda: ledger.alarms(limit=1000))

    def work() -> Path:
        found = shift_report.report(line, tags, service.store.historian, made, raised, start, end)
        return shift_report.write(found, folder, zone)

    return await service.store.call(work)


def last_shift(line: LineConfiguration, now: int) -> tuple[int, int]:
    """When the last whole shift began and ended, ns; the last day where there are no shifts."""
    zone = ZoneInfo(line.operation.time_zone)
    moment = datetime.fromtimestamp(now / NANOSECONDS, zone)
    starts = []
    for day in range(-2, 1):
        date = (moment + timedelta(days=day)).date()
        for text in line.operation.shifts or ["00:00"]:
            hour, minute = map(int, text.split(":"))
            starts.append(datetime(date.year, date.month, date.day, hour, minute, tzinfo=zone))
    past = sorted(round(start.timestamp() * NANOSECONDS) for start in starts if start <= moment)
    return past[-2], past[-1]


def certificate_files(line: LineConfiguration) -> list[Path]:
    """The certificates of a line: the twin's own, and those of machines and historian it trusts."""
    named: list[Path | None] = []
    for connector in line.connectors.values():
        security, user = connector.security, connector.user
        if security is not None and security != "none":
            named += [security.certificate, *security.trusts]
        named.append(getattr(user, "certificate", None))
    historian = line.store.historian
    if not isinstance(historian, EmbeddedHistorianConfiguration) and isinstance(
        historian.security, HistorianSecurity
    ):
        named += historian.security.trusts
    found: list[Path] = []
    for path in named:
        if path is not None and path.is_dir():
            found += sorted(each for each in path.iterdir() if each.is_file())
        elif path is not None:
            found.append(path)
    return list(dict.fromkeys(found))
