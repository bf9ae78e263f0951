"""What happened while a page had no connection: decided, alarmed, changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from twin.desk import Desk
from twin.desk.views import Advice
from twin.screen.words import Words

MOST: Final = 20


async def since(desk: Desk, words: Words, milliseconds: int) -> list[str]:
    """Sentences on what happened after a line time, oldest first; the latest of many."""
    begin = datetime.fromtimestamp(milliseconds / 1000, UTC)
    found: list[tuple[datetime, str]] = []
    for each in await desk.recommendations("history", MOST):
        found += _decided(words, each)
    for alarm in (await desk.line()).alarms:
        if alarm.raised is not None:
            subject = words("todo_alarm", subject=words.name(alarm.subject))
            found.append((alarm.raised, f"{subject}: {words.sentence(alarm.text)}"))
    found += [
        (entry.time, f"{entry.who}: {words.act(entry.what)}")
        for entry in await desk.audit(MOST)
        if entry.what not in ("accept", "reject")
    ]
    later = sorted(each for each in found if each[0] > begin)
    return [f"{words.time(time, date=False)} {text}" for time, text in later[-MOST:]]


def _decided(words: Words, advice: Advice) -> Iterator[tuple[datetime, str]]:
    what = ", ".join(words.last(each.setpoint) for each in advice.changes)
    for change in advice.history:
        if change.time is not None and change.state != "superseded":
            by = f" {words('decided_by', by=change.by)}" if change.by else ""
            yield change.time, f"{words('advice')} {what}: {words(f'state_{change.state}')}{by}"
