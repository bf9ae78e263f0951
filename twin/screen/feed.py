"""The feed of the pages: once a second what changed, made once for all who look at the same.

A page gets everything when it connects and then only what is new; one that takes too slowly is let
go, connects again and gets everything. Ages are counted in the browser, so that nothing is sent
because time passes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import orjson
import structlog
from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect

from twin.desk import Desk
from twin.desk.feed import Change, Points, Snapshot
from twin.desk.replays import Playback
from twin.desk.views import InputView, LineView, Parameter, StepOverview
from twin.screen.words import LANGUAGES, Words

log = structlog.get_logger()
MOST_WAITING: Final = 4
"""Messages that wait for one page."""
CHECKED: Final = 5.0
"""Seconds after which it is asked again whether somebody may still look."""
OVERTAKEN: Final = ("proposed", "superseded")
KINDS: Final = ("predicted", "low", "high", "measured", "residual", "ewma", "cusum")

Values = dict[str, dict[str, Any]]


def milliseconds(moment: datetime | None) -> int | None:
    """A moment as the browser counts it."""
    return None if moment is None else round(moment.timestamp() * 1000)


def parameter_values(parameter: Parameter, doubt: bool, ages: bool) -> dict[str, Any]:
    """A structure parameter as the pages read it: m measured, p predicted, b the better known,
    pm half of the interval, lo and hi its ends, r the residual, t when it was read, s its state.
    What is said of a slurry batch does not age: it holds as long as the batch is used."""
    said, read = parameter.predicted, parameter.measured
    best = read if read.value is not None else said
    state = "ok"
    if best.value is None:
        state = "none"
    elif ages and best.state == "stale":
        state = "stale"
    elif parameter.in_limits is False:
        state = "outside"
    elif doubt:
        state = "doubt"
    half = None if said.low is None or said.high is None else (said.high - said.low) / 2
    return {
        "m": read.value,
        "p": said.value,
        "b": best.value,
        "pm": half,
        "lo": said.low,
        "hi": said.high,
        "r": parameter.residual,
        "e": parameter.mean_absolute_error,
        "ce": parameter.challenger_error,
        "n": parameter.compared,
        "t": milliseconds(best.time),
        "s": state,
    }


def line_values(line: LineView) -> Values:
    """Numbers of the whole line, whatever language they are read in."""
    found: Values = {}
    webs = {web.name for web in line.webs}
    for step in line.steps:
        for parameter in step.parameters:
            found[parameter.name] = parameter_values(
                parameter, bool(step.doubt), step.runs_on in webs
            )
    for web in line.webs:
        found[f"web.{web.name}"] = {
            "speed": web.speed,
            "roll": web.roll,
            "metre": web.metre,
            "position": web.position,
            "s": "ok",
        }
    for connector in line.connectors:
        found[f"connector.{connector.name}"] = {
            "m": connector.received,
            "dropped": connector.dropped,
            "t": milliseconds(connector.last_sample),
            "s": "ok",
        }
    newest = [each.last_sample for each in line.connectors if each.last_sample is not None]
    found["line"] = {
        "metres": line.metres,
        "received": line.received,
        "t": milliseconds(max(newest, default=None)),
        "s": "ok",
    }
    if line.store is not None:
        found["store"] = {
            "stored": line.store.stored,
            "waiting": line.store.waiting,
            "dropped": line.store.dropped,
            "s": "ok",
        }
    return found


def input_values(step: str, inputs: tuple[InputView, ...]) -> Values:
    """What a step's model was asked last."""
    return {
        f"input.{step}.{each.name}": {
            "m": each.value,
            "p": each.value,
            "s": "outside"
            if each.in_domain is False
            else "ok"
            if each.value is not None
            else "none",
        }
        for each in inputs
    }


MODE_CLASSES: Final = {"model": "", "shadow": "", "advisory": "strong", "twin": "strong"}
TODO_KINDS: Final = {
    "storage": "alarm",
    "connection": "alarm",
    "alarm": "alarm",
    "doubt": "warning",
    "limits": "warning",
    "decide": "advice",
    "nothing": "",
}


def line_texts(words: Words, line: LineView, prefix: str = "") -> Values:
    """Texts of the whole line: x what is said, c the class it is said with, k a kind, h where it
    leads; addresses begin with a prefix where it is a recording."""
    found: Values = {}
    for step in line.steps:
        found[f"mode.{step.name}"] = mode_text(words, step)
        found[f"doubt.{step.name}"] = {"x": words.sentence(step.doubt) if step.doubt else ""}
        for parameter in step.parameters:
            outside = parameter.in_limits is False and parameter.measured.state != "stale"
            text, style = (words("outside_limits"), "chip bad") if outside else ("", "")
            found[f"outside.{parameter.name}"] = {"x": text, "c": style}
    for web in line.webs:
        found[f"moving.{web.name}"] = {"x": words("moving" if web.moving else "standing")}
        roll = words("no_roll") if not web.roll else f"{words('roll')} {web.roll}"
        found[f"roll.{web.name}"] = {"x": roll}
    for connector in line.connectors:
        text = words("connected") if connector.connected else connector.error or words("away")
        found[f"connector.{connector.name}"] = {
            "x": text,
            "c": "" if connector.connected else "chip bad",
        }
        found[f"dot.{connector.name}"] = {"x": "", "c": "" if connector.connected else "off"}
    standing = [each for each in line.alarms if each.state != "shelved"]
    urgent = [each for each in standing if each.state == "unacknowledged"]
    found["alarms"] = {
        "x": str(len(standing)) if standing else "",
        "c": "urgent" if urgent else "quiet",
    }
    waiting = [each for each in line.recommendations if each.state == "proposed"]
    found["advice"] = {"x": str(len(waiting)) if waiting else ""}
    target = todo_target(line)
    found["todo"] = {
        "x": todo_text(words, line),
        "k": TODO_KINDS[line.todo.kind],
        "h": prefix + target if target else "",
    }
    found["todo_why"] = {"x": todo_why(words, line)}
    away = [each for each in line.connectors if not each.connected]
    found["link"] = {"x": "", "c": "off" if away and line.live else ""}
    return found


def mode_text(words: Words, step: StepOverview) -> dict[str, Any]:
    """The mode in effect, and the one that people wanted where it is another."""
    text = words(f"mode_{step.mode}")
    style = MODE_CLASSES[step.mode]
    if step.wanted != step.mode:
        text += f" ({words('wanted_mode', mode=words(f'mode_{step.wanted}'))})"
        style = "warn"
    return {"x": text, "c": style}


def todo_target(line: LineView) -> str:
    """Where the one most important thing is looked at; empty where there is none."""
    todo = line.todo
    match todo.kind:
        case "decide":
            return "/advice"
        case "alarm":
            return "/alarms"
        case "doubt" | "limits":
            return f"/step/{todo.subject.partition('.')[0]}"
        case "storage" | "connection":
            return "/health"
        case "nothing":
            return ""


def todo_text(words: Words, line: LineView) -> str:
    """The one most important thing to do now, as a heading."""
    todo = line.todo
    if todo.kind == "nothing":
        return words("all_well")
    if todo.kind == "decide":
        advice = next((each for each in line.recommendations if each.id == todo.subject), None)
        changes = () if advice is None else advice.changes
        subject = ", ".join(words.change(each) for each in changes)
        return words("todo_decide", subject=subject)
    subject = words.full(todo.subject) if todo.kind == "limits" else words.name(todo.subject)
    return words(f"todo_{todo.kind}", subject=subject)


def todo_why(words: Words, line: LineView) -> str:
    """The sentence below it."""
    todo = line.todo
    if todo.kind == "limits":
        for step in line.steps:
            for each in step.parameters:
                if each.name == todo.subject and each.limits is not None:
                    places = 1
                    return words(
                        "is_outside_value",
                        value=words.number(each.measured.value, places),
                        unit=words.unit(each.unit),
                        low=words.number(each.limits[0], places),
                        high=words.number(each.limits[1], places),
                    )
    return words.sentence(todo.text) if todo.text else ""


def trend_rows(points: Mapping[str, Points], parameter: str) -> list[list[float | None]]:
    """New rows of a parameter: time (ms), position (m), then its kinds; None where absent."""
    rows: dict[int, list[float | None]] = {}
    for index, kind in enumerate(KINDS):
        found = points.get(f"{parameter}.{kind}")
        if found is None:
            continue
        for at, where, value in zip(found.time, found.position, found.value, strict=True):
            row = rows.setdefault(at, [float(at), where, *(None for _ in KINDS)])
            row[2 + index] = value
    return [rows[at] for at in sorted(rows)]


@dataclass(eq=False, slots=True)
class Watcher:
    """A page that looks."""

    language: str
    step: str
    """Whose trends and inputs it shows; empty for none."""
    waiting: asyncio.Queue[str] = field(default_factory=lambda: asyncio.Queue(MOST_WAITING))
    slow: bool = False


class Hub:
    """Sends what a reader says to all pages that look at it.

    Args:
        reader: of the line, or of a recording.
        start: names this run of the service, so that a page notices when another answers.
        prefix: of the addresses of its pages.
    """

    def __init__(self, reader: Desk | Playback, start: str, prefix: str = "") -> None:
        self.reader = reader
        self._prefix = prefix
        self._start = start
        self._words = {language: Words(language) for language in LANGUAGES}
        self._watchers: set[Watcher] = set()
        self._calls: dict[str, set[Callable[[], object]]] = {}
        self._dirty: set[str] = set()
        self._last: Values = {}
        self._last_texts: dict[str, Values] = {}
        self._task: asyncio.Task[None] | None = None
        self.sent = 0
        """Messages that were made, for all who look."""

    # pages

    def follow(self, kinds: tuple[str, ...], call: Callable[[], object]) -> Callable[[], None]:
        """Call back soon after something of these kinds happened; gives the way to end it."""
        for kind in kinds:
            self._calls.setdefault(kind, set()).add(call)
        self._wake()

        def end() -> None:
            for kind in kinds:
                self._calls[kind].discard(call)

        return end

    async def serve(
        self,
        socket: WebSocket,
        language: str,
        step: str,
        meanwhile: list[str],
        allowed: Callable[[], Awaitable[bool]],
    ) -> None:
        """Send to a page until it goes, or whoever looks is not `allowed` to any more."""
        watcher = Watcher(language, step)
        gone = asyncio.create_task(_until_gone(socket))
        # what changes while the whole is put together comes after it
        self._watchers.add(watcher)
        checked = time.monotonic()
        try:
            first = await self._whole(watcher)
            first["meanwhile"] = meanwhile
            self._wake()
            await socket.send_text(orjson.dumps(first).decode())
            while not watcher.slow:
                message = asyncio.create_task(watcher.waiting.get())
                done, _ = await asyncio.wait({message, gone}, return_when="FIRST_COMPLETED")
                if gone in done:
                    message.cancel()
                    return
                if time.monotonic() - checked > CHECKED:
                    checked = time.monotonic()
                    if not await allowed():
                        await socket.close(code=4401)
                        return
                await socket.send_text(message.result())
        except (WebSocketDisconnect, RuntimeError):
            return
        finally:
            self._watchers.discard(watcher)
            gone.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await gone
        await socket.close(code=1013)

    def close(self) -> None:
        """Send no more."""
        if self._task is not None:
            self._task.cancel()

    # what happens

    def _wake(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="screen feed")

    async def _run(self) -> None:
        try:
            async with aclosing(self.reader.changes()) as changes:
                async for change in changes:
                    if not self._watchers and not any(self._calls.values()):
                        return
                    await self._take(change)
        except Exception:  # pages that hear nothing connect again, which wakes it
            log.exception("screen feed")

    async def _take(self, change: Change) -> None:
        content = change.content
        if not isinstance(content, Snapshot):
            self._dirty.add(change.kind)
            # what newer advice overtakes is no news to those who look at what was decided
            if change.kind == "recommendation" and not content.text.startswith(OVERTAKEN):
                self._dirty.add("decision")
            return
        await self._send(content)
        dirty, self._dirty = self._dirty, set()
        for call in {call for kind in dirty for call in self._calls.get(kind, ())}:
            call()

    async def _send(self, snapshot: Snapshot) -> None:
        line = snapshot.line
        fresh = line_values(line)
        changed = {key: value for key, value in fresh.items() if self._last.get(key) != value}
        self._last = fresh
        groups: dict[tuple[str, str], list[Watcher]] = {}
        for watcher in self._watchers:
            groups.setdefault((watcher.language, watcher.step), []).append(watcher)
        inputs: dict[str, Values] = {}
        texts: dict[str, Values] = {}
        for (language, step), watchers in groups.items():
            if language not in texts:
                said = line_texts(self._words[language], line, self._prefix)
                before = self._last_texts.get(language, {})
                texts[language] = {
                    key: text for key, text in said.items() if before.get(key) != text
                }
                self._last_texts[language] = said
            message: dict[str, Any] = {
                "now": milliseconds(line.time),
                "v": changed,
                "x": texts[language],
            }
            if step:
                if step not in inputs:
                    view = await self.reader.step(step)
                    inputs[step] = input_values(step, view.inputs)
                message["v"] = {**changed, **inputs[step]}
                message["trends"] = {
                    each.name: rows
                    for overview in line.steps
                    if overview.name == step
                    for each in overview.parameters
                    if (rows := trend_rows(snapshot.points, each.name))
                }
            text = orjson.dumps(message).decode()
            self.sent += 1
            for watcher in watchers:
                if watcher.waiting.full():
                    watcher.slow = True
                else:
                    watcher.waiting.put_nowait(text)

    async def _whole(self, watcher: Watcher) -> dict[str, Any]:
        line = await self.reader.line()
        values = line_values(line)
        if watcher.step:
            view = await self.reader.step(watcher.step)
            values |= input_values(watcher.step, view.inputs)
        return {
            "full": True,
            "start": self._start,
            "wall": round(time.time() * 1000),
            "now": milliseconds(line.time),
            "v": values,
            "x": line_texts(self._words[watcher.language], line, self._prefix),
        }


async def _until_gone(socket: WebSocket) -> None:
    with suppress(WebSocketDisconnect, RuntimeError):
        while True:
            await socket.receive_text()
