"""The predict-only service: closed minutes in, forecasts out, files behind. It knows no venue and can reach none; a feed calls it.

`on_candle` is the hot path: a straight call from the socket's own read event that joins the symbols' minutes and has the answers when it returns.
Files are written, and facts learned, by a task behind it. What the disk does not take waits in memory while forecasts go on.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import structlog

from crypy.domain.events import Candle
from crypy.domain.ports import Clock
from crypy.domain.reports import DirectionReport
from crypy.domain.times import US_PER_MS, US_PER_S, iso
from crypy.forecasting.direction.keeping import Keeping, Learned
from crypy.forecasting.direction.minutes import MINUTE_US, Minutes
from crypy.forecasting.direction.predictor import Close, Predictor
from crypy.forecasting.direction.recorder import Recorder, RecorderStatus
from crypy.forecasting.direction.records import SECONDS, TIMEFRAMES, PredictionRecord
from crypy.forecasting.direction.standing import Standings
from crypy.forecasting.direction.tallies import Counts, Latency
from crypy.models.direction.learner import Learner
from crypy.runtime.agent import AgentContext
from crypy.runtime.deadlines import done_within, end

log = structlog.get_logger()

Pair = tuple[str, int]

_LATENCIES: Final = 100_000
_MS_PER_S: Final = US_PER_S // US_PER_MS
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
        self.counts = Counts()
        self.skips: Counter[str] = Counter()
        self._learners = learners
        self._recorder = recorder
        self._keeping = keeping
        self._clock = clock
        self._tell = tell
        self._recorded = {kind: dict(known) for kind, known in (recorded or {}).items()}
        self._intra_us = round(intra_s * US_PER_S)
        self._intra_due_us = 0
        self._running: dict[str, Candle] = {}
        market = predictor.market
        self._minutes = Minutes(market.symbols, market.end_s * US_PER_S, round(wait_s * US_PER_S))
        self._standings = Standings(market.symbols, (TIMEFRAMES[one] for one in predictor.members))
        self._late: dict[tuple[str, int], Candle] = {}
        self._changed: set[Pair] = set()
        self._latencies: deque[int] = deque(maxlen=_LATENCIES)
        self._took: deque[int] = deque(maxlen=_LATENCIES)
        self._told: list[PredictionRecord] = []
        self._wake = asyncio.Event()
        self._writing = threading.Lock()
        self._settled = True
        self._problem = ""

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
        return Latency.of(self._latencies)

    def close_time(self) -> Latency:
        """What a close takes from the minute's last candle to the answers of all models, symbols and timeframes, over the last hundred thousand closes."""
        return Latency.of(self._took)

    def files(self) -> RecorderStatus:
        """What was written and what waits."""
        return self._recorder.status()

    def reports(self) -> tuple[DirectionReport, ...]:
        """Every symbol and timeframe, for the page."""
        notes = {(symbol, TIMEFRAMES[timeframe_s]): self._note(timeframe_s) for symbol, timeframe_s in self._pairs()}
        return self._standings.reports(notes)

    def status(self) -> dict[str, str]:
        """What the terminal shows."""
        latency, files, market = self.latency(), self._recorder.status(), self.predictor.market
        took = self.close_time()
        return {
            "last minute": iso((market.end_s - 60) * US_PER_S) if market.rows else "none",
            "models": str(sum(len(group) for group in self.predictor.members.values())),
            "forecasts": str(self.counts.predictions),
            "skipped": ", ".join(f"{count} x {reason}" for reason, count in self.skips.most_common(3)) or "none",
            "facts": str(self.counts.facts),
            "gaps": f"{self.counts.gaps} missing, {self.counts.late} came late, {self.counts.corrections} corrected",
            "latency": f"p50 {latency.p50 / 1e3:.1f} ms, p99 {latency.p99 / 1e3:.1f} ms from arrival to answer",
            "time per close": f"p50 {took.p50 / 1e3:.2f} ms, p99 {took.p99 / 1e3:.2f} ms",
            "lines": f"{files.written} written, {files.waiting} waiting, {files.lost} lost",
            "faults": "; ".join(self.faults()) or "none",
        }

    def faults(self) -> list[str]:
        """A sentence for each thing that does not work now."""
        files = self._recorder.status()
        lost = f"{files.lost} lines could not be kept and are lost" if files.lost else ""
        told = (self._problem, lost, *self.predictor.faults.values())
        return [fault for fault in told if fault]

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
        self.counts.minutes += 1
        self._took.append(close.took_us)
        self._told += close.predictions
        for one in close.predictions:
            self._latencies.append(one.latency_us)
        for one in close.skipped:
            self.skips[one.reason] += 1
        self.counts.skipped += len(close.skipped)
        for name, fault in self.predictor.faults.items():
            self.counts.errors += 1
            if name not in faults:
                log.error("forecast.member_failed", member=name, error=fault)
        self._changed.update((one.symbol, SECONDS[one.timeframe]) for one in (*close.predictions, *close.facts))
        self._keep(close)

    def _keep(self, close: Close) -> None:
        candles = [
            one
            for one in close.candles
            if one.corrected or self._is_new("candles", one.symbol, SECONDS[one.timeframe], one.ts_start)
        ]
        facts = [
            one
            for one in close.facts
            if one.corrected or self._is_new("facts", one.symbol, SECONDS[one.timeframe], one.candle_ts)
        ]
        self.counts.candles += len(candles)
        self.counts.facts += len(facts)
        self.counts.predictions += len(close.predictions)
        self._standings.take(candles, facts, close.predictions)
        self._recorder.add((*close.predictions, *candles, *facts))

    def _is_new(self, kind: str, symbol: str, timeframe_s: int, start_ms: int) -> bool:
        """Whether a line is not in the files yet; those before the first recorded minute are nobody's."""
        return start_ms > self._recorded.get(kind, {}).get((symbol, timeframe_s), -1)

    def _on_running(self, candle: Candle, now_us: int) -> None:
        self._running[candle.symbol] = candle
        market = self.predictor.market
        is_next = all(one.open_time_us == market.end_s * US_PER_S for one in self._running.values())
        if not self._intra_us or now_us < self._intra_due_us or not is_next:
            return
        self._intra_due_us = now_us + self._intra_us
        made = self.predictor.intra({symbol: self._running.get(symbol) for symbol in market.symbols}, now_us)
        self._told += made
        self.counts.intra += len(made)
        self._standings.take((), (), made)
        self._recorder.add(made)
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
            if self._problem:
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
            self._settled = not self._problem and not self._wake.is_set()
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
        self.counts.late += close.late
        self.counts.corrections += close.corrected
        log.info("forecast.corrected", late=close.late, corrected=close.corrected, candles=len(close.candles))
        self._keep(close)

    async def _save(self) -> None:
        """Write lines and what was learned; what could not be written is captured again the next time."""
        changed, self._changed = self._changed, set()
        told, self._told = self._told, []
        end_s = self.predictor.market.end_s
        states = [
            self._keeping.capture(*pair, self._learners[pair], end_s) for pair in changed if pair in self._learners
        ]
        self._problem = await asyncio.to_thread(self._write, states, told)
        if self._problem:
            self._changed |= changed

    def _write(self, states: list[Learned], told: list[PredictionRecord]) -> str:
        """Lines first: a state never knows of a forecast that is not in the files. A write that a cancelled task left alone is waited for."""
        with self._writing:
            for one in told:
                self._tell(one)
            return self._recorder.flush().fault or self._keeping.save(states)

    def _pairs(self) -> list[Pair]:
        return [(symbol, timeframe_s) for symbol in self._minutes.symbols for timeframe_s in self.predictor.members]

    def _note(self, timeframe_s: int) -> str:
        if not self.predictor.members[timeframe_s]:
            return "no model forecasts this timeframe"
        return "; ".join(self.faults())
