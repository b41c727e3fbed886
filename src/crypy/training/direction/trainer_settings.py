"""How direction networks are trained: what is drawn, in which steps, and when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from crypy.domain.errors import ConfigError

S = TypeVar("S", bound=msgspec.Struct)


class DirectionTrainer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The defaults are what did best on forward folds of 15 months of minutes of BTC and ETH (`recipes` has them by timeframe).

    *What is drawn.* Closes every `spacing_s` (0: the ends of the timeframe's candles): those inside candles ask the same question of other
    candles, and teach. A move of at most `flat_bps` basis points counts as none. With `half_life_days` an example that many days older than the newest
    weighs half (0: all weigh the same).

    *Steps.* AdamW with `batch` examples a step, a linear warm-up over `warm_up_share` of all steps to `learning_rate` and a cosine down to zero;
    `weight_decay` on matrices only; gradients clipped to a global norm of `clip_norm`. Members of an ensemble differ by their seeds and by the order
    of what they see.

    *Ends.* After `epochs`. With `validation_share` the last share of the range is held out, behind an embargo of the timeframe: it is scored
    after each epoch, and the best epoch's weights are taken. Raises `ConfigError` for what cannot be.
    """

    seed: int = 0
    spacing_s: int = 0
    flat_bps: float = 0.0
    half_life_days: float = 0.0
    epochs: int = 4
    batch: int = 1_024
    learning_rate: float = 2e-3
    warm_up_share: float = 0.05
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    validation_share: float = 0.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("learning_rate", "clip_norm"):
            _require(getattr(self, name) > 0.0, name, getattr(self, name), "above 0")
        for name in ("seed", "spacing_s", "flat_bps", "half_life_days", "weight_decay"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "not below 0")
        _require(0.0 <= self.warm_up_share <= 1.0, "warm_up_share", self.warm_up_share, "between 0 and 1")
        _require(0.0 <= self.validation_share <= 0.5, "validation_share", self.validation_share, "between 0 and 0.5")


def laid_over(usual: S, given: S | Mapping[str, Any] | None) -> S:
    """The settings given whole, or the usual ones with the fields that are given. Raises `ConfigError` for a field or value that cannot be."""
    if given is None:
        return usual
    if isinstance(given, msgspec.Struct):
        return given
    try:
        return msgspec.convert({**msgspec.to_builtins(usual), **given}, type(usual))
    except msgspec.ValidationError as error:
        raise ConfigError(f"{type(usual).__name__}: {error}") from error


def _require(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise ConfigError(f"trainer setting {name} = {value}: it must be {wanted}")
