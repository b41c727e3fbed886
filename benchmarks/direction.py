"""Directions at the close of a minute: 1 to 1,000 two-head networks as one compiled computation, against the same networks one by one.

Each model is the network as it is trained by default (its columns, an ensemble of four, both symbols) with weights of its own. The peers serve the same
columns in a loop: by the numba kernel, as `crypy forecast run` does, and by a compiled JAX call for each. The close has the minute of two coins appended and all columns computed before
the models are asked. The whole close is what `crypy forecast run` does behind a minute: the four networks that are shipped, situations, pattern memory, weights,
calibration and records, with what was learned from the last close; a close of one timeframe is every minute's, one of all four the full hour's. The page's
snapshot has 8 reports of 60 candles.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.results import Row, Spread
from benchmarks.timing import Latency, latencies_us, scaled
from crypy.dashboard.feed import Feed
from crypy.domain.events import Candle
from crypy.forecasting.direction.predictor import Predictor
from crypy.marketdata.bars import Bars
from crypy.models.direction.inputs import DirectionInputs
from crypy.models.direction.learner import Learner, LearnerSettings
from crypy.models.direction.market import Market
from crypy.models.direction.network import DirectionNetwork
from crypy.models.direction.perceptron import Perceptrons, PerceptronSettings, perceptron_specs
from crypy.models.direction.port import TIMEFRAMES_S, FlatRule
from crypy.models.direction.scaling import ScaledInputs, scaling_specs
from crypy.models.direction.serving_jax import ManyNetworks
from crypy.models.direction.situation import Situations
from crypy.testing.direction_reports import MadeUpDirections
from crypy.training.direction.recipes import network_columns
from crypy.training.registry import SHIPPED

SYMBOLS = ("BTCUSDT", "ETHUSDT")
COUNTS = (1, 10, 100, 1_000)
MINUTES = 6_000
COMING = 9_000
ROUNDS = 3
BUDGET_MS = 1_000.0
ANSWER_MS = 1.0
CLOSE_MS = 10.0
_MS = 1e-3


class Minutes:
    """Minutes of two coins that wander, and a market that takes one more at each close."""

    def __init__(self, inputs: DirectionInputs | None = None) -> None:
        rng, minutes = np.random.default_rng(1), MINUTES + COMING
        self._bars = {symbol: _walk(symbol, rng, minutes) for symbol in SYMBOLS}
        self.market = Market.of({symbol: _first(one, MINUTES) for symbol, one in self._bars.items()})
        if inputs is not None:
            self.market.want(inputs.wanted())

    def candles(self) -> dict[str, Candle]:
        """The next minute."""
        return {symbol: _candle(one, self.market.rows) for symbol, one in self._bars.items()}

    def append(self) -> np.ndarray:
        """The next minute; its row."""
        row = self.market.rows
        self.market.append(self.candles())
        return np.array([row], np.int64)


def measure(effort: float) -> list[Row]:
    inputs, settings = DirectionInputs(SYMBOLS, 60, network_columns()), PerceptronSettings()
    minutes = Minutes(inputs)
    row = minutes.append()
    x, known = inputs.x(minutes.market, row)
    assert known.all()
    rows: list[Row] = []
    for count in COUNTS:
        rows += _of_many(count, settings, inputs, minutes, x, scaled(2_000 // count, effort, 3))
    rows += _of_asking(scaled(500, effort, 20))
    rows += _of_closes(scaled(6_000, effort, 240))
    return [*rows, *_of_page(scaled(300, effort, 20))]


def _of_many(
    count: int, settings: PerceptronSettings, inputs: DirectionInputs, minutes: Minutes, x: np.ndarray, calls: int
) -> list[Row]:
    arrays = _arrays(count, settings, inputs)
    many = ManyNetworks(settings, inputs, arrays)
    each = [{name: one[index] for name, one in arrays.items()} for index in range(count)]
    scalings = [ScaledInputs.of_arrays(inputs, settings.clip, one) for one in each]
    served = [Perceptrons(settings, inputs, one) for one in each]
    single = [ManyNetworks(settings, inputs, {name: one[None] for name, one in own.items()}) for own in each]

    known = np.ones((len(x), len(SYMBOLS)), np.bool_)

    def one_by_one(_: int) -> list[np.ndarray]:
        told: list[np.ndarray] = []
        for scaling, model in zip(scalings, served, strict=True):
            told.append(model.chances(scaling.scaled(x.copy()), known))
        return told

    np.testing.assert_allclose(many.chances(x)[:, :, 0].transpose(1, 2, 0), np.array(one_by_one(0))[:, 0], atol=5e-6)
    ways = {
        "vmap": lambda _: many.chances(x),
        "numba": one_by_one,
        "jax": lambda _: [model.chances(x) for model in single],
        "close": lambda _: many.ask(minutes.market, minutes.append()),
    }
    found = latencies_us(ways, calls, ROUNDS)
    name = f"{count:,} model{'s' if count > 1 else ''}"
    where = f"{many.megabytes:,.1f} MB on {many.device}"
    return [
        _row(f"{name} as one ({where}), median", found["vmap"], "numba in a loop", found["numba"]),
        _row(f"{name} as one, median", found["vmap"], "compiled calls in a loop", found["jax"]),
        Row(
            what=f"minute appended, {name} asked, median",
            ours=found["close"].p50.times(_MS),
            unit="ms",
            budget=BUDGET_MS,
        ),
        Row(
            what=f"minute appended, {name} asked, p99", ours=found["close"].p99.times(_MS), unit="ms", budget=BUDGET_MS
        ),
    ]


def _of_asking(calls: int) -> list[Row]:
    """The four networks asked behind a minute that has been appended; JAX has the columns at hand."""
    networks, minutes = [DirectionNetwork.load(path) for path in _shipped()], Minutes()
    for one in networks:
        one.prepare(minutes.market)
    row = minutes.append()
    many = [
        (ManyNetworks.load([path]), one.inputs.x(minutes.market, row)[0])
        for path, one in zip(_shipped(), networks, strict=True)
    ]
    for (compiled, x), one in zip(many, networks, strict=True):
        np.testing.assert_allclose(compiled.chances(x)[0, 0], one.ask(minutes.market, row).p_up, atol=5e-6)

    def append(_: int) -> None:
        row[:] = minutes.append()

    found = latencies_us(
        {
            "ours": lambda _: [one.ask(minutes.market, row) for one in networks],
            "jax": lambda _: [compiled.chances(x) for compiled, x in many],
        },
        calls,
        ROUNDS,
        {"ours": append},
    )
    what, peer = "four shipped networks asked at a close", "compiled calls, columns at hand"
    return [
        _row(f"{what}, median", found["ours"], peer, found["jax"], ANSWER_MS),
        Row(what=f"{what}, p99", ours=found["ours"].p99.times(_MS), unit="ms", peer=peer, theirs=found["jax"].p99.times(_MS)),
    ]  # fmt: skip


def _of_closes(closes: int) -> list[Row]:
    """Whole closes, one after the other, as they come: those of one timeframe and those of all four apart."""
    minutes = Minutes()
    predictor = Predictor(
        minutes.market,
        {path.name: DirectionNetwork.load(path) for path in _shipped()},
        {(symbol, timeframe_s): Learner(LearnerSettings()) for symbol in SYMBOLS for timeframe_s in TIMEFRAMES_S},
        FlatRule(),
        lambda: minutes.market.end_s * 1_000_000,
        situation=Situations(TIMEFRAMES_S),
    )
    predictor.warm()
    took: dict[int, list[int]] = {}
    for _ in range(closes):
        candles = minutes.candles()
        began = time.perf_counter_ns()
        close = predictor.close_minute(candles, 0)
        ended = time.perf_counter_ns()
        assert len(close.predictions) == len(close.facts)
        took.setdefault(len(close.predictions) // len(SYMBOLS), []).append(ended - began)
        predictor.settle()
    rows: list[Row] = []
    for timeframes, name in ((1, "one timeframe"), (len(TIMEFRAMES_S), "all four timeframes")):
        parts = [part for part in np.array_split(np.array(took[timeframes]) / 1e6, ROUNDS) if len(part)]
        for quantile, said in ((0.5, "median"), (0.99, "p99")):
            ours = Spread.of([float(np.quantile(part, quantile)) for part in parts])
            rows.append(Row(what=f"whole close of {name}, 2 coins, {said}", ours=ours, unit="ms", budget=CLOSE_MS))
    return rows


def _shipped() -> list[Path]:
    return [SHIPPED / f"direction-{name}" for name in ("1m", "5m", "15m", "60m")]


def _of_page(calls: int) -> list[Row]:
    snapshot = MadeUpDirections().snapshot()
    assert len(snapshot.directions) == 8
    assert all(len(one.candles) == len(one.outcomes) == 60 for one in snapshot.directions)
    feed = Feed(_Still(snapshot))
    found = latencies_us(
        {
            "ours": lambda _: feed.encode_snapshot(),
            "json": lambda _: json.dumps(msgspec.to_builtins(snapshot)).encode(),
        },
        calls,
    )
    size = len(feed.encode_snapshot()) / 1e3
    what = f"page's snapshot of 8 reports encoded ({size:.0f} kB), median"
    return [_row(what, found["ours"], "json.dumps", found["json"], 5.0)]


class _Still:
    """`Reports` that give one snapshot."""

    def __init__(self, snapshot: object) -> None:
        self._snapshot = snapshot

    def snapshot(self) -> object:
        return self._snapshot


def _row(what: str, ours: Latency, peer: str, theirs: Latency, budget: float | None = None) -> Row:
    return Row(
        what=what, ours=ours.p50.times(_MS), unit="ms", peer=peer, theirs=theirs.p50.times(_MS), budget=budget
    )  # fmt: skip


def _arrays(count: int, settings: PerceptronSettings, inputs: DirectionInputs) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(count)
    specs = {**perceptron_specs(settings, inputs), **scaling_specs(inputs)}
    arrays = {name: rng.normal(0.0, 0.2, (count, *spec.shape)).astype(np.float32) for name, spec in specs.items()}
    return {**arrays, "mean": 0.0 * arrays["mean"], "deviation": 0.5 + np.abs(arrays["deviation"])}


def _walk(symbol: str, rng: np.random.Generator, minutes: int) -> Bars:
    close = np.round(60_000.0 * np.exp(np.cumsum(rng.normal(0.0, 5e-4, minutes))), 2)
    opened = np.concatenate((close[:1], close[:-1]))
    high = np.round(np.maximum(opened, close) * np.exp(np.abs(rng.normal(0.0, 2e-4, minutes))), 2)
    low = np.round(np.minimum(opened, close) * np.exp(-np.abs(rng.normal(0.0, 2e-4, minutes))), 2)
    volume = rng.gamma(2.0, 5.0, minutes)
    return Bars(symbol, 1_735_689_600, 60, opened, high, low, close, volume, volume * close, np.ones(minutes, np.int64), volume / 2)  # fmt: skip


def _first(bars: Bars, count: int) -> Bars:
    columns = ("open", "high", "low", "close", "volume", "quote_volume", "count", "taker_buy_volume")
    return Bars(bars.symbol, bars.start_s, bars.step_s, *(getattr(bars, name)[:count] for name in columns))


def _candle(bars: Bars, row: int) -> Candle:
    start_us = (bars.start_s + row * bars.step_s) * 1_000_000
    values = [float(getattr(bars, name)[row]) for name in ("open", "high", "low", "close", "volume")]
    return Candle(bars.symbol, start_us, start_us + 60_000_000, *values, True, float(bars.quote_volume[row]))
