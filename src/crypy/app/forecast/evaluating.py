"""`crypy forecast eval` from its options to its result: recorded forecasts, or models on the past."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from crypy.app.data.stores import Place
from crypy.app.forecast.evaluate import Chosen, evaluate_files, forecast_folder, read_facts
from crypy.app.forecast.judge import JudgeAsked, judge_models
from crypy.app.forecast.verify import verify_facts
from crypy.app.settings import Settings, load_settings
from crypy.domain.errors import ConfigError
from crypy.domain.times import US_PER_S, parse_time_us
from crypy.forecasting.direction.records import SECONDS, Timeframe
from crypy.training.direction.evaluation import DirectionEvaluation
from crypy.training.direction.report import write_direction_report
from crypy.training.report import require_drawing


@dataclass(frozen=True, slots=True)
class Request:
    """The verb's options as they were given."""

    folder: Path | None = None
    symbols: str = ""
    timeframes: str = ""
    start: str = ""
    end: str = ""
    verify: bool = False
    source: Path | None = None
    models: str = ""
    folds: int = 1
    fit_start: str = ""
    online: bool = True
    ablate: bool = False
    in_sample: bool = False
    report: Path | None = None


def evaluated(
    asked: Request, data_dir: Path | None, config: Path | None, told: Callable[[str], None]
) -> tuple[DirectionEvaluation, dict[str, Any] | None]:
    """The evaluation, and with `verify` what the venue says of the facts. Raises `ConfigError`, `DataError` or `Incomplete` in words for the user."""
    settings = load_settings(config)
    if asked.report is not None:
        # Before the work begins: an extra may be missing.
        require_drawing()
    checked = None
    if asked.source is not None:
        if asked.folder is not None or asked.verify:
            raise ConfigError("--dir and --verify are for recorded forecasts; leave them or --source out")
        result = judge_models(
            _judge_asked(asked, settings), settings, Place(data_dir, config, source=asked.source), told
        )
    else:
        if asked.models or asked.folds != 1 or asked.fit_start or asked.ablate or asked.in_sample or not asked.online:
            raise ConfigError("--models, --folds, --fit-start, --no-online, --ablate and --in-sample need --source")
        folder = forecast_folder(asked.folder, data_dir)
        chosen = Chosen.of(asked.symbols, named_timeframes(asked.timeframes), asked.start, asked.end)
        result = evaluate_files(folder, chosen, settings)
        if asked.verify:
            checked = msgspec.to_builtins(verify_facts(read_facts(folder, chosen), settings))
    if asked.report is not None:
        write_direction_report(result, asked.report)
    return result, checked


def named_timeframes(text: str) -> tuple[Timeframe, ...]:
    """Timeframes separated by commas, none for an empty text. Raises `ConfigError` for one that is not forecast."""
    known: dict[str, Timeframe] = {one: one for one in SECONDS}
    found: list[Timeframe] = []
    for name in (each.strip() for each in text.split(",") if each.strip()):
        if name not in known:
            raise ConfigError(f"{name!r} is not forecast; choose from {', '.join(SECONDS)}")
        found.append(known[name])
    return tuple(dict.fromkeys(found))


def named_symbols(text: str, settings: Settings) -> tuple[str, ...]:
    """Symbols separated by commas; those of the forecaster's settings where none is named."""
    named = tuple(dict.fromkeys(symbol.strip().upper() for symbol in text.split(",") if symbol.strip()))
    return named or settings.forecast.symbols


def range_s(start: str, end: str) -> tuple[int, int]:
    """Seconds of two moments. Raises `ConfigError` for a range that is none."""
    start_s, end_s = (parse_time_us(text) // US_PER_S for text in (start, end))
    if start_s >= end_s:
        raise ConfigError(f"--start {start} is not before --end {end}")
    return start_s, end_s


def _judge_asked(asked: Request, settings: Settings) -> JudgeAsked:
    if not asked.start or not asked.end:
        raise ConfigError("with --source, say what is to be judged by --start and --end")
    start_s, end_s = range_s(asked.start, asked.end)
    timeframes = named_timeframes(asked.timeframes) or tuple(SECONDS)
    return JudgeAsked(
        models=tuple(name.strip() for name in asked.models.split(",") if name.strip()),
        symbols=named_symbols(asked.symbols, settings),
        timeframes_s=tuple(SECONDS[name] for name in timeframes),
        start_s=start_s,
        end_s=end_s,
        fit_start=asked.fit_start,
        folds=asked.folds,
        learn=asked.online,
        ablate=asked.ablate,
        in_sample=asked.in_sample,
    )
