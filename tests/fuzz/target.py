"""An atheris target: `python -m tests.fuzz.target NAME [libFuzzer options]`, see `make fuzz`.

NAME is mqtt, configuration, spool or certificate. It begins with something good of the kind.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["connectors", "twin", "json", "yaml"]):
    from connectors.authority import Authority
    from tests.fuzz import properties
    from twin.configuration import bundled
    from twin.samples import SampleBatch
    from twin.spool_record import encode

Target = tuple[Callable[[bytes], None], Iterable[bytes]]
"""What is tried with bytes, and the bytes that it begins with."""
STAMP = "2026-03-01T12:00:00.5Z"


def mqtt() -> Target:
    """The first byte is the topic, the rest a payload."""
    reader = properties.reader()

    def one(data: bytes) -> None:
        topic = properties.TOPICS[data[0] % len(properties.TOPICS)] if data else "plain"
        properties.every_message_is_samples_or_counted(reader, topic, data[1:])

    good: list[tuple[int, dict[str, object]]] = [
        (0, {"time": STAMP, "value": 1.5}),
        (1, {"a": {"t": STAMP, "v": 1}, "u": "µm", "s": "good"}),
        (3, {"time": 1_772_366_400_123_456_000, "value": 1, "other": 2}),
        (4, {"p": "roll", "time": STAMP, "value": 1, "r": 3, "m": 2.5, "s": "ok"}),
        (4, {"p": "1", "time": STAMP, "value": 1, "b": 7, "u": "um"}),
    ]
    return one, [bytes([topic]) + json.dumps(each).encode() for topic, each in good]


def configuration() -> Target:
    """A file: its first two bytes say where in the bundled one the rest takes the place of some."""
    file = Path(tempfile.mkdtemp()) / "line.yaml"
    whole = bundled("line.yaml").read_bytes()

    def one(data: bytes) -> None:
        start = int.from_bytes(data[:2], "little") % (len(whole) + 1)
        kept = data[2] % 64 if len(data) > 2 else 0
        alone = start == 0
        content = data[3:] if alone else whole[:start] + data[3:] + whole[start + kept :]
        file.write_bytes(content)
        properties.every_configuration_is_read_or_explained(file)

    good = [b"\0\0\0name: x\nconnectors: {}\ntags: {}\nwebs: {}\nsteps: {}\n"]
    return one, good + [bytes([at % 256, at // 256, 0]) for at in range(0, len(whole), 1500)]


def spool() -> Target:
    """The content of a file of the spool."""
    batch = SampleBatch.of([0, 1], [5, 6], [1.0, np.nan])
    return properties.every_record_is_whole_or_skipped, [b"".join(encode(batch, (), 1, 2, 3))]


def certificate() -> Target:
    """What a server shows."""
    authority = Authority(Path(tempfile.mkdtemp()))
    shown = authority.certificate.read_bytes()
    return properties.every_certificate_is_read_or_refused, [shown, shown * 2]


if __name__ == "__main__":
    run, seeds = {each.__name__: each for each in (mqtt, configuration, spool, certificate)}[
        sys.argv.pop(1)
    ]()
    corpus = Path(tempfile.mkdtemp())
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)
    atheris.Setup([*sys.argv, str(corpus)], run)
    atheris.Fuzz()
