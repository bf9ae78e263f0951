"""Files that others rely on: where they lie, their checksum, the program that wrote them."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, StringConstraints, ValidationInfo


def sha256(file: Path, size: int | None = None) -> str:
    """SHA-256 of a file, or of its first `size` bytes."""
    found = hashlib.sha256()
    left = file.stat().st_size if size is None else size
    with file.open("rb") as stream:
        while left > 0 and (piece := stream.read(min(left, 1 << 20))):
            found.update(piece)
            left -= len(piece)
    return found.hexdigest()


def program() -> str:
    """What writes: linetwin, with its version where it is installed."""
    try:
        return f"linetwin {version('linetwin')}"
    except PackageNotFoundError:
        return "linetwin"


def card_path(model: Path) -> Path:
    """Where the card of an ONNX file lies."""
    return model.with_name(f"{model.stem}.card.yaml")


def _beside(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("beside")
    return path if folder is None else folder / path


Beside = Annotated[Path, AfterValidator(_beside)]
"""A path in a configuration: relative ones begin at the folder of the file that names them."""


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise ValueError(f"{path!r} does not lie in the folder that names it")
    return path


Inside = Annotated[str, AfterValidator(_inside)]
"""A path in a folder that somebody else may have made: it leads nowhere else."""
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$")]
"""A word that may be a part of a file's name."""
