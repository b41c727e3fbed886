"""Small multiples: a row for each symbol, a column for each horizon, and how spans and ranges are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from crypy.domain.times import US_PER_S, from_us
from crypy.training.evaluation import Evaluation, HorizonScore, ModelEvaluation
from crypy.training.report.style import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH_IN: Final = 11.0
# More lines than that in one picture are not told apart.
_MOST_MODELS: Final = 6


def grid(
    rows: Sequence[str], columns: Sequence[str], *, height_in: float = 2.3, **shared: Any
) -> tuple[Figure, list[list[Axes]]]:
    """Axes [row][column]; names of columns above the first row, of rows at the right of the last column where there are several of both."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(_WIDTH_IN, 2.0 * len(columns)), height_in * len(rows) + 0.6), layout="constrained")
    made = figure.subplots(len(rows), len(columns), squeeze=False, **shared)
    axes = [[made[row, column] for column in range(len(columns))] for row in range(len(rows))]
    for row, line in enumerate(axes):
        for column, one in enumerate(line):
            one.set_title(f"{rows[row]} {columns[column]}".strip())
            one.grid(visible=True)
            one.set_axisbelow(True)
    return figure, axes


def line_at(axes: Axes, value: float) -> None:
    """The level that a perfect forecast has."""
    axes.axhline(value, color=INK, linewidth=0.8, zorder=1.5)


def signed_log_scale(axes: Axes, linear_to: float, ticks: Sequence[float]) -> None:
    """Values up and down: linear near zero, logarithmic beyond, so that days do not hide minutes. `ticks` are above zero."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.set_yscale("symlog", linthresh=linear_to, linscale=1.5)
    axes.yaxis.set_major_locator(FixedLocator([0.0, *ticks, *(-tick for tick in ticks)]))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:+g}" if value else "0")
    axes.yaxis.set_minor_locator(NullLocator())


def legend_below(figure: Figure, axes: Axes) -> None:
    """One legend under all panels, from the handles of one of them."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(handles)))


def drawn(evaluation: Evaluation) -> list[ModelEvaluation]:
    """The models that pictures show: the one reported on, the reference, and of the others those with the best mean log score."""
    model, *others = evaluation.models
    always = [model, *(one for one in others if one.model == evaluation.reference)]
    rivals = sorted((one for one in others if one.model != evaluation.reference), key=_mean_nll)
    chosen = {one.model for one in (*always, *rivals[: _MOST_MODELS - len(always)])}
    return [one for one in evaluation.models if one.model in chosen]


def _mean_nll(model: ModelEvaluation) -> float:
    return sum(score.nll for score in model.scores) / max(1, len(model.scores))


def symbols_of(model: ModelEvaluation) -> list[str]:
    """In the order in which they were judged."""
    return list(dict.fromkeys(score.symbol for score in model.scores))


def horizons_of(model: ModelEvaluation) -> list[int]:
    return sorted({score.horizon_s for score in model.scores})


def cell(model: ModelEvaluation, symbol: str, horizon_s: int) -> HorizonScore | None:
    """`None` where that symbol was not judged at that horizon."""
    for score in model.scores:
        if (score.symbol, score.horizon_s) == (symbol, horizon_s):
            return score
    return None


def span_text(seconds: int) -> str:
    """Seconds as people write spans.

    >>> span_text(300), span_text(86_400), span_text(5_400), span_text(7)
    ('5m', '1d', '1h30m', '7s')
    """
    parts: list[str] = []
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def moment_text(time_s: int) -> str:
    """A moment in UTC, to the minute."""
    return from_us(time_s * US_PER_S).strftime("%Y-%m-%d %H:%M UTC")
