"""What each baseline is made of: the letters of FORECAST_BASELINES as rows of one table.

They are one model. Its log scale is linear in what a recipe names, and scale, skew and tail are fitted per horizon by one likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from crypy.domain.errors import DataError

Past = Literal["nothing", "windows", "ewma", "garch"]
Measure = Literal["returns", "ranges"]

# FORECAST_BASELINES' half-lives, 15 minutes to two days.
HALF_LIVES_S: Final = tuple(60.0 * minutes for minutes in (15, 30, 60, 120, 240, 480, 720, 1_440, 2_880))


@dataclass(frozen=True, slots=True)
class Recipe:
    """`past` is what is remembered of volatility, `measure` what tells of it: squared returns or squared ranges.

    A `seasonal` one takes the season out of the past and adds the season ahead. A `normal` one has skew 0 and the tail of a normal law.
    """

    kind: str
    past: Past = "nothing"
    seasonal: bool = False
    measure: Measure = "returns"
    normal: bool = False

    @property
    def unit_weights(self) -> bool:
        """Whether past and season count as they are, with a weight of one, and only the level is fitted."""
        return self.past in ("ewma", "garch")


RECIPES: Final = {
    recipe.kind: recipe
    for recipe in (
        Recipe("climatology"),
        Recipe("climatology-normal", normal=True),
        Recipe("seasonal", seasonal=True),
        Recipe("ewma", "ewma"),
        Recipe("ewma-normal", "ewma", normal=True),
        Recipe("ewma-season", "ewma", seasonal=True),
        Recipe("har", "windows"),
        Recipe("har-season-normal", "windows", seasonal=True, normal=True),
        Recipe("har-ranges", "windows", seasonal=True, measure="ranges"),
        Recipe("garch", "garch"),
        Recipe("garch-season", "garch", seasonal=True),
    )
}


def recipe_of(kind: str) -> Recipe:
    """Raises `DataError` for a kind that is none of these."""
    if kind not in RECIPES:
        raise DataError(f"{kind!r} is none of the baselines: {', '.join(RECIPES)}")
    return RECIPES[kind]
