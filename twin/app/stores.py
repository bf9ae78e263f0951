"""What is kept of a line: its historian, the ledger and the registry of its models."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from surrogates.onnx_model import OnnxSurrogate
from twin.app.line import model_files
from twin.configuration.historians import (
    EmbeddedHistorianConfiguration,
    InfluxHistorianConfiguration,
    VictoriaHistorianConfiguration,
)
from twin.configuration.models import LineConfiguration
from twin.historian import DuckDBHistorian
from twin.ledger import LEDGER, Ledger
from twin.registry import Registry
from twin.store import OpenHistorian

if TYPE_CHECKING:
    from connectors.influxdb import InfluxHistorian
    from connectors.victoria_metrics import VictoriaMetricsHistorian


def open_historian(line: LineConfiguration, folder: Path) -> OpenHistorian:
    """What keeps the line's samples: a file in the folder of a store, or a server.

    A server is not asked yet: it may be away.

    Raises:
        HistorianError: the file cannot be opened.
        ValueError: a secret or a certificate cannot be read.
    """
    at = line.store.historian
    if isinstance(at, EmbeddedHistorianConfiguration):
        return DuckDBHistorian(folder / "historian.duckdb", line.tag_table())
    return _server_historian(line, at)


def open_stored(line: LineConfiguration, folder: Path) -> OpenHistorian:
    """As `open_historian`, for those who read what is there.

    Raises:
        HistorianError: the file cannot be opened.
        ValueError: there is no file, or a secret or a certificate cannot be read.
    """
    file = folder / "historian.duckdb"
    if isinstance(line.store.historian, EmbeddedHistorianConfiguration) and not file.exists():
        raise ValueError(f"{file}: there is no store; give its folder with --data")
    return open_historian(line, folder)


def ask_historian(line: LineConfiguration) -> str | None:
    """What the server that keeps the line's samples says of itself; None where there is no server.

    Raises:
        HistorianError: it is away, or would not take samples or keep them for as long as wanted.
        ValueError: a secret or a certificate cannot be read.
    """
    at = line.store.historian
    if isinstance(at, EmbeddedHistorianConfiguration):
        return None
    with closing(_server_historian(line, at)) as historian:
        return historian.reach()


def _server_historian(
    line: LineConfiguration, at: InfluxHistorianConfiguration | VictoriaHistorianConfiguration
) -> InfluxHistorian | VictoriaMetricsHistorian:
    # their clients take a third of a second to load
    if isinstance(at, InfluxHistorianConfiguration):
        from connectors.influxdb import InfluxHistorian

        return InfluxHistorian(at, line.name, line.tag_table())
    from connectors.victoria_metrics import VictoriaMetricsHistorian

    return VictoriaMetricsHistorian(at, line.name, line.tag_table(), line.store.retention)


def require_store(folder: Path) -> None:
    """For those who read what a service keeps, or take it back: opening a ledger would make one.

    Raises:
        ValueError: there is none in the folder.
    """
    if not (folder / LEDGER).exists():
        raise ValueError(f"{folder}: there is no store; give its folder with --data")


def open_ledger(folder: Path) -> Ledger:
    """The ledger in the folder of a store, whether a service runs on it or not."""
    folder.mkdir(parents=True, exist_ok=True)
    return Ledger(f"sqlite:///{folder / LEDGER}")


def open_registry(line: LineConfiguration, beside: Path, folder: Path) -> Registry:
    """Which models are in use, as the ledger in the folder of a store says."""
    configured = model_files(line, beside)
    return Registry(open_ledger(folder), folder, configured, OnnxSurrogate.load)
