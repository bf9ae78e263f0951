"""Snapshots: what a class must remember to go on where it was, as plain arrays, numbers and names.

Every class with a memory has `snapshot()`, which gives it without stopping anybody for long, and
`restore()`, which takes it into a new object of the same configuration. A snapshot may hold views
of arrays, as long as their rows never change again.
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Snapshot = dict[str, Any]
"""Keys are texts; values are arrays, numbers, texts, None, and lists and dictionaries of them."""
FORMAT: Final = "linetwin/state/6"
_ARRAY: Final = "$array"


class SnapshotError(Exception):
    """A snapshot cannot be used; the message says why, and what would help."""


class Renumbering:
    """Where the tags of a snapshot are in the tag table of today; tags that are gone have no place.

    Args:
        before: names in the order of the snapshot.
        today: index by name.
    """

    def __init__(self, before: list[str], today: dict[str, int]) -> None:
        self._place = np.array([today.get(name, -1) for name in before], np.int64)

    def __call__(self, tag: int) -> int:
        """The index of today, -1 where the tag is gone."""
        return int(self._place[tag]) if 0 <= tag < len(self._place) else -1

    def all(self, tags: NDArray[Any]) -> NDArray[np.int32]:
        """The indices of today, -1 where a tag is gone."""
        places: NDArray[np.int32] = self._place[tags].astype(np.int32)
        return places

    def move(self, before: NDArray[Any], today: NDArray[Any]) -> None:
        """Copy what is known per tag, or per tag of the line, into such an array of today."""
        place = self._place[: len(before)]
        here = (place >= 0) & (place < len(today))
        today[place[here]] = before[here]


def write(file: Path, state: Snapshot) -> int:
    """Replace a file by this state, as a whole or not at all; gives its size, bytes.

    The file is a NumPy archive: `tree` is JSON in which every array is a reference to another
    member. Every member has a checksum.
    """
    arrays: dict[str, NDArray[Any]] = {}
    tree = json.dumps({"format": FORMAT, "state": _without_arrays(state, arrays)})
    arrays["tree"] = np.frombuffer(tree.encode(), np.uint8)
    beside = file.with_name(f".{file.name}.new")
    with beside.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)
        stream.flush()
        os.fsync(stream.fileno())
        size = stream.tell()
    beside.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return size


def read(file: Path) -> Snapshot:
    """The state in a file.

    Raises:
        SnapshotError: it is damaged, or of another version.
        OSError: it cannot be opened.
    """
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            members = {name: archive[name] for name in archive.files}
        tree = json.loads(members.pop("tree").tobytes())
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, TypeError) as error:
        raise SnapshotError(f"{file} is damaged: {error}") from error
    said = tree.get("format") if isinstance(tree, dict) else None
    if said != FORMAT:
        raise SnapshotError(f"{file} is {said!r}, this program reads {FORMAT!r}")
    try:
        state: Snapshot = _with_arrays(tree["state"], members)
    except KeyError as error:
        raise SnapshotError(f"{file} is damaged: {error} is missing") from error
    return state


def _without_arrays(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(value, np.ndarray):
        name = f"a{len(arrays)}"
        arrays[name] = value
        return {_ARRAY: name}
    if isinstance(value, dict):
        return {key: _without_arrays(each, arrays) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_arrays(each, arrays) for each in value]
    return value


def _with_arrays(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_ARRAY}:
            return arrays[value[_ARRAY]]
        return {key: _with_arrays(each, arrays) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_arrays(each, arrays) for each in value]
    return value
