"""Series of InfluxDB: measurement, tags and field, written as in line protocol."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Key:
    """What tells a series from others."""

    measurement: str
    tags: tuple[tuple[str, str], ...]
    field: str

    def __str__(self) -> str:
        head = [_escaped(self.measurement, ", ")]
        head += [f"{_escaped(key, ',= ')}={_escaped(value, ',= ')}" for key, value in self.tags]
        return f"{','.join(head)} {_escaped(self.field, ',= ')}"

    def covers(self, other: Key) -> bool:
        """Whether a series has this measurement, this field and at least these tags."""
        return (
            self.measurement == other.measurement
            and self.field == other.field
            and set(self.tags) <= set(other.tags)
        )


def _escaped(text: str, special: str) -> str:
    return re.sub(f"([{special}])", r"\\\1", text)


def key_of(pattern: str) -> Key:
    """A series as a mapping names it: measurement,tag=value field.

    Raises:
        ValueError: it is none.
    """
    head, end = until(pattern, 0, " ")
    measurement, tags = head_of(head)
    name = pattern[end + 1 :]
    if end >= len(pattern) or not name or until(name, 0, " =,")[1] < len(name):
        raise ValueError(f"{pattern!r} names no series; write 'measurement,tag=value field'")
    return Key(measurement, tags, plain(name, ",= "))


def head_of(head: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Measurement and tags, from measurement,tag=value.

    Raises:
        ValueError: it is none; the message has a remedy behind its semicolon.
    """
    measurement, place = until(head, 0, ",")
    if not measurement:
        raise ValueError("there is no measurement; write measurement,tag=value field=1.5 timestamp")
    tags = []
    while place < len(head):
        tag, place = until(head, place + 1, ",")
        key, equals = until(tag, 0, "=")
        value = tag[equals + 1 :]
        if not key or not value or until(value, 0, "=")[1] < len(value):
            raise ValueError(f"{tag!r} is no tag with a value; write tag=value, \\ before blanks")
        tags.append((plain(key, ",= "), plain(value, ",= ")))
    return plain(measurement, ", "), tuple(sorted(tags))


def until(text: str, start: int, ends: str) -> tuple[str, int]:
    """The text up to the first of some characters that no backslash stands before."""
    place = start
    while place < len(text) and text[place] not in ends:
        place += 2 if text[place] == "\\" else 1
    place = min(place, len(text))
    return text[start:place], place


def plain(text: str, special: str) -> str:
    """Without the backslashes before special characters; others stay."""
    return re.sub(rf"\\([{special}])", r"\1", text) if "\\" in text else text
