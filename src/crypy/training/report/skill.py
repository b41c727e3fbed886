"""Pictures of skill: by how much the log score is better than the reference's, where, when and in which weather."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from crypy.training.evaluation import Evaluation, GroupScore, HorizonScore
from crypy.training.report.panels import (
    cell,
    drawn,
    grid,
    horizons_of,
    legend_below,
    line_at,
    signed_log_scale,
    span_text,
    symbols_of,
)
from crypy.training.report.style import Picture, colour, line_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

# Gains are shown in thousandths of a nat: a good one is some of them.
_MILLI: Final = 1e3
_UNIT: Final = "gain, nats / 1000"


def gains(evaluation: Evaluation) -> Picture | None:
    """Mean gain at each horizon with its 95 % interval, a line for each model. `None` where there is only the reference."""
    model = evaluation.models[0]
    judged = [one for one in drawn(evaluation) if one.model != evaluation.reference]
    if not judged:
        return None
    symbols, horizons = symbols_of(model), horizons_of(model)
    figure, axes = grid([""], symbols, height_in=3.4)
    places = np.arange(len(horizons))
    for column, symbol in enumerate(symbols):
        one = axes[0][column]
        for index, other in enumerate(judged):
            shift = 0.12 * (index - (len(judged) - 1) / 2)
            found = [_against(cell(other, symbol, horizon), evaluation.reference) for horizon in horizons]
            centre = np.array([each[0] for each in found])
            spread = np.abs(np.array([each[1:] for each in found]).T - centre)
            one.errorbar(
                places + shift, centre, np.nan_to_num(spread), label=other.model, capsize=3, **line_style(index)
            )
        line_at(one, 0.0)
        one.set_xticks(places, [span_text(horizon) for horizon in horizons])
        one.set_xlabel("horizon")
        # A day's interval is a hundred times that of five minutes; between them both the short ones stay readable.
        signed_log_scale(one, 10.0, (2, 5, 10, 20, 50, 100, 200, 500, 1_000))
    axes[0][0].set_ylabel(_UNIT)
    legend_below(figure, axes[0][0])
    first = judged[0]
    better = sum(_against(score, evaluation.reference)[1] > 0 for score in first.scores)
    return Picture(
        "gains",
        f"Gain in log score over {evaluation.reference}",
        f"Above zero is better than {evaluation.reference}. Bars hold 95 % of the block bootstrap; one that crosses zero tells nothing. Linear up to 10,"
        " logarithmic beyond. The best rivals are drawn; the table has all.",
        f"Gain of {first.model} by horizon: surely above zero in {better} of {len(first.scores)} cells.",
        figure,
    )


def over_time(evaluation: Evaluation) -> Picture | None:
    """Daily gains added up, in nats: where the line climbs the model was better on that day."""
    model = evaluation.models[0]
    if model.model == evaluation.reference:
        return None
    symbols, horizons = symbols_of(model), horizons_of(model)
    figure, axes = grid(symbols, [""], height_in=2.6, sharex=True)
    ends: list[float] = []
    for row, symbol in enumerate(symbols):
        one = axes[row][0]
        for index, horizon in enumerate(horizons):
            score = cell(model, symbol, horizon)
            if score is None or not score.daily.gain:
                continue
            total = np.cumsum(score.daily.gain)
            ends.append(float(total[-1]))
            days = np.array(score.daily.day_s, "datetime64[s]")
            style = {key: value for key, value in line_style(index).items() if key != "marker"}
            one.plot(days, total, label=span_text(horizon), **style)
        line_at(one, 0.0)
        one.set_ylabel("sum of daily gains, nats")
        one.margins(x=0.01)
    _date_axis(axes[-1][0])
    legend_below(figure, axes[0][0])
    return Picture(
        "over-time",
        "Score over time",
        f"Daily mean gains over {evaluation.reference}, added up. A steady climb is skill; a single jump is one day.",
        f"Cumulative daily gain of {model.model} over {evaluation.reference}: the lines end between {min(ends):+.2f} and {max(ends):+.2f} nats.",
        figure,
    )


def by_hour(evaluation: Evaluation) -> Picture | None:
    """Gain by UTC hour of the origin, with two standard errors."""
    model = evaluation.models[0]
    if model.model == evaluation.reference:
        return None
    symbols, horizons = symbols_of(model), horizons_of(model)
    figure, axes = grid(symbols, [span_text(horizon) for horizon in horizons], height_in=2.2, sharex=True)
    best, where = -math.inf, ""
    for row, symbol in enumerate(symbols):
        for column, horizon in enumerate(horizons):
            one = axes[row][column]
            score = cell(model, symbol, horizon)
            if score is None or not score.by_hour:
                one.set_axis_off()
                continue
            hours = np.array([int(group.group) for group in score.by_hour])
            centre, error = _grouped(score.by_hour)
            one.fill_between(hours, centre - error, centre + error, color=colour(0), alpha=0.25, linewidth=0)
            one.plot(hours, centre, color=colour(0))
            line_at(one, 0.0)
            one.set_xticks([0, 6, 12, 18])
            one.set_xlim(0, 23)
            if centre.max() > best:
                best, where = (
                    float(centre.max()),
                    f"{symbol} {span_text(horizon)} at {int(hours[centre.argmax()]):02d} UTC",
                )
    for line in axes:
        line[0].set_ylabel(_UNIT)
    figure.supxlabel("hour of the day, UTC", fontsize=10)
    return Picture(
        "by-hour",
        "By hour of the day",
        f"Mean gain over {evaluation.reference} of forecasts made in each hour, with two standard errors. Each panel has its own scale.",
        f"Gain of {model.model} by UTC hour: the largest is {best:+.1f} thousandths of a nat, {where}.",
        figure,
    )


def by_regime(evaluation: Evaluation) -> Picture | None:
    """Gain in calm, usual and wild markets, with two standard errors."""
    model = evaluation.models[0]
    if model.model == evaluation.reference:
        return None
    symbols, horizons = symbols_of(model), horizons_of(model)
    figure, axes = grid(symbols, [span_text(horizon) for horizon in horizons], height_in=2.2)
    worst, where = math.inf, ""
    for row, symbol in enumerate(symbols):
        for column, horizon in enumerate(horizons):
            one = axes[row][column]
            score = cell(model, symbol, horizon)
            if score is None or not score.by_regime:
                one.set_axis_off()
                continue
            centre, error = _grouped(score.by_regime)
            names = [group.group for group in score.by_regime]
            for index in range(len(names)):
                style = {key: value for key, value in line_style(index).items() if key != "linestyle"}
                one.errorbar(index, centre[index], error[index], capsize=3, linestyle="none", **style)
            line_at(one, 0.0)
            one.set_xticks(range(len(names)), names)
            one.set_xlim(-0.5, len(names) - 0.5)
            if centre.min() < worst:
                worst, where = float(centre.min()), f"{symbol} {span_text(horizon)}, {names[int(centre.argmin())]}"
    for line in axes:
        line[0].set_ylabel(_UNIT)
    return Picture(
        "by-regime",
        "By regime",
        f"Mean gain over {evaluation.reference} in thirds of the volatility that was forecast, with two standard errors. Each panel has its own scale.",
        f"Gain of {model.model} in calm, usual and wild markets: the smallest is {worst:+.1f} thousandths of a nat, {where}.",
        figure,
    )


def _against(score: HorizonScore | None, reference: str) -> tuple[float, float, float]:
    """Gain and its interval, in thousandths; NaN where it was not judged."""
    if score is None or reference not in score.vs:
        return math.nan, math.nan, math.nan
    found = score.vs[reference]["nll"]
    low, high = (math.nan if each is None else each * _MILLI for each in (found.low, found.high))
    return found.gain * _MILLI, low, high


def _grouped(groups: tuple[GroupScore, ...]) -> tuple[Floats, Floats]:
    """Gains and two standard errors of each group, in thousandths."""
    centre = np.array([math.nan if group.gain is None else group.gain for group in groups]) * _MILLI
    error = 2.0 * np.array([group.gain_se or 0.0 for group in groups]) * _MILLI
    return centre, error


def _date_axis(axes: Axes) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=4, maxticks=10)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
