"""Users, tokens and sessions; the door that slows guesses down; `twin users`."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from argon2.profiles import RFC_9106_LOW_MEMORY

from tests.system.twin_program import twin_many
from twin.desk.door import (
    FREE,
    FREE_ADDRESS,
    LONGEST,
    TRUSTED,
    Door,
    LoginRefusedError,
    Throttle,
    ThrottledError,
)
from twin.ledger import Ledger
from twin.users import SESSION, User, Users

PASSWORD = "correct horse battery"
CHEAPEST = replace(RFC_9106_LOW_MEMORY, time_cost=1, memory_cost=8, parallelism=1)
DAY = 86_400 * 10**9


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as found:
        yield found


class Clock:
    """Wall time and monotonic time, set by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def ns(self) -> int:
        return int(self.seconds * 1e9)

    def now(self) -> float:
        return self.seconds


def test_secrets_are_not_in_the_ledger(ledger: Ledger, tmp_path: Path) -> None:
    users = Users(ledger)
    users.add("anna", "operator", PASSWORD)
    token = users.issue_token("reports", "viewer", 1)
    session = users.open_session(User("anna", "operator"))
    ledger.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (PASSWORD, token, session):
        assert secret.encode() not in kept
    (hashed,) = sqlite3.connect(tmp_path / "ledger.sqlite").execute("SELECT password FROM users")
    assert hashed[0].startswith("$argon2id$v=19$m=65536,t=3")


def test_sessions_and_tokens_end(ledger: Ledger) -> None:
    clock = Clock()
    users = Users(ledger, clock.ns)
    users.add("anna", "operator", PASSWORD)
    anna = users.check("anna", PASSWORD)
    assert anna == User("anna", "operator")
    assert users.check("anna", PASSWORD + "!") is None
    assert users.check("nobody", PASSWORD) is None
    session, token = users.open_session(anna), users.issue_token("reports", "viewer", 1)
    assert users.of_session(session) == anna
    assert users.of_token(token) == User("reports", "viewer")
    assert users.of_token(session) is users.of_session(token) is None
    clock.seconds += SESSION / 1e9
    assert users.of_session(session) is None
    clock.seconds += DAY / 1e9
    assert users.of_token(token) is None
    session = users.open_session(anna)
    users.set_password("anna", "another good password")
    assert users.of_session(session) is None
    assert users.check("anna", PASSWORD) is None
    session = users.open_session(anna)
    users.remove("anna")
    assert users.of_session(session) is None


@pytest.mark.parametrize(
    ("name", "role", "password", "said"),
    [
        ("", "viewer", PASSWORD, "no name"),
        ("../anna", "viewer", PASSWORD, "no name"),
        ("anna\n", "viewer", PASSWORD, "no name"),
        ("twin", "viewer", PASSWORD, "take another name"),
        ("anna", "root", PASSWORD, "no role root"),
        ("anna", "viewer", "short", "10 to 256 characters"),
        ("taken", "viewer", PASSWORD, "a user taken already"),
    ],
)
def test_what_is_no_user_is_refused(
    ledger: Ledger, name: str, role: str, password: str, said: str
) -> None:
    users = Users(ledger)
    if name == "taken":
        users.add("taken", "viewer", PASSWORD)
    with pytest.raises(ValueError, match=said):
        users.add(name, role, password)  # type: ignore[arg-type]  # it comes from outside
    with pytest.raises(ValueError, match="no user"):
        users.remove("bob")
    with pytest.raises(ValueError, match="at most 366 days"):
        users.issue_token("bob", "viewer", 400)


def test_a_machine_does_not_take_the_name_of_a_person(ledger: Ledger) -> None:
    users = Users(ledger)
    users.add("anna", "engineer", PASSWORD)
    users.issue_token("reports", "viewer", 1)
    with pytest.raises(ValueError, match="a user anna already"):
        users.issue_token("anna", "viewer", 1)
    with pytest.raises(ValueError, match="a token reports already"):
        users.add("reports", "engineer", PASSWORD)


def test_each_guess_doubles_the_wait() -> None:
    clock = Clock()
    throttle = Throttle(clock.now)
    key = ("anna", "192.0.2.7")
    waits = []
    for _ in range(FREE + 10):
        clock.seconds += throttle.wait(key, FREE)
        throttle.wrong(key)
        waits.append(throttle.wait(key, FREE))
    assert waits[: FREE - 1] == [0.0] * (FREE - 1)
    assert waits[FREE - 1 : FREE + 4] == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert waits[-1] == LONGEST
    clock.seconds += 7200
    assert throttle.wait(key, FREE) == 0.0


async def test_guesses_side_by_side_are_all_counted(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twin.users.RFC_9106_LOW_MEMORY", CHEAPEST)
    clock, audited = Clock(), []

    def audit(who: str, what: str, _: Mapping[str, object]) -> None:
        audited.append((who, what))

    users = Users(ledger, clock.ns)
    users.add("anna", "operator", PASSWORD)
    door = Door(users, audit, clock.now)
    asked = [door.login("anna", "wrong password", "192.0.2.7") for _ in range(FREE + 3)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(each, LoginRefusedError) for each in found) == FREE
    assert sum(isinstance(each, ThrottledError) for each in found) == 3
    assert audited.count(("anna", "login throttled")) == 1
    # from another place she comes in, and here again when the time is over
    user, session = await door.login("anna", PASSWORD, "192.0.2.8")
    clock.seconds += 1.0
    await door.login("anna", PASSWORD, "192.0.2.7")
    for number in range(FREE_ADDRESS):
        with pytest.raises((LoginRefusedError, ThrottledError)):
            await door.login(f"name-{number}", "wrong password", "192.0.2.9")
    with pytest.raises(ThrottledError):
        await door.login("anna", PASSWORD, "192.0.2.9")

    assert await door.of_session(session) == user
    users.remove("anna")
    assert await door.of_session(session) == user  # for two seconds
    clock.seconds += TRUSTED
    assert await door.of_session(session) is None
    door.close()


def test_accounts_are_kept_on_the_command_line(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path))
    added, *runs = twin_many(
        [
            ["users", "add", "anna", "--role", "engineer", "--generate", *data],
            ["users", "token", "reports", *data],
            ["users", "list", *data],
            ["users", "add", "anna", *data],
            ["users", "add", "bob", "--role", "chief", *data],
            ["users", "remove", "reports", *data],
            ["users", "remove", "reports", *data],
        ],
        tmp_path,
    )
    assert added.returncode == 0, added.stderr
    made = re.search(r"shown this once: (\S+)", added.stdout)
    assert made is not None
    codes = [each.returncode for each in runs]
    assert codes == [0, 0, 2, 2, 0, 2]
    token, listed, again, chief, _, gone = runs
    assert token.stdout.startswith("linetwin_")
    assert "engineer" in listed.stdout
    assert made[1] not in listed.stdout
    assert "10 to 256 characters" in again.stderr or "already" in again.stderr
    assert "choose from viewer, operator, engineer" in chief.stderr
    assert "no token reports" in gone.stderr
    with Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        assert Users(ledger).check("anna", made[1]) == User("anna", "engineer")
        assert [row["what"] for row in ledger.audited()] == [
            "remove user",
            "issue token",
            "add user",
        ]
