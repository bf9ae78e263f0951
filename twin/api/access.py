"""Who asks: bearer tokens of machines, session cookies of browsers; nobody else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from twin.api.problems import RefusedError
from twin.desk import Desk
from twin.users import User

COOKIE: Final = "linetwin_session"
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_bearer = HTTPBearer(auto_error=False, description="a token: twin users token NAME")
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="POST /api/v1/session sets it")


def desk_of(request: Request) -> Desk:
    """The desk that the application was made for."""
    found: Desk = request.app.state.desk
    return found


TheDesk = Annotated[Desk, Depends(desk_of)]


def address(request: Request) -> str:
    """From where somebody asks."""
    return request.client.host if request.client is not None else "unknown"


def of_own_page(headers: Mapping[str, str]) -> bool:
    """Whether a browser sent this from a page of ours; programs send no `Origin`."""
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == headers.get("host")


def same_origin(request: Request) -> None:
    """Refuse what another site's page has a browser send.

    Browsers say where a request comes from, in `Sec-Fetch-Site` or `Origin`; a cookie without
    either is no browser's.

    Raises:
        RefusedError: it comes from elsewhere, or nobody says where from.
    """
    if request.method in SAFE:
        return
    said = "origin" in request.headers or request.headers.get("sec-fetch-site") == "same-origin"
    if said and of_own_page(request.headers):
        return
    raise RefusedError(403, "other-origin", "a session may be used from its own page only")


async def user_of(
    request: Request,
    desk: TheDesk,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    cookie: Annotated[str | None, Depends(_cookie)],
) -> User:
    """The user of a request.

    Raises:
        RefusedError: nobody's token or session, or a request that another site made.
    """
    if bearer is not None:
        user = await desk.door.of_token(bearer.credentials, address(request))
        if user is not None:
            return user
        said = "the token has expired, was removed, or is none"
    elif cookie is not None:
        user = await desk.door.of_session(cookie)
        if user is not None:
            same_origin(request)
            return user
        said = "the session is over; log in again"
    else:
        said = "log in with POST /api/v1/session, or send a token as Authorization: Bearer"
        if not await desk.door.anybody():
            said = "there are no users yet; add one with: twin users add NAME --role operator"
    raise RefusedError(401, "not-logged-in", said, WWW_Authenticate="Bearer")


TheUser = Annotated[User, Depends(user_of)]
