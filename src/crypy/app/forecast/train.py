"""What `crypy forecast train` does: minutes to a market, a model for each timeframe, its scores beside constant chances, and where it is kept."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import msgspec

from crypy.app.data.stores import Place
from crypy.app.forecast.history import history
from crypy.app.model.data import models_folder
from crypy.app.settings import Settings
from crypy.domain.errors import ConfigError
from crypy.domain.times import US_PER_S, iso
from crypy.forecasting.direction.records import TIMEFRAMES
from crypy.models.artefact import CARD
from crypy.models.direction.inputs import Column
from crypy.models.direction.kinds import DirectionKind, FitRange
from crypy.runtime.clocks import SystemClock
from crypy.training.direction.trainer_settings import DirectionTrainer

if TYPE_CHECKING:
    from crypy.training.progress import TrainingProgress

_BY = "crypy forecast train"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to train and where to keep it. `name` without its timeframe, which is added; `out` is the folder that the artefacts' folders are made in:
    without it each becomes the next version of its name in the registry."""

    kind: DirectionKind
    symbols: tuple[str, ...]
    timeframes_s: tuple[int, ...]
    start_s: int | None
    end_s: int | None
    name: str
    out: Path | None = None
    settings: Path | None = None

    def folder(self, timeframe_s: int, data_dir: Path | None) -> Path:
        """Where the artefact of a timeframe is written."""
        place = models_folder(data_dir) / ".training" if self.out is None else self.out
        return place / f"{self.name}-{TIMEFRAMES[timeframe_s]}"


def train(
    wanted: Wanted,
    place: Place,
    settings: Settings,
    given: Mapping[str, Any],
    told: Callable[[str], None],
    on_progress: Callable[[TrainingProgress], None] | None = None,
) -> dict[str, Any]:
    """Train, save each model as it is done, and tell what came of it. `given` are fields of the trainer that stood on the command line, `None` for those that did not.

    Raises `ConfigError` for what cannot be asked, `Incomplete` or `DataError` for minutes that do not do.
    """
    fit = wanted.kind.fit_all()
    options = options_of(wanted.kind, wanted.settings, given)
    _require_name(wanted.name)
    for timeframe_s in wanted.timeframes_s:
        _require_place(wanted.folder(timeframe_s, place.data_dir))
    market = history(place, settings, wanted.symbols, (wanted.start_s, wanted.end_s), told)
    end_s = market.end_s if wanted.end_s is None else min(wanted.end_s, market.end_s)
    data = FitRange(market, wanted.symbols, market.start_s, end_s)
    begun = time.perf_counter()
    kept = [
        _kept(wanted, model, place.data_dir)
        for model in fit(data, wanted.timeframes_s, on_progress=on_progress, **options)
    ]
    seconds = time.perf_counter() - begun
    return {
        "kind": wanted.kind.name,
        "symbols": list(wanted.symbols),
        "range": {"start": iso(market.start_s * US_PER_S), "end": iso(end_s * US_PER_S)},
        "seconds": round(seconds, 1),
        "models": kept,
    }


def options_of(kind: DirectionKind, path: Path | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the kind's fit: the settings file's tables `network` and `trainer` and its `columns`, the command line over them.

    Fields that are not named keep what the kind uses for the timeframe. Raises `ConfigError` naming what the kind does not have.
    """
    from crypy.app.model.train import read_settings_file

    tables = read_settings_file(path) if path is not None else {}
    hints = get_type_hints(kind.fit_all())
    known = [name for name in signature(kind.fit_all()).parameters if name in ("network", "columns")]
    if wrong := sorted(set(tables) - {*known, "trainer"}):
        raise ConfigError(f"{path}: {kind.name} has no table {wrong[0]!r}; it has {', '.join([*known, 'trainer'])}")
    options: dict[str, Any] = {}
    if "columns" in tables:
        options["columns"] = _converted(path, "columns", tables["columns"], tuple[Column, ...])
    if "network" in tables:
        options["network"] = _changes(path, "network", tables["network"], get_args(hints["network"])[0])
    trainer = dict(tables.get("trainer", {})) | {name: value for name, value in given.items() if value is not None}
    if trainer:
        options["trainer"] = _changes(path, "trainer", trainer, DirectionTrainer)
    return options


def _changes(path: Path | None, name: str, table: Any, kind: type[msgspec.Struct]) -> dict[str, Any]:
    """A table of fields that differ from the usual, checked against the settings that it is laid over."""
    _converted(path, name, table, kind)
    return dict(table)


def _converted(path: Path | None, name: str, value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path or 'the options'}: {name}: {error}") from error


def _kept(wanted: Wanted, model: Any, data_dir: Path | None) -> dict[str, Any]:
    """Save the model; its row of the result."""
    folder = wanted.folder(model.timeframe_s, data_dir)
    model.save(folder)
    version: str | None = None
    if wanted.out is None:
        from crypy.training.registry import Registry

        registered = Registry(models_folder(data_dir)).register(folder, folder.name, _BY, SystemClock().now_us())
        shutil.rmtree(folder)
        version, folder = registered.ref, registered.folder
    record = model.record
    gains, later = record.settings.get("in_sample_gain", {}), record.settings.get("held_out_gain", {})
    return {
        "model": model.name,
        "timeframe": TIMEFRAMES[model.timeframe_s],
        "version": version,
        "folder": str(folder),
        "data_fingerprint": record.data_fingerprint,
        "examples": record.settings.get("examples"),
        "scores": [
            {
                "symbol": one.symbol,
                "n": one.n,
                "log_loss": one.nll,
                "gain": gains.get(one.symbol),
                "held_out_gain": later.get(one.symbol),
            }
            for one in record.metrics
        ],
    }


def _require_place(folder: Path) -> None:
    """A folder that is something else is told before the work."""
    if folder.exists() and not (folder / CARD).is_file():
        raise ConfigError(f"{folder} exists and is not a model artefact; choose another --name or --out")


def _require_name(name: str) -> None:
    if name.startswith((".", "-")) or not all(c.isalnum() or c in "-_." for c in name):
        raise ConfigError(f"{name!r} cannot name a model: letters, digits, '-', '_' and '.' are allowed")
