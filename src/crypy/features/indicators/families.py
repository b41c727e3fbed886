"""What indicators of one kind have in common: their parameters, inputs, warm-up and memory. None of these is an indicator itself.

Each is abstract, and an indicator, which is final, extends one of them and overrides nothing that it gives: what a file of an indicator does
not say is said here, once. The order of the fields is that of the parameters in names and specs, so `of` comes first. An indicator whose
parameters have other names (`Difference` is of `less`) or that shares nothing but a field extends `Feature`.
"""

from __future__ import annotations

from dataclasses import dataclass

from crypy.features.feature import Feature, Source
from crypy.features.kernels.exponential import EXPONENTIAL_MEMORY, exponential_warm_up
from crypy.features.kernels.extremes import extreme_memory
from crypy.features.kernels.moments import moments_memory
from crypy.features.parameters import LONGEST, positive, whole


@dataclass(frozen=True)
class OfOne(Feature):
    """Made of one column or feature."""

    of: Source

    @property
    def inputs(self) -> tuple[Source, ...]:
        return (self.of,)


@dataclass(frozen=True)
class OfTwo(Feature):
    """Made of two columns or features: `of` by `by`."""

    of: Source
    by: Source

    @property
    def inputs(self) -> tuple[Source, ...]:
        return (self.of, self.by)


@dataclass(frozen=True)
class Cycle(OfOne):
    """Where `of` stands in a cycle that is `period` long, in units of `of`."""

    period: float = positive(86_400.0)

    @property
    def unit(self) -> str:
        return "1"


@dataclass(frozen=True)
class Exponential(OfOne):
    """Over all rows of `of` so far, of which one weighs half as much as one that is `half_life` rows younger."""

    half_life: float = positive(60.0, most=LONGEST)

    @property
    def warm_up(self) -> int:
        return exponential_warm_up(self.half_life)

    @property
    def memory_size(self) -> int:
        return EXPONENTIAL_MEMORY


@dataclass(frozen=True)
class Rolling(OfOne):
    """Over the last `window` rows of `of`, the newest among them."""

    window: int = whole(60)

    @property
    def warm_up(self) -> int:
        return self.window


@dataclass(frozen=True)
class RollingMoments(Rolling):
    """Folded by `fold_moments`."""

    @property
    def memory_size(self) -> int:
        return moments_memory(self.window)


@dataclass(frozen=True)
class RollingExtreme(Rolling):
    """Folded by `fold_extreme`."""

    @property
    def memory_size(self) -> int:
        return extreme_memory(self.window)


@dataclass(frozen=True)
class CandleMoments(Feature):
    """Over the last `window` candles, folded by `fold_moments`: what of a candle is told by `inputs`, and no parameter."""

    window: int = whole(60)

    @property
    def warm_up(self) -> int:
        return self.window

    @property
    def memory_size(self) -> int:
        return moments_memory(self.window)
