"""Replay: recordings as pages that look like the live ones and cannot be mistaken for them."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Final

from nicegui import ui

from twin.desk import BusyError, UnknownError
from twin.desk.views import RecordingView, ReplayView
from twin.screen.layout import IN_REPLAY, PAGES
from twin.screen.parts import button, el, empty, link, panel, put, say, table
from twin.screen.visit import Visit
from twin.users import NotAllowedError

SPEEDS: Final = (1.0, 10.0, 60.0, 600.0, None)
STEPS: Final = 1000
"""Of the slider along a recording."""


async def show(visit: Visit, identity: str) -> None:
    """Build the page; with the identity of a replay also its controls."""
    words = visit.words
    found = None
    if identity:
        try:
            found = await visit.desk.replays.get(identity).state()
        except UnknownError:
            say(words("not_found"), bad=True)
    if found is not None:
        _Player(visit, found).show()
    with panel(words("recordings")):
        recordings = await visit.desk.replays.recordings()
        if not recordings:
            empty("replay", words("no_recordings"), words("no_recordings_why"))
            return
        _recordings(visit, recordings)


def _recordings(visit: Visit, recordings: tuple[RecordingView, ...]) -> None:
    words = visit.words

    async def open_it(name: str) -> None:
        try:
            person = await visit.person()
            opened = await visit.desk.replays.open(name, person.name)
        except (BusyError, UnknownError, ValueError, NotAllowedError, OSError) as error:
            say(words("failed_to", why=str(error)), bad=True)
            return
        ui.navigate.to(f"/recordings?id={opened.id}")

    def opener(name: str) -> None:
        button(words("open_recording"), partial(open_it, name), "primary", "play_arrow")

    table(
        [words("name"), words("from"), words("to"), words("samples"), words("state"), ""],
        [
            [
                each.name,
                words.time(each.first),
                words.time(each.last),
                words.number(each.samples, 0),
                words("complete") if each.complete else words("incomplete"),
                partial(opener, each.name),
            ]
            for each in recordings
        ],
        right=(3,),
        caption=words("recordings"),
    )


class _Player:
    """Play, pause, seek, speed; and the way to the pages of the recording."""

    def __init__(self, visit: Visit, state: ReplayView) -> None:
        self._visit = visit
        self._state = state
        self._playback = visit.desk.replays.get(state.id)
        self._sliding = False

    def show(self) -> None:
        words, state = self._visit.words, self._state
        with el("section", classes="panel player"):
            with el("div", classes="flow"):
                el("strong", words("not_live"), "chip replayed")
                el("h2", state.recording)
                el("span", words("opened_by", name=state.opened_by), "small soft")
                el("span", classes="grow")
                button(words("close_replay"), self._close, sign="close")
            with el("div", classes="flow"):
                self._play = button("", self._toggle, "primary big")
                self._time = el("span", "", "number now-time")
                self._what = el("span", "", "chip")
            self._slider = ui.slider(min=0, max=STEPS, value=self._share(state))
            self._slider.props["aria-label"] = words("seek")
            self._slider.on("pan", self._pan, args=[[]])
            self._slider.on("change", lambda event: self._seek(event.args))
            with el("div", classes="flow small soft"):
                el("span", words.time(state.first), "number")
                el("span", classes="grow")
                el("span", words.time(state.last), "number")
            with el("div", classes="flow"):
                with el("div", classes="segments", role="group", aria_label=words("speed")):
                    self._speeds = [self._speed(speed) for speed in SPEEDS]
                self._at = ui.input(words("go")).props("outlined dense stack-label")
                self._at.props("type=datetime-local step=1")
                button(words("go"), self._go)
            el("h3", words("pages_of_replay"))
            with el("div", classes="flow"):
                for key, address, sign in PAGES:
                    if key in IN_REPLAY:
                        link(words(key), f"/replay/{state.id}{address}".rstrip("/"), sign=sign)
        self._draw()
        ui.timer(1.0, self._look)

    def _share(self, state: ReplayView) -> float:
        whole = (state.last - state.first).total_seconds() or 1.0
        return STEPS * (state.now - state.first).total_seconds() / whole

    def _speed(self, speed: float | None) -> ui.button:
        words = self._visit.words
        text = words("fastest") if speed is None else words("speed_of", speed=f"{speed:g}")
        return button(text, partial(self._set_speed, speed), "flat")

    def _draw(self) -> None:
        words, state = self._visit.words, self._state
        stands = state.paused or state.ended
        self._play.text = words("play") if stands else words("pause")
        self._play.props["icon"] = "play_arrow" if stands else "pause"
        put(self._time, words.time(state.now))
        said = "ended" if state.ended else "paused" if state.paused else "playing"
        put(self._what, words(said))
        if not self._sliding:
            self._slider.value = self._share(state)
        for speed, each in zip(SPEEDS, self._speeds, strict=True):
            each.props["aria-pressed"] = "true" if speed == state.speed else "false"

    async def _look(self) -> None:
        try:
            self._state = await self._playback.state()
        except (UnknownError, RuntimeError):
            ui.navigate.to("/recordings")
            return
        self._draw()

    def _pan(self) -> None:
        self._sliding = True

    async def _toggle(self) -> None:
        paused = self._state.paused
        self._state = await (self._playback.play() if paused else self._playback.pause())
        self._draw()

    async def _set_speed(self, speed: float | None) -> None:
        self._state = await self._playback.set_speed(speed)
        self._draw()

    async def _seek(self, share: object) -> None:
        if not isinstance(share, int | float):
            return
        first, last = self._state.first.timestamp(), self._state.last.timestamp()
        moment = first + (last - first) * float(share) / STEPS
        self._state = await self._playback.seek(int(moment * 1e9))
        self._sliding = False
        self._draw()

    async def _go(self) -> None:
        try:
            moment = self._visit.words.moment(self._at.value)
        except (TypeError, ValueError):
            self._at.error = self._visit.words("needed")
            return
        self._state = await self._playback.seek(int(moment.timestamp() * 1e9))
        self._draw()

    async def _close(self) -> None:
        # somebody else may have closed it
        with suppress(UnknownError):
            await self._visit.desk.replays.close(self._state.id)
        ui.navigate.to("/recordings")
