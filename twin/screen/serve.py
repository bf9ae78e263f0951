"""The screen on the service's web application: pages, their data, their feed."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

from fastapi import FastAPI, HTTPException, Query, Request, WebSocket
from fastapi.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from nicegui import app as nicegui_app
from nicegui import ui
from nicegui.elements.echart import EChart

from twin.api.access import COOKIE, of_own_page
from twin.desk import Desk, UnknownError
from twin.desk.trends import Along
from twin.screen import data
from twin.screen.feed import Hub
from twin.screen.layout import feed_query, frame, head
from twin.screen.meanwhile import since
from twin.screen.pages import (
    advice,
    alarms,
    audit,
    health,
    laboratory,
    line,
    login,
    models,
    replay,
    rolls,
    step,
    users,
    what_if,
)
from twin.screen.visit import Source, Visit
from twin.screen.words import LANGUAGES, Words
from twin.users import User

ASSETS: Final = Path(__file__).parent / "assets"
YEAR: Final = 31_536_000
FAVICON: Final = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32' fill='none' stroke-width='3'>"
    "<rect width='32' height='32' fill='#1f2428'/><path d='M4 21h24' stroke='#7cb7f2'/>"
    "<path d='M4 17l6-4 6 2 6-6 6 3' stroke='#e4e8ea'/></svg>"
)
# ECharts comes with nicegui; to have looked at it puts it where the browser can import it
_ = EChart
RollKind = Literal["measured", "residual"]
Span = Annotated[float, Query(gt=0, le=1e8)]
"""Seconds."""

Page = Callable[..., Awaitable[None]]
PAGES: Final[Mapping[str, tuple[str, Page]]] = {
    "/": ("line", line.show),
    "/advice": ("advice", advice.show),
    "/what-if": ("what_if", what_if.show),
    "/laboratory": ("laboratory", laboratory.show),
    "/alarms": ("alarms", alarms.show),
    "/models": ("models", models.show),
    "/audit": ("audit", audit.show),
    "/health": ("health", health.show),
    "/users": ("users", users.show),
}
OF_A_RECORDING: Final = ("/", "/advice", "/what-if")


@dataclass(frozen=True, slots=True)
class _Look:
    """What a request looks at, and who asks."""

    reader: Source
    hub: Hub
    replay: str
    recording: str


class Screen:
    """Pages for people on one desk.

    Nicegui keeps its pages in its own module: one screen per process.

    Args:
        desk: reads and decides.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._zone = ZoneInfo(desk.configuration.operation.time_zone)
        self._start = secrets.token_hex(4)
        self._hub = Hub(desk, self._start)
        self._replays: dict[str, Hub] = {}
        self._assets = f"/screen/assets/{_fingerprint()}"

    def serve(self, app: FastAPI) -> None:
        """Put the pages on the service's web application, beside what it has already."""
        nicegui_app.add_static_files(self._assets, ASSETS, max_cache_age=YEAR)
        for address, (key, build) in PAGES.items():
            self._page(address, key, build)
            if address in OF_A_RECORDING:
                self._page("/replay/{replay}" + address.rstrip("/"), key, build)
        self._step_pages()
        self._replay_page()
        self._login_page()
        self._data(app)
        # nicegui's own page would be kept for a minute for every address that somebody tries
        nicegui_app.add_exception_handler(404, self._no_page)
        ui.run_with(
            app,
            title="linetwin",
            favicon=FAVICON,
            tailwind=False,
            show_welcome_message=False,
            binding_refresh_interval=None,
            reconnect_timeout=20.0,
        )

    async def _no_page(self, request: Request, _: Exception) -> Response:
        words, _theme = self._settings(request)
        said = words("no_page")
        return HTMLResponse(
            f"<!doctype html><title>404</title><p>{said} <a href='/'>linetwin</a>", 404
        )

    def close(self) -> None:
        """Send no more to anybody."""
        for hub in (self._hub, *self._replays.values()):
            hub.close()

    # who asks, for what

    async def _user(self, cookies: Mapping[str, str]) -> User | None:
        secret = cookies.get(COOKIE)
        return None if secret is None else await self._desk.door.of_session(secret)

    def _settings(self, request: Request) -> tuple[Words, str]:
        """Language and theme that this browser was set to, else what it asks for."""
        language = request.cookies.get("twin-language", "")
        if language not in LANGUAGES:
            accepts = request.headers.get("accept-language", "")
            language = "de" if accepts.lower().startswith("de") else "en"
        theme = request.cookies.get("twin-theme", "light")
        return Words(language, self._zone), theme if theme in ("light", "dark") else "light"

    def _look(self, identity: str) -> _Look:
        """The line, or a recording that is being replayed.

        Raises:
            UnknownError: there is no such replay.
        """
        if not identity:
            return _Look(self._desk, self._hub, "", "")
        found = self._desk.replays.get(identity)
        hub = self._replays.get(identity)
        if hub is None:
            for ended in [each for each in self._replays if each not in self._desk.replays]:
                self._replays.pop(ended).close()
            hub = self._replays[identity] = Hub(found, self._start, f"/replay/{identity}")
        return _Look(found, hub, identity, found.name)

    def _visit(self, request: Request, user: User, look: _Look) -> Visit:
        words, theme = self._settings(request)
        return Visit(
            words=words,
            theme=theme,
            user=user,
            session=request.cookies.get(COOKIE, ""),
            desk=self._desk,
            reader=look.reader,
            hub=look.hub,
            replay=look.replay,
            recording=look.recording,
        )

    # pages

    def _page(self, address: str, key: str, build: Page) -> None:
        async def show(request: Request, replay: str = "") -> Response | None:
            return await self._show(request, replay, key, "", build)

        ui.page(address, response_timeout=20.0)(show)

    def _step_pages(self) -> None:
        async def show(request: Request, name: str = "", replay: str = "") -> Response | None:
            async def build(visit: Visit) -> None:
                await step.show(visit, shown)

            try:
                look = self._look(replay)
            except UnknownError:
                return RedirectResponse("/recordings")
            shown = name or await step.first(look.reader)
            return await self._show(request, replay, "step", shown, build)

        for address in (
            "/step",
            "/step/{name}",
            "/replay/{replay}/step",
            "/replay/{replay}/step/{name}",
        ):
            ui.page(address, response_timeout=20.0)(show)

        async def rolls_of(
            request: Request, web: str = "", number: int | None = None, replay: str = ""
        ) -> Response | None:
            async def build(visit: Visit) -> None:
                await rolls.show(visit, web, number)

            return await self._show(request, replay, "rolls", "", build)

        for address in ("/rolls", "/replay/{replay}/rolls"):
            ui.page(address, response_timeout=20.0)(rolls_of)

    def _replay_page(self) -> None:
        async def show(request: Request, id: str = "") -> Response | None:  # noqa: A002  # the name in the URL
            async def build(visit: Visit) -> None:
                await replay.show(visit, id)

            return await self._show(request, "", "replay", "", build)

        ui.page("/recordings", response_timeout=20.0)(show)

    async def _show(
        self, request: Request, identity: str, key: str, of_step: str, build: Page
    ) -> Response | None:
        user = await self._user(request.cookies)
        if user is None:
            return RedirectResponse(f"/login?to={request.url.path}")
        try:
            look = self._look(identity)
        except UnknownError:
            return RedirectResponse("/recordings")
        visit = self._visit(request, user, look)
        ui.page_title(f"{visit.words(key)} – {look.reader.configuration.name}")
        ui.dark_mode(visit.theme == "dark")
        charts = key in ("step", "rolls")
        head(
            visit.words, visit.theme, self._assets, feed_query(visit, of_step), self._start, charts
        )

        async def logout() -> None:
            await self._desk.door.logout(visit.session)
            ui.navigate.to("/login")

        frame(visit, key, logout)
        with ui.element("div").classes("stack").props("id=content"):
            await build(visit)
        return None

    def _login_page(self) -> None:
        def show(request: Request, to: str = "/") -> None:
            words, theme = self._settings(request)
            ui.page_title(f"{words('login')} – {self._desk.configuration.name}")
            ui.dark_mode(theme == "dark")
            head(words, theme, self._assets, None, self._start, charts=False)
            login.show(words, self._desk.configuration.name, _home(to), self._assets)

        ui.page("/login")(show)

    # data

    def _data(self, app: FastAPI) -> None:
        async def allowed(request: Request) -> None:
            if await self._user(request.cookies) is None:
                raise HTTPException(401, "sign in first")

        async def trend(
            request: Request,
            name: str,
            along: Along = "time",
            span: Span = 3600.0,
            replay: str = "",
        ) -> Response:
            await allowed(request)
            look = self._found(replay)
            try:
                return JSONResponse(await data.trend(look.reader, name, along, span))
            except (UnknownError, ValueError) as error:
                raise HTTPException(404, str(error)) from error

        async def series(
            request: Request, name: str, span: Span = 86_400.0, replay: str = ""
        ) -> Response:
            await allowed(request)
            look = self._found(replay)
            words, _ = self._settings(request)
            try:
                return JSONResponse(await data.series(look.reader, words, name.split(","), span))
            except (UnknownError, ValueError) as error:
                raise HTTPException(404, str(error)) from error

        async def roll(
            request: Request,
            web: str,
            number: int,
            name: str,
            kind: RollKind = "measured",
            replay: str = "",
        ) -> Response:
            await allowed(request)
            look = self._found(replay)
            try:
                found = await look.reader.roll_map(number, web)
                return JSONResponse(data.roll_cells(found, name, kind))
            except (UnknownError, ValueError) as error:
                raise HTTPException(404, str(error)) from error

        async def roll_csv(request: Request, web: str, number: int, replay: str = "") -> Response:
            await allowed(request)
            look = self._found(replay)
            try:
                text = data.roll_csv(await look.reader.roll_map(number, web))
            except (UnknownError, ValueError) as error:
                raise HTTPException(404, str(error)) from error
            return PlainTextResponse(text, media_type="text/csv")

        async def feed(
            socket: WebSocket,
            language: str = "en",
            step: str = "",
            replay: str = "",
            since_ms: int = 0,
        ) -> None:
            if not of_own_page(socket.headers):
                address = socket.client.host if socket.client is not None else "unknown"
                self._desk.door.refused("request of another site refused", address)
                await socket.close(4403)
                return
            await socket.accept()

            async def may_look() -> bool:
                return await self._user(socket.cookies) is not None

            if not await may_look():
                await socket.close(4401)
                return
            try:
                look = self._look(replay)
            except UnknownError:
                await socket.close(4404)
                return
            known = {"", *look.reader.configuration.steps}
            if language not in LANGUAGES or step not in known:
                await socket.close(4400)
                return
            told = (
                await since(self._desk, Words(language, self._zone), since_ms)
                if since_ms and not replay
                else []
            )
            await look.hub.serve(socket, language, step, told, may_look)

        for address, call in (
            ("trend", trend),
            ("series", series),
            ("roll", roll),
            ("roll.csv", roll_csv),
        ):
            app.get(f"/screen/data/{address}", include_in_schema=False)(call)
        app.websocket("/screen/feed")(feed)

    def _found(self, identity: str) -> _Look:
        try:
            return self._look(identity)
        except UnknownError as error:
            raise HTTPException(404, str(error)) from error


def _fingerprint() -> str:
    """Of the style and the scripts, so that a browser keeps them until they change."""
    found = hashlib.sha256()
    for file in sorted(ASSETS.iterdir()):
        found.update(file.read_bytes())
    return found.hexdigest()[:12]


def _home(to: str) -> str:
    """Where to go after login: a page of ours, whatever an address asks for."""
    # browsers read a backslash as a slash, and pass over white space
    return to if re.fullmatch(r"/(?!/)[^\\\s]*", to) else "/"
