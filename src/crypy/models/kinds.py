"""The kinds of models there are, by name: how each is fitted and how its artefact is loaded.

Named by import path, so that knowing of a kind imports nothing (a kind may need JAX, or LightGBM). `fit` is a function of a
`Dataset` and keyword options that gives a `Model`; `model` is the class whose `load` reads the kind's artefacts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from crypy.domain.errors import ConfigError
from crypy.models.dataset import Dataset
from crypy.models.plugin_code import is_file_kind, name_file, offered
from crypy.models.port import Model

Fit = Callable[..., Model]


@dataclass(frozen=True, slots=True)
class Kind:
    """`model` and `fit` are written `module:name`; `needs` is the extra that fitting wants, empty for none.

    `own` marks a class of the user's, which `models.plugin` adapts: its `fit` takes the kind's name first.
    """

    name: str
    about: str
    model: str
    fit: str
    needs: str = ""
    own: bool = False

    def fit_on(self, dataset: Dataset, **options: Any) -> Model:
        """The model of this kind fitted on the dataset. Raises `ConfigError` where the extra is not installed."""
        fit = _named(self.fit, self.needs)
        return fit(self.name, dataset, **options) if self.own else fit(dataset, **options)

    def model_class(self) -> type[Model]:
        """The class whose `load` reads the artefacts of this kind."""
        return _named(self.model, "")


_BASELINE: Final = "crypy.models.baselines.model:ScaleBaseline"

BUILT_IN: Final = (
    Kind(
        "volatility-baseline",
        "realised variance at several memories, season, skewed t: the one to beat",
        "crypy.models.volatility:VolatilityBaseline",
        "crypy.models.fitting:fit_on",
    ),
    Kind("climatology", "a constant law for each horizon", _BASELINE, "crypy.models.baselines.fitting:fit_climatology"),
    Kind(
        "climatology-normal",
        "a constant normal law for each horizon",
        _BASELINE,
        "crypy.models.baselines.fitting:fit_climatology_normal",
    ),
    Kind("seasonal", "the time of the week alone", _BASELINE, "crypy.models.baselines.fitting:fit_seasonal"),
    Kind(
        "ewma",
        "exponentially weighted mean of squared returns, half-life by horizon",
        _BASELINE,
        "crypy.models.baselines.fitting:fit_ewma",
    ),
    Kind("ewma-normal", "the EWMA as a normal law", _BASELINE, "crypy.models.baselines.fitting:fit_ewma_normal"),
    Kind(
        "ewma-season",
        "the EWMA with the season taken out of the past and put into the future",
        _BASELINE,
        "crypy.models.baselines.fitting:fit_ewma_season",
    ),
    Kind(
        "har",
        "realised variance at several memories, without season",
        _BASELINE,
        "crypy.models.baselines.fitting:fit_har",
    ),
    Kind(
        "har-season-normal",
        "realised variance at several memories and season, as a normal law",
        _BASELINE,
        "crypy.models.baselines.fitting:fit_har_season_normal",
    ),
    Kind(
        "har-ranges",
        "ranges of minutes at several memories, and season",
        _BASELINE,
        "crypy.models.baselines.fitting:fit_har_ranges",
    ),
    Kind(
        "garch",
        "GARCH(1,1) of five-minute returns",
        _BASELINE,
        "crypy.models.baselines.garch_fitting:fit_garch",
        "train",
    ),
    Kind(
        "garch-season",
        "GARCH(1,1) of five-minute returns less their season",
        _BASELINE,
        "crypy.models.baselines.garch_fitting:fit_garch_season",
        "train",
    ),
    Kind(
        "skew-t-network",
        "the volatility baseline, corrected by an ensemble of networks on the past of all coins",
        "crypy.models.skew_t_network:SkewTNetwork",
        "crypy.training.network_fitting:fit_from_options",
        "train",
    ),
    Kind(
        "composite",
        "several models as one, a model a symbol",
        "crypy.models.composite:Composite",
        "crypy.models.composite:fit",
    ),
)


def kinds() -> dict[str, Kind]:
    """All kinds by name: those of crypy, and those that installed packages offer as entry points of the group `crypy.models`.

    Raises `ConfigError` for an entry point with a name that is taken.
    """
    known = {kind.name: kind for kind in BUILT_IN}
    for name, point in offered().items():
        if name in known:
            raise ConfigError(
                f"an installed package offers a kind of model named {name!r} ({point.value}), a name that crypy uses; rename its entry"
                " point or uninstall it"
            )
        known[name] = _own_kind(name, f"offered by an installed package as {point.value}")
    return known


def kind_of(name: str) -> Kind:
    """The kind of that name, or the class that `path/to/file.py:Class` names. Raises `ConfigError` with the names there are."""
    if is_file_kind(name):
        return _own_kind(name_file(name), f"a class in {name.rpartition(':')[0]}")
    known = kinds()
    if name not in known:
        raise ConfigError(
            f"there is no kind of model {name!r}; there are {', '.join(known)}, and a class of your own is named file.py:Class"
        )
    return known[name]


def _own_kind(name: str, about: str) -> Kind:
    return Kind(name, about, "crypy.models.plugin:PlugIn", "crypy.models.plugin:fit_own", own=True)


def _named(path: str, needs: str) -> Any:
    module, _, name = path.partition(":")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if not needs:
            raise
        raise ConfigError(f"this needs {error.name}; install it with `pip install 'crypy[{needs}]'`") from error
