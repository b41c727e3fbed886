"""What `crypy forecast eval` does with the forecaster's own files: match, judge, and check the facts at the venue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from crypy.app.folders import data_folder
from crypy.app.settings import Settings
from crypy.domain.errors import ConfigError, Incomplete
from crypy.domain.times import US_PER_MS, parse_time_us
from crypy.forecasting.direction.matching import Key, Series, matched
from crypy.forecasting.direction.record_lines import Line, candle_lines, fact_lines, prediction_lines
from crypy.forecasting.direction.records import SECONDS, CandleRecord, FactRecord, PredictionRecord, Timeframe
from crypy.models.direction.port import FlatRule
from crypy.training.direction.evaluation import Asked, DirectionEvaluation, evaluate
from crypy.training.direction.judging import beside

R = TypeVar("R", CandleRecord, FactRecord, PredictionRecord)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which lines count: empty for all. `start_ms` and `end_ms` bound the start of the candles that were forecast from."""

    symbols: frozenset[str] = frozenset()
    timeframes: frozenset[Timeframe] = frozenset()
    start_ms: int | None = None
    end_ms: int | None = None

    @classmethod
    def of(cls, symbols: str, timeframes: Sequence[Timeframe], start: str, end: str) -> Chosen:
        """Options as a person gives them. Raises `ConfigError` for a range that is none."""
        bounds = [parse_time_us(text) // US_PER_MS if text else None for text in (start, end)]
        if bounds[0] is not None and bounds[1] is not None and bounds[0] >= bounds[1]:
            raise ConfigError(f"--start {start} is not before --end {end}")
        named = (symbol.strip().upper() for symbol in symbols.split(",") if symbol.strip())
        return cls(frozenset(named), frozenset(timeframes), bounds[0], bounds[1])

    def has(self, record: CandleRecord | FactRecord | PredictionRecord) -> bool:
        """Whether the record's symbol and timeframe count."""
        return (not self.symbols or record.symbol in self.symbols) and (
            not self.timeframes or record.timeframe in self.timeframes
        )

    def in_range(self, record: PredictionRecord) -> bool:
        """Whether the forecast's candle starts in the range."""
        return (self.start_ms is None or record.candle_ts >= self.start_ms) and (
            self.end_ms is None or record.candle_ts < self.end_ms
        )


def forecast_folder(chosen: Path | None, data_dir: Path | None) -> Path:
    """The folder named, else the forecaster's own in the data folder. Raises `ConfigError` where there is none."""
    folder = chosen if chosen is not None else data_folder(data_dir) / "forecast"
    if not folder.is_dir():
        raise ConfigError(
            f"{folder} is no folder of forecasts; name one by --dir, or let `crypy forecast run` make one"
        )
    return folder


def evaluate_files(folder: Path, chosen: Chosen, settings: Settings) -> DirectionEvaluation:
    """Judge the forecasts in a folder. Raises `DataError` naming file and line for what cannot be true, `Incomplete` where nothing can be judged."""
    series = read_series(folder, chosen)
    flat = FlatRule(settings.forecast.min_probability, settings.forecast.min_margin)
    asked = [
        Asked(
            key.symbol, key.timeframe, SECONDS[key.timeframe], one.calls, beside(one.closes, one.rows, one.calls, flat),
            {"waiting": one.waiting, "late": one.late, "intra": one.intra},
        )
        for key, one in series.items()
    ]  # fmt: skip
    models = list(dict.fromkeys(name for one in series.values() for name in one.models))
    if len(models) == 1:
        return evaluate(models[0], asked)
    return evaluate("recorded", asked, [f"made by {', '.join(models)}"])


def read_series(folder: Path, chosen: Chosen) -> dict[Key, Series]:
    """The files' forecasts with their facts. Raises as `evaluate_files`."""
    told = (line for line in _chosen(prediction_lines(folder), chosen) if chosen.in_range(line.record))
    series = matched(told, _chosen(fact_lines(folder), chosen), _chosen(candle_lines(folder), chosen))
    if not series:
        raise Incomplete(f"{folder} holds no forecasts of what was asked for", ())
    return series


def read_facts(folder: Path, chosen: Chosen) -> Mapping[Key, list[FactRecord]]:
    """The last word on each fact, by symbol and timeframe in the order of time."""
    found: dict[Key, dict[int, FactRecord]] = {}
    for line in _chosen(fact_lines(folder), chosen):
        ts = line.record.candle_ts
        if (chosen.start_ms is None or ts >= chosen.start_ms) and (chosen.end_ms is None or ts < chosen.end_ms):
            found.setdefault(Key(line.record.symbol, line.record.timeframe), {})[ts] = line.record
    return {key: [facts[ts] for ts in sorted(facts)] for key, facts in found.items()}


def _chosen(lines: Iterable[Line[R]], chosen: Chosen) -> Iterator[Line[R]]:
    return (line for line in lines if chosen.has(line.record))
