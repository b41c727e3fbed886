"""What `crypy forecast eval --source` does: models judged on minutes of the past, with what learns online and without."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crypy.app.data.stores import Place
from crypy.app.forecast.learning import ablations, flat_rule, learner_settings
from crypy.app.forecast.members import NamedMember, members_of
from crypy.app.forecast.minutes import market_of
from crypy.app.model.data import models_folder
from crypy.app.settings import Settings
from crypy.domain.errors import ConfigError
from crypy.domain.times import DAY_S, US_PER_S, iso, parse_time_us
from crypy.forecasting.direction.records import TIMEFRAMES
from crypy.models.direction.inputs import DirectionInputs
from crypy.models.direction.kinds import FitRange, direction_kind, direction_kinds
from crypy.models.direction.learner import Learner
from crypy.models.direction.market import Market
from crypy.models.direction.port import Member
from crypy.models.direction.situation import Situations
from crypy.runtime.clocks import SystemClock
from crypy.training.direction.calls import Calls
from crypy.training.direction.evaluation import Asked, DirectionEvaluation, evaluate
from crypy.training.direction.examples import data_fingerprint
from crypy.training.direction.folds import Folds, Span
from crypy.training.direction.judging import baseline_calls, common, member_calls, online_calls
from crypy.training.trials import Trial, TrialLedger, settings_fingerprint

ONLINE: Final = "online"
# Minutes before the first close that is judged: features warm up in a week, regimes and baselines like a month.
WARM_DAYS: Final = 40
# What online learning may have seen before the range, where the models had not.
LEARNT_DAYS: Final = 60


@dataclass(frozen=True, slots=True)
class JudgeAsked:
    """The verb's arguments, read. `learn` judges what the models make together with online learning, `ablate` this also without each of its parts."""

    models: Sequence[str]
    symbols: tuple[str, ...]
    timeframes_s: tuple[int, ...]
    start_s: int
    end_s: int
    fit_start: str = ""
    folds: int = 1
    learn: bool = True
    ablate: bool = False
    in_sample: bool = False


def judge_models(
    asked: JudgeAsked, settings: Settings, place: Place, told: Callable[[str], None]
) -> DirectionEvaluation:
    """Judge fitted models, or kinds that walk forward over folds, at each close of `[start_s, end_s)`; the look is counted in the trial ledger.

    Raises `ConfigError` where models have seen the range (unless `in_sample`), for names that nothing has, or a range without minutes.
    """
    kinds = [name for name in asked.models if name in direction_kinds()]
    fitted = [name for name in asked.models if name not in kinds]
    named = members_of(fitted, asked.symbols, asked.timeframes_s, place.data_dir) if fitted or not kinds else []
    _require_unseen(named, asked)
    begin_s = parse_time_us(asked.fit_start) // US_PER_S if asked.fit_start else None
    if begin_s is None and not kinds:
        begin_s = asked.start_s - WARM_DAYS * DAY_S
    if place.source is None:
        raise ConfigError("models are judged on minutes of the past; name the files that hold them by --source")
    market = market_of(place.source, asked.symbols, begin_s, asked.end_s)
    members = {
        each: {one.name: one.member for one in named if one.member.timeframe_s == each} for each in asked.timeframes_s
    }
    for one in named:
        one.member.prepare(market)
    with _counted(asked, named, kinds, market, models_folder(place.data_dir)) as scores:
        for kind in kinds:
            for timeframe_s, member in _walked(kind, market, asked, told).items():
                members[timeframe_s][kind] = member
        fit_end_s = asked.start_s if kinds else max(one.fit_end_s for one in named)
        warm_s = max(0, min(LEARNT_DAYS * DAY_S, asked.start_s - fit_end_s))
        parts: list[Asked] = []
        for timeframe_s in asked.timeframes_s:
            if members[timeframe_s]:
                told(f"{TIMEFRAMES[timeframe_s]}: {', '.join(members[timeframe_s])}")
                parts += _parts(market, members[timeframe_s], timeframe_s, asked, settings, warm_s)
        firsts = dict.fromkeys(next(iter(group)) for group in members.values() if group)
        model = ONLINE if asked.learn else ", ".join(firsts)
        result = evaluate(model, parts, _notes(asked, warm_s))
        scores["log_loss"] = result.overall.log_loss_three
    return result


def _parts(
    market: Market, members: Mapping[str, Member], timeframe_s: int, asked: JudgeAsked, settings: Settings, warm_s: int
) -> list[Asked]:
    span, flat = Span(asked.start_s, asked.end_s), flat_rule(settings.forecast)
    situations = Situations([timeframe_s])
    situations.prepare(market)
    ways: dict[str, dict[str, Calls]] = {}
    if asked.learn:
        whole = learner_settings(settings.forecast)
        variants = {ONLINE: whole, **(ablations(whole) if asked.ablate else {})}
        for name, chosen in variants.items():
            ways[name] = online_calls(
                market, members, lambda _symbol, _timeframe_s, chosen=chosen: Learner(chosen), span, flat,
                warm_s=warm_s, situation=situations if chosen.patterns.on else None,
            )  # fmt: skip
    ways |= {name: member_calls(market, member, span, flat) for name, member in members.items()}
    out: list[Asked] = []
    for symbol in asked.symbols:
        mine = {name: calls[symbol] for name, calls in ways.items() if symbol in calls and len(calls[symbol])}
        if not mine:
            continue
        (_, first), *others = common(mine).items()
        beside = dict(others) | baseline_calls(market, symbol, timeframe_s, first, flat)
        unasked = len(span.rows(market, timeframe_s)) - len(first)
        out.append(Asked(symbol, TIMEFRAMES[timeframe_s], timeframe_s, first, beside, {"unasked": unasked}))
    return out


def _walked(kind: str, market: Market, asked: JudgeAsked, told: Callable[[str], None]) -> dict[int, Folds]:
    """The kind fitted anew for each fold, purged by an embargo of a day, by timeframe."""
    fit = direction_kind(kind).fit_all()
    folds = Folds.fitted_together(
        f"{kind} ({asked.folds} folds)",
        lambda end_s: fit(FitRange(market, asked.symbols, market.start_s, end_s), asked.timeframes_s),
        Span(asked.start_s, asked.end_s),
        asked.folds,
        DAY_S,
        told,
    )
    for member in folds.values():
        member.prepare(market)
    return folds


def _require_unseen(named: Sequence[NamedMember], asked: JudgeAsked) -> None:
    seen = [one for one in named if one.fit_end_s > asked.start_s]
    if seen and not asked.in_sample:
        last_s = max(one.fit_end_s for one in seen)
        raise ConfigError(
            f"{', '.join(one.name for one in seen)} learned from minutes up to {iso(last_s * US_PER_S)}, and judging was to begin"
            f" {iso(asked.start_s * US_PER_S)}; begin later, or say --in-sample"
        )


def _notes(asked: JudgeAsked, warm_s: int) -> list[str]:
    notes = [f"online learning began {warm_s // DAY_S} days before the range"] if asked.learn else []
    return [*notes, "in sample: models have seen the range"] if asked.in_sample else notes


@contextmanager
def _counted(
    asked: JudgeAsked, named: Sequence[NamedMember], kinds: Sequence[str], market: Market, folder: Path
) -> Generator[dict[str, float]]:
    """Each model's look at the range stands in the trial ledger before it happens; the dictionary takes the score."""
    ledger = TrialLedger(folder, SystemClock())
    data = data_fingerprint(market, DirectionInputs(asked.symbols, min(asked.timeframes_s)), asked.end_s)
    walked = settings_fingerprint({"folds": asked.folds, "fit_start": asked.fit_start})
    looks = [(one.kind, one.fingerprint) for one in named] + [(kind, walked) for kind in kinds]
    begun = [
        ledger.begin(
            Trial(
                what="look",
                kind=kind,
                settings=of,
                data=data,
                start_s=asked.start_s,
                end_s=asked.end_s,
                study="forecast eval",
            )
        )
        for kind, of in looks
    ]
    scores: dict[str, float] = {}
    try:
        yield scores
    finally:
        for trial_id in begun:
            ledger.end(trial_id, "done" if scores else "failed", scores.get("log_loss"))
