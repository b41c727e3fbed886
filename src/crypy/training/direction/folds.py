"""Which closes are judged, and models that are fitted anew for each part of a range on what ended before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from crypy.domain.errors import ConfigError
from crypy.domain.times import DAY_S, US_PER_S, iso
from crypy.models.direction.market import Market
from crypy.models.direction.port import Member, Probabilities
from crypy.training.direction.calls import Ints

# Fits a member, or one for each of some timeframes, on what has ended by a second; the minutes after it are not to be looked at.
FitUntil = Callable[[int], Member]
FitAllUntil = Callable[[int], Iterable[Member]]


@dataclass(frozen=True, slots=True)
class Span:
    """Closes in `[start_s, end_s)` whose next candle ends by `end_s`."""

    start_s: int
    end_s: int

    def rows(self, market: Market, timeframe_s: int) -> Ints:
        """Rows of the market that end a candle of the timeframe, and whose next one is held."""
        rows = market.rows_ending(timeframe_s)
        ends_s = market.start_s + (rows + 1) * market.step_s
        last_s = min(self.end_s, market.end_s) - timeframe_s
        return rows[(ends_s >= self.start_s) & (ends_s <= last_s)]


class Folds:
    """Members of consecutive folds as one `Member`: a row is answered by the last one whose test part has begun."""

    def __init__(self, name: str, parts: Sequence[tuple[int, Member]]) -> None:
        """`parts` are (first second of the test part, member fitted on what ended before), ascending."""
        self._name = name
        self._starts_s = np.array([start_s for start_s, _ in parts], np.int64)
        self._members = [member for _, member in parts]

    @classmethod
    def fitted(
        cls,
        name: str,
        fit: FitUntil,
        span: Span,
        folds: int,
        embargo_s: int,
        told: Callable[[str], None] = lambda _: None,
    ) -> Folds:
        """Fit `folds` members, each on what ended `embargo_s` before its part of the span. Raises `ConfigError` for a span too short."""
        ((_, parts),) = _parts_fitted(name, lambda end_s: [fit(end_s)], span, folds, embargo_s, told).items()
        return cls(name, parts)

    @classmethod
    def fitted_together(
        cls,
        name: str,
        fit: FitAllUntil,
        span: Span,
        folds: int,
        embargo_s: int,
        told: Callable[[str], None] = lambda _: None,
    ) -> dict[int, Folds]:
        """As `fitted` for several timeframes, by `timeframe_s`: each fold is fitted once for all of them, so that what they learn together is learned once."""
        fitted = _parts_fitted(name, fit, span, folds, embargo_s, told)
        return {timeframe_s: cls(name, parts) for timeframe_s, parts in fitted.items()}

    @property
    def name(self) -> str:
        return self._name

    @property
    def symbols(self) -> tuple[str, ...]:
        return self._members[0].symbols

    @property
    def timeframe_s(self) -> int:
        return self._members[0].timeframe_s

    def prepare(self, market: Market) -> None:
        """As `Member`."""
        for member in self._members:
            member.prepare(market)

    def ask(self, market: Market, rows: Ints) -> Probabilities:
        """As `Member`; NaN before the first part begins."""
        ends_s = market.start_s + (rows + 1) * market.step_s
        whose = np.searchsorted(self._starts_s, ends_s, "right") - 1
        found = np.full((2, len(rows), len(self.symbols)), np.nan)
        for at, member in enumerate(self._members):
            mine = whose == at
            if mine.any():
                told = member.ask(market, rows[mine])
                found[0, mine], found[1, mine] = told.p_up, told.p_down
        return Probabilities(found[0], found[1])


def _parts_fitted(
    name: str, fit: FitAllUntil, span: Span, folds: int, embargo_s: int, told: Callable[[str], None]
) -> dict[int, list[tuple[int, Member]]]:
    """What `Folds` is made of, by timeframe."""
    parts: dict[int, list[tuple[int, Member]]] = {}
    for begin_s, end_s in pairwise(fold_edges(span, folds)):
        told(f"{name}: fitted up to {_day(begin_s - embargo_s)}, judged {_day(begin_s)} to {_day(end_s)}")
        for member in fit(begin_s - embargo_s):
            parts.setdefault(member.timeframe_s, []).append((begin_s, member))
    return parts


def fold_edges(span: Span, folds: int) -> tuple[int, ...]:
    """Seconds between which the test parts lie; parts of a day and more begin at midnight UTC. Raises `ConfigError` where there is no room."""
    length_s = (span.end_s - span.start_s) // max(1, folds)
    if folds < 1 or length_s < 3_600:
        raise ConfigError(
            f"{folds} folds cannot be cut from {_day(span.start_s)} to {_day(span.end_s)}; take fewer folds or a longer range"
        )
    step_s = DAY_S if length_s >= DAY_S else 3_600
    inner = (span.start_s + k * length_s for k in range(1, folds))
    return (span.start_s, *(edge - edge % step_s for edge in inner), span.end_s)


def _day(second: int) -> str:
    return iso(second * US_PER_S)
