"""The broker goes, in a decent way or not, and comes back."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.faults.scene import Gauges, Twin, line, reckon, wait_for
from tests.servers import Broker, broker

__all__ = ["broker"]

RATE = 200
"""Messages per second, of five samples each."""


@pytest.mark.parametrize(
    "restarts", [2, pytest.param(20, marks=pytest.mark.faults)], ids="{} restarts".format
)
@pytest.mark.parametrize("decent", [True, False], ids=["told to end", "kill -9"])
def test_a_broker_that_is_restarted_costs_nothing(
    broker: Broker, tmp_path: Path, restarts: int, decent: bool
) -> None:
    chance = random.Random(restarts)
    broker.keep_sessions(tmp_path)
    with Twin(line(broker.port), tmp_path / "twin") as twin:
        twin.start()
        gauges = Gauges(broker.port, RATE)
        for _ in range(restarts):
            if not decent:
                # what it took for a twin that was away, and did not save, it loses itself
                wait_for(lambda: twin.figures()["connected"])
                received = twin.figures()["received"]
                wait_for(lambda: twin.figures()["received"] > received)  # noqa: B023
                time.sleep(1.5)
            time.sleep(chance.uniform(0.5, 1.5))
            broker.stop(decent)
            time.sleep(chance.uniform(0.0, 1.0))
            broker.start()
        sent = gauges.stop()
        twin.quiet()
        figures = twin.stop()
        reckoning = reckon(tmp_path / "twin" / "historian.duckdb", gauges.start, sent)
    reckoning.more = {"restarts": restarts, "received": figures["received"]}
    reckoning.show(f"broker {'told to end' if decent else 'kill -9'}")
    assert reckoning.lost == 0
    assert reckoning.duplicated == 0
