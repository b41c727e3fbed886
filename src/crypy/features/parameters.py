"""Parameters of features with their limits, so that a wrong one is refused where the feature is made.

    window: int = whole(15)
    half_life: float = positive(60.0)

A field without limits is any field of a dataclass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, Final

from crypy.domain.errors import ConfigError

_LIMITS: Final = "limits"
# Two years of minutes: a window beyond it is a mistake, and its memory would be felt.
LONGEST: Final = 1_051_200


@dataclass(frozen=True)
class Limits:
    """What a parameter may be: a number from `least` (or above it, where `open`) to `most`, `whole` or not."""

    least: float
    most: float
    whole: bool = False
    open: bool = False

    def allow(self, value: object) -> bool:
        """Whether the value is such a number. `True` is none, and 5.0 is no whole one: equal features must look equal."""
        kinds = (int,) if self.whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value):
            return False
        return (value > self.least if self.open else value >= self.least) and value <= self.most

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        if math.isinf(self.most):
            return (
                kind
                if math.isinf(self.least)
                else f"{kind} {'above' if self.open else 'of at least'} {self.least:.10g}"
            )
        return f"{kind} {'above' if self.open else 'from'} {self.least:.10g} to {self.most:.10g}"


def whole(
    default: int, least: int = 1, most: int = LONGEST
) -> Any:  # a field, which type checkers take for its default
    """A count of rows."""
    return field(default=default, metadata={_LIMITS: Limits(least, most, whole=True)})


def positive(default: float, most: float = math.inf) -> Any:  # as above
    """A number above 0."""
    return field(default=default, metadata={_LIMITS: Limits(0.0, most, open=True)})


def number(default: float, least: float = -math.inf, most: float = math.inf) -> Any:  # as above
    """A number that may be 0 and, without limits, less."""
    return field(default=default, metadata={_LIMITS: Limits(least, most)})


def settle_parameters(feature: Any) -> None:  # any dataclass
    """Make numbers that need not be whole floats, so that equal features have equal names. Raises `ConfigError` for one outside its limits."""
    for one in fields(feature):
        limits = one.metadata.get(_LIMITS)
        value = getattr(feature, one.name)
        if limits is not None and not limits.allow(value):
            raise ConfigError(f"{type(feature).__name__}: {one.name} is {limits}, not {value!r}")
        if limits is not None and not limits.whole:
            object.__setattr__(feature, one.name, float(value))
