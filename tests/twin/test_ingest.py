"""Ingest: what is wrong is counted by reason, kept, and never used."""

from __future__ import annotations

import numpy as np

from tests.in_process import EPOCH, line_configuration
from twin.ingest import Ingest
from twin.samples import OfflineMeasurement, SampleBatch

S = 1_000_000_000
TAGS = line_configuration().tag_table()
GAUGE = TAGS.index("gauges.mass_loading")
SETPOINT = TAGS.index("coater.pump_flow_setpoint")


def judge(*rows: tuple[int, float, float, int]) -> tuple[dict[str, int], SampleBatch, SampleBatch]:
    ingest = Ingest(TAGS, 60.0, 3600.0)
    tags, seconds, values, quality = zip(*rows, strict=True)
    batch = SampleBatch.of(tags, [EPOCH + int(s * S) for s in seconds], values, quality)
    judged = ingest.judge(batch, EPOCH)
    return dict(judged.rejected), judged.kept, judged.usable


def test_every_reason_is_counted_once() -> None:
    rejected, kept, usable = judge(
        (GAUGE, 0.0, 0.18, 0),
        (GAUGE, 0.1, np.nan, 0),
        (GAUGE, 0.2, np.inf, 0),
        (GAUGE, 0.3, 50.0, 0),
        (GAUGE, 0.4, 0.18, 0x80310000),
        (GAUGE, 86400.0, 0.18, 0),
        (GAUGE, -86400.0, 0.18, 0),
        (-1, 0.0, 1.0, 0),
        (10_000, 0.0, 1.0, 0),
    )
    assert rejected == {
        "unknown tag": 2,
        "bad quality": 1,
        "not a number": 2,
        "out of range": 1,
        "time in the future": 1,
        "time in the past": 1,
    }
    assert len(kept) == 7
    assert len(usable) == 5
    assert np.isfinite(usable.value).tolist() == [True, False, False, False, False]


def test_an_old_setpoint_is_still_the_machine_s_word() -> None:
    rejected, _, usable = judge((SETPOINT, -86400.0, 1e-6, 0))
    assert not rejected
    assert len(usable) == 1


def test_a_laboratory_value_is_judged_like_a_sample() -> None:
    ingest = Ingest(TAGS, 60.0, 3600.0)

    def objection(value: float, sampled: float) -> str:
        moment = EPOCH + int(sampled * S)
        return ingest.objection(OfflineMeasurement(GAUGE, moment, value, batch=1), EPOCH)

    assert objection(0.18, -30 * 86400.0) == ""
    assert objection(0.18, 86400.0) == "time in the future"
    assert objection(np.nan, 0.0) == "not a number"
    assert objection(50.0, 0.0) == "out of range"
