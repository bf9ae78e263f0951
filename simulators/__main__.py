"""`python -m simulators`: the virtual line alone, for any OPC UA or MQTT client."""

from __future__ import annotations

import argparse
import asyncio
import atexit
import gc
import json
import logging
import signal
import sys
from pathlib import Path

from simulators.opcua_servers import Ports
from simulators.runner import run_line
from simulators.scenario import ScenarioError, load_scenario, parse_scenario
from simulators.secured import SecuredFolder


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulators", description=__doc__)
    add = parser.add_argument
    add("--scenario", type=Path, help="YAML file; the nominal line without one")
    add("--seed", type=int, default=1)
    add("--acceleration", type=float, default=1.0, help="line seconds per second")
    add("--epoch-ns", type=int, help="line time at the start; one in the future delays the start")
    add("--metres", type=float, help="web to coat and calender, m")
    add("--truth", type=Path, help="folder for the ground truth")
    add("--host", default="127.0.0.1")
    add("--mixer-port", type=int, default=4840)
    add("--coater-port", type=int, default=4841)
    add("--calender-port", type=int, default=4842)
    add("--mqtt-host", default="127.0.0.1")
    add("--mqtt-port", type=int, default=1883, help="0 leaves the gauges off")
    add("--secure", type=Path, help="folder of twin certs: encrypted, and for its holders only")
    return parser.parse_args(arguments)


async def _run(options: argparse.Namespace) -> int:
    try:
        scenario = (
            parse_scenario("name: nominal")
            if options.scenario is None
            else load_scenario(options.scenario)
        )
    except ScenarioError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if not options.acceleration > 0.0:
        sys.stderr.write("--acceleration must be above 0\n")
        return 2
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def ready(endpoints: dict[str, str]) -> None:
        sys.stdout.write(json.dumps({"ready": True, "endpoints": endpoints}) + "\n")
        sys.stdout.flush()

    try:
        await run_line(
            scenario,
            options.seed,
            acceleration=options.acceleration,
            epoch_ns=options.epoch_ns,
            host=options.host,
            ports=Ports(options.mixer_port, options.coater_port, options.calender_port),
            mqtt_host=options.mqtt_host,
            mqtt_port=options.mqtt_port or None,
            truth_folder=options.truth,
            metres=options.metres,
            secured=None if options.secure is None else SecuredFolder(options.secure),
            stop=stop,
            ready=ready,
        )
    except OSError as error:
        sys.stderr.write(f"the virtual line cannot listen, read or write: {error}\n")
        return 1
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    # asyncua warns at every start that the servers of a test line are open to all
    logging.basicConfig(level=logging.ERROR)
    return asyncio.run(_run(_arguments(arguments)))


if __name__ == "__main__":
    # this program ends when the line ends: to look for garbage then takes a second
    atexit.register(gc.freeze)
    sys.exit(main())
