"""What `crypy model tune` does: a study of a kind's settings on bars of the store or of files, in the folder of models."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from crypy.app.data.stores import Place
from crypy.app.model.data import dataset_of, models_folder
from crypy.app.model.progress_line import progress_line
from crypy.domain.errors import ConfigError
from crypy.models.dataset import HORIZONS_S, SPACING_S
from crypy.models.kinds import kind_of
from crypy.runtime.clocks import SystemClock
from crypy.training.kind_options import check_names
from crypy.training.search_space import space_of
from crypy.training.trials import TrialLedger
from crypy.training.tuning import BEST, tune
from crypy.training.tuning_settings import Progress, TuningSettings


@dataclass(frozen=True, slots=True)
class Sought:
    """What to tune on which data. The study's name is that of its folder; `space` is a TOML file in place of the kind's own space."""

    kind: str
    study: str
    symbols: str
    start: str
    end: str
    horizons_s: tuple[int, ...] = HORIZONS_S
    spacing_s: int = SPACING_S
    space: Path | None = None


def tune_kind(
    sought: Sought, settings: TuningSettings, place: Place, on_progress: Callable[[Progress], None]
) -> dict[str, Any]:
    """Run or go on with the study, and tell the best settings, their gain, and the deflated one.

    Raises `ConfigError` for what cannot be asked, `Incomplete` or `DataError` for data that do not do.
    """
    _check_name(sought.study)
    kind = kind_of(sought.kind)
    space = space_of(kind.name, sought.space)
    check_names(kind, space)
    dataset = dataset_of(
        place, sought.symbols, sought.start, sought.end, spacing_s=sought.spacing_s, horizons_s=sought.horizons_s
    )
    folder = models_folder(place.data_dir)
    clock = SystemClock()
    study = folder / "studies" / sought.study
    found = tune(sought.kind, dataset, space, study, TrialLedger(folder, clock), clock, settings, on_progress)
    return {**msgspec.to_builtins(found), "settings_file": str(study / BEST)}


def shown_tuning(*, as_json: bool) -> AbstractContextManager[Callable[[Progress], None]]:
    """Shows progress on stderr: JSON lines, or a line with the best so far and the time that is left."""

    def fields(at: Progress) -> dict[str, object]:
        return {"total": at.of, "completed": at.ended, "told": described(at)}

    return progress_line("trials", fields, as_json=as_json)


def described(at: Progress) -> str:
    """One line: how many trials, the best gain so far (nats over the baseline), how long still."""
    parts = [f"{at.ended}/{at.of}"]
    parts += [f"{count} {name}" for name, count in (("pruned", at.pruned), ("failed", at.failed)) if count]
    if at.best is not None:
        parts.append(f"best {at.best:+.5f}")
    parts.append(f"{at.eta_s:.0f} s left")
    return ", ".join(parts)


def _check_name(study: str) -> None:
    if not study or study.startswith(".") or not all(c.isalnum() or c in "-_." for c in study):
        raise ConfigError(f"{study!r} cannot name a study: letters, digits, '-', '_' and '.' are allowed")
