"""Pictures of direction forecasts: reliability, risk against coverage, gain over time, gain by the hour."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from crypy.training.direction.evaluation import DirectionEvaluation, PartScore
from crypy.training.report.panels import grid, legend_below, line_at
from crypy.training.report.style import BAND, INK, Picture, colour, line_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def reliability(evaluation: DirectionEvaluation) -> Picture:
    """Chance of up given a move, and the share that went up, in ten bins of equal mass."""
    symbols, timeframes = _axes(evaluation)
    figure, axes = grid(symbols, timeframes, height_in=2.4)
    worst = 0.0
    for part, one in _cells(evaluation, symbols, timeframes, axes):
        bins = part.score.reliability
        forecast = 100 * np.array([each.forecast for each in bins])
        up = 100 * np.array([each.up for each in bins])
        # What chance alone does to a bin of so many forecasts, two standard errors.
        noise = 100 * np.array([2.0 * np.sqrt(each.forecast * (1.0 - each.forecast) / each.n) for each in bins])
        one.fill_between(forecast, forecast - noise, forecast + noise, color=BAND, alpha=0.55, linewidth=0)
        ends = [float(forecast.min()), float(forecast.max())] if len(bins) else [50.0, 50.0]
        one.plot(ends, ends, color=INK, linewidth=0.8, label="perfect")
        one.plot(forecast, up, label=evaluation.model, **line_style(0))
        worst = max(worst, part.score.ece or 0.0)
    for line in axes:
        line[0].set_ylabel("went up, %")
    for one in axes[-1]:
        one.set_xlabel("chance of up given a move, %")
    return Picture(
        "reliability",
        "Reliability",
        "Forecasts in ten bins of equal mass: on the diagonal, 55 % means 55 %. In the grey band lie bins that differ by chance alone (two standard errors).",
        f"Reliability of {evaluation.model}: the mean distance from the diagonal is at most {100 * worst:.2f} points.",
        figure,
    )


def risk_coverage(evaluation: DirectionEvaluation) -> Picture:
    """Accuracy of the surest forecasts, by how many of them are taken."""
    symbols, timeframes = _axes(evaluation)
    figure, axes = grid(symbols, timeframes, height_in=2.4)
    best = 0.0
    legend, labels = axes[0][0], _labels(evaluation)
    for part, one in _cells(evaluation, symbols, timeframes, axes):
        for name, score in {evaluation.model: part.score, **part.others}.items():
            label = _label(name)
            shares = [each.percent for each in score.risk_coverage]
            accuracy = [100 * each.accuracy for each in score.risk_coverage]
            one.plot(shares, accuracy, label=label, **line_style(labels.index(label)))
        line_at(one, 50.0)
        one.set_xlim(102, 3)
        legend = max(legend, one, key=_lines)
        best = max(best, part.score.top.get("10", 0.0))
    for line in axes:
        line[0].set_ylabel("sign right, %")
    for one in axes[-1]:
        one.set_xlabel("surest forecasts taken, %")
    legend_below(figure, legend)
    return Picture(
        "coverage",
        "Risk and coverage",
        "The surest forecasts are to the right. A forecaster who knows when he knows has a line that rises.",
        f"Accuracy of {evaluation.model} by the share of its surest forecasts: at most {100 * best:.1f} % in the surest tenth of any series.",
        figure,
    )


def cumulative_gain(evaluation: DirectionEvaluation) -> Picture:
    """Sum of ln 2 less the log loss over time."""
    symbols, timeframes = _axes(evaluation)
    figure, axes = grid(symbols, timeframes, height_in=2.4)
    total = 0.0
    legend, labels = axes[0][0], _labels(evaluation)
    for part, one in _cells(evaluation, symbols, timeframes, axes):
        for name, score in {evaluation.model: part.score, **part.others}.items():
            if score.course is None:
                continue
            label = _label(name)
            times: Any = np.array(score.course.end_s, "datetime64[s]")  # matplotlib's types know no dates
            style: dict[str, Any] = {**line_style(labels.index(label)), "marker": ""}
            one.plot(times, np.cumsum(score.course.gain), label=label, **style)
        line_at(one, 0.0)
        one.tick_params(axis="x", rotation=30)
        legend = max(legend, one, key=_lines)
        total += 0.0 if part.score.course is None else sum(part.score.course.gain)
    for line in axes:
        line[0].set_ylabel("gain so far, nats")
    legend_below(figure, legend)
    return Picture(
        "gain",
        "Gain over time",
        "Sum of ln 2 less the log loss, of facts that moved. A line that rises all the time is skill; one step is luck or one event.",
        f"Cumulative gain of {evaluation.model} over an even chance: {total:+.1f} nats in all series together.",
        figure,
    )


def by_hour(evaluation: DirectionEvaluation) -> Picture:
    """Mean gain by the hour of the day."""
    symbols, timeframes = _axes(evaluation)
    figure, axes = grid(symbols, timeframes, height_in=2.2)
    for part, one in _cells(evaluation, symbols, timeframes, axes):
        hours = [int(each.group) for each in part.score.by_hour]
        gains = [1e3 * each.gain for each in part.score.by_hour]
        errors = [1e3 * (each.gain_se or 0.0) for each in part.score.by_hour]
        one.bar(hours, gains, yerr=errors, color=colour(0), ecolor=INK, error_kw={"elinewidth": 0.7})
        line_at(one, 0.0)
        one.set_xlim(-0.7, 23.7)
        one.set_xticks([0, 6, 12, 18])
    for line in axes:
        line[0].set_ylabel("gain, 1/1000 nats")
    for one in axes[-1]:
        one.set_xlabel("hour of the day, UTC")
    return Picture(
        "hours",
        "Gain by the hour",
        "Mean gain over an even chance; bars are one standard error of the bootstrap by days, where the range is long enough.",
        f"Mean gain of {evaluation.model} by hour of the day, for {len(evaluation.parts)} series.",
        figure,
    )


def _label(name: str) -> str:
    """A model without the digits of its artefact: it has another one in each timeframe, and one colour in all panels."""
    return name.partition(":")[0]


def _labels(evaluation: DirectionEvaluation) -> list[str]:
    """All labels of the pictures, in the order of their colours."""
    names = (name for part in evaluation.parts for name in (evaluation.model, *part.others))
    return list(dict.fromkeys(_label(name) for name in names))


def _lines(axes: Axes) -> int:
    return len(axes.get_lines())


def _axes(evaluation: DirectionEvaluation) -> tuple[list[str], list[str]]:
    parts = evaluation.parts
    return list(dict.fromkeys(part.symbol for part in parts)), list(dict.fromkeys(part.timeframe for part in parts))


def _cells(
    evaluation: DirectionEvaluation, symbols: list[str], timeframes: list[str], axes: list[list[Axes]]
) -> Iterator[tuple[PartScore, Axes]]:
    """Each part that moved at all, and its panel; the other panels are taken away."""
    known = {(part.symbol, part.timeframe): part for part in evaluation.parts}
    for row, symbol in enumerate(symbols):
        for column, timeframe in enumerate(timeframes):
            part = known.get((symbol, timeframe))
            if part is None or part.score.gain is None:
                axes[row][column].set_axis_off()
                continue
            yield part, axes[row][column]
