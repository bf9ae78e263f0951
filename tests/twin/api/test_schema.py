"""Whatever fits the schema is answered by the schema, and what does not is refused: schemathesis.

The service runs on a thread of its own, behind its real server; the requests come over TCP.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from tests.twin.api.served import Served

EXAMPLES = 6
OPEN = ("/healthz", "/readyz")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    running = Served(tmp_path_factory.mktemp("served"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def described(served: Served) -> Any:
    return schemathesis.openapi.from_url(f"{served.url}/api/v1/openapi.json")


def ask_all(schema: Any, examples: int, check: Callable[[schemathesis.Case], None]) -> int:
    """Ask every operation with what fits its schema and what does not; how many there are."""
    count = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        count += 1
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            asked = given(case=operation.as_strategy(generation_mode=mode))(check)
            asked = settings(
                max_examples=examples,
                derandomize=True,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            )(asked)
            with contextlib.suppress(Unsatisfiable):  # nothing can be wrong with no parameters
                asked()
    return count


def test_an_engineer_is_answered_by_the_schema(served: Served, described: Any) -> None:
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(headers={"Authorization": f"Bearer {served.token}"})

    assert ask_all(described, EXAMPLES, check) > 50


def test_nobody_is_let_in(described: Any) -> None:
    def check(case: schemathesis.Case) -> None:
        answer = case.call_and_validate()
        allowed = {401}
        if case.path in OPEN:
            allowed = {200, 503}
        elif case.path == "/api/v1/session" and case.method == "POST":
            allowed = {401, 422, 429}
        elif isinstance(case.body, bytes):
            allowed = {401, 422}  # no JSON: that is said before anybody is asked who they are
        assert answer.status_code in allowed

    ask_all(described, 1, check)
