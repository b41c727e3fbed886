"""Models that are right, and ways to make them wrong."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from crypy.domain.times import DAY_S
from crypy.marketdata.synthetic import SyntheticMarket
from crypy.models.dataset import Dataset
from crypy.models.hindcast import Hindcast
from crypy.models.plugin_answer import usual_tail
from crypy.models.plugin_data import default_schema
from crypy.models.port import DistributionGrid
from crypy.testing.check_data import CLOCK_CHANGE_DAY, bars_of
from crypy.testing.check_subject import Subject, subject_of, taken


@lru_cache(maxsize=1)
def small_dataset() -> Dataset:
    """Eleven days of BTC and ETH by the minute, New York's clock change among those that are judged."""
    first = CLOCK_CHANGE_DAY - 8
    market = SyntheticMarket(1, ("BTC", "ETH"), first, 2_000.0, days_kept=1)
    bars = {one.symbol: one for one in bars_of(market, first, 11, 60, 1)}
    return Dataset.of(bars, horizons_s=(300, 3_600))


def subject(model: object, dataset: Dataset | None = None) -> Subject:
    return subject_of(taken(model, {}), dataset or small_dataset(), 0)


class Honest:
    """Volatility of the last day, by the root of time; two files of its own on disk."""

    def fit(self, dataset: Dataset) -> None:
        self.level = np.array([np.nanstd(np.diff(dataset.log_close(symbol))) for symbol in dataset.symbols])

    def predict(self, features: Any, horizons: np.ndarray) -> Any:
        day = features.values[-1][:, :, 1].sum(axis=1)
        variance = 0.5 * self.level**2 * 1440 + 0.5 * day
        return np.sqrt(variance[:, None] / DAY_S * horizons)

    def save(self, folder: Path) -> None:
        np.save(folder / "level.npy", self.level)
        (folder / "notes").mkdir()
        (folder / "notes" / "read.me").write_text("volatility of the last day")

    def load(self, folder: Path) -> None:
        self.level = np.load(folder / "level.npy")


class Whole:
    """A whole `Model` with hindcasts of its own; `variance_at` is what cheats replace."""

    name = "whole"

    def __init__(self, dataset: Dataset) -> None:
        self.schema = default_schema(dataset.symbols, dataset.step_s)

    def predict(self, sequence: Any, horizons_s: np.ndarray) -> DistributionGrid:
        variance = np.array([self.law(float(row.sum())) for row in sequence.values[-1][:, -4:, 1]])
        return self.grid(sequence.end_s, variance, horizons_s)

    def hindcasts(self, dataset: Dataset, horizons_s: np.ndarray) -> dict[str, Hindcast]:
        origins_s = dataset.origins_s()
        out = {}
        for symbol in self.schema.symbols:
            variance = np.array([self.law(one) for one in self.variance_at(dataset, symbol, origins_s)])
            scale = np.sqrt(variance[:, None] * horizons_s / 3_600)
            tail = np.tile(usual_tail(horizons_s), (len(scale), 1))
            returns = dataset.returns(symbol, origins_s, horizons_s)
            out[symbol] = Hindcast(origins_s, horizons_s, returns, scale, np.zeros_like(scale), tail)
        return out

    def variance_at(self, dataset: Dataset, symbol: str, origins_s: np.ndarray) -> np.ndarray:
        """Realised variance of the last hour, as the sequence has it."""
        windows = dataset.windows(self.schema, origins_s)
        row = self.schema.symbols.index(symbol)
        return np.array([float(one.sum()) for one in windows.values[-1][:, row, -4:, 1]])

    def law(self, variance: float) -> float:
        return variance + 1e-8

    def grid(self, end_s: int, variance: np.ndarray, horizons_s: np.ndarray) -> DistributionGrid:
        scale = np.sqrt(variance[:, None] * horizons_s / 3_600)
        tail = np.tile(usual_tail(horizons_s), (len(scale), 1))
        known_s = np.full(len(scale), 86_400.0)
        return DistributionGrid(end_s, self.schema.symbols, horizons_s, scale, np.zeros_like(scale), tail, known_s)


def squares(dataset: Dataset, symbol: str) -> np.ndarray:
    """Squared one-bar log returns, one for each bar."""
    logs = dataset.log_close(symbol)
    return np.diff(logs, prepend=logs[0]) ** 2


def rows(dataset: Dataset, symbol: str, origins_s: np.ndarray) -> np.ndarray:
    """The row of the bar that opens at each origin."""
    one = dataset.bars[symbol]
    return np.clip((origins_s - one.start_s) // one.step_s, 0, len(one) - 1)
