"""Files that others rely on: where they lie, their checksum, the program that wrote them."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo


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
