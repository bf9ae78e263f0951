"""Alarms: what needs a person, most urgent first."""

from __future__ import annotations

from functools import partial

from nicegui import ui

from twin.desk import UnknownError
from twin.desk.views import AlarmView
from twin.screen.parts import button, el, empty, on_page, panel, say, table
from twin.screen.visit import Visit
from twin.screen.words import Words
from twin.users import NotAllowedError

PRIORITIES = {"critical": "1", "urgent": "1", "high": "2", "medium": "3", "low": "3"}
SHELVES = {"10 min": 600.0, "1 h": 3600.0, "8 h": 28_800.0}


async def show(visit: Visit) -> None:
    """Build the page."""
    words = visit.words

    @ui.refreshable
    async def standing() -> None:
        line = await visit.reader.line()
        found = [each for each in line.alarms if each.cleared is None]
        with panel(words("standing_alarms")):
            _standing(
                visit,
                sorted(found, key=lambda each: PRIORITIES.get(each.priority, "2")),
                standing.refresh,
            )

    @ui.refreshable
    async def past() -> None:
        with panel(words("past_alarms")):
            _past(words, await visit.desk.past_alarms())

    with el("div", classes="stack", aria_live="assertive"):
        await standing()
    with el("div", classes="stack"):
        await past()

    def again() -> None:
        standing.refresh()
        past.refresh()

    visit.follow(("alarm", "mode"), again)


def priority(words: Words, alarm: AlarmView) -> None:
    """Number and shape: nobody has to see the colour."""
    level = PRIORITIES.get(alarm.priority, "2")
    el("span", level, f"priority p{level}", role="img", aria_label=f"{words('priority')} {level}")


def _standing(visit: Visit, alarms: list[AlarmView], again: object) -> None:
    words = visit.words
    if not alarms:
        empty("notifications_none", words("none_standing"))
        return
    allowed = visit.may("operator") and visit.live

    async def handle(alarm: AlarmView, seconds: float | None) -> None:
        try:
            if seconds is None:
                await visit.desk.acknowledge(visit.user, alarm.id)
            else:
                await visit.desk.shelve(visit.user, alarm.id, seconds)
        except (NotAllowedError, UnknownError, ValueError) as error:
            say(words("failed_to", why=str(error)), bad=True)
        assert callable(again)
        again()

    def actions(alarm: AlarmView) -> None:
        with el("div", classes="flow"):
            if alarm.state == "unacknowledged":
                button(
                    words("acknowledge"),
                    partial(handle, alarm, None),
                    "primary",
                    disabled=not allowed,
                )
            else:
                el("span", words(alarm.state), "chip")
            with button(words("shelve"), disabled=not allowed), ui.menu():
                for text, seconds in SHELVES.items():
                    ui.menu_item(text, on_page(partial(handle, alarm, seconds)))

    table(
        [words("priority"), words("subject"), words("text"), words("raised"), words("state")],
        [
            [
                partial(priority, words, each),
                words.name(each.subject),
                words.sentence(each.text),
                words.time(each.raised),
                partial(actions, each),
            ]
            for each in alarms
        ],
        caption=words("standing_alarms"),
    )


def _past(words: Words, alarms: tuple[AlarmView, ...]) -> None:
    if not alarms:
        empty("history", words("none_past"))
        return
    table(
        [
            words("priority"),
            words("subject"),
            words("text"),
            words("raised"),
            words("cleared"),
            words("duration"),
        ],
        [
            [
                partial(priority, words, each),
                words.name(each.subject),
                words.sentence(each.text),
                words.time(each.raised),
                words.time(each.cleared),
                _lasted(words, each),
            ]
            for each in alarms
        ],
        right=(5,),
        caption=words("past_alarms"),
    )


def _lasted(words: Words, alarm: AlarmView) -> str:
    if alarm.raised is None or alarm.cleared is None:
        return "–"
    seconds = (alarm.cleared - alarm.raised).total_seconds()
    return (
        f"{words.number(seconds, 0)} s" if seconds < 120 else f"{words.number(seconds / 60, 0)} min"
    )
