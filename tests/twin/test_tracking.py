"""The tracker: lateness in order of arrival, and machines that spoke long ago."""

from __future__ import annotations

import numpy as np

from tests.in_process import EPOCH, line_configuration
from twin.prediction import input_columns
from twin.samples import SampleBatch
from twin.snapshot import Renumbering
from twin.tracking import Tracker
from twin.web import Thread, Web

S = 1_000_000_000
LINE = line_configuration()
TAGS = {name: index for index, name in enumerate(LINE.tags)}
SETPOINT = TAGS["coater.pump_flow_setpoint"]
ENCODER = TAGS["coater.web_length"]


def tracker() -> Tracker:
    return Tracker(LINE, TAGS, input_columns(LINE, TAGS), {}, [SETPOINT])


def rows(*entries: tuple[int, float, float]) -> SampleBatch:
    tags, seconds, values = zip(*entries, strict=True)
    return SampleBatch.of(tags, [EPOCH + int(second * S) for second in seconds], values)


def feed(found: Tracker, *entries: tuple[int, float, float]) -> None:
    """Every sample arrives at its time."""
    batch = rows(*entries)
    found.feed(batch, batch.time)


def test_a_late_word_is_counted_and_holds_from_when_it_came_whatever_the_cut() -> None:
    """What a machine says on change is the last word for hours; nobody repeats it."""
    entries = [(SETPOINT, 0.0, 1.0), (ENCODER, 10.0, 5.0), (SETPOINT, 7.7, 3.0)]
    entries += [(SETPOINT, 7.9, 2.0), (SETPOINT, 7.8, 4.0), (ENCODER, 5.0, 4.0)]
    whole, cut = tracker(), tracker()
    feed(whole, *entries)
    for entry in entries:
        feed(cut, entry)
    for found in (whole, cut):
        assert found.late == {SETPOINT: 3, ENCODER: 1}
        feed(found, (ENCODER, 60.0, 8.0))
        assert found.value_at(SETPOINT, EPOCH + 7_950_000_000) == 1.0
        assert found.value_at(SETPOINT, EPOCH + 9 * S) == 2.0


def test_a_sample_at_the_bound_is_used() -> None:
    found = tracker()
    feed(found, (SETPOINT, 0.0, 1.0), (ENCODER, 10.0, 5.0), (SETPOINT, 8.0, 2.0))
    feed(found, (ENCODER, 60.0, 8.0))
    assert not found.late
    assert found.value_at(SETPOINT, EPOCH + 9 * S) == 2.0


def test_the_first_word_of_a_machine_holds_from_when_it_arrived() -> None:
    """A server connected later tells a setpoint that was written an hour ago."""
    found = tracker()
    feed(found, (ENCODER, 0.0, 5.0), (ENCODER, 10.0, 5.5))
    feed(found, (SETPOINT, -3600.0, 1.0), (ENCODER, 60.0, 8.0))
    assert not found.late
    assert np.isnan(found.value_at(SETPOINT, EPOCH + 5 * S))
    assert found.value_at(SETPOINT, EPOCH + 9 * S) == 1.0


def test_a_clock_that_runs_ahead_makes_nobody_late() -> None:
    """The encoder's clock is 3 s fast, and one time of the setpoint was wrong by a minute."""
    found, other = tracker(), tracker()
    whole, arrived = [(SETPOINT, 0.0, 1.0), (SETPOINT, 61.0, 9.0)], [0.0, 1.0]
    for second in np.arange(1.0, 100.0).tolist():
        whole += [(ENCODER, second + 3.0, second), (SETPOINT, second - 0.5, 2.0 + second % 5)]
        arrived += [second, second]
    moments = np.array([EPOCH + int(each * S) for each in arrived])
    found.feed(rows(*whole), moments)
    for entry, moment in zip(whole, moments.tolist(), strict=True):
        other.feed(rows(entry), moment)
    for each in (found, other):
        assert not each.late
        assert each.horizon == EPOCH + 96 * S - 1
        assert each.value_at(SETPOINT, EPOCH + 40 * S) == 2.0 + 40 % 5
        assert each.value_at(SETPOINT, EPOCH + 61 * S) == 9.0
        assert each.ahead == {ENCODER: (99, 3 * S), SETPOINT: (1, 60 * S)}
    again = tracker()
    again.restore(found.snapshot(), Renumbering(list(TAGS), TAGS))
    assert again.ahead == found.ahead


def test_a_web_forgets_threads_that_have_left_its_last_station() -> None:
    web = Web("calender", LINE.webs["calender"])
    seconds = np.arange(10_000)
    web.position.extend(EPOCH + seconds * S, seconds.astype(np.float64) / 10)
    for start in range(0, 1000, 20):
        web.begin(Thread(float(start), 500.0 - start, -1.0, 0.0, 0))
    asked = EPOCH + seconds[9000:] * S
    before = web.locate_under("exit_gauge", asked)
    web.forget(EPOCH + 9000 * S)
    assert len(web.threads) < 10
    np.testing.assert_array_equal(web.locate_under("exit_gauge", asked), before)
