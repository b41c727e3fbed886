"""Checks that nothing at or after a moment reaches what is said of it, and how far back the past reaches."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.times import US_PER_S, iso
from crypy.marketdata.bars import Bars
from crypy.models.dataset import Dataset
from crypy.models.hindcast import hindcasts, one_by_one
from crypy.models.port import DistributionGrid
from crypy.testing.check_report import Check, fine, told, wrong
from crypy.testing.check_subject import HORIZONS_S, Subject
from crypy.testing.look_ahead import bits, delicate_origins, near, sequence_at, until
from crypy.training.look_ahead import changed_from

Ints = NDArray[np.int64]

_MOMENTS: Final = 40
_ROWS: Final = 48
_CUTS: Final = 5
# Bars around a cut among neighbouring ones.
_BEFORE: Final = 6
_AFTER: Final = 20
_LAWS: Final = ("scale", "skew", "tail")


def look_ahead(subject: Subject) -> Check:
    """`predict` at t, from bars as they are, from bars that differ at and after t, and from bars that end at t."""
    model, schema = subject.model, subject.model.schema
    rng = subject.rng()
    first_s = int(subject.origins_s[0])
    moments = [one for one in delicate_origins(subject.judged, schema, rng, _MOMENTS).tolist() if one >= first_s]
    for at_s in moments:
        bars = near(
            {symbol: subject.dataset.bars[symbol] for symbol in schema.symbols}, at_s, schema.history_s + 86_400
        )
        said = bits(model.predict(sequence_at(bars, schema, at_s), HORIZONS_S))
        for words, other in (
            ("bars at and after it are changed", changed_from(bars, at_s, rng)),
            ("bars at and after it are taken away", until(bars, at_s)),
        ):
            if bits(model.predict(sequence_at(other, schema, at_s), HORIZONS_S)) != said:
                return wrong("look-ahead", f"what it says at {iso(at_s * US_PER_S)} changes when {words}", at_s=at_s)
    return fine("look-ahead", f"bit-equal at {len(moments)} moments with other bars, and with none, at and after them")


def hindcast_look_ahead(subject: Subject) -> Check:
    """The way that evaluation takes, many origins at once: rows up to a cut do not see what comes after it, nor what their horizon holds.

    Each cut is itself an origin, so that one bar too many shows: some among all origins far apart, some among origins of neighbouring bars.
    """
    judged, rng = subject.judged, subject.rng()
    first_s = int(subject.origins_s[0])
    spacing_s = max(1, (judged.end_s - first_s) // _ROWS // judged.spacing_s) * judged.spacing_s
    wide = judged.between(first_s, judged.end_s).every(spacing_s)
    cuts = [(wide, at_s) for at_s in rng.choice(wide.origins_s(), _CUTS, replace=False).tolist()]
    step_s = judged.step_s
    lowest_s, highest_s = first_s + _BEFORE * step_s, judged.end_s - _AFTER * step_s
    moments = [one for one in delicate_origins(judged, subject.model.schema, rng) if lowest_s <= one <= highest_s]
    for at_s in rng.choice(moments, min(_CUTS, len(moments)), replace=False).tolist():
        cuts.append((judged.between(at_s - _BEFORE * step_s, at_s + _AFTER * step_s).every(step_s), at_s))
    for dataset, at_s in cuts:
        found = _cut_at(subject, dataset, at_s, rng)
        if found is not None:
            return found
    horizons_s = np.array(judged.horizons_s, np.float64)
    fast, slow = (way(subject.model, wide, horizons_s) for way in (hindcasts, one_by_one))
    for symbol, cast in fast.items():
        if any(getattr(cast, name).tobytes() != getattr(slow[symbol], name).tobytes() for name in _LAWS):
            return wrong(
                "hindcast look-ahead",
                f"hindcasts of {symbol} are not what predict says one by one: rows must be equal to the last bit",
            )
    return fine(
        "hindcast look-ahead",
        f"rows up to {len(cuts)} cuts are bit-equal, whatever comes after, and equal to predict's",
    )


def _cut_at(subject: Subject, dataset: Dataset, at_s: int, rng: np.random.Generator) -> Check | None:
    """A finding, where rows up to `at_s` change with the bars at and after it."""
    horizons_s = np.array(dataset.horizons_s, np.float64)
    said = hindcasts(subject.model, dataset, horizons_s)
    others = [("bars from then on are changed", _again(dataset, changed_from(dataset.bars, at_s, rng), dataset.end_s))]
    if at_s > dataset.start_s:
        others.append(("the data end there", _again(dataset, until(dataset.bars, at_s), at_s)))
    for words, changed in others:
        other = hindcasts(subject.model, changed, horizons_s)
        for symbol, cast in said.items():
            rows = int(np.searchsorted(changed.origins_s(), at_s, "right"))
            for name in _LAWS:
                left, right = getattr(cast, name)[:rows], getattr(other[symbol], name)[:rows]
                differ = np.flatnonzero((left != right).any(axis=1))
                if len(differ):
                    seen_s = int(cast.origins_s[differ[0]])
                    return wrong(
                        "hindcast look-ahead",
                        f"in a hindcast of many origins, {name} of {symbol} at {iso(seen_s * US_PER_S)} changes when {words}"
                        f" ({iso(at_s * US_PER_S)})",
                        at_s=at_s,
                        origin_s=seen_s,
                    )
    return None


def _again(dataset: Dataset, bars: dict[str, Bars], end_s: int) -> Dataset:
    return Dataset.of(bars, dataset.start_s, end_s, spacing_s=dataset.spacing_s, horizons_s=dataset.horizons_s)


def warm_up(subject: Subject) -> Check:
    """The history from which on the answer is that of all history, to 1e-6 of the scale."""
    schema = subject.model.schema
    if not schema.allow_missing:
        return told(
            "warm-up",
            f"it answers only with all {schema.history_s:,} s of history that its schema asks for",
            stable_s=schema.history_s,
        )
    at_s = int(subject.origins_s[-1])
    step_s = subject.dataset.step_s
    longest = min(schema.history_s, at_s - min(one.start_s for one in subject.dataset.bars.values()))
    spans_s = np.unique(np.geomspace(2 * step_s, longest, 40).astype(int) // step_s * step_s)
    whole = _with_history(subject, at_s, longest + step_s)
    reached = longest
    for span_s in spans_s[::-1].tolist():
        if _apart(_with_history(subject, at_s, span_s), whole) > 1e-6:
            break
        reached = span_s
    words = f"from {reached:,} s ({reached / 86_400:.3g} days) of history on the answer is stable to 1e-6"
    if longest < schema.history_s:
        words += f"; the data reach back {longest:,} of the {schema.history_s:,} s that the schema looks at"
    return told("warm-up", words, stable_s=int(reached), schema_s=schema.history_s)


def _with_history(subject: Subject, at_s: int, span_s: int) -> DistributionGrid:
    bars = {symbol: subject.dataset.bars[symbol] for symbol in subject.model.schema.symbols}
    return subject.model.predict(sequence_at(near(bars, at_s, span_s, 0), subject.model.schema, at_s), HORIZONS_S)


def _apart(left: DistributionGrid, right: DistributionGrid) -> float:
    """The largest relative difference of any parameter; skew, which may be 0, by its own size or 1e-3."""
    parts = [np.abs(left.scale / right.scale - 1.0), np.abs((left.tail - 2.0) / (right.tail - 2.0) - 1.0)]
    parts.append(np.abs(left.skew - right.skew) / np.maximum(np.abs(right.skew), 1e-3))
    worst = max(float(part.max()) for part in parts)
    return worst if math.isfinite(worst) else math.inf
