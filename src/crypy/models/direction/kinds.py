"""The kinds of direction models, by name: how each is fitted and which class reads its artefacts. Knowing of a kind imports nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from crypy.domain.errors import ConfigError
from crypy.models.direction.market import Market
from crypy.models.direction.port import Member


@dataclass(frozen=True, slots=True)
class FitRange:
    """What is fitted on: minutes, symbols, and closes t with `start_s` <= t whose candle ends by `end_s`."""

    market: Market
    symbols: tuple[str, ...]
    start_s: int
    end_s: int


@dataclass(frozen=True, slots=True)
class DirectionKind:
    """`model` and `fit` are written `module:name`; `needs` is the extra that fitting wants, empty for none.

    `fit` takes a range to fit on, timeframes and the kind's settings, and gives a `Member` for each timeframe as it is done, which can be saved.
    """

    name: str
    about: str
    model: str
    fit: str
    needs: str = ""

    def model_class(self) -> Any:
        """The class whose `load` reads the artefacts of this kind. Raises `ConfigError` where what it needs is not installed."""
        return self._named(self.model)

    def fit_all(self) -> Any:
        """What fits this kind on several timeframes at once: `(FitRange, timeframes_s, **options) -> iterator of members`.

        Raises `ConfigError` where what it needs is not installed.
        """
        return self._named(self.fit)

    def fit_function(self) -> Callable[..., Member]:
        """The same for one timeframe: `(market, symbols, timeframe_s, start_s, end_s, **options) -> member`."""
        fit = self.fit_all()

        def fit_one(
            market: Market, symbols: tuple[str, ...], timeframe_s: int, start_s: int, end_s: int, **options: Any
        ) -> Member:
            return next(iter(fit(FitRange(market, symbols, start_s, end_s), (timeframe_s,), **options)))

        return fit_one

    def _named(self, path: str) -> Any:
        module, _, name = path.partition(":")
        try:
            return getattr(import_module(module), name)
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"{self.name} needs {error.name}; install it with `pip install 'crypy[train]'`"
            ) from error


_NETWORK: Final = "crypy.models.direction.network:DirectionNetwork"
_TABLE: Final = "crypy.models.direction.plain:DirectionTable"

KINDS: Final = (
    DirectionKind(
        "direction-network",
        "an ensemble of perceptrons with two heads on features of all coins",
        _NETWORK,
        "crypy.training.direction.network_fitting:fit_direction_networks",
        "train",
    ),
    DirectionKind(
        "direction-lstm",
        "an LSTM over the last candles with two heads",
        "crypy.models.direction.lstm:DirectionLstm",
        "crypy.training.direction.network_fitting:fit_direction_lstms",
        "train",
    ),
    DirectionKind(
        "direction-logistic",
        "multinomial logistic regression on the network's inputs",
        _NETWORK,
        "crypy.training.direction.logistic_fitting:fit_direction_logistics",
    ),
    DirectionKind(
        "direction-constant",
        "the frequencies of the past: the one to beat",
        _TABLE,
        "crypy.training.direction.plain_fitting:fit_direction_constants",
    ),
    DirectionKind(
        "direction-last",
        "the last direction, with the chance that it repeats",
        _TABLE,
        "crypy.training.direction.plain_fitting:fit_direction_lasts",
    ),
)


def direction_kinds() -> dict[str, DirectionKind]:
    """All of them by name."""
    return {kind.name: kind for kind in KINDS}


def direction_kind(name: str) -> DirectionKind:
    """The kind of that name. Raises `ConfigError` with the names there are."""
    known = direction_kinds()
    if name not in known:
        raise ConfigError(f"there is no kind of direction model {name!r}; there are {', '.join(known)}")
    return known[name]
