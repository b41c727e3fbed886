"""The tables of the page: every score beside those of the references, with differences, intervals and a verdict in words."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from crypy.training.evaluation import Difference, Evaluation, ModelEvaluation
from crypy.training.report.panels import cell, span_text

_VERDICTS: Final = {"better": "▲ better", "worse": "▼ worse", "unclear": "≈ unclear", "unknown": "? too few days"}


def verdict(found: Difference) -> str:
    """`better` or `worse` where the 95 % interval leaves zero out, else `unclear`; `unknown` where there is no interval."""
    if found.low is None or found.high is None:
        return "unknown"
    return "better" if found.low > 0 else "worse" if found.high < 0 else "unclear"


def score_table(evaluation: Evaluation) -> str:
    """A row for each symbol and horizon of the first model: log score, CRPS, coverage, and the gain over each model it was compared with."""
    model = evaluation.models[0]
    references = list(dict.fromkeys(name for score in model.scores for name in score.vs))
    names = ["symbol", "horizon", "origins", "log score, nats"]
    names += [f"gain over {name}" for name in references]
    names += ["CRPS, bp"]
    names += [f"CRPS less {name}" for name in references]
    names += ["inside 90 %", "PIT distance"]
    rows: list[list[str]] = []
    for score in model.scores:
        row = [
            f"<th scope=row>{escape(score.symbol)}</th>",
            _number(span_text(score.horizon_s)),
            _number(f"{score.n:,}"),
        ]
        # A score is the negative of the loss: above is better, as with the gains beside it.
        row.append(_number(f"{-score.nll:.4f}"))
        row += [_gain(score.vs.get(name, {}).get("nll"), 4, 1.0) for name in references]
        row.append(_number(f"{score.crps_bp:.3f}"))
        row += [_gain(score.vs.get(name, {}).get("crps_bp"), 3, -1.0) for name in references]
        row += [_number(f"{100 * score.coverage['inside_90']:.1f} %"), _number(f"{score.pit_ks:.3f}")]
        rows.append(row)
    return _table("Scores by symbol and horizon", names, rows)


def model_table(evaluation: Evaluation) -> str:
    """The log score of every model, each cell's best marked in words."""
    first = evaluation.models[0]
    rows: list[list[str]] = []
    for score in first.scores:
        found = [cell(model, score.symbol, score.horizon_s) for model in evaluation.models]
        best = min(each.nll for each in found if each is not None)
        row = [f"<th scope=row>{escape(score.symbol)}</th>", _number(span_text(score.horizon_s))]
        for each in found:
            shown = "-" if each is None else f"{-each.nll:.4f}{' best' if each.nll == best else ''}"
            row.append(f'<td class="n{" best" if each is not None and each.nll == best else ""}">{shown}</td>')
        rows.append(row)
    names = ["symbol", "horizon", *(model.model for model in evaluation.models)]
    return _table("Log score of every model, nats", names, rows)


def window_table(model: ModelEvaluation) -> str:
    """Log loss and Brier score of every window question; empty where nothing was asked."""
    if not model.windows:
        return ""
    references = list(dict.fromkeys(name for one in model.windows for name in one.vs))
    names = [
        "symbol",
        "window",
        "asked after",
        "rule",
        "windows",
        "ended Up",
        "log loss",
        *(f"less {name}" for name in references),
        "Brier",
    ]
    rows: list[list[str]] = []
    # A symbol's questions together; the sort keeps the order of durations and of questions.
    for one in sorted(model.windows, key=lambda each: each.symbol):
        row = [f"<th scope=row>{escape(one.symbol)}</th>", f"<td>{escape(one.duration)}</td>"]
        row += [_number(span_text(one.elapsed_s)), f"<td>{escape(one.rule)}</td>", _number(f"{one.n:,}")]
        row += [_number(f"{100 * one.up:.1f} %"), _number(f"{one.log_loss:.4f}")]
        row += [_gain(one.vs.get(name, {}).get("log_loss"), 4, -1.0) for name in references]
        row.append(_number(f"{one.brier:.4f}"))
        rows.append(row)
    return f"<details><summary>{len(rows)} questions</summary>{_table('Window questions', names, rows)}</details>"


def _gain(found: Difference | None, digits: int, sign: float) -> str:
    """A difference with its interval and verdict; `sign` -1 shows it as score less reference, where below zero is better."""
    if found is None:
        return "<td>-</td>"
    said = verdict(found)
    interval = ""
    if found.low is not None and found.high is not None:
        low, high = sorted((sign * found.low, sign * found.high))
        interval = f"<small>[{_signed(low, digits)}, {_signed(high, digits)}]</small>"
    return f'<td class="n {said}"><b>{_signed(sign * found.gain, digits)}</b> {interval} <span class=verdict>{_VERDICTS[said]}</span></td>'


def _signed(value: float, digits: int) -> str:
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def _number(text: str) -> str:
    return f'<td class="n">{text}</td>'


def _table(caption: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th scope=col>{escape(name)}</th>" for name in names)
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return (
        f'<div class=wide tabindex=0 role=region aria-label="{escape(caption)}"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )
