# ruff: noqa: T201
"""CPU per notification of the OPC UA source beside a bare asyncua subscription, live."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.bench.opcua_load import RATE, SECONDS, TAGS
from tests.servers import free_port


@contextmanager
def process(role: str, port: int) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.opcua_load", role, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def said(running: subprocess.Popen[str]) -> dict[str, Any]:
    assert running.stdout is not None
    for line in running.stdout:
        if line.startswith("{"):
            answer: dict[str, Any] = json.loads(line)
            return answer
    pytest.fail("the process ended without an answer")


def go(running: subprocess.Popen[str]) -> None:
    assert running.stdin is not None
    running.stdin.write("go\n")
    running.stdin.flush()


@pytest.mark.bench
def test_cpu_per_notification_of_1000_tags_at_10_hz() -> None:
    port = free_port()
    sent = TAGS * RATE * SECONDS
    figures = {}
    with process("server", port) as server:
        said(server)
        with process("naive", port) as naive, process("source", port) as source:
            for client in (naive, source):
                said(client)
            for running in (naive, source, server):
                go(running)
            took = said(server)["seconds"]
            for name, client in (("naive", naive), ("source", source)):
                figures[name] = said(client)
        go(server)
    cost = {name: figure["cpu"] / figure["count"] * 1e6 for name, figure in figures.items()}
    print(f"\n{TAGS} tags x {RATE} Hz, {sent} values in {took:.1f} s")
    for name, figure in figures.items():
        print(f"{name}: {cost[name]:.1f} us/notification, {sent - figure['count']} lost")
    print(f"ratio source / naive: {cost['source'] / cost['naive']:.2f} (target <= 2.5)")
    assert figures["source"]["count"] == sent
