"""One side of a connection refuses the other: a matter of security, not of the network."""

from __future__ import annotations

from typing import Literal


class RefusedError(ConnectionError):
    """Somebody was not who they had to be; the sentence holds no secret.

    `what` is `peer refused` where the twin refuses, and `refused by peer` where it is refused.
    """

    def __init__(self, what: Literal["peer refused", "refused by peer"], said: str) -> None:
        super().__init__(said)
        self.what = what
