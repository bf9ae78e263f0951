"""Alarms as an operator meets them: the states of ISA-18.2, and no chattering."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.in_process import line_configuration, make_core
from twin.alarms import LONGEST, RETURN, Acknowledged, Alarm, AlarmBook, Report, Shelved
from twin.intervention import FellSilent, Intervention
from twin.logged import entry_of, logged_in

S = 1_000_000_000
FROZEN = Report(10 * S, "diagnosis", "frozen", "gauges.mass_loading", True, "high", "", ("it is",))


def over(report: Report, time: int) -> Report:
    return replace(report, active=False, time=time)


def raised(book: AlarmBook) -> Alarm:
    (alarm,) = book.report(FROZEN)
    return alarm


def test_an_alarm_is_seen_and_then_over() -> None:
    book = AlarmBook()
    alarm = raised(book)
    assert (alarm.state, alarm.time, alarm.suspect) == (
        "unacknowledged",
        10 * S,
        "gauges.mass_loading",
    )
    (seen,) = book.acknowledge(20 * S, alarm.id, "ada")
    assert (seen.state, seen.by) == ("acknowledged", "ada")
    assert book.report(over(FROZEN, 30 * S)) == []
    (gone,) = book.tick(100 * S)
    assert (gone.state, gone.changed) == ("cleared", 30 * S + RETURN)
    assert book.open() == []


def test_an_alarm_that_is_over_before_anybody_saw_it_waits_to_be_seen() -> None:
    book = AlarmBook()
    alarm = raised(book)
    book.report(over(FROZEN, 30 * S))
    (returned,) = book.tick(100 * S)
    assert (returned.state, returned.active) == ("returned", False)
    (again,) = book.report(replace(FROZEN, time=110 * S))
    assert (again.id, again.state) == (alarm.id, "unacknowledged")
    book.report(over(FROZEN, 120 * S))
    book.tick(200 * S)
    (cleared,) = book.acknowledge(210 * S, alarm.id, "ada")
    assert cleared.state == "cleared"


def test_a_cause_that_comes_and_goes_is_one_alarm() -> None:
    book = AlarmBook()
    changes = raised(book).state
    for moment in range(20, 200, 10):
        report = replace(FROZEN, time=moment * S, active=moment % 20 == 10)
        assert book.report(report) == []
    assert [alarm.state for alarm in book.open()] == [changes]


def test_a_cause_that_must_last_raises_nothing_before() -> None:
    book = AlarmBook()
    brief = replace(FROZEN, lasting=5 * S)
    assert book.report(brief) == []
    assert book.report(over(brief, 12 * S)) == []
    assert book.tick(100 * S) == []
    assert book.report(replace(brief, time=200 * S)) == []
    (alarm,) = book.tick(300 * S)
    assert alarm.time == 205 * S


def test_what_is_shelved_comes_back_in_time_if_its_cause_lasts() -> None:
    book = AlarmBook()
    alarm = raised(book)
    (shelved,) = book.shelve(20 * S, alarm.id, 100 * S, "ada")
    assert (shelved.state, shelved.until, shelved.by) == ("shelved", 100 * S, "ada")
    assert book.tick(99 * S) == []
    (back,) = book.tick(100 * S)
    assert (back.state, back.until, back.changed) == ("unacknowledged", None, 100 * S)
    assert back.by == ""
    book.shelve(110 * S, alarm.id, 1000 * S, "ada")
    (early,) = book.shelve(120 * S, alarm.id, 120 * S, "ada")
    assert early.state == "unacknowledged"


def test_what_is_over_while_it_is_shelved_is_cleared_when_the_time_is_up() -> None:
    book = AlarmBook()
    alarm = raised(book)
    book.shelve(20 * S, alarm.id, 500 * S, "ada")
    book.report(over(FROZEN, 30 * S))
    states = [each.state for each in book.tick(1000 * S)]
    assert states == ["shelved", "cleared"]


def test_nothing_is_shelved_for_good() -> None:
    book = AlarmBook()
    alarm = raised(book)
    with pytest.raises(ValueError, match="24 h at most"):
        book.shelve(20 * S, alarm.id, 21 * S + LONGEST, "ada")
    with pytest.raises(KeyError):
        book.acknowledge(20 * S, "another", "ada")


def test_the_most_urgent_comes_first() -> None:
    book = AlarmBook()
    low = replace(FROZEN, subject="a", priority="low")
    high = replace(FROZEN, subject="b", priority="high", time=11 * S)
    seen = replace(FROZEN, subject="c", priority="critical", time=12 * S)
    for report in (low, high, seen):
        book.report(report)
    book.acknowledge(13 * S, book.open()[0].id, "ada")
    assert [alarm.subject for alarm in book.open()] == ["b", "a", "c"]


def test_a_book_goes_on_where_another_ended() -> None:
    book, later = AlarmBook(), AlarmBook()
    alarm = raised(book)
    (returned,) = later.recall(book.open(), 30 * S)
    assert (returned.id, returned.state) == (alarm.id, "returned")
    (again,) = later.report(replace(FROZEN, time=40 * S))
    assert (again.id, again.state) == (alarm.id, "unacknowledged")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=40))
def test_ticks_between_reports_change_nothing(course: list[tuple[int, bool]]) -> None:
    once, often = AlarmBook(), AlarmBook()
    said: tuple[list[Alarm], list[Alarm]] = ([], [])
    now = 0
    for pause, active in course:
        for second in range(now + 1, now + pause + 1):
            said[1].extend(often.tick(second * S))
        now += pause
        report = replace(FROZEN, time=now * S, active=active, lasting=3 * S)
        said[0].extend(once.report(report))
        said[1].extend(often.report(report))
    end = (now + 100) * S
    assert said[0] + once.tick(end) == said[1] + often.tick(end)


@pytest.mark.parametrize(
    "said", [FROZEN, Acknowledged(12 * S, "an alarm", "ada"), Shelved(13 * S, "it", 99 * S, "ada")]
)
def test_a_recording_keeps_what_was_said_of_alarms(said: Intervention) -> None:
    line = orjson.loads(orjson.dumps(entry_of(said, [])))
    assert logged_in(line, {}) == said


def test_the_core_keeps_the_book_and_takes_it_into_a_snapshot() -> None:
    core = make_core(line_configuration())
    assert core.intervene(replace(FROZEN, source="connector", lasting=5 * S)) == []
    (raised,) = core.intervene(FellSilent(20 * S))
    assert isinstance(raised, Alarm)
    assert raised.state == "unacknowledged"
    (seen,) = core.intervene(Acknowledged(21 * S, raised.id, "ada"))
    assert isinstance(seen, Alarm)
    assert (seen.state, seen.by) == ("acknowledged", "ada")
    other = make_core(line_configuration())
    other.restore(core.snapshot())
    assert other.alarms.open() == [seen]
    with pytest.raises(KeyError):
        other.intervene(Acknowledged(22 * S, "another", "ada"))
