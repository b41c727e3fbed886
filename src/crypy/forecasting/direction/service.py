"""The predict-only service: closed minutes in, forecasts out, files behind. It knows no venue and can reach none; a feed calls it.

`on_candle` is the hot path: a straight call from the socket's own read event that joins the symbols' minutes and has the answers when it returns.
Files are written, and facts learned, by a task behind it. What the disk does not take waits in memory while forecasts go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import structlog

from crypy.domain.events import Candle
from crypy.domain.ports import Clock
from crypy.domain.reports import DirectionReport
from crypy.domain.times import US_PER_MS, US_PER_S, iso
from crypy.forecasting.direction.keeping import Keeping
from crypy.forecasting.direction.minutes import MINUTE_US, Minutes
from crypy.forecasting.direction.predictor import Close, Pair, Predictor
from crypy.forecasting.direction.recorder import Recorder, RecorderStatus
from crypy.forecasting.direction.records import TIMEFRAMES, PredictionRecord
from crypy.forecasting.direction.standing import Standings
from crypy.forecasting.direction.tallies import Latency, Tallies
from crypy.forecasting.direction.writing import Writing
from crypy.models.direction.learner import Learner
from crypy.runtime.agent import AgentContext
from crypy.runtime.deadlines import done_within, end

log = structlog.get_logger()

# The clock's time between two tries of a disk that takes nothing, while no candle closes.
_AGAIN_S: Final = 5.0


class DirectionService:
    """Forecasts while `run` runs; `begin` comes first.

    `learners` are those of the predictor, which `keeping` writes. `tell` hears of every forecast, intra-candle ones too, in the thread that writes. `recorded` has the start
    of the last candle and fact that stand in the files, in milliseconds: what closed since, while nobody was there, is written by `begin`.
    """

    def __init__(
        self,
        predictor: Predictor,
        learners: Mapping[Pair, Learner],
        recorder: Recorder,
        keeping: Keeping,
        clock: Clock,
        *,
        wait_s: float,
        intra_s: float = 0.0,
        recorded: Mapping[str, Mapping[Pair, int]] | None = None,
        tell: Callable[[PredictionRecord], object] = lambda _: None,
    ) -> None:
        self.predictor = predictor
        self._tallies = Tallies()
        self.counts = self._tallies.counts
        self.skips = self._tallies.skips
        self._writing = Writing(learners, recorder, keeping, recorded or {}, tell)
        self._clock = clock
        self._intra_us = round(intra_s * US_PER_S)
        self._intra_due_us = 0
        self._running: dict[str, Candle] = {}
        market = predictor.market
        self._minutes = Minutes(market.symbols, market.end_s * US_PER_S, round(wait_s * US_PER_S))
        self._standings = Standings(market.symbols, (TIMEFRAMES[one] for one in predictor.members))
        self._late: dict[tuple[str, int], Candle] = {}
        self._wake = asyncio.Event()
        self._settled = True

    @property
    def known(self) -> dict[Pair, int]:
        """The open of the last minute that was taken, in microseconds, by (symbol, 60): a feed goes on behind it."""
        return {(symbol, 60): self._minutes.next_us - MINUTE_US for symbol in self._minutes.symbols}

    @property
    def is_settled(self) -> bool:
        """Whether everything that was made is on the disk, and everything learned."""
        return self._settled

    def begin(self, rows: Iterable[Mapping[str, Candle | None]]) -> None:
        """Minutes that closed before the feed runs and after the market's last row: each is taken as if it came now. A forecast is made where the candle
        that it is about has not ended; candles and facts are written that are not in the files yet."""
        self.predictor.warm()
        for candles in rows:
            self._close(candles, self._clock.now_us())
            self._minutes.next_us = self.predictor.market.end_s * US_PER_S
        self._rouse()

    def on_candle(self, candle: Candle) -> None:
        """A candle of a symbol, closed or (for intra-candle forecasts) as it stands."""
        now_us = self._clock.now_us()
        if not candle.closed:
            self._on_running(candle, now_us)
            return
        if self._minutes.take(candle, now_us):
            self._hand_on(now_us)
        else:
            self._late[candle.symbol, candle.open_time_us] = candle
            self._rouse()

    def on_correction(self, candle: Candle) -> None:
        """A closed candle that says something else than before, or that came after it was given up."""
        self.on_candle(candle)

    def on_gap(self, symbol: str, first_open_us: int, last_open_us: int) -> None:
        """Minutes of a symbol that will not come."""
        now_us = self._clock.now_us()
        log.warning("forecast.gap", symbol=symbol, first=iso(first_open_us), last=iso(last_open_us))
        self._minutes.lose(symbol, first_open_us, last_open_us, now_us)
        self._hand_on(now_us)

    async def run(self, context: AgentContext) -> None:
        """Hand on minutes whose wait is over and write what was made, until cancelled. What waits is written at the end."""
        context.ready()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._wait_for_minutes(context), name="minutes that wait")
                group.create_task(self._write_behind(context), name="the forecaster's files")
        finally:
            self.predictor.settle()
            await asyncio.shield(self._save())

    def latency(self) -> Latency:
        """From a candle's arrival to the answer, over the last hundred thousand forecasts."""
        return self._tallies.latency()

    def close_time(self) -> Latency:
        """What a close takes from the minute's last candle to the answers of all models, symbols and timeframes, over the last hundred thousand closes."""
        return self._tallies.close_time()

    def files(self) -> RecorderStatus:
        """What was written and what waits."""
        return self._writing.files()

    def reports(self) -> tuple[DirectionReport, ...]:
        """Every symbol and timeframe, for the page."""
        timeframes = {TIMEFRAMES[timeframe_s]: self._note(timeframe_s) for timeframe_s in self.predictor.members}
        notes = {(symbol, name): note for symbol in self._minutes.symbols for name, note in timeframes.items()}
        return self._standings.reports(notes)

    def status(self) -> dict[str, str]:
        """What the terminal shows."""
        files, market = self._writing.files(), self.predictor.market
        return {
            "last minute": iso((market.end_s - 60) * US_PER_S) if market.rows else "none",
            "models": str(sum(len(group) for group in self.predictor.members.values())),
            **self._tallies.status(),
            "lines": f"{files.written} written, {files.waiting} waiting, {files.lost} lost",
            "faults": "; ".join(self.faults()) or "none",
        }

    def faults(self) -> list[str]:
        """A sentence for each thing that does not work now."""
        return [*self._writing.faults(), *self.predictor.faults.values()]

    # ---- in the call of the feed

    def _hand_on(self, now_us: int) -> None:
        for minute in self._minutes.ready(now_us):
            missing = [symbol for symbol, candle in minute.candles.items() if candle is None]
            self.counts.gaps += len(missing)
            if missing:
                log.warning("forecast.minute_missing", symbols=missing, at=iso(minute.open_us))
            self._close(minute.candles, minute.arrived_us)
        self._rouse()

    def _close(self, candles: Mapping[str, Candle | None], arrived_us: int) -> None:
        self._running.clear()
        faults = dict(self.predictor.faults)
        close = self.predictor.close_minute(candles, arrived_us)
        self._tallies.take_close(close)
        self._count_faults(faults)
        self._writing.learns_from(close)
        self._keep(close)

    def _count_faults(self, before: Mapping[str, str]) -> None:
        """An error for each member that did not answer; one that answered until now is logged."""
        for name, fault in self.predictor.faults.items():
            self.counts.errors += 1
            if name not in before:
                log.error("forecast.member_failed", member=name, error=fault)

    def _keep(self, close: Close) -> None:
        new = self._writing.unrecorded(close)
        self._tallies.take_lines(new)
        self._standings.take(new.candles, new.facts, new.predictions)
        self._writing.add(new.predictions, new.candles, new.facts)

    def _on_running(self, candle: Candle, now_us: int) -> None:
        self._running[candle.symbol] = candle
        market = self.predictor.market
        is_next = all(one.open_time_us == market.end_s * US_PER_S for one in self._running.values())
        if not self._intra_us or now_us < self._intra_due_us or not is_next:
            return
        self._intra_due_us = now_us + self._intra_us
        made = self.predictor.intra({symbol: self._running.get(symbol) for symbol in market.symbols}, now_us)
        self.counts.intra += len(made)
        self._standings.take((), (), made)
        self._writing.add(made)
        self._rouse()

    def _rouse(self) -> None:
        self._settled = False
        self._wake.set()

    # ---- behind it

    async def _wait_for_minutes(self, context: AgentContext) -> None:
        """Minutes that some symbol's candle did not reach in time."""
        while True:
            due_us = self._minutes.due_us()
            now_us = context.clock.now_us()
            if due_us is not None and now_us >= due_us:
                self._hand_on(now_us)
                continue
            # No longer than a minute's wait, so that one that begins meanwhile is not overlooked.
            most_us = self._minutes.wait_us or US_PER_S
            left_us = most_us if due_us is None else min(most_us, due_us - now_us)
            await context.clock.sleep(max(left_us, US_PER_MS) / US_PER_S)

    async def _write_behind(self, context: AgentContext) -> None:
        while True:
            if self._writing.problem:
                woken = asyncio.ensure_future(self._wake.wait())
                try:
                    await done_within(context.clock, _AGAIN_S, woken)
                finally:
                    await end(woken)
            else:
                await self._wake.wait()
            self._wake.clear()
            self._correct()
            self.predictor.settle()
            await self._save()
            self._settled = not self._writing.problem and not self._wake.is_set()
            if faults := self.faults():
                context.degrade("; ".join(faults))
            else:
                context.recover()

    def _correct(self) -> None:
        """Late and corrected candles, all at once: each time the market is folded anew."""
        late, self._late = list(self._late.values()), {}
        if not late:
            return
        close = self.predictor.correct(late)
        self._tallies.take_correction(close)
        log.info("forecast.corrected", late=close.late, corrected=close.corrected, candles=len(close.candles))
        self._keep(close)

    async def _save(self) -> None:
        await self._writing.save(self.predictor.market.end_s)

    def _note(self, timeframe_s: int) -> str:
        if not self.predictor.members[timeframe_s]:
            return "no model forecasts this timeframe"
        return "; ".join(self.faults())
