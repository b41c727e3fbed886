"""Request weights as Binance counts them: per minute of the clock, 429 when over, 418 for who goes on regardless."""

from __future__ import annotations

from dataclasses import dataclass

from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S

MINUTE_US = 60 * US_PER_S


@dataclass(frozen=True, slots=True)
class WeightRules:
    """`limit` per minute; after `patience` refused requests within a minute the address is banned for `ban_s`."""

    limit: int = 6_000
    patience: int = 20
    ban_s: int = 120


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a request gets: its minute's `used` weight, and a refusal's status and wait; status 0 lets it pass."""

    used: int
    status: int = 0
    retry_after_s: int = 0
    banned_until_ms: int = 0


class WeightMeter:
    """Counts one address's weight in clock-aligned minutes."""

    def __init__(self, clock: Clock, rules: WeightRules) -> None:
        self._clock = clock
        self._rules = rules
        self._minute = -1
        self._used = 0
        self._refused = 0
        self._banned_until_us = 0

    def spend(self, weight: int) -> Verdict:
        """Count a request. A refused one is counted too, as the venue does."""
        now_us = self._clock.now_us()
        if now_us // MINUTE_US != self._minute:
            self._minute, self._used, self._refused = now_us // MINUTE_US, 0, 0
        if now_us < self._banned_until_us:
            return self._ban(now_us)
        self._used += weight
        if self._used <= self._rules.limit:
            return Verdict(self._used)
        self._refused += 1
        if self._refused > self._rules.patience:
            self._banned_until_us = now_us + self._rules.ban_s * US_PER_S
            return self._ban(now_us)
        return Verdict(self._used, 429, _seconds_up((self._minute + 1) * MINUTE_US - now_us))

    def _ban(self, now_us: int) -> Verdict:
        wait_us = self._banned_until_us - now_us
        return Verdict(self._used, 418, _seconds_up(wait_us), self._banned_until_us // 1_000)


def _seconds_up(span_us: int) -> int:
    return -(-span_us // US_PER_S)
