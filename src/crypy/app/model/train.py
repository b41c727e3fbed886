"""What `crypy model train` does: options to a dataset and settings, a fitted model, its scores beside the baseline's, and where it is kept."""

from __future__ import annotations

import inspect
import shutil
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crypy.app.data.stores import Place
from crypy.app.model.data import dataset_of, models_folder
from crypy.domain.errors import ConfigError
from crypy.domain.times import US_PER_S, iso
from crypy.models.artefact import CARD
from crypy.models.dataset import SPACING_S, Dataset
from crypy.models.kinds import Kind, kind_of
from crypy.runtime.clocks import SystemClock
from crypy.training.kind_options import typed_options

if TYPE_CHECKING:
    from crypy.training.progress import TrainingProgress

# Options of the command line, and where a settings file has them.
_NETWORK = ("encoder", "members")
_TRAINER = ("epochs", "seed", "validation_share")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to train and where to keep it. `out` is the folder that the artefact's folder is made in; without it, it becomes the next version of
    `name` in the registry."""

    kind: str
    name: str
    symbols: str
    start: str
    end: str
    spacing_s: int = SPACING_S
    out: Path | None = None
    settings: Path | None = None
    restart: bool = False

    def folder(self, data_dir: Path | None) -> Path:
        """Where the artefact is written."""
        return (models_folder(data_dir) / ".training" if self.out is None else self.out) / self.name

    def work(self, data_dir: Path | None) -> Path:
        """Where checkpoints lie until the model is there."""
        folder = self.folder(data_dir)
        return folder.with_name(f"{folder.name}.checkpoints")


def train(
    wanted: Wanted,
    place: Place,
    given: Mapping[str, Any],
    on_progress: Callable[[TrainingProgress], None] | None = None,
) -> dict[str, Any]:
    """Train, save, and tell what came of it. `given` are options of the command line that were used, by name.

    Raises `ConfigError` for what cannot be asked, `Incomplete` or `DataError` for data that do not do.
    """
    kind = kind_of(wanted.kind)
    _require_place(wanted, place.data_dir)
    options = typed_options(kind, options_of(kind, wanted.settings, given))
    dataset = dataset_of(place, wanted.symbols, wanted.start, wanted.end, spacing_s=wanted.spacing_s)
    folder, work = wanted.folder(place.data_dir), wanted.work(place.data_dir)
    if wanted.restart:
        _forget(work)
    extra = {"checkpoints": work, "on_progress": on_progress}
    taken = inspect.signature(_fit_of(kind)).parameters
    model = kind.fit_on(dataset, **options, **{name: value for name, value in extra.items() if name in taken})
    model.save(folder)
    kept = _kept(wanted, folder, place.data_dir)
    _forget(work)
    return {
        "model": model.name,
        "kind": kind.name,
        "symbols": list(model.schema.symbols),
        "range": {"start": iso(dataset.start_s * US_PER_S), "end": iso(dataset.end_s * US_PER_S)},
        "data_fingerprint": dataset.fingerprint(),
        **kept,
        **scores(model, dataset),
    }


def options_of(kind: Kind, settings: Path | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings file's tables with the command line's options over them."""
    options = read_settings_file(settings) if settings is not None else {}
    used = {name: value for name, value in given.items() if value is not None}
    for group, names in (("network", _NETWORK), ("trainer", _TRAINER)):
        if own := {name: used[name] for name in names if name in used}:
            if not isinstance(options.get(group, {}), dict):
                raise ConfigError(f"{settings}: {group} is a table of settings")
            options[group] = {**options.get(group, {}), **own}
    if kind.own and used:
        raise ConfigError(f"{kind.name} is a class of your own: it gets its options from --settings alone")
    return options


def scores(model: Any, dataset: Dataset) -> dict[str, Any]:
    """In-sample scores of a model and of the baseline fitted on the same range; the held-out ones that a network was trained with."""
    from crypy.models.fitting import fit_on
    from crypy.training.in_sample import mean_nll

    baseline = {(one.symbol, one.horizon_s): one.nll for one in mean_nll(fit_on(dataset), dataset)}
    rows = [
        {
            "symbol": one.symbol,
            "horizon_s": int(one.horizon_s),
            "n": one.n,
            "nll": one.nll,
            "baseline_nll": baseline.get((one.symbol, one.horizon_s)),
        }
        for one in mean_nll(model, dataset)
    ]
    settings = getattr(getattr(model, "record", None), "settings", {})
    return {"in_sample": rows, "held_out_gain": settings.get("held_out_gain", {})}


def _fit_of(kind: Kind) -> Any:
    if kind.own:
        return _no_extra
    module, _, name = kind.fit.partition(":")
    return getattr(import_module(module), name)


def _no_extra() -> None: ...


def _kept(wanted: Wanted, folder: Path, data_dir: Path | None) -> dict[str, Any]:
    """Where the model is now: its folder, or its version in the registry."""
    if wanted.out is not None:
        return {"folder": str(folder), "version": None}
    from crypy.training.registry import Registry

    registry = Registry(models_folder(data_dir))
    version = registry.register(folder, wanted.name, "crypy model train", SystemClock().now_us())
    shutil.rmtree(folder)
    return {"folder": str(version.folder), "version": version.ref}


def _require_place(wanted: Wanted, data_dir: Path | None) -> None:
    """A name that cannot be a folder's, or a folder that is something else, is told before hours of work."""
    if not wanted.name or wanted.name.startswith(".") or not all(c.isalnum() or c in "-_." for c in wanted.name):
        raise ConfigError(f"{wanted.name!r} cannot name a model: letters, digits, '-', '_' and '.' are allowed")
    folder = wanted.folder(data_dir)
    if folder.exists() and not (folder / CARD).is_file():
        raise ConfigError(f"{folder} exists and is not a model artefact; choose another --name or --out")


def read_settings_file(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises `ConfigError` for one that cannot be read."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); --settings names a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def _forget(work: Path) -> None:
    if work.is_dir():
        from crypy.training.checkpoints import forget_checkpoint

        forget_checkpoint(work)
