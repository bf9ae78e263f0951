"""Alarms: what needs a person, in the states of ISA-18.2, each with its suspect and the evidence.

Nothing known of a subject is the state *normal*: there is no alarm. Whoever finds something wrong
reports it, and reports again when it is over; the book makes alarms of it that do not chatter.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Final, Literal, get_args

from twin.ingest import NANOSECONDS
from twin.snapshot import Snapshot

Source = Literal["diagnosis", "residual", "trust", "connector", "store", "job"]
Priority = Literal["critical", "high", "medium", "low"]
State = Literal["unacknowledged", "returned", "acknowledged", "shelved", "cleared"]
"""The most urgent first. Returned: over, but not yet seen. Cleared: over and seen."""

RETURN: Final = 30 * NANOSECONDS
"""A cause must stay away for this long before its alarm returns to normal, ns."""
LONGEST: Final = 24 * 3600 * NANOSECONDS
"""An alarm may be shelved for this long at most, ns."""

_PRIORITIES: Final = {priority: rank for rank, priority in enumerate(get_args(Priority))}
_STATES: Final = {state: rank for rank, state in enumerate(get_args(State))}


@dataclass(frozen=True, slots=True)
class Report:
    """Something is wrong, or no longer."""

    time: int
    """Since when this is known, ns."""
    source: Source
    kind: str
    """What is wrong in a word or two, e.g. `frozen`, `away`."""
    subject: str
    """What it is wrong with: a tag, a step, a connector."""
    active: bool
    priority: Priority = "medium"
    suspect: str = ""
    """Who is to blame, as people call it; empty where that is the subject."""
    evidence: tuple[str, ...] = ()
    """Sentences with numbers and units."""
    lasting: int = 0
    """It is an alarm only once it has lasted for this long, ns."""

    @property
    def key(self) -> str:
        """The same for all reports of one cause."""
        return f"{self.source}:{self.kind}:{self.subject}"


@dataclass(frozen=True, slots=True)
class Alarm:
    """One cause from when it arose to when it is over and seen; each state is a new record."""

    id: str
    time: int
    """When it was raised, ns."""
    source: Source
    kind: str
    subject: str
    priority: Priority
    suspect: str
    evidence: tuple[str, ...]
    state: State
    changed: int
    """When it took its state, ns."""
    active: bool = True
    """Whether its cause lasts."""
    by: str = ""
    """Who acknowledged or shelved it; empty while nobody has."""
    until: int | None = None
    """Shelved until then, ns."""

    @property
    def key(self) -> str:
        """As that of the reports that it was made of."""
        return f"{self.source}:{self.kind}:{self.subject}"


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A person has seen an alarm."""

    time: int
    alarm: str
    by: str


@dataclass(frozen=True, slots=True)
class Shelved:
    """A person does not want to be told of an alarm until a time (ns); now ends shelving."""

    time: int
    alarm: str
    until: int
    by: str


class AlarmBook:
    """The alarms that are not cleared, one per cause.

    A cause that comes back before its alarm was seen raises the same alarm again. A cause that goes
    for less than `RETURN` changes nothing. Methods take event times that do not fall, and give the
    alarms whose state changed, in order; what was due before is given first.
    """

    def __init__(self) -> None:
        self._alarms: dict[str, Alarm] = {}
        self._pending: dict[str, tuple[int, Report]] = {}
        """Reports that take effect at a time, ns, by key."""

    def report(self, report: Report) -> list[Alarm]:
        """Take a report; the same one again changes nothing."""
        changes = self.tick(report.time)
        alarm, waiting = self._alarms.get(report.key), self._pending.get(report.key)
        standing = alarm is not None and alarm.active
        if report.active == standing:
            # the other way was on its way and is called off
            self._pending.pop(report.key, None)
        elif waiting is None:
            due = report.time + (report.lasting if report.active else RETURN)
            self._pending[report.key] = (due, report)
        return changes + self.tick(report.time)

    def tick(self, time: int) -> list[Alarm]:
        """What has become due by `time`, ns."""
        changes: list[Alarm] = []
        due = [(when, key) for key, (when, _) in self._pending.items() if when <= time]
        due += [
            (alarm.until, key)
            for key, alarm in self._alarms.items()
            if alarm.until is not None and alarm.until <= time
        ]
        for when, key in sorted(due):
            alarm, waiting = self._alarms.get(key), self._pending.get(key)
            if waiting is not None and waiting[0] <= when:
                del self._pending[key]
                changes += self._settle(alarm, waiting[1], when)
            elif alarm is not None:
                changes.append(self._unshelve(alarm, when))
        return changes

    def acknowledge(self, time: int, alarm: str, by: str) -> list[Alarm]:
        """A person has seen an alarm; one that is over is cleared by it, a shelved one stays so.

        Raises:
            KeyError: no such alarm.
        """
        changes = self.tick(time)
        found = self._find(alarm)
        if found.state not in ("unacknowledged", "returned"):
            return changes
        state: State = "acknowledged" if found.active else "cleared"
        return [*changes, self._put(replace(found, state=state, changed=time, by=by))]

    def shelve(self, time: int, alarm: str, until: int, by: str) -> list[Alarm]:
        """A person does not want to be told of an alarm until a time; what is past unshelves it.

        Raises:
            KeyError: no such alarm.
            ValueError: longer than an alarm may be shelved.
        """
        if until - time > LONGEST:
            hours = LONGEST // (3600 * NANOSECONDS)
            raise ValueError(f"an alarm may be shelved for {hours} h at most; choose less")
        changes = self.tick(time)
        found = self._find(alarm)
        if until > time:
            shelved = replace(found, state="shelved", changed=time, by=by, until=until)
            return [*changes, self._put(shelved)]
        if found.state == "shelved":
            changes.append(self._unshelve(found, time))
        return changes

    def open(self) -> list[Alarm]:
        """The alarms that are not cleared, the most urgent first."""
        return sorted(self._alarms.values(), key=urgency)

    def snapshot(self) -> Snapshot:
        """Alarms, and reports that are to take effect."""
        return {
            "alarms": [asdict(alarm) for alarm in self._alarms.values()],
            "pending": [[due, asdict(report)] for due, report in self._pending.values()],
        }

    def restore(self, state: Snapshot) -> None:
        """Take what another gave."""
        for values in state["alarms"]:
            self._put(Alarm(**{**values, "evidence": tuple(values["evidence"])}))
        for due, values in state["pending"]:
            report = Report(**{**values, "evidence": tuple(values["evidence"])})
            self._pending[report.key] = (due, report)

    def recall(self, alarms: Iterable[Alarm], time: int) -> list[Alarm]:
        """Go on with what stood when the service ended; causes that last will be reported again."""
        changes = []
        for alarm in alarms:
            if alarm.key in self._alarms:
                continue
            state: State = "shelved" if alarm.state == "shelved" else "returned"
            if alarm.state in ("acknowledged", "cleared"):
                state = "cleared"
            changes.append(self._put(replace(alarm, state=state, active=False, changed=time)))
        return changes

    def causes(self) -> dict[str, bool]:
        """By key what was reported last, of causes that are alarms or about to be."""
        standing = {key: alarm.active for key, alarm in self._alarms.items()}
        return standing | {key: report.active for key, (_, report) in self._pending.items()}

    def _find(self, identity: str) -> Alarm:
        for alarm in self._alarms.values():
            if alarm.id == identity:
                return alarm
        raise KeyError(identity)

    def _settle(self, alarm: Alarm | None, report: Report, when: int) -> list[Alarm]:
        if alarm is None:
            identity = f"{report.key}:{when // 1_000_000}"
            made = Alarm(
                identity,
                when,
                report.source,
                report.kind,
                report.subject,
                report.priority,
                report.suspect or report.subject,
                report.evidence,
                "unacknowledged",
                when,
            )
            return [self._put(made)] if report.active else []
        evidence = report.evidence or alarm.evidence
        state: State = alarm.state
        if state != "shelved":
            if report.active:
                state = "unacknowledged"
            else:
                state = "returned" if state == "unacknowledged" else "cleared"
        changed = replace(alarm, active=report.active, evidence=evidence, state=state, changed=when)
        return [self._put(changed)]

    def _unshelve(self, alarm: Alarm, when: int) -> Alarm:
        if not alarm.active:
            return self._put(replace(alarm, state="cleared", changed=when, until=None))
        back = replace(alarm, state="unacknowledged", changed=when, by="", until=None)
        return self._put(back)

    def _put(self, alarm: Alarm) -> Alarm:
        if alarm.state == "cleared":
            self._alarms.pop(alarm.key, None)
        else:
            self._alarms[alarm.key] = alarm
        return alarm


def urgency(alarm: Alarm) -> tuple[int, int, int]:
    """Sorts alarms: by state, then by priority, then the newest."""
    return _STATES[alarm.state], _PRIORITIES[alarm.priority], -alarm.time
