"""Shadow models: they forecast beside the one in use, in a thread, are scored against it on the same returns, and change nothing.

Model stands against model: the laws of the one in use count as it gave them, before self-calibration, for a shadow has none. A shadow is
asked only when its watch waits for a forecast, a few times in five minutes, and never twice at once: one that is slow misses forecasts of
its own and nobody else's.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import structlog

from crypy.domain.errors import CrypyError
from crypy.forecasting.batch import ForecastBatch
from crypy.forecasting.hot_swap import Rings
from crypy.forecasting.runner import SequenceSource
from crypy.forecasting.watch import HORIZONS_S, Watch
from crypy.models.port import Model
from crypy.training.registry import ModelVersion, Registry
from crypy.training.shadow_record import ShadowRecord, ShadowScore, read_record, record_path, write_record

log = structlog.get_logger()


class Shadow:
    """One model beside the one in use. `problem` says what does not work, empty while all does; `ran_s` counts the forecasts it stood beside."""

    def __init__(self, ref: str, model: Model, ran_s: int) -> None:
        self.ref = ref
        self.model = model
        self.ran_s = ran_s
        self.watch = Watch(model.schema.symbols)
        self.problem = ""
        self.is_busy = False


class Shadows:
    """Those of one world. Everything but the forecasts and the loading happens in the event loop."""

    def __init__(
        self, registry: Registry, world: str, source: SequenceSource, rings: Rings, executor: Executor
    ) -> None:
        self.running: dict[str, Shadow] = {}
        self.refused: dict[str, str] = {}
        self._registry = registry
        self._world = world
        self._source = source
        self._rings = rings
        self._executor = executor
        self._horizons_s = np.array(HORIZONS_S, np.float64)
        self._tasks: set[asyncio.Task[None]] = set()

    async def look(self) -> None:
        """Begin with those that became shadows, end with those that are none any more. Raises `CrypyError` for a registry that cannot be read."""
        wanted = {one.ref: one for one in await asyncio.to_thread(self._registry.shadows, self._world)}
        self.running = {ref: shadow for ref, shadow in self.running.items() if ref in wanted}
        self.refused = {ref: why for ref, why in self.refused.items() if ref in wanted}
        for ref in [ref for ref in wanted if ref not in self.running and ref not in self.refused]:
            found = await asyncio.to_thread(self._load, wanted[ref])
            if isinstance(found, str):
                self.refused[ref] = found
                log.warning("model.refused", world=self._world, model=ref, reason=found)
                continue
            self.running[ref] = found
            log.info("model.shadowed", world=self._world, model=ref)

    def on_close(self, symbol: str, second_s: int, close: float) -> None:
        """The close of a second, in order."""
        for shadow in self.running.values():
            shadow.watch.on_close(symbol, second_s, close)

    def on_batch(self, batch: ForecastBatch) -> None:
        """Ask those that wait for a forecast for one of the batch's moment."""
        for shadow in self.running.values():
            shadow.ran_s += not shadow.problem
            if shadow.watch.wants() and not shadow.is_busy:
                task = asyncio.get_running_loop().create_task(self._ask(shadow, batch))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def save(self) -> None:
        """Write down how long each has run and how it did. Raises `OSError` where the disk takes nothing."""
        for ref, shadow in self.running.items():
            scores = tuple(
                ShadowScore(row.symbol, row.horizon_s, row.n, row.gain, row.gain_se)
                for row in shadow.watch.rows()
                if row.n
            )
            await asyncio.to_thread(write_record, self._path(ref), ShadowRecord(shadow.ran_s, scores))

    async def close(self) -> None:
        """Wait for those that are under way."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _ask(self, shadow: Shadow, batch: ForecastBatch) -> None:
        shadow.is_busy = True
        try:
            sequence = self._source.feature_sequence(batch.grid.end_s, shadow.model.schema)
            loop = asyncio.get_running_loop()
            grid = await loop.run_in_executor(self._executor, shadow.model.predict, sequence, self._horizons_s)
            shadow.watch.take(grid, batch.by_model)
            shadow.problem = ""
        except Exception as error:
            # A shadow may be anybody's code: it is told that it fails, and nothing else happens.
            shadow.problem = str(error) if isinstance(error, CrypyError) else f"{type(error).__name__}: {error}"
        finally:
            shadow.is_busy = False

    def _load(self, one: ModelVersion) -> Shadow | str:
        """The shadow, or why it cannot run here."""
        try:
            model = self._registry.load(one)
            ran_s = read_record(self._path(one.ref)).ran_s
        except Exception as error:
            # Loading may run anybody's code: why it failed is shown, and the others run.
            return str(error) if isinstance(error, CrypyError) else f"{type(error).__name__}: {error}"
        return self._rings.lack(model.schema) or Shadow(one.ref, model, ran_s)

    def _path(self, ref: str) -> Path:
        return record_path(self._registry.root, self._world, ref)
