"""`check_feature`: what is wrong with a feature, told to whoever wrote it, before a model learns from it.

It shows that no later candle reaches a value, that candles one by one give the bits of all at once, and that memory is all that is carried. What it
cannot see is a feature that reads the future from elsewhere, such as a file.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from crypy.features.catalogue import CATALOGUE, feature_of, spec_of
from crypy.features.feature import Feature, kind_of
from crypy.features.history import CandleHistory
from crypy.features.state import State
from crypy.features.store import FeatureStore
from crypy.marketdata.bars import Bars
from crypy.testing.check_report import Check, CheckReport, fine, told, wrong
from crypy.testing.feature_candles import between, changed_from, delicate_bars

Floats = NDArray[np.float64]

_LEAST_ROWS: Final = 1_500
_MOST_ROWS: Final = 200_000
_SINGLE_ROWS: Final = 200
_MOMENTS: Final = 40
# A value is off by so much of its own deviation after the warm-up: then the warm-up promises nothing.
_FAR: Final = 0.5


def check_feature(feature: Feature, bars: Bars | None = None, *, seed: int = 0) -> CheckReport:
    """Every check of one feature (and of those that it is made of), each with a sentence.

    Without bars it is folded over a made-up walk with ties, jumps, flat, empty and missing candles, long enough for its warm-up. An error of
    the feature's own is a finding, not an error.
    """
    begun = time.perf_counter()
    checks: list[Check] = []
    for name, work in _CHECKS.items():
        try:
            taken = bars if bars is not None else _walk(feature, seed)
            checks.append(work(feature, taken))
        except Exception as error:  # the feature is not ours: whatever it raises is what its author has to be told
            checks.append(wrong(name, f"raised {type(error).__name__}: {error}"))
    data = "a made-up walk" if bars is None else f"{len(bars)} bars of {bars.symbol}"
    return CheckReport(feature.name, data, tuple(checks), time.perf_counter() - begun)


def folded(feature: Feature, pieces: Iterable[Bars]) -> Floats:
    """Its values [row] over bars that follow each other, folded piece by piece."""
    state: State | None = None
    store = FeatureStore([feature])
    for piece in pieces:
        if state is None:
            state = State({piece.symbol: CandleHistory(piece.symbol, piece.step_s, piece.start_s)})
        state.raw[piece.symbol].extend(piece)
        store.compute(state)
    assert state is not None, "no piece, no symbol"
    (columns,) = state.features.values()
    return columns[feature].values(0, columns[feature].rows)


def cut(bars: Bars, borders: Iterable[int]) -> list[Bars]:
    """The bars in pieces, each beginning at a border."""
    edges = sorted({0, len(bars), *borders})
    return [between(bars, first, stop) for first, stop in pairwise(edges)]


def differs(one: Floats, other: Floats) -> int | None:
    """The first row that is not equal to the last bit; `None` where all are."""
    unlike = one.view(np.int64) != other.view(np.int64)
    unlike &= ~(np.isnan(one) & np.isnan(other))
    return int(unlike.argmax()) if unlike.any() else None


def _walk(feature: Feature, seed: int) -> Bars:
    """Rows for three warm-ups of it and of all that it needs."""
    cold = sum(one.warm_up for one in FeatureStore([feature]).order)
    return delicate_bars(min(_MOST_ROWS, max(_LEAST_ROWS, 3 * cold)), seed)


def _declared(feature: Feature, _: Bars) -> Check:
    """Parameters, name, spec, inputs and unit."""
    again = dataclasses.replace(feature)
    if again != feature or hash(again) != hash(feature) or again.inputs != feature.inputs:
        return wrong("declared", "made again with the same parameters it is another: it has to be a frozen dataclass")
    if not feature.inputs or not feature.unit:
        return wrong("declared", "it names no inputs or no unit")
    own = {kind_of(type(one)): type(one) for one in FeatureStore([feature]).order}
    spec = json.loads(json.dumps(spec_of(feature)))
    if feature_of(spec, {**CATALOGUE, **own}) != feature:
        return wrong("declared", f"read back from its spec {spec} it is another")
    return fine("declared", f"{feature.name}, in {feature.unit!r}")


def _look_ahead(feature: Feature, bars: Bars) -> Check:
    """Other candles from a row on leave the values before it as they are."""
    whole = folded(feature, [bars])
    random = np.random.default_rng(len(bars))
    for row in (len(bars) // 2, len(bars) - 1, *random.integers(1, len(bars), _MOMENTS).tolist()):
        unlike = differs(whole[:row], folded(feature, [changed_from(bars, row)])[:row])
        if unlike is not None:
            return wrong("look-ahead", f"the value of row {unlike} changes with candles from row {row} on", row=unlike)
    return fine("look-ahead", "later candles change no value")


def _pieces(feature: Feature, bars: Bars) -> Check:
    """One by one or in pieces, the bits are those of all at once."""
    whole, count = folded(feature, [bars]), len(bars)
    random = np.random.default_rng(count)
    singles = range(max(0, count - _SINGLE_ROWS), count)
    for borders in ((*singles, count // 2), (*range(min(40, count)), *random.integers(0, count, 20).tolist())):
        unlike = differs(whole, folded(feature, cut(bars, borders)))
        if unlike is not None:
            return wrong("pieces", f"folded in pieces, row {unlike} is another value than folded at once", row=unlike)
    return fine("pieces", "one by one and all at once give the same bits")


def _memory(feature: Feature, bars: Bars) -> Check:
    """What it carries on is in `memory`, and it fills `out`: another object with a copy of the memory goes on alike."""
    given, half = _given(feature, bars)
    one, other = (np.full(feature.memory_size, np.nan) for _ in range(2))
    outs = [np.full(len(given[0]), filled) for filled in (np.nan, -7.0)]
    feature.fold(other, tuple(each[:half] for each in given), outs[1][:half])
    # Another symbol comes in between, as it does live.
    feature.fold(one, given, outs[0])
    dataclasses.replace(feature).fold(other.copy(), tuple(each[half:] for each in given), outs[1][half:])
    # Rows that are not warm are nobody's.
    unlike = differs(outs[0][feature.warm_up - 1 :], outs[1][feature.warm_up - 1 :])
    if unlike is not None:
        return wrong(
            "memory",
            f"row {unlike + feature.warm_up - 1} differs when a copy of the memory is gone on from after another symbol: it keeps something"
            " elsewhere, or leaves a row of `out` as it was",
        )
    return fine("memory", f"{feature.memory_size} floats are all that it carries")


def _inputs_kept(feature: Feature, bars: Bars) -> Check:
    """Its inputs are as they were."""
    given, _ = _given(feature, bars)
    before = [each.copy() for each in given]
    feature.fold(np.full(feature.memory_size, np.nan), given, np.empty(len(given[0])))
    if any(differs(one, each) is not None for one, each in zip(before, given, strict=True)):
        return wrong("inputs kept", "it writes to its inputs, which other features read")
    return fine("inputs kept", "it leaves its inputs alone")


def _warm_up(feature: Feature, bars: Bars) -> Check:
    """A history that begins later tells nearly the same once the warm-up is over."""
    whole = folded(feature, [bars])
    known = np.flatnonzero(np.isfinite(whole))
    if not len(known):
        return wrong("warm-up", f"{len(bars)} rows give no value")
    late = min(len(bars) // 3, len(bars) - 1 - int(known[0]))
    later = folded(feature, [between(bars, late, len(bars))])
    both = np.isfinite(later) & np.isfinite(whole[late:])
    if not both.any():
        return told("warm-up", f"{len(bars)} rows are too few to begin twice")
    deviation = float(np.std(whole[known]))
    off = float(np.abs(later[both] - whole[late:][both]).max()) / deviation if deviation else 0.0
    first = int(known[0])
    if off > _FAR:
        return wrong(
            "warm-up",
            f"after {feature.warm_up} rows a value is still off by {off:.2g} of its deviation: it needs more",
            off=off,
        )
    return fine(
        "warm-up", f"first value in row {first}; begun later, values differ by {off:.2g} of their deviation", off=off
    )


def _finite(feature: Feature, bars: Bars) -> Check:
    """Numbers, whatever the candles: after the first one none is missing."""
    for price in (0.0, 1e-4, 1e9):
        taken = bars if not price else delicate_bars(len(bars), 3, price=price)
        values = folded(feature, [taken])
        known = np.flatnonzero(~np.isnan(values))
        first = int(known[0]) if len(known) else len(values)
        if not np.isfinite(values[first:]).all():
            row = first + int((~np.isfinite(values[first:])).argmax())
            at = f" at prices around {price:g}" if price else ""
            return wrong(
                "finite", f"row {row} is {values[row]}{at}, on a candle such as flat, empty or huge ones", row=row
            )
    return fine("finite", "every value after the first is a number")


def _given(feature: Feature, bars: Bars) -> tuple[tuple[Floats, ...], int]:
    """The rows of its inputs from the first on that has them all, each an array of its own; and the middle."""
    history = CandleHistory.of(bars)
    state = FeatureStore([feature]).compute(State({bars.symbol: history}))
    (columns,) = state.features.values()
    given = [
        history.column(one, 0, len(bars)) if isinstance(one, str) else columns[one].values(0, len(bars))
        for one in feature.inputs
    ]
    first = max(int(np.isnan(each).argmin()) for each in given)
    if any(math.isnan(each[-1]) for each in given):
        raise ValueError(f"{len(bars)} bars are too few for its inputs")
    return tuple(each[first:].copy() for each in given), (len(bars) - first) // 2


_CHECKS: Final[dict[str, Callable[[Any, Bars], Check]]] = {
    "declared": _declared,
    "look-ahead": _look_ahead,
    "pieces": _pieces,
    "memory": _memory,
    "inputs kept": _inputs_kept,
    "warm-up": _warm_up,
    "finite": _finite,
}
