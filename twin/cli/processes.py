"""Processes: the broker and the virtual line beside the demo, and how people end ours."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

from amqtt.broker import Broker


@contextlib.contextmanager
def on_interrupt(action: Callable[[], object]) -> Iterator[None]:
    """While inside, Ctrl-C and a polite end do this and nothing else."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, action)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def free_ports(count: int) -> list[int]:
    """TCP ports on which nobody listens."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


@contextlib.asynccontextmanager
async def broker(port: int) -> AsyncIterator[str]:
    """An MQTT broker on the port: mosquitto where it is installed, else an embedded one."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        embedded = Broker(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
                "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {}},
            }
        )
        await embedded.start()
        try:
            yield "the embedded broker (install mosquitto for more than a demo)"
        finally:
            await embedded.shutdown()
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mosquitto.conf"
        file.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
            "max_queued_messages 100000\nset_tcp_nodelay true\nlog_type error\n"
        )
        async with program_running([program, "-c", str(file)]):
            await _answers(port)
            yield "mosquitto"


async def _answers(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


@contextlib.asynccontextmanager
async def program_running(command: Sequence[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program that is ended with the block, politely and then not."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(1.5):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


class LineFailedError(Exception):
    """The virtual line ended before it was ready."""


@contextlib.asynccontextmanager
async def virtual_line(arguments: Sequence[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """The virtual line, up and waiting for its epoch.

    Raises:
        LineFailedError: its own words are on standard error.
    """
    async with program_running([sys.executable, "-m", "simulators", *arguments]) as process:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            line = await process.stdout.readline()
        if not line or not json.loads(line).get("ready"):
            raise LineFailedError("the virtual line did not start")
        yield process
