"""Logging in and out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from twin.api.access import COOKIE, TheDesk, TheUser, address, of_own_page
from twin.api.problems import RefusedError, documented
from twin.desk.views import View
from twin.users import LONGEST, SESSION, Role

router = APIRouter(tags=["session"])


class Login(BaseModel):
    """Who somebody says to be."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=64)]
    password: Annotated[str, Field(min_length=1, max_length=LONGEST)]


class Myself(View):
    """Who is logged in."""

    name: str
    role: Role


@router.post("/session", responses=documented())
async def log_in(request: Request, response: Response, desk: TheDesk, body: Login) -> Myself:
    """Log in; sets a cookie that only this origin's pages send."""
    if not of_own_page(request.headers):
        raise RefusedError(403, "other-origin", "log in from the twin's own page")
    user, secret = await desk.door.login(body.name, body.password, address(request))
    response.set_cookie(
        COOKIE,
        secret,
        max_age=SESSION // 10**9,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
        path="/",
    )
    return Myself(name=user.name, role=user.role)


@router.get("/session", responses=documented())
async def who_am_i(user: TheUser) -> Myself:
    """Who is logged in, or whose token it is."""
    return Myself(name=user.name, role=user.role)


@router.delete("/session", status_code=204, responses=documented())
async def log_out(request: Request, response: Response, desk: TheDesk, _: TheUser) -> None:
    """Log out; a token is not affected."""
    secret = request.cookies.get(COOKIE)
    if secret is not None:
        await desk.door.logout(secret)
        response.delete_cookie(COOKIE, path="/")
