"""What is done when a minute has closed: the same for a live stream, a replay and a walk-forward. Pure but for the clock that is handed in.

One call of `close_minute` appends the minute to the market, asks every member of every timeframe that ends there, and has the answers; the
learning waits for `settle`, behind them. Candles of 5, 15 and 60 minutes are folds of the minutes, so nothing can disagree with them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError
from crypy.domain.events import Candle
from crypy.domain.times import US_PER_S
from crypy.forecasting.direction.facts import MS_PER_S, outcome_of
from crypy.forecasting.direction.minute_rows import candle_at, fact_at, same_minute
from crypy.forecasting.direction.records import TIMEFRAMES, CandleRecord, FactRecord, PredictionRecord
from crypy.models.direction.market import Market
from crypy.models.direction.online import Answer, OnlinePort
from crypy.models.direction.port import TIMEFRAMES_S, FlatRule, Member

Floats = NDArray[np.float64]
Pair = tuple[str, int]


class LearnerPort(OnlinePort, Protocol):
    """An `OnlinePort` that can be looked at without being asked, and has work to do between candles."""

    def look(self, end_s: int, asked: Mapping[str, tuple[float, float]], situation: Floats | None) -> Answer | None:
        """As `answer`; nothing is remembered."""
        ...

    def settle(self) -> None:
        """Compute ahead what the next answer needs."""
        ...


class Situation(Protocol):
    """Where the market stands at a row, for the pattern memory."""

    def prepare(self, market: Market) -> None:
        """Say what it needs of a market, before anything is asked."""
        ...

    def __call__(self, market: Market, symbol: str, timeframe_s: int, row: int) -> Floats | None:
        """The vector [dimension]; `None` where nothing can be compared."""
        ...


# Minutes that must be there for a forecast to be called whole.
_RECENT: Final = 60
# Rows held: the longest warm-up of features, and as much again so that forgetting is rare.
KEEP: Final = 2 * 1_440


class Skipped(msgspec.Struct, frozen=True):
    """A forecast that was not made, and why."""

    symbol: str
    timeframe_s: int
    candle_ts: int
    reason: str


class Close(msgspec.Struct, frozen=True):
    """All that a closed minute gave. `end_s` is its end; `took_us` what the answers took on the wall. Of a correction, `late` minutes were unknown before and
    `corrected` ones said something else."""

    end_s: int
    candles: tuple[CandleRecord, ...] = ()
    predictions: tuple[PredictionRecord, ...] = ()
    facts: tuple[FactRecord, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    took_us: int = 0
    late: int = 0
    corrected: int = 0


class Predictor:
    """Forecasts the next candle of some symbols and timeframes at each close.

    `members` are known to learners and records by their names here (`NAME:VERSION` of the registry). `learners` has the fold over closes of each (symbol, timeframe_s) that is forecast. `answered` has the start, in milliseconds, of the last candle
    that was forecast from already (before a restart): no candle is forecast from twice. `now_us` is the clock, which runs
    `speed` times as fast as the wall's: what an answer takes is told in the wall's time.
    """

    def __init__(
        self,
        market: Market,
        members: Mapping[str, Member],
        learners: Mapping[Pair, LearnerPort],
        flat: FlatRule,
        now_us: Callable[[], int],
        *,
        situation: Situation | None = None,
        answered: Mapping[Pair, int] | None = None,
        timeframes_s: Sequence[int] = TIMEFRAMES_S,
        keep: int = KEEP,
        speed: float = 1.0,
    ) -> None:
        """Raises `ConfigError` for a member of a symbol or timeframe that is not followed."""
        self.market = market
        self.flat = flat
        self.members: dict[int, dict[str, Member]] = {timeframe_s: {} for timeframe_s in timeframes_s}
        # Members that could not answer the last time they were asked, and why.
        self.faults: dict[str, str] = {}
        self.learners = dict(learners)
        self._now_us = now_us
        self._situation = situation
        self._answered = dict(answered or {})
        self._keep = keep
        self._speed = speed
        self._pending: list[tuple[Pair, int, int]] = []
        for name, member in members.items():
            odd = set(member.symbols) - set(market.symbols)
            if odd or member.timeframe_s not in self.members:
                followed = ", ".join(TIMEFRAMES[one] for one in self.members)
                raise ConfigError(
                    f"{name} forecasts {', '.join(member.symbols)} over {TIMEFRAMES.get(member.timeframe_s, member.timeframe_s)};"
                    f" followed are {', '.join(market.symbols)} over {followed}"
                )
            self.members[member.timeframe_s][name] = member
        self._prepare(market)
        self._versions = {timeframe_s: _version(group) for timeframe_s, group in self.members.items()}

    def warm(self) -> None:
        """Ask everybody once at the last row and throw it away: what is compiled at the first question is compiled now."""
        if self.market.rows > self.market.first_row:
            for timeframe_s in self.members:
                self._asked(timeframe_s, self.market.rows - 1)

    def close_minute(self, candles: Mapping[str, Candle | None], arrived_us: int) -> Close:
        """The minute that follows the last one: candle or `None` of every symbol, the last of which came at `arrived_us`.

        Raises `DataError` for another minute; nothing is taken then.
        """
        begun_us = self._now_us()
        self.settle()
        self.market.append(candles)
        end_s, row = self.market.end_s, self.market.rows - 1
        predictions: list[PredictionRecord] = []
        skipped: list[Skipped] = []
        for timeframe_s in self._ending(end_s):
            self._forecast(timeframe_s, row, arrived_us, predictions, skipped)
        took_us = self._wall_us(self._now_us() - begun_us)
        made, facts = self._records(row)
        self._pending = [
            ((fact.symbol, timeframe_s), fact.candle_ts // MS_PER_S, outcome_of(fact.close_prev, fact.close_curr))
            for timeframe_s, group in facts
            for fact in group
        ]
        if self.market.rows - self.market.first_row > 2 * self._keep:
            self.market.forget(self._keep)
        every_fact = tuple(fact for _, group in facts for fact in group)
        return Close(end_s, made, tuple(predictions), every_fact, tuple(skipped), took_us)

    def settle(self) -> None:
        """Learn from the facts of the last close. Without effect where that was done."""
        pending, self._pending = self._pending, []
        for pair, end_s, outcome in pending:
            if pair in self.learners:
                self.learners[pair].learn(end_s, outcome)
                self.learners[pair].settle()

    def correct(self, candles: Iterable[Candle]) -> Close:
        """Closed minutes that came late or say something else now: the market as if it had always been so, and the candles and facts that are others.

        Forecasts stand as they were made, and nothing is learned from what came too late for its minute. What is older than the rows held, or says
        nothing new, is left out.
        """
        found = {one: self._known(one) for one in candles if self._holds(one)}
        late = [one for one, known in found.items() if known is None or not same_minute(one, known)]
        touched = dict.fromkeys(each for one in late for each in self._touched(one))
        before = {each: self._told(*each) for each in touched}
        for candle in late:
            self.market.state.corrected(candle.symbol, candle)
        changed = [(self._told(*each), before[each]) for each in touched]
        unknown = sum(found[one] is None for one in late)
        return Close(
            self.market.end_s,
            tuple(told[0] for told, was in changed if told[0] is not None and told[0] != was[0]),
            (),
            tuple(told[1] for told, was in changed if told[1] is not None and told[1] != was[1]),
            late=unknown,
            corrected=len(late) - unknown,
        )

    def intra(self, candles: Mapping[str, Candle | None], arrived_us: int) -> tuple[PredictionRecord, ...]:
        """What would be forecast if the running minute ended as it stands, of the timeframes that end with it. Marked, and remembered by nobody."""
        made: list[PredictionRecord] = []
        market = self.market
        with market.state.supposing(candles):
            for timeframe_s in self._ending(market.end_s):
                for symbol, asked in self._asked(timeframe_s, market.rows - 1).items():
                    learner = self.learners.get((symbol, timeframe_s))
                    if learner is None or candles[symbol] is None:
                        continue
                    answer = learner.look(market.end_s, asked, self._where(symbol, timeframe_s, market.rows - 1))
                    if answer is not None:
                        made.append(self._record(symbol, timeframe_s, answer, arrived_us, intra=True))
        return tuple(made)

    def _prepare(self, market: Market) -> None:
        for group in self.members.values():
            for member in group.values():
                member.prepare(market)
        if self._situation is not None:
            self._situation.prepare(market)

    def _ending(self, end_s: int) -> list[int]:
        return [timeframe_s for timeframe_s in self.members if end_s % timeframe_s == 0]

    def _forecast(
        self, timeframe_s: int, row: int, arrived_us: int, predictions: list[PredictionRecord], skipped: list[Skipped]
    ) -> None:
        if not self.members[timeframe_s]:
            return
        end_s = self.market.end_s
        candle_ts = (end_s - timeframe_s) * MS_PER_S
        wanted: list[str] = []
        for symbol in self.market.symbols:
            if (symbol, timeframe_s) not in self.learners or self._answered.get((symbol, timeframe_s), -1) >= candle_ts:
                continue
            if reason := self._reason(symbol, timeframe_s, row):
                skipped.append(Skipped(symbol, timeframe_s, candle_ts, reason))
            else:
                wanted.append(symbol)
        asked = self._asked(timeframe_s, row) if wanted else {}
        for symbol in wanted:
            where = self._where(symbol, timeframe_s, row)
            answer = self.learners[symbol, timeframe_s].answer(end_s, asked[symbol], where)
            if answer is None:
                skipped.append(Skipped(symbol, timeframe_s, candle_ts, "no model can tell yet: too little history"))
                continue
            self._answered[symbol, timeframe_s] = candle_ts
            predictions.append(self._record(symbol, timeframe_s, answer, arrived_us))

    def _reason(self, symbol: str, timeframe_s: int, row: int) -> str:
        """Why there is no forecast, "" where there is one."""
        if self.market.column(symbol, "missing", row, row + 1)[0]:
            return "its last minute could not be had in time"
        if self._now_us() >= (self.market.end_s + timeframe_s) * US_PER_S:
            return "the candle to forecast was over"
        return ""

    def _where(self, symbol: str, timeframe_s: int, row: int) -> Floats | None:
        return None if self._situation is None else self._situation(self.market, symbol, timeframe_s, row)

    def _asked(self, timeframe_s: int, row: int) -> dict[str, dict[str, tuple[float, float]]]:
        """Every member's (p_up, p_down) by symbol and name."""
        market = self.market
        asked: dict[str, dict[str, tuple[float, float]]] = {symbol: {} for symbol in market.symbols}
        rows = np.array([row], np.int64)
        for name, member in self.members[timeframe_s].items():
            try:
                told = member.ask(market, rows)
            except (
                Exception
            ) as error:  # a model may be anybody's code: what it raises costs its own voice and no other's
                self.faults[name] = f"{name} could not answer: {error!r}"
                continue
            self.faults.pop(name, None)
            for at, symbol in enumerate(member.symbols):
                asked[symbol][name] = float(told.p_up[0, at]), float(told.p_down[0, at])
        return asked

    def _record(
        self, symbol: str, timeframe_s: int, answer: Answer, arrived_us: int, *, intra: bool = False
    ) -> PredictionRecord:
        market = self.market
        made_us = self._now_us()
        model, version = self._versions[timeframe_s]
        first = max(market.first_row, market.rows - _RECENT)
        return PredictionRecord(
            symbol=symbol,
            timeframe=TIMEFRAMES[timeframe_s],
            candle_ts=(market.end_s - timeframe_s) * MS_PER_S,
            p_up=answer.p_up,
            p_down=answer.p_down,
            direction=self.flat.direction(answer.p_up, answer.p_down),
            raw_p_up=answer.raw_p_up,
            raw_p_down=answer.raw_p_down,
            model=model,
            version=version,
            horizon_s=timeframe_s,
            made_us=made_us,
            latency_us=self._wall_us(max(0, made_us - arrived_us)),
            missing=int(sum(market.column(one, "missing", first, market.rows).sum() for one in market.symbols)),
            members=dict(answer.members),
            evidence=answer.evidence,
            intra=intra,
        )

    def _wall_us(self, span_us: int) -> int:
        return round(span_us / self._speed)

    def _records(self, row: int) -> tuple[tuple[CandleRecord, ...], list[tuple[int, list[FactRecord]]]]:
        """Candles and facts of all timeframes that end with a row."""
        made: list[CandleRecord] = []
        facts: list[tuple[int, list[FactRecord]]] = []
        for timeframe_s in self._ending(self.market.end_s):
            found = [candle_at(self.market, symbol, timeframe_s, row) for symbol in self.market.symbols]
            made += [one for one in found if one is not None]
            told = [fact_at(self.market, symbol, timeframe_s, row) for symbol in self.market.symbols]
            facts.append((timeframe_s, [one for one in told if one is not None]))
        return tuple(made), facts

    def _holds(self, candle: Candle) -> bool:
        row = self.market.row_ending(candle.close_time_us // US_PER_S)
        return self.market.first_row <= row < self.market.rows and candle.symbol in self.market.symbols

    def _known(self, candle: Candle) -> CandleRecord | None:
        return candle_at(self.market, candle.symbol, 60, self.market.row_ending(candle.close_time_us // US_PER_S))

    def _touched(self, candle: Candle) -> Iterator[tuple[str, int, int]]:
        """Symbol, timeframe and last row of each closed candle that a minute is part of, and of the one behind it, whose fact begins at its close."""
        end_s = candle.close_time_us // US_PER_S
        for timeframe_s in self.members:
            first_s = -(-end_s // timeframe_s) * timeframe_s
            for at_s in (first_s, first_s + timeframe_s):
                if at_s <= self.market.end_s:
                    yield candle.symbol, timeframe_s, self.market.row_ending(at_s)

    def _told(self, symbol: str, timeframe_s: int, row: int) -> tuple[CandleRecord | None, FactRecord | None]:
        return (
            candle_at(self.market, symbol, timeframe_s, row, corrected=True),
            fact_at(self.market, symbol, timeframe_s, row, corrected=True),
        )


def _version(group: Mapping[str, Member]) -> tuple[str, str]:
    """What a group of members is called in a record: the one member's own name, or `ensemble` and a mark of who is in it."""
    if len(group) == 1:
        model, _, version = next(iter(group)).partition(":")
        return model, version
    names = "\n".join(sorted(group))
    return "ensemble", hashlib.sha256(names.encode()).hexdigest()[:8]
