"""The page: one HTML file that needs nothing else, neither network nor script."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from typing import Final

from crypy.training.evaluation import Evaluation, ModelEvaluation
from crypy.training.report.tables import model_table, score_table, verdict, window_table

# A picture that is drawn already: its name, title, caption, alternative text and SVG.
Drawn = tuple[str, str, str, str, bytes]

_CSS: Final = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1a1b1c;--faint:#5c6064;--line:#d5d7d9;--good:#00622f;--bad:#a3260b;--shade:#f5f6f7}
@media(prefers-color-scheme:dark){:root{--paper:#17191b;--ink:#e8e9ea;--faint:#a9adb2;--line:#3a3d41;--good:#6fdc9f;--bad:#ff9b85;--shade:#1f2225}}
body{margin:0 auto;max-width:74rem;padding:1.5rem;background:var(--paper);color:var(--ink);font:1rem/1.5 system-ui,sans-serif}
h1{font-size:1.7rem;margin:0 0 .3rem}h2{font-size:1.25rem;margin:2.2rem 0 .4rem}p{max-width:46rem}
.about,figcaption,small{color:var(--faint)}figure{margin:0}img{display:block}figcaption{font-size:.92rem;max-width:52rem}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;margin:.6rem 0}caption{text-align:left;font-weight:600;padding:.3rem 0}
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:left;white-space:nowrap}thead th{white-space:normal;vertical-align:bottom;background:var(--shade)}
.n{text-align:right;font-variant-numeric:tabular-nums}.better b,.better .verdict{color:var(--good)}.worse b,.worse .verdict{color:var(--bad)}.best{font-weight:600}
nav a{margin-right:.9rem;display:inline-block}a{color:inherit}
@media print{nav{display:none}figure{break-inside:avoid}}
"""


def page(evaluation: Evaluation, title: str, drawn: Sequence[Drawn]) -> str:
    """The whole document. Titles, model and symbol names are escaped: they come from outside."""
    model = evaluation.models[0]
    tables = [("scores", "Scores", score_table(evaluation))]
    if len(evaluation.models) > 1:
        tables.append(("models", "All models", model_table(evaluation)))
    figures = [(name, heading, figure(caption, alt, svg)) for name, heading, caption, alt, svg in drawn]
    windows = window_table(model)
    sections = [*tables, *figures, *([("windows", "Window questions", windows)] if windows else [])]
    return document(title, f"{_about(model)}\n<p>{_summary(evaluation)}</p>", sections)


def document(title: str, lead: str, sections: Sequence[tuple[str, str, str]]) -> str:
    """A page of sections (name, heading, HTML) behind its lead, with links to them. Names, headings and the title are escaped here."""
    links = "".join(f'<a href="#{escape(name)}">{escape(heading)}</a>' for name, heading, _ in sections)
    body = "\n".join(
        f'<section id="{escape(name)}"><h2>{escape(heading)}</h2>\n{content}</section>'
        for name, heading, content in sections
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n<main>\n<h1>{escape(title)}</h1>\n{lead}\n"
        f'<nav aria-label="Contents">{links}</nav>\n{body}\n</main>\n</body>\n</html>\n'
    )


def _about(model: ModelEvaluation) -> str:
    judged = model.range
    how = f"walk-forward over {len(model.folds)} folds" if model.folds else "read from its artefact"
    seen = " <b>The model has seen this range: these are no forecasts.</b>" if judged.in_sample else ""
    return f"<p class=about>{escape(model.model)}, {how}; origins from {escape(judged.start)} to {escape(judged.end)}, every {judged.spacing_s} s.{seen}</p>"


def _summary(evaluation: Evaluation) -> str:
    """What the table says, in one sentence for each model it was compared with."""
    model = evaluation.models[0]
    said: list[str] = []
    for name in dict.fromkeys(name for score in model.scores for name in score.vs):
        found = [verdict(score.vs[name]["nll"]) for score in model.scores if name in score.vs]
        counts = ", ".join(
            f"{found.count(each)} {each}" for each in ("better", "worse", "unclear", "unknown") if each in found
        )
        said.append(f"Against {escape(name)}, log score in {len(found)} cells: {counts}.")
    return " ".join(said) or "There is nothing to compare it with."


def figure(caption: str, alt: str, svg: bytes) -> str:
    """A picture with its caption, inside the page itself."""
    source = b64encode(svg).decode()
    return (
        f'<figure><div class=wide tabindex=0 role=region aria-label="{escape(caption)}"><img alt="{escape(alt)}" src="data:image/svg+xml;base64,{source}"></div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
