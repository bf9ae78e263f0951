"""What people are told of samples that wait, or go."""

from __future__ import annotations

from dataclasses import replace

from twin.store import StoreState
from twin.store_watch import StoreWatch

WELL = StoreState(10, 0, 0, 0, 100, 0.0, 0, 0, 0, 0, None, None)
S = 10**9


def told(watch: StoreWatch, state: StoreState, now: int) -> dict[str, str]:
    """What is wrong, with what is said of it."""
    reports = list(watch.look(state, now * S))
    assert len({report.key for report in reports}) == 5
    return {f"{each.kind} {each.subject}": each.evidence[0] for each in reports if each.active}


def test_nothing_is_said_while_all_is_well() -> None:
    assert told(StoreWatch(), WELL, 0) == {}


def test_what_does_not_write_and_what_fills_is_told() -> None:
    state = replace(WELL, error="nobody answers", spool_bytes=60, oldest=1_800.0)
    found = told(StoreWatch(), state, 0)
    assert set(found) == {"not writing historian", "filling spool"}
    assert "nobody answers" in found["not writing historian"]
    assert "60% full, its oldest sample 30 min old" in found["filling spool"]
    assert set(told(StoreWatch(), replace(WELL, spool_error="full"), 0)) == {"not writing spool"}


def test_what_goes_is_told_until_no_more_has_gone_for_a_minute() -> None:
    watch = StoreWatch()
    lost = replace(WELL, dropped=5, damaged=2)
    assert "7 samples are lost" in told(watch, lost, 100)["lost samples"]
    assert told(watch, lost, 159)
    assert told(watch, lost, 161) == {}
    more = replace(lost, dropped=6, refused=1)
    assert set(told(watch, more, 170)) == {"lost samples", "set aside samples"}
