"""Pictures of single forecasts and what came: fans of quantiles, and the reliability of window questions."""

from __future__ import annotations

from typing import Final

import numpy as np

from crypy.training.evaluation import ModelEvaluation, WindowScore
from crypy.training.report.panels import grid, legend_below, line_at, moment_text, signed_log_scale, span_text
from crypy.training.report.style import INK, Picture, colour, line_style

_FAN_BANDS: Final = (("5", "95", 0.2), ("25", "75", 0.4))


def fans(model: ModelEvaluation) -> Picture | None:
    """Forecasts in full at some origins: bands of quantiles over the horizon, and the returns that came."""
    if not model.fans:
        return None
    symbols = list(dict.fromkeys(fan.symbol for fan in model.fans))
    rows = {symbol: [fan for fan in model.fans if fan.symbol == symbol] for symbol in symbols}
    figure, axes = grid(symbols, [""] * max(len(each) for each in rows.values()), height_in=2.6)
    inside = known = 0
    for row, symbol in enumerate(symbols):
        for column, one in enumerate(axes[row]):
            if column >= len(rows[symbol]):
                one.set_axis_off()
                continue
            fan = rows[symbol][column]
            for low, high, alpha in _FAN_BANDS:
                name = f"{int(high) - int(low)} % interval"
                one.fill_between(
                    fan.horizons_s, fan.quantiles_bp[low], fan.quantiles_bp[high],
                    color=colour(0), alpha=alpha, linewidth=0, label=name,
                )  # fmt: skip
            one.plot(fan.horizons_s, fan.quantiles_bp["50"], color=colour(0), label="median")
            came = [np.nan if each is None else each for each in fan.returns_bp]
            one.plot(fan.horizons_s, came, color=colour(1), marker="o", linestyle="none", label="what came")
            for each, low, high in zip(fan.returns_bp, fan.quantiles_bp["5"], fan.quantiles_bp["95"], strict=True):
                known += each is not None
                inside += each is not None and low <= each <= high
            line_at(one, 0.0)
            one.set_xscale("log")
            signed_log_scale(one, 20.0, (10, 20, 50, 200, 1_000, 5_000))
            one.set_xticks(fan.horizons_s, [span_text(horizon) for horizon in fan.horizons_s])
            one.set_xticks([], minor=True)
            one.set_title(f"{symbol}, {moment_text(fan.origin_s)}")
        axes[row][0].set_ylabel("return, bp")
    for one in axes[-1]:
        one.set_xlabel("horizon")
    legend_below(figure, axes[0][0])
    return Picture(
        "fans",
        "Forecasts and what came",
        "Forecasts in full at some moments of the range, not chosen by how they went. Intervals of 50 and 90 %, linear up to 20 bp, logarithmic"
        " beyond.",
        f"Fan charts of {len(model.fans)} forecasts of {model.model}: {inside} of {known} returns lie inside the 90 % interval.",
        figure,
    )


def reliability(model: ModelEvaluation) -> Picture | None:
    """How often a window ended Up, by the probability that was given, for each duration. `None` where nothing was asked."""
    if not model.windows:
        return None
    # What the market pays by, where the bars can tell it; else the point prices.
    rules = {(each.symbol, each.duration): "point" for each in model.windows}
    rules |= {(each.symbol, each.duration): "settlement" for each in model.windows if each.rule == "settlement"}
    shown = [each for each in model.windows if rules[each.symbol, each.duration] == each.rule]
    symbols = list(dict.fromkeys(each.symbol for each in shown))
    durations = list(dict.fromkeys(each.duration for each in shown))
    figure, axes = grid(symbols, durations, height_in=2.5, sharex=True, sharey=True)
    distance = 0.0
    for row, symbol in enumerate(symbols):
        for column, duration in enumerate(durations):
            one = axes[row][column]
            asked = [each for each in shown if (each.symbol, each.duration) == (symbol, duration)]
            one.plot([0, 100], [0, 100], color=INK, linewidth=0.8, label="perfect")
            for index, question in enumerate(asked):
                distance = max(distance, _distance(question))
                forecast, up, below, above = _points(question)
                one.errorbar(
                    forecast,
                    up,
                    [below, above],
                    label=_NAMES[min(index, len(_NAMES) - 1)],
                    elinewidth=0.8,
                    **line_style(index),
                )
            one.set_xlim(-3, 103)
            one.set_ylim(-3, 103)
            one.set_xticks([0, 50, 100])
            one.set_yticks([0, 50, 100])
            if not asked:
                one.set_axis_off()
    for line in axes:
        line[0].set_ylabel("ended Up, %")
    for one in axes[-1]:
        one.set_xlabel("given, %")
    every = [one for line in axes for one in line]
    widest = max(every, key=lambda one: len(one.get_legend_handles_labels()[0]))
    legend_below(figure, widest)
    return Picture(
        "reliability",
        "Does the window end Up?",
        "Questions grouped by tenths of the probability given; on the diagonal it is right. Bars hold 95 % of the block bootstrap. Lines: from the"
        " question asked first in a window to the last.",
        f"Reliability of {model.model} in window questions: the mean distance from the diagonal is at most {distance:.1f} points in any question.",
        figure,
    )


_NAMES: Final = ("1st question", "2nd", "3rd", "4th", "5th")


def _points(question: WindowScore) -> tuple[list[float], list[float], list[float], list[float]]:
    """Forecasts, shares and the lengths of both error bars, in percent."""
    bins = question.reliability
    forecast = [100 * each.forecast for each in bins]
    up = [100 * each.up for each in bins]
    below = [0.0 if each.low is None else max(0.0, 100 * (each.up - each.low)) for each in bins]
    above = [0.0 if each.high is None else max(0.0, 100 * (each.high - each.up)) for each in bins]
    return forecast, up, below, above


def _distance(question: WindowScore) -> float:
    """Mean distance from the diagonal over all questions, in points: the expected calibration error."""
    total = sum(each.n for each in question.reliability)
    return 100 * sum(each.n * abs(each.up - each.forecast) for each in question.reliability) / max(1, total)
