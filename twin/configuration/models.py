"""What a line's configuration may say: the pydantic models behind config/line.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    PositiveFloat,
    PositiveInt,
    field_validator,
)
from pydantic import Tag as Choice

from twin.configuration.historians import EmbeddedHistorianConfiguration, HistorianConfiguration
from twin.configuration.section import Section
from twin.configuration.security import MqttChannel, MqttUser, OpcUaChannel, OpcUaUser
from twin.tags import ParameterClass, Role, Tag, TagTable
from twin.units import Duration, Length, Volume, difference_unit, parse, to_si

Mode = Literal["model", "shadow", "advisory", "twin"]


class OpcUaConnector(Section):
    """An OPC UA server, usually one machine."""

    kind: Literal["opcua"] = Field(description="says that this is an OPC UA server")
    url: str = Field(pattern=r"^opc\.tcp://.+", description="endpoint, e.g. opc.tcp://host:4840/x")
    security: OpcUaChannel = Field(
        description="`none`: in the clear, to anybody who answers; only where nobody else is"
    )
    user: OpcUaUser | None = Field(None, description="as whom the twin logs in; else anonymously")
    sampling_interval: Duration = Field(0.1, ge=0, description="asked of the server for every tag")
    publishing_interval: Duration = Field(0.05, gt=0, description="asked for the subscription")
    queue_size: PositiveInt = Field(
        1000, description="values that the server keeps per tag: rate x (outage + reconnect delay)"
    )
    reconnect_max_delay: Duration = Field(5.0, gt=0, description="longest pause between attempts")

    @field_validator("url", mode="before")
    @classmethod
    def _refuse_a_login(cls, url: object) -> object:
        if isinstance(url, str) and "@" in url.removeprefix("opc.tcp://").partition("/")[0]:
            raise ValueError(
                "a login is not written into an address; write the address alone, and "
                "user: {name: ..., password: {env: ...}}"
            )
        return url


class MqttConnector(Section):
    """An MQTT 5 broker."""

    kind: Literal["mqtt"] = Field(description="says that this is an MQTT broker")
    host: str = Field(description="name or address of the broker")
    port: int = Field(
        1883, ge=1, le=65535, description="TCP port of the broker; 8883 is usual with TLS"
    )
    security: MqttChannel | None = Field(
        None, description="`none`: in the clear; on this machine itself it need not be said"
    )
    user: MqttUser | None = Field(None, description="as whom the twin logs in; else as nobody")
    client_id: str = Field(
        "linetwin", min_length=1, description="unique among the broker's clients"
    )
    qos: Literal[0, 1] = Field(1, description="quality of service of subscriptions and messages")
    max_payload: PositiveInt = Field(
        65_536, description="bytes; a longer message is counted and not parsed"
    )
    reconnect_max_delay: Duration = Field(5.0, gt=0, description="longest pause between attempts")
    session_expiry: Duration = Field(
        86_400.0,
        ge=0,
        le=4_294_967_294,
        description="for how long the broker keeps messages for a twin that is away",
    )
    publish: str | None = Field(
        None, description="topic under which recommendations are published, retained"
    )


Connector = Annotated[OpcUaConnector | MqttConnector, Field(discriminator="kind")]


class OpcUaAddress(Section):
    """A variable of an OPC UA server."""

    node: str = Field(
        pattern=r"^(nsu=[^;]+;|ns=\d+;)?[isgb]=.+",
        description="node id; nsu=URI;s=... outlives a change of the server's namespace indices",
    )
    deadband: float = Field(0.0, ge=0, description="absolute, in the tag's unit; 0 reports all")


class MqttAddress(Section):
    """A field of a JSON message."""

    topic: str = Field(min_length=1, description="topic or pattern with + and #")
    where: dict[str, str] = Field(
        default_factory=dict, description="fields that the message must have, with their values"
    )
    value: str = Field("value", description="path of the value, dots between keys")
    time: str = Field("time", description="path of the source time: ISO 8601, or a number")
    time_unit: Literal["iso", "s", "ms", "us", "ns"] = Field(
        "iso", description="how the time is written; numbers count from 1970, UTC"
    )
    unit: str | None = Field(None, description="path of the unit; refused where it is another")
    status: str | None = Field(None, description="path of good (or ok), uncertain or bad")
    roll: str | None = Field(None, description="path of the roll (laboratory)")
    metre: str | None = Field(None, description="path of the metre in the roll (laboratory)")
    batch: str | None = Field(None, description="path of the slurry batch (laboratory)")


def _kind_of_address(value: object) -> str | None:
    if isinstance(value, OpcUaAddress) or (isinstance(value, dict) and "node" in value):
        return "OpcUaAddress"
    if isinstance(value, MqttAddress) or (isinstance(value, dict) and "topic" in value):
        return "MqttAddress"
    return None


Address = Annotated[
    Annotated[OpcUaAddress, Choice("OpcUaAddress")] | Annotated[MqttAddress, Choice("MqttAddress")],
    Discriminator(
        _kind_of_address,
        custom_error_type="address",
        custom_error_message="an address has neither a node nor a topic; "
        "write {{node: ...}} for OPC UA or {{topic: ...}} for MQTT",
    ),
]


class TagConfiguration(Section):
    """A signal of the line."""

    unit: str = Field(description="unit at the source, e.g. m/min")
    parameter_class: ParameterClass = Field(
        alias="class", description="MP machine, PP process, SP structure parameter"
    )
    role: Role = Field(description="what the value is to the twin; only a setpoint is written")
    connector: str = Field(description="name of a connector")
    address: Address = Field(description="a node (OPC UA) or a topic (MQTT)")
    station: str | None = Field(None, description="where on the web it acts or measures")
    limits: tuple[float, float] | None = Field(
        None, description="plausible values in the tag's unit; others are kept but not used"
    )


def _position(value: object) -> object:
    if isinstance(value, list | tuple) and len(value) == 2:
        return tuple(_metres(end) for end in value)
    return _metres(value)


def _metres(value: object) -> float:
    if isinstance(value, str):
        return parse(value, "m")
    raise ValueError("write a position such as '2 m', or entry and exit such as [1 m, 4 m]")


def _in_metres(value: float | tuple[float, float]) -> str | list[str]:
    return f"{value!r} m" if isinstance(value, float) else [f"{end!r} m" for end in value]


Position = Annotated[
    float | tuple[float, float],
    BeforeValidator(_position),
    PlainSerializer(_in_metres, when_used="json"),
]


class WebConfiguration(Section):
    """A web through one machine: stations at positions on a path, and an encoder."""

    encoder: str | None = Field(None, description="tag of the web length that has passed, m")
    speed: str | None = Field(None, description="tag of the speed, where there is no encoder")
    interval: Duration = Field(
        1.0, gt=0, description="longest time between two reports of a moving encoder"
    )
    stations: dict[str, Position] = Field(
        description="position, or entry and exit, from the encoder's station along the web"
    )
    roll: str = Field(description="tag of the number of the roll that is wound or unwound")
    winds_at: str | None = Field(None, description="station at which rolls are wound and cut")
    unwinds: str | None = Field(
        None, description="the web whose rolls this one unwinds, from the outside"
    )
    unwinds_at: str | None = Field(None, description="station at which rolls are unwound")
    stretch: float = Field(0.0, ge=0, lt=0.1, description="elongation of the foil at stretches_at")
    stretches_at: str | None = Field(None, description="station; the encoder is behind it")
    splice: str | None = Field(None, description="tag that counts splices")
    splices_at: str | None = Field(None, description="station at which a splice is counted")
    cut: str | None = Field(None, description="tag of the length cut out where rolls are unwound")


class BatchConfiguration(Section):
    """Slurry batches: mixed one by one, pumped through a hose to the head of a web."""

    number: str = Field(description="tag of the batch that was released last")
    drawn: str = Field(description="tag of the batch that feeds the hose")
    flow: str = Field(description="tag of the flow that the pump delivers")
    web: str = Field(description="name of the web that is coated")
    head: str = Field(description="station at which the slurry meets the web")
    hose_volume: Volume = Field(ge=0, description="dead volume between batch and head")


class InputConfiguration(Section):
    """Where an input of a step comes from, exactly one of the three."""

    tag: str | None = Field(None, description="a tag, averaged over what the material met")
    at: str | None = Field(None, description="station over which the tag is averaged")
    output: str | None = Field(None, description="structure parameter of a step: step.parameter")
    constant: float | None = Field(None, description="a fixed value, SI")
    laboratory: str | None = Field(
        None, description="tag of a laboratory value that replaces it for a slurry batch"
    )


def _kind_of_source(value: object) -> str:
    return "str" if isinstance(value, str) else "InputConfiguration"


Source = Annotated[
    Annotated[str, Choice("str")] | Annotated[InputConfiguration, Choice("InputConfiguration")],
    Discriminator(_kind_of_source),
]


class PorosityConfiguration(Section):
    """Porosity from loading and thickness of the same material: 1 - M / (rho h)."""

    mass_loading: str = Field(description="step.parameter with a measurement")
    thickness: str = Field(description="step.parameter with a measurement")
    skeletal_density: PositiveFloat = Field(description="kg/m^3")


class OutputConfiguration(Section):
    """A structure parameter that a step makes."""

    unit: str = Field(description="unit in which people read it")
    measured_by: str | None = Field(None, description="tag of the gauge")
    calculated_from: PorosityConfiguration | None = Field(
        None, description="measurements that give it, where no gauge does"
    )
    laboratory: str | None = Field(None, description="tag of the laboratory value")
    uncertainty: float | None = Field(
        None, gt=0, description="of one measurement of a segment, one sigma, in unit"
    )
    model_uncertainty: float | None = Field(
        None,
        gt=0,
        description="of the model before anything was measured, one sigma, in unit; without it "
        "there is no interval and no advice before the first measurement",
    )
    target: float | None = Field(None, description="in unit")
    limits: tuple[float, float] | None = Field(None, description="specification, in unit")
    correction: str = Field(
        "offset",
        description="how measurements correct the model: `offset` by a difference, `relative` by a "
        "factor (flows, concentrations), or the name of an input of the step whose zero is unknown",
    )
    resets_at: Literal["batch", "roll"] | None = Field(
        None,
        description="where the model is unknown anew, by its `model_uncertainty`: another slurry "
        "batch, or another roll on a web that unwinds",
    )
    builds_on: str | None = Field(
        None,
        description="an output before it, with the same correction and a gauge that reads earlier: "
        "what that gauge corrects acts on this output, whose own gauge corrects what is left",
    )
    foil_uncertainty: float | None = Field(
        None,
        gt=0,
        description="of a gauge that reads the foil, too: one sigma by which another foil shifts "
        "what it reads of the same coating, in unit",
    )
    followed_below: dict[str, float] = Field(
        {},
        description="by step.parameter, as its model says, the value in its unit above which the "
        "gauge reads something else: what it reads of such material is stored, but not followed",
    )
    weight: float = Field(1.0, ge=0, description="cost of leaving the target, relative to others")


class InterlockConfiguration(Section):
    """What must hold while setpoints are written; a value that is missing or bad forbids it too."""

    tag: str = Field(description="a tag of a machine or gauge")
    within: tuple[float, float] | None = Field(None, description="in the tag's unit")
    equals: float | None = Field(None, description="instead of a range, in the tag's unit")
    max_age: Duration | None = Field(
        None, gt=0, description="an older value forbids it; for tags that report all the time"
    )


class SetpointConfiguration(Section):
    """A setpoint that the twin may move: which, how far, how fast."""

    tag: str = Field(description="tag with role setpoint")
    limits: tuple[float, float] = Field(description="in the tag's unit")
    max_step: float = Field(gt=0, description="largest change at once, in the tag's unit")
    max_rate: float | None = Field(
        None, gt=0, description="largest sum of changes within any minute, in the tag's unit"
    )
    deadband: float = Field(0.0, ge=0, description="smaller changes are not worth a write")
    cost: float = Field(0.01, ge=0, description="cost of moving by max_step")
    interlocks: tuple[InterlockConfiguration, ...] = Field(
        (), description="what must hold while this setpoint is written"
    )


class StepConfiguration(Section):
    """A process step: its surrogate, where its inputs come from, what it makes and may move."""

    runs_on: str = Field(description="name of a web, or of the slurry batches")
    model: str = Field(description="a committed model's name, or the path of an .onnx file")
    challenger: str | None = Field(
        None, description="another model, named likewise, that predicts in the model's shadow"
    )
    mode: Mode = Field(
        "shadow",
        description="model: asked by hand; shadow: nothing out; advisory: a person accepts; "
        "twin: written by itself",
    )
    inputs: dict[str, Source] = Field(
        description="by the model's input names; a plain text is a tag, or else step.parameter"
    )
    outputs: dict[str, OutputConfiguration] = Field(description="by the model's output names")
    setpoints: dict[str, SetpointConfiguration] = Field(
        default_factory=dict, description="by the model's input names"
    )
    advise_every: Duration = Field(
        10.0, gt=0, description="shortest time between two pieces of advice"
    )
    interlocks: tuple[InterlockConfiguration, ...] = Field(
        (), description="what must hold while any setpoint of the step is written"
    )


class StoreConfiguration(Section):
    """Where samples, material and decisions are kept."""

    folder: Path = Field(Path("var"), description="created where missing")
    historian: HistorianConfiguration = Field(
        default_factory=lambda: EmbeddedHistorianConfiguration(kind="duckdb"),
        description="what keeps the samples; DuckDB where nothing is said",
    )
    retention: Duration = Field(90 * 86400.0, gt=0, description="older samples are deleted")
    spool: int = Field(
        2_000_000_000,
        ge=10_000_000,
        description="bytes on disk for what the historian has not taken, 24 a sample; "
        "when full the oldest is dropped",
    )
    minute_means_after: Duration | None = Field(
        None, gt=0, description="of samples older than this a mean per minute is kept"
    )


TIME_OF_DAY = r"^([01]\d|2[0-3]):[0-5]\d$"


class OperationConfiguration(Section):
    """What runs by the clock of the site while the line is followed."""

    time_zone: str = Field(
        "UTC", description="of the screen and of the times below, e.g. Europe/Berlin"
    )
    backups: Path | None = Field(None, description="folder; a backup is made in it every day")
    backup_at: str = Field("02:30", pattern=TIME_OF_DAY, description="time of day")
    backups_kept: PositiveInt = Field(7, description="older ones are deleted")
    shifts: list[str] = Field(
        default_factory=list, description="times of day at which shifts begin: one report each"
    )
    log_file: Path | None = Field(
        None, description="log as lines of JSON into this file, ten of 10 MB; else to the console"
    )


class TlsConfiguration(Section):
    """A certificate with its key."""

    certificate: Path = Field(description="PEM file, with the chain of those who vouch for it")
    key: Path = Field(description="PEM file of its private key")


class ApiConfiguration(Section):
    """Where dashboard and API are served."""

    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 is everywhere")
    port: int = Field(8088, ge=0, le=65535, description="TCP port; 0 takes a free one")
    tls: TlsConfiguration | None = Field(None, description="without it only this computer is safe")


class LineConfiguration(Section):
    """A line: connectors, tags, webs, steps."""

    name: str = Field(description="shown to people")
    segment: Length = Field(0.5, gt=0.01, le=100, description="length of a web segment")
    lateness: Duration = Field(
        2.0, ge=0, description="how late or out of order a sample may come and still be used"
    )
    stale_after: Duration = Field(30.0, gt=0, description="no advice from data older than this")
    clock_tolerance: Duration = Field(
        60.0, gt=0, description="samples further in the future are refused"
    )
    oldest: Duration = Field(3600.0, gt=0, description="samples further in the past are refused")
    store: StoreConfiguration = Field(
        default_factory=StoreConfiguration, description="where everything is kept"
    )
    api: ApiConfiguration = Field(
        default_factory=ApiConfiguration, description="where dashboard and API are served"
    )
    operation: OperationConfiguration = Field(
        default_factory=OperationConfiguration, description="backups, shifts, log"
    )
    connectors: dict[str, Connector] = Field(description="machines and brokers to connect to")
    tags: dict[str, TagConfiguration] = Field(description="signals, e.g. coater.line_speed")
    webs: dict[str, WebConfiguration] = Field(description="machines that a web runs through")
    batches: dict[str, BatchConfiguration] = Field(
        default_factory=dict, description="slurry batches that feed a web"
    )
    steps: dict[str, StepConfiguration] = Field(description="in the order of the process")

    def measured_tags(self) -> list[Tag]:
        """The tags that connectors deliver, in the order of the file."""
        tags = []
        for name, tag in self.tags.items():
            scale, offset = to_si(tag.unit)
            low, high = tag.limits or (float("-inf"), float("inf"))
            tags.append(
                Tag(
                    name,
                    tag.unit,
                    tag.parameter_class,
                    tag.role,
                    tag.station,
                    low * scale + offset,
                    high * scale + offset,
                )
            )
        return tags

    def controlling(self) -> set[str]:
        """Tags that say whether and from where the twin may move a setpoint."""
        found = set()
        for step in self.steps.values():
            found |= {setpoint.tag for setpoint in step.setpoints.values()}
            found |= {interlock.tag for interlock in step.interlocks}
            found |= {
                lock.tag for setpoint in step.setpoints.values() for lock in setpoint.interlocks
            }
        return found

    def tag_table(self) -> TagTable:
        """All tags: those of the connectors, then what the twin derives per output of a step."""
        derived = [
            Tag(f"{step_name}.{output_name}.{kind}", unit, "SP", "derived")
            for step_name, step in self.steps.items()
            for output_name, output in step.outputs.items()
            for kind, unit in (
                ("predicted", output.unit),
                ("measured", output.unit),
                ("residual", difference_unit(output.unit)),
                ("low", output.unit),
                ("high", output.unit),
                ("ewma", "1"),
                ("cusum", "1"),
                ("position", "m"),
                *((("challenger", output.unit),) if step.challenger is not None else ()),
            )
        ]
        return TagTable([*self.measured_tags(), *derived])

    def source_of(self, step: str, name: str) -> InputConfiguration:
        """Where an input comes from, with the short form written out."""
        source = self.steps[step].inputs[name]
        if isinstance(source, InputConfiguration):
            return source
        if source in self.tags:
            return InputConfiguration(tag=source)
        return InputConfiguration(output=source)
