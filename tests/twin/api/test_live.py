"""The API over TCP: client and documents, streams, TLS, the end of the service, replays."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import pytest
import trustme

from tests.in_process import ROOT
from tests.plants import worn_pump
from tests.servers import until
from tests.twin.api.client import PASSWORD, asked
from tests.twin.api.served import Served
from twin.client import ApiError, Client
from twin.desk.feed import MOST_WAITING, Change, Feed, Happening, Snapshot

LOADING = "coating.mass_loading"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    running = Served(tmp_path_factory.mktemp("served"))
    yield running
    running.close()


def test_the_document_says_what_is_so(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    names: dict[str, object] = {"URL": served.url, "TOKEN": served.token}
    for code in re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        exec(code, names)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("virtual pilot line 2026-01-01")
    assert said[0].endswith("live")
    assert any(re.fullmatch(rf"{LOADING} 1\d\d\.\d+ g/m\^2 (True|False)", each) for each in said)
    assert any(re.fullmatch(r"\d+ points up to \d+\.\d+ m, in g/m\^2", each) for each in said)
    assert "accepted" in said
    assert said[-1] == "snapshot"


def test_the_client_says_what_the_desk_says(served: Served) -> None:
    with Client(served.url, served.token) as twin:
        line = twin.line()
        desk = served.there(served.line.desk.line)
        assert line.steps == desk.steps
        assert twin.step("coating").overview == line.steps[1]
        curve = twin.trend(f"{LOADING}.measured", points=5000)[f"{LOADING}.measured"]
        shown = next(each for each in line.steps[1].parameters if each.name == LOADING)
        assert curve.mean[-1] == pytest.approx(shown.measured.value, rel=1e-9)
        assert str(curve.at.dtype).startswith("datetime64[ns")
        assert twin.roll_map(1).roll.number == 1
        assert twin.what_if(pump_flow=95).outputs
        assert twin.get("/health")["live"]
        with pytest.raises(ApiError, match="404: there is no recommendation coater-0") as error:
            twin.reject("coater-0", "it is not there")
        assert error.value.kind == "unknown"
    with Client(served.url, "linetwin_wrong") as twin, pytest.raises(ApiError, match="401"):
        twin.line()


def test_a_stream_tells_what_happens(served: Served) -> None:
    desk = served.line.desk
    with Client(served.url, served.token) as twin:
        events = twin.stream()
        first = next(events)
        assert isinstance(first.content, Snapshot)
        before = first.content.line.metres
        served.there(lambda: served.line.advance(60))
        kinds, points = set(), 0
        for event in events:
            kinds.add(event.kind)
            if isinstance(event.content, Snapshot):
                found = event.content.points.get(f"{LOADING}.measured")
                points += len(found.value) if found else 0
                if event.content.line.metres > before and points >= 4:
                    break
        assert desk.feed.listeners == 1
        events.close()  # type: ignore[attr-defined]  # it is a generator

    async def gone() -> None:
        await until(lambda: desk.feed.listeners == 0)

    served.there(gone)


def test_tls_and_the_end_with_open_streams(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    certificate, key, trusted = (tmp_path / f"{name}.pem" for name in ("cert", "key", "ca"))
    made.cert_chain_pems[0].write_to_path(certificate)
    made.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(trusted)
    running = Served(tmp_path_factory.mktemp("tls"), 0, (certificate, key))
    try:
        assert running.url.startswith("https://")
        with pytest.raises(httpx.ConnectError), Client(running.url, running.token) as twin:
            twin.line()
        running.line.desk.door.users.add("anna", "viewer", PASSWORD)
        context = ssl.create_default_context(cafile=str(trusted))
        with httpx.Client(verify=context, base_url=running.url) as browser:
            login = {"name": "anna", "password": PASSWORD}
            found = browser.post("/api/v1/session", json=login)
            assert "secure" in found.headers["set-cookie"].lower()
            assert "strict-transport-security" in found.headers
            assert browser.get("/api/v1/session").json()["name"] == "anna"
        with Client(running.url, running.token, verify=str(trusted)) as twin:
            events = twin.stream()
            next(events)
            began = time.monotonic()
            running.close()
            assert time.monotonic() - began < 10
            with contextlib.suppress(httpx.RemoteProtocolError):
                for _ in range(2 * MOST_WAITING):
                    next(events, None)
            assert next(events, None) is None
    finally:
        running.close()


async def test_whoever_is_slow_holds_nobody_up() -> None:
    made = 0

    def snapshot(_: bool) -> Snapshot:
        nonlocal made
        made += 1
        return Snapshot.model_construct(line=None, points={})  # type: ignore[arg-type]

    feed = Feed(snapshot)
    task = asyncio.create_task(feed.run())
    await asyncio.sleep(0)
    assert made == 0  # nobody listens
    slow, quick = feed.changes(), feed.changes()
    seen: list[Change] = [await anext(slow), await anext(quick)]
    for number in range(3 * MOST_WAITING):
        feed.tell("mode", Happening(subject="coating", text=str(number)))
        seen.append(await anext(quick))
    assert all(not each.missed for each in seen)
    late = await anext(slow)
    assert late.missed >= 2 * MOST_WAITING
    assert (await anext(slow)).missed == 0
    assert feed.lost == late.missed
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    # the end of the service is the end of the streams, after what waits
    assert [each.missed async for each in quick] == []
    assert len([each async for each in slow]) == MOST_WAITING - 2
    assert feed.listeners == 0


async def comes(true: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(120):
        while not await true():  # noqa: ASYNC110  # it is asked over HTTP
            await asyncio.sleep(0.05)


async def test_a_recording_is_played_beside_the_line(tmp_path: Path) -> None:
    worn_pump(tmp_path / "recordings" / "worn", 1, 14)
    async with asked(tmp_path) as api:
        listed = (await api.viewer.get("/recordings")).json()
        assert [(each["name"], each["complete"]) for each in listed] == [("worn", True)]
        opened = await api.viewer.post("/replays", json={"recording": "worn"})
        replay = opened.json()
        assert opened.status_code == 201
        assert (replay["paused"], replay["now"]) == (True, replay["first"])
        here = f"/replays/{replay['id']}"

        async def at_the_end() -> bool:
            now: str = (await api.viewer.get(here)).json()["now"]
            return now >= replay["last"]

        await api.viewer.patch(here, json={"seek": replay["last"]})
        await comes(at_the_end)
        line = (await api.viewer.get(f"{here}/line")).json()
        assert line["live"] is False
        assert line["time"] == replay["last"]
        loading = next(each for each in line["steps"][1]["parameters"] if each["name"] == LOADING)
        assert loading["compared"] > 3
        live = (await api.viewer.get("/line")).json()
        assert live["live"] is True
        assert live["metres"] == 0
        ask = {"names": [f"{LOADING}.measured"], "start": replay["first"], "points": 5000}

        async def stored() -> list[float]:
            found = (await api.viewer.get(f"{here}/trend", params=ask)).json()
            mean: list[float] = found["series"][0]["mean"]
            return mean

        async def all_stored() -> bool:
            return len(await stored()) >= loading["compared"]

        async def nothing_stored() -> bool:
            return not await stored()

        await comes(all_stored)
        assert (await stored())[-1] == pytest.approx(loading["measured"]["value"], rel=1e-9)
        assert (await api.viewer.get(f"{here}/rolls/1")).json()["parameters"]
        snapshot = (await api.viewer.get(f"{here}/stream")).json()
        assert snapshot["line"]["live"] is False

        # back to where it began: what was seen is not seen any more
        await api.viewer.patch(here, json={"seek": replay["first"]})
        await comes(nothing_stored)
        assert (await api.viewer.get(f"{here}/line")).json()["metres"] == 0
        await api.viewer.patch(here, json={"speed": 10_000, "paused": False})
        await comes(at_the_end)
        second = await api.viewer.post("/replays", json={"recording": "worn"})
        assert second.status_code == 201
        full = await api.viewer.post("/replays", json={"recording": "worn"})
        assert (full.status_code, full.headers["retry-after"]) == (429, "5")
        assert (await api.viewer.delete(here)).status_code == 204
        assert (await api.viewer.get(f"{here}/line")).status_code == 404
        await api.served.desk.replays.close_all()
