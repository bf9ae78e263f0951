"""Errors as problem documents (RFC 9457)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from twin.desk import BusyError, DecidedError, ElsewhereError, ImplausibleError, UnknownError
from twin.desk.door import LoginRefusedError, ThrottledError
from twin.desk.views import StateChange
from twin.editing import EditRefusedError
from twin.ports import HistorianError
from twin.users import NotAllowedError

MEDIA_TYPE: Final = "application/problem+json"
COMMON: Final = (400, 401, 403, 413, 422, 429, 503)
"""Statuses that any operation may have."""
NOT_BLANK: Final = r"\S"
ACCOUNT: Final = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"
FORMS: Final = {
    NOT_BLANK: "is blank; write some text",
    ACCOUNT: "has to be 1 to 64 letters, digits and . _ @ - without blanks, no sign first",
}
"""What is wrong with a text that has not the form that a pattern asks for."""
_OBJECTS: Final = ("dict_type", "model_type", "model_attributes_type")
_ASIDE: Final = re.compile(r"( after validation)?, (unable|got|not) .*")
"""What tells of pydantic's ways, not of the value."""
_ALTERNATIVE: Final = re.compile(r"constrained-\w+|literal\[.*\]")
"""What pydantic calls one of several types that a value may have."""
UNREADABLE: Final = "the body cannot be read; send JSON in UTF-8"
log = structlog.get_logger()


class Problem(BaseModel):
    """What went wrong, by RFC 9457."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": True})

    type: str = Field(description="a name of the kind of problem, below urn:linetwin:problem:")
    title: str
    status: int
    detail: str
    reasons: list[str] | None = Field(None, description="every reason, as sentences")
    decided: StateChange | None = Field(None, description="what somebody else did before")


class RefusedError(Exception):
    """A request that is refused before the desk is asked."""

    def __init__(self, status: int, kind: str, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def problem(
    status: int,
    kind: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    reasons: Sequence[str] | None = None,
    decided: StateChange | None = None,
) -> JSONResponse:
    """A response that holds a problem document."""
    content = Problem(
        type=f"urn:linetwin:problem:{kind}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        reasons=None if reasons is None else list(reasons),
        decided=decided,
    )
    return JSONResponse(
        content.model_dump(mode="json", exclude_none=True),
        status,
        dict(headers or {}),
        MEDIA_TYPE,
    )


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an operation that may answer with these problems, besides the common."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status in sorted({*COMMON, *statuses})
    }


def install(app: FastAPI) -> None:
    """Answer every error of the desk, and everything unexpected, with a problem document."""

    def told(request: Request, what: str, **details: object) -> None:
        client = request.client.host if request.client is not None else "unknown"
        app.state.desk.door.refused(what, client, **details)

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> JSONResponse:
        if error.kind == "other-origin":
            told(request, "request of another site refused", path=request.url.path)
        return problem(error.status, error.kind, str(error), error.headers)

    @app.exception_handler(NotAllowedError)
    async def not_allowed(_: Request, error: NotAllowedError) -> JSONResponse:
        return problem(403, "not-allowed", str(error))

    @app.exception_handler(LoginRefusedError)
    async def login_refused(_: Request, error: LoginRefusedError) -> JSONResponse:
        return problem(401, "login-refused", str(error), {"WWW-Authenticate": "Bearer"})

    @app.exception_handler(ThrottledError)
    async def throttled(_: Request, error: ThrottledError) -> JSONResponse:
        wait = {"Retry-After": str(max(1, round(error.wait)))}
        return problem(429, "throttled", str(error), wait)

    @app.exception_handler(BusyError)
    async def busy(_: Request, error: BusyError) -> JSONResponse:
        return problem(429, "busy", str(error), {"Retry-After": "5"})

    @app.exception_handler(UnknownError)
    async def unknown(_: Request, error: UnknownError) -> JSONResponse:
        return problem(404, "unknown", str(error))

    @app.exception_handler(ElsewhereError)
    async def elsewhere(request: Request, error: ElsewhereError) -> JSONResponse:
        told(request, "path refused", path=str(error)[:200])
        return problem(404, "unknown", str(error))

    @app.exception_handler(DecidedError)
    async def decided(_: Request, error: DecidedError) -> JSONResponse:
        return problem(409, "decided", str(error), decided=error.first)

    @app.exception_handler(EditRefusedError)
    async def edit_refused(_: Request, error: EditRefusedError) -> JSONResponse:
        return problem(409, "guard-refuses", str(error), reasons=error.objections)

    @app.exception_handler(ImplausibleError)
    async def implausible(_: Request, error: ImplausibleError) -> JSONResponse:
        return problem(409, "implausible", str(error), reasons=error.doubts)

    @app.exception_handler(ValueError)
    async def wrong(request: Request, error: ValueError) -> JSONResponse:
        if isinstance(error, ValidationError | UnicodeError):
            return await unexpected(request, error)  # ours, not theirs
        return problem(409, "cannot-be-used", str(error))

    @app.exception_handler(HistorianError)
    @app.exception_handler(SQLAlchemyError)
    async def stored(_: Request, error: Exception) -> JSONResponse:
        log.error("api", problem=str(error))
        return problem(503, "store", "the store does not answer; see /api/v1/health")

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        reasons = list(dict.fromkeys(map(_sentence, error.errors())))
        return problem(422, "invalid", reasons[0] if reasons else "invalid", reasons=reasons)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 413:
            told(request, "large request refused", path=request.url.path)
        said = UNREADABLE if error.status_code == 400 else str(error.detail)
        return problem(error.status_code, "http", said, error.headers)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        log.error("api", path=request.url.path, problem=repr(error))
        return problem(500, "unexpected", "something went wrong; the log of the service says what")


def _sentence(error: Mapping[str, Any]) -> str:
    """One of pydantic's errors as a sentence on what the request says."""
    kind, part, *place = error["type"], *map(str, error["loc"])
    place = [each for each in place if not _ALTERNATIVE.fullmatch(each)]
    context: Mapping[str, Any] = error.get("ctx", {})
    if kind == "json_invalid":
        return f"the body is no JSON: {context['error']} at character {place[0]}"
    where = ".".join(place) or f"the {part}"
    if place[-1:] == ["[key]"]:
        where = f"a name in {'.'.join(place[:-2])}"
    if kind == "missing":
        return f"{where} is missing"
    if kind == "extra_forbidden":
        return f"{where} is not known here"
    if kind == "string_pattern_mismatch":
        return f"{where} {FORMS[context['pattern']]}"
    if kind in _OBJECTS:
        return f"{where} should be a JSON object"
    said = str(error["msg"]).removeprefix("Value error, ")
    _, should, what = said.partition(" should ")
    return f"{where} should {_ASIDE.sub('', what)}" if should else f"{where}: {said}"
