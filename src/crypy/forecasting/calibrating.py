"""The calibrator: corrects each grid that a running model gives by what became of its earlier ones.

A step between the model and the sinks: grid in, grid out. The arithmetic is that of `models.recalibration`, so a live run and a
hindcast of the same grids give the same bits. What was learned is one JSON file a model, written every minute and taken up by
the next run, forecasts that were waiting included: the prices of the time between come from the history. It belongs to one
model (identity and schema), one set of settings, and the time after it; with others, or earlier, the calibrator begins anew and says so.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, DataError
from crypy.domain.ports import Clock
from crypy.forecasting.horizons import GRID_S
from crypy.models.hindcast import Hindcast
from crypy.models.port import DistributionGrid, Model
from crypy.models.recalibrated import Correction, Learned, Recalibrated, rehearse
from crypy.models.recalibration import Recalibration, fold, learned_at

Floats = NDArray[np.float64]

FORMAT: Final = 1
_EVERY_S: Final = 60.0


class Closes(Protocol):
    """Where prices come from: `CryptoData` live."""

    def closes(self, symbol: str, from_s: int) -> tuple[int, Floats]:
        """Closes of the sealed seconds from `from_s` on, NaN where unknown, and the second that the first is of."""
        ...


class SavedCalibration(msgspec.Struct, frozen=True):
    """The file of one model: what it learned of each symbol, and under which settings."""

    model: str
    schema: str
    settings: Recalibration
    symbols: dict[str, Learned]
    format: int = FORMAT


# Made before any thread needs it: see `marketdata.trade_files`.
_SAVED: Final = msgspec.json.Decoder(SavedCalibration)


class Calibrator:
    """Corrects the grids of one model at a time; `use` changes it. `note` tells what is wrong with its file, empty while nothing is.

    `folder` None keeps nothing on disk. Making one compiles what is to be compiled: make it in a thread. The rest, but `run`, are straight calls in the
    event loop's thread.
    """

    def __init__(
        self,
        source: Closes,
        model: Model,
        folder: Path | None = None,
        settings: Recalibration | None = None,
        grid_s: Iterable[float] = GRID_S,
        identity: str = "",
    ) -> None:
        self.settings = settings or Recalibration()
        self.note = ""
        self._source = source
        self._folder = folder
        self._rules = self.settings.rules(np.array(list(grid_s), np.float64), 1)
        self._model = model
        self._identity = identity or model.name
        self._symbols: dict[str, Recalibrated] = {}
        self._writing = threading.Lock()
        rehearse(self._rules)
        self.use(model, identity)

    @property
    def horizons_s(self) -> tuple[int, ...]:
        """Horizons whose forecasts are learned from, ascending."""
        return learned_at(self._rules)

    @property
    def fresh(self) -> tuple[str, ...]:
        """Symbols of the model in use that nothing is known of yet."""
        return tuple(symbol for symbol, known in self._symbols.items() if known.is_fresh)

    def use(self, model: Model, identity: str = "") -> None:
        """Go on with this model and what an earlier run learned of it. What was learned of the one before is written first. Blocks shortly.

        `identity` tells versions of one name apart, the name by default.
        """
        if self._symbols:
            self.save()
        self._model = model
        self._identity = identity or model.name
        self._symbols = {symbol: Recalibrated(self._rules) for symbol in model.schema.symbols}
        try:
            self._symbols.update(self._restored())
        except DataError as error:
            self.note = f"calibration of {self._identity} begins anew: {error}"

    def warm(self, casts: Mapping[str, Hindcast]) -> None:
        """Begin with what the model would have forecast lately, for symbols that nothing is known of.

        Raises `DataError` where a hindcast lacks one of `horizons_s`.
        """
        for symbol, cast in casts.items():
            if len(cast.origins_s) and symbol in self._symbols and self._symbols[symbol].is_fresh:
                self._symbols[symbol] = Recalibrated(self._rules, fold(cast, self._rules)[1], int(cast.origins_s[-1]))

    def apply(self, grid: DistributionGrid) -> DistributionGrid:
        """The corrected grid of the model in use. Learns from what ended by `grid.end_s` first, and keeps the grid's laws to learn from.

        Laws that are none, or of a symbol that the model does not know, are handed back as they are, for the runner to refuse.
        """
        laws = [np.array(table, np.float64) for table in (grid.scale, grid.skew, grid.tail)]
        horizons_s = np.ascontiguousarray(grid.horizons_s, np.float64)
        for row, symbol in enumerate(grid.symbols):
            known = self._symbols.get(symbol)
            scale, skew, tail = (table[row] for table in laws)
            if known is None or not _lawful(scale, skew, tail):
                continue
            if grid.end_s < known.seen_s:
                # A replay from its beginning, or a clock that was put back: what was learned is from the future.
                known = self._symbols[symbol] = Recalibrated(self._rules)
                self.note = f"calibration of {symbol} begins anew: what was known of it had been learned later"
            # The price at a moment is the close of the second before it.
            from_s = min(known.seen_s or grid.end_s, grid.end_s) - 1
            first_s, closes = self._source.closes(symbol, from_s)
            known.see(grid.end_s, first_s + 1, closes)
            scale[:], skew[:], tail[:] = known.correct(grid.end_s, horizons_s, scale, skew, tail)
        return replace(grid, scale=laws[0], skew=laws[1], tail=laws[2])

    def corrections(self, at_s: int) -> dict[str, tuple[Correction, ...]]:
        """What is corrected at `at_s`, by symbol; for the status."""
        return {symbol: known.corrections(at_s) for symbol, known in self._symbols.items()}

    def status(self, at_s: int) -> dict[str, str]:
        """The factors on the scale by learned horizon, a line a symbol, and the note where there is one; for people."""
        lines = {
            f"calibration {symbol}": ", ".join(f"{each.horizon_s} s x{each.scale:.3f}" for each in corrections)
            for symbol, corrections in self.corrections(at_s).items()
        }
        return lines | ({"calibration": self.note} if self.note else {})

    def hour(self, symbol: str, at_s: int) -> Floats:
        """Factor on the scale of returns over each slot of the hour; see `Recalibrated.hour`."""
        return self._symbols[symbol].hour(at_s)

    async def run(self, pace: Clock) -> None:
        """Write what was learned every minute of `pace` until cancelled, and once more then."""
        try:
            while True:
                await pace.sleep(_EVERY_S)
                await asyncio.to_thread(self._write, self._path(), self._snapshot())
        finally:
            self.save()

    def save(self) -> None:
        """Write what was learned; `note` says where that fails. Blocks."""
        self._write(self._path(), self._snapshot())

    def _path(self) -> Path | None:
        if self._folder is None:
            return None
        letters = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in self._identity)
        # The digest tells apart what the letters cannot; many names joined would make too long a name of a file.
        whole = f"{self._identity} {self._model.schema.fingerprint()}"
        return self._folder / f"calibration-{letters[:80]}-{hashlib.sha256(whole.encode()).hexdigest()[:12]}.json"

    def _snapshot(self) -> SavedCalibration:
        symbols = {symbol: known.learned() for symbol, known in self._symbols.items()}
        return SavedCalibration(self._identity, self._model.schema.fingerprint(), self.settings, symbols)

    def _write(self, path: Path | None, saved: SavedCalibration) -> None:
        """Replace the file whole: a kill leaves the old one or the new one."""
        if path is None:
            return
        try:
            with self._writing:
                path.parent.mkdir(parents=True, exist_ok=True)
                fresh = path.with_suffix(".new")
                # Without forcing it to disk: it outlives a kill, and after a loss of power a torn one is seen and left.
                fresh.write_bytes(msgspec.json.encode(saved))
                fresh.replace(path)
            self.note = ""
        except OSError as error:
            self.note = f"what was learned of {saved.model} cannot be written to {path.parent}: {error}"

    def _restored(self) -> dict[str, Recalibrated]:
        """What an earlier run left of this model. Raises `DataError` saying why it cannot be believed."""
        path = self._path()
        if path is None or not path.exists():
            return {}
        try:
            saved = _SAVED.decode(path.read_bytes())
        except (OSError, msgspec.DecodeError, ConfigError) as error:
            raise DataError(f"{path} cannot be read ({error})") from error
        if saved.format != FORMAT:
            raise DataError(f"{path} has format {saved.format}, this version reads {FORMAT}")
        if (saved.model, saved.schema) != (self._identity, self._model.schema.fingerprint()):
            raise DataError(f"{path} is about {saved.model} with another schema")
        if saved.settings != self.settings:
            raise DataError(f"{path} was learned under other settings")
        return {
            symbol: Recalibrated.of(learned, self._rules)
            for symbol, learned in saved.symbols.items()
            if symbol in self._symbols
        }


def _lawful(scale: Floats, skew: Floats, tail: Floats) -> bool:
    """Whether every one of these laws is one."""
    finite = np.isfinite(scale).all() and np.isfinite(skew).all() and np.isfinite(tail).all()
    return bool(finite and (scale > 0.0).all() and (np.abs(skew) < 1.0).all() and (tail > 2.0).all())
