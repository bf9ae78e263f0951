"""Whatever fits the schema is answered by the schema, and what does not is refused: schemathesis.

The service runs on a thread of its own, behind its real server; the requests come over TCP.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import Phase, given, settings

from tests.twin.api.served import Served

DOCUMENT = "/api/v1/openapi.json"
OPEN = ("/healthz", "/readyz")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    running = Served(tmp_path_factory.mktemp("served"))
    yield running
    running.close()


@pytest.mark.parametrize(
    ("phases", "fewest"),
    [
        ("examples,fuzzing,stateful", 50),
        pytest.param("examples,coverage,fuzzing,stateful", 500, marks=pytest.mark.long),
    ],
)
def test_an_engineer_is_answered_by_the_schema(
    served: Served, tmp_path: Path, phases: str, fewest: int
) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{served.url}{DOCUMENT}"]
    command += ["--header", f"Authorization: Bearer {served.token}", "--seed", "1"]
    command += ["--max-examples", "1", "--generation-database", "none", "--no-color"]
    command += ["--phases", phases]
    found = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=550, check=False
    )
    assert found.returncode == 0, found.stdout[-5000:]
    passed = re.search(r"(\d+) generated, (\d+) passed", found.stdout)
    assert passed is not None
    assert int(passed[2]) == int(passed[1]) > fewest


def test_nobody_is_let_in(served: Served) -> None:
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

    count = 0
    for result in schemathesis.openapi.from_url(f"{served.url}{DOCUMENT}").get_all_operations():
        count += 1
        once = settings(
            max_examples=1, derandomize=True, deadline=None, database=None, phases=[Phase.generate]
        )
        once(given(case=result.ok().as_strategy())(check))()
    assert count > 50
