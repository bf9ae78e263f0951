"""The service with its screen beside the virtual line, as a program that tests tell what to do.

    python -m tests.browser.page_server FOLDER PORT SCENARIO SEED ZONE

Commands come as lines on standard input, each is answered by a line of JSON: `advance SECONDS`,
`advised`, `record NAME SECONDS`, `remove NAME` (an account), `silence SECONDS` (time goes on,
nothing is heard), `day COUNT` (a day of so many series), `live SPEED` (follow the line so many
times faster than life), `rest`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import numpy as np

from tests.service_in_process import ServedLine, served_line
from twin.api import Server, make_app
from twin.app.logs import configure_logging
from twin.app.service import RECORDINGS, start_recording
from twin.samples import SampleBatch
from twin.screen import Screen
from twin.users import Role

PASSWORD = "clever-horse-7"
ACCOUNTS: tuple[tuple[str, Role], ...] = (
    ("vera", "viewer"),
    ("otto", "operator"),
    ("olga", "operator"),
    ("emil", "engineer"),
)


async def main(folder: Path, port: int, scenario: str, seed: int, zone: str) -> None:
    """Serve until standard input ends."""
    text = {"scenario": scenario} if scenario else {}
    async with served_line(folder, seed=seed, zone=zone, **text) as served:
        known = {each.name for each in served.desk.door.users.accounts()}
        for name, role in ACCOUNTS:
            if name not in known:
                served.desk.door.users.add(name, role, PASSWORD)
        app = make_app(served.desk)
        Screen(served.desk).serve(app)
        server = Server(app, "127.0.0.1", port)
        serving = asyncio.create_task(server.run())
        tell({"url": server.url})
        following: asyncio.Task[None] | None = None
        while command := (await asyncio.to_thread(sys.stdin.readline)).split():
            match command:
                case ["advance", seconds]:
                    await served.advance(float(seconds))
                    tell({"now": served.clock.now()})
                case ["advised"]:
                    tell({"advice": await served.advised()})
                case ["record", name, seconds]:
                    recorder = start_recording(served.service, folder / RECORDINGS / name)
                    await served.advance(float(seconds))
                    served.service.record(None)
                    recorder.close()
                    tell({"recorded": name})
                case ["day", count]:
                    await served.service.store.call(lambda: fill(served, int(count)))
                    await served.advance(60)
                    tell({"now": served.clock.now()})
                case ["remove", who]:
                    served.desk.door.users.remove(who)
                    tell({"removed": who})
                case ["silence", seconds]:
                    # time goes on, nothing is heard
                    served.clock.time += int(float(seconds) * 1e9)
                    tell({"now": served.clock.now()})
                case ["live", speed]:
                    following = asyncio.create_task(follow(served, float(speed)))
                    tell({"live": speed})
                case ["rest"]:
                    if following is not None:
                        following.cancel()
                    tell({"live": 0})
                case _:
                    tell({"unknown": command})
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def follow(served: ServedLine, speed: float) -> None:
    """Follow the line by itself."""
    while True:
        await served.advance(5)
        await asyncio.sleep(5 / speed)


def fill(served: ServedLine, count: int) -> None:
    """A day of samples a second, of the first inputs of coating; on the store's thread."""
    core = served.service.core
    names = [core.line.source_of("coating", each).tag for each in core.surrogates["coating"].inputs]
    names += [f"coating.mass_loading.{kind}" for kind in ("predicted", "low", "high", "measured")]
    time = served.clock.now() - (np.arange(86_400)[::-1] + 1) * 1_000_000_000
    for name in [each for each in names if each][: count + 4]:
        tag = core.tags.index(name)
        value = core.tags[tag].to_si(100.0) * (1 + 0.01 * np.sin(np.arange(86_400) / 600))
        served.service.store.historian.append(SampleBatch.of(np.full(86_400, tag), time, value))


def tell(answer: dict[str, object]) -> None:
    """Answer a command."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    configure_logging(sys.stderr)
    name, where, what, number, site = sys.argv[1:6]
    asyncio.run(main(Path(name), int(where), what, int(number), site))
