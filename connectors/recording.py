"""Recordings: what a folder of them holds, and how it is read.

    manifest.json        line configuration, tags, models, files with their checksums, gaps
    samples/*.parquet    rows in order of arrival; one row group per minute, zstd
    log.jsonl            laboratory values and interventions, each with its place in the stream
    models/              the models that predicted, with their cards

Times are ns since the epoch (UTC), values SI; the manifest names the unit of every tag. A tag that
the line does not know has no name.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from twin.configuration.models import LineConfiguration
from twin.files import Inside, sha256
from twin.intervention import Arrivals
from twin.logged import Logged, logged_in
from twin.samples import Ints, OfflineMeasurement, SampleBatch

FORMAT: Final = "linetwin/recording/1"
MANIFEST: Final = "manifest.json"
SAMPLES: Final = "samples"
LOG: Final = "log.jsonl"
SCHEMA: Final = pa.schema(
    [
        ("arrived", pa.timestamp("ns", "UTC")),
        ("time", pa.timestamp("ns", "UTC")),
        ("tag", pa.dictionary(pa.int32(), pa.string())),
        ("value", pa.float64()),
        ("quality", pa.uint32()),
    ]
)


class RecordingError(Exception):
    """A recording cannot be used: which file, what is wrong, and what to do."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class File(_Part):
    """A file of the recording; `rows` are samples or lines."""

    name: Inside
    rows: int
    size: int
    """Bytes that count: a log may have grown beyond them before a crash."""
    sha256: str


class Signal(_Part):
    """A tag of the line."""

    name: str
    unit: str
    """Of the recorded values."""
    shown_in: str
    """In which people read it."""


class Model(_Part):
    """A model that predicted a step while it was recorded."""

    step: str
    version: str
    file: Inside
    sha256: str


class Gap(_Part):
    """A time in which samples are missing, as far as the recorder knows."""

    since: int
    until: int
    what: str


class Manifest(_Part):
    """What a recording holds."""

    format: Literal["linetwin/recording/1"] = FORMAT
    origin: str
    """E.g. service, historian, or the imported file."""
    program: str
    """What wrote it, with its version."""
    complete: bool
    """False while it is being written, and after a crash."""
    samples: int
    first: int | None
    """Arrival of the first sample, ns; None where there is none."""
    last: int | None
    line: dict[str, Any]
    """The line's configuration."""
    tags: tuple[Signal, ...]
    models: tuple[Model, ...] = ()
    """In the order in which they were used."""
    files: tuple[File, ...] = ()
    """In order of arrival."""
    log: File | None = None
    gaps: tuple[Gap, ...] = ()


def differences(recorded: LineConfiguration, other: LineConfiguration) -> list[str]:
    """Where two configurations differ, as sentences; where stores and connectors are is no matter.

    Models are compared by name: which versions they had, the manifest says.
    """
    found: list[str] = []

    def compare(path: str, one: object, two: object) -> None:
        if isinstance(one, dict) and isinstance(two, dict):
            for name in dict.fromkeys([*one, *two]):
                here = f"{path}.{name}" if path else str(name)
                if name not in two:
                    found.append(f"{here}: recorded, but not in this configuration")
                elif name not in one:
                    found.append(f"{here}: in this configuration, but not recorded")
                else:
                    compare(here, one[name], two[name])
        elif one != two:
            found.append(f"{path}: recorded {one}, here {two}")

    kept = [
        line.model_dump(mode="json", by_alias=True, exclude={"store", "connectors", "api"})
        for line in (recorded, other)
    ]
    compare("", *kept)
    return found


class Recording:
    """A recording, opened and checked.

    Attributes:
        manifest: what it says of itself.
        line: the configuration whose tags the stream is numbered by: the recorded one, or that
            of `for_line`.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        line: LineConfiguration,
        renamed: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.line = line
        tags = line.tag_table()
        index = {name: tags.index(name) for name in line.tags}
        self._index = index | {
            old: index[new] for old, new in (renamed or {}).items() if new in index
        }

    @staticmethod
    def open(folder: Path) -> Recording:
        """Read the manifest and check every file that it names.

        Raises:
            RecordingError: no recording, or a file is missing or was changed.
        """
        path = folder / MANIFEST
        if not path.is_file():
            raise RecordingError(
                f"{folder} is no recording: it has no {MANIFEST}; name the folder that has one"
            )
        try:
            manifest = Manifest.model_validate_json(path.read_bytes())
            line = LineConfiguration.model_validate(manifest.line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise RecordingError(
                f"{path} is no manifest of this version: {where or 'all of it'}: {first['msg']}; "
                "take it from a copy, or record again"
            ) from error
        for file in [*manifest.files, *([manifest.log] if manifest.log else [])]:
            _check(folder / file.name, file.size, file.sha256)
        for model in manifest.models:
            _check(folder / model.file, None, model.sha256)
        return Recording(folder, manifest, line)

    def for_line(
        self, line: LineConfiguration, renamed: Mapping[str, str] | None = None
    ) -> Recording:
        """The same recording for another configuration; its tags are found by name.

        Args:
            line: another configuration.
            renamed: names in `line` by recorded name, for tags that are called otherwise there.

        Raises:
            RecordingError: a tag of `renamed` is in neither.
        """
        for old, new in (renamed or {}).items():
            if old not in {tag.name for tag in self.manifest.tags}:
                raise RecordingError(f"{self.folder} holds no tag {old} that could be renamed")
            if new not in line.tags:
                raise RecordingError(f"{new} is no tag of the configuration; {old} cannot be it")
        return Recording(self.folder, self.manifest, line, renamed)

    def model_file(self, step: str, version: str) -> Path:
        """The kept file of a model that predicted a step.

        Raises:
            KeyError: the recording holds no such model.
        """
        files = {(model.step, model.version): model.file for model in self.manifest.models}
        return self.folder / files[step, version]

    @property
    def first_models(self) -> dict[str, Path]:
        """The model that each step began with, of those that the recording holds."""
        models = reversed(self.manifest.models)
        return {model.step: self.folder / model.file for model in models}

    @property
    def last_models(self) -> dict[str, Path]:
        """The model that each step ended with."""
        return {model.step: self.folder / model.file for model in self.manifest.models}

    def log(self) -> list[tuple[int, Logged]]:
        """Laboratory values and interventions, with the number of samples that came before."""
        file = self.manifest.log
        if file is None:
            return []
        with (self.folder / file.name).open("rb") as stream:
            lines = stream.read(file.size).splitlines()
        found: list[tuple[int, Logged]] = []
        for number, line in enumerate(lines, 1):
            try:
                entry = orjson.loads(line)
                logged, after = logged_in(entry, self._index), entry["after"]
            except (KeyError, TypeError, orjson.JSONDecodeError) as error:
                raise RecordingError(
                    f"{self.folder / file.name}, line {number}: {error!r} is no entry of this "
                    "version; take the file from a copy"
                ) from error
            if logged is not None:
                found.append((int(after), logged))
        return found

    def stream(self, largest: int = 65_536) -> Iterator[Arrivals]:
        """Everything, in order of arrival, in pieces of at most `largest` samples."""
        log = deque(self.log())
        done = 0
        for batch, arrived in self._rows(largest):
            start = 0
            while log and log[0][0] < done + len(batch):
                end = log[0][0] - done
                yield Arrivals(batch.between(start, end), arrived[start:end])
                yield from _entries(log, done + end)
                start = end
            yield Arrivals(batch.between(start, len(batch)), arrived[start:])
            done += len(batch)
        while log:
            yield from _entries(log, log[0][0])

    def _rows(self, largest: int) -> Iterator[tuple[SampleBatch, Ints]]:
        for file in self.manifest.files:
            with pq.ParquetFile(self.folder / file.name) as parquet:
                for part in parquet.iter_batches(largest):
                    tag = part.column("tag")
                    number = [self._index.get(name, -1) for name in tag.dictionary.to_pylist()]
                    codes = tag.indices.fill_null(len(number)).to_numpy()
                    batch = SampleBatch(
                        np.array([*number, -1], np.int32)[codes],
                        _numpy(part.column("time")),
                        part.column("value").to_numpy(),
                        part.column("quality").to_numpy(),
                    )
                    yield batch, _numpy(part.column("arrived"))


def for_one_line(
    recordings: Sequence[Recording], line: LineConfiguration | None
) -> list[Recording]:
    """The same recordings, all for one line: the recorded one, or another.

    Raises:
        RecordingError: one was made with another configuration than the first, and none is given.
    """
    if line is not None:
        return [recording.for_line(line) for recording in recordings]
    for recording in recordings[1:]:
        if different := differences(recordings[0].line, recording.line):
            raise RecordingError(
                f"{recording.folder} was made with another configuration than "
                f"{recordings[0].folder}: {different[0]}; say with --line which to follow all with"
            )
    return list(recordings)


def _numpy(times: pa.Array) -> Ints:
    return np.asarray(times.view(pa.int64()))


def _entries(log: deque[tuple[int, Logged]], after: int) -> Iterator[Arrivals]:
    """What the log has at one place, laboratory values and interventions in their order."""
    nothing = SampleBatch.of([], [], [])
    while log and log[0][0] <= after:
        _, logged = log.popleft()
        if isinstance(logged, OfflineMeasurement):
            yield Arrivals(replace(nothing, offline=(logged,)), nothing.time)
        else:
            yield Arrivals(nothing, nothing.time, (logged,))


def _check(file: Path, size: int | None, expected: str) -> None:
    if not file.is_file():
        raise RecordingError(f"{file} is missing; take it from a copy of the recording")
    found = sha256(file, size)
    if found != expected:
        raise RecordingError(
            f"{file} was changed or damaged: its SHA-256 is {found}, the manifest says "
            f"{expected}; take it from a copy of the recording"
        )
