"""What is done when a minute has closed: the same for a live stream, a replay and a walk-forward. Pure but for the clock that is handed in.

One call of `close_minute` appends the minute to the market, asks every member of every timeframe that ends there, and has the answers; the
learning waits for `settle`, behind them. Candles of 5, 15 and 60 minutes are folds of the minutes, so nothing can disagree with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from crypy.domain.events import Candle
from crypy.domain.times import US_PER_S
from crypy.forecasting.direction.corrections import correct
from crypy.forecasting.direction.facts import MS_PER_S, outcome_of
from crypy.forecasting.direction.members import Members
from crypy.forecasting.direction.minute_rows import candle_at, fact_at
from crypy.forecasting.direction.ports import Floats, LearnerPort, Situation
from crypy.forecasting.direction.records import SECONDS, TIMEFRAMES, CandleRecord, FactRecord, PredictionRecord
from crypy.models.direction.market import Market
from crypy.models.direction.online import Answer
from crypy.models.direction.port import TIMEFRAMES_S, FlatRule, Member

Pair = tuple[str, int]

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
        self._members = Members(market, members, timeframes_s)
        self.members = self._members.by_timeframe
        # Members that could not answer the last time they were asked, and why.
        self.faults = self._members.faults
        self.learners = dict(learners)
        self._now_us = now_us
        self._situation = situation
        self._answered = dict(answered or {})
        self._keep = keep
        self._speed = speed
        # Facts that are not learned yet.
        self._pending: tuple[FactRecord, ...] = ()
        if situation is not None:
            situation.prepare(market)

    def warm(self) -> None:
        """Ask everybody once at the last row and throw it away: what is compiled at the first question is compiled now."""
        if self.market.rows > self.market.first_row:
            for timeframe_s in self.members:
                self._members.ask(timeframe_s, self.market.rows - 1)

    def close_minute(self, candles: Mapping[str, Candle | None], arrived_us: int) -> Close:
        """The minute that follows the last one: candle or `None` of every symbol, the last of which came at `arrived_us`.

        Raises `DataError` for another minute; nothing is taken then.
        """
        begun_us = self._now_us()
        self.settle()
        self.market.append(candles)
        row = self.market.rows - 1
        predictions: list[PredictionRecord] = []
        skipped: list[Skipped] = []
        for timeframe_s in self._ending():
            wanted, unasked = self._wanted(timeframe_s, row)
            made, unanswered = self._forecasts(timeframe_s, row, wanted, arrived_us)
            predictions += made
            skipped += (*unasked, *unanswered)
        took_us = self._wall_us(self._now_us() - begun_us)
        closed, facts = self._candles(row), self._facts(row)
        self._pending = facts
        if self.market.rows - self.market.first_row > 2 * self._keep:
            self.market.forget(self._keep)
        return Close(self.market.end_s, closed, tuple(predictions), facts, tuple(skipped), took_us)

    def settle(self) -> None:
        """Learn from the facts of the last close. Without effect where that was done."""
        pending, self._pending = self._pending, ()
        for fact in pending:
            learner = self.learners.get((fact.symbol, SECONDS[fact.timeframe]))
            if learner is not None:
                learner.learn(fact.candle_ts // MS_PER_S, outcome_of(fact.close_prev, fact.close_curr))
                learner.settle()

    def correct(self, candles: Iterable[Candle]) -> Close:
        """Closed minutes that came late or say something else now: the market as if it had always been so, and the candles and facts that are others.

        Forecasts stand as they were made, and nothing is learned from what came too late for its minute. What is older than the rows held, or says
        nothing new, is left out.
        """
        done = correct(self.market, self.members, candles)
        return Close(self.market.end_s, done.candles, facts=done.facts, late=done.late, corrected=done.corrected)

    def intra(self, candles: Mapping[str, Candle | None], arrived_us: int) -> tuple[PredictionRecord, ...]:
        """What would be forecast if the running minute ended as it stands, of the timeframes that end with it. Marked, and remembered by nobody."""
        made: list[PredictionRecord] = []
        market = self.market
        with market.state.supposing(candles):
            for timeframe_s in self._ending():
                for symbol, asked in self._members.ask(timeframe_s, market.rows - 1).items():
                    learner = self.learners.get((symbol, timeframe_s))
                    if learner is None or candles[symbol] is None:
                        continue
                    answer = learner.look(market.end_s, asked, self._where(symbol, timeframe_s, market.rows - 1))
                    if answer is not None:
                        made.append(self._record(symbol, timeframe_s, answer, arrived_us, intra=True))
        return tuple(made)

    def _ending(self) -> list[int]:
        return [timeframe_s for timeframe_s in self.members if self.market.end_s % timeframe_s == 0]

    def _wanted(self, timeframe_s: int, row: int) -> tuple[list[str], list[Skipped]]:
        """Symbols to be forecast now, and those that cannot be."""
        if not self.members[timeframe_s]:
            return [], []
        candle_ts = self._candle_ts(timeframe_s)
        wanted: list[str] = []
        skipped: list[Skipped] = []
        for symbol in self.market.symbols:
            if (symbol, timeframe_s) not in self.learners or self._answered.get((symbol, timeframe_s), -1) >= candle_ts:
                continue
            if reason := self._reason(symbol, timeframe_s, row):
                skipped.append(Skipped(symbol, timeframe_s, candle_ts, reason))
            else:
                wanted.append(symbol)
        return wanted, skipped

    def _forecasts(
        self, timeframe_s: int, row: int, wanted: Sequence[str], arrived_us: int
    ) -> tuple[list[PredictionRecord], list[Skipped]]:
        """Forecasts of symbols, and those for which no model could tell."""
        asked = self._members.ask(timeframe_s, row) if wanted else {}
        candle_ts = self._candle_ts(timeframe_s)
        made: list[PredictionRecord] = []
        skipped: list[Skipped] = []
        for symbol in wanted:
            where = self._where(symbol, timeframe_s, row)
            answer = self.learners[symbol, timeframe_s].answer(self.market.end_s, asked[symbol], where)
            if answer is None:
                skipped.append(Skipped(symbol, timeframe_s, candle_ts, "no model can tell yet: too little history"))
                continue
            self._answered[symbol, timeframe_s] = candle_ts
            made.append(self._record(symbol, timeframe_s, answer, arrived_us))
        return made, skipped

    def _candle_ts(self, timeframe_s: int) -> int:
        """The start, in milliseconds, of the candle that ends with the market."""
        return (self.market.end_s - timeframe_s) * MS_PER_S

    def _reason(self, symbol: str, timeframe_s: int, row: int) -> str:
        """Why there is no forecast, "" where there is one."""
        if self.market.column(symbol, "missing", row, row + 1)[0]:
            return "its last minute could not be had in time"
        if self._now_us() >= (self.market.end_s + timeframe_s) * US_PER_S:
            return "the candle to forecast was over"
        return ""

    def _where(self, symbol: str, timeframe_s: int, row: int) -> Floats | None:
        return None if self._situation is None else self._situation(self.market, symbol, timeframe_s, row)

    def _record(
        self, symbol: str, timeframe_s: int, answer: Answer, arrived_us: int, *, intra: bool = False
    ) -> PredictionRecord:
        market = self.market
        made_us = self._now_us()
        model, version = self._members.called(timeframe_s)
        first = max(market.first_row, market.rows - _RECENT)
        return PredictionRecord(
            symbol=symbol,
            timeframe=TIMEFRAMES[timeframe_s],
            candle_ts=self._candle_ts(timeframe_s),
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

    def _candles(self, row: int) -> tuple[CandleRecord, ...]:
        """Candles of all timeframes that end with a row."""
        ending, symbols = self._ending(), self.market.symbols
        found = (candle_at(self.market, symbol, timeframe_s, row) for timeframe_s in ending for symbol in symbols)
        return tuple(one for one in found if one is not None)

    def _facts(self, row: int) -> tuple[FactRecord, ...]:
        """Facts of all timeframes that end with a row."""
        ending, symbols = self._ending(), self.market.symbols
        found = (fact_at(self.market, symbol, timeframe_s, row) for timeframe_s in ending for symbol in symbols)
        return tuple(one for one in found if one is not None)
