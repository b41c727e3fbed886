"""The service under a clock that is moved by hand: late candles, gaps, corrections, restarts, a disk that is full."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from direction_kit import START_S, SYMBOLS, Momentum, minute, predictor_of, row
from test_direction_recorder import room_for

from crypy.forecasting.direction.keeping import Keeping
from crypy.forecasting.direction.record_lines import candle_lines, fact_lines, prediction_lines
from crypy.forecasting.direction.recorder import Recorder, last_starts
from crypy.forecasting.direction.records import SECONDS, PredictionRecord
from crypy.forecasting.direction.service import DirectionService
from crypy.models.direction.learner import LearnerSettings
from crypy.runtime.agent import Agent, AgentContext
from crypy.testing.clock import ManualClock

PAIRS = [(symbol, timeframe_s) for symbol in SYMBOLS for timeframe_s in (60, 300)]


class Live:
    """A service that runs; `number` is the minute that runs now."""

    def __init__(self, service: DirectionService, clock: ManualClock, agent: Agent, folder: Path) -> None:
        self.service, self.clock, self.agent, self.folder = service, clock, agent, folder
        self.number = 0

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - a thread writes, and tells nobody
                await asyncio.sleep(0.002)

    async def closes(self, number: int, missing: tuple[str, ...] = ()) -> None:
        """The end of a minute comes, and its candles but for some."""
        await self.clock.advance((START_S + 60 * (number + 1)) - self.clock.now_us() / 1e6)
        for symbol in SYMBOLS:
            if symbol not in missing:
                self.service.on_candle(minute(number, symbol))

    async def written(self) -> None:
        """Everything that was made is in the files, and what was learned too."""
        await self.until(lambda: self.service.is_settled)


@asynccontextmanager
async def live(folder: Path, begin: int = 0, **options: Any) -> AsyncIterator[Live]:
    """A service that begins after minute `begin - 1`, as `crypy forecast run` begins it."""
    clock = ManualClock((START_S + 60 * begin) * 1_000_000)
    members = options.pop("members", None)
    with Recorder(folder) as recorder:
        recorded = {kind: last_starts(folder, kind) for kind in ("candles", "facts")}
        keeping = Keeping(folder)
        learners = {pair: keeping.load(*pair, LearnerSettings()) for pair in PAIRS}
        predictor = predictor_of(
            clock.now_us, learners=learners, answered=last_starts(folder, "predictions"), members=members
        )
        service = DirectionService(
            predictor, learners, recorder, keeping, clock, wait_s=2.0, recorded=recorded, **options
        )
        service.begin(row(number) for number in range(begin))
        agent = Agent("forecaster", service.run)
        context = AgentContext(agent, clock)
        agent.become("starting", clock.now_us())
        task = asyncio.create_task(service.run(context))
        await asyncio.sleep(0)
        try:
            yield Live(service, clock, agent, folder)
        finally:
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled() and (error := task.exception()):
                raise error


def told(folder: Path, symbol: str = "BTCUSDT", timeframe: str = "1m") -> list[int]:
    """Numbers of the candles that were forecast from."""
    return [
        (line.record.candle_ts // 1_000 - START_S) // 60
        for line in prediction_lines(folder)
        if (line.record.symbol, line.record.timeframe) == (symbol, timeframe)
    ]


def largest(folder: Path) -> int:
    """Bytes of the largest file."""
    return max(path.stat().st_size for path in folder.iterdir())


async def test_each_close_gives_candles_forecasts_and_facts(tmp_path: Path) -> None:
    heard: list[PredictionRecord] = []
    async with live(tmp_path, tell=heard.append) as run:
        for number in range(12):
            await run.closes(number)
        await run.written()
        assert run.service.status()["last minute"] == "2025-01-01T00:11:00Z"
        assert run.agent.state == "running"
    assert told(tmp_path) == list(range(1, 12))
    assert told(tmp_path, "ETHUSDT", "5m") == [5]
    assert [line.record for line in prediction_lines(tmp_path)] == heard
    assert len(list(candle_lines(tmp_path))) == 24 + 4
    assert len(list(fact_lines(tmp_path))) == 22 + 2
    report = run.service.reports()[0]
    assert (report.symbol, report.timeframe, report.counts.n) == ("BTCUSDT", "1m", 10)
    assert run.service.counts.predictions == len(heard)


async def test_a_candle_that_does_not_come_is_waited_for_and_then_left_out(tmp_path: Path) -> None:
    async with live(tmp_path) as run:
        for number in range(3):
            await run.closes(number)
        await run.closes(3, missing=("ETHUSDT",))
        assert run.service.counts.minutes == 3
        await run.clock.advance(2.1)
        assert run.service.counts.minutes == 4
        await run.closes(4)
        await run.written()
        # It comes after all: the market and the files are corrected, and nothing that was said is changed.
        run.service.on_candle(minute(3, "ETHUSDT"))
        await run.until(lambda: run.service.counts.late == 1)
        await run.written()
    assert told(tmp_path) == [1, 2, 3, 4]
    assert told(tmp_path, "ETHUSDT") == [1, 2, 4]
    late = [line.record for line in fact_lines(tmp_path) if line.record.corrected]
    assert [(one.symbol, (one.candle_ts // 1_000 - START_S) // 60) for one in late] == [("ETHUSDT", 3), ("ETHUSDT", 4)]
    missing = {line.record.candle_ts: line.record.missing for line in prediction_lines(tmp_path)}
    assert [missing[(START_S + 60 * number) * 1_000] for number in (2, 3, 4)] == [0, 1, 1]


async def test_a_candle_told_twice_changes_nothing_and_one_told_otherwise_corrects(tmp_path: Path) -> None:
    async with live(tmp_path) as run:
        for number in range(5):
            await run.closes(number)
            run.service.on_candle(minute(number))
        await run.written()
        assert (run.service.counts.corrections, run.service.counts.minutes) == (0, 5)
        run.service.on_correction(minute(3, close=150.0, high=151.0))
        await run.until(lambda: run.service.counts.corrections == 1)
        await run.written()
    closes = {line.record.ts_start: line.record.c for line in candle_lines(tmp_path) if line.record.symbol == "BTCUSDT"}
    assert closes[(START_S + 180) * 1_000] == 150.0
    assert told(tmp_path) == [1, 2, 3, 4]


async def test_what_is_told_lost_is_a_missing_minute(tmp_path: Path) -> None:
    async with live(tmp_path) as run:
        await run.closes(0)
        await run.clock.advance(180.0)
        for symbol in SYMBOLS:
            run.service.on_gap(symbol, (START_S + 60) * 10**6, (START_S + 120) * 10**6)
        for symbol in SYMBOLS:
            run.service.on_candle(minute(3, symbol))
        assert run.service.counts.minutes == 4
        assert run.service.counts.gaps == 4
        await run.closes(4)
        await run.written()
    assert told(tmp_path) == [3, 4], "what stands behind a hole has a return from before it"


async def test_after_a_restart_no_candle_is_forecast_twice_and_what_was_missed_is_written(tmp_path: Path) -> None:
    async with live(tmp_path) as run:
        for number in range(10):
            await run.closes(number)
        await run.written()
        learned = bytes(run.service._writing.learners["BTCUSDT", 60].kept())
    async with live(tmp_path, begin=10) as run:
        assert bytes(run.service._writing.learners["BTCUSDT", 60].kept()) == learned
        await run.written()
        assert told(tmp_path) == list(range(1, 10)), "begun again in the same minute: nothing is said twice"
    # Away from minute 10 to 17, back in the middle of minute 18.
    async with live(tmp_path, begin=18) as run:
        await run.clock.advance(30.0)
        await run.closes(18)
        await run.written()
    assert told(tmp_path) == [*range(1, 10), 17, 18], "what was over meanwhile is not forecast, what has not ended is"
    ones = [
        line.record
        for line in candle_lines(tmp_path)
        if (line.record.symbol, line.record.timeframe) == ("BTCUSDT", "1m")
    ]
    assert [(one.ts_start // 1_000 - START_S) // 60 for one in ones] == list(range(19))
    facts = [
        (line.record.candle_ts // 1_000 - START_S) // 60
        for line in fact_lines(tmp_path)
        if line.record.timeframe == "1m"
    ]
    assert sorted(facts) == sorted([*range(1, 19)] * 2), "each forecast has its fact, once"


async def test_the_fact_of_a_forecast_made_before_the_kill_is_learned_after_it(tmp_path: Path) -> None:
    async with live(tmp_path) as run:
        for number in range(10):
            await run.closes(number)
        await run.written()
    async with live(tmp_path, begin=14) as run:
        waiting = run.service._writing.learners["BTCUSDT", 60]
        await run.closes(14)
        await run.written()
    async with live(tmp_path / "whole") as run:
        for number in range(10):
            await run.closes(number)
        run.service.predictor.close_minute(row(10), run.clock.now_us() + 60_000_000)
        run.service.predictor.settle()
        whole = run.service._writing.learners["BTCUSDT", 60]
    assert waiting._ups.log_ratios == whole._ups.log_ratios


async def test_forecasts_go_on_while_the_disk_is_full_and_are_written_when_it_is_not(tmp_path: Path) -> None:
    async with live(tmp_path) as run:
        for number in range(4):
            await run.closes(number)
        await run.written()
        size = largest(tmp_path)
        with room_for(size):
            for number in range(4, 8):
                await run.closes(number)
            await run.until(lambda: run.agent.state == "degraded")
            assert "cannot be written" in run.agent.reason
            assert run.service.counts.predictions == 2 * 7 + 0
            assert run.service.files().waiting
        await run.clock.advance(6.0)
        await run.until(lambda: run.agent.state == "running")
        await run.written()
    assert told(tmp_path) == list(range(1, 8))
    assert not run.service.files().lost


async def test_a_broken_model_degrades_and_the_others_speak(tmp_path: Path) -> None:
    broken = Momentum(60)
    members = {"broken": broken, "sound": Momentum(60), "five": Momentum(300)}
    async with live(tmp_path, members=members) as run:
        for number in range(3):
            await run.closes(number)
        broken.broken = True
        await run.closes(3)
        await run.until(lambda: run.agent.state == "degraded")
        assert "broken could not answer" in run.agent.reason
        broken.broken = False
        await run.closes(4)
        await run.until(lambda: run.agent.state == "running")
        await run.written()
    voices = [set(line.record.members) for line in prediction_lines(tmp_path) if line.record.symbol == "BTCUSDT"]
    assert voices == [{"broken", "sound"}, {"broken", "sound"}, {"sound"}, {"broken", "sound"}]


async def test_running_candles_are_forecast_from_by_wish_and_marked(tmp_path: Path) -> None:
    async with live(tmp_path, intra_s=10.0) as run:
        for number in range(3):
            await run.closes(number)
        for _ in range(5):
            await run.clock.advance(5.0)
            for symbol in SYMBOLS:
                run.service.on_candle(minute(3, symbol, closed=False))
        await run.closes(3)
        await run.written()
    intra = [line.record for line in prediction_lines(tmp_path) if line.record.intra]
    assert len({one.made_us for one in intra}) == 3, "every ten seconds"
    assert {(one.candle_ts // 1_000 - START_S) // 60 for one in intra} == {3}
    assert last_starts(tmp_path, "predictions")["BTCUSDT", 60] == (START_S + 180) * 1_000
    assert run.service.counts.intra == len(intra)
    assert SECONDS["1m"] == 60
