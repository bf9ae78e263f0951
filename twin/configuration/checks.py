"""What no single key shows: names that must exist elsewhere, and values that must agree."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from twin.configuration.findings import Finding, Findings
from twin.configuration.historians import EmbeddedHistorianConfiguration
from twin.configuration.models import (
    TIME_OF_DAY,
    LineConfiguration,
    MqttAddress,
    MqttConnector,
    OpcUaAddress,
    OpcUaConnector,
    TagConfiguration,
)
from twin.configuration.step_checks import ModelNames, check_steps
from twin.configuration.web_checks import check_batches, check_webs

__all__ = ["Finding", "ModelNames", "check"]


_DERIVED = ("predicted", "measured", "residual", "ewma", "cusum", "challenger")
"""What the twin adds to the name of an output."""


def check(
    configuration: LineConfiguration, model_names: ModelNames | None = None
) -> tuple[Finding, ...]:
    """Everything that contradicts itself in a configuration; empty where it can be used.

    Args:
        configuration: keys and types are right already.
        model_names: see `loading.load`.
    """
    found = Findings(configuration)
    _check_line(found)
    for name, connector in configuration.connectors.items():
        if isinstance(connector, MqttConnector) and connector.publish is not None:
            _check_publish(found, ("connectors", name, "publish"), connector.publish)
        if isinstance(connector, MqttConnector):
            _check_security(found, ("connectors", name), connector)
    _check_sessions_once(found)
    _check_historian(found)
    for name, tag in configuration.tags.items():
        _check_tag(found, name, tag)
    _check_tag_names(found)
    _check_addresses_once(found)
    check_webs(found)
    check_batches(found)
    check_steps(found, model_names)
    return tuple(found)


def _check_line(found: Findings) -> None:
    line = found.configuration
    if line.oldest <= line.lateness:
        found.add(
            ("oldest",),
            "samples would be refused as too old before they are late",
            f"write more than lateness, {line.lateness:g} s",
        )
    if line.stale_after <= line.lateness:
        found.add(
            ("stale_after",),
            "data would be stale before it may be late",
            f"write more than lateness, {line.lateness:g} s",
        )
    _check_operation(found)


def _check_operation(found: Findings) -> None:
    line = found.configuration
    after = line.store.minute_means_after
    if after is not None and after >= line.store.retention:
        found.add(
            ("store", "minute_means_after"),
            "samples would be deleted before means are made of them",
            f"write less than retention, {line.store.retention / 86400:g} d",
        )
    if not _is_zone(line.operation.time_zone):
        found.add(
            ("operation", "time_zone"),
            f"{line.operation.time_zone!r} is no time zone",
            "write one such as Europe/Berlin",
        )
    for text in line.operation.shifts:
        if not re.fullmatch(TIME_OF_DAY, text):
            found.add(
                ("operation", "shifts"),
                f"{text!r} is no time of day",
                "write one such as '06:00', in quotes",
            )


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    # files of some systems, which mean nothing to a browser
    return name not in ("Factory", "localtime") and not name.startswith(("posix/", "right/"))


def _check_publish(found: Findings, path: tuple[str, ...], topic: str) -> None:
    if not topic or any(wild in topic for wild in "+#"):
        found.add(path, f"{topic!r} is no topic to publish on", "write one without + and #")


def _check_security(found: Findings, path: tuple[str, ...], broker: MqttConnector) -> None:
    if broker.security is None and not _is_this_machine(broker.host):
        found.add(
            path,
            f"everybody on the way to {broker.host} could read and change the messages",
            "write security: {trusts: [FILE]} for TLS, or in so many words security: none",
        )


def _check_sessions_once(found: Findings) -> None:
    seen: dict[tuple[str, int, str], str] = {}
    for name, broker in found.configuration.connectors.items():
        if not isinstance(broker, MqttConnector):
            continue
        session = broker.host.lower(), broker.port, broker.client_id
        first = seen.setdefault(session, name)
        if first != name:
            found.add(
                ("connectors", name, "client_id"),
                f"connector {first!r} comes to this broker as {broker.client_id!r} too: each would "
                "end the other's connection and take its messages",
                f"write another one, such as client_id: {broker.client_id}-{name}, or give the "
                f"tags to {first!r}",
            )


def _check_historian(found: Findings) -> None:
    at = found.configuration.store.historian
    if isinstance(at, EmbeddedHistorianConfiguration):
        return
    if found.configuration.store.minute_means_after is not None:
        found.add(
            ("store", "minute_means_after"),
            f"the twin makes no means of what is in {at.kind}",
            "leave it out, and let the server downsample",
        )
    path = ("store", "historian")
    host = urlsplit(at.url).hostname or ""
    if at.url.startswith("https:"):
        if at.security == "none":
            found.add(
                (*path, "security"),
                "https is not in the clear",
                "leave security out, or name whom the twin trusts: {trusts: [FILE]}",
            )
    elif at.security is None and not _is_this_machine(host):
        found.add(
            path,
            f"everybody on the way to {host} could read the token and change the samples",
            "write https: in the url, or in so many words security: none",
        )
    elif at.security not in (None, "none"):
        found.add((*path, "url"), "http knows no certificates", "write https: in the url")
    line = found.configuration
    for where, name in ((("name",), line.name), *((("tags", tag), tag) for tag in line.tags)):
        if any(each in name for each in "\\\n\r"):
            found.add(
                where,
                f"{at.kind} cannot keep a name with a backslash or a line break",
                "name it otherwise",
            )


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_tag(found: Findings, name: str, tag: TagConfiguration) -> None:
    path = ("tags", name)
    line = found.configuration
    found.unit((*path, "unit"), tag.unit)
    if found.known((*path, "connector"), "connector", tag.connector, line.connectors):
        _check_address(found, path, tag)
    if tag.station is not None:
        stations = [station for web in line.webs.values() for station in web.stations]
        found.known((*path, "station"), "station", tag.station, stations)
    ascending = found.ascending((*path, "limits"), "limits", tag.limits)
    if tag.limits is not None and ascending and isinstance(tag.address, OpcUaAddress):
        span = tag.limits[1] - tag.limits[0]
        if tag.address.deadband >= span:
            found.add(
                (*path, "address", "deadband"),
                f"a deadband of {tag.address.deadband:g} {tag.unit} hides every change",
                f"write much less than {span:g}",
            )
    if tag.role == "laboratory":
        _check_laboratory(found, path, tag)


def _check_address(found: Findings, path: tuple[str, ...], tag: TagConfiguration) -> None:
    connector = found.configuration.connectors[tag.connector]
    match connector, tag.address:
        case OpcUaConnector(), MqttAddress():
            found.add(
                (*path, "address"),
                f"the address is an MQTT topic, but {tag.connector!r} is an OPC UA connector",
                "write {node: ...}, or name an MQTT connector",
            )
        case MqttConnector(), OpcUaAddress():
            found.add(
                (*path, "address"),
                f"the address is an OPC UA node, but {tag.connector!r} is an MQTT connector",
                "write {topic: ...}, or name an OPC UA connector",
            )
    if isinstance(tag.address, MqttAddress):
        levels = tag.address.topic.split("/")
        if "#" in levels[:-1] or any(
            wild in level and level != wild for wild in "+#" for level in levels
        ):
            found.add(
                (*path, "address", "topic"),
                f"{tag.address.topic!r} is no topic pattern",
                "let + stand for a whole level, and # for all levels at the end",
            )


def _check_laboratory(found: Findings, path: tuple[str, ...], tag: TagConfiguration) -> None:
    address = tag.address
    if not isinstance(address, MqttAddress):
        found.add(
            (*path, "role"),
            "a laboratory value over OPC UA does not say which material it is of",
            "send it over MQTT with the roll and metre, or with the slurry batch",
        )
    elif (address.roll is None) != (address.metre is None):
        found.add(
            (*path, "address"),
            "a laboratory value on a roll needs the roll and the metre",
            "give both 'roll' and 'metre'",
        )
    elif (address.batch is None) == (address.roll is None):
        found.add(
            (*path, "address"),
            "a laboratory value must say which material it is of",
            "give either 'batch', or 'roll' and 'metre'",
        )


def _check_tag_names(found: Findings) -> None:
    line = found.configuration
    for step_name, step in line.steps.items():
        for output in step.outputs:
            own = f"{step_name}.{output}"
            for name in (own, *(f"{own}.{k}" for k in _DERIVED)):
                if name in line.tags:
                    found.add(
                        ("tags", name),
                        f"the name {name!r} is also that of an output of step {step_name!r}",
                        "name the tag after its machine or gauge",
                    )


def _check_addresses_once(found: Findings) -> None:
    seen: dict[tuple[str, str], str] = {}
    for name, tag in found.configuration.tags.items():
        address = tag.address
        place = address.node if isinstance(address, OpcUaAddress) else address.model_dump_json()
        first = seen.setdefault((tag.connector, place), name)
        if first != name:
            found.add(
                ("tags", name, "address"),
                f"the address is that of tag {first!r} too",
                "give every tag an address of its own, or delete one",
            )
