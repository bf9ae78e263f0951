"""However the stream is cut, and whatever arrives late within bounds: the same results."""

from __future__ import annotations

from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.in_process import line_configuration
from tests.twin.streams import Followed, busy_stream, cut, end_of, shuffled
from twin.samples import SampleBatch

LATENESS = 2_000_000_000


@cache
def reference() -> Followed:
    stream = busy_stream()
    seconds = np.searchsorted(stream.time, np.arange(stream.time[0], stream.time[-1], 10**9))
    return Followed([*cut(stream, seconds.tolist()), end_of(stream)])


def test_reference_holds_what_it_should() -> None:
    followed = reference()
    kinds = set(followed.rows)
    assert {"coating predicted", "drying predicted", "calendering predicted"} <= kinds
    assert {"coating.mass_loading", "calendering.calendered_thickness"} <= kinds
    assert len(followed.rows["calendering.calendered_thickness"]) > 20
    states = {recommendation.state for recommendation in followed.recommendations}
    assert {"proposed", "superseded"} <= states
    text = " ".join(followed.others)
    for kind in ("roll wound", "roll mounted", "splice", "cut out", "batch"):
        assert f"kind='{kind}'" in text
    assert not followed.core.tracker.late


def test_whole_run_at_once() -> None:
    stream = busy_stream()
    Followed([*cut(stream, []), end_of(stream)]).same_as(reference())


def test_sample_by_sample() -> None:
    stream = busy_stream()
    Followed([*cut(stream, range(len(stream))), end_of(stream)]).same_as(reference())


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_cut_any_bounded_reordering(data: st.DataObject) -> None:
    stream = busy_stream()
    at = data.draw(st.lists(st.integers(1, len(stream) - 1), max_size=40))
    seed = data.draw(st.integers(0, 2**32 - 1))
    longest = data.draw(st.sampled_from([0, 10_000_000, 500_000_000, LATENESS]))
    generator = np.random.default_rng(seed)
    delay = generator.integers(0, longest + 1, len(stream))
    arrived = shuffled(stream, delay)
    followed = Followed([*cut(arrived, at), end_of(stream)])
    assert not followed.core.tracker.late
    followed.same_as(reference())


def test_duplicates_change_nothing() -> None:
    stream = busy_stream()
    twice = SampleBatch.concatenate(
        [stream, SampleBatch(*(getattr(stream, n) for n in ("tag", "time", "value", "quality")))]
    )
    delay = np.concatenate([np.zeros(len(stream), np.int64), np.full(len(stream), LATENESS // 2)])
    arrived = shuffled(twice, delay)
    Followed([*cut(arrived, range(0, len(arrived), 997)), end_of(stream)]).same_as(reference())


def test_beyond_the_bound_is_counted_and_not_used() -> None:
    stream = busy_stream()
    line = line_configuration()
    tag = list(line.tags).index("gauges.mass_loading")
    readings = np.flatnonzero(stream.tag == tag)[200:260]
    delay = np.zeros(len(stream), np.int64)
    delay[readings] = LATENESS + 1_500_000_000
    arrived = shuffled(stream, delay)
    without = np.ones(len(stream), np.bool_)
    without[readings] = False
    expected = Followed([stream.where(without), end_of(stream)])
    for pieces in (cut(arrived, []), cut(arrived, range(0, len(arrived), 211))):
        followed = Followed([*pieces, end_of(stream)])
        assert followed.core.tracker.late == {tag: len(readings)}
        followed.same_as(expected)
