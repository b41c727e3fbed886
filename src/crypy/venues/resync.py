"""When to ask a venue for a book again: at once after a long calm, else with waits that double. Pure."""

from __future__ import annotations

from typing import Final

from crypy.domain.times import US_PER_S

_LONGEST_WAIT_S: Final = 60.0
# A book that was good for so long is asked for at once when it is lost.
_CALM_S: Final = 60.0


class Resync:
    """Our requests for one book. `next_us` is the earliest moment to ask (again), `asked_us` when it was last asked, 0: not yet."""

    def __init__(self, answer_s: float, resync_s: float) -> None:
        self.asked_us = 0
        self.next_us = 0
        self._answer_s = answer_s
        self._resync_s = resync_s
        self._attempts = 0

    def reset(self) -> None:
        """A new connection: nothing was asked on it."""
        self.asked_us = self.next_us = self._attempts = 0

    def asked(self, now_us: int) -> None:
        """It was asked for now; without an answer it will be again."""
        self.asked_us = now_us
        self.next_us = now_us + self._doubled_us(self._answer_s)
        self._attempts += 1

    def lost(self, now_us: int) -> None:
        """It came and cannot be believed any more."""
        if now_us - self.asked_us >= _CALM_S * US_PER_S:
            self._attempts = 0
        wait_us = self._doubled_us(self._resync_s) // 2 if self._attempts else 0
        self.next_us = self.asked_us + wait_us

    def _doubled_us(self, seconds: float) -> int:
        return round(min(_LONGEST_WAIT_S, seconds * 2.0 ** min(self._attempts, 30)) * US_PER_S)
