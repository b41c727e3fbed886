"""A small market, a small network and settings that train in seconds."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from crypy.marketdata.bars import Bars
from crypy.marketdata.schema import Block, Channel
from crypy.models.dataset import Dataset
from crypy.models.network.settings import NetworkSettings
from crypy.training.trainer_settings import TrainerSettings

# Each fit compiles the same step: once in a test run is enough.
jax.config.update("jax_compilation_cache_dir", str(Path(tempfile.gettempdir()) / f"crypy-tests-jax-{os.getuid()}"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)

START_S = 1_735_689_600  # 2025-01-01
DAY_S = 86_400
SYMBOLS = ("BTCUSDT", "ETHUSDT")
CHANNELS: tuple[Channel, ...] = ("returns", "volume", "realised_variance", "range")


def bars_of(symbol: str, days: float, seed: int, step_s: int = 60) -> Bars:
    """Minutes whose volatility jumps between two states, so that a few minutes tell more than a day does."""
    random = np.random.default_rng(seed)
    n = int(days * DAY_S / step_s)
    state = np.cumsum(random.random(n) < step_s / 1_800) % 2
    steps = random.standard_t(4.0, n) / np.sqrt(2.0) * np.where(state, 2.5e-3, 4e-4) * np.sqrt(step_s / 60)
    close = 50_000.0 * np.exp(np.cumsum(steps))
    before = np.concatenate(([50_000.0], close[:-1]))
    high, low = np.maximum(close, before), np.minimum(close, before)
    quotes = np.exp(random.normal(10.0, 0.3, n)) * np.where(state, 3.0, 1.0)
    return Bars(
        symbol, START_S, step_s, before, high, low, close,
        quotes / close, quotes, np.full(n, 20, np.int64), 0.5 * quotes / close,
    )  # fmt: skip


def small_dataset(days: float = 6.0, seed: int = 3, symbols: tuple[str, ...] = SYMBOLS, **options: Any) -> Dataset:
    bars = {symbol: bars_of(symbol, days, seed + index) for index, symbol in enumerate(symbols)}
    return Dataset.of(bars, START_S + DAY_S, **{"horizons_s": (300, 900, 3_600), **options})


def small_network(**changes: Any) -> NetworkSettings:
    blocks = (Block(60, 30, CHANNELS), Block(900, 16, CHANNELS))
    return NetworkSettings(**{"blocks": blocks, "hidden": (16, 8), "members": 1, **changes})


def small_trainer(**changes: Any) -> TrainerSettings:
    usual: dict[str, Any] = {
        "durations_s": (300, 900, 3_600),
        "duration_weights": (1.0, 0.8, 0.5),
        "epochs": 3,
        "batch": 128,
        "validation_share": 0.2,
    }
    return TrainerSettings(**{**usual, **changes})


class LeapingClock:
    """A second later each time it is asked, so that every step is reported."""

    def __init__(self) -> None:
        self._now_us = START_S * 1_000_000

    def now_us(self) -> int:
        self._now_us += 1_000_000
        return self._now_us

    async def sleep(self, seconds: float) -> None:
        self._now_us += round(seconds * 1_000_000)
