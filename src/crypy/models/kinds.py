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
from crypy.models.port import Model

Fit = Callable[..., Model]


@dataclass(frozen=True, slots=True)
class Kind:
    """`model` and `fit` are written `module:name`; `needs` is the extra that fitting wants, empty for none."""

    name: str
    about: str
    model: str
    fit: str
    needs: str = ""

    def fit_on(self, dataset: Dataset, **options: Any) -> Model:
        """The model of this kind fitted on the dataset. Raises `ConfigError` where the extra is not installed."""
        return _named(self.fit, self.needs)(dataset, **options)

    def model_class(self) -> type[Model]:
        """The class whose `load` reads the artefacts of this kind."""
        return _named(self.model, "")


BUILT_IN: Final = (
    Kind(
        "volatility-baseline",
        "realised variance at several memories, season, skewed t: the one to beat",
        "crypy.models.volatility:VolatilityBaseline",
        "crypy.models.fitting:fit_on",
    ),
)


def kinds() -> dict[str, Kind]:
    """All kinds by name."""
    return {kind.name: kind for kind in BUILT_IN}


def kind_of(name: str) -> Kind:
    """Raises `ConfigError` with the names there are."""
    known = kinds()
    if name not in known:
        raise ConfigError(f"there is no kind of model {name!r}; there are {', '.join(known)}")
    return known[name]


def _named(path: str, needs: str) -> Any:
    module, _, name = path.partition(":")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if not needs:
            raise
        raise ConfigError(f"this needs {error.name}; install it with `pip install 'crypy[{needs}]'`") from error
