"""A visit: one person who looks at one page, of the line or of a recording."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlencode

from nicegui import background_tasks, context

from twin.desk import Desk
from twin.desk.replays import Playback
from twin.screen.feed import Hub
from twin.screen.parts import on_page
from twin.screen.words import Words
from twin.users import Role, User

Source: TypeAlias = Desk | Playback
"""What can be looked at: the line, or a recording that is played."""


@dataclass(frozen=True, slots=True)
class Visit:
    """Who looks, at what, in which language."""

    words: Words
    theme: str
    user: User
    """As they were when the page was opened."""
    session: str
    desk: Desk
    reader: Source
    """Of the line, or of the recording that is replayed."""
    hub: Hub
    replay: str
    """Identity of the replay; empty where it is live."""
    recording: str
    """Name of the recording that is replayed."""

    @property
    def live(self) -> bool:
        return not self.replay

    def path(self, page: str) -> str:
        """The address of a page that shows the same line or recording."""
        return f"/replay/{self.replay}{page}" if self.replay else page

    def data(self, what: str, asked: Mapping[str, object]) -> str:
        """The address of data of the same line or recording."""
        return f"/screen/data/{what}?{urlencode({**asked, 'replay': self.replay})}"

    def may(self, role: Role) -> bool:
        """Whether the person has at least this role."""
        return self.user.may(role)

    async def person(self) -> User:
        """Who acts, as the accounts say now: a page may stay open for longer than its session.

        Raises:
            ValueError: the session is over.
        """
        found = await self.desk.door.of_session(self.session)
        if found is None:
            raise ValueError(self.words("session_over"))
        return found

    def follow(self, kinds: tuple[str, ...], call: Callable[[], object]) -> None:
        """Call back, on this page, soon after something of these kinds happened."""
        handle = on_page(call)

        def soon() -> None:
            background_tasks.create(handle(), name="page")

        context.client.on_delete(self.hub.follow(kinds, soon))
