"""Whatever comes in: nothing crashes, nothing goes without a trace; `make fuzz` goes on longer."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from connectors.mqtt.messages import MessageReader
from connectors.unit_names import UnitCheck, mismatch
from tests.fuzz.properties import (
    MOST,
    TOPICS,
    every_certificate_is_read_or_refused,
    every_configuration_is_read_or_explained,
    every_message_is_samples_or_counted,
    every_record_is_whole_or_skipped,
    reader,
)
from twin.configuration import bundled

NUMBERS = (
    st.integers()
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.sampled_from([2**63, 2**64, -(2**63) - 1, 10**400, 1e308, 5e-324, 0, -1, True])
)
TEXTS = st.text(max_size=12) | st.sampled_from(
    ["um", "µm", "m", "°C", "9**9**9**9", "good", "BAD", "NaN", "roll", "1", "\ud800"]
)
TIMES = st.sampled_from(
    ["2026-03-01T12:00:00Z", "2026-03-01T12:00:00", "0001-01-01T00:00:00+14:00",
     "9999-12-31T23:59:59.999999999-14:00", "2026-03-01", "20260301T120000,5Z"]
) | NUMBERS  # fmt: skip
LEAVES = NUMBERS | TEXTS | TIMES | st.none()
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
)
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "time": TIMES | ANYTHING,
        "value": NUMBERS | ANYTHING,
        "other": ANYTHING,
        "a": st.fixed_dictionaries({}, optional={"t": TIMES, "v": NUMBERS}) | ANYTHING,
        "u": TEXTS | ANYTHING,
        "s": TEXTS | ANYTHING,
        "p": st.sampled_from(["roll", "1", 1, 1.0]) | ANYTHING,
        "r": NUMBERS | ANYTHING,
        "m": NUMBERS | ANYTHING,
        "b": NUMBERS | ANYTHING,
    },
)
MANY = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def messages() -> MessageReader:
    return reader()


@MANY
@given(topic=st.sampled_from(TOPICS), message=MESSAGES | ANYTHING)
@example(
    "lab", {"p": "roll", "time": "2026-03-01T12:00:00Z", "value": 1, "r": 1, "m": 1, "s": "bad"}
)
@example("lab", {"p": "1", "time": "2026-03-01T12:00:00Z", "value": 1, "b": 1e300, "u": "um"})
def test_a_message_is_samples_or_counted(
    messages: MessageReader, topic: str, message: object
) -> None:
    every_message_is_samples_or_counted(messages, topic, json.dumps(message).encode())


@MANY
@given(topic=st.sampled_from(TOPICS), payload=st.binary(max_size=60))
@example("plain", b"x" * (MOST + 1))
@example("plain", b"[" * MOST)
@example("plain", b'{"time": 1, "value": ' + b"9" * 1900 + b"}")
@example("number", b'{"time": ' + b"9" * 1900 + b', "value": 1}')
@example("strict/a", b'{"a": {"t": "2026-03-01T12:00:00Z", "v": 1}, "u": "\\ud800", "s": "good"}')
def test_bytes_are_samples_or_counted(messages: MessageReader, topic: str, payload: bytes) -> None:
    every_message_is_samples_or_counted(messages, topic, payload)


@settings(max_examples=200, deadline=1000)
@given(st.text(max_size=40) | st.text("9*^()/m e.-", max_size=40))
@example("9**9**9**9")
@example("(((9^99)^99)^99)^99")
@example("m²²²²²²²")
def test_a_unit_is_judged_at_once(unit: str) -> None:
    mismatch(unit, "um")


def test_a_peer_cannot_fill_the_memory_with_units() -> None:
    check = UnitCheck("um")
    assert check("µm") is None
    said = {check(f"{number}*m") for number in range(1000)}
    assert len(said) == 16
    assert check("µm") is None


WHOLE = yaml.safe_load(bundled("line.yaml").read_text())


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


PLACES = places(WHOLE)
WORDS = sorted({str(part) for place in PLACES for part in place})


def changed(place: tuple[Any, ...], content: Any, key: str | None) -> Any:
    """The bundled line with other content at a place, or with one more key there."""
    document = copy.deepcopy(WHOLE)
    if not place:
        return content
    at = document
    for part in place[:-1]:
        at = at[part]
    if key is not None and isinstance(at[place[-1]], dict):
        at[place[-1]][key] = content
    else:
        at[place[-1]] = content
    return document


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    place=st.sampled_from(PLACES),
    content=ANYTHING | st.sampled_from(WORDS),
    key=st.none() | st.sampled_from(WORDS) | TEXTS,
)
def test_a_configuration_is_read_or_explained(
    tmp_path: Path, place: tuple[Any, ...], content: Any, key: str | None
) -> None:
    file = tmp_path / "line.yaml"
    document = changed(place, content, key)
    file.write_text(
        yaml.safe_dump(document, allow_unicode=True), encoding="utf-8", errors="surrogatepass"
    )
    every_configuration_is_read_or_explained(file)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=60) | st.text(":-{}[]&*!|>'\"#%@`a \n\t0", max_size=40).map(str.encode))
@example(b"a: &a [*a]")
@example(b"a: 2026-99-99")
@example(b"a: 0b\nb: 0x_\nc: 1:99:99\n")
@example(b"? [a]\n: b")
@example(b"a: !!binary x")
@example(b";\x0b\n")
@example(b"a:\r\r- b: [\r")
@example(b"a: \x85\x1c")
@example(b"[" * 3000)
@example(b"a: " + b"{a: " * 2000)
def test_a_file_is_read_or_explained(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "line.yaml"
    file.write_bytes(content)
    assert not every_configuration_is_read_or_explained(file)


@given(st.binary(max_size=200))
def test_records_and_certificates_are_whole_or_nothing(content: bytes) -> None:
    every_record_is_whole_or_skipped(content)
    every_record_is_whole_or_skipped(b"\xf1LTR" + content)
    every_certificate_is_read_or_refused(content)
    every_certificate_is_read_or_refused(b"\x30\x82" + content)
