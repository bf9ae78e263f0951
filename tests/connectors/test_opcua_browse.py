"""Browsing prints a configuration that works as it stands."""

from __future__ import annotations

import yaml

from connectors.opcua import OpcUaSource
from connectors.opcua.browsing import browse, tag_configuration
from tests.connectors.reading import line, reading
from tests.servers import URI, Machine
from twin.clock import LineClock


async def test_what_was_browsed_can_be_read(machine: Machine) -> None:
    machine.has("LineSpeed.Setpoint", 1.0, "m/min", (0.0, 30.0), writable=True)
    machine.has("Temperature", 20.0, "°C", (-10.0, 60.0))
    machine.has("Count", 3).has("Odd", 1.0, "fnord").has("Name", "coater 1")
    await machine.start()
    text = tag_configuration(await browse(machine.url), "machine")
    tags = yaml.safe_load(text)["tags"]
    assert set(tags) == {
        "machine.line_speed_setpoint",
        "machine.temperature",
        "machine.count",
        "machine.odd",
    }
    assert tags["machine.line_speed_setpoint"] == {
        "unit": "m/min",
        "class": "MP",
        "role": "setpoint",
        "connector": "machine",
        "address": {"node": f"nsu={URI};s=LineSpeed.Setpoint"},
        "limits": [0, 30],
    }
    assert tags["machine.temperature"]["unit"] == "degC"
    assert "correct it" in text
    tags.pop("machine.odd")
    configuration = line(
        {"machine": {"kind": "opcua", "security": "none", "url": machine.url}}, tags
    )
    async with reading(OpcUaSource("machine", configuration, LineClock())) as read:
        await read.value(configuration.tag_table().index("machine.temperature"), 293.15)
