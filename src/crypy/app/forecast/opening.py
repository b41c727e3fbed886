"""A forecaster is opened: its models, what was learned and recorded before, the minutes to warm up on. Whoever runs it brings clock, road and folder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from crypy.app.forecast.bybit import BybitRoad, minutes_since
from crypy.app.forecast.learning import flat_rule, learner_settings
from crypy.app.forecast.members import NamedMember, members_of
from crypy.app.forecast.process import ForecastProcess
from crypy.app.forecast.warming import STEP_S, Pair, Warmth, minutes_needed, warmth_of
from crypy.app.settings import ForecastSettings
from crypy.domain.ports import Transport
from crypy.domain.times import US_PER_S, iso
from crypy.forecasting.direction.keeping import Keeping
from crypy.forecasting.direction.predictor import Predictor
from crypy.forecasting.direction.recorder import Recorder, last_starts
from crypy.forecasting.direction.records import SECONDS, PredictionRecord
from crypy.forecasting.direction.service import DirectionService
from crypy.models.direction.learner import Learner
from crypy.models.direction.market import Market
from crypy.models.direction.port import Member
from crypy.models.direction.situation import Situations

# A week: what passed before is not written down any more.
_MOST_MINUTES: Final = 10_080


def models_of(chosen: ForecastSettings, data_dir: Path | None) -> dict[str, NamedMember]:
    """The models that the settings mean, by name. Raises as `members_of`."""
    return {one.name: one for one in members_of(chosen.models, chosen.symbols, _timeframes_s(chosen), data_dir)}


async def open_process(
    chosen: ForecastSettings,
    road: BybitRoad,
    transport: Transport,
    recorder: Recorder,
    data_dir: Path | None,
    *,
    all_candles: bool = False,
    say: Callable[[str], object] = lambda _: None,
    tell: Callable[[PredictionRecord], object] = lambda _: None,
) -> ForecastProcess:
    """The warm service, ready for its feed. What computes does so in threads: the caller's loop goes on.

    `say` hears a line for a person, `tell` every forecast. Raises as `members_of` and `minutes_since`.
    """
    timeframes_s = _timeframes_s(chosen)
    named = await asyncio.to_thread(models_of, chosen, data_dir)
    recorded = {kind: await asyncio.to_thread(last_starts, recorder.folder, kind) for kind in ("candles", "facts")}
    answered = await asyncio.to_thread(last_starts, recorder.folder, "predictions")
    candles = road.candles(transport)
    members = {name: one.member for name, one in named.items()}
    situation = Situations(timeframes_s) if chosen.remember else None
    looks_back = await asyncio.to_thread(_looks_back, members.values(), situation, chosen.symbols)
    usual = max(chosen.warm_up_minutes, looks_back)
    now_s = await candles.server_time_us() // US_PER_S
    count = minutes_needed(recorded, now_s, usual, max(_MOST_MINUTES, usual))
    since_s = now_s // STEP_S * STEP_S - (count + 1) * STEP_S
    say(f"warming up on {count} minutes of {', '.join(chosen.symbols)} since {iso(since_s * US_PER_S)}")
    warmth = warmth_of(await minutes_since(candles, chosen.symbols, since_s, now_s), timeframes_s, recorded)
    keeping, learns = Keeping(recorder.folder), learner_settings(chosen)
    pairs = {(symbol, one.member.timeframe_s) for one in named.values() for symbol in one.member.symbols}
    learners = {pair: await asyncio.to_thread(keeping.load, *pair, learns) for pair in sorted(pairs)}
    predictor = await asyncio.to_thread(_predictor, chosen, road, members, learners, situation, answered, warmth, usual)
    service = DirectionService(
        predictor, learners, recorder, keeping, road.clock, wait_s=chosen.wait_s * road.speed,
        intra_s=chosen.intra_s if all_candles else 0.0, recorded=warmth.recorded, tell=tell,
    )  # fmt: skip
    # Nobody else has the service yet, and its first questions load what is compiled.
    await asyncio.to_thread(service.begin, warmth.rows)
    return ForecastProcess(service, road, transport, candles, only_closed=not all_candles)


def _timeframes_s(chosen: ForecastSettings) -> list[int]:
    return [SECONDS[one] for one in SECONDS if one in chosen.timeframes]


def _predictor(
    chosen: ForecastSettings,
    road: BybitRoad,
    members: Mapping[str, Member],
    learners: Mapping[Pair, Learner],
    situation: Situations | None,
    answered: Mapping[Pair, int],
    warmth: Warmth,
    keep: int,
) -> Predictor:
    """All that answers, over a market of the minutes that are only looked back on."""
    market = Market(chosen.symbols, next(iter(warmth.bars.values())).start_s, STEP_S)
    predictor = Predictor(
        market,
        members,
        learners,
        flat_rule(chosen),
        road.clock.now_us,
        situation=situation,
        answered=answered,
        timeframes_s=_timeframes_s(chosen),
        keep=keep,
        speed=road.speed,
    )
    market.extend(warmth.bars)
    return predictor


@runtime_checkable
class _LooksBack(Protocol):
    """A member that needs more minutes than the features it wants."""

    @property
    def rows_needed(self) -> int: ...


def _looks_back(members: Iterable[Member], situation: Situations | None, symbols: Sequence[str]) -> int:
    """Minutes until everything that is asked for is warm."""
    probe = Market(symbols, 0, STEP_S)
    own = 1
    for member in members:
        member.prepare(probe)
        own = max(own, member.rows_needed if isinstance(member, _LooksBack) else 1)
    if situation is not None:
        situation.prepare(probe)
    return max([own, *(one.rows_needed for one in probe.features)])
