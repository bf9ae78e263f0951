"""What operation sees of a service: metrics, and whether it is live and ready."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from tests.servers import until
from tests.twin.test_service import NOW, Machine, S, Silent, becomes, recommendation, running
from twin import health as module
from twin.health import examine
from twin.metrics import render
from twin.ports import ConnectionState
from twin.samples import SampleBatch
from twin.service import Service


def values(service: Service) -> dict[tuple[str, ...], float]:
    """Every sample of the metrics by its name and its labels' values."""
    families = text_string_to_metric_families(render(service).decode())
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


async def test_metrics_count_what_the_service_counts(tmp_path: Path) -> None:
    source = Silent({"not JSON": 3}, 0, 2)
    async with running(tmp_path, Machine(), source=source) as service:
        before = values(service)
        speed = service.core.tags.index("coater.line_speed")
        times = NOW - 2 * S + np.arange(3) * S // 2
        service.feed(SampleBatch.of([speed] * 3, times, [0.1, 0.1, np.nan]))
        service.accept(recommendation(service).id, "nobody")
        await becomes(service, "verified")
        await until(lambda: service.store.stored == 3)
        found = values(service)

    assert before["linetwin_core_samples_total",] == 0
    assert ("linetwin_newest_sample_age_seconds",) not in before
    assert found["linetwin_core_samples_total",] == 3
    assert found["linetwin_stored_samples_total",] == 3
    assert found["linetwin_refused_samples_total", "not JSON"] == 3
    assert found["linetwin_refused_samples_total", "not a number"] == 1
    assert found["linetwin_connector_dropped_samples_total", "silent"] == 2
    assert found["linetwin_newest_sample_age_seconds",] == 1.0
    assert found["linetwin_feed_seconds_count",] == 1
    assert found["linetwin_arrival_delay_seconds_sum",] == 1.0
    assert found["linetwin_write_seconds_count",] == 1
    assert found["linetwin_recommendations_total", "verified"] == 1
    assert found["linetwin_step_mode", "advisory", "coating"] == 1
    assert found["process_open_fds",] > 0


async def test_two_services_count_apart(tmp_path: Path) -> None:
    async with running(tmp_path / "a") as first, running(tmp_path / "b") as second:
        first.feed(SampleBatch.of([0], [NOW], [0.1]))
        assert values(first)["linetwin_core_samples_total",] == 1
        assert values(second)["linetwin_core_samples_total",] == 0


async def test_ready_only_while_every_connector_is_there_and_samples_are_kept(
    tmp_path: Path,
) -> None:
    source = Silent({}, 0, 0)
    async with running(tmp_path, source=source) as service:
        await until(lambda: service.running)
        assert examine(service).ready
        assert examine(service).live
        source.state = ConnectionState("silent", False, 0, 0, 0, {}, 0, "nobody answers")
        assert examine(service).reasons == ("connector silent: nobody answers",)
        service.store.error = "the disk is full"
        health = examine(service)
        assert "historian: the disk is full" in health.reasons
        assert not health.ready
        assert health.live
    assert "service: not started, or at its end" in examine(service).reasons


async def test_a_step_kept_in_shadow_is_said_and_does_not_make_it_unready(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        await until(lambda: service.running)
        service.core.set_mode("coating", "advisory", "test", NOW)
        service.core.trust.doubt("coating", "silent", "no reading of thickness", NOW)
        health = examine(service)
        assert health.reasons == ("step coating: no reading of thickness",)
        assert health.ready


async def test_a_hung_loop_is_not_live(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        await until(lambda: service.running)
        assert service.heartbeat.age < module.HUNG
        service.heartbeat._beat -= module.HUNG
        health = examine(service)
        assert not health.live
        assert [check.name for check in health.checks if not check.ok] == ["loop"]
