"""The service, with the connectors and stores that its configuration asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from connectors.mqtt import MqttSource
from connectors.opcua import OpcUaSource
from connectors.recorder import Recorder, RecordingWriter
from surrogates.onnx_model import OnnxSurrogate
from twin.app.stores import open_historian, open_ledger
from twin.challenger import Challengers
from twin.checkpoint import Checkpoints
from twin.clock import Clock
from twin.configuration.models import LineConfiguration, MqttConnector
from twin.core import Core
from twin.ports import Sink, Surrogate
from twin.registry import Registry
from twin.service import Service
from twin.spool import Spool
from twin.store import Store
from twin.upkeep import certificate_files, upkeep

GAUGE_LINGER: Final = 0.02
"""Seconds that a gauge's message waits for others: advice should follow it within 250 ms."""
RECORDINGS: Final = "recordings"
"""Below the store's folder."""


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
