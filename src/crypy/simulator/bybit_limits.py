"""Bybit's limit of requests per address: so many in a rolling window, and ten minutes of refusals for who goes beyond."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S


@dataclass(frozen=True, slots=True)
class AddressRules:
    """`most` requests in `window_s`; past that every request is refused for `ban_s`. Seconds of the clock."""

    most: int = 600
    window_s: float = 5.0
    ban_s: float = 600.0


class AddressLimit:
    """Counts the requests of each address."""

    def __init__(self, clock: Clock, rules: AddressRules) -> None:
        self._clock = clock
        self._rules = rules
        self._times_us: dict[str, deque[int]] = {}
        self._banned_until_us: dict[str, int] = {}

    def admits(self, address: str) -> bool:
        """Whether a request is answered; it is counted either way."""
        now_us = self._clock.now_us()
        if now_us < self._banned_until_us.get(address, 0):
            return False
        times_us = self._times_us.setdefault(address, deque())
        while times_us and times_us[0] <= now_us - self._rules.window_s * US_PER_S:
            times_us.popleft()
        times_us.append(now_us)
        if len(times_us) <= self._rules.most:
            return True
        self._banned_until_us[address] = now_us + round(self._rules.ban_s * US_PER_S)
        times_us.clear()
        return False
