"""What a data scientist's `predict` may answer with, made into the grid that everything else reads, or refused with the reason.

Three forms, told apart by their type: a `DistributionGrid`; a tuple `(scale, skew, tail)`; an array, which is the scale alone. Skew is then 0 and
the tail the one that is usual at the horizon (the prior's, measured on BTC and ETH): a normal law would be a surprise to whoever
trades on its tails.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import DataError
from crypy.models.port import DistributionGrid
from crypy.models.prior import default_prior

Floats = NDArray[np.float64]
# Rounding may let a flat scale fall by a few bits; more than this is a scale that falls.
_ROUNDING = 1e-9
_FORMS = "a DistributionGrid, (scale, skew, tail), or scale alone, of shape [symbol, horizon]"


def usual_tail(horizons_s: Floats) -> Floats:
    """Hansen's eta [h] where nothing better is known: the prior's, linear in the log of the horizon."""
    prior = default_prior()
    return np.interp(np.log(horizons_s), np.log(prior.horizons_s), prior.tail)


def grid_of(
    answer: Any, who: str, end_s: int, symbols: tuple[str, ...], horizons_s: Floats, history_s: Floats
) -> DistributionGrid:
    """The answer as a grid. Skew and tail may be single numbers or [h]; scale is [symbol, h] always.

    Raises `DataError` naming what is wrong with it, and of which symbol and horizon.
    """
    if isinstance(answer, DistributionGrid):
        _same_question(answer, who, end_s, symbols, horizons_s)
        parts = answer.scale, answer.skew, answer.tail
        history_s = answer.history_s
    elif isinstance(answer, tuple):
        if len(answer) != 3:
            raise DataError(f"{who}: predict gave {len(answer)} values; it is to give {_FORMS}")
        parts = answer
    else:
        parts = answer, 0.0, usual_tail(horizons_s)
    shape = len(symbols), len(horizons_s)
    scale = _numbers(parts[0], who, "scale")
    if scale.shape != shape:
        raise DataError(
            f"{who}: scale has shape {list(scale.shape)}, expected {list(shape)} for"
            f" {shape[0]} symbols and {shape[1]} horizons"
        )
    skew, tail = (
        _spread(_numbers(part, who, name), shape, who, name)
        for part, name in zip(parts[1:], ("skew", "tail"), strict=True)
    )
    for name, values, good, law in (
        ("scale", scale, (scale > 0.0) & np.isfinite(scale), "a positive number"),
        ("skew", skew, np.abs(skew) < 1.0, "between -1 and 1"),
        ("tail", tail, (tail > 2.0) & np.isfinite(tail), "a number above 2"),
    ):
        if not good.all():
            row, column = np.argwhere(~good)[0]
            raise DataError(
                f"{who}: {name} of {symbols[row]} at {horizons_s[column]:g} s is {values[row, column]}, must be {law}"
            )
    _rising(scale, who, symbols, horizons_s)
    return DistributionGrid(end_s, symbols, horizons_s, scale, skew, tail, history_s)


def _same_question(grid: DistributionGrid, who: str, end_s: int, symbols: tuple[str, ...], horizons_s: Floats) -> None:
    if grid.end_s != end_s:
        raise DataError(f"{who}: the grid is of {grid.end_s} s, it was asked at {end_s} s")
    if grid.symbols != symbols:
        raise DataError(f"{who}: the grid is of symbols {grid.symbols}, it was asked for {symbols}")
    if not np.array_equal(grid.horizons_s, horizons_s):
        raise DataError(f"{who}: the grid is of horizons {grid.horizons_s}, it was asked for {horizons_s} s")


def _numbers(part: Any, who: str, name: str) -> Floats:
    try:
        # A copy: what the model keeps and writes to later is not what was answered.
        return np.array(part, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{who}: {name} is no array of numbers ({error}); predict gives {_FORMS}") from None


def _spread(values: Floats, shape: tuple[int, int], who: str, name: str) -> Floats:
    try:
        return np.broadcast_to(values, shape).copy()
    except ValueError:
        raise DataError(
            f"{who}: {name} has shape {list(values.shape)}; a number, [{shape[1]}] or {list(shape)} is expected"
        ) from None


def _rising(scale: Floats, who: str, symbols: tuple[str, ...], horizons_s: Floats) -> None:
    falls = scale[:, 1:] < scale[:, :-1] * (1.0 - _ROUNDING)
    if falls.any():
        row, column = np.argwhere(falls)[0]
        raise DataError(
            f"{who}: scale of {symbols[row]} falls from {scale[row, column]:.3g} at {horizons_s[column]:g} s to"
            f" {scale[row, column + 1]:.3g} at {horizons_s[column + 1]:g} s; it is the standard deviation of the log return over"
            " the whole horizon and never falls with it"
        )
