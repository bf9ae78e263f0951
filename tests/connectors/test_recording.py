"""Recordings: what was taken is read again, whatever stopped the writer, and damage is told."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import orjson
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.recorder import MINUTE, Recorder, RecordingWriter
from connectors.recording import LOG, MANIFEST, Recording, RecordingError, differences
from tests.in_process import EPOCH, ROOT, line_configuration, make_core
from twin.intervention import Arrivals, Decided, FellSilent, Intervention, ModelUsed, ModeSet, Wrote
from twin.ports import Write, WriteOutcome
from twin.samples import OfflineMeasurement, SampleBatch

S = 1_000_000_000
LINE = line_configuration()
FIRST_TAG = next(iter(LINE.tags))


def rows(count: int, start: int = EPOCH, every: int = S, seed: int = 1) -> Arrivals:
    draw = np.random.default_rng(seed)
    arrived = start + every * np.arange(count, dtype=np.int64)
    value = draw.standard_normal(count)
    value[::7] = np.nan
    return Arrivals(
        SampleBatch(
            draw.integers(-1, len(LINE.tags), count).astype(np.int32),
            arrived - draw.integers(0, 3 * S, count),
            value,
            draw.choice([0, 0x80310000], count).astype(np.uint32),
        ),
        arrived,
    )


def written(folder: Path, pieces: list[Arrivals]) -> Recording:
    with RecordingWriter(folder, LINE, "test") as writer:
        for piece in pieces:
            writer.append(piece)
    return Recording.open(folder)


def whole(recording: Recording, largest: int = 65_536) -> Arrivals:
    pieces = [rows(0), *recording.stream(largest)]
    return Arrivals(
        SampleBatch.concatenate([piece.batch for piece in pieces]),
        np.concatenate([piece.arrived for piece in pieces]),
        tuple(each for piece in pieces for each in piece.interventions),
    )


def assert_same(one: Arrivals, other: Arrivals) -> None:
    for name in ("tag", "time", "value", "quality"):
        np.testing.assert_array_equal(getattr(one.batch, name), getattr(other.batch, name))
    np.testing.assert_array_equal(one.arrived, other.arrived)
    assert one.batch.offline == other.batch.offline
    assert one.interventions == other.interventions


INTERVENTIONS: tuple[Intervention, ...] = (
    Decided(EPOCH, "coater-1", True, "Anna", "good"),
    Wrote(
        EPOCH + 1,
        "coater-1",
        (
            WriteOutcome(Write(5, 1.5e-6), "applied", 1.5e-6),
            WriteOutcome(Write(6, 2.0), "timed out", float("inf"), "no answer"),
        ),
    ),
    ModeSet(EPOCH + 2, "coating", "shadow", "Ben"),
    FellSilent(EPOCH + 3),
    ModelUsed(EPOCH + 4, "coating", "abc", "Ben"),
)


@settings(max_examples=25, deadline=None)
@given(
    counts=st.lists(st.integers(0, 90), min_size=1, max_size=6),
    largest=st.integers(1, 200),
    every=st.sampled_from([S // 10, S, 7 * S, 90 * S]),
)
def test_what_was_taken_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], largest: int, every: int
) -> None:
    pieces, start = [], EPOCH
    for number, count in enumerate(counts):
        pieces.append(rows(count, start, every, number))
        start += every * count
    recording = written(tmp_path_factory.mktemp("any") / "r", pieces)
    read = list(recording.stream(largest))
    assert all(len(piece.batch) <= largest for piece in read)
    expected = Arrivals(
        SampleBatch.concatenate([piece.batch for piece in pieces]),
        np.concatenate([piece.arrived for piece in pieces]),
    )
    assert_same(whole(recording, largest), expected)


def test_interventions_and_laboratory_values_keep_their_place(tmp_path: Path) -> None:
    lab = OfflineMeasurement(8, EPOCH - S, 1.25, roll=2, metre=3.5, known=EPOCH + 55 * S)
    first, second = rows(50), rows(50, EPOCH + 60 * S, seed=2)
    told = SampleBatch(
        second.batch.tag, second.batch.time, second.batch.value, second.batch.quality, (lab,)
    )
    recording = written(
        tmp_path / "r",
        [Arrivals(first.batch, first.arrived, INTERVENTIONS), Arrivals(told, second.arrived)],
    )
    pieces = list(recording.stream(30))
    seen = 0
    for piece in pieces:
        seen += len(piece.batch)
        if piece.interventions or piece.batch.offline:
            assert seen == 50
    read = whole(recording)
    assert read.batch.offline == (lab,)
    assert [type(each) for each in read.interventions] == [type(each) for each in INTERVENTIONS]
    assert read.interventions[0] == INTERVENTIONS[0]
    outcomes = read.interventions[1]
    assert isinstance(outcomes, Wrote)
    assert outcomes.outcomes[0] == INTERVENTIONS[1].outcomes[0]  # type: ignore[union-attr]
    assert np.isnan(outcomes.outcomes[1].read_back)


def test_one_row_group_per_minute_in_a_file_per_hour(tmp_path: Path) -> None:
    recording = written(tmp_path / "r", [rows(2 * 3600 + 600)])
    files = sorted((tmp_path / "r" / "samples").iterdir())
    assert [pq.ParquetFile(file).num_row_groups for file in files] == [60, 60, 10]
    assert pq.ParquetFile(files[0]).metadata.row_group(0).column(3).compression == "ZSTD"
    assert recording.manifest.complete
    assert recording.manifest.samples == 7800
    assert [f"samples/{file.name}" for file in files] == [
        file.name for file in recording.manifest.files
    ]


def test_one_line_of_pandas_polars_and_duckdb(tmp_path: Path) -> None:
    piece = rows(600)
    written(tmp_path / "r", [piece])
    samples = tmp_path / "r" / "samples"
    names = [LINE.tag_table()[tag].name if tag >= 0 else None for tag in piece.batch.tag.tolist()]
    for frame in (
        pd.read_parquet(samples),
        pl.read_parquet(samples / "*.parquet").to_pandas(),
        duckdb.sql(f"SELECT * FROM '{samples}/*.parquet'").df(),
    ):
        assert list(frame.columns) == ["arrived", "time", "tag", "value", "quality"]
        np.testing.assert_array_equal(frame["value"].to_numpy(), piece.batch.value)
        assert [None if pd.isna(name) else name for name in frame["tag"]] == names
        times = pd.to_datetime(frame["time"], utc=True).astype("datetime64[ns, UTC]")
        np.testing.assert_array_equal(times.astype("int64").to_numpy(), piece.batch.time)


def test_units_are_those_of_the_values(tmp_path: Path) -> None:
    manifest = written(tmp_path / "r", [rows(1)]).manifest
    units = {tag.name: (tag.unit, tag.shown_in) for tag in manifest.tags}
    assert units["coater.line_speed"] == ("m/s", "m/min")
    assert units["gauges.mass_loading"] == ("kg/m²", "g/m^2")
    assert units["mixer.batch_number"] == ("dimensionless", "dimensionless")
    assert manifest.line == json.loads(
        json.dumps(LINE.model_dump(mode="json", by_alias=True, exclude_defaults=True))
    )


def test_every_minute_is_safe_at_once(tmp_path: Path) -> None:
    writer = RecordingWriter(tmp_path / "r", LINE, "test")
    piece = rows(300)
    for row in range(300):
        writer.append(
            Arrivals(piece.batch.where(np.arange(300) == row), piece.arrived[row : row + 1])
        )
        recording = Recording.open(tmp_path / "r")
        minutes = (int(piece.arrived[row]) // MINUTE) - EPOCH // MINUTE
        assert recording.manifest.samples == 60 * minutes
        assert not recording.manifest.complete


def test_a_silent_line_is_written_too(tmp_path: Path) -> None:
    writer = RecordingWriter(tmp_path / "r", LINE, "test")
    piece = rows(5)
    writer.append(piece)
    writer.tick(EPOCH + 30 * S)
    assert Recording.open(tmp_path / "r").manifest.samples == 0
    writer.tick(EPOCH + 61 * S)
    assert_same(whole(Recording.open(tmp_path / "r")), piece)


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from connectors.recorder import RecordingWriter
from tests.connectors.test_recording import LINE, rows, S, EPOCH
writer = RecordingWriter(Path(sys.argv[1]), LINE, "test")
for minute in range(10_000):
    writer.append(rows(600, EPOCH + minute * 60 * S, S // 10, minute))
    print(minute, flush=True)
"""


def test_kill_leaves_whole_minutes(tmp_path: Path) -> None:
    for number, minutes in enumerate((3, 64, 120)):
        folder = tmp_path / str(number)
        command = [sys.executable, "-c", KILLED.format(root=str(ROOT)), str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if int(line) >= minutes:
                    break
            process.send_signal(signal.SIGKILL)
        recording = Recording.open(folder)
        assert not recording.manifest.complete
        read = whole(recording)
        found, rest = divmod(len(read.batch), 600)
        assert rest == 0
        assert found >= minutes
        expected = [rows(600, EPOCH + minute * 60 * S, S // 10, minute) for minute in range(found)]
        np.testing.assert_array_equal(
            read.batch.value, np.concatenate([piece.batch.value for piece in expected])
        )


def test_damage_is_told_with_file_and_checksum(tmp_path: Path) -> None:
    recording = written(tmp_path / "r", [rows(300)])
    file = recording.folder / recording.manifest.files[0].name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(RecordingError, match="damaged") as caught:
        Recording.open(tmp_path / "r")
    assert str(file) in str(caught.value)
    assert recording.manifest.files[0].sha256 in str(caught.value)
    file.unlink()
    with pytest.raises(RecordingError, match="is missing"):
        Recording.open(tmp_path / "r")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: "", "no manifest"),
        (lambda text: text.replace("linetwin/recording/1", "linetwin/recording/9"), "format"),
        (lambda text: text[: len(text) // 2], "no manifest"),
    ],
)
def test_a_broken_manifest_is_told(tmp_path: Path, change: object, said: str) -> None:
    written(tmp_path / "r", [rows(3)])
    manifest = tmp_path / "r" / MANIFEST
    manifest.write_text(change(manifest.read_text()))  # type: ignore[operator]
    with pytest.raises(RecordingError, match=said) as caught:
        Recording.open(tmp_path / "r")
    assert str(manifest) in str(caught.value)


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(RecordingError, match="not empty"):
        RecordingWriter(tmp_path, LINE, "test")
    with pytest.raises(RecordingError, match="is no recording"):
        Recording.open(tmp_path)


def test_differences_name_what_differs() -> None:
    assert differences(LINE, LINE) == []
    other = line_configuration(lateness="3 s", name="another line")
    assert differences(LINE, other) == [
        "name: recorded virtual pilot line, here another line",
        "lateness: recorded 2.0 s, here 3.0 s",
    ]


def test_tags_are_found_by_name_in_another_line(tmp_path: Path) -> None:
    piece = rows(200)
    recording = written(tmp_path / "r", [piece])
    content = LINE.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    names = list(content["tags"])
    moved = {name: content["tags"][name] for name in reversed(names) if name != names[3]}
    other = line_configuration(tags=moved | {"new": content["tags"][names[4]]})
    read = whole(recording.for_line(other))
    back = {len(names) - 1 - i - (i < 3): i for i in range(len(names)) if i != 3}
    expected = [-1 if tag in (3, -1) else tag for tag in piece.batch.tag.tolist()]
    assert [back.get(tag, -1) for tag in read.batch.tag.tolist()] == expected
    renamed = whole(recording.for_line(other, {names[3]: "new"}))
    index = other.tag_table().index("new")
    assert ((renamed.batch.tag == index) == (piece.batch.tag == 3)).all()
    with pytest.raises(RecordingError, match="holds no tag"):
        recording.for_line(other, {"nothing": "new"})
    with pytest.raises(RecordingError, match="is no tag"):
        recording.for_line(other, {names[3]: "nothing"})


def test_models_are_kept_with_their_cards(tmp_path: Path) -> None:
    model = ROOT / "surrogates" / "models" / "coating.onnx"
    version = make_core(LINE).surrogates["coating"].version
    with RecordingWriter(tmp_path / "r", LINE, "test", {"coating": (version, model)}):
        pass
    kept = Recording.open(tmp_path / "r").manifest.models[0]
    assert (tmp_path / "r" / kept.file).read_bytes() == model.read_bytes()
    assert (tmp_path / "r" / kept.file).with_suffix("").with_suffix(".card.yaml").is_file()


def test_the_log_is_plain_json_lines(tmp_path: Path) -> None:
    piece = rows(10)
    written(tmp_path / "r", [Arrivals(piece.batch, piece.arrived, INTERVENTIONS)])
    lines = [
        orjson.loads(line) for line in (tmp_path / "r" / "log.jsonl").read_bytes().splitlines()
    ]
    assert [line["after"] for line in lines] == [10] * 5
    assert lines[1]["outcomes"][1]["tag"] == LINE.tag_table()[6].name


def test_a_disk_that_refuses_stops_nobody_and_leaves_a_gap(tmp_path: Path) -> None:
    writer = RecordingWriter(tmp_path / "r", LINE, "test")
    recorder = Recorder(writer, capacity=1000)
    put = writer._put
    writer._put = _refuse  # type: ignore[method-assign, assignment]
    for minute in range(4):
        recorder.append(rows(300, EPOCH + minute * 60 * S, S // 10, minute))
    recorder._thread.submit(lambda: None).result()
    assert recorder.error == "no space left"
    assert recorder.dropped == 1200
    writer._put = put  # type: ignore[method-assign]
    last = rows(300, EPOCH + 600 * S, S // 10, 9)
    recorder.append(last)
    recorder.close()
    recording = Recording.open(tmp_path / "r")
    assert_same(whole(recording), last)
    assert [gap.what for gap in recording.manifest.gaps] == ["the disk refused"]


def test_a_minute_whose_log_was_refused_is_recorded_once(tmp_path: Path) -> None:
    pieces = [rows(60, EPOCH + minute * MINUTE, S, minute) for minute in range(3)]
    told = Arrivals(pieces[0].batch, pieces[0].arrived, INTERVENTIONS[2:])
    writer = RecordingWriter(tmp_path / "r", LINE, "test")
    writer.append(told)
    (tmp_path / "r" / LOG).rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError):
        writer.append(pieces[1])
    (tmp_path / "away").rename(tmp_path / "r" / LOG)
    writer.append(pieces[2])
    writer.close()
    recording = Recording.open(tmp_path / "r")
    assert recording.manifest.complete
    assert_same(
        whole(recording),
        Arrivals(
            SampleBatch.concatenate([piece.batch for piece in pieces]),
            np.concatenate([piece.arrived for piece in pieces]),
            INTERVENTIONS[2:],
        ),
    )


def _refuse(*_: object) -> None:
    raise OSError("no space left")
