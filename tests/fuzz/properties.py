"""What must hold of anything that comes in, whoever made it; used by hypothesis and by atheris."""

from __future__ import annotations

import contextlib
import io
import math
from pathlib import Path
from typing import Any, Final

import numpy as np
import structlog

from connectors.certificates import CertificateRefusedError, first_certificate
from connectors.intake import Counters
from connectors.mqtt.messages import MessageReader
from tests.connectors.reading import line
from twin.configuration import ConfigurationError, load
from twin.samples import SampleBatch
from twin.spool_record import find

MOST: Final = 2000
"""Bytes of a payload that the connector under test takes."""


def _tag(role: str = "measurement", **address: Any) -> dict[str, Any]:
    return {
        "unit": "um",
        "class": "SP",
        "role": role,
        "connector": "gauges",
        "address": address,
    }


def reader() -> MessageReader:
    """A reader with an address of every kind."""
    tags = {
        "plain": _tag(topic="plain"),
        "strict": _tag(topic="strict/+", value="a.v", time="a.t", unit="u", status="s"),
        "counted": _tag(topic="number", time_unit="ns"),
        "seconds": _tag(topic="number", time_unit="s", value="other"),
        "roll": _tag(
            "laboratory", topic="lab", where={"p": "roll"}, roll="r", metre="m", status="s"
        ),
        "batch": _tag("laboratory", topic="lab", where={"p": "1"}, batch="b", unit="u"),
    }
    connector = {"kind": "mqtt", "host": "127.0.0.1"}
    return MessageReader("gauges", line({"gauges": connector}, tags), MOST, Counters("gauges"))


TOPICS: Final = ("plain", "strict/a", "strict/b", "number", "lab", "elsewhere")


def every_message_is_samples_or_counted(reader: MessageReader, topic: str, payload: bytes) -> None:
    """No payload raises, and none goes without a trace."""
    before = sum(reader.counters.refused.values())
    # what is refused is logged to a stream that takes nothing but text
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(io.TextIOWrapper(io.BytesIO(), "utf-8"))
    )
    taken = reader.read(topic, payload)
    refused = sum(reader.counters.refused.values()) - before
    assert taken or refused
    for each in taken:
        assert 0 <= getattr(each, "time", getattr(each, "sampled", -1)) < 2**63
        if math.isfinite(each.value):
            continue
        assert refused or getattr(each, "quality", 0) >> 30
    # they fit where they go next
    rows = [each for each in taken if hasattr(each, "quality")]
    batch = SampleBatch.of(
        [row.tag for row in rows],
        [row.time for row in rows],
        [row.value for row in rows],
        [row.quality for row in rows],
    )
    assert len(batch) == len(rows)
    for offline in taken:
        for name in ("roll", "batch"):
            number = getattr(offline, name, None)
            assert number is None or np.int64(number) == number


def every_configuration_is_read_or_explained(file: Path) -> bool:
    """A file is a line, or wrong in sentences with a place and a remedy; whether it is a line."""
    try:
        load(file)
    except ConfigurationError as error:
        problems = error.problems
    else:
        return True
    # YAML knows more line ends than most: so does splitlines
    lines = len(file.read_bytes().decode("utf-8", "replace").splitlines()) + 1
    assert problems
    for problem in problems:
        assert problem.file == file
        assert 1 <= problem.line <= lines
        assert problem.what
        assert problem.remedy
    return False


def every_record_is_whole_or_skipped(content: bytes) -> None:
    """Whatever is in a spool's file, what is taken from it is what its checksum covers."""
    end = 0
    while (record := find(content, end)) is not None:
        assert end <= record.start < record.end <= len(content)
        assert record.rows >= 0
        end = record.end


def every_certificate_is_read_or_refused(content: bytes) -> None:
    """What a server shows is a certificate or a sentence."""
    with contextlib.suppress(CertificateRefusedError):
        first_certificate(content)
