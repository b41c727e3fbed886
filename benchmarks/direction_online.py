"""`python -m benchmarks.direction_online FOLDER [5m ...]`: what each part of online learning is worth to direction forecasts, on real minutes.

FOLDER holds minutes of BTCUSDT and ETHUSDT from 2024-07-01 on. Members are fitted a day before each quarter from 2025-01-01 to 2025-07-01 on all that
ended before; the learner goes through both quarters with the facts as they come, as live. Nothing later is read. Log losses are given a
move; gains are over ln 2 in 1e-4 nats; behind +- is the standard error of a paired moving-block bootstrap over days.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import lightgbm
import msgspec
import numpy as np

from crypy.domain.times import DAY_S, US_PER_S, parse_time_us
from crypy.features.indicators import ClosePosition, LogReturn, LogVolume, Ratio, RealisedVolatility, Tanh, ZScore
from crypy.forecasting.direction.records import SECONDS, TIMEFRAMES
from crypy.marketdata.source_files import open_source
from crypy.models.direction.inputs import Column, DirectionInputs, Whose
from crypy.models.direction.kinds import FitRange
from crypy.models.direction.learner import Learner, LearnerSettings
from crypy.models.direction.market import Market
from crypy.models.direction.plain import moves
from crypy.models.direction.port import FlatRule, Ints, Member, Probabilities
from crypy.models.direction.situation import Situations
from crypy.training.direction.calls import Calls
from crypy.training.direction.folds import Folds, Span
from crypy.training.direction.judging import common, member_calls, online_calls
from crypy.training.direction.logistic_fitting import fit_direction_logistics
from crypy.training.direction.plain_fitting import fit_direction_constants, fit_direction_lasts
from crypy.training.direction.scores import DirectionScore, score

SYMBOLS: Final = ("BTCUSDT", "ETHUSDT")
FIRST, BEGIN, END = (parse_time_us(day) // US_PER_S for day in ("2024-07-01", "2025-01-01", "2025-07-01"))
FLAT: Final = FlatRule()
Fit = Callable[[FitRange, int], Member]


def main() -> None:
    folder, wanted = Path(sys.argv[1]), sys.argv[2:] or list(SECONDS)
    market = _market(folder)
    for timeframe_s in [SECONDS[name] for name in SECONDS if name in wanted]:
        members = {name: _walked(name, fit, market, timeframe_s) for name, fit in FITS.items()}
        _compare(market, members, timeframe_s)


def _market(folder: Path) -> Market:
    bars: dict[str, Any] = {}
    for symbol in SYMBOLS:
        with open_source(folder, symbol) as source:
            bars[symbol] = source.bars(FIRST, END)
    return Market.of(bars)


def _walked(name: str, fit: Fit, market: Market, timeframe_s: int) -> Member:
    member = Folds.fitted(
        name, lambda end_s: fit(FitRange(market, SYMBOLS, FIRST, end_s), timeframe_s), Span(BEGIN, END), 2, DAY_S
    )
    member.prepare(market)
    return member


def _went(whose: Whose) -> tuple[Column, ...]:
    """Returns in units of the last four hours' volatility."""
    lags = (1, 2, 3, 5, 10, 15, 30, 60, 120, 240)
    moves = (Tanh(Ratio(LogReturn(lag), RealisedVolatility(240)), 2.0 * (lag / 240) ** 0.5) for lag in lags)
    return tuple(Column.of(one, whose, odd=True) for one in moves)


def _stands(whose: Whose) -> tuple[Column, ...]:
    """Where the close stands in ranges."""
    return tuple(Column.of(ClosePosition(window), whose, odd=True) for window in (1, 3, 5, 15, 60, 240))


RETURNS: Final = _went("own")
POSITIONS: Final = (*_stands("own"), *_stands("others"))
EVERYTHING: Final = (
    *RETURNS, *_went("others"), *POSITIONS,
    Column.of(Ratio(RealisedVolatility(60), RealisedVolatility(240))), Column.of(ZScore(LogVolume(), 60)),
    Column.of(ZScore(LogVolume(), 60), "others"), Column.of(ZScore(LogVolume(), 240)),
)  # fmt: skip


class Boosted:
    """LightGBM on all columns, a model a symbol; ties as often as they were."""

    def __init__(self, fit: FitRange, timeframe_s: int) -> None:
        self.name, self.symbols, self.timeframe_s = "boosted", fit.symbols, timeframe_s
        self.inputs = DirectionInputs(fit.symbols, timeframe_s, EVERYTHING)
        self.prepare(fit.market)
        steps = timeframe_s // fit.market.step_s
        rows = Span(fit.start_s, fit.end_s).rows(fit.market, timeframe_s)
        x, known = self.inputs.x(fit.market, rows)
        self.models: list[tuple[Any, float]] = []
        for at, symbol in enumerate(fit.symbols):
            outcome, told = moves(fit.market, symbol, rows, rows + steps)
            use = known[:, at] & told
            moved = use & (outcome != 0)
            settings = {
                "objective": "binary", "learning_rate": 0.03, "num_leaves": 15 if moved.sum() > 50_000 else 6, "lambda_l2": 20.0,
                "min_data_in_leaf": int(max(100, moved.sum() // 300)), "feature_fraction": 0.5, "bagging_fraction": 0.7,
                "bagging_freq": 1, "seed": 1, "num_threads": 2, "verbose": -1,
            }  # fmt: skip
            data = lightgbm.Dataset(x[moved, at], outcome[moved] > 0)
            model = lightgbm.train(settings, data, 200 if timeframe_s == 60 else 100)
            self.models.append((model, float(np.mean(outcome[use] != 0))))

    def prepare(self, market: Market) -> None:
        market.want(self.inputs.wanted())

    def ask(self, market: Market, rows: Ints) -> Probabilities:
        x, known = self.inputs.x(market, rows)
        out = np.full((2, len(rows), len(self.symbols)), np.nan)
        for at, (model, move) in enumerate(self.models):
            up = model.predict(x[:, at])
            out[0, :, at], out[1, :, at] = move * up, move * (1.0 - up)
        out[:, ~known] = np.nan
        return Probabilities(out[0], out[1])


def _logistic(columns: tuple[Column, ...]) -> Fit:
    return lambda fit, timeframe_s: next(iter(fit_direction_logistics(fit, (timeframe_s,), columns=columns)))


FITS: Final[Mapping[str, Fit]] = {
    "constant": lambda fit, timeframe_s: next(iter(fit_direction_constants(fit, (timeframe_s,)))),
    "last": lambda fit, timeframe_s: next(iter(fit_direction_lasts(fit, (timeframe_s,)))),
    "returns": _logistic(RETURNS),
    "positions": _logistic(POSITIONS),
    "everything": _logistic(EVERYTHING),
    "boosted": Boosted,
}


def variants() -> dict[str, LearnerSettings]:
    """The whole, and what is left without each part."""
    whole, change = LearnerSettings(), msgspec.structs.replace
    unweighed = change(whole.rewards, on=False)
    raw = change(whole.calibration, kind="off")
    forgetful = change(whole.patterns, on=False)
    return {
        "all": whole,
        "without weights": change(whole, rewards=unweighed),
        "without calibration": change(whole, calibration=raw),
        "isotonic": change(whole, calibration=change(whole.calibration, kind="isotonic")),
        "without patterns": change(whole, patterns=forgetful),
        "weights alone": change(whole, calibration=raw, patterns=forgetful),
        "equal weights alone": LearnerSettings(unweighed, raw, forgetful),
    }


def _compare(market: Market, members: Mapping[str, Member], timeframe_s: int) -> None:
    span = Span(BEGIN, END)
    situations = Situations([timeframe_s])
    ways: dict[str, dict[str, Calls]] = {
        name: member_calls(market, member, span, FLAT) for name, member in members.items()
    }
    for name, settings in variants().items():
        began = time.perf_counter()
        ways[name] = online_calls(
            market,
            members,
            lambda _symbol, _timeframe_s, chosen=settings: Learner(chosen),
            span,
            FLAT,
            situation=situations,
        )
        count = sum(len(calls) for calls in ways[name].values())
        print(
            f"{TIMEFRAMES[timeframe_s]} {name}: {count / (time.perf_counter() - began):,.0f} closes a second",
            flush=True,
        )
    for symbol in SYMBOLS:
        mine = common({name: calls[symbol] for name, calls in ways.items()})
        scores = {name: score(calls, timeframe_s, {"all": mine["all"]}) for name, calls in mine.items()}
        for name, found in scores.items():
            print(_line(f"{symbol[:3]} {TIMEFRAMES[timeframe_s]:>3s} {name:20s}", found), flush=True)


def _line(head: str, found: DirectionScore) -> str:
    beside = found.vs["all"]["log_loss"]
    return (
        f"{head} n {found.n:7,d}  gain {1e4 * (found.gain or 0.0):+7.2f}  over all {1e4 * beside.gain:+6.2f} +- {1e4 * (beside.se or 0.0):5.2f}"
        f"  ECE {100 * (found.ece or 0.0):.2f} %  three-way {found.log_loss_three:.5f}"
    )


if __name__ == "__main__":
    main()
