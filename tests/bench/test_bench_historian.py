"""(d) The historian beside raw DuckDB: ingest and the query set, in one run."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from twin.historian import DuckDBHistorian
from twin.samples import SampleBatch
from twin.tags import Tag, TagTable

TAGS = 200
COMMIT = 5_000
COMMITS = 600
STEP = 100_000_000
SPAN = COMMITS * COMMIT // TAGS * STEP
COUNT = 500


def batches() -> list[SampleBatch]:
    rng = np.random.default_rng(1)
    tag = (np.arange(COMMIT) % TAGS).astype(np.int32)
    offset = np.arange(COMMIT) // TAGS * STEP
    return [
        SampleBatch(
            tag,
            number * (COMMIT // TAGS) * STEP + offset,
            rng.normal(size=COMMIT),
            np.zeros(COMMIT, np.uint32),
        )
        for number in range(COMMITS)
    ]


def timed(work: Callable[[], object], repeat: int = 5) -> float:
    """The median, s."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


@pytest.mark.bench
def test_historian_beside_raw_duckdb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = batches()
    tags = TagTable([Tag(f"tag{number}", "m", "MP", "actual") for number in range(TAGS)])
    raw = duckdb.connect(str(tmp_path / "raw.duckdb"), config={"threads": 1})
    raw.execute("CREATE TABLE s (tag INTEGER, time BIGINT, value DOUBLE, quality UINTEGER)")

    def raw_ingest() -> None:
        for batch in data:
            columns = (batch.tag, batch.time, batch.value, batch.quality)
            raw.register("b", pa.table(dict(zip("tvwq", columns, strict=True))))
            raw.execute("INSERT INTO s SELECT * FROM b")
            raw.unregister("b")

    def ingest() -> None:
        for batch in data:
            historian.append(batch)

    chosen = list(range(20))
    width = SPAN // COUNT
    with DuckDBHistorian(tmp_path / "historian.duckdb", tags) as historian:
        # historian, raw
        results = {
            "ingest of 3 million": (timed(ingest, 1), timed(raw_ingest, 1)),
            "latest of all tags": (
                timed(lambda: historian.latest(list(range(TAGS)))),
                timed(
                    lambda: raw.execute(
                        "SELECT tag, max(time), arg_max(value, time) FROM s GROUP BY tag"
                    ).fetchnumpy()
                ),
            ),
            "range read of 1 tag": (
                timed(lambda: historian.read([3], SPAN // 3, SPAN // 2)),
                timed(
                    lambda: raw.execute(
                        "SELECT * FROM s WHERE tag = 3 AND time >= ? AND time < ? ORDER BY time",
                        [SPAN // 3, SPAN // 2],
                    ).fetchnumpy()
                ),
            ),
            "20 tags downsampled": (
                timed(lambda: historian.buckets(chosen, 0, SPAN, COUNT)),
                timed(
                    lambda: raw.execute(
                        f"SELECT tag, time // {width} AS b, min(value), avg(value), max(value)"
                        " FROM s WHERE tag < 20 GROUP BY tag, b ORDER BY tag, b"
                    ).fetchnumpy()
                ),
            ),
        }
        redelivery = timed(lambda: [historian.append(batch) for batch in data[-100:]], 1)
        assert len(historian.read([0], 0, SPAN)) == COMMITS * COMMIT // TAGS
    raw.close()
    with capsys.disabled():
        print()  # noqa: T201
        for name, (own, other) in results.items():
            print(  # noqa: T201
                f"historian: {name}: {own * 1e3:.2f} ms, raw DuckDB {other * 1e3:.2f} ms,"
                f" ratio {own / other:.2f}"
            )
        rate = COMMITS * COMMIT / results["ingest of 3 million"][0] / 1e6
        print(f"historian: {rate:.2f} million points/s, again {0.5 / redelivery:.2f}")  # noqa: T201
