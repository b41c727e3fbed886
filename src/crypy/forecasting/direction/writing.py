"""What was made and learned, on its way to the disk: taken in the call of the feed, written by a task behind it.

What the disk does not take waits in memory. Lines are written before what was learned: a state never knows of a forecast that is not in the files.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping

import msgspec

from crypy.forecasting.direction.keeping import Keeping, Learned
from crypy.forecasting.direction.predictor import Close, Pair
from crypy.forecasting.direction.recorder import Recorder, RecorderStatus
from crypy.forecasting.direction.records import SECONDS, CandleRecord, FactRecord, PredictionRecord
from crypy.models.direction.learner import Learner


class Writing:
    """The writing side of a forecaster. `learners` are those whose states `keeping` writes; `tell` hears of every forecast, in the thread that writes.

    `recorded` has the start of the last candle and fact that stand in the files, in milliseconds. `problem` is why the last `save` did not write all, "" where it did.
    """

    def __init__(
        self,
        learners: Mapping[Pair, Learner],
        recorder: Recorder,
        keeping: Keeping,
        recorded: Mapping[str, Mapping[Pair, int]],
        tell: Callable[[PredictionRecord], object],
    ) -> None:
        self.learners = learners
        self.problem = ""
        self._recorder = recorder
        self._keeping = keeping
        self._recorded = {kind: dict(known) for kind, known in recorded.items()}
        self._tell = tell
        self._told: list[PredictionRecord] = []
        self._changed: set[Pair] = set()
        self._lock = threading.Lock()

    def unrecorded(self, close: Close) -> Close:
        """A close without the candles and facts that stand in the files already."""
        return msgspec.structs.replace(
            close,
            candles=tuple(one for one in close.candles if one.corrected or self._is_new("candles", one, one.ts_start)),
            facts=tuple(one for one in close.facts if one.corrected or self._is_new("facts", one, one.candle_ts)),
        )

    def add(
        self,
        predictions: Iterable[PredictionRecord],
        candles: Iterable[CandleRecord] = (),
        facts: Iterable[FactRecord] = (),
    ) -> None:
        """Lines for the next `save`."""
        made = tuple(predictions)
        self._told += made
        self._recorder.add((*made, *candles, *facts))

    def learns_from(self, close: Close) -> None:
        """The learners of what a close gave have another state, which the next `save` writes."""
        self._changed.update((one.symbol, SECONDS[one.timeframe]) for one in (*close.predictions, *close.facts))

    async def save(self, end_s: int) -> None:
        """Write lines and what was learned up to `end_s`; what could not be written is captured again the next time."""
        changed, self._changed = self._changed, set()
        told, self._told = self._told, []
        states = [self._keeping.capture(*pair, self.learners[pair], end_s) for pair in changed if pair in self.learners]
        self.problem = await asyncio.to_thread(self._write, states, told)
        if self.problem:
            self._changed |= changed

    def files(self) -> RecorderStatus:
        """What was written and what waits."""
        return self._recorder.status()

    def faults(self) -> list[str]:
        """A sentence for each thing that does not work now."""
        files = self.files()
        lost = f"{files.lost} lines could not be kept and are lost" if files.lost else ""
        return [fault for fault in (self.problem, lost) if fault]

    def _is_new(self, kind: str, line: CandleRecord | FactRecord, start_ms: int) -> bool:
        """Whether a line is not in the files yet; those before the first recorded minute are nobody's."""
        return start_ms > self._recorded.get(kind, {}).get((line.symbol, SECONDS[line.timeframe]), -1)

    def _write(self, states: list[Learned], told: list[PredictionRecord]) -> str:
        """What went wrong, or "". A write that a cancelled task left alone is waited for."""
        with self._lock:
            for one in told:
                self._tell(one)
            return self._recorder.flush().fault or self._keeping.save(states)
