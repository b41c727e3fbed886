"""The models of one process: the baseline fitted at the start, what the registry has deployed in its place, and the watch on it.

The agent `models` looks at the registry every two seconds, swaps what is newly deployed, scores shadows, and takes a model out of service whose
forecasts have become worse than the baseline's (`forecasting.watch`), or that gives none: back to the champion before it or to the baseline.
Models are compared by what they say themselves, before self-calibration: the baseline beside has none, and a model that lives off its correction
is one to replace.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import numpy as np
import structlog

from crypy.app.model.data import models_folder
from crypy.app.settings import ModelSettings
from crypy.app.world import World
from crypy.domain.errors import ConfigError, CrypyError, DataError
from crypy.forecasting.batch import ForecastBatch
from crypy.forecasting.hot_swap import BASELINE, HotSwap
from crypy.forecasting.runner import ModelRunner, SequenceSource
from crypy.forecasting.shadow import Shadows
from crypy.forecasting.watch import HORIZONS_S, Watch, WatchRow
from crypy.runtime.agent import Agent, AgentContext
from crypy.runtime.clocks import SystemClock, wall_us
from crypy.runtime.commands import Argument, Command, Row
from crypy.training.registry import Registry

log = structlog.get_logger()

LOOK_S: Final = 2.0
# So many seconds in a row without an answer of the model in use, and the baseline takes over.
_PATIENCE: Final = 5
# What could not serve for lack of history is tried again after so many looks, and shadows' times are written.
_RETRY_LOOKS: Final = 30
_BY: Final = "crypy up"


def registry_of(world: World) -> tuple[Registry, str]:
    """The registry of the data folder that a world lies in, and the world's name there."""
    is_replay = world.card.kind == "replay"
    data_dir = world.folder.parent.parent if is_replay else world.folder.parent
    name = f"replay/{world.folder.name}" if is_replay else world.folder.name
    return Registry(models_folder(data_dir)), name


class ModelSide:
    """Which model forecasts, and how it does. `on_close` and `on_batch` are told everything in order, in the event loop."""

    def __init__(
        self, settings: ModelSettings, swap: HotSwap, shadows: Shadows, runner: ModelRunner, source: SequenceSource
    ) -> None:
        self.swap = swap
        self.shadows = shadows
        self.problem = ""
        self.demotions = 0
        self._settings = settings
        self._runner = runner
        self._source = source
        self._horizons_s = np.array(HORIZONS_S, np.float64)
        self._watch: Watch | None = None
        self._watched = swap.serving
        self._misses = 0
        self._broken: list[tuple[str, str]] = []
        self._turn = asyncio.Lock()

    def on_close(self, symbol: str, second_s: int, close: float) -> None:
        """The close of a sealed second."""
        if self._watch is not None:
            self._watch.on_close(symbol, second_s, close)
        self.shadows.on_close(symbol, second_s, close)

    async def step(self, due_us: int) -> None:
        """The forecast of a second, and what follows from it."""
        failed = self._runner.status.failed
        batch = await self._runner.step(due_us)
        if batch is not None:
            self._misses = 0
            self._score(batch)
        elif self._runner.status.failed > failed and self.swap.serving.refs:
            self._misses += 1
            if self._misses >= _PATIENCE:
                self._without()

    async def look(self) -> None:
        """Serve what the registry says, if it says anything new."""
        async with self._turn:
            if self._settings.use == BASELINE:
                return
            try:
                if self.swap.has_news:
                    await self.swap.look()
                    await self.shadows.look()
                self.problem = "; ".join(f"{ref} does not serve: {why}" for ref, why in self.swap.refused.items())
            except (CrypyError, OSError) as error:
                self.problem = str(error)

    async def run(self, context: AgentContext) -> None:
        """Look at registry and watch until cancelled, in the wall's time."""
        looks = 0
        context.ready()
        try:
            async for _ in context.on_clock(SystemClock()).every(LOOK_S):
                looks += 1
                if looks % _RETRY_LOOKS == 0:
                    self.swap.again()
                await self._act_on_alarm()
                await self.look()
                if looks % _RETRY_LOOKS == 0:
                    await self._save_shadows()
                if self.problem:
                    context.degrade(self.problem)
                else:
                    context.recover()
        finally:
            await self.shadows.close()
            await self._save_shadows()

    def agent(self) -> Agent:
        """The agent `models` with its commands."""
        ref = Argument("model", "NAME or NAME:VERSION of a deployed model")
        reason = Argument("reason", "why, kept in the journal", rest=True)
        return Agent(
            "models",
            self.run,
            status=self.status,
            commands=(
                Command("list", "models of this world and their stages", self._list),
                Command("scores", "live scores of the model in use and of shadows", self._scores),
                Command("swap", "look at the registry now, not within two seconds", self._swap),
                Command("demote", "take a deployed model out of service", self._demote, (ref, reason)),
            ),
        )  # fmt: skip

    def status(self) -> Mapping[str, str]:
        """What forecasts, since when it is watched, and what does not serve."""
        serving = self.swap.serving
        return {
            "world": self.swap.world,
            "model": serving.name,
            "serves": ", ".join(f"{symbol} by {ref}" for symbol, ref in serving.by_symbol.items()),
            "shadows": ", ".join(self.shadows.running) or "none",
            "swaps": str(self.swap.swaps),
            "demotions": str(self.demotions),
            "refused": "; ".join(f"{ref}: {why}" for ref, why in (self.swap.refused | self.shadows.refused).items())
            or "none",
        }

    def _score(self, batch: ForecastBatch) -> None:
        """Have the watch see the forecasts that it waits for, the baseline's of the same moment beside them."""
        serving = self.swap.serving
        if serving is not self._watched:
            symbols = [symbol for symbol, ref in serving.by_symbol.items() if ref != BASELINE]
            self._watched, self._watch = (
                serving,
                Watch(symbols, false_alarms_a_year=self._settings.false_alarms_a_year) if symbols else None,
            )
        # A batch that was under way when the swap came is still the earlier model's.
        if self._watch is not None and self._watch.wants() and batch.model == serving.name:
            try:
                sequence = self._source.feature_sequence(batch.grid.end_s, self.swap.baseline.schema)
                self._watch.take(batch.by_model, self.swap.baseline.predict(sequence, self._horizons_s))
            except DataError as error:
                log.warning("model.not_watched", world=self.swap.world, error=str(error))
        self.shadows.on_batch(batch)

    def _without(self) -> None:
        """The model in use gives no forecast: the baseline's are better than none. One that is broken is demoted, one that lacks history is tried again."""
        serving, error = self.swap.serving, self._runner.status.last_error
        is_broken = self._runner.status.broken >= _PATIENCE
        self._misses = 0
        self.swap.fall_back()
        log.warning("model.silent", world=self.swap.world, model=serving.name, error=error, broken=is_broken)
        if is_broken:
            self._broken = [(ref, f"gave no forecast for {_PATIENCE} s: {error}") for ref in serving.refs]

    async def _act_on_alarm(self) -> None:
        """Demote what the watch has found, and what is broken."""
        watch, serving = self._watch, self.swap.serving
        if watch is not None and watch.alarm is not None and serving is self._watched:
            alarm = watch.alarm
            self._watch = None
            numbers = {"evidence": alarm.evidence, "level": alarm.level, "gain": alarm.gain, "n": float(alarm.n)}
            if self._settings.demote:
                await self._take_out(serving.by_symbol[alarm.symbol], str(alarm), numbers)
            else:
                log.warning(
                    "model.alarm", world=self.swap.world, model=serving.by_symbol[alarm.symbol], reason=str(alarm)
                )
        broken, self._broken = self._broken, []
        for ref, reason in broken:
            await self._take_out(ref, reason, {})

    async def _take_out(self, ref: str, reason: str, numbers: dict[str, float]) -> str:
        """Out of service now, and in the journal; what serves next."""
        async with self._turn:
            if ref in self.swap.serving.refs:
                self.swap.fall_back()
            one = await asyncio.to_thread(self.swap.registry.find, ref)
            after = await asyncio.to_thread(
                self.swap.registry.demote, one, self.swap.world, _BY, wall_us(), reason, numbers
            )  # fmt: skip
            self.demotions += 1
            log.warning(
                "model.demoted",
                world=self.swap.world,
                model=ref,
                reason=reason,
                successor=BASELINE if after is None else after.ref,
            )
        await self.look()
        return BASELINE if after is None else after.ref

    async def _save_shadows(self) -> None:
        try:
            await self.shadows.save()
        except OSError as error:
            log.warning("shadow.not_saved", world=self.swap.world, error=str(error))

    async def _demote(self, text: str, reason: str) -> str:
        one = await asyncio.to_thread(self.swap.registry.find, text)
        if one.stage(self.swap.world) != "deployed":
            raise ConfigError(
                f"{one.ref} is not deployed in {self.swap.world}; it is in stage {one.stage(self.swap.world)}"
            )
        return f"{one.ref} is demoted; {await self._take_out(one.ref, reason, {})} serves its symbols"

    async def _swap(self) -> str:
        self.swap.again()
        before = self.swap.serving
        await self.look()
        now = self.swap.serving
        told = f"{now.name} serves" if now is before else f"{before.name} -> {now.name}"
        return f"{told}; {self.problem}" if self.problem else told

    async def _list(self) -> list[Row]:
        versions = await asyncio.to_thread(self.swap.registry.versions)
        return [
            {
                "model": one.ref,
                "kind": one.kind,
                "symbols": ",".join(one.symbols),
                "base step": f"{one.base_step_s} s",
                "stage": one.stage(self.swap.world),
                "": "serves" if one.ref in self.swap.serving.refs else "",
            }
            for one in versions.values()
        ]

    def _scores(self) -> list[Row]:
        rows = [] if self._watch is None else [_score_row(self._ref_of(row), row) for row in self._watch.rows()]
        return rows + [
            _score_row(f"{ref} (shadow)", row) for ref, one in self.shadows.running.items() for row in one.watch.rows()
        ]

    def _ref_of(self, row: WatchRow) -> str:
        return self._watched.by_symbol[row.symbol]


def _score_row(model: str, row: WatchRow) -> Row:
    known = row.n > 0
    return {
        "model": model,
        "symbol": row.symbol,
        "horizon": f"{row.horizon_s} s",
        "forecasts": str(row.n),
        "gain": f"{row.gain:+.4f} +- {row.gain_se:.4f}" if known else "-",
        "evidence": f"{row.evidence:.1f} of {row.level:.1f}" if known else f"- of {row.level:.1f}",
        "below 5 25 75 95 %": " ".join(f"{100 * share:.0f}" for share in row.coverage) if known else "-",
    }
