"""The model runner: one inference a second for all coins and durations, handed on whole or not at all.

The sequence is taken in the event loop, for the rings behind it are written there; inference runs in an executor where one is given
(large models), else straight (the baseline takes 0.2 ms). The swap into the sinks is a straight call again. A second that
is missed is skipped and counted: late work never piles up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from crypy.distributions.curve import HorizonCurve
from crypy.domain.durations import DURATIONS, Duration
from crypy.domain.errors import ConfigError, CrypyError, DataError, Incomplete
from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S, iso
from crypy.forecasting.batch import DistributionSink, ForecastBatch, WindowForecast
from crypy.forecasting.horizons import GRID_S, Horizons, horizons_at, seconds_until
from crypy.marketdata.schema import FeatureSchema, FeatureSequence
from crypy.models.port import DistributionGrid, Model

# How far back an inference may reach when the newest seconds are not sealed yet; beyond, the feed is down.
_REACH_S: Final = 5


class SequenceSource(Protocol):
    """Where sequences come from: `CryptoData` live, bars offline."""

    def feature_sequence(self, end_s: int, schema: FeatureSchema) -> FeatureSequence:
        """Raises `Incomplete` when the seconds before `end_s` are not all there yet."""
        ...


@dataclass(frozen=True, slots=True)
class RunnerStatus:
    """Counts since the start. `failed` counts inferences that gave no batch, `refused` batches a sink would not take, `skipped`
    seconds between forecasts that have none. `latency_us` is the last inference's time on the clock; `last_error` stays until the next."""

    forecasts: int = 0
    failed: int = 0
    refused: int = 0
    skipped: int = 0
    last_end_us: int = 0
    latency_us: int = 0
    last_error: str = ""


class ModelRunner:
    """Runs `model` on `source` and hands each batch to `sinks`.

    `coins` maps each coin to its symbol; the model must know all of them. Raises `ConfigError` where it does not.
    """

    def __init__(
        self,
        source: SequenceSource,
        model: Model,
        sinks: Iterable[DistributionSink],
        clock: Clock,
        coins: Mapping[str, str],
        durations: Iterable[Duration] = DURATIONS,
        grid_s: Iterable[float] = GRID_S,
        executor: Executor | None = None,
    ) -> None:
        unknown = [symbol for symbol in coins.values() if symbol not in model.schema.symbols]
        if unknown:
            raise ConfigError(
                f"{model.name} knows {', '.join(model.schema.symbols)}, not {', '.join(unknown)}; "
                f"fit a model on them or leave their coins out"
            )
        self.model = model
        self.status = RunnerStatus()
        self._source = source
        self._sinks = tuple(sinks)
        self._clock = clock
        self._coins = dict(coins)
        self._durations = tuple(durations)
        self._grid_s = tuple(grid_s)
        self._executor = executor

    def tick(self, end_s: int) -> ForecastBatch:
        """One inference as of `end_s`, straight: sequence, prediction, check, sinks. The specification's `model_runner_tick`.

        Raises `Incomplete` when `end_s` is not sealed, `DataError` for a forecast that is none; then no sink has seen anything.
        """
        began_us = self._clock.now_us()
        sequence = self._source.feature_sequence(end_s, self.model.schema)
        horizons = self._horizons(end_s)
        batch = self._batch(self.model.predict(sequence, horizons.seconds), horizons)
        self._hand_on(batch, began_us)
        return batch

    async def step(self, now_us: int) -> ForecastBatch | None:
        """The newest inference that the data allow at `now_us`; `None` where there is nothing newer or it failed.

        What fails is counted and shown in `status`, and the sinks keep what they had.
        """
        began_us = self._clock.now_us()
        try:
            sequence = self._newest(now_us)
            if sequence is None:
                return None
            horizons = self._horizons(sequence.end_s)
            batch = self._batch(await self._predict(sequence, horizons), horizons)
        except CrypyError as error:
            self._note(failed=self.status.failed + 1, last_error=str(error))
            return None
        self._hand_on(batch, began_us)
        return batch

    async def start(self) -> None:
        """Step at every whole second of the clock until cancelled. The specification's `model_runner_start`."""
        due_s = self._clock.now_us() // US_PER_S + 1
        while True:
            while (left_us := due_s * US_PER_S - self._clock.now_us()) > 0:
                await self._clock.sleep(left_us / US_PER_S)
            await self.step(due_s * US_PER_S)
            due_s = max(due_s, self._clock.now_us() // US_PER_S) + 1

    def _newest(self, now_us: int) -> FeatureSequence | None:
        """The sequence of the last sealed second, `None` when that one is forecast already."""
        now_s = now_us // US_PER_S
        reason = Incomplete("no second asked for")
        for end_s in range(now_s, now_s - _REACH_S, -1):
            if end_s * US_PER_S <= self.status.last_end_us:
                return None
            try:
                return self._source.feature_sequence(end_s, self.model.schema)
            except Incomplete as error:
                reason = error
        raise Incomplete(f"no second of the last {_REACH_S} is sealed: {reason}", reason.missing)

    async def _predict(self, sequence: FeatureSequence, horizons: Horizons) -> DistributionGrid:
        if self._executor is None:
            return self.model.predict(sequence, horizons.seconds)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self.model.predict, sequence, horizons.seconds)

    def _horizons(self, end_s: int) -> Horizons:
        return horizons_at(end_s * US_PER_S, self._durations, self._grid_s)

    def _batch(self, grid: DistributionGrid, horizons: Horizons) -> ForecastBatch:
        """All windows of all coins. Raises `DataError` naming the first member that is no distribution or falls with the horizon."""
        windows: dict[tuple[str, Duration], WindowForecast] = {}
        for coin, symbol in self._coins.items():
            row = grid.symbols.index(symbol)
            try:
                curve = HorizonCurve(grid.horizons_s, grid.scale[row], grid.skew[row], grid.tail[row])
            except DataError as error:
                raise DataError(f"{grid.symbols[row]} at {iso(horizons.end_us)}: {error}") from None
            for duration, (running, following) in horizons.windows.items():
                windows[coin, duration] = WindowForecast(
                    running,
                    curve.at(seconds_until(running, horizons.end_us)),
                    curve.at(seconds_until(following, horizons.end_us)),
                )
        return ForecastBatch(horizons.end_us, self._clock.now_us(), self.model.name, grid, windows)

    def _hand_on(self, batch: ForecastBatch, began_us: int) -> None:
        """Give the batch to every sink; one that refuses does not keep it from the others."""
        last_us = self.status.last_end_us or batch.end_us
        self._note(
            forecasts=self.status.forecasts + 1,
            # Counted here, whoever asks for the steps: between two forecasts of a row lies one second.
            skipped=self.status.skipped + max(0, (batch.end_us - last_us) // US_PER_S - 1),
            last_end_us=batch.end_us,
            latency_us=self._clock.now_us() - began_us,
        )
        for sink in self._sinks:
            try:
                sink.update_dists(batch)
            except DataError as error:
                self._note(refused=self.status.refused + 1, last_error=str(error))

    def _note(self, **changes: Any) -> None:
        self.status = replace(self.status, **changes)
