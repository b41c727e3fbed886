"""The report of an evaluation of directions: one page with a table and pictures, the pictures as files, and the numbers behind them."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Final

import msgspec

from crypy.training.direction.evaluation import DirectionEvaluation
from crypy.training.direction.pictures import by_hour, cumulative_gain, reliability, risk_coverage
from crypy.training.direction.scores import NAMES, DirectionScore
from crypy.training.report.page import document, figure
from crypy.training.report.style import as_png, as_svg, drawing, lay_out
from crypy.training.report.writing import NUMBERS, PAGE, write_whole

_COLUMNS: Final = (
    "symbol", "candle", "forecasts", "ties", "model", "gain, nats", "accuracy", "top 50 %", "top 25 %", "top 10 %", "Brier",
    "ECE raw", "ECE", "ECE by chance", "signed move of the top 10 %, bp", "decided", "of these right",
)  # fmt: skip


def write_direction_report(evaluation: DirectionEvaluation, folder: Path) -> Path:
    """Write `report.html`, a PNG of each picture and `result.json` into the folder, which is made; the page's path.

    Equal evaluations give equal bytes. Raises `ConfigError` where matplotlib is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures: list[tuple[str, str, str]] = []
    with drawing():
        for draw in (reliability, risk_coverage, cumulative_gain, by_hour):
            picture = draw(evaluation)
            lay_out(picture.figure)
            figures.append((picture.name, picture.title, figure(picture.caption, picture.alt, as_svg(picture.figure))))
            write_whole(folder / f"{picture.name}.png", as_png(picture.figure))
    numbers = msgspec.json.format(msgspec.json.encode(evaluation.as_json()), indent=1)
    write_whole(folder / NUMBERS, numbers + b"\n")
    tables = [
        ("scores", "Scores", _scores(evaluation)),
        ("confusion", "What was told, and what came", _confusions(evaluation)),
    ]
    page = document(f"Directions forecast by {evaluation.model}", _lead(evaluation), [*tables, *figures])
    # The page last: whoever sees it finds everything else there.
    write_whole(folder / PAGE, page.encode())
    return folder / PAGE


def _lead(evaluation: DirectionEvaluation) -> str:
    one = evaluation.overall
    notes = "".join(f" {escape(note)}." for note in evaluation.notes)
    return (
        f"<p class=about>{one.n:,} forecasts made from {escape(evaluation.start)} to {escape(evaluation.end)}, each judged by the candle after it and nothing"
        f" else.{notes}</p>\n<p>A candle that closed where it opened is a tie: {one.ties:,} of {one.n:,}. Gain (ln 2 less the log loss), accuracy, Brier and"
        " calibration leave ties out and look at the chance of up given a move; for a decided signal a tie is a miss.</p>"
    )


def _scores(evaluation: DirectionEvaluation) -> str:
    rows = [
        _row(part.symbol, part.timeframe, name, one)
        for part in evaluation.parts
        for name, one in {evaluation.model: part.score, **part.others}.items()
    ]
    head = "".join(f"<th scope=col>{escape(name)}</th>" for name in _COLUMNS)
    return f"<div class=wide tabindex=0 role=region aria-label=Scores><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"


def _row(symbol: str, timeframe: str, model: str, one: DirectionScore) -> str:
    error = one.se.get("gain")
    gain = "-" if one.gain is None else f"{one.gain:+.4f}" + ("" if error is None else f" ± {error:.4f}")
    cells = [
        f"{one.n:,}", f"{100 * one.ties / one.n:.1f} %", escape(model), gain, _number(one.sign_accuracy, 3),
        *(_number(one.top.get(percent), 3) for percent in ("50", "25", "10")), _number(one.brier, 4),
        _number(one.ece_raw, 4), _number(one.ece, 4), _number(one.ece_noise, 4),
        "-" if one.signed_move_bp is None else f"{one.signed_move_bp:+.2f} of {one.mean_move_bp:.1f}",
        f"{100 * (1 - one.flat_share):.1f} %", _number(one.accuracy, 3),
    ]  # fmt: skip
    body = "".join(f"<td class=n>{cell}</td>" for cell in cells)
    return f"<tr><th scope=row>{escape(symbol)}</th><td>{escape(timeframe)}</td>{body}</tr>"


def _confusions(evaluation: DirectionEvaluation) -> str:
    names = list(NAMES.values())
    head = "".join(f"<th scope=col>told {told}, came {came}</th>" for told in names for came in names)
    rows = "".join(
        f"<tr><th scope=row>{escape(part.symbol)} {escape(part.timeframe)}</th>"
        + "".join(f"<td class=n>{part.score.confusion[told][came]:,}</td>" for told in names for came in names)
        + "</tr>"
        for part in evaluation.parts
    )
    return f"<div class=wide tabindex=0 role=region aria-label=Confusion><table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table></div>"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
