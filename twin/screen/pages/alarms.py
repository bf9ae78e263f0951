"""Alarms: what needs a person, most urgent first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from nicegui import ui

from twin.desk import UnknownError
from twin.desk.views import AlarmView
from twin.screen.parts import button, el, empty, on_page, panel, say, table
from twin.screen.visit import Visit
from twin.screen.words import Words
from twin.users import NotAllowedError

PRIORITIES = {"critical": "1", "high": "2", "medium": "3", "low": "4"}
SHELVES = {"10 min": 600.0, "1 h": 3600.0, "8 h": 28_800.0}


async def show(visit: Visit) -> None:
    """Build the page."""
    words = visit.words

    @ui.refreshable
    async def standing() -> None:
        line = await visit.reader.line()
        with panel(words("standing_alarms")):
            _standing(visit, line.alarms, standing.refresh)

    @ui.refreshable
    async def past() -> None:
        found = await visit.desk.alarm_history()
        with panel(words("past_alarms")):
            _past(words, tuple(each for each in found if each.state == "cleared"))

    with el("div", classes="stack", aria_live="assertive"):
        await standing()
    with el("div", classes="stack"):
        await past()

    def again() -> None:
        standing.refresh()
        past.refresh()

    visit.follow(("alarm",), again)


def priority(words: Words, alarm: AlarmView) -> None:
    """Number and shape: nobody has to see the colour."""
    level = PRIORITIES.get(alarm.priority, "2")
    el("span", level, f"priority p{level}", role="img", aria_label=f"{words('priority')} {level}")


def _standing(visit: Visit, alarms: tuple[AlarmView, ...], again: Callable[[], object]) -> None:
    words = visit.words
    if not alarms:
        empty("notifications_none", words("none_standing"))
        return
    allowed = visit.may("operator") and visit.live

    async def handle(alarm: AlarmView, seconds: float | None) -> None:
        try:
            if seconds is None:
                await visit.desk.acknowledge(await visit.person(), alarm.id)
            else:
                await visit.desk.shelve(await visit.person(), alarm.id, seconds)
        except (NotAllowedError, UnknownError, ValueError) as error:
            say(words("failed_to", why=words.sentence(str(error))), bad=True)
        again()

    def actions(alarm: AlarmView) -> None:
        with el("div", classes="flow"):
            el(
                "span",
                words(alarm.state),
                "chip strong" if alarm.state == "unacknowledged" else "chip",
            )
            if alarm.by:
                el("span", words("decided_by", by=alarm.by), "small soft")
            if alarm.state in ("unacknowledged", "returned"):
                button(
                    words("acknowledge"),
                    partial(handle, alarm, None),
                    "primary",
                    disabled=not allowed,
                )
            if alarm.state == "shelved":
                until = words("until", time=words.time(alarm.until, date=False))
                el("span", until, "small soft number")
                button(words("unshelve"), partial(handle, alarm, 0.0), disabled=not allowed)
                return
            with button(words("shelve"), disabled=not allowed), ui.menu():
                for text, seconds in SHELVES.items():
                    ui.menu_item(text, on_page(partial(handle, alarm, seconds)))

    table(
        [words("priority"), words("subject"), words("text"), words("raised"), words("state")],
        [
            [
                partial(priority, words, each),
                partial(_subject, words, each),
                words.sentence(each.text),
                words.time(each.raised),
                partial(actions, each),
            ]
            for each in alarms
        ],
        caption=words("standing_alarms"),
    )


def _subject(words: Words, alarm: AlarmView) -> None:
    el("strong", words.full(alarm.subject) if "." in alarm.subject else words.name(alarm.subject))
    if alarm.suspect and alarm.suspect != alarm.subject:
        el("p", words("suspect", name=words.name(alarm.suspect)), "small soft")


def _past(words: Words, alarms: tuple[AlarmView, ...]) -> None:
    if not alarms:
        empty("history", words("none_past"))
        return
    columns = ("priority", "subject", "text", "raised", "cleared", "duration")
    table(
        [words(each) for each in columns],
        [
            [
                partial(priority, words, each),
                partial(_subject, words, each),
                words.sentence(each.text),
                words.time(each.raised),
                words.time(each.changed),
                _lasted(words, each),
            ]
            for each in alarms
        ],
        right=(5,),
        caption=words("past_alarms"),
    )


def _lasted(words: Words, alarm: AlarmView) -> str:
    if alarm.raised is None or alarm.changed is None:
        return "–"
    seconds = (alarm.changed - alarm.raised).total_seconds()
    return (
        f"{words.number(seconds, 0)} s" if seconds < 120 else f"{words.number(seconds / 60, 0)} min"
    )
