"""How late each source's news is here: time of reception less the time at which the venue says that it happened.

It holds the way here and how far the two clocks are apart, which nobody can tell from one side: a negative lag means that the
venue's clock is ahead of ours.
"""

from __future__ import annotations

from array import array

import msgspec
import numpy as np

from crypy.domain.times import US_PER_S

# The newest so many events of a source count, at 16 bytes each.
_MOST = 8_192


class LagRow(msgspec.Struct, frozen=True, kw_only=True):
    """One source's lag in milliseconds over the last `span_s` seconds, in which `count` events came; `last_us` is the newest one's reception."""

    source: str
    count: int
    span_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    last_us: int


class FeedLag:
    """Lags of the last `window_s` seconds before a source's newest event, at most 8,192 of them each.

    >>> lag = FeedLag()
    >>> for k in range(4):
    ...     lag.update("binance.trades", event_us=1_000_000 * k, received_us=1_000_000 * k + 7_000)
    >>> lag.rows()[0].p50_ms, lag.rows()[0].count
    (7.0, 4)
    """

    def __init__(self, window_s: float = 60.0) -> None:
        self._window_us = round(window_s * US_PER_S)
        self._sources: dict[str, _Ring] = {}

    def update(self, source: str, event_us: int, received_us: int) -> None:
        """Take one event in; times of reception of a source do not run backwards."""
        ring = self._sources.get(source)
        if ring is None:
            ring = self._sources[source] = _Ring()
        at = ring.count % _MOST
        ring.received_us[at] = received_us
        ring.lag_us[at] = received_us - event_us
        ring.count += 1

    def rows(self) -> tuple[LagRow, ...]:
        """One row for each source that has been heard, by name."""
        return tuple(self._row(source, self._sources[source]) for source in sorted(self._sources))

    def _row(self, source: str, ring: _Ring) -> LagRow:
        held = min(ring.count, _MOST)
        last_us = ring.received_us[(ring.count - 1) % _MOST]
        received_us = np.array(ring.received_us[:held], np.int64)
        recent = received_us > last_us - self._window_us
        lags_ms = np.array(ring.lag_us[:held], np.int64)[recent] / 1e3
        p50, p99 = np.quantile(lags_ms, (0.5, 0.99)).tolist()
        return LagRow(
            source=source,
            count=len(lags_ms),
            span_s=(last_us - int(received_us[recent].min())) / US_PER_S,
            p50_ms=p50,
            p99_ms=p99,
            max_ms=float(lags_ms.max()),
            last_us=last_us,
        )


class _Ring:
    """The newest events of one source; `count` is how many there have been."""

    __slots__ = ("count", "lag_us", "received_us")

    def __init__(self) -> None:
        self.count = 0
        self.received_us = array("q", bytes(8 * _MOST))
        self.lag_us = array("q", bytes(8 * _MOST))
