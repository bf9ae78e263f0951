"""A recording that begins while the service runs: what a machine said once is in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from connectors.recorder import Recorder, RecordingWriter
from connectors.recording import Recording
from simulators.scenario import parse_scenario
from tests.in_process import LineInProcess, make_core
from tests.twin.test_service import running
from twin.clock import ManualClock
from twin.comparison import Comparison
from twin.ports import Surrogate
from twin.replay import Follower


def no_model(step: str, version: str) -> Surrogate:
    raise AssertionError(f"no model of {step} was changed")


async def test_begun_while_the_line_runs(tmp_path: Path) -> None:
    run = LineInProcess(parse_scenario("{name: plain, metres: 40}"), accept=False)
    async with running(tmp_path / "data") as service:
        assert isinstance(service.clock, ManualClock)
        for batch in run.recorded(2.0):
            service.clock.time = run.line.now_ns
            if service.recording is None and run.line.elapsed_s > 400:
                service.set_mode("drying", "advisory", "Anna")
                writer = RecordingWriter(tmp_path / "recording", service.core.line, "test")
                recorder = Recorder(writer)
                assert service.record(recorder) is None
            service.feed(batch)
        assert service.record(None) is recorder
        recorder.close()
    recording = Recording.open(tmp_path / "recording")
    core = make_core(recording.line)
    follower = Follower(core, no_model)
    residuals = [
        event.residual
        for arrivals in recording.stream()
        for event in follower.feed(arrivals)
        if isinstance(event, Comparison) and event.output == "mass_loading"
    ]
    assert np.isfinite(np.concatenate(residuals)).sum() > 20
    assert core.trust.wanted("drying") == "advisory"
    assert core.trust.wanted("coating") == "advisory"
