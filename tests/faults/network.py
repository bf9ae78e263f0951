"""A machine and a twin in network namespaces of their own, and the cable between them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Final

import pytest

MACHINE: Final = "10.213.77.1"
TWIN: Final = "10.213.77.2"
ADDRESSES: Final = {"machine": MACHINE, "twin": TWIN}


class Network:
    """Two computers at a switch: each of the three a network namespace."""

    def __init__(self) -> None:
        self._name = f"linetwin-{os.getpid()}"
        self._made: list[str] = []

    def build(self) -> None:
        """Connect the two.

        Raises:
            CalledProcessError: this computer has no network namespaces, or does not let us.
        """
        for part in ("switch", *ADDRESSES):
            _ip("netns", "add", f"{self._name}-{part}")
            self._made.append(part)
            self._at(part, "link", "set", "lo", "up")
        self._at("switch", "link", "add", "switch", "type", "bridge")
        self._at("switch", "link", "set", "switch", "up")
        for end, address in ADDRESSES.items():
            self._at(
                "switch", "link", "add", end, "type", "veth",
                "peer", "name", "lan", "netns", f"{self._name}-{end}",
            )  # fmt: skip
            self._at("switch", "link", "set", end, "master", "switch", "up")
            self._at(end, "link", "set", "lan", "address", _hardware(address), "up")
            self._at(end, "address", "add", f"{address}/24", "dev", "lan")
        for end, other in (("machine", TWIN), ("twin", MACHINE)):
            # nobody notices that the other does not answer who it is, and says so
            self._at(end, "neighbour", "add", other, "lladdr", _hardware(other), "dev", "lan",
                     "nud", "permanent")  # fmt: skip

    def within(self, end: str) -> list[str]:
        """The command that runs another one there."""
        return ["ip", "netns", "exec", f"{self._name}-{end}"]

    def pull(self) -> None:
        """Pull the twin's plug: its network card sees it."""
        self._at("switch", "link", "set", "twin", "down")

    def swallow(self) -> None:
        """Drop all packets: both ends have their link, and neither is told anything."""
        self._at("switch", "link", "set", "twin", "nomaster")

    def mend(self) -> None:
        """As it was."""
        self._at("switch", "link", "set", "twin", "master", "switch", "up")

    def remove(self) -> None:
        """Leave nothing behind."""
        for part in self._made:
            _ip("netns", "delete", f"{self._name}-{part}")

    def _at(self, part: str, *command: str) -> None:
        _ip("-n", f"{self._name}-{part}", *command)


@pytest.fixture
def network() -> Iterator[Network]:
    """A network of the test's own."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("only root, and with iproute2, may make network namespaces")
    made = Network()
    try:
        try:
            made.build()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
        yield made
    finally:
        made.remove()


def _hardware(address: str) -> str:
    return f"02:00:00:00:00:0{address[-1]}"


def _ip(*command: str) -> None:
    subprocess.run(["ip", *command], check=True, capture_output=True, text=True)
