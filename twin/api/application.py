"""The application: routes, headers, errors, and what it says of itself."""

from __future__ import annotations

import asyncio
import json
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from fastapi import FastAPI, Response
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from twin.api import acting, operation, problems, reading, replaying, session, streaming
from twin.api.headers import API, Headers
from twin.api.problems import Problem, RefusedError
from twin.desk import Desk, UnknownError

PREFIX: Final = "/api/v1"
PARTS: Final = (session, reading, streaming, acting, replaying)
"""Below the prefix."""
ABOUT: Final = """
Everything that the dashboard shows and does. Values are in the units that they name, times are UTC.
Bulk data is JSON, an Arrow IPC stream or CSV, by the Accept header or `?format=`.
Errors are problem documents (RFC 9457).
"""


def make_app(desk: Desk, secure: bool = False) -> FastAPI:
    """The application of a desk; a dashboard may mount its pages on it.

    Args:
        desk: reads and decides.
        secure: served over TLS.
    """
    app = FastAPI(
        title="linetwin",
        version=_version(),
        description=ABOUT,
        openapi_url=None,
        # their pages come from another origin
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    app.state.desk = desk
    for part in PARTS:
        app.include_router(part.router, prefix=PREFIX)
    app.include_router(operation.router)
    problems.install(app)
    app.add_middleware(Headers, secure=secure, refused=desk.door.refused)
    made: list[bytes] = []

    @app.get(f"{PREFIX}/openapi.json", include_in_schema=False)
    async def document() -> Response:
        if not made:
            # it takes half a second, which the loop has not
            made.append(await asyncio.to_thread(lambda: json.dumps(_openapi(app)).encode()))
        return Response(made[0], media_type="application/json")

    # last of ours: a dashboard that is mounted on all paths would take these for pages
    for path in (f"{API}{{rest:path}}", "/healthz", "/readyz", "/metrics"):
        app.router.routes.append(Route(path, _Otherwise(app)))
    return app


class _Otherwise:
    """Refuses what no route took, whatever its method: the path is unknown, or has other methods.

    Args:
        app: whose routes there are.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, methods = scope["path"], _methods(self._app, scope["path"])
        if not methods:
            raise UnknownError(
                f"there is nothing at {path}; {PREFIX}/openapi.json lists what there is"
            )
        allowed = ", ".join(sorted(methods))
        raise RefusedError(405, "other-method", f"{path} takes {allowed} only", Allow=allowed)


def _methods(app: FastAPI, path: str) -> set[str]:
    """The methods of all routes of a path."""
    routes = [(PREFIX, route) for part in PARTS for route in part.router.routes]
    routes += [("", route) for route in (*operation.router.routes, *app.routes)]
    found: set[str] = set()
    for prefix, route in routes:
        if isinstance(route, APIRoute) and route.path_regex.match(path.removeprefix(prefix)):
            found |= route.methods or set()
    return found


def _openapi(app: FastAPI) -> dict[str, Any]:
    """As FastAPI makes it, with problem documents where it says otherwise."""
    made = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        separate_input_output_schemas=False,
    )
    schemas = made["components"]["schemas"]
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    return made


def _version() -> str:
    try:
        return version("linetwin")
    except PackageNotFoundError:  # run from a checkout
        return "0"
