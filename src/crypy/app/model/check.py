"""What `crypy model check` does: a model by any of its names, the data to check it on, and the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crypy.app.data.stores import Place
from crypy.app.model.data import dataset_of
from crypy.app.model.named import named
from crypy.app.model.train import options_of
from crypy.domain.errors import ConfigError
from crypy.models.dataset import SPACING_S, Dataset
from crypy.models.kinds import Kind
from crypy.models.port import Model
from crypy.training.kind_options import typed_options

if TYPE_CHECKING:
    from crypy.testing.check_report import CheckReport


@dataclass(frozen=True, slots=True)
class Range:
    """What to check on; the synthetic market where neither symbols, moments nor files are named."""

    symbols: str = ""
    start: str = ""
    end: str = ""
    spacing_s: int = SPACING_S


def check(text: str, chosen: Range, place: Place, settings: Path | None = None, seed: int = 0) -> CheckReport:
    """Check a kind, `file.py:Class`, a model of the registry, or an artefact's folder.

    Raises `ConfigError` for a name that nothing has, `DataError` for an artefact or data that cannot be read.
    """
    # The test kit is loaded by the verb that needs it.
    from crypy.testing.model_checks import check_model

    model = named(text, place).what
    options: dict[str, Any] = {}
    if isinstance(model, Kind):
        options = typed_options(model, options_of(model, settings, {}))
    dataset = None
    if place.source is not None or chosen.symbols or chosen.start or chosen.end:
        symbols = chosen.symbols if isinstance(model, Kind) or chosen.symbols else ",".join(model.schema.symbols)
        dataset = dataset_of(place, symbols, chosen.start, chosen.end, spacing_s=chosen.spacing_s)
        if not isinstance(model, Kind):
            _require_symbols(text, model, dataset)
    return check_model(model, dataset, seed=seed, **options)


def _require_symbols(text: str, model: Model, dataset: Dataset) -> None:
    """A model that is not given what it looks at would fail every check, each in its own words."""
    if missing := [symbol for symbol in model.schema.symbols if symbol not in dataset.symbols]:
        raise ConfigError(f"{text} looks at {', '.join(missing)} as well; give it their bars by --symbols")
