"""Whose clock runs ahead is told, once; a single wrong time and a line about to start are not."""

from __future__ import annotations

from tests.in_process import line_configuration
from twin.alarms import Report
from twin.clock_watch import LOOKS, PATIENCE, ClockWatch
from twin.screen.words import Words

S = 10**9
LINE = line_configuration()
TAGS = list(LINE.tags)
LOADING = TAGS.index("gauges.mass_loading")
SPEED = TAGS.index("coater.line_speed")


def active(watch: ClockWatch, ahead: dict[int, tuple[int, int]]) -> list[Report]:
    reports = list(watch.look(LINE, ahead, 0))
    assert [each.subject for each in reports] == list(LINE.connectors)
    return [each for each in reports if each.active]


def test_one_sample_with_a_wrong_time_is_no_alarm() -> None:
    watch = ClockWatch()
    assert not any(active(watch, {LOADING: (1, 40 * S)}) for _ in range(3 * PATIENCE))


def test_a_clock_that_runs_ahead_is_named_until_it_is_right() -> None:
    watch = ClockWatch()
    for look in range(1, LOOKS):
        assert active(watch, {LOADING: (10 * look, 3 * S)}) == []
    ahead = {LOADING: (10 * LOOKS, 3 * S), SPEED: (1, 50 * S)}
    (found,) = active(watch, ahead)
    said = (
        "gauges.mass_loading comes 3.0 s before its time: the clock of gauges is fast, or that of "
        "this computer slow"
    )
    assert (found.kind, found.subject, found.evidence) == ("clock ahead", "gauges", (said,))
    assert Words("de").sentence(said) == (
        "Flächenbeladung (Messgeräte) kommt 3,0 s vor der eigenen Zeit: die Uhr geht vor "
        "(Messgeräte), oder die dieses Rechners nach"
    )
    for _ in range(PATIENCE - 1):
        assert active(watch, ahead)
    assert active(watch, ahead) == []
