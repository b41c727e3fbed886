"""How long a live feed waits for what, and how it spaces its attempts."""

from __future__ import annotations

import math

import msgspec
import numpy as np


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """Waits of a feed, in seconds of its clock.

    `ping_s`: after so much silence we ask whether the venue is there. `keep_alive_s`: how often we say that we are there, whatever comes.
    `silence_s`: a connection without any message for so long is dead. `data_silence_s`: one that only says it is alive, without market
    data, is no better. `max_age_s`: a connection is made anew before the venue cuts it. `look_s`: how often all this is looked at.
    `answer_s`: how long a subscription may stay unanswered. `resync_s`: the wait before a book that was lost again is asked for
    again, doubling. `reorder_s`: how long a hole may close by itself before the past is asked.
    `grace_s`: how long after its end a candle may be outstanding before it is asked for. `give_up_s`: how long a hole may last
    without progress. `settled_s`: a connection that brought data for so long was a good one. The first attempt after a good connection comes
    after `first_backoff_s`, the later ones after `backoff_s`, doubling up to `most_backoff_s`.
    """

    ping_s: float = 5.0
    keep_alive_s: float = math.inf
    silence_s: float = 10.0
    data_silence_s: float = 300.0
    max_age_s: float = math.inf
    look_s: float = 1.0
    answer_s: float = 10.0
    resync_s: float = 1.0
    reorder_s: float = 0.2
    grace_s: float = 5.0
    give_up_s: float = 300.0
    settled_s: float = 30.0
    first_backoff_s: float = 0.5
    backoff_s: float = 5.0
    most_backoff_s: float = 60.0

    def times(self, speed: float) -> Patience:
        """The same waits on the wall for a clock that runs `speed` times as fast."""
        return Patience(**{name: value * speed for name, value in msgspec.structs.asdict(self).items()})


class Backoff:
    """Waits that double up to a limit, each lengthened by up to a half at random so that many do not come back at once."""

    def __init__(self, patience: Patience, random: np.random.Generator) -> None:
        self._patience = patience
        self._random = random
        self._failures = 0

    def reset(self) -> None:
        self._failures = 0

    def next_s(self, asked_s: float | None = None) -> float:
        """The wait after one more failure; never shorter than what the venue asked for."""
        patience = self._patience
        wait_s = patience.backoff_s * 2.0 ** min(self._failures - 1, 30) if self._failures else patience.first_backoff_s
        self._failures += 1
        wait_s = min(patience.most_backoff_s, wait_s * (1.0 + 0.5 * float(self._random.random())))
        return max(asked_s or 0.0, wait_s)
