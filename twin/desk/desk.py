"""The desk: the one place at which people and machines look at a running service and decide."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Final, get_args

from twin.configuration.models import Mode
from twin.desk import laboratory, overview
from twin.desk.door import Door
from twin.desk.errors import UnknownError
from twin.desk.feed import Happening
from twin.desk.laboratory import Entry, ImplausibleError
from twin.desk.reader import Describe, Reader, Which
from twin.desk.replays import Replays
from twin.desk.rolls import EARLIER, LATER, recorded, roll_map, roll_view
from twin.desk.views import (
    AccountView,
    Advice,
    AlarmView,
    AuditEntry,
    CheckView,
    EventView,
    HealthView,
    LaboratoryChoice,
    LaboratoryEntry,
    ModelUse,
    RollMap,
    RollView,
    StateChange,
    StepView,
    moment,
)
from twin.health import Health, examine
from twin.ledger import Ledger
from twin.metrics import render
from twin.registry import Registry
from twin.samples import SampleBatch
from twin.service import Service
from twin.users import NotAllowedError, Role, User

LONGEST_REASON: Final = 500
MOST_EVENTS: Final = 10_000
PACKAGES: Final = ("linetwin", "asyncua", "paho-mqtt", "onnxruntime", "duckdb", "numpy")


class DecidedError(Exception):
    """Somebody has decided already."""

    def __init__(self, identity: str, first: StateChange) -> None:
        when = "" if first.time is None else f" at {first.time:%H:%M:%S} UTC"
        by = f" by {first.by}" if first.by else ""
        note = f": {first.note}" if first.note else ""
        super().__init__(f"recommendation {identity} was {first.state}{by}{when}{note}")
        self.first = first
        """What the first did."""


class Desk(Reader):
    """Reads and decides. Whoever acts is checked, and what they did is audited.

    Args:
        service: running, or about to.
        ledger: its ledger; used on the store's thread.
        describe: the card of a model, where it has one.
        door: knows who is asking.
        replays: of recordings.
        registry: says since when a model is in use.
    """

    def __init__(
        self,
        service: Service,
        ledger: Ledger,
        describe: Describe,
        door: Door,
        replays: Replays,
        registry: Registry | None = None,
    ) -> None:
        clock = service.clock
        super().__init__(service, clock.now, lambda: clock.acceleration, True, describe)
        self._service = service
        self._ledger = ledger
        self._registry = registry
        self.door = door
        self.replays = replays
        service.listeners.append(self)

    async def run(self) -> None:
        """Feed those who listen, until cancelled; ends the replays then."""
        try:
            await self.feed.run()
        finally:
            await self.replays.close_all()

    def close(self) -> None:
        super().close()
        self.door.close()

    # reads beyond those of a replay

    async def step(self, name: str) -> StepView:
        found = await super().step(name)
        use = next((each for each in await self.models() if each.step == name), None)
        if use is None:
            return found
        about = found.model.model_copy(
            update={"since": use.since, "by": use.by, "challenger": use.challenger}
        )
        return found.model_copy(update={"model": about})

    async def recommendations(self, which: Which = "open", limit: int = 100) -> tuple[Advice, ...]:
        if which == "open":
            return self._open()
        without = "superseded" if which == "decided" else None
        rows = await self._service.store.on_ledger(
            lambda: self._ledger.recommendations(limit, without=without)
        )
        return tuple(self.book.recorded(row) for row in rows)

    async def recommendation(self, identity: str) -> Advice:
        """One recommendation with its history.

        Raises:
            UnknownError: there is none.
        """
        for each in self._open():
            if each.id == identity:
                return each
        row = await self._service.store.on_ledger(lambda: self._ledger.recommendation(identity))
        if row is None:
            raise UnknownError(f"there is no recommendation {identity}")
        return self.book.recorded(row)

    async def rolls(self) -> tuple[RollView, ...]:
        rows = await self._service.store.on_ledger(self._ledger.rolls)
        rows.sort(key=lambda row: -(row["began"] or 0))
        webs, tracker = self._service.core.line.webs, self._service.core.tracker
        return tuple(
            roll_view(recorded(row), tracker, row["began"] or 0)
            for row in rows
            if row["web"] in webs
        )

    async def roll_map(self, number: int, web: str | None = None) -> RollMap:
        rows = await self._service.store.on_ledger(lambda: self._ledger.rolls(web))
        webs, core = self._service.core.line.webs, self._service.core
        # numbers may come again: the newest is meant
        found = [row for row in rows if row["number"] == number and row["web"] in webs]
        if not found:
            raise UnknownError(f"there is no roll {number}")
        row = max(found, key=lambda each: each["began"] or 0)
        began = row["began"] or 0
        roll = roll_view(recorded(row), core.tracker, began)
        start, end = max(began - EARLIER, 0), began + LATER
        return await self._read(
            lambda historian: roll_map(historian, core.line, core.tags, roll, start, end)
        )

    async def laboratory(
        self, limit: int = 100
    ) -> tuple[tuple[LaboratoryChoice, ...], tuple[LaboratoryEntry, ...]]:
        """What can be entered, and what people entered, newest first, corrections with it."""
        line = self._service.core.line
        rows = await self._service.store.on_ledger(lambda: self._ledger.laboratory_entries(limit))
        corrected = {row["corrects"]: row["row"] for row in rows if row["corrects"] is not None}
        entries = tuple(laboratory.entry_view(line, row, corrected.get(row["row"])) for row in rows)
        return laboratory.choices(line), entries

    async def models(self) -> tuple[ModelUse, ...]:
        """Which model predicts every step, since when, and who said so."""
        used = {}
        if self._registry is not None:
            used = await self._service.store.on_ledger(self._registry.in_use)
        challengers = self._service.challengers
        found = []
        for step, surrogate in self._service.core.surrogates.items():
            use, rival = used.get(step), challengers.get(step)
            found.append(
                ModelUse(
                    step=step,
                    version=surrogate.version,
                    since=None if use is None or use.since is None else moment(use.since),
                    by="" if use is None else use.by,
                    card=self._describe(surrogate),
                    challenger=None if rival is None else self._describe(rival),
                )
            )
        return tuple(found)

    async def audit(self, limit: int = 100) -> tuple[AuditEntry, ...]:
        """What people and the twin did, newest first."""
        rows = await self._service.store.on_ledger(lambda: self._ledger.audited(limit))
        found = []
        for row in rows:
            time = moment(row["time"])
            assert time is not None
            found.append(
                AuditEntry(
                    time=time, who=row["who"], what=row["what"], details=row["details"] or {}
                )
            )
        return tuple(found)

    async def events(self, start: int, end: int) -> tuple[EventView, ...]:
        """What happened to the line between two times (ns), oldest first.

        Raises:
            HistorianError: the store refuses.
        """
        if not 0 <= start < end < 2**63:
            return ()
        found = await self._read(lambda historian: historian.events(start, end))
        return tuple(
            EventView(time=time, kind=each.kind, subject=each.subject, text=each.text)
            for each in found[-MOST_EVENTS:]
            for time in (moment(each.time),)
            if time is not None
        )

    def examine(self) -> Health:
        """Whether the service is alive and ready."""
        return examine(self._service)

    def metrics(self) -> bytes:
        """Metrics in Prometheus' text format."""
        return render(self._service)

    async def health(self) -> HealthView:
        """How the service is doing."""
        time, core = moment(self._now()), self._service.core
        assert time is not None
        return HealthView(
            live=True,
            time=time,
            checks=tuple(
                CheckView(name=each.name, ok=each.ok, said=each.said, weight=each.weight)
                for each in examine(self._service).checks
            ),
            connectors=overview.connectors(self._service),
            store=overview.store(self._service),
            rejected=dict(self._service.rejected),
            versions={"python": sys.version.split()[0], **_versions()},
            models={step: model.version for step, model in core.surrogates.items()},
        )

    # accounts

    async def accounts(self, user: User) -> tuple[AccountView, ...]:
        """All users and tokens.

        Raises:
            NotAllowedError: the user is no engineer.
        """
        self._allow(user, "engineer", "list users", {})
        found = await self.door.call(self.door.users.accounts)
        return tuple(
            AccountView(
                name=each.name,
                kind=each.kind,
                role=each.role,
                since=since,
                expires=None if each.expires is None else moment(each.expires),
            )
            for each in found
            for since in (moment(each.since),)
            if since is not None
        )

    async def add_user(self, user: User, name: str, role: Role, password: str) -> None:
        """Add a user.

        Raises:
            NotAllowedError: the user is no engineer.
            ValueError: the name is taken, or the password is short.
        """
        self._allow(user, "engineer", "add user", {"name": name, "role": role})
        await self.door.call(lambda: self.door.users.add(name, role, password))
        self.audited(user.name, "add user", {"name": name, "role": role})

    async def remove_account(self, user: User, name: str) -> None:
        """Remove a user or token.

        Raises:
            NotAllowedError: the user is no engineer.
            ValueError: there is none, or it is the user's own.
        """
        self._allow(user, "engineer", "remove user", {"name": name})
        if name == user.name:
            raise ValueError("nobody removes the account that they use; ask another engineer")
        await self.door.call(lambda: self.door.users.remove(name))
        self.audited(user.name, "remove user", {"name": name})

    async def set_password(self, user: User, name: str, password: str) -> None:
        """Change one's own password, or as an engineer anybody's; ends the sessions.

        Raises:
            NotAllowedError: it is another's, and the user is no engineer.
            ValueError: there is no such user, or the password is short.
        """
        if name != user.name:
            self._allow(user, "engineer", "change password", {"name": name})
        await self.door.call(lambda: self.door.users.set_password(name, password))
        self.audited(user.name, "change password", {"name": name})

    # actions

    def _allow(self, user: User, role: Role, what: str, details: Mapping[str, object]) -> None:
        """Refuse, and audit it, where a user may not.

        Raises:
            NotAllowedError: the action takes a higher role.
        """
        if not user.may(role):
            self.audited(user.name, f"refused: {what}", {**details, "role": user.role})
            raise NotAllowedError(user, what, role)

    def audited(self, who: str, what: str, details: Mapping[str, object]) -> None:
        """Have the ledger record what somebody did."""
        self._service.audit(who, what, details)

    async def accept(
        self, user: User, identity: str, setpoints: Mapping[str, float] | None = None
    ) -> Advice:
        """Accept a recommendation, perhaps with other setpoints (in their units).

        The guard judges it, and what was changed, before anything is written.

        Raises:
            NotAllowedError: the user is no operator.
            UnknownError: there is no such recommendation.
            DecidedError: somebody has decided already.
            EditRefusedError: the guard refuses the changed setpoints; it goes on waiting.
            ValueError: no such setpoint.
        """
        about = {"recommendation": identity, **({"edited": dict(setpoints)} if setpoints else {})}
        self._allow(user, "operator", "accept", about)
        await self._undecided(user, "accept", identity)
        self._service.accept(identity, user.name, self._setpoints(setpoints or {}))
        return await self._now_is(identity)

    async def reject(self, user: User, identity: str, reason: str) -> Advice:
        """Reject a recommendation, with a reason.

        Raises:
            NotAllowedError: the user is no operator.
            UnknownError: there is no such recommendation.
            DecidedError: somebody has decided already.
            ValueError: no reason.
        """
        self._allow(user, "operator", "reject", {"recommendation": identity})
        reason = _sentence(reason, "say why it is rejected")
        await self._undecided(user, "reject", identity)
        self._service.reject(identity, user.name, reason)
        return await self._now_is(identity)

    async def _undecided(self, user: User, what: str, identity: str) -> None:
        """Come back where a recommendation waits; nothing awaits between this and the decision."""
        if self._proposed(identity) is not None:
            return
        first = self.book.decision(identity)
        if first is None:
            row = await self._service.store.on_ledger(lambda: self._ledger.recommendation(identity))
            if self._proposed(identity) is not None:
                return
            if row is None:
                raise UnknownError(f"there is no recommendation {identity}")
            told = self.book.recorded(row)
            decided = [each for each in told.history if each.state != "proposed"]
            # the twin was stopped before anybody decided
            never = StateChange(time=None, state="expired", by="", note="nobody decided in time")
            first = decided[0] if decided else never
        details = {"recommendation": identity, "because": f"it was {first.state} by {first.by}"}
        self.audited(user.name, f"refused: {what}", details)
        raise DecidedError(identity, first)

    async def _now_is(self, identity: str) -> Advice:
        last = self._service.status.recommendations.values()
        found = next((each for each in last if each.id == identity), None)
        if found is None:
            return await self.recommendation(identity)
        return self.book.view(self.book.document(found))

    async def acknowledge(self, user: User, alarm: str) -> AlarmView:
        """Say that an alarm was seen; who comes second is told who was first.

        Raises:
            NotAllowedError: the user is no operator.
            UnknownError: there is no such alarm.
            ValueError: it is shelved.
        """
        self._allow(user, "operator", "acknowledge", {"alarm": alarm})
        found = self._alarm(alarm)
        if found.state == "shelved":
            because = "it is shelved; end that first"
            details = {"alarm": alarm, "because": because}
            self.audited(user.name, "refused: acknowledge", details)
            raise ValueError(because)
        if found.state == "acknowledged":
            return found
        self._service.acknowledge(alarm, user.name)
        return self._alarm(alarm, found)

    async def shelve(self, user: User, alarm: str, seconds: float) -> AlarmView:
        """Put an alarm away for some time; 0 ends that.

        Raises:
            NotAllowedError: the user is no operator.
            UnknownError: there is no such alarm.
            ValueError: for too long.
        """
        self._allow(user, "operator", "shelve", {"alarm": alarm})
        found = self._alarm(alarm)
        if seconds <= 0 and found.state != "shelved":
            return found
        self._service.shelve(alarm, seconds, user.name)
        return self._alarm(alarm, found)

    def _alarm(self, identity: str, before: AlarmView | None = None) -> AlarmView:
        """An alarm; one that is cleared as it was `before`, in its last state.

        Raises:
            UnknownError: there is no such alarm.
        """
        for each in self._service.core.alarms.open():
            if each.id == identity:
                return overview.alarm(each)
        if before is None:
            raise UnknownError(f"there is no alarm {identity}")
        return before.model_copy(update={"state": "cleared"})

    async def alarm_history(self, limit: int = 100) -> tuple[AlarmView, ...]:
        """Alarms as they are now or ended, newest first."""
        found = await self._service.store.on_ledger(lambda: self._ledger.alarms(limit))
        return tuple(map(overview.alarm, found))

    async def set_mode(self, user: User, step: str, mode: str) -> StepView:
        """Set what a step may do.

        Raises:
            NotAllowedError: the user is no engineer.
            UnknownError: no such step.
            ValueError: no such mode.
        """
        self._allow(user, "engineer", "set mode", {"step": step, "mode": mode})
        if step not in self._service.core.line.steps:
            raise UnknownError(f"there is no step {step}")
        chosen: Mode | None = next((each for each in get_args(Mode) if each == mode), None)
        if chosen is None:
            raise ValueError(f"there is no mode {mode}; choose from {', '.join(get_args(Mode))}")
        self._service.set_mode(step, chosen, user.name)
        return await self.step(step)

    async def roll_back_model(self, user: User, step: str) -> tuple[ModelUse, ...]:
        """Return to the model before the last promotion; it is in use within seconds.

        Raises:
            NotAllowedError: the user is no engineer.
            UnknownError: no such step.
            ValueError: the configured model is in use.
        """
        self._allow(user, "engineer", "roll back model", {"step": step})
        if step not in self._service.core.line.steps:
            raise UnknownError(f"there is no step {step}")
        registry, now = self._registry, self._now()
        if registry is None:
            raise ValueError("this service keeps no models beside those of its configuration")
        found = await self._service.store.on_ledger(
            lambda: registry.roll_back(now, step, user.name)
        )
        self.audited(user.name, "roll back model", {"step": step, "version": found})
        return await self.models()

    async def enter_laboratory(
        self, user: User, entry: Entry, confirmed: bool = False
    ) -> LaboratoryEntry:
        """Enter a laboratory value; it is used at once, for the material that it was taken from.

        Raises:
            NotAllowedError: the user is no operator.
            ImplausibleError: it is far from what is predicted and was not confirmed.
            ValueError: it cannot be used.
        """
        self._allow(user, "operator", "enter laboratory value", {"tag": entry.tag})
        return await self._enter(user, entry, confirmed, None)

    async def correct_laboratory(
        self, user: User, number: int, value: float, unit: str, note: str, confirmed: bool = False
    ) -> LaboratoryEntry:
        """Put another value in the place of one that was entered; both stay in the history.

        Raises:
            NotAllowedError: the user is no operator.
            UnknownError: no such entry.
            DecidedError, ImplausibleError, ValueError: it was corrected before, is far from what
                is predicted, or cannot be used.
        """
        self._allow(user, "operator", "correct laboratory value", {"entry": number})
        note = _sentence(note, "say why it is corrected")
        rows = await self._service.store.on_ledger(lambda: self._ledger.laboratory_entries(None))
        row = next((each for each in rows if each["row"] == number), None)
        if row is None:
            raise UnknownError(f"there is no laboratory entry {number}")
        later = next((each for each in rows if each["corrects"] == number), None)
        if later is not None:
            raise ValueError(
                f"entry {number} was corrected by {later['by']} as entry {later['row']}; "
                "correct that one"
            )
        material = {name: row[name] for name in ("tag", "sampled", "roll", "metre", "batch")}
        entry = Entry(value=value, unit=unit, note=note, **material)
        return await self._enter(user, entry, confirmed, number)

    async def _enter(
        self, user: User, entry: Entry, confirmed: bool, corrects: int | None
    ) -> LaboratoryEntry:
        core, now = self._service.core, self._now()
        measured = laboratory.measurement(core, entry)
        objection = core.objection(measured, now)
        if objection:
            raise ValueError(f"{entry.tag} cannot be used: {objection}")
        doubts = laboratory.doubts(core, measured)
        if doubts and not confirmed:
            raise ImplausibleError(doubts)
        values = {
            "by": user.name,
            "tag": entry.tag,
            "unit": entry.unit,
            "value": entry.value,
            "sampled": entry.sampled,
            "roll": entry.roll,
            "metre": entry.metre,
            "batch": entry.batch,
            "note": entry.note,
            "corrects": corrects,
        }
        number = await self._service.store.on_ledger(
            lambda: self._ledger.enter_laboratory(now, **values)
        )
        nothing = SampleBatch.of([], [], [])
        self._service.feed(
            SampleBatch(nothing.tag, nothing.time, nothing.value, nothing.quality, (measured,))
        )
        what = "enter laboratory value" if corrects is None else "correct laboratory value"
        self.audited(user.name, what, {"entry": number, **values})
        text = f"{entry.value:g} {entry.unit}"
        self.feed.tell("laboratory", Happening(subject=entry.tag, text=text, by=user.name))
        return laboratory.entry_view(core.line, {"row": number, "time": now, **values}, None)


def _sentence(text: str, otherwise: str) -> str:
    text = " ".join(text.split())
    if not text:
        raise ValueError(otherwise)
    if len(text) > LONGEST_REASON:
        raise ValueError(f"a reason has at most {LONGEST_REASON} characters")
    return text


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a checkout
            continue
    return found
