"""The door: who is asking, for API and dashboard alike; guesses are slowed down, all is audited."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

from twin.users import User, Users

Result = TypeVar("Result")
Audit = Callable[[str, str, Mapping[str, object]], None]
FREE: Final = 5
"""Wrong passwords for a name from one address that cost nothing."""
FREE_ADDRESS: Final = 20
"""Wrong passwords from one address, whatever the names."""
LONGEST: Final = 300.0
"""Seconds that a further guess has to wait at most."""
FORGET: Final = 3600.0
"""Seconds after which wrong passwords are forgotten."""
MOST_KEPT: Final = 10_000
"""Names and addresses whose wrong passwords are remembered; the oldest go."""
MOST_WAITING: Final = 16
"""Logins that may wait for their thread: each takes 64 MiB for some 50 ms."""
AGAIN: Final = 60.0
"""Seconds after which a refused request from the same address is audited again."""
TRUSTED: Final = 2.0
"""Seconds for which a session or token that was looked up is taken for good."""
MOST_TRUSTED: Final = 1_000


class LoginRefusedError(Exception):
    """Wrong name or password."""


class ThrottledError(Exception):
    """Too many wrong passwords; `wait` says for how many seconds."""

    def __init__(self, wait: float) -> None:
        super().__init__(f"too many wrong passwords; try again in {wait:.0f} s")
        self.wait = wait


@dataclass(slots=True)
class _Wrong:
    count: int
    last: float
    told: bool = False


@dataclass(slots=True)
class _Refused:
    told: float
    more: int = 0
    """Refused since, and not audited."""


class Throttle:
    """Wrong passwords by key: after some, each further one doubles the wait.

    Args:
        now: seconds, never falling.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._wrong: OrderedDict[tuple[str, ...], _Wrong] = OrderedDict()

    def wait(self, key: tuple[str, ...], free: int) -> float:
        """Seconds until the next guess is looked at."""
        found = self._wrong.get(key)
        if found is None or found.count < free:
            return 0.0
        passed = self._now() - found.last
        if passed > FORGET:
            del self._wrong[key]
            return 0.0
        return max(min(2.0 ** min(found.count - free, 16), LONGEST) - passed, 0.0)

    def wrong(self, key: tuple[str, ...]) -> None:
        """Another wrong one."""
        found = self._wrong.setdefault(key, _Wrong(0, 0.0))
        found.count, found.last, found.told = found.count + 1, self._now(), False
        self._wrong.move_to_end(key)
        while len(self._wrong) > MOST_KEPT:
            self._wrong.popitem(last=False)

    def touch(self, key: tuple[str, ...]) -> None:
        """The last wrong one was answered now."""
        found = self._wrong.get(key)
        if found is not None:
            found.last = self._now()

    def undo(self, key: tuple[str, ...]) -> None:
        """The last one was right after all; those before still count."""
        found = self._wrong.get(key)
        if found is not None:
            found.count -= 1

    def forget(self, key: tuple[str, ...]) -> None:
        """A right one: the wrong ones are forgotten."""
        self._wrong.pop(key, None)

    def tell(self, key: tuple[str, ...]) -> bool:
        """Whether it is news that somebody has to wait: once per wrong one."""
        found = self._wrong.get(key)
        if found is None or found.told:
            return False
        found.told = True
        return True


class Door:
    """Logs in and out, and knows whose session or token is shown.

    Args:
        users: the accounts; used on a thread of its own, not on the store's: whoever asks does not
            wait for a slow historian.
        audit: records who, what and details.
        now: seconds, never falling.
    """

    def __init__(
        self, users: Users, audit: Audit, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.users = users
        self._audit = audit
        self._now = now
        self._throttle = Throttle(now)
        self._thread = ThreadPoolExecutor(1, "door")
        self._hashing = ThreadPoolExecutor(1, "passwords")
        self._waiting = 0
        self._refused: OrderedDict[tuple[str, str], _Refused] = OrderedDict()
        self._trusted: OrderedDict[tuple[str, str], tuple[float, User]] = OrderedDict()

    def close(self) -> None:
        """Let go of the threads."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._hashing.shutdown(wait=True, cancel_futures=True)

    async def login(self, name: str, password: str, address: str) -> tuple[User, str]:
        """The user, and the secret of a new session.

        Args:
            name: of the user.
            password: of the user.
            address: from where.

        Raises:
            LoginRefusedError: wrong name or password.
            ThrottledError: too many wrong ones before; the password was not looked at.
        """
        name = name[:64]
        of_name, of_address = (name, address), (address,)
        wait = max(
            self._throttle.wait(of_name, FREE), self._throttle.wait(of_address, FREE_ADDRESS)
        )
        if wait or self._waiting >= MOST_WAITING:
            if self._throttle.tell(of_name):
                self._audit(name, "login throttled", {"address": address})
            raise ThrottledError(max(wait, 1.0))
        # counted before the password is looked at: guesses side by side are all counted
        self._throttle.wrong(of_name)
        self._throttle.wrong(of_address)
        self._waiting += 1
        try:
            user = await self.call(lambda: self.users.check(name, password), self._hashing)
        finally:
            self._waiting -= 1
        if user is None:
            # the wait begins now, not before the password was looked at
            self._throttle.touch(of_name)
            self._throttle.touch(of_address)
            self._audit(name, "login refused", {"address": address})
            raise LoginRefusedError("wrong name or password")
        self._throttle.forget(of_name)
        self._throttle.undo(of_address)
        secret = await self.call(lambda: self.users.open_session(user))
        self._audit(user.name, "login", {"address": address, "role": user.role})
        return user, secret

    async def logout(self, secret: str) -> None:
        """End a session."""
        user = await self.of_session(secret)
        self._trusted.pop(("session", secret), None)
        await self.call(lambda: self.users.close_session(secret))
        if user is not None:
            self._audit(user.name, "logout", {})

    async def of_session(self, secret: str) -> User | None:
        """Whose session this is; None where it is over or none."""
        return await self._known("session", secret, self.users.of_session)

    async def of_token(self, secret: str, address: str) -> User | None:
        """Whose token this is; None where it has expired or is none.

        That is audited.
        """
        user = await self._known("token", secret, self.users.of_token)
        if user is None:
            self.refused("token refused", address)
        return user

    def refused(self, what: str, address: str, **details: object) -> None:
        """Audit that a request was refused before anybody looked at what it wants.

        For one reason and address once a minute, with how many there were since: a machine with an
        old token asks on and on, and nobody may fill the disk with refusals.
        """
        found = self._refused.get((what, address))
        if found is not None and self._now() - found.told < AGAIN:
            found.more += 1
            return
        more = {"more_before": found.more} if found is not None and found.more else {}
        self._refused[what, address] = _Refused(self._now())
        if len(self._refused) > MOST_KEPT:
            self._refused.popitem(last=False)
        self._audit("", what, {"address": address, **details, **more})

    async def anybody(self) -> bool:
        """Whether there is any account yet."""
        return bool(await self.call(self.users.accounts))

    async def _known(
        self, kind: str, secret: str, find: Callable[[str], User | None]
    ) -> User | None:
        found = self._trusted.get((kind, secret))
        if found is not None and self._now() - found[0] < TRUSTED:
            return found[1]
        user = await self.call(lambda: find(secret))
        self._trusted.pop((kind, secret), None)
        if user is not None:
            self._trusted[kind, secret] = self._now(), user
            if len(self._trusted) > MOST_TRUSTED:
                self._trusted.popitem(last=False)
        return user

    async def call(
        self, work: Callable[[], Result], thread: ThreadPoolExecutor | None = None
    ) -> Result:
        """Have something done with the accounts on the door's thread."""
        return await asyncio.get_running_loop().run_in_executor(thread or self._thread, work)
