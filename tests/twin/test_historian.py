"""The DuckDB historian keeps the contract, and what it acknowledged survives a kill."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.twin.historian_contract import START, TAGS, HistorianContract, Open, batch
from twin.historian import DuckDBHistorian
from twin.ports import Event, HistorianError
from twin.tags import TagTable

WRITER = """
import sys
from pathlib import Path
import numpy as np
from twin.historian import DuckDBHistorian
from twin.samples import SampleBatch
from tests.twin.historian_contract import START, TAGS

historian = DuckDBHistorian(Path(sys.argv[1]), TAGS)
count = int(sys.argv[2])
while True:
    times = START + np.arange(count, count + 300)
    values = np.arange(count, count + 300, dtype=float)
    zeros = np.zeros(300)
    historian.append(SampleBatch(zeros.astype(np.int32), times, values, zeros.astype(np.uint32)))
    count += 300
    print(count, flush=True)
"""


class TestDuckDBHistorian(HistorianContract):
    @pytest.fixture
    def opened(self, tmp_path: Path) -> Iterator[Open]:
        current: list[DuckDBHistorian] = []

        def open_again(tags: TagTable) -> DuckDBHistorian:
            if current:
                current.pop().close()
            current.append(DuckDBHistorian(tmp_path / "store" / "historian.duckdb", tags))
            return current[0]

        yield open_again
        for historian in current:
            historian.close()


def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "historian.duckdb"
    acknowledged = 0
    for trial in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(acknowledged)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        with process:
            for line in process.stdout:
                acknowledged = int(line)
                if acknowledged > (trial + 1) * 9_000:
                    time.sleep(0.003 * trial)
                    process.kill()
        with DuckDBHistorian(path, TAGS) as historian:
            read = historian.read([0], START, START + 2**40)
            assert len(read) >= acknowledged
            assert read.value.tolist() == list(range(len(read)))
            acknowledged = len(read)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "historian.duckdb"
    path.write_bytes(b"no database at all" * 1_000)
    with pytest.raises(HistorianError, match=r"historian\.duckdb") as caught:
        DuckDBHistorian(path, TAGS)
    assert caught.value.store == str(path)


def test_nothing_of_a_failed_append_is_kept(tmp_path: Path) -> None:
    with DuckDBHistorian(tmp_path / "historian.duckdb", TAGS) as historian:
        historian._database.execute("DROP TABLE events")
        with pytest.raises(HistorianError):
            historian.append(batch((0, 1, 1.0)), [Event(START, "gap", "x", "")])
        assert len(historian.latest([0])) == 0
        historian.append(batch((0, 1, 2.0)))
        assert historian.read([0], START, START + 2**40).value.tolist() == [2.0]


def test_asking_for_no_bucket_is_an_error(tmp_path: Path) -> None:
    with (
        DuckDBHistorian(tmp_path / "historian.duckdb", TAGS) as historian,
        pytest.raises(ValueError, match="at least one bucket"),
    ):
        historian.buckets([0], START, START, 5)
