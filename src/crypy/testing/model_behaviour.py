"""Checks of how a model answers: shape, numbers, order; whether it keeps state; threads and time."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import Incomplete
from crypy.marketdata.schema import FeatureSequence
from crypy.testing.check_report import Check, fine, skipped, told, wrong
from crypy.testing.check_subject import HORIZONS_S, Subject
from crypy.testing.look_ahead import bits, near, sequence_at

Floats = NDArray[np.float64]

_CALLS: Final = 200
_BUDGET_MS: Final = 50.0
_ALONE: Final = 1e-9


def shape(subject: Subject) -> Check:
    """Symbols, horizons and arrays are those that were asked for."""
    sequence = subject.sequences[0]
    grid = subject.model.predict(sequence, HORIZONS_S.copy())
    expected = len(subject.model.schema.symbols), len(HORIZONS_S)
    for name in ("scale", "skew", "tail"):
        found = np.asarray(getattr(grid, name))
        if found.shape != expected or found.dtype != np.float64:
            return wrong(
                "shape", f"{name} is {found.dtype} of shape {found.shape}; it must be float64 of shape {expected}"
            )
    if grid.symbols != subject.model.schema.symbols or grid.end_s != sequence.end_s:
        return wrong(
            "shape",
            f"it answers of {grid.symbols} at {grid.end_s}, it was asked of {subject.model.schema.symbols} at {sequence.end_s}",
        )
    if not np.array_equal(grid.horizons_s, HORIZONS_S):
        return wrong("shape", f"it answers for horizons {grid.horizons_s}, it was asked for {HORIZONS_S}")
    return fine("shape", f"[symbol, horizon] = {list(expected)}, as asked")


def numbers(subject: Subject) -> Check:
    """Every scale, skew and tail is lawful: at all sequences, and with next to no history where the schema allows it."""
    sequences = [*subject.sequences, *_short_histories(subject)]
    for sequence in sequences:
        grid = subject.model.predict(sequence, HORIZONS_S.copy())
        for name, good in (
            ("scale", np.isfinite(grid.scale) & (grid.scale > 0.0)),
            ("skew", np.abs(grid.skew) < 1.0),
            ("tail", grid.tail > 2.0),
        ):
            if not good.all():
                row, column = np.argwhere(~good)[0]
                value, known = getattr(grid, name)[row, column], sum(int(one.sum()) for one in sequence.known)
                return wrong(
                    "numbers",
                    f"{name} of {grid.symbols[row]} at {HORIZONS_S[column]:g} s is {value} at {sequence.end_s} ({known} known cells);"
                    " scale must be positive, skew in (-1, 1), tail above 2",
                )
    return fine("numbers", f"lawful at {len(sequences)} moments")


def horizons(subject: Subject) -> Check:
    """The scale never falls with the horizon, and what is said of one horizon does not depend on which others are asked for."""
    worst = 0.0
    for sequence in subject.sequences[::4]:
        grid = subject.model.predict(sequence, HORIZONS_S.copy())
        falls = np.diff(grid.scale, axis=1) < 0.0
        if falls.any():
            row, column = np.argwhere(falls)[0]
            return wrong(
                "horizons",
                f"scale of {grid.symbols[row]} falls from {HORIZONS_S[column]:g} to {HORIZONS_S[column + 1]:g} s",
            )
        for column, horizon in enumerate(HORIZONS_S):
            alone = subject.model.predict(sequence, np.array([horizon]))
            # A scale that was held up at that of a shorter horizon may be lower alone.
            held = column > 0 and np.isclose(grid.scale[:, column], grid.scale[:, column - 1], rtol=_ALONE, atol=0.0)
            off = np.abs(alone.scale[:, 0] / grid.scale[:, column] - 1.0)
            worst = max(worst, float(np.where(held & (alone.scale[:, 0] <= grid.scale[:, column]), 0.0, off).max()))
    if worst > _ALONE:
        return wrong(
            "horizons",
            f"the scale of a horizon differs by up to {worst:.2g} when it is asked alone: horizons must not influence each other",
        )
    return fine("horizons", "the scale never falls, and a horizon asked alone gets the same answer")


def keeps_inputs(subject: Subject) -> Check:
    """`predict` leaves sequence and horizons as they were."""
    writes = "predict writes into the arrays that it is given; other models read them too: work on copies"
    for sequence in subject.sequences[:4]:
        given, asked = _copied(sequence), HORIZONS_S.copy()
        before = bits(given), bits(asked)
        try:
            subject.model.predict(given, asked)
        except ValueError as error:
            if "read-only" not in str(error):
                raise
            return wrong("inputs kept", writes)
        if (bits(given), bits(asked)) != before:
            return wrong("inputs kept", writes)
    return fine("inputs kept", "sequence and horizons are as they were")


def no_memory(subject: Subject) -> Check:
    """Equal input, equal bits: twice, in any order, and after later moments were seen."""
    model, sequences = subject.model, subject.sequences
    first = [bits(model.predict(_copied(one), HORIZONS_S.copy())) for one in sequences]
    ways = {
        "asked again in the same order": range(len(sequences)),
        "asked from the last to the first": range(len(sequences) - 1, -1, -1),
        "asked in a random order": subject.rng().permutation(len(sequences)).tolist(),
    }
    for words, order in ways.items():
        for index in order:
            if bits(model.predict(_copied(sequences[index]), HORIZONS_S.copy())) != first[index]:
                return wrong(
                    "no memory",
                    f"{words}, it answers otherwise at {sequences[index].end_s}: it remembers what it saw before, or draws random numbers",
                )
    return fine("no memory", f"{len(sequences)} moments in three orders gave equal bits")


def threads(subject: Subject) -> Check:
    """Several threads at once get the answers of one; asked only of a model that claims so by `thread_safe`."""
    if not getattr(subject.model, "thread_safe", False):
        return skipped("threads", "it does not claim to be thread_safe")
    model, sequences = subject.model, subject.sequences * 10
    alone = [bits(model.predict(one, HORIZONS_S)) for one in sequences]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda one: bits(model.predict(one, HORIZONS_S)), sequences))
    differ = sum(left != right for left, right in zip(alone, together, strict=True))
    if differ:
        return wrong("threads", f"{differ} of {len(alone)} answers differ when 8 threads ask; it is not thread_safe")
    return fine("threads", f"{len(alone)} answers of 8 threads are those of one")


def latency(subject: Subject) -> Check:
    """Time of one `predict` with all horizons, after a first call."""
    model, sequences = subject.model, subject.sequences
    model.predict(sequences[0], HORIZONS_S)
    taken = np.empty(_CALLS)
    for call in range(_CALLS):
        begun = time.perf_counter()
        model.predict(sequences[call % len(sequences)], HORIZONS_S)
        taken[call] = 1e3 * (time.perf_counter() - begun)
    p50, p99 = (float(np.quantile(taken, share)) for share in (0.5, 0.99))
    words = f"p50 {p50:.3g} ms, p99 {p99:.3g} ms for {len(model.schema.symbols)} symbols and {len(HORIZONS_S)} horizons"
    if p50 > _BUDGET_MS:
        return wrong("latency", f"{words}; a tick has {_BUDGET_MS:g} ms for everything", p50_ms=p50, p99_ms=p99)
    return told("latency", words, p50_ms=p50, p99_ms=p99)


def _short_histories(subject: Subject) -> list[FeatureSequence]:
    if not subject.model.schema.allow_missing:
        return []
    bars = {symbol: subject.dataset.bars[symbol] for symbol in subject.model.schema.symbols}
    at_s, step_s = int(subject.origins_s[-1]), subject.dataset.step_s
    out: list[FeatureSequence] = []
    for count in (1, 2, 10, 100):
        try:
            out.append(sequence_at(near(bars, at_s, count * step_s, 0), subject.model.schema, at_s))
        except Incomplete:
            continue
    return out


def _copied(sequence: FeatureSequence) -> FeatureSequence:
    return replace(
        sequence,
        values=tuple(one.copy() for one in sequence.values),
        known=tuple(one.copy() for one in sequence.known),
        clocks=tuple(one.copy() for one in sequence.clocks),
        close=sequence.close.copy(),
    )
