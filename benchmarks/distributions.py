"""Skewed-t probabilities, the baseline's forecasts of one tick, and a fit by likelihood, against scipy and NumPy.

Probabilities: 20 at once, each of a law of its own; scipy's form is Hansen's distribution function out of `scipy.stats.t`, vectorised. Forecasts: 4
coins x 20 horizons from a full week of blocks, made up (the arithmetic does not depend on the values); the yardstick is the same log-linear
model in NumPy, vectorised over coins and horizons. Both answers are compared first. The fit is of three parameters to 100,000 returns;
scipy minimises the same likelihood, vectorised, from the same start.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from benchmarks.results import Row
from benchmarks.timing import latencies_us, loops_s, scaled
from crypy.distributions.kernels import skew_t_cdf_many
from crypy.distributions.skew_t import ZeroMeanSkewStudentT
from crypy.forecasting.horizons import GRID_S
from crypy.marketdata.schema import FeatureSequence
from crypy.models.memory import FLOOR_PER_S, NOISE
from crypy.models.season import SLOT_S, SLOTS
from crypy.models.volatility import VolatilityBaseline

Floats = NDArray[np.float64]
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
END_S = 1_753_360_020
RETURNS = 100_000


def scipy_cdf(x: Floats, scale: Floats, skew: Floats, tail: Floats) -> Floats:
    """Hansen's distribution function out of scipy's Student t, vectorised: the yardstick."""
    c = np.exp(
        np.array([math.lgamma((n + 1) / 2) - math.lgamma(n / 2) for n in tail]) - 0.5 * np.log(np.pi * (tail - 2))
    )
    a = 4 * skew * c * (tail - 2) / (tail - 1)
    b = np.sqrt(1 + 3 * skew**2 - a**2)
    y = b * x / scale + a
    side = np.where(y < 0, -1.0, 1.0)
    lower = stats.t.cdf(-np.abs(y) / (1 + side * skew) * np.sqrt(tail / (tail - 2)), tail)
    return np.where(y < 0, (1 - skew) * lower, 1 - (1 + skew) * lower)


def probabilities(effort: float) -> list[Row]:
    """Twenty at once, median and 99th percentile."""
    rng = np.random.default_rng(1)
    scale = rng.uniform(1e-4, 1e-2, 20)
    skew, tail = rng.uniform(-0.1, 0.1, 20), rng.uniform(3.0, 8.0, 20)
    x, out = rng.normal(size=20) * scale, np.empty(20)
    skew_t_cdf_many(x, scale, skew, tail, out)
    np.testing.assert_allclose(out, scipy_cdf(x, scale, skew, tail), rtol=0, atol=1e-14)
    ways = {
        "crypy": lambda _: skew_t_cdf_many(x, scale, skew, tail, out),
        "scipy": lambda _: scipy_cdf(x, scale, skew, tail),
    }
    found = latencies_us(ways, scaled(2_000, effort, 50), rounds=10)
    ours, theirs = found["crypy"], found["scipy"]
    return [
        Row(what="20 probabilities, median", ours=ours.p50, unit="us", peer="scipy.stats.t", theirs=theirs.p50, budget=5.0),
        Row(what="20 probabilities, p99", ours=ours.p99, unit="us", peer="scipy.stats.t", theirs=theirs.p99),
    ]  # fmt: skip


def week(model: VolatilityBaseline) -> FeatureSequence:
    """A sequence with every block known."""
    rng = np.random.default_rng(2)
    blocks = model.schema.blocks
    return FeatureSequence(
        END_S,
        model.schema,
        tuple(rng.chisquare(3, (4, block.length, 1)) * 1e-8 * block.step_s for block in blocks),
        tuple(np.ones((4, block.length), np.bool_) for block in blocks),
        tuple(np.zeros((block.length, 4)) for block in blocks),
        np.full(4, 100.0),
    )


class NumpyBaseline:
    """The baseline's scales in plain NumPy, for weeks that are known whole, with tables made ready once."""

    def __init__(self, model: VolatilityBaseline, horizons_s: Floats) -> None:
        rows = [model.coefficients[symbol] for symbol in model.symbols]
        at = np.clip(np.searchsorted(model.horizons_s, horizons_s, "right") - 1, 0, len(model.horizons_s) - 2)
        low, high = np.log(model.horizons_s[at]), np.log(model.horizons_s[at + 1])
        share = np.clip((np.log(horizons_s) - low) / (high - low), 0.0, 1.0)

        def between(tables: list[Floats]) -> Floats:
            table = np.stack(tables)
            shares = share.reshape(-1, *([1] * (table.ndim - 2)))
            return table[:, at] * (1 - shares) + table[:, at + 1] * shares

        self._weights = between([row.weights for row in rows])
        self._constant = between([row.constant for row in rows])
        self._gain = between([row.season_gain for row in rows])
        self._level = np.array([row.level for row in rows])
        self._season = (
            np.exp(np.stack([row.season.utc for row in rows])),
            np.exp(np.stack([row.season.new_york for row in rows])),
        )
        self._horizons_s = horizons_s
        windows = np.array(model.memory.windows_s)
        self._short = windows[windows < model.memory.long_step_s] // max(1, model.memory.short_step_s)
        self._long = windows[windows >= model.memory.long_step_s] // model.memory.long_step_s
        self._windows = windows
        self._short_step_s = max(1, model.memory.short_step_s)
        prior = model._memory_tables
        shift = np.interp(np.log(windows), prior[0], prior[1])
        self._usual = self._level[:, None] + shift - NOISE * model.memory.base_step_s / windows

    def scales(self, sequence: FeatureSequence, new_york_offset_s: int) -> Floats:
        """Standard deviations [coin, horizon]."""
        end_s = sequence.end_s
        last_s = end_s + int(self._horizons_s[-1])
        blocks = sequence.values[1].shape[1]
        first_slot = (end_s - blocks * SLOT_S) // SLOT_S
        slot = np.arange(first_slot, last_s // SLOT_S + 2)
        utc, local = slot % SLOTS, (slot + new_york_offset_s // SLOT_S) % SLOTS
        variance = self._season[0][:, utc] * self._season[1][:, local]
        summed = np.concatenate([np.zeros((len(variance), 1)), np.cumsum(variance, axis=1) * SLOT_S], axis=1)

        def until(at_s: Floats) -> Floats:
            """Integral of the season's variance from the first slot to each moment."""
            slots, inside = np.divmod(at_s - first_slot * SLOT_S, SLOT_S)
            index = slots.astype(np.int64)
            return summed[:, index] + variance[:, np.minimum(index, variance.shape[1] - 1)] * inside

        def flat(values: Floats, step_s: int) -> Floats:
            edges = until(end_s - np.arange(values.shape[1], -1, -1.0) * step_s)
            return values / (np.diff(edges, axis=1) / step_s)

        short = np.cumsum(flat(sequence.values[0][:, :, 0], self._short_step_s)[:, ::-1], axis=1)[:, self._short - 1]
        long = np.cumsum(flat(sequence.values[1][:, :, 0], SLOT_S)[:, ::-1], axis=1)[:, self._long - 1]
        seen = 0.5 * np.log(np.hstack([short, long]) / self._windows + FLOOR_PER_S) - self._usual
        ahead = 0.5 * np.log((until(end_s + self._horizons_s) - until(np.array([float(end_s)]))) / self._horizons_s)
        log_scale = self._constant + np.einsum("chw,cw->ch", self._weights, seen) + self._gain * ahead
        log_scale += 0.5 * np.log(self._horizons_s) + self._level[:, None]
        return np.maximum.accumulate(np.exp(log_scale), axis=1)


def forecasts(effort: float) -> list[Row]:
    """`VolatilityBaseline.predict` of 4 coins x 20 horizons."""
    model = VolatilityBaseline.prior(SYMBOLS, 1)
    sequence, horizons = week(model), np.array(GRID_S, np.float64)
    numpy = NumpyBaseline(model, horizons)
    np.testing.assert_allclose(model.predict(sequence, horizons).scale, numpy.scales(sequence, -4 * 3_600), rtol=1e-9)
    calls = scaled(2_000, effort, 50)
    ways = {
        "crypy": lambda _: model.predict(sequence, horizons),
        "numpy": lambda _: numpy.scales(sequence, -4 * 3_600),
    }
    found = latencies_us(ways, calls)
    ours, theirs = found["crypy"], found["numpy"]
    what, peer = f"baseline, 4 coins x {len(horizons)} horizons", "NumPy, scales only"
    return [
        Row(what=f"{what}, median", ours=ours.p50, unit="us", peer=peer, theirs=theirs.p50, budget=5_000.0),
        Row(what=f"{what}, p99", ours=ours.p99, unit="us", peer=peer, theirs=theirs.p99, budget=50_000.0),
    ]


def likelihood(effort: float) -> list[Row]:
    """Maximum likelihood of scale, skew and tail."""
    returns = scaled(RETURNS, effort, 2_000)
    sample = ZeroMeanSkewStudentT(0.01, -0.05, 4.0).sample(np.random.default_rng(3), returns)
    by_scipy = _fit_by_scipy(sample)
    ours = ZeroMeanSkewStudentT.fit(sample)
    np.testing.assert_allclose((ours.scale, ours.skew, ours.tail), by_scipy, rtol=5e-3, atol=5e-3)
    ways = {"crypy": lambda: ZeroMeanSkewStudentT.fit(sample), "scipy": lambda: _fit_by_scipy(sample)}
    found = loops_s(ways, scaled(5, effort))
    what, peer = f"fit to {returns:,} returns", "scipy.optimize, L-BFGS-B"
    return [Row(what=what, ours=found["crypy"].times(1e3), unit="ms", peer=peer, theirs=found["scipy"].times(1e3))]


def _fit_by_scipy(sample: Floats) -> tuple[float, float, float]:
    """The textbook way: minimise the mean negative log density, written in NumPy, with gradients by differences."""

    def loss(free: Floats) -> float:
        scale, skew, tail = math.exp(free[0]), math.tanh(free[1]), 2.0 + math.exp(free[2])
        c = math.exp(math.lgamma((tail + 1) / 2) - math.lgamma(tail / 2)) / math.sqrt(math.pi * (tail - 2))
        a = 4 * skew * c * (tail - 2) / (tail - 1)
        b = math.sqrt(1 + 3 * skew**2 - a**2)
        y = b * sample / scale + a
        y = y / np.where(y < 0, 1 - skew, 1 + skew)
        return -math.log(b * c / scale) + 0.5 * (tail + 1) * float(np.log1p(y * y / (tail - 2)).mean())

    found = optimize.minimize(loss, np.array([math.log(sample.std()), 0.0, math.log(4.0)]), method="L-BFGS-B").x
    return math.exp(found[0]), math.tanh(found[1]), 2.0 + math.exp(found[2])


def measure(effort: float) -> list[Row]:
    return [*probabilities(effort), *forecasts(effort), *likelihood(effort)]
