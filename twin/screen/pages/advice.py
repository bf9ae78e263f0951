"""Advice: what the twin recommends and why, the decision, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial

from nicegui import ui

from twin.desk import BusyError, DecidedError, UnknownError
from twin.desk.views import Advice, ExpectedEffect, SetpointChange
from twin.editing import EditRefusedError
from twin.screen.parts import button, el, empty, icon, panel, say, static_bar
from twin.screen.visit import Visit
from twin.screen.words import Words, digits
from twin.users import NotAllowedError

HISTORY = 40
NEGLIGIBLE = 0.02
"""Share of the largest step by which advice may wander and be the same to a person, where its
setpoint has no dead band."""
STYLES: Mapping[str, str] = {
    "proposed": "chip twin full",
    "accepted": "chip twin",
    "written": "chip twin",
    "verified": "chip strong",
    "failed": "chip bad",
    "rejected": "chip",
    "superseded": "chip",
    "expired": "chip",
}


async def show(visit: Visit) -> None:
    """Build the page."""
    words = visit.words
    board = _Board(visit)
    await board.look()

    @ui.refreshable
    async def waiting() -> None:
        if not board.open:
            with panel(words("open")):
                empty("task_alt", words("no_open"), words("no_open_why"))
        for each in board.open.values():
            _open(board, each)

    @ui.refreshable
    async def history() -> None:
        rows = await visit.reader.recommendations("decided", HISTORY)
        with panel(words("history")):
            _history(words, tuple(each for each in rows if each.state != "proposed"))

    async def again() -> None:
        if await board.look():
            waiting.refresh()

    with el("div", classes="stack", aria_live="polite"):
        await waiting()
    with el("div", classes="stack"):
        await history()
    visit.follow(("recommendation",), again)
    visit.follow(("decision",), history.refresh)


class _Board:
    """What waits for a decision, by web.

    The twin advises anew every few seconds. As long as that is the same but for less than is worth
    a write, it is the same advice to a person, and stays on the page as it is.
    """

    def __init__(self, visit: Visit) -> None:
        self.visit = visit
        self.open: dict[str, Advice] = {}
        """As it is shown."""
        self._now: dict[str, Advice] = {}

    async def look(self) -> bool:
        """Look what waits now; whether the page has to show something else."""
        found = await self.visit.reader.recommendations("open")
        self._now = {each.web: each for each in found}
        same = self._now.keys() == self.open.keys() and all(
            self._like(self.open[web], each) for web, each in self._now.items()
        )
        if not same:
            self.open = dict(self._now)
        return not same

    def _like(self, one: Advice, other: Advice) -> bool:
        """Whether to a person these are the same."""
        if one.state != other.state or one.writes != other.writes:
            return False
        return one.state != "proposed" or self._close(one, other)

    def _close(self, one: Advice, other: Advice) -> bool:
        if [each.setpoint for each in one.changes] != [each.setpoint for each in other.changes]:
            return False
        steps = self.visit.reader.configuration.steps
        worth = {
            setpoint.tag: max(setpoint.deadband, NEGLIGIBLE * setpoint.max_step)
            for step in steps.values()
            for setpoint in step.setpoints.values()
        }
        return all(
            abs(each.after - there.after) <= worth.get(each.setpoint, 0.0)
            for each, there in zip(one.changes, other.changes, strict=True)
        )

    async def standing(self, advice: Advice, edited: bool = False) -> Advice:
        """What now stands in the place of the advice that a person decides on: itself, or what
        took over from it if that is the same to a person, or if the person gives the values."""
        await self.look()
        there = self._now.get(advice.web)
        if there is None or there.state != "proposed":
            return advice
        return there if edited or self._close(advice, there) else advice


def places(*values: float | None) -> int:
    """Decimals for setpoints and effects that are compared with each other."""
    return digits(*values)


def _open(board: _Board, advice: Advice) -> None:
    words = board.visit.words
    proposed = advice.state == "proposed"
    with el("article", classes="advice", data_advice=advice.id):
        with el("div", classes="bar-of-title"):
            el("h2", words("open") if proposed else words(f"state_{advice.state}"), "sr")
            el("span", words(f"state_{advice.state}"), STYLES[advice.state])
            el("span", words.name(advice.web), "soft")
            el("span", words.time(advice.time), "soft number")
            if proposed and advice.expires is not None:
                el(
                    "span",
                    words("expires", time=words.time(advice.expires, date=False)),
                    "small soft",
                )
        with el("div"):
            el("h3", words("why"), "small soft")
            el("p", words.sentence(advice.reason)).style("font-size:1.15rem")
        with el("div", classes="changes"):
            for change in advice.changes:
                _change(words, change)
        el("h3", words("expected_effect"), "small soft")
        for effect in advice.expected:
            _effect(words, effect)
        if proposed:
            _decide(board, advice)
        else:
            _writes(words, advice)


def _change(words: Words, change: SetpointChange) -> None:
    decimals = places(change.before, change.after)
    with el("div", classes="change"):
        with el("span"):
            el("strong", words.last(change.setpoint))
            el("span", f" {words.name(change.step)}", "soft small")
        el("span", words.number(change.before, decimals), "from number", aria_label=words("before"))
        el("span", "→", "arrow", aria_hidden="true")
        with el("span"):
            el("span", words.number(change.after, decimals), "to number", aria_label=words("after"))
            el("span", f" {words.unit(change.unit)}", "soft")
        limits = ""
        if change.limits is not None:
            limits = f"{words('limits')} {words.between(change.limits, decimals)}"
        el("span", limits, "small soft right number")


def _effect(words: Words, effect: ExpectedEffect) -> None:
    """What would be and what is expected, on one bar with target and limits."""
    decimals = places(effect.now, effect.expected, effect.target)
    marks = [effect.now, effect.expected, effect.target, *(effect.limits or ())]
    room = 0.25 * (max(marks) - min(marks)) or 0.05 * abs(max(marks)) or 1.0
    band = None if effect.low is None or effect.high is None else (effect.low, effect.high)
    unit = words.unit(effect.unit)
    with el("div", classes="parameter"):
        el("div", words.full(effect.parameter), "label")
        with el("div", classes="nowrap"):
            el(
                "span",
                words.number(effect.now, decimals),
                "from number soft",
                aria_label=words("effect_now"),
            )
            el("span", " → ", "soft", aria_hidden="true")
            el(
                "span",
                words.number(effect.expected, decimals),
                "value number twin-ink",
                aria_label=words("effect_then"),
            )
            if band is not None:
                half = (band[1] - band[0]) / 2
                el("span", f" ± {words.number(half, decimals)}", "number twin-ink")
            el("span", unit, "unit")
        static_bar(
            (min(marks) - room, max(marks) + room),
            effect.limits,
            effect.target,
            band,
            effect.expected,
            effect.now,
        )
        with el("div", classes="second"):
            el("span", f"{words('target')} {words.number(effect.target, decimals)} {unit}")
            if effect.limits is not None:
                el("span", f"{words('limits')} {words.between(effect.limits, decimals)}")


def _decide(board: _Board, advice: Advice) -> None:
    visit, words = board.visit, board.visit.words
    if not visit.live:
        el("p", words("in_replay"), "soft")
        return
    allowed = visit.may("operator")
    with el("div", classes="flow"):
        button(
            words("accept"), partial(_accept, board, advice), "primary big", "check", not allowed
        )
        button(words("edit"), partial(_edit, board, advice), "big", "tune", not allowed)
        button(words("reject"), partial(_reject, board, advice), "big", "close", not allowed)
        if not allowed:
            el("span", words("needs_operator", role=words(f"role_{visit.user.role}")), "soft")


async def _accept(board: _Board, advice: Advice) -> None:
    """Accept after one more look: what will be written, and whether the guard would let it."""
    visit, words = board.visit, board.visit.words
    advice = await board.standing(advice)
    objections: tuple[str, ...] = ()
    # where somebody has decided meanwhile, to accept says who
    with suppress(UnknownError):
        objections = (await visit.reader.preview(advice.id)).objections
    with ui.dialog() as dialog, ui.card().classes("dialog"):
        el("h2", words("accept_sure"))
        for change in advice.changes:
            _change(words, change)
        _objections(words, objections)
        with el("div", classes="flow"):
            button(words("write_now"), lambda: dialog.submit(True), "primary big", "check")
            button(words("cancel"), lambda: dialog.submit(False), "big")
    if await dialog:
        await _carry_out(board, advice, {})
    dialog.delete()


def _objections(words: Words, objections: tuple[str, ...]) -> None:
    if not objections:
        return
    with el("div", classes="step-card", role="alert"), el("div", classes="reason"):
        el("strong", words("objections"))
        for each in objections:
            el("p", words.sentence(each))


async def _carry_out(board: _Board, advice: Advice, setpoints: Mapping[str, float]) -> bool:
    """Accept, and say what came of it; whether the desk took it."""
    visit, words = board.visit, board.visit.words
    advice = await board.standing(advice, edited=bool(setpoints))
    try:
        await visit.desk.accept(await visit.person(), advice.id, setpoints or None)
    except DecidedError as error:
        _too_late(words, error)
        return True
    except EditRefusedError as error:
        say(
            words("refused", why="; ".join(words.sentence(each) for each in error.objections)),
            bad=True,
        )
        return False
    except (NotAllowedError, UnknownError, ValueError) as error:
        say(words("failed_to", why=str(error)), bad=True)
        return False
    return True


def _too_late(words: Words, error: DecidedError) -> None:
    first = error.first
    state = words(f"state_{first.state}")
    say(
        words("too_late", by=first.by, state=state) if first.by else words("gone", state=state),
        bad=True,
    )


async def _reject(board: _Board, advice: Advice) -> None:
    visit, words = board.visit, board.visit.words

    async def send() -> None:
        if not reason.value or not reason.value.strip():
            reason.error = words("reason_needed")
            return
        try:
            standing = await board.standing(advice)
            await visit.desk.reject(await visit.person(), standing.id, reason.value)
        except DecidedError as error:
            _too_late(words, error)
        except (NotAllowedError, UnknownError, ValueError) as error:
            say(words("failed_to", why=str(error)), bad=True)
            return
        dialog.close()

    with ui.dialog() as dialog, ui.card().classes("dialog"):
        el("h2", words("reject_title"))
        reason = ui.input(words("reason")).props("outlined autofocus").classes("w-full")
        reason.style("width:100%").on("keydown.enter", send)
        with el("div", classes="flow"):
            button(words("reject"), send, "danger big", "close")
            button(words("cancel"), dialog.close, "big")
    dialog.open()


async def _edit(board: _Board, advice: Advice) -> None:
    """Other setpoints within limits, with what is then expected before anything is written."""
    visit, words = board.visit, board.visit.words
    fields: dict[str, ui.number] = {}

    def chosen() -> dict[str, float]:
        return {
            name: float(field.value) for name, field in fields.items() if field.value is not None
        }

    async def check() -> None:
        try:
            standing = await board.standing(advice, edited=True)
            preview = await visit.reader.preview(standing.id, chosen())
        except (UnknownError, ValueError, BusyError) as error:
            say(words("failed_to", why=str(error)), bad=True)
            return
        effects.clear()
        with effects:
            _objections(words, preview.objections)
            for effect in preview.advice.expected:
                _effect(words, effect)
        accept.set_enabled(not preview.objections)

    async def accept_it() -> None:
        if await _carry_out(board, advice, chosen()):
            dialog.close()

    with ui.dialog() as dialog, ui.card().classes("dialog"):
        el("h2", words("edit_title"))
        for change in advice.changes:
            decimals = places(change.before, change.after)
            field = ui.number(
                f"{words.last(change.setpoint)}, {words.unit(change.unit)}",
                value=round(change.after, decimals + 1),
                format=f"%.{decimals + 1}f",
                step=10.0**-decimals,
                min=None if change.limits is None else change.limits[0],
                max=None if change.limits is None else change.limits[1],
            )
            field.props("outlined debounce=300").style("width:100%").on_value_change(check)
            fields[change.setpoint] = field
            if change.limits is not None and change.max_step is not None:
                low, high, most = (
                    words.number(each, decimals) for each in (*change.limits, change.max_step)
                )
                el(
                    "p",
                    words("edit_help", low=low, high=high, step=most, unit=words.unit(change.unit)),
                    "small soft",
                )
        el("h3", words("expected_effect"), "small soft")
        effects = el("div", classes="stack", aria_live="polite")
        with effects:
            for effect in advice.expected:
                _effect(words, effect)
        with el("div", classes="flow"):
            accept = button(words("accept_edited"), accept_it, "primary big", "check")
            button(words("cancel"), dialog.close, "big")
    dialog.open()


def _writes(words: Words, advice: Advice) -> None:
    """Each write with what the machine read back."""
    if not advice.writes:
        if advice.state == "accepted":
            el("p", words("writing"), "twin-ink")
        return
    el("h3", words("writes"), "small soft")
    with el("div", classes="writes"):
        for each in advice.writes:
            fine = each.status == "applied"
            decimals = places(each.value)
            unit = words.unit(each.unit)
            with el("div", classes="write"):
                icon("check_circle" if fine else "error")
                text = words(
                    "written_as",
                    setpoint=words.last(each.setpoint),
                    value=words.number(each.value, decimals),
                    unit=unit,
                )
                el("strong", text)
                el("span", words(f"status_{each.status}"), "chip" if fine else "chip bad")
                back = words("not_read")
                if each.read_back is not None:
                    back = words(
                        "read_back", value=words.number(each.read_back, decimals), unit=unit
                    )
                el("span", back, "number")
                if each.reason:
                    el("span", words.sentence(each.reason), "soft")


def _history(words: Words, advices: tuple[Advice, ...]) -> None:
    """What was decided, newest first."""
    if not advices:
        empty("history", words("no_history"))
    with el("div", classes="stack"):
        for advice in advices:
            _past(words, advice)


def _past(words: Words, advice: Advice) -> None:
    with el("details", classes="past", data_advice=advice.id):
        with el("summary", classes="flow"):
            _line(words, advice)
        with el("div", classes="stack below"):
            el("p", words.sentence(advice.reason))
            for effect in advice.expected:
                _effect(words, effect)
            _writes(words, advice)
            _came_of_it(words, advice)
            if advice.note:
                el("p", words.sentence(advice.note), "soft")
            _timeline(words, advice)


def _came_of_it(words: Words, advice: Advice) -> None:
    """What the material then did: each promise beside what was measured."""
    for each in advice.judged:
        decimals = places(each.promised, each.measured)
        ends = min(each.low, each.measured, each.before), max(each.high, each.measured, each.before)
        room = 0.2 * (ends[1] - ends[0]) or 1.0
        with el("div", classes="parameter came"):
            el("div", f"{words('came_of_it')}: {words.full(each.parameter)}", "label")
            with el("div", classes="nowrap"):
                el("span", words.value(each.measured, decimals, each.unit), "value number")
                kept = words("kept") if each.kept else words("not_kept")
                el("span", kept, "chip strong" if each.kept else "chip warn")
            static_bar(
                (ends[0] - room, ends[1] + room), None, None, (each.low, each.high), each.promised,
                each.measured,
            )  # fmt: skip
            with el("div", classes="second"):
                promised = words.value(each.promised, decimals, each.unit)
                el("span", f"{words('promised')} {promised}", "twin-ink")
                el("span", words("over_segments", count=each.segments))


def _line(words: Words, advice: Advice) -> None:
    el("span", words.time(advice.time, date=False), "number")
    el("span", words(f"state_{advice.state}"), STYLES[advice.state])
    changes = ", ".join(words.change(each) for each in advice.changes)
    el("strong", changes, "number")
    if advice.by:
        el("span", words("decided_by", by=advice.by), "soft")


def _timeline(words: Words, advice: Advice) -> None:
    if not advice.history:
        return
    with el("div", classes="timeline"):
        for index, each in enumerate(advice.history):
            if index:
                el("span", "→", aria_hidden="true")
            by = f" {words('decided_by', by=each.by)}" if each.by else ""
            el(
                "span",
                f"{words.time(each.time, date=False)} {words(f'state_{each.state}')}{by}",
                "number",
            )
