"""What was learned online, kept beside the forecaster's files so that a restart goes on where the process was killed.

    FOLDER/learned-BTCUSDT-1m.json     weights, calibration, forecasts that wait for their fact; replaced whole after each close
    FOLDER/patterns-BTCUSDT-1m.bin     situations remembered; only appended to, before the other is replaced

A crash leaves the old state or the new one. Facts that came while the process was away are learned from the answers that were really given before
it went; closes at which nobody answered teach nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from crypy.domain.errors import DataError
from crypy.forecasting.direction.records import TIMEFRAMES, Timeframe
from crypy.models.direction.learner import Learner, LearnerSettings
from crypy.runtime.durable import sync_path

FORMAT: Final = 1


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What a learner had learned when the candle that ends at `end_s` had closed; `learned` is its own JSON."""

    symbol: str
    timeframe: Timeframe
    end_s: int
    learned: msgspec.Raw
    format: int = FORMAT


class Learned(msgspec.Struct, frozen=True, kw_only=True):
    """A learner's state at one moment, ready to be written. `rows` are its situations since the last time, `added` is how many there ever were."""

    kept: Kept
    rows: bytes
    added: int


_DECODER: Final = msgspec.json.Decoder(Kept)


class Keeping:
    """The kept states of one folder. `load` and `save` block for the disk; `capture` does not."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # How many situations of each learner are on the disk.
        self._added: dict[tuple[str, Timeframe], int] = {}

    def load(self, symbol: str, timeframe_s: int, settings: LearnerSettings) -> Learner:
        """The learner as it was kept, a new one where nothing was. Its situations are written anew: forgotten ones and a torn last one are gone.

        Raises `DataError` for files that are none of ours, or do not fit each other.
        """
        key = symbol, TIMEFRAMES[timeframe_s]
        learner = self._read(key, settings)
        # Before anything is learned: state and situations on the disk fit each other whenever a crash comes.
        _replace(self._paths(*key)[1], learner.kept_patterns())
        self._added[key] = learner.patterns_added
        return learner

    def capture(self, symbol: str, timeframe_s: int, learner: Learner, end_s: int) -> Learned:
        """A loaded learner's state now."""
        key = symbol, TIMEFRAMES[timeframe_s]
        rows = learner.kept_patterns(self._added[key])
        kept = Kept(symbol=symbol, timeframe=key[1], end_s=end_s, learned=learner.kept())
        return Learned(kept=kept, rows=rows, added=learner.patterns_added)

    def save(self, states: Iterable[Learned]) -> str:
        """Write captured states; what went wrong in one sentence, or "". What could not be written comes with the next capture."""
        try:
            for one in states:
                state, patterns = self._paths(one.kept.symbol, one.kept.timeframe)
                key = one.kept.symbol, one.kept.timeframe
                if one.rows:
                    _append(patterns, one.rows)
                _replace(state, msgspec.json.encode(one.kept))
                self._added[key] = one.added
        except OSError as error:
            return f"{self._folder} cannot be written: {error.strerror or error}; what was learned is kept in memory"
        return ""

    def _read(self, key: tuple[str, Timeframe], settings: LearnerSettings) -> Learner:
        state, patterns = self._paths(*key)
        try:
            kept = _DECODER.decode(state.read_bytes())
        except FileNotFoundError:
            return Learner(settings)
        except msgspec.MsgspecError as error:
            raise DataError(f"{state} is not what was learned: {error}; remove it to begin to learn anew") from None
        if (kept.symbol, kept.timeframe, kept.format) != (*key, FORMAT):
            raise DataError(
                f"{state} is of {kept.symbol} {kept.timeframe} in format {kept.format}; remove it to begin to learn anew"
            )
        try:
            return Learner.of_kept(bytes(kept.learned), settings, patterns.read_bytes() if patterns.exists() else b"")
        except DataError as error:
            raise DataError(f"{state}: {error}") from error

    def _paths(self, symbol: str, timeframe: Timeframe) -> tuple[Path, Path]:
        return self._folder / f"learned-{symbol}-{timeframe}.json", self._folder / f"patterns-{symbol}-{timeframe}.bin"


def _append(path: Path, data: bytes) -> None:
    """All of it on the disk, or none of it in the file."""
    with path.open("ab", buffering=0) as file:
        size = file.tell()
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) or 0 :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(size)
            raise


def _replace(path: Path, data: bytes) -> None:
    new = path.with_name(f"{path.name}.new")
    try:
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        sync_path(path.parent)
    except OSError:
        new.unlink(missing_ok=True)
        raise
