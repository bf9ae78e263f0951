"""What machines that look after the service ask: alive, ready, how it does."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Response

from twin.api.access import TheDesk, user_of
from twin.api.problems import documented
from twin.desk.views import View
from twin.metrics import CONTENT_TYPE

router = APIRouter(tags=["operation"])


class Answer(View):
    """Whether all is well; nobody has logged in, so not why."""

    ok: bool


def _answer(response: Response, ok: bool) -> Answer:
    response.status_code = 200 if ok else 503
    return Answer(ok=ok)


_NOT: dict[int | str, dict[str, object]] = {
    503: {"description": "It is not", "model": Answer},
}


@router.get("/healthz", responses=_NOT)
async def healthz(response: Response, desk: TheDesk) -> Answer:
    """Whether the service works at all: if not, start it again. For anybody."""
    return _answer(response, desk.examine().live)


@router.get("/readyz", responses=_NOT)
async def readyz(response: Response, desk: TheDesk) -> Answer:
    """Whether it follows its line and keeps what it hears. For anybody; why not, says /health."""
    return _answer(response, desk.examine().ready)


@router.get(
    "/metrics",
    dependencies=[Depends(user_of)],
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **documented()},
)
async def metrics(desk: TheDesk) -> Response:
    """Metrics for Prometheus; for viewers: give it a token of `twin users token`."""
    return Response(desk.metrics(), headers={"Content-Type": CONTENT_TYPE})
