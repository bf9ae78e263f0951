"""Who acts on a page, and where a login leads: never to somebody who is gone, never elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.service_in_process import ServedLine, served_line
from twin.desk.door import TRUSTED
from twin.screen.feed import Hub
from twin.screen.serve import _home
from twin.screen.visit import Visit
from twin.screen.words import Words
from twin.users import User


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[ServedLine]:
    async with served_line(tmp_path) as found:
        yield found


async def test_a_page_that_outlives_its_session_decides_nothing(
    served: ServedLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    door, otto = served.desk.door, User("otto", "operator")
    door.users.add("otto", "operator", "correct horse battery")
    session = door.users.open_session(otto)
    hub = Hub(served.desk, "start")
    words = Words("en")
    visit = Visit(words, "light", otto, session, served.desk, served.desk, hub, "", "")
    assert await visit.person() == otto
    door.users.replace("otto", "viewer", "correct horse battery")
    later = door._now() + TRUSTED
    monkeypatch.setattr(door, "_now", lambda: later)
    with pytest.raises(ValueError, match="session is over"):
        await visit.person()


@pytest.mark.parametrize(
    ("asked", "home"),
    [
        ("/advice", "/advice"),
        ("/step/coating", "/step/coating"),
        ("//elsewhere.example", "/"),
        ("/\\elsewhere.example", "/"),
        ("/\t/elsewhere.example", "/"),
        ("https://elsewhere.example", "/"),
        ("javascript:alert(1)", "/"),
        ("", "/"),
    ],
)
def test_a_login_leads_to_a_page_of_ours(asked: str, home: str) -> None:
    assert _home(asked) == home
