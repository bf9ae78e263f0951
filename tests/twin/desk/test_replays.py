"""Replays on threads of their own: what goes wrong there is told, and hurts nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.in_process import EPOCH, line_configuration, make_core
from twin.configuration.models import LineConfiguration
from twin.desk import UnknownError
from twin.desk.replays import Replays
from twin.desk.views import RecordingView
from twin.intervention import Arrivals
from twin.ports import Surrogate
from twin.replay import Follower, Replay, Screen, Span
from twin.samples import SampleBatch


class Damaged:
    """A library with one recording, which cannot be read beyond its first second."""

    def list(self) -> list[RecordingView]:
        return []

    def line(self, name: str) -> LineConfiguration:
        return line_configuration()

    def play(self, name: str, screen: Screen) -> Replay:
        line = line_configuration()

        def load(step: str, version: str) -> Surrogate:
            raise AssertionError

        return Replay(
            lambda: Follower(make_core(line), load, True),
            self.stream,
            Span(EPOCH, EPOCH + 60 * 10**9),
            screen,
        )

    def stream(self) -> Iterator[Arrivals]:
        yield Arrivals.at(EPOCH + 10**9, SampleBatch.of([0], [EPOCH + 10**9], [1.0]))
        raise ValueError("part 2 is damaged")


async def test_a_recording_that_breaks_off_ends_its_replay_and_says_why() -> None:
    replays = Replays(Damaged(), lambda _: None)
    opened = await replays.open("night", "vera")
    playback = replays.get(opened.id)
    assert await replays.states() == (opened,)
    await playback.set_speed(None)

    async def look_on() -> None:
        await playback.play()
        while True:
            await playback.state()

    with pytest.raises(UnknownError, match="night has ended: part 2 is damaged"):
        await look_on()
    assert await replays.states() == ()
    await replays.close(opened.id)
    assert opened.id not in replays
