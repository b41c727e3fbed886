"""What `crypy forecast replay` does: the past through the live handler, into files of its own, and the checks that must hold."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np

from crypy.app.folders import data_folder
from crypy.app.forecast.evaluate import Chosen, evaluate_files
from crypy.app.forecast.learning import flat_rule, learner_settings
from crypy.app.forecast.members import members_of
from crypy.app.forecast.minutes import minutes_of, venue_minutes
from crypy.app.settings import Settings
from crypy.domain.errors import ConfigError
from crypy.domain.times import DAY_S, US_PER_S, iso
from crypy.forecasting.direction.predictor import Close
from crypy.forecasting.direction.record_lines import candle_lines, fact_lines, prediction_lines
from crypy.forecasting.direction.recorder import KINDS, LOCK, Recorder, files_of
from crypy.forecasting.direction.records import TIMEFRAMES
from crypy.forecasting.direction.replay_checks import Check, check_plausible, check_replay
from crypy.forecasting.direction.replaying import Recipe, Replayed, common_time, cut, replay
from crypy.marketdata.bars import Bars
from crypy.marketdata.trade_locks import only_one
from crypy.models.direction.kinds import FitRange, direction_kind, direction_kinds
from crypy.models.direction.learner import Learner
from crypy.models.direction.market import Market
from crypy.models.direction.port import Member
from crypy.models.direction.situation import Situations
from crypy.training.direction.evaluation import DirectionEvaluation
from crypy.training.direction.folds import Folds, Span, fold_edges

Mode = Literal["smoke", "train", "walkforward"]
MODES: Final[tuple[Mode, ...]] = ("smoke", "train", "walkforward")
# A week and a day before the first close: the longest features are warm then.
WARM_S: Final = 8 * DAY_S
CARD: Final = "replay.json"
# What live keeps of what it learned: where such a file lies, live has run.
_LEARNT: Final = "learned-*.json"
_DEFAULT_KIND: Final = "direction-logistic"


@dataclass(frozen=True, slots=True)
class ReplayAsked:
    """The verb's arguments, read. `models` are fitted ones in the mode `smoke`, kinds in the others; empty for the usual ones."""

    mode: Mode
    start_s: int
    end_s: int
    symbols: tuple[str, ...]
    timeframes_s: tuple[int, ...]
    models: Sequence[str] = ()
    folds: int = 4
    fit_share: float = 0.5
    source: Path | None = None
    folder: Path | None = None
    seed: int = 1


class ReplayResult(msgspec.Struct, frozen=True, kw_only=True):
    """`replayed_from` to `end` was replayed; `us_per_minute` has the median, the 99th percentile and the most of the wall's time of a minute."""

    mode: Mode
    start: str
    replayed_from: str
    end: str
    dir: str
    models: tuple[str, ...]
    minutes: int
    predictions: int
    facts: int
    skipped: int
    seconds: float
    us_per_minute: dict[str, float]
    checks: tuple[Check, ...]
    passed: bool


def replay_forecasts(
    asked: ReplayAsked, settings: Settings, data_dir: Path | None, told: Callable[[str], None]
) -> tuple[ReplayResult, DirectionEvaluation]:
    """Replay, check and judge. Raises `ConfigError` for a folder that is not for replays, a range without minutes, or models that are not there."""
    folder = _folder(asked, data_dir)
    begun_s = time.monotonic()
    bars = _minutes(asked, settings)
    from_s = asked.start_s if asked.mode == "smoke" else _first_test_s(asked)
    members = _members(asked, bars, data_dir, told)
    # What is replayed knows nothing from before its warm-up, as live does not.
    bars = _since(bars, from_s - WARM_S, asked.end_s)
    learns = learner_settings(settings.forecast)
    recipe = Recipe(
        members,
        lambda _symbol, _timeframe_s: Learner(learns),
        flat_rule(settings.forecast),
        asked.timeframes_s,
        (lambda: Situations(asked.timeframes_s)) if settings.forecast.remember else lambda: None,
    )
    told(f"replaying {iso(from_s * US_PER_S)} to {iso(asked.end_s * US_PER_S)} into {folder}")
    done = _recorded(recipe, bars, from_s, asked, folder)
    evaluation = evaluate_files(folder, Chosen(), settings)
    told("checking")
    checks = [*check_replay(recipe, bars, done, asked.seed), _check_files(folder, done), check_plausible(evaluation)]
    result = ReplayResult(
        mode=asked.mode,
        start=iso(asked.start_s * US_PER_S),
        replayed_from=iso(from_s * US_PER_S),
        end=iso(asked.end_s * US_PER_S),
        dir=str(folder),
        models=tuple(members),
        minutes=len(done.took_us),
        predictions=len(done.predictions),
        facts=len(done.facts),
        skipped=len(done.skipped),
        seconds=round(time.monotonic() - begun_s, 3),
        us_per_minute={
            name: round(float(np.quantile(done.took_us, share)), 1)
            for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
        },
        checks=tuple(checks),
        passed=all(check.passed for check in checks),
    )
    _write_card(folder, msgspec.to_builtins(result))
    return result, evaluation


def _folder(asked: ReplayAsked, data_dir: Path | None) -> Path:
    """The replay's own folder, empty; what an earlier replay has left there is removed. Raises `ConfigError` for any other that holds records."""
    live = data_folder(data_dir) / "forecast"
    folder = asked.folder if asked.folder is not None else data_folder(data_dir) / "forecast-replays" / asked.mode
    if folder.resolve() == live.resolve():
        raise ConfigError(f"{folder} is the live forecaster's; a replay keeps apart from it: name another --dir")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; name a folder by --dir")
    held = [path for path in folder.iterdir() if path.name != LOCK] if folder.exists() else []
    learnt = [path for path in held if path.match(_LEARNT)]
    if learnt or (held and not (folder / CARD).is_file()):
        raise ConfigError(
            f"{folder} holds {(learnt or held)[0].name}, and no replay has made it: name an empty folder by --dir"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with only_one(folder / LOCK, "a direction forecaster"):
        for path in (path for kind in KINDS for path in files_of(folder, kind)):
            path.unlink()
        # From now on it is known as a replay's, even if this one is killed.
        _write_card(
            folder, {"mode": asked.mode, "start": iso(asked.start_s * US_PER_S), "end": iso(asked.end_s * US_PER_S)}
        )
    return folder


def _write_card(folder: Path, card: Mapping[str, Any]) -> None:
    (folder / CARD).write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=1) + b"\n")


def _minutes(asked: ReplayAsked, settings: Settings) -> dict[str, Bars]:
    begin_s = asked.start_s - WARM_S
    if asked.source is not None:
        found = minutes_of(asked.source, asked.symbols, begin_s, asked.end_s)
    else:
        found = venue_minutes(settings, asked.symbols, begin_s, asked.end_s)
    first_s, last_s = common_time(found)
    if first_s > asked.start_s or last_s < asked.end_s:
        raise ConfigError(
            f"there are minutes from {iso(first_s * US_PER_S)} to {iso(last_s * US_PER_S)}, and {iso(asked.start_s * US_PER_S)} to"
            f" {iso(asked.end_s * US_PER_S)} was to be replayed"
        )
    return _since(found, first_s, last_s)


def _first_test_s(asked: ReplayAsked) -> int:
    """Where learning ends and the replay begins: at a full hour."""
    return asked.start_s + int((asked.end_s - asked.start_s) * asked.fit_share) // 3_600 * 3_600


def _members(
    asked: ReplayAsked, bars: Mapping[str, Bars], data_dir: Path | None, told: Callable[[str], None]
) -> dict[str, Member]:
    """Fitted models as they are, or kinds fitted on what lies before each fold."""
    if asked.mode == "smoke":
        return {one.name: one.member for one in members_of(asked.models, asked.symbols, asked.timeframes_s, data_dir)}
    kinds = asked.models or (_DEFAULT_KIND,)
    unknown = [kind for kind in kinds if kind not in direction_kinds()]
    if unknown:
        raise ConfigError(
            f"{', '.join(unknown)}: the mode {asked.mode} fits kinds; choose from {', '.join(direction_kinds())}, or replay fitted models by --mode smoke"
        )
    span = Span(_first_test_s(asked), asked.end_s)
    folds = 1 if asked.mode == "train" else asked.folds
    fold_edges(span, folds)
    market = Market.of(bars)
    out: dict[str, Member] = {}
    for kind in kinds:
        fit = direction_kind(kind).fit_all()
        # Unless something overlaps, an hour is as good as a day of embargo: an example's candle ends by the end of its part.
        fitted = Folds.fitted_together(
            kind,
            lambda end_s, fit=fit: fit(FitRange(market, asked.symbols, asked.start_s, end_s), asked.timeframes_s),
            span,
            folds,
            max(3_600, *asked.timeframes_s),
            told,
        )
        out |= {f"{kind} {TIMEFRAMES[timeframe_s]}": member for timeframe_s, member in fitted.items()}
    return out


def _since(bars: Mapping[str, Bars], begin_s: int, end_s: int) -> dict[str, Bars]:
    first_s, last_s = common_time(bars)
    return {symbol: cut(one, max(first_s, begin_s), min(last_s, end_s)) for symbol, one in bars.items()}


def _recorded(recipe: Recipe, bars: Mapping[str, Bars], from_s: int, asked: ReplayAsked, folder: Path) -> Replayed:
    """The replay, written as live writes it: once an hour here, for there is no crash to fear."""
    with Recorder(folder) as recorder:

        def keep(close: Close) -> None:
            recorder.add((*close.predictions, *close.candles, *close.facts))
            if close.end_s % 3_600 == 0:
                recorder.flush()

        return replay(recipe, bars, from_s, asked.end_s, lambda: time.perf_counter_ns() / 1e3, keep)


def _check_files(folder: Path, done: Replayed) -> Check:
    """The files hold what was made, in order."""
    pairs: dict[str, tuple[list[Any], list[Any]]] = {
        "candles": ([one.record for one in candle_lines(folder)], [*done.candles]),
        "predictions": ([one.record for one in prediction_lines(folder)], [*done.predictions]),
        "facts": ([one.record for one in fact_lines(folder)], [*done.facts]),
    }
    for kind, (held, made) in pairs.items():
        if held != made:
            return Check("files", False, f"{kind}.jsonl does not hold the {len(made):,} records that were made")
    return Check("files", True, f"{sum(len(made) for _, made in pairs.values()):,} lines as they were made")
