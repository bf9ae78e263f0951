"""Backups: a folder with everything a service keeps, made while it runs, and put back while not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from twin.checkpoint import NEWEST
from twin.files import Inside, program, sha256
from twin.registry import MODELS

FORMAT: Final = "linetwin/backup/1"
MANIFEST: Final = "backup.json"
_FILES: Final = TypeAdapter(dict[Inside, str])


class BackupError(Exception):
    """A backup cannot be made or used; the message says why, and what to do."""


def make(
    folder: Path, store: Path, time: int, copies: Sequence[Callable[[Path], Iterable[Path]]]
) -> Path:
    """Make a backup; the folder is there only when it is whole.

    Args:
        folder: new, or in an existing folder of backups.
        store: of the service.
        time: line time, ns.
        copies: each copies a store into a folder as it is now, and gives the files made.

    Raises:
        BackupError: the folder is there already.
        OSError: a disk refuses.
    """
    if folder.exists():
        raise BackupError(f"{folder} is there already; name a new folder")
    beside = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        checkpoint = store / NEWEST
        if checkpoint.exists():
            # the oldest part comes first: it must know nothing that the others lack
            shutil.copy2(checkpoint, beside / NEWEST)
        for copy in copies:
            copy(beside)
        if (store / MODELS).exists():
            shutil.copytree(store / MODELS, beside / MODELS)
        files = {
            str(file.relative_to(beside)): sha256(file)
            for file in sorted(beside.rglob("*"))
            if file.is_file()
        }
        manifest = {"format": FORMAT, "program": program(), "time": time, "files": files}
        (beside / MANIFEST).write_text(json.dumps(manifest, indent=1))
        beside.rename(folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return folder


def verify(folder: Path) -> dict[str, Any]:
    """The manifest of a backup, every file of which is as it was made.

    Raises:
        BackupError: it is none, of another version, or damaged.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        said = manifest["format"]
        files = _FILES.validate_python(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackupError(f"{folder} is no backup: {MANIFEST} cannot be read: {error}") from error
    if said != FORMAT:
        raise BackupError(f"{folder} is {said!r}, this program reads {FORMAT!r}")
    for name, checksum in files.items():
        file = folder / name
        if not file.is_file() or sha256(file) != checksum:
            raise BackupError(f"{folder}: {name} is missing or damaged; take another backup")
    return manifest


def restore(folder: Path, store: Path, aside: str) -> Path | None:
    """Put a backup in the place of a store whose service is stopped.

    Args:
        folder: the backup.
        store: the store's folder.
        aside: name of the folder in it that takes what is there now.

    Returns:
        Where what was there is now; None where nothing was.

    Raises:
        BackupError: the backup cannot be used; nothing has changed then.
    """
    manifest = verify(folder)
    store.mkdir(parents=True, exist_ok=True)
    beside = store / f".{aside}.new"
    shutil.rmtree(beside, ignore_errors=True)
    for name in manifest["files"]:
        (beside / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(folder / name, beside / name)
    # what a later service left, such as a log of its database, must not meet the older files
    old = [
        file for file in store.iterdir() if file != beside and not file.name.startswith("before")
    ]
    if old:
        (store / aside).mkdir()
        for file in old:
            file.rename(store / aside / file.name)
    for file in beside.iterdir():
        file.rename(store / file.name)
    beside.rmdir()
    return store / aside if old else None


def rotate(folder: Path, kept: int) -> list[Path]:
    """Delete the oldest backups in a folder of them, by name, but the last `kept`."""
    found = sorted(file.parent for file in folder.glob(f"*/{MANIFEST}"))
    gone = found[:-kept]
    for each in gone:
        shutil.rmtree(each)
    return gone
