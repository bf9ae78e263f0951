"""Keys of the live views: what a person at the terminal presses."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import sys
import termios
import tty
from collections.abc import Callable, Iterator

from twin.service import Service

DECISIONS = "a accept   r reject   Ctrl-C end"
_ARROWS = {"\x1b[C": "right", "\x1b[D": "left"}


@contextlib.contextmanager
def pressed(take: Callable[[str], None]) -> Iterator[None]:
    """While inside, every key is handed to `take`: a letter, or `left` and `right`."""
    if not sys.stdin.isatty():
        yield
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    loop = asyncio.get_running_loop()

    def read() -> None:
        text = os.read(keyboard, 64).decode(errors="replace")
        if not text:
            loop.remove_reader(keyboard)
        while text:
            arrow = next((each for each in _ARROWS if text.startswith(each)), None)
            take(text[0] if arrow is None else _ARROWS[arrow])
            text = text[1 if arrow is None else len(arrow) :]

    tty.setcbreak(keyboard)
    loop.add_reader(keyboard, read)
    try:
        yield
    finally:
        loop.remove_reader(keyboard)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def decide(service: Service, key: str) -> None:
    """`a` accepts and `r` rejects the oldest open recommendation."""
    waiting = [each for each in service.core.open.values() if each.state == "proposed"]
    if not waiting or key not in ("a", "r"):
        return
    oldest = min(waiting, key=lambda each: each.time)
    if key == "a":
        service.accept(oldest.id, getpass.getuser())
    else:
        service.reject(oldest.id, getpass.getuser(), "rejected at the terminal")
