"""kill -9 of the twin at random moments under load."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.faults.scene import Gauges, Twin, line, reckon
from tests.servers import Broker, broker

__all__ = ["broker"]

RATE = 400
"""Messages per second, of five samples each."""


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.faults)])
def test_kills_lose_and_double_nothing(broker: Broker, tmp_path: Path, kills: int) -> None:
    chance = random.Random(kills)
    configuration = line(broker.port)
    torn = damaged = 0
    with Twin(configuration, tmp_path / "twin") as twin:
        twin.start()
        gauges = Gauges(broker.port, RATE)
        for _ in range(kills):
            time.sleep(chance.uniform(0.0, 1.5))
            twin.kill()
            figures = twin.start()
            torn, damaged = torn + figures["torn"], damaged + figures["damaged"]
        sent = gauges.stop()
        twin.quiet()
        figures = twin.stop()
        reckoning = reckon(tmp_path / "twin" / "historian.duckdb", gauges.start, sent)
    reckoning.more = {"kills": kills, "torn ends": torn, "damaged": damaged}
    reckoning.show("kill -9 of the twin")
    assert reckoning.lost == 0
    assert reckoning.duplicated == 0
    assert figures["dropped"] == damaged == 0
