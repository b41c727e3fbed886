"""A report on disk: the page, its pictures as files, and the numbers behind them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from crypy.domain.errors import DataError
from crypy.training.evaluation import Evaluation
from crypy.training.report import calibration, outcomes, skill
from crypy.training.report.page import Drawn, page
from crypy.training.report.style import Picture, as_png, as_svg, drawing, lay_out

PAGE: Final = "report.html"
NUMBERS: Final = "result.json"


def write_report(evaluation: Evaluation, folder: Path, title: str = "") -> Path:
    """Write `report.html`, a PNG of each picture and `result.json` into the folder, which is made; the page's path.

    The first model is the one that is reported on, the others stand beside it. Equal evaluations give equal bytes. Raises `ConfigError`
    where matplotlib is missing, `DataError` for an evaluation without scores. What else the folder holds stays.
    """
    if not evaluation.models or not evaluation.models[0].scores:
        raise DataError("there is nothing to report on: the evaluation has no scores")
    drawn: list[Drawn] = []
    folder.mkdir(parents=True, exist_ok=True)
    with drawing():
        for picture in _pictures(evaluation):
            lay_out(picture.figure)
            svg = as_svg(picture.figure)
            write_whole(folder / f"{picture.name}.png", as_png(picture.figure))
            drawn.append((picture.name, picture.title, picture.caption, picture.alt, svg))
    numbers = msgspec.json.format(msgspec.json.encode(evaluation.as_json()), indent=1)
    write_whole(folder / NUMBERS, numbers + b"\n")
    named = title or f"Forecasts of {evaluation.models[0].model}"
    # The page last: whoever sees it finds everything else there.
    write_whole(folder / PAGE, page(evaluation, named, drawn).encode())
    return folder / PAGE


def _pictures(evaluation: Evaluation) -> Iterator[Picture]:
    """In the order of the page, those for which there is something to show."""
    model = evaluation.models[0]
    for picture in (
        skill.gains(evaluation),
        skill.over_time(evaluation),
        calibration.pit_histograms(model),
        calibration.coverage_curves(model),
        calibration.tails(model),
        calibration.calibration_by_horizon(evaluation),
        skill.by_hour(evaluation),
        skill.by_regime(evaluation),
        outcomes.reliability(model),
        outcomes.fans(model),
    ):
        if picture is not None:
            yield picture


def write_whole(path: Path, content: bytes) -> None:
    """Whole or not at all, also where a page is looked at while it is made anew."""
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(beside).chmod(0o644)
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
