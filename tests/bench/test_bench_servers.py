"""(i) Ingest into every historian beside raw DuckDB, in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from connectors.influxdb import InfluxHistorian
from connectors.victoria_metrics import VictoriaMetricsHistorian
from tests.bench.test_bench_historian import COMMIT, TAGS, batches
from tests.connectors import test_influxdb, test_victoria_metrics
from tests.stores import InfluxDB1, VictoriaMetrics
from tests.twin.historian_contract import START
from twin.historian import DuckDBHistorian
from twin.samples import SampleBatch
from twin.tags import Tag, TagTable

COMMITS = 100


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


@pytest.mark.bench
def test_ingest_of_every_historian(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = [
        SampleBatch(batch.tag, batch.time + START, batch.value, batch.quality)
        for batch in batches()[:COMMITS]
    ]
    tags = TagTable([Tag(f"tag{number}", "m", "MP", "actual") for number in range(TAGS)])
    with ExitStack() as stack:
        raw = stack.enter_context(
            closing(duckdb.connect(str(tmp_path / "raw.duckdb"), config={"threads": 1}))
        )
        raw.execute("CREATE TABLE s (tag INTEGER, time BIGINT, value DOUBLE, quality UINTEGER)")
        influxdb = stack.enter_context(InfluxDB1(tmp_path / "influxdb"))
        victoria = stack.enter_context(VictoriaMetrics(tmp_path / "victoria"))
        embedded = stack.enter_context(DuckDBHistorian(tmp_path / "historian.duckdb", tags))
        by_name = {
            "DuckDB": embedded,
            "InfluxDB 1.6": stack.enter_context(
                closing(InfluxHistorian(test_influxdb.at(influxdb), "line", tags))
            ),
            "VictoriaMetrics": stack.enter_context(
                closing(
                    VictoriaMetricsHistorian(test_victoria_metrics.at(victoria.url), "line", tags)
                )
            ),
        }

        def raw_ingest() -> None:
            for batch in data:
                columns = (batch.tag, batch.time, batch.value, batch.quality)
                raw.register("b", pa.table(dict(zip("tvwq", columns, strict=True))))
                raw.execute("INSERT INTO s SELECT * FROM b")
                raw.unregister("b")

        def ingest(historian: object, parts: Sequence[SampleBatch]) -> None:
            for batch in parts:
                historian.append(batch)  # type: ignore[attr-defined]

        reference, _ = measured(raw_ingest)
        lines = []
        for name, historian in by_name.items():
            wall, cpu = measured(lambda each=historian: ingest(each, data))
            again, _ = measured(lambda each=historian: ingest(each, data[-20:]))
            assert len(historian.read([0], 0, 2**62)) == COMMITS * COMMIT // TAGS
            million = COMMITS * COMMIT / 1e6
            lines.append(
                f"historian {name}: {million / wall:.2f} million points/s, ratio to raw DuckDB"
                f" {wall / reference:.1f}; {cpu / million:.1f} CPU-s of the twin per million;"
                f" what comes again {again / (0.2 * wall):.1f} times as long"
            )
    with capsys.disabled():
        print()  # noqa: T201
        for line in lines:
            print(line)  # noqa: T201
