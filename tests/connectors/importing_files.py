"""Files that tests of the import write, and what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent

import numpy as np

from connectors.importing import Imported, import_files, load_mapping
from connectors.recording import Recording
from twin.configuration import bundled, load
from twin.configuration.models import LineConfiguration
from twin.samples import OfflineMeasurement, SampleBatch


@cache
def line() -> LineConfiguration:
    """The bundled virtual line."""
    return load(bundled("line.yaml"))


@dataclass
class Case:
    """A folder with a mapping and files of data."""

    folder: Path

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        if isinstance(content, str):
            content = dedent(content).lstrip("\n").encode()
        path.write_bytes(content)
        return path

    def read(self, mapping: str, *files: Path) -> Imported:
        path = self.write("mapping.yaml", mapping)
        return import_files(files, load_mapping(path, line()), line(), lambda _what, _share: None)

    def record(self, mapping: str, *files: Path) -> Stream:
        """Imported, written, opened again."""
        folder = self.folder / "recording"
        self.read(mapping, *files).write(folder, lambda _what, _share: None)
        return Stream(Recording.open(folder))


class Stream:
    """What a recording holds."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        arrivals = list(recording.stream())
        self.batch = SampleBatch.concatenate([each.batch for each in arrivals])
        self.arrived = np.concatenate([each.arrived for each in arrivals])

    def of(self, tag: str) -> list[tuple[int, float]]:
        """Source times, in s since the epoch, and SI values of a tag."""
        mine = self.batch.tag == list(line().tags).index(tag)
        times = (self.batch.time[mine] // 10**9).tolist()
        return list(zip(times, self.batch.value[mine].tolist(), strict=True))

    def qualities(self, tag: str) -> list[int]:
        mine = self.batch.tag == list(line().tags).index(tag)
        return [int(each) for each in self.batch.quality[mine]]

    @property
    def laboratory(self) -> tuple[OfflineMeasurement, ...]:
        return self.batch.offline
