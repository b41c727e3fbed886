"""What is checked: a model however it is handed in, how to fit it again, and the data that it is fitted and judged on."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, Incomplete
from crypy.domain.times import DAY_S, US_PER_S, iso
from crypy.marketdata.schema import FeatureSequence
from crypy.models import load_model
from crypy.models.dataset import Dataset
from crypy.models.kinds import Kind, kind_of
from crypy.models.plugin import fitted
from crypy.models.plugin_data import whole_origins
from crypy.models.port import Model
from crypy.testing.check_data import CLOCK_CHANGE_DAY, synthetic_dataset

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Refit = Callable[[Dataset], Model]

HORIZONS_S: Final = np.array([1.0, 10.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0, 172_800.0])
_FIT_SHARE: Final = 0.6
_SEQUENCES: Final = 24


@dataclass(frozen=True)
class Subject:
    """A fitted model. `refit` is `None` for one that came fitted; `fit_part` is then the whole dataset."""

    name: str
    model: Model
    refit: Refit | None
    dataset: Dataset
    fit_part: Dataset
    judged: Dataset
    synthetic: bool
    seed: int

    def rng(self) -> np.random.Generator:
        """The same numbers for each check, whichever checks came before it."""
        return np.random.default_rng(self.seed)

    @cached_property
    def origins_s(self) -> Ints:
        """Origins of the judged range at which the model's sequence can be made. Raises `Incomplete` for fewer than ten."""
        schema = self.model.schema
        origins_s = self.judged.origins_s() if schema.allow_missing else whole_origins(self.judged, schema)
        if len(origins_s) < 10:
            raise Incomplete(
                f"{self.name} looks back {schema.history_s:,} s, of which {self.data} has too little: bring a longer dataset"
            )
        return origins_s

    @cached_property
    def sequences(self) -> tuple[FeatureSequence, ...]:
        """Some sequences, spread evenly over the judged range."""
        picked = np.unique(np.linspace(0, len(self.origins_s) - 1, _SEQUENCES).astype(int))
        windows = self.judged.windows(self.model.schema, self.origins_s[picked])
        return tuple(windows[row] for row in range(len(windows)))

    @property
    def data(self) -> str:
        """The data in words."""
        one = self.dataset
        kind = f"the synthetic market (seed {self.seed})" if self.synthetic else "the dataset"
        return (
            f"{kind}: {', '.join(one.symbols)} in bars of {one.step_s} s, {iso(one.start_s * US_PER_S)[:10]} to"
            f" {iso(one.end_s * US_PER_S)[:10]}"
        )


def subject_of(named: tuple[str, Model | None, Refit | None], dataset: Dataset | None, seed: int) -> Subject:
    """What `taken` gave, fitted where it has to be."""
    name, made, refit = named
    if made is not None:
        whole = dataset or synthetic_dataset(made.schema, seed)
        return Subject(name, made, None, whole, whole, _judged(whole, dataset is None), dataset is None, seed)
    assert refit is not None  # `taken` gives one or the other
    whole = dataset or synthetic_dataset(seed=seed)
    judged = _judged(whole, dataset is None)
    fit_part = whole.between(whole.start_s, judged.start_s)
    return Subject(name, refit(fit_part), refit, whole, fit_part, judged, dataset is None, seed)


def _judged(whole: Dataset, synthetic: bool) -> Dataset:
    """The range to judge on: what follows the fit, on whole days where there are enough of them."""
    if synthetic:
        return whole.between((CLOCK_CHANGE_DAY - 2) * DAY_S, whole.end_s)
    start_s = whole.start_s + int(_FIT_SHARE * (whole.end_s - whole.start_s))
    unit_s = DAY_S if whole.end_s - whole.start_s > 10 * DAY_S else whole.spacing_s
    return whole.between(max(whole.start_s, start_s // unit_s * unit_s), whole.end_s)


def taken(model: Any, options: Mapping[str, Any]) -> tuple[str, Model | None, Refit | None]:
    """Name, and the fitted model or the way to fit one. Raises `ConfigError` for something that is no model."""
    if isinstance(model, Path) or (isinstance(model, str) and ("@" in model or Path(model).is_dir())):
        loaded = load_model(model)
        return loaded.name, loaded, None
    if isinstance(model, str):
        model = kind_of(model)
    if isinstance(model, Kind):
        kind = model
        return kind.name, None, lambda dataset: kind.fit_on(dataset, **options)
    if _is_own(model):
        make = (lambda: model(**options)) if inspect.isclass(model) else (lambda: copy.deepcopy(model))
        name = model.__name__ if inspect.isclass(model) else type(model).__name__
        return name, None, lambda dataset: fitted(make(), name, dataset, options)
    if all(hasattr(model, name) for name in ("name", "schema", "predict")):
        return model.name, model, None
    if callable(model):
        return _of_factory(model, options)
    raise ConfigError(
        f"{model!r} is no model: hand in a class with fit and predict, an object of it, a fitted model, a function that makes one, or a"
        " kind by name"
    )


def _of_factory(factory: Callable[..., Any], options: Mapping[str, Any]) -> tuple[str, None, Refit]:
    """A function of the dataset that gives a fitted model, or one of nothing that gives an object to fit."""
    name = getattr(factory, "__name__", type(factory).__name__)
    required = [
        one
        for one in inspect.signature(factory).parameters.values()
        if one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    if required:
        return name, None, lambda dataset: factory(dataset, **options)
    return name, None, lambda dataset: fitted(factory(**options), name, dataset, options)


def _is_own(model: Any) -> bool:
    return all(callable(getattr(model, name, None)) for name in ("fit", "predict"))
