"""Rolls that are taken off and mounted again, batches whose recipe comes late, many splices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from tests.in_process import EPOCH, line_configuration, make_core
from tests.twin.test_snapshot import changed
from twin.comparison import gauge_columns
from twin.genealogy import BatchReleased, Milestone
from twin.prediction import input_columns
from twin.samples import Floats, Ints, SampleBatch
from twin.snapshot import Renumbering
from twin.tracking import Tracked, Tracker

S = 1_000_000_000
LINE = line_configuration()
TAGS = {name: index for index, name in enumerate(LINE.tags)}
COLUMNS = [*input_columns(LINE, TAGS), *gauge_columns(LINE, TAGS)]
RECIPE = ("mixer.solids_content", "mixer.mixer_speed")
Told = tuple[str, float, float]
"""Tag, seconds and value."""
CUTS = [pytest.param(1000.0, id="whole"), pytest.param(0.7, id="cut"), pytest.param(3.1, id="cut3")]


class Line:
    """A coater at 1 m/s and what else is told, in pieces; it may be restarted."""

    def __init__(self, told: Iterable[Told], until: float = 200.0, piece: float = 1000.0) -> None:
        coater = [("coater.web_length", float(t), float(t)) for t in range(int(until) + 5)]
        self._told = sorted([*told, *coater], key=lambda each: each[1])
        self._piece = piece
        self.tracker = self._new()
        self.found: list[Tracked] = []

    def _new(self) -> Tracker:
        return Tracker(LINE, TAGS, COLUMNS, {"slurry": [TAGS[name] for name in RECIPE]})

    def run(self, restart_at: float | None = None) -> Line:
        until = 0.0
        while self._told:
            if restart_at is not None and until > restart_at:
                state, self.tracker = self.tracker.snapshot(), self._new()
                self.tracker.restore(state, Renumbering(list(TAGS), TAGS))
                restart_at = None
            until += self._piece
            now = [each for each in self._told if each[1] < until]
            del self._told[: len(now)]
            if now:
                tags, seconds, values = zip(*now, strict=True)
                times = [EPOCH + round(second * S) for second in seconds]
                batch = SampleBatch.of([TAGS[tag] for tag in tags], times, values)
                self.found.append(self.tracker.feed(batch, batch.time))
        return self

    @property
    def milestones(self) -> list[tuple[str, str, int, float, float]]:
        """Kind, web, number, seconds and position."""
        events: list[Milestone] = [each for found in self.found for each in found.milestones]
        return [
            (e.kind, e.web, e.number, (e.time - EPOCH) / S, round(e.position, 6)) for e in events
        ]

    @property
    def released(self) -> list[tuple[int, float, list[float]]]:
        """Number, seconds and recipe."""
        events: list[BatchReleased] = [each for found in self.found for each in found.released]
        return [(e.number, (e.time - EPOCH) / S, e.inputs.tolist()) for e in events]

    def passed(self, name: str) -> list[int]:
        """Segments that passed a column's station, in the order of passing."""
        return [
            segment
            for found in self.found
            for passage in found.passages
            if passage.column.name == name
            for segment in passage.segments.tolist()
        ]

    def unwinds(self, second: float) -> float:
        """Coated position at the calender's unwinder."""
        at = np.array([EPOCH + round(second * S)])
        return float(self.tracker.locate("calender", "calender_unwinder", at)[0])


def calendered(start: float, until: float, speed: float = 1.01) -> list[Told]:
    """The calender stands until `start`, then runs 1 m of unstretched web a second."""
    seconds = np.arange(0.0, until + 1)
    run = np.maximum(seconds - start, 0.0) * speed
    return [
        ("calender.web_length", second, metres)
        for second, metres in zip(seconds.tolist(), run.tolist(), strict=True)
    ]


def numbers(tag: str, *told: tuple[float, int]) -> list[Told]:
    return [(tag, second, float(number)) for second, number in told]


WOUND = numbers("coater.roll_number", (0.0, 0), (12.0, 1), (40.0, 0), (69.0, 2), (112.0, 3))
"""The rewinder is 12 m from the encoder: roll 1 is 0 to 28 m, roll 2 is 57 to 100 m."""


@pytest.mark.parametrize("piece", CUTS)
def test_number_0_ends_the_roll_that_is_wound(piece: float) -> None:
    mounted = numbers("calender.roll_number", (0.0, 0), (50.0, 1))
    line = Line([*WOUND, *mounted, *calendered(50.0, 60.0)], 130.0, piece).run()
    assert line.milestones.count(("roll wound", "coater", 1, 40.0, 28.0)) == 1
    assert ("roll wound", "coater", 2, 112.0, 100.0) in line.milestones
    assert ("roll mounted", "calender", 1, 50.0, 28.0) in line.milestones
    assert [(r.number, r.start, r.end) for r in line.tracker.rolls()[:2]] == [
        (1, 0.0, 28.0),
        (2, 57.0, 100.0),
    ]
    assert line.unwinds(55.0) == pytest.approx(23.0)


def test_no_roll_is_at_the_winder_between_two() -> None:
    line = Line(WOUND[:3], 60.0).run()
    state = line.tracker.web_state("coater")
    assert state.roll is None
    assert np.isnan(state.metre)


@pytest.mark.parametrize("piece", CUTS)
def test_a_short_word_of_no_roll_does_not_divide_what_is_wound(piece: float) -> None:
    told = numbers("coater.roll_number", (0.0, 0), (12.0, 1), (30.0, 0), (31.0, 1), (112.0, 2))
    line = Line(told, 130.0, piece).run(restart_at=30.5)
    first, _ = line.tracker.rolls()
    assert (first.number, first.start, first.end) == (1, 0.0, 100.0)
    assert [m[0] for m in line.milestones].count("roll started") == 2


@pytest.mark.parametrize("piece", CUTS)
def test_a_number_that_comes_again_after_its_roll_was_mounted_is_another_roll(piece: float) -> None:
    told = numbers("coater.roll_number", (0.0, 0), (12.0, 1), (40.0, 0), (69.0, 1), (112.0, 0))
    mounted = numbers("calender.roll_number", (0.0, 0), (50.0, 1), (60.0, 0), (120.0, 1))
    line = Line([*told, *mounted, *calendered(50.0, 130.0)], 130.0, piece).run()
    assert [(r.start, r.end) for r in line.tracker.rolls()] == [(57.0, 100.0)]
    assert ("roll mounted", "calender", 1, 120.0, 100.0) in line.milestones


@pytest.mark.parametrize("restart_at", [None, 75.0], ids=["through", "restarted"])
@pytest.mark.parametrize("piece", CUTS)
def test_a_roll_mounted_again_goes_on_from_where_it_was_taken_off(
    piece: float, restart_at: float | None
) -> None:
    mounted = numbers("calender.roll_number", (0.0, 0), (50.0, 1), (70.0, 0), (80.0, 1))
    line = Line([*WOUND, *mounted, *calendered(50.0, 95.0)], 130.0, piece).run(restart_at)
    places = [m[-1] for m in line.milestones if m[0] == "roll mounted"]
    assert places == [28.0, 8.0]
    assert np.isnan(line.unwinds(75.0))
    assert line.unwinds(82.0) == pytest.approx(6.0)
    passed = line.passed("calendering.roll_gap")
    assert passed == [*range(55, 15, -1), *range(15, -1, -1)]
    time = np.array([EPOCH + 130 * S])
    assert line.tracker.spliced(np.array([16]), time).all()
    assert not line.tracker.spliced(np.array([24]), time).any()


def test_a_roll_that_waited_for_another_goes_on_too_and_a_cut_is_not_given_back() -> None:
    mounted = numbers("calender.roll_number", (0.0, 0), (120.0, 1), (128.0, 2), (130.0, 1))
    cut = [("calender.cut_length", 0.0, 0.0), ("calender.cut_length", 124.0, 3.0)]
    line = Line([*WOUND, *mounted, *cut, *calendered(120.0, 140.0)], 140.0).run()
    places = [m[-1] for m in line.milestones if m[0] == "roll mounted"]
    assert places == [28.0, 100.0, 17.0]


def test_a_flapping_roll_number_does_not_push_splices_out() -> None:
    flaps = [(50.0 + i, i % 2) for i in range(40)]
    told = [*WOUND, *numbers("calender.roll_number", (0.0, 1), *flaps)]
    line = Line([*told, *calendered(200.0, 100.0)], 130.0).run()
    assert len(line.tracker.snapshot()["rolls"]["splices"]) == 2


def test_another_roll_opens_the_bias_whichever_was_taken_first() -> None:
    """Roll 2 lies at higher segments than roll 1: taken newest first, segments only fall."""
    core = make_core(changed("steps/calendering/outputs/calendered_thickness/resets_at", "roll"))
    rolls = numbers("coater.roll_number", (0.0, 0), (12.0, 1), (62.0, 2), (112.0, 3))
    coater = [("coater.web_length", float(t), float(t)) for t in range(130)]
    tags, seconds, values = zip(*sorted([*rolls, *coater], key=lambda t: t[1]), strict=True)
    times = [EPOCH + round(second * S) for second in seconds]
    batch = SampleBatch.of([TAGS[tag] for tag in tags], times, values)
    core.tracker.feed(batch, batch.time)

    def fresh(segments: Sequence[int], before: Sequence[int]) -> list[bool]:
        time = np.full(len(segments), EPOCH + 130 * S)
        found = core._comparator._fresh(
            "calendering", "calendered_thickness", np.array(segments), np.array(before), time
        )
        return [bool(each) for each in found]

    assert fresh([100, 99, 98], [101, 100, 99]) == [False, True, False]
    assert fresh([199, 198], [0, 199]) == [True, False]


def mixer(second: float, solids: float, speed: float) -> list[Told]:
    return [(RECIPE[0], second, solids), (RECIPE[1], second, speed)]


BEFORE: list[Told] = [*mixer(1.0, 0.6, 50.0), ("mixer.batch_number", 1.0, 1.0)]
BEFORE += [("coater.slurry_batch", 1.0, 1.0), ("coater.pump_flow", 1.0, 1e-6)]


@pytest.mark.parametrize("restart_at", [None, 20.5], ids=["through", "restarted"])
@pytest.mark.parametrize("piece", CUTS)
def test_a_recipe_told_after_the_number_is_that_of_the_batch(
    piece: float, restart_at: float | None
) -> None:
    told = [*BEFORE, ("mixer.batch_number", 20.0, 2.0), *mixer(20.001, 0.65, 60.0)]
    line = Line(told, 60.0, piece).run(restart_at)
    assert line.released == [(1, 3.0, [0.6, 50.0]), (2, 22.0, [0.65, 60.0])]


@pytest.mark.parametrize("restart_at", [None, 30.0], ids=["through", "restarted"])
@pytest.mark.parametrize("piece", CUTS)
def test_after_a_gap_a_batch_waits_for_its_recipe(piece: float, restart_at: float | None) -> None:
    gap = mixer(10.0, np.nan, np.nan)
    told = [*BEFORE, *gap, ("mixer.batch_number", 20.0, 2.0)]
    told += [(RECIPE[0], 40.0, 0.65), (RECIPE[1], 41.0, 60.0)]
    line = Line(told, 60.0, piece).run(restart_at)
    assert line.released[1:] == [(2, 42.0, [0.65, 60.0])]


@pytest.mark.parametrize("piece", CUTS)
@pytest.mark.parametrize(("drawn", "read"), [(35.0, 35.0), (20.5, 22.0)])
def test_a_batch_that_is_drawn_is_taken_as_it_is(drawn: float, read: float, piece: float) -> None:
    told = [*BEFORE, (RECIPE[0], 10.0, np.nan), ("mixer.batch_number", 20.0, 2.0)]
    told += [("coater.slurry_batch", drawn, 2.0), (RECIPE[0], 40.0, 0.65)]
    line = Line(told, 60.0, piece).run(restart_at=25.0)
    number, second, recipe = line.released[1]
    assert (number, second) == (2, read)
    np.testing.assert_array_equal(recipe, [np.nan, 50.0])
    assert len(line.released) == 2


@pytest.mark.parametrize("piece", CUTS)
def test_what_is_told_with_the_next_number_is_not_taken_for_the_one_before(piece: float) -> None:
    gap = mixer(10.0, np.nan, np.nan)
    told = [*BEFORE, *gap, ("mixer.batch_number", 20.0, 2.0)]
    told += [*mixer(40.0, 0.65, 60.0), ("mixer.batch_number", 40.001, 3.0)]
    line = Line(told, 60.0, piece).run()
    assert line.released[2] == (3, 42.001, [0.65, 60.0])
    number, second, recipe = line.released[1]
    assert (number, second) == (2, 40.001)
    assert np.isnan(recipe).all()


def test_foils_and_batches_are_found_among_a_thousand() -> None:
    """As one after the other would find them, and without building anything for every question."""
    line = Line(BEFORE, 60.0).run()
    rolls, hose = line.tracker._rolls, line.tracker._hoses["slurry"]
    position = np.cumsum(np.tile([0.3, 0.0, 1.1, 2.0], 300))
    known = EPOCH + np.repeat(np.arange(600), 2) * 10 * S
    for number, (place, time) in enumerate(zip(position, known.tolist(), strict=True), 1):
        rolls._foils.mark(float(place), number, time)
        hose._heads.mark(float(place), number, time)
    segments, times = _questions()
    foil, batch = np.zeros(len(segments), np.int64), np.full(len(segments), -1)
    middle = (segments + 0.5) * LINE.segment
    for number, (place, time) in enumerate(zip(position, known, strict=True), 1):
        if number > len(position) - 1000:
            foil[(place < middle) & (time <= times)] = number
        on = place <= middle
        batch[on] = np.where(time <= times, number, -1)[on]
    found = line.tracker.batch_at("slurry", segments, times)
    np.testing.assert_array_equal(line.tracker.foils(segments, times), foil)
    np.testing.assert_array_equal(found[middle >= position[0]], batch[middle >= position[0]])
    assert rolls._foils.table is rolls._foils.table
    assert hose._heads.table is hose._heads.table


def _questions() -> tuple[Ints, Ints]:
    draw = np.random.default_rng(1)
    times: Floats = draw.uniform(-10, 6100, 500)
    return draw.integers(0, 2100, 500), EPOCH + (times * S).astype(np.int64)
