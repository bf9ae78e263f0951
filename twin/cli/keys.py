"""Keys of the live view: a person at the terminal accepts or rejects."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import sys
import termios
import tty
from collections.abc import Iterator

from twin.service import Service

HELP = "a accept   r reject   Ctrl-C end"


@contextlib.contextmanager
def decisions(service: Service) -> Iterator[None]:
    """While inside, `a` accepts and `r` rejects the oldest open recommendation."""
    if not sys.stdin.isatty():
        yield
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    loop = asyncio.get_running_loop()

    def pressed() -> None:
        keys = os.read(keyboard, 64)
        if not keys:
            loop.remove_reader(keyboard)
        for key in keys.decode(errors="replace"):
            _decide(service, key)

    tty.setcbreak(keyboard)
    loop.add_reader(keyboard, pressed)
    try:
        yield
    finally:
        loop.remove_reader(keyboard)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _decide(service: Service, key: str) -> None:
    waiting = [each for each in service.core.open.values() if each.state == "proposed"]
    if not waiting or key not in "ar":
        return
    oldest = min(waiting, key=lambda each: each.time)
    if key == "a":
        service.accept(oldest.id, getpass.getuser())
    else:
        service.reject(oldest.id, getpass.getuser(), "rejected at the terminal")
