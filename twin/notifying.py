"""What systemd is told of a service: that it is ready, that it lives, that it stops."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from sdnotify import SystemdNotifier

from twin.health import examine
from twin.service import Service

PACE: Final = 1.0
"""Seconds between looks at the service, at most."""


async def notify(service: Service, systemd: SystemdNotifier) -> None:
    """Tell systemd, where it is the one who started us, until cancelled.

    The watchdog is fed only while the service is live: a loop or a store's thread that hangs ends
    with a restart, from the last checkpoint.
    """
    watchdog = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6
    pace = min(PACE, watchdog / 3) if watchdog else PACE
    if systemd.socket is not None:
        # what a stuck systemd does not take is dropped; it must not hold up the line
        systemd.socket.setblocking(False)
    try:
        while not service.running:
            # resuming may take long: it is at work as long as this loop is
            systemd.notify("WATCHDOG=1\nSTATUS=resuming")
            await asyncio.sleep(pace)
        systemd.notify("READY=1")
        while service.running:
            health = examine(service)
            said = "; ".join(health.reasons) or "follows the line"
            systemd.notify(f"STATUS={said[:200]}")
            if health.live:
                systemd.notify("WATCHDOG=1")
            await asyncio.sleep(pace)
    finally:
        systemd.notify("STOPPING=1")
