"""The composition root: the one place that knows core, connectors and surrogates."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import structlog

from connectors.mqtt import MqttSource
from connectors.opcua import OpcUaSource
from connectors.recorder import Recorder, RecordingWriter
from connectors.recording import Recording
from surrogates.onnx_model import OnnxSurrogate
from twin.challenger import Challengers
from twin.checkpoint import Checkpoints
from twin.clock import Clock
from twin.configuration import load
from twin.configuration.historians import (
    EmbeddedHistorianConfiguration,
    InfluxHistorianConfiguration,
    VictoriaHistorianConfiguration,
)
from twin.configuration.models import LineConfiguration, MqttConnector
from twin.core import Core
from twin.historian import DuckDBHistorian
from twin.ledger import Ledger
from twin.ports import Sink, Surrogate
from twin.registry import Registry
from twin.replay import Follower, Replay, Screen, Span
from twin.service import Service
from twin.spool import Spool
from twin.store import OpenHistorian, Store
from twin.upkeep import certificate_files, upkeep

if TYPE_CHECKING:
    from connectors.influxdb import InfluxHistorian
    from connectors.victoria_metrics import VictoriaMetricsHistorian

GAUGE_LINGER = 0.02
"""Seconds that a gauge's message waits for others: advice should follow it within 250 ms."""
RECORDINGS = "recordings"
"""Below the store's folder."""
MODELS = Path(__file__).parents[1] / "surrogates" / "models"


def model_path(name: str, beside: Path) -> Path:
    """Where a step's model is: a committed one by name, else a file beside the configuration."""
    if name.endswith(".onnx"):
        return beside / name
    return MODELS / f"{name}.onnx"


def read_line(path: Path) -> LineConfiguration:
    """Read and check a configuration together with the models that it names.

    Raises:
        ConfigurationError: the file cannot be used; it holds every problem found.
    """

    def names(model: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        surrogate = OnnxSurrogate.load(model_path(model, path.parent))
        return surrogate.inputs, surrogate.outputs

    return load(path, names)


def load_surrogates(line: LineConfiguration, beside: Path) -> dict[str, OnnxSurrogate]:
    """The model of every step.

    Raises:
        ValueError: a model cannot be used.
    """
    return {
        name: OnnxSurrogate.load(model_path(step.model, beside))
        for name, step in line.steps.items()
    }


def load_challengers(line: LineConfiguration, beside: Path) -> dict[str, OnnxSurrogate]:
    """The challengers of the steps that have one.

    Raises:
        ValueError: a model cannot be used.
    """
    return {
        name: OnnxSurrogate.load(model_path(step.challenger, beside))
        for name, step in line.steps.items()
        if step.challenger is not None
    }


def build_sources(
    line: LineConfiguration, clock: Clock, lasting: bool = False
) -> list[OpcUaSource | MqttSource]:
    """A source for every connector of the configuration; `lasting` as in `MqttSource`."""
    return [
        MqttSource(name, line, clock, linger=GAUGE_LINGER, lasting=lasting)
        if isinstance(connector, MqttConnector)
        else OpcUaSource(name, line, clock)
        for name, connector in line.connectors.items()
    ]


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


def open_ledger(folder: Path) -> Ledger:
    """The ledger in the folder of a store, whether a service runs on it or not."""
    folder.mkdir(parents=True, exist_ok=True)
    return Ledger(f"sqlite:///{folder / 'ledger.sqlite'}")


def open_registry(line: LineConfiguration, beside: Path, folder: Path) -> Registry:
    """Which models are in use, as the ledger in the folder of a store says."""
    configured = {name: model_path(step.model, beside) for name, step in line.steps.items()}
    return Registry(open_ledger(folder), folder, configured, OnnxSurrogate.load)


def build_service(
    line: LineConfiguration,
    surrogates: Mapping[str, Surrogate],
    clock: Clock,
    folder: Path,
    auto_accept: str | None = None,
    registry: Registry | None = None,
    challengers: Mapping[str, Surrogate] | None = None,
) -> Service:
    """A service on DuckDB and SQLite in `folder`, connected as the configuration says.

    With a registry it takes the models that are promoted while it runs; challengers predict in the
    shadow of those in use.
    """
    folder.mkdir(parents=True, exist_ok=True)
    core = Core(line, surrogates)
    sources = build_sources(line, clock, lasting=True)
    publisher: tuple[MqttSource, str] | None = None
    for source in sources:
        connector = line.connectors[source.name]
        topic = connector.publish if isinstance(connector, MqttConnector) else None
        if isinstance(source, MqttSource) and topic is not None and publisher is None:
            publisher = source, topic
    by_name = {source.name: source for source in sources}
    sinks: dict[int, Sink] = {}
    for step in line.steps.values():
        for setpoint in step.setpoints.values():
            sink = by_name[line.tags[setpoint.tag].connector]
            if isinstance(sink, OpcUaSource):
                sinks[core.tags.index(setpoint.tag)] = sink

    async def publish(topic: str, payload: bytes) -> bool:
        assert publisher is not None
        source, prefix = publisher
        return await source.publish(f"{prefix}/{topic}", payload, retain=True)

    historian = open_historian(line, folder)
    spool = Spool(
        folder / "spool",
        [tag.name for tag in core.tags],
        historian.settles,
        line.store.spool,
        line.store.retention,
    )
    store = Store(historian, len(line.tags), spool)
    return Service(
        core,
        surrogates,
        sources,
        sinks,
        publish if publisher else None,
        store,
        open_ledger(folder) if registry is None else registry.ledger,
        clock,
        auto_accept,
        registry,
        Challengers(line, core.tags, surrogates, challengers) if challengers else None,
        Checkpoints(folder),
        lambda service: upkeep(service, folder, lambda: certificate_files(line)),
    )


def start_recording(service: Service, folder: Path) -> Recorder:
    """Let a service record into a new folder from now on; close what it gives when it has ended.

    Raises:
        RecordingError: the folder holds something.
    """
    models = {
        step: (surrogate.version, surrogate.file)
        for step, surrogate in service.core.surrogates.items()
        if isinstance(surrogate, OnnxSurrogate)
    }
    recorder = Recorder(RecordingWriter(folder, service.core.line, "service", models))
    service.record(recorder)
    return recorder


def recorded_surrogates(
    recording: Recording, line: LineConfiguration, beside: Path
) -> dict[str, OnnxSurrogate]:
    """The models that predicted when a recording began; those of the line where it holds none.

    Raises:
        ValueError: a model cannot be used.
    """
    files = recording.first_models
    return {
        name: OnnxSurrogate.load(files.get(name) or model_path(step.model, beside))
        for name, step in line.steps.items()
    }


def build_replay(
    recording: Recording,
    surrogates: Mapping[str, OnnxSurrogate],
    screen: Screen,
    speed: float,
    with_decisions: bool,
) -> Replay:
    """A replay of a recording, shown on a screen.

    Args:
        recording: opened, for the line that is to be followed.
        surrogates: the model of every step at the start.
        screen: takes what is replayed.
        speed: seconds of line time per second.
        with_decisions: repeat what people decided.

    Raises:
        ValueError: the recording holds no sample.
    """
    manifest = recording.manifest
    if manifest.first is None or manifest.last is None:
        raise ValueError(f"{recording.folder} holds no sample")

    def load(step: str, version: str) -> OnnxSurrogate:
        return OnnxSurrogate.load(recording.model_file(step, version))

    return Replay(
        lambda: Follower(Core(recording.line, surrogates), load, with_decisions),
        recording.stream,
        Span(manifest.first, manifest.last),
        screen,
        speed,
    )


def configure_logging(stream: TextIO | None = None) -> None:
    """Log lines in structured form to `stream`, standard error by default."""
    target = stream or sys.stderr
    logging.basicConfig(stream=target, level=logging.ERROR, force=True)
    # the connectors report each lost connection once, as a sentence
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            # a traceback with the values of its variables would show what nobody should see
            structlog.dev.ConsoleRenderer(
                colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(target),
    )
