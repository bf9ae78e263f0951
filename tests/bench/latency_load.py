# ruff: noqa: T201
"""The twin's process of the latency benchmark: `OPCUA_PORT MQTT_PORT FOLDER spool|direct`."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from connectors.mqtt import MqttSource
from connectors.opcua import OpcUaSource
from tests.bench.opcua_load import TAGS, URI, url
from twin.app.service import GAUGE_LINGER
from twin.clock import LineClock
from twin.configuration.models import LineConfiguration
from twin.core import Core
from twin.historian import DuckDBHistorian
from twin.ledger import Ledger
from twin.ports import SurrogateOutput
from twin.samples import Floats
from twin.service import Service
from twin.spool import Spool
from twin.store import Store

SEGMENT = 0.05
"""m"""
SPEED = 0.5
"""m/s"""
GAUGE = 0.2
"""Position of the gauge, m."""
FLOW = 40.0
"""mL/min"""
NOISE = 0.3
"""Of the gauge, g/m^2."""
PREFIX = "line"
TOPIC = "twin"


class Proportional:
    """Loading in proportion to the flow: the least that a model can be."""

    inputs = ("pump_flow",)
    outputs = ("mass_loading",)
    version = "1"
    domain = np.array([[1e-8, 1e-5]])

    def predict(self, inputs: Floats) -> SurrogateOutput:
        mean = inputs * (0.18 / (FLOW * 1e-6 / 60))
        return SurrogateOutput(mean, np.full_like(mean, 1e-4), np.ones(len(inputs), bool))


def line(opcua_port: int, mqtt_port: int) -> LineConfiguration:
    """A web with an encoder, a pump and a gauge, and a thousand other tags."""

    def tag(name: str, unit: str, role: str, **more: Any) -> dict[str, Any]:
        return {
            "unit": unit,
            "class": "SP" if role == "measurement" else "MP",
            "role": role,
            "connector": "gauges",
            "address": {"topic": f"{PREFIX}/{name}", "time_unit": "ns"},
            **more,
        }

    tags: dict[str, Any] = {
        "length": tag("length", "m", "counter"),
        "roll": tag("roll", "dimensionless", "counter"),
        "flow": tag("flow", "mL/min", "actual", station="head"),
        "setpoint": tag("setpoint", "mL/min", "setpoint"),
        "loading": tag("loading", "g/m^2", "measurement", station="gauge"),
    }
    for number in range(TAGS):
        tags[f"t{number}"] = {
            "unit": "m/min",
            "class": "MP",
            "role": "actual",
            "connector": "load",
            "address": {"node": f"nsu={URI};s=T{number}"},
        }
    step = {
        "runs_on": "web",
        "model": "proportional",
        "mode": "advisory",
        "inputs": {"pump_flow": "flow"},
        "outputs": {
            "mass_loading": {
                "unit": "g/m^2",
                "measured_by": "loading",
                "uncertainty": NOISE,
                "correction": "relative",
                "target": 200,
            }
        },
        "setpoints": {"pump_flow": {"tag": "setpoint", "limits": [5, 300], "max_step": 3}},
        "advise_every": "0.01 s",
    }
    return LineConfiguration.model_validate(
        {
            "name": "latency",
            "segment": f"{SEGMENT} m",
            "lateness": "20 ms",
            "connectors": {
                "load": {"kind": "opcua", "security": "none", "url": url(opcua_port)},
                "gauges": {
                    "kind": "mqtt",
                    "host": "127.0.0.1",
                    "port": mqtt_port,
                    "publish": TOPIC,
                },
            },
            "tags": tags,
            "webs": {
                "web": {
                    "encoder": "length",
                    "interval": "50 ms",
                    "roll": "roll",
                    "stations": {"head": "0 m", "gauge": f"{GAUGE} m"},
                }
            },
            "steps": {"coating": step},
        }
    )


async def serve(opcua_port: int, mqtt_port: int, folder: Path, spooled: bool) -> None:
    configuration = line(opcua_port, mqtt_port)
    clock = LineClock()
    core = Core(configuration, {"coating": Proportional()})
    load = OpcUaSource("load", configuration, clock)
    gauges = MqttSource("gauges", configuration, clock, linger=GAUGE_LINGER, lasting=spooled)

    async def publish(topic: str, payload: bytes) -> bool:
        return await gauges.publish(f"{TOPIC}/{topic}", payload, retain=True)

    spool = Spool(folder / "spool", [tag.name for tag in core.tags]) if spooled else None
    historian = DuckDBHistorian(folder / "historian.duckdb", core.tags)
    store = Store(historian, len(configuration.tags), spool)
    ledger = Ledger(f"sqlite:///{folder / 'ledger.sqlite'}")
    surrogates = {"coating": Proportional()}
    service = Service(core, surrogates, [load, gauges], {}, publish, store, ledger, clock)
    running = asyncio.create_task(service.run())
    while not (load.state.connected and gauges.state.connected):  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    print(json.dumps({"ready": True}), flush=True)
    cpu, start = time.process_time(), time.perf_counter()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    cpu, took = time.process_time() - cpu, time.perf_counter() - start
    service.stop()
    await running
    store.close()
    figures = {"received": core.received, "rejected": dict(core.rejected), "cores": cpu / took}
    print(json.dumps({**figures, "states": dict(service.status.states)}), flush=True)


if __name__ == "__main__":
    asyncio.run(
        serve(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4] == "spool")
    )
