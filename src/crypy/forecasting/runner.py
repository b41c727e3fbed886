"""The model runner: one inference a second for all coins and durations, handed on whole or not at all.

The sequence is taken in the event loop, for the rings behind it are written there; inference runs in an executor where one is given
(large models), else straight (the baseline takes 0.2 ms). The swap into the sinks is a straight call again. A second that
is missed is skipped and counted: late work never piles up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
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
    seconds between forecasts that have none. `broken` counts how often in a row the model itself gave no answer that is one, data or no data aside.
    `latency_us` is the last inference's time on the clock; `last_error` stays until the next."""

    forecasts: int = 0
    failed: int = 0
    refused: int = 0
    skipped: int = 0
    broken: int = 0
    last_end_us: int = 0
    latency_us: int = 0
    last_error: str = ""


class ModelRunner:
    """Runs `model` on `source` and hands each batch to `sinks`.

    `coins` maps each coin to its symbol; the model must know all of them. Raises `ConfigError` where it does not. `use` puts another model in its
    place between two inferences: one that is under way ends with the model it began with. `correct` sees each grid in the event loop before it
    is checked and handed on (self-calibration).
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
        correct: Callable[[DistributionGrid], DistributionGrid] | None = None,
    ) -> None:
        self.status = RunnerStatus()
        self._source = source
        self._sinks = tuple(sinks)
        self._clock = clock
        self._coins = dict(coins)
        self._durations = tuple(durations)
        self._grid_s = tuple(grid_s)
        self._correct = correct
        self.use(model, executor)

    @property
    def model(self) -> Model:
        """The model of the next inference."""
        return self._model

    def use(self, model: Model, executor: Executor | None = None, name: str = "") -> None:
        """Forecast with this model from the next inference on, under a name (its own). From the event loop.

        Raises `ConfigError` where it does not know all coins.
        """
        unknown = [symbol for symbol in self._coins.values() if symbol not in model.schema.symbols]
        if unknown:
            raise ConfigError(
                f"{model.name} knows {', '.join(model.schema.symbols)}, not {', '.join(unknown)}; "
                f"fit a model on them or leave their coins out"
            )
        self._model = model
        self.name = name or model.name
        self._executor = executor
        self._note(broken=0)

    def try_out(self, model: Model, sequence: FeatureSequence) -> ForecastBatch:
        """What a model would be worth as the runner's: a whole batch of it, which no sink sees. In any thread; it compiles what is to be compiled.

        Raises `DataError` for a forecast that is none, and whatever `model` raises.
        """
        horizons = self._horizons(sequence.end_s)
        grid = model.predict(sequence, horizons.seconds)
        return self._batch(model.name, grid, grid, horizons)

    def tick(self, end_s: int) -> ForecastBatch:
        """One inference as of `end_s`, straight: sequence, prediction, check, sinks. The specification's `model_runner_tick`.

        Raises `Incomplete` when `end_s` is not sealed, `DataError` for a forecast that is none; then no sink has seen anything.
        """
        began_us = self._clock.now_us()
        sequence = self._source.feature_sequence(end_s, self._model.schema)
        horizons = self._horizons(end_s)
        raw = self._model.predict(sequence, horizons.seconds)
        batch = self._batch(self.name, self._corrected(raw), raw, horizons)
        self._hand_on(batch, began_us)
        return batch

    async def step(self, now_us: int) -> ForecastBatch | None:
        """The newest inference that the data allow at `now_us`; `None` where there is nothing newer or it failed.

        What fails is counted and shown in `status`, and the sinks keep what they had.
        """
        began_us = self._clock.now_us()
        try:
            sequence = self._newest(now_us)
        except CrypyError as error:
            self._note(failed=self.status.failed + 1, last_error=str(error))
            return None
        if sequence is None:
            return None
        try:
            batch = await self._predict(sequence)
        except Exception as error:
            # A model may be anybody's code: whatever it raises costs this second's forecast and is told, not the process.
            told = str(error) if isinstance(error, CrypyError) else f"{self.name}: {type(error).__name__}: {error}"
            self._note(failed=self.status.failed + 1, broken=self.status.broken + 1, last_error=told)
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
                return self._source.feature_sequence(end_s, self._model.schema)
            except Incomplete as error:
                reason = error
        raise Incomplete(f"no second of the last {_REACH_S} is sealed: {reason}", reason.missing)

    async def _predict(self, sequence: FeatureSequence) -> ForecastBatch:
        model, name = self._model, self.name
        horizons = self._horizons(sequence.end_s)
        if self._executor is None:
            raw = model.predict(sequence, horizons.seconds)
        else:
            loop = asyncio.get_running_loop()
            raw = await loop.run_in_executor(self._executor, model.predict, sequence, horizons.seconds)
        # A grid of a model whose place was taken meanwhile is handed on as it is: what corrects is about the new one.
        return self._batch(name, self._corrected(raw) if model is self._model else raw, raw, horizons)

    def _corrected(self, grid: DistributionGrid) -> DistributionGrid:
        return grid if self._correct is None else self._correct(grid)

    def _horizons(self, end_s: int) -> Horizons:
        return horizons_at(end_s * US_PER_S, self._durations, self._grid_s)

    def _batch(self, model: str, grid: DistributionGrid, raw: DistributionGrid, horizons: Horizons) -> ForecastBatch:
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
        uncorrected = None if raw is grid else raw
        return ForecastBatch(horizons.end_us, self._clock.now_us(), model, grid, windows, uncorrected)

    def _hand_on(self, batch: ForecastBatch, began_us: int) -> None:
        """Give the batch to every sink; one that refuses does not keep it from the others."""
        last_us = self.status.last_end_us or batch.end_us
        self._note(
            forecasts=self.status.forecasts + 1,
            # Counted here, whoever asks for the steps: between two forecasts of a row lies one second.
            skipped=self.status.skipped + max(0, (batch.end_us - last_us) // US_PER_S - 1),
            broken=0,
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
