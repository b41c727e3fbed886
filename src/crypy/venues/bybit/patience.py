"""How long the feed waits for what, and for how long it leaves the venue alone after a failure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crypy.venues.bybit.capabilities import BYBIT


@dataclass(frozen=True, slots=True)
class Patience:
    """Waits of the feed, in seconds of its clock.

    `ping_s`: how often we show that we are there. `answer_s`: how long the venue may take to answer that, or a subscription.
    `silence_s`: a connection without an event for so long is dead, whatever it answers. `resync_s`: how often a broken book is asked for.
    `reorder_s`: how long a hole may close by itself before REST is asked. `overdue_s`: a candle that has not come so long
    after its end is asked for. `give_up_s`: how long a hole may last without progress. `backoff_s` to `most_backoff_s`: waits
    between attempts, doubling; they begin anew after a connection that brought events for `steady_s`. `tick_s`: how often all this is looked at.
    """

    ping_s: float = BYBIT.ping_s
    answer_s: float = 10.0
    silence_s: float = 90.0
    resync_s: float = 5.0
    reorder_s: float = 1.0
    overdue_s: float = 5.0
    give_up_s: float = 60.0
    backoff_s: float = 0.5
    most_backoff_s: float = 60.0
    steady_s: float = 30.0
    tick_s: float = 1.0


class Backoff:
    """Waits that double up to a limit, each shortened by up to a half at random so that many do not come back at once."""

    def __init__(self, patience: Patience, random: np.random.Generator) -> None:
        self._patience = patience
        self._random = random
        self._failures = 0

    def reset(self) -> None:
        self._failures = 0

    def next_s(self, asked_s: float | None = None) -> float:
        """The wait after one more failure; never shorter than what the venue asked for."""
        wait = min(self._patience.most_backoff_s, self._patience.backoff_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return max(asked_s or 0.0, wait * (1.0 - 0.5 * float(self._random.random())))
