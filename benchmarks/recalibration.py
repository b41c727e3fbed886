"""`python -m benchmarks.recalibration FOLDER`: what self-calibration is worth to the volatility baseline, on real minutes.

FOLDER holds minutes of BTCUSDT and ETHUSDT from 2024-04-01 on. Three forward folds (quarters from 2024-10-01 to 2025-07-01, where the
defaults of `Recalibration` were chosen), the baseline fitted two days before each; nothing later is read. Gains are paired, in nats; behind +-
is the standard error of a moving-block bootstrap over days.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.distributions.scores import COVERAGE_SHARES, RowScores, score_rows, uniform_distance
from crypy.distributions.skew_t import ZeroMeanSkewStudentT
from crypy.domain.times import DAY_S, US_PER_S, parse_time_us
from crypy.marketdata.candle_files import read_candles
from crypy.models.dataset import HORIZONS_S, Dataset
from crypy.models.fitting import fit_on
from crypy.models.hindcast import Hindcast, hindcasts
from crypy.models.recalibration import Recalibration, recalibrate, recalibrated_hindcasts
from crypy.training.differences import DayBlocks

Floats = NDArray[np.float64]
Casts = Mapping[str, Hindcast]

SYMBOLS: Final = ("BTCUSDT", "ETHUSDT")
FIRST: Final = "2024-04-01"
FOLDS: Final = ("2024-10-01", "2025-01-01", "2025-04-01", "2025-07-01")
EMBARGO_S: Final = 2 * DAY_S
LEFT_S: Final = (60, 120, 240, 300, 420, 660, 900, 1_800)
WINDOWS_S: Final = (300, 900, 3_600, 14_400)


def main() -> None:
    folder = Path(sys.argv[1])
    edges = [parse_time_us(day) // US_PER_S for day in FOLDS]
    bars = {symbol: read_candles(folder, symbol).bars for symbol in SYMBOLS}
    data = Dataset.of(bars, parse_time_us(FIRST) // US_PER_S, edges[-1])
    models = [fit_on(data.between(data.start_s, start_s - EMBARGO_S)) for start_s in edges[:-1]]
    tests = [data.between(*edge) for edge in pairwise(edges)]
    horizons_s = np.array(HORIZONS_S, np.float64)
    plain = _joined([hindcasts(model, test, horizons_s) for model, test in zip(models, tests, strict=True)])
    print(
        "origins every 5 minutes: gain of the log score, 1e-4 nats, and of CRPS, per cent; coverage less nominal, points; KS"
    )
    for name, settings in (
        ("all", Recalibration()),
        ("no clock", Recalibration(clock=False)),
        ("clock only", Recalibration(most_scale=1e-9, most_tail=1e-9, most_skew=1e-9)),
    ):
        parts = [
            recalibrated_hindcasts(model, test, horizons_s, settings) for model, test in zip(models, tests, strict=True)
        ]
        _compare(name, plain, _joined(parts))
    minutes = [test.every(60) for test in tests]
    left_s = np.array(LEFT_S, np.float64)
    plain = _joined([hindcasts(model, test, left_s) for model, test in zip(models, minutes, strict=True)])
    better = _joined([recalibrated_hindcasts(model, test, left_s) for model, test in zip(models, minutes, strict=True)])
    print(
        "gain at the ends of windows by time left, 1e-4 nats, and log of the scale that would have been right before -> after"
    )
    for window_s in WINDOWS_S:
        _windows(window_s, plain, better)
    print(
        "a market that changes on a day the model knows nothing of: factor on the scale, tail, part inside the 90 % interval"
    )
    for name, factor, tail in (("volatility doubles", 2.0, 5.0), ("halves", 0.5, 5.0), ("tail 5 to 2.7", 1.0, 2.7)):
        _change(name, factor, tail)


def _joined(parts: list[dict[str, Hindcast]]) -> dict[str, Hindcast]:
    names = ("origins_s", "returns", "scale", "skew", "tail")
    return {
        symbol: replace(
            first, **{name: np.concatenate([getattr(part[symbol], name) for part in parts]) for name in names}
        )
        for symbol, first in parts[0].items()
    }


def _scores(cast: Hindcast, rows: NDArray[np.bool_], column: int) -> RowScores:
    return score_rows(
        *(np.ascontiguousarray(table[rows, column]) for table in (cast.returns, cast.scale, cast.skew, cast.tail))
    )


def _compare(name: str, plain: Casts, better: Casts) -> None:
    for symbol, cast in plain.items():
        for column, horizon in enumerate(cast.horizons_s):
            rows = np.isfinite(cast.returns[:, column])
            before, after = (_scores(one, rows, column) for one in (cast, better[symbol]))
            gains = np.column_stack([before.nll - after.nll, before.crps - after.crps])
            blocks = DayBlocks.over(cast.origins_s[rows])
            gain, error = gains.mean(axis=0), blocks.errors(cast.origins_s[rows], gains)
            shares = [[f"{100 * (np.mean(one.pit <= q) - q):+.1f}" for q in COVERAGE_SHARES] for one in (before, after)]
            print(
                f"{name:10s} {symbol[:3]} {int(horizon):6d} s  {1e4 * gain[0]:+6.1f} +- {1e4 * (error[0] or 0):4.1f}"
                f"  {100 * gain[1] / before.crps.mean():+.2f} +- {100 * (error[1] or 0) / before.crps.mean():.2f} %"
                f"  {'/'.join(shares[0])} -> {'/'.join(shares[1])}"
                f"  {uniform_distance(before.pit):.4f} -> {uniform_distance(after.pit):.4f}",
                flush=True,
            )


def _windows(window_s: int, plain: Casts, better: Casts) -> None:
    for symbol, cast in plain.items():
        cells: list[str] = []
        for column, horizon in enumerate(cast.horizons_s):
            if horizon >= window_s:
                continue
            rows = np.isfinite(cast.returns[:, column]) & ((cast.origins_s + int(horizon)) % window_s == 0)
            before, after = (_scores(one, rows, column) for one in (cast, better[symbol]))
            gains = (before.nll - after.nll)[:, None]
            error = DayBlocks.over(cast.origins_s[rows]).errors(cast.origins_s[rows], gains)[0] or 0.0
            wrong = [_misjudged(one, rows, column) for one in (cast, better[symbol])]
            cells.append(
                f"{int(horizon)} s {1e4 * gains.mean():+.0f} +- {1e4 * error:.0f} ({wrong[0]:+.2f} -> {wrong[1]:+.2f})"
            )
        print(f"{symbol[:3]} {window_s // 60:4d}m  {'  '.join(cells)}", flush=True)


def _misjudged(cast: Hindcast, rows: NDArray[np.bool_], column: int) -> float:
    """One step towards the most likely shift of the log scale: mean score over information."""
    z, tail = cast.returns[rows, column] / cast.scale[rows, column], cast.tail[rows, column]
    score = (tail + 1.0) * z**2 / (tail - 2.0 + z**2) - 1.0
    return float(score.mean() / np.mean(2.0 * tail / (tail + 3.0)))


def _change(name: str, factor: float, tail: float) -> None:
    """Sixty days as the model says, sixty that are not."""
    half, rng = 60 * 288, np.random.default_rng(3)
    steps = ZeroMeanSkewStudentT(1.0, 0.0, 5.0).sample(rng, half)
    steps = np.concatenate([steps, factor * ZeroMeanSkewStudentT(1.0, 0.0, tail).sample(rng, half)])
    horizons_s = np.array([300.0, 3_600.0])
    path = np.concatenate([[0.0], np.cumsum(steps), np.full(12, np.nan)])
    at = np.arange(2 * half)
    returns = np.column_stack([path[at + 1] - path[at], path[at + 12] - path[at]])
    scale = np.tile(np.sqrt(horizons_s / 300.0), (2 * half, 1))
    cast = Hindcast(300 * at, horizons_s, returns, scale, 0.0 * scale, 0.0 * scale + np.array([5.0, 9.0]))
    better = recalibrate(cast)
    cells: list[str] = []
    for first, last in ((-30, 0), (0, 1), (1, 2), (2, 3), (3, 5), (5, 7), (7, 14), (14, 28), (28, 60)):
        rows = (at // 288 - 60 >= first) & (at // 288 - 60 < last) & np.isfinite(returns[:, 1])
        inside = [100 * np.mean(np.abs(_scores(better, rows, column).pit - 0.5) <= 0.45) for column in range(2)]
        cells.append(
            f"{first}..{last} d x{better.scale[rows, 0].mean():.2f} {better.tail[rows, 0].mean():.1f} {inside[0]:.0f}/{inside[1]:.0f} %"
        )
    print(f"{name}: {'; '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
