"""The clock of the twin's computer is set an hour forth, then back, while gauges send."""

from __future__ import annotations

import time
from pathlib import Path

from tests.faults.scene import Gauges, Twin, line, reckon, wait_for
from tests.servers import Broker, broker

__all__ = ["broker"]

RATE = 200
"""Messages per second, of five samples each."""
HOUR = 3_600 * 10**9


def test_a_clock_that_is_set_costs_nothing(broker: Broker, tmp_path: Path) -> None:
    with Twin(line(broker.port), tmp_path / "twin") as twin:
        twin.start()
        gauges = Gauges(broker.port, RATE)
        for clock in (HOUR, -HOUR, 0):
            received = twin.figures(clock)["received"]
            wait_for(lambda: twin.figures()["received"] > received + 5 * RATE // 2)  # noqa: B023
            time.sleep(0.3)
        # and a twin that is started again at another time finds what waits for it
        twin.figures(HOUR)
        twin.kill()
        twin.start()
        sent = gauges.stop()
        twin.quiet()
        figures = twin.stop()
        reckoning = reckon(tmp_path / "twin" / "historian.duckdb", gauges.start, sent)
    reckoning.show("clock set by +1 h, -1 h and back")
    assert (reckoning.lost, reckoning.duplicated) == (0, 0)
    assert figures["dropped"] == figures["damaged"] == 0
