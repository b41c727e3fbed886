"""Pictures of calibration: is what was called 90 % seen 90 % of the time, in the middle, in the tails, at every horizon?"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from crypy.training.evaluation import NOMINAL, PIT_BINS, Evaluation, HorizonScore, ModelEvaluation
from crypy.training.report.panels import cell, drawn, grid, horizons_of, legend_below, line_at, span_text, symbols_of
from crypy.training.report.style import BAND, INK, Picture, colour, line_style

_INTERVALS: Final = {name: share for name, share in NOMINAL.items() if name.startswith("inside")}
# Beyond a bar's edge of 95 %, in standard errors of the normal law.
_Z: Final = 1.96


def pit_histograms(model: ModelEvaluation) -> Picture:
    """The PIT of each cell in 20 bins, against the band in which 95 % of them lie when the forecasts are right."""
    symbols, horizons = symbols_of(model), horizons_of(model)
    figure, axes = grid(symbols, [span_text(horizon) for horizon in horizons], height_in=2.1, sharex=True, sharey=True)
    edges = np.linspace(0.0, 1.0, PIT_BINS + 1)
    outside = 0
    bars = 0
    highest = 1.5
    for row, symbol in enumerate(symbols):
        for column, horizon in enumerate(horizons):
            one = axes[row][column]
            score = cell(model, symbol, horizon)
            if score is None:
                one.set_axis_off()
                continue
            band = _band(score, model.range.spacing_s)
            one.stairs(np.array(score.pit) * PIT_BINS, edges, fill=True, color=colour(0))
            one.fill_between(
                [0.0, 1.0], max(0.0, 1.0 - band), 1.0 + band, color=BAND, alpha=0.55, zorder=1.4, linewidth=0
            )
            line_at(one, 1.0)
            highest = max(highest, *(share * PIT_BINS for share in score.pit))
            outside += sum(abs(share * PIT_BINS - 1.0) > band for share in score.pit)
            bars += PIT_BINS
            one.set_xticks([0.0, 0.5, 1.0], ["0", "½", "1"])
            one.set_xlim(0.0, 1.0)
    axes[0][0].set_ylim(0.0, 1.08 * highest)
    for line in axes:
        line[0].set_ylabel("density")
    figure.supxlabel("probability that the forecast gave to a lower return", fontsize=10)
    return Picture(
        "pit",
        "Probability integral transform",
        "Level bars are right. Bars high at both ends: forecasts too narrow; high in the middle: too wide; sloping: shifted. The grey band holds"
        " 95 % of bars of right forecasts, as if every non-overlapping return were independent.",
        f"Histograms of the PIT of {model.model}, by symbol and horizon: {outside} of {bars} bars lie outside the 95 % band.",
        figure,
    )


def coverage_curves(model: ModelEvaluation) -> Picture:
    """Observed less nominal coverage of the central intervals, with two standard errors."""
    symbols, horizons = symbols_of(model), horizons_of(model)
    figure, axes = grid([""], symbols, height_in=3.6, sharey=True)
    nominal = 100 * np.array(list(_INTERVALS.values()))
    places = np.arange(len(nominal))
    worst = 0.0
    for column, symbol in enumerate(symbols):
        one = axes[0][column]
        for index, horizon in enumerate(horizons):
            score = cell(model, symbol, horizon)
            if score is None:
                continue
            excess = 100 * np.array([score.coverage[name] for name in _INTERVALS]) - nominal
            errors = 200 * np.array([score.coverage_se[name] or 0.0 for name in _INTERVALS])
            worst = max(worst, float(np.abs(excess).max()))
            # Side by side, so that the bars of five horizons can be told apart.
            shift = 0.7 * ((index + 0.5) / len(horizons) - 0.5)
            one.errorbar(
                places + shift,
                excess,
                errors,
                label=span_text(horizon),
                capsize=2.5,
                elinewidth=0.9,
                **line_style(index),
            )
        line_at(one, 0.0)
        one.set_xticks(places, [f"{share:g}" for share in nominal])
        one.set_xlabel("nominal coverage, %")
    axes[0][0].set_ylabel("observed less nominal, points")
    legend_below(figure, axes[0][0])
    return Picture(
        "coverage",
        "Coverage of central intervals",
        "Above zero the intervals hold more than they promise (too wide), below zero less (too narrow). Bars are two bootstrap standard errors.",
        f"Coverage of {model.model} by nominal share: observed differs from nominal by at most {worst:.1f} percentage points.",
        figure,
    )


def calibration_by_horizon(evaluation: Evaluation) -> Picture:
    """Largest distance of the PIT from uniform, and the 90 % interval's coverage, over the horizon, for every model."""
    model = evaluation.models[0]
    symbols, horizons = symbols_of(model), horizons_of(model)
    figure, axes = grid(symbols, ["PIT distance (KS)", "inside 90 %"], height_in=2.6, sharex=True)
    places = np.arange(len(horizons))
    for row, symbol in enumerate(symbols):
        left, right = axes[row]
        for index, other in enumerate(drawn(evaluation)):
            scores = [cell(other, symbol, horizon) for horizon in horizons]
            distance = [math.nan if score is None else score.pit_ks for score in scores]
            inside = [math.nan if score is None else 100 * score.coverage["inside_90"] for score in scores]
            left.plot(places, distance, label=other.model, **line_style(index))
            right.plot(places, inside, label=other.model, **line_style(index))
        line_at(right, 90.0)
        left.set_ylim(bottom=0.0)
        left.set_ylabel("largest distance")
        right.set_ylabel("observed, %")
        for one in (left, right):
            one.set_xticks(places, [span_text(horizon) for horizon in horizons])
            one.margins(x=0.05)
    for one in axes[-1]:
        one.set_xlabel("horizon")
    legend_below(figure, axes[0][0])
    shown = max(model.scores, key=lambda score: score.pit_ks)
    return Picture(
        "calibration",
        "Calibration by horizon",
        "Left: how far the PIT is from uniform, 0 is perfect. Right: share of returns inside the 90 % interval.",
        f"Calibration of {len(drawn(evaluation))} models over the horizon: {model.model} is farthest from uniform at {shown.symbol}"
        f" {span_text(shown.horizon_s)}, by {shown.pit_ks:.3f}.",
        figure,
    )


def tails(model: ModelEvaluation) -> Picture:
    """Shares of returns outside intervals against the shares promised, on logarithmic axes: a QQ plot of the PIT's two ends."""
    symbols, horizons = symbols_of(model), horizons_of(model)
    figure, axes = grid([""], symbols, height_in=3.8, sharey=True)
    promised = 100 * (1.0 - np.array(list(_INTERVALS.values())))
    ratio = 1.0
    for column, symbol in enumerate(symbols):
        one = axes[0][column]
        one.plot(promised, promised, color=INK, linewidth=0.8, label="perfect")
        for index, horizon in enumerate(horizons):
            score = cell(model, symbol, horizon)
            if score is None:
                continue
            seen = 100 * (1.0 - np.array([score.coverage[name] for name in _INTERVALS]))
            ratio = max(ratio, float(seen[-1] / promised[-1]), key=lambda each: abs(math.log(max(each, 1e-3))))
            one.plot(promised, np.where(seen > 0, seen, np.nan), label=span_text(horizon), **line_style(index))
        one.set_xscale("log")
        one.set_yscale("log")
        ticks = [0.5, 1, 2, 5, 10, 20, 50]
        for axis in (one.xaxis, one.yaxis):
            axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
            axis.set_ticks([], minor=True)
        one.set_xlim(65, 0.8)
        one.set_xlabel("promised outside, %  (further out to the right)")
    axes[0][0].set_ylabel("observed outside, %")
    legend_below(figure, axes[0][0])
    return Picture(
        "tails",
        "Tails",
        "How often returns fall outside central intervals of 50 to 99 %. Above the line: more surprises than promised, tails too light; below: too heavy.",
        f"Tails of {model.model}: outside the 99 % interval, returns are at the most different cell {ratio:.2f} times as frequent as promised.",
        figure,
    )


def _band(score: HorizonScore, spacing_s: int) -> float:
    """Half the width of the 95 % band of a bar's density: binomial, over the returns that do not overlap."""
    independent = score.n / max(1.0, score.horizon_s / spacing_s)
    share = 1.0 / PIT_BINS
    return _Z * math.sqrt(share * (1.0 - share) / max(1.0, independent)) * PIT_BINS
