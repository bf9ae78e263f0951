"""The recorder: writes a recording that is valid at any moment up to the last whole minute."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import structlog

from connectors.recording import (
    LOG,
    MANIFEST,
    SAMPLES,
    SCHEMA,
    File,
    Gap,
    Manifest,
    Model,
    RecordingError,
    Signal,
)
from twin.configuration.models import LineConfiguration
from twin.files import card_path, program, sha256
from twin.intervention import Arrivals, Intervention
from twin.logged import entry_of
from twin.samples import Ints, OfflineMeasurement, SampleBatch
from twin.units import si_unit

log = structlog.get_logger()
MINUTE: Final = 60 * 10**9
FILE: Final = 60
"""Minutes per file; until they are over, each minute is a file of its own."""
PIECE: Final = 250_000
"""Samples per file of data that can be had again."""


class RecordingWriter:
    """Writes one recording. Synchronous; give it a thread of its own where others wait.

    A minute (of line time) of samples is written, synced and renamed into place before the manifest
    names it, so that whatever stops the program leaves a recording up to the last whole minute.

    Args:
        folder: is created; must be empty where it is there.
        line: the line's configuration.
        origin: what is recorded.
        models: file of every step's model, with its version.
        live: the data come once. Those that can be had again, from a file or a historian, are
            written in large pieces: slow data of a year would be half a million minutes.

    Raises:
        RecordingError: the folder holds something.
        OSError: from every method, where the disk refuses.
    """

    def __init__(
        self,
        folder: Path,
        line: LineConfiguration,
        origin: str,
        models: Mapping[str, tuple[str, Path]] | None = None,
        live: bool = True,
    ) -> None:
        if folder.exists() and any(folder.iterdir()):
            raise RecordingError(f"{folder} is not empty; name a new folder for the recording")
        (folder / SAMPLES).mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._live = live
        self._line = line.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        self._origin = origin
        tags = line.measured_tags()
        self._names = [tag.name for tag in tags]
        self._signals = tuple(
            Signal(name=t.name, unit=si_unit(t.unit), shown_in=t.unit) for t in tags
        )
        self._models: list[Model] = []
        self._files: list[File] = []
        self._gaps: list[Gap] = []
        self._waiting: list[tuple[SampleBatch, Ints]] = []
        self._logged: list[dict[str, Any]] = []
        self._log_lines = self._log_size = 0
        self._samples = 0
        self._first: int | None = None
        self._last: int | None = None
        self._minute: int | None = None
        (folder / LOG).touch()
        for step, (its_version, file) in (models or {}).items():
            self.use_model(step, its_version, file)
        self._tell(complete=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()

    def use_model(self, step: str, its_version: str, file: Path) -> None:
        """Keep a copy of a model that predicts from now on, with the card beside it."""
        name = f"models/{step}-{its_version}.onnx"
        target = self.folder / name
        target.parent.mkdir(exist_ok=True)
        if not target.exists():
            shutil.copyfile(file, target)
            if card_path(file).is_file():
                shutil.copyfile(card_path(file), card_path(target))
        self._models.append(Model(step=step, version=its_version, file=name, sha256=sha256(target)))

    def append(self, arrivals: Arrivals) -> None:
        """Take what arrived; a minute that is over is written, with what the disk refused before.

        Raises:
            OSError: the disk refuses; everything is kept for the next minute.
        """
        batch, arrived = arrivals.batch, arrivals.arrived
        for measurement in batch.offline:
            # a store of old does not know when it became known
            came = int(arrived[0]) if len(arrived) else measurement.sampled
            self._log(replace(measurement, known=measurement.known or came))
        start, refused = 0, None
        while start < len(batch):
            try:
                self._turn(int(arrived[start]))
            except OSError as error:
                refused = error
            assert self._minute is not None
            over = (self._minute + 1) * MINUTE
            end = int(np.searchsorted(arrived, over)) if self._live else len(batch)
            self._waiting.append((batch.between(start, end), arrived[start:end]))
            self._samples += end - start
            start = end
        for intervention in arrivals.interventions:
            self._log(intervention)
        if refused is not None:
            raise refused

    def tick(self, now: int) -> None:
        """Say what time it is on the line, so that a silent one is written too."""
        if self._waiting or self._logged:
            self._turn(now)

    def gap(self, since: int, until: int, what: str) -> None:
        """Say that samples are missing."""
        self._gaps.append(Gap(since=since, until=until, what=what))

    @property
    def waiting(self) -> int:
        """Samples that are not yet on disk."""
        return sum(len(batch) for batch, _ in self._waiting)

    def give_up(self, why: str) -> int:
        """Leave out what is not yet on disk, and say so; how many samples."""
        lost = self.waiting
        if lost:
            self.gap(int(self._waiting[0][1][0]), int(self._waiting[-1][1][-1]), why)
            self._waiting = []
            # what came in between stays, after the samples that are kept
            self._samples -= lost
            for entry in self._logged:
                entry["after"] = min(entry["after"], self._samples)
        return lost

    def flush(self) -> None:
        """Write everything that was taken, the present minute too."""
        if self._waiting:
            self._write()
        elif self._logged:
            self._write_log()
            self._tell(complete=False)

    def close(self) -> None:
        """Write what is left, join the minutes of the last file, and say that it is complete."""
        self.flush()
        self._join()
        self._tell(complete=True)

    def _turn(self, now: int) -> None:
        minute, before = now // MINUTE, self._minute
        if before is None or minute > before:
            self._minute = minute
        if not self._live and self.waiting >= PIECE:
            self.flush()
            self._join()
        if self._live and before is not None and minute > before:
            self.flush()
            if minute // FILE > before // FILE:
                self._join()

    def _log(self, logged: OfflineMeasurement | Intervention) -> None:
        self._logged.append({"after": self._samples, **entry_of(logged, self._names)})

    def _write(self) -> None:
        batch = SampleBatch.concatenate([batch for batch, _ in self._waiting])
        arrived = np.concatenate([moments for _, moments in self._waiting])
        unnamed = (batch.tag < 0) | (batch.tag >= len(self._names))
        columns = [
            pa.array(arrived).view(pa.timestamp("ns", "UTC")),
            pa.array(batch.time).view(pa.timestamp("ns", "UTC")),
            pa.DictionaryArray.from_arrays(
                pa.array(batch.tag, pa.int32(), mask=unnamed), pa.array(self._names, pa.string())
            ),
            pa.array(batch.value),
            pa.array(batch.quality),
        ]
        rows = pa.Table.from_arrays(columns, schema=SCHEMA)
        name = f"{SAMPLES}/{self._samples - len(batch):012d}.minute.parquet"
        file = self._put(name, [rows])
        self._write_log()
        # only now: what a refusal left waiting is written again, under the same name
        self._files.append(file)
        self._waiting = []
        self._first = int(arrived[0]) if self._first is None else self._first
        self._last = int(arrived[-1])
        self._tell(complete=False)

    def _put(self, name: str, tables: list[pa.Table]) -> File:
        """A file of samples with a row group per table, in place only when it is whole."""
        draft, target = self.folder / "draft", self.folder / name
        with draft.open("wb") as stream:
            with pq.ParquetWriter(
                stream, SCHEMA, compression="zstd", use_dictionary=["tag", "quality"]
            ) as writer:
                for table in tables:
                    writer.write_table(table, row_group_size=max(table.num_rows, 1))
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(target)
        return File(
            name=name,
            rows=sum(table.num_rows for table in tables),
            size=target.stat().st_size,
            sha256=sha256(target),
        )

    def _write_log(self) -> None:
        if self._logged:
            with (self.folder / LOG).open("r+b") as stream:
                # what an attempt that failed has left goes
                stream.truncate(self._log_size)
                stream.seek(self._log_size)
                stream.writelines(orjson.dumps(entry) + b"\n" for entry in self._logged)
                stream.flush()
                os.fsync(stream.fileno())
                self._log_size = stream.tell()
            self._log_lines += len(self._logged)
            self._logged = []

    def _join(self) -> None:
        """Make one file of the minutes that are files of their own."""
        minutes = [file for file in self._files if file.name.endswith(".minute.parquet")]
        if not minutes:
            return
        tables = [pq.read_table(self.folder / file.name) for file in minutes]
        name = minutes[0].name.replace(".minute", "")
        whole = self._put(name, tables)
        self._files = [*self._files[: -len(minutes)], whole]
        self._tell(complete=False)
        for file in minutes:
            (self.folder / file.name).unlink(missing_ok=True)

    def _tell(self, complete: bool) -> None:
        log = self.folder / LOG
        manifest = Manifest(
            origin=self._origin,
            program=program(),
            complete=complete,
            samples=sum(file.rows for file in self._files),
            first=self._first,
            last=self._last,
            line=self._line,
            tags=self._signals,
            models=tuple(self._models),
            files=tuple(self._files),
            log=File(
                name=LOG,
                rows=self._log_lines,
                size=self._log_size,
                sha256=sha256(log, self._log_size),
            ),
            gaps=tuple(self._gaps),
        )
        draft = self.folder / f"{MANIFEST}.draft"
        with draft.open("w", encoding="utf-8") as stream:
            stream.write(manifest.model_dump_json(indent=1))
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self.folder / MANIFEST)


class Recorder:
    """A writer on a thread of its own: whoever hands over samples never waits for the disk.

    At most `capacity` samples wait; when the disk does not keep up or refuses, the oldest are lost,
    counted, and told in the manifest as a gap.
    """

    def __init__(self, writer: RecordingWriter, capacity: int = 2_000_000) -> None:
        self._writer = writer
        self._capacity = capacity
        self._thread = ThreadPoolExecutor(1, "recorder")
        self._handed = self._taken = 0
        self.folder = writer.folder
        self.dropped = 0
        """Samples that are not in the recording."""
        self.error: str | None = None
        """Why the disk takes nothing, as a sentence."""

    def append(self, arrivals: Arrivals) -> None:
        """Take what arrived; never waits."""
        count = len(arrivals.batch)
        if count and self._handed - self._taken + count > self._capacity:
            self._lose(count)
            first, last = int(arrivals.arrived[0]), int(arrivals.arrived[-1])
            self._do(lambda: self._writer.gap(first, last, "the recorder did not keep up"))
            nothing = SampleBatch.of([], [], [])
            arrivals = Arrivals(
                replace(nothing, offline=arrivals.batch.offline),
                nothing.time,
                arrivals.interventions,
            )
            count = 0
        self._handed += count
        self._do(lambda: self._append(arrivals))

    def tick(self, now: int) -> None:
        """What time it is on the line."""
        self._do(lambda: self._writer.tick(now))

    def gap(self, since: int, until: int, what: str) -> None:
        """Samples are missing."""
        self._do(lambda: self._writer.gap(since, until, what))

    def use_model(self, step: str, its_version: str, file: Path) -> None:
        """Another model predicts from now on."""
        self._do(lambda: self._writer.use_model(step, its_version, file))

    def close(self) -> None:
        """Write the rest and wait until it is on disk."""
        self._do(self._writer.close)
        self._thread.shutdown(wait=True)

    def _append(self, arrivals: Arrivals) -> None:
        self._taken += len(arrivals.batch)
        try:
            self._writer.append(arrivals)
        finally:
            if self._writer.waiting > self._capacity:
                self._lose(self._writer.give_up("the disk refused"))

    def _lose(self, count: int) -> None:
        if not self.dropped:
            log.error("the recording has a gap", folder=str(self.folder), problem=self.error)
        self.dropped += count

    def _do(self, work: Callable[[], None]) -> None:
        self._thread.submit(self._try, work)

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # a disk may refuse in any way; the line goes on
            if self.error is None:
                log.error("not recorded", folder=str(self.folder), problem=str(error))
            self.error = str(error)
        else:
            self.error = None
